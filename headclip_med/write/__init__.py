"""Results on disk: heatmap, pictures, DICOM segmentation, result.json, and the summary of a run."""

from headclip_med.atomic import check_writable
from headclip_med.write.ahead import HeatmapAhead
from headclip_med.write.outputs import OUTPUTS, USUAL_OUTPUTS, check_outputs
from headclip_med.write.rows import FailedInput, FileRow, SummaryRow, read_rows
from headclip_med.write.screening import (
    WrittenScreening,
    folder_of,
    free_folder,
    lacks_outputs,
    write_screening,
)
from headclip_med.write.summary import write_summary

__all__ = [
    "OUTPUTS",
    "USUAL_OUTPUTS",
    "FailedInput",
    "FileRow",
    "HeatmapAhead",
    "SummaryRow",
    "WrittenScreening",
    "check_outputs",
    "check_writable",
    "folder_of",
    "free_folder",
    "lacks_outputs",
    "read_rows",
    "write_screening",
    "write_summary",
]
