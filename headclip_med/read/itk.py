"""What SimpleITK reads: MetaImage (MHA, MHD), NRRD (NRRD, NHDR), Analyze and NIfTI's odd forms.

SimpleITK is imported when the first such file is looked at. Its coordinates are LPS millimetres, as
DICOM's.
"""

from __future__ import annotations

import math
import re
from collections.abc import Set
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float32

from headclip_med.errors import UnreadableInput
from headclip_med.geometry import Grid
from headclip_med.mapped import BLOCK_SLICES, allocate, fill_missing, release
from headclip_med.read.detached import data_files, declares_segments
from headclip_med.read.formats import label_map
from headclip_med.read.guards import ReadLimits, check_file, check_volume_size, translate
from headclip_med.read.inputs import Input
from headclip_med.reading import Reading
from headclip_med.volume import SliceSource, Volume, count_labels

if TYPE_CHECKING:
    from SimpleITK import ImageFileReader

COLOUR_COMPONENTS = (3, 4)
"""Of eight bits each: red, green, blue, and how opaque, which is not used."""

BROKEN = ("The file is no readable volume; it is damaged or cut short.", "Copy or write it again.")
READERS = {
    (".mha", ".mhd"): "MetaImageIO",
    (".nii", ".nii.gz", ".hdr", ".img", ".hdr.gz", ".img.gz"): "NiftiImageIO",
}
"""Of ITK, by the end of the name; all else is NRRD. No other of its readers is ever tried."""

UNORIENTED = re.compile(
    rb"^(TransformMatrix|Orientation|Rotation|space|space directions)\s*[=:]", re.M
)


def find_itk(
    path: Path, limits: ReadLimits, *, beside: tuple[Path, ...] = (), named: Set[Path] = frozenset()
) -> list[Input]:
    """List the volumes of a file: one, or one for each time point or component.

    Args:
        path: The file, or the header of several.
        limits: What they may claim.
        beside: Files with its voxels, where the header does not name them.
        named: Files that were given by name: these are read even if they declare labels.

    Raises:
        UnreadableInput: It is damaged, no image of two to four dimensions, too large, names files
            outside its folder, or declares its values to be labels.
    """
    files = (*beside, *data_files(path, limits))
    if named.isdisjoint((path, *files)) and declares_segments(path):
        raise label_map()
    with translate("broken-volume", *BROKEN):
        look = _look(path)
        _streams(path, files, look, limits)
    shape, parts = _shape(look)
    if parts > limits.time_points:
        raise UnreadableInput(
            f"The file holds {parts} volumes, more than the {limits.time_points} that are read.",
            "Extract the ones of interest.",
            code="too-many-time-points",
        )
    check_volume_size(shape, limits, stored_bytes=_stored_bytes(path, files), volumes=parts)
    return [
        Input(
            kind="volume",
            slices=shape[0],
            rows=shape[1],
            columns=shape[2],
            paths=(path, *files),
            reader=partial(read_itk, path, limits, part=part),
            part=part,
        )
        for part in range(1, parts + 1)
    ]


def read_itk(path: Path, limits: ReadLimits, *, part: int = 1) -> Volume:
    """Read one volume of a file.

    Args:
        path: As for ``find_itk``; of a pair, the header.
        limits: What the file may claim.
        part: Time point or component, from 1.

    Raises:
        UnreadableInput: As ``find_itk``.
        UnusableGeometry: Its axes are not independent, or not finite.
    """
    files = data_files(path, limits)
    with translate("broken-volume", *BROKEN):
        look = _look(path)
        streams = _streams(path, files, look, limits)
    shape, _ = _shape(look)
    check_volume_size(shape, limits, stored_bytes=_stored_bytes(path, files))
    grid = _grid(look, shape)
    with translate("broken-volume", *BROKEN):
        voxels = _voxels(look, shape, part, streams=streams)
    replaced = fill_missing(voxels, lambda block: ~np.isfinite(block))
    if replaced == voxels.size:
        raise UnreadableInput(
            "No voxel of the file is a finite number.", "Write it again.", code="no-finite-voxel"
        )
    is_declared = declares_segments(path)
    return Volume(
        voxels=voxels,
        grid=grid,
        sources=(SliceSource(path),) * shape[0],
        origin="volume",
        name=path.name,
        part=part,
        reading=Reading(
            lacks_geometry=not grid.is_patient,
            lacks_orientation=grid.is_patient and not _is_oriented(path),
            replaced_voxels=replaced,
            declares_labels=is_declared,
            label_values=0 if is_declared else count_labels(voxels),
        ),
    )


