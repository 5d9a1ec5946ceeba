"""Text from outside made harmless: for tables that a spreadsheet opens, and for pages."""

from __future__ import annotations

import unicodedata

FORMULA_STARTS = ("=", "+", "-", "@", "|", "%", "\t", "\r")
"""With these first, spreadsheets run a cell as a formula (OWASP, "CSV Injection")."""

_INVISIBLE = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
"""Control, format (the bidirectional ones among them), surrogate, private, line separators."""


def visible(text: str) -> str:
    """Drop every character that cannot be seen: what is shown is what is there."""
    spaced = text.replace("\t", " ").replace("\n", " ").replace("\r", " ")
    return "".join(one for one in spaced if unicodedata.category(one) not in _INVISIBLE)


def csv_cell(text: str) -> str:
    """Make text a cell that no spreadsheet takes for a formula."""
    shown = visible(text)
    risky = text.startswith(FORMULA_STARTS) or shown.lstrip().startswith(FORMULA_STARTS)
    return f"'{shown}" if risky else shown
