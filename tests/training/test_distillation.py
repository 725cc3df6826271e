"""Distillation: what fold k learns comes from the earlier run's models of fold k, and from nothing else."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import comp
from comp.data.folds import make_folds
from comp.data.manifest import Manifest, Sample
from comp.data.predictions import Predictions
from comp.data.task import Task
from comp.errors import CompError, InputError, RecipeError
from comp.inference import predict
from comp.models.weights import read_weights
from comp.pipelines.run_result import RunResult
from comp.recipe import DistillConfig, Recipe, load
from comp.runs import run as runs
from comp.runs.contents import ANSWERS, folds_of
from comp.training import distillation
from comp.training.distillation import softened, with_teacher
from comp.training.losses import for_task
from comp.training.plan import TrainPlan, rows_of_fold
from comp.training.teacher import Teacher, find_teacher
from comp.workspace import Workspace
from made import planned, proven_again, run_comp, write_shapes


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    """A run of ``shapes`` in two folds, three epochs."""
    workspace = tmp_path_factory.mktemp("earlier") / "ws"
    write_shapes(workspace)
    return comp.run("shapes", 2, workspace=workspace, overrides=["epochs=3"], report=False)


@pytest.fixture
def workspace(earlier: RunResult, tmp_path: Path) -> Path:
    """A copy of its workspace."""
    shutil.copytree(earlier.folder.parent.parent, tmp_path / "ws")
    return tmp_path / "ws"


def taught(name: str, *more: str) -> list[str]:
    return [f"distill.run={name}", "distill.temperature=2.0", *more]


def learn(workspace: Path, name: str, *more: str, **asked: object) -> RunResult:
    given = {"overrides": taught(name, *more), "report": False, **asked}
    return comp.run("shapes", 2, workspace=workspace, **given)  # type: ignore[arg-type]


def weights(run: RunResult, k: int) -> bytes:
    return (run.folder / f"fold-{k}" / "model.safetensors").read_bytes()


def test_a_fold_learns_otherwise_with_a_teacher(workspace: Path, earlier: RunResult) -> None:
    plain = comp.run("shapes", 2, workspace=workspace, report=False)
    found = learn(workspace, earlier.run)
    for k in range(2):
        one, other = (read_weights(r.folder / f"fold-{k}" / "model.safetensors") for r in (plain, found))
        assert not all(one[name].equal(other[name]) for name in one)
        assert not (found.folder / f"fold-{k}" / ANSWERS).exists(), "a finished fold needs them no more"
    recipe = load(found.folder / "recipe.toml")
    assert recipe.distill == DistillConfig(run=earlier.run, weight=0.5, temperature=2.0)
    assert not found.selected_on_oof
    again = learn(workspace, "latest", f"distill.run={earlier.run}")
    assert [weights(again, k) for k in range(2)] == [weights(found, k) for k in range(2)]


def test_a_student_that_only_learns_from_its_teacher_answers_as_it_does(
    workspace: Path, earlier: RunResult
) -> None:
    """Planted: labels count nothing, and rows are answered as the teacher answers them."""
    much = ["distill.weight=1.0", "distill.temperature=1.0", "epochs=40", "transform=none", "tta=none"]
    found = learn(
        workspace, earlier.run, *much, f"model.weights=run:{earlier.run}", "mode=finetune", "head_start=false"
    )
    one, other = (Predictions.load(r.folder / "oof.npz") for r in (found, earlier))
    assert np.abs(one.probs - other.select(one.ids).probs).mean() < 0.1


def test_other_folds_models_are_never_asked(
    workspace: Path, earlier: RunResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of fold 1 are other ones, and fold 0 learns the same bytes."""
    before = learn(workspace, earlier.run, only=[0])
    asked: list[Path] = []
    plain = predict.predict_each

    def watched(folders: list[Path], *given: object, **named: object) -> object:
        asked.extend(folders)
        return plain(folders, *given, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(distillation, "predict_each", watched)
    shutil.copytree(workspace, workspace.parent / "other")
    place = replace(earlier, folder=workspace.parent / "other" / "runs" / earlier.run)
    shutil.rmtree(place.folder / "fold-1" / "control")
    (place.folder / "fold-1" / "model.safetensors").write_bytes(b"nothing of sense")
    after = learn(workspace.parent / "other", earlier.run, only=[0])
    assert weights(after, 0) == weights(before, 0)
    assert {folder.name for folder in asked} == {"fold-0"}


@st.composite
def teachers(draw: st.DrawFn) -> tuple[TrainPlan, dict[int, np.ndarray], dict[int, np.ndarray]]:
    """A plan of three folds, and what each fold's models answer every row, twice: alike in one fold alone."""
    samples = [
        Sample(f"r{n}", f"all#{n}", "train", "abc"[n % 3], draw(st.sampled_from(["", "", "g1", "g2"])))
        for n in range(draw(st.integers(9, 15)))
    ]
    samples += [
        Sample(f"e{n}", f"all#{n}", "extra", "abc"[n % 3], "g1") for n in range(draw(st.integers(0, 3)))
    ]
    manifest = Manifest.from_samples(samples)
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    said, other = ({k: rng.dirichlet([1, 1, 1], len(samples)) for k in range(3)} for _ in range(2))
    return planned(manifest, make_folds(manifest, 3)), said, other


@given(teachers(), st.integers(0, 2))
def test_what_other_folds_answer_changes_nothing(
    tmp_path_factory: pytest.TempPathFactory,
    case: tuple[TrainPlan, dict[int, np.ndarray], dict[int, np.ndarray]],
    k: int,
) -> None:
    plan, said, other = case
    place = {i: n for n, i in enumerate(plan.manifest.table["id"])}
    teacher = Teacher(DistillConfig(run="r", temperature=2.0), (), plan.folds, ("identity",), False)

    def learned(answers: dict[int, np.ndarray]) -> np.ndarray:
        def answered(plan: TrainPlan, k: int, part: object) -> Predictions:
            ids = list(part.table["id"].iloc[part.fitted])  # type: ignore[attr-defined]
            return Predictions(tuple(ids), plan.labels, answers[k][[place[i] for i in ids]], plan.key(k))

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(distillation, "answers", answered)
            patch.setattr(Teacher, "require_fitting", lambda *given: None)
            mine = replace(plan, teacher=teacher).in_folder(tmp_path_factory.mktemp("run"))
            (mine.folder / f"fold-{k}").mkdir()
            found = with_teacher(mine, k, rows_of_fold(mine, k))
            again = with_teacher(mine, k, rows_of_fold(mine, k))  # from what was kept
        assert found.teacher is not None
        assert again.teacher is not None
        assert found.teacher.tobytes() == again.teacher.tobytes()
        fitted = np.isin(np.arange(len(found.table)), found.fitted)
        assert not found.teacher[~fitted].any(), "held-out rows are not answered"
        assert np.allclose(found.teacher[fitted].sum(1), 1, atol=1e-5)
        return found.teacher

    assert learned({**other, k: said[k]}).tobytes() == learned(said).tobytes()
    assert learned({**said, k: other[k]}).tobytes() != learned(said).tobytes()


@given(st.lists(st.floats(-5, 5), min_size=3, max_size=3), st.floats(0.5, 10))
def test_softened_probabilities_are_those_of_logits_over_the_temperature(
    logits: list[float], temperature: float
) -> None:
    z = np.array([logits])

    def softmax(z: np.ndarray) -> np.ndarray:
        return np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)

    assert np.allclose(softened(softmax(z), temperature, True), softmax(z / temperature))
    assert np.allclose(softened(1 / (1 + np.exp(-z)), temperature, False), 1 / (1 + np.exp(-z / temperature)))
    assert np.isfinite(softened(np.array([[1.0, 0.0, 0.0]]), temperature, True)).all()
    assert np.isfinite(softened(np.array([[1.0, 0.0, 0.0]]), temperature, False)).all()


