"""The medical sets: the ten of HeadCLIP's evaluation (section 4.1), and four more.

Counts of the test images are those that the evaluation used. Licences are given as far as they are
known, "not stated" where none is; the source page decides.
"""

from __future__ import annotations

from functools import partial

from headclip_med.datasets.layouts import (
    IMAGES_AND_MASKS,
    NORMAL_NAMES,
    KnownSet,
    LabelFile,
    Layout,
    Splits,
)

_TN3K_SPLITS: Splits = (("trainval", "train"), ("test", "test"))
_POLYPS = "https://figshare.com/articles/figure/Polyp_DataSet_zip/21221579"
_KAGGLE = "https://www.kaggle.com/datasets/"
_NUMBERED = "{stem}"
_polyps = partial(KnownSet, layouts=(IMAGES_AND_MASKS,), category="colon", modality="ES")
_BUSI_KINDS = ("normal",), ("benign", "malignant")

MEDICAL_SETS = (
    KnownSet(
        "ISIC",
        "ISIC 2016 skin lesions, part 1, test",
        (
            Layout(
                "ISBI2016_ISIC_Part1_Test_Data/{stem}",
                masks=("ISBI2016_ISIC_Part1_Test_GroundTruth/{stem}_Segmentation",),
                label=1,
            ),
            Layout(
                "test/{kind}/{stem}",
                masks=("ISBI2016_ISIC_Part1_Test_GroundTruth/{stem}_Segmentation",),
                normal=("good",),
            ),
            IMAGES_AND_MASKS,
        ),
        licence="CC0",
        source="https://challenge.isic-archive.com/data/#2016",
        category="skin",
        modality="XC",
        test=(0, 379),
        aliases=("ISIC2016", "ISBI", "ISBI2016"),
    ),
    _polyps(
        "CVC-ClinicDB",
        "CVC-ClinicDB polyps",
        layouts=(
            IMAGES_AND_MASKS,
            Layout("Original/{stem}", masks=("Ground Truth/{stem}",), label=1),
        ),
        licence="research and teaching only",
        source=_POLYPS,
        test=(0, 612),
        aliases=("ClinicDB",),
    ),
    _polyps(
        "CVC-ColonDB",
        "CVC-ColonDB polyps",
        licence="research only",
        source=_POLYPS,
        test=(0, 380),
        aliases=("ColonDB",),
    ),
    _polyps(
        "Kvasir",
        "Kvasir-SEG polyps",
        licence="research and teaching only",
        source="https://datasets.simula.no/kvasir-seg/",
        test=(0, 1000),
        aliases=("Kvasir-SEG", "KvasirSEG"),
        note="Masks are JPEG, cut at 127.",
    ),
    _polyps(
        "EndoTect",
        "EndoTect 2020 polyps, test",
        licence="not stated; its development data are CC BY 4.0",
        source="https://endotect.com",
        test=(0, 200),
        aliases=("Endo", "EndoTect_2020_Segmentation_Test_Dataset"),
    ),
    KnownSet(
        "TN3K",
        "Thyroid nodules, ultrasound",
        (
            Layout(
                "{split}-image/{stem}",
                masks=("{split}-mask/{stem}",),
                splits=_TN3K_SPLITS,
                label=1,
            ),
        ),
        source="https://github.com/haifangong/TRFE-Net-for-thyroid-nodule-segmentation",
        category="thyroid",
        modality="US",
        test=(0, 614),
        train=(0, 2879),
        note="Masks are JPEG, cut at 127.",
    ),
    KnownSet(
        "HeadCT",
        "Head CT, haemorrhage",
        (
            Layout(
                _NUMBERED,
                table=LabelFile(
                    ("labels.csv", "../labels.csv", "../../labels.csv"),
                    key="{stem}",
                    key_column=0,
                    label_column=1,
                ),
            ),
            # As published, 000 to 099 show a haemorrhage and 100 to 199 do not.
            Layout(_NUMBERED, numbers=(range(100, 200), range(100))),
            Layout("test/{kind}/{stem}", normal=NORMAL_NAMES),
        ),
        source=f"{_KAGGLE}felipekitamura/head-ct-hemorrhage",
        category="brain",
        modality="CT",
        test=(100, 100),
        aliases=("head_ct", "HeadCT_anomaly_detection"),
    ),
    KnownSet(
        "BrainMRI",
        "Brain MRI, tumour",
        (Layout("{kind}/{stem}", normal=("no",), abnormal=("yes",)),),
        source=f"{_KAGGLE}navoneel/brain-mri-images-for-brain-tumor-detection",
        category="brain",
        modality="MR",
        test=(98, 155),
        aliases=("brain_tumor_dataset",),
        note="The download holds every image twice; only one copy is read.",
    ),
    KnownSet(
        "Br35H",
        "Br35H brain MRI, tumour",
        (Layout("{kind}/{stem}", normal=("no",), abnormal=("yes",)),),
        source=f"{_KAGGLE}ahmedhamada0/brain-tumor-detection",
        category="brain",
        modality="MR",
        test=(1500, 1500),
        note="pred/ has no labels and is not read.",
    ),
    KnownSet(
        "COVID-19",
        "COVID-19 radiography, first release",
        (
            Layout("{kind}/{stem}", normal=("NORMAL",), abnormal=("COVID-19",)),
            Layout("{kind}/{stem}", normal=("NORMAL",), abnormal=("COVID",)),
            Layout("{kind}/images/{stem}", normal=("Normal",), abnormal=("COVID",)),
        ),
        source=f"{_KAGGLE}tawsifurrahman/covid19-radiography-database",
        category="chest",
        modality="DX",
        test=(1341, 219),
        aliases=("COVID-19 Radiography Database", "COVID-19_Radiography_Dataset"),
        note="Other pneumonias are not read. Later releases hold more images: not comparable.",
    ),
    KnownSet(
        "COVID",
        "COVID-19 image data, small",
        (Layout("{kind}/{stem}", normal=("normal",), abnormal=("covid", "viral_pneumonia")),),
        source=f"{_KAGGLE}pranavraikokte/covid19-image-dataset",
        category="chest",
        modality="DX",
        note="Viral pneumonia counts as abnormal.",
    ),
    KnownSet(
        "ISIC2017",
        "ISIC 2017 skin lesions, small copy",
        (
            Layout(
                "images/{part}_imgx{number}",
                masks=tuple(
                    f"masks/{{part}}_imgy{{number}}{end}" for end in ("", "_mask", "_segmentation")
                ),
                label=1,
            ),
        ),
        licence="ISIC terms of use",
        source="https://challenge.isic-archive.com/data/#2017",
        category="skin",
        modality="XC",
        test=(0, 2750),
        note="256 x 192 px; masks are JPEG, cut at 127.",
    ),
    KnownSet(
        "DDTI",
        "Thyroid nodules, ultrasound, cropped",
        (IMAGES_AND_MASKS,),
        source="https://github.com/xuao575/DDTI_preprocessing",
        category="thyroid",
        modality="US",
        aliases=("DDTI_thyroid",),
    ),
    KnownSet(
        "BUSI",
        "Breast ultrasound images",
        (
            Layout(
                "{kind}/{stem}",
                ("{kind}/{stem}_mask",),
                ("{kind}/{stem}_mask_{number}",),
                *_BUSI_KINDS,
            ),
            Layout("{kind}/{stem}", (), (), *_BUSI_KINDS),
        ),
        source="https://scholar.cu.edu.eg/?q=afahmy/pages/dataset",
        category="breast",
        modality="US",
        test=(133, 647),
        aliases=("Dataset_BUSI_with_GT", "Dataset_BUSI"),
        note="Some images have several masks, which are joined. Copies without masks: image level.",
    ),
)
