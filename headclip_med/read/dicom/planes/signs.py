"""What tells frames apart: elements of single-frame objects, and where enhanced ones keep them.

Equality is all that counts, so values stay text; numbers are written one way.
"""

from __future__ import annotations

from collections.abc import Mapping

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
