"""The procedural training corpus: images, defect masks and captions, drawn from numbers alone.

No photograph and no patient's image is in it. Medical *appearance* is designed in from general
knowledge of how scans look, so what is trained on it has seen no medical data, but has a medical
prior.
"""

from research.mini.corpus.samples import Samples, draw_samples, industrial_samples, organ_samples

__all__ = ["Samples", "draw_samples", "industrial_samples", "organ_samples"]
