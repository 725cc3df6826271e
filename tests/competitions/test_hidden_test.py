"""Hidden-test competitions: where the train part is gone, and even the template, the test rows are predicted all the same."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import pytest

from comp.data.competitions.competition import find_competition, sound_competitions
from comp.data.competitions.sample import write_sample
from comp.data.competitions.scaffold import LAYOUTS
from comp.workspace import Workspace
from contract import QUICK, TINY
from made import run_comp, write_shapes

FOUND = sound_competitions(Workspace(Path(__file__).parent))


def take_train_away(slug: str, raw: Path) -> None:
    """Leaves in a raw folder what a hidden test set brings: nothing that the layout has of train."""
    competition = find_competition(slug, Workspace(raw.parent))
    tests = set(competition.read(raw).test["path"])
    for name in ("train", "train.csv", "train.npz", "cifar-100-python/train", "cifar-100-python/meta"):
        place = raw / name
        if place.is_dir():
            shutil.rmtree(place)
        else:
            place.unlink(missing_ok=True)
    if slug == "caltech-256":  # its test rows are a held-out part of each class folder
        for path in (raw / "256_ObjectCategories").rglob("*"):
            if path.is_file() and str(path.relative_to(raw)) not in tests:
                path.unlink()


def answers(path: Path) -> dict[str, str]:
    with path.open(newline="", encoding="utf-8") as rows:
        return {row[0].removesuffix(".jpg"): row[1] for row in list(csv.reader(rows))[1:]}


def fulfil_hidden(slug: str, workspace: Path) -> None:
    """A run's answers come back from a folder without its train part, with and without the template there."""
    competition = find_competition(slug, Workspace(workspace))
    raw = workspace / "data" / slug
    write_sample(competition, raw)
    done = run_comp(workspace, "run", slug, "--folds", "2", *QUICK, *TINY, "--json")
    assert done.code == 0, done.err
    expected = Path(done.json["submission"]).read_bytes()
    shutil.copytree(raw, workspace / "hidden")
    template = workspace / "template.csv"
    template.write_bytes(expected)
    shutil.rmtree(raw)
    take_train_away(slug, workspace / "hidden")
    for more in ((), ("--template", template)):
        hidden = workspace / "hidden"
        if more and competition.facts.template.file != "made":
            (hidden / competition.facts.template.file).unlink()
            (hidden / "test.csv").unlink(missing_ok=True)
        out = workspace / "out.csv"
        found = run_comp(workspace, "predict", "latest", "--data", hidden, "--out", out, *more)
        assert found.code == 0, found.err
        assert out.read_bytes() == expected
        out.unlink()


@pytest.mark.parametrize("slug", FOUND)
def test_a_competition_predicts_without_its_train_part(slug: str, workspace: Path) -> None:
    fulfil_hidden(slug, workspace)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_so_does_a_scaffold(layout: str, workspace: Path) -> None:
    assert run_comp(workspace, "new", "leaf-disease", "--layout", layout).code == 0
    fulfil_hidden("leaf-disease", workspace)


def test_a_template_without_suffixes_keeps_its_ids(workspace: Path) -> None:
    """Apple's files are named with their suffix; a hidden template may name them without."""
    raw = workspace / "data" / "apple-varieties"
    write_sample(find_competition("apple-varieties", Workspace(workspace)), raw)
    done = run_comp(workspace, "run", "apple-varieties", "--folds", "2", *QUICK, *TINY, "--json")
    assert done.code == 0, done.err
    before = answers(Path(done.json["submission"]))
    for name in ("train.csv", "test.csv", "sample_submission.csv"):
        (raw / name).unlink()
    template = workspace / "hidden.csv"
    template.write_text("img_id,a_type\n" + "".join(f"{name},AR\n" for name in reversed(before)))
    out = workspace / "o.csv"
    found = run_comp(workspace, "predict", "latest", "--data", raw, "--template", template, "--out", out)
    assert found.code == 0, found.err
    assert answers(out) == before
    assert out.read_text().splitlines()[1].split(",")[0] == list(before)[-1]
    assert ".jpg" not in out.read_text()


def test_an_adapter_that_cannot_is_told_what_to_define(workspace: Path) -> None:
    raw = write_shapes(workspace)
    assert run_comp(workspace, "run", "shapes", "--folds", 2).code == 0
    shutil.copytree(raw, workspace / "hidden")
    (workspace / "hidden" / "train.csv").unlink()
    shutil.rmtree(workspace / "hidden" / "train")
    refused = run_comp(workspace, "predict", "latest", "--data", workspace / "hidden")
    assert refused.code == 2
    assert "read_test" in refused.err
    assert "Traceback" not in refused.err
    own = run_comp(workspace, "predict", "latest", "--json")
    shutil.rmtree(raw / "train")
    (raw / "train.csv").unlink()
    again = run_comp(workspace, "predict", "latest", "--out", workspace / "again.csv")
    assert again.code == 0, again.err
    assert (workspace / "again.csv").read_bytes() == Path(own.json["submission"]).read_bytes()
