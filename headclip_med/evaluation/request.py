"""What is asked of an evaluation: on which sets, of which model, what is measured and written."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from headclip_med.errors import InvalidSettings
from headclip_med.models.request import ModelRequest
from headclip_med.settings import (
    MOST_SEEDS,
    Count,
    ImageSize,
    Plane,
    Settings,
    Symmetry,
    Words,
    checked,
)
from headclip_med.tracking import TrackingOptions

FORMS = (".md", ".csv", ".json")
"""How a file of tables may end."""

EvalSize = Literal["input", "native"]
"""``input`` is where published methods compare pixels: maps as they come, masks shrunk to them.
``native`` is each image's own size: masks as they were drawn, maps stretched to them."""


@checked
class EvaluationSettings(Settings):
    """How models are evaluated on a set."""

    limit: Count | None = None
    """At most this many images of each category, evenly spread over its list."""
    batch_size: Count = 8
    """Images per forward pass."""
    planes: Plane = "axial"
    """Which of the patient's planes volumes are cut in, however their files store them; where it
    cannot be cut well, that of the acquisition."""
    image_size: ImageSize | None = None
    """Rows and columns of every model's input, in pixels; each one's own by default."""
    metrics: Literal["exact", "paper", "both"] = "exact"
    """Thresholds of the pixel metrics: all, or those of the field's published code, which follow
    the scale of the scores."""
    eval_size: EvalSize = "input"
    """Where pixels are compared: at the model's input, as published, or at each image's own
    size."""
    symmetry: Symmetry = "auto"
    """Whether rows of the model joined with both sides' difference stand beside its own: ``auto``
    adds them to sets that declare themselves CT or MR of the head."""
    intervals: bool = True
    """Whether the exact metrics are bootstrapped, which reads all maps a second time."""
    store: Path | None = None
    """Where predictions are kept and looked up, so that no image is shown to the same model twice;
    temporary files by default."""
    curves: Path | None = None
    """Where ROC, precision-recall and per-region-overlap curves are drawn."""

    @property
    def protocols(self) -> tuple[Literal["exact", "paper"], ...]:
        """By which pixels are measured; see ``headclip_med.metrics``."""
        return ("exact", "paper") if self.metrics == "both" else (self.metrics,)


@checked
class EvaluationRequest(EvaluationSettings):
    """An evaluation on any number of sets.

    Raises:
        InvalidSettings: There is nothing to evaluate on, or what is asked for does not go together.
    """

    data: tuple[Words, ...] = ()
    """Sets, as ``LAYOUT:FOLDER``."""
    data_root: Path | None = None
    """Every known set below this folder, or those of the protocol."""
    protocol: Words | None = None
    """The sets that a published protocol tests: visa-to-mvtec or mvtec-to-all."""
    acceptance: bool = False
    """The synthetic acceptance phantoms."""
    model: ModelRequest = Field(default_factory=ModelRequest)
    """What is evaluated."""
    seeds: Annotated[int, Field(ge=1, le=MOST_SEEDS)] = 1
    """Evaluate with this many seeds, and give means and standard deviations over them."""
    paper: bool = False
    """Whether the HeadCLIP paper's numbers are put beside, which takes both protocols."""
    per_category: bool = False
    """Whether a table for each category is shown as well."""
    out: Path | None = None
    """A file for the tables, of one of ``FORMS``."""
    tracking: TrackingOptions = Field(default_factory=TrackingOptions)
    """How the run is recorded."""

    def __post_init__(self) -> None:
        if not (self.data or self.data_root or self.acceptance):
            raise InvalidSettings(
                "Nothing to evaluate on was named.", "Name a set, --data-root or --acceptance."
            )
        more = self.store or self.curves or self.metrics != "exact" or self.eval_size != "input"
        if self.acceptance and more:
            raise InvalidSettings(
                "--acceptance is measured by --metrics exact at eval_size input, keeps no "
                "--store and draws no curves.",
                "Leave them out, or evaluate the sets alone.",
            )
        if self.seeds > 1 and self.curves:
            raise InvalidSettings(
                "Curves are of one seed, and --seeds are several.", "Leave one of them out."
            )
        if self.out and self.out.suffix not in FORMS:
            raise InvalidSettings(
                f"--out names a file that ends in {', '.join(FORMS)}, and this one does not.",
                "Give it one of these endings.",
            )

    @property
    def protocols(self) -> tuple[Literal["exact", "paper"], ...]:
        """As for a set, or both, which the paper's comparison takes."""
        return ("exact", "paper") if self.paper else super().protocols
