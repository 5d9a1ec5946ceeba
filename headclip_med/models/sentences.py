"""Sentences by the hundred: states of a thing, put into descriptions of a picture.

The published wordings are facts about the publications: caoyunkang/WinClip 0818c9d,
open-edge-platform/anomalib b723368 and hq-deng/AnoVL 3a70bfd. The medical wordings are this
project's own: the same frames, about a scan instead of a photo, and lesions instead of damage.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from headclip_med.content import ImageContent
from headclip_med.errors import InvalidSettings
from headclip_med.models.clip.text import TextTower
from headclip_med.models.clip.towers import Backbone
from headclip_med.models.inference import InferenceModel
from headclip_med.models.maps import unit
from headclip_med.prediction import SentenceVectors, TextPair
from headclip_med.settings import AUTO, ScoreSettings

Wording = Literal["published", "medical"]
States = tuple[tuple[str, ...], tuple[str, ...]]

NAMELESS = "object"
"""What an unknown thing is called."""

SENTENCES_PER_PASS = 128
"""Of the text tower: what bounds its memory."""

FRAMES = (
    ("a cropped {}", "the {}"), ("a cropped {}", "a {}"), ("a close-up {}", "a {}"),
    ("a close-up {}", "the {}"), ("a bright {}", "a {}"), ("a bright {}", "the {}"),
    ("a dark {}", "the {}"), ("a dark {}", "a {}"), ("a jpeg corrupted {}", "a {}"),
    ("a jpeg corrupted {}", "the {}"), ("a blurry {}", "the {}"), ("a blurry {}", "a {}"),
    ("a {}", "a {}"), ("a {}", "the {}"), ("a {}", "a small {}"), ("a {}", "the small {}"),
    ("a {}", "a large {}"), ("a {}", "the large {}"), ("a {}", "the {} for visual inspection"),
    ("a {}", "a {} for visual inspection"), ("a {}", "the {} for anomaly detection"),
    ("a {}", "a {} for anomaly detection"),
)  # fmt: skip
"""How a picture, and the thing on it, are introduced."""

_FAULTS = {
    "published": ("flaw", "defect", "damage"),
    "medical": ("lesion", "abnormality", "disease"),
}
"""What it is without when it is normal, and with when it is not."""

_IN_MEDICINE = {"jpeg corrupted": "noisy", "visual inspection": "diagnosis", "anomaly": "lesion"}
"""What frames say instead in the medical wordings."""

_KINDS = {
    "CT": ("CT scan", "CT image"), "MR": ("MRI scan", "MR image"),
    "US": ("ultrasound image", "sonogram"), "CR": ("x-ray image", "radiograph"),
    "DX": ("x-ray image", "radiograph"), "MG": ("mammogram", "mammography image"),
    "PT": ("PET scan", "PET image"), "ES": ("endoscopy image", "endoscopic photo"),
    "XC": ("clinical photo", "medical photo"), "OP": ("fundus photo", "retinal image"),
    "SM": ("microscopy image", "histology slide"),
}  # fmt: skip
"""What a picture of a DICOM modality is called."""
_ANY_KIND = ("medical scan", "medical image")


@dataclass(frozen=True)
class Ensemble:
    """Sentences about a thing in its normal and in its abnormal state.

    Attributes:
        name: Of the wording, as results name it.
        class_name: What the thing is called.
        normal: Sentences; the states of one description follow each other.
        abnormal: Likewise.
    """

    name: str
    class_name: str
    normal: tuple[str, ...]
    abnormal: tuple[str, ...]

    def to_json(self) -> dict[str, object]:
        """Plain values for a result file: its name, and an example of both sides."""
        return {
            "wording": self.name,
            "class_name": self.class_name,
            "sentences": [len(self.normal), len(self.abnormal)],
            "examples": [self.normal[0], self.abnormal[0]],
        }


@dataclass(frozen=True, eq=False)
class Sentences:
    """What the sentences about a subject mean.

    Attributes:
        text: Unit features of normal and abnormal.
        prompts: Unit features of every sentence, the normal ones first.
    """

    text: TextPair
    prompts: SentenceVectors


class SentenceModel(InferenceModel):
    """A model that learns nothing, and compares images with sentences about what they show.

    Args:
        towers: Both, run as the method wants it.
        method: What it is called by.
        settings: What it is made of; they have a ``class_name``.
        scores: How its maps become scores.
    """

    def __init__(
        self, towers: Backbone, *, method: str, settings: Any, scores: ScoreSettings
    ) -> None:
        super().__init__(towers, method=method, settings=settings, scores=scores)
        self.text = towers.text
        self._class_name: str = settings.class_name
        self._named = ImageContent(None if self._class_name == AUTO else self._class_name)
        self._encoded: dict[ImageContent, Sentences] = {}
        self.eval().requires_grad_(False)

    @property
    def ensemble(self) -> Ensemble:
        """The sentences about the present subject."""
        raise NotImplementedError

    def with_content(self, subject: ImageContent) -> SentenceModel:
        """Give the same model, its sentences about a subject; weights are shared."""
        own, other = self._class_name, copy(self)
        other._named = subject if own == AUTO else replace(subject, name=own)
        return other

    def describe(self) -> dict[str, object]:
        """Say what it is, in plain JSON values."""
        return {**super().describe(), "prompts": self.ensemble.to_json()}

    def sentences(self) -> Sentences:
        """Encode the sentences about the present subject, once."""
        place = self.get_buffer("_mean").device
        found = self._encoded.get(self._named)
        if found is None or found.text.device != place:
            ensemble = self.ensemble
            sides = [encode(self.text, one) for one in (ensemble.normal, ensemble.abnormal)]
            found = Sentences(mean_direction(*sides), unit(torch.cat(sides)))
            self._encoded[self._named] = found
        return found


@torch.no_grad()
def encode(text: TextTower, sentences: Sequence[str]) -> SentenceVectors:
    """Encode many sentences, some at a time; not normalised.

    Raises:
        InvalidSettings: One fills the tower's context, so that its end may have been cut off.
    """
    longest = max(sentences, key=len)
    # Long words can be few tokens: look at all of them, whose lookup costs nothing.
    if text.tokenize(sentences).shape[1] >= len(text.text.positional_embedding):
        raise InvalidSettings(
            f"A sentence as long as '{longest}' does not fit the text tower.",
            "Choose a shorter class name.",
            code="prompt-too-long",
        )
    starts = range(0, len(sentences), SENTENCES_PER_PASS)
    return torch.cat([text.encode(sentences[at : at + SENTENCES_PER_PASS]) for at in starts])


def mean_direction(normal: SentenceVectors, abnormal: Float[Tensor, "others joint"]) -> TextPair:
    """Average each side, then scale to length one; as published, long features count more."""
    return unit(torch.stack([normal.mean(dim=0), abnormal.mean(dim=0)]))


def medical_descriptions(kinds: Sequence[str]) -> list[str]:
    """Describe scans instead of photos."""
    descriptions = []
    for kind in kinds:
        for before, behind in FRAMES:
            words = f"{before} of {behind}"
            for industrial, medical in _IN_MEDICINE.items():
                words = words.replace(industrial, medical)
            descriptions.append(words.replace("{}", kind, 1))
    return descriptions


def compose(
    name: str, thing: str, states: States, descriptions: Sequence[str], wording: Wording
) -> Ensemble:
    """Put every state, and every fault of the wording, into every description.

    Args:
        name: Of the result.
        thing: What is looked at.
        states: How it is called when it is normal, and when it is not.
        descriptions: Of pictures.
        wording: English articles are mended where none was published.
    """
    sides = []
    for side, has in zip(states, ("without", "with"), strict=True):
        called = (*side, *(f"{{}} {has} {fault}" for fault in _FAULTS[wording]))
        said = [words.format(state.format(thing)) for words in descriptions for state in called]
        sides.append(tuple(map(articled, said) if wording == "medical" else said))
    return Ensemble(name, thing, *sides)


def kinds_of(subject: ImageContent) -> tuple[str, str]:
    """Name pictures of a modality, in two ways."""
    return _KINDS.get(subject.modality or "", _ANY_KIND)


def articled(sentence: str) -> str:
    """Say "an" before a vowel's sound."""
    words = sentence.split(" ")
    for at, word in enumerate(words[:-1]):
        follower = words[at + 1]
        vowel = follower[0].lower() in "aeio" or follower.startswith(("MR", "x-ray", "ultra", "un"))
        if word == "a" and vowel:
            words[at] = "an"
    return " ".join(words)
