"""The five things that people lose days to, each as a made raw folder: refused by the right check, and the honest
version passes.
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest

from gallery import save, texture
from made import (
    TINY_RECIPE,
    Outcome,
    proven_again,
    run_comp,
    save_image,
    train_table,
    write_shapes,
    write_train_table,
)
from real_data import real_folder


def errors(outcome: Outcome) -> dict[str, dict[str, Any]]:
    """The error findings of a check, by check."""
    return {f["check"]: f for f in outcome.json["findings"] if f["severity"] == "error"}


def require_refused(workspace: Path, slug: str, check: str, *more: object) -> dict[str, Any]:
    """`comp check` and `comp run` end with exit code 1 for this check, and nothing is trained; the finding."""
    checked = run_comp(workspace, "check", slug, "--folds", 3, *more, "--json")
    assert checked.code == 1, checked.out + checked.err
    assert checked.json["status"] == "fail"
    assert check in errors(checked), errors(checked)
    ran = run_comp(workspace, "run", slug, "--folds", 3, *more)
    assert ran.code == 1, ran.err
    assert check in ran.err
    assert not (workspace / "runs").exists()
    found = errors(checked)[check]
    assert found["examples"]
    assert found["remedy"]
    return found


def require_passes(workspace: Path, slug: str, *more: object) -> Outcome:
    """`comp check` and a quick `comp run` end with exit code 0; what the run ended with."""
    checked = run_comp(workspace, "check", slug, "--folds", 3, *more, "--json")
    assert checked.code == 0, checked.out + checked.err
    assert errors(checked) == {}
    ran = run_comp(workspace, "run", slug, "--folds", 3, *more, "--quick", "--json")
    assert ran.code == 0, ran.err
    assert run_comp(workspace, "validate", slug, ran.json["submission"]).code == 0
    return ran


# --- 1. all training paths collapse onto one file -------------------------------------------------------------------


def test_every_row_with_one_path_is_refused(workspace: Path, shapes: Path) -> None:
    adapter = workspace / "competitions" / "shapes" / "adapter.py"
    honest = adapter.read_text()
    adapter.write_text(honest.replace('f"train/{i}.png"', '"train/a0.png"'))
    found = require_refused(workspace, "shapes", "duplicate-path")
    assert (found["count"], found["examples"]) == (18, ["train/a0.png"])
    adapter.write_text(honest)
    require_passes(workspace, "shapes")


def test_a_table_with_one_path_for_every_row_is_refused(workspace: Path, shapes: Path) -> None:
    for number in range(18):
        (shapes.parent / "own").mkdir(exist_ok=True)
        shutil.copy(shapes / "train" / f"a{number}.png", shapes.parent / "own" / f"a{number}.png")
    table = workspace / "own.csv"
    words = ("check", "--images", shapes.parent / "own", "--csv", table, "--id", "path", "--json")
    table.write_text("path,label\n" + "".join(f"a0.png,{row[1]}\n" for row in train_table(shapes)))
    refused = run_comp(workspace, *words)
    assert refused.code == 1
    assert {"duplicate-id", "duplicate-path"} <= set(errors(refused))
    assert errors(refused)["duplicate-path"]["count"] == 18
    table.write_text("path,label\n" + "".join(f"{row[0]}.png,{row[1]}\n" for row in train_table(shapes)))
    assert run_comp(workspace, *words).code == 0


@pytest.mark.parametrize("copied", ["every file", "one class"])
def test_byte_copies_of_one_image_are_refused(workspace: Path, shapes: Path, copied: str) -> None:
    for sample, label, *_ in train_table(shapes)[1:]:
        if copied == "every file" or label == "circle":
            shutil.copy(shapes / "train" / "a0.png", shapes / "train" / f"{sample}.png")
    found = require_refused(workspace, "shapes", "exact-duplicate")
    assert found["count"] == (18 if copied == "every file" else 6)
    assert "'circle'" in found["message"]
    assert len(found["groups"]) == 1
    conflicting = run_comp(workspace, "check", "shapes", "--folds", 3, "--json")
    assert ("conflicting-labels" in errors(conflicting)) == (copied == "every file")


# --- 2. test files in another order than the template means ---------------------------------------------------------

NUMBERED_TOML = """\
slug = "numbered"
title = "Row i is the i-th test file"
classes = ["cat", "dog"]
pairs = "position"
order = "natural"

