"""What the MONAI bundle's configurations name: its parts, all built on the project's own code."""

from headclip_med.pipelines.bundle.cases import Cases
from headclip_med.pipelines.bundle.guards import start
from headclip_med.pipelines.bundle.inferer import ScreeningInferer
from headclip_med.pipelines.bundle.network import ScreeningNetwork
from headclip_med.pipelines.bundle.tracking import executed_config, unique_run_name
from headclip_med.pipelines.bundle.training import (
    LabelledImages,
    TrainingFolder,
    TrainingNetwork,
)
from headclip_med.pipelines.bundle.transforms import LoadVolumed, VolumeReader, WriteScreeningd
from headclip_med.pipelines.bundle.validation import LoadExampled, ScreeningMetrics
from headclip_med.pipelines.bundle.workflow import ScreenWorkflow

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
