"""Labelled images to evaluate on: industrial and medical sets, read where the user keeps them."""

from headclip_med.datasets.discover import discover
from headclip_med.datasets.folders import class_folders, paired_folders
from headclip_med.datasets.known import KNOWN_SETS, open_dataset
from headclip_med.datasets.mvtec import mvtec
from headclip_med.datasets.samples import Dataset, Sample, read_image, read_mask

__all__ = [
    "KNOWN_SETS",
    "Dataset",
    "Sample",
    "class_folders",
    "discover",
    "mvtec",
    "open_dataset",
    "paired_folders",
    "read_image",
    "read_mask",
]
