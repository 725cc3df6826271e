"""Pseudo-labels: fold k learns from those of its own model alone, and nothing of them is ever held out."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import comp
from comp.checks.fold_checks import folds_of_related
from comp.data.competitions.competition import find_competition
from comp.data.folds import Folds, folds_sha256, make_folds
from comp.data.manifest import Manifest, Sample
from comp.data.predictions import Predictions
from comp.data.pseudo_labels import PseudoLabels
from comp.errors import CompError, InputError
from comp.pipelines.check import survey
from comp.pipelines.run_result import RunResult
from comp.training.plan import rows_of_fold
from comp.workspace import Workspace
from made import planned, probe, proven_again, run_comp, train_table, write_shapes, write_train_table


def made_of(rows: list[tuple[int, str, str]], manifest: Manifest, folds: Folds) -> PseudoLabels:
    table = pd.DataFrame(rows, columns=["fold", "id", "label"]).assign(prob=0.9)
    return PseudoLabels(
        "20260101-000000-aaaa",
        "made",
        0.5,
        manifest.fingerprint("train"),
        manifest.fingerprint("test"),
        folds_sha256(folds),
        folds.k,
        False,
        table,
    )


@st.composite
def cases(draw: st.DrawFn) -> tuple[Manifest, Folds, list[tuple[int, str, str]]]:
    """Train rows in groups, extra rows, test rows whose ids look like others', and what each fold says of those."""
    samples = [
        Sample(f"r{n}", f"all#{n}", "train", "abc"[n % 3], draw(st.sampled_from(["", "", "g1", "g2"])))
        for n in range(draw(st.integers(9, 20)))
    ]
    samples += [
        Sample(f"e{n}", f"all#{n}", "extra", "abc"[n % 3], "g1") for n in range(draw(st.integers(0, 3)))
    ]
    samples += [
        Sample(draw(st.sampled_from(["t", "pseudo:r"])) + str(n), f"all#{n}", "test") for n in range(6)
    ]
    manifest = Manifest.from_samples(samples)
    tests = list(manifest.test["id"])
    said = [(k, i, draw(st.sampled_from("abc"))) for k in range(3) for i in tests if draw(st.booleans())]
    return manifest, make_folds(manifest, 3), said


def ids_of(
    manifest: Manifest, folds: Folds, pseudo: PseudoLabels, k: int
) -> tuple[set[str], set[tuple[str, str, str]]]:
    """What fold k holds out, by id; and the test images it fits on, with their ids and labels."""
    part = rows_of_fold(replace(planned(manifest, folds), pseudo=pseudo), k)
    held = part.table.iloc[part.held_out]
    fitted = part.table.iloc[part.fitted]
    assert part.table["id"].is_unique
    assert not set(part.held_out) & set(part.fitted)
    assert (held["split"] == "train").all()
    own = fitted[fitted["split"] == "pseudo"]
    assert [planned().labels.names[t] for t in part.targets] == list(part.table["label"])
    names = [i.rpartition("pseudo:")[2] for i in own["id"]]
    return set(held["id"]), set(zip(names, own["path"], own["label"], strict=True))


@given(cases(), st.randoms(use_true_random=False))
def test_a_fold_fits_on_what_its_own_model_said_and_holds_out_none_of_it(
    case: tuple[Manifest, Folds, list[tuple[int, str, str]]], random: object
) -> None:
    manifest, folds, said = case
    path = dict(zip(manifest.test["id"], manifest.test["path"], strict=True))
    plain = planned(manifest, folds)
    rows = said.copy()
    random.shuffle(rows)  # type: ignore[attr-defined]
    order = list(range(len(manifest)))
    random.shuffle(order)  # type: ignore[attr-defined]
    other = Manifest(manifest.table.iloc[order].reset_index(drop=True))
    for k in range(3):
        held, own = ids_of(manifest, folds, made_of(said, manifest, folds), k)
        assert held == {i for i, fold in folds.by_id.items() if fold == k}
        assert own == {(i.removeprefix("pseudo:"), path[i], label) for fold, i, label in said if fold == k}
        assert ids_of(other, folds, made_of(rows, other, folds), k) == (held, own), "whatever the order"
        without = rows_of_fold(plain, k)
        assert held == set(without.table["id"].iloc[without.held_out])
    assert folds_sha256(make_folds(other, 3)) == folds_sha256(folds)


