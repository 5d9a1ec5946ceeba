"""Every number of the embedded backbone's pretraining."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import asdict, dataclass, field
from itertools import accumulate
from typing import Any

from headclip_med.errors import InvalidSettings


@dataclass(frozen=True)
class MiniLosses:
    """Weights of the loss terms; those of the local map have weight one unless listed."""

    global_score: float = 0.8
    """Cross-entropy of the class token's score."""
    auxiliary: float = 0.5
    """Two linear heads on the last and on the value-value tokens; thrown away afterwards. Without
    them the map sits at its base rate for the first minutes."""
    top: float = 0.8
    """Cross-entropy of the mean of the map's highest pixels: the score that users get."""
    caption: float = 0.15
    """Contrast between pictures and their captions."""
    margin: float = 0.5
    """Keeps the texts of normal and abnormal apart; see ``text_cosine``."""
    text_cosine: float = 0.4
    """Cosine of the two texts above which ``margin`` acts. They start near 0.97."""
    positives: float = 20.0
    """Weight of a defective pixel in the map's cross-entropy, times its piece's emphasis."""
    top_percent: float = 3.0
    """Percentage of the map's pixels in the ``top`` mean (k of HeadCLIP eq. 7)."""


@dataclass(frozen=True)
class MiniClosing:
    """A phase after the long first one."""

    family: str
    """What it draws from the corpus."""
    steps: int
    """Batches."""
    anew: bool = False
    """Whether it keeps nothing of the phase before but the finished file: averaged weights as
    float16, with the optimiser's moments and the auxiliary heads as at the very start. So it can
    be run, or run again, where only that file is left."""


