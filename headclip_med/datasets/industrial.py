"""The industrial sets: the seven of HeadCLIP's evaluation (section 4.1), and one more.

Counts of the test images are those that the evaluation used. Licences are given as far as they are
known, "not stated" where none is; the source page decides.
"""

from __future__ import annotations

from functools import partial

from headclip_med.datasets.layouts import (
    JPEG_MASK_ABOVE,
    MVTEC,
    KnownSet,
    LabelFile,
    Layout,
    Splits,
)

_industrial = partial(KnownSet, domain="industrial")
_DAGM_SPLITS: Splits = (("Train", "train"), ("Test", "test"))

INDUSTRIAL_SETS = (
    _industrial(
        "MVTecAD",
        "MVTec Anomaly Detection",
        (MVTEC,),
        licence="CC BY-NC-SA 4.0",
        source="https://www.mvtec.com/company/research/datasets/mvtec-ad",
        categories=(
            "bottle", "cable", "capsule", "carpet", "grid", "hazelnut", "leather", "metal_nut",
            "pill", "screw", "tile", "toothbrush", "transistor", "wood", "zipper",
        ),
        test=(467, 1258),
        train=(3629, 0),
        aliases=("MVTec", "MVTec AD", "mvtec_anomaly_detection"),
    ),
    _industrial(
        "VisA",
        "Visual Anomaly",
        (
            Layout(
                "{category}/Data/Images/{kind}/{stem}",
                masks=("{category}/Data/Masks/Anomaly/{stem}",),
                normal=("Normal",),
                abnormal=("Anomaly",),
                table=LabelFile(
                    ("split_csv/1cls.csv",),
                    key="{category}/Data/Images/{kind}/{stem}",
                    key_column=3,
                    split_column=1,
                ),
            ),
            MVTEC,  # as the set's own script prepare_data.py rearranges it
        ),
        licence="CC BY 4.0",
        source="https://github.com/amazon-science/spot-diff",
        categories=(
            "candle", "capsules", "cashew", "chewinggum", "fryum", "macaroni1", "macaroni2",
            "pcb1", "pcb2", "pcb3", "pcb4", "pipe_fryum",
        ),
        test=(962, 1200),
        train=(8659, 0),
        aliases=("VisA_20220922", "visa_pytorch"),
        note="Mask values are codes of defects: every value above 0 counts.",
    ),
    _industrial(
        "MPDD",
        "Metal Parts Defect Detection",
        (MVTEC,),
        licence="CC BY-NC-SA 4.0",
        source="https://github.com/stepanje/MPDD",
        categories=(
            "bracket_black", "bracket_brown", "bracket_white", "connector", "metal_plate", "tubes",
        ),
        test=(176, 282),
        train=(888, 0),
    ),
    _industrial(
        "BTAD",
        "beanTech Anomaly Detection",
        (MVTEC,),
        licence="CC BY-NC-SA 4.0",
        source="http://avires.dimi.uniud.it/papers/btad/btad.zip",
        categories=("01", "02", "03"),
        test=(451, 290),
        train=(1799, 0),
        aliases=("BTech_Dataset_transformed", "BTech"),
        note="Normal images are called ok; masks are .png or .bmp.",
    ),
    _industrial(
        "SDD",
        "Kolektor Surface-Defect Dataset",
        (
            MVTEC,
            Layout("kos{item}/{stem}", masks=("kos{item}/{stem}_label",), test=(347, 52)),
        ),
        licence="CC BY-NC-SA 4.0",
        source="https://www.vicos.si/resources/kolektorsdd/",
        category="electrical commutators",
        categories=("electrical commutators",),
        test=(181, 74),
        aliases=("KolektorSDD", "KSDD", "KolektorSDD-boxes", "SDD_anomaly_detection"),
        note=(
            "The evaluation used a rearranged copy (181 normal, 74 abnormal). The set as published "
            "has 399 larger images, all taken for testing here: results are not comparable."
        ),
    ),
    _industrial(
        "DAGM",
        "DAGM 2007 optical inspection",
        tuple(
            Layout(
                f"{folder}/{{split}}/{{stem}}",
                masks=(f"{folder}/{{split}}/Label/{{stem}}_label",),
                splits=_DAGM_SPLITS,
                table=LabelFile(
                    (f"{folder}/{{split}}/Label/Labels.txt",),
                    key="{stem}",
                    key_column=2,
                    label_column=1,
                    separator=None,
                ),
            )
            for folder in ("{category}", "{category}/{category}")
        ),
        source=(
            "https://www.kaggle.com/datasets/mhskjelvareid/"
            "dagm-2007-competition-dataset-optical-inspection"
        ),
        categories=tuple(f"Class{number}" for number in range(1, 11)),
        test=(6996, 1054),
        train=(7004, 1046),
        aliases=("DAGM2007", "DAGM_KaggleUpload"),
        note="Artificial textures; a mask is an ellipse around the defect. Train/ has defects too.",
    ),
    _industrial(
        "DTD-Synthetic",
        "Describable Textures with synthetic defects",
        (MVTEC,),
        licence="not stated; textures from DTD, for research",
        source="https://drive.google.com/drive/folders/10OyPzvI3H6llCZBxKxFlKWt1Pw1tkMK1",
        categories=(
            "Blotchy_099", "Fibrous_183", "Marbled_078", "Matted_069", "Mesh_114",
            "Perforated_037", "Stratified_154", "Woven_001", "Woven_068", "Woven_104",
            "Woven_125", "Woven_127",
        ),
        test=(357, 947),
        train=(1200, 0),
    ),
    _industrial(
        "Magnetic-Tile",
        "Magnetic tile surface defects",
        tuple(
            Layout(
                f"{{kind}}/{inner}{{stem}}.jpg",
                masks=(f"{{kind}}/{inner}{{stem}}.png",),
                normal=("MT_Free",),
                abnormal=("MT_Blowhole", "MT_Break", "MT_Crack", "MT_Fray", "MT_Uneven"),
                mask_above=JPEG_MASK_ABOVE,  # its .png masks were made from blurred ones
            )
            for inner in ("Imgs/", "")
        ),
        source="https://github.com/abin24/Magnetic-tile-defect-datasets.",
        category="magnetic tile",
        test=(952, 392),
        aliases=("Magnetic-tile-defect-datasets.",),
        note="Masks lie beside the images, as .png beside .jpg.",
    ),
)  # fmt: skip
