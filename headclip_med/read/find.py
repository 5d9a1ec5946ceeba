"""The two doors of reading: what is there (``find_inputs``), and one volume (``read_volume``)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from headclip_med.errors import HeadClipError, UnreadableInput
from headclip_med.read.dicom.volume import find_dicom
from headclip_med.read.files import find_files
from headclip_med.read.guards import DEFAULT_LIMITS, ReadLimits
from headclip_med.read.inputs import Failure, Input, Inputs
from headclip_med.read.nifti import find_nifti, is_pair_image
from headclip_med.read.photo import find_image
from headclip_med.volume import Volume


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
    readable, failures = find_dicom(found.of_kind("dicom"), limits, named=found.named)
    for path in found.of_kind("nifti"):
        if is_pair_image(path) and path not in found.named:
            continue
        try:
            readable += find_nifti(path, limits)
        except HeadClipError as error:
            failures.append(Failure.of(path, error))
    for path in found.of_kind("image"):
        try:
            readable.append(find_image(path, limits))
        except HeadClipError as error:
            failures.append(Failure.of(path, error))
    failures += found.failures
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
