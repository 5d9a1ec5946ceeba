"""The folder of a screening: names, contents, and the same bytes for the same input."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from headclip_med import __version__
from headclip_med.errors import InvalidSettings, UnwritableOutput
from headclip_med.findings import Box, Frame, Lesion, Screening, Unit, WindowUsed
from headclip_med.geometry import Grid
from headclip_med.reading import Reading, Spacing
from headclip_med.volume import Heatmap, SliceSource, Volume
from headclip_med.write import (
    OUTPUTS,
    USUAL_OUTPUTS,
    HeatmapAhead,
    check_outputs,
    folder_of,
    lacks_outputs,
    write_screening,
)
from headclip_med.write.pictures.sheet import MOST_PICTURES
from headclip_med.write.result import result_schema
from headclip_med.write.screening import is_uid


def stack(slices: int = 6, *, gap: bool = False) -> Grid:
    positions = np.arange(slices, dtype=float) * 3
    positions[slices // 2 :] += 3 * gap
    origins = np.zeros((slices, 3))
    origins[:, 2] = positions
    return Grid(origins, np.array([0, 0.9, 0.0]), np.array([0.7, 0, 0.0]), 12, 15)


def places(grid: Grid) -> tuple[Unit, tuple[float, float, float], Frame]:
    at = (3.5, 2.7, 0.0)
    return ("mm3", at, "lps_mm") if grid.is_patient else ("px", at, "column_row_slice")


def screening_of(grid: Grid, *, lesion: bool = True, colour: bool = False) -> Screening:
    slices = len(grid.origins_lps_mm)
    labels = np.zeros(grid.shape, dtype=np.int32)
    labels[0, 2:5, 3:9] = lesion
    heat = np.where(labels > 0, 0.8, 0.125).astype(np.float32)
    scores = np.linspace(0.6, 0.1, slices)
    sources = tuple(SliceSource(Path("in.nii.gz")) for _ in range(slices))
    voxels = np.full((*grid.shape, 3) if colour else grid.shape, 40, dtype=np.float32)
    return Screening(
        Volume(voxels, grid, sources, "nifti" if grid.is_patient else "image", name="Doe.nii"),
        Heatmap(heat, grid),
        scores,
        float(scores[:3].mean()),
        0.5,
        labels,
        (Lesion(1, 34.02, *places(grid), 0.8, (0, 0), peak_slice=0),) if lesion else (),
        WindowUsed("brain", 0.0, 80.0, "a CT of the head"),
        Box(0, 1, 0, 1),
        {"name": "headclip-mini", "method": "headclip", "calibrated": True},
        {"window": "auto", "threshold": None},
        {"read": 0.25, "model": 1.5},
    )


def names_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_a_volume_without_dicom_gets_a_heatmap_pictures_and_a_result(tmp_path: Path) -> None:
    screening = screening_of(stack())
    written = write_screening(screening, tmp_path)
    digest = screening.volume.content_digest[:16]
    assert written.folder == tmp_path / digest / digest
    assert written.outputs == {
        "result": "result.json",
        "heatmap": "heatmap.nii.gz",
        "overlay": "overlay.png",
        "slices": "slices",
        "view": "view.html",
    }
    assert names_in(written.folder) == {
        "result.json",
        "heatmap.nii.gz",
        "overlay.png",
        "view.html",
        "slices/001.png",
        "slices/002.png",
        "slices/003.png",
    }


def test_the_result_holds_what_was_found(tmp_path: Path) -> None:
    written = write_screening(screening_of(stack()), tmp_path)
    result: dict[str, Any] = json.loads((written.folder / "result.json").read_text())
    assert result == written.result
    assert result["schema_version"] == "2.6"
    assert result["version"] == __version__
    assert result["research_use_only"] is True
    assert result["calibrated"] is True
    assert result["score"] == 0.5
    assert result["study_instance_uid"] is None
    assert result["slices"][1] == {
        "index": 1,
        "sop_instance_uid": None,
        "frame": None,
        "score": 0.5,
        "origin_lps_mm": [0.0, 0.0, 3.0],
        "picture": "slices/002.png",
    }
    assert result["slices"][4]["picture"] is None
    assert result["lesions"] == [
        {
            "id": 1,
            "size": 34.02,
            "unit": "mm3",
            "centre": [3.5, 2.7, 0.0],
            "frame": "lps_mm",
            "max_score": 0.8,
            "slices": [0, 0],
            "peak_slice": 0,
            "segment": None,
        }
    ]
    assert result["input"]["name"] == "Doe.nii"
    assert result["input"]["pixel_spacing_mm"] == [0.9, 0.7]
    assert result["input"]["window"]["reason"] == "a CT of the head"
    assert result["input"]["crop_box"] == {"rows": [0, 1], "columns": [0, 1]}
    skipped = {one.pop("output"): one for one in result["skipped_outputs"]}
    assert list(skipped) == [name for name in OUTPUTS if name not in result["outputs"]]
    assert skipped["seg"] == {
        "code": "needs-dicom",
        "reason": "The input is not DICOM.",
        "advice": "",
    }
    assert skipped["heatmap-float"] == {
        "code": "not-asked",
        "reason": "It was not asked for.",
        "advice": "",
    }
    assert result["timings_s"].keys() == {
        "read", "model", "write_heatmap", "write_overlay", "write_slices", "write_view",
    }  # fmt: skip
    assert result["heatmaps"] == {
        "heatmap": {
            "encoding": "uint8",
            "largest_error": 0.001961,
            "is_resampled": False,
            "affine_error_mm": 0.0,
        }
    }
    assert result["notes"] == []


INPUTS = {
    "volume": lambda: screening_of(stack()),
    "nothing found": lambda: screening_of(stack(), lesion=False),
    "gapped": lambda: screening_of(stack(gap=True)),
    "photograph": lambda: screening_of(Grid.of_pixels(slices=1, rows=12, columns=15), colour=True),
    "single slice": lambda: screening_of(stack(1)),
}


@pytest.mark.parametrize("name", INPUTS)
def test_the_result_of_every_kind_of_input_follows_the_schema(name: str, tmp_path: Path) -> None:
    jsonschema.validate(write_screening(INPUTS[name](), tmp_path).result, result_schema())


def test_the_schema_is_one_and_refuses_unknown_and_missing_keys(tmp_path: Path) -> None:
    schema = result_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    result = write_screening(screening_of(stack()), tmp_path).result
    for broken in (
        {**result, "patient": "Doe"},
        {key: value for key, value in result.items() if key != "score"},
        {**result, "score": 1.5},
        {**result, "research_use_only": False},
    ):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(broken, schema)


@pytest.mark.parametrize("name", INPUTS)
def test_two_runs_write_the_same_bytes_except_for_timings(name: str, tmp_path: Path) -> None:
    one = write_screening(INPUTS[name](), tmp_path / "one").folder
    screening = replace(INPUTS[name](), timings_s={"read": 9.0})
    other = write_screening(screening, tmp_path / "other").folder
    assert names_in(one) == names_in(other)
    for file in names_in(one) - {"result.json"}:
        assert (one / file).read_bytes() == (other / file).read_bytes(), file
    first, second = (json.loads((folder / "result.json").read_text()) for folder in (one, other))
    assert first.pop("timings_s") != second.pop("timings_s")
    assert first == second


def test_an_earlier_result_is_replaced_as_a_whole(tmp_path: Path) -> None:
    first = write_screening(screening_of(stack()), tmp_path)
    (first.folder / "seg.dcm").write_text("of an earlier version")
    again = write_screening(screening_of(stack(), lesion=False), tmp_path)
    assert again.folder == first.folder
    assert "seg.dcm" not in names_in(again.folder)
    assert len(list(again.folder.parent.iterdir())) == 1


def test_a_failure_while_writing_leaves_no_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("headclip_med.write.screening.to_text", full)
    with pytest.raises(UnwritableOutput, match=r"No space left on device\. Free space"):
        write_screening(screening_of(stack()), tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_folders_are_named_after_uids_only_where_those_are_harmless() -> None:
    volume = screening_of(stack()).volume
    digest = volume.content_digest[:16]
    good = replace(volume, study_instance_uid="1.2.840.1", series_instance_uid="1.2.840.2", part=2)
    assert folder_of(good).as_posix() == "1.2.840.1/1.2.840.2-part2"
    bad = replace(volume, study_instance_uid="../../etc", series_instance_uid="Doe^Jane")
    assert folder_of(bad).as_posix() == f"{digest}/{digest}"


@pytest.mark.parametrize("text", ["1.2.3", "2.25.123", "1.02.3", "1." + "2" * 62])
def test_a_uid_is_a_uid(text: str) -> None:
    assert is_uid(text)


@pytest.mark.parametrize(
    "text",
    [None, "", ".", "..", "1", "1..2", ".1.2", "1.2.", "1/2", "1.2\n", "1.2 ", "1." + "2" * 63],
)
def test_what_is_no_uid_names_no_folder(text: str | None) -> None:
    assert not is_uid(text)


def test_a_gapped_stack_says_that_no_affine_is_exact(tmp_path: Path) -> None:
    (note,) = write_screening(screening_of(stack(gap=True)), tmp_path).notes
    assert "unevenly spaced" in note
    assert "1.20 mm" in note  # at 0, 3, 6, 12, 15, 18 mm; evenly 0, 3.6, 7.2, 10.8, ...


def test_how_a_volume_was_read_stands_there_as_facts_beside_the_notes(tmp_path: Path) -> None:
    screening = screening_of(stack())
    reading = Reading(
        tilt_degrees=12.5, is_inverted=True, spacing=Spacing(5, 3.0, uneven_mm=((2, 6.0),))
    )
    read = replace(screening, volume=replace(screening.volume, reading=reading))
    given = write_screening(read, tmp_path).result["input"]
    assert given["reading"] == {  # type: ignore[index]
        "tilt_degrees": 12.5,
        "spacing": {"steps": 5, "usual_mm": 3.0, "uneven_mm": [[2, 6.0]]},
        "is_inverted": True,
    }
    assert write_screening(screening, tmp_path).result["input"]["reading"] == {}  # type: ignore[index]


def test_notes_of_the_reader_come_first_in_the_result(tmp_path: Path) -> None:
    screening = screening_of(stack(gap=True))
    noted = replace(screening.volume, reading=Reading(is_inverted=True))
    result = write_screening(replace(screening, volume=noted), tmp_path).result
    notes = result["notes"]
    assert isinstance(notes, list)
    assert notes[0] == "The image is MONOCHROME1 (white is low) and was inverted."
    assert len(notes) == 2


def test_every_slice_with_a_candidate_gets_a_picture_up_to_a_limit(tmp_path: Path) -> None:
    screening = screening_of(stack(70))
    labels = np.zeros_like(screening.labels)
    labels[3:, 2, 2] = 1
    many = write_screening(replace(screening, labels=labels), tmp_path)
    assert len(list((many.folder / "slices").iterdir())) == MOST_PICTURES
    assert "67 slices hold candidates" in many.notes[0]
    labels[10:] = 0
    few = write_screening(replace(screening, labels=labels), tmp_path)
    drawn = {path.stem for path in (few.folder / "slices").iterdir()}
    assert drawn == {f"{number:03d}" for number in range(1, 11)}
    assert few.notes == ()


def test_a_number_that_is_none_is_refused_rather_than_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_screening(replace(screening_of(stack()), score=float("nan")), tmp_path)


# --- what is asked for -------------------------------------------------------------------------


def test_only_what_was_asked_for_is_written_and_the_rest_is_recorded(tmp_path: Path) -> None:
    written = write_screening(screening_of(stack()), tmp_path, outputs=["heatmap"])
    assert names_in(written.folder) == {"result.json", "heatmap.nii.gz"}
    assert written.outputs == {"result": "result.json", "heatmap": "heatmap.nii.gz"}
    skipped = written.result["skipped_outputs"]
    assert [(one["output"], one["code"]) for one in skipped] == [  # type: ignore[attr-defined]
        ("overlay", "not-asked"), ("slices", "not-asked"), ("seg", "needs-dicom"),
        ("view", "not-asked"),
        ("heatmap-float", "not-asked"), ("seg-labelmap", "needs-dicom"),
        ("seg-fractional", "needs-dicom"), ("pm", "needs-dicom"), ("mask", "not-asked"),
        ("mask-png", "needs-pictures"), ("heatmap-png", "needs-pictures"),
        ("sr", "needs-dicom"), ("sc", "needs-dicom"),
    ]  # fmt: skip
    assert written.result["slices"][0]["picture"] is None  # type: ignore[index]
    jsonschema.validate(written.result, result_schema())


def test_a_result_lacks_what_nobody_asked_for_then(tmp_path: Path) -> None:
    screening = screening_of(stack())
    some = write_screening(screening, tmp_path, outputs=["heatmap", "seg"]).result
    assert lacks_outputs(some, ["heatmap", "overlay"])
    assert not lacks_outputs(some, ["heatmap", "seg"])  # no DICOM: asking again gives none either
    assert not lacks_outputs(write_screening(screening, tmp_path).result, USUAL_OUTPUTS)


def test_names_of_outputs_are_checked_and_ordered() -> None:
    assert check_outputs("seg, heatmap") == check_outputs(["heatmap", "seg"]) == ("heatmap", "seg")
    assert USUAL_OUTPUTS == ("heatmap", "overlay", "slices", "seg", "view")
    assert check_outputs(OUTPUTS) == check_outputs("all") == check_outputs("seg,all") == (
        *USUAL_OUTPUTS, "heatmap-float", "seg-labelmap", "seg-fractional", "pm", "mask",
        "mask-png", "heatmap-png", "sr", "sc",
    )  # fmt: skip
    with pytest.raises(
        InvalidSettings, match="heatmap, overlay, slices, seg, view, heatmap-float"
    ) as caught:
        check_outputs("heatmap,pdf")
    assert caught.value.code == "unknown-output"


@pytest.mark.parametrize("size", [1, 5, 16])
def test_the_size_of_the_blocks_changes_no_byte(
    size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    screening = screening_of(stack(20))
    whole = write_screening(screening, tmp_path / "whole").folder
    monkeypatch.setattr("headclip_med.write.screening.BLOCK_SLICES", size)
    parts = write_screening(screening, tmp_path / "parts").folder
    for file in names_in(whole) - {"result.json"}:
        assert (whole / file).read_bytes() == (parts / file).read_bytes(), file


# --- written while the model works -------------------------------------------------------------


def noisy(slices: int = 20) -> Screening:
    screening = screening_of(stack(slices))
    values = np.random.default_rng(0).random(screening.heatmap.values.shape).astype(np.float32)
    return replace(screening, heatmap=Heatmap(values, screening.heatmap.grid))


@pytest.mark.parametrize("block", [1, 7, 20])
def test_a_heatmap_written_ahead_has_the_same_bytes(block: int, tmp_path: Path) -> None:
    screening = noisy()
    later = write_screening(screening, tmp_path / "later").folder / "heatmap.nii.gz"
    with HeatmapAhead(screening.heatmap.grid, USUAL_OUTPUTS) as ahead:
        for start in range(0, 20, block):
            values = screening.heatmap.values[start : start + block].copy()
            ahead.add(values)
            values[:] = 0.5  # what becomes of the array then changes nothing
        written = write_screening(screening, tmp_path / "ahead", ahead=ahead)
    assert (written.folder / "heatmap.nii.gz").read_bytes() == later.read_bytes()


def test_what_came_only_in_part_or_was_not_asked_for_is_written_afterwards(tmp_path: Path) -> None:
    screening = noisy()
    with HeatmapAhead(screening.heatmap.grid, USUAL_OUTPUTS) as ahead:
        ahead.add(screening.heatmap.values[:7])
        assert ahead.made() is None
        part = write_screening(screening, tmp_path / "part", ahead=ahead).folder
    with HeatmapAhead(screening.heatmap.grid, ["overlay"]) as ahead:
        ahead.add(screening.heatmap.values)
        unasked = write_screening(screening, tmp_path / "none", outputs=["overlay"], ahead=ahead)
    assert "heatmap" not in unasked.outputs
    whole = write_screening(screening, tmp_path / "whole").folder
    assert (part / "heatmap.nii.gz").read_bytes() == (whole / "heatmap.nii.gz").read_bytes()


def test_an_error_of_the_thread_is_kept_and_said_when_the_results_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    screening = noisy()
    with HeatmapAhead(screening.heatmap.grid, USUAL_OUTPUTS) as ahead:
        monkeypatch.setattr("headclip_med.write.nifti.HeatmapFile.add", full)
        for index in range(20):
            ahead.add(screening.heatmap.values[index : index + 1])  # the model works on
        with pytest.raises(UnwritableOutput, match="No space left on device"):
            write_screening(screening, tmp_path, ahead=ahead)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_model_faster_than_the_disk_waits_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    waiting, most = [], []

    def slow(*_: object) -> None:
        most.append(len(waiting))
        waiting.pop()

    screening = noisy()
    monkeypatch.setattr("headclip_med.write.nifti.HeatmapFile.add", slow)
    with HeatmapAhead(screening.heatmap.grid, USUAL_OUTPUTS) as ahead:
        for _ in range(20):
            waiting.append(1)
            ahead.add(screening.heatmap.values[:1])
        assert ahead.made() is not None
    assert len(most) == 20
    assert max(most) <= 4  # two that wait, the one at work, the one that comes
