"""Spellings of one word or number: what is the same text, the same number, and in which order names stand."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from decimal import Decimal

from comp.data.file_names import nfc

INVISIBLE = "\ufeff\u200b\u200e\u200f"  # byte order mark, zero-width space, direction marks
NOTHING = {"", "nan", "na", "n/a", "null", "none", "<na>"}  # what tables write where there is nothing
_NUMBER = re.compile(r"[+-]?(?:(\d+)(?:[.,]\d*)?|[.,]\d+)(?:e[+-]?\d{1,3})?", re.IGNORECASE)
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(?:,\d{3})+")
_LONG = 60  # letters of a name in a message
_APART = re.compile(r"[\s_-]+")


def clean(text: str) -> str:
    """Text in NFC without invisible characters and without spaces around it."""
    return nfc(text.translate(dict.fromkeys(map(ord, INVISIBLE)))).strip()


def number_of(text: str) -> Decimal | None:
    """The number that a text is, None where it is none: ``1``, ``1.0``, ``+1``, ``1,0``, ``1e0`` and full-width
    digits are all one; ``1,000`` is a thousand.
    """
    plain = _plain(text)
    if _THOUSANDS.fullmatch(plain):
        return Decimal(plain.replace(",", ""))
    return Decimal(plain.replace(",", ".")) if _NUMBER.fullmatch(plain) else None


def whole_of(text: str) -> Decimal | None:
    """The whole number that a text is, None where it is none; a Decimal, as it may have any number of digits."""
    number = number_of(text)
    return None if number is None or number != number.to_integral_value() else number


def is_padded(text: str) -> bool:
    """Whether a text is a number with zeros in front, as codes have them: ``01``, ``007``."""
    found = _NUMBER.fullmatch(_plain(text))
    digits = found.group(1) or "" if found else ""
    return len(digits) > 1 and digits.startswith("0")


def same_number(text: str) -> Decimal | None:
    """The number under which two spellings are one label; None for words and for codes with zeros in front."""
    return None if is_padded(text) else number_of(text)


def folded(text: str) -> str:
    """Text under which spellings are alike: compatibility forms, case, and what stands between words do not count."""
    return _APART.sub(" ", _plain(text).casefold())


def in_order(names: Iterable[str]) -> list[str]:
    """Names sorted: numbers first and as numbers (2 before 10), then the others as text."""
    return sorted(names, key=_rank)


def _rank(name: str) -> tuple[int, Decimal, str]:
    number = number_of(name)
    return (1, Decimal(0), name) if number is None else (0, number, name)


def _plain(text: str) -> str:
    """Text with full-width digits and other compatibility forms as their plain ones."""
    return unicodedata.normalize("NFKC", clean(text)).replace("\u2212", "-")  # a minus sign is no hyphen


def listed(names: Iterable[str], most: int = 5) -> str:
    """The first names of several in quotes, for a message; very long ones are cut."""
    every = list(names)
    shown = [name if len(name) <= _LONG else f"{name[:_LONG]}…" for name in every[:most]]
    return ", ".join(map(repr, shown)) + (" …" if len(every) > most else "")
