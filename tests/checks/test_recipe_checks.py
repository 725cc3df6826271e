"""Checks of a recipe before training: weights that saw the rows they are to be judged on, and changed preprocessing."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from comp.checks.prediction_checks import preprocessing_override, warm_leak, weights_leak
from comp.data.folds import Folds, make_folds
from comp.data.manifest import Manifest
from comp.models.net import overrides
from comp.models.weights import read_weights
from comp.recipe import ModelConfig
from comp.runs.contents import FITTED
from gallery import clean_gallery
from made import draw, run_comp, save_image, train_table, write_shapes

Rows = tuple[Manifest, Folds]


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Rows:
    manifest = clean_gallery(tmp_path_factory.mktemp("gallery") / "raw", tests=4).context().manifest
    return manifest, make_folds(manifest, 3)


def weights_with(folder: Path, contents: list[str]) -> str:
    (folder / FITTED).write_text("\n".join(contents) + "\n")
    return str(folder / "model.safetensors")


def test_held_out_rows_that_the_weights_were_fitted_on_are_named(tmp_path: Path, rows: Rows) -> None:
    manifest, folds = rows
    (found,) = weights_leak(weights_with(tmp_path, list(manifest.train["content"][5:8])), manifest, folds)
    assert (found.check, found.severity, found.count) == ("weights-leak", "error", 3)
    assert found.examples == ("a5", "a6", "a7")


def test_a_row_of_any_fold_that_the_weights_were_fitted_on_is_a_leak(tmp_path: Path, rows: Rows) -> None:
    manifest, folds = rows
    for fold in range(3):
        row = int(np.flatnonzero(folds.fold == fold)[0])
        (found,) = weights_leak(
            weights_with(tmp_path, [manifest.train["content"].iloc[row]]), manifest, folds
        )
        assert (found.count, found.examples) == (1, (folds.ids[row],))


def test_rows_that_only_train_may_have_been_fitted_on(tmp_path: Path, rows: Rows) -> None:
    manifest, folds = rows
    pooled = Folds(folds.ids, np.where(np.arange(48) < 3, -1, folds.fold), 3, 0, folds.fingerprint)
    assert weights_leak(weights_with(tmp_path, list(manifest.train["content"][:3])), manifest, pooled) == []


@pytest.mark.parametrize("weights", ["default", "none", "elsewhere/w.safetensors"])
def test_weights_of_unknown_history_are_believed(rows: Rows, weights: str) -> None:
    assert weights_leak(weights, *rows) == []


def nothing(k: int) -> set[str]:
    return set()


def with_fold(folds: Folds, fold: list[int] | np.ndarray, fingerprint: str = "") -> Folds:
    return Folds(folds.ids, np.array(fold), folds.k, 0, fingerprint or folds.fingerprint)


def test_a_warm_start_on_its_own_folds_leaks_nothing(rows: Rows) -> None:
    manifest, folds = rows
    train = manifest.train
    fold = folds.of(train["id"])
    assert warm_leak("r", folds, lambda k: set(train["content"][fold != k]), manifest, folds) == []


@given(data=st.data())
def test_rows_that_change_their_fold_are_the_leak(rows: Rows, data: st.DataObject) -> None:
    manifest, folds = rows
    old, new = (data.draw(st.lists(st.integers(-1, 2), min_size=48, max_size=48)) for _ in range(2))
    leaked = [i for i, a, b in zip(folds.ids, old, new, strict=True) if b >= 0 and a != b]
    found = warm_leak("r", with_fold(folds, old), nothing, manifest, with_fold(folds, new))
    assert [(f.check, f.severity, f.count) for f in found] == (
        [("weights-leak", "error", len(leaked))] if leaked else []
    )
    for f in found:
        told = [int(n) for n in re.findall(r"(\d+) rows of fold", f.message)]
        assert sum(told) == len(leaked)
        assert f.examples == tuple(leaked[:5])


def test_rows_that_are_known_by_their_content_leak_under_equal_folds(rows: Rows) -> None:
    manifest, folds = rows
    train = manifest.train
    seen = set(train["content"][folds.of(train["id"]) == 1][:4])
    (found,) = warm_leak("r", folds, lambda k: seen if k == 1 else set(), manifest, folds)
    assert found.count == 4
    assert "4 rows of fold 1" in found.message
    assert warm_leak("r", folds, lambda k: seen if k == 0 else set(), manifest, folds) == []


def test_other_rows_or_another_k_are_a_leak_even_where_none_is_seen(rows: Rows) -> None:
    manifest, folds = rows
    (found,) = warm_leak("r", with_fold(folds, folds.fold, "other"), nothing, manifest, folds)
    assert (found.severity, found.count) == ("error", 48)
    assert "have changed" in found.message
    more = Folds(folds.ids, folds.fold, 4, 0, folds.fingerprint)
    (found,) = warm_leak("r", more, nothing, manifest, folds)
    assert "4 folds there, 3 here" in found.message


@pytest.mark.parametrize(
    ("mean", "speaks"),
    [([0.5, 0.5, 0.5], False), ([0.5004, 0.5, 0.5], False), ([0.52, 0.5, 0.5], True), (None, False)],
)
def test_another_mean_than_the_weights_own_is_told(
    tmp_path: Path, mean: list[float] | None, speaks: bool
) -> None:
    (tmp_path / "w.json").write_text(json.dumps({"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}))
    part = ModelConfig(name="test_resnet", weights=str(tmp_path / "w.safetensors"), mean=mean)
    found = preprocessing_override(overrides(part, "finetune"))
    assert [(f.check, f.severity) for f in found] == (
        [("preprocessing-override", "warning")] if speaks else []
    )
    if speaks:
        assert "0.52" in found[0].message


def test_timms_own_weights_have_a_mean_of_their_own() -> None:
    part = ModelConfig(name="test_resnet", weights="default", mean=[0.1, 0.1, 0.1], std=[0.1, 0.1, 0.1])
    (found,) = preprocessing_override(overrides(part, "probe"))
    assert found.count == 2
    assert preprocessing_override(overrides(part, "scratch")) == [], (
        "from scratch there is nothing to override"
    )


# --- a checkpoint of an earlier run as the weights of the next ------------------------------------------------------


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace where ``shapes`` was run once; its checkpoints have a mean of their own."""
    workspace = tmp_path_factory.mktemp("earlier")
    write_shapes(workspace)
    own = ("--set", "model.mean=[0.4,0.5,0.6]", "--set", "model.std=[0.2,0.3,0.4]")
    done = run_comp(workspace, "run", "shapes", "--folds", 2, *own)
    assert done.code == 0, done.err
    return workspace


