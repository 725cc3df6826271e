"""Stratified folds over groups: every group in one fold, classes as even as the groups allow."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from comp.config import Shape, read_shaped, whole_number
from comp.data.csv_table import read_table
from comp.data.manifest import Manifest
from comp.data.task import SINGLE_LABEL, Task
from comp.errors import InputError, shortened
from comp.files import read_json, sha256_of, write_json, write_text


def components(count: int, pairs: ArrayLike) -> NDArray[np.int64]:
    """The number of each row's component, int64 (count,), for pairs (M, 2) of rows; a row without a pair is its own."""
    ends = np.asarray(pairs, dtype=np.int64).reshape(-1, 2)
    graph = coo_array((np.ones(len(ends), np.int8), (ends[:, 0], ends[:, 1])), shape=(count, count))
    return np.asarray(connected_components(graph, directed=False)[1], dtype=np.int64)


MOST_FOLDS = 1_000_000
_SAVED_NAME = re.compile(r"folds\.csv|k\d+-seed\d+(-pool)?\.csv")
_RESTORE = (
    "restore both, or remove both: folds of a workspace are made again, those of a run come with `folds=FILE`"
)


class _Facts(Shape):
    """The JSON beside folds that ``save`` wrote; ``sha256`` is that of the CSV, which older ones do not know."""

    k: int
    fold_seed: int
    train_sha256: str
    sha256: str | None = None


@dataclass(frozen=True)
class Folds:
    """The fold of every train sample.

    ``fold`` is int64 (N,), 0 … K-1, beside ``ids`` (N,); -1 marks a row that only ever trains.
    ``fingerprint`` is the manifest's SHA-256 of the train rows they were made for, ``path`` the file they were read from.
    """

    ids: tuple[str, ...]
    fold: NDArray[np.int64]
    k: int
    fold_seed: int
    fingerprint: str
    path: Path | None = field(default=None, compare=False)

    @cached_property
    def by_id(self) -> dict[str, int]:
        """The fold of every id that has one."""
        return dict(zip(self.ids, self.fold.tolist(), strict=True))

    def of(self, ids: pd.Series) -> NDArray[np.int64]:
        """The folds of other rows, joined by id; InputError for an id that has none."""
        known = self.by_id
        missing = [i for i in ids if i not in known]
        if missing:
            value = f"{len(missing)} train ids have none, first {missing[0]!r}"
            raise InputError(
                "every train sample needs a fold",
                value,
                "make the folds again, or bring others with `folds=FILE`",
            )
        return np.array([known[i] for i in ids], dtype=np.int64)

    def to_csv(self) -> str:
        frame = pd.DataFrame({"id": list(self.ids), "fold": self.fold})
        return str(frame.to_csv(index=False, lineterminator="\n"))

    def save(self, path: Path) -> None:
        """Writes ``path`` (id,fold) and a JSON of the same name that says what the folds were made for, and the
        SHA-256 of the CSV.
        """
        facts = {"k": self.k, "fold_seed": self.fold_seed, "train_sha256": self.fingerprint}
        path.with_suffix(".json").unlink(
            missing_ok=True
        )  # between the two writes no JSON speaks of another CSV
        write_text(path, self.to_csv())
        write_json(path.with_suffix(".json"), {**facts, "sha256": sha256_of(path)})

    @classmethod
    def load(cls, path: Path) -> Folds:
        """Reads folds that ``save`` wrote.

        Raises
        ------
        InputError
            If a file is missing, the CSV was changed since, or there are no folds of rows in it.
        """
        facts: _Facts = read_shaped(path.with_suffix(".json"), _Facts, _RESTORE)
        ids, fold = _read_id_fold(path)
        if facts.sha256 is not None and sha256_of(path) != facts.sha256:
            value = f"{path} was changed since {path.with_suffix('.json').name} was written"
            raise InputError("folds are as they were made", value, _RESTORE)
        used = set(fold.tolist())
        if facts.k < 2 or used - {-1} != set(range(facts.k)) or len(set(ids)) != len(ids):
            value = f"{path} has rows in {len(used - {-1})} folds, {path.with_suffix('.json').name} says {facts.k}"
            value = value if len(set(ids)) == len(ids) else f"{path} names an id twice"
            raise InputError("each fold has rows, and each row one fold", value, _RESTORE)
        return cls(ids, fold, facts.k, facts.fold_seed, facts.train_sha256, path)

    @staticmethod
    def is_saved(path: Path) -> bool:
        """Whether ``save`` wrote the file: a JSON beside it says which rows the folds were made for.

        Beside a file that is called as comp calls its own, any JSON is taken for one of ours, so that a damaged one is
        named instead of passed over; other people's folds may lie beside anything.
        """
        beside = path.with_suffix(".json")
        if _SAVED_NAME.fullmatch(path.name):
            return beside.is_file()
        try:
            facts = read_json(beside)
        except InputError:
            return False
        return isinstance(facts, dict) and "train_sha256" in facts

    @classmethod
    def brought(cls, path: Path, manifest: Manifest) -> Folds:
        """Folds made elsewhere: a CSV with the columns id and fold, numbered from 0 or 1.

        Raises
        ------
        InputError
            If an id comes twice or fewer than two folds are named. Rows without a fold and test rows with one
            are left for the checks to find.
        """
        ids, fold = _read_id_fold(path)
        if len(set(ids)) != len(ids):
            raise InputError("an id has one fold", f"{path} names an id twice", "drop the doubled rows")
        used = numbered(fold.tolist(), str(path))
        return cls(ids, fold - used[0], len(used), -1, manifest.fingerprint("train"))


