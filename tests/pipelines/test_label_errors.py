"""From a run with planted wrong labels to a run on corrected ones, whose score says so wherever it stands."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import comp
from comp.errors import InputError
from comp.runs.marks import CORRECTED, gaps_of, in_brackets
from made import SHAPES, draw, probe, run_comp, save_image, train_table, write_shapes, write_train_table

PER_CLASS = 12
FLIPPED = {"a3": "square", "a13": "circle"}  # id → the label that is wrong


def tinted(shape: str, seed: int) -> np.ndarray:
    """A shape in the colour of its class, which any network sees."""
    pixels = draw(shape, seed)
    channel = SHAPES.index(shape)
    pixels[..., channel] = 255 - pixels[..., channel] // 3
    return pixels


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a probe run on 36 rows, two of which have a wrong label; not to be written to."""
    place = tmp_path_factory.mktemp("planted")
    raw = write_shapes(place, per_class=PER_CLASS)
    for n in range(PER_CLASS * len(SHAPES)):
        save_image(raw / "train" / f"a{n}.png", tinted(SHAPES[n % 3], n))
    rows = train_table(raw)
    write_train_table(raw, [[i, FLIPPED.get(i, label), g, p] for i, label, g, p in rows])
    assert run_comp(place, "run", "shapes", "--folds", 3, *sets(place)).code == 0
    return place


def sets(place: Path) -> list[str]:
    return [word for one in probe(place, "tta=none") for word in ("--set", one)]


@pytest.fixture
def workspace_with_run(planted: Path, workspace: Path) -> Path:
    shutil.copytree(planted, workspace, dirs_exist_ok=True)
    return workspace


def table(path: Path) -> dict[str, dict[str, str]]:
    with path.open(newline="") as file:
        return {row["id"]: row for row in csv.DictReader(file)}


@pytest.mark.parametrize("by", ["features", "probabilities"])
def test_planted_labels_come_first_with_their_right_class(planted: Path, by: str) -> None:
    found = comp.labels("latest", workspace=planted, by=by)
    assert (found.judged_by, found.rows) == (by, 36)
    first = {one.id: (one.label, one.answer) for one in found.found[:2]}
    assert first == {i: (wrong, SHAPES[int(i[1:]) % 3]) for i, wrong in FLIPPED.items()}
    assert len(found) <= 4
    one = found.found[0]
    if by == "probabilities":
        assert one.score == pytest.approx(1 - one.p_label, abs=1e-5)
    assert one.p_answer > one.p_label
    assert one.path == f"train/{one.id}.png"


def test_the_run_itself_has_a_note(planted: Path) -> None:
    (run,) = (planted / "runs").iterdir()
    (note,) = (
        one for one in json.loads((run / "findings.json").read_text()) if one["check"] == "label-errors"
    )
    assert note["severity"] == "info"
    assert set(FLIPPED) <= set(note["examples"])
    assert f"comp labels {run.name} --csv" in note["remedy"]


def corrected_run(place: Path) -> tuple[dict[str, Any], dict[str, Any], str]:
    """The first run and one on its corrected labels, as JSON; and what the second said."""
    assert run_comp(place, "labels", "latest", "--csv", place / "labels.csv").code == 0
    done = run_comp(
        place, "run", "shapes", "--folds", 3, "--manifest", place / "labels.csv", *sets(place), "--json"
    )
    assert done.code == 0, done.err
    new = done.json
    (old,) = (p for p in (place / "runs").iterdir() if p.name != new["run"])
    return json.loads((old / "record.json").read_text()), new, done.err


def test_a_corrected_run_is_scored_by_original_labels_and_says_so_everywhere(
    workspace_with_run: Path,
) -> None:
    place = workspace_with_run
    before, after, said = corrected_run(place)
    corrected = table(place / "labels.csv")
    changed = {i for i, row in corrected.items() if row["label"] != row["original_label"]}
    assert set(FLIPPED) <= changed
    assert {i: corrected[i]["original_label"] for i in FLIPPED} == FLIPPED
    assert {i: corrected[i]["label"] for i in FLIPPED} == {i: SHAPES[int(i[1:]) % 3] for i in FLIPPED}

    folder = place / "runs" / after["run"]
    rows = {i: row for i, row in table(folder / "manifest.csv").items() if row["split"] == "train"}
    from comp.data.predictions import Predictions

    oof = Predictions.load(folder / "oof.npz")
    answers = dict(zip(oof.ids, (oof.labels.names[n] for n in oof.probs.argmax(axis=1)), strict=True))
    by = {
        name: sum(answers[i] == row[name] for i, row in rows.items()) / len(rows)
        for name in ("original_label", "label")
    }
    assert after["oof"]["score"] == pytest.approx(by["original_label"])
    assert after["oof"]["corrected_labels"] == pytest.approx(by["label"])
    assert by["label"] > by["original_label"], "two labels that are wrong are answered rightly"
    old = place / "runs" / before["run"]
    assert (folder / "folds.csv").read_text() == (old / "folds.csv").read_text()

    assert after["marks"] == [CORRECTED]
    assert "(corrected labels)" in said
    assert "by the corrected labels" in said
    rows_of_runs = run_comp(place, "runs", "shapes", "--json").json
    assert [row["marks"] for row in rows_of_runs] == [[CORRECTED], []]
    ledger = json.loads((place / "submissions" / "shapes" / f"{after['run']}.json").read_text())
    assert ledger["marks"] == [CORRECTED]
    assert json.loads((folder / "record.json").read_text())["marks"] == [CORRECTED]
    assert gaps_of(after["marks"]) == []


