"""The service beside a PACS, in five steps: receive, complete, screen, deliver, show.

Each of them may be killed at any time: what is acknowledged is in the spool, what is complete in
the queue, what is found in the database; nothing is only in memory.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from sqlalchemy import select

from headclip_med.atomic import check_writable
from headclip_med.calibration import Stratum
from headclip_med.errors import HeadClipError, InvalidSettings
from headclip_med.pipelines.calibration import Calibration, read_calibration
from headclip_med.pipelines.service.configuration import Configuration
from headclip_med.pipelines.service.database import Database, open_database
from headclip_med.pipelines.service.database.tables import JobEntry
from headclip_med.pipelines.service.delivery import Courier
from headclip_med.pipelines.service.dispatch import Dispatcher, waited_out
from headclip_med.pipelines.service.drift import note_drift
from headclip_med.pipelines.service.execution.executor import Executor
from headclip_med.pipelines.service.intake.completeness import Collector, task_of
from headclip_med.pipelines.service.intake.dicomweb import Pull
from headclip_med.pipelines.service.intake.folder import Watch
from headclip_med.pipelines.service.intake.receiver import Receiver, ReceiverPlan
from headclip_med.pipelines.service.intake.spool import Spool
from headclip_med.pipelines.service.queue import WAITING, WorkQueue
from headclip_med.pipelines.service.worklist.page import worklist_app
from headclip_med.pipelines.service.worklist.server import page_server
from headclip_med.pipelines.work.building import ScreenerPlan

MakeExecutor = Callable[[ScreenerPlan], Executor]
_log = logging.getLogger(__name__)
STEP_S = 0.5
WATCH_EVERY_S = 60.0
"""Between two looks at the p-values of all results."""


def serve(
    configuration: Configuration,
    make_executor: MakeExecutor,
    is_stopped: Callable[[], bool],
    say: Callable[[], None] = lambda: None,
) -> None:
    """Receive, complete, screen, deliver and show, until asked to end.

    Args:
        configuration: As ``read_configuration`` gives it.
        make_executor: Makes what screens in one way; one for each way that rules ask for.
        say: Told when all of it runs.
        is_stopped: Asked all the time; True lets the work end after its slice.

    Raises:
        HeadClipError: Something cannot be begun: a port, a folder, the database, the model.
    """
    check_writable(configuration.out)
    database = open_database(configuration.service.database or configuration.out)
    queue = WorkQueue(database)
    with ExitStack() as stack:
        stack.callback(database.close)
        receiver = _receive(configuration, database, stack)
        collector = Collector(configuration, queue)
        benches = _Benches(configuration, queue, make_executor)
        stack.callback(benches.close)
        _deliver(configuration, database, stack)
        _show(configuration, database, stack)
        say()
        while not is_stopped():
            with waited_out(partial(_log.warning, "waiting: %s"), STEP_S):
                if receiver is not None:
                    receiver.watch()
                collector.offer_complete()
                benches.step()
        benches.stop()


def _receive(configuration: Configuration, database: Database, stack: ExitStack) -> Receiver | None:
    """Take instances by all ways into one spool."""
    service = configuration.service
    room = int(service.room_gb * 1e9)
    if configuration.pulls or configuration.watches:
        spool = stack.enter_context(Spool(configuration.spool, "pull", database, room_bytes=room))
        for watch in configuration.watches:
            look = Watch(watch, spool, database).look
            stack.enter_context(_repeated(look, watch.every_s, f"watch {watch.name}"))
        for pull in configuration.pulls:
            look = Pull(pull, spool).look
            stack.enter_context(_repeated(look, pull.every_s, f"pull {pull.name}"))
    if configuration.receiver is None:
        return None
    plan = ReceiverPlan(
        configuration.receiver, configuration.spool, service.database or configuration.out, room
    )
    return stack.enter_context(Receiver(plan))


def _deliver(configuration: Configuration, database: Database, stack: ExitStack) -> None:
    """Take results to their destinations."""
    if configuration.destinations:
        courier = stack.enter_context(
            Courier(database, configuration.destinations, configuration.out)
        )
        stopping = threading.Event()
        deliver = partial(courier.deliver_due, until=stopping.is_set)
        stack.enter_context(_repeated(deliver, 1.0, "delivery", stopping))


def _show(configuration: Configuration, database: Database, stack: ExitStack) -> None:
    """Serve the page."""
    page = configuration.page
    if page is None:
        return
    server = page_server(worklist_app(database, configuration.out, page), page)
    thread = threading.Thread(target=server.run, name="page", daemon=True)
    thread.start()

    def stop() -> None:
        server.should_exit = True
        thread.join(5)

    stack.callback(stop)
    until = time.monotonic() + 20
    while not server.started:
        if not thread.is_alive() or time.monotonic() > until:
            raise InvalidSettings(
                f"The page cannot listen at port {page.port}.",
                "Choose another port, or end what listens there.",
                code="port-taken",
            )
        time.sleep(0.05)


@dataclass(eq=False)
class _Benches:
    """An executor, with a warm model, for each way of screening that rules ask for."""

    configuration: Configuration
    queue: WorkQueue
    make_executor: MakeExecutor
    _open: dict[str, tuple[Executor, Dispatcher]] = field(default_factory=dict, init=False)
    _plans: dict[str, ScreenerPlan] = field(init=False)
    _calibration: Calibration | None = field(default=None, init=False)
    _stale: frozenset[Stratum] = field(default_factory=frozenset, init=False)
    _outdated: set[str] = field(default_factory=set, init=False)
    _watched_s: float = field(default=float("-inf"), init=False)

    def __post_init__(self) -> None:
        ways = [self.configuration.plan_of(rule) for rule in (None, *self.configuration.rules)]
        self._plans = {one.run_key: one for one in ways}
        if self.configuration.service.calibration is not None:
            self._calibration = read_calibration(Path(self.configuration.service.calibration))

    def step(self) -> None:
        """Do what is due, and wait a little."""
        self._watch()
        self._renew()
        due = self._due()
        for key in due.keys() - self._open.keys():
            self._open[key] = self._opened(self._plans[key])
        for key, (_, dispatcher) in self._open.items():
            dispatcher.among = due.get(key, frozenset())
            dispatcher.step(STEP_S / len(self._open), begins=key not in self._outdated)
        if not self._open:
            time.sleep(STEP_S)

    def _watch(self) -> None:
        """See now and then whether p-values drift; a stratum that did is judged no more."""
        if self._calibration is None or time.monotonic() - self._watched_s < WATCH_EVERY_S:
            return
        self._watched_s = time.monotonic()
        stale = note_drift(self.queue.database, self._calibration)
        if stale != self._stale:
            self._stale = stale
            self._outdated = set(self._open)

    def _renew(self) -> None:
        """End executors that do not know what is stale, once they are done with what they hold."""
        for key in [one for one in self._outdated if not self._open[one][1].is_busy]:
            self._open.pop(key)[0].close()
            self._outdated.discard(key)

    def _due(self) -> dict[str, frozenset[int]]:
        """Find what waits, by the way that it is to be screened."""
        with self.queue.database.read() as session:
            rows = session.execute(
                select(JobEntry.id, JobEntry.run_key).where(JobEntry.state.in_(WAITING))
            ).all()
        found: dict[str, set[int]] = {}
        for job_id, key in rows:
            if key in self._plans:
                found.setdefault(key, set()).add(job_id)
        return {key: frozenset(ids) for key, ids in found.items()}

    def _opened(self, plan: ScreenerPlan) -> tuple[Executor, Dispatcher]:
        executor = self.make_executor(replace(plan, stale=self._stale))
        root = self.configuration.spool / "data"
        task = partial(task_of, root=root)
        return executor, Dispatcher(self.queue, executor, task, self.configuration.out)

    def stop(self) -> None:
        """Let what is in work end after its slice, and give it back."""
        for executor, _ in self._open.values():
            executor.stop_work()
        for _, dispatcher in self._open.values():
            dispatcher.stop()

    def close(self) -> None:
        """End all processes."""
        for executor, _ in self._open.values():
            executor.close()


@contextmanager
def _repeated(
    step: Callable[[], object], every_s: float, name: str, stopping: threading.Event | None = None
) -> Iterator[None]:
    """Do a step again and again in a thread; what it meets costs that turn only."""
    stop = stopping or threading.Event()

    def repeat() -> None:
        while not stop.is_set():
            try:
                step()
            except HeadClipError as error:
                _log.warning("%s: %s", name, error)
            except Exception:  # of a library; its words may quote what it read
                _log.error("%s: an error that was not expected", name)
            stop.wait(every_s)

    thread = threading.Thread(target=repeat, name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(30)
