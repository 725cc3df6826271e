"""The page of real runs: full, partial, failed, blended, imported; what lies beside it, and the page of all runs."""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

import comp
from comp import events
from comp.data.predictions import Predictions
from comp.errors import InputError
from comp.pipelines import report as reports
from html_page import Page
from made import probe, run_comp, write_shapes
from made_blends import write_run

NAMES = ["<script>alert(1)</script>", '"><img src=x onerror=alert(2)>', "plain"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a probe of ``shapes``, whose page was written by the run."""
    root = tmp_path_factory.mktemp("report")
    write_shapes(root)
    sets = [word for text in probe(root) for word in ("--set", text)]
    done = run_comp(root, "run", "shapes", "--folds", 3, *sets, "--json")
    assert done.code == 0, done.err
    assert done.json["report"] == f"runs/{done.json['run']}/report.html"
    return root


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with one run of ``shapes`` that trained an epoch."""
    root = tmp_path_factory.mktemp("scratch")
    write_shapes(root)
    done = run_comp(root, "run", "shapes", "--folds", 2)
    assert done.code == 0, done.err
    return root


def the_run(place: Path) -> Path:
    return next(folder for folder in sorted((place / "runs").iterdir()) if (folder / "oof.npz").is_file())


def test_every_run_writes_its_page_and_every_oof_row_beside_it(place: Path) -> None:
    folder = the_run(place)
    Page((folder / "report.html").read_text("utf-8"))
    with (folder / "oof.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["id", "path", "label", "answer", "p_true", "fold"]
    oof = Predictions.load(folder / "oof.npz")
    place_of = {i: n for n, i in enumerate(oof.ids)}
    assert {row["id"] for row in rows} == set(oof.ids)
    for row in rows:
        probs = oof.probs[place_of[row["id"]]]
        assert float(row["p_true"]) == pytest.approx(probs[oof.labels.index(row["label"])], abs=1e-6)
        assert row["answer"] == oof.labels.names[int(probs.argmax())]
    score = np.mean([row["label"] == row["answer"] for row in rows])
    assert score == pytest.approx(json.loads((folder / "record.json").read_text())["oof"]["score"])


def test_the_verb_writes_it_again_and_elsewhere(place: Path, tmp_path: Path) -> None:
    folder = the_run(place)
    (folder / "report.html").unlink()
    done = run_comp(place, "report", "latest", "--json")
    assert done.code == 0, done.err
    assert Path(done.json["report"]) == folder / "report.html"
    assert (folder / "report.html").is_file()
    elsewhere = tmp_path / "new" / "page.html"
    assert run_comp(place, "report", folder.name, "--html", elsewhere).code == 0
    assert elsewhere.is_file()
    assert not (elsewhere.parent / "oof.csv").exists()


def test_show_of_a_run_names_its_page_and_writes_it_where_there_is_none(place: Path) -> None:
    folder = the_run(place)
    (folder / "report.html").unlink(missing_ok=True)
    done = run_comp(place, "show", folder.name, "--json")
    assert done.code == 0, done.err
    assert done.json["report"] == f"runs/{folder.name}/report.html"
    assert (folder / "report.html").is_file()


def test_a_run_may_go_without_a_page(workspace: Path, shapes: Path) -> None:
    done = run_comp(workspace, "run", "shapes", "--quick", "--no-report", "--json")
    assert done.code == 0, done.err
    assert done.json["report"] is None
    assert not list(workspace.glob("runs/*/report.html"))
    assert len(list(workspace.glob("runs/*/oof.csv"))) == 1, "the rows are there for whoever wants them"


def test_a_page_that_fails_costs_a_warning_and_nothing_else(
    workspace: Path, shapes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(reports, "gather", broken)
    done = run_comp(workspace, "run", "shapes", "--quick", "--json")
    assert done.code == 0, done.err
    assert done.json["report"] is None
    assert Path(done.json["submission"]).is_file()
    assert "no report: ZeroDivisionError: a bug" in done.err


def test_grad_cam_adds_where_the_network_looked(place: Path) -> None:
    folder = the_run(place)
    assert run_comp(place, "report", folder.name, "--grad-cam").code == 0
    text = (folder / "report.html").read_text("utf-8")
    wrong = json.loads((folder / "record.json").read_text())["oof"]["score"] < 1
    assert ("Where the network looked" in text) == wrong


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("report",), "comp report latest"),
        (("report", "latest", "--all"), "both"),
        (("report", "--all", "--grad-cam"), "--grad-cam"),
        (("report", "nothing"), "nothing"),
    ],
)
def test_what_cannot_be_drawn_is_refused_in_a_line(
    place: Path, arguments: tuple[str, ...], word: str
) -> None:
    done = run_comp(place, *arguments)
    assert done.code == 2
    assert word in done.err
    assert "Traceback" not in done.err


