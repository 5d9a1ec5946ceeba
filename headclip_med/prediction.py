"""What models are shown and what they return: tensors by what they mean, and a prediction."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor

Images = Float[Tensor, "batch 3 height width"]
Maps = Float[Tensor, "batch height width"]
"""A value for each pixel of each image."""
PairMaps = Float[Tensor, "batch 2 height width"]
"""How normal each pixel looks, and how abnormal."""
LevelMaps = Float[Tensor, "levels batch 2 height width"]
"""``PairMaps`` of each layer that maps are taken from."""
GridMaps = Float[Tensor, "batch rows columns"]
"""A value for each patch."""
GridPairs = Float[Tensor, "batch 2 rows columns"]
"""How normal each patch looks, and how abnormal."""
ImageScores = Float[Tensor, "batch"]
Labels = Int[Tensor, "batch"]
"""1 for abnormal images."""
ScorePairs = Float[Tensor, "batch 2"]
"""How normal each image looks, and how abnormal."""
Embeddings = Float[Tensor, "batch joint"]
"""A vector for each image in the space that it shares with sentences."""
AnyEmbeddings = Float[Tensor, "*batch joint"]
"""Vectors of that space, arranged in any way."""
TextPair = Float[Tensor, "2 joint"]
"""The vector of what is normal, and that of what is not."""
SentenceVectors = Float[Tensor, "prompts joint"]
"""A vector of that space for each sentence."""
Patches = Float[Tensor, "batch patches joint"]
"""A vector of that space for each patch."""
GridTokens = Float[Tensor, "rows columns joint"]
"""The same of one image, where its patches lie."""
PatchGrid = Float[Tensor, "batch grid_rows grid_columns features"]
"""Vectors of unit length where the places lie that they describe."""
PatchTokens = Float[Tensor, "batch patches channels"]
"""What a layer of a tower gives for patches, the class token left out."""
Tokens = Float[Tensor, "batch tokens channels"]
"""What a layer of a tower takes and gives."""
TokenIds = Int[Tensor, "prompts tokens"]
"""Sentences as numbers of words."""


@dataclass(frozen=True, eq=False)
class Prediction:
    """An anomaly map, its log-odds and a global score per image, on the model's device.

    Attributes:
        map: float32 in [0, 1]; how abnormal each pixel looks (HeadCLIP eq. 12).
        global_score: float32 in [0, 1]; how abnormal the image looks as a whole: S_global of eq. 8,
            and the method's own image score where it publishes another. For HeadCLIP, AnomalyCLIP
            and WinCLIP it is the class token's probability, for AdaCLIP that after its fusion, for
            AnoVL the mean over views; WinCLIP's second implementation takes the map's highest
            pixel. ``ScoreSettings.image_score`` says whether JAS is put on top of it.
        logits: float32, finite; the log-odds of the map before it was smoothed, so that
            map = G(sigmoid(logits)). They keep the order of pixels whose probability float32
            rounds to 1, and every smoothing follows from them (``models.similarity``).
        local_score: float32 in [0, 1]; S_local of eq. 7 where the model's scores take it from
            ``patches``, which ``map`` no longer shows; None where they take it from pixels.
        patches: float32, unit length; the method's own local features, which its map is made of,
            each where it lies in the image: what ``compare_sides`` compares. A method that sees
            an image and its mirror image gives both, one behind the other. None where it has none.
    """

    map: Maps
    global_score: ImageScores
    logits: Maps
    local_score: ImageScores | None = None
    patches: PatchGrid | None = None
