"""Columns beside images: what numbers they become, by the rows of a fold alone, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from comp.data.images.raw_tree import RawTree
from comp.data.side_features import SideEncoder, fit_encoder, with_side
from comp.errors import InputError

TRAIN = pd.DataFrame(
    {
        "feature:angle": ["10", "na", "30", "1000", "20"],
        "feature:site": ["a", "b", "a", "zoo", ""],
        "feature:age": ["1", "2", "3", "4", "5"],
    }
)
FITTED = np.array([True, True, True, False, True])


def fitted() -> SideEncoder:
    found = fit_encoder(TRAIN, FITTED)
    assert found is not None
    return found


def test_numbers_are_standardised_by_the_fitted_rows_alone() -> None:
    angle, site, age = fitted().columns
    assert (angle.mean, angle.std, angle.flagged) == (20.0, pytest.approx(np.std([10, 30, 20])), True)
    assert site.levels == ("a", "b")
    assert (site.flagged, age.flagged) == (True, False)
    assert (age.mean, age.std) == (2.75, pytest.approx(np.std([1, 2, 3, 5])))
    assert fitted().width == 2 + 3 + 1


def test_missing_and_unknown_cells_are_flagged() -> None:
    encoder = fitted()
    rows = encoder.encode([("na", "elsewhere", "2.75"), ("20", "b", "")])
    assert rows.tolist() == [[0, 1, 0, 0, 1, 0], [0, 0, 0, 1, 0, 0]]
    assert SideEncoder.from_json(json.loads(json.dumps(encoder.as_json()))) == encoder


def test_a_text_among_numbers_is_a_mistake() -> None:
    with pytest.raises(InputError, match="of numbers or of categories") as raised:
        fit_encoder(TRAIN.assign(**{"feature:age": ["1", "2", "x", "4", "5"]}), FITTED)
    assert "age: 4 numbers, and 'x'" in raised.value.value
    for cell in ("x", "inf", "1e999"):
        with pytest.raises(InputError, match="has numbers"):
            fitted().encode([("1", "a", cell)])


def test_cells_come_by_path_and_columns_must_agree(tmp_path: Path) -> None:
    table = TRAIN.assign(path=list("abcde"))
    source = with_side(RawTree(tmp_path), table)
    assert fitted().beside(source, ["c"]).shape == (1, 6)
    with pytest.raises(InputError, match="every row has its side features"):
        fitted().beside(source, ["z"])
    with pytest.raises(InputError, match="trained with") as raised:
        fitted().beside(RawTree(tmp_path), ["c"])
    assert "the rows have none" in raised.value.value
    with pytest.raises(InputError, match="rows of one image"):
        with_side(RawTree(tmp_path), table.assign(path=list("abcda")))
    assert with_side(RawTree(tmp_path), table[["path"]]).__class__ is RawTree
    assert fit_encoder(table[["path"]], FITTED) is None
