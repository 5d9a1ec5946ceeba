"""Grey levels a model can see: which values of a volume become 0 and which become 1, and why.

Values that are not numbers never take part in a choice and never spread: they become 0 (black).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float, Num, Shaped

from headclip_med.errors import InvalidSettings, nearest
from headclip_med.findings import WindowUsed
from headclip_med.mapped import blocks_of
from headclip_med.volume import Volume, significant_bits

# Centre and width in HU. The usual reading-room values, as tabulated in "Windowing (CT)" on
# Radiopaedia (rID-52108) and offered as presets by common viewers. For early stroke both 40/40 and
# the narrower 32/8 are in use; 40/40 keeps the whole range of grey and white matter.
CT_WINDOWS_HU: Mapping[str, tuple[float, float]] = {
    "brain": (40.0, 80.0),
    "subdural": (80.0, 200.0),
    "stroke": (40.0, 40.0),
    "bone": (480.0, 2500.0),
    "lung": (-600.0, 1500.0),
    "mediastinum": (50.0, 350.0),
    "soft-tissue": (50.0, 400.0),
    "liver": (60.0, 160.0),
    "angiography": (300.0, 600.0),
}
"""Presets for CT: centre and width in Hounsfield units."""

# DICOM PS3.16 annex L defined terms of Body Part Examined. Only organs that one window serves.
WINDOW_OF_BODY_PART: Mapping[str, str] = {
    "HEAD": "brain",
    "BRAIN": "brain",
    "CHEST": "lung",
    "THORAX": "lung",
    "LUNG": "lung",
    "ABDOMEN": "soft-tissue",
    "ABDOMENPELVIS": "soft-tissue",
    "PELVIS": "soft-tissue",
    "NECK": "soft-tissue",
    "MEDIASTINUM": "mediastinum",
    "LIVER": "liver",
}
"""The preset that ``auto`` takes for a CT of this body part."""

LOW_PERCENTILE, HIGH_PERCENTILE = 0.5, 99.5
"""A few hot or dead voxels must not set the scale."""

BACKGROUND_SHARE = 0.1
"""A single value that fills more of a volume than this is padding or stripped background."""

SAMPLED_VOXELS = 1_000_000
"""Of larger volumes only this many voxels are looked at, drawn with a fixed seed."""

LARGEST_IN_A_PICTURE = 65535
"""Of integers; beyond, and below 0, a picture's values have no end that is white."""

LARGEST_VALUE = 1e30
"""Beyond it a value is damage, not a measurement, and float32 could not hold a range."""

LOWEST_TISSUE_HU, HIGHEST_BONE_HU = -1100.0, 3100.0
"""Air with noise, and the end of the 12-bit scale: real CT values lie between, padding below."""


HIGHEST_AIR_HU, MOST_WHITE_SHARE = -200.0, 0.34
"""A CT without a voxel of air or lung, of which more than a third is white, has other units."""


def choose_window(volume: Volume, window: str = "auto") -> WindowUsed:
    """Choose the grey-level mapping for a volume.

    Args:
        volume: What will be screened.
        window: ``auto``, ``percentile``, the name of a preset in ``CT_WINDOWS_HU``, or
            ``centre,width`` in the volume's unit.

    Returns:
        The mapping, with the reason it was chosen.

    Raises:
        InvalidSettings: The name is unknown, or the numbers make no window.
    """
    named = check_window(window)
    if named is not None:
        return named
    if window.strip().lower() == "auto":
        return _automatic(volume)
    return _by_percentiles(volume, "asked for")


