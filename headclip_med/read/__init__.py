"""Files in, volumes out: DICOM, NIfTI and images, each slice with the object it came from."""

from headclip_med.read.find import find_inputs, read_volume
from headclip_med.read.inputs import Failure, Input, Inputs
from headclip_med.read.limits import DEFAULT_LIMITS, ReadLimits

__all__ = [
    "DEFAULT_LIMITS",
    "Failure",
    "Input",
    "Inputs",
    "ReadLimits",
    "find_inputs",
    "read_volume",
]
