"""Work on a Ray cluster of this machine: the bytes of one process, and losses that cost one study.

What the local executor is held to, with actors.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from headclip_med import __version__
from headclip_med.errors import InvalidSettings
from headclip_med.pipelines.plan import Plan
from headclip_med.pipelines.service import dispatch, queue
from headclip_med.pipelines.service.batch import BatchRequest, run_batch
from headclip_med.pipelines.service.execution import ray
from headclip_med.pipelines.service.execution.executor import Executor
from headclip_med.pipelines.service.execution.local import LocalExecutor
from headclip_med.pipelines.service.execution.ray import RayExecutor, RaySlot
from headclip_med.pipelines.service.settings import BatchWorkSettings, WorkSettings
from headclip_med.pipelines.work.report import BatchReport
from headclip_med.pipelines.work.tasks import StudyOutcome, StudyTask
from headclip_med.read import find_inputs
from tests.bright import write_picture
from tests.service.programs import free_port
from tests.service.test_local import results, studies
from tests.service.workers import Building


class Cluster:
    """What Ray says of some machines."""

    def __init__(self, *machines: tuple[int, int]) -> None:
        self.machines = machines

    def nodes(self) -> list[dict[str, object]]:
        return [
            {"Alive": True, "Resources": {"CPU": float(cpus), "GPU": float(gpus)}}
            for cpus, gpus in self.machines
        ]


@pytest.mark.parametrize(
    ("machines", "slots", "device", "share"),
    [
        ([(2, 0)], 1, "auto", (2, 0)),
        ([(2, 0)], 2, "auto", (1, 0)),
        ([(4, 0), (12, 0)], 2, "auto", (6, 0)),  # both on the larger one
        ([(4, 0), (12, 0)], 3, "auto", (4, 0)),
        ([(16, 2)], 2, "auto", (1, 1)),
        ([(16, 2)], 4, "auto", (4, 0)),
        ([(16, 2)], 2, "cpu", (8, 0)),
        ([(8, 1), (8, 1)], 2, "cuda", (1, 1)),
        ([(2, 0)], 3, "auto", None),
        ([(2, 0)], 1, "cuda", None),
        ([], 1, "auto", None),
    ],
)
def test_slots_share_what_there_is(
    machines: list[tuple[int, int]], slots: int, device: str, share: tuple[int, int] | None
) -> None:
    cluster = Cluster(*machines)
    if share is not None:
        assert ray._share(cluster, slots, device) == share
        return
    with pytest.raises(InvalidSettings) as raised:
        ray._share(cluster, slots, device)
    assert raised.value.code == "small-cluster"


def test_a_cluster_without_workers_is_refused() -> None:
    with pytest.raises(InvalidSettings, match="somebody must work"):
        BatchWorkSettings(ray="local", workers=0)


def slot(tmp_path: Path, *folders: Path, version: str = __version__) -> RaySlot:
    """What runs in an actor, here."""
    both = (Path.cwd(), *folders)[:2]
    return RaySlot(Building(tmp_path), 1, (both[0], both[-1]), version)


def task(tmp_path: Path) -> StudyTask:
    write_picture(tmp_path / "one.png", 90)
    return StudyTask(next(Plan(find_inputs([tmp_path / "one.png"])).jobs()))


@pytest.mark.parametrize(
    ("folder", "version", "code"),
    [("elsewhere", __version__, "unshared-folder"), (".", "0.0.1", "other-version")],
)
def test_a_machine_that_does_not_fit_is_told_before_any_work(
    folder: str, version: str, code: str, tmp_path: Path
) -> None:
    found, slices = slot(tmp_path, tmp_path / folder, version=version).do(task(tmp_path))
    assert isinstance(found, InvalidSettings)
    assert (found.code, slices) == (code, 0)


def test_an_actor_counts_slices_and_ends_when_it_is_asked(tmp_path: Path) -> None:
    one = slot(tmp_path)
    assert (one.state().is_ready, one.state().slices) == (False, 0)
    found, slices = one.do(task(tmp_path))
    assert isinstance(found, StudyOutcome)
    assert found.row is not None
    assert (one.state().is_ready, one.state().slices, slices) == (True, 1, 1)
    (tmp_path / "one.png").unlink()
    one.stop()
    write_picture(tmp_path / "one.png", 91)
    again, _ = one.do(task(tmp_path))
    assert again == StudyOutcome(was_stopped=True)


@pytest.mark.parametrize("address", ["127.0.0.1:{port}", "nowhere", "ray://x", "127.0.0.1:x"])
def test_an_address_without_a_cluster_is_told_at_once(address: str, tmp_path: Path) -> None:
    named = address.format(port=free_port())
    with pytest.raises(InvalidSettings) as raised:
        RayExecutor(Building(tmp_path), WorkSettings(), named, tmp_path)
    assert raised.value.code == "no-ray"


# --- with a cluster of this machine --------------------------------------------------------------


@pytest.fixture
def _at_once(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(queue, "AFTER_A_LOSS_S", 0.0)
    monkeypatch.setattr(dispatch, "RENEW_EVERY_S", 0.5)
    return None


def batch(place: Path, out: Path, executor: Executor) -> BatchReport:
    return run_batch(find_inputs([place]), out, executor, BatchRequest(run_key="r"))


def actors(out: Path, end: str = "kill", **limits: float | int) -> RayExecutor:
    out.mkdir()
    return RayExecutor(Building(out, end), WorkSettings(**limits), "local", out)


@pytest.mark.slow
@pytest.mark.usefixtures("_at_once")
@pytest.mark.filterwarnings("ignore::Warning")  # Ray's own: sockets, deprecations
@pytest.mark.parametrize(
    ("end", "code", "limits"),
    [("kill", "worker-lost", {}), ("hang", "worker-time", {"time_limit_min": 0.05})],
)
def test_actors_give_the_bytes_of_a_process_and_lose_what_it_loses(
    end: str, code: str, limits: dict[str, float], tmp_path: Path
) -> None:
    handler = signal.getsignal(signal.SIGTERM)
    out, plain = tmp_path / "ray", tmp_path / "plain"
    place = studies(tmp_path / "in")
    report = batch(place, out, actors(out, end, workers=2, **limits))
    assert [(one.input, one.code) for one in report.failures] == [("2.png", code)]
    assert sorted(str(row.name) for row in report.rows) == ["1.png", "3.png", "4.png"]
    assert signal.getsignal(signal.SIGTERM) is handler
    (place / "2.png").unlink()
    batch(place, plain, LocalExecutor(Building(plain), WorkSettings()))
    assert results(out) == results(plain)
