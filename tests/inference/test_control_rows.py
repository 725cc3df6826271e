"""Control rows: kept byte for byte, shuffled among the test rows, and refused when they come back changed."""

from __future__ import annotations

import gc
import json
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from comp.data.images.raw_tree import RawTree
from comp.data.images.source import ArraySource
from comp.data.labels import LabelMap
from comp.errors import CheckFailed
from comp.inference.predict import (
    MOST,
    ControlRow,
    ControlRowSource,
    control_row_error,
    keep_controls,
    max_abs_difference,
    predict,
    read_controls,
    shuffled,
)
from comp.recipe import load
from gallery import save, texture
from made import proven_again, run_comp, write_shapes

TWO, THREE = LabelMap(["bar", "ring"]), LabelMap(["bar", "cross", "ring"])


def keep(folder: Path, raw: Path, count: int) -> list[ControlRow]:
    """The control rows of a fold of so many held-out images."""
    ids = [f"a{n}" for n in range(count)]
    for number, name in enumerate(ids):
        save(raw / f"{name}.png", texture(number, 12))
    probs = np.random.default_rng(0).dirichlet(np.ones(3), count)
    keep_controls(folder, RawTree(raw), ids, [f"{name}.png" for name in ids], probs, THREE)
    found = read_controls(folder, THREE)
    for row in found:
        np.testing.assert_array_equal(row.probs, probs[ids.index(row.sample)])
    return found


@pytest.mark.parametrize(("count", "kept"), [(1, 1), (15, 15), (16, 16), (40, MOST)])
def test_at_most_sixteen_held_out_images_are_kept_byte_for_byte(
    tmp_path: Path, count: int, kept: int
) -> None:
    rows = keep(tmp_path / "fold-0", tmp_path / "raw", count)
    assert len(rows) == len({row.id for row in rows}) == kept
    source = ControlRowSource(RawTree(tmp_path / "elsewhere"))
    for row in rows:
        assert source.load(row.path) == (tmp_path / "raw" / f"{row.sample}.png").read_bytes()


def test_which_are_kept_does_not_depend_on_their_order(tmp_path: Path) -> None:
    first = {row.sample for row in keep(tmp_path / "one", tmp_path / "raw", 40)}
    ids = [f"a{n}" for n in range(40)][::-1]
    keep_controls(
        tmp_path / "two",
        RawTree(tmp_path / "raw"),
        ids,
        [f"{i}.png" for i in ids],
        np.full((40, 3), 1 / 3),
        THREE,
    )
    assert {row.sample for row in read_controls(tmp_path / "two", THREE)} == first


def test_another_label_map_gives_other_probabilities(tmp_path: Path) -> None:
    kept = keep(tmp_path / "fold-0", tmp_path / "raw", 4)
    rotated = read_controls(tmp_path / "fold-0", LabelMap(["ring", "bar", "cross"]))
    difference, _ = max_abs_difference(rotated, {row.id: row.probs for row in kept})
    assert difference > 0.01
    unknown = read_controls(tmp_path / "fold-0", LabelMap(["bar", "cross", "disc"]))
    assert np.isnan(max_abs_difference(unknown, {row.id: row.probs for row in kept})[0])


def test_rows_of_an_array_are_kept_as_pixels(tmp_path: Path) -> None:
    pixels = np.stack([texture(n, 8) for n in range(3)])
    source = ArraySource({"train": pixels})
    keep_controls(
        tmp_path / "fold-0",
        source,
        ["a", "b", "c"],
        ["train#0", "train#1", "train#2"],
        np.full((3, 2), 0.5),
        TWO,
    )
    for row in read_controls(tmp_path / "fold-0", TWO):
        np.testing.assert_array_equal(
            ControlRowSource(source).load(row.path), pixels["abc".index(row.sample)]
        )


def test_other_rows_come_from_the_competitions_own_source(tmp_path: Path) -> None:
    save(tmp_path / "t.png", texture(1))
    assert ControlRowSource(RawTree(tmp_path)).load("t.png") == (tmp_path / "t.png").read_bytes()


def test_control_rows_load_in_several_threads(tmp_path: Path) -> None:
    """``ast.parse``, by which numpy reads a header, must not be in two threads (they change within it at a collection)."""
    source = ArraySource({"train": np.zeros((1, 8, 8, 3), np.uint8)})
    keep_controls(tmp_path / "fold-0", source, ["a"], ["train#0"], np.full((1, 2), 0.5), TWO)
    (row,) = read_controls(tmp_path / "fold-0", TWO)

    def slow(*_: object) -> None:
        sum(range(3000))

    gc.callbacks.append(slow)
    threshold, interval = gc.get_threshold(), sys.getswitchinterval()
    gc.set_threshold(5)
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:
            for loaded in pool.map(ControlRowSource(source).load, [row.path] * 1000):
                assert not np.asarray(loaded).any()
    finally:
        gc.callbacks.remove(slow)
        gc.set_threshold(*threshold)
        sys.setswitchinterval(interval)


def test_control_rows_of_several_folds_have_different_ids_and_none_of_a_real_row(tmp_path: Path) -> None:
    rows = [*keep(tmp_path / "fold-0", tmp_path / "raw", 5), *keep(tmp_path / "fold-1", tmp_path / "raw", 5)]
    assert len({row.id for row in rows}) == 10
    assert not {row.id for row in rows} & {row.sample for row in rows}


