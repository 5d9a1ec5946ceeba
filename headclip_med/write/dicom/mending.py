"""A study's header made valid in the copy that a result holds: the source's faults stay its own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache

from highdicom._standard_utils import get_module_attribute_map
from pydicom.charset import python_encoding
from pydicom.config import RAISE
from pydicom.datadict import dictionary_VM
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.valuerep import DA, DT, TM, validate_value

MODULES = (
    "patient",
    "clinical-trial-subject",
    "general-study",
    "patient-study",
    "clinical-trial-study",
)
"""What is copied (PS3.3 C.7.1.1, C.7.1.3, C.7.2.1 to C.7.2.3)."""

ENUMERATED: dict[str, set[object]] = {
    "PatientSex": {"M", "F", "O"},
    "PatientIdentityRemoved": {"YES", "NO"},
    "QualityControlSubject": {"YES", "NO"},
    "PatientSexNeutered": {"ALTERED", "UNALTERED"},
    "SmokingStatus": {"YES", "NO", "UNKNOWN"},
    "PregnancyStatus": {1, 2, 3, 4},
    "TypeOfPatientID": {"TEXT", "RFID", "BARCODE"},
    "LongitudinalTemporalInformationModified": {"UNMODIFIED", "MODIFIED", "REMOVED"},
}
"""Values beside which none is valid."""

LONGEST = {"SH": 16, "LO": 64, "ST": 1024, "LT": 10240, "CS": 16, "AE": 16, "PN": 64}
"""Characters of a value, of a name in each of its three ways of writing (PS3.5 6.2)."""

NEEDED = {
    "ResponsiblePerson": "ResponsiblePersonRole",
    "LongitudinalTemporalOffsetFromEvent": "LongitudinalTemporalEventType",
}
"""Attributes, and what they mean nothing without."""

_ORIENTATION = re.compile(r"(?!.*[LR].*[LR])(?!.*[AP].*[AP])(?!.*[HF].*[HF])[LRAPHF]{1,3}")
"""A direction in the patient, by the nearest of its axes: of each at most one end."""

UNKNOWN_METHOD = "Not stated in the source images"
"""How identities were removed, where a source says that but not how: PS3.3 C.7.1.1 wants a word."""


def mend(copied: Dataset) -> tuple[str, ...]:
    """Make the attributes of the copied modules valid, in place.

    A value that can only mean one thing is written as it should be (a date with dots), a text is
    cut to what its type holds, and what is left and wrong is taken out. What must be there is
    there, empty where nothing is known.

    Args:
        copied: Attributes of ``MODULES``, and none else.

    Returns:
        The keywords of what was changed or taken out; no values.
    """
    before = {element.keyword: str(element.value or "") for element in copied}
    charset = _charset(copied)
    copied.pop("SpecificCharacterSet", None)  # its empty values mean something
    _mend(copied, ())
    if charset:
        copied.SpecificCharacterSet = charset
    for name, needed in NEEDED.items():
        if needed not in copied:
            copied.pop(name, None)
    _mend_trial(copied)
    if copied.get("PatientIdentityRemoved") == "YES" and not (
        copied.get("DeidentificationMethod") or copied.get("DeidentificationMethodCodeSequence")
    ):
        copied.DeidentificationMethod = UNKNOWN_METHOD
    return tuple(name for name, was in before.items() if str(copied.get(name) or "") != was)


def mended_orientation(header: Dataset) -> tuple[list[str], bool]:
    """Give where an image's rows and columns lead, or empty values where that is not known.

    Args:
        header: The image's, with whatever it says.

    Returns:
        Two values (PS3.3 C.7.6.1.1.1), of letters in any case; whether they are not what it says.
    """
    try:
        value = header.get("PatientOrientation") or ""
        said = [value] if isinstance(value, str) else [str(one or "") for one in value]
    except Exception:  # a value may break in more ways than can be listed
        return ["", ""], True
    plain = [one.strip(" \0").upper() for one in said]
    is_known = len(plain) == 2 and all(_ORIENTATION.fullmatch(one) for one in plain)
    return (plain, plain != said) if is_known else (["", ""], any(plain))


def _mend(dataset: Dataset, path: tuple[str, ...]) -> bool:
    """Mend what lies on one level, and tell whether it has all that it must have."""
    types = _types().get(path, {})
    for element in list(dataset):
        if element.VR == "SQ":
            inner = (*path, element.keyword)
            element.value = [item for item in element.value if _mend(item, inner)]
        elif element.keyword:
            element.value = _mended(element)
        if not element.value and types.get(element.keyword) not in ("2", "2C"):
            del dataset[element.tag]
    for keyword, kind in types.items():
        if kind == "2" and keyword not in dataset and path:
            setattr(dataset, keyword, [] if keyword.endswith("Sequence") else None)
    return all(keyword in dataset for keyword, kind in types.items() if kind == "1" and path)


def _charset(copied: Dataset) -> list[str]:
    """Name the character sets as the standard does; none where one is unknown or all are empty."""
    named = copied.get("SpecificCharacterSet") or []
    plain = [named] if isinstance(named, str) else [str(one or "") for one in named]
    known = [re.sub(r"^ISO[ _-]?IR[ _-]?", "ISO_IR ", one.strip().upper()) for one in plain]
    known = [re.sub(r"^ISO[ _-]?2022[ _-]?IR[ _-]?", "ISO 2022 IR ", one) for one in known]
    return known if any(known) and all(one in python_encoding for one in known) else []


def _mend_trial(copied: Dataset) -> None:
    """A trial without sponsor or protocol is none; one with both says all that it must."""
    subject, study = (
        {
            one["keyword"]: one["type"]
            for one in get_module_attribute_map()[module]
            if not one["path"]
        }
        for module in ("clinical-trial-subject", "clinical-trial-study")
    )
    present = set(copied.dir())
    if not present.isdisjoint(study):
        copied.setdefault("ClinicalTrialTimePointID", "")
    if not present.issuperset(name for name, kind in subject.items() if kind == "1"):
        for name in present.intersection(subject):
            del copied[name]
        return
    if present.isdisjoint({"ClinicalTrialSubjectID", "ClinicalTrialSubjectReadingID"}):
        copied.ClinicalTrialSubjectID = copied.get("PatientID") or "UNKNOWN"
    for name, kind in subject.items():
        if kind == "2":
            copied.setdefault(name, "")


def _mended(element: DataElement) -> object:
    """Give a valid value nearest to an element's, None where there is none."""
    try:
        values = list(element.value) if element.VM > 1 else [element.value]
        good = [one for value in values for one in _valid(element, value)]
    except Exception:  # a value may break in more ways than can be listed
        return None
    if dictionary_VM(element.tag) == "1" or len(good) < 2:
        return good[0] if good else None
    return good


