"""Tables are drawn on a terminal, as wide as it is, and are lines for scripts elsewhere."""

from __future__ import annotations

import io
import subprocess
import sys
from contextlib import redirect_stdout
from pathlib import Path

import pytest
from rich.cells import cell_len

from headclip_med.cli.terminal.tables import Column, Row, Sheet, show, show_markdown
from headclip_med.cli.terminal.voice import VOICE
from headclip_med.cli.weights import FIT_COLUMNS
from tests.cli.terminal import CONTROL, on_terminal, plain
from tests.set_copies import write_image

SHEET = Sheet(
    (Column("score", is_number=True), Column("p", 6), Column("folder"), Column("name")),
    [
        Row(("0.912", "p 0.02", "1.2.3/4.5", "a.nii.gz"), tone="notable"),
        Row(("0.1", None, "x/y", ""), ("job 3: [bold]cut off[/bold].",), "bad"),
    ],
    indent="    ",
)
LINES = "0.912  p 0.02  1.2.3/4.5  a.nii.gz\n0.1  x/y\n    job 3: [bold]cut off[/bold].\n"
TABLE = "Text | with a stroke.\n| set | AUROC |\n|---|--:|\n| a\\|b | 0.9 |\n| heads | 12.0 |\n"
ALIGNED = (
    "Text | with a stroke.\n| set   | AUROC |\n| ----- | ----: |\n| a\\|b  | 0.9   |\n"
    "| heads | 12.0  |\n\n"
)


class Terminal(io.StringIO):
    """Standard output as if somebody sat before it."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True

    def of(self, sheet: Sheet | str) -> str:
        """What is shown of rows, or of Markdown."""
        with redirect_stdout(self):
            show_markdown(sheet) if isinstance(sheet, str) else show(sheet)
        return self.getvalue()


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.setattr(VOICE, "is_quiet", False)
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    return Terminal()


def test_rows_are_lines_where_they_are_piped(capsys: pytest.CaptureFixture[str]) -> None:
    show(SHEET)
    assert capsys.readouterr().out == LINES
    show(SHEET, ["as it was"])
    assert capsys.readouterr().out == "as it was\n"
    show_markdown(TABLE)
    assert capsys.readouterr().out == ALIGNED


def test_rows_are_a_table_on_a_terminal(terminal: Terminal) -> None:
    shown = terminal.of(SHEET)
    assert plain(shown).splitlines() == [
        "╭───────┬────────┬───────────┬─────────────────────────────╮",
        "│ score │ p      │ folder    │ name                        │",
        "├───────┼────────┼───────────┼─────────────────────────────┤",
        "│ 0.912 │ p 0.02 │ 1.2.3/4.5 │ a.nii.gz                    │",
        "│   0.1 │        │ x/y       │ job 3: [bold]cut            │",
        "│       │        │           │ off[/bold].                 │",
        "╰───────┴────────┴───────────┴─────────────────────────────╯",
    ]
    assert "\x1b[33m0.912" in shown
    assert "\x1b[1;31m" in shown


def test_a_column_that_no_row_has_is_not_drawn(terminal: Terminal) -> None:
    shown = plain(terminal.of(Sheet(SHEET.columns, SHEET.rows[1:])))
    assert "│ score │ folder │" in shown


@pytest.mark.parametrize(
    ("variable", "value", "has_colours", "has_boxes"),
    [
        ("NO_COLOR", "1", False, True),
        ("TERM", "dumb", False, False),
        ("COLUMNS", "20", False, False),
    ],
)
def test_a_terminal_may_want_less(
    variable: str, value: str, has_colours: bool, has_boxes: bool, terminal: Terminal,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv(variable, value)
    shown = terminal.of(SHEET)
    assert ("\x1b[33m" in shown) == has_colours
    assert ("╭" in shown) == has_boxes
    if not has_boxes:
        assert shown == LINES


def test_quiet_means_lines_on_a_terminal_too(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(VOICE, "is_quiet", True)
    assert terminal.of(SHEET) == LINES


def test_markdown_has_its_tables_drawn(terminal: Terminal) -> None:
    assert plain(terminal.of(TABLE)).splitlines() == [
        "Text | with a stroke.",
        "╭───────┬───────╮",
        "│ set   │ AUROC │",
        "├───────┼───────┤",
        "│ a|b   │   0.9 │",
        "│ heads │  12.0 │",
        "╰───────┴───────╯",
        "",
    ]


def test_a_number_with_its_interval_is_folded_between_them(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "34")
    rows = [Row(("a long name of a set", "77.8 [20.0, 99.9]", "6"))]
    columns = Column("set"), Column("AUROC", is_number=True), Column("n", is_number=True)
    assert plain(terminal.of(Sheet(columns, rows))).splitlines()[3:-1] == [
        "│ a long name │  77.8 [20.0, │ 6 │",
        "│ of a set    │        99.9] │   │",
    ]


def test_the_line_above_the_drawings_stands_as_it_did() -> None:
    head = Sheet(FIT_COLUMNS, [Row(tuple(one.title for one in FIT_COLUMNS))])
    assert list(head.lines()) == [f"{'drawn pictures':42}  strength  own sentence first   loss"]


@pytest.mark.parametrize("columns", [80, 120])
def test_a_command_draws_in_a_real_terminal_and_fits_it(columns: int) -> None:
    shown, code = on_terminal(["datasets"], columns=columns)
    assert code == 0
    assert CONTROL.search(shown)
    lines = plain(shown).splitlines()
    assert lines[0].startswith("╭")
    assert max(map(cell_len, lines[:-2])) == columns
    names = {line.split("│")[1].strip() for line in lines if line.startswith("│")}
    assert {"set", "MVTecAD", "BrainMRI", "BMAD-Histopathology"} <= names


def test_the_same_command_gives_lines_to_a_pipe_and_where_it_shall_be_quiet() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "headclip_med", "datasets"], capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    assert done.stdout.startswith(
        "MVTecAD        industrial pixel    467 + 1258\n               MVTec "
    )
    assert on_terminal(["datasets", "--quiet"])[0] == done.stdout


def test_a_plan_is_two_tables_of_series_and_files(tmp_path: Path) -> None:
    write_image(tmp_path / "in/one.png")
    (tmp_path / "in/empty.png").touch()
    shown, code = on_terminal(["screen", str(tmp_path / "in"), "--plan"], columns=110)
    assert code == 3
    text = plain(shown)
    assert text.startswith("2 found: 1 in 1 series, 0 repeated, 0 left out, 1 failed\n╭")
    (series,) = (line for line in text.splitlines() if "12 x 16" in line)
    assert [cell.strip() for cell in series.strip("│").split("│")][2:] == [
        "1", "1", "12 x 16", "1", "0.0",
    ]  # fmt: skip
    assert "in series 1" in text
    assert "failed (" in text
