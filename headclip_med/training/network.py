"""A method in training as one network: a batch in, outputs out; its state is what it learned."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from headclip_med.settings import Precision, Settings, TrainSettings
from headclip_med.training.batches import Batch
from headclip_med.training.losses import LossTerms


class Outputs(NamedTuple):
    """What a method gives for a batch, in float32; the method's loss knows the shapes.

    Attributes:
        image: Of each image: normal, abnormal (logits, or AdaCLIP's probabilities).
        maps: Probabilities N and A of each pixel; of several feature layers, the layer first.
    """

    image: Tensor
    maps: Tensor


TermsOf = Callable[[Outputs, Batch, bool], LossTerms]
"""The loss of a method; the last says whether dice terms go over the rows of a single image."""


class Trainable(nn.Module):
    """The form of a method that learns, on a frozen backbone.

    Attributes:
        method: What it is called by.
        settings: What it is made of.
        backbone: What it stands on; its weights have a ``digest``.
    """

    method: str
    settings: Settings
    backbone: Any

    def learned_state(self) -> dict[str, Tensor]:
        """Collect what was learned, by name; everything else belongs to the backbone."""
        return {
            name.removeprefix("prompts."): value.detach()
            for name, value in self.named_parameters()
            if not name.startswith("backbone.")
        }

    @torch.no_grad()
    def load_learned(self, learned: Mapping[str, Tensor]) -> None:
        """Take up what was learned, named and shaped as in ``learned_state``."""
        for name, value in self.learned_state().items():
            value.copy_(learned[name])


class LearningNetwork(nn.Module):
    """What MONAI's trainer runs, and what its handlers save: the learned tensors, no backbone.

    Args:
        model: Learns; it is changed in place.
        precision: What the towers' products are computed in; the comparison stays float32.
        features: Keeps what the image tower makes of each image, of a method that can do with it.

    Attributes:
        loss: Computes the terms of outputs, given labels and masks.
    """

    loss: Callable[..., LossTerms]

    def __init__(
        self, model: Trainable, precision: Precision = "fp32", features: Any = None
    ) -> None:
        super().__init__()
        self.model: Any = model
        self.precision = precision
        self.features = features
        names = {name for name, one in self.named_parameters() if one.requires_grad}

        def drop(_: nn.Module, state: dict[str, Any], prefix: str, __: object) -> None:
            for key in [one for one in state if one.startswith(prefix)]:
                if key.removeprefix(prefix) not in names:
                    del state[key]

        def allow(_: nn.Module, keys: Any) -> None:
            keys.missing_keys[:] = [key for key in keys.missing_keys if key in names]

        self.register_state_dict_post_hook(drop)  # type: ignore[no-untyped-call]
        self.register_load_state_dict_post_hook(allow)  # type: ignore[no-untyped-call]

    def forward(self, batch: Batch) -> Outputs:
        """Run a batch that lies on the model's device, with a graph to what learns."""
        raise NotImplementedError

    def terms_of(self, outputs: Outputs, batch: Batch, squeezed: bool) -> LossTerms:
        """Compute the loss of a batch; see ``TermsOf``."""
        return self.loss(*outputs, batch.labels, batch.masks, squeezed=squeezed)

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
        settings: Have lambda of the local terms, and say which mean dice terms are.
    """

    def __init__(self, terms_of: TermsOf, settings: TrainSettings) -> None:
        self._terms_of = terms_of
        self._settings = settings
        self.last: dict[str, float] = {}

    def __call__(self, outputs: Outputs, batch: Batch) -> Tensor:
        """Compute the loss of this process's part; ``last`` keeps the values it is made of."""
        squeezed = self._settings.squeezed_dice and batch.whole == 1
        terms = self._terms_of(outputs, batch, squeezed)
        total = terms.total(self._settings.local_weight)
        parts = {name: float(value.detach()) for name, value in vars(terms).items()}
        self.last = {"loss": float(total.detach()), **parts}
        return total * batch.share
