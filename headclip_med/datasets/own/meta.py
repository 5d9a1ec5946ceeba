"""Lists in JSON: ``meta.json`` as the field's published codes write it, and Real-IAD's own."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from headclip_med.datasets.own.listing import ListedImage, Read, scan_list
from headclip_med.datasets.own.spec import SetOptions
from headclip_med.datasets.scan import Scan
from headclip_med.errors import UnreadableInput

META = "meta.json"
_IMAGE, _MASK, _CATEGORY, _KIND, _LABEL = (
    "img_path", "mask_path", "cls_name", "specie_name", "anomaly",
)  # fmt: skip


def scan_meta(name: str, path: Path, options: SetOptions) -> Scan:
    """Find all images that a ``meta.json`` names.

    It holds ``{split: {class: [entry, ...]}}``, each entry with ``img_path``, ``mask_path`` (empty
    for none, or a list), ``cls_name``, ``specie_name`` and ``anomaly`` (0 or 1).

    Args:
        name: Of the layout.
        path: The file, or the folder that holds it.
        options: ``root`` is where its paths start, by default its folder.

    Raises:
        UnreadableInput: There is no such file, it is not written so, or names no image.
    """
    options.require(("root",), name)
    file = path / META if path.is_dir() else path
    splits = read_json(file)
    entries: list[ListedImage | UnreadableInput] = []
    for split, classes in splits.items():
        if isinstance(classes, list):
            classes = {"": classes}
        if not isinstance(classes, Mapping):
            raise _not_so(file)
        for category, listed in classes.items():
            rows = listed if isinstance(listed, list) else [None]
            entries += [_entry(one, split, category, file) for one in rows]
    bases = [Path(options.root)] if options.root else [file.parent]
    return scan_list(Read(entries, f"what {file.name} names"), bases, file.name)


def _entry(one: Any, split: str, category: str, file: Path) -> ListedImage | UnreadableInput:
    image = one.get(_IMAGE) if isinstance(one, Mapping) else None
    if not isinstance(image, str) or not image:
        raise _not_so(file)
    label = _label(one)
    if label is None:
        return UnreadableInput(
            f"The image {image} has no {_LABEL} of 0 or 1 in {file.name}.",
            "Add it.",
            code="missing-label",
        )
    masks = one.get(_MASK) or ()
    masks = (masks,) if isinstance(masks, str) else tuple(str(mask) for mask in masks)
    shown = one.get(_CATEGORY) or category or file.resolve().parent.name
    return ListedImage(image, masks, label, str(shown), split)


def _label(one: Mapping[str, Any]) -> Literal[0, 1] | None:
    stated = str(one.get(_LABEL)).strip().lower()
    if stated in ("0", "0.0", "false"):
        return 0
    return 1 if stated in ("1", "1.0", "true") else None


def scan_real_iad(name: str, root: Path, options: SetOptions) -> Scan:
    """Find all images of Real-IAD by the split files that are published with it.

    ``realiad_jsons/CATEGORY.json`` lists training and test images below ``realiad_1024/CATEGORY/``
    (or 512, or 256; the largest that is there is read), every view of an object as one image.

    Raises:
        UnreadableInput: There are no such files.
    """
    options.require((), name)
    top = next((one for one in _tops(root) if (one / "realiad_jsons").is_dir()), None)
    lists = _lists(top / "realiad_jsons") if top else []
    if top is None or not lists:
        raise UnreadableInput(
            f"The folder {root.name} does not look like Real-IAD, which is kept as realiad_1024/, "
            "realiad_512/ or realiad_256/ beside realiad_jsons/CATEGORY.json.",
            "Fetch realiad_jsons.zip as well, and unpack both into one folder.",
            code="unknown-layout",
        )
    images = [top / f"realiad_{size}" for size in (1024, 512, 256)]
    base = next((one for one in images if one.is_dir()), top)
    entries = [entry for file in lists for entry in _listed(file, base)]
    return scan_list(Read(entries, "what realiad_jsons/ names"), [base], "realiad_jsons")


def _tops(root: Path) -> Iterator[Path]:
    yield root
    if root.is_dir():
        yield from sorted(one for one in root.iterdir() if one.is_dir())


def _lists(folder: Path) -> list[Path]:
    inner = folder / "realiad_jsons"  # as its archive unpacks
    return sorted((inner if inner.is_dir() else folder).glob("*.json"))


def _listed(file: Path, base: Path) -> Iterator[ListedImage | UnreadableInput]:
    found = read_json(file)
    about = found.get("meta") or {}
    prefix, normal = about.get("prefix", f"{file.stem}/"), about.get("normal_class", "OK")
    if not (base / prefix).is_dir():
        return  # of categories that were not fetched nothing is said
    for split in ("train", "test"):
        for one in found.get(split) or ():
            try:
                is_abnormal = one["anomaly_class"] != normal
                mask = (f"{prefix}{one['mask_path']}",) if one.get("mask_path") else ()
                image = f"{prefix}{one['image_path']}"
            except (KeyError, TypeError, AttributeError) as error:
                raise _not_so(file) from error
            yield ListedImage(image, mask, 1 if is_abnormal else 0, file.stem, split)


def read_json(file: Path) -> Mapping[str, Any]:
    """Read a file that holds one JSON object.

    Raises:
        UnreadableInput: It is not there, or holds something else.
    """
    try:
        found = json.loads(file.read_text("utf-8-sig"))
    except OSError as error:
        raise UnreadableInput(
            f"There is no {file.name} at the path given.",
            "Correct the path, or name the set by its folders, as folder:DIR.",
            code="missing-table",
        ) from error
    except ValueError as error:
        raise _not_so(file) from error
    if not isinstance(found, Mapping):
        raise _not_so(file)
    return found


def _not_so(file: Path) -> UnreadableInput:
    return UnreadableInput(
        f"The list {file.name} is not written as the published ones are: a JSON object "
        '{split: {class: [{"img_path", "mask_path", "cls_name", "specie_name", "anomaly"}]}}.',
        "Write it so, or give a table of images as csv:FILE.",
        code="bad-labels",
    )