[layout]
required = ["train/", "test/", "sample.csv"]
train = "train/*/*"
test = "test/*"

[template]
file = "sample.csv"
id = "row"
target = "label"
kind = "label"

[options]
sort = "natural"
"""
NUMBERED_ADAPTER = '''\
"""Test files 1.png, 2.png … in the order that `sort` says."""

import os
from pathlib import PurePosixPath

from comp.data.images.raw_tree import RawTree
from comp.data import Manifest, Sample, natural_key


def read(raw, sort):
    tree = RawTree(raw)
    keys = {
        "natural": lambda path: natural_key(PurePosixPath(path).name),
        "text": lambda path: PurePosixPath(path).name,
        "as listed": lambda path: os.stat(raw / path).st_mtime_ns,
    }
    samples = [Sample(path, path, "train", path.split("/")[1]) for path in tree.glob("train/*/*")]
    test = sorted(tree.glob("test/*"), key=keys[sort])
    return Manifest.from_samples([*samples, *(Sample(str(n), path, "test") for n, path in enumerate(test))])


def sample(raw, seed):
    raise NotImplementedError
'''


@pytest.fixture
def numbered(workspace: Path) -> Path:
    """The competition ``numbered``; returns its competition.toml. Test files were written in no order."""
    folder, raw = workspace / "competitions" / "numbered", workspace / "data" / "numbered"
    folder.mkdir(parents=True)
    (folder / "competition.toml").write_text(NUMBERED_TOML)
    (folder / "adapter.py").write_text(NUMBERED_ADAPTER)
    (folder / "baseline.toml").write_text(TINY_RECIPE)
    for number in range(12):
        save(raw / "train" / ("cat", "dog")[number % 2] / f"{number}.png", texture(number))
    for place, number in enumerate(np.random.default_rng(2).permutation(12)):
        save(raw / "test" / f"{number + 1}.png", texture(500 + int(number)))
        os.utime(raw / "test" / f"{number + 1}.png", (1_000_000 + place, 1_000_000 + place))
    (raw / "sample.csv").write_text("row,label\n" + "".join(f"{n},cat\n" for n in range(12)))
    return folder / "competition.toml"


@pytest.mark.parametrize(("sort", "wrong"), [("text", "test/10.png"), ("as listed", "test/")])
def test_another_order_than_the_template_means_is_refused(
    workspace: Path, numbered: Path, sort: str, wrong: str
) -> None:
    numbered.write_text(NUMBERED_TOML.replace('sort = "natural"', f'sort = "{sort}"'))
    found = require_refused(workspace, "numbered", "template-mismatch")
    assert found["count"] >= 10
    assert wrong in found["message"]
    assert "order = 'natural'" in found["remedy"]
    numbered.write_text(NUMBERED_TOML)
    ran = require_passes(workspace, "numbered")
    rows = pd.read_csv(workspace / "runs" / ran.json["run"] / "rows.csv", dtype=str)
    assert list(rows.iloc[:, 1]) == [f"test/{n}.png" for n in range(1, 13)]


# --- 3. augmented copies made before the split ----------------------------------------------------------------------


def mirrored(pixels: np.ndarray) -> np.ndarray:
    return pixels[:, ::-1].copy()


def brighter(pixels: np.ndarray) -> np.ndarray:
    return cv2.convertScaleAbs(pixels, alpha=1.08, beta=12)


def unlike(pixels: np.ndarray) -> np.ndarray:
    """A crop so small that only the name tells where it is from."""
    height, width = pixels.shape[:2]
    return cv2.resize(pixels[: height // 3, : width // 3], (width, height))


def augmentors_name(label: str, name: str, seed: int) -> str:
    """What Augmentor calls a copy: class, _original_, the file's name, a UUID."""
    return f"{label}_original_{name}_{uuid.UUID(int=seed + (4 << 76) + (8 << 60))}"