@given(cases())
def test_kin_of_what_is_held_out_is_left_out(
    case: tuple[Manifest, Folds, list[tuple[int, str, str]]],
) -> None:
    manifest, folds, said = case
    related = {i: {n % 3, 2} for n, i in enumerate(manifest.test["id"])}
    left = made_of(said, manifest, folds).without(related)
    assert set(zip(left.table["fold"], left.table["id"], strict=True)) == {
        (fold, i) for fold, i, _ in said if fold not in related[i]
    }
    few = left.few(1)
    assert not few.table.duplicated(["fold", "label"]).any()
    assert few.few(1).table.equals(few.table)


@given(cases())
def test_what_is_written_is_read_back(case: tuple[Manifest, Folds, list[tuple[int, str, str]]]) -> None:
    manifest, folds, said = case
    pseudo = made_of([*said, (0, ' t "9", ü', "a")], manifest, folds)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pseudo.csv"
        pseudo.save(path)
        again = PseudoLabels.load(path)
        assert again.table.equals(pseudo.table)
        assert vars(again).keys() == vars(pseudo).keys()
        assert again.as_json() == pseudo.as_json()
        path.write_text(path.read_text().replace("0.9", "0.8", 1))
        with pytest.raises(InputError, match="as `comp pseudo` made them"):
            PseudoLabels.load(path)


def say(run: RunResult, sure: dict[int, dict[str, str]], model: str = ".") -> None:
    """Puts other test predictions into the folds of a run: these rows for certain, all others hardly."""
    for k, answers in sure.items():
        path = run.folder / model / f"fold-{k}" / "test.npz"
        found = Predictions.load(path)
        probs = np.full(found.probs.shape, 1 / 3)
        for i, label in answers.items():
            probs[found.ids.index(i)] = [float(name == label) for name in found.labels]
        Predictions(found.ids, found.labels, probs, found.fingerprint).save(path)
    proven_again(run.folder)


def contents(run: RunResult, ids: list[str]) -> dict[str, str]:
    table = Manifest.read_csv(run.folder / "manifest.csv").table
    return {i: content for i, content in zip(table["id"], table["content"], strict=True) if i in ids}


def fitted_tests(run: RunResult, k: int, model: str = ".") -> set[str]:
    """The test rows whose image fold k was fitted on, as its folder tells it."""
    table = Manifest.read_csv(run.folder / "manifest.csv")
    told = set((run.folder / model / f"fold-{k}" / "fitted.txt").read_text().split())
    return {i for i, content in contents(run, list(table.test["id"])).items() if content in told}


SURE = {0: {"t0": "circle", "t1": "cross", "t5": "square"}, 1: {"t1": "square", "t2": "circle"}}


@pytest.fixture
def parent(workspace: Path, shapes: Path) -> RunResult:
    """A run of two folds that are sure of other test rows, and of another label for t1."""
    found = comp.run("shapes", 2, workspace=workspace)
    say(found, SURE)
    return found


def test_each_fold_trains_on_its_own_models_rows(workspace: Path, parent: RunResult) -> None:
    made = comp.pseudo(parent.run, 0.9, workspace=workspace)
    assert made.pseudo.rows == [3, 2]
    assert made.pseudo.of(0) == SURE[0]
    assert made.pseudo.of(1) == SURE[1]
    found = comp.run("shapes", 2, workspace=workspace, pseudo=made.path)
    assert [fitted_tests(found, k) for k in range(2)] == [set(SURE[0]), set(SURE[1])]
    assert found.pseudo == {"run": parent.run, "threshold": 0.9, "rows": [3, 2]}
    assert json.loads((found.folder / "record.json").read_text())["pseudo"]["run"] == parent.run
    for name in ("folds.csv", "manifest.csv"):
        assert (found.folder / name).read_bytes() == (parent.folder / name).read_bytes(), "nothing of them"
    oof = Predictions.load(found.folder / "oof.npz")
    assert set(oof.ids) == set(Manifest.read_csv(found.folder / "manifest.csv").train["id"])
    assert found.submission.read_bytes() != parent.submission.read_bytes(), "and it trained otherwise"
    line = run_comp(workspace, "runs", "--json").json[0]
    assert line["pseudo"] == parent.run


