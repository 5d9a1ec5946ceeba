"""Every field of every settings class refuses what is outside its type or range, in a sentence."""

from __future__ import annotations

import ast
import json
import math
import operator
import re
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import pytest

from headclip_med.errors import InvalidSettings
from headclip_med.models.adaclip.settings import AdaClipSettings
from headclip_med.models.headclip.settings import HeadClipSettings
from headclip_med.models.request import ModelRequest
from headclip_med.models.winclip.settings import WinClipSettings
from headclip_med.settings import (
    Count,
    ScoreSettings,
    ScreenSettings,
    Settings,
    TrainSettings,
    checked,
)
from tests.source import Module, modules, parsed

POOL: tuple[Any, ...] = (
    "cubic", "fp16", "relu", "", " ", b"bytes", None, True, False, -3, -1, 0, 1, 7, 2.5, 0.5, -0.1,
    1.0, 10**12, -(10**12), 1e300, -1e300, math.nan, math.inf, -math.inf, (), (3, 4), (0,),
    (1, 2), (1, True), (0.5, 0.9), (0.5, math.nan), (0.1, 0.2, 0.3), [1, 2], {"a": 1}, object(),
    Path("file"), (Path("file"),),
)  # fmt: skip
"""Values of all kinds; each is wrong for most fields."""

KEEPS: Mapping[str, Callable[[Any, Any], bool]] = {
    "ge": operator.ge, "gt": operator.gt, "le": operator.le, "lt": operator.lt,
    "min_length": lambda value, least: len(value) >= least,
    "max_length": lambda value, most: len(value) <= most,
    "pattern": lambda value, pattern: re.search(pattern, value) is not None,
}  # fmt: skip
"""What the bounds of a field mean."""


def settings_classes() -> list[type[Settings]]:
    """Find the classes that are made by ``checked``, wherever they stand."""
    return [
        getattr(import_module(f"headclip_med.{module.name}"), node.name)
        for module in modules()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ClassDef)
        and any(ast.unparse(one) == "checked" for one in node.decorator_list)
    ]


CLASSES = settings_classes()
FIELDS = [(kind, one.name) for kind in CLASSES for one in fields(kind)]  # type: ignore[arg-type]


def fits(value: object, hint: Any) -> bool:
    """Say whether a value is of a type as it is written, bounds included; True is no number."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return fits(value, arguments[0]) and all(inside(value, one) for one in arguments[1:])
    if origin in (Union, types.UnionType):
        return any(fits(value, one) for one in arguments)
    if origin is Literal:
        return any(type(value) is type(one) and value == one for one in arguments)
    if origin is tuple:
        if not isinstance(value, tuple):
            return False
        kinds = arguments[:1] * len(value) if arguments[-1] is Ellipsis else arguments
        return len(kinds) == len(value) and all(map(fits, value, kinds))
    if origin is not None:
        return isinstance(value, Mapping)
    if hint is float:
        return type(value) in (int, float) and math.isfinite(value)  # type: ignore[arg-type]
    return (
        value is None
        if hint in (None, type(None))
        else type(value) is hint or (hint is Path and isinstance(value, Path))
    )


def inside(value: Any, field: Any) -> bool:
    """Say whether a value keeps the bounds of pydantic's ``Field``."""
    for bound in field.metadata:
        for name, keeps in KEEPS.items():
            if getattr(bound, name, None) is not None and not keeps(value, getattr(bound, name)):
                return False
    return True


def misjudged(kind: type[Settings], name: str) -> list[object]:
    """Values that a field takes against its type, or refuses against it or without its name."""
    hint = get_type_hints(kind, include_extras=True)[name]
    found = []
    for value in POOL:
        try:
            is_right = fits(value, hint) and getattr(kind(**{name: value}), name) == value
            if not fits(value, hint):
                kind(**{name: value})
        except InvalidSettings as error:
            names_it = error.reason.startswith(f"{name} must be ") and error.reason.endswith(".")
            # What fits may not go with the other fields' defaults, which is said in other words.
            is_right = names_it != fits(value, hint)
        if not is_right:
            found.append(value)
    return found


def boundless(kind: type[Settings], name: str) -> list[object]:
    """Absurd numbers that the type of a field lets through."""
    hint = get_type_hints(kind, include_extras=True)[name]
    return [value for value in (10**12, -(10**12), 1e300, -1e300) if fits(value, hint)]


def loose(found: tuple[Module, ...]) -> list[str]:
    """Classes of settings that are not made by ``checked``."""
    return [
        f"{module.name}.{node.name}"
        for module in found
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ClassDef)
        and node.name.endswith("Settings")
        and any("dataclass" in ast.unparse(one) for one in node.decorator_list)
    ]


def _hashable(value: object) -> object:
    return repr(value) if isinstance(value, list | dict) else value


def test_all_settings_are_checked() -> None:
    assert {ScoreSettings, TrainSettings, ScreenSettings, HeadClipSettings} < set(CLASSES)
    assert loose(modules()) == []


def test_settings_that_are_not_checked_are_found() -> None:
    planted = parsed("m", "@dataclass(frozen=True)\nclass PlantedSettings:\n    size: int = 1")
    assert loose((planted,)) == ["m.PlantedSettings"]


