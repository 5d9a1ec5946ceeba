"""Options made from settings: name, type, choices, default and help come from the dataclass."""

from __future__ import annotations

import argparse
import ast
import inspect
import textwrap
import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from itertools import pairwise
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")


def add_settings(
    parser: argparse.ArgumentParser, settings: type, *, names: Mapping[str, str] | None = None
) -> None:
    """Add an option for every field of a settings dataclass.

    The default shown is the field's, but an option that is not given stays ``None``, so that
    ``settings_from`` can leave defaults to whoever knows better (a checkpoint, for instance).

    Args:
        parser: Where to.
        settings: A dataclass whose fields have docstrings.
        names: Shorter or clearer option names for some fields.
    """
    group = parser.add_argument_group(settings.__name__.removesuffix("Settings").lower())
    hints, texts = get_type_hints(settings), field_docstrings(settings)
    for one in fields(settings):
        option = f"--{(names or {}).get(one.name, one.name).replace('_', '-')}"
        default = "" if one.default in (None, MISSING) else f" (default: {_shown(one.default)})"
        text = (texts[one.name] + default).replace("%", "%%").replace("``", "")
        if hints[one.name] is bool:
            group.add_argument(
                option, dest=one.name, action=argparse.BooleanOptionalAction, default=None,
                help=text,
            )  # fmt: skip
            continue
        kind, choices = _kind(hints[one.name])
        group.add_argument(
            option, dest=one.name, type=kind, choices=choices, default=None, help=text,
            metavar=None if choices else getattr(kind, "__name__", "value").strip("_").upper(),
        )  # fmt: skip


def settings_from(arguments: argparse.Namespace, settings: type[T], base: T | None = None) -> T:
    """Build settings from the options that were given, the rest from ``base`` or the defaults."""
    given = {
        one.name: getattr(arguments, one.name)
        for one in fields(settings)  # type: ignore[arg-type]
        if getattr(arguments, one.name, None) is not None
    }
    start = {} if base is None else {f.name: getattr(base, f.name) for f in fields(settings)}  # type: ignore[arg-type]
    return settings(**{**start, **given})


def was_given(arguments: argparse.Namespace, settings: type) -> bool:
    """Tell whether any option of these settings was used."""
    return any(getattr(arguments, one.name, None) is not None for one in fields(settings))


def field_docstrings(settings: type) -> dict[str, str]:
    """Read the string under each field of a dataclass, as one line."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(settings)))
    body = tree.body[0].body  # type: ignore[attr-defined]
    found = {}
    for field, below in pairwise(body):
        if isinstance(field, ast.AnnAssign) and isinstance(below, ast.Expr):
            text = ast.literal_eval(below.value)
            found[ast.unparse(field.target)] = " ".join(text.split())
    return found


def _kind(hint: Any) -> tuple[Callable[[str], object], tuple[str, ...] | None]:
    if get_origin(hint) in (Union, types.UnionType):
        hint = next(one for one in get_args(hint) if one is not type(None))
    if get_origin(hint) is Literal:
        return str, get_args(hint)
    if get_origin(hint) is tuple:
        return (layers, None) if get_args(hint)[0] is int else (_numbers, None)
    return hint, None


def layers(text: str) -> tuple[int, ...]:
    """Parse ``5-19`` or ``4,5,6``."""
    first, dash, last = text.partition("-")
    if dash:
        return tuple(range(int(first), int(last) + 1))
    return tuple(int(part) for part in text.split(","))


def _numbers(text: str) -> tuple[float, ...]:
    return tuple(float(part) for part in text.split(","))


def _shown(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
