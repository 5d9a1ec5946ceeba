"""The paper's equations as they are printed, to hold the library's own forms against."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from headclip_med.models.maps import smooth, upsample


def anomaly_map(
    probabilities: Float[Tensor, "batch 2 rows columns"], height: int, width: int, sigma_px: float
) -> Float[Tensor, "batch height width"]:
    """Turn patch probabilities into a map: G(Up((1 - N + A) / 2)) (eq. 12).

    Args:
        probabilities: P(normal) and P(abnormal) of each patch.
        height: Rows of the image.
        width: Columns of the image.
        sigma_px: Standard deviation of the Gaussian G, in pixels of the image; 0 for none.

    Returns:
        How abnormal each pixel looks, in [0, 1].
    """
    normal, abnormal = upsample(probabilities.float(), height, width).unbind(1)
    return smooth((1 - normal + abnormal) / 2, sigma_px)
