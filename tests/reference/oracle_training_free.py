"""What WinCLIP and AnoVL compute here, stage by stage, beside what published code computed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.lib.npyio import NpzFile
from torch import Tensor

from headclip_med.content import ImageContent
from headclip_med.models.anovl.adaptation import PatchAdapter
from headclip_med.models.anovl.model import AnoVl, average_neighbours, stretch
from headclip_med.models.anovl.settings import AnoVlSettings
from headclip_med.models.anovl.views import other_views
from headclip_med.models.clip.towers import Backbone
from headclip_med.models.clip.vision import BlockOutput
from headclip_med.models.engine.run import StreamReader
from headclip_med.models.maps import unit, upsample
from headclip_med.models.sentences import encode
from headclip_med.models.winclip.model import (
    WinClip,
    mean_reciprocal,
    pool_abnormality,
    pool_normality,
    run_windows,
    window_index,
)
from headclip_med.models.winclip.settings import WinClipSettings
from tests import tiny
from tests.reference import oracle
from tests.reference.oracle_learned import Stage, stage

FEATURES, LOGITS, SCORES, MAPS = 1e-5, 2e-6, 2e-6, 5e-6
VIEWS = 1e-4
"""Of pixels around 2: its quarter turns go through a rounded cosine."""
ADAPTED = {"gradients": 1e-3, "weights": 2e-4, "tokens": 2e-3, "maps": 1e-5}
"""As the folder's page has them: rounding alone does that much, on another processor for one."""


# --- WinCLIP ---------------------------------------------------------------------------------


def winclip_runs(oracles: Path, implementation: str) -> list[str]:
    """Name the runs of an implementation by what its file holds."""
    files = oracle.arrays(oracles / "winclip", f"outputs_{implementation}").files
    return sorted({key.partition("/")[0] for key in files})


def winclip_class(oracles: Path, run: str) -> str:
    """Look up what a run looked at: its own entry, or that of its size."""
    classes = oracle.config(oracles / "winclip")["classes"]
    return classes.get(run) or classes[run.split("_")[1]]


def winclip_images(oracles: Path, run: str) -> Tensor:
    size = "other" if "other" in run else "native"
    return oracle.tensor(oracle.arrays(oracles / "winclip", "inputs"), f"images_{size}")


def winclip(
    oracles: Path, towers: Backbone, implementation: str, run: str, **more: object
) -> WinClip:
    """Build the WinCLIP of a run; scales come from its files."""
    stated = oracle.config(oracles / "winclip")
    scales = tuple(stated["scales"])
    if run.endswith("fullscale"):
        side = winclip_images(oracles, run).shape[-1] // towers.vision.patch_px
        scales = (*scales, side)
    temperature = float(Fraction(stated[f"temperature_{implementation}"]))  # "1/100" or 0.07
    settings = {"implementation": implementation, "scales": scales, "temperature": temperature}
    model = WinClip(towers, WinClipSettings(**{**settings, **more}))  # type: ignore[arg-type]
    return model.with_content(ImageContent(winclip_class(oracles, run)))


def embedded_and_token(model: WinClip, images: Tensor) -> tuple[Tensor, Tensor]:
    with torch.no_grad():
        blocks = tiny.walk(model.vision, images)
    return blocks[0].tokens_in, blocks[-1].tokens[:, 0]


