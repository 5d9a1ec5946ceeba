"""Pages from templates: nothing is loaded from anywhere, scripts are forbidden, text stays text."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib.resources import files
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined

from headclip_med import __version__
from headclip_med.write.plain_text import visible


def render(name: str, **content: object) -> str:
    """Fill a page's template.

    Args:
        name: Of ``NAME.html.jinja`` and of its style sheet ``NAME.css``, the only one that the
            page's policy allows.
        content: What the template shows; texts are escaped, and rid of what cannot be seen.
    """
    style, style_hash = style_of(name)
    return fill(name, style=style, style_hash=style_hash, version=__version__, **content)


@cache
def style_of(name: str) -> tuple[str, str]:
    """Give a page's style sheet, and its SHA-256 as a content policy states it, in base64."""
    folder = files("headclip_med.write.pages").joinpath("templates")
    sheets = (folder.joinpath(f"{one}.css").read_text("utf-8") for one in ("base", name))
    style = "\n" + "".join(sheets)
    return style, base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()


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
