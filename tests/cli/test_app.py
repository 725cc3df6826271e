"""The verbs in groups, and what stands on the screen before anything heavy is imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import typer

from comp.cli.app import GROUPS, app, summary
from made import clean_environment, run_comp, subprocess_comp

COMMAND = typer.main.get_command(app)
VERBS = COMMAND.commands  # type: ignore[attr-defined]


def test_comp_alone_shows_the_verbs_in_groups_with_examples(workspace: Path) -> None:
    shown = subprocess_comp(workspace)
    assert shown.code == 0
    places = [shown.out.index(f"\n{group}:\n") for group in ("Start", "Train", "Look", "Submit", "Examples")]
    assert places == sorted(places)
    assert shown.out.partition("Examples:\n")[2].strip().count("\n") == 2
    for name in VERBS:
        assert f"\n  {name} " in shown.out
    assert shown.out == subprocess_comp(workspace, "--help").out


def test_every_verb_has_a_summary_that_fits_beside_its_name() -> None:
    assert sum(map(len, GROUPS.values())) == len(VERBS)
    for name, verb in VERBS.items():
        assert 0 < len(summary(verb)) <= 55, name


@pytest.mark.parametrize("name", VERBS)
def test_no_usage_line_has_doubled_brackets(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    COMMAND.main(args=[name, "--help"], prog_name="comp", standalone_mode=False)
    assert "[[" not in capsys.readouterr().out.splitlines()[0]


PROGRAM = """\
import sys
heavy = {"torch", "timm", "pandas", "numpy", "cv2", "sklearn", "scipy", "albumentations", "typer", "pydantic", "rich"}
class Stderr:
    encoding = "utf-8"
    def write(self, text):
        sys.__stderr__.write(f"{text.strip()}|{sorted(heavy & set(sys.modules))}\\n")
        sys.__stderr__.flush()
        import os
        os._exit(0)
    def isatty(self): return False
    def flush(self): pass
sys.stderr = Stderr()
from comp.cli.main import main
main(sys.argv[1:])
"""


@pytest.mark.parametrize(
    "arguments",
    [("run", "digits"), ("check", "digits"), ("predict", "latest"), ("lr", "digits")],
    ids=" ".join,
)
def test_the_first_line_comes_before_anything_heavy_is_imported(
    workspace: Path, arguments: tuple[str, ...]
) -> None:
    command = [sys.executable, "-c", PROGRAM, *arguments]
    done = subprocess.run(
        command, cwd=workspace, capture_output=True, text=True, env=clean_environment(), check=True
    )
    assert done.stderr == f"comp {' '.join(arguments)}|[]\n"
    assert done.stdout == ""


def test_help_and_quick_looks_have_no_title(workspace: Path) -> None:
    assert run_comp(workspace, "run", "--help").err == ""
    assert run_comp(workspace, "list").err == ""


def test_no_runs_is_said(workspace: Path) -> None:
    assert run_comp(workspace, "runs").out == "no runs yet: comp run digits\n"
    assert run_comp(workspace, "runs", "cifar-100").out == "no runs of cifar-100 yet: comp run cifar-100\n"
    assert run_comp(workspace, "runs", "--json").json == []


WRONG = {
    "weights": ("--set", "mode=finetune", "--set", "model.weights=/nope.pth"),
    "default weights": ("--set", "mode=finetune", "--set", "model.name=resnet18"),
    "run": ("--set", "mode=finetune", "--set", "model.weights=run:nope"),
    "empty run": ("--set", "mode=finetune", "--set", "model.weights=run:"),
    "fold": ("--only", "9"),
    "pseudo-labels": ("--pseudo", "nope.csv"),
    "folds of a file": ("--folds", "folds.csv"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_needs_no_image_is_refused_before_images_are_read(
    workspace: Path, shapes: Path, what: str
) -> None:
    (workspace / "folds.csv").write_text("id,fold\na0,0\na0,1\n")
    refused = run_comp(workspace, "run", "shapes", "--folds", 3, *WRONG[what], "--json")
    assert refused.code == 2, refused.err
    assert "12 test" not in refused.err
    assert not (workspace / ".comp").exists()
    assert not (workspace / "runs").exists()


def test_raw_data_that_is_missing_is_said_before_weights_are_looked_for(workspace: Path) -> None:
    refused = run_comp(workspace, "run", "art-classification", "--json")
    assert refused.json["error"]["rule"] == "the raw data of art-classification must be there"


def test_an_empty_name_means_no_run(submittable: Path) -> None:
    refused = run_comp(submittable, "predict", "", "--json")
    assert refused.code == 2
    assert "latest" not in refused.json["error"]["value"]


def test_one_finding_is_not_some(workspace: Path, shapes: Path) -> None:
    from comp.errors import counted

    assert [counted(n, "warning") for n in (0, 1, 2)] == ["0 warnings", "1 warning", "2 warnings"]
    (shapes / "train" / "strange.png").write_bytes((shapes / "train" / "a0.png").read_bytes())
    assert "checks: 0 errors, 1 warning\n" in run_comp(workspace, "check", "shapes", "--folds", 3).err


@pytest.mark.parametrize("page", ["/nope/x.html", "/nope/a/b/x.html"])
def test_no_folder_is_made_where_nobody_works(workspace: Path, shapes: Path, page: str) -> None:
    named = Path(page.format(workspace))
    refused = run_comp(workspace, "check", "shapes", "--folds", 3, "--html", named, "--json")
    assert refused.code == 2
    assert refused.json["error"]["rule"] == "the folder of an output must be there"
    assert not named.parent.exists()
