"""What the MONAI bundle's configurations name: its parts, all built on the project's own code."""

from headclip_med.pipelines.bundle.cases import CaseEvaluator, Cases, find_cases
from headclip_med.pipelines.bundle.guards import check_inputs, check_overrides, screen_settings
from headclip_med.pipelines.bundle.inferer import ScreeningInferer
from headclip_med.pipelines.bundle.network import ScreeningNetwork
from headclip_med.pipelines.bundle.transforms import (
    ConcludeScreeningd,
    CropToBodyd,
    LoadVolumed,
    SaveScreeningd,
    WindowVolumed,
)
from headclip_med.pipelines.bundle.volumes import VolumeReader, tensor_of, volume_of
from headclip_med.pipelines.bundle.workflow import ScreenWorkflow

__all__ = [
    "CaseEvaluator",
    "Cases",
    "ConcludeScreeningd",
    "CropToBodyd",
    "LoadVolumed",
    "SaveScreeningd",
    "ScreenWorkflow",
    "ScreeningInferer",
    "ScreeningNetwork",
    "VolumeReader",
    "WindowVolumed",
    "check_inputs",
    "check_overrides",
    "find_cases",
    "screen_settings",
    "tensor_of",
    "volume_of",
]
