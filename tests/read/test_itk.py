"""MetaImage, NRRD and Analyze: every voxel in its place, and no header leads elsewhere."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK

from headclip_med.errors import HeadClipError
from headclip_med.read import Inputs, ReadLimits, find_inputs, read_volume
from headclip_med.volume import Volume

VOXELS = np.arange(24, dtype="<i2").reshape(2, 3, 4) - 7
"""Slices, rows, columns."""

META = """ObjectType = Image
NDims = 3
BinaryData = True
BinaryDataByteOrderMSB = False
CompressedData = False
TransformMatrix = 0 1 0 -1 0 0 0 0 1
Offset = 10 20 30
ElementSpacing = 0.5 0.75 3
DimSize = 4 3 2
ElementType = MET_SHORT
ElementDataFile = {}
"""
"""Columns run along +y (to the back), rows along -x (to the right), slices along +z."""

NRRD = """NRRD0004
type: short
dimension: 3
space: {}
sizes: 4 3 2
space directions: {}
kinds: domain domain domain
endian: little
encoding: {}
space origin: (10,20,30)
"""
DIRECTIONS = "(0,0.5,0) (-0.75,0,0) (0,0,3)"


def write_meta(path: Path, data: str = "LOCAL", header: str = META) -> Path:
    stored = VOXELS.tobytes() if data == "LOCAL" else b""
    path.write_bytes(header.format(data).encode() + stored)
    return path


def write_nrrd(
    path: Path,
    *,
    space: str = "left-posterior-superior",
    directions: str = DIRECTIONS,
    encoding: str = "raw",
    more: str = "",
) -> Path:
    stored = gzip.compress(VOXELS.tobytes()) if encoding == "gzip" else VOXELS.tobytes()
    header = NRRD.format(space, directions, encoding) + more + "\n"
    path.write_bytes(header.encode() + (b"" if "data file" in more else stored))
    return path


def place(volume: Volume, *index: float) -> list[float]:
    return [round(float(mm), 6) for mm in volume.grid.to_lps_mm(np.array([index], dtype=float))[0]]


def code_of(path: Path, limits: ReadLimits | None = None) -> str:
    with pytest.raises(HeadClipError) as refused:
        read_volume(path, limits=limits or ReadLimits())
    return refused.value.code


def codes(found: Inputs) -> dict[str, str]:
    return {one.path.name: one.code for one in found.failures}


def test_a_metaimage_keeps_every_voxel_in_its_place(tmp_path: Path) -> None:
    volume = read_volume(write_meta(tmp_path / "a.mha"))
    np.testing.assert_array_equal(volume.voxels, VOXELS)
    assert (volume.origin, volume.name, volume.notes) == ("volume", "a.mha", ())
    assert place(volume, 0, 0, 0) == [10, 20, 30]
    assert place(volume, 0, 0, 2) == [10, 21, 30]  # two columns on: 1 mm to the back
    assert place(volume, 0, 2, 0) == [8.5, 20, 30]  # two rows on: 1.5 mm to the right
    assert place(volume, 1, 1, 3) == [9.25, 21.5, 33]


@pytest.mark.parametrize(
    ("space", "first", "step"),
    [
        ("left-posterior-superior", [10, 20, 30], [9.25, 21.5, 33]),
        ("right-anterior-superior", [-10, -20, 30], [-9.25, -21.5, 33]),
        ("left-anterior-superior", [10, -20, 30], [9.25, -21.5, 33]),
    ],
)
@pytest.mark.parametrize("encoding", ["raw", "gzip"])
def test_nrrd_is_turned_from_its_space_to_the_patients(
    tmp_path: Path, space: str, first: list[float], step: list[float], encoding: str
) -> None:
    volume = read_volume(write_nrrd(tmp_path / "a.nrrd", space=space, encoding=encoding))
    np.testing.assert_array_equal(volume.voxels, VOXELS)
    assert place(volume, 0, 0, 0) == first
    assert place(volume, 1, 1, 3) == step


def test_nrrd_is_known_by_its_first_bytes(tmp_path: Path) -> None:
    assert len(read_volume(write_nrrd(tmp_path / "scan.volume")).voxels) == 2


def test_without_an_orientation_axes_are_assumed_and_that_is_said(tmp_path: Path) -> None:
    header = META.replace("TransformMatrix = 0 1 0 -1 0 0 0 0 1\n", "")
    volume = read_volume(write_meta(tmp_path / "a.mha", header=header))
    assert volume.reading.lacks_orientation
    assert place(volume, 1, 1, 3) == [11.5, 20.75, 33]


def test_each_time_point_is_a_volume(tmp_path: Path) -> None:
    header = META.replace("NDims = 3", "NDims = 4").replace("4 3 2", "4 3 1 2")
    header = header.replace("0 1 0 -1 0 0 0 0 1", "0 1 0 0 -1 0 0 0 0 0 1 0 0 0 0 1")
    header = header.replace("10 20 30", "10 20 30 0").replace("0.5 0.75 3", "0.5 0.75 3 1")
    found = find_inputs([write_meta(tmp_path / "a.mha", header=header)]).readable
    assert [(one.part, one.slices, one.rows, one.columns) for one in found] == [
        (1, 1, 3, 4),
        (2, 1, 3, 4),
    ]
    for index, one in enumerate(found):
        volume = one.read()
        np.testing.assert_array_equal(volume.voxels[0], VOXELS[index])
        assert place(volume, 0, 2, 0) == [8.5, 20, 30]


@pytest.mark.parametrize(("channels", "parts"), [(3, 1), (4, 1), (2, 2)])
def test_bytes_by_three_or_four_are_colours_and_other_vectors_are_volumes(
    tmp_path: Path, channels: int, parts: int
) -> None:
    stored = np.arange(8 * channels, dtype=np.uint8).reshape(2, 2, 2, channels)
    header = META.replace("4 3 2", "2 2 2").replace("MET_SHORT", "MET_UCHAR")
    header = header.replace("ElementType", f"ElementNumberOfChannels = {channels}\nElementType")
    path = tmp_path / "a.mha"
    path.write_bytes(header.format("LOCAL").encode() + stored.tobytes())
    found = find_inputs([path]).readable
    assert len(found) == parts
    for index, one in enumerate(found):
        volume = one.read()
        assert volume.is_colour == (channels > 2)
        expected = stored[..., :3] if volume.is_colour else stored[..., index]
        np.testing.assert_array_equal(volume.voxels, expected)


def test_two_dimensions_have_no_place_in_a_patient(tmp_path: Path) -> None:
    header = META.replace("NDims = 3", "NDims = 2").replace("4 3 2", "4 6")
    header = header.replace("0 1 0 -1 0 0 0 0 1", "1 0 0 1").replace("10 20 30", "10 20")
    header = header.replace("0.5 0.75 3", "0.5 0.75")
    volume = read_volume(write_meta(tmp_path / "a.mha", header=header))
    np.testing.assert_array_equal(volume.voxels, VOXELS.reshape(1, 6, 4))
    assert not volume.grid.is_patient
    assert volume.reading.lacks_geometry


def test_analyze_is_read_with_axes_that_are_assumed(tmp_path: Path) -> None:
    stored = VOXELS.transpose(2, 1, 0)
    image = nibabel.AnalyzeImage(stored, np.diag([0.5, 0.75, 3, 1]))
    image.to_filename(tmp_path / "a.img")
    (one,) = find_inputs([tmp_path]).readable
    assert {path.name for path in one.paths} == {"a.hdr", "a.img"}
    for path in (tmp_path / "a.hdr", tmp_path / "a.img"):
        volume = read_volume(path)
        np.testing.assert_array_equal(volume.voxels, VOXELS)
        assert volume.reading.lacks_orientation
        assert place(volume, 1, 1, 3) == [1.5, 0.75, 3]


def test_nifti_with_a_vector_in_each_voxel_is_a_volume_for_each_part(tmp_path: Path) -> None:
    stored = np.stack([VOXELS, 2 * VOXELS], axis=-1).transpose(2, 1, 0, 3)[:, :, :, None]
    image = nibabel.Nifti1Image(stored, np.diag([-0.5, -0.75, 3, 1]))
    image.header.set_intent("vector")
    image.to_filename(tmp_path / "a.nii.gz")
    found = find_inputs([tmp_path]).readable
    assert [one.part for one in found] == [1, 2]
    np.testing.assert_array_equal(found[1].read().voxels, 2 * VOXELS)
    assert place(found[1].read(), 1, 1, 3) == [1.5, 0.75, 3]


def test_mgh_is_read_in_its_own_place(tmp_path: Path) -> None:
    affine_ras = np.array([[0, 0.75, 0, -10], [-0.5, 0, 0, -20], [0, 0, 3, 30], [0, 0, 0, 1]])
    stored = VOXELS.transpose(2, 1, 0).astype(np.int32)
    for name in ("a.mgz", "b.mgh"):
        nibabel.MGHImage(stored, affine_ras).to_filename(tmp_path / name)
        volume = read_volume(tmp_path / name)
        np.testing.assert_array_equal(volume.voxels, VOXELS)
        assert (volume.origin, volume.notes) == ("volume", ())
        assert place(volume, 1, 1, 3) == [9.25, 21.5, 33]
    raw = bytearray((tmp_path / "b.mgh").read_bytes())
    raw[28:30] = b"\0\0"  # goodRASFlag
    (tmp_path / "c.mgh").write_bytes(raw)
    assert read_volume(tmp_path / "c.mgh").reading.lacks_orientation


@pytest.mark.parametrize("header", ["a.mhd", "a.nhdr"])
def test_data_beside_its_header_belong_to_it(tmp_path: Path, header: str) -> None:
    if header == "a.mhd":
        write_meta(tmp_path / header, "data/a.raw")
    else:
        write_nrrd(tmp_path / header, more="data file: data/a.raw\n")
    (tmp_path / "data").mkdir()
    assert code_of(tmp_path / header) == "missing-data"
    (tmp_path / "data" / "a.raw").write_bytes(VOXELS.tobytes())
    found = find_inputs([tmp_path])
    (one,) = found.readable
    assert [path.name for path in one.paths] == [header, "a.raw"]
    assert found.failures == ()
    np.testing.assert_array_equal(one.read().voxels, VOXELS)


def test_packed_data_beside_its_header_are_no_archive(tmp_path: Path) -> None:
    image = SimpleITK.GetImageFromArray(VOXELS)
    SimpleITK.WriteImage(image, tmp_path / "a.nhdr", useCompression=True)
    assert (tmp_path / "a.raw.gz").is_file()
    found = find_inputs([tmp_path])
    (one,) = found.readable
    assert [path.name for path in one.paths] == ["a.nhdr", "a.raw.gz"]
    assert found.failures == ()
    np.testing.assert_array_equal(one.read().voxels, VOXELS)


def test_a_list_of_slices_is_read_in_its_order(tmp_path: Path) -> None:
    for index, name in enumerate(("second.raw", "first.raw")):
        (tmp_path / name).write_bytes(VOXELS[1 - index].tobytes())
    write_meta(tmp_path / "a.mhd", "LIST\nfirst.raw\nsecond.raw")
    found = find_inputs([tmp_path])
    assert [len(one.paths) for one in found.readable] == [3]
    np.testing.assert_array_equal(found.readable[0].read().voxels, VOXELS)
    write_meta(tmp_path / "a.mhd", "LIST\nfirst.raw\n../second.raw")
    assert code_of(tmp_path / "a.mhd") == "data-outside"


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("../secret.raw", "data-outside"),
        ("{folder}/secret.raw", "data-outside"),
        ("link.raw", "data-outside"),
        ("linked/secret.raw", "data-outside"),
        ("nowhere.raw", "missing-data"),
        ("x" * 300, "unclear-data"),
        ("slice%03d.raw 1 2 1", "unclear-data"),
        ("%s%s%n", "unclear-data"),
        ("-", "unclear-data"),
    ],
)
@pytest.mark.parametrize("header", ["a.mhd", "a.mha", "a.nhdr", "a.nrrd"])
def test_no_header_leads_out_of_its_folder(
    tmp_path: Path, name: str, code: str, header: str
) -> None:
    (tmp_path / "secret.raw").write_bytes(VOXELS.tobytes())
    folder = tmp_path / "given"
    folder.mkdir()
    (folder / "link.raw").symlink_to(tmp_path / "secret.raw")
    (folder / "linked").symlink_to(tmp_path)
    (folder / "-").write_bytes(VOXELS.tobytes())
    named = name.replace("{folder}", str(tmp_path))
    if header.startswith("a.m"):
        write_meta(folder / header, named)
    else:
        write_nrrd(folder / header, more=f"data file: {named}\n")
    assert code_of(folder / header) == code


@pytest.mark.parametrize(
    "trick",
    [
        "ElementDataFile = LOCAL\nElementDataFile = ../secret.raw",
        "Comment = ElementDataFile = LOCAL\nElementDataFile = ../secret.raw",
        "elementdatafile = a.raw\nElementDataFile = ../secret.raw",
        "ElementDataFile : ../secret.raw",
        "NDims = 73\nElementDataFile = LOCAL",  # ITK would write beyond its memory
        "NDims = 3e9\nElementDataFile = LOCAL",
    ],
)
def test_a_header_that_two_readers_could_take_differently_is_refused(
    tmp_path: Path, trick: str
) -> None:
    (tmp_path / "secret.raw").write_bytes(VOXELS.tobytes())
    (tmp_path / "given").mkdir()
    (tmp_path / "given" / "a.raw").write_bytes(VOXELS.tobytes())
    path = tmp_path / "given" / "a.mhd"
    write_meta(path, header=META.replace("ElementDataFile = {}", trick))
    assert code_of(path) in {"unclear-data", "data-outside"}


def test_the_voxels_of_a_pair_may_be_no_link_out_of_its_folder(tmp_path: Path) -> None:
    nibabel.Nifti1Pair(VOXELS.T, np.eye(4)).to_filename(tmp_path / "a.img")
    folder = tmp_path / "given"
    folder.mkdir()
    (tmp_path / "a.hdr").rename(folder / "a.hdr")
    (folder / "a.img").symlink_to(tmp_path / "a.img")
    assert code_of(folder / "a.hdr") == "data-outside"
    assert codes(find_inputs([folder])) == {"a.hdr": "data-outside", "a.img": "link-outside"}


@pytest.mark.parametrize("kept", [3, 60, 90, -10])
@pytest.mark.parametrize("kind", ["a.mha", "a.nrrd", "a.mgz"])
def test_what_is_cut_short_is_refused_in_silence(
    tmp_path: Path, kind: str, kept: int, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / kind
    match kind:
        case "a.mha":
            write_meta(path)
        case "a.nrrd":
            write_nrrd(path)
        case _:
            nibabel.MGHImage(VOXELS.astype(np.int32), np.eye(4)).to_filename(path)
    path.write_bytes(path.read_bytes()[:kept])
    assert code_of(path) in {"broken-volume", "broken-nifti", "truncated-file", "unclear-data"}
    assert capfd.readouterr() == ("", "")


def test_a_header_cannot_claim_more_than_the_limits(tmp_path: Path) -> None:
    path = write_meta(tmp_path / "a.mha", header=META.replace("4 3 2", "40000 40000 40"))
    assert code_of(path) == "volume-too-large"
    lines = {"NDims": 4, "DimSize": "4 3 2 99", "ElementSpacing": "1 1 1 1", "Offset": "0 0 0 0"}
    header = META.replace("TransformMatrix = 0 1 0 -1 0 0 0 0 1\n", "")
    for key, value in lines.items():
        header = re.sub(rf"{key} = .*", f"{key} = {value}", header)
    many = write_meta(tmp_path / "b.mha", header=header)
    assert code_of(many) == "too-many-time-points"
    assert code_of(tmp_path / "a.mha", ReadLimits(file_bytes=100)) == "file-too-large"


def test_a_long_volume_is_read_by_blocks_or_refused(tmp_path: Path) -> None:
    stored = np.repeat(np.arange(40, dtype=np.int16), 64).reshape(40, 8, 8)
    image = SimpleITK.GetImageFromArray(stored)
    little = ReadLimits(memory_bytes=5000, isolated=False)
    for name in ("a.mha", "b.mhd"):
        SimpleITK.WriteImage(image, tmp_path / name)
        np.testing.assert_array_equal(read_volume(tmp_path / name, limits=little).voxels, stored)
    for name in ("c.mha", "d.nrrd"):  # which ITK can only read as a whole
        SimpleITK.WriteImage(image, tmp_path / name, useCompression=True)
        assert code_of(tmp_path / name, little) == "volume-too-large"
        np.testing.assert_array_equal(read_volume(tmp_path / name).voxels, stored)


@pytest.mark.parametrize(
    "directions", ["(0,0.5,0) (0,0.75,0) (0,0,3)", "(nan,0.5,0) (-0.75,0,0) (0,0,3)"]
)
def test_axes_that_span_no_volume_are_refused(tmp_path: Path, directions: str) -> None:
    path = write_nrrd(tmp_path / "a.nrrd", directions=directions)
    assert code_of(path) in {"bad-affine", "broken-volume"}


@pytest.mark.parametrize("name", ["a.mha", "a.mhd", "a.nrrd", "a.nhdr", "packed.mha"])
@pytest.mark.parametrize("seed", range(4))
def test_any_place_is_the_one_that_simpleitk_gives(tmp_path: Path, name: str, seed: int) -> None:
    chance = np.random.default_rng(seed)
    axes, _ = np.linalg.qr(chance.normal(size=(3, 3)))
    stored = chance.integers(-1000, 1000, (4, 3, 5)).astype(np.int16)
    image = SimpleITK.GetImageFromArray(stored)
    image.SetDirection(axes.ravel())
    image.SetSpacing(chance.uniform(0.3, 5, 3))
    image.SetOrigin(chance.uniform(-200, 200, 3))
    SimpleITK.WriteImage(image, tmp_path / name, useCompression=name.startswith("packed"))
    volume = read_volume(tmp_path / name)
    np.testing.assert_array_equal(volume.voxels, stored)
    for index in ((0, 0, 0), (3, 2, 4), (1, 2, 0)):
        there = image.TransformIndexToPhysicalPoint(index[::-1])
        np.testing.assert_allclose(place(volume, *index), there, atol=1e-5)
