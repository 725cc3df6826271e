"""Rows that are boxes of photographs, from the raw folder to a CSV whose score is worked out anew."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from made import run_comp
from made_arrays import write_competition
from made_boxes import BY_COCO, BY_TABLE, SHAPES, Spot, draw, make_boxes, write_table
from made_kernel import execute, make_machine, mount


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def answers(workspace: Path, slug: str) -> dict[str, str]:
    (path,) = (workspace / "submissions" / slug).glob("*.csv")
    return {row["id"]: row["shape"] for row in table(path)}


def macro_f1(truth: Mapping[str, str], given: Mapping[str, str]) -> float:
    """The grader's rule: the mean over classes of 2 TP / (2 TP + FP + FN)."""
    scores = []
    for shape in SHAPES:
        hits = sum(given[one] == shape == truth[one] for one in truth)
        wrong = sum((given[one] == shape) != (truth[one] == shape) for one in truth)
        scores.append(2 * hits / (2 * hits + wrong))
    return float(np.mean(scores))


def truth_of(spots: Sequence[Spot]) -> dict[str, str]:
    return {one.id: one.shape for one in spots}


def same_again(workspace: Path, slug: str, *more: object) -> None:
    """`comp predict` gives the bytes of the submission once more."""
    again = run_comp(workspace, "predict", "latest", "--out", workspace / "again.csv", *more)
    assert again.code == 0, again.err
    (first,) = (workspace / "submissions" / slug).glob("*.csv")
    assert (workspace / "again.csv").read_bytes() == first.read_bytes()


def test_the_crop_tells_what_the_whole_image_cannot(tmp_path: Path) -> None:
    truth: dict[str, str] = {}
    scores: dict[str, float] = {}
    whole = BY_TABLE.replace('box = ["x", "y", "w", "h"]\n', "")
    for slug, facts in (("crops", BY_TABLE), ("whole", whole)):
        write_competition(tmp_path, slug, facts)
        labelled, asked = make_boxes(tmp_path / "data" / slug, 48, 24, rows=1)
        truth = truth_of(asked)
        done = run_comp(tmp_path, "run", slug, "--folds", "2", "--json")
        assert done.code == 0, done.err
        scores[slug] = done.json["oof"]["score"]
        oof = table(tmp_path / "runs" / done.json["run"] / "oof.csv")
        answered = {row["id"]: row["answer"] for row in oof}
        assert macro_f1(truth_of(labelled), answered) == pytest.approx(scores[slug], abs=1e-12)
    assert scores["crops"] > 0.95
    assert scores["whole"] < 0.6
    assert macro_f1(truth, answers(tmp_path, "crops")) > 0.95
    assert macro_f1(truth, answers(tmp_path, "whole")) < 0.6


def test_coco_and_tables_come_to_the_same_answers(tmp_path: Path) -> None:
    given: list[dict[str, str]] = []
    for slug, facts in (("tables", BY_TABLE), ("annotated", BY_COCO)):
        write_competition(tmp_path, slug, facts)
        _, asked = make_boxes(tmp_path / "data" / slug)
        done = run_comp(tmp_path, "run", slug, "--folds", "2", "--json")
        assert done.code == 0, done.err
        given.append(answers(tmp_path, slug))
        assert list(given[-1]) == [one.id for one in reversed(asked)]  # the template's order
        right = sum(given[-1][one] == shape for one, shape in truth_of(asked).items()) / len(asked)
        assert right > 0.9
        same_again(tmp_path, slug)
    assert given[0] == given[1]