def test_a_resumed_run_and_its_children_keep_them(workspace: Path, parent: RunResult) -> None:
    made = comp.pseudo(parent.run, 0.9, workspace=workspace)
    whole = comp.run("shapes", 2, workspace=workspace, pseudo=made.path)
    half = comp.run("shapes", 2, workspace=workspace, pseudo=made.path, only=[1])
    made.path.unlink()  # it is in the run's folder now
    shutil.rmtree(parent.folder)
    rest = comp.run("shapes", workspace=workspace, resume=half.run)
    assert rest.run == half.run
    assert [fitted_tests(rest, k) for k in range(2)] == [set(SURE[0]), set(SURE[1])]
    assert rest.submission.read_bytes() == whole.submission.read_bytes()
    assert rest.pseudo == whole.pseudo
    child = comp.run("shapes", workspace=workspace, resume=rest.run, overrides=["epochs=2"])
    assert [fitted_tests(child, k) for k in range(2)] == [set(SURE[0]), set(SURE[1])]
    assert child.pseudo == whole.pseudo
    with pytest.raises(InputError, match="resumed run keeps"):
        comp.run("shapes", workspace=workspace, resume=half.run, pseudo=made.path)
    (rest.folder / "pseudo.csv").unlink()
    (rest.folder / "record.json").unlink()
    with pytest.raises(InputError, match="a file of the run is missing"):
        comp.run("shapes", workspace=workspace, resume=rest.run)


def test_parts_of_a_run_with_pseudo_labels_merge_with_their_like_alone(
    workspace: Path, parent: RunResult
) -> None:
    made = comp.pseudo(parent.run, 0.9, workspace=workspace)
    parts = [comp.run("shapes", 2, workspace=workspace, pseudo=made.path, only=[k]) for k in range(2)]
    plain = comp.run("shapes", 2, workspace=workspace, only=[1])
    merged = comp.merge(parts[0].run, parts[1].run, workspace=workspace)
    assert merged.pseudo == parts[0].pseudo
    with pytest.raises(InputError, match="differ in the pseudo-labels"):
        comp.merge(parts[0].run, plain.run, workspace=workspace)


@pytest.mark.parametrize("start", ["file", "run"])
def test_probe_learns_from_them_too(workspace: Path, parent: RunResult, start: str) -> None:
    """On features that all folds share, and on those of each fold's own backbone."""
    made = comp.pseudo(parent.run, 0.9, workspace=workspace)
    asked = probe(workspace) if start == "file" else ["mode=probe", f"model.weights=run:{parent.run}"]
    plain = comp.run("shapes", 2, workspace=workspace, overrides=asked)
    found = comp.run("shapes", 2, workspace=workspace, overrides=asked, pseudo=made.path)
    assert [fitted_tests(found, k) for k in range(2)] == [set(SURE[0]), set(SURE[1])]
    before, after = (Predictions.load(run.folder / "fold-0" / "test.npz") for run in (plain, found))
    for i, label in SURE[0].items():
        place = before.labels.index(label)
        assert after.select([i]).probs[0, place] > before.select([i]).probs[0, place], "it was told so"


