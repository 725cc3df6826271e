"""What does not fit into a notebook's time loses views, then parts, by what the score loses for a second saved."""

from __future__ import annotations

import pytest

from comp.errors import InputError, UnknownName
from comp.kaggle.kernel.budget import IDENTITY, OWN, SPARE, START, Choice, Member, choose, total
from comp.kaggle.kernel.speed import DEVICES, device_named

BIG = Member("big", 800.0, 200.0, 1, 4)  # four views
SMALL = Member("small", 100.0, None, 1, 1)
WIDE = Member("wide", 400.0, 200.0, 1, 2)
EVERY = (BIG, SMALL, WIDE)
WORTH = {"big": 0.30, "small": 0.25, "wide": 0.20}
VIEWS = {"big": 0.06, "wide": 0.001}  # what each gains by its views


def score(choice: Choice) -> float:
    return sum(WORTH[name] - (VIEWS[name] if views == IDENTITY else 0) for name, views in choice.items())


def limit_for(seconds: float) -> float:
    """The limit in which networks of so many seconds just fit."""
    return (START + seconds) * SPARE + 1e-6


def chosen(seconds: float, gpus: int = 1) -> tuple[dict[str, str], list[tuple[str, str]]]:
    choice, dropped = choose(EVERY, score, limit_for(seconds), 0.0, gpus, "max")
    return choice, [(one.part, one.what) for one in dropped]


def test_what_fits_stays() -> None:
    assert chosen(1300) == ({"big": OWN, "small": OWN, "wide": OWN}, [])


def test_the_views_that_gain_least_for_a_second_go_first() -> None:
    choice, dropped = chosen(1299)
    assert dropped == [("wide", "views")]  # 0.001 for 200 s, not 0.06 for 600
    assert choice == {"big": OWN, "small": OWN, "wide": IDENTITY}
    assert chosen(1099)[1] == [("wide", "views"), ("big", "views")]


def test_then_parts_and_the_last_one_stays() -> None:
    choice, dropped = chosen(499)
    assert dropped == [("wide", "views"), ("big", "views"), ("wide", "part")]
    assert choice == {"big": IDENTITY, "small": OWN}
    assert chosen(299)[0] == {"small": OWN}  # 0.24 for 200 s, against 0.25 for 100
    with pytest.raises(InputError, match="must end in time") as none:
        chosen(99)
    assert "comp refit" in none.value.remedy


def test_of_errors_the_smallest_counts() -> None:
    choice, dropped = choose(EVERY, lambda c: -score(c), limit_for(1299), 0.0, 1, "min")
    assert choice["wide"] == IDENTITY
    assert dropped[0].loss == pytest.approx(0.001)
    assert dropped[0].saved == pytest.approx(200)
    assert "the views of wide: rmse loses 0.0010, 200 s saved" in dropped[0].in_words("rmse")


def test_several_gpus_share_the_checkpoints_and_no_more() -> None:
    own = dict.fromkeys(("big", "small", "wide"), OWN)
    assert total(EVERY, own, 50.0, 2) == START + 50 + 650
    assert total(EVERY, {"big": OWN}, 0.0, 2) == START + 800
    assert total(EVERY, own, 0.0, 0) == START + 1300
    assert chosen(650, gpus=2)[1] == []


def test_every_device_says_where_its_factor_comes_from() -> None:
    assert set(DEVICES) == {"t4", "p100", "cpu"}
    assert all(one.source for one in DEVICES.values())
    with pytest.raises(UnknownName, match="device of Kaggle"):
        device_named("tpu")
