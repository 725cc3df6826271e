"""What of a run fits into a notebook's time: views go first, then parts, by what the OOF score loses for a second saved."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from comp.errors import InputError
from comp.kaggle.kernel.speed import START, Device

SPARE = 1.3  # times what was worked out must fit
OWN, IDENTITY = "own", "identity"  # of the views of a part
Choice = Mapping[str, str]  # the parts that predict, with their views: OWN or IDENTITY
Score = Callable[[Choice], float]


@dataclass(frozen=True)
class Member:
    """A part with its seconds on the device, of all rows, under its views and under the identity; None where it has no other
    views, or nothing says what it scores without them.
    """

    name: str
    seconds: float
    identity: float | None
    checkpoints: int
    views: int


@dataclass(frozen=True)
class Dropped:
    """What was dropped: the part, its views alone or all of it; what the OOF score loses by it and the seconds it saves."""

    part: str
    what: str
    loss: float
    saved: float

    def in_words(self, metric: str) -> str:
        what = f"the views of {self.part}" if self.what == "views" else self.part
        sign = "loses" if self.loss > 0 else "gains"
        rate = self.loss / self.saved * 3600 if self.saved > 0 else 0.0
        return f"{what}: {metric} {sign} {abs(self.loss):.4f}, {self.saved:.0f} s saved ({rate:.3g} an hour)"


@dataclass(frozen=True)
class Budget:
    """A notebook's time in seconds: the ``limit``, what is worked out for all of it and for what was chosen, on a device."""

    device: Device
    factor: float
    rows: int
    limit: float
    decode: float
    whole: float
    seconds: float
    members: tuple[Member, ...]
    choice: dict[str, str]
    dropped: tuple[Dropped, ...]
    score_before: float
    score: float
    metric: str

    @property
    def is_whole(self) -> bool:
        return not self.dropped

    def as_json(self) -> dict[str, Any]:
        """The budget of ``comp kernel --json``."""
        return {
            "device": self.device.name,
            "factor": self.factor,
            "source": self.device.source,
            "rows": self.rows,
            "limit": self.limit,
            "spare": SPARE,
            "decode": self.decode,
            "seconds_of_all": self.whole,
            "seconds": self.seconds,
            "metric": self.metric,
            "score_of_all": self.score_before,
            "score": self.score,
            "parts": [
                {
                    "part": one.name,
                    "seconds": one.seconds,
                    "checkpoints": one.checkpoints,
                    "views": one.views,
                    "kept": self.choice.get(one.name, "no"),
                }
                for one in self.members
            ],
            "dropped": [vars(one) for one in self.dropped],
        }


def total(members: Sequence[Member], choice: Choice, decode: float, gpus: int) -> float:
    """Seconds of a notebook that predicts with this choice: its start, the images, and its networks on all GPUs. Parts with
    one checkpoint each keep one GPU busy, and no more.
    """
    times, checkpoints = [], 0
    for one in members:
        if one.name in choice:
            views = choice[one.name]
            times.append(one.seconds if views == OWN or one.identity is None else one.identity)
            checkpoints += one.checkpoints
    return START + decode + sum(times) / max(1, min(gpus, checkpoints))


def choose(
    members: Sequence[Member],
    score: Score,
    limit: float,
    decode: float,
    gpus: int,
    direction: str,
) -> tuple[dict[str, str], list[Dropped]]:
    """What fits into ``limit`` with the spare time, and what was dropped for it, in order.

    As long as it does not fit, of all views that could be dropped those go whose loss of the OOF score, for a second saved,
    is the least; once none are left, whole parts by the same. Of equal ones the first by name.

    Raises
    ------
    InputError
        Where the cheapest part alone does not fit.
    """
    choice = {one.name: OWN for one in members}
    dropped: list[Dropped] = []
    sign = 1.0 if direction == "max" else -1.0
    now = score(choice)
    while (seconds := total(members, choice, decode, gpus)) * SPARE > limit:
        tried = _without_views(members, choice) or _without_parts(choice)
        if not tried:
            value = f"{seconds * SPARE:.0f} s with the spare time for {limit:.0f} s, with one part and one view left"
            remedy = "fewer checkpoints (`comp refit RUN` makes one of a run's folds), a smaller model, or another `budget`"
            raise InputError("a notebook must end in time", value, remedy)
        options = []
        for part, what, left in tried:
            after = score(left)
            loss = sign * (now - after)
            saved = seconds - total(members, left, decode, gpus)
            options.append((loss / max(saved, 1e-9), part, Dropped(part, what, loss, saved), left, after))
        _, _, one, choice, now = min(options, key=lambda option: option[:2])
        dropped.append(one)
    return choice, dropped


def _without_views(members: Sequence[Member], choice: Choice) -> list[tuple[str, str, dict[str, str]]]:
    """The choices with the views of one part less."""
    return [
        (one.name, "views", {**choice, one.name: IDENTITY})
        for one in members
        if choice.get(one.name) == OWN and one.identity is not None
    ]


def _without_parts(choice: Choice) -> list[tuple[str, str, dict[str, str]]]:
    """The choices with one part less."""
    if len(choice) < 2:
        return []
    return [
        (name, "part", {other: views for other, views in choice.items() if other != name}) for name in choice
    ]
