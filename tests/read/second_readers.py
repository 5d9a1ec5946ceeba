"""What other programs read of the same files: SimpleITK, dcmtk and dcm2niix.

Each gives slices as it sees them; nothing of them goes through the project's own code.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import SimpleITK as sitk  # noqa: N813 - its usual name
from pydicom.dataset import Dataset

TO_LPS = np.diag([-1.0, -1.0, 1.0])


@dataclass(frozen=True, eq=False)
class Sight:
    """One slice as a reader sees it.

    Attributes:
        values: Rows and columns, and colours where there are any; as physics has them.
        origin_lps_mm: Centre of the first voxel, or None where a reader gives no geometry.
        down_lps_mm: From a row to the next.
        across_lps_mm: From a column to the next.
    """

    values: np.ndarray
    origin_lps_mm: np.ndarray | None = None
    down_lps_mm: np.ndarray | None = None
    across_lps_mm: np.ndarray | None = None

    def is_at(self, other: Sight, tolerance_mm: float = 0.01) -> bool:
        """Whether the four corners of both slices lie at the same places."""
        return bool(np.abs(self.corners_lps_mm - other.corners_lps_mm).max() <= tolerance_mm)

    @property
    def corners_lps_mm(self) -> np.ndarray:
        """Centres of the first voxel, of the last of its row, and of the last of its column."""
        assert self.origin_lps_mm is not None
        assert self.down_lps_mm is not None
        assert self.across_lps_mm is not None
        rows, columns = self.values.shape[:2]
        down, across = self.down_lps_mm * (rows - 1), self.across_lps_mm * (columns - 1)
        origin = self.origin_lps_mm
        return np.stack([origin, origin + across, origin + down])


def itk_slices(path: Path) -> list[Sight] | None:
    """Read every frame of one file with SimpleITK; None where it refuses."""
    try:
        image = sitk.ReadImage(str(path))
    except RuntimeError:
        return None
    if image.GetDimension() == 2:
        image = sitk.JoinSeries(image)
    if image.GetDimension() == 4:
        return None
    values = sitk.GetArrayFromImage(image).astype(np.float64)
    direction = np.array(image.GetDirection()).reshape(3, 3)
    across, down, step = direction.T * np.array(image.GetSpacing())[:, None]
    origin = np.array(image.GetOrigin())
    return [Sight(one, origin + index * step, down, across) for index, one in enumerate(values)]


def dcmtk_slices(path: Path, scratch: Path) -> list[Sight] | None:
    """Decode one file with dcmtk's programs, and rescale it by its header; None if they refuse.

    Only grey values: dcmtk's decoders may give colours in another colour space.
    """
    plain = scratch / "plain.dcm"
    with pydicom.config.disable_value_validation():
        try:
            header = pydicom.dcmread(path, force=True)
            syntax = header.file_meta.TransferSyntaxUID
        except Exception:
            return None
        if syntax.is_compressed:
            if not any(_run(name, str(path), str(plain)) for name in
                       ("dcmdjpeg", "dcmdjpls", "dcmdrle")):  # fmt: skip
                return None
        elif not _run("dcmconv", "+te", str(path), str(plain)):
            return None
        decoded = pydicom.dcmread(plain, force=True)
        if decoded.file_meta.TransferSyntaxUID.is_compressed:
            return None
        try:
            return [Sight(one) for one in _rescaled(decoded)]
        except Exception:
            return None


def _rescaled(plain: Dataset) -> Iterator[np.ndarray]:
    if plain.get("SamplesPerPixel", 1) != 1 or plain.BitsAllocated not in (8, 16, 32):
        return
    frames = int(plain.get("NumberOfFrames") or 1)
    kind = np.dtype(f"<{'i' if plain.PixelRepresentation else 'u'}{plain.BitsAllocated // 8}")
    stored = np.frombuffer(plain.PixelData, kind, count=frames * plain.Rows * plain.Columns)
    unused = plain.BitsAllocated - plain.BitsStored  # above the sign bit there may be anything
    stored = (stored << unused) >> unused
    slope, intercept = plain.get("RescaleSlope"), plain.get("RescaleIntercept")
    for frame in stored.reshape(frames, plain.Rows, plain.Columns):
        yield frame * float(1 if slope in (None, "") else slope) + float(intercept or 0)


def dcm2niix_volumes(paths: Sequence[Path], scratch: Path) -> list[tuple[Sight, ...]]:
    """Convert the files of one series with dcm2niix, and read the volumes that it made."""
    source, out = scratch / "source", scratch / "out"
    for folder in (source, out):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    for number, path in enumerate(paths):
        (source / f"{number:05}.dcm").symlink_to(path)
    program = Path(sys.executable).with_name("dcm2niix")
    _run(str(program), "-b", "n", "-z", "n", "-o", str(out), str(source))
    return [slices for path in sorted(out.glob("*.nii")) for slices in nifti_slices(path)]


def nifti_slices(path: Path) -> list[tuple[Sight, ...]]:
    """Read the volumes of a NIfTI file with nibabel."""
    image = nibabel.load(path)
    data = np.asarray(image.dataobj)
    if data.dtype.names:
        data = np.stack([data[name] for name in ("R", "G", "B")], axis=-1)[..., None, :]
    data = data.astype(np.float64)
    data = data.reshape(*data.shape[:3], -1) if data.ndim > 3 else data[..., None]
    affine = image.affine
    across, down, step = (TO_LPS @ affine[:3, :3]).T
    origin = TO_LPS @ affine[:3, 3]
    return [
        tuple(
            Sight(data[:, :, index, time].T, origin + index * step, down, across)
            for index in range(data.shape[2])
        )
        for time in range(data.shape[3])
    ]


def _run(*command: str) -> bool:
    program = shutil.which(command[0])
    if program is None:
        return False
    done = subprocess.run([program, *command[1:]], capture_output=True, timeout=120, check=False)
    return done.returncode == 0
