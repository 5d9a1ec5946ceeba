"""The bundle as a MONAI Deploy application: studies in, what ``headclip screen`` writes out.

``python headclip_lesion_segmentation/deploy/app.py --input STUDIES --output RESULTS``, from the
folder that the working copy lies in, with ``monai-deploy-app-sdk`` beside ``headclip-med``. In the
bundle's own folder, Deploy would take ``models/`` for an application's. Research use only.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from monai.deploy.conditions import CountCondition
from monai.deploy.core import Application, Image, IOType, Operator, OperatorSpec
from monai.deploy.operators.monai_bundle_inference_operator import (
    BundleConfigNames,
    IOMapping,
    MonaiBundleInferenceOperator,
)

from headclip_med.errors import HeadClipError
from headclip_med.pipelines.bundle import VolumeReader
from headclip_med.read import Input, find_inputs

BUNDLE = Path(__file__).absolute().parents[1]

_log = logging.getLogger("headclip_lesion_segmentation")


class ReadOperator(Operator):
    """Reads one volume a time with the bundle's reader; what cannot be read costs only itself."""

    def __init__(self, fragment: Any, *args: Any, inputs: Iterator[Input], **kwargs: Any) -> None:
        self.inputs = inputs
        super().__init__(fragment, *args, **kwargs)

    def setup(self, spec: OperatorSpec) -> None:
        """Name what goes out."""
        spec.output("image")

    def compute(self, op_input: Any, op_output: Any, context: Any) -> None:
        """Send the next volume on."""
        try:
            voxels, meta = VolumeReader().get_data(next(self.inputs).read())
        except HeadClipError as error:
            _log.warning("%s", error)
            return
        op_output.emit(Image(voxels, metadata=meta), "image")


class ScreenOperator(MonaiBundleInferenceOperator):
    """Deploy's own operator, which runs and writes what the bundle's configuration says.

    It would walk over every value of the map in Python, as over the probabilities of classes; only
    the study's score goes on.
    """

    def post_process(self, data: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Conclude and write, and give the score."""
        done = super().post_process(data, *args, **kwargs)
        return {"pred": torch.tensor([done["screening"].score])}


class ReportOperator(Operator):
    """Says what was found."""

    def setup(self, spec: OperatorSpec) -> None:
        """Name what comes in."""
        spec.input("pred")

    def compute(self, op_input: Any, op_output: Any, context: Any) -> None:
        """Log a score."""
        _log.info("score %.3f", op_input.receive("pred")["probabilities"][0])


class ScreeningApplication(Application):
    """Reads, screens and reports."""

    def compose(self) -> None:
        """Join the operators."""
        context = Application.init_app_context(self.argv)
        os.environ["HOLOSCAN_OUTPUT_PATH"] = str(Path(context.output_path).absolute())
        found = find_inputs([Path(context.input_path)])
        for failure in found.failures:
            if failure.is_error:
                _log.warning("%s", failure.to_error())
        every = CountCondition(self, len(found.readable))
        read = ReadOperator(self, every, inputs=iter(found.readable), name="read")
        screen = ScreenOperator(
            self,
            app_context=context,
            bundle_path=BUNDLE,
            bundle_config_names=BundleConfigNames(config_names=["inference", "deploy"]),
            input_mapping=[IOMapping("image", Image, IOType.IN_MEMORY)],
            output_mapping=[IOMapping("pred", dict, IOType.IN_MEMORY)],
            name="screen",
        )
        self.add_flow(read, screen, {("image", "image")})
        self.add_flow(screen, ReportOperator(self, name="report"), {("pred", "pred")})


if __name__ == "__main__":
    ScreeningApplication().run()
