"""NIfTI files made into volumes: one of two places where RAS millimetres exist."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path

import nibabel
import numpy as np
from jaxtyping import Float, Float32, Shaped
from nibabel.arrayproxy import ArrayProxy
from nibabel.nifti1 import Nifti1Pair

from headclip_med.errors import UnreadableInput, UnusableGeometry
from headclip_med.geometry import Grid
from headclip_med.read.guards import ReadLimits, check_file, check_volume_size, silence, translate
from headclip_med.read.inputs import Input
from headclip_med.volume import SliceSource, Volume

LPS_OF_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""NIfTI counts to the right and front, DICOM to the left and back."""

MM_PER_UNIT = {"meter": 1000.0, "micron": 0.001}
SMALLEST_VOXEL_MM3 = 1e-12
COLOUR_FIELDS = ("R", "G", "B")
BROKEN = (
    "The file is no readable NIfTI image; it is damaged or cut short.",
    "Copy or write it again.",
)


def find_nifti(path: Path, limits: ReadLimits) -> list[Input]:
    """List the volumes of a NIfTI file: one, or one for each time point.

    Raises:
        UnreadableInput: It is damaged, no image of two to four dimensions, or too large.
    """
    with silence():
        image = _open(path, limits)
    shape = _shape(image)
    count = shape[3]
    if count > limits.time_points:
        raise UnreadableInput(
            f"The NIfTI file holds {count} time points, more than the {limits.time_points} that "
            "are read as separate volumes.",
            "Extract the ones of interest.",
            code="too-many-time-points",
        )
    check_volume_size(shape[:3], limits)
    return [
        Input(
            kind="nifti",
            slices=shape[2],
            paths=(path,),
            reader=partial(read_nifti, path, limits, part=part),
            part=part,
        )
        for part in range(1, count + 1)
    ]


def read_nifti(path: Path, limits: ReadLimits, *, part: int = 1) -> Volume:
    """Read one volume of a NIfTI file.

    The third axis of the array becomes the slices, the second the rows, the first the columns, as
    stored; the affine is kept as it is, shear included.

    Args:
        path: ``.nii``, ``.nii.gz``, or either file of an ``.hdr``/``.img`` pair.
        limits: What the file may claim.
        part: Time point, from 1.

    Raises:
        UnreadableInput: It is damaged, no image of two to four dimensions, or too large.
        UnusableGeometry: Its affine is singular or not finite.
    """
    with silence():
        image = _open(path, limits)
        shape = _shape(image)
        check_volume_size(shape[:3], limits)
        with translate("broken-nifti", *BROKEN):
            stored = np.asanyarray(image.dataobj[_time_point(image, part)])
    voxels, notes = _voxels(stored.reshape(*shape[:3]))
    rows, columns = shape[1], shape[0]
    affine, affine_notes = _affine_lps(image)
    return Volume(
        voxels=voxels,
        grid=Grid.from_affine_lps(affine, shape=(shape[2], rows, columns)),
        sources=(SliceSource(path),) * shape[2],
        origin="nifti",
        name=path.name,
        part=part,
        notes=(*affine_notes, *notes),
    )


def is_pair_image(path: Path) -> bool:
    """Whether a file is the second half of a pair whose header stands beside it."""
    lower = path.name.lower()
    if not lower.endswith((".img", ".img.gz")):
        return False
    at = lower.rindex(".img")
    header = path.name[:at] + (".HDR" if path.name[at:].startswith(".IMG") else ".hdr")
    return any(path.with_name(header + end).is_file() for end in ("", ".gz"))