@pytest.mark.parametrize("copied", ["exact", "encoded"])
def test_a_copy_of_a_held_out_image_does_not_train_its_fold(workspace: Path, copied: str) -> None:
    """t0 shows the image of a0: the fold that holds a0 out must not learn what t0 is, any other may."""
    raw = write_shapes(workspace)
    image = cv2.resize(cv2.imread(str(raw / "train" / "a0.png")), (160, 160), interpolation=cv2.INTER_CUBIC)
    assert cv2.imwrite(str(raw / "train" / "a0.png"), image)
    if copied == "encoded":
        coded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 80])[1]
        image = cv2.imdecode(coded, cv2.IMREAD_COLOR)
    assert cv2.imwrite(str(raw / "test" / "t0.png"), image)
    parent = comp.run("shapes", 2, workspace=workspace)
    say(parent, {k: {"t0": "circle", "t3": "circle"} for k in range(2)})
    made = comp.pseudo(parent.run, 0.9, workspace=workspace)
    assert made.pseudo.rows == [2, 2]
    found = comp.run("shapes", 2, workspace=workspace, pseudo=made.path)
    fold = Folds.load(found.folder / "folds.csv").by_id["a0"]
    assert found.pseudo is not None
    assert found.pseudo["rows"][fold] == 1
    assert found.pseudo["rows"][1 - fold] == 2
    assert fitted_tests(found, fold) == {"t3"}
    assert fitted_tests(found, 1 - fold) == {"t0", "t3"}


def test_kin_goes_through_groups_parents_and_other_test_rows(workspace: Path, shapes: Path) -> None:
    """a1 and a4 are one group, and t1 shows a1: whatever holds a4 out holds rows related to t1 out."""
    rows = [
        [i, label, "twins" if i in ("a1", "a4") else "", parent]
        for i, label, _, parent in train_table(shapes)
    ]
    write_train_table(shapes, rows)
    shutil.copy(shapes / "train" / "a1.png", shapes / "test" / "t1.png")
    shutil.copy(shapes / "train" / "a1.png", shapes / "test" / "t2.png")
    place = Workspace(workspace)
    checked = survey(find_competition("shapes", place), place, shapes, folds=3)
    assert checked.folds is not None
    (fold,) = {checked.folds.by_id[i] for i in ("a1", "a4")}
    assert folds_of_related(checked.context, checked.folds) == {"t1": {fold}, "t2": {fold}}
    declared = checked.context.manifest.table.copy()
    declared.loc[declared["id"] == "t5", "parent"] = "a0"
    declared.loc[declared["id"] == "t6", "group"] = "patient"
    declared.loc[declared["id"] == "a9", "group"] = "patient"
    told = folds_of_related(replace(checked.context, declared=Manifest(declared)), checked.folds)
    assert told["t5"] == {checked.folds.by_id["a0"]}
    assert told["t6"] == {checked.folds.by_id["a9"]}
    assert set(told) == {"t1", "t2", "t5", "t6"}


def test_the_models_of_a_fold_answer_together(workspace: Path, shapes: Path) -> None:
    recipe = workspace / "two.toml"
    one = '[[model]]\nname = "test_resnet"\nsize = 32\n'
    recipe.write_text(
        f'mode = "scratch"\nepochs = 1\nbatch = 8\nprecision = "fp32"\nchannels_last = true\n{one}{one}'
    )
    parent = comp.run("shapes", 2, workspace=workspace, recipe=recipe)
    say(parent, {0: {"t0": "circle", "t1": "cross"}, 1: {"t3": "square"}}, "model-0")
    say(parent, {0: {"t0": "circle", "t1": "square"}, 1: {"t3": "square", "t0": "cross"}}, "model-1")
    made = comp.pseudo(parent.run, 0.9, workspace=workspace)
    assert [made.pseudo.of(k) for k in range(2)] == [{"t0": "circle"}, {"t3": "square"}]
    found = comp.run("shapes", 2, workspace=workspace, recipe=recipe, pseudo=made.path)
    for model in ("model-0", "model-1"):
        assert [fitted_tests(found, k, model) for k in range(2)] == [{"t0"}, {"t3"}]


def test_what_was_chosen_on_oof_rows_stays_told(workspace: Path, shapes: Path) -> None:
    parent = comp.run("shapes", 2, workspace=workspace, overrides=["checkpoint=best", "epochs=2"])
    made = comp.pseudo(parent.run, 0.34, workspace=workspace)
    found = comp.run("shapes", 2, workspace=workspace, pseudo=made.path)
    assert found.selected_on_oof, "its labels come from epochs that the held-out rows chose"


