"""Values and meanings of settings: what ``--set`` is given, and what help says of it."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
import types
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import pairwise
from typing import Annotated, Any, Literal, Union, get_args, get_origin
from typing import get_type_hints as hints_of

from pydantic import TypeAdapter, ValidationError

HELP_COLUMNS = 80
"""What the settings of ``--help-all`` are wrapped to."""


def value_of(text: str, hint: Any) -> object:
    """Read a setting's value; what is none of its type stays text, which the settings refuse.

    Args:
        text: As given: a number, a word, yes or no, ``none``; several as ``4,5,6`` or ``4-6``.
        hint: The setting's type.
    """
    is_union = get_origin(hint) in (Union, types.UnionType)
    kinds = get_args(hint) if is_union else (hint,)
    for kind in kinds:
        if kind is type(None):
            continue
        given = items(text) if get_origin(kind) is tuple else text
        with suppress(ValidationError):
            found: object = TypeAdapter(kind).validate_python(given)
            return found
    return None if type(None) in kinds and text == "none" else text


def words_of(hint: Any) -> tuple[str, ...]:
    """List the words to choose from that a type consists of, or holds; none where any is taken."""
    if get_origin(hint) is Literal:
        return tuple(map(str, get_args(hint)))
    inner = get_args(hint)[:1] if get_origin(hint) is Annotated else get_args(hint)
    return tuple(word for one in inner for word in words_of(one))


def with_any_word(hint: Any) -> Any:
    """Give a type that takes any word where ``words_of`` lists some."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Literal:
        return str
    if origin is Annotated:
        return Annotated[(with_any_word(inner[0]), *inner[1:])]
    if origin in (Union, types.UnionType):
        return Union[tuple(map(with_any_word, inner))]  # noqa: UP007 - made of a list
    return tuple[tuple(map(with_any_word, inner))] if origin is tuple else hint  # type: ignore[misc]


def items(text: str) -> tuple[str, ...]:
    """Take apart ``4,5,6``, ``5-19`` or ``none``."""
    if text == "none":
        return ()
    span = re.fullmatch(r"(\d+)-(\d+)", text)
    if span:
        return tuple(map(str, range(int(span[1]), int(span[2]) + 1)))
    return tuple(text.split(","))


def settings_text(settings: Sequence[Any], options: Collection[str]) -> str:
    """Describe what ``--set`` takes: name, type, meaning and the default in use.

    Args:
        settings: With their defaults in use.
        options: What has an option of its own, and is left out.
    """
    lines: dict[str, str] = {}
    for one in settings:
        hints, texts = hints_of(type(one)), field_docstrings(type(one))
        for name in texts:
            value = getattr(one, name)
            default = "" if value is None else f" (default: {shown(value)})"
            lines.setdefault(name, f"{name}={_kind(hints[name])}  {texts[name]}{default}")
    wrapped = [textwrap.fill(text, HELP_COLUMNS, initial_indent="  ", subsequent_indent="      ")
               for name, text in lines.items() if name not in options]  # fmt: skip
    return "\n".join(["settings for --set:", *wrapped]) if wrapped else ""


def field_docstrings(settings: type) -> Mapping[str, str]:
    """Read the string under each field of a dataclass and of those it inherits from, as a line."""
    if settings not in _TEXTS:
        _TEXTS[settings] = dict(_field_docstrings(settings))
    return _TEXTS[settings]


_TEXTS: dict[type, Mapping[str, str]] = {}
"""Sources that were read before; parsing them takes longer than all else."""


def _field_docstrings(settings: type) -> Iterator[tuple[str, str]]:
    for kind in settings.__mro__[-2::-1]:
        body = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0]
        for one, below in pairwise(body.body if isinstance(body, ast.ClassDef) else ()):
            if isinstance(one, ast.AnnAssign) and isinstance(below, ast.Expr):
                text = ast.literal_eval(below.value)
                yield ast.unparse(one.target), " ".join(text.split()).replace("``", "")


def _kind(hint: Any) -> str:
    """Name a type as help does."""
    if get_origin(hint) in (Union, types.UnionType):
        return "|".join(_kind(one) for one in get_args(hint) if one is not type(None))
    if get_origin(hint) is tuple:
        return f"{_kind(get_args(hint)[0])},..."
    if get_args(hint):
        return "|".join(map(str, get_args(hint)))
    return {bool: "yes|no"}.get(hint, str(getattr(hint, "__name__", "value")).upper())


def shown(value: object) -> str:
    """Write a value as it is given on a command line."""
    if isinstance(value, tuple | list):
        return ",".join(map(str, value)) or "none"
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
