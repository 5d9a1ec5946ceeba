"""What AnomalyCLIP and AdaCLIP compute here, stage by stage, beside what their code computed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.lib.npyio import NpzFile
from torch import Tensor, nn

from headclip_med.models.adaclip import published as adaclip_published
from headclip_med.models.adaclip.fusion import Clustering, most_abnormal, semantic_centre
from headclip_med.models.adaclip.model import AdaClip, mean_logits
from headclip_med.models.adaclip.prompts import HybridFeatures, prompted_pass
from headclip_med.models.adaclip.settings import AdaClipSettings
from headclip_med.models.anomalyclip import published as anomalyclip_published
from headclip_med.models.anomalyclip.model import AnomalyClip, image_score
from headclip_med.models.anomalyclip.settings import AnomalyClipSettings
from headclip_med.models.clip.towers import Backbone
from headclip_med.models.maps import mean_logits as mean_level_logits
from headclip_med.models.maps import smooth, unit, upsample
from headclip_med.settings import SIGMA_REFERENCE_PX, ScoreSettings
from tests.reference import oracle

FEATURES, PROBABILITIES, LOGITS, MAPS = 1e-5, 5e-6, 2e-4, 1e-5
TIPPED_MAPS = 1e-4
SIGMA_PX = 4.0
"""Where a folder does not state it."""


class Stage(NamedTuple):
    """One quantity: ours, theirs, and the absolute difference that its scale allows."""

    name: str
    mine: np.ndarray
    theirs: np.ndarray
    atol: float | np.ndarray

    @property
    def relative_error(self) -> float:
        return float(np.abs(self.mine - self.theirs).max() / max(np.abs(self.theirs).max(), 1e-30))

    @property
    def rtol(self) -> float:
        return 1e-5 if np.array_equal(self.atol, FEATURES) else 0

    @property
    def share_of_tolerance(self) -> float:
        """How much of what is allowed the worst value takes; more than 1 is too much."""
        allowed = self.atol + self.rtol * np.abs(self.theirs)
        return float((np.abs(self.mine - self.theirs) / np.maximum(allowed, 1e-30)).max())

    def check(self) -> None:
        if isinstance(self.atol, np.ndarray):  # of each value
            assert self.mine.shape == self.theirs.shape, self.name
            assert self.share_of_tolerance <= 1, self.name
            return
        np.testing.assert_allclose(
            self.mine, self.theirs, atol=self.atol, rtol=self.rtol, err_msg=self.name
        )


def stage(name: str, mine: Tensor, theirs: np.ndarray | Tensor, atol: float | np.ndarray) -> Stage:
    theirs = theirs.detach().numpy() if isinstance(theirs, Tensor) else theirs
    return Stage(name, mine.detach().numpy(), theirs, atol)


# --- AnomalyCLIP -----------------------------------------------------------------------------


def layers_of(outputs: NpzFile, run: str, what: str) -> tuple[int, ...]:
    stem = f"{run}/{what}/layer"
    return tuple(sorted(int(k.removeprefix(stem)) for k in outputs.files if k.startswith(stem)))


def anomalyclip(oracles: Path, towers: Backbone, run: str = "native", **more: Any) -> AnomalyClip:
    """Build the AnomalyCLIP of a run from the published tensors; sizes come from its files."""
    folder = oracles / "anomalyclip"
    stated, outputs = oracle.config(folder), oracle.arrays(folder, "outputs")
    depth = towers.vision.depth
    local = tuple(range(depth - stated["DPAM_layer"] + 2, depth + 1))
    if run.endswith("_nodpam"):
        local = ()
    elif run.endswith("_all_dpam"):
        local = tuple(range(1, depth + 1))
    size = "native" if run.startswith("train") else run
    settings = {
        "local_layers": local,
        "feature_layers": layers_of(outputs, size, "patch_features"),
        "context_tokens": stated["Prompt_length"],
        "deep_tokens": stated["t_n_ctx"],
        "deep_layers": stated["depth"],
        "temperature": stated["temperature"],
        "deep_cast": "none",
        "earlier_sizes": (stated["other"],) if run == "native_after_other" else (),
    }
    model = AnomalyClip(towers, AnomalyClipSettings(**{**settings, **more}))
    anomalyclip_published.fit_published(
        model, {"prompt_learner": tensors(oracle.arrays(folder, "learned"))}
    )
    return model


def tensors(file: NpzFile) -> dict[str, Tensor]:
    return {key: torch.from_numpy(file[key]) for key in file.files}


def images_of(folder: Path, run: str, count: int) -> Tensor:
    size = "other" if run.startswith("other") else "native"
    return oracle.tensor(oracle.arrays(folder, "inputs"), f"images_{size}")[:count]


def anomalyclip_stages(oracles: Path, towers: Backbone, run: str) -> Iterator[Stage]:
    folder = oracles / "anomalyclip"
    theirs = oracle.arrays(folder, "outputs")
    model = anomalyclip(oracles, towers, run)
    images = images_of(folder, run, len(theirs[f"{run}/image_score"]))
    side, layers = images.shape[-1], model.feature_layers
    text = model.prompts(model.backbone.text)
    for row, name in enumerate(("normal", "abnormal")):
        yield stage(f"text {name}", text[row], theirs[f"text/{name}"], FEATURES)
    frozen = model.freeze_features(images)
    token = unit(oracle.tensor(theirs, f"{run}/global_feature"))
    yield stage("class token", frozen.global_token, token, FEATURES)
    for layer, level in zip(layers, frozen.levels, strict=True):
        features = unit(oracle.tensor(theirs, f"{run}/patch_features/layer{layer}"))
        yield stage("patch features", level, features[:, 1:], FEATURES)
    logits = model(frozen)
    yield stage("image logits", logits.image, theirs[f"{run}/global_logits"], LOGITS)
    for layer, level in zip(layers, logits.levels, strict=True):
        patches = level.softmax(dim=1)
        similarity = theirs[f"{run}/similarity/layer{layer}"][:, 1:]
        yield stage("similarity", patches.flatten(2).transpose(1, 2), similarity, PROBABILITIES)
        maps = theirs[f"{run}/similarity_map/layer{layer}"]
        yield stage("similarity map", upsample(patches, side, side), maps, PROBABILITIES)
    summed = len(layers) * mean_level_logits(logits.levels, side, side).sigmoid()
    yield stage("map", summed, theirs[f"{run}/anomaly_map_raw"], 2e-5)
    sigma_px = float(oracle.config(folder).get("sigma", SIGMA_PX))
    smoothed = smooth(summed, sigma_px)
    yield stage("smoothed map", smoothed, theirs[f"{run}/anomaly_map_smoothed"], 2e-5)
    yield stage("image score", image_score(logits), theirs[f"{run}/image_score"], PROBABILITIES)
    found = oracle.predicted(model.fold(scores=scores_at(side, sigma_px)), images)
    both = theirs[f"{run}/anomaly_map_smoothed"]
    yield stage("predicted map", len(layers) * found.map, both, 2e-5)
    score = theirs[f"{run}/image_score"]
    yield stage("predicted score", found.global_score, score, PROBABILITIES)


def scores_at(side: int, sigma_px: float = SIGMA_PX) -> ScoreSettings:
    """A sigma of so many pixels at this size."""
    return ScoreSettings(sigma_px=sigma_px * SIGMA_REFERENCE_PX / side)


# --- AdaCLIP ---------------------------------------------------------------------------------


def adaclip_settings(run: str) -> dict[str, Any]:
    """Read off the name of a run how its settings differ from the published ones."""
    parts = run.split("_")
    prompts = "static" if "S" in parts else "dynamic" if "D" in parts else "static+dynamic"
    towers = "image" if "visualonly" in parts else "none" if "noprompt" in parts else "both"
    return {
        "mlp_activation": "gelu" if "gelu" in parts else "trained-with",
        "prompt_cast": "fp16" if "half" in parts else "none",
        "prompts": prompts,
        "prompted_towers": towers,
        "fusion": "nohsf" not in parts,
    }


def adaclip(oracles: Path, towers: Backbone, **more: Any) -> AdaClip:
    """Build an AdaCLIP from the published tensors; sizes come from its files."""
    folder = oracles / "adaclip"
    stated = oracle.config(folder)
    settings = {
        "prompt_depth": stated["prompting_depth"],
        "prompt_tokens": stated["prompting_length"],
        "feature_layers": tuple(stated["output_layers"]),
        "clusters": stated["k_clusters"],
        "cluster_seed": int(re.search(r"\d+", str(stated["kmeans_seed"])).group()),  # type: ignore[union-attr]
        "prompt_cast": "none",
    }
    model = AdaClip(towers, AdaClipSettings(**{**settings, **more}))
    adaclip_published.fit_published(model, tensors(oracle.arrays(folder, "learned")))
    return model


def stored_labels(theirs: NpzFile, key: str) -> Clustering:
    """Give the clusters that the published code found, image by image."""
    rows: Iterator[np.ndarray] = iter(np.atleast_2d(theirs[key]))
    return lambda features, count: torch.from_numpy(next(rows)).long()


class Stored(nn.Module):
    """Gives what the published code computed, whatever is asked."""

    def __init__(self, values: Tensor) -> None:
        super().__init__()
        self.register_buffer("values", values)

    def forward(self, feature: Tensor) -> Tensor:
        return self.get_buffer("values")


def adaclip_stages(oracles: Path, towers: Backbone, run: str) -> Iterator[Stage]:
    folder = oracles / "adaclip"
    theirs, stated = oracle.arrays(folder, "outputs"), oracle.config(folder)
    model = adaclip(oracles, towers, **adaclip_settings(run))
    count = len(theirs[f"{run}/image_score"])
    images, names = images_of(folder, run, count), stated["class_names"][:count]
    side = images.shape[-1]
    if f"{run}/plain_clip_image_feature" in theirs.files:
        plain = model.plain_feature(images)
        yield stage("plain feature", plain, theirs[f"{run}/plain_clip_image_feature"], FEATURES)
        for tower, generator in (("visual", model.dynamic_image), ("text", model.dynamic_text)):
            dynamic = theirs[f"{run}/dynamic_{tower}_prompts"]
            yield stage(f"dynamic {tower} prompts", generator(plain), dynamic, FEATURES)
    if model.settings.prompt_cast == "fp16":
        # A last digit in float32 can tip a prompt to the next float16, and from there on
        # everything: stages are held to what the published code rounded, the map to our own too.
        own = mean_logits(model.level_maps(model(images, names), side, side)).sigmoid()
        yield stage("map, from images", own, theirs[f"{run}/anomaly_map_raw"], TIPPED_MAPS)
        for tower in ("image", "text"):
            there = theirs[f"{run}/dynamic_{'visual' if tower == 'image' else tower}_prompts"]
            setattr(model, f"dynamic_{tower}", Stored(torch.from_numpy(there)))
    prompts, _ = model.prompts_for(count, model.plain_feature(images))
    vision = model.backbone.vision
    token, levels = prompted_pass(vision, images, prompts, model.feature_layers)
    prompted = theirs[f"{run}/prompted_image_feature"]
    yield stage("prompted feature", vision.project(token), prompted, FEATURES)
    for layer, level in zip(model.feature_layers, levels, strict=True):
        patches = theirs[f"{run}/prompted_patch_tokens/layer{layer}"][:, 1:]
        yield stage("prompted patches", level, patches, FEATURES)
    features: HybridFeatures = model(images, names)
    text = theirs[f"{run}/text_features"].swapaxes(1, 2)
    yield stage("text", features.text, np.broadcast_to(text, features.text.shape), FEATURES)
    yield stage("class token", features.token, theirs[f"{run}/proj_cls_token"], FEATURES)
    logits, maps = model.level_logits(features), model.level_maps(features, side, side)
    for number, layer in enumerate(model.feature_layers):
        patches = theirs[f"{run}/proj_patch_tokens/layer{layer}"]
        yield stage("projected patches", features.patches[number], patches, FEATURES)
        yield stage("logits", logits[number], theirs[f"{run}/logits/layer{layer}"], LOGITS)
        trained = theirs[f"{run}/maps_train/layer{layer}"]
        yield stage("maps of layers", maps[number].softmax(dim=1), trained, MAPS)
    raw = mean_logits(maps).sigmoid()
    yield stage("map", raw, theirs[f"{run}/anomaly_map_raw"], MAPS)
    smoothed = theirs[f"{run}/anomaly_map_smoothed"]
    yield stage("smoothed map", smooth(raw, SIGMA_PX), smoothed, MAPS)
    yield from _fusion_stages(model, features, theirs, run)


def _fusion_stages(
    model: AdaClip, features: HybridFeatures, theirs: NpzFile, run: str
) -> Iterator[Stage]:
    clustering = None
    if model.settings.fusion:
        clusters = model.settings.clusters
        chosen = most_abnormal(model.level_logits(features), clusters)
        yield stage("chosen patches", chosen, theirs[f"{run}/hsf/topk_indices"], 0)
        centre = semantic_centre(
            features.patches, chosen, clusters, stored_labels(theirs, f"{run}/hsf/cluster_labels")
        )
        yield stage("fused centre", centre, theirs[f"{run}/hsf/clustered_feature"], FEATURES)
        clustering = stored_labels(theirs, f"{run}/hsf/cluster_labels")
    probabilities = model.image_probabilities(features, clustering)
    yield stage("score", probabilities, theirs[f"{run}/score_probs"], PROBABILITIES)
    published = theirs[f"{run}/image_score"]
    yield stage("image score", probabilities[:, 1], published, PROBABILITIES)


# --- all --------------------------------------------------------------------------------------

UNUSED_RUNS = ("native_ffn",)
"""With MLPs on the local path, which none of AnomalyCLIP's scripts asks for."""


def runs_of(folder: Path) -> list[str]:
    """Name the runs that a folder has predictions of."""
    files = oracle.arrays(folder, "outputs").files
    runs = sorted(
        name.removesuffix("/image_score") for name in files if name.endswith("/image_score")
    )
    return [run for run in runs if run not in UNUSED_RUNS]


STAGES = {"anomalyclip": anomalyclip_stages, "adaclip": adaclip_stages}
