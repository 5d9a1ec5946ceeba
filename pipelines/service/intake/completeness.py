"""When a series is complete, and what is asked for it then."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from pydicom import Dataset, dcmread

from headclip_med.atomic import reported_errors, write_file
from headclip_med.errors import UnreadableInput
from headclip_med.pipelines.plan import Job, Plan
from headclip_med.pipelines.service import audit
from headclip_med.pipelines.service.configuration import Configuration
from headclip_med.pipelines.service.database.tables import JobEntry
from headclip_med.pipelines.service.intake.spool import DATA
from headclip_med.pipelines.service.queue import Claim, SeriesOffer, WorkQueue
from headclip_med.pipelines.service.rules import Rule, SeriesFacts, choose
from headclip_med.pipelines.work.tasks import StudyTask
from headclip_med.read import find_inputs
from headclip_med.write.dicom.run import MAKER

_ASKED = ["Modality", "BodyPartExamined", "SeriesDescription", "Manufacturer",
          "StudyInstanceUID", "SeriesInstanceUID"]  # fmt: skip
NO_RULE = "no-rule"


@dataclass(eq=False)
class Collector:
    """Offers every series of the spool to the queue once nothing came for it for a while.

    Time is measured by a clock that nobody sets; after a start every series that was not offered
    waits anew.

    Attributes:
        configuration: Of the service.
        queue: Of the folder of results.
        clock: Seconds that only go on.
    """

    configuration: Configuration
    queue: WorkQueue
    clock: Callable[[], float] = time.monotonic
    _seen: dict[Path, tuple[int, float]] = field(default_factory=dict, init=False)
    _offered: dict[Path, int] = field(default_factory=dict, init=False)

    @property
    def root(self) -> Path:
        """Of the spool's files."""
        return self.configuration.spool / DATA

    def offer_complete(self) -> int:
        """Offer what is complete by now; give the number of series.

        Raises:
            UnusableDatabase: It does not answer; the series comes again at the next look.
        """
        count = 0
        for folder, changed_ns in self._series():
            if self._is_complete(folder, changed_ns):
                self._offer(folder)
                with reported_errors():
                    write_file(_mark(folder), str(changed_ns).encode())
                self._offered[folder] = changed_ns
                self._seen.pop(folder, None)
                count += 1
        return count

    def _series(self) -> Iterator[tuple[Path, int]]:
        for folder in self.root.glob("*/*/"):
            with suppress(OSError):
                yield folder, folder.stat().st_mtime_ns

    def _is_complete(self, folder: Path, changed_ns: int) -> bool:
        if folder not in self._offered:
            with suppress(OSError, ValueError):
                self._offered[folder] = int(_mark(folder).read_text())
        if self._offered.get(folder) == changed_ns:
            return False
        before, since = self._seen.get(folder, (None, 0.0))
        if before != changed_ns:
            self._seen[folder] = changed_ns, self.clock()
            return False
        return self.clock() - since >= self.configuration.service.quiet_s

    def _offer(self, folder: Path) -> None:
        head, source = _head(folder), _source(folder)
        modality, body_part, description = (str(head.get(name) or "") for name in _ASKED[:3])
        facts = SeriesFacts(modality, body_part, description, source["peer"])
        files = sum(1 for _ in folder.glob("*.dcm"))
        uid = str(head.get("SeriesInstanceUID") or folder.name)
        if str(head.get("Manufacturer", "")) == MAKER:
            self._note("skipped", source["peer"], uid, code="own-result", files=files)
            return
        rules = self.configuration.rules
        rule = choose(rules, facts)
        self._note("complete", source["peer"], uid, files=files, rule=rule and rule.name)
        if rule is None and rules:
            self._note("skipped", source["peer"], uid, code=NO_RULE)
            return
        for job in _jobs_of(folder):
            job_id = self._offer_job(job, folder, facts, source, rule)
            if rule is not None and rule.skip:
                self._skip(job_id)

    def _offer_job(
        self, job: Job, folder: Path, facts: SeriesFacts, source: dict[str, str], rule: Rule | None
    ) -> int:
        names = ("study_instance_uid", "series_instance_uid", "part", "slices")
        known = {} if job.origin is None else {name: getattr(job.origin, name) for name in names}
        series = SeriesOffer(
            key=job.key, files=job.stamps, source=source["source"], peer=source["peer"],
            modality=facts.modality or None, body_part=facts.body_part or None, **known,
        )  # fmt: skip
        request: dict[str, Any] = {
            "folder": folder.relative_to(self.root).as_posix(),
            "key": job.key,
            "destinations": list(self.configuration.destinations_of(rule)),
        }
        return self.queue.offer(
            series, request, self.configuration.plan_of(rule).run_key,
            rule=None if rule is None else rule.name,
            priority=0 if rule is None else rule.priority,
        )  # fmt: skip

    def _skip(self, job_id: int) -> None:
        with self.queue.database.write() as session:
            job = session.get_one(JobEntry, job_id)
            if job.state == "queued":
                job.state = "skipped"
                audit.record(session, "skipped", subject=job.series.key, rule=job.rule)

    def _note(self, event: str, peer: str, subject: str, **facts: object) -> None:
        with self.queue.database.write() as session:
            audit.record(session, event, peer=peer, subject=subject, **facts)


def task_of(claim: Claim, root: Path) -> StudyTask:
    """Find the files of a job again, and say what is to be done.

    Args:
        claim: That ``Collector`` offered.
        root: Of the spool's files.
    """
    found = {one.key: one for one in _jobs_of(root / str(claim.request["folder"]))}
    gone = Job("series", partial(_refuse, "gone"), key=str(claim.request["key"]))
    return StudyTask(found.get(gone.key, gone))


def _refuse(code: str) -> Any:
    raise UnreadableInput(
        "The files of this series are not as they were when it was complete.",
        "It is offered anew with what came later; else send it again.",
        code=code,
    )


def _jobs_of(folder: Path) -> list[Job]:
    """Make jobs of a series; names of files here are digests, and are not shown."""
    jobs = Plan(find_inputs([folder])).jobs()
    return [replace(one, files=()) for one in jobs]


def _mark(folder: Path) -> Path:
    return folder.with_suffix(".offered")


def _source(folder: Path) -> dict[str, str]:
    try:
        known: dict[str, str] = json.loads(folder.with_suffix(".source").read_text())
    except (OSError, ValueError):
        return {"source": "receiver", "peer": ""}
    return known


def _head(folder: Path) -> Dataset:
    """Read the first file's header; it was read once already."""
    for path in sorted(folder.glob("*.dcm")):
        with suppress(Exception):  # pydicom raises of every kind
            return dcmread(path, stop_before_pixels=True, specific_tags=_ASKED)
    return Dataset()
