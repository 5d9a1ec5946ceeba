"""The bundle's inference, in this process: what goes in and out, and that it equals ``screen``."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from monai.bundle.scripts import create_workflow
from monai.data.dataloader import DataLoader
from monai.data.meta_tensor import MetaTensor
from monai.data.utils import decollate_batch
from monai.transforms.io.dictionary import LoadImaged
from PIL import Image

from headclip_med.errors import HeadClipError, InvalidSettings, UnreadableInput
from headclip_med.models.loading import load_model
from headclip_med.pipelines.bundle import (
    Cases,
    LoadVolumed,
    ScreeningNetwork,
    ScreenWorkflow,
    VolumeReader,
)
from headclip_med.pipelines.bundle.folder import CONFIGS
from headclip_med.pipelines.bundle.transforms import tensor_of
from headclip_med.pipelines.screen import screen
from headclip_med.read import read_volume
from headclip_med.settings import ScreenSettings
from headclip_med.transforms.array import CropToBodyd, WindowVolumed
from headclip_med.volume import Volume
from headclip_med.write import folder_of
from headclip_med.write.dicom.series import write_ct_series
from headclip_med.write.nifti import EXACT, HeatmapFile
from tests import stored_orders
from tests.phantoms import PATIENT_NAME, make_grid

pytestmark = pytest.mark.filterwarnings(
    "ignore:parsing config_file",  # said of every configuration that is opened
    "ignore:NvImgCodecPydicomReader",  # LoadImage builds every reader that it knows
)


def write_head(folder: Path, *, rows: int = 150, columns: int = 130, **uids: str) -> Volume:
    """Write a tilted CT series of a bright ellipse with a brighter spot, and read it back."""
    grid = make_grid(shape=(3, rows, columns), step_lps_mm=(0, 1.3, 4), spacing_mm=(1.4, 1.2))
    down, across = np.mgrid[0:rows, 0:columns]
    inside = ((down - 60) / 40) ** 2 + ((across - 70) / 35) ** 2 < 1
    voxels = np.where(inside, 35.0, -1000.0)[None].repeat(3, axis=0).astype(np.float32)
    voxels[1, 50:60, 60:75] = 75
    write_ct_series(folder, voxels, grid, patient_name=PATIENT_NAME, **uids)
    return read_volume(folder)


def run(dataset_dir: Any, output_dir: Path, **override: Any) -> Any:
    """Run the inference configuration as ``monai.bundle run`` does, and give its report."""
    workflow = create_workflow(
        config_file=str(CONFIGS / "inference.json"), workflow_type="infer", logging_file=False,
        dataset_dir=str(dataset_dir), output_dir=str(output_dir), device="cpu", **override,
    )  # fmt: skip
    workflow.run()
    workflow.finalize()
    return workflow.dataset.report


def heatmap_in(out: Path, volume: Volume) -> np.ndarray:
    """The exact heatmap where there is one, else the compact one."""
    folder = out / folder_of(volume)
    exact = folder / "heatmap_float.nii.gz"
    image = nibabel.load(exact if exact.exists() else folder / "heatmap.nii.gz")
    return np.asarray(image.dataobj).T


@pytest.mark.parametrize(
    "override",
    [
        {},
        {"crop": "none", "window": (40, 80), "batch_size": 2},
        {"tiling": "windows", "crop": "none", "overlap": 0.25, "sigma": 8.0},
        {"method": "winclip", "threshold": 0.4, "r": 0.0, "k": 5.0},
    ],
    ids=["usual", "whole slices", "windows", "another method"],
)
def test_the_bundle_gives_what_screen_gives(override: dict[str, Any], tmp_path: Path) -> None:
    volume = write_head(tmp_path / "in")
    run(tmp_path / "in", tmp_path / "out", outputs="heatmap-float", **override)
    model = load_model("headclip-mini", method=override.get("method"), device="cpu")
    names = {"r": "joint_weight", "k": "top_percent", "sigma": "sigma_px"}
    scores = {name: override[key] for key, name in names.items() if key in override}
    model = model.with_scores(type(model.scores)(**{**model.scores.to_json(), **scores}))
    own = {key: value for key, value in override.items() if key in screen_fields()}
    own["window"] = "40,80" if "window" in own else "auto"
    expected = screen(volume, model, settings=ScreenSettings(**own))
    found = heatmap_in(tmp_path / "out", volume)
    np.testing.assert_allclose(found, expected.heatmap.values, atol=1e-5)
    result = json.loads((tmp_path / "out" / folder_of(volume) / "result.json").read_text())
    assert result["score"] == pytest.approx(expected.score, abs=1e-5)
    assert [one["score"] for one in result["slices"]] == pytest.approx(
        expected.slice_scores.tolist(), abs=1e-5
    )
    assert len(result["lesions"]) == len(expected.lesions)
    assert result["settings"] == json.loads(json.dumps(dict(expected.settings)))
    assert result["model"] == json.loads(json.dumps(dict(expected.model)))


def screen_fields() -> set[str]:
    return {one.name for one in fields(ScreenSettings)}


def test_nifti_and_colour_pictures_go_in_as_well(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    series = write_head(tmp_path / "series")
    heatmap = screen(series, load_model(device="cpu")).heatmap
    with (folder / "scan.nii.gz").open("wb") as stream:
        file = HeatmapFile(stream, heatmap.grid, EXACT)
        file.add(heatmap.values)
        file.close()
    colours = np.random.default_rng(1).integers(0, 255, (40, 50, 3), dtype=np.uint8)
    Image.fromarray(colours).save(folder / "skin.png")
    report = run(folder, tmp_path / "out", outputs="heatmap-float")
    assert sorted(row.name for row in report.rows) == ["scan.nii.gz", "skin.png"]
    for name in ("scan.nii.gz", "skin.png"):
        volume = read_volume(folder / name)
        expected = screen(volume, load_model(device="cpu")).heatmap.values
        found = heatmap_in(tmp_path / "out", volume)
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_everything_that_a_series_leads_to_is_written(tmp_path: Path) -> None:
    volume = write_head(tmp_path / "in")
    report = run(tmp_path / "in", tmp_path / "out", threshold=0.01, minimum_size=0.0)
    folder = tmp_path / "out" / folder_of(volume)
    assert {path.name for path in folder.iterdir()} == {
        "result.json", "heatmap.nii.gz", "heatmap_resampled.nii.gz", "overlay.png", "slices",
        "seg.dcm", "view.html",
    }  # fmt: skip
    assert report.outputs["csv"].read_text().count("screened") == 1


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_volume_survives_collate_and_decollate(num_workers: int, tmp_path: Path) -> None:
    volume = write_head(tmp_path / "in")
    dataset = Cases(tmp_path / "in", LoadVolumed("image"), output_dir=tmp_path / "out", settings={})
    loader = DataLoader(dataset, batch_size=1, collate_fn=dataset.collate, num_workers=num_workers)
    batch = next(iter(loader))
    assert tuple(batch["image"].shape) == (1, 1, 150, 130, 3)
    case = decollate_batch(batch)[0]
    assert tuple(case["image"].shape) == (1, 150, 130, 3)
    back = case["volume"]
    assert back.content_digest == volume.content_digest
    assert back.sources == volume.sources
    for one in fields(Volume):
        if one.name not in ("voxels", "grid", "read_s"):
            assert getattr(back, one.name) == getattr(volume, one.name)


def test_a_volume_is_read_once_and_never_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_head(tmp_path / "in")
    made: list[Volume] = []
    check = Volume.__post_init__

    def counted(volume: Volume) -> None:
        check(volume)
        made.append(volume)

    monkeypatch.setattr(Volume, "__post_init__", counted)
    report = run(tmp_path / "in", tmp_path / "out")
    assert (len(report.rows), len(made)) == (1, 1)


def test_the_affine_leads_to_the_same_place_as_the_grid(tmp_path: Path) -> None:
    volume = write_head(tmp_path / "in")
    index = np.array([[2.0, 7.0, 11.0]])  # slice, row, column
    ras = np.asarray(tensor_of(volume).affine) @ np.array([7, 11, 2, 1])
    np.testing.assert_allclose(ras[:3] * [-1, -1, 1], volume.grid.to_lps_mm(index)[0], atol=1e-4)


def test_the_crop_is_undone_by_its_inverse(tmp_path: Path) -> None:
    write_head(tmp_path / "in")
    loaded = LoadVolumed("image")({"image": tmp_path / "in"})
    grey = WindowVolumed("image", "brain")(loaded)
    crop = CropToBodyd("image")
    cut = crop(grey)
    assert cut["image"].shape[1] < grey["image"].shape[1]
    back = crop.inverse(cut)["image"]
    assert back.shape == grey["image"].shape
    np.testing.assert_allclose(back.affine, grey["image"].affine)
    np.testing.assert_array_equal(back, grey["image"])  # air is black in either


def test_a_refusal_reaches_the_user_through_monai_s_own_loader(tmp_path: Path) -> None:
    write_head(tmp_path / "in/a", study_seed="a")
    write_head(tmp_path / "in/b", study_seed="b")
    load = LoadImaged("image", reader=VolumeReader(), image_only=True)
    with pytest.raises(UnreadableInput, match="2 volumes"):
        load({"image": str(tmp_path / "in")})
    one = load({"image": str(tmp_path / "in/a")})["image"]
    assert one.shape == (150, 130, 3)
    assert len(LoadVolumed("image")({"image": one})["volume"].sources) == 3


def _root(error: BaseException) -> BaseException:
    while error.__cause__ is not None and not isinstance(error, HeadClipError):
        error = error.__cause__
    return error


def test_what_an_application_has_read_goes_in_unless_another_reader_read_it(tmp_path: Path) -> None:
    colours = np.random.default_rng(1).integers(0, 255, (40, 50, 3), dtype=np.uint8)
    Image.fromarray(colours).save(tmp_path / "skin.png")
    write_head(tmp_path / "series")
    for source in (tmp_path / "series", tmp_path / "skin.png"):
        reader = VolumeReader()
        array, meta = reader.get_data(reader.read(source))
        handed = MetaTensor.ensure_torch_and_prune_meta(array, meta)
        found = LoadVolumed("image")({"image": handed})
        expected = LoadVolumed("image")({"image": source})
        np.testing.assert_array_equal(found["image"], expected["image"])
        assert found["volume"].sources == expected["volume"].sources
    with pytest.raises(UnreadableInput, match="read by another reader"):
        LoadVolumed("image")({"image": MetaTensor(np.zeros((4, 5, 3)))})


# PyTorch 2.14 speaks against TorchScript, which MONAI's exports and Deploy still take.
@pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning")
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_an_application_may_walk_through_the_steps_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MONAI Deploy's operator uses no loader, and hands every tensor of a case to the inferer."""
    monkeypatch.setenv("HOLOSCAN_OUTPUT_PATH", str(tmp_path / "deployed"))
    volume = write_head(tmp_path / "in")
    run(tmp_path / "in", tmp_path / "out", outputs="heatmap-float")
    workflow = create_workflow(
        config_file=[str(CONFIGS / name) for name in ("inference.json", "deploy.json")],
        workflow_type="infer", logging_file=False, outputs="heatmap-float",
    )  # fmt: skip
    reader = VolumeReader()
    array, meta = reader.get_data(reader.read(tmp_path / "in"))
    case = workflow.preprocessing({"image": MetaTensor.ensure_torch_and_prune_meta(array, meta)})
    others = {"raw": torch.zeros(1, 1)}
    # What has been exported takes the network's place as it is.
    for network in (workflow.network_def, torch.jit.script(workflow.network_def)):
        judged = workflow.inferer(inputs=case["image"][None], network=network, **others)
        workflow.postprocessing({"pred": judged[0], **case})
        found, expected = (heatmap_in(tmp_path / name, volume) for name in ("deployed", "out"))
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_bad_study_costs_only_itself(tmp_path: Path) -> None:
    write_head(tmp_path / "in/good")
    (tmp_path / "in/broken.nii.gz").write_bytes(b"\x1f\x8b no gzip")
    report = run(tmp_path / "in", tmp_path / "out")
    assert len(report.rows) == 1
    assert [one.input for one in report.failures] == ["broken.nii.gz"]
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    assert (summary["screened"], summary["failed"]) == (1, 1)


