"""What a run says of its epochs, its weights and its failures."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch

import comp
from comp.data.labels import LabelMap
from comp.data.predictions import Predictions
from comp.errors import TrainingFailed
from comp.models.checkpoint import load_checkpoint
from comp.recipe import load
from comp.training.ema import WeightEma
from made import TINY_RECIPE


def run(workspace: Path, *overrides: str, folds: int = 2) -> comp.pipelines.run.RunResult:
    recipe = workspace / "r.toml"
    recipe.write_text(TINY_RECIPE)
    return comp.run("digits", folds, workspace=workspace, recipe=recipe, overrides=overrides, quick=True)


def test_the_average_is_what_is_kept_and_judged(tmp_path: Path) -> None:
    found = run(tmp_path, "regularize.ema=0.9", "epochs=2")
    assert set(found.beside) == {"identity_view", "plain_weights"}
    fold = found.folder / "fold-0"
    kept, plain = (Predictions.load(fold / f"oof{name}.npz").probs for name in ("", "-plain_weights"))
    assert not np.allclose(kept, plain)
    assert not found.selected_on_oof


def test_the_best_epoch_is_told_apart_from_the_last(tmp_path: Path) -> None:
    found = run(tmp_path, "checkpoint=best", "epochs=3", "optimizer.lr=0.05")
    assert found.selected_on_oof
    assert found.as_json()["oof"]["selected_on_oof"] is True
    assert "last_epoch" in found.as_json()["oof"]
    rows = list(csv.DictReader((found.folder / "fold-0" / "history.csv").read_text().splitlines()))
    best = max(float(row["valid_metric"]) for row in rows)
    facts = json.loads((found.folder / "fold-0" / "result.json").read_text())
    assert facts["identity_score"] == pytest.approx(best)
    last = Predictions.load(found.folder / "fold-0" / "oof-last_epoch.npz")
    truth = {
        r["id"]: r["label"] for r in csv.DictReader((found.folder / "manifest.csv").read_text().splitlines())
    }
    labels = LabelMap(last.labels.names)
    right = last.probs.argmax(1) == labels.encode([truth[i] for i in last.ids])
    assert right.mean() == pytest.approx(float(rows[-1]["valid_metric"]))
    assert not list(found.folder.glob("fold-*/best.pt"))


def test_early_stopping_ends_before_the_last_epoch(tmp_path: Path) -> None:
    found = run(tmp_path, "stop.patience=1", "epochs=30", "optimizer.lr=1e-7", "optimizer=sgd")
    lines = (found.folder / "fold-0" / "history.csv").read_text().splitlines()
    assert len(lines) < 31
    assert found.selected_on_oof


def test_stages_train_the_head_before_the_rest(tmp_path: Path) -> None:
    staged = run(tmp_path, "stages=[{train='head'},{train=1}]")
    recipe = load(staged.folder / "recipe.toml")
    assert [stage.train for stage in recipe.stages or []] == [1], "--quick keeps the last stage"
    ran = [run(tmp_path, "stages=[{train='head'}]", f"optimizer.lr={lr}") for lr in (1e-2, 1e-3)]
    one, other = (load_checkpoint(found.folder / "fold-0")[0] for found in ran)
    for name, tensor in other.backbone.state_dict().items():
        assert torch.equal(tensor, one.backbone.state_dict()[name]), f"{name} moved with the head"
    assert not torch.equal(other.head.weight, one.head.weight)


def test_a_fold_that_fails_keeps_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from comp.training import gradients

    real = gradients.loss_of
    state = {"calls": 0}

    def fails_in_the_first_fold(*arguments: object) -> torch.Tensor:
        state["calls"] += 1
        loss = real(*arguments)  # type: ignore[arg-type]
        return loss * float("nan") if state["calls"] == 3 else loss

    monkeypatch.setattr(gradients, "loss_of", fails_in_the_first_fold)
    with pytest.raises(TrainingFailed, match="must be a number") as failed:
        run(tmp_path, folds=3)
    assert "2 finished folds are kept" in failed.value.value
    (folder,) = (tmp_path / "runs").iterdir()
    facts = json.loads((folder / "fold-0" / "diverged.json").read_text())
    assert facts["batch"] == 3
    train = {
        r["id"]
        for r in csv.DictReader((folder / "manifest.csv").read_text().splitlines())
        if r["split"] == "train"
    }
    assert len(facts["ids"]) == 8
    assert set(facts["ids"]) <= train
    path, rows = comp.predict("latest", workspace=tmp_path, partial=True)
    assert path.name.endswith("-partial.csv")
    assert rows == 374


def test_an_average_of_steps() -> None:
    net = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.zeros_(net.weight)
    average = WeightEma(net, 0.5)
    expected, value = 0.0, 0.0
    for step in range(1, 6):
        value += 1.0
        with torch.no_grad():
            net.weight.fill_(value)
        average.update()
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * value
    with average.inside(net):
        assert net.weight.item() == pytest.approx(expected)
    assert net.weight.item() == 5.0


def test_confusions_are_counted(tmp_path: Path) -> None:
    found = run(tmp_path)
    rows = list(csv.reader((found.folder / "confusion.csv").read_text().splitlines()))
    assert rows[0] == ["truth", *map(str, range(10))]
    counts = np.array([row[1:] for row in rows[1:]], dtype=int)
    assert counts.sum() == len(Predictions.load(found.folder / "oof.npz"))
    assert np.trace(counts) / counts.sum() == pytest.approx(found.score)
