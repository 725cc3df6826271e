"""What a newcomer adds in one file: a metric, a way to blend, a view, a listener, an executor; a check is added in
tests/checks/test_registry.py. Each is registered from here, used through the public functions, and gone afterwards.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

import comp
from comp import events, metrics, views
from comp.data.predictions import Predictions
from comp.ensembling import methods
from comp.metrics import Metric
from comp.training.train_fold import Ended, FoldJob
from comp.training.train_folds import train_folds
from made import run_comp, write_shapes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from comp.ensembling.aligned import LabelledPredictions
    from comp.ensembling.methods import Blend

SMALL = ["epochs=1", "threads=1", "device=cpu", "precision=fp32"]


@pytest.fixture(autouse=True)
def as_they_were() -> Iterator[None]:
    """The registries of the process after the test are those before it."""
    tables: list[dict[str, object]] = [
        metrics.METRICS,  # type: ignore[list-item]
        metrics.ALIASES,  # type: ignore[list-item]
        methods.METHODS,  # type: ignore[list-item]
        views.VIEWS,  # type: ignore[list-item]
    ]
    before = [dict(table) for table in tables]
    dear = set(methods.DEAR)
    yield
    for table, content in zip(tables, before, strict=True):
        table.clear()
        table.update(content)
    methods.DEAR.clear()
    methods.DEAR.update(dear)


def errors(labels: NDArray[np.int64], probs: NDArray[np.float64]) -> float:
    """The share of wrong answers, with those of the second class counted twice."""
    wrong = probs.argmax(axis=1) != labels
    return float((wrong * np.where(labels == 1, 2.0, 1.0)).mean())


def test_a_metric(tmp_path: Path) -> None:
    metrics.register(Metric("second_counts_twice", errors, "min", highest=2.0), "twice")
    write_shapes(tmp_path)
    facts = tmp_path / "competitions" / "shapes" / "competition.toml"
    facts.write_text(facts.read_text().replace('"accuracy"', '"Second counts-twice"'))
    found = comp.run("shapes", 2, workspace=tmp_path, overrides=SMALL)
    oof = Predictions.load(found.folder / "oof.npz")
    truth = {
        f"a{n}": place
        for n, place in enumerate([0, 1, 2] * 6)  # circle, cross, square
    }
    answers = oof.probs.argmax(axis=1)
    cost = [(2.0 if truth[i] == 1 else 1.0) * (answers[n] != truth[i]) for n, i in enumerate(oof.ids)]
    assert found.score == pytest.approx(np.mean(cost))
    assert sum(cost) > 0, "one epoch does not learn all"
    assert metrics.metric_by_name("twice").direction == "min"


@pytest.mark.parametrize("name", ["accuracy", "acc", "top5", "map@3", "Mine", "my own", ""])
def test_a_metric_has_a_name_of_its_own(name: str) -> None:
    with pytest.raises(ValueError, match=r"already|small letters"):
        metrics.register(Metric(name, errors))
    assert metrics.metric_by_name("accuracy").function is metrics.accuracy


@pytest.mark.slow
def test_a_blend_method(tmp_path: Path) -> None:
    write_shapes(tmp_path)
    runs = [
        comp.run("shapes", 2, workspace=tmp_path, overrides=[*SMALL, "tta=none"], seed=seed)
        for seed in (0, 1)
    ]

    @methods.method("harmonic")
    def harmonic(rows: LabelledPredictions, _: Metric) -> Blend:
        aligned = rows.aligned
        return methods.Blend(
            "harmonic", aligned.names, aligned.labels, None, lambda probs: 1 / (1 / probs).mean(axis=0)
        )

    found = comp.ensemble(*(one.folder.name for one in runs), method="harmonic", workspace=tmp_path)
    blended = Predictions.load(found.folder / "test.npz")
    first, second = (Predictions.load(one.folder / "test.npz") for one in runs)
    assert first.ids == second.ids == blended.ids
    right = 2 / (1 / first.probs + 1 / second.probs)
    right /= right.sum(axis=1, keepdims=True)
    assert np.allclose(blended.probs, right, atol=1e-9)
    told = " ".join(run_comp(tmp_path, "ensemble", "--help").out.split())
    assert "stacking, forward or harmonic. auto:" in told
    with pytest.raises(ValueError, match="already"):
        methods.method("mean")(harmonic)


def test_the_help_names_the_methods_that_there_are(tmp_path: Path) -> None:
    told = " ".join(run_comp(tmp_path, "ensemble", "--help").out.split())
    assert "mean, geometric, rank, power, weighted, greedy, stacking or forward. auto:" in told


def test_a_view(tmp_path: Path) -> None:
    write_shapes(tmp_path)
    asked = ['tta=["identity","two-right","two-right-hflip"]']
    with pytest.raises(comp.errors.CompError, match="unknown view 'two-right'"):
        comp.run("shapes", 2, workspace=tmp_path, overrides=[*SMALL, *asked])
    plain = comp.run("shapes", 2, workspace=tmp_path, overrides=[*SMALL, "tta=none"])
    views.register_view("two-right", lambda x, _: x.roll(2, 3))
    found = comp.run("shapes", 2, workspace=tmp_path, overrides=[*SMALL, *asked])
    for k in (0, 1):
        one, other = (
            Predictions.load(run.folder / f"fold-{k}" / name)
            for run, name in ((plain, "oof.npz"), (found, "oof-identity_view.npz"))
        )
        assert np.allclose(one.probs, other.probs), "the same networks"
    assert not np.allclose(
        Predictions.load(found.folder / "test.npz").probs, Predictions.load(plain.folder / "test.npz").probs
    )


def test_a_view_is_what_was_registered_and_its_twin_the_same_mirrored() -> None:
    import torch

    from comp.inference.forward import view

    views.register_view("two-right", lambda x, _: x.roll(2, 3))
    row = torch.arange(4.0).reshape(1, 1, 1, 4).expand(1, 3, 4, 4)
    assert view("two-right", row, 4)[0, 0, 0].tolist() == [2, 3, 0, 1]
    assert view("two-right-hflip", row, 4)[0, 0, 0].tolist() == [1, 0, 3, 2]
    assert not views.VIEWS["two-right"].keeps_features, "its features may be another's tomorrow"


@pytest.mark.parametrize("name", ["identity", "hflip", "d4", "auto", "vflip", "large"])
def test_a_view_has_a_name_of_its_own(name: str) -> None:
    with pytest.raises(ValueError, match="already"):
        views.register_view(name, lambda x, _: x)
    with pytest.raises(ValueError, match="in its own"):
        views.register_view("new", lambda x, _: x, scale=1.5)


class Scores(events.RunListener):
    """A listener: one class in one file."""

    def __init__(self) -> None:
        self.folds: list[tuple[int, float | None]] = []

    def on_fold_end(self, event: events.FoldEnded) -> None:
        self.folds.append((event.fold, event.score))


def test_a_listener(tmp_path: Path) -> None:
    write_shapes(tmp_path)
    heard = Scores()
    found = comp.run("shapes", 2, workspace=tmp_path, overrides=SMALL, listeners=[heard])
    assert heard.folds == list(enumerate(found.per_fold))


class Elsewhere:
    """An executor: the last fold first, each as the bytes that a cluster would get."""

    def __init__(self) -> None:
        self.sent: list[int] = []

    def run(self, job: Callable[[int], FoldJob], todo: Sequence[int]) -> Generator[Ended]:
        for k in reversed(todo):
            content = pickle.dumps(job(k))
            self.sent.append(k)
            pickle.loads(content)()
            yield Ended(k)


def test_an_executor(tmp_path: Path) -> None:
    from comp.data.competitions.competition import find_competition
    from comp.pipelines.find_lr import plan_of_first_fold
    from comp.workspace import Workspace

    write_shapes(tmp_path)
    workspace = Workspace.find(tmp_path)
    plan = plan_of_first_fold("", workspace, find_competition("shapes", workspace), None, None, SMALL, 2)
    one_by_one, failures = train_folds(replace(plan, folder=tmp_path / "here"))
    executor = Elsewhere()
    elsewhere, failed = train_folds(replace(plan, folder=tmp_path / "there"), executor=executor)
    assert executor.sent == [1, 0]
    assert failures == failed == []
    for k in (0, 1):
        for name in ("model.safetensors", "oof.npz"):
            here, there = (tmp_path / where / f"fold-{k}" / name for where in ("here", "there"))
            assert here.read_bytes() == there.read_bytes()
    assert [one.score for one in elsewhere] == [one.score for one in one_by_one]
