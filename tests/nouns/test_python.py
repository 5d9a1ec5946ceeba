"""What a Python user has in hand: one import, whatever is to be screened, and what was found."""

from __future__ import annotations

import base64
import os
import pydoc
import re
import subprocess
import sys
from io import BytesIO
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from PIL import Image

import headclip_med
from headclip_med import Screening, Volume, read_volume, screen
from headclip_med.errors import InvalidSettings
from headclip_med.settings import ScreenSettings
from headclip_med.write.result import result_schema
from tests import tiny
from tests.phantoms import make_grid, write_phantom

PUBLIC = {"Screening", "Volume", "load_model", "read_volume", "screen"}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Screening:
    folder = tmp_path_factory.mktemp("study")
    write_phantom(folder, make_grid(shape=(3, 32, 24)))
    return screen(folder, tiny.model().folded(), settings=ScreenSettings(threshold=0.2))


def test_a_path_an_array_and_a_volume_are_taken_alike(tmp_path: Path) -> None:
    write_phantom(tmp_path, make_grid(shape=(3, 32, 24)))
    volume = read_volume(tmp_path)
    by_path = screen(str(tmp_path), tiny.model().folded())
    by_volume = screen(volume, tiny.model().folded())
    np.testing.assert_array_equal(by_path.heatmap.values, by_volume.heatmap.values)
    by_array = screen(volume.voxels, tiny.model().folded())
    assert by_array.volume.origin == "array"
    np.testing.assert_array_equal(by_array.volume.voxels, volume.voxels)


WRONG = """
import numpy
from headclip_med import Volume, screen
from headclip_med.errors import HeadClipError
from tests import tiny
model = tiny.model().folded()
for wrong in (
    lambda: screen({}, model),
    lambda: screen(None, model),
    lambda: screen(numpy.ones((4, 4)), "headclip-mini"),
    lambda: screen(model, numpy.ones((4, 4))),
    lambda: Volume.from_array([[1, 2]]),
    lambda: Volume.from_array(numpy.ones((4, 4)), spacing_mm=(1, 1)),
):
    try:
        wrong()
    except HeadClipError as error:
        print(error.code, "|", error)
"""


def test_wrong_types_are_told_in_a_sentence() -> None:
    """In a program of its own: under test, types are checked at every call."""
    done = subprocess.run(
        [sys.executable, "-c", WRONG], capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    told = done.stdout.splitlines()
    codes = [line.split(" | ")[0] for line in told]
    assert codes == ["wrong-type"] * 4 + ["unusable-voxels", "bad-spacing"]
    assert "dict, which cannot be screened" in told[0]
    assert "load_model('headclip-mini')" in told[2]


def test_what_was_found_is_told_in_a_line_without_identifiers(found: Screening) -> None:
    told = repr(found)
    assert re.fullmatch(r"Screening\(score \d\.\d{3}, \d+ candidates?, Volume\(.*\), .*\)", told)
    assert len(told) < 160
    assert str(found.volume.series_instance_uid) not in told


def test_it_is_saved_as_the_command_line_does(found: Screening, tmp_path: Path) -> None:
    folder = found.save(tmp_path, outputs="heatmap")
    volume = found.volume
    assert folder == tmp_path / str(volume.study_instance_uid) / str(volume.series_instance_uid)
    assert {one.name for one in folder.iterdir()} >= {"result.json", "heatmap.nii.gz"}
    with pytest.raises(InvalidSettings, match="no output"):
        found.save(tmp_path, outputs="heat")


def test_plain_values_follow_the_schema(found: Screening) -> None:
    plain = found.to_json()
    jsonschema.validate(plain, result_schema())
    assert plain["score"] == pytest.approx(found.score, abs=1e-6)
    assert plain["outputs"] == {"result": "result.json"}


def test_what_an_array_gives_follows_it_too() -> None:
    jsonschema.validate(screen(np.eye(32) * 50, tiny.model().folded()).to_json(), result_schema())


def test_it_is_shown_as_a_figure_and_in_a_notebook(found: Screening) -> None:
    drawn = BytesIO()
    found.show().savefig(drawn)
    shown = np.asarray(Image.open(drawn).convert("L"))
    assert shown.std() > 10
    html = found._repr_html_()
    picture = re.search(r'src="data:image/jpeg;base64,([^"]+)"', html)
    assert picture is not None
    assert Image.open(BytesIO(base64.b64decode(picture[1]))).width > 200
    assert f"Score {found.score:.3f}" in html
    assert "script" not in html


def test_the_public_names_are_seen_before_anything_is_imported() -> None:
    seen = {name for name in dir(headclip_med) if not name.startswith("_")}
    assert seen - {"annotations"} >= PUBLIC
    assert set(headclip_med.__all__) - {"__version__"} == PUBLIC
    text = pydoc.plain(pydoc.render_doc(headclip_med))
    for name in ("screen(", "load_model(", "read_volume(", "class Volume", "class Screening"):
        assert name in text


def test_a_volume_of_python_is_screened_and_its_heatmap_handed_on() -> None:
    volume = Volume.from_array(np.eye(32)[None] * 90, spacing_mm=(3, 1, 1), modality="MR")
    heatmap = screen(volume, tiny.model().folded()).heatmap
    np.testing.assert_allclose(heatmap.to_nibabel().affine, volume.to_nibabel().affine)
