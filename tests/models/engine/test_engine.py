"""Passes are run in one place, in the precision that was asked for where hardware can do it."""

from __future__ import annotations

import ast
import logging

import pytest
import torch

from headclip_med.errors import InvalidSettings
from headclip_med.models.engine import run as precision
from headclip_med.models.engine.run import LastToken, PassPlan, has_bf16, run, settled
from headclip_med.models.loading import load_model
from headclip_med.pipelines.train import training_record
from headclip_med.settings import TrainSettings
from tests import tiny
from tests.source import modules


@pytest.fixture
def slow_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    """A CPU without instructions for bfloat16."""
    monkeypatch.setattr(precision, "has_bf16", lambda kind: kind != "cpu")
    precision._warn.cache_clear()


def test_blocks_are_run_by_the_engine_alone() -> None:
    callers = {
        module.name
        for module in modules("headclip_med", "transforms", "pipelines", "research")
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Attribute) and node.attr == "run_block"
    }
    assert callers == {"models.engine.run"}


def test_prompts_stand_behind_the_patches_each_layer_its_own() -> None:
    vision, images = tiny.backbone().vision, tiny.images()
    prompts = torch.rand(1, 2, 3, 16, generator=torch.Generator().manual_seed(0))
    entered: list[torch.Tensor] = []

    class Reader(LastToken):
        def read(self, block: object) -> None:
            super().read(block)  # type: ignore[arg-type]
            entered.append(block.tokens_in)  # type: ignore[attr-defined]

    run(PassPlan(vision, (Reader(),), prompts=prompts), images)
    for layer in (0, 1):
        assert torch.equal(entered[layer][:, 17:], prompts[:, layer].expand(2, -1, -1))
    assert [tokens.shape[1] for tokens in entered] == [1 + 16 + 3] * 4


def test_tokens_go_on_where_images_would_begin() -> None:
    vision, images = tiny.backbone().vision, tiny.images()
    first, again = LastToken(), LastToken()
    run(PassPlan(vision, (first,)), images)
    run(PassPlan(vision, (again,)), vision.embed(images))
    assert torch.equal(first.token, again.token)


def test_a_size_that_is_no_multiple_of_the_patch_is_refused() -> None:
    with pytest.raises(InvalidSettings, match="multiple of 4"):
        run(PassPlan(tiny.backbone().vision), torch.rand(1, 3, 18, 16))


def test_bf16_runs_where_hardware_is_made_for_it(quick_bf16: None) -> None:
    assert [settled(one, "cpu") for one in ("fp32", "bf16", "auto")] == ["fp32", "bf16", "bf16"]
    assert settled("auto", "cuda") == "bf16"


def test_elsewhere_it_warns_once_and_runs_fp32(
    slow_bf16: None, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert [settled(one, "cpu") for one in ("fp32", "auto")] == ["fp32", "fp32"]
        assert caplog.records == []
        assert [settled("bf16", "cpu") for _ in range(2)] == ["fp32", "fp32"]
    assert len(caplog.records) == 1
    assert "fp32 is run" in caplog.text


def test_a_model_says_what_ran_and_what_was_asked_for(slow_bf16: None) -> None:
    exact = load_model(device="cpu")
    images = tiny.images(1, size=112)
    assert exact.describe()["precision"] == "fp32"
    assert "precision_asked" not in exact.describe()
    for asked in ("bf16", "auto"):
        model = load_model(device="cpu", precision=asked)  # type: ignore[arg-type]
        described = model.describe()
        assert (described["precision"], described["precision_asked"]) == ("fp32", asked)
        assert torch.equal(model.predict(images).map, exact.predict(images).map)
    record = training_record({}, TrainSettings(precision="bf16"), [], "cpu")
    assert record["precision"] == "fp32"


def test_auto_is_bf16_on_quick_hardware(quick_bf16: None) -> None:
    auto, rounded = (load_model(device="cpu", precision=one) for one in ("auto", "bf16"))
    images = tiny.images(1, size=112)
    assert auto.describe()["precision"] == "bf16"
    assert torch.equal(auto.predict(images).map, rounded.predict(images).map)
    assert "precision_asked" not in rounded.describe()


@pytest.mark.parametrize("flag", precision.BF16)
def test_one_of_two_instruction_sets_is_enough(flag: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for one in precision.BF16:
        name = f"_is_{one}_supported"
        monkeypatch.setattr(torch.cpu, name, lambda one=one: one == flag, raising=False)
    assert has_bf16("cpu")
    monkeypatch.setattr(torch.cpu, f"_is_{flag}_supported", lambda: False)
    assert not has_bf16("cpu")
    assert has_bf16("cuda")
