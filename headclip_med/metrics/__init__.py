"""How well scores tell abnormal from normal, by two protocols that are always named.

``exact``: every distinct score is a threshold, equal scores form one, and a pixel or an image is
called abnormal at or above it. ``paper``: the threshold grids of the field's published code, whose
values depend on the scale of the scores; see ``paper.py``. What needs an absent class is NaN.
"""

from headclip_med.metrics.bootstrap import PixelDraws, interval
from headclip_med.metrics.curves import Curves, image_curves
from headclip_med.metrics.pooled import Pooled, Protocol, image_metrics, pixel_metrics
from headclip_med.metrics.ranking import Sampled, sample_images, sample_pixels
from headclip_med.metrics.streaming import PixelMetrics

__all__ = [
    "Curves",
    "PixelDraws",
    "PixelMetrics",
    "Pooled",
    "Protocol",
    "Sampled",
    "image_curves",
    "image_metrics",
    "interval",
    "pixel_metrics",
    "sample_images",
    "sample_pixels",
]
