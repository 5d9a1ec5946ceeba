"""Texts are output only: no code reads a note, a message, a reason, an advice or str(error).

What a program has to know of a volume, a result or an error is a field of it, so that a sentence
may be reworded without changing what is done.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CODE = ("headclip_med", "transforms", "pipelines", "bundles", "research")

TEXTS = frozenset({"note", "message", "reason", "why", "untrained", "advice", "what_to_do"})
LISTS = frozenset({"notes", "messages", "reasons", "advices", "sentences"})
"""Of texts: to count them or to take one out is harmless, to look into one is not."""

ERRORS = frozenset({"error", "errors", "exception", "exc", "problem", "failure"})
TAKEN_APART = frozenset(
    {"startswith", "endswith", "split", "rsplit", "splitlines", "partition", "rpartition"}
    | {"find", "rfind", "index", "rindex", "count", "removeprefix", "removesuffix", "replace"}
    | {"strip", "lstrip", "rstrip", "lower", "upper", "casefold", "capitalize", "translate"}
)
READ_BY = frozenset(
    {"match", "fullmatch", "search", "findall", "finditer", "sub", "split", "loads"}
)

ALLOWED = {
    ("transforms/tiles.py", "memory_advice"): "PyTorch's allocator for CPUs says only in words "
    "that it is memory that is missing",
    ("pipelines/bundle/verify.py", "_first_line"): "MONAI's texts run over many lines, of which "
    "the first is shown",
}
"""(file, function): why it may. Only for texts of other libraries that offer no field."""


class _Reader(ast.NodeVisitor):
    """Finds the places in one function, or outside of all, that look into a text."""

    def __init__(self, tree: ast.AST) -> None:
        self.found: list[tuple[int, str]] = []
        handlers = (one.name for one in ast.walk(tree) if isinstance(one, ast.ExceptHandler))
        self._errors = ERRORS | {name for name in handlers if name}
        self._texts, self._lists = set(TEXTS), set(LISTS)
        for _ in range(2):  # a name of a name
            for node in ast.walk(tree):
                self._learn(node)

    def _learn(self, node: ast.AST) -> None:
        """Take note of names that are given a text, or one text of several after the other."""
        if isinstance(node, ast.Assign):
            targets, value = node.targets, node.value
        elif isinstance(node, (ast.AnnAssign, ast.NamedExpr)) and node.value is not None:
            targets, value = [node.target], node.value
        elif isinstance(node, (ast.For, ast.comprehension)):
            if self._is_list(node.iter) and isinstance(node.target, ast.Name):
                self._texts.add(node.target.id)
            return
        else:
            return
        names = {one.id for one in targets if isinstance(one, ast.Name)}
        if self._is_error(value):
            self._errors |= names
        elif self._is_text(value):
            self._texts |= names
        elif self._is_list(value):
            self._lists |= names

    def _is_text(self, node: ast.AST) -> bool:
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name):
                return name in self._texts
            case ast.Subscript(value=value, slice=ast.Constant(value=key)):
                return key in TEXTS or self._is_list(value) or self._is_text(value)
            case ast.Subscript(value=value):
                return self._is_list(value) or self._is_text(value)
            case ast.Call(func=ast.Name(id="str" | "repr"), args=[told]):
                return self._is_error(told) or self._is_text(told)
            case ast.Call(func=ast.Attribute(value=value, attr=name)):
                return name in TAKEN_APART and self._is_text(value)
        return False

    def _is_list(self, node: ast.AST) -> bool:
        match node:
            case ast.Name(id=name):
                return name in self._lists
            case ast.Attribute(value=value, attr=name):
                return name in LISTS or (name == "args" and self._is_error(value))
            case ast.Subscript(slice=ast.Constant(value=key)):
                return key in LISTS
        return False

    def _is_error(self, node: ast.AST) -> bool:
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name):
                return name in self._errors or name in ("__cause__", "__context__")
            case ast.Subscript(value=value):
                return self._is_error(value)
        return False

    def _say(self, node: ast.expr) -> None:
        self.found.append((node.lineno, ast.unparse(node)))

    def visit_Call(self, node: ast.Call) -> None:
        if isinstance(node.func, ast.Attribute):
            parted = node.func.attr in TAKEN_APART and self._is_text(node.func.value)
            if parted or (node.func.attr in READ_BY and any(map(self._is_text, node.args))):
                self._say(node)
        self.generic_visit(node)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        if self._is_text(node.value):
            self._say(node)
        self.generic_visit(node)

    def visit_Compare(self, node: ast.Compare) -> None:
        sides = [node.left, *node.comparators]
        holds = any(isinstance(one, (ast.In, ast.NotIn)) for one in node.ops)
        if any(map(self._is_text, sides)) or (holds and any(map(self._is_list, sides))):
            self._say(node)
        self.generic_visit(node)

    def visit_Match(self, node: ast.Match) -> None:
        if self._is_text(node.subject):
            self._say(node.subject)
        self.generic_visit(node)


def readings(source: str) -> Iterator[tuple[str, int, str]]:
    """Yield function, line and expression of every place that looks into a text."""
    tree = ast.parse(source)
    functions = [
        node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    ]
    seen: set[tuple[int, str]] = set()
    for scope in [*reversed(functions), tree]:  # the innermost first
        reader = _Reader(scope)
        reader.visit(scope)
        for place in reader.found:
            if place not in seen:
                seen.add(place)
                yield getattr(scope, "name", ""), *place


def reads_arguments(source: str) -> bool:
    """Tell whether code asks what its process was started with, rather than being told."""
    return any(
        isinstance(node, ast.Attribute) and node.attr in ("argv", "orig_argv")
        for node in ast.walk(ast.parse(source))
    )


def test_only_the_command_line_reads_the_arguments_of_the_process() -> None:
    assert reads_arguments('is_command = Path(sys.argv[0]).name == "__main__.py"')
    found = {
        path.relative_to(ROOT).as_posix()
        for folder in ("headclip_med", "transforms", "pipelines")
        for path in (ROOT / folder).rglob("*.py")
        if reads_arguments(path.read_text("utf-8"))
    }
    assert found == {"headclip_med/cli/main.py"}


def test_no_code_looks_into_a_text() -> None:
    found = []
    for path in sorted(file for folder in CODE for file in (ROOT / folder).rglob("*.py")):
        name = path.relative_to(ROOT).as_posix()
        found += [
            f"{name}:{line}: {expression}"
            for function, line, expression in readings(path.read_text("utf-8"))
            if (name, function) not in ALLOWED
        ]
    assert not found, "\n".join(found)


def test_what_may_look_into_a_text_still_does() -> None:
    for name, function in ALLOWED:
        source = (ROOT / name).read_text("utf-8")
        assert function in {place[0] for place in readings(source)}


@pytest.mark.parametrize(
    "planted",
    [
        'inverted = any("was inverted" in note for note in notes)',
        'inverted = "The image was inverted." in volume.notes',
        'skipped = [one for one in result["notes"] if one.startswith("No segmentation")]',
        'earlier, _, advice = str(error).rpartition(". ")',
        'told = f"{message[:end]} (the parser says: {name}){message[end:]}"',
        'if failure.reason == "absent": pass',
        'if re.match("no such", str(error)): pass',
        'if _PATTERN.search(failure.reason): pass',
        'text = str(error)\nis_memory = "memory" in text',
        'text = str(error)\nline = text.splitlines()[0]',
        'try: run()\nexcept OSError as e:\n    if "disk" in str(e): pass',
        'try: run()\nexcept OSError as e:\n    if e.args[0].startswith("disk"): pass',
        'for one in volume.notes:\n    if one.endswith("missing."): pass',
        'cause = error.__cause__\nif "disk" in str(cause): pass',
        'match error.advice:\n    case "Copy it again.": pass',
        'advice = failed["advice"].lower()',
        'first = failure.what_to_do[:20]',
        'def tell(error):\n    return str(error).split("; ")',
    ],
)  # fmt: skip
def test_a_planted_look_into_a_text_is_found(planted: str) -> None:
    assert list(readings(planted))


@pytest.mark.parametrize(
    "harmless",
    [
        'inverted = volume.reading.is_inverted',
        'print(f"{error.reason} {error.advice}".strip())',
        'raise UnreadableInput(f"{name}: {error.reason}", error.advice, code=error.code)',
        'notes = (*volume.notes, note)',
        'if error.code in LEFT_OUT_CODES: pass',
        'row = [visible(note) for note in row.notes]',
        'failures[name] = str(error)',
        'first = notes[0] if notes else ""',
        'if failure.advice: print(failure.advice)',
        'name = spec.partition(":")[0]',
    ],
)  # fmt: skip
def test_to_hand_a_text_on_is_harmless(harmless: str) -> None:
    assert not list(readings(harmless))
