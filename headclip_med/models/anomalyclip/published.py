"""The file that AnomalyCLIP's authors publish, ``{"prompt_learner": state}``: names and shapes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from headclip_med.errors import UnusableWeights
from headclip_med.models.anomalyclip.model import AnomalyClip
from headclip_med.models.anomalyclip.settings import AnomalyClipSettings
from headclip_med.models.clip.towers import Backbone
from headclip_med.models.clip.weights import few, unwrapped
from headclip_med.models.imported import compare, count_of, length_of

UNUSED = "compound_prompt_projections."
"""Maps that the files carry and the published code never calls."""

SAME_WORDS_ATOL = 1e-3
"""Word embeddings in a file may have been rounded to fp16."""


def build_published(
    found: Mapping[str, Any], backbone: Backbone, feature_layers: tuple[int, ...] | None
) -> AnomalyClip:
    """Build the form that learns, with a published file's tensors; see ``Learning.published``.

    Raises:
        UnusableWeights: Names or shapes differ; the message says which.
    """
    model = AnomalyClip(backbone, _settings(_inner(found), feature_layers))
    fit_published(model, found)
    return model


def fit_published(model: AnomalyClip, found: Mapping[str, Any]) -> None:
    """Put the tensors of a published file into a model.

    Raises:
        UnusableWeights: Names or shapes differ; the message says which.
    """
    model.load_learned(_state(model, found))


def _settings(
    state: Mapping[str, Any], feature_layers: tuple[int, ...] | None
) -> AnomalyClipSettings:
    usual = AnomalyClipSettings()
    return AnomalyClipSettings(
        context_tokens=length_of(state.get("ctx_pos"), -2) or usual.context_tokens,
        deep_tokens=length_of(state.get("compound_prompts_text.0"), 0) or usual.deep_tokens,
        deep_layers=1 + count_of(state, "compound_prompts_text"),
        feature_layers=feature_layers,
    )


def _state(model: AnomalyClip, found: Mapping[str, Any]) -> dict[str, Tensor]:
    state = {key: value for key, value in _inner(found).items() if not key.startswith(UNUSED)}
    context, deep = model.prompts.context, model.prompts.deep
    expected = dict.fromkeys(("ctx_pos", "ctx_neg"), (1, 1, *context.shape[1:]))
    names = [f"compound_prompts_text.{number}" for number in range(len(deep))]
    expected |= {name: tuple(deep.shape[1:]) for name in names}
    compare(state, expected, optional=("token_prefix_", "token_suffix_", "tokenized_prompts_"))
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
            f"it has {few(sorted(map(str, found)))}.",
            "Give the authors' file.",
            code="weights-mismatch",
        )
    return unwrapped(inner)
