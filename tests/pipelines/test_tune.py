"""comp tune on real scans and made shapes: what it ends with, how it goes on, what it refuses."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import comp
from comp import events
from comp.errors import InputError, RecipeError, Refusal
from comp.files import read_toml
from comp.pipelines.tuning import learner as learners
from made import Outcome, clean_environment, probe, run_comp, write_shapes

SPACE = """
[search]
"probe.l2" = { low = 1e-3, high = 1.0, log = true }
"regularize.label_smoothing" = { low = 0.0, high = 0.2 }
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a study of a probe on digits."""
    place = tmp_path_factory.mktemp("tuned")
    (place / "space.toml").write_text(SPACE, encoding="utf-8")
    return place


def words(place: Path) -> list[str]:
    sets = probe(place, "threads=1", "model.size=32", "model.fit=squash")
    return ["--folds", "3", *(word for one in sets for word in ("--set", one))]


@pytest.fixture(scope="module")
def tuned(place: Path) -> Outcome:
    return run_comp(
        place, "tune", "digits", "--trials", 9, "--search", place / "space.toml", "--json", *words(place)
    )


def test_the_document(tuned: Outcome, place: Path) -> None:
    assert tuned.code == 0, tuned.err
    told = tuned.json
    assert told["study"] == "default"
    assert told["trials"] == 9
    assert told["states"]["complete"] + told["states"]["pruned"] == 9
    assert told["best"]["recipe"] == "tune/digits/default/best.toml"
    assert 0 < told["best"]["nested"] <= told["best"]["score"] + 0.01
    assert told["best"]["score"] >= told["baseline"]
    assert (place / told["report"]).is_file()
    assert tuned.err.count("\n  trial ") == 9


def test_the_written_recipe_runs_to_the_told_score_bit_for_bit(tuned: Outcome, place: Path) -> None:
    recipe = place / tuned.json["best"]["recipe"]
    ran = run_comp(place, "run", "digits", "--folds", 3, "--recipe", recipe, "--no-report", "--json")
    assert ran.code == 0, ran.err
    assert ran.json["oof"]["score"] == tuned.json["best"]["score"]
    header = recipe.read_text(encoding="utf-8").splitlines()[0]
    assert header == f"# {tuned.json['command']}"
    assert "--folds 3 --recipe" in header


def test_the_page_shows_all_trials(tuned: Outcome, place: Path) -> None:
    page = (place / tuned.json["report"]).read_text(encoding="utf-8")
    assert page.count("<tr><td>") == 9
    assert "probe.l2" in page
    assert "(best)" in page
    assert "https:" not in page


def test_the_same_command_has_nothing_to_do_and_says_the_same(tuned: Outcome, place: Path) -> None:
    again = run_comp(
        place, "tune", "digits", "--trials", 9, "--search", place / "space.toml", "--json", *words(place)
    )
    assert again.code == 0
    assert again.json == tuned.json
    assert "goes on after 9 trials" in again.err
    assert "\n  trial " not in again.err


def test_it_computes_features_once(tuned: Outcome, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[object] = []
    real = learners.frozen_features

    def counted(plan: Any) -> Any:
        made.append(plan)
        return real(plan)

    monkeypatch.setattr(learners, "frozen_features", counted)
    more = run_comp(place, "tune", "digits", "--trials", 11, "--search", place / "space.toml", *words(place))
    assert more.code == 0
    assert "goes on after 9 trials" in more.err
    assert len(made) == 1
    assert "features of" not in more.err


def test_another_space_recipe_or_folds_needs_another_study(tuned: Outcome, place: Path) -> None:
    other = place / "other.toml"
    other.write_text(SPACE.replace("1e-3", "1e-4"), encoding="utf-8")
    refused = run_comp(place, "tune", "digits", "--trials", 9, "--search", other, *words(place))
    assert refused.code == 2
    assert "search.probe.l2.low was 0.001, now 0.0001" in refused.err
    assert "--study NAME" in refused.err
    four = [*words(place)]
    four[1] = "4"
    refused = run_comp(place, "tune", "digits", "--trials", 9, "--search", place / "space.toml", *four)
    assert refused.code == 2
    assert "folds was" in refused.err


def test_one_process_has_the_same_trials_twice(tuned: Outcome, place: Path) -> None:
    names = ("--trials", 4, "--search", place / "space.toml", "--study", "twin")
    twin = run_comp(place, "tune", "digits", *names, *words(place))
    assert twin.code == 0
    ours = [line for line in twin.err.splitlines() if line.startswith("  trial ")]
    theirs = [line for line in tuned.err.splitlines() if line.startswith("  trial ")]

    def told(line: str) -> str:
        return re.sub(r"  [0-9.]+ s(  best .*)?$", "", line)

    assert [told(line) for line in ours] == [told(line) for line in theirs[:4]]


def test_a_recipe_with_a_search_still_runs(place: Path) -> None:
    recipe = place / "searched.toml"
    table = 'mode = "scratch"\nepochs = 1\nthreads = 1\nprecision = "fp32"\nchannels_last = true\nmodel = { name = "test_resnet", size = 32, weights = "none", mean = [0.5, 0.5, 0.5], std = [0.5, 0.5, 0.5] }\n'
    recipe.write_text(table + '[search]\n"optimizer.lr" = { low = 1e-3, high = 1e-2 }\n', encoding="utf-8")
    ran = run_comp(place, "run", "digits", "--folds", 2, "--quick", "--recipe", recipe, "--no-report")
    assert ran.code == 0, ran.err
    assert ran.err.count("is for `comp tune`") == 1
    refused = run_comp(place, "run", "digits", "--quick", "--set", "search.epochs=2")
    assert refused.code == 2
    assert "search: no such key" in refused.err


def shapes_study(place: Path, trials: int = 3, **more: Any) -> Any:
    search = place / "search.toml"
    if not search.exists():
        search.write_text(
            '[search]\n"optimizer.lr" = { low = 1e-4, high = 1e-2, log = true }\n"optimizer.name" = ["adamw", "sgd"]\n'
        )
    return comp.tune("shapes", trials, 2, workspace=place, search=search, **more)


def test_a_network_that_trains_is_tuned_to_a_recipe_that_runs_to_the_same_bits(workspace: Path) -> None:
    write_shapes(workspace)
    found = shapes_study(workspace)
    assert found.trials == 3
    ran = comp.run("shapes", 2, workspace=workspace, recipe=found.recipe, report=False)
    assert ran.score == found.score
    assert not list((workspace / "tune" / "shapes" / "default").glob("work-*")), "what trials wrote is gone"
    assert "beat" in repr(found)


def test_ctrl_c_and_a_trial_that_is_run_again(workspace: Path) -> None:
    write_shapes(workspace)

    class Stops(events.RunListener):
        def on_message(self, event: events.Message) -> None:
            if event.text.startswith("  trial 1"):
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), events.listening(Stops()):
        shapes_study(workspace)
    found = shapes_study(workspace)
    assert found.counts == {"complete": 3, "pruned": 0}


def test_no_trial_begins_after_the_time_limit(workspace: Path) -> None:
    write_shapes(workspace)
    with pytest.raises(Refusal, match="a study needs a finished trial"):
        shapes_study(workspace, time_limit="1s")
    assert shapes_study(workspace, 1, time_limit="1h").trials == 1


def test_a_recipe_that_cannot_train_is_a_trial_given_up_and_the_baseline_an_error(workspace: Path) -> None:
    write_shapes(workspace)
    (workspace / "search.toml").write_text('[search]\n"optimizer.lr" = { choices = [1e-3, 1e30] }\n')
    found = shapes_study(workspace, 8, overrides=["optimizer=sgd", "regularize.label_smoothing=0"])
    assert found.values.get("optimizer.lr") != 1e30
    with pytest.raises(Refusal):
        shapes_study(workspace, 1, study="bad", overrides=["optimizer=sgd", "optimizer.lr=1e30"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--trials", 0), "--trials takes 1 or more"),
        (("--study", "a/b"), "--study is a name"),
        (("--time-limit", "soon"), "--time-limit takes a duration"),
        (("--storage", "mongodb://x"), "--storage is the URL of a database"),
        (("--search", "none.toml"), "none.toml"),
        (("--set", "optimizer.lrr=1"), "optimizer.lrr: no such key"),
    ],
)
def test_wrong_use_is_told_in_a_line_and_writes_nothing(workspace: Path, arguments: Any, said: str) -> None:
    write_shapes(workspace)
    told = run_comp(workspace, "tune", "shapes", "--folds", 2, *arguments)
    assert told.code == 2
    assert said in told.err
    assert "Traceback" not in told.err
    assert not (workspace / "tune" / "shapes" / "default" / "best.toml").exists()


def test_a_search_in_the_recipe_is_taken(workspace: Path) -> None:
    write_shapes(workspace)
    baseline = workspace / "competitions" / "shapes" / "baseline.toml"
    baseline.write_text(baseline.read_text() + "\n[search]\nepochss = [1]\n")
    with pytest.raises(RecipeError, match="epochss: no recipe has such a key; did you mean epochs"):
        comp.tune("shapes", 2, 2, workspace=workspace)
    beside = workspace / "competitions" / "shapes" / "search.toml"
    baseline.write_text(baseline.read_text().partition("[search]")[0])
    beside.write_text("[search]\nbatch = [0]\n")
    with pytest.raises(RecipeError, match=r"search.batch: 0: batch: input should be greater"):
        comp.tune("shapes", 2, 2, workspace=workspace)
    two = workspace / "two.toml"
    two.write_text('[[model]]\nname = "test_resnet"\n[[model]]\nname = "test_vit"\n')
    with pytest.raises(InputError, match="a study tunes one model"):
        comp.tune("shapes", 2, 2, workspace=workspace, recipe=two)


def test_without_the_extra_it_says_what_to_install(workspace: Path) -> None:
    program = (
        "import sys; sys.modules['optuna'] = None\nfrom comp.cli.main import main\nmain(['tune', 'digits'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=workspace,
        capture_output=True,
        text=True,
        env=clean_environment(),
        check=False,
    )
    assert done.returncode == 2
    assert 'pip install "imgcomp[tune]"' in done.stderr
    assert "Traceback" not in done.stderr


def test_a_plain_run_knows_nothing_of_optuna(workspace: Path) -> None:
    write_shapes(workspace)
    program = "import sys, comp; comp.run('shapes', 2, quick=True, report=False); print('optuna' in sys.modules, 'sqlalchemy' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=workspace,
        capture_output=True,
        text=True,
        env=clean_environment(),
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "False False"


def test_the_best_recipe_says_what_the_machine_chose(tuned: Outcome, place: Path) -> None:
    table = read_toml(place / tuned.json["best"]["recipe"], "a recipe")
    assert {"device", "precision", "channels_last", "threads"} <= set(table)
    # the study went on to 11 trials in a test before, where all of them run
    found = run_comp(
        place, "tune", "digits", "--trials", 9, "--search", place / "space.toml", "--json", *words(place)
    )
    table = read_toml(place / found.json["best"]["recipe"], "a recipe")
    assert table["probe"]["l2"] == found.json["best"]["values"]["probe.l2"]


def test_folds_at_once_find_what_one_after_the_other_does(tmp_path: Path) -> None:
    write_shapes(tmp_path)
    (tmp_path / "space.toml").write_text(
        '[search]\n"optimizer.lr" = { low = 1e-4, high = 1e-1, log = true }\n'
    )
    found = []
    for jobs in (1, 2):
        words = ["--folds", 2, "--trials", 3, "--study", f"jobs-{jobs}", "--search", tmp_path / "space.toml"]
        words += ["--set", "epochs=2", "--set", "threads=1", "--set", f"jobs={jobs}"]
        done = run_comp(tmp_path, "tune", "shapes", *words, "--json")
        assert done.code == 0, done.err
        best = done.json["best"]
        found.append([best["score"], best["nested"], best["values"], done.json["states"], done.json["gain"]])
        study = tmp_path / "tune" / "shapes" / f"jobs-{jobs}"
        found[-1].append([(study / "oof" / f"trial-{n}.npz").read_bytes() for n in range(3)])
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--engine", "ray", "--set", "mode=probe"], "solves its folds where the study runs"),
        (["--gpus-per-fold", "2"], "what trains a fold together is said by its recipe"),
        (["--address", "127.0.0.1:1"], "only a cluster deals folds to machines"),
        (["--engine", "ray", "--address", "127.0.0.1:1"], "needs a cluster that answers"),
    ],
)
def test_an_engine_that_cannot_be_is_refused_before_any_image(
    tmp_path: Path, words: list[str], said: str
) -> None:
    refused = run_comp(tmp_path, "tune", "digits", *words)
    assert refused.code == 2
    assert said in refused.err
    assert "checks:" not in refused.err
    assert not (tmp_path / "tune").exists()
