"""All sets by name, and the functions that open any of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from headclip_med.content import ImageContent
from headclip_med.datasets.layouts import GENERIC_SETS, NIFTI_SUFFIXES, KnownSet, declared_sets
from headclip_med.datasets.own.folders import scan_folders
from headclip_med.datasets.own.meta import scan_meta, scan_real_iad
from headclip_med.datasets.own.spec import SetSpec
from headclip_med.datasets.own.table import scan_table
from headclip_med.datasets.samples import Dataset, Sample, SliceReader
from headclip_med.datasets.scan import Found, Scan, scan
from headclip_med.errors import InvalidSettings, UnreadableInput, nearest

KNOWN_SETS = {one.name: one for one in (*declared_sets("industrial"), *declared_sets("medical"))}
"""The public sets; ``mvtec``, ``folder``, ``meta``, ``csv`` and ``nifti`` are layouts that any set
may have."""

_GENERIC = {one.name: one for one in GENERIC_SETS}


def find_set(name: str) -> KnownSet:
    """Look a set or a layout up by any of its names.

    Raises:
        InvalidSettings: There is none of that name.
    """
    generic = _GENERIC.get(name)
    known = generic or next((one for one in KNOWN_SETS.values() if one.is_called(name)), None)
    if known is None:
        names = *_GENERIC, *KNOWN_SETS
        raise InvalidSettings(
            "A set is given as LAYOUT:FOLDER, and this is no layout that is known.",
            f"{nearest(name, names)}Take one of {', '.join(names)}.",
            code="unknown-dataset",
        )
    return known


def open_dataset(spec: str, slices: SliceReader | None = None) -> Dataset:
    """Open a set given as ``LAYOUT:PATH``, or ``LAYOUT:PATH?option=value&option=value``.

    Args:
        spec: The layout is ``mvtec``, ``folder`` (class folders, or images/ and masks/), ``meta``
            (a meta.json), ``csv`` (a table), ``nifti`` (volumes and masks), or the name of a set;
            see ``KNOWN_SETS``, and ``SetOptions`` for the options.
        slices: Reads volumes; needed for ``nifti``.

    Raises:
        InvalidSettings: The layout is unknown, the path is left out, an option is of no use, or
            there is no reader.
        UnreadableInput: The path does not have that layout, or a file is missing.
    """
    named = SetSpec.parse(spec)
    known = replace(find_set(named.layout), options=named.options)
    return dataset_of(known, scan_set(known, named.path, slices))


def scan_set(known: KnownSet, folder: Path, slices: SliceReader | None = None) -> Scan:
    """Find all images of a set, and all that is wrong with it; volumes slice by slice.

    Raises:
        InvalidSettings: The set is one of volumes, and there is no reader; or an option of it is of
            no use.
        UnreadableInput: The folder does not have the set's layout.
    """
    scanned = _scanned(known, folder)
    if scanned.layout.suffixes != NIFTI_SUFFIXES:
        return scanned
    if slices is None:
        raise InvalidSettings(
            "Volumes need a reader.",
            "Open this set with headclip_med.evaluation.datasets.",
            code="no-slice-reader",
        )
    found = [one for sample in scanned.samples for one in _slices(sample, slices)]
    return replace(
        scanned,
        samples=tuple(one for one in found if isinstance(one, Sample)),
        problems=(*scanned.problems, *(p for p in found if isinstance(p, UnreadableInput))),
    )


def _scanned(known: KnownSet, path: Path) -> Scan:
    """Read it in its own way."""
    if known.listing:
        return _LISTS[known.listing](known.name, path, known.options)
    if known.name == "folder":
        return scan_folders(known, path)
    known.options.require(("normal",) if known.name == "mvtec" else (), known.name)
    if known.options.normal:
        layouts = (replace(one, normal=known.options.normal) for one in known.layouts)
        known = replace(known, layouts=tuple(layouts))
    scanned = scan(known, path)
    if known.options.normal and all(one.label for one in scanned.samples):
        raise UnreadableInput(
            "No class folder is called what was given as the normal class.",
            "Correct --normal-class.",
            code="no-such-class",
        )
    return scanned


_LISTS = {"meta": scan_meta, "csv": scan_table, "real-iad": scan_real_iad}


def dataset_of(known: KnownSet, scanned: Scan) -> Dataset:
    """Make a set of what was found.

    Raises:
        UnreadableInput: Something is wrong with it; the first problem says what.
    """
    if scanned.problems:
        raise scanned.problems[0]
    has_own_name = not known.is_generic or known.name == "mvtec"
    name = known.name if has_own_name else scanned.root.resolve().name
    return Dataset(name, scanned.samples, scanned.layout.level, scanned.passed_over)


def _slices(sample: Sample, slices: SliceReader) -> Iterator[Found]:
    """Yield each slice of a volume; its mask tells which are abnormal."""
    try:
        count, plane = slices.cut(sample.image_path, sample.mask_path or sample.image_path)
    except UnreadableInput as problem:
        yield problem
        return
    for index in range(count):
        yield replace(sample, label=None, slice_index=index, plane=plane, slices=slices)


def content_of_category(dataset: str, category: str) -> ImageContent:
    """Name what a category of a set shows; known sets also say by which modality."""
    known = KNOWN_SETS.get(dataset)
    return ImageContent(category, known.modality if known else None)
