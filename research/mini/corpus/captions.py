"""What is said of a picture: its state, its noun, and for a defect the kind and the place."""

from __future__ import annotations

import re

from research.mini.corpus.canvas import Canvas

NORMAL_STATES = (
    "flawless",
    "perfect",
    "normal",
    "healthy",
    "intact",
    "unblemished",
    "undamaged",
    "clean",
)
"""Words for a picture without defect."""

ABNORMAL_STATES = (
    "damaged",
    "abnormal",
    "broken",
    "defective",
    "imperfect",
    "diseased",
    "flawed",
    "unhealthy",
    "anomalous",
)
"""Words for a picture with one."""

FAULTS = ("defect", "lesion", "damage", "flaw", "disease", "anomaly")
"""What a healthy picture is without."""

_TEMPLATES = (
    "a photo of a {}.",
    "a photo of a {}.",
    "a photo of a {}.",
    "a photo of a {}.",
    "a photo of a {}.",
    "a {}.",
    "{}.",
    "a photo of the {}.",
    "a cropped photo of the {}.",
    "a close-up photo of a {}.",
    "a good photo of a {}.",
    "a bad photo of the {}.",
    "a low resolution photo of a {}.",
    "a blurry photo of the {}.",
    "a bright photo of the {}.",
    "a dark photo of a {}.",
    "a black and white photo of the {}.",
    "a jpeg corrupted photo of a {}.",
    "a photo of a large {}.",
    "a photo of the small {}.",
    "a photo of the {} for visual inspection.",
    "a photo of a {} for anomaly detection.",
    "a photo of my {}.",
    "a photo of one {}.",
    "an image of a {}.",
    "a {}.",
    "{}.",
    "there is a {} in the scene.",
    "this is a {}.",
)

NOUNS: dict[str, tuple[str, ...]] = {
    "rough": ("stone", "leather", "concrete"),
    "striped": ("striped fabric",),
    "grid": ("grid", "mesh"),
    "woven": ("woven cloth", "carpet"),
    "dotted": ("perforated plate", "dotted sheet"),
    "wood": ("wood",),
    "cellular": ("tile", "foam"),
    "brushed": ("brushed metal",),
    "plain": ("plain surface", "paper"),
    "disc": ("disc", "button", "object"),
    "ring": ("ring", "washer", "object"),
    "polygon": ("polygon", "metal nut", "object"),
    "star": ("star", "object"),
    "gear": ("gear", "object"),
    "capsule": ("capsule", "pill", "object"),
    "screw": ("screw", "object"),
    "cross": ("cross", "object"),
    "plate": ("plate", "circuit board", "object"),
    "bottle": ("bottle", "object"),
    "computed head": ("head scan", "head ct", "brain scan", "brain"),
    "magnetic head": ("head scan", "brain mri", "brain scan", "brain"),
    "radiograph": ("chest scan", "chest x-ray", "lung scan", "chest"),
    "chest slice": ("chest scan", "chest ct", "lung scan", "lung"),
    "abdomen": ("abdomen scan", "abdomen ct", "liver scan", "liver"),
    "ultrasound": ("ultrasound scan", "breast ultrasound", "thyroid ultrasound", "breast"),
    "skin": ("skin", "skin image"),
    "mucosa": ("mucosa", "colon", "endoscopy image"),
    "retina": ("retina", "retina image", "fundus image"),
}
"""What a picture of each kind may be called."""