def _stored_bytes(path: Path, files: tuple[Path, ...]) -> int:
    return sum(file.stat().st_size for file in (path, *files))


def _look(path: Path) -> ImageFileReader:
    """Read the header."""
    import SimpleITK

    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)  # it repeats paths
    reader = SimpleITK.ImageFileReader()
    reader.SetFileName(str(path))
    lower = path.name.lower()
    reader.SetImageIO(
        next((name for ends, name in READERS.items() if lower.endswith(ends)), "NrrdImageIO")
    )
    reader.ReadImageInformation()
    return reader


def _is_colour(look: ImageFileReader) -> bool:
    import SimpleITK

    is_bytes = look.GetPixelID() == SimpleITK.sitkVectorUInt8
    return is_bytes and look.GetNumberOfComponents() in COLOUR_COMPONENTS


def _shape(look: ImageFileReader) -> tuple[tuple[int, ...], int]:
    """Slices, rows, columns and colours of one volume, and how many volumes there are."""
    import SimpleITK

    size = tuple(int(length) for length in look.GetSize())
    kind = SimpleITK.GetPixelIDValueAsString(look.GetPixelID())
    if not 2 <= len(size) <= 4 or min(size) < 1 or "complex" in kind:
        raise UnreadableInput(
            "The file has more than four dimensions, an empty one, or complex numbers.",
            "Images of two or three dimensions, and time series of four, can be read.",
            code="unsupported-volume",
        )
    columns, rows, slices, times = (*size, 1, 1)[:4]
    if _is_colour(look):
        return (slices, rows, columns, 3), times
    return (slices, rows, columns), times * look.GetNumberOfComponents()


def _grid(look: ImageFileReader, shape: tuple[int, ...]) -> Grid:
    slices, rows, columns = shape[:3]
    axes = look.GetDimension()
    if axes == 2:  # it lies somewhere on a plane, but not in a patient
        return Grid.of_pixels(slices=slices, rows=rows, columns=columns)
    direction = np.reshape(look.GetDirection(), (axes, axes))[:3, :3]
    shape = slices, rows, columns
    return Grid.from_itk(direction, look.GetSpacing()[:3], look.GetOrigin()[:3], shape=shape)


def _voxels(
    look: ImageFileReader, shape: tuple[int, ...], part: int, *, streams: bool
) -> Float32[np.ndarray, "slices rows columns *colour"]:
    """Read one time point or component; where ITK can, a block of slices after the other."""
    import SimpleITK

    is_colour, axes = len(shape) == 4, look.GetDimension()
    components = 1 if is_colour else look.GetNumberOfComponents()
    time, component = divmod(part - 1, components)
    columns, rows = look.GetSize()[:2]
    voxels = allocate(shape)
    at_once = BLOCK_SLICES if streams else len(voxels)
    for start in range(0, len(voxels), at_once):
        block = voxels[start : start + at_once]
        if axes > 2:
            look.SetExtractIndex([0, 0, start, time][:axes])
            look.SetExtractSize([columns, rows, len(block), 0][:axes])
        image = look.Execute()
        stored = SimpleITK.GetArrayViewFromImage(image).reshape(*block.shape[:3], -1)
        with np.errstate(over="ignore", invalid="ignore"):
            block[:] = stored[..., :3] if is_colour else stored[..., component]
        release(voxels)
    return voxels


def _streams(
    path: Path, files: tuple[Path, ...], look: ImageFileReader, limits: ReadLimits
) -> bool:
    """Whether slices can be read one after the other: those of a MetaImage that is not packed.

    Raises:
        UnreadableInput: They cannot, and all of them at once take more memory than is allowed.
    """
    import SimpleITK

    pixel = SimpleITK.Image([1, 1], look.GetPixelID(), look.GetNumberOfComponents())
    needed = pixel.GetSizeOfPixelComponent() * look.GetNumberOfComponents()
    needed *= math.prod(look.GetSize())
    stored = sum(check_file(file, limits) for file in (path, *files))
    if path.name.lower().endswith((".mha", ".mhd")) and stored >= needed:
        return True
    if needed > limits.memory_bytes * 3 // 4:
        raise UnreadableInput(
            "The volume has to be read as a whole, which takes more memory than a file may.",
            "Write it as an uncompressed MHA, or raise ReadLimits.memory_bytes.",
            code="volume-too-large",
        )
    return False


def _is_oriented(path: Path) -> bool:
    """Whether the header says how the axes lie; where it does not, ITK takes them for LPS."""
    with path.open("rb") as file:
        return UNORIENTED.search(file.read(1 << 16)) is not None
