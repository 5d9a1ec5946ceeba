"""``headclip evaluate``: a model, or all methods, measured on labelled images."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from tyro.conf import Positional, UseAppendAction

from headclip_med.cli.groups import DataOptions, ModelOptions, TrackingGroup, show_run
from headclip_med.cli.options import Takes
from headclip_med.cli.terminal.progress import progress
from headclip_med.cli.terminal.tables import show_markdown
from headclip_med.cli.terminal.voice import VOICE
from headclip_med.evaluation.request import EvaluationRequest, EvaluationSettings
from headclip_med.models.request import ALL
from headclip_med.settings import ScoreSettings, require


@dataclass(frozen=True, kw_only=True)
class Evaluate(ModelOptions, DataOptions, TrackingGroup):
    """Measure a model, or all methods, on labelled images, beside untaught baselines.

    Sets are named as LAYOUT:PATH (folder:DIR, mvtec:DIR, csv:FILE, meta:DIR, BrainMRI:DIR ...),
    found below --data-root, or are the synthetic head volumes of --acceptance. Intervals are 95 %
    bootstrap intervals. --method all puts every method that can be had on the backbone into one
    table.

    Examples:
      headclip evaluate BrainMRI:/data/BrainMRI mvtec:/data/screw
      headclip evaluate --protocol mvtec-to-all --data-root /data
      headclip evaluate BrainMRI:DIR --method all --model ViT-L-14-336 --out table.csv
    """

    takes: ClassVar[tuple[Takes, ...]] = (
        Takes(ScoreSettings),
        Takes(EvaluationSettings, ("limit", "metrics", "symmetry", "intervals", "store")),
    )
    own: ClassVar[tuple[str, ...]] = ("image_size",)
    common: ClassVar[tuple[str, ...]] = (
        "data", "data_root", "protocol", "model", "method", "out", "set",
    )  # fmt: skip

    data: Positional[tuple[str, ...]] = ()
    """Sets, as LAYOUT:PATH, or LAYOUT:PATH?option=value."""
    data_root: Path | None = None
    """Every known set below this folder, or those of --protocol."""
    protocol: str | None = None
    """The sets that a published protocol tests: visa-to-mvtec or mvtec-to-all."""
    acceptance: bool = False
    """Evaluate the synthetic acceptance phantoms."""
    seeds: int = 1
    """Evaluate with this many seeds: means ± standard deviations. --model is the folder of a
    'headclip train --seeds'; or what is evaluated draws by itself."""
    per_category: bool = False
    """Show a table for each category as well."""
    paper: bool = False
    """Show the HeadCLIP paper's numbers and the difference where it has the set and the method
    (measures by both protocols)."""
    out: Path | None = None
    """Write the table there: .md, .csv (the paper's beside it as .paper.csv) or .json."""
    checkpoint: Annotated[tuple[Path, ...], UseAppendAction] = ()
    """With --method all: a trained method's checkpoint on the same backbone; may be repeated."""

    def run(self) -> int:
        """Evaluate everything that was named, and print one table."""
        request = EvaluationRequest(
            data=self.named_sets(self.data), data_root=self.data_root, protocol=self.protocol,
            acceptance=self.acceptance, paper=self.paper, per_category=self.per_category,
            out=self.out, model=self.request(self.checkpoint), tracking=self.tracked,
            seeds=self.seeds,
            **self.changes(EvaluationSettings),
        )  # fmt: skip
        from headclip_med.evaluation.seeds import requests_of_seeds

        self.check_model(requests_of_seeds(request)[0].model)
        self._require_sets()
        from headclip_med.pipelines.evaluate import evaluate_seeds

        with progress(None, "image") as bar:
            report = evaluate_seeds(
                request, say=lambda line: VOICE.say(f"headclip: {line}"), seen=bar.seen
            )
        show_run(report.run, request.tracking)
        if self.json:
            print(report.text(".json"))
        else:
            show_markdown(report.text(".md"))
        return 3 if report.failed else 0

    def _require_sets(self) -> None:
        """Refuse what has nothing to evaluate before anything heavy is imported."""
        from headclip_med.datasets import discover, protocol_sets, require_folders

        require_folders(self.named_sets(self.data), self.data_root)
        if self.protocol is not None:
            protocol_sets(self.protocol, self.data_root, "test")
        elif self.data_root is not None:
            discover(self.data_root)


@dataclass(frozen=True, kw_only=True)
class Compare(ModelOptions):
    """Draw images beside the truth and the map of every method, as a picture and a page.

    The paper's figure 3, of any sets. Images are drawn at random from each set's abnormal test
    images, by --seed and before any method has seen them. Writes compare-grid.png, compare.html
    (which holds the picture and loads nothing), and the image scores as .csv, .md and .json.

    Examples:
      headclip compare BrainMRI:/data/BrainMRI Kvasir:/data/Kvasir --out compare
      headclip compare mvtec:DIR --method all --model ViT-L-14-336 --weights FILE --examples 5
    """

    common: ClassVar[tuple[str, ...]] = (
        "data", "examples", "seed", "model", "method", "out", "set",
    )  # fmt: skip
    takes: ClassVar[tuple[Takes, ...]] = (Takes(ScoreSettings),)
    own: ClassVar[tuple[str, ...]] = ("image_size",)

    data: Positional[tuple[str, ...]] = ()
    """Sets, as LAYOUT:FOLDER."""
    method: str | None = ALL
    """all, or one of {methods}."""
    examples: int = 3
    """Abnormal images of each set."""
    seed: int = 0
    """Of their choice."""
    out: Path = Path("compare")
    """Folder for picture, page and scores."""
    batch_size: int = 8
    """Images per forward pass."""
    image_size: int | None = None
    """Rows and columns of every model's input, in pixels; each one's own by default."""
    checkpoint: Annotated[tuple[Path, ...], UseAppendAction] = ()
    """A trained method's checkpoint on the same backbone; may be repeated."""

    def run(self) -> int:
        """Draw it, and say where it is."""
        from headclip_med.datasets import require_folders

        require(bool(self.data), "Nothing to compare on was named.", "Name a set: LAYOUT:FOLDER.")
        require_folders(self.data, None)
        self.check_model(self.request(self.checkpoint))
        from headclip_med.pipelines.compare import CompareRequest, compare
        from headclip_med.write.tables import table_to_markdown, to_json

        request = CompareRequest(
            data=self.data, model=self.request(self.checkpoint), examples=self.examples,
            seed=self.seed, out=self.out, batch_size=self.batch_size, image_size=self.image_size,
        )  # fmt: skip
        with progress(None, "image") as bar:
            found = compare(request, say=lambda line: VOICE.say(f"headclip: {line}"), seen=bar.seen)
        paths = {kind: str(path) for kind, path in found.paths.items()}
        if self.json:
            print(json.dumps({**to_json(found.document), "files": paths}))
            return 0
        show_markdown("\n".join(map(table_to_markdown, found.document.tables)))
        print(f"picture        {paths['grid']}")
        print(f"page           {paths['html']}")
        return 0
