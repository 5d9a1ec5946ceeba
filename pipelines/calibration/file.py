"""A calibration as a file: scores of normal studies, by stratum, and all that they are bound to.

It is JSON without any value of a patient: patients and studies stand in it as keyed hashes, which
are in another order than the scores.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as checked_dataclass

from headclip_med import __version__
from headclip_med.atomic import reported_errors, write_file
from headclip_med.calibration import Stratum, rate_in_words
from headclip_med.errors import UnreadableInput
from headclip_med.metrics.conformal import NormalScores
from headclip_med.settings import OF_NO_LOGITS, OF_NO_SCORE

FORM = 1
"""Of the file; another number where it comes to mean something else."""

LARGEST_BYTES = 256_000_000
"""Of a file that is read: some ten million studies."""

_CHECKS = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)

Token = Annotated[str, Field(pattern="^[0-9a-f]{32}$")]
"""The keyed hash of a patient or a study."""

Score = Annotated[float, Field(ge=0, le=1)]


@checked_dataclass(frozen=True, config=_CHECKS)
class Binding:
    """What scores follow from, beside the voxels; scores are compared where it is equal.

    Attributes:
        model: SHA-256 of what the model says of itself.
        settings: Of the screening, but for those that no score follows from.
        scoring: Version of how scores are made.
    """

    model: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    settings: dict[str, Any]
    scoring: int

    @classmethod
    def of(
        cls, model: Mapping[str, object], settings: Mapping[str, object], scoring: int
    ) -> Binding:
        """Bind to a model and settings, as a result has them."""
        described = {name: one for name, one in model.items() if name not in OF_NO_LOGITS}
        kept = {name: one for name, one in settings.items() if name not in OF_NO_SCORE}
        return cls(_digest(described), json.loads(json.dumps(kept)), scoring)


@checked_dataclass(frozen=True, config=_CHECKS)
class Normals:
    """The normal studies of one stratum.

    Attributes:
        stratum: Of which.
        binding: What their scores follow from.
        model_name: Of the model, for people.
        scores: In ascending order, six decimals each.
        patients: A keyed hash for each patient that is known, sorted.
        unknown_patients: Studies of which nothing says whose they are.
    """

    stratum: Stratum
    binding: Binding
    model_name: str
    scores: Annotated[tuple[Score, ...], Field(min_length=1)]
    patients: tuple[Token, ...]
    unknown_patients: Annotated[int, Field(ge=0)]

    @cached_property
    def known(self) -> NormalScores:
        """Their scores, which give p-values."""
        return NormalScores(np.array(self.scores))

    def sentence(self, alpha: float) -> str:
        """Say what an alpha means for new studies of this kind."""
        rate = self.known.true_rate(alpha)
        return f"{self.stratum.words()}: {rate_in_words(alpha, len(self.scores), rate)}"


@dataclass(frozen=True)
class LeftOut:
    """A study that is not among the normal ones, although it was given.

    Attributes:
        study: A keyed hash.
        stratum: In which it is left out.
        code: ``same-patient``: another study of its patient stands there.
    """

    study: Token
    stratum: Stratum
    code: Literal["same-patient"]


@dataclass(frozen=True)
class Refused:
    """A stratum with too few normal studies to state alpha.

    Attributes:
        stratum: Which one.
        studies: How many there are.
        needed: How many there must be at least.
        code: ``too-few-studies``.
    """

    stratum: Stratum
    studies: int
    needed: int
    code: Literal["too-few-studies"] = "too-few-studies"


@checked_dataclass(frozen=True, config=_CHECKS)
class Calibration:
    """Normal studies of some strata, and the share of such that may be flagged.

    Attributes:
        alpha: That share, on average.
        strata: One each.
        left_out: Studies of patients that are there already.
        refused: Strata that have too few studies.
    """

    alpha: Annotated[float, Field(gt=0, lt=1)]
    strata: Annotated[tuple[Normals, ...], Field(min_length=1)]
    left_out: tuple[LeftOut, ...] = ()
    refused: tuple[Refused, ...] = ()

    @cached_property
    def digest(self) -> str:
        """SHA-256 of what p-values follow from: whose the studies are does not count."""
        return _digest(
            {
                "form": FORM,
                "alpha": self.alpha,
                "strata": [
                    {name: one[name] for name in ("stratum", "binding", "scores")}
                    for one in map(asdict, self.strata)
                ],
            }
        )

    def find(self, stratum: Stratum) -> Normals | None:
        """Give the normal studies of a stratum, and of no other."""
        return next((one for one in self.strata if one.stratum == stratum), None)

    def to_json(self) -> dict[str, Any]:
        """Put it into plain values: what the file holds."""
        return {
            "format": "headclip-calibration",
            "form": FORM,
            "version": __version__,
            "research_use_only": True,
            "digest": self.digest,
            "words": [one.sentence(self.alpha) for one in self.strata],
            **asdict(self),
        }


def write_calibration(calibration: Calibration, path: Path) -> None:
    """Write a calibration, whole or not at all.

    Raises:
        UnwritableOutput: The disk does not take it.
    """
    text = json.dumps(calibration.to_json(), indent=1, ensure_ascii=False, allow_nan=False)
    with reported_errors():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, f"{text}\n".encode())


def read_calibration(path: Path) -> Calibration:
    """Read what ``write_calibration`` wrote.

    Raises:
        UnreadableInput: It is no such file, is of a later version, or was changed.
    """
    stated = _stated(path)
    if stated.get("form") != FORM:
        raise UnreadableInput(
            "The calibration is of another form than this version writes.",
            "Use the version that wrote it, or calibrate again.",
            code="other-calibration-form",
        )
    own = ("alpha", "strata", "left_out", "refused")
    try:
        found = _ADAPTER.validate_json(json.dumps({name: stated[name] for name in own}))
        for one in found.strata:
            one.known.threshold(found.alpha)
    except (KeyError, ValidationError) as error:
        raise _damaged() from error
    is_whole = len({one.stratum for one in found.strata}) == len(found.strata)
    if found.digest != stated.get("digest") or not is_whole:
        raise _damaged()
    return found


_ADAPTER = TypeAdapter(Calibration)


def _stated(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > LARGEST_BYTES:
            raise _damaged()
        stated = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise UnreadableInput(
            "The calibration cannot be read.",
            "Name the file that 'headclip calibrate' wrote, and grant permission.",
            code="no-calibration-file",
        ) from error
    except ValueError as error:
        raise _damaged() from error
    if not isinstance(stated, dict) or stated.get("format") != "headclip-calibration":
        raise UnreadableInput(
            "The file of --calibration is no calibration.",
            "Name the one that 'headclip calibrate' wrote.",
            code="no-calibration-file",
        )
    return stated


def _damaged() -> UnreadableInput:
    return UnreadableInput(
        "The calibration is damaged, or was changed by hand.",
        "Copy it anew, or calibrate again.",
        code="bad-calibration",
    )


def _digest(plain: object) -> str:
    """SHA-256 of plain JSON values, whatever the order of their names."""
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def in_order(strata: Iterable[Stratum]) -> list[Stratum]:
    """Sort strata by their names, what is unknown first."""
    return sorted(strata, key=lambda one: [str(part or "") for part in asdict(one).values()])
