"""What Kaggle says, as values of ours: no part of its client gets past ``comp.kaggle.client``."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(frozen=True)
class CompetitionStatus:
    """A competition as this account sees it; ``rank`` is 0 where Kaggle does not say."""

    slug: str
    entered: bool
    notebooks_only: bool
    closed: bool
    rank: int
    deadline: datetime | None

    @property
    def late(self) -> bool:
        """Whether its deadline, in UTC where it names no zone, has passed."""
        ends = self.deadline
        if ends is not None and ends.tzinfo is None:
            ends = ends.replace(tzinfo=UTC)
        return ends is not None and ends < datetime.now(UTC)


@dataclass(frozen=True)
class Limits:
    """Submissions made today and in all, and how many are still allowed today."""

    today: int
    total: int
    left: int

    @property
    def known(self) -> bool:
        """Kaggle says 0 of everything to those who are in no team yet."""
        return bool(self.today or self.total or self.left)


@dataclass(frozen=True)
class Submission:
    """A submission as Kaggle lists it; ``status`` is PENDING, COMPLETE or ERROR."""

    ref: int
    status: str
    public: float | None
    private: float | None
    error: str
    file: str
    message: str
    team: str
    at: datetime | None


@dataclass(frozen=True)
class DataFile:
    """A file of a competition's data, with its size in bytes (0 where Kaggle does not say)."""

    name: str
    size: int


@dataclass(frozen=True)
class LeaderboardRow:
    """A row of a leaderboard."""

    rank: int
    team: str
    score: str
    at: datetime | None
