"""Tiny copies of public sets, every file written down by hand as the set's own pages have it.

Nothing here is taken from the package's list of sets: a line says where an image lies, where its
mask, what its label is (``?``: only the mask tells), its split and its category.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

ROWS, COLUMNS = 12, 16  # unequal on purpose


@dataclass(frozen=True)
class Line:
    """One image of a set, paths from the set's folder."""

    image: str
    mask: str
    label: int | None
    split: str
    category: str


@dataclass(frozen=True)
class Copy:
    """A copy to be written: what belongs to the set, and what merely lies there."""

    name: str
    text: str
    files: dict[str, str] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()
    black_masks: tuple[str, ...] = ()

    @property
    def lines(self) -> list[Line]:
        found = []
        for text in self.text.strip().splitlines():
            image, mask, label, split, category = (part.strip() for part in text.split("|"))
            found.append(Line(image, mask, None if label == "?" else int(label), split, category))
        return found

    def write(self, root: Path) -> Path:
        for line in self.lines:
            write_image(root / line.image)
            if line.mask:
                write_mask(root / line.mask, black=line.mask in self.black_masks)
        for path in self.ignored:
            write_image(root / path)
        for name, text in self.files.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)
        return root


def write_image(path: Path) -> Path:
    """A picture of its own for every path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(zlib.crc32("/".join(path.parts[-4:]).encode()))
    shades = random.integers(0, 255, (ROWS, COLUMNS), dtype=np.uint8)
    Image.fromarray(shades).save(path)
    return path


def write_mask(path: Path, *, black: bool = False, value: int = 255) -> Path:
    """A block of 8 x 8 pixels, at the edges of the blocks that JPEG works in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    marked = np.zeros((ROWS, COLUMNS), dtype=np.uint8)
    if not black:
        marked[:8, 8:] = value
    Image.fromarray(marked).save(path)
    return path