def test_several_models_and_a_plain_mean_of_runs_teach_together(workspace: Path, earlier: RunResult) -> None:
    second = comp.run("shapes", 2, workspace=workspace, seed=7, report=False)
    blend = comp.ensemble(earlier.run, second.run, method="mean", workspace=workspace, report=False)
    teacher = find_teacher(DistillConfig(run=blend.run), Workspace(workspace), "shapes")
    assert sorted(folder.parent.name for folder in teacher.checkpoints(1)) == sorted(
        [earlier.run, second.run]
    )
    assert learn(workspace, blend.run, only=[0]).folds == [0]
    weighed = comp.ensemble(earlier.run, second.run, method="weighted", workspace=workspace, report=False)
    with pytest.raises(InputError, match="a teacher's models count alike"):
        learn(workspace, weighed.run)


def other_folds(workspace: Path, run: RunResult) -> dict[str, object]:
    return {"folds": 3}


def no_fold(workspace: Path, run: RunResult) -> dict[str, object]:
    shutil.rmtree(run.folder / "fold-1")
    proven_again(run.folder)
    return {}


def saw_it(workspace: Path, run: RunResult) -> dict[str, object]:
    table = Manifest.read_csv(run.folder / "manifest.csv").train
    fold = folds_of(runs.find_run(Workspace(workspace), run.run)).of(table["id"])
    path = run.folder / "fold-1" / "fitted.txt"
    path.write_text(path.read_text() + table["content"][fold == 1].iloc[0] + "\n")
    proven_again(run.folder)
    return {}


