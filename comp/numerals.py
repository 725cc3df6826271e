"""Numbers that people or programs wrote as text, read by one rule wherever they stand."""

from __future__ import annotations

import math
import re

DIGITS = 18  # of a whole number: what int64 holds whatever they are
_WHOLE = re.compile(r"(-?)0*([0-9]+)")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
LONGEST = 400  # letters of a number; a float64 written out in full has fewer


def whole_number(text: str) -> int | None:
    """The whole number that a text is: ASCII digits, perhaps after a minus, with spaces around; else None.

    Python's own ``int`` takes ``1_0``, ``+1`` and digits of other scripts, and raises on 5,000 digits; here these are
    no numbers, and neither is anything of more than 18 digits.
    """
    found = _WHOLE.fullmatch(text.strip(" \t"))
    if found is None or len(found[2]) > DIGITS:
        return None
    return int(found[1] + found[2])


def finite_number(text: str) -> float | None:
    """The finite number that a text is, in ASCII digits with a point and an exponent perhaps, and spaces around; else None."""
    text = text.strip(" \t")
    if len(text) > LONGEST or not _NUMBER.fullmatch(text):
        return None
    value = float(text)
    return value if math.isfinite(value) else None