MVTEC_AD = Copy(
    "MVTecAD",
    """
    bottle/train/good/000.png | | 0 | train | bottle
    bottle/train/good/001.png | | 0 | train | bottle
    bottle/test/broken_large/000.png | bottle/ground_truth/broken_large/000_mask.png | 1 | test | bottle
    bottle/test/broken_large/001.png | bottle/ground_truth/broken_large/001_mask.png | 1 | test | bottle
    bottle/test/good/000.png | | 0 | test | bottle
    metal_nut/train/good/000.png | | 0 | train | metal_nut
    metal_nut/test/flip/000.png | metal_nut/ground_truth/flip/000_mask.png | 1 | test | metal_nut
    metal_nut/test/good/000.png | | 0 | test | metal_nut
    """,  # noqa: E501
    files={"license.txt": "", "readme.txt": "", "bottle/readme.txt": ""},
)
VISA = Copy(
    "VisA",
    """
    candle/Data/Images/Normal/0000.JPG | | 0 | train | candle
    candle/Data/Images/Normal/0001.JPG | | 0 | test | candle
    candle/Data/Images/Anomaly/000.JPG | candle/Data/Masks/Anomaly/000.png | 1 | test | candle
    pipe_fryum/Data/Images/Normal/0000.JPG | | 0 | train | pipe_fryum
    pipe_fryum/Data/Images/Normal/0002.JPG | | 0 | test | pipe_fryum
    pipe_fryum/Data/Images/Anomaly/000.JPG | pipe_fryum/Data/Masks/Anomaly/000.png | 1 | test | pipe_fryum
    pipe_fryum/Data/Images/Anomaly/001.JPG | pipe_fryum/Data/Masks/Anomaly/001.png | 1 | test | pipe_fryum
    """,  # noqa: E501
    files={
        "split_csv/1cls.csv": (
            "object,split,label,image,mask\n"
            "candle,train,normal,candle/Data/Images/Normal/0000.JPG,\n"
            "candle,test,normal,candle/Data/Images/Normal/0001.JPG,\n"
            "candle,test,anomaly,candle/Data/Images/Anomaly/000.JPG,"
            "candle/Data/Masks/Anomaly/000.png\n"
            "pcb1,test,normal,pcb1/Data/Images/Normal/0000.JPG,\n"  # a category not fetched
            "pipe_fryum,train,normal,pipe_fryum/Data/Images/Normal/0000.JPG,\n"
            "pipe_fryum,test,normal,pipe_fryum/Data/Images/Normal/0002.JPG,\n"
            "pipe_fryum,test,anomaly,pipe_fryum/Data/Images/Anomaly/000.JPG,"
            "pipe_fryum/Data/Masks/Anomaly/000.png\n"
            "pipe_fryum,test,anomaly,pipe_fryum/Data/Images/Anomaly/001.JPG,"
            "pipe_fryum/Data/Masks/Anomaly/001.png\n"
        ),
        "split_csv/2cls_fewshot.csv": "object,split,label,image,mask\n",
        "candle/image_anno.csv": "image,label,mask\n",
    },
)
VISA_REARRANGED = Copy(
    "VisA",
    """
    1cls/candle/train/good/0000.JPG | | 0 | train | candle
    1cls/candle/test/good/0001.JPG | | 0 | test | candle
    1cls/candle/test/bad/000.JPG | 1cls/candle/ground_truth/bad/000.png | 1 | test | candle
    """,
)
MPDD = Copy(
    "MPDD",
    """
    bracket_black/train/good/000.png | | 0 | train | bracket_black
    bracket_black/test/hole/000.png | bracket_black/ground_truth/hole/000_mask.png | 1 | test | bracket_black
    bracket_black/test/scratches/000.png | bracket_black/ground_truth/scratches/000_mask.png | 1 | test | bracket_black
    bracket_black/test/good/000.png | | 0 | test | bracket_black
    tubes/train/good/000.png | | 0 | train | tubes
    tubes/test/anomalous/000.png | tubes/ground_truth/anomalous/000_mask.png | 1 | test | tubes
    tubes/test/good/000.png | | 0 | test | tubes
    """,  # noqa: E501
)
BTAD = Copy(
    "BTAD",
    """
    01/train/ok/0000.bmp | | 0 | train | 01
    01/test/ok/0000.bmp | | 0 | test | 01
    01/test/ko/0000.bmp | 01/ground_truth/ko/0000.png | 1 | test | 01
    02/train/ok/0000.png | | 0 | train | 02
    02/test/ok/0001.png | | 0 | test | 02
    02/test/ko/0000.png | 02/ground_truth/ko/0000.png | 1 | test | 02
    03/train/ok/0000.bmp | | 0 | train | 03
    03/test/ok/0000.bmp | | 0 | test | 03
    03/test/ko/0000.bmp | 03/ground_truth/ko/0000.bmp | 1 | test | 03
    """,
)
SDD = Copy(
    "SDD",
    """
    electrical commutators/train/good/kos01_Part0.png | | 0 | train | electrical commutators
    electrical commutators/test/good/kos02_Part0.png | | 0 | test | electrical commutators
    electrical commutators/test/defect/kos01_Part5.png | electrical commutators/ground_truth/defect/kos01_Part5.png | 1 | test | electrical commutators
    """,  # noqa: E501
)
SDD_AS_PUBLISHED = Copy(
    "SDD",
    """
    kos01/Part0.jpg | kos01/Part0_label.bmp | ? | test | electrical commutators
    kos01/Part5.jpg | kos01/Part5_label.bmp | ? | test | electrical commutators
    kos02/Part0.jpg | kos02/Part0_label.bmp | ? | test | electrical commutators
    """,
    black_masks=("kos01/Part0_label.bmp", "kos02/Part0_label.bmp"),
)
DAGM = Copy(
    "DAGM",
    """
    Class1/Train/0576.PNG | | 0 | train | Class1
    Class1/Train/0577.PNG | Class1/Train/Label/0577_label.PNG | 1 | train | Class1
    Class1/Test/0001.PNG | | 0 | test | Class1
    Class1/Test/0002.PNG | Class1/Test/Label/0002_label.PNG | 1 | test | Class1
    Class10/Train/1151.PNG | | 0 | train | Class10
    Class10/Test/0001.PNG | | 0 | test | Class10
    Class10/Test/0003.PNG | Class10/Test/Label/0003_label.PNG | 1 | test | Class10
    """,
    files={
        "Class1/Train/Label/Labels.txt": (
            "1\n576\t0\t0576.PNG\t0\t0\n577\t1\t0577.PNG\t0\t0577_label.PNG\n"
        ),
        "Class1/Test/Label/Labels.txt": (
            "1\n1\t0\t0001.PNG\t0\t0\n2\t1\t0002.PNG\t0\t0002_label.PNG\n"
        ),
        "Class10/Train/Label/Labels.txt": "1\n1151\t0\t1151.PNG\t0\t0\n",
        "Class10/Test/Label/Labels.txt": (
            "1\n1\t0\t0001.PNG\t0\t0\n3\t1\t0003.PNG\t0\t0003_label.PNG\n"
        ),
    },
)
DTD_SYNTHETIC = Copy(
    "DTD-Synthetic",
    """
    Blotchy_099/train/good/000.png | | 0 | train | Blotchy_099
    Blotchy_099/test/good/000.png | | 0 | test | Blotchy_099
    Blotchy_099/test/bad/000.png | Blotchy_099/ground_truth/bad/000_mask.png | 1 | test | Blotchy_099
    Woven_127/train/good/000.png | | 0 | train | Woven_127
    Woven_127/test/good/000.png | | 0 | test | Woven_127
    Woven_127/test/bad/001.png | Woven_127/ground_truth/bad/001_mask.png | 1 | test | Woven_127
    """,  # noqa: E501
)
ISIC = Copy(
    "ISIC",
    """
    ISBI2016_ISIC_Part1_Test_Data/ISIC_0000003.jpg | ISBI2016_ISIC_Part1_Test_GroundTruth/ISIC_0000003_Segmentation.png | 1 | test | skin
    ISBI2016_ISIC_Part1_Test_Data/ISIC_0000012.jpg | ISBI2016_ISIC_Part1_Test_GroundTruth/ISIC_0000012_Segmentation.png | 1 | test | skin
    """,  # noqa: E501
)
ISIC_REARRANGED = Copy(
    "ISIC",
    """
    skin/test/bad/ISIC_0000003.jpg | skin/ISBI2016_ISIC_Part1_Test_GroundTruth/ISIC_0000003_Segmentation.png | 1 | test | skin
    """,  # noqa: E501
)
CLINIC_DB = Copy(
    "CVC-ClinicDB",
    """
    images/1.png | masks/1.png | 1 | test | colon
    images/10.png | masks/10.png | 1 | test | colon
    images/2.png | masks/2.png | 1 | test | colon
    """,
)
CLINIC_DB_AS_PUBLISHED = Copy(
    "CVC-ClinicDB",
    """
    Original/1.tif | Ground Truth/1.tif | 1 | test | colon
    Original/2.tif | Ground Truth/2.tif | 1 | test | colon
    """,
)
COLON_DB = Copy(
    "CVC-ColonDB",
    """
    images/1.png | masks/1.png | 1 | test | colon
    images/380.png | masks/380.png | 1 | test | colon
    """,
)
KVASIR = Copy(
    "Kvasir",
    """
    images/cju0qkwl35piu0993l0dewei2.jpg | masks/cju0qkwl35piu0993l0dewei2.jpg | 1 | test | colon
    images/cju0qoxqj9q6s0835b43399p4.jpg | masks/cju0qoxqj9q6s0835b43399p4.jpg | 1 | test | colon
    """,
    files={"kavsir_bboxes.json": "{}"},
)
ENDOTECT = Copy(
    "EndoTect",
    """
    images/a1.jpg | masks/a1.jpg | 1 | test | colon
    images/b2.jpg | masks/b2.jpg | 1 | test | colon
    """,
)
TN3K = Copy(
    "TN3K",
    """
    trainval-image/0000.jpg | trainval-mask/0000.jpg | 1 | train | thyroid
    test-image/0000.jpg | test-mask/0000.jpg | 1 | test | thyroid
    test-image/0001.jpg | test-mask/0001.jpg | 1 | test | thyroid
    """,
    files={"tn3k-trainval-fold0.json": "{}"},
)
HEAD_CT = Copy(
    "HeadCT",
    """
    head_ct/head_ct/000.png | | 1 | test | brain
    head_ct/head_ct/001.png | | 1 | test | brain
    head_ct/head_ct/100.png | | 0 | test | brain
    """,
    files={"labels.csv": "id, hemorrhage\n0, 1\n1, 1\n100, 0\n"},
)
HEAD_CT_REARRANGED = Copy(
    "HeadCT",
    """
    brain/test/good/100.png | | 0 | test | brain
    brain/test/hemorrhage/000.png | | 1 | test | brain
    """,
)
BRAIN_MRI = Copy(
    "BrainMRI",
    """
    no/1 no.jpeg | | 0 | test | brain
    no/N1.JPG | | 0 | test | brain
    yes/Y1.jpg | | 1 | test | brain
    """,
    ignored=("brain_tumor_dataset/no/1 no.jpeg", "brain_tumor_dataset/yes/Y1.jpg"),
)
BR35H = Copy(
    "Br35H",
    """
    no/no0.jpg | | 0 | test | brain
    yes/y0.jpg | | 1 | test | brain
    yes/y1.jpg | | 1 | test | brain
    """,
    ignored=("pred/pred0.jpg", "Br35H-Mask-RCNN/TRAIN/y0.jpg"),
)
COVID_19 = Copy(
    "COVID-19",
    """
    COVID-19/COVID-19 (1).png | | 1 | test | chest
    NORMAL/NORMAL (1).png | | 0 | test | chest
    NORMAL/NORMAL (2).png | | 0 | test | chest
    """,
    files={"NORMAL.metadata.xlsx": "", "README.md.txt": ""},
    ignored=("Viral Pneumonia/Viral Pneumonia (1).png",),
)
COVID_19_LATER = Copy(
    "COVID-19",
    """
    COVID/images/COVID-1.png | | 1 | test | chest
    Normal/images/Normal-1.png | | 0 | test | chest
    """,
    ignored=("COVID/masks/COVID-1.png", "Lung_Opacity/images/Lung_Opacity-1.png"),
)
BUSI = Copy(
    "BUSI",
    """
    benign/benign (1).png | benign/benign (1)_mask.png | 1 | test | breast
    benign/benign (4).png | benign/benign (4)_mask.png | 1 | test | breast
    malignant/malignant (1).png | malignant/malignant (1)_mask.png | 1 | test | breast
    normal/normal (1).png | | 0 | test | breast
    """,
    ignored=("normal/normal (1)_mask.png",),
)
DDTI = Copy(
    "DDTI",
    """
    images/100_1(1).png | masks/100_1(1).gif | 1 | test | thyroid
    images/100_1.png | masks/100_1.gif | 1 | test | thyroid
    """,
)
MAGNETIC_TILE = Copy(
    "Magnetic-Tile",
    """
    MT_Free/Imgs/exp1_num_1.jpg | | 0 | test | magnetic tile
    MT_Blowhole/Imgs/exp1_num_2.jpg | MT_Blowhole/Imgs/exp1_num_2.png | 1 | test | magnetic tile
    MT_Break/Imgs/exp1_num_3.jpg | MT_Break/Imgs/exp1_num_3.png | 1 | test | magnetic tile
    MT_Crack/Imgs/exp1_num_4.jpg | MT_Crack/Imgs/exp1_num_4.png | 1 | test | magnetic tile
    MT_Fray/Imgs/exp1_num_5.jpg | MT_Fray/Imgs/exp1_num_5.png | 1 | test | magnetic tile
    MT_Uneven/Imgs/exp1_num_6.jpg | MT_Uneven/Imgs/exp1_num_6.png | 1 | test | magnetic tile
    """,
    ignored=("MT_Free/Imgs/exp1_num_1.png",),
)