@pytest.mark.parametrize("threshold", [0, -0.5, 1.01, float("nan"), float("inf")])
def test_a_threshold_is_above_zero_and_at_most_one(workspace: Path, threshold: float) -> None:
    told = run_comp(workspace, "pseudo", "latest", "--threshold", threshold)
    assert told.code == 2
    assert "--threshold is above 0, at most 1" in told.err


def no_predictions(parent: RunResult, workspace: Path) -> None:
    (parent.folder / "fold-1" / "test.npz").unlink()


def unfinished(parent: RunResult, workspace: Path) -> None:
    (parent.folder / "record.json").unlink()


def other_rows(parent: RunResult, workspace: Path) -> None:
    found = Predictions.load(parent.folder / "fold-0" / "test.npz")
    Predictions(found.ids, found.labels, found.probs, "other").save(parent.folder / "fold-0" / "test.npz")
    proven_again(parent.folder)


def unsure(parent: RunResult, workspace: Path) -> None:
    say(parent, {0: {}, 1: {}})


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (no_predictions, "lacks fold-1/test.npz"),
        (unfinished, "is not done"),
        (other_rows, "the run's own test rows"),
        (unsure, "no fold is more than 0.3333 sure"),
    ],
)
def test_a_run_that_cannot_label_is_refused(
    workspace: Path, parent: RunResult, spoil: Callable[[RunResult, Path], None], told: str
) -> None:
    spoil(parent, workspace)
    ran = run_comp(workspace, "pseudo", parent.run, "--threshold", "0.9")
    assert ran.code == 2, ran.err
    assert told in " ".join(ran.err.split())
    assert not list(parent.folder.glob("pseudo*"))


def other_test_row(path: Path, workspace: Path) -> None:
    shutil.copy(
        workspace / "data" / "shapes" / "test" / "t3.png", workspace / "data" / "shapes" / "test" / "t4.png"
    )


def other_label(path: Path, workspace: Path) -> None:
    rows = train_table(workspace / "data" / "shapes")
    write_train_table(workspace / "data" / "shapes", [[*rows[0][:1], "cross", "", ""], *rows[1:]])
    shutil.rmtree(workspace / "folds")


def no_json(path: Path, workspace: Path) -> None:
    path.with_suffix(".json").unlink()


def edited(path: Path, workspace: Path) -> None:
    path.write_text(path.read_text().replace("cross", "circle"))


def gone(path: Path, workspace: Path) -> None:
    path.unlink()


@pytest.mark.parametrize(
    ("spoil", "folds", "told"),
    [
        (lambda path, workspace: None, 3, "of other folds"),
        (other_test_row, 2, "of other test rows"),
        (other_label, 2, "of other train rows"),
        (no_json, 2, ""),
        (edited, 2, "was changed"),
        (gone, 2, "is not there"),
    ],
)
def test_rows_that_do_not_belong_to_the_run_are_refused(
    workspace: Path, parent: RunResult, spoil: Callable[[Path, Path], None], folds: int, told: str
) -> None:
    made = comp.pseudo(parent.run, 0.9, workspace=workspace)
    spoil(made.path, workspace)
    with pytest.raises(CompError) as error:
        comp.run("shapes", folds, workspace=workspace, pseudo=made.path)
    assert told in str(error.value.value)
    assert len(list((workspace / "runs").iterdir())) == 1, "no run began"


def test_the_verb_tells_rows_by_fold_as_one_document(workspace: Path, parent: RunResult) -> None:
    out = workspace / "elsewhere.csv"
    told = run_comp(workspace, "pseudo", "latest", "--threshold", "0.9", "--out", out, "--json")
    assert told.code == 0, told.err
    assert told.json["rows"] == [3, 2]
    assert told.json["classes"] == {"circle": 2, "cross": 1, "square": 2}
    assert told.json["file"] == str(out)
    assert "1 rows have another label in another fold" in told.err
    assert out.read_text().splitlines()[:2] == ["fold,id,label,prob", "0,t0,circle,1.0"]
    quick = run_comp(workspace, "run", "shapes", "--folds", "2", "--quick", "--pseudo", out, "--json")
    assert quick.code == 0, quick.err
    assert quick.json["pseudo"]["rows"] == [3, 2]
