from __future__ import annotations

import time

import pytest

from comp.errors import InputError
from comp.training.time_limit import FIXED_SECONDS, Deadline, parse_seconds


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("11h", 39600), ("1h30m", 5400), ("45m", 2700), ("90s", 90), ("0.5h", 1800), (" 2H ", 7200)],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "11", "h", "1d", "-3h", "0s", "3h x"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="time_limit"):
        parse_seconds(text)


def test_before_a_fold_is_finished_all_the_time_is_for_training() -> None:
    deadline = Deadline(60.0, rows=10_000, views=4)
    deadline.measured(10, 10.0)  # a second an image: predicting would take hours
    assert not deadline.passed()
    assert Deadline(-1.0, rows=1, views=1).passed()


def test_a_finished_fold_keeps_the_time_that_its_predictions_need() -> None:
    deadline = Deadline(FIXED_SECONDS + 60.0, rows=100, views=2)
    deadline.measured(100, 10.0)
    deadline.fold_finished()
    assert not deadline.passed()  # 1.3 x 200 x 0.1 s = 26 s of 60
    deadline.fold_finished()
    assert not deadline.passed()  # 52 s of 60
    deadline.fold_finished()
    assert deadline.passed()
    assert deadline.ends > time.monotonic()
