"""Groups: who is related to whom, how groups are named, and that folds never tear them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comp.checks.context import CheckContext
from comp.checks.fold_checks import folds_of_related, grouped, parent_name
from comp.checks.image_index import ImageIndex, Prints
from comp.checks.image_scan import scan
from comp.data.competitions.competition import Competition
from comp.data.dataset import Dataset, made_template
from comp.data.folds import Folds, group_names, make_folds
from comp.data.images.raw_tree import IMAGE_SUFFIXES
from comp.data.images.source import ArraySource
from comp.data.labels import LabelMap
from comp.data.manifest import Manifest, Sample
from gallery import FACTS, Gallery, clean_gallery, texture

IMAGES = 5


@cache
def looks() -> ImageIndex:
    """Looks at five images and at their mirror images, as ``p#0`` … ``p#9``."""
    own = [texture(n) for n in range(IMAGES)]
    pixels = np.stack([*own, *(image[:, ::-1] for image in own)])
    return scan(ArraySource({"p": pixels}), Path("."), [f"p#{n}" for n in range(2 * IMAGES)])


def context_of(rows: Sequence[Sample], images: dict[str, int]) -> CheckContext:
    """Evidence in which each row's path shows one of the images."""
    paths = list(dict.fromkeys(row.path for row in rows))
    known, places = looks(), looks().places(f"p#{images[path]}" for path in paths)
    prints = Prints(known.prints.parts, known.prints.part[places], known.prints.row[places])
    all_seen = ImageIndex(paths, known.table[places], known.words, prints)
    manifest = Manifest.from_samples(rows)
    template = made_template([], "id", "label", "label")
    competition, source = Competition(Path("."), FACTS), ArraySource({})
    return CheckContext(
        Dataset(competition, Path("."), manifest, LabelMap(("x", "y")), template, source), 2, all_seen
    )


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[Sample], dict[str, int]]:
    """Up to ten rows, train and extra and test, with groups, parents (also absent ones), shared files and images."""
    count = draw(st.integers(2, 10))
    ids = draw(st.permutations([f"r{n}" for n in range(count)]))
    rows, images = [], {}
    for name in ids:
        path = draw(st.sampled_from([f"f_{name}.png", f"f_{name}.png", f"f_{ids[0]}.png"]))
        split = draw(st.sampled_from(["train", "train", "train", "extra", "test"]))
        group = draw(st.sampled_from(["", "", "g", "h"]))
        parent = draw(st.sampled_from(["", "", "", "gone", *ids]))
        related = ("x", group, parent) if split != "test" else ("", "", "")
        rows.append(Sample(name, path, split, *related))
        images.setdefault(path, draw(st.integers(0, 30)) % (2 * IMAGES))
    return rows, images


def expected(rows: Sequence[Sample], images: dict[str, int]) -> dict[str, frozenset[str]]:
    """Every labelled row's related rows, worked out the slow way: joined until nothing changes."""
    labelled = [row for row in rows if row.split != "test"]
    families = {row.id: frozenset([row.id]) for row in labelled}

    def related(one: Sample, other: Sample) -> bool:
        same_parent = bool(one.parent) and one.parent == other.parent
        return (
            one.path == other.path
            or images[one.path] % IMAGES == images[other.path] % IMAGES
            or (bool(one.group) and one.group == other.group)
            or one.parent == other.id
            or other.parent == one.id
            or same_parent
        )

    changed = True
    while changed:
        changed = False
        for one in labelled:
            for other in labelled:
                if families[one.id] != families[other.id] and related(one, other):
                    joined = families[one.id] | families[other.id]
                    families.update(dict.fromkeys(joined, joined))
                    changed = True
    return families


@settings(max_examples=40)
@given(tables())
def test_kinship_is_transitive_and_named_after_the_smallest_id(
    table: tuple[list[Sample], dict[str, int]],
) -> None:
    rows, images = table
    found = grouped(context_of(rows, images)).table
    related = expected(rows, images)
    declared = {row.id: row.group for row in rows}
    for sample, group in zip(found["id"], found["group"], strict=True):
        if sample not in related:
            assert group == "", "test rows have no related rows"
        elif len(related[sample]) > 1:
            assert group == min(related[sample])
        else:
            assert group == declared[sample]


@settings(max_examples=30)
@given(tables(), st.randoms(use_true_random=False))
def test_groups_do_not_depend_on_the_order_of_rows(
    table: tuple[list[Sample], dict[str, int]], random: object
) -> None:
    rows, images = table
    before = grouped(context_of(rows, images)).table
    shuffled = list(rows)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    after = grouped(context_of(shuffled, images)).table
    assert dict(zip(before["id"], before["group"], strict=True)) == dict(
        zip(after["id"], after["group"], strict=True)
    )
    assert list(after["id"]) == [row.id for row in shuffled], "the rows keep their own order"


@settings(max_examples=40)
@given(tables())
def test_folds_never_tear_kin(table: tuple[list[Sample], dict[str, int]]) -> None:
    rows, images = table
    manifest = grouped(context_of(rows, images))
    related = {k: v & set(manifest.train["id"]) for k, v in expected(rows, images).items()}
    groups = set(group_names(manifest.train)) if len(manifest.train) else set()
    if len(groups) < 2:
        return
    folds = make_folds(manifest, 2)
    fold = dict(zip(folds.ids, folds.fold.tolist(), strict=True))
    for family in related.values():
        assert len({fold[sample] for sample in family}) <= 1


