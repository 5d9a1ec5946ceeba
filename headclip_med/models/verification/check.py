"""All that can be told of weights in one go, as facts, and what is to be said of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headclip_med.errors import InvalidSettings, UnusableWeights
from headclip_med.models.clip.hub import FoundModel, find_model, unusable_file
from headclip_med.models.clip.loading import load_found
from headclip_med.models.clip.snapshots import Activation
from headclip_med.models.clip.towers import Backbone
from headclip_med.models.header import checkpoint_of, read_header
from headclip_med.models.loading import choose_device
from headclip_med.models.verification.digests import FileDigest, digest_file
from headclip_med.models.verification.fingerprint import Fingerprint, take_fingerprint
from headclip_med.models.verification.record import MOST, SavedFingerprint
from headclip_med.settings import EMBEDDED_NAME


@dataclass(frozen=True, eq=False)
class Verification:
    """What is known of a pair of towers.

    Attributes:
        model: What they are called.
        activation: What they were run with.
        file: Of their file; None where they have none.
        shipped: Whether they are headclip-mini's, whole and unchanged.
        fingerprint: What the drawings tell.
        difference: To a saved fingerprint, where one was given: the largest of two cosines.
    """

    model: str
    activation: Activation
    file: FileDigest | None
    shipped: bool
    fingerprint: Fingerprint
    difference: float | None = None

    @property
    def objection(self) -> UnusableWeights | None:
        """What speaks against them, the surest first; None where nothing does."""
        stated = {one.activation for one in self.file.published} if self.file else set()
        better, asked = self.fingerprint.better, self.fingerprint.fits[0]
        if self.file and self.file.status == "wrong":
            return _wrong_digest()
        if stated and self.activation not in stated:
            return UnusableWeights(
                f"These weights were trained with {' or '.join(stated)}, and were run with "
                f"{self.activation}.",
                "Leave --activation out, or name the model without another activation in it.",
                code="activation-mismatch",
            )
        if self.difference is not None and self.difference > MOST:
            return UnusableWeights(
                f"Cosines differ by up to {self.difference:.3f} from the saved fingerprint; {MOST} "
                "is allowed.",
                "These are other weights, or they are run otherwise.",
                code="fingerprint-differs",
            )
        if better is not None and not stated:
            return UnusableWeights(
                f"Drawn pictures match their sentences clearly better {better.way} "
                f"(loss {better.loss:.2f}) than as asked ({asked.loss:.2f}).",
                "Run the weights that way, or get a file that was not converted wrongly.",
                code="weights-run-otherwise",
            )
        if self.fingerprint.verdict != "not-telling" or self.shipped or self.difference is not None:
            return None
        return UnusableWeights(
            f"Drawn pictures do not find their sentences: {asked.hits} of {len(asked.losses)} "
            f"(by chance {asked.chance}), strength {asked.strength:.1f}.",
            "The weights are random or damaged, one tower or the tokenizer is another model's, or "
            "the model is too small to have learnt such words: then this test tells nothing of it.",
            code="weights-not-telling",
        )

    def to_json(self) -> dict[str, Any]:
        """Give all facts as plain JSON values."""
        against = self.objection
        return {
            "model": self.model,
            "activation": self.activation,
            "file": self.file and {
                "sha256": self.file.sha256, "status": self.file.status,
                "published": [f"{one.model} {one.tag}" for one in self.file.published],
            },
            "shipped": self.shipped,
            "verdict": self.fingerprint.verdict,
            "fits": [
                {"way": one.way, "strength": one.strength, "hits": one.hits, "loss": one.loss,
                 "drawings": len(one.losses)}
                for one in self.fingerprint.fits
            ],
            "difference": self.difference,
            "code": against and against.code,
            "reason": against and against.reason,
            "advice": against and against.advice,
        }  # fmt: skip


def verify_weights(  # noqa: PLR0913 - what, run how, and who is told, each by its name
    name: str | None,
    *,
    weights: str | None = None,
    activation: Activation | None = None,
    device: str = "auto",
    against: SavedFingerprint | None = None,
    loaded: Backbone | None = None,
    seen: Callable[[int, int], None] = lambda count, total: None,
) -> Verification:
    """Compare a file's digest with published ones, load it, and show it drawn pictures.

    Args:
        name: As for ``load_backbone``; may be left out for a file whose digest is published.
        weights: As for ``load_backbone``.
        activation: What they shall be run with; by default what the file or the table states.
        device: Where to run.
        against: A saved fingerprint.
        loaded: What the name and the weights lead to, where it is loaded already; it is run where
            it is.
        seen: As for ``take_fingerprint``.

    Raises:
        InvalidSettings: No model is named, and the digest tells none; or a name is unknown.
        UnusableWeights: A file is missing, damaged, does not fit, or gives no numbers.
    """
    place, digest = choose_device(device), None
    if name is None:
        digest = _digest_of(weights)
        name = digest.published[0].model
    found = find_model(name, weights)
    if found.path is not None and digest is None and found.source != "embedded":
        digest = digest_file(found.path)
    if activation is None and digest and _needs_activation(found):
        activation = next((one.activation for one in digest.published), None)
    backbone = loaded if loaded is not None else load_found(found, activation=activation).to(place)
    shipped = found.source == "embedded" and backbone.digest == _shipped_digest()
    fingerprint = take_fingerprint(backbone, seen=seen)
    difference = None if against is None else against.difference_to(fingerprint)
    return Verification(found.name, backbone.activation, digest, shipped, fingerprint, difference)


def activation_by_digest(name: str, weights: str | None) -> Activation | None:
    """Give what a file was trained with that does not tell itself, where its digest is published.

    Args:
        name: As for ``load_backbone``.
        weights: The same.

    Raises:
        InvalidSettings: The name is unknown.
        UnusableWeights: A file is missing.
    """
    found = find_model(name, weights)
    if found.path is None or not _needs_activation(found):
        return None
    return next((one.activation for one in digest_file(found.path).published), None)


def _digest_of(weights: str | None) -> FileDigest:
    """Let the digest of a file name its model."""
    if weights is None:
        raise InvalidSettings(
            "Name the model to verify, or its file.", "Give ViT-L-14-336, or --weights FILE."
        )
    if not Path(weights).is_file():
        raise unusable_file(Path(weights))
    digest = digest_file(Path(weights))
    if digest.status == "wrong":
        raise _wrong_digest()
    if not digest.published:
        raise InvalidSettings(
            "The file's digest is none of those that open_clip states, so it names no model.",
            "Name the model that it belongs to, as in 'headclip weights verify ViT-L-14-336'.",
            code="unknown-digest",
        )
    return digest


def _wrong_digest() -> UnusableWeights:
    return UnusableWeights(
        "The file is called like a published one, but its digest is another.",
        "It is incomplete or was changed: download it anew.",
        code="digest-wrong",
    )


def _needs_activation(found: FoundModel) -> bool:
    return found.activation is None and found.runs_with is None and found.token_seed is None


def _shipped_digest() -> str | None:
    path = checkpoint_of(EMBEDDED_NAME, None)
    return read_header(path).backbone["digest"] if path else None
