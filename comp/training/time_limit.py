"""A time limit that leaves room for the predictions."""

from __future__ import annotations

import math
import mmap
import os
import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from comp.errors import InputError, Refusal

_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0}
MARGIN = 1.3  # predictions may run slower than measured
FIXED_SECONDS = 15.0


class OutOfTime(Refusal):
    """The time limit was reached; everything is saved and the run can be resumed."""


class Deadline:
    """When training has to stop, so that the folds that are finished can still predict the test rows.

    Parameters
    ----------
    seconds : float
        Of the whole run, from now.
    rows, views : int
        Test rows and views that each fold will predict.

    A forked process shares what is measured. One that it is pickled to has the same end, by the clocks of both, and
    knows what was measured until then; while it is ``shared``, one of this machine also what is measured later.
    """

    _file: str | None = None  # that processes of this machine share

    def __init__(self, seconds: float, rows: int, views: int) -> None:
        self.ends = time.monotonic() + seconds
        self._images = rows * views
        # folds that are finished, and seconds an image; folds that train at once in processes of their own share them
        self._told: memoryview[float] = memoryview(mmap.mmap(-1, 16)).cast("d")

    @property
    def is_shared(self) -> bool:
        return self._file is not None

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Inside, processes of this machine that it is pickled to share what is measured, as forked ones do."""
        with tempfile.TemporaryDirectory(prefix="comp-deadline-") as folder:
            self._file = os.path.join(folder, "measured")
            with open(self._file, "wb") as file:
                file.write(self._told)
            self._told = _of_file(self._file)
            try:
                yield
            finally:
                self._file = None

    def __reduce__(self) -> tuple[Any, ...]:
        ends = time.time() + self.ends - time.monotonic()  # the other clock begins anew with each machine
        if self._file is not None:
            return _same_deadline, (ends, self._images, self._file)
        return _same_deadline, (ends, self._images, tuple(self._told))

    def measured(self, images: int, seconds: float) -> None:
        """Notes how long a forward pass over some images took."""
        self._told[1] = max(seconds / max(1, images), self._told[1])

    def fold_finished(self) -> None:
        self._told[0] += 1

    def passed(self) -> bool:
        """Whether training has to stop now: the time that predictions need is kept back."""
        finished, seconds_per_image = self._told
        reserve = FIXED_SECONDS + MARGIN * finished * self._images * seconds_per_image
        return time.monotonic() >= self.ends - (reserve if finished else 0.0)


def _same_deadline(ends: float, images: int, measured: tuple[float, float] | str) -> Deadline:
    deadline = Deadline(ends - time.time(), images, 1)
    if isinstance(measured, str):
        deadline._told = _of_file(measured)
    else:
        deadline._told[0], deadline._told[1] = measured
    return deadline


def _of_file(path: str) -> memoryview[float]:
    """Two numbers in a file, which all processes that have it open share."""
    with open(path, "r+b") as file:
        return memoryview(mmap.mmap(file.fileno(), 16)).cast("d")


def parse_seconds(text: str) -> float:
    """``11h``, ``1h30m``, ``45m``, ``90s`` in seconds.

    Raises
    ------
    InputError
        For anything else.
    """
    parts = re.findall(r"([0-9]+(?:\.[0-9]+)?)([hms])", text.strip().lower())
    if not parts or "".join(number + unit for number, unit in parts) != text.strip().lower().replace(" ", ""):
        raise InputError("`time_limit` takes a duration", repr(text), "for example 11h, 1h30m or 45m")
    seconds = sum(float(number) * _UNITS[unit] for number, unit in parts)
    if not 0 < seconds < math.inf:
        raise InputError("`time_limit` must be above zero", repr(text), "for example 11h")
    return seconds


def stopped(done: str) -> OutOfTime:
    """The error of a run that was stopped before any fold was finished."""
    return OutOfTime(
        "the time limit was reached before a fold was finished",
        done,
        "everything is saved: `comp run SLUG --resume latest`",
    )