@pytest.mark.parametrize(("kind", "name"), FIELDS)
def test_a_field_takes_what_its_type_says_and_refuses_all_else(
    kind: type[Settings], name: str
) -> None:
    assert misjudged(kind, name) == []
    hint = get_type_hints(kind, include_extras=True)[name]
    assert sum(not fits(value, hint) for value in POOL) > len(POOL) / 2


@pytest.mark.parametrize(("kind", "name"), FIELDS)
def test_a_number_has_bounds(kind: type[Settings], name: str) -> None:
    assert boundless(kind, name) == []


@dataclass(frozen=True, kw_only=True)
class Unchecked(Settings):
    """Planted: nobody looks at what it is given."""

    size: Count = 1


@checked
class Unbounded(Settings):
    """Planted: any whole number will do."""

    size: int = 1


@dataclass(frozen=True, kw_only=True)
class Mute(Settings):
    """Planted: what is wrong is refused, and not said of the field."""

    size: Count = 1

    def __post_init__(self) -> None:
        if not fits(self.size, Count):
            raise InvalidSettings("Something is wrong.")


def test_a_settings_class_that_takes_anything_is_found() -> None:
    assert {"cubic", -3, 2.5, None} <= set(map(_hashable, misjudged(Unchecked, "size")))
    assert boundless(Unbounded, "size")
    assert misjudged(Unbounded, "size") == []


def test_a_refusal_that_does_not_name_its_field_is_found() -> None:
    assert -3 in misjudged(Mute, "size")


@pytest.mark.parametrize(
    ("kind", "value", "sentence"),
    [
        (
            HeadClipSettings,
            {"position_interpolation": "cubic"},
            "position_interpolation must be bilinear or bicubic or bicubic-antialias, not 'cubic'.",
        ),
        (
            WinClipSettings,
            {"image_size": -3},
            "image_size must be a whole number from 1 to 16,384 or None, not -3.",
        ),
        (
            TrainSettings,
            {"betas": (3, 4)},
            "betas must be a tuple of 2, each a number from 0 below 1, not (3, 4).",
        ),
        (
            AdaClipSettings,
            {"mlp_activation": "relu"},
            "mlp_activation must be gelu or trained-with, not 'relu'.",
        ),
        (
            ScreenSettings,
            {"batch_size": 2.5},
            "batch_size must be a whole number from 1 to 1,000,000, not 2.5.",
        ),
        (
            TrainSettings,
            {"precision": "fp16"},
            "precision must be fp32 or bf16 or auto, not 'fp16'.",
        ),
        (
            TrainSettings,
            {"epochs": True},
            "epochs must be a whole number from 1 to 1,000,000, not True.",
        ),
        (
            ScoreSettings,
            {"sigma_px": math.nan},
            "sigma_px must be a number from 0 to 1,000, not nan.",
        ),
        (
            HeadClipSettings,
            {"local_layers": (0,)},
            "local_layers must be a tuple of at least one, each a whole number from 1 to 1,000 or "
            "None, not (0,).",
        ),
        (AdaClipSettings, {"fusion": 1}, "fusion must be True or False, not 1."),
        (HeadClipSettings, {"deep_tokens": 13}, "deep_tokens must not exceed context_tokens, 12."),
        (ScoreSettings, {"sigma": 4.0}, "ScoreSettings has no field 'sigma'."),
    ],
)
def test_a_refusal_names_the_field_and_what_it_takes(
    kind: type[Settings], value: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(InvalidSettings) as caught:
        kind(**value)
    assert caught.value.reason == sentence
    assert caught.value.code == "invalid-settings"


def test_changed_settings_are_checked_too() -> None:
    for change in (lambda: ScoreSettings().changed(top_percent=0.0),
                   lambda: replace(ScoreSettings(), top_percent=0.0)):  # fmt: skip
        with pytest.raises(InvalidSettings, match="top_percent must be a number above 0 to 100"):
            change()
    with pytest.raises(AttributeError):
        ScoreSettings().top_percent = 0.0  # type: ignore[misc]
    with pytest.raises(InvalidSettings, match="given by name"):
        ScoreSettings("global")  # type: ignore[misc]


@pytest.mark.parametrize("kind", [one for one in CLASSES if one.__name__.endswith("Settings")])
def test_settings_come_back_from_json(kind: type[Settings]) -> None:
    given = kind()
    assert kind.from_json(json.loads(json.dumps(given.to_json()))) == given


def test_a_list_is_a_tuple_in_json_alone() -> None:
    assert HeadClipSettings.from_json({"local_layers": [2, 3]}).local_layers == (2, 3)
    with pytest.raises(InvalidSettings, match="local_layers must be a tuple"):
        HeadClipSettings(local_layers=[2, 3])  # type: ignore[arg-type]
    with pytest.raises(InvalidSettings, match="context_tokens must be a whole number"):
        HeadClipSettings.from_json({"context_tokens": [2, 3]})


def test_a_model_is_not_asked_for_in_a_precision_that_there_is_not() -> None:
    with pytest.raises(InvalidSettings, match="precision must be fp32 or bf16 or auto, not 'fp16'"):
        ModelRequest(precision="fp16")  # type: ignore[arg-type]
