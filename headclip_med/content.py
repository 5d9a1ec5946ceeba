"""What is looked at, as far as the data say: for methods whose sentences name it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

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


@dataclass(frozen=True)
class ImageContent:
    """What images show, as far as it is known.

    Attributes:
        name: As a sentence would call it, for example ``"brain"``.
        modality: DICOM modality.
    """

    name: str | None = None
    modality: str | None = None


def content_of_volume(volume: Volume) -> ImageContent:
    """Name the organ of a volume by its body part, which is a defined term or nothing."""
    return content_of_part(volume.body_part, volume.modality)


def content_of_part(part: str | None, modality: str | None) -> ImageContent:
    """Name an organ by its DICOM body part, and the modality that shows it."""
    return ImageContent(None if part is None else ORGANS.get(part, part.lower()), modality)
