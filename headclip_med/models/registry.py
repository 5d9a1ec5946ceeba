"""The methods that stand behind ``AnomalyModel``: the only table of them."""

from __future__ import annotations

from collections.abc import Mapping

from headclip_med.errors import InvalidSettings, nearest
from headclip_med.models import adaclip, anomalyclip, anovl, headclip, winclip
from headclip_med.models.method import Learning, Method

METHODS: Mapping[str, Method] = {
    method.name: method
    for method in (
        headclip.METHOD,
        anomalyclip.METHOD,
        adaclip.METHOD,
        winclip.METHOD,
        anovl.METHOD,
    )
}
"""All methods, in the order of tables."""

DEFAULT = headclip.METHOD.name
"""The method that is meant where none is named, and of checkpoints that name none."""


def method_named(name: str) -> Method:
    """Look a method up.

    Raises:
        InvalidSettings: There is none of that name.
    """
    if name not in METHODS:
        raise InvalidSettings(
            f"There is no method '{name}'.",
            f"{nearest(name, METHODS)}Choose one of {', '.join(METHODS)}.",
            code="unknown-method",
        )
    return METHODS[name]


def learning_of(name: str) -> Learning:
    """Say how a method is trained.

    Raises:
        InvalidSettings: There is none of that name, or it is not trained.
    """
    found = method_named(name).learning
    if found is None:
        trained = ", ".join(one.name for one in METHODS.values() if one.learning)
        raise InvalidSettings(
            f"{name} needs no training: name it as --method where it is used.",
            f"{trained} are trained.",
            code="untrainable-method",
        )
    return found
