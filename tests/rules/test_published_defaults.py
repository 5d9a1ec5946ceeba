"""Every default that the paper, or the code it builds on, gives: changing one is a decision."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest
import torch

from headclip_med.metrics import exact, paper
from headclip_med.models import maps
from headclip_med.models.adaclip import fusion
from headclip_med.models.anomalyclip.model import chosen_layers as anomalyclip_layers
from headclip_med.models.anomalyclip.settings import AnomalyClipSettings
from headclip_med.models.anovl import adaptation, views
from headclip_med.models.anovl import model as anovl
from headclip_med.models.clip import prompts
from headclip_med.models.clip.vision import default_image_size, quarter_layers
from headclip_med.models.headclip.model import chosen_layers as headclip_layers
from headclip_med.models.headclip.settings import HeadClipSettings
from headclip_med.models.registry import METHODS, learning_of
from headclip_med.models.winclip import model as winclip
from headclip_med.settings import SIGMA_REFERENCE_PX, ScoreSettings, TrainSettings
from headclip_med.training import losses
from tests import tiny

ADAPTED = "HeadCLIP, implementation details"
ANOMALYCLIP = "zqhang/AnomalyCLIP, train.py, test.py and prompt_ensemble.py"
ADACLIP = "caoyunkang/AdaCLIP, train.py and method/trainer.py"
ANOVL = "hq-deng/AnoVL, test.py"
ANOMALIB = "open-edge-platform/anomalib, WinCLIP"
SILENT = "chosen where the paper is silent"

_PROMPTS = {
    "context_tokens": (12, f"E = 12: {ADAPTED}"),
    "deep_tokens": (4, f"4 learned tokens: {ADAPTED}"),
    "deep_layers": (9, f"the first 9 text layers: {ADAPTED}"),
    "deep_first": (2, f"block 1 sees the context: {ANOMALYCLIP}"),
    "normal": ("object", ADAPTED),
    "abnormal": ("damaged object", ADAPTED),
    "class_token_norm": (False, ANOMALYCLIP),
    "temperature": (0.07, ANOMALYCLIP),
    "position_interpolation": ("bilinear", ANOMALYCLIP),
    "image_size": (None, f"518 for ViT-L/14 at 336 px, see below: {ANOMALYCLIP}"),
}

SETTINGS: dict[str, dict[str, tuple[Any, str]]] = {
    "headclip": {
        **_PROMPTS,
        "deep_cast": ("none", SILENT),
        "local_layers": (None, f"5 to 19, see below: {ADAPTED}"),
        "feature_layers": (None, "one map, after the last: eq. 6"),
        "local_residual": (True, ANOMALYCLIP),
        "head_weights": ("learned", "LHW: eq. 4"),
        "head_weight_start": ("1.0", f"{ADAPTED}, and table 8"),
        "mirrored": (False, "the paper looks at an image once"),
    },
    "anomalyclip": {
        **_PROMPTS,
        "deep_cast": ("fp16", ANOMALYCLIP),
        "local_layers": (None, f"DPAM_layer 20, see below: {ANOMALYCLIP}"),
        "feature_layers": (None, f"see below: {ANOMALYCLIP}"),
        "earlier_sizes": ((), f"one size throughout: {ANOMALYCLIP}"),
    },
    "adaclip": {
        "class_name": ("object", SILENT),
        "prompts": ("static+dynamic", ADACLIP),
        "prompted_towers": ("both", ADACLIP),
        "prompt_tokens": (5, ADACLIP),
        "prompt_depth": (4, ADACLIP),
        "prompt_cast": ("fp16", ADACLIP),
        "feature_layers": (None, f"6, 12, 18, 24, see below: {ADACLIP}"),
        "fusion": (True, ADACLIP),
        "fusion_weight": (0.2, ADACLIP),
        "clusters": (20, ADACLIP),
        "cluster_seed": (0, SILENT),
        "mlp_activation": ("gelu", ADACLIP),
        "logit_scale": (100.0, ADACLIP),
        "position_interpolation": ("bicubic", ADACLIP),
        "image_size": (None, f"518, see below: {ADACLIP}"),
    },
    "anovl": {
        "wording": ("published", ANOVL),
        "class_name": ("auto", "the category: " + ANOVL),
        "local_layers": (None, f"the last 12, see below: {ANOVL}"),
        "feature_layer": (None, f"the last: {ANOVL}"),
        "temperature": (1.0, f"none: {ANOVL}"),
        "views": (True, ANOVL),
        "adaptation": ("none", SILENT),
        "adaptation_steps": (5, ANOVL),
        "adaptation_rate": (1e-3, ANOVL),
        "adaptation_noise": (0.055, ANOVL),
        "seed": (0, SILENT),
        "position_interpolation": ("bicubic-antialias", ANOVL),
        "image_size": (None, SILENT),
    },
    "winclip": {
        "implementation": ("anomalib", "follows WinCLIP's paper"),
        "wording": ("published", ANOMALIB),
        "class_name": ("auto", "the category: " + ANOMALIB),
        "corrected": (False, ANOMALIB),
        "scales": ((2, 3), ANOMALIB),
        "temperature": (None, f"0.07, see below: {ANOMALIB}"),
        "position_interpolation": ("published", ANOMALIB),
        "image_size": (None, SILENT),
    },
}

_TRAINING = {
    "epochs": (15, ANOMALYCLIP),
    "batch_size": (8, ANOMALYCLIP),
    "learning_rate": (1e-3, ANOMALYCLIP),
    "betas": ((0.5, 0.999), ANOMALYCLIP),
    "local_weight": (1.0, "eq. 11 has no lambda"),
    "weight_decay": (0.0, f"Adam: {ANOMALYCLIP}"),
    "squeezed_dice": (False, "a mean over images"),
    "seed": (111, ANOMALYCLIP),
    "patience": (0, ANOMALYCLIP),
    "precision": ("fp32", ANOMALYCLIP),
    "mosaic": (0.0, ANOMALYCLIP),
}

TRAININGS: dict[str, dict[str, tuple[Any, str]]] = {
    "headclip": _TRAINING,
    "anomalyclip": {
        **_TRAINING,
        "local_weight": (4.0, f"lam: {ANOMALYCLIP}"),
        "squeezed_dice": (True, ANOMALYCLIP),
    },
    "adaclip": {
        **_TRAINING,
        "epochs": (5, ADACLIP),
        "batch_size": (1, ADACLIP),
        "learning_rate": (0.01, ADACLIP),
        "weight_decay": (0.01, f"AdamW's own: {ADACLIP}"),
        "squeezed_dice": (True, ADACLIP),
    },
}

_SCORES = {
    "image_score": ("joint", "JAS: eq. 8"),
    "joint_weight": (0.5, f"r: {SILENT}; figure 4 is a sweep"),
    "top_percent": (3.0, f"k: {SILENT}; MSFlow's, which it cites"),
    "sigma_px": (4.0, f"sigma: {ANOMALYCLIP}"),
    "scale_sigma": (True, SILENT),
    "local_map": ("pixels", "figure 2"),
}
_OWN_SCORE = {**_SCORES, "image_score": ("global", "without JAS, as published")}

SCORES: dict[str, dict[str, tuple[Any, str]]] = {
    "headclip": _SCORES,
    "anomalyclip": _OWN_SCORE,
    "adaclip": _OWN_SCORE,
    "anovl": {**_OWN_SCORE, "sigma_px": (0.0, ANOVL)},
    "winclip": {**_OWN_SCORE, "sigma_px": (0.0, ANOMALIB)},
}

_AT_336 = tiny.backbone(
    vision_cfg={**tiny.CONFIG["vision_cfg"], "layers": 1, "patch_size": 14, "image_size": 336}
).vision

OTHERS: list[tuple[str, Any, Any, str]] = [
    ("local layers", headclip_layers(HeadClipSettings(), 24)[0], tuple(range(5, 20)), ADAPTED),
    ("levels", headclip_layers(HeadClipSettings(), 24)[1], (19,), "eq. 6"),
    (
        "AnomalyCLIP's local layers",
        anomalyclip_layers(AnomalyClipSettings(), 24)[0],
        tuple(range(6, 25)),
        f"DPAM_layer 20: {ANOMALYCLIP}",
    ),
    (
        "AnomalyCLIP's levels",
        anomalyclip_layers(AnomalyClipSettings(), 24)[1],
        (24,),
        f"features_list 24, since 2025-04-13: {ANOMALYCLIP}",
    ),
    ("AdaCLIP's levels", quarter_layers(24), (6, 12, 18, 24), ADACLIP),
    ("AnoVL's local layers", anovl.PUBLISHED_LAYERS, 12, ANOVL),
    ("image size", default_image_size(HeadClipSettings(), _AT_336), 518, ANOMALYCLIP),
    ("sigma is of", SIGMA_REFERENCE_PX, 518, ANOMALYCLIP),
    ("temperature", maps.TEMPERATURE, 0.07, ANOMALYCLIP),
    ("WinCLIP's temperature", winclip.TEMPERATURES["anomalib"], 0.07, ANOMALIB),
    ("WinCLIP's other temperature", winclip.TEMPERATURES["caoyunkang"], 0.01, "caoyunkang/WinClip"),
    ("fresh tokens", prompts.INITIAL_STD, 0.02, ANOMALYCLIP),
    ("focal gamma", losses.FOCAL_GAMMA, 2.0, ANOMALYCLIP),
    ("focal smoothing", losses.FOCAL_SMOOTHING, 1e-5, ANOMALYCLIP),
    ("dice smoothing", losses.DICE_SMOOTHING, 1.0, ANOMALYCLIP),
    ("patches of a cluster", fusion.PATCHES_PER_CLUSTER, 5, ADACLIP),
    ("mosaics", learning_of("adaclip").mosaics, {"MVTecAD": 0.2}, ADACLIP),
    ("share of the adapter", adaptation.SHARE, 0.5, ANOVL),
    ("weight of noisy patches", adaptation.NOISY_WEIGHT, 0.5, ANOVL),
    ("AUPRO's limit", exact.AUPRO_LIMIT, 0.3, "Bergmann et al., MVTec AD"),
    ("AUPRO's thresholds", paper.PRO_STEPS, 200, f"cal_pro_score: {ANOMALYCLIP}"),
    ("grid of F1-max and IoU-max", paper.GRID_STEP, 0.05, "zhangzjn/ADer"),
]


def differing(found: Any, pinned: dict[str, tuple[Any, str]]) -> dict[str, tuple[Any, Any, str]]:
    """Name the fields that are not what they are pinned to, and those that are pinned nowhere."""
    return {
        name: (value, *pinned.get(name, (None, "pinned nowhere")))
        for name, value in asdict(found).items()
        if name not in pinned or value != pinned[name][0]
    }


@pytest.mark.parametrize("method", METHODS)
def test_a_method_is_made_of_what_is_published(method: str) -> None:
    assert differing(METHODS[method].settings, SETTINGS[method]) == {}


@pytest.mark.parametrize("method", METHODS)
def test_a_method_scores_as_published(method: str) -> None:
    assert differing(METHODS[method].scores, SCORES[method]) == {}


@pytest.mark.parametrize("method", [name for name, one in METHODS.items() if one.learning])
def test_a_method_is_trained_as_published(method: str) -> None:
    assert differing(learning_of(method).settings, TRAININGS[method]) == {}


def test_what_nobody_names_is_headclips() -> None:
    assert differing(HeadClipSettings(), SETTINGS["headclip"]) == {}
    assert differing(AnomalyClipSettings(), SETTINGS["anomalyclip"]) == {}
    assert differing(TrainSettings(), TRAININGS["headclip"]) == {}
    assert differing(ScoreSettings(), SCORES["headclip"]) == {}


@pytest.mark.parametrize(
    ("what", "found", "expected", "source"), OTHERS, ids=[one[0] for one in OTHERS]
)
def test_a_number_is_the_published_one(what: str, found: Any, expected: Any, source: str) -> None:
    assert found == expected, f"{what}: {source}"


def test_anovl_looks_at_22_views() -> None:
    others = list(views.other_views(torch.zeros(1, 3, 4, 4)))
    assert 1 + len(others) == 22, ANOVL