def groups(gallery: Gallery) -> dict[str, str]:
    """The groups that there are, by id."""
    table = gallery.context().manifest.table
    return {sample: group for sample, group in zip(table["id"], table["group"], strict=True) if group}


@pytest.fixture
def gallery(tmp_path: Path) -> Gallery:
    return clean_gallery(tmp_path / "raw", per_class=4, tests=4)


UUID = "1a2b3c4d-0000-4000-8000-1234567890ab"


@pytest.mark.parametrize(
    "name",
    [
        f"cat_original_a0.png_{UUID}",
        "a0_aug_3",
        "copy_2_of_a0",
        "a0_png.rf.0123456789abcdef0123456789abcdef",
        "a0 - Copy",
        "a0_hflip",
    ],
)
def test_a_name_that_says_copy_makes_kin_and_a_parent_whatever_the_image(gallery: Gallery, name: str) -> None:
    gallery.add(f"train/{name}.png", texture(777), "cat", id="z")
    assert groups(gallery) == {"a0": "a0", "z": "a0"}
    table = gallery.context().manifest.table
    assert dict(zip(table["id"], table["parent"], strict=True))["z"] == "a0"


def test_siblings_of_an_absent_parent_are_kin(gallery: Gallery) -> None:
    for number in range(3):
        gallery.add(f"train/pic_7_aug_{number}.png", texture(700 + number), "cat", id=f"z{number}")
    assert groups(gallery) == {"z0": "z0", "z1": "z0", "z2": "z0"}
    assert set(gallery.context().manifest.table["parent"]) == {""}, "no row is the parent"


def test_a_stated_parent_is_not_overwritten_by_a_name(gallery: Gallery) -> None:
    gallery.add("train/a0_aug_1.png", texture(777), "cat", id="z", parent="a1")
    assert groups(gallery) == dict.fromkeys(("a0", "a1", "z"), "a0")
    table = gallery.context().manifest.table
    assert dict(zip(table["id"], table["parent"], strict=True))["z"] == "a1"


def test_numbered_files_are_not_kin(gallery: Gallery) -> None:
    for number in range(1, 5):
        gallery.add(f"train/001_000{number}.png", texture(700 + number), "cat")
    assert groups(gallery) == {}


def test_kin_may_have_different_labels_and_be_extra_rows(gallery: Gallery) -> None:
    gallery.replace("train/a1.png", texture(0)[:, ::-1])
    gallery.add("train/x.png", texture(0), "owl")
    gallery.change("x", split="extra")
    assert groups(gallery) == dict.fromkeys(("a0", "a1", "x"), "a0")


def test_a_test_row_ties_no_train_rows(gallery: Gallery) -> None:
    gallery.replace("test/t0.png", texture(0))
    gallery.add("test/a1_aug_1.png", texture(777))
    assert groups(gallery) == {}


def test_contents_are_the_pixels_and_not_the_file(gallery: Gallery) -> None:
    gallery.replace("train/a3.png", texture(0))
    gallery.add("train/b.bmp", texture(0), "cat")
    table = gallery.context().manifest.table
    content = dict(zip(table["id"], table["content"], strict=True))
    assert content["a0"] == content["a3"] == content["b"]
    assert len(content["a0"]) == 32
    assert content["a1"] != content["a0"]


def test_the_folds_of_related_are_those_of_the_training_rows_that_a_test_row_is_kin_of() -> None:
    """p shows x's image, q lies in y's file, r is related to a row that only trains, s of an extra row, u of none."""
    rows = [
        Sample("x", "x.png", "train", "x"),
        Sample("y", "y.png", "train", "y"),
        Sample("z", "z.png", "train", "x", "", "x"),  # made from x
        Sample("w", "w.png", "train", "x"),
        Sample("e", "e.png", "extra", "y"),
        Sample("p", "p.png", "test"),
        Sample("q", "y.png", "test"),
        Sample("r", "r.png", "test"),
        Sample("s", "s.png", "test"),
        Sample("u", "u.png", "test"),
    ]
    shown = {"x.png": 0, "y.png": 1, "z.png": 2, "w.png": 3, "e.png": 4, "p.png": 0, "r.png": 3, "s.png": 4}
    context = context_of(rows, {**shown, "u.png": 2 + IMAGES})
    folds = Folds(("x", "y", "z", "w"), np.array([0, 1, 2, -1]), 3, 0, "")
    assert folds_of_related(context, folds) == {"p": {0, 2}, "q": {1}, "r": {-1}, "u": {0, 2}}


@pytest.mark.parametrize("suffix", sorted(IMAGE_SUFFIXES))
def test_every_suffix_that_is_read_is_one_in_names_too(suffix: str) -> None:
    kind = suffix.removeprefix(".")
    assert parent_name(f"a0_{kind}.rf.0123456789abcdef0123456789abcdef{suffix}") == "a0"
    assert parent_name(f"cat_original_a0{suffix}_{UUID}{suffix}") == "a0"
    assert parent_name(f"a0{suffix}") is None
