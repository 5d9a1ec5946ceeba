"""Every public set as it is downloaded: what belongs to it is found, what is wrong is named."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from headclip_med.datasets import KNOWN_SETS, Dataset, open_dataset, read_image, read_mask
from headclip_med.errors import UnreadableInput
from tests.set_copies import (
    BR35H,
    BUSI,
    COLUMNS,
    DAGM,
    HEAD_CT,
    MVTEC_AD,
    OTHERS,
    ROWS,
    SDD_AS_PUBLISHED,
    SEVENTEEN,
    TN3K,
    VISA,
    Copy,
    Line,
    write_image,
    write_mask,
)

ALL = [pytest.param(copy, id=f"{copy.name}-{copy.lines[0].image}") for copy in SEVENTEEN + OTHERS]
WITH_MASKS = [one for one in ALL if any(line.mask for line in one.values[0].lines)]


def opened(copy: Copy, root: Path) -> Dataset:
    return open_dataset(f"{copy.name}:{root}")


def lines_of(dataset: Dataset, root: Path) -> list[Line]:
    return [
        Line(
            s.image_path.relative_to(root).as_posix(),
            s.mask_path.relative_to(root).as_posix() if s.mask_path else "",
            s.label,
            s.split,
            s.category,
        )
        for s in dataset.samples
    ]


def by_image(lines: list[Line]) -> list[Line]:
    return sorted(lines, key=lambda line: line.image)


def test_all_seventeen_sets_of_the_evaluation_have_a_copy() -> None:
    assert [copy.name for copy in SEVENTEEN] == [
        "MVTecAD", "VisA", "MPDD", "BTAD", "SDD", "DAGM", "DTD-Synthetic",
        "ISIC", "CVC-ClinicDB", "CVC-ColonDB", "Kvasir", "EndoTect", "TN3K",
        "HeadCT", "BrainMRI", "Br35H", "COVID-19",
    ]  # fmt: skip


@pytest.mark.parametrize("copy", ALL)
def test_a_set_is_read_whole_with_its_own_masks_labels_splits_and_categories(
    copy: Copy, tmp_path: Path
) -> None:
    dataset = opened(copy, copy.write(tmp_path))
    assert by_image(lines_of(dataset, tmp_path)) == by_image(copy.lines)
    assert dataset.name == copy.name
    assert dataset.level == ("pixel" if any(line.mask for line in copy.lines) else "image")


@pytest.mark.parametrize("copy", ALL)
def test_every_image_and_mask_of_a_set_can_be_read(copy: Copy, tmp_path: Path) -> None:
    for sample in opened(copy, copy.write(tmp_path)).samples:
        assert read_image(sample).shape == (ROWS, COLUMNS, 3)
        if sample.mask_path is None:
            continue
        expected = np.zeros((ROWS, COLUMNS), dtype=bool)
        if sample.mask_path.relative_to(tmp_path).as_posix() not in copy.black_masks:
            expected[:8, 8:] = True
        np.testing.assert_array_equal(read_mask(sample), expected)


@pytest.mark.parametrize("copy", [one for one in ALL if one.values[0] is not HEAD_CT])
def test_folders_that_an_archive_unpacks_into_do_not_matter(copy: Copy, tmp_path: Path) -> None:
    copy.write(tmp_path / "Some archive_2022")
    (tmp_path / "__MACOSX").mkdir()
    found = lines_of(opened(copy, tmp_path), tmp_path / "Some archive_2022")
    assert by_image(found) == by_image(copy.lines)  # HeadCT is two folders deep as it is


@pytest.mark.parametrize("copy", WITH_MASKS)
def test_a_mask_that_is_lost_is_an_error_that_names_the_image(copy: Copy, tmp_path: Path) -> None:
    copy.write(tmp_path)
    line = next(line for line in copy.lines if line.mask and line.label != 0)
    masks = [one.mask for one in copy.lines if one.mask]
    (tmp_path / line.mask).unlink()
    if len(masks) == 1:  # a folder of masks without any is not taken for a set without masks
        write_mask((tmp_path / line.mask).with_name(f"elsewhere{Path(line.mask).suffix}"))
    with pytest.raises(UnreadableInput, match="has no mask of its name") as caught:
        opened(copy, tmp_path)
    assert Path(line.image).name in str(caught.value)
    assert caught.value.code == "missing-mask"


@pytest.mark.parametrize("copy", WITH_MASKS)
def test_a_mask_of_another_size_is_an_error_that_names_it(copy: Copy, tmp_path: Path) -> None:
    copy.write(tmp_path)
    line = next(line for line in copy.lines if line.mask)
    Image.new("L", (ROWS, COLUMNS)).save(tmp_path / line.mask)
    sample = next(s for s in opened(copy, tmp_path).samples if s.mask_path == tmp_path / line.mask)
    with pytest.raises(UnreadableInput, match=r"12 x 16 px, but its image .* has 16 x 12"):
        read_mask(sample)


@pytest.mark.parametrize("copy", ALL)
def test_an_empty_class_is_an_error_that_names_it(copy: Copy, tmp_path: Path) -> None:
    copy.write(tmp_path)
    folder = (tmp_path / copy.lines[-1].image).parent
    for line in copy.lines:
        if (tmp_path / line.image).parent == folder:
            (tmp_path / line.image).unlink()
    with pytest.raises(UnreadableInput) as caught:
        opened(copy, tmp_path)
    if all((tmp_path / line.image).parent == folder for line in copy.lines):
        assert "does not look like" in str(caught.value)  # no image is left at all
    else:
        assert caught.value.code == "empty-class"
        named = str(caught.value).partition(" holds no pictures")[0].removeprefix("The folder ")
        assert folder.as_posix().endswith(f"/{named}"), "where it lies in the set"


def test_a_folder_that_holds_another_set_is_refused_in_words(tmp_path: Path) -> None:
    BR35H.write(tmp_path)
    with pytest.raises(UnreadableInput, match=r"does not look like VisA.*split_csv/1cls\.csv"):
        open_dataset(f"VisA:{tmp_path}")


def test_another_set_in_the_same_layout_is_not_taken_for_this_one(tmp_path: Path) -> None:
    MVTEC_AD.write(tmp_path)
    with pytest.raises(UnreadableInput, match="does not look like MPDD"):
        open_dataset(f"MPDD:{tmp_path}")


def test_a_picture_that_no_pattern_explains_is_named(tmp_path: Path) -> None:
    write_image(tmp_path / "images/train_imgx1.jpg")
    write_mask(tmp_path / "masks/train_imgy1.jpg")
    write_image(tmp_path / "images/overview.jpg")
    with pytest.raises(UnreadableInput, match=r"overview\.jpg is not named as the images") as stray:
        open_dataset(f"ISIC2017:{tmp_path}")
    assert stray.value.code == "unexpected-file"


def test_images_that_a_table_does_not_list_or_lists_in_vain_are_named(tmp_path: Path) -> None:
    VISA.write(tmp_path)
    write_image(tmp_path / "candle/Data/Images/Normal/0009.JPG")
    with pytest.raises(UnreadableInput, match=r"0009\.JPG has no label"):
        open_dataset(f"VisA:{tmp_path}")
    (tmp_path / "candle/Data/Images/Normal/0009.JPG").unlink()
    (tmp_path / "candle/Data/Images/Normal/0001.JPG").unlink()
    with pytest.raises(UnreadableInput, match=r"Normal/0001 is listed in 1cls\.csv and is not"):
        open_dataset(f"VisA:{tmp_path}")


def test_an_abnormal_texture_without_its_mask_does_not_become_a_normal_one(tmp_path: Path) -> None:
    DAGM.write(tmp_path)
    (tmp_path / "Class1/Test/Label/0002_label.PNG").unlink()
    with pytest.raises(UnreadableInput, match=r"Class1/Test/0002\.PNG has no mask"):
        open_dataset(f"DAGM:{tmp_path}")


def test_classes_packed_twice_are_read_too(tmp_path: Path) -> None:
    DAGM.write(tmp_path / "once")
    for name in ("Class1", "Class10"):
        shutil.copytree(tmp_path / "once" / name, tmp_path / "twice" / name / name)
    assert len(open_dataset(f"DAGM:{tmp_path / 'twice'}").samples) == len(DAGM.lines)


def test_a_table_that_is_broken_or_gone_is_named(tmp_path: Path) -> None:
    DAGM.write(tmp_path)
    table = tmp_path / "Class10/Test/Label/Labels.txt"
    table.write_text("1\n1\t0\t0001.PNG\n3\tperhaps\t0003.PNG\n")
    with pytest.raises(UnreadableInput, match=r"table Labels\.txt must hold"):
        open_dataset(f"DAGM:{tmp_path}")
    table.unlink()
    with pytest.raises(UnreadableInput, match=r"Class10/Test/Label/Labels\.txt is not there"):
        open_dataset(f"DAGM:{tmp_path}")


def test_several_masks_of_one_image_are_joined(tmp_path: Path) -> None:
    BUSI.write(tmp_path)
    second = np.zeros((ROWS, COLUMNS), dtype=np.uint8)
    second[11, 0] = 255
    Image.fromarray(second).save(tmp_path / "benign/benign (4)_mask_1.png")
    dataset = open_dataset(f"BUSI:{tmp_path}")
    assert by_image(lines_of(dataset, tmp_path)) == by_image(BUSI.lines)
    marked = {s.image_path.name: int(read_mask(s).sum()) for s in dataset.samples}
    assert marked["benign (4).png"] == 65
    assert marked["benign (1).png"] == 64
    digest = dataset.content_digest
    (tmp_path / "benign/benign (4)_mask_1.png").unlink()
    assert open_dataset(f"BUSI:{tmp_path}").content_digest != digest


def test_a_copy_without_masks_is_read_on_image_level(tmp_path: Path) -> None:
    for line in BUSI.lines:
        write_image(tmp_path / line.image)
    dataset = open_dataset(f"BUSI:{tmp_path}")
    assert dataset.level == "image"
    assert sorted(s.label or 0 for s in dataset.samples) == [0, 1, 1, 1]


def test_train_may_be_left_out_but_not_test(tmp_path: Path) -> None:
    TN3K.write(tmp_path)
    shutil.rmtree(tmp_path / "trainval-image")
    assert len(open_dataset(f"TN3K:{tmp_path}").samples) == 2
    TN3K.write(tmp_path)
    shutil.rmtree(tmp_path / "test-image")
    with pytest.raises(UnreadableInput, match="no readable folder test-image"):
        open_dataset(f"TN3K:{tmp_path}")


def test_a_set_may_be_called_by_any_of_its_names(tmp_path: Path) -> None:
    SDD_AS_PUBLISHED.write(tmp_path)
    for name in ("SDD", "KolektorSDD", "kolektor-sdd", "KSDD"):
        assert open_dataset(f"{name}:{tmp_path}").name == "SDD"


def test_no_two_sets_share_a_name() -> None:
    names = [name for known in KNOWN_SETS.values() for name in (known.name, *known.aliases)]
    owners = {name: [k.name for k in KNOWN_SETS.values() if k.is_called(name)] for name in names}
    assert {name: found for name, found in owners.items() if len(found) > 1} == {}


def test_every_set_says_where_it_comes_from_and_under_which_terms() -> None:
    for known in KNOWN_SETS.values():
        assert known.source.startswith("http")
        assert known.licence
        assert known.domain != "medical" or known.modality