def add_copies(raw: Path, change: Callable[[np.ndarray], np.ndarray], named: bool) -> dict[str, str]:
    """A copy of every train image, as a row of its own; copy → parent."""
    rows, parents = train_table(raw), {}
    for number, (sample, label, *_) in enumerate(list(rows)):
        copy = augmentors_name(label, f"{sample}.png", number) if named else f"b{number * 7 % 100}"
        save_image(raw / "train" / f"{copy}.png", change(cv2.imread(str(raw / "train" / f"{sample}.png"))))
        rows.append([copy, label, "", ""])
        parents[copy] = sample
    write_train_table(raw, rows)
    return parents


def deal_at_random(path: Path, ids: list[str]) -> Path:
    """Folds as scikit-learn's KFold gives them: shuffled rows, related or not."""
    order = np.random.default_rng(0).permutation(len(ids))
    path.write_text("id,fold\n" + "".join(f"{ids[n]},{place % 3}\n" for place, n in enumerate(order)))
    return path


@pytest.mark.parametrize(
    ("change", "named"),
    [(mirrored, True), (brighter, True), (unlike, True), (mirrored, False), (brighter, False)],
    ids=["mirrored, named", "brighter, named", "unlike, named", "mirrored", "brighter"],
)
def test_augmented_copies_share_their_parents_fold_or_are_refused(
    workspace: Path, shapes: Path, change: Callable[[np.ndarray], np.ndarray], named: bool
) -> None:
    parents = add_copies(shapes, change, named)
    ids = [row[0] for row in train_table(shapes)]
    apart = deal_at_random(workspace / "apart.csv", ids)
    found = require_refused(workspace, "shapes", "group-across-folds", "--folds", apart)
    assert found["count"] > 5
    if change is not unlike:
        copies = require_refused(workspace, "shapes", "copy-across-folds", "--folds", apart)
        fold = pd.read_csv(apart, dtype=str).set_index("id")["fold"]
        torn = sorted(
            sorted([f"train/{c}.png", f"train/{p}.png"]) for c, p in parents.items() if fold[c] != fold[p]
        )
        assert sorted(map(sorted, copies["groups"])) == torn

    ran = require_passes(workspace, "shapes")
    folds = pd.read_csv(workspace / "runs" / ran.json["run"] / "folds.csv").set_index("id")["fold"]
    assert len(folds) == 36
    assert all(folds[copy] == folds[parent] for copy, parent in parents.items())
    if change is not unlike:
        checked = run_comp(workspace, "check", "shapes", "--folds", 3, "--json")
        near = next(f for f in checked.json["findings"] if f["check"] == "near-duplicate")
        assert (near["severity"], near["count"]) == ("info", 36)
    if named:
        manifest = pd.read_csv(
            workspace / "runs" / ran.json["run"] / "manifest.csv", dtype=str, keep_default_na=False
        )
        stated = dict(zip(manifest["id"], manifest["parent"], strict=True))
        assert {copy: stated[copy] for copy in parents} == parents


def test_copies_across_the_split_of_a_script_of_ones_own_are_refused(workspace: Path, shapes: Path) -> None:
    parents = add_copies(shapes, mirrored, named=True)
    labels = {row[0]: row[1] for row in train_table(shapes)}
    table = workspace / "own.csv"

    def check(part: Callable[[str], str]) -> Outcome:
        table.write_text("file,what,part\n" + "".join(f"{i},{labels[i]},{part(i)}\n" for i in labels))
        columns = ("--id", "file", "--label", "what", "--fold", "part")
        return run_comp(workspace, "check", "--images", shapes / "train", "--csv", table, *columns, "--json")

    refused = check(lambda sample: "valid" if sample in parents else "train")
    assert refused.code == 1
    assert errors(refused)["copy-across-folds"]["count"] == 36
    held_out = ("a0", "a1", "a2", "a3", "a4", "a5")
    passed = check(lambda sample: "valid" if parents.get(sample, sample) in held_out else "train")
    assert passed.code == 0, passed.out