def test_other_photographs_and_another_margin(tmp_path: Path) -> None:
    write_competition(tmp_path, "spots", BY_TABLE)
    raw = tmp_path / "data" / "spots"
    make_boxes(raw)
    assert run_comp(tmp_path, "run", "spots", "--folds", "2").code == 0
    hidden = tmp_path / "hidden"
    fresh = draw(hidden / "test", [f"z{n}.png" for n in range(8)], np.random.default_rng(9), first=500)
    write_table(hidden / "test.csv", fresh, False)
    rows = "".join(f"{one.id},bar\n" for one in fresh)
    (hidden / "sample_submission.csv").write_text(f"id,shape\n{rows}")
    told = run_comp(tmp_path, "predict", "latest", "--data", hidden, "--out", tmp_path / "new.csv")
    assert told.code == 0, told.err
    given = {row["id"]: row["shape"] for row in table(tmp_path / "new.csv")}
    assert macro_f1(truth_of(fresh), given) > 0.9

    facts = tmp_path / "competitions" / "spots" / "competition.toml"
    facts.write_text(facts.read_text().replace("[data]", "[data]\nbox_margin = 0.4"))
    other = run_comp(tmp_path, "predict", "latest")
    assert other.code != 0
    assert "box_margin = 0.1" in other.err
    assert "box_margin = 0.4" in other.err


TINY = ["mode=scratch", "model.name=test_resnet", "model.size=32", "epochs=2", "batch=8", "tta=['identity']"]


def trained(workspace: Path, slug: str, *more: object) -> Any:
    sets = [part for change in TINY for part in ("--set", change)]
    return run_comp(workspace, "run", slug, "--folds", "2", *sets, *more)


def test_crop_and_whole_image_answer_together(tmp_path: Path) -> None:
    write_competition(tmp_path, "spots", BY_TABLE.replace("[data]", '[data]\nbox_view = "both"'))
    _, asked = make_boxes(tmp_path / "data" / "spots", 24, 8, rows=1)
    done = run_comp(tmp_path, "run", "spots", "--folds", "2")
    assert done.code == 0, done.err
    assert list(answers(tmp_path, "spots")) == [one.id for one in reversed(asked)]
    same_again(tmp_path, "spots")


@pytest.mark.slow
@pytest.mark.parametrize("view", ["crop", "both"])
def test_a_network_of_boxes_goes_on_after_a_stop(tmp_path: Path, view: str) -> None:
    write_competition(tmp_path, "spots", BY_TABLE.replace("[data]", f'[data]\nbox_view = "{view}"'))
    make_boxes(tmp_path / "data" / "spots", 24, 8, rows=1)
    whole = trained(tmp_path, "spots")
    assert whole.code == 0, whole.err
    same_again(tmp_path, "spots")
    (first,) = (tmp_path / "submissions" / "spots").glob("*.csv")
    before = first.read_bytes()
    first.unlink()
    part = trained(tmp_path, "spots", "--only", "0", "--json")
    assert part.code == 0, part.err
    done = run_comp(tmp_path, "run", "spots", "--folds", "2", "--resume", part.json["run"])
    assert done.code == 0, done.err
    (second,) = (tmp_path / "submissions" / "spots").glob(f"{part.json['run']}.csv")
    assert second.read_bytes() == before


@pytest.mark.slow
def test_the_notebook_answers_boxes_offline(tmp_path: Path) -> None:
    write_competition(tmp_path, "spots", BY_COCO)
    raw = tmp_path / "data" / "spots"
    make_boxes(raw)
    assert trained(tmp_path, "spots").code == 0
    written = run_comp(tmp_path, "kernel", "spots", "--kaggle", "spots", "--user", "ann", "--json")
    assert written.code == 0, written.err
    rehearsed = run_comp(
        tmp_path,
        "kernel",
        "spots",
        "--kaggle",
        "spots",
        "--user",
        "ann",
        "--rehearse",
        "20",
        "--out",
        tmp_path / "k",
    )
    assert rehearsed.code == 2
    assert "a rehearsal is of whole images" in rehearsed.err
    alone = tmp_path / "alone"
    shutil.copytree(raw, alone)
    shutil.rmtree(alone / "train")
    (alone / "train.json").unlink()
    (tmp_path / "machine").mkdir()
    machine = make_machine(tmp_path / "machine")
    mount(written.json, alone, tmp_path / "inputs")
    output = tmp_path / "output"
    output.mkdir()
    (book,) = Path(written.json["folder"]).glob("*.ipynb")
    execute(machine, book, tmp_path / "inputs", output)
    (csv_of_run,) = (tmp_path / "submissions" / "spots").glob("*.csv")
    assert (output / "submission.csv").read_bytes() == csv_of_run.read_bytes()
    assert not machine.asked
