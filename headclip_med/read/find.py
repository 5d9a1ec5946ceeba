"""The two doors of reading: what is there (``find_inputs``), and one volume (``read_volume``)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from headclip_med.errors import HeadClipError, UnreadableInput
from headclip_med.read.files import find_files
from headclip_med.read.guards import DEFAULT_LIMITS, ReadLimits
from headclip_med.read.inputs import Failure, Input, Inputs
from headclip_med.volume import Origin, Volume

_Found = tuple[list[Input], list[Failure]]


def find_inputs(paths: Sequence[Path], *, limits: ReadLimits = DEFAULT_LIMITS) -> Inputs:
    """Find every volume below some files and folders; only headers are read.

    Studies and series are told apart by what the headers say, whatever files are called and however
    they are spread over folders.

    Args:
        paths: Files and folders; folders are walked to the bottom.
        limits: What a file may claim.

    Returns:
        The volumes that can be read, and what could not be used. Both may be empty.
    """
    found = find_files(paths, limits)
    readable: list[Input] = []
    failures = list(found.failures)
    for kind, find in _READERS.items():
        if files := found.of_kind(kind):
            more, refused = find(files, found.named, limits)
            readable += more
            failures += refused
    failures.sort(key=lambda failure: (str(failure.path), failure.code))
    return Inputs(tuple(readable), tuple(failures))


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
        reading = dataclasses.replace(volume.reading, files_beside=len(errors))
        return dataclasses.replace(volume, reading=reading)
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
        "The folder holds no DICOM, NIfTI or image file.", "Check the path.", code="nothing-found"
    )


def _count_kinds(readable: Sequence[Input]) -> str:
    series = {(one.study_instance_uid, one.series_instance_uid) for one in readable}
    files = {path for one in readable for path in one.paths}
    return f"from {len(series)} series and {len(files)} files"


# Each reader brings a library of its own, which a run on other files does without.
def _find_dicom(files: list[Path], named: set[Path], limits: ReadLimits) -> _Found:
    from headclip_med.read.dicom.volume import find_dicom

    return find_dicom(files, limits, named=named)


def _find_nifti(files: list[Path], named: set[Path], limits: ReadLimits) -> _Found:
    from headclip_med.read.nifti import find_nifti, is_pair_image

    wanted = [path for path in files if path in named or not is_pair_image(path)]
    return _find_each(wanted, lambda path: find_nifti(path, limits))


def _find_images(files: list[Path], _named: set[Path], limits: ReadLimits) -> _Found:
    from headclip_med.read.photo import find_image

    return _find_each(files, lambda path: [find_image(path, limits)])


def _find_each(files: list[Path], find: Callable[[Path], list[Input]]) -> _Found:
    readable, failures = [], []
    for path in files:
        try:
            readable += find(path)
        except HeadClipError as error:
            failures.append(Failure.of(path, error))
    return readable, failures


_READERS: Mapping[Origin, Callable[[list[Path], set[Path], ReadLimits], _Found]] = {
    "dicom": _find_dicom,
    "nifti": _find_nifti,
    "image": _find_images,
}
"""In the order in which what they find is listed."""