def check_window(window: str) -> WindowUsed | None:
    """Find the mapping that a name or numbers stand for, whatever the volume.

    Args:
        window: As for ``choose_window``.

    Returns:
        The mapping; None for ``auto`` and ``percentile``, which depend on the volume.

    Raises:
        InvalidSettings: The name is unknown, or the numbers make no window.
    """
    asked = window.strip().lower()
    if asked in ("auto", "percentile"):
        return None
    if asked in CT_WINDOWS_HU:
        return _window(asked, CT_WINDOWS_HU[asked], "asked for")
    if "," in asked:
        return _window("custom", _parse(asked), "asked for")
    raise InvalidSettings(
        "The window is not known.",
        f"{nearest(asked, ('auto', 'percentile', *CT_WINDOWS_HU))}Choose auto, percentile, one of "
        f"{', '.join(CT_WINDOWS_HU)}, or give centre,width such as 40,80.",
        code="unknown-window",
    )


def apply_window(
    voxels: Num[np.ndarray, "*shape"], window: WindowUsed
) -> Float[np.ndarray, "*shape"]:
    """Map values to float32 grey levels in [0, 1]; what is not a number becomes 0."""
    return scale_to_grey(voxels, window.low, window.high)


def scale_to_grey(
    values: Num[np.ndarray, "*shape"], low: float, high: float
) -> Float[np.ndarray, "*shape"]:
    """Map ``low`` to 0 and ``high`` to 1, linearly, clipped; what is not a number becomes 0."""
    first, last = np.float32(low), np.float32(high)
    grey = np.clip(values, low, high).astype(np.float32)
    grey -= first
    # Taken in float32, like the values, so that high becomes exactly 1.
    grey /= last - first if last > first else np.float32(1)
    np.clip(grey, 0, 1, out=grey)
    grey[np.isnan(grey)] = 0
    return np.asarray(grey)


def percentile_range(values: Shaped[np.ndarray, "..."]) -> tuple[float, float]:
    """Find the range between the 0.5th and the 99.5th percentile, without the background.

    Background is a single value that fills more than a tenth of the volume (padding, a stripped
    skull); it is left out, or a small organ in a large field would be washed out.

    Returns:
        Low and high, with ``low < high`` always: of a constant image the whole is mapped to 0.
    """
    finite = _finite_sample(values)
    if not finite.size:
        return 0.0, 1.0
    levels, counts = np.unique(finite, return_counts=True)
    common = counts.argmax()
    inside = finite[finite != levels[common]]
    if counts[common] <= BACKGROUND_SHARE * finite.size or not inside.size:
        inside = finite
    low, high = (float(q) for q in np.percentile(inside, [LOW_PERCENTILE, HIGH_PERCENTILE]))
    if low < high:
        return low, high
    low, high = float(levels[0]), float(levels[-1])
    return (low, high) if low < high else (low, low + max(1.0, abs(low)))


def _automatic(volume: Volume) -> WindowUsed:
    if volume.is_colour or volume.origin == "image":
        return _as_is(volume)
    if volume.modality == "CT" and not volume.reading.has_other_unit:
        return _of_ct(volume)
    says_nothing = volume.modality is None and volume.origin in ("nifti", "volume", "array")
    if says_nothing and _looks_like_hounsfield(volume):
        return _for_ct(volume, "no modality is given, but the values are those of a CT")
    return _by_percentiles(volume, "the values have no fixed unit, as in a CT")


def _of_ct(volume: Volume) -> WindowUsed:
    """Take a CT's window, if its values are Hounsfield units by what is declared and by content."""
    if not volume.reading.lacks_rescale:
        chosen = _for_ct(volume, "a CT")
        if not _blanks(volume, chosen):
            return chosen
        return _by_percentiles(volume, "a CT without air, most of it white in its window")
    if _looks_like_hounsfield(volume):
        return _for_ct(volume, "no rescale is declared, but the values are those of a CT")
    return _by_percentiles(volume, "no rescale is declared, and the values are not those of a CT")


def _blanks(volume: Volume, window: WindowUsed) -> bool:
    """Whether a window shows no air and most of a volume white, as of values with an offset."""
    finite = _finite_sample(volume.voxels)
    return bool(
        finite.size
        and finite.min() > HIGHEST_AIR_HU
        and (finite > window.high).mean() > MOST_WHITE_SHARE
    )