MVTEC_LOCO = Copy(
    "MVTecLOCO",
    """
    juice_bottle/train/good/000.png | | 0 | train | juice_bottle
    juice_bottle/validation/good/000.png | | 0 | train | juice_bottle
    juice_bottle/test/good/000.png | | 0 | test | juice_bottle
    juice_bottle/test/logical_anomalies/000.png | juice_bottle/ground_truth/logical_anomalies/000/000.png | 1 | test | juice_bottle
    juice_bottle/test/structural_anomalies/000.png | juice_bottle/ground_truth/structural_anomalies/000/000.png | 1 | test | juice_bottle
    pushpins/train/good/000.png | | 0 | train | pushpins
    pushpins/validation/good/000.png | | 0 | train | pushpins
    pushpins/test/good/000.png | | 0 | test | pushpins
    pushpins/test/logical_anomalies/000.png | pushpins/ground_truth/logical_anomalies/000/000.png | 1 | test | pushpins
    """,  # noqa: E501
    files={
        "juice_bottle/defects_config.json": '[{"defect_name": "missing_fruit_icon", '
        '"pixel_value": 255, "saturation_threshold": 0.3, "relative_saturation": true}]',
        "readme.txt": "",
    },
)
MVTEC_AD_2 = Copy(
    "MVTecAD2",
    """
    can/train/good/000_regular.png | | 0 | train | can
    can/validation/good/000_regular.png | | 0 | train | can
    can/test_public/good/000_regular.png | | 0 | test | can
    can/test_public/good/000_overexposed.png | | 0 | test | can
    can/test_public/bad/000_regular.png | can/test_public/ground_truth/bad/000_regular_mask.png | 1 | test | can
    vial/train/good/000_regular.png | | 0 | train | vial
    vial/validation/good/000_regular.png | | 0 | train | vial
    vial/test_public/good/000_regular.png | | 0 | test | vial
    vial/test_public/bad/001_shift_1.png | vial/test_public/ground_truth/bad/001_shift_1_mask.png | 1 | test | vial
    """,  # noqa: E501
    ignored=("can/test_private/000_regular.png", "can/test_private_mixed/000_mixed.png"),
)
KOLEKTOR_SDD2 = Copy(
    "KolektorSDD2",
    """
    train/10000.png | train/10000_GT.png | ? | train | surface
    train/10001.png | train/10001_GT.png | ? | train | surface
    test/20000.png | test/20000_GT.png | ? | test | surface
    test/20001.png | test/20001_GT.png | ? | test | surface
    """,
    black_masks=("train/10000_GT.png", "test/20000_GT.png"),
)
BMAD_BRAIN = Copy(
    "BMAD-Brain",
    """
    Brain_AD/valid/good/img/00001_60.png | | 0 | train | brain
    Brain_AD/valid/Ungood/img/00002_80.png | Brain_AD/valid/Ungood/label/00002_80.png | 1 | train | brain
    Brain_AD/test/good/img/00003_60.png | | 0 | test | brain
    Brain_AD/test/Ungood/img/00004_80.png | Brain_AD/test/Ungood/label/00004_80.png | 1 | test | brain
    Brain_AD/test/Ungood/img/00005_80.png | Brain_AD/test/Ungood/label/00005_80.png | 1 | test | brain
    """,  # noqa: E501
    ignored=("Brain_AD/train/good/00000_60.png",),
)
BMAD_LIVER = Copy(
    "BMAD-Liver",
    """
    valid/good/img/1.png | | 0 | train | liver
    valid/Ungood/img/2.png | valid/Ungood/label/2.png | 1 | train | liver
    test/good/img/3.png | | 0 | test | liver
    test/Ungood/img/4.png | test/Ungood/label/4.png | 1 | test | liver
    """,
)
BMAD_RESC = Copy(
    "BMAD-RESC",
    """
    valid/good/img/PIC01_1.png | | 0 | train | retina
    valid/Ungood/img/PIC02_1.png | valid/Ungood/label/PIC02_1.png | 1 | train | retina
    test/good/img/PIC03_1.png | | 0 | test | retina
    test/Ungood/img/PIC04_1.png | test/Ungood/label/PIC04_1.png | 1 | test | retina
    """,
)
BMAD_OCT2017 = Copy(
    "BMAD-OCT2017",
    """
    train/good/NORMAL-1.jpeg | | 0 | train | retina
    valid/good/NORMAL-2.jpeg | | 0 | train | retina
    valid/Ungood/CNV-1.jpeg | | 1 | train | retina
    test/good/NORMAL-3.jpeg | | 0 | test | retina
    test/Ungood/DRUSEN-1.jpeg | | 1 | test | retina
    """,
)
BMAD_CHEST = Copy(
    "BMAD-Chest",
    """
    train/good/a.png | | 0 | train | chest
    valid/good/b.png | | 0 | train | chest
    valid/Ungood/c.png | | 1 | train | chest
    test/good/d.png | | 0 | test | chest
    test/Ungood/e.png | | 1 | test | chest
    """,
)
BMAD_HISTOPATHOLOGY = Copy(
    "BMAD-Histopathology",
    """
    train/good/img/a.png | | 0 | train | tissue
    valid/good/img/b.png | | 0 | train | tissue
    valid/Ungood/img/c.png | | 1 | train | tissue
    test/good/img/d.png | | 0 | test | tissue
    test/Ungood/img/e.png | | 1 | test | tissue
    """,
)
SEVENTEEN = (
    MVTEC_AD, VISA, MPDD, BTAD, SDD, DAGM, DTD_SYNTHETIC,
    ISIC, CLINIC_DB, COLON_DB, KVASIR, ENDOTECT, TN3K, HEAD_CT, BRAIN_MRI, BR35H, COVID_19,
)  # fmt: skip
OTHERS = (
    VISA_REARRANGED, SDD_AS_PUBLISHED, ISIC_REARRANGED, CLINIC_DB_AS_PUBLISHED,
    HEAD_CT_REARRANGED, COVID_19_LATER, BUSI, DDTI, MAGNETIC_TILE,
    MVTEC_LOCO, MVTEC_AD_2, KOLEKTOR_SDD2,
    BMAD_BRAIN, BMAD_LIVER, BMAD_RESC, BMAD_OCT2017, BMAD_CHEST, BMAD_HISTOPATHOLOGY,
)  # fmt: skip
