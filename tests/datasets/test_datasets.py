"""Data sets: every layout pairs images with their own masks, and every fault has a name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from headclip_med.datasets import Dataset, Sample, discover, open_dataset, read_image, read_mask
from headclip_med.errors import InvalidSettings, UnreadableInput

SIZE = (6, 4)  # columns and rows, unequal on purpose


def mvtec(root: Path) -> Dataset:
    return open_dataset(f"mvtec:{root}")


def picture(path: Path, level: int = 100, size: tuple[int, int] = SIZE, mode: str = "L") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, level).save(path)
    return path


def mask(path: Path, value: int = 255, size: tuple[int, int] = SIZE) -> Path:
    """A mask with the top left pixel marked."""
    marked = np.zeros(size[::-1], dtype=np.uint8)
    marked[0, 0] = value
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(marked).save(path)
    return path


def screw(root: Path) -> Path:
    """One category: one training image, a good one, two defects of one kind."""
    picture(root / "train/good/000.png")
    picture(root / "test/good/000.png")
    for number in ("000", "001"):
        picture(root / f"test/scratch/{number}.png")
        mask(root / f"ground_truth/scratch/{number}_mask.png")
    return root


def described(samples: tuple[Sample, ...]) -> list[tuple[str, str | None, int | None]]:
    return [(s.image_path.name, s.mask_path and s.mask_path.name, s.label) for s in samples]


def test_mvtec_pairs_each_defect_with_its_own_mask(tmp_path: Path) -> None:
    dataset = mvtec(screw(tmp_path / "screw"))
    assert dataset.categories == ("screw",)
    assert [s.split for s in dataset.samples] == ["train", "test", "test", "test"]
    assert described(dataset.split("test").samples) == [
        ("000.png", None, 0),
        ("000.png", "000_mask.png", 1),
        ("001.png", "001_mask.png", 1),
    ]


def test_a_lost_mask_shifts_no_other_and_is_named(tmp_path: Path) -> None:
    (screw(tmp_path) / "ground_truth/scratch/000_mask.png").unlink()
    with pytest.raises(UnreadableInput, match=r"image test/scratch/000\.png has no mask"):
        mvtec(tmp_path)


def test_mvtec_reads_a_folder_of_categories_or_one_of_them(tmp_path: Path) -> None:
    for name in ("bottle", "screw", "cable"):
        screw(tmp_path / name)
    assert mvtec(tmp_path).categories == ("bottle", "cable", "screw")
    assert mvtec(tmp_path / "screw").categories == ("screw",)


def test_btad_s_names_are_understood(tmp_path: Path) -> None:
    picture(tmp_path / "01/test/ok/0001.bmp")
    picture(tmp_path / "01/test/ko/0002.bmp")
    mask(tmp_path / "01/ground_truth/ko/0002.png")
    assert described(mvtec(tmp_path).samples) == [
        ("0002.bmp", "0002.png", 1),
        ("0001.bmp", None, 0),
    ]


def test_an_empty_class_is_named(tmp_path: Path) -> None:
    (screw(tmp_path) / "test/bent").mkdir()
    mask(tmp_path / "ground_truth/bent/000_mask.png")
    with pytest.raises(UnreadableInput, match="folder test/bent holds no pictures"):
        mvtec(tmp_path)


def test_images_and_masks_are_paired_by_name_whatever_their_format(tmp_path: Path) -> None:
    picture(tmp_path / "images/b(2).png")
    picture(tmp_path / "images/a.JPG")
    (tmp_path / "images/.DS_Store").touch()
    mask(tmp_path / "masks/a.gif")
    mask(tmp_path / "masks/b(2).gif")
    dataset = open_dataset(f"folder:{tmp_path}")
    assert described(dataset.samples) == [("a.JPG", "a.gif", None), ("b(2).png", "b(2).gif", None)]
    assert dataset.level == "pixel"
    assert read_mask(dataset.samples[0]).sum() == 1


@pytest.mark.parametrize("stem", ["scan_imgy7", "scan_imgy7_segmentation", "scan_imgy7_mask"])
def test_a_set_s_own_names_of_masks_are_understood(tmp_path: Path, stem: str) -> None:
    picture(tmp_path / "images/scan_imgx7.jpg")
    mask(tmp_path / f"masks/{stem}.png")
    (sample,) = open_dataset(f"ISIC2017:{tmp_path}").samples
    assert sample.mask_path == tmp_path / f"masks/{stem}.png"


def test_two_masks_of_one_name_are_refused(tmp_path: Path) -> None:
    picture(tmp_path / "images/a.png")
    mask(tmp_path / "masks/a.png")
    mask(tmp_path / "masks/a.bmp")
    with pytest.raises(UnreadableInput, match="share a name"):
        open_dataset(f"folder:{tmp_path}")


@pytest.mark.parametrize("normal", ["good", "Normal", "no", "ok", "free"])
def test_class_folders_are_told_apart_by_their_names(tmp_path: Path, normal: str) -> None:
    picture(tmp_path / normal / "1.png")
    picture(tmp_path / "tumour" / "2.png")
    picture(tmp_path / "bleeding" / "3.png")
    dataset = open_dataset(f"folder:{tmp_path}")
    assert dataset.level == "image"
    assert sorted(described(dataset.samples)) == [
        ("1.png", None, 0),
        ("2.png", None, 1),
        ("3.png", None, 1),
    ]


def test_unlabelled_pictures_are_not_taken_for_abnormal_ones(tmp_path: Path) -> None:
    for name in ("no", "yes", "pred"):
        picture(tmp_path / name / "1.png")
    with pytest.raises(UnreadableInput, match="folder pred beside the classes"):
        open_dataset(f"folder:{tmp_path}")


def test_a_folder_without_classes_says_what_it_should_hold(tmp_path: Path) -> None:
    picture(tmp_path / "yes" / "1.png")
    with pytest.raises(UnreadableInput, match="free, good, no, normal, ok"):
        open_dataset(f"folder:{tmp_path}")


def test_head_ct_follows_its_table_and_without_one_its_numbering(tmp_path: Path) -> None:
    picture(tmp_path / "HeadCT/007.png")
    picture(tmp_path / "HeadCT/107.png")
    spec = f"HeadCT:{tmp_path / 'HeadCT'}"
    assert [s.label for s in open_dataset(spec).samples] == [1, 0]
    (tmp_path / "labels.csv").write_text("id, hemorrhage\n7, 0\n107, 1\n")
    assert [s.label for s in open_dataset(spec).samples] == [0, 1]
    (tmp_path / "labels.csv").write_text("id, hemorrhage\n7, perhaps\n")
    with pytest.raises(UnreadableInput, match=r"labels\.csv must hold"):
        open_dataset(spec)


def test_an_image_without_a_label_is_named(tmp_path: Path) -> None:
    picture(tmp_path / "scan.png")
    with pytest.raises(UnreadableInput, match=r"scan\.png has no label in HeadCT"):
        open_dataset(f"HeadCT:{tmp_path}")


@pytest.mark.parametrize("inner", ["", "Imgs"])
def test_masks_beside_the_images_are_not_taken_for_images(tmp_path: Path, inner: str) -> None:
    picture(tmp_path / "MT_Free" / inner / "a.jpg")
    mask(tmp_path / "MT_Free" / inner / "a.png", 0)
    for kind in ("Blowhole", "Break", "Crack", "Fray", "Uneven"):
        picture(tmp_path / f"MT_{kind}" / inner / "b.jpg")
        mask(tmp_path / f"MT_{kind}" / inner / "b.png", 128)
    dataset = open_dataset(f"magnetic_tile:{tmp_path}")
    assert [s.label for s in dataset.samples] == [0, 1, 1, 1, 1, 1]
    assert read_mask(dataset.samples[1]).sum() == 1


def test_a_missing_class_of_a_known_set_is_named(tmp_path: Path) -> None:
    picture(tmp_path / "no" / "1.png")
    with pytest.raises(UnreadableInput, match="no readable folder yes"):
        open_dataset(f"BrainMRI:{tmp_path}")


@pytest.mark.parametrize("spec", ["BrainMRI", "BrainMRI:", "brain:here", "/here"])
def test_an_unknown_layout_lists_the_known_ones(spec: str) -> None:
    with pytest.raises(
        InvalidSettings, match=r"mvtec, folder, meta, csv, nifti, MVTecAD, VisA.*BUSI"
    ):
        open_dataset(spec)


def test_a_wrong_path_is_an_error_of_the_input() -> None:
    with pytest.raises(UnreadableInput, match="no folder for the set mvtec"):
        open_dataset("mvtec:/nowhere")


@pytest.mark.parametrize(
    ("mode", "level", "shown"),
    [("L", 100, 100), ("I;16", 0x64FF, 0x64), ("RGBA", 0x00646464, 0x64), ("1", 1, 255)],
)
def test_every_kind_of_picture_becomes_three_colours(
    tmp_path: Path, mode: str, level: int, shown: int
) -> None:
    image = read_image(Sample(picture(tmp_path / "a.png", level, mode=mode), None, 0, "any"))
    assert image.shape == (4, 6, 3)
    assert (image == shown).all()


def test_levels_of_twelve_bits_are_not_shown_black(tmp_path: Path) -> None:
    path = picture(tmp_path / "a.png", 4080, mode="I;16")
    assert (read_image(Sample(path, None, 0, "any")) == 255).all()


@pytest.mark.parametrize("stored", [True, False])
def test_an_image_s_orientation_turns_its_mask_alike(tmp_path: Path, stored: bool) -> None:
    """A quarter turn clockwise brings the stored top left to the upright top right."""
    exif = Image.Exif()
    exif[0x0112] = 6
    levels = np.zeros(SIZE[::-1], np.uint8)
    levels[0, 0] = 200
    Image.fromarray(levels).save(tmp_path / "a.png", exif=exif)
    drawn = levels if stored else np.rot90(levels, -1)
    Image.fromarray(np.ascontiguousarray(drawn)).save(tmp_path / "m.png")
    Image.fromarray(levels).save(tmp_path / "turned.png", exif=exif)
    for name in ("m.png", "turned.png"):
        sample = Sample(tmp_path / "a.png", tmp_path / name, 1, "any")
        found = read_mask(sample)
        assert found.shape == SIZE
        assert np.argwhere(found).tolist() == [[0, 3]]
        np.testing.assert_array_equal(read_image(sample)[..., 0] > 0, found)


def test_a_mask_s_codes_count_from_one_and_compressed_ones_from_the_middle(tmp_path: Path) -> None:
    image = picture(tmp_path / "a.png")
    coded = Sample(image, mask(tmp_path / "m.png", 1), 1, "any")
    assert read_mask(coded).tolist() == [[True] + [False] * 5] + [[False] * 6] * 3
    blurred = Sample(image, mask(tmp_path / "n.png", 127), 1, "any", mask_above=127)
    assert not read_mask(blurred).any()


def test_jpeg_masks_are_cut_in_the_middle(tmp_path: Path) -> None:
    picture(tmp_path / "images/a.jpg", size=(32, 32))
    marked = np.zeros((32, 32), dtype=np.uint8)
    marked[5:17, 7:29] = 255
    (tmp_path / "masks").mkdir()
    Image.fromarray(marked).save(tmp_path / "masks/a.jpg", quality=60)
    stored = np.asarray(Image.open(tmp_path / "masks/a.jpg"))
    assert ((stored > 0) != (marked > 0)).any()  # as blurred and speckled as real ones

    found = read_mask(open_dataset(f"KvasirSEG:{tmp_path}").samples[0])

    np.testing.assert_array_equal(found, marked > 0)


def test_what_a_mask_is_follows_from_its_content_not_its_name(tmp_path: Path) -> None:
    picture(tmp_path / "images/a.jpg")
    mask(tmp_path / "masks/a.png", 1).rename(tmp_path / "masks/a.jpg")
    found = read_mask(open_dataset(f"KvasirSEG:{tmp_path}").samples[0])
    assert np.argwhere(found).tolist() == [[0, 0]]


def test_a_normal_image_has_an_empty_mask_of_its_own_size(tmp_path: Path) -> None:
    found = read_mask(Sample(picture(tmp_path / "a.png"), None, 0, "any"))
    assert found.shape == (4, 6)
    assert not found.any()


def test_an_abnormal_image_without_a_mask_has_no_pixel_truth(tmp_path: Path) -> None:
    with pytest.raises(UnreadableInput, match="Evaluate this set on image level"):
        read_mask(Sample(picture(tmp_path / "a.png"), None, 1, "any"))


def test_a_mask_of_another_size_is_refused_with_both_sizes(tmp_path: Path) -> None:
    turned = mask(tmp_path / "m.png", size=SIZE[::-1])
    with pytest.raises(UnreadableInput, match=r"4 x 6 px, but its image a.png has 6 x 4"):
        read_mask(Sample(picture(tmp_path / "a.png"), turned, 1, "any"))


@pytest.mark.parametrize("content", [b"", b"not a picture", None])
def test_a_broken_picture_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = picture(tmp_path / "a.png", size=(64, 64))
    path.write_bytes(path.read_bytes()[:60] if content is None else content)
    with pytest.raises(UnreadableInput, match=r"a\.png is not a readable picture"):
        read_image(Sample(path, None, 0, "any"))


def test_a_picture_of_several_frames_is_refused(tmp_path: Path) -> None:
    frames = [Image.new("L", SIZE, level) for level in (0, 90)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    with pytest.raises(UnreadableInput, match="several pictures"):
        read_image(Sample(tmp_path / "a.gif", None, 0, "any"))


def test_floating_point_pictures_are_refused(tmp_path: Path) -> None:
    Image.new("F", SIZE, 0.5).save(tmp_path / "a.tif")
    with pytest.raises(UnreadableInput, match="floating-point"):
        read_image(Sample(tmp_path / "a.tif", None, 0, "any"))


def test_a_set_s_digest_follows_its_content_and_not_its_place(tmp_path: Path) -> None:
    first = mvtec(screw(tmp_path / "a" / "screw")).content_digest
    assert mvtec(screw(tmp_path / "b" / "screw")).content_digest == first
    picture(tmp_path / "b/screw/test/good/000.png", level=101)
    assert mvtec(tmp_path / "b" / "screw").content_digest != first


def test_sets_are_discovered_by_name_and_by_layout(tmp_path: Path) -> None:
    for name in ("bottle", "screw"):
        screw(tmp_path / "industrial/mvtec" / name)
        screw(tmp_path / "own" / name)
    picture(tmp_path / "medical/brain mri/no/1.png")
    picture(tmp_path / "medical/other/no/1.png")
    assert discover(tmp_path) == [
        f"MVTecAD:{tmp_path / 'industrial/mvtec'}",
        f"BrainMRI:{tmp_path / 'medical/brain mri'}",
        f"mvtec:{tmp_path / 'own'}",
    ]
    one = tmp_path / "own/screw"
    assert discover(one) == [f"mvtec:{one}"]


def test_a_folder_without_sets_says_what_would_be_one(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(UnreadableInput, match="No known set lies below"):
            discover(folder)


def test_all_the_real_sets_are_discovered(shared_data: Path) -> None:
    found = {spec.partition(":")[0] for spec in discover(shared_data)}
    assert found == {
        "BUSI", "BrainMRI", "COVID", "DDTI", "HeadCT", "ISIC2017", "Kvasir", "MVTecAD",
        "Magnetic-Tile",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("spec", "normal", "abnormal", "share_marked"),
    [
        ("BrainMRI:medical/BrainMRI", 42, 72, None),
        ("HeadCT:medical/HeadCT", 50, 50, None),
        ("COVID:medical/COVID", 28, 61, None),
        ("BUSI:medical/BUSI", 50, 120, None),
        ("KvasirSEG:medical/KvasirSEG", 0, 350, (0.01, 0.9)),
        ("ISIC2017:medical/ISIC2017", 0, 600, (0.01, 0.99)),
        ("DDTI_thyroid:medical/DDTI_thyroid", 0, 250, (0.01, 0.9)),
        ("mvtec:industrial/mvtec/screw", 21, 61, (0.0001, 0.2)),
        ("MVTecAD:industrial/mvtec", 21, 61, (0.0001, 0.2)),
        ("magnetic_tile:industrial/magnetic_tile", 180, 199, (0.0001, 0.95)),
    ],
)
def test_real_sets_are_read_whole(
    shared_data: Path,
    spec: str,
    normal: int,
    abnormal: int,
    share_marked: tuple[float, float] | None,
) -> None:
    layout, _, folder = spec.partition(":")
    dataset = open_dataset(f"{layout}:{shared_data / folder}").split("test")
    labels = [sample.label for sample in dataset.samples]
    assert (labels.count(0), labels.count(1)) == (normal, abnormal)
    for sample in dataset.samples[:: max(1, len(labels) // 5)]:
        image = read_image(sample)
        assert image.max() > image.min()
        if share_marked is not None:
            marked = read_mask(sample)
            assert marked.shape == image.shape[:2]
            if sample.label:
                assert share_marked[0] < marked.mean() < share_marked[1]
