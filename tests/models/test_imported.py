"""Files in the authors' layouts become checkpoints; files in another layout are told apart."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from headclip_med.cli import main
from headclip_med.errors import InvalidSettings, UnusableWeights
from headclip_med.models.adaclip.model import AdaClip
from headclip_med.models.adaclip.settings import AdaClipSettings
from headclip_med.models.anomalyclip.model import AnomalyClip
from headclip_med.models.anomalyclip.settings import AnomalyClipSettings
from headclip_med.models.checkpoint import read_checkpoint
from headclip_med.models.clip.towers import Backbone
from headclip_med.models.imported import build_published, import_published, read_published
from headclip_med.models.loading import load_model
from tests import tiny
from tests.published_files import written_as_published


def anomalyclip_file(backbone: Backbone) -> dict[str, Any]:
    """Everything that ``epoch_15.pth`` holds, of other sizes."""
    model = AnomalyClip(backbone, AnomalyClipSettings(context_tokens=5, deep_tokens=2), seed=3)
    state: dict[str, Tensor] = written_as_published(model)["prompt_learner"]
    width, context = backbone.text.width, backbone.text.text.positional_embedding.shape[0]
    padded = backbone.text.tokenizer(list(model.prompts.sentences))  # all positions, as theirs
    embedded = backbone.text.embed(padded).detach()
    for row, end in enumerate(("pos", "neg")):
        state[f"token_prefix_{end}"] = embedded[None, row : row + 1, :1]
        state[f"token_suffix_{end}"] = embedded[None, row : row + 1, 6:]
        state[f"tokenized_prompts_{end}"] = padded[None, row : row + 1].int()
        assert state[f"token_suffix_{end}"].shape == (1, 1, context - 6, width)
    for number in range(3):
        state[f"compound_prompt_projections.{number}.weight"] = torch.ones(896, width)
        state[f"compound_prompt_projections.{number}.bias"] = torch.ones(896)
    return {"prompt_learner": state}


def adaclip_file(backbone: Backbone) -> dict[str, Any]:
    settings = AdaClipSettings(prompt_depth=3, prompt_tokens=2)
    return written_as_published(AdaClip(backbone, settings, seed=3))


FILES = {"anomalyclip": anomalyclip_file, "adaclip": adaclip_file}
METHODS = pytest.mark.parametrize("method", FILES)


def inner(found: dict[str, Any]) -> dict[str, Any]:
    state: dict[str, Any] = found.get("prompt_learner", found)
    return state


@METHODS
def test_a_published_file_becomes_a_checkpoint_that_judges_alike(
    method: str, tmp_path: Path
) -> None:
    backbone, path, out = tiny.backbone(), tmp_path / "epoch.pth", tmp_path / "mine.safetensors"
    torch.save(FILES[method](backbone), path)
    import_published(path, method, backbone, out=out)
    checkpoint = read_checkpoint(out)
    assert checkpoint.method == method
    assert checkpoint.scores.global_weight == 1
    assert checkpoint.training["published"]["file"] == "epoch.pth"
    judged = checkpoint.build(tiny.backbone())
    assert judged.describe()["name"] == "mine"
    direct = build_published(method, read_published(path), backbone).fold()
    found, expected = judged.predict(tiny.images()), direct.predict(tiny.images())
    torch.testing.assert_close(found.map, expected.map)
    torch.testing.assert_close(found.global_score, expected.global_score)


@METHODS
def test_what_is_written_as_published_reads_back(method: str) -> None:
    found = FILES[method](tiny.backbone())
    again = inner(written_as_published(build_published(method, found, tiny.backbone())))
    for name, value in again.items():
        assert torch.equal(value, inner(found)[name]), name


def test_adaclips_file_has_the_published_names_and_shapes() -> None:
    found = {name: tuple(value.shape) for name, value in adaclip_file(tiny.backbone()).items()}
    parts = {"text_prompter.static_prompts": (3, (2, 16)),
             "visual_prompter.static_prompts": (3, (2, 16))}  # fmt: skip
    expected = {
        f"clip_model.{name}.{number}": shape
        for name, (count, shape) in parts.items()
        for number in range(count)
    }
    for name, count, shape in (
        ("patch_token_layer", 4, (12, 16)), ("cls_token_layer", 1, (12, 12)),
        ("dynamic_visual_prompt_generator", 2, (16, 12)),
        ("dynamic_text_prompt_generator", 2, (16, 12)),
    ):  # fmt: skip
        for number in range(count):
            expected[f"clip_model.{name}.head.{number}.weight"] = shape
            expected[f"clip_model.{name}.head.{number}.bias"] = shape[:1]
    assert found == expected


def test_sizes_come_from_the_file() -> None:
    built = build_published("anomalyclip", anomalyclip_file(tiny.backbone()), tiny.backbone())
    assert built.settings.context_tokens == 5  # type: ignore[union-attr]
    assert built.prompts.deep.shape == (3, 2, 16)  # type: ignore[union-attr]
    other = build_published(
        "adaclip", adaclip_file(tiny.backbone()), tiny.backbone(), feature_layers=(1, 2, 3, 4)
    )
    assert other.settings.prompt_depth == 3  # type: ignore[union-attr]
    assert other.settings.feature_layers == (1, 2, 3, 4)


@METHODS
def test_another_layout_is_refused_key_by_key(method: str) -> None:
    backbone = tiny.backbone()
    key = "ctx_neg" if method == "anomalyclip" else "clip_model.cls_token_layer.head.0.bias"

    def refused(change: Any, saying: str) -> None:
        found = FILES[method](backbone)
        change(inner(found))
        with pytest.raises(UnusableWeights, match=saying):
            build_published(method, found, backbone)

    refused(lambda state: state.pop(key), f"missing {key}")
    refused(lambda state: state.update({"epoch": 3}), "not part of it epoch")
    shape = f"of another shape {key} .* instead of"
    refused(lambda state: state.update({key: torch.ones(3, 3)}), shape)


def test_the_other_methods_file_is_refused() -> None:
    backbone = tiny.backbone()
    with pytest.raises(UnusableWeights, match="prompt_learner is missing"):
        build_published("anomalyclip", adaclip_file(backbone), backbone)
    with pytest.raises(UnusableWeights, match="missing clip_model"):
        build_published("adaclip", anomalyclip_file(backbone), backbone)
    with pytest.raises(InvalidSettings, match="no published file of headclip"):
        build_published("headclip", {}, backbone)


def test_another_backbones_words_are_noticed() -> None:
    with pytest.raises(UnusableWeights, match="not those of this backbone"):
        build_published("anomalyclip", anomalyclip_file(tiny.backbone()), tiny.backbone(seed=1))
    found = anomalyclip_file(tiny.backbone())
    found["prompt_learner"]["tokenized_prompts_neg"][0, 0, 7] += 1
    with pytest.raises(UnusableWeights, match="not those of this backbone"):
        build_published("anomalyclip", found, tiny.backbone())


class Payload:
    def __reduce__(self) -> Any:
        return print, ("a pickle ran",)


def test_a_file_that_could_run_code_is_refused_unread(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "epoch.pth"
    torch.save({"prompt_learner": Payload()}, path)
    with pytest.raises(UnusableWeights, match="could run code"):
        read_published(path)
    assert capsys.readouterr().out == ""
    with pytest.raises(UnusableWeights, match="There is no weights file"):
        read_published(tmp_path / "none.pth")
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UnusableWeights, match="damaged"):
        read_published(path)
    torch.save([1, 2], path)
    with pytest.raises(UnusableWeights, match="no state dict"):
        read_published(path)


def test_a_checkpoint_of_another_method_is_told_in_one_line(tmp_path: Path) -> None:
    backbone, path, out = tiny.backbone(), tmp_path / "epoch.pth", tmp_path / "a.safetensors"
    torch.save(adaclip_file(backbone), path)
    checkpoint = read_checkpoint(import_published(path, "adaclip", backbone, out=out))
    for wanted in ("anomalyclip", "headclip"):
        with pytest.raises(UnusableWeights, match=f"checkpoint of adaclip, not of {wanted}"):
            load_model(out, method=wanted, device="cpu")
    with pytest.raises(UnusableWeights, match="trained on tiny"):
        checkpoint.build(tiny.backbone(seed=1))


def test_the_command_imports(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from headclip_med.models.clip.loading import load_backbone

    path, out = tmp_path / "epoch.pth", tmp_path / "runs/mine.safetensors"
    mini = load_backbone("headclip-mini")
    torch.save(written_as_published(AnomalyClip(mini, seed=2)), path)
    arguments = ["weights", "import", str(path), "--method", "anomalyclip", "--backbone",
                 "headclip-mini", "--out", str(out), "--json"]  # fmt: skip
    assert main(arguments) == 0
    assert json.loads(capsys.readouterr().out) == {"checkpoint": str(out)}
    with safe_open(out, framework="pt") as file:
        assert set(file.keys()) == {"context", "deep"}
    assert main(arguments[:5]) == 2
    assert "needs --backbone as well" in capsys.readouterr().err
    wrong = [one if one != str(out) else str(tmp_path / "mine.pth") for one in arguments]
    assert main(wrong) == 2
    adaclip = [one if one != "anomalyclip" else "adaclip" for one in arguments]
    assert main(adaclip) == 1
    assert "missing clip_model." in capsys.readouterr().err
