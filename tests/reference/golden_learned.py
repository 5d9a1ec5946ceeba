"""Small reference values of AnomalyCLIP and AdaCLIP, from weights that a seed makes anywhere.

They were written when both agreed with their authors' code on ``HEADCLIP_ORACLES``, and hold that
agreement on machines without it. ``python -m tests.reference.golden_learned`` writes them anew.
"""

from __future__ import annotations

import zlib

import numpy as np
import torch
from torch import Tensor, nn

from headclip_med.models.adaclip.learning import adaclip_loss
from headclip_med.models.adaclip.model import AdaClip
from headclip_med.models.adaclip.settings import AdaClipSettings
from headclip_med.models.anomalyclip.learning import anomalyclip_loss
from headclip_med.models.anomalyclip.model import AnomalyClip, image_score
from headclip_med.models.anomalyclip.settings import AnomalyClipSettings
from headclip_med.models.clip.towers import Backbone
from headclip_med.models.maps import mean_logits, upsample
from headclip_med.training.losses import LossTerms
from tests import tiny
from tests.reference import stored

SIZES = {"native": 16, "other": 24}


@torch.no_grad()
def seed_parameters(module: nn.Module) -> None:
    """Fill every parameter with noise that depends on nothing but its name and shape."""
    for name, parameter in module.named_parameters():
        noise = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(parameter.shape)
        values = torch.from_numpy(np.asarray(noise)).float() * 0.3
        is_gain = parameter.ndim == 1 and name.endswith("weight")
        parameter.copy_(values * 0.3 + 1 if is_gain else values)


def towers() -> Backbone:
    backbone = tiny.backbone(quick_gelu=True)
    seed_parameters(backbone.clip)
    return backbone


def anomalyclip(backbone: Backbone) -> AnomalyClip:
    settings = AnomalyClipSettings(  # no rounding to float16: a last digit could tip it
        local_layers=(2, 3, 4), feature_layers=(1, 2, 4), deep_layers=3, deep_cast="none"
    )
    model = AnomalyClip(backbone, settings)
    seed_parameters(model.prompts)
    return model


def adaclip(backbone: Backbone) -> AdaClip:
    settings = AdaClipSettings(
        feature_layers=(2, 4),
        prompt_depth=3,
        prompt_tokens=2,
        clusters=2,
        logit_scale=10.0,
        prompt_cast="none",
    )
    model = AdaClip(backbone, settings)
    for part in ("static_image", "static_text", "dynamic_image", "dynamic_text", "patch_heads",
                 "token_head"):  # fmt: skip
        seed_parameters(getattr(model, part))
    return model


def pictures(side: int) -> tuple[Tensor, Tensor, Tensor]:
    noise = np.random.default_rng(side).random((2, 3, side, side), dtype=np.float32)
    masks = torch.zeros(2, side, side)
    masks[1, 2:7, 4:12] = 1
    return torch.from_numpy(noise), masks, torch.tensor([0, 1])


def anomalyclip_values(size: str) -> dict[str, Tensor]:
    model, (images, masks, labels) = anomalyclip(towers()), pictures(SIZES[size])
    frozen, side = model.freeze_features(images), SIZES[size]
    logits = model(frozen)
    maps = [upsample(level.softmax(dim=1), side, side) for level in logits.levels]
    terms = anomalyclip_loss(logits.image, maps, labels, masks)
    return {
        "text": model.prompts(model.backbone.text),
        "token": frozen.global_token,
        "patches": torch.stack(frozen.levels)[:, 1, :4],
        "map": mean_logits(logits.levels, side, side)[1].sigmoid(),
        "score": image_score(logits),
        **losses_and_norms(terms, 4.0, dict(model.named_parameters())),
    }


def adaclip_values(size: str) -> dict[str, Tensor]:
    model, (images, masks, labels) = adaclip(towers()), pictures(SIZES[size])
    features, side = model(model.backbone.normalise(images), ["brain", "x-ray"]), SIZES[size]
    maps = model.level_maps(features, side, side)
    probabilities = model.image_probabilities(features)
    terms = adaclip_loss(probabilities, maps.softmax(dim=2), labels, masks)
    return {
        "text": features.text,
        "token": features.token,
        "patches": features.patches[:, 1, :4],
        "map": maps.mean(dim=0).softmax(dim=1)[1, 1],
        "score": probabilities,
        **losses_and_norms(terms, 1.0, dict(model.named_parameters())),
    }


def losses_and_norms(
    terms: LossTerms, weight: float, own: dict[str, nn.Parameter]
) -> dict[str, Tensor]:
    names = [name for name in own if own[name].requires_grad]
    found = torch.autograd.grad(terms.total(weight), [own[n] for n in names], allow_unused=True)
    norms = [torch.zeros(()) if one is None else one.norm() for one in found]
    return {
        "losses": torch.stack([terms.image, terms.focal, terms.dice_normal, terms.dice_abnormal]),
        "gradient_norms": torch.stack(norms),
    }


VALUES = {"anomalyclip": anomalyclip_values, "adaclip": adaclip_values}


if __name__ == "__main__":
    stored.write(VALUES, SIZES)
