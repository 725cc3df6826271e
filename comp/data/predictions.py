"""Predictions: probabilities of rows known by id, never by position."""

from __future__ import annotations

import json
import os
import weakref
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np
import scipy.special
from numpy.typing import NDArray

from comp.data.labels import LabelMap
from comp.data.task import SINGLE_LABEL, Task
from comp.errors import InputError
from comp.files import atomic
from comp.task_scores import row_blocks

ROW_SUM_TOLERANCE = 1e-6
BOUND_TOLERANCE = 1e-9  # of a column's span
LARGE = (
    1 << 24
)  # probabilities of one class a row from which on they are kept as float32: half of memory and disk
MANY = 1000  # classes from which on a row keeps its best
BEST = 50
FLOOR = 1e-12  # of a probability in a geometric mean
_REMEDY = "predict again; if it stays, please report it"

Floats = NDArray[Any]  # float64, or float32 (see ``kept_as``)


@dataclass(frozen=True, eq=False)
class Predictions:
    """Class probabilities, or the numbers of another task, by id.

    Parameters
    ----------
    ids : tuple of str
        N ids, each once, none empty.
    labels : LabelMap
        C classes, and the task that says what a column holds.
    probs : float64 array (N, D)
        Of a single label D = C, and rows sum to one ± 1e-6; of other tasks see ``Task``. Of more than LARGE values of a
        single label float32 (see ``kept_as``). Copied unless locked, and locked: nobody's array can change under the ids.
    fingerprint : str
        SHA-256 of the rows they answer (the manifest's, for that split); empty where nobody knows.

    Raises
    ------
    InputError
        For an id that is doubled, empty or no text, another shape, a NaN, a value outside the task's bounds, or a row
        of a single label that does not sum to one.
    """

    ids: tuple[str, ...]
    labels: LabelMap
    probs: NDArray[np.float64]
    fingerprint: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "ids", _texts(self.ids))
        kind = kept_as(np.size(self.probs), self.labels.task.is_single_label)
        object.__setattr__(self, "probs", _locked(self.probs, kind))
        if self.probs.shape != (len(self.ids), self.labels.width):
            value = f"{self.probs.shape} for {len(self.ids)} ids and {self.labels.width} classes"
            raise InputError("predictions need one row an id and one column a class", value, _REMEDY)
        if len(set(self.ids)) != len(self.ids):
            twice = Counter(self.ids).most_common(1)[0][0]
            raise InputError("an id is predicted once", f"{twice!r} comes twice", _REMEDY)
        if len(self.ids):
            self._require_values()

    def _require_values(self) -> None:
        finite = np.isfinite(self.probs).all(axis=1)
        if not finite.all():
            row = self.ids[int(np.argmin(finite))]
            raise InputError("probabilities must be numbers", f"{row!r} has a NaN or infinity", _REMEDY)
        if self.labels.task.is_single_label:
            self._require_shares()
            return
        low, high = self.labels.task.bounds(len(self.labels))
        slack = BOUND_TOLERANCE * (high - low)
        outside = ((self.probs < low - slack) | (self.probs > high + slack)).any(axis=1)
        if outside.any():
            n = int(outside.argmax())
            value = f"{self.ids[n]!r} has {self.probs[n].min():.6g} to {self.probs[n].max():.6g}"
            raise InputError(f"predictions are {low.min():g} to {high.max():g}", value, _REMEDY)

    def _require_shares(self) -> None:
        low = self.probs.min(axis=1)
        if low.min() < 0:
            value = f"{self.ids[int(low.argmin())]!r} has {low.min():.6g}"
            raise InputError("probabilities are 0 to 1 and sum to one", value, _REMEDY)
        off = np.abs(self.probs.sum(axis=1, dtype=np.float64) - 1.0)
        if off.max() > ROW_SUM_TOLERANCE:
            row = self.ids[int(off.argmax())]
            value = f"{row!r} sums to {self.probs[int(off.argmax())].sum():.6f}"
            raise InputError("probabilities are 0 to 1 and sum to one", value, _REMEDY)

    if not TYPE_CHECKING:  # a type checker shall know the attributes that there are

        def __getattr__(self, name: str) -> Floats:
            """``probs`` of what was read packed: worked out as long as somebody holds it."""
            if name != "probs" or "_packed" not in self.__dict__:
                raise AttributeError(f"Predictions have no attribute {name!r}")
            held = self.__dict__.get("_held")
            probs = held and held()
            if probs is None:
                probs = _read(self.__dict__["_packed"], len(self.ids), self.labels.width)
                self.__dict__["_held"] = weakref.ref(probs)
            return probs

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_held"}

    def __len__(self) -> int:
        return len(self.ids)

    def select(self, ids: Sequence[str]) -> Predictions:
        """The rows of these ids, in their order; InputError names the first id that is missing."""
        if tuple(ids) == self.ids:
            return self
        place = {i: n for n, i in enumerate(self.ids)}
        missing = [i for i in ids if i not in place]
        if missing:
            raise _no_prediction(missing, len(ids))
        rows = np.array([place[i] for i in ids], dtype=np.int64)
        return Predictions(tuple(ids), self.labels, _frozen(self.probs[rows]), self.fingerprint)

    def require_labels(self, labels: LabelMap) -> None:
        """Refuses another label map: same names in the same order, or nothing."""
        if self.labels != labels:
            value = f"{list(self.labels.names)[:4]}… against {list(labels.names)[:4]}…"
            if self.labels.names == labels.names:
                value = f"{self.labels.task} against {labels.task}"
            raise InputError(
                "predictions of one competition share a label map", value, "use runs of the same competition"
            )

    def save_beside(self, path: Path, like: Predictions, file: Path) -> None:
        """Saves what may well be equal to ``like`` that ``file`` has: many probabilities then lie on the disk once."""
        if self.probs.size > LARGE and self.ids == like.ids and np.array_equal(self.probs, like.probs):
            path.unlink(missing_ok=True)
            try:
                os.link(file, path)
            except OSError:  # a file system without links
                self.save(path)
        else:
            self.save(path)

    def save(self, path: Path) -> None:
        """Writes an .npz with ids, class names, the probabilities as they are in memory (of many classes packed, see
        ``prediction_files``) and the fingerprint; no pickles.
        """
        facts: dict[str, object] = {"ids": self.ids, "classes": self.labels.names}
        facts["fingerprint"] = self.fingerprint
        if self.labels.task != SINGLE_LABEL:
            facts["task"] = self.labels.task.as_json()
        meta = np.frombuffer(json.dumps(facts).encode("utf-8", "surrogatepass"), dtype=np.uint8)
        arrays: dict[str, NDArray[Any]] = {"probs": self.probs}
        if self.labels.task.is_single_label and len(self.labels) > MANY:
            from comp.data.prediction_files import packed

            arrays = self.__dict__.get("_packed") or packed(self.probs)
        elif self.probs.size > LARGE:
            arrays = {"probs": self.probs.astype(np.float32, copy=False)}
        with atomic(path) as part, part.open("wb") as out:
            np.savez(out, **arrays, meta=meta)  # type: ignore[arg-type]

    @classmethod
    def load(cls, path: Path) -> Predictions:
        """Reads what ``save`` wrote."""
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
                meta = json.loads(stored["meta"].tobytes().decode("utf-8", "surrogatepass"))
                arrays = {name: stored[name] for name in stored.files if name != "meta"}
            ids, fingerprint = meta["ids"], str(meta["fingerprint"])
            labels = LabelMap(meta["classes"], Task.of_json(meta.get("task")))
            probs = _read(arrays, len(ids), labels.width)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, BadZipFile) as error:
            reason = (
                "no arrays of ours" if "pickle" in str(error) else error
            )  # numpy's text tells to allow pickles
            raise InputError("predictions must be readable", f"{path}: {reason}", "predict again") from error
        found = cls(tuple(ids), labels, probs, fingerprint)
        if "own" in arrays and found.probs.size > LARGE:
            found.__dict__["_packed"] = arrays
            del found.__dict__["probs"]
        return found