def anomalib_stages(oracles: Path, towers: Backbone, run: str) -> Iterator[Stage]:
    theirs = oracle.arrays(oracles / "winclip", "outputs_anomalib")
    model, images = winclip(oracles, towers, "anomalib", run), winclip_images(oracles, run)
    side = images.shape[-1]
    rows = side // model.vision.patch_px
    sides = (model.ensemble.normal, model.ensemble.abnormal)
    means = torch.stack([encode(model.text, one).mean(dim=0) for one in sides])
    text = theirs[f"{run}/text_embeddings_mean_unnormalised"]
    yield stage("text", means, text, FEATURES)
    yield stage("text", model.sentences().text, unit(torch.from_numpy(text)), FEATURES)
    embedded, token = embedded_and_token(model, images)
    whole = model.vision.project(token)
    yield stage("image feature", whole, theirs[f"{run}/image_embeddings"], FEATURES)
    odds = []
    for scale in model.settings.scales:
        index = window_index(rows, rows, scale)
        yield stage("windows", index.T, theirs[f"{run}/window_masks/scale{scale}"], 0)
        windows = model.vision.project(run_windows(model.vision, embedded, index)).detach()
        features = theirs[f"{run}/window_embeddings/scale{scale}"]
        yield stage("window features", windows, features, FEATURES)
        one = model.abnormality(unit(windows))
        yield stage("window scores", one, theirs[f"{run}/window_scores/scale{scale}"], SCORES)
        grid = (-1, rows - scale + 1, rows - scale + 1)
        odds.append(model.logits(unit(windows)).view(grid))
        pooled = 1 / mean_reciprocal(one.view(grid), scale)
        yield stage("pooled windows", pooled, theirs[f"{run}/harmonic_map/scale{scale}"], SCORES)
    score = model.abnormality(unit(whole))
    yield stage("image score", score, theirs[f"{run}/zero_shot_image_score"], SCORES)
    grid = pool_abnormality(model.logits(unit(whole)), odds, model.settings.scales).sigmoid()
    yield stage("patch map", grid, theirs[f"{run}/zero_shot_grid"], SCORES)
    yield stage(
        "map", upsample(grid[:, None], side, side)[:, 0], theirs[f"{run}/zero_shot_map"], SCORES
    )
    found = oracle.predicted(model, images)
    yield stage("predicted map", found.map, theirs[f"{run}/zero_shot_map"], SCORES)
    theirs_score = theirs[f"{run}/zero_shot_image_score"]
    yield stage("predicted score", found.global_score, theirs_score, SCORES)


def caoyunkang_stages(oracles: Path, towers: Backbone, run: str) -> Iterator[Stage]:
    theirs = oracle.arrays(oracles / "winclip", "outputs_caoyunkang")
    model, images = winclip(oracles, towers, "caoyunkang", run), winclip_images(oracles, run)
    scales, out = model.settings.scales, theirs[f"{run}/zero_shot_map"].shape[-1]
    rows = images.shape[-1] // model.vision.patch_px
    for name in ("normal", "abnormal"):
        mean = encode(model.text, getattr(model.ensemble, name)).mean(dim=0, keepdim=True)
        text = theirs[f"{run}/text_mean_unnormalised_{name}"]
        yield stage("text", mean, text, FEATURES)
    yield stage("text", model.sentences().text, theirs[f"{run}/text_features"], FEATURES)
    embedded, _ = embedded_and_token(model, images)
    per_scale = [run_windows(model.vision, embedded, window_index(rows, rows, s)) for s in scales]
    features = [unit(model.vision.project(one).detach()) for one in per_scale]
    starts = np.cumsum([0, *(one.shape[1] for one in features)])[:-1]
    yield stage("windows", torch.from_numpy(starts), theirs[f"{run}/scale_begin_index"], 0)
    joined = torch.cat(features, dim=1)
    yield stage("window features", joined, theirs[f"{run}/window_features_normalised"], FEATURES)
    odds = [
        model.logits(one).view(-1, rows - scale + 1, rows - scale + 1)
        for one, scale in zip(features, scales, strict=True)
    ]
    grid = pool_normality(odds, scales).sigmoid()[:, None]
    yield stage("patch map", grid, theirs[f"{run}/textual_map_grid"], MAPS)
    whole = upsample(grid, out, out)[:, 0]
    yield stage("map", whole, theirs[f"{run}/zero_shot_map_textual_only"], MAPS)
    yield stage("map", whole / 2, theirs[f"{run}/zero_shot_map"], MAPS)
    score = theirs[f"{run}/zero_shot_image_score_max"]
    yield stage("image score", (whole / 2).amax(dim=(1, 2)), score, MAPS)
    if out != images.shape[-1]:
        return
    found = oracle.predicted(model, images)
    yield stage("predicted map", found.map, theirs[f"{run}/zero_shot_map"], MAPS)
    yield stage("predicted score", found.global_score, score, MAPS)
    right = oracle.predicted(winclip(oracles, towers, "caoyunkang", run, corrected=True), images)
    doubled = theirs[f"{run}/zero_shot_map_textual_only"]
    yield stage("corrected map", right.map, doubled, MAPS)


# --- AnoVL -----------------------------------------------------------------------------------


def anovl(oracles: Path, towers: Backbone, **more: object) -> AnoVl:
    stated = oracle.config(oracles / "anovl")
    settings = {
        "adaptation_steps": stated["tta_epochs"],
        "adaptation_rate": stated["lr"],
        "adaptation_noise": stated["noise_std"],
    }
    model = AnoVl(towers, AnoVlSettings(**{**settings, **more}))  # type: ignore[arg-type]
    return model.with_content(ImageContent(stated["object_for_maps"]))


