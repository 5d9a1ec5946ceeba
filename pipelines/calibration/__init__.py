"""Normal studies become a calibration, which gives scores their p-values."""

from headclip_med.pipelines.calibration.file import Calibration, Normals, read_calibration
from headclip_med.pipelines.calibration.use import Calibrator, watch_rows

__all__ = ["Calibration", "Calibrator", "Normals", "read_calibration", "watch_rows"]
