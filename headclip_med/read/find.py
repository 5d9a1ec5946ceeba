"""The two doors of reading: what is there (``find_inputs``), and one volume (``read_volume``)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from os import PathLike
from pathlib import Path

import numpy as np

from headclip_med.errors import HeadClipError, InvalidSettings, UnreadableInput
from headclip_med.read.archives import open_archives
from headclip_med.read.files import Found, find_files
from headclip_med.read.guards import DEFAULT_LIMITS, ReadLimits
from headclip_med.read.inputs import Failure, Input, Inputs, Places
from headclip_med.read.isolation import isolated_each, isolated_reading
from headclip_med.volume import Origin, Volume

_Found = tuple[list[Input], list[Failure]]
_Seen = Callable[[int], None]


def find_inputs(
    paths: Sequence[Path],
    *,
    limits: ReadLimits = DEFAULT_LIMITS,
    seen: Callable[[int, int], None] = lambda count, total: None,
) -> Inputs:
    """Find every volume below some files and folders; only headers are read.

    Studies and series are told apart by what the headers say, whatever files are called and however
    they are spread over folders.

    Args:
        paths: Files and folders; folders are walked to the bottom.
        limits: What a file may claim.
        seen: Is told now and then how many more files were looked at, and how many there are.

    Returns:
        The volumes that can be read, and what could not be used. Both may be empty.
    """
    found = find_files(paths, limits)
    places = replace(Places.of(paths), unpacked=open_archives(found, limits))
    _follow_indices(found, limits)
    readable: list[Input] = []
    refused: list[Failure] = []
    total = sum(len(found.of_kind(kind)) for kind in _READERS)

    def count(more: int) -> None:
        seen(more, total)

    for kind, find in _READERS.items():
        if files := found.of_kind(kind):
            more, unusable = find(files, found.named, limits, count)
            if kind != "dicom":  # whose order is that of the headers
                more.sort(key=lambda one: (places.name_of(one.paths[0]), one.part))
            readable += (_in_own_process(one, limits) for one in more)
            refused += unusable
    failures = _accounted(found, readable, refused)
    failures.sort(key=lambda one: places.name_of(one.path))
    return Inputs(tuple(_placed(one, places) for one in readable), tuple(failures), places)


def _placed(one: Input, places: Places) -> Input:
    """Say where it was found: a file, or the folder of a series, whatever its files are called."""
    first = min(one.paths)
    return replace(one, place=places.place_of(first.parent if one.kind == "dicom" else first))


def _in_own_process(one: Input, limits: ReadLimits) -> Input:
    return replace(one, reader=partial(isolated_reading, one.reader, one.paths, limits))


def _follow_indices(found: Found, limits: ReadLimits) -> None:
    """Add what a DICOMDIR lists, and say what of it is not there."""
    for index in found.of_kind("dicom-index"):
        from headclip_med.read.dicom.directory import read_directory

        del found.files[index]
        try:
            read = partial(read_directory, index, limits)
            listed, missing = isolated_reading(read, [index], limits)
        except UnreadableInput as error:
            found.failures.append(Failure.of(index, error))
            continue
        followed = UnreadableInput(
            "The file is an index of DICOM files, which are listed one by one.",
            "Nothing needs to be done.",
            code="dicom-index",
        )
        found.failures += [Failure.of(index, followed), *missing]
        for path in listed:
            found.add(path, limits, root=index.parent)


def _accounted(
    found: Found, readable: Sequence[Input], refused: Sequence[Failure]
) -> list[Failure]:
    """Give one failure for each file that is part of no input, whatever the readers said of it.

    A file of which one part is read and another refused has its failure all the same. What has no
    reader of its own may be the data that another file's header names.
    """
    used = {path for one in readable for path in one.paths}
    by_path = {path: Failure.of(path, _unused()) for path in found.files if path not in used}
    by_path |= {one.path: one for one in found.failures if one.path not in used}
    by_path |= {one.path: one for one in refused if one.path not in used or one.is_error}
    return list(by_path.values())


def _unused() -> UnreadableInput:
    return UnreadableInput(
        "The file belongs to a series or to a group of files that gave no volume.",
        "See what is said of the others.",
        code="unused-file",
    )


def read_volume(path: str | Path, *, limits: ReadLimits = DEFAULT_LIMITS) -> Volume:
    """Read the one volume that a file or folder holds.

    Args:
        path: A DICOM, NIfTI or image file, or a folder with exactly one series.
        limits: What a file may claim.

    Returns:
        The volume; its ``reading`` tells how, and how many files beside it could not be used.

    Raises:
        UnreadableInput: Nothing can be read, or more than one volume could.
        UnusableGeometry: The slices form no stack.
    """
    inputs = find_inputs([Path(path)], limits=limits)
    errors = [failure for failure in inputs.failures if failure.is_error]
    if len(inputs.readable) == 1:
        volume = inputs.readable[0].read()
        if not errors:
            return volume
        reading = replace(volume.reading, files_beside=len(errors))
        return replace(volume, reading=reading)
    if inputs.readable:
        raise UnreadableInput(
            f"There are {len(inputs.readable)} volumes ({_count_kinds(inputs.readable)}) where "
            "one was expected.",
            "Name one file or a folder with one series, or take find_inputs() or `headclip "
            "screen`, which handle several.",
            code="several-volumes",
        )
    for failure in errors or inputs.failures:
        raise failure.to_error()
    raise UnreadableInput(
        "The folder holds no image in a format that is read.",
        "Check the path.",
        code="nothing-found",
    )


def as_volume(given: object) -> Volume:
    """Take a volume as it is, read a path, or lay an array on a grid without a patient.

    Args:
        given: A ``Volume``, the path of a file or a folder with one series, or an array as
            ``Volume.from_array`` takes it.

    Raises:
        InvalidSettings: It is something else.
        HeadClipError: It cannot be read; see ``read_volume``.
    """
    if isinstance(given, Volume):
        return given
    if isinstance(given, np.ndarray):
        return Volume.from_array(given)
    if isinstance(given, str | PathLike):
        return read_volume(Path(given))
    raise InvalidSettings(
        f"This is {type(given).__name__}, which cannot be screened.",
        "Give a path, an array or a Volume: Volume.from_array, .from_nibabel and .from_sitk make "
        "one.",
        code="wrong-type",
    )


def _count_kinds(readable: Sequence[Input]) -> str:
    series = {(one.study_instance_uid, one.series_instance_uid) for one in readable}
    files = {path for one in readable for path in one.paths}
    return f"from {len(series)} series and {len(files)} files"


# Each reader brings a library of its own, which a run on other files does without.
def _find_dicom(files: list[Path], named: set[Path], limits: ReadLimits, seen: _Seen) -> _Found:
    from headclip_med.read.dicom.find import find_dicom

    return find_dicom(files, limits, named=named, seen=seen)


def _find_nifti(files: list[Path], named: set[Path], limits: ReadLimits, seen: _Seen) -> _Found:
    from headclip_med.read.nifti import find_nifti

    find = partial(find_nifti, limits=limits, named=named)
    readable, failures = _find_each(files, find, limits, seen)
    return list(dict.fromkeys(readable)), failures  # both files of a pair name the same volume


def _find_volumes(files: list[Path], named: set[Path], limits: ReadLimits, seen: _Seen) -> _Found:
    from headclip_med.read.itk import find_itk

    return _find_each(files, partial(find_itk, limits=limits, named=named), limits, seen)


def _find_images(files: list[Path], _named: set[Path], limits: ReadLimits, seen: _Seen) -> _Found:
    from headclip_med.read.photo import find_image

    return _find_each(files, partial(find_image, limits=limits), limits, seen)


def _find_each(
    files: list[Path], find: Callable[[Path], Input | list[Input]], limits: ReadLimits, seen: _Seen
) -> _Found:
    readable: list[Input] = []
    failures = []
    for path, found in zip(files, isolated_each(find, files, limits, seen=seen), strict=True):
        if isinstance(found, HeadClipError):
            failures.append(Failure.of(path, found))
        else:
            readable += [found] if isinstance(found, Input) else found
    return readable, failures


_READERS: Mapping[Origin, Callable[[list[Path], set[Path], ReadLimits, _Seen], _Found]] = {
    "dicom": _find_dicom,
    "nifti": _find_nifti,
    "volume": _find_volumes,
    "image": _find_images,
}
"""In the order in which what they find is listed."""
