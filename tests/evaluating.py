"""Evaluating a single model, as most tests do."""

from __future__ import annotations

from typing import Any

from headclip_med.datasets import Dataset
from headclip_med.evaluation.models import evaluate_models
from headclip_med.evaluation.request import EvaluationSettings
from headclip_med.evaluation.results import Evaluation
from headclip_med.models.model import AnomalyModel


def evaluate_dataset(dataset: Dataset, model: AnomalyModel, **options: Any) -> Evaluation:
    (found,) = evaluate_models(dataset, [model], EvaluationSettings(**options))
    return found
