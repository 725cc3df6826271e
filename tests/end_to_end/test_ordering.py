"""Rows are answered by id, never by position: shuffled templates, folders listed in any order, and wrong adapters."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from comp.data.competitions.competition import find_competition
from comp.data.images.decode import load_pixels
from comp.data.images.preprocess import fit
from comp.data.images.raw_tree import RawTree
from comp.models.checkpoint import load_checkpoint
from comp.models.net import normalise
from comp.workspace import Workspace
from made import run_comp


def run(workspace: Path) -> tuple[Path, dict[str, str]]:
    """A quick run of shapes: its folder, and the answers of its submission by id."""
    outcome = run_comp(workspace, "run", "shapes", "--folds", 2, "--json")
    assert outcome.code == 0, outcome.err
    lines = Path(outcome.json["submission"]).read_text().splitlines()[1:]
    return workspace / "runs" / outcome.json["run"], dict(line.split(",") for line in lines)


def answer_of_file(folder: Path, raw: Path, path: str) -> str:
    """What the run's checkpoints say of one file, worked out alone: no batches, no joins."""
    probs, names = [], ()
    for k in range(2):
        net, sidecar = load_checkpoint(folder / f"fold-{k}")
        pixels = fit(load_pixels(RawTree(raw), path), sidecar.preprocess)
        x = normalise(torch.from_numpy(np.ascontiguousarray(pixels))[None], sidecar.preprocess)
        with torch.inference_mode():
            probs += [net(view).softmax(1)[0].double().numpy() for view in (x, x.flip(-1))]
        names = sidecar.labels.names
    return names[int(np.mean(probs, axis=0).argmax())]


def test_each_row_of_a_shuffled_template_answers_its_own_file(workspace: Path, shapes: Path) -> None:
    asked = [line.split(",")[0] for line in (shapes / "sample_submission.csv").read_text().splitlines()[1:]]
    assert asked != sorted(asked)
    folder, answers = run(workspace)
    assert list(answers) == asked
    assert answers == {i: answer_of_file(folder, shapes, f"test/{i}.png") for i in asked}
    assert len(set(answers.values())) > 1, "a model of one answer would prove nothing"


def test_the_template_order_changes_no_answer(workspace: Path, shapes: Path) -> None:
    _, before = run(workspace)
    template = shapes / "sample_submission.csv"
    lines = template.read_text().splitlines()
    template.write_text("\n".join([lines[0], *reversed(lines[1:])]) + "\n")
    _, after = run(workspace)
    assert list(after) == list(before)[::-1]
    assert after == before


@pytest.fixture
def shuffled_listing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every folder is listed in another order, as file systems do."""
    real_walk, real_scandir, rng = os.walk, os.scandir, np.random.default_rng(3)

    def walk(*args: Any, **kwargs: Any) -> Iterator[tuple[str, list[str], list[str]]]:
        for folder, subfolders, names in real_walk(*args, **kwargs):
            rng.shuffle(subfolders)
            rng.shuffle(names)
            yield folder, subfolders, names

    class Listing:
        """What os.scandir gives: an iterator that can be closed."""

        def __init__(self, found: list[os.DirEntry[str]]) -> None:
            self.left = iter(found)

        def __iter__(self) -> Listing:
            return self

        def __next__(self) -> os.DirEntry[str]:
            return next(self.left)

        def __enter__(self) -> Listing:
            return self

        def __exit__(self, *_: object) -> None:
            self.close()

        def close(self) -> None:
            self.left = iter(())

    def scandir(*args: Any) -> Listing:
        with real_scandir(*args) as entries:
            found = list(entries)
        return Listing([found[int(n)] for n in rng.permutation(len(found))])

    monkeypatch.setattr(os, "walk", walk)
    monkeypatch.setattr(os, "scandir", scandir)


def test_the_order_in_which_folders_are_listed_changes_nothing(
    workspace: Path, shapes: Path, art_raw: Path, request: pytest.FixtureRequest
) -> None:
    art = find_competition("art-classification", Workspace(workspace))
    before, answers = art.read(art_raw).table, run(workspace)[1]
    request.getfixturevalue("shuffled_listing")
    assert art.read(art_raw).table.equals(before)
    assert run(workspace)[1] == answers


def test_art_pairs_row_i_with_the_i_th_file_in_natural_order(workspace: Path, art_raw: Path) -> None:
    test = find_competition("art-classification", Workspace(workspace)).read(art_raw).test
    assert list(test["path"]) == [f"test/0/{n}.jpg" for n in range(1, 31)]
    assert list(test["id"]) == [str(n) for n in range(30)]


READ = """
from pathlib import PurePosixPath

from comp.data import Manifest, RawTree, Sample


def read(raw):
    tree = RawTree(raw)
    samples = [Sample(path, path, "train", path.split("/")[1]) for path in tree.images("train/*/*")]
    test = sorted(tree.images("test/0/*"), key=lambda path: KEY)
    samples += [Sample(str(row), path, "test") for row, path in enumerate(test)]
    return Manifest.from_samples(samples, tree.notes)
"""


def mistaken(workspace: Path, key: str) -> None:
    """Art's competition in the workspace under another slug, read by an adapter that sorts test files by ``key``."""
    real = find_competition("art-classification", Workspace(workspace)).folder
    folder = workspace / "competitions" / "paintings"
    shutil.copytree(real, folder)
    toml, adapter = folder / "competition.toml", folder / "adapter.py"
    toml.write_text(toml.read_text().replace('"art-classification"', '"paintings"'))
    adapter.write_text(adapter.read_text() + READ.replace("KEY", key))


@pytest.mark.parametrize(
    "key",
    ["PurePosixPath(path).name", "hash((7, path))", "-int(PurePosixPath(path).stem)"],
    ids=["text", "any order", "backwards"],
)
def test_an_adapter_that_sorts_otherwise_is_refused(workspace: Path, art_raw: Path, key: str) -> None:
    mistaken(workspace, key)
    outcome = run_comp(workspace, "check", "paintings", "--data", art_raw, "--folds", 2, "--json")
    assert outcome.code == 1, outcome.err
    found = [f for f in outcome.json["findings"] if f["severity"] == "error"]
    assert [f["check"] for f in found] == ["template-mismatch"]
    assert "test/0/" in found[0]["message"]


def test_an_adapter_that_gives_a_named_file_to_another_id_is_refused(workspace: Path, shapes: Path) -> None:
    adapter = workspace / "competitions" / "shapes" / "adapter.py"
    source = adapter.read_text()
    wrong = source.replace(
        "    return Manifest",
        "    a, b = samples[-1], samples[-2]\n    samples[-2:] = [b._replace(id=a.id), a._replace(id=b.id)]\n    return Manifest",
    )
    adapter.write_text(wrong)
    outcome = run_comp(workspace, "check", "shapes", "--folds", 2, "--json")
    assert outcome.code == 1
    found = next(f for f in outcome.json["findings"] if f["check"] == "template-mismatch")
    assert found["count"] == 2
