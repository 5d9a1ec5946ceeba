"""Pages from templates: nothing is loaded, only our own script runs, and text stays text."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined

from headclip_med import __version__
from headclip_med.write.plain_text import visible

STUDY = "study/page"
"""The template of a study's view."""

EMBEDDED, BESIDE = "data:", "'self' data:"
"""Where a page's pictures may come from, as a content policy says it: itself, or beside it too."""

LONGEST_HEAD_BYTES = 2000
"""Of a page: its policy stands in them."""


def render(
    name: str,
    *,
    is_scripted: bool = True,
    images: str = EMBEDDED,
    forms: str = "'none'",
    **content: object,
) -> str:
    """Fill a page's template.

    Args:
        name: Of ``NAME.html.jinja``, of its style sheet ``NAME.css``, and of its script
            ``NAME.js`` where it has one: the only ones that the page's policy allows.
        is_scripted: Whether it gets its script.
        images: Where its pictures may come from, as a content policy says it.
        forms: Where its forms may be sent.
        content: What the template shows; texts are escaped, and rid of what cannot be seen.
    """
    return fill(
        name,
        version=__version__,
        policy=policy_of(name, is_scripted=is_scripted, images=images, forms=forms),
        style=style_of(name)[0],
        script=script_of(name)[0] if is_scripted else "",
        **content,
    )


def policy_of(
    name: str, *, is_scripted: bool = True, images: str = EMBEDDED, forms: str = "'none'"
) -> str:
    """State a page's content policy: nothing but its own style sheet and script; see ``render``."""
    script = script_of(name)[1] if is_scripted else ""
    parts = (
        "default-src 'none'",
        f"img-src {images}",
        f"style-src 'sha256-{style_of(name)[1]}'",
        *([f"script-src 'sha256-{script}'"] if script else []),
        "base-uri 'none'",
        f"form-action {forms}",
    )
    return "; ".join(parts)


def own_policy(page: Path, name: str) -> str | None:
    """Give the policy that a page states in its head, where this version would state the same.

    Args:
        page: The file.
        name: Of its template.

    Returns:
        None where its style sheet or its script is another's, and so not known to be ours.
    """
    with page.open("rb") as file:
        head = file.read(LONGEST_HEAD_BYTES).decode("utf-8", "replace")
    known = (policy_of(name, images=images) for images in (EMBEDDED, BESIDE))
    return next((policy for policy in known if policy in head), None)


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
