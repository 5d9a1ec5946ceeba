"""Labelled images to evaluate on: industrial and medical sets, read where the user keeps them."""

from headclip_med.datasets.check import check_set
from headclip_med.datasets.discover import (
    PROTOCOLS,
    Protocol,
    discover,
    find_sets,
    protocol_sets,
    require_folders,
)
from headclip_med.datasets.known import KNOWN_SETS, find_set, open_dataset
from headclip_med.datasets.layouts import KnownSet
from headclip_med.datasets.pixels.doubts import doubts_of
from headclip_med.datasets.report import Report
from headclip_med.datasets.samples import Dataset, Sample, join_datasets, read_image, read_mask

__all__ = [
    "KNOWN_SETS",
    "PROTOCOLS",
    "Dataset",
    "KnownSet",
    "Protocol",
    "Report",
    "Sample",
    "check_set",
    "discover",
    "doubts_of",
    "find_set",
    "find_sets",
    "join_datasets",
    "open_dataset",
    "protocol_sets",
    "read_image",
    "read_mask",
    "require_folders",
]
