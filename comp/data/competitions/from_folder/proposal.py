"""What is proposed of a raw folder: the value of each key of competition.toml, with its evidence."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any


@dataclass(frozen=True)
class Fact:
    """The value of a key, the evidence for it, and what is doubtful; empty where nothing is."""

    value: Any
    why: str = ""
    unsure: str = ""


@dataclass
class Proposal:
    """The facts of a competition.toml by dotted key, in the order in which they are written."""

    facts: dict[str, Fact] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def put(self, key: str, value: Any, why: str = "", unsure: str = "") -> None:
        self.facts[key] = Fact(value, why, unsure)

    def doubt(self, key: str, reason: str) -> None:
        """Adds a reason to doubt what stands under a key."""
        fact = self.facts.get(key)
        if fact is not None:
            self.facts[key] = replace(fact, unsure=f"{fact.unsure}; {reason}" if fact.unsure else reason)

    @property
    def unsure(self) -> dict[str, str]:
        """The keys that are doubtful, with the reason."""
        return {key: fact.unsure for key, fact in self.facts.items() if fact.unsure}

    def table(self) -> dict[str, Any]:
        """The facts as the table that competition.toml is."""
        found: dict[str, Any] = {}
        for key, fact in self.facts.items():
            *above, last = key.split(".")
            here = found
            for part in above:
                here = here.setdefault(part, {})
            here[last] = fact.value
        return found
