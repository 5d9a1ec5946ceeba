"""AdaCLIP's hybrid semantic fusion: centres of the most abnormal patches join the class token."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from headclip_med.prediction import Embeddings

PATCHES_PER_CLUSTER = 5
"""The published code clusters this many patches per cluster, or all if there are fewer."""

Clustering = Callable[[Float[Tensor, "patches features"], int], Int[Tensor, "patches"]]
"""Turns feature vectors and a number of clusters into the cluster of each."""


def k_means(seed: int) -> Clustering:
    """Give scikit-learn's k-means (k-means++, one start), as the published code runs it.

    Args:
        seed: Of its start; the published code draws from NumPy's global state.
    """

    def cluster(features: Tensor, count: int) -> Tensor:
        from sklearn.cluster import KMeans
        from sklearn.exceptions import ConvergenceWarning

        values = features.detach().float().cpu().numpy()
        fit: Any = KMeans(n_clusters=min(count, len(values)), n_init="auto", random_state=seed)
        with warnings.catch_warnings():
            # Equal patches leave clusters empty, which the centres below leave out.
            warnings.simplefilter("ignore", ConvergenceWarning)
            labels = fit.fit_predict(values)
        return torch.as_tensor(labels, dtype=torch.int64, device=features.device)

    return cluster


def most_abnormal(
    logits: Float[Tensor, "levels batch patches 2"], clusters: int
) -> Int[Tensor, "batch chosen"]:
    """Number the patches whose probability of abnormal is highest, by the mean logits of levels."""
    score = logits.mean(dim=0).softmax(dim=-1)[..., 1]
    count = min(score.shape[1], clusters * PATCHES_PER_CLUSTER)
    return score.topk(count, dim=1).indices


def semantic_centre(
    patches: Float[Tensor, "levels batch patches joint"],
    chosen: Int[Tensor, "batch chosen"],
    clusters: int,
    clustering: Clustering,
) -> Embeddings:
    """Average the chosen patches within each cluster and over levels, then over clusters.

    Patches are clustered by their features of all levels side by side. Gradients reach the
    patches; to which cluster one belongs is a constant.

    Returns:
        Unit vectors.
    """
    centres = []
    for number, rows in enumerate(chosen):
        features = patches[:, number, rows]
        side_by_side = features.transpose(0, 1).flatten(1)
        labels = clustering(side_by_side, clusters)
        found = sorted(set(labels.tolist()))
        means = [features[:, labels == label].mean(dim=(0, 1)) for label in found]
        centres.append(torch.stack(means).mean(dim=0))
    return functional.normalize(torch.stack(centres), dim=-1)


def fuse(token: Embeddings, centre: Embeddings, weight: float) -> Embeddings:
    """Mix class token and centre, and scale to length one.

    Args:
        token: Unit class token.
        centre: Of ``semantic_centre``.
        weight: Share of the centre, in [0, 1].
    """
    return functional.normalize(weight * centre + (1 - weight) * token, dim=-1)
