"""Predictions of several parts side by side, joined by id."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from comp.data.dataset import ids_apart
from comp.data.labels import LabelMap
from comp.data.predictions import Predictions
from comp.errors import InputError

Probs = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class AlignedPredictions:
    """Probabilities of P parts for the same N rows.

    Parts stand in the order of their names and rows in that of their ids, whatever order they came in: what is worked
    out of them depends on neither. It is made of ``Predictions`` by ``align`` and of nothing else, so that whatever is
    averaged lies between 0 and 1 and sums to one: logits cannot come here.
    """

    names: tuple[str, ...]
    ids: tuple[str, ...]
    labels: LabelMap
    probs: Probs  # (P, N, C), locked

    def rows(self, chosen: NDArray[np.bool_]) -> AlignedPredictions:
        """Some of the rows; ``chosen`` is (N,)."""
        ids = tuple(i for i, yes in zip(self.ids, chosen, strict=True) if yes)
        return AlignedPredictions(self.names, ids, self.labels, _locked(self.probs[:, chosen]))

    def parts(self, names: Sequence[str]) -> AlignedPredictions:
        """Some of the parts; InputError for one that is not there."""
        missing = [name for name in names if name not in self.names]
        if missing:
            raise InputError("a part is one of the blend's", f"{missing[0]!r} is not", ", ".join(self.names))
        places = [n for n, name in enumerate(self.names) if name in names]
        return AlignedPredictions(
            tuple(self.names[n] for n in places), self.ids, self.labels, _locked(self.probs[places])
        )

    def require_like(self, names: Sequence[str], labels: LabelMap) -> None:
        """Refuses to use what was learned of other parts or other classes."""
        if tuple(names) != self.names or labels != self.labels:
            value = f"{', '.join(names)} against {', '.join(self.names)}"
            raise InputError(
                "a blend is of the parts and classes that it was learned with", value, "blend again"
            )


def align(parts: Mapping[str, Predictions]) -> AlignedPredictions:
    """Predictions side by side, by the name of each part, joined by id.

    Raises
    ------
    InputError
        For no parts, another label map, fingerprints of different rows, or an id that a part lacks or has too many.
    """
    if not parts:
        raise InputError("a blend has one part or more", "there is none", "name a run")
    names = sorted(parts)
    first = parts[names[0]]
    ids = tuple(sorted(first.ids))
    known = {one.fingerprint: name for name, one in parts.items() if one.fingerprint}
    if len(known) > 1:
        value = " and ".join(f"{name} ({sha[:12]}…)" for sha, name in list(known.items())[:2])
        raise InputError("parts answer the same rows", value, "blend runs of the same data")
    for name in names:
        _require_same(name, parts[name], names[0], first)
    probs = np.stack([parts[name].select(ids).probs for name in names]).astype(np.float64, copy=False)
    return AlignedPredictions(tuple(names), ids, first.labels, _locked(probs))


def _require_same(name: str, one: Predictions, other: str, first: Predictions) -> None:
    """InputError where a part's label map or ids are not those of the first."""
    if one.labels != first.labels:
        value = f"{name} has {list(one.labels.names)[:4]}…, {other} has {list(first.labels.names)[:4]}…"
        raise InputError("parts of a blend share a label map", value, "use runs of the same competition")
    apart = ids_apart(sorted(first.ids), sorted(one.ids), f"that {name} lacks", f"that {other} lacks")
    if apart:
        raise InputError("parts of a blend answer the same ids", apart, "blend runs of the same rows")


@dataclass(frozen=True, eq=False)
class LabelledPredictions:
    """OOF predictions of several parts with the truth: what weights are learned on.

    ``truth`` (N,) are class indices, or (N, D) of another task, ``fold`` (N,) the nested folds, ``group`` (N,) names of groups that no fold
    splits; all in the order of ``aligned.ids``.
    """

    aligned: AlignedPredictions
    truth: NDArray[Any]
    fold: NDArray[np.int64]
    group: tuple[str, ...]

    def __post_init__(self) -> None:
        count = len(self.aligned.ids)
        if not len(self.truth) == len(self.fold) == len(self.group) == count:
            value = (
                f"{count} rows, {len(self.truth)} labels, {len(self.fold)} folds, {len(self.group)} groups"
            )
            raise InputError("every judged row has a label, a fold and a group", value, "please report it")
        home: dict[str, int] = {}
        for group, fold in zip(self.group, self.fold.tolist(), strict=True):
            if home.setdefault(group, fold) != fold:
                value = f"{group!r} is in folds {home[group]} and {fold}"
                raise InputError("nested folds keep groups whole", value, "blend runs whose folds agree")

    def __len__(self) -> int:
        return len(self.truth)

    def rows(self, chosen: NDArray[np.bool_]) -> LabelledPredictions:
        """Some of the rows; ``chosen`` is (N,)."""
        group = tuple(g for g, yes in zip(self.group, chosen, strict=True) if yes)
        return LabelledPredictions(self.aligned.rows(chosen), self.truth[chosen], self.fold[chosen], group)

    def parts(self, names: Sequence[str]) -> LabelledPredictions:
        """The same rows with some of the parts."""
        return LabelledPredictions(self.aligned.parts(names), self.truth, self.fold, self.group)

    @property
    def folds(self) -> list[int]:
        """The folds that have rows, in the order of their smallest ids: not of their numbers, which mean nothing."""
        found = dict.fromkeys(self.fold.tolist())  # ids are sorted: first seen is smallest
        return list(found)


def judged(
    parts: Mapping[str, Predictions],
    truth: Mapping[str, Any],
    folds: Mapping[str, int],
    groups: Mapping[str, str],
) -> LabelledPredictions:
    """OOF predictions joined by id with class indices, nested folds and groups.

    Raises
    ------
    InputError
        As ``align``, for a row without a label, a fold or a group, and for a group that folds split.
    """
    aligned = align(parts)
    for what, known in (("label", truth), ("fold", folds), ("group", groups)):
        missing = [i for i in aligned.ids if i not in known]
        if missing:
            value = f"{len(missing)} have no {what}, first {missing[0]!r}"
            raise InputError(
                "every OOF row has a label, a fold and a group", value, "blend runs of the same rows"
            )
    return LabelledPredictions(
        aligned,
        np.array([truth[i] for i in aligned.ids]),
        np.array([folds[i] for i in aligned.ids], dtype=np.int64),
        tuple(groups[i] for i in aligned.ids),
    )


def _locked(probs: Probs) -> Probs:
    own = np.ascontiguousarray(probs, dtype=np.float64)
    own.setflags(write=False)
    return own
