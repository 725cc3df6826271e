"""The library names arguments (`folds`), and the command line shows them as its options (--folds)."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import typer

import comp
from comp import console
from comp.cli.main import app
from comp.cli.wording import in_options, options_of
from comp.data.competitions.competition import find_competition
from comp.data.competitions.sample import write_sample
from comp.errors import InputError
from comp.workspace import Workspace
from made import REPOSITORY, run_comp

PACKAGE = REPOSITORY / "comp"

# Strings with an option outside the command line, each with the reason why it is none of ours.
OTHERS_OPTIONS = {
    "comp/kaggle/kernel/machine.py": "an option of venv, which it calls",
    "comp/kaggle/kernel/wheels.py": "options of pip, which it calls",
    "comp/pipelines/record.py": "the command in the header of recipe.toml, to be copied",
    "comp/pipelines/tuning/order.py": "the command in the header of best.toml, to be copied",
    "comp/report/run_report/experiments.py": "commands on the page of a run, to be copied",
    "comp/training/cluster/connection.py": "options of ray, which begins a cluster",
    "comp/runs/tracking/system.py": "options of nvidia-smi, which it calls",
}

# Functions that are a part of a verb of another name.
PART_OF = {
    "delete_runs": "runs",
    "restore_runs": "runs",
    "diff_runs": "runs",
    "sweep": "run",
    "run_preset": "run",
}

# Arguments of a verb that Python calls otherwise than the command line does, or has alone.
NOT_BOTH = {
    ("run", "listeners"): "objects",
    ("sweep", "listeners"): "objects",
    ("run_preset", "listeners"): "objects",
    ("run_preset", "began"): "the command line knows when it began",
    ("sweep", "values"): "Python's lists; a command line writes them into its overrides",
    ("diff_runs", "one"): "a command line names both runs after the verb",
    ("diff_runs", "other"): "the same",
    ("validate", "run"): "a command line names the file",
    ("predict", "precision"): "a notebook asks for it; a command line predicts as the run was judged",
}


def spoken(verb: str, text: str) -> str:
    return in_options(options_of(app, [verb]))(text)


@pytest.mark.parametrize(
    ("verb", "text", "shown"),
    [
        ("run", "`folds` takes 2 or more", "--folds takes 2 or more"),
        ("run", "for example `folds=5`", "for example --folds 5"),
        ("run", "come with `folds=FILE`", "come with --folds FILE"),
        ("run", '`folds="runs/a b/folds.csv"`', '--folds "runs/a b/folds.csv"'),
        ("run", "`only=[0, 2]`, or `time_limit='11h'`", "--only 0,2, or --time-limit 11h"),
        ("run", "`overrides` takes key=value", "--set takes key=value"),
        ("run", '`overrides=["a=1", "model.mean=[…]"]`', "--set a=1 --set model.mean=[…]"),
        (
            "run",
            '`allow={"unreadable-image": "why this is fine here"}`',
            '--allow unreadable-image="why this is fine here"',
        ),
        ("lr", "`low=1e-6, high=1, steps=100`", "--from 1e-6 --to 1 --steps 100"),
        ("predict", "or `partial=True`", "or --partial"),
        ("submit", "`wait=False` or `message=TEXT`", "--no-wait or --message TEXT"),
        ("submit", "`dry_run`", "--dry-run"),
        ("kernel", "`wheels=['a', 'b']`", "--wheels a --wheels b"),
        ("check", "`fold_column`", "--fold"),
        ("import", "`fold_column`", "--fold-column"),
        ("run", "`only=[0, ...]`", "--only 0,…"),
    ],
)
def test_arguments_become_options(verb: str, text: str, shown: str) -> None:
    assert spoken(verb, text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "`optimizer.lr`, `model.size=160` and `epochs=3` are of a recipe",
        "`comp run digits --folds 5` and `comp check SLUG`",
        "`threshold`, `threshold=0.9` are of another verb",
        "`folds=5, threshold=0.9` is half of another verb",
        "`folds=` and `folds=f()` and `folds=1 2` are no values; `partial=False`",
        "a file called a`b, and folds",
        "one` folds `other",
        "``folds`` and ` folds=5 `",
        "`folds",
        "`quick=False` has no flag",
        "",
    ],
)
def test_all_else_stays(text: str) -> None:
    assert spoken("run", text) == text


def test_a_lone_backtick_does_not_hide_an_argument() -> None:
    assert spoken("run", "a file called a`b; choose a smaller `folds`") == (
        "a file called a`b; choose a smaller --folds"
    )


def test_a_command_line_without_a_verb_has_no_options() -> None:
    for arguments in ([], ["--version"], ["nothing"]):
        assert options_of(app, arguments) == {}


def test_python_names_the_argument(tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        comp.run("digits", folds=1, workspace=tmp_path)
    assert error.value.rule == "`folds` takes 2 or more"
    assert "--" not in str(error.value)
    with pytest.raises(InputError) as error:
        comp.run("digits", overrides=["optimizer"], workspace=tmp_path)
    assert error.value.rule == "`overrides` takes key=value"
    assert error.value.remedy == 'for example `overrides=["optimizer.lr=3e-4"]`'


def test_the_command_line_names_the_option(workspace: Path) -> None:
    done = run_comp(workspace, "run", "digits", "--folds", 1)
    assert done.code == 2
    assert "error: --folds takes 2 or more" in done.err
    done = run_comp(workspace, "run", "digits", "--set", "optimizer")
    assert "--set takes key=value" in done.err
    assert "for example --set optimizer.lr=3e-4" in done.err
    assert "`" not in done.err
    assert console.settings.wording("`folds`") == "`folds`", "for the next call from Python"


def test_the_document_of_an_error_names_the_option_too(workspace: Path) -> None:
    done = run_comp(workspace, "run", "digits", "--folds", 1, "--json")
    assert done.json["error"]["rule"] == "--folds takes 2 or more"


def test_findings_name_arguments_in_python_and_options_on_the_command_line(workspace: Path) -> None:
    raw = workspace / "raw"
    write_sample(find_competition("apple-varieties", Workspace.find(workspace)), raw)
    (finding,) = (
        f for f in comp.check("apple-varieties", 40, data=raw, workspace=workspace).findings
        if f.check == "class-too-small"
    )  # fmt: skip
    assert "choose fewer `folds`" in finding.remedy
    assert '`rare="pool"`' in finding.remedy
    done = run_comp(workspace, "check", "apple-varieties", "--folds", 40, "--data", raw, "--json")
    (shown,) = (f for f in done.json["findings"] if f["check"] == "class-too-small")
    assert "choose fewer --folds" in shown["remedy"]
    assert "--rare pool" in shown["remedy"]


def test_options_have_the_names_of_the_arguments() -> None:
    """Else a text of the library would name one that the command line does not know."""
    verbs: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    for verb in set(comp.__all__) - {"__version__", "list_competitions", "list_models", "list_runs", "show"}:
        called = PART_OF.get(verb, verb.removeprefix("write_").rstrip("_"))
        names = {p.name for p in verbs[called].params}
        for name, parameter in inspect.signature(
            getattr(import_module(comp._HOMES[verb]), verb)
        ).parameters.items():
            free = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
            if parameter.kind not in free and (verb, name) not in NOT_BOTH:
                assert name in names, f"comp.{verb}({name}=…) is no argument of comp {verb}"


def texts(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """The strings of a module with their lines; a formatted one whole, with {} for its values."""
    inner = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            parts = (str(p.value) if isinstance(p, ast.Constant) else "{}" for p in node.values)
            yield node.lineno, "".join(parts)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inner:
            yield node.lineno, node.value


def options_named(source: str) -> list[str]:
    """The strings with an option in them, but for commands given as a whole: `comp check …`."""
    return [
        f"{line}: {text}"
        for line, text in texts(ast.parse(source))
        if re.search(r"--[a-z]", re.sub(r"`comp [^`]*`", "", text))
    ]


def test_this_test_sees_an_option() -> None:
    assert options_named('x = f"choose {k}, --folds K"') == ["1: choose {}, --folds K"]
    assert options_named('x = f"`comp run {slug} --folds 5`"') == []


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.relative_to(REPOSITORY)))
def test_the_library_does_not_speak_of_options(path: Path) -> None:
    name = str(path.relative_to(REPOSITORY))
    if not name.startswith("comp/cli/"):
        wrong = options_named(path.read_text(encoding="utf-8"))
        assert bool(wrong) == (name in OTHERS_OPTIONS), wrong
