"""A method in training as one network: a batch in, judgements out; its state is what it learned."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from headclip_med.models.checkpoint import LearnedModel
from headclip_med.models.inference import Precision
from headclip_med.training.batches import Batch
from headclip_med.training.losses import LossTerms


class Judged(NamedTuple):
    """What a method says of a batch, in float32; the method's loss knows the shapes.

    Attributes:
        image: Of each image: normal, abnormal (logits, or AdaCLIP's probabilities).
        maps: Probabilities N and A of each pixel; of several feature layers, the layer first.
    """

    image: Tensor
    maps: Tensor


TermsOf = Callable[[Judged, Batch], LossTerms]
"""The loss of a method."""


@runtime_checkable
class Trainable(LearnedModel, Protocol):
    """The trainable form of a method."""

    def parameters(self, recurse: bool = True) -> Iterator[nn.Parameter]:
        """All parameters; those that learn require a gradient."""


class LearningNetwork(nn.Module):
    """What MONAI's trainer runs, and what its handlers save: the learned tensors, no backbone.

    Args:
        model: Learns; it is changed in place.
        judge: Runs it on a batch that lies on its device.
    """

    def __init__(self, model: Trainable, judge: Callable[[Batch], Judged]) -> None:
        super().__init__()
        self.model = model
        self._judge = judge
        names = {name for name, one in self.named_parameters() if one.requires_grad}

        def drop(_: nn.Module, state: dict[str, Any], prefix: str, __: object) -> None:
            for key in [one for one in state if one.startswith(prefix)]:
                if key.removeprefix(prefix) not in names:
                    del state[key]

        def allow(_: nn.Module, keys: Any) -> None:
            keys.missing_keys[:] = [key for key in keys.missing_keys if key in names]

        self.register_state_dict_post_hook(drop)  # type: ignore[no-untyped-call]
        self.register_load_state_dict_post_hook(allow)  # type: ignore[no-untyped-call]

    def forward(self, batch: Batch) -> Judged:
        """Judge a batch, with a graph to what learns."""
        return self._judge(batch)

    def train(self, mode: bool = True) -> LearningNetwork:
        """Leave every part as it is: none behaves otherwise in training."""
        return self

    @property
    def learned(self) -> list[nn.Parameter]:
        """The parameters that learn."""
        return [one for one in self.parameters() if one.requires_grad]


class BatchLoss:
    """What is minimised: the terms of a method, weighted; MONAI's ``loss_function``.

    Args:
        terms_of: The method's loss.
        local_weight: lambda of the local terms.
    """

    def __init__(self, terms_of: TermsOf, local_weight: float = 1.0) -> None:
        self._terms_of = terms_of
        self._local_weight = local_weight
        self.last: dict[str, float] = {}

    def __call__(self, judged: Judged, batch: Batch) -> Tensor:
        """Compute the loss of this process's part; ``last`` keeps the values it is made of."""
        terms = self._terms_of(judged, batch)
        total = terms.total(self._local_weight)
        parts = {name: float(value.detach()) for name, value in vars(terms).items()}
        self.last = {"loss": float(total.detach()), **parts}
        return total * batch.share


def mixed(precision: Precision, device: torch.device) -> AbstractContextManager[object]:
    """Give what products of the towers are run in: bfloat16 by autocast, or nothing."""
    if precision == "fp32":
        return nullcontext()
    return torch.autocast(device.type, torch.bfloat16)
