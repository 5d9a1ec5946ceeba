"""A screening as a notebook shows it."""

from __future__ import annotations

import base64
import io

from headclip_med.findings import Screening
from headclip_med.write.pages.frame import fill
from headclip_med.write.pictures.sheet import draw_overlay

LONGEST_TABLE = 10


def to_html(screening: Screening) -> str:
    """Show its score, the most suspicious slices, its candidates and notes, in one piece of HTML.

    The picture is a JPEG inside it, so that a notebook that is saved stays small.
    """
    content = io.BytesIO()
    draw_overlay(screening).save(content, format="JPEG", quality=85)
    picture = base64.b64encode(content.getvalue()).decode()
    return fill("cell", screening=screening, picture=picture, longest=LONGEST_TABLE)