def test_a_failed_fold_leaves_a_page_of_the_others(place: Path, tmp_path: Path) -> None:
    write_shapes(tmp_path)
    sets = [word for text in probe(tmp_path) for word in ("--set", text)]
    done = run_comp(tmp_path, "run", "shapes", "--folds", 3, "--only", "0,2", *sets, "--json")
    assert done.code == 0, done.err
    (folder,) = (tmp_path / "runs").iterdir()
    text = (folder / "report.html").read_text("utf-8")
    assert "--resume" in text
    (folder / "oof.npz").unlink()  # as if it had been killed after two folds
    (folder / "partial.json").unlink(missing_ok=True)
    page = comp.write_report(folder.name, workspace=tmp_path)
    assert "not finished" in page.read_text("utf-8")
    with (folder / "oof.csv").open() as file:
        assert {row["fold"] for row in csv.DictReader(file)} == {"0", "2"}


def test_without_a_fold_there_is_nothing_to_draw(tmp_path: Path) -> None:
    write_shapes(tmp_path)
    folder = write_run(tmp_path, "begun", 1.5)
    for name in ("oof.npz", "test.npz", "record.json"):
        (folder / name).unlink()
    with pytest.raises(InputError, match="has none"):
        comp.write_report("begun", workspace=tmp_path)


def test_blends_and_imports_have_pages_too(tmp_path: Path) -> None:
    write_shapes(tmp_path)
    write_run(tmp_path, "one", 1.5, seed=1)
    write_run(tmp_path, "two", 1.5, seed=2)
    page = comp.write_report("one", workspace=tmp_path)
    text = page.read_text("utf-8")
    assert "comp ensemble one two" in text
    assert "Nothing was trained here" in text or "A probe has no epochs" in text
    Page(text)


def test_the_page_of_all_runs_links_their_pages_and_compares_two(tmp_path: Path) -> None:
    write_shapes(tmp_path)
    for number, name in enumerate(("one", "two", "three")):
        write_run(tmp_path, name, 1.5, seed=number)
    comp.write_report("two", workspace=tmp_path)
    done = run_comp(tmp_path, "report", "--all", "--json")
    assert done.code == 0, done.err
    text = Path(done.json["report"]).read_text("utf-8")
    assert Page(text).links == ["runs/two/report.html"]
    found = re.search(r'id="tables">(.*?)</script>', text, re.S)
    assert found is not None
    tables = json.loads(found[1])["shapes"]
    assert set(tables["runs"]) == {"one", "two", "three"}
    assert len(tables["pairs"]) == 3


def test_without_runs_the_page_says_how_to_make_one(tmp_path: Path) -> None:
    assert run_comp(tmp_path, "report", "--all").code == 0
    assert "comp run digits" in (tmp_path / "report.html").read_text("utf-8")


def test_a_damaged_run_beside_it_is_left_out_and_named(tmp_path: Path) -> None:
    write_shapes(tmp_path)
    write_run(tmp_path, "good", 1.5, seed=1)
    (write_run(tmp_path, "bad", 1.5, seed=2) / "oof.npz").write_bytes(b"torn")
    heard: list[str] = []

    class Listen(events.RunListener):
        def on_message(self, event: events.Message) -> None:
            heard.append(event.text)

    with events.listening(Listen()):
        comp.write_report("good", workspace=tmp_path)
    assert any("bad is left out" in text for text in heard)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("findings.json", '[{"check": "x"}]'),
        ("findings.json", "{}"),
        ("fold-0/history.csv", "epoch,loss\n1,nan\n"),
        ("fold-0/test.npz", "torn"),
        ("test.npz", "torn"),
        ("recipe.toml", None),
    ],
)
def test_a_damaged_file_of_the_run_is_named_and_nothing_drawn_by_it(
    scratch: Path, tmp_path: Path, name: str, content: str | None
) -> None:
    shutil.copytree(scratch, tmp_path / "copy")
    folder = next((tmp_path / "copy" / "runs").iterdir())
    (folder / "report.html").unlink()
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_text(content)
    done = run_comp(tmp_path / "copy", "report", folder.name)
    assert done.code == 2, done.err
    assert Path(name).name in done.err
    assert not (folder / "report.html").exists()


def test_a_damaged_run_costs_the_others_no_comparison(tmp_path: Path) -> None:
    write_shapes(tmp_path)
    for number, name in enumerate(("20260101-000000-aaaa", "20260102-000000-bbbb")):
        write_run(tmp_path, name, 1.5, seed=number)
    newest = write_run(tmp_path, "20260103-000000-cccc", 1.5, seed=3)
    (newest / "oof.npz").write_bytes(b"torn")
    done = run_comp(tmp_path, "report", "--all", "--json")
    assert done.code == 0, done.err
    text = Path(done.json["report"]).read_text("utf-8")
    found = re.search(r'id="tables">(.*?)</script>', text, re.S)
    assert found is not None
    assert list(json.loads(found[1])["shapes"]["pairs"]) == ["20260102-000000-bbbb 20260101-000000-aaaa"]
    assert newest.name in done.err