def anovl_text_stages(oracles: Path, towers: Backbone) -> Iterator[Stage]:
    theirs = oracle.arrays(oracles / "anovl", "outputs")
    for thing in oracle.config(oracles / "anovl")["objects"]:
        model = anovl(oracles, towers).with_content(ImageContent(thing))
        found = model.sentences()
        yield stage("text", found.text.T, theirs[f"text/{thing}/features"], FEATURES)
        if f"text/{thing}/prompt_features" in theirs.files:
            prompts = theirs[f"text/{thing}/prompt_features"]
            both = np.concatenate([prompts[..., 0], prompts[..., 1]])
            yield stage("sentences", found.prompts, both, FEATURES)


def anovl_stages(oracles: Path, towers: Backbone, size: str) -> Iterator[Stage]:
    folder = oracles / "anovl"
    theirs, inputs = oracle.arrays(folder, "outputs"), oracle.arrays(folder, "inputs")
    images, model = oracle.tensor(inputs, f"images_{size}"), anovl(oracles, towers)
    vision, side = model.vision, images.shape[-1]
    rows = side // vision.patch_px
    positions = theirs[f"{size}/visual_positional_embedding"]
    yield stage("positions", vision.positions(rows, rows), positions, FEATURES)
    with torch.no_grad():
        blocks = tiny.walk(vision, images, model.local_layers)
    yield from layer_stages(theirs, size, model, blocks)
    reader = StreamReader(vision, model.local_layers, (model.feature_layer,))
    for block in blocks:
        reader.read(block)
    (patches,), token = reader.projected()
    patches, token = patches.detach(), token.detach()
    tokens = theirs[f"{size}/tokens_projected"]
    yield stage("patches", patches, tokens[:, 1:], FEATURES)
    yield stage("class token", token, tokens[:, 0], FEATURES)
    cosines = (unit(patches) @ model.sentences().text.T).view(len(images), rows, rows, 2)
    yield stage("cosines", cosines, theirs[f"{size}/logits"], LOGITS)
    grid = model.abnormality(patches).view(-1, rows, rows)
    yield stage("probabilities", grid[:, None], theirs[f"{size}/prob"], SCORES)
    averaged = average_neighbours(grid)
    yield stage("averaged", averaged[:, None], theirs[f"{size}/prob_avgpooled"], SCORES)
    maps = stretch(averaged, side, side)[:, None]
    yield stage("map", maps, theirs[f"{size}/anomaly_map"], SCORES)
    score = model.abnormality(token)
    yield stage("class token's score", score, theirs[f"{size}/cls_prob"][:, 1], SCORES)
    pictures = [images, *other_views(images)]
    if size == "native":
        made = torch.stack([view[0] for view in pictures])
        yield stage("views", made, inputs["augmented_native_image0"], VIEWS)
    with torch.no_grad():
        views = torch.stack(
            [model.abnormality(model.class_token(view)) for view in pictures], dim=1
        )
    yield stage("views' scores", views, theirs[f"{size}/aug_cls_prob"][..., 1], SCORES)
    found = oracle.predicted(model, images)
    yield stage("predicted map", found.map[:, None], theirs[f"{size}/anomaly_map"], SCORES)
    yield stage("predicted score", found.global_score, theirs[f"{size}/image_score"], SCORES)


def layer_stages(
    theirs: NpzFile, size: str, model: AnoVl, blocks: list[BlockOutput]
) -> Iterator[Stage]:
    """Hold what the published code lists: whatever the layer, the local stream is the last one.

    The plain streams that it lists beside are spoilt in place by the next block, and never used.
    """
    listed, vision = theirs[f"{size}/layer_tokens_raw"], model.vision
    projected = theirs[f"{size}/patch_tokens_ln"]
    reader = StreamReader(vision, model.local_layers, (model.feature_layer,))
    for block in blocks:
        reader.read(block)
    stream = reader.levels[0].float().detach()
    for number in range(0, listed.shape[1], 2):
        atol = 1e-5 * float(np.abs(listed).max())
        yield stage("listed local tokens", stream, listed[:, number, 1:], atol)
        local = vision.project(stream).detach()
        yield stage("listed local features", local, projected[:, number], FEATURES)


