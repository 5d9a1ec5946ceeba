"""Equations 10 and 11 by hand."""

from __future__ import annotations

import math

import pytest
import torch

from headclip_med.models.headclip.learning import headclip_loss
from headclip_med.training.losses import dice_loss, focal_loss


def maps_of(abnormal: torch.Tensor) -> torch.Tensor:
    return torch.stack([1 - abnormal, abnormal], dim=1)


def test_equation_10_is_the_cross_entropy_of_the_image() -> None:
    logits = torch.tensor([[0.0, math.log(3)]])  # probabilities 1/4 and 3/4
    maps, masks = maps_of(torch.full((1, 1, 1), 0.5)), torch.zeros(1, 1, 1)
    terms = headclip_loss(logits, maps[None], torch.tensor([1]), masks)
    assert terms.image.item() == pytest.approx(-math.log(0.75), abs=1e-6)


def test_the_focal_term_by_hand() -> None:
    # True class given 0.9, and 0.2: mean of 0.1^2 * -ln 0.9 and 0.8^2 * -ln 0.2.
    maps, masks = maps_of(torch.tensor([[[0.9, 0.8]]])), torch.tensor([[[1.0, 0.0]]])
    expected = (0.01 * -math.log(0.9) + 0.64 * -math.log(0.2)) / 2
    assert focal_loss(maps, masks).item() == pytest.approx(expected, rel=1e-3)


def test_the_dice_term_by_hand() -> None:
    # Overlap 0.5 + 1, sizes 1.75 and 2: 1 - (2 * 1.5 + 1) / (3.75 + 1); and an empty pair: 0.
    probability = torch.tensor([[[0.5, 1.0, 0.25]], [[0.0, 0.0, 0.0]]])
    target = torch.tensor([[[1.0, 1.0, 0.0]], [[0.0, 0.0, 0.0]]])
    expected = (1 - 4 / 4.75 + 0) / 2
    assert dice_loss(probability, target).item() == pytest.approx(expected, abs=1e-6)


def test_equation_11_adds_focal_and_both_dice_terms() -> None:
    # One abnormal pixel, N = 0.3 and A = 0.6.
    maps, mask = torch.tensor([0.3, 0.6]).view(1, 2, 1, 1), torch.ones(1, 1, 1)
    terms = headclip_loss(torch.zeros(1, 2), maps[None], torch.tensor([1]), mask)
    focal = 0.4**2 * -math.log(0.6)
    healthy, lesion = 1 - 1 / (0.3 + 0 + 1), 1 - (2 * 0.6 + 1) / (0.6 + 1 + 1)
    assert terms.total().item() == pytest.approx(math.log(2) + focal + healthy + lesion, rel=1e-4)


def test_a_perfect_answer_costs_nothing_and_a_wrong_one_much() -> None:
    masks = torch.tensor([[[1.0, 0.0], [0.0, 0.0]]])
    labels = torch.tensor([1])
    right = headclip_loss(torch.tensor([[-20.0, 20.0]]), maps_of(masks)[None], labels, masks)
    wrong = headclip_loss(torch.tensor([[20.0, -20.0]]), maps_of(1 - masks)[None], labels, masks)
    assert right.total().item() == pytest.approx(0, abs=1e-3)
    assert wrong.total().item() > 40


def test_the_local_weight_leaves_the_image_term_alone() -> None:
    generator = torch.Generator().manual_seed(0)
    maps = maps_of(torch.rand(2, 4, 4, generator=generator))
    masks = (torch.rand(2, 4, 4, generator=generator) > 0.5).float()
    terms = headclip_loss(
        torch.randn(2, 2, generator=generator), maps[None], torch.tensor([0, 1]), masks
    )
    local = terms.total() - terms.image
    torch.testing.assert_close(terms.total(4.0) - terms.image, 4 * local)
    torch.testing.assert_close(local, terms.focal + terms.dice_normal + terms.dice_abnormal)
    torch.testing.assert_close(terms.total(0.0), terms.image)


def test_images_count_alike_however_large_their_lesions() -> None:
    one = dice_loss(torch.tensor([[[0.3, 0.9]]]), torch.tensor([[[0.0, 1.0]]]))
    other = dice_loss(torch.tensor([[[0.8, 0.1]]]), torch.tensor([[[1.0, 1.0]]]))
    both = dice_loss(
        torch.tensor([[[0.3, 0.9]], [[0.8, 0.1]]]), torch.tensor([[[0.0, 1.0]], [[1.0, 1.0]]])
    )
    torch.testing.assert_close(both, (one + other) / 2)
