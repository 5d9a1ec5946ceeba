"""WinCLIP, zero-shot: sentences by the hundred, and CLIP's own view of every small window.

"WinCLIP: Zero-/Few-Shot Anomaly Classification and Segmentation" (CVPR 2023). Nothing is learned.
Its authors published no code; two implementations are followed, and ``WinClipSettings`` chooses:

- ``anomalib``, which follows the paper: P(abnormal) of each window, their harmonic mean over the
  windows that cover a patch, then over scales, the whole image being one more. The image score is
  the whole image's. It has one description twice and lacks another; ``corrected`` puts that right.
- ``caoyunkang``: the mean of 1 / P(normal) over windows, then over scales, x, gives 1 - 1 / x, so
  that it is normality that is averaged harmonically. The image score is the map's highest pixel.
  Its zero-shot map is fused with itself and so comes out at half its value; ``corrected`` leaves
  that out.

Windows see the positions of the whole image, and go through all blocks with a class token each.
Few-shot WinCLIP+, which needs normal images of the same kind, is not offered.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from headclip_med.content import ImageContent
from headclip_med.errors import InvalidSettings
from headclip_med.models import sentences
from headclip_med.models.clip.towers import Backbone, variant
from headclip_med.models.clip.vision import BlockOutput, VisionTower
from headclip_med.models.engine.run import LastToken, PassPlan, Ran, run
from headclip_med.models.maps import in_double, log_odds, similarity_logits, unit, upsample
from headclip_med.models.model import EVEN
from headclip_med.models.winclip.settings import NAME, SCORES, WinClipSettings
from headclip_med.prediction import AnyEmbeddings, GridMaps, Images, ImageScores, Prediction, Tokens
from headclip_med.settings import PositionInterpolation

_ANOMALIB_LACKS, _ANOMALIB_REPEATS = 1, 8
"""Of the frames anomalib lacks one; in place of another it has the one behind it twice."""

_STATES: Mapping[sentences.Wording, sentences.States] = {
    "published": (("{}", "flawless {}", "perfect {}", "unblemished {}"), ("damaged {}",)),
    "medical": (("{}", "normal {}", "healthy {}", "intact {}"), ("abnormal {}",)),
}


def winclip_ensemble(
    implementation: str,
    wording: sentences.Wording,
    subject: ImageContent,
    *,
    corrected: bool = False,
) -> sentences.Ensemble:
    """Build the ensemble.

    Args:
        implementation: ``anomalib`` (21 descriptions, with a full stop) or ``caoyunkang`` (22).
        wording: Published, or medical, which is the same for both.
        subject: What is looked at.
        corrected: Whether anomalib's descriptions are put right.
    """
    states, thing = _STATES[wording], subject.name or sentences.NAMELESS
    if wording == "medical":
        descriptions = sentences.medical_descriptions(sentences.kinds_of(subject)[:1])
        return sentences.compose("winclip-medical", thing, states, descriptions, wording)
    frames, stop = list(sentences.FRAMES), ""
    if implementation == "anomalib":
        stop = "."
        if not corrected:
            frames[_ANOMALIB_REPEATS] = frames[_ANOMALIB_REPEATS + 1]
            del frames[_ANOMALIB_LACKS]
    name = f"winclip-{implementation}{'-corrected' if corrected else ''}"
    descriptions = [f"{a.format('photo')} of {b}{stop}" for a, b in frames]
    return sentences.compose(name, thing, states, descriptions, wording)


TEMPERATURES = {"anomalib": 0.07, "caoyunkang": 0.01}
INTERPOLATIONS: dict[str, PositionInterpolation] = {
    "anomalib": "bicubic-antialias",
    "caoyunkang": "bicubic",
}

TOKENS_PER_PASS = 16_384
"""Windows are run so many tokens at a time, which bounds memory; as fast as all at once."""


class WinClip(sentences.SentenceModel):
    """An ``AnomalyModel`` on any backbone.

    Args:
        backbone: Both towers; the caller's are left as they are.
        settings: What the model is made of.
    """

    settings: WinClipSettings

    def __init__(self, backbone: Backbone, settings: WinClipSettings | None = None) -> None:
        settings = settings or WinClipSettings()
        interpolation = settings.position_interpolation
        if interpolation == "published":
            interpolation = INTERPOLATIONS[settings.implementation]
        towers = variant(
            backbone, activation=backbone.activation, position_interpolation=interpolation
        )
        super().__init__(towers, method=NAME, settings=settings, scores=SCORES)
        self.threshold = EVEN / 2 if _is_halved(settings) else EVEN
        self.temperature = settings.temperature or TEMPERATURES[settings.implementation]

    @property
    def ensemble(self) -> sentences.Ensemble:
        """The sentences about the present subject."""
        chosen = self.settings
        return winclip_ensemble(
            chosen.implementation, chosen.wording, self._named, corrected=chosen.corrected
        )

    def reader(self) -> _WindowReader:
        """Give what reads the plain pass; the windows follow it."""
        return _WindowReader()

    def finish(self, reader: _WindowReader, images: Images) -> Prediction:
        """Predict images by their windows."""
        size = images.shape[-2], images.shape[-1]
        rows, columns = (side // self.vision.patch_px for side in size)
        windows, placed = [], []
        for scale in self.settings.scales:
            index = window_index(rows, columns, scale)
            tokens = run_windows(self.vision, reader.first, index, precision=self.ran)
            features = unit(self.vision.project(tokens.float()))
            grid = (rows - scale + 1, columns - scale + 1)
            windows.append(self.logits(features).view(-1, *grid))
            placed.append(features.reshape(len(images), *grid, -1))
        whole = self.logits(unit(self.vision.project(reader.token.float())))
        follows_paper = self.settings.implementation == "anomalib"
        if follows_paper:
            pooled = pool_abnormality(whole, windows, self.settings.scales)
        else:
            pooled = pool_normality(windows, self.settings.scales)
        both = torch.stack([(-pooled).sigmoid(), pooled.sigmoid()], dim=1)
        normal, abnormal = upsample(both, *size).unbind(1)
        if _is_halved(self.settings):
            normal, abnormal = (1 + normal) / 2, abnormal / 2
        score = whole.sigmoid() if follows_paper else abnormal.amax(dim=(1, 2))
        smallest = placed[self.settings.scales.index(min(self.settings.scales))]
        return self.smoothed(log_odds(abnormal, normal), score, smallest)

    def abnormality(self, features: AnyEmbeddings) -> Float[Tensor, "*batch"]:
        """Compare unit features with the sentences: P(abnormal)."""
        return self.logits(features).sigmoid().float()

    def logits(self, features: AnyEmbeddings) -> Float[Tensor, "*batch"]:
        """Compare unit features with the sentences: the log-odds of P(abnormal)."""
        logits = similarity_logits(features, self.sentences().text, self.temperature)
        normal, abnormal = in_double(logits).unbind(-1)
        return abnormal - normal


class _WindowReader(LastToken):
    """Keeps what enters the first block as well."""

    first: Tensor

    def read(self, block: BlockOutput) -> None:
        super().read(block)
        if block.layer == 1:
            self.first = block.tokens_in


def window_index(rows: int, columns: int, scale: int) -> Int[Tensor, "windows patches"]:
    """List the patches of every window of a scale, stride 1, row by row.

    Args:
        rows: Of the grid of patches.
        columns: Of it.
        scale: Side of the windows, in patches.

    Returns:
        Numbers of patches from 0, row by row.

    Raises:
        InvalidSettings: The grid is smaller than a window.
    """
    if scale > min(rows, columns):
        raise InvalidSettings(
            f"Windows of {scale} x {scale} patches do not fit an image of {rows} x {columns} "
            "patches.",
            "Choose smaller scales, or a larger image size.",
            code="window-too-large",
        )
    grid = torch.arange(rows * columns).view(rows, columns)
    return grid.unfold(0, scale, 1).unfold(1, scale, 1).reshape(-1, scale * scale)


def run_windows(
    vision: VisionTower,
    embedded: Tokens,
    index: Int[Tensor, "windows patches"],
    *,
    precision: Ran = "fp32",
) -> Float[Tensor, "batch windows channels"]:
    """Run every window through all blocks, with a class token of its own.

    Args:
        vision: The image tower.
        embedded: What enters the first block, class token first.
        index: Of the patches in each window, from 0.
        precision: What the tower's products are computed in.

    Returns:
        The class token that leaves the last block, of each window.
    """
    batch, width = len(embedded), index.shape[1] + 1
    class_tokens, patches = embedded[:, :1], embedded[:, 1:]
    index = index.to(embedded.device)
    found = []
    step = max(1, TOKENS_PER_PASS // (batch * width))
    for at in range(0, len(index), step):
        part = index[at : at + step]
        first = class_tokens[:, None].expand(-1, len(part), -1, -1)
        tokens = torch.cat([first, patches[:, part]], dim=2).flatten(0, 1)
        last = LastToken()
        run(PassPlan(vision, (last,), precision), tokens)
        found.append(last.token.view(batch, len(part), -1))
    return torch.cat(found, dim=1)


def sum_over_windows(values: Float[Tensor, "batch down across"], scale: int) -> GridMaps:
    """Add up, for every patch, the values of the windows that cover it."""
    batch, down, across = values.shape
    spread = values.reshape(batch, 1, -1).expand(-1, scale * scale, -1)
    grid = (down + scale - 1, across + scale - 1)
    return functional.fold(spread, output_size=grid, kernel_size=scale)[:, 0]


def mean_reciprocal(values: Float[Tensor, "batch down across"], scale: int) -> GridMaps:
    """Average 1 / value over the windows that cover a patch; its inverse is a harmonic mean."""
    counts = sum_over_windows(torch.ones_like(values[:1]), scale)
    return sum_over_windows(1 / values, scale) / counts


def pool_abnormality(
    whole: ImageScores, windows: list[Float[Tensor, "batch _ _"]], scales: tuple[int, ...]
) -> GridMaps:
    """Average P(abnormal) harmonically over windows, then over scales and the whole image.

    All in log-odds: 1 / P is 1 + 1 / odds, so that the odds of a harmonic mean of probabilities
    are the harmonic mean of their odds, and nothing is lost near 0 or 1.

    Args:
        whole: Log-odds of the whole image.
        windows: Log-odds of the windows of each scale.
        scales: Sides of the windows, in patches.
    """
    means = [mean_reciprocal(one.exp(), scale) for one, scale in zip(windows, scales, strict=True)]
    reciprocals = [(-whole).exp()[:, None, None].expand_as(means[0]), *means]
    return -torch.stack(reciprocals).mean(dim=0).log()


def pool_normality(windows: list[Float[Tensor, "batch _ _"]], scales: tuple[int, ...]) -> GridMaps:
    """Average 1 / P(normal) over windows, then over scales: x, and give 1 - 1 / x, in log-odds."""
    pairs = zip(windows, scales, strict=True)
    means = [mean_reciprocal((-one).exp(), scale) for one, scale in pairs]
    return torch.stack(means).mean(dim=0).log()


def _is_halved(settings: WinClipSettings) -> bool:
    return settings.implementation == "caoyunkang" and not settings.corrected
