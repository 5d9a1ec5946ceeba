"""Options made from settings: name, type, choices, default and help come from the dataclass."""

from __future__ import annotations

import argparse
import ast
import inspect
import textwrap
import types
from collections.abc import Callable, Collection, Mapping
from dataclasses import MISSING, fields
from itertools import pairwise
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from headclip_med.errors import InvalidSettings

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
        name = (names or {}).get(one.name, one.name)
        default = "" if one.default in (None, MISSING) else f"default: {_shown(one.default)}"
        _add_option(group, (one.name, name), hints[one.name], texts[one.name], default)


def add_joint_settings(
    parser: argparse.ArgumentParser,
    title: str,
    methods: Mapping[str, object],
    *,
    without: Collection[str] = (),
) -> None:
    """Add the options of several methods' settings, a field that they share once.

    Args:
        parser: Where to.
        title: Of the group.
        methods: The settings each method has by default. Help says to which methods an option
            belongs, unless to all, and where their defaults differ.
        without: Fields that are no options here.
    """
    group = parser.add_argument_group(title)
    owners: dict[str, list[str]] = {}
    for method, settings in methods.items():
        for one in fields(settings):  # type: ignore[arg-type]
            if one.name not in without:
                owners.setdefault(one.name, []).append(method)
    for name, having in owners.items():
        kind = type(methods[having[0]])
        values = {method: getattr(methods[method], name) for method in having}
        shown = {
            method: _shown(value) for method, value in values.items() if value not in (None, ())
        }
        default = ", ".join(f"{value} for {method}" for method, value in shown.items())
        if len(set(shown.values())) == 1:
            default = next(iter(shown.values()))
        belongs = "" if len(having) == len(methods) else f"{' and '.join(having)}; "
        text = field_docstrings(kind)[name]
        note = f"{belongs}default: {default}" if default else belongs.removesuffix("; ")
        _add_option(group, (name, name), get_type_hints(kind)[name], text, note)


def refuse_other_methods(
    arguments: argparse.Namespace,
    method: str | None,
    methods: Mapping[str, object],
    *,
    without: Collection[str] = (),
) -> None:
    """Refuse options that another method has, and this one has not.

    Args:
        arguments: Of the command.
        method: The one that was named; None, or one that is not listed, has no such options.
        methods: The settings each method has by default.
        without: Fields that are no options here.

    Raises:
        InvalidSettings: One was given.
    """
    named = methods.get(method or "")
    own = {*without, *(one.name for one in fields(named))} if named else {*without}  # type: ignore[arg-type]
    for other, settings in methods.items():
        for one in fields(settings):  # type: ignore[arg-type]
            if one.name not in own and getattr(arguments, one.name, None) is not None:
                raise InvalidSettings(
                    f"--{one.name.replace('_', '-')} is an option of {other}, and "
                    f"{method or 'what was named'} has none like it.",
                    "Leave it out, or name a --method that has it.",
                )


def _add_option(
    group: argparse._ArgumentGroup, names: tuple[str, str], hint: Any, text: str, note: str
) -> None:
    """Add one option; ``names`` are the field's and the option's."""
    dest, name = names
    option = f"--{name.replace('_', '-')}"
    text = (f"{text} ({note})" if note else text).replace("%", "%%").replace("``", "")
    if hint is bool:
        group.add_argument(
            option, dest=dest, action=argparse.BooleanOptionalAction, default=None, help=text
        )
        return
    kind, choices = _kind(hint)
    group.add_argument(
        option, dest=dest, type=kind, choices=choices, default=None, help=text,
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
    """Parse ``5-19``, ``4,5,6`` or ``none``."""
    if text == "none":
        return ()
    first, dash, last = text.partition("-")
    if dash:
        return tuple(range(int(first), int(last) + 1))
    return tuple(int(part) for part in text.split(","))


def _numbers(text: str) -> tuple[float, ...]:
    return tuple(float(part) for part in text.split(","))


def _shown(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