def _valid(element: DataElement, value: object) -> Iterator[object]:
    """Give a value as it should be, or nothing."""
    vr, text = element.VR, str(value).strip(" \0")
    if not text or value is None:
        return
    if vr in ("DA", "TM", "DT"):
        plain = _moment(vr, text)
        {"DA": DA, "TM": TM, "DT": DT}[vr](plain)  # raises where there is no such day or hour
        value = value if plain == text else plain
    elif vr == "PN":
        groups = ["^".join(one.split("^")[:5])[: LONGEST[vr]] for one in text.split("=")[:3]]
        value = value if "=".join(groups) == text else "=".join(groups)
    elif vr == "CS":
        value = re.sub(r"[^A-Z0-9 _]", "", text.upper())[: LONGEST[vr]]
    elif len(text) > LONGEST.get(vr, len(text)):
        value = text[: LONGEST[vr]]
    if not value or (element.keyword in ENUMERATED and value not in ENUMERATED[element.keyword]):
        return
    if vr not in ("PN", "SH", "LO", "ST", "LT", "UT", "UC", "US"):  # letters are the source's own
        validate_value(vr, str(value), RAISE)
    yield value


def _moment(vr: str, text: str) -> str:
    """Write a date or a time as today's standard does: 1997.04.24 and 10:20:30 were ACR-NEMA's."""
    plain = re.sub(r"[.\-/]", "", text) if vr == "DA" else text.replace(":", "")
    if vr == "TM":  # hours alone are enough, a half-written pair is not
        whole, _, fraction = plain.partition(".")
        plain = whole[: len(whole) // 2 * 2] + (f".{fraction[:6]}" if fraction.isdigit() else "")
    return plain


@cache
def _types() -> dict[tuple[str, ...], dict[str, str]]:
    """The type of each attribute, by the sequences that it lies in."""
    found: dict[tuple[str, ...], dict[str, str]] = {(): {}}
    for module in MODULES:
        for one in get_module_attribute_map()[module]:
            found.setdefault(tuple(one["path"]), {})[one["keyword"]] = one["type"]
    return found
