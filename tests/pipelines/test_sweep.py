"""Sweeps by hand: which texts are several values, one table at the end, and going on as a whole after any end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comp.errors import InputError, RecipeError, UnknownName
from comp.files import parse_toml, read_json
from comp.pipelines.sweep import sweep
from comp.pipelines.sweep_values import grid_of, has_sweep, values_of
from made import clean_environment, run_comp, write_shapes

RATES = "optimizer.lr=1e-3,3e-3"
SET = ("--set", "threads=1", "--no-report")


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("1e-3,3e-3", ["1e-3", "3e-3"]),
        ("1e-3", ["1e-3"]),
        ("[0.5,0.5,0.5]", ["[0.5,0.5,0.5]"]),
        ("[0.5,0.5,0.5], [0.4,0.4,0.4]", ["[0.5,0.5,0.5]", "[0.4,0.4,0.4]"]),
        ('"a,b"', ['"a,b"']),
        ('"a,b","c"', ['"a,b"', '"c"']),
        ("{ name = 'sgd', lr = 0.1 }", ["{ name = 'sgd', lr = 0.1 }"]),
        ("adamw,sgd", ["adamw", "sgd"]),
        ("true,false", ["true", "false"]),
        ("1,", ["1", ""]),
    ],
)
def test_values_are_parted_outside_quotes_and_brackets(text: str, values: list[str]) -> None:
    assert values_of(text) == values


@given(
    st.lists(
        st.one_of(
            st.integers(-9, 9).map(str),
            st.text("ab, ]", max_size=4).map(lambda s: json.dumps(s)),
            st.lists(st.integers(0, 9), max_size=3).map(str),
        ),
        min_size=1,
        max_size=4,
    )
)
def test_what_is_joined_by_commas_is_parted_again(texts: list[str]) -> None:
    found = values_of(",".join(texts))
    assert [parse_toml(f"v = {one}")["v"] for one in found] == [
        parse_toml(f"v = {one}")["v"] for one in texts
    ]


def test_seeds_and_lists_are_no_sweep() -> None:
    assert not has_sweep(["seed=0,1,2", "model.mean=[0.5,0.5,0.5]", 'model.weights="a,b.pth"', "epochs=3"])
    assert has_sweep(["epochs=3", RATES])
    assert grid_of(["epochs=3", RATES, "batch=8,16"]) == (
        {"optimizer.lr": ["1e-3", "3e-3"], "batch": ["8", "16"]},
        ["epochs=3"],
    )
    assert grid_of([], {"optimizer.lr": [1e-3], "tta": [["identity"], ["hflip"]]})[0] == {
        "optimizer.lr": ["0.001"],
        "tta": ['["identity"]', '["hflip"]'],
    }


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        ([RATES, "seed=0,1"], "a sweep keeps its seed"),
        (["epochs=1,"], "one is empty"),
        (["epochs=1,1"], "one comes twice"),
        (["epochs=1,2", "epochs=3"], "several values and one"),
        (["epochs=1,2", "epochs=3,4"], "values twice"),
        (["epochs=3"], "none is named"),
    ],
)
def test_what_is_no_sweep_is_refused(overrides: list[str], says: str) -> None:
    with pytest.raises(InputError, match=says):
        grid_of(overrides)


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (("--only", "0"), "a sweep is of whole runs"),
        (("--time-limit", "1h"), "a sweep is of whole runs"),
        (("--ensemble", "mean"), "a sweep is of whole runs"),
        (("--set", "seed=0,1"), "a sweep keeps its seed"),
        (("--set", "batch=8,none"), "batch"),
        (("--set", f"epochs={','.join(map(str, range(1, 700)))}"), "at most 1,000 runs"),
    ],
)
def test_nothing_is_trained_of_a_sweep_that_cannot_be(
    workspace: Path, shapes: Path, more: tuple[str, ...], says: str
) -> None:
    done = run_comp(workspace, "run", "shapes", "--folds", 2, "--set", RATES, *more, *SET)
    assert done.code == 2
    assert says in done.err
    assert not (workspace / "runs").exists()
    assert not (workspace / "sweeps").exists()


def test_a_sweep_ends_with_one_table_and_its_best(workspace: Path, shapes: Path) -> None:
    done = run_comp(
        workspace, "run", "shapes", "--folds", 2, "--set", RATES, "--set", "batch=8,16", *SET, "--json"
    )
    assert done.code == 0, done.err
    document = done.json
    wanted = [(a, b) for a in ("1e-3", "3e-3") for b in ("8", "16")]
    assert [(one["set"]["optimizer.lr"], one["set"]["batch"]) for one in document["runs"]] == wanted
    assert len({one["run"] for one in document["runs"]}) == 4
    for one in document["runs"]:
        record = read_json(workspace / "runs" / one["run"] / "record.json")
        assert one["oof"] == record["oof"]
        recipe = parse_toml((workspace / "runs" / one["run"] / "recipe.toml").read_text())
        assert recipe["optimizer"]["lr"] == float(one["set"]["optimizer.lr"])
        assert recipe["batch"] == int(one["set"]["batch"])
    first, *others = document["runs"]
    assert first["gain_over_first"] is None
    for one in others:
        assert one["gain_over_first"] == pytest.approx(one["oof"]["score"] - first["oof"]["score"])
        assert one["standard_error"] >= 0
    best = max(document["runs"], key=lambda one: one["oof"]["score"])
    assert document["best"] == {
        "run": best["run"],
        "set": best["set"],
        "score": best["oof"]["score"],
        "chosen_among": 4,
    }
    assert "optimistic, since it is the best of 4" in done.err


def test_a_killed_sweep_goes_on_and_trains_only_what_is_missing(workspace: Path, shapes: Path) -> None:
    """Killed in the second fold of the second of three runs."""
    program = (
        "import os, signal, sys, comp\n"
        "from comp import events\n"
        "from comp.pipelines.sweep import sweep\n"
        "class Kill(events.RunListener):\n"
        "    runs = 0\n"
        "    def on_run_start(self, event): self.runs += 1\n"
        "    def on_epoch(self, event):\n"
        "        if (self.runs, event.fold) == (2, 1): os.kill(os.getpid(), signal.SIGKILL)\n"
        "sweep('shapes', 2, overrides=['optimizer.lr=1e-3,3e-3,9e-3', 'threads=1'], report=False, listeners=[Kill()])\n"
    )
    paths = os.pathsep.join(p for p in sys.path if p)
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=workspace,
        env=clean_environment() | {"PYTHONPATH": paths},
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    (path,) = (workspace / "sweeps").glob("sweep-*.json")
    began = [one["run"] for one in read_json(path)["points"]]
    assert began[0]
    assert began[1]
    assert began[2] is None
    kept = [
        workspace / "runs" / began[0] / "record.json",
        workspace / "runs" / began[1] / "fold-0" / "result.json",
    ]
    before = [file.stat().st_mtime_ns for file in kept]

    went_on = run_comp(workspace, "run", "shapes", "--resume", path.stem[:-2], "--no-report", "--json")
    assert went_on.code == 0, went_on.err
    assert [file.stat().st_mtime_ns for file in kept] == before, "what was finished is kept"
    assert [one["run"] for one in went_on.json["runs"]][:2] == began[:2]
    assert len(list((workspace / "runs").iterdir())) == 3

    again = run_comp(workspace, "run", "shapes", "--resume", path.stem, "--no-report", "--json")
    assert again.json == went_on.json, "of a finished sweep the table"
    assert len(list((workspace / "runs").iterdir())) == 3

    alone = workspace.parent / "alone"
    alone.mkdir()
    write_shapes(alone)
    whole = sweep(
        "shapes", 2, workspace=alone, overrides=["optimizer.lr=1e-3,3e-3,9e-3", "threads=1"], report=False
    )
    assert [row.score for row in whole.rows] == [one["oof"]["score"] for one in went_on.json["runs"]]


def test_a_sweep_that_goes_on_takes_nothing_else(workspace: Path, shapes: Path) -> None:
    assert run_comp(workspace, "run", "shapes", "--folds", 2, "--set", RATES, *SET).code == 0
    (path,) = (workspace / "sweeps").glob("sweep-*.json")
    for more in (("--set", "epochs=2"), ("--seed", "0"), ("--quick",), ("--data", "elsewhere")):
        done = run_comp(workspace, "run", "shapes", "--resume", path.stem, *more)
        assert done.code == 2
        assert "keeps what it began with" in done.err
    with pytest.raises(UnknownName):
        sweep("shapes", resume="sweep-1999", workspace=workspace)
    done = run_comp(workspace, "run", "digits", "--resume", path.stem)
    assert (done.code, "is of shapes" in done.err) == (2, True)
    recipe = workspace / "competitions" / "shapes" / "baseline.toml"
    recipe.write_text(recipe.read_text().replace("epochs = 1", "epochs = 2"))
    done = run_comp(workspace, "run", "shapes", "--resume", path.stem)
    assert (done.code, "was changed since it began" in done.err) == (2, True)


def test_an_interrupted_sweep_says_how_it_goes_on(
    workspace: Path, shapes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from comp.pipelines import sweep as module

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "run", stop)
    done = run_comp(workspace, "run", "shapes", "--set", RATES)
    (path,) = (workspace / "sweeps").glob("sweep-*.json")
    assert done.code == 130
    assert f"Resume: comp run shapes --resume {path.stem} --workspace {workspace}" in done.err


def test_a_mistake_in_one_combination_is_told_before_the_first_run(workspace: Path, shapes: Path) -> None:
    with pytest.raises(RecipeError, match="batch"):
        sweep("shapes", 2, values={"batch": [8, 1]}, workspace=workspace)
    assert not (workspace / "runs").exists()
