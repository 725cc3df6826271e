"""A plan is a value that pickle takes to any process: what trains a fold there comes to the same bytes."""

from __future__ import annotations

import pickle
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

import comp.models.net as networks
from comp.data.competitions.competition import find_competition
from comp.data.images.pixel_cache import DecodedSource
from comp.data.images.raw_tree import RawTree
from comp.data.images.source import AdapterSource
from comp.errors import InputError
from comp.pipelines.find_lr import plan_of_first_fold
from comp.training.plan import TrainPlan
from comp.training.time_limit import Deadline
from comp.training.train_fold import FoldJob, run_fold
from comp.workspace import Workspace
from made import clean_environment, write_shapes

OPEN_THINGS = '''

import mmap
from threading import Lock


class Files:
    """A source with what no pickle takes: mapped memory, a lock."""

    def __init__(self, raw):
        with (raw / "train.csv").open("rb") as table:
            self.mapped = mmap.mmap(table.fileno(), 0, access=mmap.ACCESS_READ)
        self.tree, self.lock = RawTree(raw), Lock()

    def load(self, path):
        with self.lock:
            return self.tree.load(path)


def source(raw):
    return Files(raw)
'''
OWN_METRIC = """

def hits(labels, answers):
    return float((labels == answers).sum())
"""
OWN_MODELS = """
from torch import nn


class Mine(nn.Module):
    num_features = 4

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, x):
        return self.conv(x).relu().mean((2, 3))


MODELS = {"mine": Mine}
"""
FRESH = """
import pickle, sys
from pathlib import Path

for job in pickle.loads(Path(sys.argv[1]).read_bytes()):
    job()
"""


def plan_of(workspace: Path, slug: str, *overrides: str, data: Path | None = None) -> TrainPlan:
    ws = Workspace.find(workspace)
    changed = ["epochs=1", "threads=1", "device=cpu", "precision=fp32", *overrides]
    return plan_of_first_fold("", ws, find_competition(slug, ws), data, None, changed, 2)


def shapes(workspace: Path, adapter: str = "", metric: str = "accuracy", models: str = "") -> TrainPlan:
    """The plan of a competition from folders with so much more in its adapter, a metric and a models.py of its own."""
    write_shapes(workspace)
    folder = workspace / "competitions" / "shapes"
    with (folder / "adapter.py").open("a") as file:
        file.write(adapter)
    toml = (folder / "competition.toml").read_text()
    own = f'metric = "{metric}"\nmetric_direction = "max"\nmetric_input = "index"'
    if metric != "accuracy":
        toml = toml.replace('metric = "accuracy"', own)
    (folder / "competition.toml").write_text(toml)
    if models:
        (folder / "models.py").write_text(models)
    return plan_of(workspace, "shapes", *(["model.name=mine"] if models else []))


