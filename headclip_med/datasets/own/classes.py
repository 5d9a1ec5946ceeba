"""Which of several classes is the normal one: by its name, or by what the user says."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from typing import NamedTuple

from headclip_med.datasets.layouts import NORMAL_NAMES
from headclip_med.errors import UnreadableInput

_NORMAL = frozenset(
    """
    clean control controls defectfree free good healthy intact negative neg no noabnormality
    noanomaly nocancer nodefect nodisease nofinding nofindings nofracture nohemorrhage nolesion
    nondefective none normal notdefective notumor notumour ok pass passed unaffected undamaged
    uninfected wnl withoutdisease
    """.split()  # noqa: SIM905 - read more easily than a list
)
"""Names that mean normal whatever stands beside them."""

_PAIRS = (("0", "1"), ("-1", "1"), ("benign", "malignant"), ("false", "true"))
"""Names that mean normal only beside the second of a pair, and nothing else."""

_NEGATIONS = ("non", "not", "no", "un", "without")

_UNDECIDED = frozenset(
    {"indeterminate", "misc", "miscellaneous", "other", "others", "uncertain", "unclear"}
    | {"undecided", "unknown", "unsure"}
)
"""Names that are neither."""

_FILLERS = frozenset(
    {"case", "cases", "class", "classes", "data", "image", "images", "img", "imgs", "patient"}
    | {"patients", "picture", "pictures", "sample", "samples", "scan", "scans", "slice", "slices"}
)
"""Words that tell nothing of what is in a class."""


class Classes(NamedTuple):
    """What classes mean.

    Attributes:
        normal: Their names.
        abnormal: All others.
        is_sure: Whether the user said so, or the name means nothing else.
    """

    normal: tuple[str, ...]
    abnormal: tuple[str, ...]
    is_sure: bool


def resolve(names: Collection[str], told: Iterable[str], *, what: str, option: str) -> Classes:
    """Tell which classes are normal.

    Args:
        names: Of all classes, as they are written.
        told: The normal ones, where the user names them; case does not matter.
        what: What the classes are, for an error, in the plural.
        option: What would settle it.

    Raises:
        UnreadableInput: The names do not tell, or tell two things; a class that is told is not
            there, or all are.
    """
    written = ", ".join(names)
    told = tuple(told)
    for one in told:
        if one.lower() not in {name.lower() for name in names}:
            raise UnreadableInput(
                f"There is no class {one} among the {what} {written}.",
                f"Give one of these as {option}.",
                code="no-such-class",
            )
    wanted = {one.lower() for one in told}
    normal = [n for n in names if n.lower() in wanted] if told else _by_name(names)
    abnormal = tuple(name for name in names if name not in normal)
    if told and not abnormal:
        raise UnreadableInput(
            f"All {what} would be normal: {written}.",
            f"Give only those that are as {option}.",
            code="no-such-class",
        )
    if not told and len(normal) > 1:
        raise UnreadableInput(
            f"Several of the {what} may be the normal ones: {', '.join(normal)}, of {written}.",
            f"Say which as {option}, once for each.",
            code="ambiguous-classes",
        )
    if not normal and len(names) > 1:
        raise UnreadableInput(
            f"None of the {what} {written} is known to mean normal.",
            f"Say which does as {option}.",
            code="ambiguous-classes",
        )
    undecided = [name for name in abnormal if plain_words(name) in _UNDECIDED]
    if undecided and not told:
        raise UnreadableInput(
            f"Of the {what} {written}, {', '.join(undecided)} would count as abnormal.",
            f"Move it away, or say which are normal as {option}; all others then count as "
            "abnormal.",
            code="ambiguous-classes",
        )
    is_sure = bool(told) or all(name.lower() in NORMAL_NAMES for name in normal)
    return Classes(tuple(normal), abnormal, is_sure)


def _by_name(names: Collection[str]) -> list[str]:
    plain = {name: plain_words(name) for name in names}
    found = [name for name, short in plain.items() if short in _NORMAL]
    if found:
        return found
    others = set(plain.values())
    for normal, abnormal in _PAIRS:
        if others == {normal, abnormal}:
            return [name for name, short in plain.items() if short == normal]
    return [
        name
        for name, short in plain.items()
        if any(short == f"{no}{other}" for no in _NEGATIONS for other in others - {short})
    ]


def plain_words(name: str) -> str:
    """Reduce a class's name to what it says: letters and digits, without words for pictures."""
    if re.fullmatch(r"[+-]?\d+(\.0*)?", name.strip()):
        return str(int(float(name)))
    words = [word for word in re.split(r"[^a-z0-9]+", name.lower()) if word]
    telling = [word for word in words if word not in _FILLERS] or words
    return "".join([word for word in telling if not word.isdigit()] or telling)
