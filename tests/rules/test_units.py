"""A name that ends in a unit holds that unit: worked out along assignments, calls and returns.

Units are followed through arithmetic: millimetres times pixels are no millimetres, millimetres plus
pixels are nothing at all. What cannot be known (a number, an unnamed value) is taken to fit. What
is written about a name counts as well: no ``_mm`` that is said to be pixels at times.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping

import pytest

from tests.source import Module, functions, modules, parsed

Unit = Mapping[str, int]
"""Base units and their powers: cubic millimetres are ``{"mm": 3}``, a bare number ``{}``."""

SUFFIXES: Mapping[str, Unit] = {
    "mm": {"mm": 1},
    "mm2": {"mm": 2},
    "mm3": {"mm": 3},
    "hu": {"hu": 1},
    "px": {"px": 1},
    "s": {"s": 1},
}
OTHERS = {"mm": "pixels|voxels|px", "hu": "grey levels", "px": "mm|millimetres"}
CLAIM = r"\b(in|cubic|square) ({0})\b|\(({0})\b|\b({0}) (where|for|when|without|if|in)\b"
"""How a text says that something is, or is at times, of another unit."""

KEEPS = {
    "abs", "float", "list", "max", "min", "round", "sorted", "sum", "tuple",
    "abs_", "array", "asarray", "ascontiguousarray", "clip", "copy", "cumsum", "diff", "item",
    "mean", "median", "maximum", "minimum", "norm", "ptp", "reshape", "squeeze", "tolist", "astype",
}  # fmt: skip
"""Calls that return the unit of their first argument, or of the object they are called on."""


def unit_of_name(name: str) -> Unit | None:
    """The unit that a name says it holds; None where it says nothing."""
    _, _, suffix = name.rpartition("_")
    return SUFFIXES.get(suffix.lower()) if "_" in name and "_per_" not in name else None


def unit(node: ast.expr | None) -> Unit | None:
    """The unit of an expression; None where it cannot be known.

    Raises:
        ValueError: It adds or compares what has not the same unit.
    """
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return unit_of_name(name)
        case ast.Constant(value=int() | float()):
            return None  # 0 and infinity have every unit
        case ast.Subscript(value=inner) | ast.Starred(value=inner) | ast.UnaryOp(operand=inner):
            return unit(inner)
        case ast.NamedExpr(value=inner) | ast.GeneratorExp(elt=inner) | ast.ListComp(elt=inner):
            return unit(inner)
        case ast.Tuple(elts=parts) | ast.List(elts=parts):
            return _same([unit(part) for part in parts], mixed=None)
        case ast.IfExp(body=one, orelse=other):
            return _same([unit(one), unit(other)], mixed=None)
        case ast.BinOp():
            return _of_operation(node)
        case ast.Call():
            return _of_call(node)
    return None


def _of_operation(node: ast.BinOp) -> Unit | None:
    left, right = unit(node.left), unit(node.right)
    match node.op:
        case ast.Add() | ast.Sub():
            return _same([left, right], mixed=node)
        case ast.Mult() | ast.Div() | ast.FloorDiv() if left is not None or right is not None:
            sign = 1 if isinstance(node.op, ast.Mult) else -1
            return _times(_number(node.left, left), _number(node.right, right), sign)
        case ast.Pow() if isinstance(node.right, ast.Constant) and left is not None:
            return {base: power * int(node.right.value) for base, power in left.items()}
    return None


def _number(node: ast.expr, found: Unit | None) -> Unit | None:
    return {} if isinstance(node, ast.Constant) else found


def _times(left: Unit | None, right: Unit | None, sign: int) -> Unit | None:
    if left is None or right is None:
        return None
    powers = {base: left.get(base, 0) + sign * right.get(base, 0) for base in {*left, *right}}
    return {base: power for base, power in powers.items() if power}


def _same(units: list[Unit | None], *, mixed: ast.expr | None) -> Unit | None:
    known = [one for one in units if one is not None]
    if any(one != known[0] for one in known):
        if mixed is not None:
            raise ValueError(ast.unparse(mixed))
        return None
    return known[0] if known else None


def _of_call(node: ast.Call) -> Unit | None:
    match node.func:
        case ast.Attribute(attr=name, value=owner) if name in KEEPS:
            is_library = isinstance(owner, ast.Name) and owner.id in ("np", "torch", "math")
            is_library = is_library or ast.unparse(owner) in ("np.linalg", "torch.linalg")
            return unit(node.args[0]) if is_library and node.args else unit(owner)
        case ast.Name(id=name) if name in KEEPS and node.args:
            return unit(node.args[0])
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return unit_of_name(name)
    return None


def objections(module: Module) -> list[str]:
    """Where a module lets a name hold another unit, or mixes units."""
    found = []
    for node in ast.walk(module.tree):
        for name, value in _held(node):
            said = unit_of_name(name)
            try:
                holds = unit(value)
            except ValueError:
                continue  # reported where the sum itself stands
            if said is not None and holds is not None and said != holds:
                found.append(f"{module.path}:{value.lineno}: {name} = {ast.unparse(value)}")
        found += [f"{module.path}:{node.lineno}: mixes {text}" for text in _mixed(node)]
    return found + [f"{module.path}: {text}" for text in _said(module)]


def _held(node: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    """Names and what they are given: assigned, passed by name, filed under a key, returned."""
    for target, value in _bound(node):
        yield from _pairs(target, value)
    match node:
        case ast.keyword(arg=str(name), value=value):
            yield name, value
        case ast.Dict(keys=keys, values=values):
            for key, value in zip(keys, values, strict=True):
                if isinstance(key, ast.Constant) and isinstance(key.value, str):
                    yield key.value, value
        case ast.FunctionDef(name=name):
            returns = (inner for inner in _own(node) if isinstance(inner, ast.Return))
            yield from ((name, one.value) for one in returns if one.value is not None)


def _bound(node: ast.AST) -> list[tuple[ast.expr, ast.expr]]:
    match node:
        case ast.Assign(targets=targets, value=value):
            return [(target, value) for target in targets]
        case ast.AnnAssign(target=target, value=ast.expr() as value):
            return [(target, value)]
        case ast.AugAssign(op=ast.Add() | ast.Sub(), target=target, value=value):
            return [(target, value)]
        case ast.For(target=target, iter=value) | ast.comprehension(target=target, iter=value):
            return [] if isinstance(value, ast.Call) else [(target, value)]  # zip, range
    return []


def _own(function: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(function):
        if not isinstance(child, ast.FunctionDef | ast.Lambda):
            yield child
            yield from _own(child)


def _pairs(target: ast.expr, value: ast.expr) -> Iterator[tuple[str, ast.expr]]:
    match target, value:
        case ast.Tuple(elts=targets), ast.Tuple(elts=values) if len(targets) == len(values):
            for one, other in zip(targets, values, strict=True):
                yield from _pairs(one, other)
        case ast.Name(id=name) | ast.Attribute(attr=name), _:
            yield name, value


def _mixed(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.BinOp(op=ast.Add() | ast.Sub(), left=left, right=right):
            sides = [left, right]
        case ast.Compare(left=left, comparators=others):
            sides = [left, *others]
        case _:
            return
    try:
        known = [one for one in map(unit, sides) if one is not None]
    except ValueError:
        return
    if any(one != known[0] for one in known):
        yield ast.unparse(node)


def _said(module: Module) -> Iterator[str]:
    """What is written about a name that its suffix denies."""
    for name, text in _documented(module.tree):
        suffix = name.rpartition("_")[2].lower().rstrip("23") if unit_of_name(name) else ""
        others = OTHERS.get(suffix)
        if others and re.search(CLAIM.format(others), " ".join(text.split())):
            yield f"{name} is said to be: {' '.join(text.split())}"


def _documented(tree: ast.Module) -> Iterator[tuple[str, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.Module):
            text = ast.get_docstring(node) or ""
            yield from re.findall(r"^ {4}(\w+): ((?:.+)(?:\n {8}.+)*)", text, re.MULTILINE)
            for before, after in zip(node.body, node.body[1:], strict=False):
                name = _assigned(before)
                if name and isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
                    yield name, str(after.value.value)


def _assigned(node: ast.stmt) -> str:
    match node:
        case ast.AnnAssign(target=ast.Name(id=name)) | ast.Assign(targets=[ast.Name(id=name)]):
            return name
    return ""


def positional(found: tuple[Module, ...]) -> Iterator[str]:
    """Arguments by place whose unit is not the parameter's, for functions whose name is unique."""
    signatures: dict[str, list[list[str]]] = {}
    for module in found:
        for function in functions(module.tree):
            names = [one.arg for one in (*function.args.posonlyargs, *function.args.args)]
            signatures.setdefault(function.name, []).append(names)
    for module in found:
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Call):
                yield from _by_place(module, node, signatures)