def _for_ct(volume: Volume, why: str) -> WindowUsed:
    part = volume.body_part or ""
    if name := WINDOW_OF_BODY_PART.get(part):
        return _window(name, CT_WINDOWS_HU[name], f"{why} of the {part.lower()}")
    if volume.window is not None and _is_window(*volume.window):
        reason = f"{why} of no known body part; the window stored in the file"
        return _window("stored", volume.window, reason)
    # -150 to 250 HU holds fat, water, blood, every parenchyma and most contrast: of the presets it
    # is the one that shows something of any organ, where brain or lung would clip another's.
    reason = f"{why} of no known body part and with no stored window; name the organ's window if"
    return _window("soft-tissue", CT_WINDOWS_HU["soft-tissue"], f"{reason} known")


def _as_is(volume: Volume) -> WindowUsed:
    why = "a photograph or colour image"
    if volume.origin == "image" and volume.window is not None:
        return _window("as-is", volume.window, f"{why}, white where its bits end")
    finite = _finite_sample(volume.voxels)
    lowest, highest = (finite.min(), finite.max()) if finite.size else (0, 0)
    if lowest < 0 or highest > LARGEST_IN_A_PICTURE:
        return _by_percentiles(volume, f"{why} of unknown range")
    return WindowUsed("as-is", 0.0, 2.0 ** significant_bits(float(highest)) - 1, why)


def _by_percentiles(volume: Volume, why: str) -> WindowUsed:
    low, high = percentile_range(volume.voxels)
    reason = f"{why}: percentiles {LOW_PERCENTILE} to {HIGH_PERCENTILE} of the voxels inside"
    return WindowUsed("percentile", low, high, reason)


def _window(name: str, centre_and_width: tuple[float, float], why: str) -> WindowUsed:
    centre, width = centre_and_width
    return WindowUsed(name, centre - width / 2, centre + width / 2, why)


def _looks_like_hounsfield(volume: Volume) -> bool:
    """Whether values reach down to air and, padding aside, stay on the scale of a CT.

    Standardised MR values never fall below -500; MR phase images do, but most of theirs lie
    off the scale. Whole numbers are not required: a resampled CT has none.
    """
    finite = _finite_sample(volume.voxels)
    if not finite.size or finite.min() > -500 or finite.max() < 20:
        return False
    scanned = finite[finite > finite.min()]
    on_scale = (scanned >= LOWEST_TISSUE_HU) & (scanned <= HIGHEST_BONE_HU)
    return bool(on_scale.mean() >= 0.98)


def _finite_sample(values: Shaped[np.ndarray, "..."]) -> Shaped[np.ndarray, "found"]:
    sample = _drawn(values) if values.size > SAMPLED_VOXELS else values.reshape(-1)
    return np.asarray(sample[np.abs(sample) < LARGEST_VALUE])  # false for what is not a number


def _drawn(values: Shaped[np.ndarray, "..."]) -> Shaped[np.ndarray, "drawn"]:
    """Draw values with a fixed seed, in order: those of a volume in a file come part by part."""
    places = np.sort(np.random.default_rng(0).integers(0, values.size, SAMPLED_VOXELS))
    sample, each = np.empty(len(places), values.dtype), values.size // len(values)
    for span, block in blocks_of(values):
        first, end = np.searchsorted(places, [span.start * each, span.stop * each])
        sample[first:end] = block.reshape(-1)[places[first:end] - span.start * each]
    return sample


def _parse(text: str) -> tuple[float, float]:
    try:
        centre, width = (float(part) for part in text.split(","))
    except ValueError:
        centre = width = math.nan
    if not _is_window(centre, width):
        raise InvalidSettings(
            "The window's numbers cannot be used.",
            "Give centre,width with a width above 0, for example 40,80.",
            code="bad-window",
        )
    return centre, width


def _is_window(centre: float, width: float) -> bool:
    return abs(centre) < LARGEST_VALUE and 0 < width < LARGEST_VALUE