@dataclass(frozen=True)
class MiniSettings:
    """The recipe of ``headclip-mini``. Everything that a run does follows from these and a step."""

    seed: int = 20_261
    """Of the weights, the corpus and the order of training."""
    width: int = 192
    """Of the image tower; equals 8 x 8 x 3, so that the patch stem can start as a full DCT."""
    layers: int = 6
    """Blocks of the image tower."""
    head_width: int = 32
    """Width of an attention head."""
    patch_px: int = 8
    """Rows and columns of a patch."""
    image_px: int = 112
    """Size that the position table belongs to, and of training after ``small_fraction``."""
    small_px: int = 80
    """Size of training before: twice as quick."""
    small_fraction: float = 0.68
    """Fraction of the steps at the small size."""
    joint_width: int = 128
    """Of the space shared by pictures and text."""
    text_width: int = 128
    """Of the text tower."""
    text_heads: int = 4
    """Attention heads of the text tower."""
    text_layers: int = 3
    """Blocks of the text tower."""
    context_length: int = 32
    """Tokens per sentence: 12 learnable ones, a state and a noun fit."""
    local_layers: tuple[int, ...] = (4, 5, 6)
    """One-based blocks whose value-value heads make the map."""
    mean: float = 0.5
    """Subtracted from every channel."""
    std: float = 0.25
    """Divides every channel."""
    steps: int = 7_500
    """Batches in all. Steady rates, then ``decay_fraction``: a run may be resumed with another
    number before the first of its marks (small to full size, start of decay) and is still this
    recipe with that number."""
    batch: int = 32
    """Pictures per step."""
    rate: float = 1e-3
    """Learning rate after warm-up: hot, to leave the first plateau."""
    hot_steps: int = 1_500
    """Steps at ``rate``; gradients of small batches are too noisy for it afterwards."""
    settled_rate: float = 5e-4
    """Learning rate after ``hot_steps``."""
    warmup_steps: int = 200
    """Linear warm-up."""
    decay_fraction: float = 0.22
    """Fraction of the steps, at the end, over which the rate falls linearly to zero."""
    weight_decay: float = 0.05
    """AdamW's, on matrices only."""
    betas: tuple[float, float] = (0.9, 0.98)
    """AdamW's."""
    clip_norm: float = 1.0
    """Largest norm of the gradient."""
    average: float = 0.999
    """Of the exponential moving average of weights, which is what is kept."""
    temperature: float = 0.07
    """Softmax temperature of scores and map, as in HeadCLIP."""
    map_px: int = 56
    """Size at which the map is compared with the mask."""
    pool_images: int = 1024
    """Pictures per pool of the corpus."""
    live_pools: int = 4
    """Pools that batches are drawn from at a time."""
    steps_per_pool: int = 80
    """Steps after which the oldest pool is replaced: each picture is seen 2.5 times, never twice
    alike."""
    flip: float = 0.6
    """Probability that a batch is mirrored or transposed (its captions' places are then wrong, and
    the caption loss counts less)."""
    workers: int = 1
    """Processes that draw the corpus in the background; 0 draws it in the foreground."""
    threads: int = 2
    """Threads of the training process."""
    checkpoint_every: int = 250
    """Steps between checkpoints."""
    evaluate_every: int = 500
    """Steps between rows of the learning curve."""
    log_every: int = 50
    """Steps between lines of the log."""
    curve_images: int = 384
    """Held-out corpus pictures in the learning curve."""
    curve_volumes: int = 20
    """Development volumes in the learning curve."""
    losses: MiniLosses = field(default_factory=MiniLosses)
    """Weights of the loss terms."""
    closings: tuple[MiniClosing, ...] = (
        MiniClosing("closing", 3_000),
        MiniClosing("hard", 1_800, anew=True),
    )
    """Phases after ``steps``. Most of their pictures are heads, since heads are what the
    demonstration shows; in the second, what the first left hard to find is frequent."""
    closing_rate: float = 4e-4
    """Learning rate of every closing, falling linearly to zero over its second half."""
    closing_warmup_steps: int = 40
    """Linear warm-up of every closing."""
    closing_losses: MiniLosses = field(
        default_factory=lambda: MiniLosses(
            global_score=1.0, top=1.0, positives=10.0, top_percent=1.5
        )
    )
    """Weights of the loss terms in the closings: the scores count more, and so
    does a false alarm beside what is missed."""

    def __post_init__(self) -> None:
        """Check what would fail late or silently."""
        for size in (self.image_px, self.small_px):
            if size % self.patch_px:
                raise InvalidSettings(
                    f"Size {size} is no multiple of the {self.patch_px} px patch.",
                    "Choose another.",
                )
        if not set(self.local_layers) <= set(range(1, self.layers + 1)):
            raise InvalidSettings(
                "local_layers must lie between 1 and layers.", "Name layers that the model has."
            )
        if any(steps < 1 for steps in (self.steps, *(closing.steps for closing in self.closings))):
            raise InvalidSettings(
                "Every phase needs a positive number of steps.", "Leave a phase out instead."
            )
        if not 0 < self.decay_fraction <= 1:
            raise InvalidSettings(
                "decay_fraction must lie in (0, 1].", "Give a share of the steps."
            )

    def model_config(self) -> dict[str, Any]:
        """The open_clip configuration of the model."""
        return {
            "embed_dim": self.joint_width,
            "vision_cfg": {
                "layers": self.layers,
                "width": self.width,
                "head_width": self.head_width,
                "patch_size": self.patch_px,
                "image_size": self.image_px,
            },
            "text_cfg": {
                "context_length": self.context_length,
                "vocab_size": 49_408,
                "width": self.text_width,
                "heads": self.text_heads,
                "layers": self.text_layers,
            },
        }

    def preprocess(self) -> dict[str, tuple[float, ...]]:
        """Mean and standard deviation per channel."""
        return {"mean": (self.mean,) * 3, "std": (self.std,) * 3}

    def learning_rate(self, step: int) -> float:
        """Warm-up, hot, settled, linear decay to zero; then the same in every closing, briefly."""
        phase = self.phase(step)
        if phase:
            first, end = self.ends[phase - 1 : phase + 1]
            warm = min(1.0, (step - first + 1) / self.closing_warmup_steps)
            return self.closing_rate * warm * min(1.0, 2 * (end - step) / (end - first))
        begin = self.steps * (1 - self.decay_fraction)
        falling = (self.steps - step) / (self.steps - begin)
        rate = self.rate if step < self.hot_steps else self.settled_rate
        return rate * min(1.0, (step + 1) / self.warmup_steps, max(0.0, falling))

    def size_px(self, step: int) -> int:
        """Size of the pictures of a zero-based step."""
        return self.small_px if step < self.small_fraction * self.steps else self.image_px

    @property
    def ends(self) -> tuple[int, ...]:
        """The number of steps at the end of each phase, the closings' after the first one's."""
        return tuple(accumulate((self.steps, *(closing.steps for closing in self.closings))))

    @property
    def families(self) -> tuple[str, ...]:
        """What each phase draws from the corpus."""
        return ("mixed", *(closing.family for closing in self.closings))

    def phase(self, step: int) -> int:
        """Which phase a zero-based step belongs to: 0 before the closings."""
        return min(bisect_right(self.ends, step), len(self.closings))

    def begins_anew(self, step: int) -> bool:
        """Whether a zero-based step is the first of a closing that keeps only the finished file."""
        phase = self.phase(step)
        return phase > 0 and step == self.ends[phase - 1] and self.closings[phase - 1].anew

    def losses_at(self, step: int) -> MiniLosses:
        """Weights of the loss terms of a zero-based step."""
        return self.closing_losses if self.phase(step) else self.losses

    def to_json(self) -> dict[str, object]:
        """Plain values for a file's header."""
        return asdict(self)
