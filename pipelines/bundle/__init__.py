"""What the MONAI bundle's configurations name: its parts, all built on the project's own code."""

from headclip_med.pipelines.bundle.cases import Cases
from headclip_med.pipelines.bundle.guards import ScreenWorkflow, start
from headclip_med.pipelines.bundle.network import ScreeningInferer, ScreeningNetwork
from headclip_med.pipelines.bundle.training import (
    LabelledImages,
    LoadExampled,
    ScreeningMetrics,
    TrainingFolder,
    TrainingNetwork,
    executed_config,
    unique_run_name,
)
from headclip_med.pipelines.bundle.transforms import LoadVolumed, VolumeReader, WriteScreeningd

__all__ = [
    "Cases",
    "LabelledImages",
    "LoadExampled",
    "LoadVolumed",
    "ScreenWorkflow",
    "ScreeningInferer",
    "ScreeningMetrics",
    "ScreeningNetwork",
    "TrainingFolder",
    "TrainingNetwork",
    "VolumeReader",
    "WriteScreeningd",
    "executed_config",
    "start",
    "unique_run_name",
]
