"""Which image file a row means: by columns that stand in its path, or by its id in the names that a glob finds."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cached_property

from comp.data.competitions.data_facts import PLACEHOLDER, plain_folder
from comp.data.images.raw_tree import (
    RawTree,
    in_tree,
    is_array_name,
    is_image_name,
    name_of,
    natural_key,
    nfc,
    suffix_of,
    without_suffix,
)
from comp.errors import InputError

_TOKEN = re.compile(r"\{[^{}]+\}|\*\*/|\*|\?")
_REGEX = {"**/": "(?:[^/]+/)*", "*": "[^/]*", "?": "[^/]"}
Key = tuple[str, ...]


class ImagePaths:
    """The image files of a pattern, and the one among them that a row names.

    An id names a file with or without suffix, in any Unicode form, and in any case where nothing fits exactly. Where
    the pattern has no column, an id is looked for at the end of the paths: ``b`` and ``a/b.jpg`` both are
    ``train/a/b.jpg``.
    """

    def __init__(self, tree: RawTree, pattern: str, key: str) -> None:
        self.pattern = pattern
        self.names = tuple(dict.fromkeys(PLACEHOLDER.findall(pattern)))
        self.suffix = _suffix(pattern)
        self._are_arrays = is_array_name(pattern)
        self._tree = tree
        self._key = key  # of competition.toml, for errors
        self._stem = pattern.removesuffix(".*") if pattern.endswith(".*") else without_suffix(pattern)
        self._regex = self._compiled()

    @cached_property
    def files(self) -> list[str]:
        """The images that match, of the pattern's suffix if it has one, sorted by their NFC paths."""
        suffix = self.suffix
        return [path for path in self._stems if not suffix or _suffix(path) == suffix]

    def natural(self) -> list[str]:
        """The same in natural order of folder and name: 2 before 10."""
        return sorted(self.files, key=natural_key)

    def id_of(self, path: str) -> str:
        """The id that a file has without any table: what stands for {id}, else its name; a suffix only where the
        pattern leaves it open.
        """
        found = self._stems[path]
        value = found[-1] if self.names else name_of(nfc(without_suffix(path)))
        return value if self.suffix else value + path[len(without_suffix(path)) :]

    def of(self, values: Mapping[str, str]) -> str:
        """The path that a row means, whose cells are given by column; ``id`` is the id's.

        A row without a file gets the path that it should have had, which the checks then name.

        Raises
        ------
        InputError
            If several files fit.
        """
        key = self._key_of(values)
        found = self._fitting(key)
        if len(set(found)) > 1:
            value = f"{self._key}: {key[-1]!r} fits {', '.join(found[:3])}"
            raise InputError("an id names one file", value, "write the extension into the table")
        return found[0] if found else self._expected(key)

    def every(self, values: Mapping[str, str]) -> list[str]:
        """The paths of all images of a row, in natural order; that which it should have had where it has none."""
        key = self._key_of(values)
        found = dict.fromkeys(self._fitting(key))
        return sorted(found, key=natural_key) or [self._expected(key)]

    def _key_of(self, values: Mapping[str, str]) -> Key:
        return tuple(in_tree(values[name]) for name in self.names or ("id",))

    def _fitting(self, key: Key) -> list[str]:
        """The files that fit a key as it is, else those that fit it loosely."""
        stem = tuple(map(without_suffix, key))
        tries = (key, _folded(key), stem, _folded(stem)) if self.names else _tails_tried(key[0])
        found = next((self._by_key[one] for one in tries if one in self._by_key), [])
        if len(found) > 1 and self.suffix:
            found = [path for path in found if _suffix(path) == self.suffix] or found
        return found

    @cached_property
    def _stems(self) -> dict[str, Key]:
        """The columns' values that each image's path has, in the order of ``names``."""
        folder = nfc(plain_folder(self.pattern))
        found: dict[str, Key] = {}
        for path in self._tree.files:
            plain = nfc(path)
            match = self._regex.fullmatch(without_suffix(plain)) if plain.startswith(folder) else None
            if match and (is_array_name(path) if self._are_arrays else self._tree.is_image(path)):
                found[path] = match.groups()
        return found

    @cached_property
    def _by_key(self) -> dict[Key, list[str]]:
        by_key: dict[Key, list[str]] = {}
        for path, values in self._stems.items():
            plain = nfc(path)
            suffix = plain[len(without_suffix(plain)) :]
            if self.names:
                whole = (*values[:-1], values[-1] + suffix)
                keys = {whole, _folded(whole), values, _folded(values)}
            else:
                keys = {key for tail in _tails(plain) for key in _tails_tried(tail)}
            for key in keys:
                by_key.setdefault(key, []).append(path)
        return by_key

    def _expected(self, key: Key) -> str:
        if not self.names:
            folder = plain_folder(self.pattern)
            name = key[0] if _suffix(key[0]) else key[0] + (self.suffix or ".jpg")
            return f"{folder}{name}"
        by_name = dict(zip(self.names, key, strict=True))
        if self.suffix:
            by_name = {name: without_suffix(value) for name, value in by_name.items()}
        path = PLACEHOLDER.sub(lambda found: by_name[found[1]], self.pattern)
        return path if _suffix(path) else f"{path}.jpg"

    def _compiled(self) -> re.Pattern[str]:
        """The pattern without its suffix, as a regular expression with a group for each column."""
        parts, place, seen = [], 0, dict[str, int]()
        stem = nfc(self._stem)
        for token in _TOKEN.finditer(stem):
            parts.append(re.escape(stem[place : token.start()]))
            place = token.end()
            name = token.group()
            if name in _REGEX:
                parts.append(_REGEX[name])
            elif name in seen:
                parts.append(rf"\{seen[name]}")
            else:
                seen[name] = len(seen) + 1
                parts.append("(.+)")
        return re.compile("".join([*parts, re.escape(stem[place:])]), re.DOTALL)


def _suffix(path: str) -> str:
    """The suffix of an image's name in lower case; empty where it has none."""
    return suffix_of(path).lower() if is_image_name(path) or is_array_name(path) else ""


def _folded(key: Key) -> Key:
    return tuple(map(str.casefold, key))


def _tails(path: str) -> list[str]:
    """A path and all that is left of it as its folders are taken away from the front."""
    parts = path.split("/")
    return ["/".join(parts[n:]) for n in range(len(parts))]


def _tails_tried(name: str) -> tuple[Key, ...]:
    stem = without_suffix(name)
    return (name,), (name.casefold(),), (stem,), (stem.casefold(),)


def order_of(order: str) -> Callable[[str], object]:
    """The sort key of test files by the competition's stated order: by their names, as numbers or as text."""
    if order == "text":
        return name_of
    return lambda path: natural_key(name_of(path))
