"""Several images for one answer: both forms of a manifest hold the same, and pooling gives what its formula says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from comp.data.folds import make_folds
from comp.data.labels import LabelMap
from comp.data.manifest import Manifest, Sample
from comp.data.several_images import by_image, by_row, image_folds, pooled, require_pool, without_broken
from comp.data.task import Task
from comp.errors import InputError

TWO = LabelMap(("0", "1"))


def images(label_of_b2: str = "1", group_of_b2: str = "") -> Manifest:
    train = [
        Sample("a1", "a1.png", "train", "0", row="a"),
        Sample("b1", "b1.png", "train", "1", row="b"),
        Sample("a2", "a2.png", "train", "0", row="a"),
        Sample("b2", "b2.png", "train", label_of_b2, group_of_b2, row="b"),
    ]
    return Manifest.from_samples([*train, Sample("t", "t.png", "test", row="q")])


def test_both_forms_hold_the_same(tmp_path: Path) -> None:
    rows = by_row(images())
    assert list(rows.train["id"]) == ["a", "b"]
    assert list(rows.train["images"]) == ["a1.png\na2.png", "b1.png\nb2.png"]
    back = by_image(rows)
    assert list(back.train["id"]) == ["a1.png", "a2.png", "b1.png", "b2.png"]
    assert list(back.train["row"]) == ["a", "a", "b", "b"]
    assert list(back.train["group"]) == ["a", "a", "b", "b"]
    (tmp_path / "manifest.csv").write_text(back.to_csv())
    again = by_row(Manifest.read_csv(tmp_path / "manifest.csv"))
    assert list(again.train["images"]) == list(rows.train["images"])
    assert by_row(back).table["images"].tolist() == rows.table["images"].tolist()


def test_images_of_a_row_share_a_fold() -> None:
    samples = [
        Sample(f"{n}-{k}", f"{n}-{k}.png", "train", str(n % 2), row=f"r{n}")
        for n in range(8)
        for k in range(1 + n % 3)
    ]
    rows = by_row(Manifest.from_samples(samples))
    folds = make_folds(rows, 2)
    each = image_folds(folds, by_image(rows), rows)
    assert {i: each.by_id[f"{i[1:]}-0.png"] for i in folds.ids} == folds.by_id
    assert len(each.ids) == len(samples)
    assert each.fingerprint == by_image(rows).fingerprint("train")


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (images(label_of_b2="0"), "one label"),
        (images(group_of_b2="g"), "one group"),
        (Manifest.from_samples([Sample("a", "a.png", "train", "0", row="r"), Sample("b", "b.png", "train")]), "belongs"),
        (Manifest.from_samples([Sample("a", "a.png", "train", "0", row="r")] * 2), "once in a row"),
        (
            Manifest.from_samples(
                [Sample("a", "a.png", "train", "0", row="r"), Sample("b", "b.png", "test", row="r")]
            ),
            "one split",
        ),
    ],
)  # fmt: skip
def test_rows_that_contradict_themselves_are_refused(made: Manifest, said: str) -> None:
    with pytest.raises(InputError, match=said):
        by_row(made)


def test_broken_images_leave_their_rows_to_the_others() -> None:
    kept = without_broken(images(), {"a1.png", "t.png"})
    assert list(kept.table["path"]) == ["b1.png", "a2.png", "b2.png", "t.png"]  # a row's last one stays
    assert "1 images cannot be decoded" in kept.notes[0]


PROBS = np.array([[0.9, 0.1], [0.4, 0.6], [0.5, 0.5], [0.2, 0.8]])


@pytest.mark.parametrize(
    ("pool", "wanted"),
    [
        ("mean", [[0.7, 0.3], [0.3, 0.7]]),
        ("max", [[0.5, 0.5], [0.2, 0.8]]),
        ("noisy-or", [[0.9 * 0.5, 1 - 0.9 * 0.5], [0.4 * 0.2, 1 - 0.4 * 0.2]]),
    ],
)
def test_pooling(pool: str, wanted: list[list[float]]) -> None:
    ids, found = pooled(PROBS, ["x", "y", "x", "y"], pool, TWO)
    assert ids == ["x", "y"]
    np.testing.assert_allclose(found, wanted, rtol=1e-12)


def test_pooling_of_several_labels_is_by_column() -> None:
    labels = LabelMap(("a", "b"), Task("multi-label"))
    _, found = pooled(PROBS, ["x", "x", "x", "y"], "max", labels)
    np.testing.assert_allclose(found, [[0.9, 0.6], [0.2, 0.8]])


def test_a_maximum_is_of_two_classes() -> None:
    with pytest.raises(InputError, match="max and noisy-or"):
        require_pool("max", LabelMap(("a", "b", "c")))
    require_pool("mean", LabelMap(("a", "b", "c")))
    require_pool("noisy-or", TWO)
