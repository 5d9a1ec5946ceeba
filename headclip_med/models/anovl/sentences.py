"""AnoVL's domain-aware state prompts: three words for the picture, seven states a side."""

from __future__ import annotations

from collections.abc import Mapping

from headclip_med.content import ImageContent
from headclip_med.models.sentences import (
    FRAMES,
    NAMELESS,
    Ensemble,
    States,
    Wording,
    articled,
    compose,
    kinds_of,
    medical_descriptions,
)

_STATES: Mapping[Wording, States] = {
    "published": (
        ("normal {}", "flawless {}", "perfect {}", "unblemished {}"),
        ("damaged {}", "abnormal {}", "imperfect {}", "blemished {}"),
    ),
    "medical": (
        ("normal {}", "healthy {}", "intact {}", "unremarkable {}"),
        ("damaged {}", "abnormal {}", "diseased {}", "pathological {}"),
    ),
}
_MACARONI = ("macaroni1", "macaroni2")
_TEXTURES = ("carpet", "leather", "grid", "tile", "wood")
"""Categories that are described as surfaces."""


def anovl_ensemble(wording: Wording, subject: ImageContent) -> Ensemble:
    """Build the ensemble.

    As published, macaroni1 and macaroni2 are both macaroni, other names stand as they are, and
    surfaces are described by words of their own.
    """
    states, thing = _STATES[wording], subject.name or NAMELESS
    if wording == "medical":
        kinds = tuple(dict.fromkeys((*kinds_of(subject), "medical image")))
        return compose("anovl-medical", thing, states, medical_descriptions(kinds), wording)
    kinds = ("industrial photo", "industrial image", "manufacturing image")
    if thing in _TEXTURES:
        kinds = ("industrial photo", "textural photo", "surface picture")
    descriptions = [f"{articled(a.format(kind))} of {b}" for kind in kinds for a, b in FRAMES]
    called = "macaroni" if thing in _MACARONI else thing
    return compose("anovl-industrial", called, states, descriptions, wording)
