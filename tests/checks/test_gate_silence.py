"""The whole catalogue: every check speaks of one planted fault, and is silent on clean data."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from comp.checks.context import CheckContext, Finding
from comp.checks.feature_checks import drift_of_features, look_alike
from comp.checks.feature_drift import feature_drift
from comp.checks.look_alikes import look_alikes
from comp.checks.prediction_checks import (
    assumed_folds,
    collapsed_predictions,
    harmful_transform,
    harmful_views,
    label_errors,
    preprocessing_override,
    prior_shift,
    too_good,
    weights_leak,
)
from comp.checks.runner import (
    DATA_CHECKS,
    FOLD_CHECKS,
    RUN_CHECKS,
    raise_on_errors,
    run_data_checks,
    run_fold_checks,
)
from comp.data.csv_table import Table
from comp.data.dataset import Template, from_table
from comp.data.folds import make_folds
from comp.data.labels import LabelMap, without_test_labels
from comp.data.predictions import Predictions
from comp.errors import CheckFailed
from comp.inference.predict import LEAST, ControlRow, control_row_error, max_abs_difference
from comp.metrics import METRICS
from comp.models.net import overrides
from comp.recipe import ModelConfig
from comp.runs.contents import FITTED
from comp.uncertainty import Gain
from gallery import CLASSES, Gallery, clean_gallery, detailed, folds_of, texture

CATALOGUE = {
    "manifest": {
        "duplicate-id": "error",
        "empty-id": "error",
        "duplicate-path": "error",
        "missing-file": "error",
        "unlisted-file": "warning",
        "unknown-label": "error",
        "label-spelling": "warning",
        "test-labels": "warning",
        "label-map": "error",
        "class-too-small": "error",
        "train-test-overlap": "error",
        "shared-photograph": "warning",
        "template-mismatch": "error",
        "template-columns": "error",
        "template-cells": "error",
        "class-index": "error",
        "metric-mismatch": "error",
        "test-id-in-folds": "error",
    },
    "content": {
        "unreadable-image": "error",
        "value-range": "warning",
        "mixed-kinds": "error",
        "clipped-values": "warning",
        "box-outside": "warning",
        "several-pages": "warning",
        "blank-image": "warning",
        "exact-duplicate": "info",
        "near-duplicate": "info",
        "same-scene": "info",
        "same-source": "info",
        "train-test-duplicate": "warning",
        "conflicting-labels": "error",
        "odd-size": "warning",
    },
    "shortcuts": {
        "metadata-shortcut": "warning",
        "train-test-drift": "warning",
        "pixel-shortcut": "warning",
    },
    "folds": {
        "fold-coverage": "error",
        "group-across-folds": "error",
        "copy-across-folds": "error",
        "stratification": "warning",
        "stale-folds": "error",
        "weights-leak": "error",
        "preprocessing-override": "warning",
    },
    "run": {
        "control-rows": "error",
        "collapsed-predictions": "warning",
        "too-good": "warning",
        "prior-shift": "warning",
        "assumed-folds": "warning",
        "harmful-views": "warning",
        "harmful-transform": "warning",
        "label-errors": "info",
        "look-alike": "info",
        "feature-drift": "warning",
    },
}
SEVERITY = {name: severity for family in CATALOGUE.values() for name, severity in family.items()}


# --- faults in the data: each changes a clean gallery and returns the rows that must be named -----------------------


def duplicate_id(one: Gallery) -> set[str]:
    one.change("a3", id="a0")
    return {"a0"}


def empty_id(one: Gallery) -> set[str]:
    one.change("a3", id="")
    return {"train/a3.png"}


def label_spelling(one: Gallery) -> set[str]:
    one.classes = ("Cat", *CLASSES)
    one.change("a0", label="Cat")
    one.change("a3", label="Cat")
    return {"a0", "a3"}


def labels_of_test_rows(one: Gallery) -> set[str]:
    one.change("t3", label="cat")
    one.read = without_test_labels
    return {"t3"}


def template_columns(one: Gallery) -> set[str]:
    one.template = template_of(one, ("id", "c0", "c1", "c2"), "probs")
    return set(CLASSES)


def template_cells(one: Gallery) -> set[str]:
    one.template = template_of(one, ("id", "label"), "label", "Cat")
    return {"t0", "t1"}


def class_index(one: Gallery) -> set[str]:
    one.classes = ("1", "2", "3")
    for sample in one.samples:
        if sample.label:
            one.change(sample.id, label=str(1 + CLASSES.index(sample.label)))
    one.template = template_of(one, ("id", "label"), "index")
    return {"1", "2", "3"}


def metric_mismatch(one: Gallery) -> set[str]:
    one.facts = one.facts.model_copy(update={"metric": "log_loss"})
    return {"log_loss"}


def template_of(one: Gallery, header: tuple[str, ...], kind: str, cell: str = "") -> Template:
    """A template of a file that asks for every test row."""
    ids = [sample.id for sample in one.samples if sample.split == "test"]
    table = Table("sample.csv", header, tuple((i, *[cell] * (len(header) - 1)) for i in ids))
    return from_table(table, "id", header[1:] if kind == "probs" else "label", kind)


def duplicate_path(one: Gallery) -> set[str]:
    one.change("a3", path="train/../train/a0.png")
    (one.raw / "train" / "a3.png").unlink()
    return {"train/a0.png", "train/../train/a0.png"}


def missing_file(one: Gallery) -> set[str]:
    (one.raw / "train" / "a3.png").unlink()
    return {"train/a3.png"}


def unlisted_file(one: Gallery) -> set[str]:
    one.add("train/forgotten.png", texture(1000), "cat")
    one.samples.pop()
    return {"train/forgotten.png"}


def unknown_label(one: Gallery) -> set[str]:
    one.change("a3", label="cats")
    return {"a3"}


def label_map(one: Gallery) -> set[str]:
    one.samples = [s for s in one.samples if s.label != "owl"]
    return {"owl"}


def class_too_small(one: Gallery) -> set[str]:
    owls = [s for s in one.samples if s.label == "owl"]
    one.samples = [s for s in one.samples if s not in owls[2:]]
    return {"owl"}


def train_test_overlap(one: Gallery) -> set[str]:
    (one.raw / "test" / "t3.png").unlink()
    (one.raw / "test" / "t3.png").hardlink_to(one.raw / "train" / "a3.png")
    return {"test/t3.png"}


def unreadable_image(one: Gallery) -> set[str]:
    path = one.raw / "train" / "a3.png"
    path.write_bytes(path.read_bytes()[:-30])
    return {"train/a3.png"}


def value_range(one: Gallery) -> set[str]:
    """12 bits in a file of 16."""
    out = io.BytesIO()
    Image.fromarray(texture(3)[..., 0].astype(np.uint16) * 16).save(out, "PNG")
    return {one.replace("train/a3.png", out.getvalue())}


def several_pages(one: Gallery) -> set[str]:
    out = io.BytesIO()
    first, second = (Image.fromarray(texture(seed)) for seed in (3, 4000))
    first.save(out, "PNG", save_all=True, append_images=[second])
    return {one.replace("train/a3.png", out.getvalue())}


def blank_image(one: Gallery) -> set[str]:
    return {one.replace("train/a3.png", np.full((48, 48, 3), 120, np.uint8))}


def odd_size(one: Gallery) -> set[str]:
    return {one.replace("train/a3.png", texture(3, side=8))}


def exact_duplicate(one: Gallery) -> set[str]:
    return {one.replace("train/a3.png", texture(0)), "train/a0.png"}


def near_duplicate(one: Gallery) -> set[str]:
    return {one.replace("train/a3.png", texture(0)[:, ::-1]), "train/a0.png"}


def same_scene(one: Gallery) -> set[str]:
    """Two frames of a still camera, before which something moved."""
    one.thorough = True
    rows = set()
    for path, at in (("train/a0.png", 10), ("train/a3.png", 100)):
        frame = detailed(7)
        frame[60:110, at : at + 50] = detailed(8, 50)
        rows.add(one.replace(path, frame))
    return rows


def same_source(one: Gallery) -> set[str]:
    """The left and the right part of one image."""
    one.thorough = True
    whole = detailed(9, 200)
    return {one.replace("train/a0.png", whole[:, :140]), one.replace("train/a3.png", whole[:, 60:])}


def train_test_duplicate(one: Gallery) -> set[str]:
    return {one.replace("test/t3.png", texture(0)[:, ::-1])}


def conflicting_labels(one: Gallery) -> set[str]:
    return {one.replace("train/a1.png", texture(0)), "train/a0.png"}


def metadata_shortcut(one: Gallery) -> set[str]:
    cats = [s for s in one.samples if s.label == "cat"]
    for sample in cats:
        one.replace(sample.path, texture(int(sample.id[1:]), side=60))
    return {one.samples[0].id}


def train_test_drift(one: Gallery) -> set[str]:
    for sample in one.samples:
        if sample.split == "test":
            one.replace(sample.path, texture(200_000 + int(sample.id[1:]), side=60))
    return set()


def pixel_shortcut(one: Gallery) -> set[str]:
    cats = [s for s in one.samples if s.label == "cat"]
    for sample in cats:
        pixels = texture(int(sample.id[1:]))
        pixels[:4, -4:] = 255
        one.replace(sample.path, pixels)
    return {sample.id for sample in cats[:2]}


DATA_FAULTS: dict[str, Callable[[Gallery], set[str]]] = {
    plant.__name__.replace("_", "-"): plant
    for plant in (
        duplicate_id,
        empty_id,
        duplicate_path,
        missing_file,
        unlisted_file,
        unknown_label,
        label_spelling,
        label_map,
        class_too_small,
        train_test_overlap,
        template_columns,
        template_cells,
        class_index,
        metric_mismatch,
        unreadable_image,
        value_range,
        several_pages,
        blank_image,
        odd_size,
        exact_duplicate,
        near_duplicate,
        same_scene,
        same_source,
        train_test_duplicate,
        conflicting_labels,
        metadata_shortcut,
        train_test_drift,
        pixel_shortcut,
    )
} | {"test-labels": labels_of_test_rows}  # pytest would take a function of the check's name for a test


# --- faults in the folds: each returns context with faulty folds, and the rows that must be named ------------------


def dealt(context: CheckContext) -> dict[str, int]:
    """A sound deal of a clean gallery's rows to three folds."""
    return {sample: n // 3 % 3 for n, sample in enumerate(context.manifest.train["id"])}


def with_folds(context: CheckContext, fold_of: dict[str, int]) -> CheckContext:
    return replace(context, folds=folds_of(context, fold_of))


def fold_coverage(one: Gallery) -> tuple[CheckContext, set[str]]:
    context = one.context()
    fold_of = dealt(context)
    del fold_of["a3"]
    return with_folds(context, fold_of), {"a3"}


def group_across_folds(one: Gallery) -> tuple[CheckContext, set[str]]:
    one.change("a0", group="sitting-1")
    one.change("a3", group="sitting-1")
    context = one.context()
    return with_folds(context, dealt(context)), {"a0"}


def copy_across_folds(one: Gallery) -> tuple[CheckContext, set[str]]:
    rows = near_duplicate(one)
    context = one.context()
    return with_folds(context, dealt(context)), rows


def stratification(one: Gallery) -> tuple[CheckContext, set[str]]:
    context = one.context()
    by_class = {
        sample: CLASSES.index(label) for sample, label in context.manifest.train[["id", "label"]].to_numpy()
    }
    return with_folds(context, by_class), set(CLASSES)


def id_of_a_test_row_in_folds(one: Gallery) -> tuple[CheckContext, set[str]]:
    context = one.context()
    return with_folds(context, {**dealt(context), "t3": 0}), {"t3"}


def stale_folds(one: Gallery) -> tuple[CheckContext, set[str]]:
    folds = make_folds(one.context().manifest, 3)
    one.add("train/a99.png", texture(99), "cat")
    return replace(one.context(), folds=folds), {"a99"}


FOLD_FAULTS: dict[str, Callable[[Gallery], tuple[CheckContext, set[str]]]] = {
    plant.__name__.replace("_", "-"): plant
    for plant in (
        fold_coverage,
        group_across_folds,
        copy_across_folds,
        stratification,
        stale_folds,
    )
} | {
    "test-id-in-folds": id_of_a_test_row_in_folds
}  # pytest would take a function of the check's name for a test


# --- faults that show only with a recipe or after a run: what a fault says, and what clean values say ----------------

LABELS = LabelMap(CLASSES)
EVEN = np.full(3, 1 / 3)
IDS = tuple(f"t{n}" for n in range(60))


def answers(classes: np.ndarray) -> Predictions:
    """Confident predictions of these class numbers."""
    return Predictions(IDS, LABELS, np.eye(3)[classes] * 0.88 + 0.04, "")


def leaking_weights(folder: Path, leak: bool) -> list[Finding]:
    context = clean_gallery(folder / "raw").context()
    table = context.manifest.train
    fitted = list(table["content"][:2]) if leak else ["f" * 32]
    (folder / FITTED).write_text("\n".join(fitted) + "\n")
    return weights_leak(str(folder / "model.safetensors"), context.manifest, make_folds(context.manifest, 3))


def overridden(folder: Path, leak: bool) -> list[Finding]:
    (folder / "w.json").write_text(json.dumps({"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}))
    mean = [0.485, 0.456, 0.406] if leak else [0.5, 0.5, 0.5]
    part = ModelConfig(
        name="test_resnet", weights=str(folder / "w.safetensors"), mean=mean, std=[0.25, 0.25, 0.25]
    )
    return preprocessing_override(overrides(part, "probe"))


def control_rows(folder: Path, leak: bool) -> list[Finding]:
    rows = [ControlRow(f"c{n}", f"c{n}", f"a{n}", EVEN) for n in range(4)]
    back = {
        row.id: row.probs + (np.array([0.3, -0.3, 0.0]) if leak and row.sample == "a2" else 0) for row in rows
    }
    difference, sample = max_abs_difference(rows, back)
    if difference <= LEAST["fp32"]:
        return []
    refused = control_row_error(folder / "fold-0", difference, sample)
    assert (type(refused), refused.exit_code) == (CheckFailed, 1)
    return [Finding("control-rows", "error", 1, str(refused), (sample,))]


def doubted(fault: bool) -> list[Finding]:
    """What is found on answers that are all as labelled, but for the first row's label where there is a fault."""
    truth = np.arange(60) % 3
    labels = truth.copy()
    labels[0] = 1 if fault else 0
    return label_errors(answers(truth), labels, np.arange(60) // 3 % 3, "r1")


def photographed_twice(fault: bool) -> list[Finding]:
    """What is found on features of noise, where a fault gives two rows of different folds nearly the same."""
    features = np.random.default_rng(0).normal(size=(200, 60)).astype(np.float32)
    if fault:
        features[31] = features[7] + 0.1
    found = look_alikes(features, np.arange(200) % 5, np.arange(200))
    return look_alike([(f"p{one.first}", f"p{one.second}") for one in found.folds], [], "r1")


def shot_elsewhere(fault: bool) -> list[Finding]:
    """What is found on features of noise, which a fault moves for the test rows."""
    train, test = np.random.default_rng(0).normal(size=(2, 200, 20)).astype(np.float32)
    drift = feature_drift(
        train, test + (1.0 if fault else 0.0), list(map(str, range(200))), list(map(str, range(200)))
    )
    assert drift is not None
    return drift_of_features(drift, 200, None)


RUN_FAULTS: dict[str, tuple[Callable[[Path, bool], list[Finding]], set[str]]] = {
    "weights-leak": (leaking_weights, {"a0", "a1"}),
    "preprocessing-override": (overridden, set()),
    "control-rows": (control_rows, {"a2"}),
    "collapsed-predictions": (
        lambda _, fault: collapsed_predictions(
            answers(np.zeros(60, int) if fault else np.arange(60) % 3), EVEN
        ),
        set(IDS[:5]),
    ),
    "too-good": (lambda _, fault: too_good(0.999 if fault else 0.93, METRICS["accuracy"], 1000, None), set()),
    "prior-shift": (lambda _, fault: prior_shift(answers(np.arange(60) % (2 if fault else 3)), EVEN), set()),
    "assumed-folds": (lambda _, fault: assumed_folds(not fault, 5, 60), set()),
    "harmful-views": (
        lambda _, fault: harmful_views(
            ["hflip"], "accuracy", 60, {"fit": Gain(0.2 if fault else 0.01, 0.02)}
        ),
        set(),
    ),
    "harmful-transform": (
        lambda _, fault: (
            harmful_transform("HorizontalFlip", 100, (1.0, 0.5, 0.05), 50, None) if fault else []
        ),
        set(),
    ),
    "label-errors": (lambda _, fault: doubted(fault), {IDS[0]}),
    "look-alike": (lambda _, fault: photographed_twice(fault), {"p7", "p31"}),
    "feature-drift": (lambda _, fault: shot_elsewhere(fault), set()),
}


# --- the tests ------------------------------------------------------------------------------------------------------


@pytest.fixture
def gallery(tmp_path: Path) -> Gallery:
    return clean_gallery(tmp_path / "raw")


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> CheckContext:
    """Clean context with folds of our own."""
    context = clean_gallery(tmp_path_factory.mktemp("clean") / "raw").context()
    return replace(context, folds=make_folds(context.manifest, 3))


def test_the_catalogue_is_complete() -> None:
    assert set(SEVERITY) == {*DATA_CHECKS, *FOLD_CHECKS, *RUN_CHECKS}
    assert len(SEVERITY) == sum(len(family) for family in CATALOGUE.values()) == 52


def test_every_check_has_a_planted_fault_and_a_clean_test() -> None:
    of_arrays = {"mixed-kinds", "clipped-values"}  # see test_array_checks
    of_boxes = {"box-outside", "shared-photograph"}  # see test_box_checks
    assert {*DATA_FAULTS, "template-mismatch", *of_arrays, *of_boxes} == set(DATA_CHECKS)
    assert set(FOLD_FAULTS) == set(FOLD_CHECKS)
    assert set(RUN_FAULTS) == set(RUN_CHECKS)


def test_every_check_says_what_it_does() -> None:
    for name, check in {**DATA_CHECKS, **FOLD_CHECKS}.items():
        assert check.__doc__, name
        assert len(check.__doc__) > 40, name


def judged(found: list[Finding], name: str, rows: set[str]) -> None:
    """The check spoke once, gravely enough, of these rows, with a remedy; an error stops a run with exit code 1."""
    spoken = [f for f in found if f.check == name]
    assert [f.severity for f in spoken] == [SEVERITY[name]], found
    assert rows <= {*spoken[0].examples, *(path for related in spoken[0].groups or () for path in related)}
    assert spoken[0].count >= max(1, len(rows) if name not in ("duplicate-id", "group-across-folds") else 1)
    assert spoken[0].message
    if SEVERITY[name] == "error":
        with pytest.raises(CheckFailed) as stop:
            raise_on_errors(spoken, "gallery")
        assert stop.value.exit_code == 1
        assert name in stop.value.value
    else:
        raise_on_errors(spoken, "gallery")


@pytest.mark.parametrize("name", DATA_FAULTS)
def test_a_fault_in_the_data_is_found(gallery: Gallery, name: str) -> None:
    rows = DATA_FAULTS[name](gallery)
    judged(run_data_checks(gallery.context()), name, rows)


@pytest.mark.parametrize(
    ("asked", "rows"),
    [
        (("t0", "t1"), {"t2"}),
        (("t9", *(f"t{n}" for n in range(24)), "t9"), {"t9"}),
        ((*(f"t{n}" for n in range(24)), "t77"), {"t77"}),
    ],
    ids=["a test row too many", "an id twice", "a test row too few"],
)
def test_a_template_that_asks_otherwise_is_found(
    gallery: Gallery, asked: tuple[str, ...], rows: set[str]
) -> None:
    table = Table("sample.csv", ("id", "label"), tuple((sample, "") for sample in asked))
    found = DATA_CHECKS["template-mismatch"](
        gallery.context(template=from_table(table, "id", "label", "label"))
    )
    judged(found, "template-mismatch", rows)


@pytest.mark.parametrize("name", FOLD_FAULTS)
def test_a_fault_in_the_folds_is_found(gallery: Gallery, name: str) -> None:
    context, rows = FOLD_FAULTS[name](gallery)
    judged(run_fold_checks(context), name, rows)


@pytest.mark.parametrize("name", RUN_FAULTS)
def test_a_fault_of_a_run_is_found(tmp_path: Path, name: str) -> None:
    judge, rows = RUN_FAULTS[name]
    found = judge(tmp_path, True)
    assert [f.check for f in found] == [name]
    assert found[0].severity == SEVERITY[name]
    assert rows <= set(found[0].examples)


@pytest.mark.parametrize("name", [*DATA_CHECKS, *FOLD_CHECKS])
def test_clean_data_is_passed_in_silence(clean: CheckContext, name: str) -> None:
    assert {**DATA_CHECKS, **FOLD_CHECKS}[name](clean) == []


@pytest.mark.parametrize("name", RUN_CHECKS)
def test_a_clean_run_is_passed_in_silence(tmp_path: Path, name: str) -> None:
    judge, _ = RUN_FAULTS[name]
    assert judge(tmp_path, False) == []
