"""Small pictures of results are made once, kept beside them, and made anew where need be."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from headclip_med.write.pages import thumbnails
from headclip_med.write.pages.thumbnails import THUMBNAIL_PX, thumbnail


def write(path: Path, size: tuple[int, int] = (880, 1120)) -> Path:
    Image.new("RGB", size, (200, 30, 30)).save(path)
    return path


def test_it_is_small_and_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = write(tmp_path / "overlay.png")
    found = thumbnail(picture)
    assert found is not None
    assert (found.width, found.height) == (220, 280)
    assert found.width <= THUMBNAIL_PX[0]
    monkeypatch.setattr(thumbnails, "_made", lambda _picture: pytest.fail("made twice"))
    assert thumbnail(picture) == found


@pytest.mark.parametrize("is_link", [True, False])
def test_what_was_kept_and_is_none_is_made_anew(is_link: bool, tmp_path: Path) -> None:
    picture, kept = write(tmp_path / "overlay.png"), tmp_path / "overlay.thumbnail.jpg"
    if is_link:
        write(tmp_path / "elsewhere.jpg", (10, 10))
        kept.symlink_to(tmp_path / "elsewhere.jpg")
    else:
        kept.write_bytes(b"cut")
    found = thumbnail(picture)
    assert found is not None
    assert found.width == 220
    assert not kept.is_symlink()
    assert kept.read_bytes() == found.content


def test_without_a_picture_there_is_none(tmp_path: Path) -> None:
    picture = write(tmp_path / "overlay.png")
    assert thumbnail(picture) is not None
    picture.unlink()
    assert thumbnail(picture) is None
    picture.write_bytes(b"no picture")
    (tmp_path / "overlay.thumbnail.jpg").unlink()
    assert thumbnail(picture) is None


def test_a_disk_that_takes_nothing_costs_only_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(thumbnails, "write_file", refuse)
    assert thumbnail(write(tmp_path / "overlay.png")) is not None
    assert [one.name for one in tmp_path.iterdir()] == ["overlay.png"]
