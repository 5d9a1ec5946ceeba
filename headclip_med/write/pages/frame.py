"""Pages from templates: nothing is loaded, only our own script runs, and text stays text."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined

from headclip_med import __version__
from headclip_med.write.plain_text import visible


def render(name: str, *, is_scripted: bool = True, **content: object) -> str:
    """Fill a page's template.

    Args:
        name: Of ``NAME.html.jinja``, of its style sheet ``NAME.css``, and of its script
            ``NAME.js`` where it has one: the only ones that the page's policy allows.
        is_scripted: Whether it gets its script.
        content: What the template shows; texts are escaped, and rid of what cannot be seen.
    """
    style, style_hash = style_of(name)
    script, script_hash = script_of(name) if is_scripted else ("", "")
    made = {"style": style, "style_hash": style_hash, "script": script, "script_hash": script_hash}
    return fill(name, version=__version__, **made, **content)


@cache
def style_of(name: str) -> tuple[str, str]:
    """Give a page's style sheet, and its SHA-256 as a content policy states it, in base64."""
    return _hashed("\n" + "".join(_text(f"{one}.css") for one in ("base", name)))


@cache
def script_of(name: str) -> tuple[str, str]:
    """Give a page's script, and its hash as ``style_of`` does; nothing where it has none."""
    is_there = _templates().joinpath(f"{name}.js").is_file()
    return _hashed("\n" + _text(f"{name}.js")) if is_there else ("", "")


def _templates() -> Traversable:
    return files("headclip_med.write.pages").joinpath("templates")


def _text(name: str) -> str:
    return _templates().joinpath(name).read_text("utf-8")


def _hashed(text: str) -> tuple[str, str]:
    return text, base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def fill(name: str, **content: object) -> str:
    """Fill a template that is no page of its own; otherwise as ``render``."""
    return _environment().get_template(f"{name}.html.jinja").render(**content)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("headclip_med.write", "pages/templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=StrictUndefined,
        finalize=_shown,
    )
    environment.filters["url"] = quote
    return environment


def _shown(value: Any) -> Any:
    """Drop what cannot be seen of every text that a template shows."""
    is_markup = hasattr(value, "__html__")  # made by a template, of shown texts
    return visible(value) if isinstance(value, str) and not is_markup else value
