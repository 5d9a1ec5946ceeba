"""An error's reason and its advice are sentences of their own, wherever it is made."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from headclip_med import errors

ROOT = Path(__file__).parents[2]
CODE = ("headclip_med", "transforms", "pipelines", "research")
KINDS = frozenset(
    name
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, errors.HeadClipError)
)


def unfinished(source: str) -> Iterator[tuple[int, str]]:
    """Yield line and text of every reason and advice that does not end as a sentence does."""
    for node in ast.walk(ast.parse(source)):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
            continue
        if node.func.id in KINDS:
            for text in node.args:
                end = text.values[-1] if isinstance(text, ast.JoinedStr) else text
                if isinstance(end, ast.Constant) and not str(end.value).endswith((".", "?")):
                    yield text.lineno, ast.unparse(text)


def test_every_reason_and_every_advice_is_a_sentence() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}: {text}"
        for path in sorted(file for folder in CODE for file in (ROOT / folder).rglob("*.py"))
        for line, text in unfinished(path.read_text("utf-8"))
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "planted",
    [
        'raise UnreadableInput("no such file")',
        'raise InvalidSettings("The name is unknown.", "choose another")',
        'raise HeadClipError(f"The folder {name} is empty", code="x")',
    ],
)
def test_a_planted_fragment_is_found(planted: str) -> None:
    assert list(unfinished(planted))


def test_an_error_says_both_and_keeps_them_apart() -> None:
    error = errors.UnreadableInput("There is no such file.", "Check the path.", code="not-found")
    assert (error.reason, error.advice) == ("There is no such file.", "Check the path.")
    assert (error.code, str(error)) == ("not-found", "There is no such file. Check the path.")
    assert str(errors.HeadClipError("Nothing can be done.")) == "Nothing can be done."
    assert errors.HeadClipError("Nothing can be done.").code == "failed"
