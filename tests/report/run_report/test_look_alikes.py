"""Look-alikes and drift on the page: pairs side by side with both labels, what is not there said, nothing where nothing is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from comp.data.task import Task
from comp.report.run_report.look_alikes import drift_side
from comp.report.run_report.page import render
from comp.report.run_report.run_data import AlikePair, FeatureSide, OofRows, PairRow, RunData
from html_page import Page
from made_report import made_data, made_rows

DRIFT = {
    "auc": 0.9,
    "error_by_chance": 0.05,
    "certain": True,
    "test_like_score": 0.7,
    "test_like_error": 0.04,
}


def row_of(oof: OofRows, n: int) -> PairRow:
    return PairRow(oof.ids[n], oof.paths[n], oof.cells[n], str(oof.fold[n]))


def made_side(data: RunData, **changes: object) -> FeatureSide:
    """One pair across folds with one label, one with two, and one with a test row that is answered otherwise."""
    oof = data.oof
    first = next(
        n for n in range(1, len(oof)) if oof.cells[n] == oof.cells[0] or not oof.labels.task.is_single_label
    )
    second = next(n for n in range(1, len(oof)) if oof.cells[n] != oof.cells[0])
    folds = (
        AlikePair(row_of(oof, 0), row_of(oof, first), 0.91, 0.4),
        AlikePair(row_of(oof, 0), row_of(oof, second), 0.83, 0.42),
    )
    test = AlikePair(row_of(oof, 3), PairRow("t1", "test#1", "another", ""), 0.77, 0.3)
    likeness = {i: n / len(oof) for n, i in enumerate(oof.ids)}
    side = FeatureSide("lite0", 72, 72, True, (2, 1), folds, (test,), DRIFT, likeness)
    return replace(side, **changes)  # type: ignore[arg-type]


def part_of(text: str, name: str) -> str:
    _, _, after = text.partition(f'id="{name}"')
    return after.partition("</details>")[0]


def test_pairs_stand_side_by_side_with_what_they_are_and_disagreement_is_marked() -> None:
    data = made_data()
    text = render(replace(data, features=made_side(data)))
    page, part = Page(text), part_of(text, "alike")
    assert "#alike" in page.links
    assert part.count('class="pair gallery"') == 3
    assert part.count("<img") == 6
    assert (
        part.index("Across folds")
        < part.index("similarity 0.91 (usual 0.40)")
        < part.index("Training and test")
    )
    assert part.count("labels disagree") == part.count("answered otherwise<") == 1
    assert "2 pairs, 1 with two labels." in part
    assert "1 pair, 1 answered otherwise than labelled." in part
    assert f"fold {data.oof.fold[0]}" in part
    assert "test row" in part
    assert "answered <b>another</b>" in part


def test_few_images_show_the_first_pairs_and_say_so() -> None:
    data = made_data()
    one = made_side(data).folds[0]
    pairs = tuple(replace(one, second=row_of(data.oof, n), similarity=0.9 - n / 100) for n in range(1, 31))
    side = made_side(data, folds=pairs, counts=(31, 0), train_test=())
    part = part_of(render(replace(data, features=side), most_images=40), "alike")
    assert part.count('class="pair gallery"') == 5  # of two images each: a quarter of all
    assert "31 pairs" in part
    assert (
        "the 5 that stand out most are shown. <code>comp report 20260101-000000-abcd</code> shows more."
        in part
    )
    whole = part_of(render(replace(data, features=side)), "alike")
    assert whole.count('class="pair gallery"') == 24
    assert "the 24 that stand out most are shown.</p>" in whole
    assert "No pair stands out." in whole


@pytest.mark.parametrize(
    ("mode", "words"),
    [("scratch", "trained on the rows themselves"), ("finetune", "were not at hand when it ended")],
)
def test_a_run_without_features_says_why(mode: str, words: str) -> None:
    text = render(made_data(recipe={"mode": mode, "model": {"name": "resnet9"}}))
    assert words in part_of(text, "alike")
    assert "<img" not in part_of(text, "alike")
    assert 'id="drift"' not in text


def test_a_blend_has_no_such_part() -> None:
    text = render(made_data(recipe={}))
    assert 'id="alike"' not in text
    assert "#alike" not in Page(text).links


def test_what_was_not_compared_is_said() -> None:
    data = made_data()
    few = made_side(data, compared=0, folds=(), train_test=(), counts=(0, 0), drift={})
    assert "Only 72 rows have features" in part_of(render(replace(data, features=few)), "alike")
    some = made_side(data, compared=50, has_test=False, train_test=(), counts=(2, 0), drift={})
    part = part_of(render(replace(data, features=some)), "alike")
    assert "50 of 72 rows were compared. Test rows have no features" in part
    assert "Training and test" not in part


@pytest.mark.parametrize(
    "task", [Task("regression", (0.0,) * 3, (1.0,) * 3), Task("multi-label"), Task("ordinal"), Task()]
)
def test_where_test_rows_differ_the_test_like_rows_and_their_score_are_shown(task: Task) -> None:
    data = made_data(made_rows(3, 60, task))
    text = render(replace(data, features=made_side(data)))
    Page(text)
    part = part_of(text, "drift")
    assert "AUC 0.900 (0.500 ± 0.050 by chance): test images differ from training images." in part
    assert "0.7000 ± 0.0400" in part
    assert f"{data.metric(data.oof.truth, data.oof.probs):.4f}" in part
    side = drift_side(replace(data, features=made_side(data)))
    assert side is not None
    assert [row.id for row in side.most] == [f"i{n}" for n in range(59, 35, -1)]
    assert [row.id for row in side.least] == [f"i{n}" for n in range(24)]
    assert part.count("<img") == 48


def test_where_they_do_not_differ_no_row_is_called_test_like() -> None:
    data = made_data()
    alike = {"auc": 0.52, "error_by_chance": 0.05, "certain": False}
    part = part_of(render(replace(data, features=made_side(data, drift=alike))), "drift")
    assert "features do not tell test images from training images" in part
    assert "<img" not in part
    a_little = {"auc": 0.7, "error_by_chance": 0.01, "certain": True}
    side = drift_side(replace(data, features=made_side(data, drift=a_little)))
    assert side is not None
    assert "differ a little" in side.verdict
    assert (side.lines, len(side.most)) == ((), 24)


def test_names_are_text() -> None:
    data = made_data()
    bad = PairRow("<script>alert(1)</script>", "train#0", '"><img src=x onerror=alert(2)>', "0")
    side = made_side(data, network="<b>net</b>", folds=(AlikePair(bad, row_of(data.oof, 1), 0.9, 0.1),))
    text = render(replace(data, features=side))
    Page(text)
    assert "<script>alert" not in text
    assert "<b>net" not in text


def test_images_that_cannot_be_read_leave_the_page_whole() -> None:
    data = made_data()
    gone = replace(row_of(data.oof, 0), path="train#99999")
    side = made_side(data, folds=(AlikePair(gone, row_of(data.oof, 1), np.float64(0.9), 0.1),))
    assert 'class="noimage"' in part_of(render(replace(data, features=side)), "alike")
