"""Where the frames of an object lie, and what tells them from others at the same place."""

from headclip_med.read.dicom.planes.frames import FRAME_KEYWORDS, Frame, read_frames
from headclip_med.read.dicom.planes.groups import find_group
from headclip_med.read.dicom.planes.plane import Plane
from headclip_med.read.dicom.planes.signs import CLOCKS, CONTRASTS, DIMENSIONS, ORDERS, SIGNS

__all__ = [
    "CLOCKS",
    "CONTRASTS",
    "DIMENSIONS",
    "FRAME_KEYWORDS",
    "ORDERS",
    "SIGNS",
    "Frame",
    "Plane",
    "find_group",
    "read_frames",
]
