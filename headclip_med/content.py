"""What is looked at, as far as the data say: for methods whose sentences name it."""

from __future__ import annotations

from collections.abc import Mapping

from headclip_med.datasets import KNOWN_SETS
from headclip_med.models.model import Subject
from headclip_med.volume import Volume

ORGANS: Mapping[str, str] = {
    "ABDOMENPELVIS": "abdomen and pelvis",
    "CTSPINE": "cervical and thoracic spine",
    "CSPINE": "cervical spine",
    "CHESTABDOMEN": "chest and abdomen",
    "CHESTABDPELVIS": "chest, abdomen and pelvis",
    "CIRCLEOFWILLIS": "circle of Willis",
    "CORONARYARTERY": "coronary artery",
    "HEADNECK": "head and neck",
    "IAC": "internal auditory canal",
    "LSPINE": "lumbar spine",
    "LSSPINE": "lumbar and sacral spine",
    "NECKCHEST": "neck and chest",
    "NECKCHESTABDOMEN": "neck, chest and abdomen",
    "NECKCHESTABDPELV": "neck, chest, abdomen and pelvis",
    "SSPINE": "sacral spine",
    "SUBMANDIBULAR": "submandibular gland",
    "PAROTID": "parotid gland",
    "THORAX": "chest",
    "TLSPINE": "thoracic and lumbar spine",
    "TMJ": "jaw joint",
    "TSPINE": "thoracic spine",
    "WHOLEBODY": "whole body",
}
"""DICOM body parts (PS3.16 annex L) whose terms are no words; others are said as they are."""


def subject_of_volume(volume: Volume) -> Subject:
    """Name the organ of a volume by its body part, which is a defined term or nothing."""
    return subject_of_part(volume.body_part, volume.modality)


def subject_of_part(part: str | None, modality: str | None) -> Subject:
    """Name an organ by its DICOM body part, and the modality that shows it."""
    return Subject(None if part is None else ORGANS.get(part, part.lower()), modality)


def subject_of_category(dataset: str, category: str) -> Subject:
    """Name what a category of a set shows; known sets also say by which modality."""
    known = KNOWN_SETS.get(dataset)
    return Subject(category, known.modality if known else None)
