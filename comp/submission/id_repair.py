"""Ids that programs have changed on the way: numbers without their zeros, floats, other cases, suffixes and forms."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from comp.data.file_names import nfc, without_suffix


@dataclass(frozen=True)
class IdRepair:
    """What happened to ``count`` ids, and in which file rows (the header is row 1)."""

    message: str
    count: int
    rows: tuple[int, ...]


def _whole(text: str) -> str:
    """A number as spreadsheets and data frames write it: no leading zeros, no ``.0``."""
    head, dot, tail = text.strip().partition(".")
    if not head.isdigit() or not head.isascii() or (dot and tail.strip("0")):
        return text
    return head.lstrip("0") or "0"


# from the surest to the loosest: what two spellings have in common, and what is said of the one that differs
WAYS: tuple[tuple[Callable[[str], str], str], ...] = (
    (_whole, "{} ids were read as numbers (leading zeros lost, or .0 added)"),
    (str.strip, "{} ids have spaces around them, or lost them"),
    (nfc, "{} ids are in another Unicode form (NFC or NFD)"),
    (without_suffix, "{} ids have gained or lost their file's suffix"),
    (lambda text: nfc(text).strip().casefold(), "{} ids are in another case"),
)


def damaged(ids: Sequence[str], wanted: Sequence[str]) -> tuple[dict[str, str], list[IdRepair]]:
    """Ids that the template spells otherwise: our spelling → its, and what happened to them, the surest way first.

    An id counts as damaged where exactly one missing id of the template has the same core, and no other id of ours has.
    """
    have, known = set(ids), set(wanted)
    repaired: dict[str, str] = {}
    found: list[IdRepair] = []
    for core, words in WAYS:
        found_again = have | set(repaired.values())
        missing = _by_core([i for i in dict.fromkeys(wanted) if i not in found_again], core)
        extra = _by_core([i for i in dict.fromkeys(ids) if i not in known and i not in repaired], core)
        new = {
            ours[0]: missing[key][0]
            for key, ours in extra.items()
            if len(ours) == 1 and len(missing.get(key, ())) == 1
        }
        if new:
            repaired |= new
            rows = [n for n, one in enumerate(ids, start=2) if one in new]
            first = ids[rows[0] - 2]
            message = f"{words.format(len(new))}, first row {rows[0]}: {first!r} for {new[first]!r}; keep ids as text"
            found.append(IdRepair(message, len(new), tuple(rows[:5])))
    return repaired, found


def _by_core(names: Sequence[str], core: Callable[[str], str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name in names:
        found.setdefault(core(name), []).append(name)
    return found