@pytest.mark.real
def test_augmented_copies_of_paintings_share_their_parents_fold_or_are_refused(workspace: Path) -> None:
    real = real_folder("art-classification")
    raw = workspace / "data" / "art-classification"
    shutil.copytree(real, raw)
    parents = {}
    for number, path in enumerate(sorted((raw / "train").glob("*/*"))):
        if number % 10 == 0:
            pixels = cv2.imread(str(path))
            for turn, change in enumerate((mirrored, brighter)):
                name = augmentors_name(path.parent.name, path.name, 2 * number + turn)
                copy = path.with_name(f"{name}.jpg") if turn == 0 else path.with_name(f"x{number}.jpg")
                assert cv2.imwrite(str(copy), change(pixels), [cv2.IMWRITE_JPEG_QUALITY, 90])
                parents[str(copy.relative_to(raw))] = str(path.relative_to(raw))
    checked = run_comp(workspace, "check", "art-classification", "--folds", 5, "--json")
    assert checked.code == 0, checked.out
    near = next(f for f in checked.json["findings"] if f["check"] == "near-duplicate")
    found = {path: place for place, group in enumerate(near["groups"]) for path in group}
    seen = [copy for copy, parent in parents.items() if found.get(copy, -1) == found.get(parent, -2)]
    assert len(seen) >= 0.98 * len(parents)
    folds = pd.read_csv(next((workspace / "folds" / "art-classification").glob("*.csv"))).set_index("id")[
        "fold"
    ]
    apart = [copy for copy, parent in parents.items() if folds[copy] != folds[parent]]
    assert len(apart) <= 0.02 * len(parents), (
        "copies whose names tell nothing and whose contents are not recognised"
    )
    assert not [copy for copy in apart if "_original_" in copy]
    deal_at_random(workspace / "apart.csv", list(folds.index))
    refused = run_comp(workspace, "check", "art-classification", "--folds", workspace / "apart.csv", "--json")
    assert refused.code == 1
    assert errors(refused)["copy-across-folds"]["count"] > len(parents)


# --- 4. the test set is used for training ---------------------------------------------------------------------------


def copy_into_train(raw: Path, count: int) -> None:
    """So many test rows become labelled rows, re-encoded as JPEG."""
    rows = train_table(raw)
    for number in range(count):
        pixels = cv2.imread(str(raw / "test" / f"t{number}.png"))
        coded = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 80])[1].tobytes()
        (raw / "train" / f"more{number}.png").write_bytes(coded)
        rows.append([f"more{number}", ("circle", "cross", "square")[number % 3], "", ""])
    write_train_table(raw, rows)


def test_most_of_the_test_set_among_train_is_refused(workspace: Path, shapes: Path) -> None:
    copy_into_train(shapes, 7)
    found = require_refused(workspace, "shapes", "train-test-duplicate")
    assert found["count"] == 7
    assert set(found["examples"]) <= {f"test/t{n}.png" for n in range(7)}
    assert sorted(map(sorted, found["groups"])) == sorted(
        [f"test/t{n}.png", f"train/more{n}.png"] for n in range(7)
    )


def test_a_few_test_images_among_train_are_warned_of(workspace: Path, shapes: Path) -> None:
    copy_into_train(shapes, 6)
    require_passes(workspace, "shapes")
    checked = run_comp(workspace, "check", "shapes", "--folds", 3, "--json")
    found = next(f for f in checked.json["findings"] if f["check"] == "train-test-duplicate")
    assert (found["severity"], found["count"]) == ("warning", 6)


def test_one_test_file_among_train_is_refused(workspace: Path, shapes: Path) -> None:
    os.link(shapes / "test" / "t5.png", shapes / "train" / "more.png")
    rows = train_table(shapes)
    write_train_table(shapes, [*rows, ["more", "square", "", ""]])
    found = require_refused(workspace, "shapes", "train-test-overlap")
    assert (found["count"], found["examples"]) == (1, ["test/t5.png"])
    write_train_table(shapes, rows)
    (shapes / "train" / "more.png").unlink()
    require_passes(workspace, "shapes")


