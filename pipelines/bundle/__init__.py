"""What the MONAI bundle's configurations name: its parts, all built on the project's own code."""

from headclip_med.pipelines.bundle.cases import CaseEvaluator, Cases, find_cases
from headclip_med.pipelines.bundle.guards import (
    check_device,
    check_inputs,
    check_overrides,
    score_settings,
    screen_settings,
    train_settings,
)
from headclip_med.pipelines.bundle.inferer import ScreeningInferer
from headclip_med.pipelines.bundle.network import ScreeningNetwork
from headclip_med.pipelines.bundle.tracking import (
    executed_config,
    is_first_process,
    sqlite_in,
    unique_run_name,
)
from headclip_med.pipelines.bundle.training import (
    TrainExamples,
    TrainingRecord,
    device_of_process,
    join_processes,
    learning_network,
    learning_optimizer,
    leave_processes,
    open_data,
    supervised_trainer,
    training_loss,
    training_state,
)
from headclip_med.pipelines.bundle.transforms import (
    ConcludeScreeningd,
    CropToBodyd,
    LoadVolumed,
    SaveScreeningd,
    WindowVolumed,
)
from headclip_med.pipelines.bundle.validation import (
    LabelledImages,
    LearnedSoFar,
    ScreeningMetrics,
)
from headclip_med.pipelines.bundle.volumes import VolumeReader, tensor_of, volume_of
from headclip_med.pipelines.bundle.workflow import ScreenWorkflow

__all__ = [
    "CaseEvaluator",
    "Cases",
    "ConcludeScreeningd",
    "CropToBodyd",
    "LabelledImages",
    "LearnedSoFar",
    "LoadVolumed",
    "SaveScreeningd",
    "ScreenWorkflow",
    "ScreeningInferer",
    "ScreeningMetrics",
    "ScreeningNetwork",
    "TrainExamples",
    "TrainingRecord",
    "VolumeReader",
    "WindowVolumed",
    "check_device",
    "check_inputs",
    "check_overrides",
    "device_of_process",
    "executed_config",
    "find_cases",
    "is_first_process",
    "join_processes",
    "learning_network",
    "learning_optimizer",
    "leave_processes",
    "open_data",
    "score_settings",
    "screen_settings",
    "sqlite_in",
    "supervised_trainer",
    "tensor_of",
    "train_settings",
    "training_loss",
    "training_state",
    "unique_run_name",
    "volume_of",
]
