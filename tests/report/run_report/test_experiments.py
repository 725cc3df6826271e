"""What to try next: what the numbers speak for, the surest first, as commands that can be typed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from comp.report.run_report.epochs import Verdict
from comp.report.run_report.experiments import next_experiments
from comp.report.run_report.run_data import RunData
from comp.report.run_report.scores import Judge, runs_beside
from made_report import doubts_of, made_data, made_rows, other_run


def commands(data: RunData, verdict: Verdict | None = None) -> list[str]:
    return [one.command for one in next_experiments(data, verdict, runs_beside(data, Judge(data)))]


def test_a_probe_is_fine_tuned_enlarged_and_seeded() -> None:
    found = commands(made_data())
    assert found[0] == "comp run shapes --set mode=finetune --set model.name=resnet9"
    assert found[1].endswith("--set model.size=32") is False
    assert "--set model.size=" in found[1]
    assert found[2].endswith("--seed 2")


def test_a_smoke_run_is_run_in_full_first() -> None:
    data = made_data()
    data = replace(data, record={**data.record, "marks": ["quick"]})
    assert commands(data)[0] == "comp run shapes"


def test_an_unfinished_run_goes_on_first() -> None:
    assert commands(replace(made_data(), record={}))[0] == "comp run shapes --resume 20260101-000000-abcd"


def test_doubted_labels_and_a_blend_that_gains_come_before_the_recipe() -> None:
    data = made_data(made_rows(3, 400))
    suspected = np.zeros(400, np.bool_)
    suspected[:3] = True
    doubts = doubts_of(np.zeros(400), suspected, np.zeros(400, np.int64))
    perfect = other_run(data.oof, id="perfect", score=0.99, probs=np.eye(3)[data.oof.truth] * 0.9 + 0.1 / 3)
    noisy = made_rows(3, 400, seed=9)
    weak = np.where(np.arange(400)[:, None] % 4 == 0, noisy.probs, perfect.probs)
    data = replace(data, doubts=doubts, others=[replace(perfect, probs=weak)])
    found = commands(data)
    assert found[0] == "comp labels 20260101-000000-abcd --csv labels.csv"
    gains = [one for one in runs_beside(data, Judge(data)) if one.added.endswith("better")]
    assert ("comp ensemble 20260101-000000-abcd perfect" in found) == bool(gains)


def test_curves_decide_on_epochs_and_rates() -> None:
    data = replace(made_data(), recipe={"mode": "finetune", "epochs": 6, "model": {"name": "resnet9"}})
    assert commands(data, Verdict("longer", "train longer"))[0].endswith("--set epochs=12")
    assert commands(data, Verdict("unstable", "too high"))[0] == "comp lr shapes"
    assert "regularize.mixup" in commands(data, Verdict("overfits", "it overfits"))[0]
