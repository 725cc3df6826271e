"""The marks of a run, which stand wherever its score does."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

CORRECTED = "corrected labels"  # it trained with some; such a run is a full one all the same

REFIT = "refit"  # it is fitted on every labelled row, so that no row is left that could score it


def gaps_of(marks: Iterable[str]) -> list[str]:
    """Those of a run's marks that say why it is no full one: quick, sample, partial."""
    return [mark for mark in marks if mark not in (CORRECTED, REFIT)]


def in_brackets(marks: Sequence[str]) -> str:
    """A run's marks as they stand behind its score; empty where there are none."""
    if not marks:
        return ""
    return f" ({', '.join(marks)}{': not a full run' if gaps_of(marks) else ''})"
