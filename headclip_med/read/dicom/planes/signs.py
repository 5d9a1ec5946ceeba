"""What tells frames apart: elements of single-frame objects, and where enhanced ones keep them.

Equality is all that counts, so values stay text; numbers are written one way.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cache, lru_cache

from pydicom.dataset import Dataset
from pydicom.tag import Tag

from headclip_med.read.dicom.elements import items, texts

_FRAME_TYPES = (
    *(f"{kind}FrameTypeSequence" for kind in ("MRImage", "CTImage", "PET", "XRay3D")),
    "USImageDescriptionSequence",
)

# Private elements stand behind the standard's: Siemens, Philips, GE and UIH wrote b-values and
# directions there long before the standard had a place for them.
CONTRASTS: Mapping[str, tuple[str, ...]] = {
    "EchoTime": ("EchoTime", "MREchoSequence.EffectiveEchoTime"),
    "EchoNumbers": ("EchoNumbers",),
    "DiffusionBValue": (
        *("DiffusionBValue", "MRDiffusionSequence.DiffusionBValue"),
        *("0019100C", "20011003", "00431039", "00651009"),
    ),
    "DiffusionGradientOrientation": (
        "DiffusionGradientOrientation",
        "MRDiffusionSequence.DiffusionGradientDirectionSequence.DiffusionGradientOrientation",
        *("0019100E", "200510B0+200510B1+200510B2", "001910BB+001910BC+001910BD", "00651037"),
    ),
    "DiffusionDirectionality": ("MRDiffusionSequence.DiffusionDirectionality",),
    "InversionTime": (*("InversionTime", "InversionTimes", "MRModifierSequence.InversionTimes"),),
    "ComplexImageComponent": (
        "ComplexImageComponent",
        *(f"{kind}.ComplexImageComponent" for kind in _FRAME_TYPES),
        "0043102F",
    ),
    "VelocityEncoding": (
        "MRVelocityEncodingSequence.VelocityEncodingDirection"
        "+MRVelocityEncodingSequence.VelocityEncodingMinimumValue"
        "+MRVelocityEncodingSequence.VelocityEncodingMaximumValue",
        "VelocityEncodingMinimumValue+VelocityEncodingMaximumValue",
    ),
    "DataType": ("ImageDataTypeSequence.DataType",),
    "ASLContext": ("MRArterialSpinLabelingSequence.ASLContext", "ASLContext"),
    "SequenceName": ("SequenceName",),
    "ScanningSequence": ("ScanningSequence",),
    "ContrastBolusAgent": ("ContrastBolusAgent",),
    "ProtocolName": ("ProtocolName",),
    "SeriesDescription": ("SeriesDescription",),
}
"""Other physics: images that differ in one of these never make one volume. By places to look."""

ORDERS: Mapping[str, tuple[str, ...]] = {
    "ImageType": (*(f"{kind}.FrameType" for kind in _FRAME_TYPES), "ImageType"),
    "ConvolutionKernel": ("ConvolutionKernel", "CTReconstructionSequence.ConvolutionKernel"),
    "CorrectedImage": ("CorrectedImage",),
    "AcquisitionNumber": ("AcquisitionNumber", "FrameContentSequence.FrameAcquisitionNumber"),
    "TemporalPositionIdentifier": ("TemporalPositionIdentifier",),
    "TemporalPositionIndex": (
        "TemporalPositionIndex",
        "FrameContentSequence.TemporalPositionIndex",
    ),
    "TemporalPositionTimeOffset": ("TemporalPositionSequence.TemporalPositionTimeOffset",),
    "StackID": ("StackID", "FrameContentSequence.StackID"),
    "NominalPercentageOfCardiacPhase": (
        "NominalPercentageOfCardiacPhase",
        "CardiacSynchronizationSequence.NominalPercentageOfCardiacPhase",
    ),
    "TriggerTime": (
        "TriggerTime",
        "CardiacSynchronizationSequence.NominalCardiacTriggerDelayTime",
        "CardiacSynchronizationSequence.ActualCardiacTriggerDelayTime",
    ),
    "RespiratoryPhase": (
        "NominalPercentageOfRespiratoryPhase",
        "RespiratorySynchronizationSequence.NominalPercentageOfRespiratoryPhase",
    ),
    "FrameReferenceTime": ("FrameReferenceTime",),
    "SliceThickness": ("SliceThickness", "PixelMeasuresSequence.SliceThickness"),
    "RepetitionTime": ("RepetitionTime", "MRTimingAndRelatedParametersSequence.RepetitionTime"),
    "FlipAngle": ("FlipAngle", "MRTimingAndRelatedParametersSequence.FlipAngle"),
    "KVP": ("KVP", "CTXRayDetailsSequence.KVP"),
    "FrameComments": ("FrameContentSequence.FrameComments",),
    "FrameLabel": ("FrameContentSequence.FrameLabel",),
}
"""When, in which part and how it was scanned: a volume may be made of several of them."""

DIMENSIONS = "DimensionIndexValues"
"""The indices of enhanced and nuclear objects, each a sign of its own, whatever it points to."""

CLOCKS: Mapping[str, tuple[str, ...]] = {
    "AcquisitionTime": ("AcquisitionTime",),
    "AcquisitionDateTime": ("AcquisitionDateTime", "FrameContentSequence.FrameAcquisitionDateTime"),
    "ContentTime": ("ContentTime",),
}
"""Often another for every slice; asked last."""

SIGNS: Mapping[str, tuple[str, ...]] = {**CONTRASTS, **ORDERS, **CLOCKS}
"""All of them, the most telling first."""

_Path = tuple[str, ...]
_Places = tuple[tuple[_Path, ...], ...]

_PLACES: tuple[_Places, ...] = tuple(
    # What a frame says of itself comes before what its object says of all.
    tuple(
        tuple(tuple(path.split(".")) for path in place.split("+"))
        for place in sorted(places, key=lambda place: "." not in place)
    )
    for places in SIGNS.values()
)

SIGN_KEYWORDS = tuple(
    dict.fromkeys(
        path[0] for places in _PLACES for place in places for path in place if len(path) == 1
    )
)
"""The elements of a single-frame object among the places."""

LONGEST_NUMBER = 16
"""A decimal string has no more characters; what is longer is a date with a time."""

_PRIVATE = ("0019", "0021", "0029", "0043", "0065", "2001", "2005")
CREATOR_KEYWORDS = tuple(f"{group}0010" for group in _PRIVATE)
"""Name who wrote the private elements, without which their values have no type."""


def read_signs(levels: Sequence[Dataset]) -> tuple[str, ...]:
    """Read the signs of one frame.

    Args:
        levels: The frame's own functional groups, the shared ones, the object; what the first of
            them says counts.

    Returns:
        One text for each of ``SIGNS``; empty where nothing is said.
    """
    present = [(level, level.keys()) for level in levels]
    return tuple(_sign(places, present) for places in _PLACES)


def _sign(places: _Places, present: Sequence[tuple[Dataset, Collection[object]]]) -> str:
    for place in places:
        for level, tags in present:
            if _tag(place[0][0]) in tags:
                values = [_canonical(_values(level, path)) for path in place]
                if any(values):
                    return "/".join(values)
    return ""


_tag = cache(Tag)


def _values(dataset: Dataset, path: _Path) -> Iterable[str]:
    for keyword in path[:-1]:
        below = items(dataset, keyword)
        if not below:
            return ()
        dataset = below[0]
    return texts(dataset, path[-1])


@lru_cache(maxsize=1 << 14)
def _number(piece: str) -> str:
    if len(piece) > LONGEST_NUMBER:
        return piece.upper()
    try:
        return f"{float(piece) + 0.0:.15g}"
    except ValueError:
        return piece.upper()


def _canonical(values: Iterable[str]) -> str:
    return "\\".join(map(_number, values))
