"""The house rules on size: a module of at most 500 lines and a function under 50, or a reason why not."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from made import REPOSITORY

MODULE_LINES, FUNCTION_LINES = 500, 50

# Longer ones, each with the reason why it reads better whole.
REASONS: dict[str, str] = {}

FILES = [path for part in ("comp", "competitions") for path in sorted((REPOSITORY / part).rglob("*.py"))]


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def code_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function's body, its docstring left out: saying more must not cost anything."""
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_sizes(path: Path) -> None:
    name = str(path.relative_to(REPOSITORY))
    source = path.read_text(encoding="utf-8")
    lines = len(source.splitlines())
    assert lines <= MODULE_LINES or name in REASONS, f"{name} has {lines} lines"
    for function in functions(ast.parse(source)):
        place = f"{name}:{function.name}"
        assert code_lines(function) <= FUNCTION_LINES or place in REASONS, (
            f"{place} has {code_lines(function)} lines"
        )


def test_every_reason_is_still_needed() -> None:
    for place in REASONS:
        name, _, wanted = place.partition(":")
        source = (REPOSITORY / name).read_text(encoding="utf-8")
        if wanted:
            assert any(
                f.name == wanted and code_lines(f) > FUNCTION_LINES for f in functions(ast.parse(source))
            ), place
        else:
            assert len(source.splitlines()) > MODULE_LINES, place
