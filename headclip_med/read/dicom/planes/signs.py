"""What tells frames apart: elements of single-frame objects, and where enhanced ones keep them.

Equality is all that counts, so values stay text; numbers are written one way.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
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


class SignReader:
    """Reads the signs of the frames of one object.

    Args:
        levels: What is said of all of them: the shared functional groups, the object. What the
            first of them says counts, and what a frame says of itself before all.
    """

    def __init__(self, levels: Sequence[Dataset]) -> None:
        self._levels = [(level, level.keys()) for level in levels]
        self._shared = [[self._of_all(place) for place in places] for places in _PLACES]
        self._usual = [next(filter(None, values), "") for values in self._shared]

    def of(self, own: Dataset) -> tuple[str, ...]:
        """Read those of one frame by its own functional groups.

        Returns:
            One text for each of ``SIGNS``; empty where nothing is said.
        """
        present = own.keys()
        return tuple(
            usual if present.isdisjoint(tags) else _sign(places, own, shared)
            for places, tags, shared, usual in zip(
                _PLACES, _TAGS, self._shared, self._usual, strict=True
            )
        )

    @property
    def usual(self) -> tuple[str, ...]:
        """Those of a frame that says nothing of itself."""
        return tuple(self._usual)

    def _of_all(self, place: tuple[_Path, ...]) -> str:
        said = (
            _said(level, place) for level, present in self._levels if _tag(place[0][0]) in present
        )
        return next(filter(None, said), "")


def _sign(places: _Places, own: Dataset, shared: Sequence[str]) -> str:
    for place, of_all in zip(places, shared, strict=True):
        if found := (_said(own, place) if _tag(place[0][0]) in own else "") or of_all:
            return found
    return ""


def _said(level: Dataset, place: tuple[_Path, ...]) -> str:
    values = [_canonical(_values(level, path)) for path in place]
    return "/".join(values) if any(values) else ""


_tag = cache(Tag)

_TAGS = tuple(frozenset(_tag(place[0][0]) for place in places) for places in _PLACES)


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
