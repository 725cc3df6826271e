"""Copies across folds, stale folds, uneven classes: where the checks of folds speak and where not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from comp.checks.context import CheckContext
from comp.checks.fold_checks import (
    copy_across_folds,
    fold_coverage,
    stale_folds,
    stratification,
    test_id_in_folds,
)
from comp.checks.runner import run_fold_checks
from comp.data.folds import Folds, make_folds
from gallery import Gallery, clean_gallery, folds_of, texture

unfold = test_id_in_folds  # so that pytest does not take the check for a test
del test_id_in_folds


@pytest.fixture
def gallery(tmp_path: Path) -> Gallery:
    return clean_gallery(tmp_path / "raw")


def dealt(context: CheckContext, **other: int) -> CheckContext:
    """Evidence with a sound deal to three folds, but for the rows named."""
    fold_of = {sample: n // 3 % 3 for n, sample in enumerate(context.manifest.train["id"])}
    return replace(context, folds=folds_of(context, {**fold_of, **other}))


@pytest.mark.parametrize("version", ["exact", "mirrored", "one file"])
def test_copies_apart_are_an_error_and_together_are_none(gallery: Gallery, version: str) -> None:
    if version == "one file":
        gallery.change("a3", path="train/a0.png")
    else:
        gallery.replace("train/a3.png", texture(0) if version == "exact" else texture(0)[:, ::-1])
    context = gallery.context()
    (found,) = copy_across_folds(dealt(context))  # a0 lies in fold 0, a3 in fold 1
    assert (found.severity, found.count) == ("error", 1 if version == "one file" else 2)
    assert "train/a0.png" in found.examples
    assert copy_across_folds(dealt(context, a3=0)) == []


def test_a_copy_that_only_trains_validates_nothing_but_its_original(gallery: Gallery) -> None:
    gallery.replace("train/a3.png", texture(0))
    assert copy_across_folds(dealt(gallery.context(), a3=-1)) == []


def test_our_own_folds_keep_copies_together(gallery: Gallery) -> None:
    for number in range(9):
        gallery.replace(f"train/a{number + 12}.png", texture(number)[:, ::-1])
    gallery.change("a30", path="train/a27.png")
    context = gallery.context()
    context = replace(context, folds=make_folds(context.manifest, 3))
    assert run_fold_checks(context) == []
    assert context.folds is not None
    fold = dict(zip(context.folds.ids, context.folds.fold, strict=True))
    assert all(fold[f"a{n}"] == fold[f"a{n + 12}"] for n in range(9))
    assert fold["a30"] == fold["a27"]


@pytest.mark.parametrize("change", ["content", "label", "row", "group", "parent"])
def test_folds_are_stale_once_anything_of_their_rows_changed(gallery: Gallery, change: str) -> None:
    before = make_folds(gallery.context().manifest, 3)
    if change == "content":
        gallery.replace("train/a3.png", texture(999))
    elif change == "label":
        gallery.change("a3", label="dog")
    elif change == "row":
        gallery.add("train/a99.png", texture(99), "cat")
    elif change == "group":
        gallery.change("a3", group="g")
        gallery.change("a6", group="g")
    else:
        gallery.change("a3", parent="a6")
    (found,) = stale_folds(replace(gallery.context(), folds=before))
    assert found.severity == "error"
    assert "folds/gallery" in found.remedy
    own = replace(before, path=Path("runs/one/folds.csv"))
    (of_a_run,) = stale_folds(replace(gallery.context(), folds=own))
    assert "runs/one/folds.csv" in of_a_run.message
    assert "remove" not in of_a_run.remedy
    if change == "row":
        assert found.examples == ("a99",)


@pytest.mark.parametrize(
    "change", ["nothing", "order", "a test image", "a test row", "related rows that only train", "touched"]
)
def test_folds_are_not_stale_for_what_they_do_not_depend_on(gallery: Gallery, change: str) -> None:
    before = make_folds(gallery.context().manifest, 3)
    first = gallery.context().manifest.fingerprint("test")
    if change == "order":
        gallery.samples.reverse()
    elif change == "a test image":
        gallery.replace("test/t3.png", texture(999))
    elif change == "a test row":
        gallery.add("test/t99.png", texture(999))
    elif change == "related rows that only train":
        gallery.add("train/x.png", texture(3)[:, ::-1], "cat")
        gallery.change("x", split="extra")
    elif change == "touched":
        (gallery.raw / "train" / "a3.png").touch()
    context = gallery.context()
    assert stale_folds(replace(context, folds=before)) == []
    assert (context.manifest.fingerprint("test") != first) == change.startswith("a test")


def test_a_fold_without_rows_and_rows_without_folds_are_told_apart(gallery: Gallery) -> None:
    context = gallery.context()
    sound = dealt(context).folds
    assert sound is not None
    (empty,) = fold_coverage(replace(context, folds=replace(sound, k=5)))
    assert (empty.count, empty.examples) == (2, ("fold 3", "fold 4"))
    short = Folds(sound.ids[2:], sound.fold[2:], 3, -1, sound.fingerprint)
    (without,) = fold_coverage(replace(context, folds=short))
    assert (without.count, without.examples) == (2, ("a0", "a1"))


def test_test_rows_with_a_fold_are_counted(gallery: Gallery) -> None:
    context = gallery.context()
    (found,) = unfold(dealt(context, t3=0, t4=1))
    assert (found.severity, found.count, found.examples) == ("error", 2, ("t3", "t4"))


def test_classes_may_differ_a_little_between_folds(gallery: Gallery) -> None:
    context = gallery.context()
    assert stratification(dealt(context, a3=0, a6=0)) == []
    every_cat = {
        sample: 0 for sample, label in context.manifest.train[["id", "label"]].to_numpy() if label == "cat"
    }
    (found,) = stratification(dealt(context, **every_cat))
    assert (found.severity, found.examples) == ("warning", ("cat",))


def test_folds_of_different_sizes_are_judged_by_their_share(gallery: Gallery) -> None:
    """A fold for validation of a fifth of the rows, as people with one split have it."""
    context = gallery.context()
    one_split = {sample: int(n >= 39) for n, sample in enumerate(context.manifest.train["id"])}
    assert stratification(replace(context, folds=folds_of(context, one_split))) == []


def test_a_row_without_a_fold_hides_no_copies(gallery: Gallery) -> None:
    gallery.replace("train/a3.png", texture(0))
    context = dealt(gallery.context())
    assert context.folds is not None
    last = replace(context.folds, ids=context.folds.ids[:-1], fold=context.folds.fold[:-1])
    assert [f.count for f in copy_across_folds(replace(context, folds=last))] == [2]


def test_rows_that_only_train_count_in_no_fold(gallery: Gallery) -> None:
    context = gallery.context()
    cats = {f"a{n}": -1 for n in range(0, 48, 3)}  # every cat
    assert stratification(dealt(context, **cats)) == []
    assert copy_across_folds(dealt(context, **cats)) == []
    (found,) = stratification(dealt(context, **{f"a{n}": 0 for n in range(0, 48, 3)}))
    assert (found.severity, found.count, found.examples) == ("warning", 1, ("cat",))
    assert "first 'cat': [16, 0, 0]" in found.message


def test_a_file_of_several_rows_in_one_fold_is_not_torn(gallery: Gallery) -> None:
    gallery.change("a9", path="train/a0.png")  # both lie in fold 0
    assert copy_across_folds(dealt(gallery.context())) == []
    (found,) = copy_across_folds(dealt(gallery.context(), a9=2))
    assert (found.count, found.examples) == (1, ("train/a0.png",))


def test_copies_among_test_rows_are_not_torn_by_folds(gallery: Gallery) -> None:
    gallery.replace("test/t1.png", texture(100_000))  # the image of t0
    assert copy_across_folds(dealt(gallery.context())) == []
