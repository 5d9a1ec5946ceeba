"""The files that AnomalyCLIP's and AdaCLIP's authors publish: names, shapes, and what they become.

AnomalyCLIP's is ``{"prompt_learner": state}``, AdaCLIP's a flat state whose names start with
``clip_model.``. Nothing but tensors is ever unpickled from them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from headclip_med.errors import InvalidSettings, UnusableWeights
from headclip_med.models.adaclip.model import AdaClip
from headclip_med.models.anomalyclip.model import AnomalyClip
from headclip_med.models.checkpoint import sha256_of, write_checkpoint
from headclip_med.models.clip.towers import Backbone
from headclip_med.models.inference import quarter_layers
from headclip_med.settings_learned import PUBLISHED_SCORES, AdaClipSettings, AnomalyClipSettings

IMPORTABLE = ("anomalyclip", "adaclip")
"""Methods whose authors publish what they trained."""

UNUSED = "compound_prompt_projections."
"""Maps that AnomalyCLIP's files carry and its code never calls."""

SAME_WORDS_ATOL = 1e-3
"""Word embeddings in a file may have been rounded to fp16."""

_ADACLIP_PARTS = {
    "static_text.layers": "text_prompter.static_prompts",
    "static_image.layers": "visual_prompter.static_prompts",
    "dynamic_text.heads": "dynamic_text_prompt_generator.head",
    "dynamic_image.heads": "dynamic_visual_prompt_generator.head",
    "patch_heads": "patch_token_layer.head",
    "token_head": "cls_token_layer.head.0",
}
"""Our names, and the published ones behind ``clip_model.``."""


def read_published(path: Path) -> dict[str, Any]:
    """Read a published file; only tensors and plain containers are unpickled.

    Raises:
        UnusableWeights: The file is missing, damaged, or holds anything else.
    """
    if not path.is_file():
        raise UnusableWeights(
            f"There is no file {path}.", "Check the path.", code="weights-missing"
        )
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the unpickler meets whatever bytes a damaged file has
        raise UnusableWeights(
            f"{path} is damaged, or holds more than tensors, which is not loaded because it could "
            "run code.",
            "Download it anew from the authors.",
            code="weights-unreadable",
        ) from error
    if not isinstance(found, dict):
        raise UnusableWeights(f"{path} holds no state dict.", "Give the authors' file.")
    return found


def build_published(
    method: str,
    found: Mapping[str, Any],
    backbone: Backbone,
    *,
    feature_layers: tuple[int, ...] | None = None,
) -> AnomalyClip | AdaClip:
    """Build the trainable form that a published file belongs to, with its tensors.

    Args:
        method: ``anomalyclip`` or ``adaclip``.
        found: What ``read_published`` gave.
        backbone: The towers it was trained on.
        feature_layers: Which layers give maps; by default as many, evenly spread, as the file has
            projections for (AdaCLIP), or four (AnomalyCLIP).

    Raises:
        InvalidSettings: The method's authors publish no such file.
        UnusableWeights: Names or shapes differ; the message says which.
    """
    model: AnomalyClip | AdaClip
    if method == "anomalyclip":
        model = AnomalyClip(backbone, _anomalyclip_settings(_inner(found), feature_layers))
    elif method == "adaclip":
        depth = backbone.vision.depth
        model = AdaClip(backbone, _adaclip_settings(found, depth, feature_layers))
    else:
        raise InvalidSettings(
            f"There is no published file of {method}.",
            f"Choose {' or '.join(IMPORTABLE)}.",
            code="no-published-file",
        )
    fit_published(model, found)
    return model


def import_published(
    path: Path,
    method: str,
    backbone: Backbone,
    *,
    out: Path,
    feature_layers: tuple[int, ...] | None = None,
) -> Path:
    """Turn a published file into a checkpoint of this project.

    Args:
        path: The authors' file.
        method: ``anomalyclip`` or ``adaclip``.
        backbone: The towers it was trained on; the checkpoint will run on no other.
        out: Where to, ending in ``.safetensors``.
        feature_layers: See ``build_published``.

    Raises:
        InvalidSettings: The method's authors publish no such file, or ``out`` is no such name.
        UnusableWeights: The file is damaged, or names or shapes differ; the message says which.
    """
    if out.suffix != ".safetensors":
        raise InvalidSettings(f"{out} must end in .safetensors.")
    found = read_published(path)
    model = build_published(method, found, backbone, feature_layers=feature_layers)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_checkpoint(
        out,
        model,
        scores=PUBLISHED_SCORES[method],
        threshold=0.5,
        training={"published": {"file": path.name, "digest": sha256_of(path)}},
    )
    return out


def fit_published(model: AnomalyClip | AdaClip, found: Mapping[str, Any]) -> None:
    """Put the tensors of a published file into a model.

    Raises:
        UnusableWeights: Names or shapes differ; the message says which.
    """
    if isinstance(model, AnomalyClip):
        learned = _anomalyclip_state(model, found)
    else:
        names = {key: _published_name(key) for key in model.learned_state()}
        own = {names[key]: value for key, value in model.learned_state().items()}
        _compare(found, {name: tuple(value.shape) for name, value in own.items()})
        learned = {key: found[name] for key, name in names.items()}
    with torch.no_grad():
        for key, value in model.learned_state().items():
            value.copy_(learned[key])


def written_as_published(model: AnomalyClip | AdaClip) -> dict[str, Any]:
    """Name and shape what a model learned as its authors' code does: the inverse of the import."""
    state = {key: value.float().cpu().clone() for key, value in model.learned_state().items()}
    if isinstance(model, AdaClip):
        return {_published_name(key): value for key, value in state.items()}
    context, deep = state["context"], state["deep"]
    tokens = {"ctx_pos": context[None, None, 0], "ctx_neg": context[None, None, 1]}
    return {
        "prompt_learner": {
            **tokens,
            **{f"compound_prompts_text.{number}": value for number, value in enumerate(deep)},
        }
    }


