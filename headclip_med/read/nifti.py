"""NIfTI and MGH files made into volumes."""

from __future__ import annotations

import math
from collections.abc import Set
from functools import partial
from pathlib import Path

import nibabel
import numpy as np
from jaxtyping import Float, Float32
from nibabel.analyze import AnalyzeImage
from nibabel.arrayproxy import ArrayProxy
from nibabel.freesurfer.mghformat import MGHImage
from nibabel.nifti1 import Nifti1Image, Nifti1Pair
from nibabel.nifti2 import Nifti2Image

from headclip_med.errors import UnreadableInput
from headclip_med.geometry import Grid
from headclip_med.mapped import BLOCK_SLICES, allocate, fill_missing, release
from headclip_med.read.formats import label_map
from headclip_med.read.guards import (
    ReadLimits,
    check_file,
    check_volume_size,
    read_start,
    silence,
    translate,
)
from headclip_med.read.inputs import Input
from headclip_med.reading import Reading
from headclip_med.volume import Origin, SliceSource, Volume, count_labels

MM_PER_UNIT = {1: 1000.0, 2: 1.0, 3: 0.001}
"""By the code of a unit of length; what has another, or none, is in millimetres."""

LENGTH_UNITS = 7
"""Of the units' byte, the bits that hold it."""

PACKERS = {".gz": b"\x1f\x8b", ".mgz": b"\x1f\x8b", ".bz2": b"BZh"}
"""What a file of such a name begins with."""

Neuroimage = AnalyzeImage | MGHImage
MGH_FLAG = slice(28, 30)
"""Of the header's bytes: whether directions follow."""

INTENT_LABEL = 1002
"""Of the header's intent: each value is the number of a label."""

LABEL_TABLE = b"<LabelTable"
"""Begins the names of labels in an extension of the header, as Connectome Workbench writes them."""

COLOUR_FIELDS = ("R", "G", "B")
BROKEN = (
    "The file is no readable NIfTI image; it is damaged or cut short.",
    "Copy or write it again.",
)


