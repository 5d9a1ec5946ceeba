"""One training after the other, of the same with several seeds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch.utils.data import Dataset as TorchDataset

from headclip_med.evaluation.spread import mean_and_deviation
from headclip_med.models.clip.towers import Backbone
from headclip_med.pipelines.train import Trained, TrainRequest, train
from headclip_med.tracking import Run
from headclip_med.training.batches import Example
from headclip_med.training.handlers import StepReport
from headclip_med.training.state import STATE_FILE


@dataclass(frozen=True)
class SeededTraining:
    """Finished trainings that differ in their seed.

    Attributes:
        folder: Holds those of several seeds, each in a folder ``seed-N``.
        each: In the order of seeds.
    """

    folder: Path
    each: tuple[Trained, ...]

    @property
    def spread(self) -> dict[str, dict[str, float | None]]:
        """Mean and standard deviation (n - 1) of the last loss and of the threshold."""
        values = {
            "loss": [one.losses[-1] for one in self.each if one.losses],
            "threshold": [one.threshold for one in self.each],
        }
        pairs = {name: mean_and_deviation(found) for name, found in values.items()}
        return {name: {"mean": pair[0], "std": pair[1]} for name, pair in pairs.items()}

    @property
    def shown(self) -> list[str]:
        """Write the spread as a table prints it."""
        pairs = zip(self.spread.values(), (4, 3), strict=True)
        return [
            f"{one['mean']:.{digits}f}"
            + (f" ± {one['std']:.{digits}f}" if one["std"] is not None else "")
            for one, digits in pairs
        ]


def seeds_of(request: TrainRequest, count: int) -> list[TrainRequest]:
    """Ask for the same with several seeds, from the request's own on."""
    first = request.settings.seed
    return [
        replace(request, settings=request.settings.changed(seed=first + number))
        for number in range(count)
    ]


def train_seeds(  # noqa: PLR0913 - as ``train``
    requests: Sequence[TrainRequest],
    examples: TorchDataset[Example],
    backbone: Backbone,
    *,
    out: Path,
    run: Run,
    report: Callable[[StepReport], None],
    say: Callable[[str], None],
) -> SeededTraining:
    """Train with each seed: one alone in ``out`` itself, several in folders of it.

    Of several, with ``resume``, those that were begun go on, and the others begin.

    Args:
        requests: Of each seed.
        examples: See ``train``.
        backbone: Likewise.
        out: Gets the checkpoints.
        run: Where it is recorded; of several seeds each in a run below it.
        report: Called after every step.
        say: Is told what kept features take.

    Raises:
        HeadClipError: As ``train``.
    """
    if len(requests) == 1:
        alone = train(requests[0], examples, backbone, out=out, run=run, report=report, say=say)
        return SeededTraining(out, (alone,))
    found = []
    for request in requests:
        name = f"seed-{request.settings.seed}"
        is_begun = (out / name / STATE_FILE).is_file()
        one = replace(request, resume=request.resume and is_begun)
        say(f"seed {request.settings.seed}")
        with run.child(name, at_once=False) as child:
            found.append(
                train(one, examples, backbone, out=out / name, run=child, report=report, say=say)
            )
    trained = SeededTraining(out, tuple(found))
    run.parameters({"seeds": [one.seed for one in found]})
    run.metrics(dict(_numbers(trained.spread)))
    return trained


def _numbers(spread: Mapping[str, Mapping[str, float | None]]) -> list[tuple[str, float]]:
    return [
        (f"{name}/{part}", value)
        for name, parts in spread.items()
        for part, value in parts.items()
        if value is not None
    ]
