"""Labelled images to evaluate on: industrial and medical sets, read where the user keeps them."""

from headclip_med.datasets.check import check_set
from headclip_med.datasets.discover import (
    PROTOCOLS,
    Protocol,
    discover,
    find_sets,
    protocol_sets,
)
from headclip_med.datasets.known import KNOWN_SETS, find_set, mvtec, open_dataset
from headclip_med.datasets.layouts import KnownSet, LabelFile, Layout
from headclip_med.datasets.report import Finding, Report
from headclip_med.datasets.samples import (
    Dataset,
    Sample,
    SliceReader,
    join_datasets,
    read_image,
    read_mask,
)

__all__ = [
    "KNOWN_SETS",
    "PROTOCOLS",
    "Dataset",
    "Finding",
    "KnownSet",
    "LabelFile",
    "Layout",
    "Protocol",
    "Report",
    "Sample",
    "SliceReader",
    "check_set",
    "discover",
    "find_set",
    "find_sets",
    "join_datasets",
    "mvtec",
    "open_dataset",
    "protocol_sets",
    "read_image",
    "read_mask",
]