def adaptation_stages(oracles: Path, towers: Backbone) -> Iterator[Stage]:
    """What the adapter does to the published code's own tokens, and in the end to ours.

    Gradients of 1e-6 make hundredfold of the last digits in which tokens differ.
    """
    folder = oracles / "anovl"
    theirs, thing = oracle.arrays(folder, "outputs"), oracle.config(folder)["object_for_maps"]
    tokens = oracle.tensor(theirs, "native/tokens_projected")[:, 1:]
    sentences = oracle.tensor(theirs, f"text/{thing}/prompt_features")
    given = Given(
        tokens.unflatten(1, (round(tokens.shape[1] ** 0.5), -1)),
        torch.cat([sentences[..., 0], sentences[..., 1]]),
        oracle.tensor(theirs, f"text/{thing}/features").T,
    )
    yield from adapter_stages(oracles, given, "adapting")
    model = anovl(oracles, towers, adaptation="published")
    images = oracle.tensor(oracle.arrays(folder, "inputs"), "images_native")
    reader = StreamReader(model.vision, model.local_layers, (model.feature_layer,))
    with torch.no_grad():
        for block in tiny.walk(model.vision, images, model.local_layers):
            reader.read(block)
        (patches,), _ = reader.projected()
    known = model.sentences()
    own = Given(patches.unflatten(1, given.tokens.shape[1:3]), known.prompts, known.text)
    yield from adapter_stages(oracles, own, "adapting, from images")


class Given(NamedTuple):
    """What an adapter starts from: tokens by image, row and column; sentences and their means."""

    tokens: Tensor
    prompts: Tensor
    text: Tensor


def adapter_stages(oracles: Path, given: Given, name: str) -> Iterator[Stage]:
    folder = oracles / "anovl"
    theirs, inputs = oracle.arrays(folder, "outputs"), oracle.arrays(folder, "inputs")
    learned, stated = oracle.arrays(folder, "learned"), oracle.config(folder)
    noises = oracle.tensor(inputs, "tta/noise")
    side = inputs["images_native"].shape[-1]
    adapter = PatchAdapter(given.prompts, given.text, temperature=1.0, rate=stated["lr"])
    for number, noise in enumerate(noises[:, :, 0]):
        key, tokens = f"tta/image{number}", given.tokens[number]
        start = [
            oracle.tensor(learned, f"image{number}/ad.{one}_init") for one in ("weight", "bias")
        ]
        adapter.restart(*start)
        both = adapter.probabilities(torch.stack([tokens, tokens + noise[0]]))
        first = theirs[f"{key}/train_probs_epoch0"]
        yield stage(f"{name}: probabilities", both, first, SCORES)
        losses = []
        for step, loss in enumerate(adapter.fit(tokens, noise)):
            losses.append(loss)
            if step == 0:
                for one in ("weight", "bias"):
                    gradient = theirs[f"{key}/grad_{one}_epoch0"]
                    atol = ADAPTED["gradients"] * float(np.abs(gradient).max())
                    mine = getattr(adapter, one).grad.clone()
                    yield stage(f"{name}: gradients", mine, gradient, atol)
        losses_there = theirs["tta/losses"][number]
        yield stage(f"{name}: losses", torch.tensor(losses), losses_there, FEATURES)
        for one in ("weight", "bias"):
            there = theirs[f"{key}/{one}_final"]
            mine = getattr(adapter, one).detach().clone()
            yield stage(f"{name}: weights", mine, there, ADAPTED["weights"])
        moved = adapter(tokens).detach()[None]
        yield stage(f"{name}: tokens", moved, theirs[f"{key}/adapted_tokens"], ADAPTED["tokens"])
        grid = (unit(moved) @ given.text.T).softmax(dim=-1)[..., 1]
        yield stage(f"{name}: scores", grid[None], theirs[f"{key}/prob"], ADAPTED["maps"])
        maps = stretch(average_neighbours(grid), side, side)
        yield stage(f"{name}: map", maps, theirs[f"{key}/anomaly_map"], ADAPTED["maps"])


def anovl_sizes(oracles: Path) -> list[str]:
    """Name the sizes that there are values of."""
    found = (re.match(r"(\w+)/anomaly_map$", key) for key in oracle.arrays(
        oracles / "anovl", "outputs").files)  # fmt: skip
    return [match[1] for match in found if match]


# --- all --------------------------------------------------------------------------------------


def every_stage(oracles: Path, towers: Backbone) -> Iterator[tuple[str, Stage]]:
    for implementation, stages in (
        ("anomalib", anomalib_stages), ("caoyunkang", caoyunkang_stages)
    ):  # fmt: skip
        for run in winclip_runs(oracles, implementation):
            yield from (("winclip " + implementation, one) for one in stages(oracles, towers, run))
    yield from (("anovl", one) for one in anovl_text_stages(oracles, towers))
    for size in anovl_sizes(oracles):
        yield from (("anovl", one) for one in anovl_stages(oracles, towers, size))
    yield from (("anovl", one) for one in adaptation_stages(oracles, towers))