@given(st.integers(0, 200))
def test_the_shuffle_is_one_of_all_rows_and_always_the_same(count: int) -> None:
    order = shuffled(count)
    assert sorted(order) == list(range(count))
    assert order.tolist() == shuffled(count).tolist()
    if count > 20:
        assert order.tolist() != list(range(count))


def test_the_worst_row_is_named_and_a_nan_is_worse_than_anything() -> None:
    rows = [ControlRow(f"c{n}", "", f"a{n}", np.array([0.5, 0.5])) for n in range(3)]
    same = {row.id: row.probs for row in rows}
    assert max_abs_difference(rows, same) == (0.0, "")
    worse = {**same, "c0": np.array([0.6, 0.4]), "c2": np.array([0.8, 0.2])}
    assert max_abs_difference(rows, worse) == (pytest.approx(0.3), "a2")
    difference, sample = max_abs_difference(rows, {**worse, "c1": np.array([np.nan, np.nan])})
    assert not difference <= 1e-3
    assert sample in ("a1", "a2")


def test_the_refusal_names_check_fold_and_sample() -> None:
    error = control_row_error(Path("fold-3"), 0.25, "a7")
    assert error.exit_code == 1
    assert all(word in error.value for word in ("control-rows", "fold-3", "'a7'", "0.250"))


# --- through a real run ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    workspace = tmp_path_factory.mktemp("finished")
    write_shapes(workspace)
    done = run_comp(workspace, "run", "shapes", "--folds", 2, "--set", "epochs=3")
    assert done.code == 0, done.err
    return workspace


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy of the run folder, to be tampered with."""
    folder = tmp_path / "run"
    shutil.copytree(next((finished / "runs").iterdir()), folder)
    return folder


def predict_again(run: Path, finished: Path, rows: slice = slice(None)) -> np.ndarray:
    proven_again(run)  # SHA-256 would tell of a changed file before the control rows do
    raw = finished / "data" / "shapes"
    ids = [f"t{n}" for n in range(12)][rows]
    folders = [run / "fold-0", run / "fold-1"]
    return predict(
        folders, RawTree(raw), ids, [f"test/{i}.png" for i in ids], load(run / "recipe.toml")
    ).probs


def change_json(path: Path, change: dict[str, object]) -> None:
    table = json.loads(path.read_text())
    path.write_text(json.dumps({**table, "preprocess": {**table["preprocess"], **change}}))


def test_an_honest_checkpoint_passes_and_control_rows_change_no_answer(run: Path, finished: Path) -> None:
    whole = predict_again(run, finished)
    assert whole.shape == (12, 3)
    np.testing.assert_allclose(predict_again(run, finished, slice(3, 7)), whole[3:7], atol=1e-6)


@pytest.mark.parametrize(
    "change",
    [
        {"mean": [0.1, 0.1, 0.1]},
        {"std": [0.229, 0.224, 0.225]},
        {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]},
        {"interpolation": "nearest"},
    ],
    ids=["mean", "std", "another model's", "interpolation"],
)
def test_other_preprocessing_than_it_was_judged_with_is_refused(
    run: Path, finished: Path, change: dict[str, object]
) -> None:
    change_json(run / "fold-1" / "model.json", change)
    with pytest.raises(CheckFailed, match="test path") as refused:
        predict_again(run, finished)
    assert "control-rows: fold-1" in refused.value.value


def test_another_label_order_is_refused(run: Path, finished: Path) -> None:
    for fold in ("fold-0", "fold-1"):
        table = json.loads((run / fold / "model.json").read_text())
        table["classes"] = table["classes"][1:] + table["classes"][:1]
        (run / fold / "model.json").write_text(json.dumps(table))
    with pytest.raises(CheckFailed):
        predict_again(run, finished)


def test_another_image_under_a_control_rows_name_is_refused(run: Path, finished: Path) -> None:
    one, other = sorted((run / "fold-0" / "control").iterdir())[:2]
    shutil.copy(other, one)
    with pytest.raises(CheckFailed) as refused:
        predict_again(run, finished)
    assert "control-rows: fold-0" in refused.value.value


def test_the_training_images_are_not_needed(run: Path, finished: Path, tmp_path: Path) -> None:
    before = predict_again(run, finished)
    alone = tmp_path / "alone"
    shutil.copytree(finished, alone)
    shutil.rmtree(alone / "data" / "shapes" / "train")
    np.testing.assert_array_equal(predict_again(run, alone), before)


def test_a_row_of_half_precision_is_tried_again_in_fp32(
    run: Path, finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A sidecar that claims bf16 for a model judged in fp32 is given its second chance."""
    path = run / "fold-0" / "model.json"
    rows = json.loads((run / "fold-0" / "control.json").read_text())
    table = json.loads(path.read_text())
    path.write_text(json.dumps({**table, "precision": "bf16"}))
    assert predict_again(run, finished).shape == (12, 3)
    for row in rows:
        row["probs"] = dict(zip(row["probs"], [1.0, 0.0, 0.0], strict=True))
    (run / "fold-0" / "control.json").write_text(json.dumps(rows))
    with pytest.raises(CheckFailed):
        predict_again(run, finished)
    assert "trying again in fp32" in capsys.readouterr().err