def _anomalyclip_settings(
    state: Mapping[str, Any], feature_layers: tuple[int, ...] | None
) -> AnomalyClipSettings:
    usual = AnomalyClipSettings()
    return AnomalyClipSettings(
        context_tokens=_length(state.get("ctx_pos"), -2) or usual.context_tokens,
        deep_tokens=_length(state.get("compound_prompts_text.0"), 0) or usual.deep_tokens,
        deep_layers=1 + _count(state, "compound_prompts_text"),
        feature_layers=feature_layers,
    )


def _adaclip_settings(
    state: Mapping[str, Any], depth: int, feature_layers: tuple[int, ...] | None
) -> AdaClipSettings:
    usual, prompts = AdaClipSettings(), "clip_model.visual_prompter.static_prompts"
    levels = _count(state, "clip_model.patch_token_layer.head") or 4
    return AdaClipSettings(
        prompt_depth=_count(state, prompts) or usual.prompt_depth,
        prompt_tokens=_length(state.get(f"{prompts}.0"), 0) or usual.prompt_tokens,
        feature_layers=feature_layers or quarter_layers(depth, levels),
    )


def _anomalyclip_state(model: AnomalyClip, found: Mapping[str, Any]) -> dict[str, Tensor]:
    state = {key: value for key, value in _inner(found).items() if not key.startswith(UNUSED)}
    context, deep = model.prompts.context, model.prompts.deep
    expected = dict.fromkeys(("ctx_pos", "ctx_neg"), (1, 1, *context.shape[1:]))
    names = [f"compound_prompts_text.{number}" for number in range(len(deep))]
    expected |= {name: tuple(deep.shape[1:]) for name in names}
    _compare(state, expected, optional=("token_prefix_", "token_suffix_", "tokenized_prompts_"))
    _same_words(model, state)
    both = torch.stack([state["ctx_pos"][0, 0], state["ctx_neg"][0, 0]])
    return {"context": both, "deep": torch.stack([state[name] for name in names])}


def _same_words(model: AnomalyClip, state: Mapping[str, Tensor]) -> None:
    """Hold the sentences that a file carries against ours, where it carries them."""
    prompts, text = model.prompts, model.backbone.text
    tokens = text.tokenize(prompts.sentences).cpu()
    embedded = text.embed(tokens.to(prompts.context.device)).cpu()
    learned, count = 1 + prompts.settings.context_tokens, tokens.shape[1]
    for row, end in enumerate(("pos", "neg")):
        theirs = state.get(f"tokenized_prompts_{end}")
        same = theirs is None or torch.equal(theirs[0, 0, :count].long(), tokens[row].long())
        for name, first, last in (("prefix", 0, 1), ("suffix", learned, count)):
            words = state.get(f"token_{name}_{end}")
            if words is not None:
                ours = embedded[row, first:last]
                theirs = words[0, 0, : last - first].float()
                same &= ours.shape == theirs.shape and torch.allclose(
                    theirs, ours, atol=SAME_WORDS_ATOL
                )
        if not same:
            raise UnusableWeights(
                "The file's sentences, or the embeddings of their words, are not those of this "
                "backbone.",
                "Name the backbone and the weights that it was trained on.",
                code="wrong-backbone",
            )


def _inner(found: Mapping[str, Any]) -> Mapping[str, Any]:
    inner = found.get("prompt_learner")
    if not isinstance(inner, dict):
        raise UnusableWeights(
            "The file is not laid out as AnomalyCLIP's: the key prompt_learner is missing, and "
            f"it has {_few(sorted(map(str, found)))}.",
            "Give the authors' file.",
            code="weights-mismatch",
        )
    return inner


def _compare(
    state: Mapping[str, Any],
    expected: Mapping[str, tuple[int, ...]],
    *,
    optional: tuple[str, ...] = (),
) -> None:
    """Say which names are missing or unknown, and which shapes differ."""
    missing = [name for name in expected if not isinstance(state.get(name), Tensor)]
    unknown = [
        str(k) for k in state if k not in expected and not str(k).startswith(optional or " ")
    ]
    wrong = [
        f"{name} {tuple(state[name].shape)} instead of {shape}"
        for name, shape in expected.items()
        if name not in missing and tuple(state[name].shape) != shape
    ]
    problems = [
        f"{what} {_few(names)}"
        for what, names in (
            ("missing", missing), ("not part of it", unknown), ("of another shape", wrong),
        )
        if names
    ]  # fmt: skip
    if problems:
        raise UnusableWeights(
            "The file is not laid out as published for this method and backbone: "
            f"{'; '.join(problems)}.",
            "Give the authors' file, and the backbone it was trained on.",
            code="weights-mismatch",
        )


def _published_name(key: str) -> str:
    part = next(part for part in _ADACLIP_PARTS if key == part or key.startswith(f"{part}."))
    return f"clip_model.{_ADACLIP_PARTS[part]}{key.removeprefix(part)}"


def _count(state: Mapping[str, Any], stem: str) -> int:
    tails = (str(key).removeprefix(f"{stem}.") for key in state if str(key).startswith(f"{stem}."))
    numbers = {int(number) for tail in tails if (number := tail.partition(".")[0]).isdigit()}
    return max(numbers, default=-1) + 1


def _length(value: object, axis: int) -> int | None:
    return value.shape[axis] if isinstance(value, Tensor) and value.ndim > abs(axis) else None


def _few(names: Sequence[str], count: int = 4) -> str:
    rest = f" and {len(names) - count} more" if len(names) > count else ""
    return ", ".join(names[:count]) + rest
