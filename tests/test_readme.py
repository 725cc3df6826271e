"""Docs cannot drift: the commands of the README parse, and the CLI reference is the generated one."""

from __future__ import annotations

import re
import shlex

import pytest
import typer

from comp.cli.main import app
from made import REPOSITORY

README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
SESSIONS = (REPOSITORY / "docs" / "sessions.md").read_text(encoding="utf-8")


def commands(text: str) -> list[str]:
    """The ``comp …`` commands in the console and sh blocks of a Markdown text, continued lines joined."""
    found = []
    for block in re.findall(
        r"^```(?:console|sh|bash|shell)[^\n]*\n(.*?)^```", text, re.MULTILINE | re.DOTALL
    ):
        for line in block.replace("\\\n", " ").splitlines():
            line = re.split(r"\s#\s|\s\|\s|\s>\s|&&", line.strip().removeprefix("$ "))[0].strip()
            if line.startswith("comp "):
                found.append(line)
    return found


def test_the_readme_shows_the_way() -> None:
    verbs = {command.split()[1] for command in commands(README)}
    assert {"list", "run"} <= verbs


@pytest.mark.parametrize("line", commands(README) + commands(SESSIONS))
def test_every_command_of_the_readme_parses(line: str) -> None:
    group = typer.main.get_command(app)
    words = shlex.split(line)[1:]
    if words[0].startswith("-"):
        return
    assert words[0] in group.commands, f"no such command: {line}"  # type: ignore[attr-defined]
    command = group.commands[words[0]]  # type: ignore[attr-defined]
    parent = group.make_context("comp", [], resilient_parsing=True)
    command.make_context(
        words[0], words[1:], parent=parent
    )  # raises for an option or argument that does not exist


def test_the_cli_reference_is_the_generated_one() -> None:
    from comp.cli.docs import render

    written = (REPOSITORY / "docs" / "cli.md").read_text(encoding="utf-8")
    assert written == render(), (
        "docs/cli.md is stale: write it again with `python -m comp.cli.docs > docs/cli.md`"
    )


def test_the_recipe_reference_is_the_generated_one() -> None:
    from comp.cli.recipe_docs import render

    written = (REPOSITORY / "docs" / "recipe.md").read_text(encoding="utf-8")
    assert written == render(), "docs/recipe.md is stale: `make docs`"
    for key in (
        "model.head.hidden",
        "stages[].train",
        "regularize.ema",
        "balance.per_class",
        "stop.patience",
    ):
        assert f"| `{key}` |" in written


def test_the_competition_reference_is_the_generated_one() -> None:
    from comp.cli.competition_docs import render

    written = (REPOSITORY / "docs" / "competition.md").read_text(encoding="utf-8")
    assert written == render(), "docs/competition.md is stale: `make docs`"
    for key in (
        "data.table",
        "data.group",
        "data.pattern",
        "template.positive",
        "folds.rare",
        "layout.ignore",
        "unsure",
    ):
        assert f"| `{key}` |" in written
    assert [line for line in written.splitlines() if line.startswith("| `") and line.endswith("|  |")] == []


def test_the_check_reference_is_the_generated_one() -> None:
    from comp.cli.check_docs import render

    written = (REPOSITORY / "docs" / "checks.md").read_text(encoding="utf-8")
    assert written == render(), "docs/checks.md is stale: `make docs`"


def test_the_reference_has_every_command_and_option() -> None:
    text = (REPOSITORY / "docs" / "cli.md").read_text(encoding="utf-8")
    for name, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        assert f"comp {name}" in text
        for parameter in command.params:
            for option in parameter.opts:
                assert not option.startswith("--") or option in text, f"{name} {option}"
