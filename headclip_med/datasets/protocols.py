"""The two protocols of training and testing that the tables of the field follow.

HeadCLIP section 4.1: train on VisA to test MVTec AD, and on MVTec AD to test all others. It is the
auxiliary set's *test* split that is trained on, since it holds the anomalies.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from headclip_med.datasets.discover import find_sets
from headclip_med.errors import InvalidSettings


@dataclass(frozen=True)
class Protocol:
    """What is trained on and what is tested.

    Attributes:
        name: As given on the command line.
        train: Names of sets in ``KNOWN_SETS``.
        test: Names of sets; none of them is trained on.
    """

    name: str
    train: tuple[str, ...]
    test: tuple[str, ...]


@dataclass(frozen=True)
class ResolvedProtocol:
    """A protocol with the folders of its sets.

    Attributes:
        protocol: Which one.
        train: Sets to train on, as ``open_dataset`` takes them.
        test: Sets to test, likewise.
        absent: Names of the sets that were not found.
    """

    protocol: Protocol
    train: tuple[str, ...]
    test: tuple[str, ...]
    absent: tuple[str, ...]


INDUSTRIAL = ("MVTecAD", "VisA", "MPDD", "BTAD", "SDD", "DAGM", "DTD-Synthetic")
"""The industrial sets of the evaluation, in the order of table 1."""

MEDICAL = (
    "ISIC", "CVC-ClinicDB", "CVC-ColonDB", "Kvasir", "EndoTect", "TN3K",
    "HeadCT", "BrainMRI", "Br35H", "COVID-19",
)  # fmt: skip
"""The medical sets of the evaluation: six with masks, then four with labels only."""

PROTOCOLS = {
    one.name: one
    for one in (
        Protocol("visa-to-mvtec", ("VisA",), ("MVTecAD",)),
        Protocol("mvtec-to-all", ("MVTecAD",), (*INDUSTRIAL[1:], *MEDICAL)),
    )
}
"""The published protocols by name."""


def find_protocol(name: str) -> Protocol:
    """Look a protocol up.

    Raises:
        InvalidSettings: There is none of that name.
    """
    if name not in PROTOCOLS:
        raise InvalidSettings(
            f"There is no protocol {name}.",
            f"Known are {', '.join(PROTOCOLS)}.",
            code="unknown-protocol",
        )
    return PROTOCOLS[name]


def resolve_protocol(protocol: Protocol, data_root: Path) -> ResolvedProtocol:
    """Find the sets of a protocol below a folder; none is opened.

    Args:
        protocol: What to train on and to test.
        data_root: Where sets are kept, each in a folder that bears one of its names.

    Returns:
        What is there to train on and to test, and what is absent, which is no error.
    """
    places = find_sets(data_root)
    train, test = (
        tuple(f"{name}:{places[name]}" for name in names if name in places)
        for names in (protocol.train, protocol.test)
    )
    wanted = (*protocol.train, *protocol.test)
    return ResolvedProtocol(protocol, train, test, tuple(n for n in wanted if n not in places))
