"""The largest error of every stage of the compared methods, beside what their own code computed.

``python -m tests.reference.parity FOLDER`` prints it as a table; FOLDER is what HEADCLIP_ORACLES
would name.
Errors are relative to the stage's largest value. The last column is how much of its tolerance a
stage takes, at the value that comes nearest to it: below 1 it agrees.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.reference import oracle, oracle_learned, oracle_training, oracle_training_free
from tests.reference.oracle_learned import Stage


@dataclass
class Worst:
    relative_error: float = 0.0
    share: float = 0.0

    def see(self, one: Stage) -> None:
        self.relative_error = max(self.relative_error, one.relative_error)
        self.share = max(self.share, one.share_of_tolerance)


def every_stage(oracles: Path) -> Iterator[tuple[str, Stage]]:
    """Every stage of every run of every method: in use, and in training."""
    towers = oracle.backbone(oracles)
    yield from oracle_training_free.every_stage(oracles, towers)
    for method, stages in oracle_learned.STAGES.items():
        for run in oracle_learned.runs_of(oracles / method):
            # Its own rows: a last digit in float32 can tip a prompt to the next float16.
            name = f"{method}, rounded prompts" if "half" in run else method
            yield from ((name, one) for one in stages(oracles, towers, run))
        yield from (
            (f"{method}, training", one)
            for one in oracle_training.TRAINING_STAGES[method](oracles, towers)
        )


def table(oracles: Path) -> Iterator[str]:
    worst: dict[tuple[str, str], Worst] = {}
    for method, one in every_stage(oracles):
        worst.setdefault((method, one.name), Worst()).see(one)
    yield "| method | stage | largest relative error | share of tolerance |"
    yield "|---|---|---|---|"
    for (method, name), found in worst.items():
        yield f"| {method} | {name} | {found.relative_error:.1e} | {found.share:.2f} |"


if __name__ == "__main__":
    sys.stdout.writelines(f"{line}\n" for line in table(Path(sys.argv[1])))