def _open(path: Path, limits: ReadLimits) -> Nifti1Pair:
    check_file(path, limits)
    with translate("broken-nifti", *BROKEN):
        image = nibabel.load(path)
    if not isinstance(image, Nifti1Pair) or not isinstance(image.dataobj, ArrayProxy):
        raise UnreadableInput(
            "The file is a neuroimaging format other than NIfTI-1 or NIfTI-2.",
            "Convert it.",
            code="unsupported-nifti",
        )
    voxel_file = Path(image.file_map["image"].filename or path)
    proxy = image.dataobj
    needed = proxy.offset + math.prod(proxy.shape) * proxy.dtype.itemsize
    # How much a compressed file holds shows only when it is read.
    is_plain = voxel_file.name.lower().endswith((".nii", ".img"))
    if check_file(voxel_file, limits) < needed and is_plain:
        raise UnreadableInput(
            "The file is cut short: its voxels end early.",
            "Copy or write it again.",
            code="truncated-file",
        )
    return image


def _shape(image: Nifti1Pair) -> tuple[int, int, int, int]:
    """Columns, rows, slices and time points."""
    shape = tuple(int(length) for length in image.shape)
    while len(shape) > 2 and shape[-1] == 1:
        shape = shape[:-1]
    if not 2 <= len(shape) <= 4 or min(shape) < 1:
        raise UnreadableInput(
            f"The NIfTI file has {len(shape)} dimensions or an empty one.",
            "Images of two or three, and time series of four, can be read.",
            code="unsupported-nifti",
        )
    columns, rows, slices, times = (*shape, 1, 1)[:4]
    return columns, rows, slices, times


def _time_point(image: Nifti1Pair, part: int) -> tuple[slice | int, ...]:
    if len(image.shape) < 4:
        return (slice(None),) * len(image.shape)
    later = (0,) * (len(image.shape) - 4)
    return (*(slice(None),) * 3, part - 1, *later)


def _voxels(
    stored: Shaped[np.ndarray, "columns rows slices"],
) -> tuple[Float32[np.ndarray, "slices rows columns *colour"], tuple[str, ...]]:
    names = stored.dtype.names
    if names is not None and set(COLOUR_FIELDS) <= set(names):
        colours = np.stack([stored[name] for name in COLOUR_FIELDS], axis=-1)
        return np.ascontiguousarray(colours.transpose(2, 1, 0, 3), np.float32), ()
    if names is not None or stored.dtype.kind not in "iufb":
        raise UnreadableInput(
            "The voxels of the NIfTI file are neither numbers nor RGB (complex, for example).",
            "Write the magnitude instead.",
            code="unsupported-nifti",
        )
    with np.errstate(over="ignore", invalid="ignore"):
        voxels = np.ascontiguousarray(stored.transpose(2, 1, 0), np.float32)
    finite = np.isfinite(voxels)
    if finite.all():
        return voxels, ()
    if not finite.any():
        raise UnreadableInput(
            "No voxel of the NIfTI file is a finite number.",
            "Write it again.",
            code="no-finite-voxel",
        )
    voxels[~finite] = voxels[finite].min()
    missing = int(finite.size - np.count_nonzero(finite))
    return voxels, (f"{missing} voxels are not finite and were given the lowest value instead.",)


def _affine_lps(image: Nifti1Pair) -> tuple[Float[np.ndarray, "4 4"], tuple[str, ...]]:
    """Turn the affine of (column, row, slice) to RAS into one of (slice, row, column) to LPS."""
    notes: tuple[str, ...] = ()
    with translate("broken-nifti", *BROKEN):
        affine_ras = np.array(image.affine, dtype=np.float64)
        unit = image.header.get_xyzt_units()[0]  # type: ignore[no-untyped-call]
        codes = int(image.header["sform_code"]), int(image.header["qform_code"])
    affine_ras[:3] *= MM_PER_UNIT.get(unit, 1.0)
    if not any(codes):
        notes = ("The NIfTI file states no orientation (no sform, no qform); axes are assumed.",)
    steps = affine_ras[:3, :3]
    if not np.isfinite(affine_ras).all() or abs(np.linalg.det(steps)) < SMALLEST_VOXEL_MM3:
        raise UnusableGeometry(
            "The affine of the NIfTI file is singular or holds values that are not numbers, so "
            "the voxels lie nowhere.",
            "Write the file again with a proper sform or qform.",
            code="bad-affine",
        )
    return (LPS_OF_RAS @ affine_ras)[:, [2, 1, 0, 3]], notes