def test_test_rows_among_the_folds_are_refused(workspace: Path, shapes: Path) -> None:
    ids = [row[0] for row in train_table(shapes)]
    folds = workspace / "mine.csv"
    lines = [f"{sample},{n // 3 % 3}" for n, sample in enumerate(ids)]
    folds.write_text("\n".join(["id,fold", *lines, "t0,0", "t1,1"]) + "\n")
    found = require_refused(workspace, "shapes", "test-id-in-folds", "--folds", folds)
    assert found["examples"] == ["t0", "t1"]
    folds.write_text("\n".join(["id,fold", *lines]) + "\n")
    require_passes(workspace, "shapes", "--folds", folds)


# --- 5. one model's preprocessing with another model's weights ------------------------------------------------------


@pytest.fixture(scope="module")
def two_runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """A workspace and two runs of shapes whose models were trained with different mean and std."""
    workspace = tmp_path_factory.mktemp("two_runs")
    write_shapes(workspace)
    names = []
    for mean in ("[0.485,0.456,0.406]", "[0.2,0.2,0.2]"):
        words = (
            "--set",
            f"model.mean={mean}",
            "--set",
            "model.std=[0.229,0.224,0.225]",
            "--set",
            "epochs=2",
            "--json",
        )
        done = run_comp(workspace, "run", "shapes", "--folds", 2, *words)
        assert done.code == 0, done.err
        names.append(done.json["run"])
    return workspace, names[0], names[1]


@pytest.fixture
def runs(two_runs: tuple[Path, str, str], tmp_path: Path) -> tuple[Path, Path, Path]:
    """A copy of that workspace, and its two run folders."""
    workspace = tmp_path / "workspace"
    shutil.copytree(two_runs[0], workspace)
    return workspace, workspace / "runs" / two_runs[1], workspace / "runs" / two_runs[2]


def predict(runs: tuple[Path, Path, Path]) -> Outcome:
    workspace, one, _ = runs
    words = ("--data", workspace / "data" / "shapes", "--out", workspace / "out.csv", "--json")
    outcome = run_comp(workspace, "predict", one.name, *words)
    assert (workspace / "out.csv").exists() == (outcome.code == 0)
    return outcome


def test_honest_checkpoints_give_the_same_answers_again(runs: tuple[Path, Path, Path]) -> None:
    assert predict(runs).code == 0
    assert (runs[0] / "out.csv").read_bytes() == (runs[1] / "submission.csv").read_bytes()


def test_another_models_mean_and_std_are_refused(runs: tuple[Path, Path, Path]) -> None:
    one, other = (json.loads((run / "fold-0" / "model.json").read_text()) for run in runs[1:])
    assert one["preprocess"] != other["preprocess"]
    path = runs[1] / "fold-0" / "model.json"
    path.write_text(json.dumps({**one, "preprocess": other["preprocess"]}))
    proven_again(runs[1])
    refused = predict(runs)
    assert (refused.code, "control-rows" in refused.err) == (1, True), refused.err
    assert "fold-0" in refused.err
    assert "preprocessing" in refused.err
    path.write_text(json.dumps(one))
    assert predict(runs).code == 2, "its SHA-256 tells first"
    proven_again(runs[1])
    assert predict(runs).code == 0


def test_another_checkpoints_sidecar_is_refused(runs: tuple[Path, Path, Path]) -> None:
    shutil.copy(runs[2] / "fold-0" / "model.json", runs[1] / "fold-0" / "model.json")
    proven_again(runs[1])
    refused = predict(runs)
    assert refused.code == 2, refused.err
    assert "belong together" in refused.err


@pytest.mark.parametrize("other", ["another run's", "another fold's"])
def test_another_checkpoint_whole_is_refused(runs: tuple[Path, Path, Path], other: str) -> None:
    source = runs[2] / "fold-0" if other == "another run's" else runs[1] / "fold-1"
    for name in ("model.json", "model.safetensors"):
        shutil.copy(source / name, runs[1] / "fold-0" / name)
    assert predict(runs).code == 2
    proven_again(runs[1])
    refused = predict(runs)
    if other == "another run's":
        assert (refused.code, "control-rows" in refused.err) == (1, True), refused.err
    else:
        assert (refused.code, "is of fold 1" in refused.err) == (2, True), refused.err
