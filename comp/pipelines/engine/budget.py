"""How much a preset may still spend: seconds where it has a limit, else work by the table of its kind."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

RESERVE, SHARE = 6.0, 0.02  # seconds for the blend, the page and the end; and of the limit
WORK = {"fast": 2e4, "good": 2e5, "best": 1e6}  # 10^9 multiply-adds on a CPU
TRUST = 30.0  # seconds of candidates that would have been estimated rightly, before any was tried
SHORT = 10.0  # seconds: what is estimated below them mostly waits for other things than its network, and teaches nothing
GPU = 50.0  # times as much on a GPU


@dataclass
class Budget:
    """``seconds`` is the limit of the command, counted from ``began``; None for none. The
    candidates so far say how true estimates are.
    """

    preset: str
    seconds: float | None
    device: str
    began: float = field(default_factory=time.monotonic)
    spent: float = 0.0  # of WORK
    estimated: float = TRUST  # seconds of the candidates so far, and how long they took
    taken: float = TRUST

    @property
    def left(self) -> float | None:
        """Seconds that a candidate may take; None without a limit."""
        if self.seconds is None:
            return None
        return self.seconds - self.reserve - (time.monotonic() - self.began)

    @property
    def reserve(self) -> float:
        """Seconds that are kept for the end."""
        return RESERVE + SHARE * (self.seconds or 0.0)

    @property
    def work(self) -> float:
        """What all candidates may take without a limit."""
        return WORK[self.preset] * (GPU if self.device == "cuda" else 1.0)

    def why_not(self, seconds: float | None, work: float) -> str | None:
        """Why a candidate does not fit, in words; None where it does."""
        if self.left is None:
            if self.spent + work <= self.work:
                return None
            return f"{work:,.0f} GMAC more than {self.preset} is for ({self.spent:,.0f} of {self.work:,.0f} used)"
        assert seconds is not None, "with a limit every candidate is measured"
        if seconds * self.ratio <= self.left:
            return None
        return f"about {seconds * self.ratio:,.0f} s, {max(0.0, self.left):,.0f} s are left"

    @property
    def ratio(self) -> float:
        """How much longer than estimated candidates take, at least 1."""
        return max(1.0, self.taken / self.estimated)

    def took(self, estimated: float | None, seconds: float) -> None:
        """Learns from a candidate, unless it is a short one."""
        if estimated and estimated >= SHORT:
            self.estimated += estimated
            self.taken += seconds
