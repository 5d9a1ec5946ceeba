"""The one place where a pass of an image tower is executed."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from headclip_med.models.engine.plan import PassPlan
from headclip_med.models.engine.precision import autocast


def run(
    plan: PassPlan,
    images: Float[Tensor, "batch 3 height width"] | Float[Tensor, "batch tokens channels"],
) -> None:
    """Run the blocks of a tower in turn, and show each one's output to the plan's readers.

    Readers compute in the plan's precision too. Gradients are kept where the caller wants them.

    Args:
        plan: Tower, readers, precision and prompts.
        images: Normalised, both sides a multiple of the patch; or tokens that enter the first
            block, class token first.

    Raises:
        InvalidSettings: The size is no multiple of the patch.
    """
    vision, readers = plan.vision, plan.readers
    wanted = frozenset[int]().union(*(reader.local_layers for reader in readers))
    with autocast(plan.precision, images.device):
        tokens = vision.embed(images) if images.ndim == 4 else images
        count = tokens.shape[1]
        for layer in range(1, vision.depth + 1):
            if plan.prompts is not None and layer <= plan.prompts.shape[1]:
                fresh = plan.prompts[:, layer - 1].to(tokens).expand(len(tokens), -1, -1)
                tokens = torch.cat([tokens[:, :count], fresh], dim=1)
            output = vision.run_block(layer, tokens, local=layer in wanted)
            for reader in readers:
                reader.read(output)
            tokens = output.tokens
