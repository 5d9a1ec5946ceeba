"""What the MONAI bundle's configurations name: its parts, all built on the project's own code."""

from headclip_med.pipelines.bundle.cases import Cases
from headclip_med.pipelines.bundle.guards import start
from headclip_med.pipelines.bundle.inferer import ScreeningInferer
from headclip_med.pipelines.bundle.network import ScreeningNetwork
from headclip_med.pipelines.bundle.tracking import (
    executed_config,
    is_first_process,
    sqlite_in,
    unique_run_name,
)
from headclip_med.pipelines.bundle.training import (
    LabelledImages,
    TrainingFolder,
    TrainingNetwork,
    device_of_process,
    join_processes,
    leave_processes,
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
    "device_of_process",
    "executed_config",
    "is_first_process",
    "join_processes",
    "leave_processes",
    "sqlite_in",
    "start",
    "unique_run_name",
]
