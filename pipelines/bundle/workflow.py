"""The bundle's inference as a Python class, for ``monai.bundle run_workflow``."""

from __future__ import annotations

from typing import Any

from monai.bundle.workflows import ConfigWorkflow

from headclip_med.pipelines.bundle.folder import CONFIGS
from headclip_med.pipelines.bundle.guards import refuse_unknown


class ScreenWorkflow(ConfigWorkflow):
    """Screens what lies below ``dataset_dir``, as ``configs/inference.json`` says.

    Args:
        workflow_type: Is ``infer``; MONAI's commands name it.
        logging_file: As MONAI takes it; the bundle's own by default.
        override: Keys of the configuration: ``dataset_dir``, ``output_dir``, ``window``, ...

    Raises:
        InvalidSettings: The configuration has no such key.
    """

    def __init__(
        self,
        workflow_type: str | None = "infer",
        logging_file: str | bool | None = None,
        **override: Any,
    ) -> None:
        file = str(CONFIGS / "inference.json")
        refuse_unknown(override, file)
        super().__init__(
            config_file=file, workflow_type=workflow_type, logging_file=logging_file, **override
        )
