"""The repository keeps its own rules: sizes, names, docstrings, nothing left for later."""

from __future__ import annotations

import ast
import re
import statistics
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("domain", "commands", "projections", "processes", "gateways", "api", "cli", "infra")
FOLDERS = (*PACKAGES, "tests", "tools", "bench")

MODULE_LINES_MAX = 400
FUNCTION_LINES_MAX = 60
FUNCTION_LINES_MEDIAN_MAX = 10

NAMELESS = {"utils", "util", "helpers", "helper", "manager", "managers", "common", "misc", "stuff"}
"""Names that say nothing about what a module owns."""

LEFTOVER = re.compile(r"\b(" + "|".join(("TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK")) + r")\b")


@cache
def _sources() -> tuple[Path, ...]:
    return tuple(sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")))


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _is_product(path: Path) -> bool:
    return path.relative_to(ROOT).parts[0] in PACKAGES


def _functions(path: Path) -> Iterator[tuple[str, int]]:
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            yield f"{_name(path)}:{node.lineno} {node.name}", node.end_lineno - node.lineno + 1


def test_modules_are_short_enough_to_read_at_once() -> None:
    """No module is longer than 400 lines."""
    lines = {_name(path): path.read_text(encoding="utf-8").count("\n") for path in _sources()}
    assert {name: n for name, n in lines.items() if n > MODULE_LINES_MAX} == {}


def test_functions_fit_on_a_screen() -> None:
    """No function is longer than 60 lines, and half of them are shorter than ten."""
    sizes = dict(size for path in _sources() for size in _functions(path))
    assert {name: n for name, n in sizes.items() if n > FUNCTION_LINES_MAX} == {}
    product = [n for path in _sources() if _is_product(path) for _, n in _functions(path)]
    assert statistics.median(product) < FUNCTION_LINES_MEDIAN_MAX


def test_modules_are_named_for_what_they_own() -> None:
    """No module is called utils, helpers, manager or the like."""
    assert [_name(path) for path in _sources() if path.stem in NAMELESS] == []


def test_every_module_says_what_it_owns() -> None:
    """Each module of the product opens with a docstring."""
    silent = [
        _name(p)
        for p in _sources()
        if _is_product(p) and p.stat().st_size and not ast.get_docstring(_tree(p))
    ]
    assert silent == []


def test_every_test_says_what_is_promised() -> None:
    """Each test has a docstring that states the behaviour it holds."""
    silent = [
        f"{_name(path)}:{node.lineno} {node.name}"
        for path in _sources()
        if path.name.startswith("test_")
        for node in ast.walk(_tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
        and not ast.get_docstring(node)
    ]
    assert silent == []


def test_nothing_is_left_for_later() -> None:
    """No note in the code says that something is still to be done."""
    left = [
        f"{_name(path)}:{number}"
        for path in _sources()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if LEFTOVER.search(line)
    ]
    assert left == []


def test_tests_never_replace_our_own_code() -> None:
    """No test patches a module of ours: stand-ins are shipped implementations of a port."""
    patch = re.compile(
        r"mock\.patch|from unittest import mock|monkeypatch\.setattr\(\s*[\"'](?:" + "|".join(PACKAGES) + ")"
    )
    patched = [
        _name(p)
        for p in _sources()
        if p.name != Path(__file__).name and patch.search(p.read_text(encoding="utf-8"))
    ]
    assert patched == []
