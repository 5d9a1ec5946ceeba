"""WinCLIP's compositional prompt ensemble."""

from __future__ import annotations

from collections.abc import Mapping

from headclip_med.content import ImageContent
from headclip_med.models.sentences import (
    FRAMES,
    NAMELESS,
    Ensemble,
    States,
    Wording,
    compose,
    kinds_of,
    medical_descriptions,
)

_ANOMALIB_LACKS, _ANOMALIB_REPEATS = 1, 8
"""Of the frames anomalib lacks one; in place of another it has the one behind it twice."""

_STATES: Mapping[Wording, States] = {
    "published": (("{}", "flawless {}", "perfect {}", "unblemished {}"), ("damaged {}",)),
    "medical": (("{}", "normal {}", "healthy {}", "intact {}"), ("abnormal {}",)),
}


def winclip_ensemble(
    implementation: str, wording: Wording, subject: ImageContent, *, corrected: bool = False
) -> Ensemble:
    """Build the ensemble.

    Args:
        implementation: ``anomalib`` (21 descriptions, with a full stop) or ``caoyunkang`` (22).
        wording: Published, or medical, which is the same for both.
        subject: What is looked at.
        corrected: Whether anomalib's descriptions are put right.
    """
    states, thing = _STATES[wording], subject.name or NAMELESS
    if wording == "medical":
        descriptions = medical_descriptions(kinds_of(subject)[:1])
        return compose("winclip-medical", thing, states, descriptions, wording)
    frames, stop = list(FRAMES), ""
    if implementation == "anomalib":
        stop = "."
        if not corrected:
            frames[_ANOMALIB_REPEATS] = frames[_ANOMALIB_REPEATS + 1]
            del frames[_ANOMALIB_LACKS]
    name = f"winclip-{implementation}{'-corrected' if corrected else ''}"
    descriptions = [f"{a.format('photo')} of {b}{stop}" for a, b in frames]
    return compose(name, thing, states, descriptions, wording)
