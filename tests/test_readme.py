"""Docs cannot drift: their commands parse, their links lead somewhere, and the references are the generated ones."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from comp.cli.main import app
from made import REPOSITORY

README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
PAGES = [
    REPOSITORY / "README.md",
    REPOSITORY / "CONTRIBUTING.md",
    *sorted((REPOSITORY / "docs").rglob("*.md")),
]


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


EVERY_COMMAND = dict.fromkeys(line for page in PAGES for line in commands(page.read_text(encoding="utf-8")))


@pytest.mark.parametrize("line", EVERY_COMMAND)
def test_every_command_of_the_pages_parses(line: str) -> None:
    group = typer.main.get_command(app)
    words = shlex.split(line)[1:]
    if not words or words[0].startswith("-"):
        return
    assert words[0] in group.commands, f"no such command: {line}"  # type: ignore[attr-defined]
    command = group.commands[words[0]]  # type: ignore[attr-defined]
    parent = group.make_context("comp", [], resilient_parsing=True)
    command.make_context(
        words[0], words[1:], parent=parent
    )  # raises for an option or argument that does not exist


def anchors(page: Path) -> set[str]:
    """The names of a page's headings, as GitHub and mkdocs make them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_every_link_leads_somewhere(page: Path) -> None:
    text = re.sub(r"`[^`\n]*`", "", page.read_text(encoding="utf-8"))
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_the_navigation_has_every_page() -> None:
    """Decisions are put there by docs/site_hooks.py."""
    navigation = (REPOSITORY / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:")[2]
    listed = re.findall(r": ([\w-]+\.md)$", navigation, re.MULTILINE)
    assert sorted(listed) == sorted(page.name for page in (REPOSITORY / "docs").glob("*.md"))


def test_images_are_small_and_ask_for_nothing() -> None:
    images = REPOSITORY / "docs" / "images"
    for path in images.glob("*.png"):
        assert path.stat().st_size < 400_000, path.name
    for path in images.glob("*.svg"):
        text = path.read_text(encoding="utf-8")
        assert len(text) < 300_000, path.name
        assert set(re.findall(r"(?:https?|file):[^\s\"<]+", text)) <= {"http://www.w3.org/2000/svg"}, (
            path.name
        )


@pytest.mark.slow
def test_the_pages_of_the_site_ask_for_nothing_outside(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs", reason="needs what `make site` installs")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    pages = list(tmp_path.rglob("*.html"))
    assert len(pages) > 20
    for page in pages:
        text = page.read_text(encoding="utf-8")
        asked = re.findall(r"<(?:script|img|link|iframe|source)\b[^>]*?(?:src|href)=[\"']?([^\"'\s>]+)", text)
        assert not [one for one in asked if re.match(r"(?:https?:)?//", one)], page.name


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