def _by_place(
    module: Module, node: ast.Call, signatures: Mapping[str, list[list[str]]]
) -> Iterator[str]:
    name = getattr(node.func, "id", getattr(node.func, "attr", ""))
    known = signatures.get(name, [])
    if len(known) != 1 or any(isinstance(one, ast.Starred) for one in node.args):
        return
    names = known[0][1:] if known[0][:1] in (["self"], ["cls"]) else known[0]
    for parameter, value in zip(names, node.args, strict=False):
        said = unit_of_name(parameter)
        try:
            holds = unit(value)
        except ValueError:
            continue
        if said is not None and holds is not None and said != holds:
            yield f"{module.path}:{node.lineno}: {name}({parameter}={ast.unparse(value)})"


@pytest.mark.parametrize("module", modules(), ids=lambda module: module.name or "headclip_med")
def test_names_hold_the_unit_they_end_in(module: Module) -> None:
    assert objections(module) == []


def test_arguments_by_place_have_the_unit_of_their_parameter() -> None:
    assert list(positional(modules())) == []


@pytest.mark.parametrize(
    "source",
    [
        "size_mm = size_px",
        "size_mm = 2 * size_px",
        "area_mm2 = size_mm",
        "spacing_mm = extent_mm / other_mm",
        "size_mm: float = max(image.sizes_mm3)",
        "box = Box(size_mm=round(size_px))",
        'row = {"volume_mm3": region.volume_px}',
        "def size_mm(self):\n    return self.size_px",
        "both = size_mm + margin_px",
        "if size_mm < margin_px: pass",
        "for size_mm in sizes_px: pass",
        "a_mm, b_px = c_mm, d_mm",
        'def f(a_mm3):\n    """Drop.\n\n    Args:\n        a_mm3: Size, in pixels.\n    """',
        'class A:\n    size_mm3: float\n    """Cubic pixels where there is no geometry."""',
    ],
)
def test_a_wrong_unit_that_is_planted_is_found(source: str) -> None:
    assert len(objections(parsed("planted", source))) == 1


@pytest.mark.parametrize(
    "source",
    [
        "size_mm = size_px * mm_per_px",
        "size_mm = 3.5",
        "volume_mm3 = area_mm2 * step_mm",
        "volume_mm3 = size_mm ** 3",
        "radius_mm = volume_mm3 / area_mm2",
        "late_s = 24 * 3600.0",
        "size_mm = float(np.abs(end_mm - start_mm))",
        "if size_mm > 0: pass",
        'class A:\n    step_mm: float\n    """From one pixel to the next, in mm per pixel."""',
    ],
)
def test_right_units_pass(source: str) -> None:
    assert objections(parsed("planted", source)) == []


def test_a_wrong_unit_that_is_planted_by_place_is_found() -> None:
    source = "def grow(self, by_mm, name): ...\nx.grow(margin_px, 'a')\nx.grow(margin_mm, 'a')"
    assert len(list(positional((parsed("planted", source),)))) == 1