def numbered(folds: Iterable[int], name: str) -> list[int]:
    """The numbers that folds made elsewhere have; InputError, with the table's ``name``, unless 0…K-1 or 1…K."""
    used = sorted(set(folds))
    if len(used) < 2 or used != list(range(used[0], used[0] + len(used))) or used[0] not in (0, 1):
        raise InputError(
            "folds are numbered 0…K-1 or 1…K, two or more", f"{name} has {used[:8]}", "number them so"
        )
    return used


def make_folds(
    manifest: Manifest, k: int, fold_seed: int = 0, pool_rare: bool = False, task: Task = SINGLE_LABEL
) -> Folds:
    """K folds over the train rows, stratified by label, with groups kept whole.

    Groups are taken from large to small, equal ones in the order of a seeded SHA-256 of their smallest id, and
    each goes to the fold where its classes are rarest. Where rows have several labels, groups with the rarest label come
    first (after Sechidis et al. 2011); numbers are dealt by their tenths. The result depends on ids, labels, groups, K and the
    seed alone: not on row order, and on no random state.

    Parameters
    ----------
    manifest : Manifest
    k : int
        2 … N.
    fold_seed : int
    task : Task
    pool_rare : bool
        Groups with a row of a class that has fewer than k groups get fold -1: they only ever train.

    Raises
    ------
    InputError
        If k is below 2 or above the number of groups.
    """
    train = manifest.train
    if k < 2:
        raise InputError("`folds` takes 2 or more", f"got {k}", "5 is the usual number")
    groups = group_names(train)
    members: dict[str, list[int]] = {}
    for row, group in enumerate(groups):
        members.setdefault(group, []).append(row)
    if k > len(members):
        value = f"{k} folds of {len(members)} {'samples' if len(members) == len(train) else 'groups'}"
        raise InputError(
            "there cannot be more folds than samples to hold out", value, "choose a smaller `folds`"
        )
    ids = train["id"].to_numpy()
    several = task.takes_no_label
    kinds = kinds_of(list(train["label"]), task)
    keys = {g: _hash(fold_seed, min(ids[rows])) for g, rows in members.items()}
    first = _rarest(kinds, members) if several else dict.fromkeys(members, 0)
    order = sorted(members, key=lambda g: (first[g], -len(members[g]), keys[g]))
    rare = _rare(train, groups, k, task) if pool_rare else set()
    dealt = [np.array(members[g]) for g in order if g not in rare]
    if len(dealt) < k:
        raise InputError(
            "folds need groups to hold out",
            f"{len(dealt)} are left beside rare classes",
            "choose a smaller `folds`",
        )
    fold = _deal(dealt, kinds, k)
    return Folds(tuple(ids), fold, k, fold_seed, manifest.fingerprint("train"))