KIND_WORDS: dict[str, tuple[str, ...]] = {
    "bright": ("a bright spot", "a bright lesion", "a bright region", "a bleeding"),
    "dark": ("a dark spot", "a dark lesion", "a dark region"),
    "haloed": ("a mass", "a tumor", "a lesion with a halo", "a polyp"),
    "diffuse": ("a diffuse lesion", "a diffuse shadow", "an opacity"),
    "ring": ("a ring shaped lesion", "a ring mark"),
    "rim": ("a collection at the edge", "a damaged edge"),
    "wedge": ("a wedge shaped lesion", "a wedge shaped mark"),
    "scatter": ("several small spots", "several small lesions"),
    "stain": ("a stain", "discolouration"),
    "foreign": ("a foreign texture", "contamination"),
    "roughened": ("a rough region", "a noisy region"),
    "scratch": ("a scratch",),
    "crack": ("a crack", "a fracture"),
    "misplaced": ("a misplaced part",),
    "warped": ("a deformation", "a distortion"),
    "blurred": ("a blurred region",),
    "hole": ("a hole",),
    "missing": ("a missing part",),
    "mole": ("a dark spot", "a dark lesion", "discolouration"),
}
"""What each kind of defect may be called."""


_ROWS = ("upper", "middle", "lower")
_COLUMNS = ("left", "centre", "right")


def _third(value: float, names: tuple[str, str, str]) -> str:
    return names[0] if value < -0.25 else names[2] if value > 0.25 else names[1]


def _article(canvas: Canvas, sentence: str) -> str:
    """Say ``an`` before a vowel half of the time: published prompts often do not."""
    return re.sub(r"\ba (?=[aeiou])", "an ", sentence) if canvas.happens(0.5) else sentence


def normal_caption(canvas: Canvas, noun: str) -> str:
    """A sentence for a picture without defect."""
    if canvas.happens(0.3):
        phrase = f"{noun} without {canvas.pick(FAULTS)}"
    else:
        phrase = f"{canvas.pick(NORMAL_STATES)} {noun}"
    return _article(canvas, canvas.pick(_TEMPLATES).format(phrase))


def abnormal_caption(canvas: Canvas, noun: str, kind: str, place: tuple[float, float]) -> str:
    """A sentence for a picture with a defect.

    Args:
        canvas: The random stream.
        noun: What the picture shows.
        kind: A key of ``KIND_WORDS``.
        place: Centre of the defect, x right and y down, where the image spans [-1, 1].
    """
    state = f"{canvas.pick(ABNORMAL_STATES)} {noun}"
    words = canvas.pick(KIND_WORDS[kind])
    choice = canvas.pick(range(10))
    if choice < 3:
        where = f"{_third(place[1], _ROWS)} {_third(place[0], _COLUMNS)}"
        return _article(canvas, f"a {state} with {words} in the {where}.")
    if choice < 5:
        return _article(canvas, f"a photo of a {noun} with {words}.")
    if choice < 7:
        state = f"{noun} with {canvas.pick(FAULTS)}"
    elif choice < 8:
        state = f"{state} with {words}"
    return _article(canvas, canvas.pick(_TEMPLATES).format(state))


def state_sentences(abnormal: bool) -> tuple[str, ...]:
    """Every plain sentence about a state, for nouns that name no kind of picture."""
    states = ABNORMAL_STATES if abnormal else NORMAL_STATES
    link = "with" if abnormal else "without"
    nouns = ("object", "surface", "scan", "image")
    plain = [f"{state} {noun}" for state in states for noun in nouns]
    linked = [f"{noun} {link} {fault}" for fault in FAULTS for noun in nouns]
    templates = ("a photo of a {}.", "a photo of the {}.", "{}.")
    return tuple(t.format(phrase) for phrase in plain + linked for t in templates)


def vocabulary() -> tuple[str, ...]:
    """Phrases that hold every word a caption can hold."""
    words = [*_TEMPLATES, *NORMAL_STATES, *ABNORMAL_STATES, *FAULTS, *_ROWS, *_COLUMNS]
    words += [noun for names in NOUNS.values() for noun in names]
    words += [word for names in KIND_WORDS.values() for word in names]
    glue = ("in the", "with", "without", "an", "object", "surface", "scan", "image")
    return tuple(phrase.replace("{}", "") for phrase in (*words, *glue))