def forget_the_competition(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process becomes one that has never imported an adapter or a models.py."""
    monkeypatch.delitem(sys.modules, "comp_adapter_shapes")
    networks.load_models(Path("nowhere"))


def bytes_of(folder: Path) -> list[bytes]:
    return [(folder / "fold-1" / name).read_bytes() for name in ("model.safetensors", "oof.npz")]


def travelled(plan: TrainPlan) -> TrainPlan:
    found: TrainPlan = pickle.loads(pickle.dumps(plan))
    return found


@pytest.fixture
def one_of_all(tmp_path: Path) -> TrainPlan:
    """A plan with everything that is known to this process alone."""
    plan = shapes(tmp_path, OPEN_THINGS + OWN_METRIC, "adapter:hits", OWN_MODELS)
    assert isinstance(plan.source, AdapterSource)
    return replace(plan, deadline=Deadline(1000.0, 10, 1))


def test_the_same_bytes_where_nothing_of_the_competition_was_imported(
    one_of_all: TrainPlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = run_fold(one_of_all.in_folder(tmp_path / "here"), 1)
    content = pickle.dumps(one_of_all.in_folder(tmp_path / "there"))
    forget_the_competition(monkeypatch)
    there = run_fold(pickle.loads(content), 1)
    assert bytes_of(tmp_path / "there") == bytes_of(tmp_path / "here")
    assert there.score == here.score
    assert here.score == int(here.score) <= here.rows == 9, "the adapter's metric counts"


def test_decoded_images_are_mapped_again(tmp_path: Path) -> None:
    plan = shapes(tmp_path)
    assert isinstance(plan.source, RawTree)
    assert isinstance(plan.decoded, DecodedSource)
    content = pickle.dumps(plan)
    assert len(content) < 100_000, "the pixels stay where they are: 30 images have 144,000 bytes"
    again: TrainPlan = pickle.loads(content)
    path = plan.manifest.table["path"][0]
    assert isinstance(again.decoded, DecodedSource)
    assert (again.decoded.load(path) == plan.decoded.load(path)).all()  # type: ignore[attr-defined]
    assert again.decoded.own is again.source


def test_without_the_store_images_are_read_as_they_lie(tmp_path: Path) -> None:
    plan = shapes(tmp_path)
    assert isinstance(plan.decoded, DecodedSource)
    content = pickle.dumps(plan.in_folder(tmp_path / "there"))
    (plan.decoded.store.folder / "index.json").unlink()
    again: TrainPlan = pickle.loads(content)
    assert again.decoded is again.source
    run_fold(again, 1)
    run_fold(plan.in_folder(tmp_path / "here"), 1)
    assert bytes_of(tmp_path / "there") == bytes_of(tmp_path / "here")


def test_a_deadline_is_at_the_same_time_everywhere_and_knows_what_was_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    deadline = Deadline(1000.0, 10, 2)
    deadline.fold_finished()
    deadline.measured(1, 10.0)
    content = pickle.dumps(deadline)
    monkeypatch.setattr(time, "monotonic", lambda own=time.monotonic: own() - 5e6)  # type: ignore[misc]  # another machine's
    again: Deadline = pickle.loads(content)
    assert again.ends - time.monotonic() == pytest.approx(1000.0, abs=30.0)
    assert not again.passed()
    for _ in range(4):
        again.fold_finished()
    assert again.passed(), "five folds of twenty images at ten seconds are a thousand"


def test_two_competitions_in_one_process_have_their_own_models(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    first = shapes(tmp_path / "a", models=OWN_MODELS)
    other = shapes(tmp_path / "b", models=OWN_MODELS.replace(".relu()", ".sigmoid()"))
    for n, plan in enumerate((first, other, first)):
        run_fold(plan.in_folder(tmp_path / f"{n}"), 1)
    assert bytes_of(tmp_path / "0") == bytes_of(tmp_path / "2")
    assert bytes_of(tmp_path / "0") != bytes_of(tmp_path / "1")


def test_a_models_py_that_has_changed_trains_nothing(
    one_of_all: TrainPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert one_of_all.own_models is not None
    content = pickle.dumps(one_of_all)
    one_of_all.own_models.path.write_text(OWN_MODELS.replace(".relu()", ".sigmoid()"))
    forget_the_competition(monkeypatch)
    with pytest.raises(InputError, match=r"models\.py stays as it is"):
        run_fold(pickle.loads(content), 1)


def test_a_plan_names_its_models_py_only_where_it_needs_it(tmp_path: Path) -> None:
    write_shapes(tmp_path)
    (tmp_path / "competitions" / "shapes" / "models.py").write_text(OWN_MODELS)
    assert plan_of(tmp_path, "shapes").own_models is None
    mine = plan_of(tmp_path, "shapes", "model.name=mine").own_models
    assert mine is not None
    assert mine.path == tmp_path / "competitions" / "shapes" / "models.py"


@pytest.mark.slow
def test_a_fresh_process_comes_to_the_same(tmp_path: Path) -> None:
    plans = []
    for name in ("files", "all"):
        (tmp_path / name).mkdir()
    plans.append(plan_of(tmp_path / "files", "digits"))
    plans.append(shapes(tmp_path / "files"))
    plans.append(shapes(tmp_path / "all", OPEN_THINGS + OWN_METRIC, "adapter:hits", OWN_MODELS))
    plans = [replace(plan, deadline=Deadline(1000.0, 10, 1)) for plan in plans]
    for n, plan in enumerate(plans):
        run_fold(plan.in_folder(tmp_path / f"here-{n}"), 1)
    jobs = [FoldJob(plan.in_folder(tmp_path / f"there-{n}"), 1) for n, plan in enumerate(plans)]
    (tmp_path / "jobs").write_bytes(pickle.dumps(jobs))
    command = [sys.executable, "-c", FRESH, str(tmp_path / "jobs")]
    subprocess.run(command, cwd=tmp_path, env=clean_environment(), check=True, timeout=300)
    for n in range(len(plans)):
        assert bytes_of(tmp_path / f"there-{n}") == bytes_of(tmp_path / f"here-{n}")
