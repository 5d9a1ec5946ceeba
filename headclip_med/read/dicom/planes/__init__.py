"""Where the frames of an object lie, and what tells them from others at the same place.

What is named here needs no pydicom; what reads it from elements stands in modules of its own.
"""

from headclip_med.read.dicom.planes.frame import Frame, Tile
from headclip_med.read.dicom.planes.plane import Plane
from headclip_med.read.dicom.planes.signs import CLOCKS, CONTRASTS, DIMENSIONS, ORDERS, SIGNS

__all__ = ["CLOCKS", "CONTRASTS", "DIMENSIONS", "ORDERS", "SIGNS", "Frame", "Plane", "Tile"]
