"""What all DICOM results have in common: valid of every kind of image, repeatable, and unmixed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest

from headclip_med.read import find_inputs
from headclip_med.write import OUTPUTS, WrittenScreening, write_screening
from tests.write.dicom.test_seg import STACKS, ct_volume, screening_of, two_lesions
from tests.write.dicom.test_seg_everywhere import complaints, screened
from tests.write.dicom.test_seg_kinds import KINDS, faulty, write_kind

LABELMAP = "1.2.840.10008.5.1.4.1.1.66.7"
NEWER = (
    "Error - Information Object Not found",
    "Error - </SegmentSequence(0062,0002)[1]/SegmentNumber(0062,0004)> - SegmentNumber not "
    "monotonically increasing from one by one - have SegmentSequence item number 1 (from one) with "
    "SegmentNumber of 0",
)
"""Of a label map: its class, and that its background is a segment (PS3.3 C.8.20.2)."""

OBJECTS = [name for name, output in OUTPUTS.items() if "dicom" in output.needs]


def objects(written: WrittenScreening) -> list[Path]:
    paths = [written.folder / path for path in written.outputs.values()]
    return sorted(path for path in paths if path.suffix == ".dcm")


def faults_of(dciodvfy: str, path: Path) -> list[str]:
    """What the validator says against an object, but that the class is newer than it."""
    found = complaints(dciodvfy, path)
    if pydicom.dcmread(path, specific_tags=["SOPClassUID"]).SOPClassUID == LABELMAP:
        return [one for one in found if one not in NEWER]
    return found


@pytest.mark.slow  # every kind of object of every kind of image
@pytest.mark.parametrize(("number", "name"), list(enumerate(KINDS)), ids=list(KINDS))
def test_the_results_of_any_kind_of_image_are_valid(
    number: int, name: str, tmp_path: Path, dciodvfy: str
) -> None:
    kind = KINDS[name]
    for variant, changes in enumerate(list(faulty(number))[:2]):
        folder = tmp_path / str(variant)
        write_kind(folder / "in", kind, **changes)
        (one,) = find_inputs([folder / "in"]).readable
        written = write_screening(screened(one.read()), folder / "out", outputs=OBJECTS)
        found = {path.name for path in objects(written)}
        for output in OBJECTS:
            if output != "pm" or one.read().grid.is_patient:
                assert any(path.startswith(output) for path in found), (
                    output, changes, written.result["skipped_outputs"],
                )  # fmt: skip
        for path in objects(written):
            assert faults_of(dciodvfy, path) == [], (path.name, changes)


@pytest.mark.parametrize("name", ["axial", "tilted"])
def test_two_runs_write_the_same_bytes(name: str, tmp_path: Path) -> None:
    grid = STACKS[name]()
    runs = [
        write_screening(
            screening_of(ct_volume(tmp_path / run / "in", grid), two_lesions(grid.shape)),
            tmp_path / run / "out",
            outputs=OBJECTS,
        )
        for run in "ab"
    ]
    first, second = map(objects, runs)
    assert [path.name for path in first] == [path.name for path in second]
    assert len(first) >= len(OBJECTS)
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes(), one.name


def test_no_two_objects_share_a_uid_and_each_kind_has_its_series(tmp_path: Path) -> None:
    grid = STACKS["axial"]()
    labels = two_lesions(grid.shape)
    # Two patients under the same UIDs, and the first one with another finding.
    found = []
    for run, (patient, moved) in enumerate([("1", 0), ("2", 0), ("1", 1)]):
        volume = ct_volume(tmp_path / str(run) / "in", grid, PatientID=patient)
        volume.__dict__["patient_key"] = patient
        screening = screening_of(volume, np.roll(labels, moved, axis=2))
        found += objects(write_screening(screening, tmp_path / str(run) / "out", outputs=OBJECTS))
    headers = [pydicom.dcmread(path, stop_before_pixels=True) for path in found]
    captures = [one for one in headers if one.Modality == "OT" and "SourceImageSequence" in one]
    assert captures
    assert len({one.SOPInstanceUID for one in headers}) == len(headers)
    series = {(one.SeriesInstanceUID, one.SeriesNumber) for one in headers}
    assert len({uid for uid, _ in series}) == len(series) == 2 * len(OBJECTS)


def test_an_object_that_cannot_be_built_costs_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise AttributeError("Doe^Jane is not a name")

    monkeypatch.setattr("headclip_med.write.dicom.seg.SegmentDescription", broken)
    grid = STACKS["axial"]()
    screening = screening_of(ct_volume(tmp_path / "in", grid), two_lesions(grid.shape))
    written = write_screening(screening, tmp_path / "out", outputs=OBJECTS)
    assert {path.name.split("-")[0] for path in objects(written)} == {"pm.dcm", "sr.dcm", "sc"}
    codes = {one["output"]: one["code"] for one in written.result["skipped_outputs"]}  # type: ignore[attr-defined]
    assert {codes[name] for name in ("seg", "seg-labelmap", "seg-fractional")} == {"bad-headers"}
    assert not list(written.folder.glob("seg*"))
    assert "Doe" not in str(written)
    assert b"Referenced Segment" not in (written.folder / "sr.dcm").read_bytes()
