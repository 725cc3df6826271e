"""Everything public says what it is."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from made import REPOSITORY

MODULES = sorted((REPOSITORY / "comp").rglob("*.py"))
ADAPTERS = sorted((REPOSITORY / "competitions").glob("*/adapter.py"))


@pytest.mark.parametrize("path", [*MODULES, *ADAPTERS], ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_every_module_has_a_docstring(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_every_public_function_and_class_has_a_docstring(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    silent = [
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
        and not node.name.startswith("_")
        and not ast.get_docstring(node)
    ]
    assert not silent, f"no docstring: {silent}"


def test_every_error_and_command_says_in_its_first_line_what_it_is() -> None:
    from comp.cli.main import app

    for command in app.registered_commands:
        first = (command.callback.__doc__ or "").strip().splitlines()[0]
        assert first.endswith("."), f"{command.name}: {first!r}"


def test_every_check_stands_on_its_page() -> None:
    from comp.checks.runner import DATA_CHECKS, FOLD_CHECKS, RUN_CHECKS

    page = (REPOSITORY / "docs" / "checks.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `([a-z-]+)` \|", page, re.MULTILINE)
    assert sorted(listed) == sorted({*DATA_CHECKS, *FOLD_CHECKS, *RUN_CHECKS})
