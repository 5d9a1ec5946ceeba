"""What every page begins with: nothing is loaded from anywhere, and scripts are forbidden."""

from __future__ import annotations

import base64
import hashlib


def page_head(title: str, style: str) -> str:
    """Begin an HTML page, up to and including the opening of its body.

    Args:
        title: Escaped already.
        style: The only style sheet that the page's policy allows.
    """
    hashed = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; img-src data:; style-src 'sha256-{hashed}'; "
        "base-uri 'none'; form-action 'none'"
    )
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<title>{title}</title>
<style>{style}</style>
</head>
<body>"""
