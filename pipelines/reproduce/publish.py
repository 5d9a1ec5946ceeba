"""A folder that can be published: checkpoints, tables, digests of both, and a card."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import headclip_med
from headclip_med.atomic import sha256_of, write_folder
from headclip_med.datasets import KNOWN_SETS
from headclip_med.errors import HeadClipError
from headclip_med.models.checkpoint import Checkpoint, read_checkpoint
from headclip_med.models.registry import METHODS
from headclip_med.pipelines.experiments.models import Training, training_of
from headclip_med.pipelines.reproduce.bench import Bench
from headclip_med.pipelines.reproduce.smoke import CAUSES, causes_of
from headclip_med.pipelines.reproduce.work import replan_or_none
from headclip_med.settings import EMBEDDED_NAME

PUBLISHED = "published"

CHECKPOINTS = "checkpoints"

SUMS = "SHA256SUMS"

CARD = "README.md"


@dataclass(eq=False)
class PublishedCheckpoint:
    """A training, and which rows of which experiments it is.

    Attributes:
        training: What was trained, on what.
        seed: It was trained with.
        rows: ``experiment: row``.
    """

    training: Training
    seed: int
    rows: list[str] = field(default_factory=list)

    @property
    def file(self) -> str:
        """Name its file in the folder."""
        data = re.sub(r"[^A-Za-z0-9+-]+", "_", self.training.data.name)
        return f"{self.training.request.method}-{data}-{self.training.digest}.safetensors"


def publish(bench: Bench, files: Sequence[Path], weights: Mapping[str, Any]) -> Path:
    """Write the folder, and check it: every digest, and every checkpoint on the backbone.

    Args:
        bench: What is worked with.
        files: That are published beside the checkpoints.
        weights: What the verification of the backbone's weights found out.

    Returns:
        The folder.

    Raises:
        HeadClipError: A checkpoint does not fit the backbone, or a file is not as it was written.
    """
    found = list(checkpoints_of(bench))
    target = bench.out / PUBLISHED
    with write_folder(target) as folder:
        read = {}
        (folder / CHECKPOINTS).mkdir()
        for one in found:
            path = folder / CHECKPOINTS / one.file
            shutil.copyfile(one.training.checkpoint(bench.out), path)
            read[one.file] = read_checkpoint(path)
            read[one.file].restore(bench.setup.backbone)
        for path in files:
            shutil.copyfile(path, folder / path.name)
        (folder / "weights.json").write_text(json.dumps(weights, indent=1) + "\n", "utf-8")
        card = "\n".join(_card(bench, found, read, weights)) + "\n"
        (folder / CARD).write_text(card, "utf-8")
        names = sorted(str(path.relative_to(folder)) for path in _files(folder))
        text = "".join(f"{sha256_of(folder / name)}  {name}\n" for name in names)
        (folder / SUMS).write_text(text, "utf-8")
    if not is_as_published(target):
        raise HeadClipError(
            "A file of the folder that is to be published is not as it was written.",
            "Look at the disk, and run the command again.",
            code="published-differs",
        )
    return target


def is_as_published(folder: Path) -> bool:
    """Tell whether every file is there with the digest that SHA256SUMS names."""
    try:
        lines = (folder / SUMS).read_text("utf-8").splitlines()
        named = {name: digest for digest, name in (line.split("  ", 1) for line in lines)}
        return all(sha256_of(folder / name) == digest for name, digest in named.items())
    except (OSError, ValueError):
        return False


def checkpoints_of(bench: Bench) -> Iterator[PublishedCheckpoint]:
    """List the trainings of all experiments that are done, each once."""
    found: dict[str, PublishedCheckpoint] = {}
    for name in bench.request.experiments:
        plan = replan_or_none(bench, name)
        for setup in bench.setup.quiet().of_seeds() if plan else ():
            for variant, key in plan.trainings if plan else ():
                training = training_of(variant, plan.auxiliaries[key] if plan else (), setup)
                if training.checkpoint(bench.out).is_file():
                    one = PublishedCheckpoint(training, setup.train_seed)
                    one = found.setdefault(training.digest, one)
                    one.rows.append(f"{name}: {variant.name}")
    yield from found.values()


def _files(folder: Path) -> Iterator[Path]:
    yield from (path for path in folder.rglob("*") if path.is_file())


def _card(
    bench: Bench,
    found: Sequence[PublishedCheckpoint],
    read: Mapping[str, Checkpoint],
    weights: Mapping[str, Any],
) -> Iterator[str]:
    """Say what the folder holds, a line each, as Markdown."""
    backbone = bench.setup.backbone
    yield "# Checkpoints of a reproduction of HeadCLIP\n"
    yield "Research use only. Not for clinical use.\n"
    causes = causes_of(bench)
    if causes:
        told = "; ".join(CAUSES[one] for one in causes)
        yield f"**These are not the paper's models**: {told}.\n"
    yield (
        "Each file holds what was learned (safetensors, no pickle), and in its header the method, "
        "its settings, the training and the digest of the backbone. No file holds the backbone: it "
        f"is {backbone.name}, weights {backbone.weights}, {backbone.activation}, "
        f"digest {backbone.digest}."
    )
    sha256 = (weights.get("file") or {}).get("sha256")
    if sha256:
        yield f"SHA-256 of its file: {sha256}."
    yield f"Made with headclip_med {headclip_med.__version__}.\n"
    if bench.request.command:
        yield f"    {bench.request.command}\n"
    yield "    sha256sum --check SHA256SUMS\n"
    if found:
        needs = "" if backbone.name == EMBEDDED_NAME else ', weights="FILE OF THE BACKBONE"'
        yield "```python"
        yield "from headclip_med import load_model"
        yield f'model = load_model("{CHECKPOINTS}/{found[0].file}"{needs})'
        yield "```\n"
        yield "| file | method | trained on | seed | numbers | is | SHA-256 |"
        yield "|---|---|---|--:|--:|---|---|"
    for one in found:
        checkpoint, request = read[one.file], one.training.request
        count = sum(tensor.numel() for tensor in checkpoint.learned.values())
        yield (
            f"| {one.file} | {METHODS[request.method].title} | {one.training.data.name} | "
            f"{one.seed} | {count} | {'<br>'.join(one.rows)} | {checkpoint.digest} |"
        )
    parts = (part for one in found for part in one.training.data.name.split("+"))
    if found:
        yield "\nLicences of what was trained on, which decide whether this may be published:\n"
    for part in dict.fromkeys(parts):
        known = KNOWN_SETS.get(part)
        yield f"- {part}: {known.licence if known else 'not known here'}"
    yield "\nThe tables beside the paper's stand in the files beside this one."