def test_nothing_usable_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "broken.nii.gz").write_bytes(b"\x1f\x8b no gzip")
    with pytest.raises(RuntimeError) as raised:
        run(tmp_path, tmp_path / "out")
    assert isinstance(_root(raised.value), UnreadableInput)


def test_finished_cases_are_skipped_unless_the_settings_changed(tmp_path: Path) -> None:
    volume = write_head(tmp_path / "in")
    result = tmp_path / "out" / folder_of(volume) / "result.json"
    first = run(tmp_path / "in", tmp_path / "out").rows
    written = result.stat().st_mtime_ns
    again = run(tmp_path / "in", tmp_path / "out", skip_finished=True).rows
    assert (again, result.stat().st_mtime_ns) == (first, written)
    run(tmp_path / "in", tmp_path / "out", skip_finished=True, window="bone")
    assert result.stat().st_mtime_ns > written


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ({"overlp": 0.3}, "Did you mean 'overlap'"),
        ({"window": "brian"}, "window is not known"),
        ({"weights": "missing.safetensors", "backbone": "ViT-L-14-336"}, "no weights file at"),
        ({"model": "nowhere.safetensors"}, "no checkpoint at"),
        ({"model": "a.safetensors", "backbone": "ViT-B-32"}, "Give one of them"),
        ({"overlap": 1.5}, "overlap must be a number"),
        ({"method": "wincilp"}, "wincilp"),
    ],
)
def test_what_is_mistyped_is_refused(
    override: dict[str, Any], sentence: str, tmp_path: Path
) -> None:
    write_head(tmp_path / "in", rows=40, columns=30)
    with pytest.raises((RuntimeError, HeadClipError)) as raised:
        run(tmp_path / "in", tmp_path / "out", **override)
    assert sentence in str(_root(raised.value))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("folder", "sentence"), [("none", "not exist"), ("empty", "no image")])