def group_names(train: pd.DataFrame) -> list[str]:
    """The family of each row: everything tied together by a shared group or by parent and child, however long the
    chain and whether or not the parent is a row itself. A row without ties is its own family.

    A family goes by its smallest name (``g:`` a group, ``s:`` a sample), so that row order does not matter.
    """
    if not (train["group"].astype(bool).any() or train["parent"].astype(bool).any()):
        return [f"s:{sample}" for sample in train["id"]]
    names: dict[str, int] = {}  # of all that are tied, numbered as they come
    pairs = []
    parents = {parent for parent in train["parent"] if parent}
    for sample, group, parent in zip(train["id"], train["group"], train["parent"], strict=True):
        if not group and not parent and sample not in parents:
            continue
        row = names.setdefault(f"s:{sample}", len(names))
        for tie in ([f"g:{group}"] if group else []) + ([f"s:{parent}"] if parent else []):
            pairs.append((row, names.setdefault(tie, len(names))))
    family = components(len(names), pairs)
    smallest: dict[int, str] = {}
    for name in sorted(names, reverse=True):
        smallest[int(family[names[name]])] = name
    rows = [f"s:{sample}" for sample in train["id"]]
    return [smallest[int(family[names[row]])] if row in names else row for row in rows]


def kinds_of(cells: Sequence[str], task: Task) -> list[NDArray[np.int64]]:
    """The kinds of each row that folds are to have alike: its class, its labels (or that it has none), or its tenth."""
    if not task.takes_no_label:
        numbered = pd.factorize(pd.Series(task.strata(list(cells)), dtype="object"), sort=True)[0]
        return list(numbered.astype(np.int64)[:, None])
    rows = [task.parts(cell) or [""] for cell in cells]
    place = {name: n for n, name in enumerate(sorted({name for row in rows for name in row}))}
    return [np.array(sorted(place[name] for name in row), dtype=np.int64) for row in rows]


def _rarest(kinds: list[NDArray[np.int64]], members: dict[str, list[int]]) -> dict[str, int]:
    """How many rows have the rarest kind of each group."""
    rows = np.bincount(np.concatenate(kinds))
    return {group: min(int(rows[kinds[row]].min()) for row in own) for group, own in members.items()}


def _deal(groups: list[NDArray[np.int64]], kinds: list[NDArray[np.int64]], k: int) -> NDArray[np.int64]:
    """Deals groups (arrays of row numbers) to k folds; returns the fold of each row. ``kinds`` are those of each row."""
    rows_of = np.bincount(np.concatenate(kinds))
    share = 1.0 / np.maximum(rows_of, 1)
    count = np.zeros((k, len(rows_of)))
    total = np.zeros(k)
    fold = np.full(len(kinds), -1, dtype=np.int64)
    for rows in groups:
        if len(rows) > 1:
            here, n = np.unique(np.concatenate([kinds[row] for row in rows]), return_counts=True)
        else:
            here, n = kinds[rows[0]], np.ones(len(kinds[rows[0]]), np.int64)
        crowding = (count[:, here] * (n * share[here])).sum(axis=1)
        best = int(
            np.lexsort((total, np.round(crowding, 12)))[0]
        )  # lexsort is stable: the lower fold wins a tie
        fold[rows] = best
        count[best, here] += n
        total[best] += len(rows)
    return fold


def _rare(train: pd.DataFrame, groups: list[str], k: int, task: Task) -> set[str]:
    """Groups with a row of a class that has fewer than k groups, as one of several or alone; numbers have no class."""
    of_class: dict[str, set[str]] = {}
    for label, group in zip(train["label"], groups, strict=True):
        for name in task.parts(label) if task.has_classes else ():
            of_class.setdefault(name, set()).add(group)
    return {group for found in of_class.values() if len(found) < k for group in found}


def _hash(seed: int, text: str) -> bytes:
    return hashlib.sha256(f"{seed}\x1f{text}".encode("utf-8", "surrogatepass")).digest()


def _read_id_fold(path: Path) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    table = read_table(path)
    cells = table.column("fold")
    numbers = [whole_number(cell) for cell in cells]
    wrong = [row for row, number in enumerate(numbers) if number is None or abs(number) > MOST_FOLDS]
    if wrong:
        first = cells[wrong[0]]
        value = f"{path}, row {wrong[0] + 2}: {first!r}" + (
            f", and {len(wrong) - 1} more" if wrong[1:] else ""
        )
        raise InputError("a fold is a whole number", shortened(value), "write 0, 1, 2 … in digits")
    return tuple(table.column("id")), np.array(numbers, dtype=np.int64)


def folds_sha256(folds: Folds) -> str:
    """SHA-256 of which row is in which fold, whatever the row order."""
    lines = sorted(f"{i}\x1f{fold}" for i, fold in folds.by_id.items())
    return hashlib.sha256("\x1e".join(lines).encode("utf-8", "surrogateescape")).hexdigest()
