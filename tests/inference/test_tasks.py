"""Predictions of each task from logits, their mean over views, and what control rows prove of numbers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from comp.data.images.raw_tree import RawTree
from comp.data.labels import LabelMap
from comp.data.predictions import FLOOR, Predictions, mean_of_views
from comp.data.task import Task
from comp.errors import CheckFailed
from comp.inference.forward import NotFinite, activated
from comp.inference.predict import ControlRow, keep_controls, max_abs_difference, predict, read_controls
from comp.recipe import load
from made import proven_again, run_comp
from made_tasks import write_task

SINGLE = LabelMap(("a", "b", "c"))
SEVERAL = LabelMap(("a", "b"), Task("multi-label"))
SCALE = LabelMap(("0", "1", "2", "3"), Task("ordinal"))
NUMBERS = LabelMap(("x", "y"), Task("regression", (0.0, -5.0), (10.0, 5.0)))
EVERY = (SINGLE, SEVERAL, SCALE, NUMBERS)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def test_logits_become_what_the_task_predicts() -> None:
    logits = np.array([[0.5, -1.0]], dtype=np.float32)
    assert np.allclose(activated(logits, SEVERAL), sigmoid(logits))
    assert np.allclose(activated(logits, NUMBERS), [[10 * sigmoid(0.5), -5 + 10 * sigmoid(-1.0)]])
    assert np.allclose(activated(logits[:, :1], SCALE), [[3 * sigmoid(0.5)]])
    shares = np.exp([[1.0, 2.0, 3.0]])
    assert np.allclose(activated(np.array([[1.0, 2.0, 3.0]]), SINGLE), shares / shares.sum())


@pytest.mark.parametrize("labels", EVERY, ids=lambda labels: labels.task.name)
def test_every_finite_logit_is_a_prediction_and_no_other(labels: LabelMap) -> None:
    logits = np.tile(np.array([[-1e30], [-800.0], [0.0], [800.0], [1e30]]), labels.width)
    Predictions(tuple("vwxyz"), labels, activated(logits, labels))
    for wrong in (np.nan, np.inf, -np.inf):
        with pytest.raises(NotFinite, match="row 1 has"):
            activated(np.vstack([logits[:1], np.full((1, labels.width), wrong)]), labels)


@st.composite
def views(draw: st.DrawFn) -> tuple[LabelMap, dict[str, np.ndarray]]:
    """Predictions (5, D) of a task under 1 to 4 views; some logits are far out."""
    labels = draw(st.sampled_from(EVERY))
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    spread = draw(st.sampled_from([1.0, 30.0]))
    count = draw(st.integers(1, 4))
    return labels, {
        f"view {n}": activated(rng.normal(0, spread, (5, labels.width)), labels) for n in range(count)
    }


@given(views(), st.sampled_from(["arithmetic", "geometric"]), st.integers(0, 99))
def test_the_mean_of_views_is_a_prediction_whatever_their_order(
    given_: tuple[LabelMap, dict[str, np.ndarray]], how: str, seed: int
) -> None:
    labels, by_view = given_
    mean = mean_of_views(by_view, how, labels)
    Predictions(tuple("vwxyz"), labels, mean)
    names = list(np.random.default_rng(seed).permutation(list(by_view)))
    assert mean_of_views({name: by_view[name] for name in names}, how, labels).tobytes() == mean.tobytes()
    if how == "arithmetic":
        assert np.allclose(mean, np.mean(list(by_view.values()), axis=0))
    if len(by_view) == 1:  # FLOOR takes little from a view that is certain
        assert np.allclose(mean, next(iter(by_view.values())), atol=10 * FLOOR * labels.span.max() + 1e-9)


def test_a_geometric_mean_of_cells_is_that_of_odds() -> None:
    seen = {"one": np.array([[0.9, 0.2]]), "other": np.array([[0.5, 0.2]])}
    odds = np.sqrt((0.9 / 0.1) * (0.5 / 0.5))
    assert np.allclose(mean_of_views(seen, "geometric", SEVERAL), [[odds / (1 + odds), 0.2]])
    scaled = {name: NUMBERS.unscaled(values) for name, values in seen.items()}
    expected = NUMBERS.unscaled(np.array([[odds / (1 + odds), 0.2]]))
    assert np.allclose(mean_of_views(scaled, "geometric", NUMBERS), expected)


def test_noise_is_measured_in_parts_of_each_columns_span() -> None:
    rows = [ControlRow("c0", "c0.png", "s0", np.array([0.5, 100.0]))]
    found = {"c0": np.array([0.5, 103.0])}
    assert max_abs_difference(rows, found)[0] == pytest.approx(3.0)
    assert max_abs_difference(rows, found, np.array([1.0, 300.0]))[0] == pytest.approx(0.01)


def test_control_rows_of_a_scale_know_its_order(tmp_path: Path) -> None:
    pixels = {f"a{n}": np.full((8, 8, 3), n, np.uint8) for n in range(3)}
    from made import save_image

    for name, image in pixels.items():
        save_image(tmp_path / "raw" / f"{name}.png", image)
    ids = list(pixels)
    paths = [f"{name}.png" for name in ids]
    keep_controls(
        tmp_path / "fold", RawTree(tmp_path / "raw"), ids, paths, np.array([[0.0], [1.5], [3.0]]), SCALE
    )
    same = {row.sample: row.probs.tolist() for row in read_controls(tmp_path / "fold", SCALE)}
    assert same == {"a0": [0.0], "a1": [1.5], "a2": [3.0]}
    turned = LabelMap(("3", "2", "1", "0"), Task("ordinal"))
    assert all(np.isnan(row.probs).all() for row in read_controls(tmp_path / "fold", turned))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    workspace = tmp_path_factory.mktemp("numbers")
    write_task(workspace, "number")
    done = run_comp(workspace, "run", "number", "--folds", 2)
    assert done.code == 0, done.err
    return workspace


@pytest.mark.slow
def test_control_rows_of_numbers_catch_other_preprocessing_and_another_span(
    finished: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(next((finished / "runs").iterdir()), run)
    raw = finished / "data" / "number"
    sound = json.loads((run / "fold-1" / "model.json").read_text())

    def again(**change: object) -> np.ndarray:
        (run / "fold-1" / "model.json").write_text(json.dumps({**sound, **change}))
        proven_again(run)
        folders = [run / "fold-0", run / "fold-1"]
        return predict(folders, RawTree(raw), ["t0"], ["test/t0.png"], load(run / "recipe.toml")).probs

    assert again().shape == (1, 1)
    for change in ({"mean": [0.1, 0.1, 0.1]}, {"std": [0.229, 0.224, 0.225]}):
        with pytest.raises(CheckFailed, match="test path"):
            again(preprocess={**sound["preprocess"], **change})