def probed(workspace: Path, run: RunResult) -> dict[str, object]:
    return {"overrides": [*taught(run.run), "mode=probe"]}


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (other_folds, "a teacher has the folds that learn from it"),
        (no_fold, "lacks fold-1"),
        (saw_it, "was fitted on 1 rows that fold 1 holds out"),
        (probed, "solves for labels; drop distill"),
    ],
)
def test_a_teacher_that_does_not_fit_is_refused_before_a_run_begins(
    workspace: Path, earlier: RunResult, spoil: Callable[[Path, RunResult], dict[str, object]], told: str
) -> None:
    mine = replace(earlier, folder=workspace / "runs" / earlier.run)
    given = {"folds": 2, "overrides": taught(earlier.run), "report": False, **spoil(workspace, mine)}
    with pytest.raises(CompError) as error:
        comp.run("shapes", workspace=workspace, **given)  # type: ignore[arg-type]
    assert told in f"{error.value.rule} {error.value.value}"
    assert len(list((workspace / "runs").iterdir())) == 1, "no run began"


def test_a_run_that_is_not_there_is_a_line(workspace: Path, earlier: RunResult) -> None:
    told = run_comp(workspace, "run", "shapes", "--folds", "2", "--set", "distill.run=20200101-000000-aaaa")
    assert told.code == 2
    assert "no run is called" in told.err or "run" in told.err
    refused = run_comp(
        workspace, "run", "shapes", "--folds", "2", "--set", f"distill.run={earlier.run}/model-1"
    )
    assert refused.code == 2
    assert "has one model" in refused.err


def test_numbers_have_no_teacher() -> None:
    with pytest.raises(RecipeError, match="distill is for classes"):
        for_task(Recipe(distill=DistillConfig(run="r")), Task("ordinal"))


def test_what_was_chosen_on_oof_rows_stays_told(workspace: Path) -> None:
    best = comp.run("shapes", 2, workspace=workspace, overrides=["checkpoint=best", "epochs=2"], report=False)
    assert learn(workspace, best.run).selected_on_oof


def test_a_teacher_is_not_deleted_unawares(workspace: Path, earlier: RunResult) -> None:
    learn(workspace, earlier.run, only=[0])
    told = run_comp(workspace, "runs", "delete", earlier.run, "--yes")
    assert told.code != 0
    assert "learned from" in told.err
