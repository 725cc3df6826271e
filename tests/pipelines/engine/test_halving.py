"""Successive halving: which backbones fall behind, on which rows."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from comp.pipelines.engine.halving import LEAST, _evenly, halve, sample_sizes


def test_rounds_double_the_rows_while_backbones_are_many() -> None:
    assert sample_sizes(rows=5_000, classes=10, backbones=8) == [256, 512]
    assert sample_sizes(rows=5_000, classes=10, backbones=16) == [256, 512, 1024]
    assert sample_sizes(rows=5_000, classes=100, backbones=8) == [400, 800]
    assert sample_sizes(rows=400, classes=10, backbones=8) == [], "a sample would be most of the rows"
    assert sample_sizes(rows=5_000, classes=10, backbones=LEAST - 1) == []


def test_half_falls_behind_in_each_round_by_the_loss_of_that_round() -> None:
    table = {
        ("a", 256): 0.5,
        ("b", 256): 0.4,
        ("c", 256): 0.9,
        ("d", 256): 0.8,
        ("a", 512): 0.2,
        ("b", 512): 0.3,
    }
    asked = []

    def loss(name: str, size: int) -> float:
        asked.append((name, size))
        return table[name, size]

    behind = halve("abcd", [256, 512], loss)
    assert behind == {
        "c": "log loss 0.900 on 256 rows, where b has 0.400",
        "d": "log loss 0.800 on 256 rows, where b has 0.400",
        "b": "log loss 0.300 on 512 rows, where a has 0.200",
    }
    assert len(asked) == 6, "who fell behind is not asked again"


def test_what_cannot_be_judged_stays_and_the_best_stays_beside_it() -> None:
    def loss(name: str, _: int) -> float | None:
        return {"a": 0.5, "b": 0.4}.get(name)

    assert halve("abxyz", [256], loss) == {"a": "log loss 0.500 on 256 rows, where b has 0.400"}


@given(st.dictionaries(st.uuids().map(str), st.sampled_from("abc"), min_size=1), st.data())
def test_a_sample_is_even_and_does_not_depend_on_the_order_of_the_rows(
    rows: dict[str, str], data: st.DataObject
) -> None:
    size = data.draw(st.integers(1, len(rows)))
    ids = list(rows)
    places = _evenly(ids, [rows[i] for i in ids], size)
    assert len(set(places)) == size
    counts, whole = Counter(rows[ids[n]] for n in places), Counter(rows.values())
    least = min(counts.get(label, 0) for label in whole)
    for label, count in counts.items():
        assert count <= least + 1 or all(
            counts[o] == whole[o] for o in whole if counts.get(o, 0) + 1 < count
        ), label
    other = data.draw(st.permutations(ids))
    again = _evenly(other, [rows[i] for i in other], size)
    assert {ids[n] for n in places} == {other[n] for n in again}
