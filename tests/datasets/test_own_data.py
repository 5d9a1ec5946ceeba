"""Sets of one's own: class folders, masks of any name, lists of images, and what is refused."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from headclip_med.datasets import Dataset, check_set, find_set, open_dataset, read_mask
from headclip_med.datasets.own.classes import resolve
from headclip_med.datasets.own.spec import SetSpec
from headclip_med.errors import HeadClipError, InvalidSettings, UnreadableInput
from tests.set_copies import write_image, write_mask


def pictures(root: Path, *names: str) -> Path:
    for name in names:
        write_image(root / name)
    return root


def masks(root: Path, *names: str) -> Path:
    for name in names:
        write_mask(root / name)
    return root


def table(root: Path, text: str, name: str = "list.csv") -> Path:
    (root / name).write_text(text)
    return root / name


def kinds(dataset: Dataset) -> dict[tuple[object, str, int], int]:
    """How many images of each label, split and number of masks."""
    return Counter((one.label, one.split, len(one.mask_paths)) for one in dataset.samples)


def codes(dataset: Dataset) -> list[str]:
    return [one.code for one in dataset.findings]


def refusal(spec: str) -> HeadClipError:
    with pytest.raises(HeadClipError) as caught:
        open_dataset(spec)
    return caught.value


@pytest.mark.parametrize(
    ("normal", "abnormal"),
    [
        ("0", "1"), ("negative", "positive"), ("healthy", "tumor"), ("healthy", "sick"),
        ("benign", "malignant"), ("no", "yes"), ("normal", "abnormal"), ("good", "bad"),
        ("OK", "NG"), ("ok", "defect"), ("NORMAL", "PNEUMONIA"), ("notumor", "glioma"),
        ("no_tumor", "pituitary_tumor"), ("No_DR", "DR"), ("uninfected", "infected"),
        ("Normal cases", "Malignant cases"), ("0_normal", "1_abnormal"), ("control", "patient"),
        ("non-defective", "defective"), ("false", "true"), ("class_0", "class_1"),
        ("Uninfected", "Parasitized"), ("clean", "dirty"), ("not fractured", "fractured"),
    ],
)  # fmt: skip
def test_pairs_of_classes_are_told_by_their_names(
    normal: str, abnormal: str, tmp_path: Path
) -> None:
    pictures(tmp_path, *(f"{kind}/{n}.png" for kind in (normal, abnormal) for n in (1, 2)))
    dataset = open_dataset(f"folder:{tmp_path}")
    found = {one.image_path.parent.name: one.label for one in dataset.samples}
    assert found == {normal: 0, abnormal: 1}
    assert dataset.level == "image"
    is_plain = normal.lower() in ("free", "good", "no", "normal", "ok")
    assert codes(dataset) == ([] if is_plain else ["classes"])


@pytest.mark.parametrize(
    "names",
    [
        ("a", "b"), ("0", "1", "2"), ("benign", "malignant", "insitu"), ("good", "normal", "bad"),
        ("normal", "tumor", "unknown"), ("yes", "maybe"),
    ],
)  # fmt: skip
def test_classes_that_do_not_tell_are_refused_until_they_are_told(
    names: tuple[str, ...], tmp_path: Path
) -> None:
    pictures(tmp_path, *(f"{name}/1.png" for name in names))
    found = refusal(f"folder:{tmp_path}")
    assert found.code == "ambiguous-classes"
    assert "--normal-class NAME" in found.advice
    told = open_dataset(f"folder:{tmp_path}?normal={names[0].upper()}")
    assert kinds(told) == {(0, "test", 0): 1, (1, "test", 0): len(names) - 1}
    assert codes(told) == []
    two = f"folder:{tmp_path}?normal={names[0]}&normal={names[1]}"
    if len(names) > 2:
        assert [one.label for one in open_dataset(two).samples].count(0) == 2
    else:
        assert "All class folders would be normal" in refusal(two).reason
    assert refusal(f"folder:{tmp_path}?normal=gone").code == "no-such-class"


def test_a_benign_finding_is_abnormal_where_there_are_normal_images() -> None:
    found = resolve(["benign", "malignant", "normal"], (), what="classes", option="x")
    assert (found.normal, found.abnormal) == (("normal",), ("benign", "malignant"))


@pytest.mark.parametrize(("train", "test"), [("train", "test"), ("Training", "Testing")])
def test_splits_above_classes_are_read(train: str, test: str, tmp_path: Path) -> None:
    pictures(
        tmp_path,
        *(f"{s}/{k}/{n}.png" for s in (train, test, "val") for k in ("NORMAL", "X") for n in "12"),
    )
    dataset = open_dataset(f"folder:{tmp_path}")
    assert kinds(dataset) == {
        (0, "test", 0): 2, (1, "test", 0): 2, (0, "train", 0): 4, (1, "train", 0): 4,
    }  # fmt: skip


def test_without_a_test_split_the_validation_split_is_tested(tmp_path: Path) -> None:
    pictures(tmp_path, *(f"{s}/{k}/1.png" for s in ("train", "val") for k in ("ok", "ng")))
    found = {
        one.image_path.parts[-3]: one.split for one in open_dataset(f"folder:{tmp_path}").samples
    }
    assert found == {"train": "train", "val": "test"}


@pytest.mark.parametrize(
    ("image", "mask", "options"),
    [
        ("images/{}.png", "masks/{}.png", ""),
        ("images/{}.png", "masks/{}_mask.png", ""),
        ("images/{}.png", "ground_truth/{}.png", "masks=ground_truth"),
        ("images/{}.png", "labels/{}_gt.png", "masks=labels&mask_suffix=_gt"),
        ("images/{}.png", "masks/{}_seg.png", "mask_suffix=_seg"),
        ("img/{}.png", "ann/{}.png", "images=img&masks=ann"),
        ("images/{}.png", "images/{}_gt.png", "mask_suffix=_gt"),
        ("{}.png", "{}_segmentation.png", "mask_suffix=_segmentation"),
        ("{}.jpg", "{}.mask.png", "mask_suffix=.mask"),
        ("{}.jpg", "{}.mask.png", "mask_suffix=.mask.png"),
        ("{}.jpg", "gt/{}.png", "masks=gt"),
        ("test/images/{}.png", "test/masks/{}.png", ""),
        ("train/images/{}.png", "train/labels/{}.png", "masks=labels"),
    ],
)
def test_masks_are_found_by_folder_and_suffix(
    image: str, mask: str, options: str, tmp_path: Path
) -> None:
    pictures(tmp_path, *(image.format(name) for name in "ab"))
    masks(tmp_path, *(mask.format(name) for name in "ab"))
    dataset = open_dataset(f"folder:{tmp_path}" + (f"?{options}" if options else ""))
    assert dataset.level == "pixel"
    assert [one.mask_path for one in dataset.samples] == [tmp_path / mask.format(n) for n in "ab"]
    assert all(read_mask(one).sum() == 64 for one in dataset.samples)


@pytest.mark.parametrize(
    "mask", ["gt/bad/{}.png", "gt/{}.png", "bad/gt/{}.png", "gt/bad/{}_mask.png"]
)
def test_masks_beside_or_in_class_folders_are_found(mask: str, tmp_path: Path) -> None:
    pictures(tmp_path, "good/a.png", "bad/b.png", "bad/c.png")
    masks(tmp_path, mask.format("b"), mask.format("c"))
    dataset = open_dataset(f"folder:{tmp_path}?masks=gt")
    assert kinds(dataset) == {(0, "test", 0): 1, (1, "test", 1): 2}
    (tmp_path / mask.format("b")).unlink()
    assert refusal(f"folder:{tmp_path}?masks=gt").code == "missing-mask"


SHAPES: dict[str, tuple[tuple[str, ...], str, str]] = {
    "flat": (("1.png", "2.png"), "in one folder, without labels", "headclip screen DIR"),
    "labels": (("images/1.png", "labels/1_gt.png"), "masks in labels/",
               "--mask-folder labels --mask-suffix _gt"),
    "siblings": (("1.png", "1_seg.png"), "masks beside them", "--mask-suffix _seg"),
    "dotted": (("1.png", "1.mask.png"), "masks beside them", "--mask-suffix .mask"),
    "other images": (("pics/1.png", "gt/1.png"), "masks in gt/",
                     "--mask-folder gt --image-folder pics"),
    "one class": (("tumor/1.png",), "one class only (tumor/)", "into a folder beside it"),
    "volumes": (("imagesTr/a_0000.nii.gz", "labelsTr/a.nii.gz", "dataset.json"), "NIfTI volumes",
                "nifti:DIR"),
    "boxes": (("images/1.jpg", "labels/1.txt"), "boxes (YOLO", "csv:FILE"),
    "archive": (("set.zip",), "an archive (set.zip)", "Unpack it"),
    "table": (("imgs/1.png", "list.csv"), "a table (list.csv)", "csv:DIR/list.csv"),
    "meta": (("x/1.png", "meta.json"), "a meta.json", "meta:DIR"),
    "dicom": (("a.dcm",), "DICOM images", "headclip batch"),
    "text": (("readme.md",), "holds no pictures", "good/ and bad/"),
}  # fmt: skip


@pytest.mark.parametrize("name", SHAPES)
def test_a_folder_that_is_not_read_is_told_what_would_read_it(name: str, tmp_path: Path) -> None:
    files, looks, advice = SHAPES[name]
    for file in files:
        if file.endswith((".png", ".jpg")):
            write_image(tmp_path / file)
        else:
            (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / file).write_text("x")
    found = refusal(f"folder:{tmp_path}")
    assert found.code == "unknown-layout"
    assert looks in found.reason
    assert advice in found.advice


def test_coco_and_single_files_are_told_too(tmp_path: Path) -> None:
    pictures(tmp_path, "val/1.jpg")
    (tmp_path / "ann.json").write_text(json.dumps({"images": [], "annotations": []}))
    assert "COCO annotations (ann.json)" in refusal(f"folder:{tmp_path}").reason
    (tmp_path / "set.tar.gz").write_bytes(b"x")
    assert "Unpack it" in refusal(f"folder:{tmp_path / 'set.tar.gz'}").advice
    assert refusal(f"folder:{tmp_path / 'gone'}").code == "missing-folder"


@pytest.mark.parametrize("name", ["masks", "labels", "gt"])
def test_masks_beside_classes_are_no_class(name: str, tmp_path: Path) -> None:
    pictures(tmp_path, "good/1.png", "bad/1.png", f"{name}/1.png")
    found = refusal(f"folder:{tmp_path}")
    assert found.code == "not-a-class"
    assert f"--mask-folder {name}" in found.advice


def test_a_set_in_mvtec_ads_layout_is_sent_there(tmp_path: Path) -> None:
    pictures(tmp_path, "test/good/1.png", "test/bad/1.png", "ground_truth/bad/1_mask.png")
    assert "mvtec:DIR" in refusal(f"folder:{tmp_path}").advice


def test_options_that_a_layout_does_not_take_are_refused(tmp_path: Path) -> None:
    pictures(tmp_path, "no/1.png", "yes/1.png")
    for spec in ("BrainMRI:{}?masks=x", "mvtec:{}?masks=x", "folder:{}?label=x", "meta:{}?mask=x"):
        with pytest.raises(InvalidSettings, match="has no use for") as caught:
            open_dataset(spec.format(tmp_path))
        assert caught.value.code == "unused-option"
    with pytest.raises(InvalidSettings, match="'foo' of a set is not known"):
        open_dataset(f"folder:{tmp_path}?foo=1")
    with pytest.raises(InvalidSettings, match="has no value"):
        open_dataset(f"folder:{tmp_path}?masks")


def test_a_folder_with_a_question_mark_in_its_name_is_read(tmp_path: Path) -> None:
    odd = tmp_path / "what?masks=1"
    pictures(odd, "no/1.png", "yes/1.png")
    assert SetSpec.parse(f"folder:{odd}").path == odd
    assert len(open_dataset(f"folder:{odd}?normal=no").samples) == 2


META = {
    "train": {"brain": [{"img_path": "a.png", "mask_path": "", "cls_name": "brain",
                         "specie_name": "good", "anomaly": 0}]},
    "test": {
        "brain": [
            {"img_path": "x/b.png", "mask_path": "", "cls_name": "brain", "specie_name": "good",
             "anomaly": 0},
            {"img_path": "x/c.png", "mask_path": "m/c.png", "cls_name": "brain",
             "specie_name": "tumor", "anomaly": 1},
        ],
        "liver": [{"img_path": "d.png", "mask_path": ["m/d1.png", "m/d2.png"],
                   "cls_name": "liver", "specie_name": "tumor", "anomaly": 1}],
    },
}  # fmt: skip


def meta(root: Path, content: object = META) -> Path:
    pictures(root, "a.png", "x/b.png", "x/c.png", "d.png")
    masks(root, "m/c.png", "m/d1.png", "m/d2.png")
    (root / "meta.json").write_text(json.dumps(content))
    return root


def test_a_meta_json_is_read_as_the_published_codes_write_it(tmp_path: Path) -> None:
    for spec in (f"meta:{meta(tmp_path)}", f"meta:{tmp_path / 'meta.json'}"):
        dataset = open_dataset(spec)
        found = [
            (one.image_path.name, one.label, one.split, one.category, len(one.mask_paths))
            for one in dataset.samples
        ]
        assert found == [
            ("a.png", 0, "train", "brain", 0), ("b.png", 0, "test", "brain", 0),
            ("c.png", 1, "test", "brain", 1), ("d.png", 1, "test", "liver", 2),
        ]  # fmt: skip
        assert dataset.level == "pixel"


def test_a_meta_json_may_have_other_splits_absolute_paths_and_no_masks(tmp_path: Path) -> None:
    entries = [
        {"img_path": str(tmp_path / "a.png"), "mask_path": None, "cls_name": "b", "anomaly": "0"},
        {"img_path": "x\\b.png", "cls_name": "b", "anomaly": True},
    ]
    dataset = open_dataset(f"meta:{meta(tmp_path, {'Test': {'b': entries}})}")
    assert dataset.level == "image"
    assert [one.label for one in dataset.samples] == [0, 1]
    elsewhere = tmp_path / "lists"
    elsewhere.mkdir()
    (tmp_path / "meta.json").rename(elsewhere / "meta.json")
    assert len(open_dataset(f"meta:{elsewhere}?root={tmp_path}").samples) == 2


@pytest.mark.parametrize(
    ("content", "code"),
    [
        ([], "bad-labels"), ({"test": 1}, "bad-labels"), ({"test": {"a": [1]}}, "bad-labels"),
        ({"test": {"a": [{"img_path": "a.png"}]}}, "missing-label"),
        ({"test": {"a": [{"img_path": "no.png", "anomaly": 0}]}}, "missing-file"),
        ({"fold 7": {"a": [{"img_path": "a.png", "anomaly": 0}]}}, "unknown-split"),
        ({"test": {"a": []}}, "empty-dataset"),
        ({"test": {"a": [{"img_path": "a.png", "anomaly": 0},
                         {"img_path": "a.png", "anomaly": 1}]}}, "two-labels"),
        ({"test": {"a": [{"img_path": "a.png", "anomaly": 1},
                         {"img_path": "d.png", "anomaly": 1, "mask_path": "m/c.png"}]}},
         "missing-mask"),
    ],
)  # fmt: skip
def test_a_meta_json_that_says_something_else_is_refused(
    content: object, code: str, tmp_path: Path
) -> None:
    assert refusal(f"meta:{meta(tmp_path, content)}").code == code


TABLES = {
    "plain": "image,mask,class,label,split\n"
             "a.png,,organ,normal,train\nx/b.png,,organ,normal,test\nx/c.png,m/c.png,organ,anomaly,test\n",
    "semicolons": "img_path;gt;object;is_anomaly;set\n"
                  "a.png;;organ;0;train\nx/b.png;;organ;0;test\nx/c.png;m/c.png;organ;1;test\n",
    "tabs": "File Name\tGround Truth\tOrgan\tTarget\tSubset\n"
            "a.png\tnan\torgan\t-1\tTraining\nx/b.png\t\torgan\t-1\tTest\nx/c.png\tm/c.png\torgan\t1\tTest\n",
    "floats": "path,mask,category,y,split\n"
              "a.png,,organ,0.0,train\nx/b.png,,organ,0.0,test\nx/c.png,m/c.png,organ,1.0,test\n",
    "without suffixes": "image_id,mask,category,label,split\n"
                        "a,,organ,good,train\nx/b,,organ,good,test\nx/c,m/c,organ,bad,test\n",
    "excel": "\ufeffimage,mask,category,label,split\r\n"
             "a.png,,organ,no,train\r\nx\\b.png,,organ,no,test\r\nx\\c.png,m\\c.png,organ,yes,test\r\n",
}  # fmt: skip


@pytest.mark.parametrize("name", TABLES)
def test_any_table_of_images_is_read(name: str, tmp_path: Path) -> None:
    dataset = open_dataset(f"csv:{table(meta(tmp_path), TABLES[name])}")
    found = [
        (one.image_path.name, one.label, one.split, one.category, len(one.mask_paths))
        for one in dataset.samples
    ]
    assert found == [
        ("a.png", 0, "train", "organ", 0), ("b.png", 0, "test", "organ", 0),
        ("c.png", 1, "test", "organ", 1),
    ]  # fmt: skip
    assert dataset.level == "pixel"


def test_columns_and_labels_may_be_told(tmp_path: Path) -> None:
    text = "wo,was\na.png,gesund\nx/b.png,krank\n"
    path = table(meta(tmp_path), text)
    assert "wo, was" in refusal(f"csv:{path}").reason
    assert refusal(f"csv:{path}?image=wo&label=was").code == "ambiguous-classes"
    found = open_dataset(f"csv:{path}?image=wo&label=was&normal=gesund")
    assert [one.label for one in found.samples] == [0, 1]
    assert refusal(f"csv:{path}?image=foo").code == "no-such-column"


def test_a_class_column_alone_is_the_label(tmp_path: Path) -> None:
    path = table(meta(tmp_path), "image,class\na.png,normal\nd.png,ill\n")
    found = open_dataset(f"csv:{path}")
    assert [one.label for one in found.samples] == [0, 1]


def test_without_labels_a_mask_tells(tmp_path: Path) -> None:
    path = table(meta(tmp_path), "image,mask\na.png,\nd.png,m/c.png\n")
    found = open_dataset(f"csv:{path}")
    assert [one.label for one in found.samples] == [0, None]
    assert codes(found) == ["labels-from-masks"]


def test_several_masks_of_an_image_are_joined(tmp_path: Path) -> None:
    meta(tmp_path)
    second = np.zeros((12, 16), np.uint8)
    second[11, 0] = 255
    from PIL import Image

    Image.fromarray(second).save(tmp_path / "m/d2.png")
    rows = "image,mask,label\na.png,,0\nd.png,m/d1.png,1\nd.png,m/d2.png,1\n"
    one = open_dataset(f"csv:{table(tmp_path, rows)}").samples[1]
    assert read_mask(one).sum() == 65
    joined = "image,mask,label\na.png,,0\nd.png,m/d1.png;m/d2.png,1\n"
    assert read_mask(open_dataset(f"csv:{table(tmp_path, joined)}").samples[1]).sum() == 65


def test_paths_start_from_the_table_the_folder_above_or_a_root(tmp_path: Path) -> None:
    meta(tmp_path)
    inner = tmp_path / "split_csv"
    inner.mkdir()
    path = table(inner, "image,label\na.png,0\nd.png,1\n")
    assert len(open_dataset(f"csv:{path}").samples) == 2
    (deeper := inner / "more").mkdir()
    path = table(deeper, "image,label\nb.png,0\nc.png,1\n")
    assert "?root=DIR" in refusal(f"csv:{path}").advice
    assert len(open_dataset(f"csv:{path}?root={tmp_path / 'x'}").samples) == 2


def test_lines_that_lack_something_are_named(tmp_path: Path) -> None:
    path = table(meta(tmp_path), "image,label\na.png,0\nd.png,\nno.png,1\n")
    report = check_set(find_set("csv"), path)
    assert [one.code for one in report.findings if one.severity == "error"] == [
        "missing-label", "missing-file",
    ]  # fmt: skip


def test_a_class_with_one_image_and_images_in_both_splits_are_said(tmp_path: Path) -> None:
    pictures(tmp_path, "train/good/1.png", "test/good/2.png", "test/bad/3.png", "test/bad/4.png")
    (tmp_path / "train/bad").mkdir()
    (tmp_path / "train/bad/copy.png").write_bytes((tmp_path / "test/bad/3.png").read_bytes())
    found = {one.code: one.reason for one in check_set(find_set("folder"), tmp_path).findings}
    assert "a single normal test image" in found["single-image"]
    assert (
        "1 images are in the training and in the test split: test/bad/3.png"
        in (found["in-both-splits"])
    )


def test_a_set_without_one_kind_of_image_is_said(tmp_path: Path) -> None:
    path = table(meta(tmp_path), "image,label\na.png,good\nd.png,good\n")
    found = {one.code: one for one in check_set(find_set("csv"), path).findings}
    assert found["no-abnormal"].severity == "warning"


def real_iad(root: Path, *, size: int = 1024) -> Path:
    entries: dict[str, list[dict[str, object]]] = {"train": [], "test": []}
    for number, (split, kind) in enumerate(
        [("train", "OK"), ("test", "OK"), ("test", "HS"), ("test", "ZW")]
    ):
        for view in range(1, 6):
            folder = f"OK/S000{number}" if kind == "OK" else f"NG/{kind}/S000{number}"
            stem = f"{folder}/audiojack_000{number}_{kind}_C{view}_20231021"
            write_image(root / f"realiad_{size}/audiojack/{stem}.jpg")
            if kind != "OK":
                write_mask(root / f"realiad_{size}/audiojack/{stem}.png")
            entries[split].append({
                "category": "audiojack", "anomaly_class": kind, "image_path": f"{stem}.jpg",
                "mask_path": None if kind == "OK" else f"{stem}.png",
            })  # fmt: skip
    about = {"pre_transform": "none", "normal_class": "OK", "prefix": "audiojack/"}
    lists = root / "realiad_jsons/realiad_jsons"
    lists.mkdir(parents=True)
    (lists / "audiojack.json").write_text(json.dumps({"meta": about, **entries}))
    absent = {"meta": {**about, "prefix": "zipper/"}, "train": [], "test": entries["test"]}
    (lists / "zipper.json").write_text(json.dumps(absent))
    return root


@pytest.mark.parametrize("size", [1024, 256])
def test_real_iad_is_read_by_its_own_lists(size: int, tmp_path: Path) -> None:
    dataset = open_dataset(f"Real-IAD:{real_iad(tmp_path, size=size)}")
    assert dataset.name == "Real-IAD"
    assert kinds(dataset) == {(0, "train", 0): 5, (0, "test", 0): 5, (1, "test", 1): 10}
    assert dataset.categories == ("audiojack",)
    assert check_set(find_set("Real-IAD"), tmp_path).is_usable


def test_real_iad_without_its_lists_is_refused(tmp_path: Path) -> None:
    pictures(tmp_path, "realiad_1024/audiojack/OK/S0001/a.jpg")
    with pytest.raises(UnreadableInput, match="realiad_jsons") as caught:
        open_dataset(f"Real-IAD:{tmp_path}")
    assert caught.value.code == "unknown-layout"


def test_loco_joins_the_masks_of_all_defects(tmp_path: Path) -> None:
    from tests.set_copies import MVTEC_LOCO

    MVTEC_LOCO.write(tmp_path)
    second = np.zeros((12, 16), np.uint8)
    second[11, 0] = 3
    from PIL import Image

    folder = tmp_path / "pushpins/ground_truth/logical_anomalies/000"
    Image.fromarray(second).save(folder / "001.png")
    dataset = open_dataset(f"MVTecLOCO:{tmp_path}")
    one = next(one for one in dataset.samples if one.mask_path == folder / "000.png")
    assert one.more_mask_paths == (folder / "001.png",)
    assert read_mask(one).sum() == 65
