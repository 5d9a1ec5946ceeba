"""Towers that learnt the drawings are told right from wrong; others are told to be silent."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from headclip_med.cli.main import main
from headclip_med.models.clip.towers import Backbone
from headclip_med.models.maps import unit
from headclip_med.models.verification import check, digests
from headclip_med.models.verification.drawings import draw_all
from headclip_med.models.verification.fingerprint import (
    TELLING,
    Fingerprint,
    fit_of,
    take_fingerprint,
)
from tests import tiny

CONFIG: dict[str, Any] = {
    "embed_dim": 24,
    "quick_gelu": True,
    "vision_cfg": {
        "layers": 1, "width": 48, "head_width": 12, "patch_size": 8, "image_size": 32,
    },
    "text_cfg": {
        "context_length": 24, "vocab_size": 49408, "width": 24, "heads": 2, "layers": 1,
    },
}  # fmt: skip
GROUPS = ["one"] * 3


def learnt() -> Backbone:
    """Small towers that were shown the drawings until they knew them."""
    towers = tiny.build_clip(CONFIG, seed=2)
    clip = towers.clip
    drawn = draw_all(32)
    pixels = towers.normalise(torch.tensor([one.pixels01.tolist() for one in drawn]))
    tokens = towers.text.tokenizer([one.sentence for one in drawn])
    clip.token_embedding.weight.mul_(50)  # words that differ at once
    learning = [value for name, value in clip.named_parameters() if "token_emb" not in name]
    for value in learning:
        value.requires_grad_(True)
    optimiser = torch.optim.Adam(learning, 3e-3)
    own = torch.arange(len(drawn))
    for _ in range(400):
        pictures, text = clip.encode_image(pixels), clip.encode_text(tokens)
        logits = unit(pictures) @ unit(text).T * 20
        both = nn.functional.cross_entropy(logits, own) + nn.functional.cross_entropy(logits.T, own)
        optimiser.zero_grad()
        both.backward()
        optimiser.step()
    clip.requires_grad_(False)
    return towers


@pytest.fixture(scope="module")
def towers() -> Backbone:
    return learnt()


def ways(found: Fingerprint) -> dict[str, float]:
    return {one.way: one.strength for one in found.fits}


def test_the_strength_of_a_perfect_match_is_worked_out_by_hand() -> None:
    # Centred, the unit matrix of 3 has 2/3 on and -1/3 off the diagonal: trace 2, squares sum to 2,
    # so 2 / sqrt(2 / 2) = 2; loss ln(1 + 2/e).
    fit = fit_of("so", torch.eye(3), GROUPS, 1.0)
    assert fit.strength == pytest.approx(2)
    assert (fit.hits, fit.chance) == (3, 1)
    assert fit.loss == pytest.approx(math.log(1 + 2 / math.e))


def test_a_sentence_that_is_near_to_every_picture_changes_no_strength() -> None:
    favoured = torch.eye(3) + torch.tensor([0.0, 5, 0])
    assert fit_of("so", favoured, GROUPS, 1.0).strength == pytest.approx(2)


def test_sentences_dealt_out_by_chance_have_mean_0_and_deviation_1() -> None:
    cosines = torch.rand(6, 6, generator=torch.Generator().manual_seed(1))
    dealt = [
        fit_of("so", cosines[:, torch.randperm(6)], ["one"] * 6, 1.0).strength for _ in range(2000)
    ]
    found = torch.tensor(dealt)
    assert float(found.mean()) == pytest.approx(0, abs=0.1)
    assert float(found.std()) == pytest.approx(1, abs=0.1)


def test_towers_that_know_the_drawings_are_right(towers: Backbone) -> None:
    found = take_fingerprint(towers)
    assert found.verdict == "right"
    assert found.fits[0].strength > TELLING


def test_what_the_table_states_of_the_activation_is_held_against_the_run(towers: Backbone) -> None:
    found = take_fingerprint(towers)
    one = digests.PublishedFile("ViT-B-32", "tag", "any.pt", "0" * 8, "quickgelu")
    file = digests.FileDigest("0" * 64, "known", (one,))
    right = check.Verification("any", "quickgelu", file, shipped=False, fingerprint=found)
    assert right.objection is None
    wrong = check.Verification("any", "gelu", file, shipped=False, fingerprint=found).objection
    assert wrong is not None
    assert wrong.code == "activation-mismatch"


@pytest.mark.parametrize("fault", ["mean", "text", "tokens", "red"])
def test_what_is_wrong_is_not_taken_for_right(towers: Backbone, fault: str) -> None:
    mean, clip = towers.get_buffer("_mean").clone(), towers.clip
    projection, words = clip.text_projection, towers.text.tokenizer
    try:
        if fault == "mean":
            towers.get_buffer("_mean").fill_(3.0)
        if fault == "red":
            clip.visual.conv1.weight.copy_(clip.visual.conv1.weight.flip(1))
        if fault == "text":
            clip.text_projection = nn.Parameter(projection.T.contiguous(), requires_grad=False)
        if fault == "tokens":
            towers.text.tokenizer = lambda some: words(some).roll(1, 0)
        found = take_fingerprint(towers)
    finally:
        clip.text_projection, towers.text.tokenizer = projection, words
        towers.get_buffer("_mean").copy_(mean)
        if fault == "red":
            clip.visual.conv1.weight.copy_(clip.visual.conv1.weight.flip(1))
    assert found.verdict != "right"
    if fault == "text":
        assert found.better is not None
        assert found.better.way == "with the text projection transposed"
    if fault == "red":
        assert found.better is not None
        assert found.better.way == "with red and blue exchanged"


@pytest.mark.parametrize("seed", [3, 4])
def test_random_towers_tell_nothing_and_are_refused(seed: int) -> None:
    found = take_fingerprint(tiny.build_clip(CONFIG, seed=seed))
    assert found.verdict == "not-telling"
    against = check.Verification("any", "gelu", None, shipped=False, fingerprint=found).objection
    assert against is not None
    assert against.code == "weights-not-telling"


def test_headclip_mini_is_as_shipped_and_the_drawings_tell_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved = tmp_path / "mini.json"
    assert main(["weights", "verify", "headclip-mini", "--save", str(saved), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["shipped"] is True
    assert facts["verdict"] == "not-telling"
    assert main(["weights", "verify", "headclip-mini", "--against", str(saved)]) == 0
    assert "as shipped" in capsys.readouterr().out
    content = json.loads(saved.read_text())
    content["similarities"][0][0] += 0.1
    saved.write_text(json.dumps(content))
    assert main(["weights", "verify", "headclip-mini", "--against", str(saved)]) == 1
    assert "differ by up to 0.1" in capsys.readouterr().err


def test_the_table_of_digests_is_open_clips_own() -> None:
    found = {(one.model, one.tag): one for one in digests.published_files()}
    openai = found["ViT-L-14-336", "openai"]
    assert (len(openai.digest), openai.activation) == (64, "quickgelu")
    assert found["ViT-B-32", "laion400m_e32"].digest == "46683a32"
    assert ("ViT-B-32", "metaclip_400m") not in found  # its address states none


def test_a_file_that_is_called_like_a_published_one_must_be_it(tmp_path: Path) -> None:
    wrong = tmp_path / "ViT-L-14-336px.pt"
    wrong.write_bytes(b"half of it")
    assert digests.digest_file(wrong).status == "wrong"
    assert digests.digest_file(wrong.rename(tmp_path / "own.pt")).status == "unknown"


def test_a_digest_names_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "any.pt"
    file.write_bytes(b"content")
    sha256 = digests.digest_file(file).sha256
    one = digests.PublishedFile("ViT-B-32", "tag", "any.pt", sha256[:8], "gelu")
    monkeypatch.setattr(digests, "published_files", lambda: iter((one,)))
    assert digests.digest_file(file) == digests.FileDigest(sha256, "known", (one,))
    assert check._digest_of(str(file)).published == (one,)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "Name the model to verify"),
        (["--weights", "{none}"], 1, "There is no weights file"),
        (["--weights", "{file}"], 2, "it names no model"),
        (["--weights", "{half}"], 1, "its digest is another"),
        (["headclip-mini", "--weights", "{file}"], 2, "--weights is not used"),
        (["headclip-mini", "--tag", "other"], 2, "--tag is not used by 'headclip weights verify'"),
        (["headclip-mini", "--against", "{none}"], 1, "There is no fingerprint"),
        (["headclip-mini", "--against", "{file}"], 1, "There is no fingerprint"),
    ],
)
def test_bad_usage_is_told(
    arguments: list[str], code: int, message: str, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    places = {"file": tmp_path / "file.pt", "none": tmp_path / "none.pt",
              "half": tmp_path / "ViT-L-14-336px.pt"}  # fmt: skip
    places["half"].write_bytes(b"half of it")
    places["file"].write_bytes(b"no weights")
    given = [one.format(**places) for one in arguments]
    assert main(["weights", "verify", *given]) == code
    assert message in capsys.readouterr().err
