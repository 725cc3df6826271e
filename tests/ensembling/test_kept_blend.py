"""A blend that was carried as a file answers as it did where it was learned, bit for bit."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from comp.data.labels import LabelMap
from comp.ensembling.kept_blend import load_blend, save_blend
from comp.ensembling.methods import METHODS, methods_of
from comp.ensembling.nested_cv import BlendSpec, learn_all
from comp.errors import InputError
from comp.metrics import metric_by_name
from made_blends import NUMBERS, SCALE, SEVERAL, guesses, rows_of, task_metric, task_rows_of, truth_of

TRUTH = truth_of(200)
ROWS = rows_of(
    {name: guesses(TRUTH, skill, n) for n, (name, skill) in enumerate({"a": 2.0, "b": 1.0}.items())}, TRUTH
)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_with_temperature_factors_and_rule(method: str, tmp_path: Path) -> None:
    spec = BlendSpec(method, metric_by_name("macro_f1"), calibrate=True, decide=True, factors=(1.0, 0.5, 2.0))
    learned = learn_all(spec, ROWS)
    save_blend(learned, tmp_path / "learned.npz")
    again = load_blend(tmp_path / "learned.npz")
    assert np.array_equal(again(ROWS.aligned), learned(ROWS.aligned))
    assert again.decision == learned.decision
    assert again.blend.by_part() == learned.blend.by_part()


EVERY = [(labels, method) for labels in (SEVERAL, SCALE, NUMBERS) for method in methods_of(labels)]


@pytest.mark.parametrize(("labels", "method"), EVERY, ids=lambda one: getattr(one, "task", one))
def test_of_other_tasks_too(labels: LabelMap, method: str, tmp_path: Path) -> None:
    rows = task_rows_of(labels)
    assert method in methods_of(labels)
    learned = learn_all(BlendSpec(method, task_metric(labels), decide=labels.task.name != "regression"), rows)
    save_blend(learned, tmp_path / "learned.npz")
    assert np.array_equal(load_blend(tmp_path / "learned.npz")(rows.aligned), learned(rows.aligned))


def test_what_cannot_be_read_or_carried_is_named(tmp_path: Path) -> None:
    learned = learn_all(BlendSpec("mean", metric_by_name("accuracy")), ROWS)
    silent = replace(learned, blend=replace(learned.blend, state=None))
    with pytest.raises(InputError, match="carried by what it learned"):
        save_blend(silent, tmp_path / "silent.npz")
    assert not list(tmp_path.iterdir())
    for content in (b"torn", json.dumps({}).encode()):
        (tmp_path / "learned.npz").write_bytes(content)
        with pytest.raises(InputError, match="must be readable"):
            load_blend(tmp_path / "learned.npz")
    with pytest.raises(InputError, match="must be readable"):
        load_blend(tmp_path / "none.npz")