@pytest.fixture
def checkpoint(earlier: Path, tmp_path: Path) -> tuple[Path, Path]:
    """A copy of the workspace, and the weights of its fold 0."""
    workspace = tmp_path / "workspace"
    shutil.copytree(earlier, workspace)
    return workspace, next((workspace / "runs").iterdir()) / "fold-0" / "model.safetensors"


def start_from(path: Path, mode: str = "finetune") -> list[object]:
    return ["run", "shapes", "--folds", 2, "--set", f"mode={mode}", "--set", f"model.weights={path}"]


@pytest.mark.parametrize("mode", ["finetune", "probe"])
def test_a_checkpoint_of_an_earlier_run_leaks_the_rows_it_was_fitted_on(
    checkpoint: tuple[Path, Path], mode: str
) -> None:
    workspace, path = checkpoint
    refused = run_comp(workspace, *start_from(path, mode))
    assert refused.code == 1, refused.err
    assert "weights-leak" in refused.err
    assert "fitted on 9 of the rows" in refused.err
    assert len(list((workspace / "runs").iterdir())) == 1, "no run folder was made"


def test_it_may_be_allowed_and_then_starts_with_its_own_preprocessing(checkpoint: tuple[Path, Path]) -> None:
    workspace, path = checkpoint
    done = run_comp(workspace, *start_from(path), "--allow", "weights-leak=for the test", "--json")
    assert done.code == 0, done.err
    folder = workspace / "runs" / done.json["run"]
    sidecar = json.loads((folder / "fold-0" / "model.json").read_text())
    assert sidecar["preprocess"]["mean"] == [0.4, 0.5, 0.6]
    assert sidecar["preprocess"]["std"] == [0.2, 0.3, 0.4]
    found = [f for f in json.loads((folder / "findings.json").read_text()) if f["check"] == "weights-leak"]
    assert [(f["severity"], f["allowed"]) for f in found] == [("warning", "for the test")]


def test_a_probe_keeps_the_checkpoints_backbone(checkpoint: tuple[Path, Path]) -> None:
    workspace, path = checkpoint
    done = run_comp(workspace, *start_from(path, "probe"), "--allow", "weights-leak=for the test", "--json")
    assert done.code == 0, done.err
    after = read_weights(workspace / "runs" / done.json["run"] / "fold-1" / "model.safetensors")
    for name, tensor in read_weights(path).items():
        if name.startswith("backbone."):
            assert after[name].equal(tensor), name


def test_it_is_no_leak_for_rows_it_never_saw(checkpoint: tuple[Path, Path], tmp_path: Path) -> None:
    """Other images under the same ids: what counts is the content."""
    _, path = checkpoint
    other = tmp_path / "other"
    other.mkdir()
    raw = write_shapes(other)
    for number, (sample, label, *_) in enumerate(train_table(raw)):
        save_image(raw / "train" / f"{sample}.png", draw(label, 500 + number))
    done = run_comp(other, *start_from(path))
    assert done.code == 0, done.err


def test_another_mean_than_the_checkpoints_own_is_warned_of(checkpoint: tuple[Path, Path]) -> None:
    workspace, path = checkpoint
    other = ("--set", "model.mean=[0.5,0.5,0.5]", "--allow", "weights-leak=for the test", "--json")
    done = run_comp(workspace, *start_from(path), *other)
    assert done.code == 0, done.err
    assert "preprocessing-override" in done.err
    assert done.json["findings"]["warning"] >= 2
