"""Both sides of a head compared: its plane of symmetry, what differs, and how much that means."""

from headclip_med.transforms.symmetry.differences import Asymmetry, Sides, compare_sides
from headclip_med.transforms.symmetry.lines import LineFit, fit_line
from headclip_med.transforms.symmetry.mirrors import MirrorLine, MirrorPlane
from headclip_med.transforms.symmetry.planes import PlaneFit, fit_plane, spans_enough
from headclip_med.transforms.symmetry.reflections import mirrored_slices
from headclip_med.transforms.symmetry.subjects import wants_symmetry

__all__ = [
    "Asymmetry",
    "LineFit",
    "MirrorLine",
    "MirrorPlane",
    "PlaneFit",
    "Sides",
    "compare_sides",
    "fit_line",
    "fit_plane",
    "mirrored_slices",
    "spans_enough",
    "wants_symmetry",
]
