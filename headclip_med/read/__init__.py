"""Files in, volumes out: DICOM, NIfTI and images, each slice with the object it came from."""

from headclip_med.read.find import as_volume, find_inputs, read_volume
from headclip_med.read.guards import DEFAULT_LIMITS, ReadLimits
from headclip_med.read.inputs import Failure, Input, Inputs

__all__ = [
    "DEFAULT_LIMITS",
    "Failure",
    "Input",
    "Inputs",
    "ReadLimits",
    "as_volume",
    "find_inputs",
    "read_volume",
]