def average(parts: Sequence[Predictions]) -> Predictions:
    """The arithmetic mean of probabilities over models or views, joined by id in the first part's order.

    Raises
    ------
    InputError
        For no parts, another label map, other ids, or fingerprints of different rows.
    """
    first = _alike(parts)
    for part in parts:
        if len(part) != len(first):
            raise InputError(
                "parts of a mean answer the same rows", f"{len(part)} against {len(first)}", "predict again"
            )
    joined = [part.select(first.ids) for part in parts]
    if len(joined) == 1:
        return joined[0]
    mean = np.empty_like(first.probs)
    for here in row_blocks(mean.shape):
        mean[here] = order_free_mean(np.stack([part.probs[here] for part in joined]))
    return Predictions(first.ids, first.labels, _frozen(mean), _fingerprint(parts))


def order_free_mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean (R, C) of parts (V, R, C), added from small to large: the order of the parts changes no bit."""
    added = np.add.reduce(np.sort(values, axis=0), axis=0, dtype=np.float64)
    return np.asarray(added / len(values), dtype=np.float64)


def mean_of_views(by_view: dict[str, Floats], how: str, labels: LabelMap) -> Floats:
    """The mean over views (N, D) of their predictions, whatever their order; nobody can write to it.

    "geometric" is the mean of log-probabilities, brought back to rows that sum to one; of a task whose rows do not, each
    value and what it lacks to the top of its scale. They are taken as at least FLOOR, so that a view that is certain counts
    for much, and cannot forbid a class that all others see. Rows of more than MANY classes keep their best
    (``best_of_rows``).

    Raises
    ------
    ValueError
        For anything but probabilities: logits have no mean that means anything, and a geometric one of negative
        numbers could turn an answer round.
    """
    views, single = list(by_view.values()), labels.task.is_single_label
    mean = np.empty_like(views[0], dtype=kept_as(views[0].size, single))
    for here in row_blocks(mean.shape):
        seen = np.stack([one[here] for one in views]).astype(np.float64, copy=False)
        some = _mean(seen, how) if single else labels.unscaled(_mean_of_cells(labels.scaled(seen), how))
        mean[here] = best_of_rows(some) if single and len(labels) > MANY else some
    return _frozen(mean)


def _mean_of_cells(seen: Floats, how: str) -> Floats:
    """The mean (R, D) of views (V, R, D) whose values are each of 0 to 1."""
    if how != "geometric":
        return order_free_mean(seen)
    logs = [order_free_mean(np.log(np.maximum(side, FLOOR))) for side in (seen, 1 - seen)]
    return np.asarray(scipy.special.expit(logs[0] - logs[1]))


def _mean(seen: Floats, how: str) -> Floats:
    """The mean (R, C) of views (V, R, C)."""
    if not ((seen >= 0).all() and np.allclose(seen.sum(axis=2), 1.0, atol=ROW_SUM_TOLERANCE)):
        raise ValueError("views are averaged as probabilities: rows of 0 to 1 that sum to one")
    values = np.log(np.maximum(seen, FLOOR)) if how == "geometric" else seen
    mean = order_free_mean(values)
    return scipy.special.softmax(mean, axis=1) if how == "geometric" else mean


def join(parts: Sequence[Predictions], ids: Sequence[str]) -> Predictions:
    """Disjoint parts (the folds' OOF rows) as one, in the order of ``ids``.

    Raises
    ------
    InputError
        For no parts, another label map, a row in two parts, fingerprints of different rows, or rows that are not asked
        for.
    """
    first = _alike(parts)
    if len(parts) == 1 and parts[0].ids == tuple(ids):
        return parts[0]
    every = Counter(i for part in parts for i in part.ids)
    twice = next((i for i, count in every.items() if count > 1), None)
    if twice is not None:
        raise InputError("an id is predicted once", f"{twice!r} comes twice", _REMEDY)
    place = {i: n for n, i in enumerate(ids)}
    missing, strange = [i for i in place if i not in every], [i for i in every if i not in place]
    if missing:
        raise _no_prediction(missing, len(place))
    if strange:
        value = f"{len(strange)} of {len(every)} are of other rows, first {strange[0]!r}"
        raise InputError("predictions that are joined answer the rows asked for", value, _REMEDY)
    size = len(place) * first.labels.width
    probs = np.empty((len(place), first.labels.width), kept_as(size, first.labels.task.is_single_label))
    for part in parts:
        probs[[place[i] for i in part.ids]] = part.probs
    return Predictions(tuple(ids), first.labels, _frozen(probs), _fingerprint(parts))


def with_prior(
    found: Predictions, unread: Sequence[str], prior: NDArray[np.float64], ids: Sequence[str]
) -> Predictions:
    """Predictions of ``ids`` in which the rows ``unread``, and no others, are answered with ``prior`` (C,)."""
    if not unread:
        return found.select(ids)
    answer = prior / prior.sum() if found.labels.task.is_single_label else prior
    guessed = np.tile(answer, (len(unread), 1))
    return join([found, Predictions(tuple(unread), found.labels, guessed, found.fingerprint)], ids)


def mean_loss(probs: NDArray[np.float64], truth: NDArray[Any], labels: LabelMap) -> float:
    """The mean cross entropy of predictions (N, D): of the class, or of each column on the scale of 0 to 1."""
    if labels.task.is_single_label:
        picked = np.clip(probs[np.arange(len(truth)), truth].astype(np.float64), 1e-12, 1.0)
        return float(-np.log(picked).mean())
    y = labels.scaled(truth[:, None] if truth.ndim == 1 else truth)
    p = np.clip(labels.scaled(probs), 1e-12, 1 - 1e-12)
    return float(-(y * np.log(p) + (1 - y) * np.log(1 - p)).mean())


def _alike(parts: Sequence[Predictions]) -> Predictions:
    """The first of parts that share a label map and answer the same rows, as far as that is known."""
    if not parts:
        raise InputError("predictions are joined of one part or more", "there is none", "train a fold first")
    for part in parts:
        part.require_labels(parts[0].labels)
    known = sorted({part.fingerprint for part in parts} - {""})
    if len(known) > 1:
        value = f"row fingerprints {known[0][:12]}… and {known[1][:12]}…"
        raise InputError("parts answer the same rows", value, "use predictions of the same data")
    return parts[0]


def _fingerprint(parts: Sequence[Predictions]) -> str:
    """The fingerprint of alike parts; unknown where one's is."""
    return parts[0].fingerprint if all(part.fingerprint for part in parts) else ""


def _texts(ids: Sequence[object]) -> tuple[str, ...]:
    """Ids as a tuple; InputError for one that is no text, or empty."""
    for row, one in enumerate(ids):
        if not isinstance(one, str) or not one:
            raise InputError("an id is a text, not empty", f"row {row} has {one!r}", "read ids as text")
    return tuple(str(one) for one in ids)


def kept_as(size: int, single_label: bool) -> type[np.floating[Any]]:
    """The kind of number that so many probabilities are kept as: float32 above LARGE, where each row has one class, since no
    answer hangs on its eighth digit; else float64.
    """
    return np.float32 if single_label and size > LARGE else np.float64


def best_of_rows(probs: Floats, count: int = BEST) -> Floats:
    """Rows of probabilities (N, C) that keep their ``count`` best, of equals the first; the other classes share what is left
    evenly, and none of them comes before those. It makes files and means of many classes small.
    """
    if probs.shape[1] <= count:
        return probs
    kept = np.empty_like(probs)
    for here in row_blocks(probs.shape):
        some = probs[here]
        least = np.partition(some, -count, axis=1)[:, -count, None]  # (R, 1)
        own = some > least
        equal = some == least
        own |= equal & (equal.cumsum(axis=1, dtype=np.int32) <= count - own.sum(axis=1, keepdims=True))
        left = np.where(own, 0, some).sum(axis=1, dtype=np.float64) / (some.shape[1] - count)
        rest = np.minimum(left, least[:, 0]).astype(probs.dtype)
        kept[here] = np.where(own, some, rest[:, None])
    return kept


def _no_prediction(missing: Sequence[str], count: int) -> InputError:
    value = f"{len(missing)} of {count} have none, first {missing[0]!r}"
    return InputError("every row asked for needs a prediction", value, "predict again with these rows")


def _read(arrays: dict[str, NDArray[Any]], rows: int, width: int) -> Floats:
    """The predictions of a file's arrays, not to be written to; ValueError or KeyError for others."""
    if "probs" not in arrays:
        from comp.data.prediction_files import unpacked

        return _frozen(unpacked(arrays, rows, width))
    if arrays["probs"].dtype.kind not in "fiub":
        raise ValueError(f"probabilities of kind {arrays['probs'].dtype}")
    return _frozen(arrays["probs"])


def _frozen(probs: NDArray[Any]) -> NDArray[Any]:
    """An array of ours that nobody else has, locked, so that it needs no copy."""
    if isinstance(probs.base, np.ndarray):
        probs.base.setflags(write=False)
    probs.setflags(write=False)
    return probs


def _locked(probs: Any, kind: type[np.floating[Any]]) -> NDArray[Any]:
    """An array that cannot be written to: itself where that is so already, else a copy."""
    if isinstance(probs, np.ndarray) and probs.dtype == kind and not probs.flags.writeable:
        base = probs.base
        if base is None or (isinstance(base, np.ndarray) and base.base is None and not base.flags.writeable):
            return probs
    own = np.array(probs, dtype=kind)
    own.setflags(write=False)
    return own