def test_a_folder_without_images_is_refused(folder: str, sentence: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty/notes.txt").write_text("nothing to see")
    with pytest.raises(RuntimeError) as raised:
        run(tmp_path / folder, tmp_path / "out")
    assert sentence in str(_root(raised.value))


def test_every_property_that_monai_asks_for_is_there() -> None:
    workflow = create_workflow(
        config_file=str(CONFIGS / "inference.json"), workflow_type="infer", logging_file=False
    )
    assert workflow.check_properties() == []


def test_the_python_workflow_screens_too(tmp_path: Path) -> None:
    volume = write_head(tmp_path / "in")
    workflow = ScreenWorkflow(
        logging_file=False, dataset_dir=str(tmp_path / "in"), output_dir=str(tmp_path / "out")
    )
    workflow.initialize()
    workflow.run()
    assert workflow.check_properties() == []
    assert heatmap_in(tmp_path / "out", volume).shape == (3, 150, 130)
    with pytest.raises(InvalidSettings, match="Did you mean 'window'"):
        ScreenWorkflow(logging_file=False, windw="brain")


def test_the_network_gives_map_and_score_as_one_tensor() -> None:
    images = torch.rand(2, 3, 64, 48, generator=torch.Generator().manual_seed(1))
    found = ScreeningNetwork()(images)
    assert found.shape == (2, 2, 64, 48)
    assert found.dtype == torch.float32
    assert (found[:, 1] == found[:, 1, :1, :1]).all()
    grey = images[:, :1]
    torch.testing.assert_close(
        ScreeningNetwork()(grey), ScreeningNetwork()(grey.expand(2, 3, 64, 48))
    )


def test_slices_are_cut_in_the_plane_that_is_asked_for(tmp_path: Path) -> None:
    grid = make_grid(shape=(30, 48, 40), spacing_mm=(2.0, 2.0), step_lps_mm=(0, 0, 2.5))
    voxels = np.full(grid.shape, -1000.0)
    voxels[4:26, 8:40, 6:34] = 35
    voxels[8:12, 20:28, 10:20] = 75
    write_ct_series(tmp_path / "in", voxels, grid)
    volume, out = read_volume(tmp_path / "in"), tmp_path / "out"
    assert run(tmp_path / "in", out, planes="coronal", outputs="heatmap-float").exit_code == 0
    found = screen(volume, load_model("headclip-mini"), settings=ScreenSettings(planes="coronal"))
    np.testing.assert_allclose(heatmap_in(out, volume), found.heatmap.values, atol=1e-5)
    result = json.loads((out / folder_of(volume) / "result.json").read_text())
    assert [one["name"] for one in result["planes"]["used"]] == ["coronal"]
    assert result["score"] == pytest.approx(found.score, abs=1e-5)


def test_a_file_whose_axes_run_backwards_is_seen_as_screen_sees_it(tmp_path: Path) -> None:
    path = stored_orders.write(tmp_path, *stored_orders.head())
    volume, out = read_volume(path), tmp_path / "out"
    assert run(path, out, outputs="heatmap-float").exit_code == 0
    found = screen(volume, load_model("headclip-mini"))
    assert found.volume is volume
    np.testing.assert_allclose(heatmap_in(out, volume), found.heatmap.values, atol=1e-5)


def test_a_network_is_not_shown_all_planes_at_once() -> None:
    with pytest.raises(InvalidSettings, match="slices of one plane"):
        LoadVolumed("image", planes="all")