def test_a_child_of_a_corrected_run_keeps_the_corrections(workspace_with_run: Path) -> None:
    place = workspace_with_run
    _, after, _ = corrected_run(place)
    done = run_comp(place, "run", "shapes", "--resume", after["run"], "--set", "probe.l2=1.0", "--json")
    assert done.code == 0, done.err
    assert done.json["marks"] == [CORRECTED]
    again = table(place / "runs" / done.json["run"] / "manifest.csv")
    assert again == table(place / "runs" / after["run"] / "manifest.csv")


def test_a_partial_run_goes_on_with_its_corrections_though_nobody_names_them(
    workspace_with_run: Path,
) -> None:
    place = workspace_with_run
    assert run_comp(place, "labels", "latest", "--csv", place / "labels.csv").code == 0
    arguments = ["run", "shapes", "--folds", 3, "--manifest", place / "labels.csv", *sets(place), "--json"]
    whole = run_comp(place, *arguments).json
    part = run_comp(place, *arguments, "--only", "0").json
    assert part["marks"] == [CORRECTED, "partial"]
    done = run_comp(place, "run", "shapes", "--resume", part["run"], "--json")
    assert done.code == 0, done.err
    assert done.json["oof"] == whole["oof"]
    assert done.json["marks"] == [CORRECTED]


def test_labels_of_a_corrected_run_are_those_that_it_trained_with(workspace_with_run: Path) -> None:
    place = workspace_with_run
    _, after, _ = corrected_run(place)
    found = comp.labels(after["run"], workspace=place, csv=place / "again.csv")
    assert not set(FLIPPED) & {one.id for one in found.found}, "they are corrected already"
    again = table(place / "again.csv")
    assert {i: again[i]["original_label"] for i in FLIPPED} == FLIPPED
    assert {i: again[i]["label"] for i in FLIPPED} == {i: SHAPES[int(i[1:]) % 3] for i in FLIPPED}


def test_a_file_that_was_edited_to_no_class_is_refused(workspace_with_run: Path) -> None:
    place = workspace_with_run
    assert run_comp(place, "labels", "latest", "--csv", place / "labels.csv").code == 0
    lines = (
        (place / "labels.csv")
        .read_text()
        .replace(",train/a1.png,train,cross,", ",train/a1.png,train,crosss,")
    )
    lines = lines.replace("a1,train/a1.png,train,cross,", "a1,train/a1.png,train,crosss,")
    (place / "labels.csv").write_text(lines)
    done = run_comp(place, "run", "shapes", "--folds", 3, "--manifest", place / "labels.csv", *sets(place))
    assert done.code == 2
    assert "'a1' has 'crosss'" in done.err
    assert len(list((place / "runs").iterdir())) == 1


def test_the_command_says_what_judged_and_what_is_next(planted: Path, tmp_path: Path) -> None:
    done = run_comp(
        planted, "labels", "latest", "--by", "probabilities", "--csv", tmp_path / "c.csv", "--json"
    )
    assert done.code == 0, done.err
    document = done.json
    assert document["judged_by"] == "probabilities"
    assert document["likely_wrong"] == len(document["labels"]) >= 2
    assert set(document["labels"][0]) == {
        "id", "path", "label", "answer", "p_label", "p_answer", "score", "fold",
    }  # fmt: skip
    assert "judged by probabilities" in done.err
    assert "--manifest" in done.err
    rows = table(tmp_path / "c.csv")
    assert [i for i, row in rows.items() if row["wrong_score"]] == sorted(
        (one["id"] for one in document["labels"]), key=list(rows).index
    )


def test_a_network_that_was_fitted_on_the_rows_gives_no_features(finished: Path) -> None:
    with pytest.raises(InputError, match="was fitted on the rows"):
        comp.labels("latest", workspace=finished, by="features")
    assert comp.labels("latest", workspace=finished).judged_by == "probabilities"
    with pytest.raises(InputError, match="`by` takes auto, features or probabilities"):
        comp.labels("latest", workspace=finished, by="magic")


def test_marks_in_brackets() -> None:
    assert in_brackets([]) == ""
    assert in_brackets([CORRECTED]) == " (corrected labels)"
    assert in_brackets(["quick", CORRECTED]) == " (quick, corrected labels: not a full run)"
