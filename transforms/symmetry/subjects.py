"""Whether what is looked at has two sides that are alike: said by facts, never guessed."""

from __future__ import annotations

from headclip_med.content import ImageContent
from headclip_med.findings import SymmetryBasis
from headclip_med.settings import Symmetry

PAIRED = ("head", "brain", "skull")
"""Body parts, as ``ImageContent`` calls them, whose slices show both sides."""

MODALITIES = ("CT", "MR")
"""In which both sides of a healthy head look alike: an image of uptake need not."""


def wants_symmetry(asked: Symmetry, content: ImageContent) -> SymmetryBasis:
    """Decide by the modality and the body part, or the declared subject of a set.

    Args:
        asked: ``on`` and ``off`` decide alone.
        content: What is shown, from coded values: a picture that says nothing of itself has none.

    Returns:
        ``asked`` and ``subject`` where sides are to be compared.
    """
    if asked != "auto":
        return "asked" if asked == "on" else "switched-off"
    if content.name is None or content.modality is None:
        return "unknown-subject"
    is_paired = content.name in PAIRED and content.modality in MODALITIES
    return "subject" if is_paired else "other-subject"
