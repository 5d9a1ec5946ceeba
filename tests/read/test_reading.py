"""How a volume was read: facts that travel with it, and sentences that are made of them."""

from __future__ import annotations

import pickle
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from headclip_med.read import read_volume
from headclip_med.reading import ORDINARY, Reading, Spacing
from tests.phantoms import make_grid, make_voxels, write_ct_series, write_phantom
from tests.read.test_mapped import peak_of_bytes

SPACING = Spacing(9, 3.0, ((1, 6.0), (2, 1.0), (5, 6.0), (6, 1.0)))


def other(name: str) -> object:
    """Give a fact a value that it does not have of itself."""
    others = {
        "spacing": SPACING,
        "tilt_degrees": 12.5,
        "mended_elements": ("HighBit",),
        "jitter_degrees": 0.25,
        "told_apart_by": ("EchoTime", "InstanceNumber"),
        "mixes": ("EchoTime",),
        "disbelieves": ("SeriesNumber",),
        "volume_spacing_mm": (0.3, 0.2, 0.1),
        "detector_spacing_mm": (0.2, 0.1),
    }
    return others.get(name, True if isinstance(getattr(ORDINARY, name), bool) else 2)


ALL = Reading(**{one.name: other(one.name) for one in fields(Reading)})  # type: ignore[arg-type]


@pytest.mark.parametrize("reading", [ALL, ORDINARY])
def test_what_is_joined_to_nothing_unusual_is_unchanged(reading: Reading) -> None:
    assert reading.joined(ORDINARY) == ORDINARY.joined(reading) == reading


def test_nothing_unusual_is_said_of_an_ordinary_reading() -> None:
    assert ORDINARY.sentences() == ()


@pytest.mark.parametrize("name", [one.name for one in fields(Reading)])
def test_every_fact_is_said_in_one_sentence_of_its_own(name: str) -> None:
    fact = other(name) if name != "spacing" else Spacing(9, 3.0, ((4, 6.0),))
    (told,) = replace(ORDINARY, **{name: fact}).sentences()
    assert told.endswith(".")


def test_many_uneven_steps_are_counted_and_three_are_named() -> None:
    *named, counted = Reading(spacing=SPACING).sentences()
    assert len(named) == 3
    assert "missing" in named[0]
    assert "missing" not in named[1]
    assert counted == "4 of 9 steps between slices differ from the usual one."


def test_the_facts_of_a_volume_are_pickled_with_it(tmp_path: Path) -> None:
    write_phantom(tmp_path, make_grid(step_lps_mm=(0, 0.7, 3)))
    volume = read_volume(tmp_path)
    assert volume.reading.tilt_degrees == pytest.approx(13.1, abs=0.05)
    back = pickle.loads(pickle.dumps(volume))  # noqa: S301
    assert back.reading == volume.reading
    assert back.content_digest == volume.content_digest


def test_reading_a_long_series_takes_little_more_memory_than_a_slice(tmp_path: Path) -> None:
    shape = (40, 512, 512)
    write_ct_series(
        tmp_path, np.broadcast_to(make_voxels((1, 512, 512)), shape), make_grid(shape=shape)
    )
    read_volume(tmp_path)  # what is imported on the way
    assert peak_of_bytes(lambda: read_volume(tmp_path)) < 40 * 512 * 512 * 4 / 4
