"""The configuration: right ones are read, wrong ones refused with their line; rules in order."""

from __future__ import annotations

from pathlib import Path

import pytest

from headclip_med.cli import main
from headclip_med.errors import InvalidSettings
from headclip_med.pipelines.service.configuration import read_configuration
from headclip_med.pipelines.service.rules import Condition, Rule, SeriesFacts, choose

WHOLE = """\
[service]
out = "results"
quiet_s = 5.0

[receiver]
allow = ["ORTHANC", "CT1"]

[page]
port = 8081

[[destination]]
name = "pacs"
host = "127.0.0.1"
port = 4242
called_ae_title = "ORTHANC"
verify = "none"

[[rule]]
name = "ours"
when = {ae_title = ["TEST*"]}
skip = true

[[rule]]
name = "head"
window = "brain"
outputs = ["seg", "sr"]
destinations = ["pacs"]
priority = 3
[rule.when]
modality = ["CT"]
description = ["*head*", "*brain*"]
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "service.toml"
    path.write_text(text)
    return path


def test_a_whole_file_is_read(tmp_path: Path) -> None:
    found = read_configuration(write(tmp_path, WHOLE))
    assert found.receiver is not None
    assert found.receiver.allow == ("ORTHANC", "CT1")
    assert found.service.quiet_s == 5.0
    assert [one.name for one in found.rules] == ["ours", "head"]
    plan = found.plan_of(found.rules[1])
    assert (plan.settings.window, plan.outputs) == ("brain", ("seg", "sr"))
    assert plan.run_key != found.plan_of(None).run_key
    assert found.destinations_of(found.rules[1]) == found.destinations_of(None) == ("pacs",)
    assert found.spool == Path("results/spool").absolute()


@pytest.mark.parametrize(
    ("right", "wrong", "line", "reason"),
    [
        ("quiet_s = 5.0", "quiet_s = -1.0", 3, "quiet_s must be"),
        ("quiet_s = 5.0", 'quiet = "long"', 3, "ServiceSettings has no field 'quiet'."),
        ('allow = ["ORTHANC", "CT1"]', "", 5, "[receiver] needs allow."),
        ("port = 8081", 'port = "8081"', 9, "port must be"),
        ("port = 8081", 'host = "0.0.0.0"', 8, "open to other machines without a password"),
        ("port = 4242", "port = 0", 14, "port must be"),
        ('verify = "none"', 'verify = "qido"', 11, "does not say where"),
        ("[page]", "[pages]", 8, "There is no table [pages]."),
        ('name = "head"', 'name = "ours"', 24, "Two are called ours."),
        ('window = "brain"', 'window = "brian"', 25, "The window is not known."),
        ('outputs = ["seg", "sr"]', 'outputs = ["segg"]', 26, "There is no output 'segg'."),
        ('destinations = ["pacs"]', 'destinations = ["pax"]', 27, "There is no destination pax."),
        ("skip = true", "skip = 1", 21, "skip must be"),
        ('when = {ae_title = ["TEST*"]}', 'when = {aet = ["TEST*"]}', 20, "has no field 'aet'"),
        ('modality = ["CT"]', 'modality = "CT"', 30, "modality must be"),
        ("priority = 3", 'method = "none"', 28, ""),
    ],
)
def test_the_line_that_is_wrong_is_named(
    right: str, wrong: str, line: int, reason: str, tmp_path: Path
) -> None:
    assert right in WHOLE
    with pytest.raises(InvalidSettings) as told:
        read_configuration(write(tmp_path, WHOLE.replace(right, wrong, 1)))
    assert told.value.reason.startswith(f"Line {line} of the configuration: ")
    assert reason in told.value.reason


def test_what_is_no_toml_and_what_is_not_there_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(InvalidSettings, match="line 2"):
        read_configuration(write(tmp_path, "[service]\nout = results\n"))
    with pytest.raises(InvalidSettings, match="cannot be read"):
        read_configuration(tmp_path / "none.toml")
    with pytest.raises(InvalidSettings, match="no table"):
        read_configuration(write(tmp_path, ""))
    assert main(["serve", "--config", str(write(tmp_path, WHOLE)), "--check"]) == 0
    assert "receives at 127.0.0.1:11112 as HEADCLIP; 2 rules" in capsys.readouterr().out
    assert main(["serve"]) == 2


def test_off_this_machine_the_receiver_needs_tls(tmp_path: Path) -> None:
    text = WHOLE.replace("[receiver]", '[receiver]\nhost = "0.0.0.0"')
    with pytest.raises(InvalidSettings, match="open to a network without encryption"):
        read_configuration(write(tmp_path, text))


def test_the_first_rule_that_suits_is_taken() -> None:
    rules = (
        Rule(name="a", when=Condition(modality=("CT",), body_part=("HEAD*",))),
        Rule(name="b", when=Condition(description=("*[Tt]1*", "flair*"))),
        Rule(name="c", when=Condition(ae_title=("NIGHT",))),
    )
    cases = {
        SeriesFacts("CT", "HEADNECK"): "a",
        SeriesFacts("ct ", "head"): "a",
        SeriesFacts("MR", "HEAD", "axial t1 post"): "b",
        SeriesFacts("MR", "", "FLAIR"): "b",
        SeriesFacts("CT", "CHEST", "", "NIGHT"): "c",
        SeriesFacts("CT", "CHEST", "", "DAY"): None,
        SeriesFacts("CT", "", "__import__('os')", "DAY"): None,
    }
    for facts, name in cases.items():
        found = choose(rules, facts)
        assert (found and found.name) == name
    assert choose((*rules, Rule(name="rest")), SeriesFacts()) == Rule(name="rest")
