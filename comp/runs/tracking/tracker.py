"""What a tracker does, whichever it is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

Value = bool | int | float | str


@dataclass(frozen=True)
class Part:
    """What a tracker has a run of its own for: a fold (of a model), or with an empty ``key`` the whole run of ``comp``.

    ``key`` is the fold's folder within the run's; ``config`` has the resolved recipe by dotted keys.
    """

    run: str
    slug: str
    key: str
    config: dict[str, Value]

    @property
    def name(self) -> str:
        """As people read it, and no other's in a workspace."""
        return f"{self.run}/{self.key}" if self.key else self.run

    @property
    def id(self) -> str:
        """The name without slashes."""
        return self.name.replace("/", "-")


@dataclass(frozen=True)
class Table:
    """A table of texts and numbers: a header and its rows."""

    header: tuple[str, ...]
    rows: list[tuple[Value, ...]]


@dataclass(frozen=True)
class Results:
    """What a run leaves: its recipe as TOML, its OOF rows, what was answered for what, each None where it is not there."""

    recipe: str
    oof: Table | None
    confusion: Table | None


class Tracker:
    """Writes what it is told; ``root`` is the workspace, below whose ``tracking/`` all of it goes by default.

    A part is opened before anything is said of it, and perhaps again after it was closed, also by a later process:
    it then goes on. Any method may raise: the tracker is then given up.
    """

    def __init__(self, root: Path) -> None:
        self.folder = root / "tracking"

    def open(self, part: Part) -> None:
        """A part begins, or goes on."""

    def log(self, part: Part, values: dict[str, float], step: int) -> None:
        """A point of each curve; ``step`` is the epoch, or of what the machine does the seconds since the beginning."""

    def forget_from(self, part: Part, step: int) -> None:
        """The epochs from this one on are trained anew."""

    def score(self, part: Part, values: dict[str, float]) -> None:
        """What a part came to."""

    def results(self, part: Part, results: Results) -> None:
        """The files of the whole run."""

    def close(self, part: Part, failure: str) -> None:
        """A part is over; ``failure`` says why it failed, and is empty where it did not."""
