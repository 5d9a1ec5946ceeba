"""The heatmap as a parametric map: every value as it was computed, in the patient."""

from __future__ import annotations

import hashlib

import numpy as np
import pydicom
from highdicom import VOILUTTransformation
from highdicom.pm import ParametricMap, RealWorldValueMapping
from pydicom.sr.codedict import codes

from headclip_med.mapped import release
from headclip_med.write.dicom.run import DicomRun
from headclip_med.write.dicom.source import derived_uid, quiet, stand_ins
from headclip_med.write.outputs import Writer, WrittenOutput

WHOLE_BODY = codes.SCT.EntireBody
"""What part a frame shows, where no more is known; dcmqi wants one."""

UNEVEN = (
    "The slices lean or are unevenly spaced. Programs that lay the frames of a parametric map on "
    "one another whatever their positions say (dcmqi, and 3D Slicer with it) misplace those of "
    "pm.dcm."
)


class PmWriter(Writer):
    """``pm.dcm``: the heatmap in float32 (PS3.3 A.75), quantity saliency without a unit.

    Its frames ascend along the normal. dcmqi, and 3D Slicer with it, takes them as ascending
    whatever their positions say, and would show others upside down.
    """

    def begin(self) -> None:
        """Read the sources' headers.

        Raises:
            UnreadableInput: They cannot be referred to; see ``read_sources``.
        """
        self._run = DicomRun(self.screening, self.version)
        self._digest = hashlib.sha256()

    def add(self, slices: range) -> None:
        """Note the content of the next slices."""
        values = self.screening.heatmap.values[slices.start : slices.stop]
        self._digest.update(np.asarray(values, dtype="<f4").tobytes())

    def end(self) -> WrittenOutput:
        """Write the file."""
        with quiet():
            self._build().save_as(self.folder / "pm.dcm", enforce_file_format=True)
        from headclip_med.transforms.even import even_grid

        is_even = even_grid(self.screening.volume.grid) is None
        notes = (*self._run.notes, *(() if is_even else (UNEVEN,)))
        return WrittenOutput({"pm": "pm.dcm"}, notes=notes)

    def _build(self) -> ParametricMap:
        run, heatmap = self._run, self.screening.heatmap
        unique = derived_uid(run.key, "pm", self._digest.hexdigest())
        uids = {at: derived_uid(unique, "stand-in", at) for at in range(len(heatmap.values))}
        headers = stand_ins(self.screening.volume, run.sources, uids)
        built = ParametricMap(
            source_images=headers,
            pixel_array=np.asarray(heatmap.values, dtype=np.float32),
            contains_recognizable_visual_features=False,
            real_world_value_mappings=[
                RealWorldValueMapping(
                    lut_label="SALIENCY",
                    lut_explanation="How abnormal each voxel looks",
                    unit=codes.UCUM.NoUnits,
                    value_range=(0.0, 1.0),
                    slope=1.0,
                    intercept=0.0,
                    quantity_definition=codes.DCM.Saliency,
                )
            ],
            voi_lut_transformations=[VOILUTTransformation(window_center=0.5, window_width=1.0)],
            content_qualification="RESEARCH",
            **run.in_series("pm", "Heatmap", unique),
            **run.content("HEATMAP"),
        )
        release(heatmap.values)
        run.place(built, dict(zip(uids, headers, strict=True)))
        _ascend(built)
        _add_anatomy(built)
        run.finish(built)
        return built


def _ascend(built: pydicom.Dataset) -> None:
    """Order the frames by their place along the normal; highdicom puts the highest first."""
    shared, frames = built.SharedFunctionalGroupsSequence[0], built.PerFrameFunctionalGroupsSequence
    if len(frames) == 1:
        return
    cosines = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, dtype=float)
    normal = np.cross(cosines[:3], cosines[3:])
    places = [
        float(np.array(one.PlanePositionSequence[0].ImagePositionPatient, dtype=float) @ normal)
        for one in frames
    ]
    order = np.argsort(places, kind="stable").tolist()
    size = 4 * built.Rows * built.Columns
    stored = memoryview(built.FloatPixelData)
    built.FloatPixelData = b"".join(stored[at * size : (at + 1) * size] for at in order)
    built.PerFrameFunctionalGroupsSequence = [frames[at] for at in order]
    for number, frame in enumerate(built.PerFrameFunctionalGroupsSequence, start=1):
        frame.FrameContentSequence[0].DimensionIndexValues = [number]


def _add_anatomy(built: pydicom.Dataset) -> None:
    """Say of which part of the body the frames are; without that dcmqi ends with a fault."""
    region, anatomy = pydicom.Dataset(), pydicom.Dataset()
    region.CodeValue, region.CodingSchemeDesignator = WHOLE_BODY.value, WHOLE_BODY.scheme_designator
    region.CodeMeaning = WHOLE_BODY.meaning
    anatomy.AnatomicRegionSequence, anatomy.FrameLaterality = [region], "U"
    built.SharedFunctionalGroupsSequence[0].FrameAnatomySequence = [anatomy]
