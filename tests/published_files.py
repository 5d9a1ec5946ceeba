"""What a model learned, named and shaped as its authors' code does: the inverse of the import."""

from __future__ import annotations

from typing import Any

from headclip_med.models.adaclip.model import AdaClip
from headclip_med.models.adaclip.published import published_name
from headclip_med.models.anomalyclip.model import AnomalyClip


def written_as_published(model: AnomalyClip | AdaClip) -> dict[str, Any]:
    state = {key: value.float().cpu().clone() for key, value in model.learned_state().items()}
    if isinstance(model, AdaClip):
        return {published_name(key): value for key, value in state.items()}
    context, deep = state["context"], state["deep"]
    tokens = {"ctx_pos": context[None, None, 0], "ctx_neg": context[None, None, 1]}
    return {
        "prompt_learner": {
            **tokens,
            **{f"compound_prompts_text.{number}": value for number, value in enumerate(deep)},
        }
    }