def find_nifti(path: Path, limits: ReadLimits, *, named: Set[Path] = frozenset()) -> list[Input]:
    """List the volumes of a NIfTI or MGH file: one, or one for each time point.

    Analyze, and NIfTI whose voxels are vectors, are given to SimpleITK.

    Args:
        path: The file.
        limits: What it may claim.
        named: Files that were given by name: these are read even if they declare labels.

    Raises:
        UnreadableInput: It is damaged, no image of two to four dimensions, too large, or declares
            its values to be labels.
    """
    with silence():
        image = _open(path, limits)
    files = tuple(dict.fromkeys(_files(image, path)))
    if _is_odd(image):
        from headclip_med.read.itk import find_itk

        return find_itk(files[0], limits, beside=files[1:])
    if _declares_labels(image) and named.isdisjoint(files):
        raise label_map()
    _is_colour(image)  # what cannot be read is said in the plan already
    shape = _shape(image)
    count = shape[3]
    if count > limits.time_points:
        raise UnreadableInput(
            f"The NIfTI file holds {count} time points, more than the {limits.time_points} that "
            "are read as separate volumes.",
            "Extract the ones of interest.",
            code="too-many-time-points",
        )
    check_volume_size(shape[:3], limits, stored_bytes=_stored_bytes(image), volumes=count)
    return [
        Input(
            kind=_origin(image),
            slices=shape[2],
            rows=shape[1],
            columns=shape[0],
            paths=files,
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
        path: ``.nii``, ``.nii.gz``, ``.mgz``, or either file of an ``.hdr``/``.img`` pair.
        limits: What the file may claim.
        part: Time point, from 1.

    Raises:
        UnreadableInput: It is damaged, no image of two to four dimensions, or too large.
        UnusableGeometry: Its affine is singular or not finite.
    """
    with silence():
        image = _open(path, limits)
        shape = _shape(image)
        check_volume_size(shape[:3], limits, stored_bytes=_stored_bytes(image))
        voxels = _voxels(image, shape, part)
    replaced = fill_missing(voxels, lambda block: ~np.isfinite(block))
    if replaced == voxels.size:
        raise UnreadableInput(
            "No voxel of the NIfTI file is a finite number.",
            "Write it again.",
            code="no-finite-voxel",
        )
    is_declared = _declares_labels(image)
    columns, rows, slices, _ = shape
    affine_ras, lacks_orientation = _affine_ras(image)
    return Volume(
        voxels=voxels,
        grid=Grid.from_affine_ras(affine_ras, shape=(slices, rows, columns)),
        sources=(SliceSource(path),) * slices,
        origin=_origin(image),
        name=path.name,
        part=part,
        reading=Reading(
            lacks_orientation=lacks_orientation,
            replaced_voxels=replaced,
            declares_labels=is_declared,
            label_values=0 if is_declared else count_labels(voxels),
        ),
    )


def _open(path: Path, limits: ReadLimits) -> Neuroimage:
    check_file(path, limits)
    _check_packing(path)
    with translate("broken-nifti", *BROKEN):
        image = nibabel.load(path, keep_file_open=True)  # a .gz is read from its start else
    if not isinstance(image, Neuroimage) or not isinstance(image.dataobj, ArrayProxy):
        raise UnreadableInput(
            "The file is a neuroimaging format other than NIfTI-1, NIfTI-2, Analyze and MGH.",
            "Convert it.",
            code="unsupported-nifti",
        )
    voxel_file = _files(image, path)[-1]
    if not voxel_file.resolve().is_relative_to(path.parent.resolve()) and voxel_file != path:
        raise UnreadableInput(
            "The voxels beside the header are a link out of its folder, which is not followed.",
            "Put the data beside the header.",
            code="data-outside",
        )
    proxy = image.dataobj
    if isinstance(image, Nifti1Image | Nifti2Image) and proxy.offset < image.header.sizeof_hdr:
        raise UnreadableInput(
            "The header says that the voxels begin within itself, so where they do is not known.",
            BROKEN[1],
            code="broken-nifti",
        )
    needed = proxy.offset + math.prod(proxy.shape) * proxy.dtype.itemsize
    # How much a compressed file holds shows only when it is read.
    is_plain = voxel_file.name.lower().endswith((".nii", ".img", ".mgh"))
    if check_file(voxel_file, limits) < needed and is_plain:
        raise UnreadableInput(
            "The file is cut short: its voxels end early.",
            "Copy or write it again.",
            code="truncated-file",
        )
    return image


def _check_packing(path: Path) -> None:
    """Refuse a file whose name and content differ in whether it is packed, as nibabel would."""
    start = read_start(path, 3)
    by_name = PACKERS.get(path.suffix.lower())
    if (by_name and not start.startswith(by_name)) or (
        by_name is None and start.startswith(tuple(PACKERS.values()))
    ):
        raise UnreadableInput(
            "The file's name says that it is packed, and its content is not."
            if by_name
            else "The file is packed (gzip or bzip2), and its name does not say so.",
            "Give it a name that ends as its content is: .nii, .nii.gz, .mgh or .mgz.",
            code="packed-otherwise",
        )


def _files(image: Neuroimage, path: Path) -> list[Path]:
    """List the header and the voxels; one file may be both."""
    holders = (image.file_map.get(name) for name in ("header", "image"))
    return [Path(one.filename or path) for one in holders if one is not None]


def _origin(image: Neuroimage) -> Origin:
    return "nifti" if isinstance(image, Nifti1Pair) else "volume"


def _declares_labels(image: Neuroimage) -> bool:
    """Whether the file says that its values are labels."""
    if not isinstance(image, Nifti1Pair):
        return False
    tables = (LABEL_TABLE in one.content for one in image.header.extensions)
    return int(image.header["intent_code"]) == INTENT_LABEL or any(tables)


def _is_odd(image: Neuroimage) -> bool:
    """Whether SimpleITK has to read it: Analyze, or each voxel holds a vector."""
    if isinstance(image, MGHImage):
        return False
    is_vector = len(image.shape) == 5 and image.shape[3] == 1 and image.shape[4] > 1
    return is_vector or not isinstance(image, Nifti1Pair)


def _stored_bytes(image: Neuroimage) -> int:
    return Path(str(image.file_map["image"].filename)).stat().st_size


def _shape(image: Neuroimage) -> tuple[int, int, int, int]:
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


def _voxels(
    image: Neuroimage, shape: tuple[int, int, int, int], part: int
) -> Float32[np.ndarray, "slices rows columns *colour"]:
    """Read one time point, a block of slices after the other."""
    columns, rows, slices, _ = shape
    is_colour = _is_colour(image)
    voxels = allocate((slices, rows, columns, 3) if is_colour else (slices, rows, columns))
    with translate("broken-nifti", *BROKEN), np.errstate(over="ignore", invalid="ignore"):
        for start in range(0, slices, BLOCK_SLICES):
            block = slice(start, min(start + BLOCK_SLICES, slices))
            stored = np.asanyarray(image.dataobj[_place(image, block, part)])
            if is_colour:
                stored = np.stack([stored[name] for name in COLOUR_FIELDS], axis=-1)
            voxels[block] = stored.reshape(columns, rows, -1, *voxels.shape[3:]).swapaxes(0, 2)
            release(voxels)
    return voxels


def _is_colour(image: Neuroimage) -> bool:
    """Whether the voxels are colours; refused where they are not numbers either."""
    kind = np.dtype(image.get_data_dtype())
    is_colour = kind.names is not None and set(COLOUR_FIELDS) <= set(kind.names)
    if not is_colour and kind.kind not in "iufb":
        raise UnreadableInput(
            "The voxels of the NIfTI file are neither numbers nor RGB (complex, for example).",
            "Write the magnitude instead.",
            code="unsupported-nifti",
        )
    return is_colour


def _place(image: Neuroimage, block: slice, part: int) -> tuple[slice | int, ...]:
    """Index some slices of one time point; axes beyond the fourth have a length of 1."""
    place: tuple[slice | int, ...] = (slice(None), slice(None), block, part - 1)
    return (*place, *(0,) * len(image.shape))[: len(image.shape)]


def _affine_ras(image: Neuroimage) -> tuple[Float[np.ndarray, "4 4"], bool]:
    """Give the affine from (column, row, slice) to RAS mm, and whether none is stated."""
    with translate("broken-nifti", *BROKEN):
        affine_ras = np.array(image.affine, dtype=np.float64)
        mm, is_oriented = _units(image) if isinstance(image, Nifti1Pair) else _mgh_units(image)
    affine_ras[:3] *= mm
    return affine_ras, not is_oriented


def _units(image: Nifti1Pair) -> tuple[float, bool]:
    """Millimetres in one unit of the affine, and whether the file states an orientation."""
    unit = int(image.header["xyzt_units"]) & LENGTH_UNITS
    codes = int(image.header["sform_code"]), int(image.header["qform_code"])
    return MM_PER_UNIT.get(unit, 1.0), any(codes)


def _mgh_units(image: Neuroimage) -> tuple[float, bool]:
    """The same of MGH; where it states none, nibabel has put FreeSurfer's default already."""
    with image.file_map["image"].get_prepare_fileobj("rb") as file:
        stated = file.read(MGH_FLAG.stop)[MGH_FLAG]
    return 1.0, any(stated)
