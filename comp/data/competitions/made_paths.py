"""Made-up paths that a pattern of [data] says a label by."""

from __future__ import annotations

import re
from typing import Any

from comp.data.competitions.data_facts import plain_folder
from comp.errors import InputError

_LETTERS = "abcdefghijklmnopqrstuvwxyz"


def made_label(pattern: str, number: int) -> str:
    """A label that the pattern's group ``label`` takes; another for another number, as far as the group has several."""
    compiled = re.compile(pattern)
    found = compiled.search(_text(pattern, number, ""))
    if found is None:
        raise _refused(pattern)
    return str(found["label"])


def path_of_label(pattern: str, glob: str, label: str, number: int) -> str:
    """A path that the glob lists and in which the pattern finds that label.

    Raises
    ------
    InputError
        If none can be guessed: the pattern looks around, say.
    """
    text = _text(pattern, number, label)
    folder = plain_folder(glob)
    *above, last = glob.removeprefix(folder).split("/")
    suffix = last.rpartition("*")[2]
    suffix = ".jpg" if suffix in ("", ".") else suffix
    middle = "".join(f"{number % 2}/" for _ in above)
    for tail in (text, f"{text}{suffix}", f"{text}/{number}{suffix}", f"{text}{number}{suffix}"):
        for path in (f"{folder}{middle}{tail}", f"{folder}{tail}", tail):
            found = re.search(pattern, path)
            if (
                found
                and found.groupdict().get("label", label) == label
                and _fits(path, glob)
                and ".." not in path
            ):
                return path
    raise _refused(pattern)


def _fits(path: str, glob: str) -> bool:
    parts = re.split(r"(\*\*/|\*|\?)", glob)
    regex = {"**/": "(?:[^/]+/)*", "*": "[^/]+", "?": "[^/]"}
    return re.fullmatch("".join(regex.get(part, re.escape(part)) for part in parts), path) is not None


def _refused(pattern: str) -> InputError:
    value = f"pattern = {pattern!r}"
    return InputError("a sample needs paths that fit", value, "define sample(raw, seed) in an adapter.py")


def _text(pattern: str, number: int, label: str) -> str:
    """A text that a regular expression matches; what repeats does so a few times, choices go by ``number``."""
    parser: Any = re._parser  # type: ignore[attr-defined]
    tree = parser.parse(pattern)
    groups = {place: name for name, place in tree.state.groupdict.items()}
    return "".join(_part(str(kind), value, number, label, groups) for kind, value in tree)


def _part(kind: str, value: Any, number: int, label: str, groups: dict[int, str]) -> str:
    def inner(parts: Any) -> str:
        return "".join(_part(str(one), held, number, label, groups) for one, held in parts)

    if kind == "LITERAL":
        return chr(value)
    if kind == "NOT_LITERAL":
        return "b" if value == ord("a") else "a"
    if kind == "ANY":
        return _LETTERS[number % 26]
    if kind == "IN":
        return _sign(value, number)
    if kind == "BRANCH":
        return inner(value[1][number % len(value[1])])
    if kind == "SUBPATTERN":
        if groups.get(value[0]) == "label" and label:
            return label
        is_id = groups.get(value[0]) == "id" and _repeats(value[3])
        return f"{number:04}" if is_id else inner(value[3])
    if kind in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"):
        low, high, what = value
        text: str = inner(what)
        if text.isdigit() and low <= 4 <= high:
            return f"{number:04}"
        times: int = max(low, 1 if high else 0)
        return text * times
    return ""  # anchors and what looks around


def _repeats(parts: Any) -> bool:
    return len(parts) == 1 and "REPEAT" in str(parts[0][0])


def _sign(choices: Any, number: int) -> str:
    """A letter or digit of a character class."""
    signs = ""
    negated = str(choices[0][0]) == "NEGATE"
    for kind, value in choices:
        if str(kind) == "LITERAL":
            signs += chr(value)
        elif str(kind) == "RANGE":
            signs += "".join(map(chr, range(value[0], min(value[1], value[0] + 30) + 1)))
        elif str(kind) == "CATEGORY":
            plain = str(value)
            signs += "0123456789" if plain == "CATEGORY_DIGIT" else _LETTERS if "NOT" not in plain else "-"
    if negated:
        signs = "".join(sign for sign in _LETTERS if sign not in signs)
    usable = [sign for sign in signs if sign.isalnum()] or list(signs) or ["a"]
    return usable[number % len(usable)]
