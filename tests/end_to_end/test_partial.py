"""--only, --time-limit and predict --partial: what is finished is worth a submission, and the rest can follow."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

import comp
from comp.cli.show_run import show_result
from comp.errors import InputError, Refusal, TrainingFailed
from comp.training.time_limit import OutOfTime

TINY: dict[str, Any] = {"folds": 3, "overrides": ["epochs=1", "batch=128"], "quick": True}


def test_some_folds_then_the_rest_end_like_all_at_once(tmp_path: Path) -> None:
    apart, whole = tmp_path / "apart", tmp_path / "whole"
    apart.mkdir()
    whole.mkdir()
    first = comp.run("digits", workspace=apart, only=[2], **TINY)
    assert "partial" in first.marks
    assert len(first.per_fold) == 1
    assert json.loads(first.submission.with_suffix(".json").read_text())["marks"] == ["quick", "partial"]
    assert not (first.folder / "record.json").exists()
    last = comp.run("digits", workspace=apart, resume="latest")
    assert last.run == first.run
    assert last.marks == ["quick"]
    assert (last.folder / "record.json").exists()
    full = comp.run("digits", workspace=whole, **TINY)
    assert last.submission.read_bytes() == full.submission.read_bytes()
    assert last.per_fold == full.per_fold


def test_changed_folds_a_damaged_state_and_a_damaged_fold_are_named_before_anything_trains(
    tmp_path: Path,
) -> None:
    run = comp.run("digits", workspace=tmp_path, only=[2], **TINY).folder
    folds, result, weights = (
        run / "folds.csv",
        run / "fold-2" / "result.json",
        run / "fold-2" / "model.safetensors",
    )
    kept = {path: path.read_bytes() for path in (folds, result, weights)}
    lines = kept[folds].decode().splitlines()
    moved = [line[:-1] + {"0": "1", "1": "0", "2": "2"}.get(line[-1], line[-1]) for line in lines]
    folds.write_text("\n".join(moved) + "\n")
    with pytest.raises(InputError, match=r"as they were made|as it wrote them"):
        comp.run("digits", workspace=tmp_path, resume="latest")
    folds.write_bytes(kept[folds])
    result.write_text("{}")
    with pytest.raises(InputError, match="result must be whole"):
        comp.run("digits", workspace=tmp_path, resume="latest")
    result.write_bytes(kept[result])
    weights.write_bytes(b"junk")
    with pytest.raises(InputError):
        comp.run("digits", workspace=tmp_path, resume="latest")
    weights.write_bytes(kept[weights])
    assert not (run / "fold-0").exists(), "nothing was trained"
    for junk in (b"", b"junk"):
        (run / "fold-0").mkdir(exist_ok=True)
        (run / "fold-0" / "state.pt").write_bytes(junk)
        with pytest.raises(InputError, match="saved state must be whole"):
            comp.run("digits", workspace=tmp_path, resume="latest")
    torch.save({"fold": "fold-1"}, run / "fold-0" / "state.pt")
    with pytest.raises(InputError, match="its fold's own"):
        comp.run("digits", workspace=tmp_path, resume="latest")


def test_weights_that_are_no_numbers_fail_the_fold(tmp_path: Path) -> None:
    one_step = {**TINY, "overrides": ["epochs=1", "batch=128", "optimizer.lr=1e30"]}
    with pytest.raises(TrainingFailed, match="after the last step of epoch 1"):
        comp.run("digits", workspace=tmp_path, **one_step)


def test_predict_asks_every_fold_unless_told_otherwise(tmp_path: Path) -> None:
    comp.run("digits", workspace=tmp_path, only=[0], **TINY)
    with pytest.raises(InputError, match="asks every fold") as refused:
        comp.predict("latest", workspace=tmp_path)
    assert "fold-1, fold-2" in refused.value.value
    path, rows = comp.predict("latest", workspace=tmp_path, partial=True)
    assert path.name.endswith("-partial.csv")
    assert rows == 374


def test_a_time_limit_that_is_over_saves_and_says_so(tmp_path: Path) -> None:
    with pytest.raises(OutOfTime, match="before a fold was finished"):
        comp.run("digits", workspace=tmp_path, time_limit="1s", **TINY)
    (state,) = tmp_path.glob("runs/*/fold-0/state.pt")
    assert state.stat().st_size > 0
    assert comp.run("digits", workspace=tmp_path, resume="latest").marks == ["quick"]


def test_folds_that_do_not_exist(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="`only` names folds"):
        comp.run("digits", workspace=tmp_path, only=[3], **TINY)


def test_the_table_names_the_fold_that_was_trained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = comp.run("digits", workspace=tmp_path, only=[2], **TINY)
    capsys.readouterr()
    show_result(found)
    told = capsys.readouterr()
    table = told.out + told.err
    assert "fold 2" in table
    assert "fold 0" not in table
    assert "temperature" not in table, "it would be fitted on other folds"


OWN_NET = """
from torch import nn

class Own(nn.Module):
    num_features = 4
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
    def forward(self, x):
        return self.conv(x).mean((2, 3))

MODELS = {"own_net": Own}
"""


def test_a_run_does_not_go_on_with_another_network_of_models_py(tmp_path: Path) -> None:
    own = tmp_path / "competitions" / "mine"
    own.mkdir(parents=True)
    (own / "competition.toml").write_text('extends = "digits"\nslug = "mine"\n')
    (own / "models.py").write_text(OWN_NET)
    tiny = {**TINY, "overrides": [*TINY["overrides"], "model.name=own_net"]}
    first = comp.run("mine", workspace=tmp_path, only=[2], **tiny)
    second = comp.run("mine", workspace=tmp_path, only=[1], **tiny)
    (own / "models.py").write_text(OWN_NET.replace("padding=1", "padding=0"))
    with pytest.raises(Refusal, match=r"models\.py is no longer what the run began with"):
        comp.run("mine", workspace=tmp_path, resume=first.run, only=[1])
    assert not (first.folder / "fold-1").exists()
    with pytest.raises(Refusal, match=r"models\.py is no longer what the run began with"):
        comp.merge(first.run, second.run, workspace=tmp_path)
    assert len(list((tmp_path / "runs").iterdir())) == 2, "no run folder was made"
    (own / "models.py").write_text(OWN_NET)
    shutil.rmtree(second.folder)
    assert len(comp.run("mine", workspace=tmp_path, resume="latest").per_fold) == 3


def test_a_models_py_that_a_run_does_not_use_may_change(tmp_path: Path) -> None:
    own = tmp_path / "competitions" / "mine"
    own.mkdir(parents=True)
    (own / "competition.toml").write_text('extends = "digits"\nslug = "mine"\n')
    (own / "models.py").write_text(OWN_NET)
    comp.run("mine", workspace=tmp_path, only=[2], **TINY)
    (own / "models.py").write_text(OWN_NET + "\n# changed\n")
    assert len(comp.run("mine", workspace=tmp_path, resume="latest").per_fold) == 3
