"""Predictions: probabilities of rows known by id, never by position."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from comp.data.labels import LabelMap
from comp.data.task import Task
from comp.errors import InputError
from comp.files import atomic

ROW_SUM_TOLERANCE = 1e-6
BOUND_TOLERANCE = 1e-9  # of a column's span
LARGE = 1 << 24  # probabilities from which on files keep float32: half of the disk
BLOCK = 4096  # rows that a mean holds in memory for all its parts at once
_REMEDY = "predict again; if it stays, please report it"


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
        Of a single label D = C, and rows sum to one ± 1e-6; of other tasks see ``Task``. Copied and locked: nobody's
        array can change under the ids.
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
        object.__setattr__(self, "probs", _locked(self.probs))
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
        off = np.abs(self.probs.sum(axis=1) - 1.0)
        if off.max() > ROW_SUM_TOLERANCE:
            row = self.ids[int(off.argmax())]
            value = f"{row!r} sums to {self.probs[int(off.argmax())].sum():.6f}"
            raise InputError("probabilities are 0 to 1 and sum to one", value, _REMEDY)

    def __len__(self) -> int:
        return len(self.ids)

    def select(self, ids: Sequence[str]) -> Predictions:
        """The rows of these ids, in their order; InputError names the first id that is missing."""
        place = {i: n for n, i in enumerate(self.ids)}
        missing = [i for i in ids if i not in place]
        if missing:
            value = f"{len(missing)} of {len(ids)} have none, first {missing[0]!r}"
            raise InputError("every row asked for needs a prediction", value, "predict again with these rows")
        rows = np.array([place[i] for i in ids], dtype=np.int64)
        return Predictions(tuple(ids), self.labels, self.probs[rows], self.fingerprint)

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
        """Writes an .npz with ids, class names, probs (float64; of more than LARGE float32) and the fingerprint; no pickles."""
        facts: dict[str, object] = {"ids": self.ids, "classes": self.labels.names}
        facts["fingerprint"] = self.fingerprint
        if not self.labels.task.is_single_label:
            facts["task"] = self.labels.task.as_json()
        meta = json.dumps(facts)
        with atomic(path) as part, part.open("wb") as out:
            np.savez(
                out,
                probs=self.probs.astype(np.float32) if self.probs.size > LARGE else self.probs,
                meta=np.frombuffer(meta.encode("utf-8", "surrogatepass"), dtype=np.uint8),
            )

    @classmethod
    def load(cls, path: Path) -> Predictions:
        """Reads what ``save`` wrote."""
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
                meta = json.loads(stored["meta"].tobytes().decode("utf-8", "surrogatepass"))
                probs = stored["probs"].astype(np.float64)
            ids, fingerprint = meta["ids"], str(meta["fingerprint"])
            classes, task = meta["classes"], Task.of_json(meta.get("task"))
        except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, BadZipFile) as error:
            reason = (
                "no arrays of ours" if "pickle" in str(error) else error
            )  # numpy's text tells to allow pickles
            raise InputError("predictions must be readable", f"{path}: {reason}", "predict again") from error
        return cls(tuple(ids), LabelMap(classes, task), probs, fingerprint)


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
    joined = [part.select(first.ids).probs for part in parts]
    mean = np.empty_like(first.probs)
    for start in range(0, len(first), BLOCK):
        here = slice(start, start + BLOCK)
        mean[here] = order_free_mean(np.stack([probs[here] for probs in joined]))
    return Predictions(first.ids, first.labels, mean, _fingerprint(parts))


def order_free_mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean (R, C) of parts (V, R, C), added from small to large: the order of the parts changes no bit."""
    return np.asarray(np.add.reduce(np.sort(values, axis=0), axis=0) / len(values), dtype=np.float64)


def join(parts: Sequence[Predictions], ids: Sequence[str]) -> Predictions:
    """Disjoint parts (the folds' OOF rows) as one, in the order of ``ids``.

    Raises
    ------
    InputError
        For no parts, another label map, a row in two parts, fingerprints of different rows, or rows that are not asked
        for.
    """
    first = _alike(parts)
    together = Predictions(
        tuple(i for part in parts for i in part.ids),
        first.labels,
        np.concatenate([part.probs for part in parts]),
        _fingerprint(parts),
    )
    found, asked = together.select(ids), set(ids)
    strange = [i for i in together.ids if i not in asked]
    if strange:
        value = f"{len(strange)} of {len(together)} are of other rows, first {strange[0]!r}"
        raise InputError("predictions that are joined answer the rows asked for", value, _REMEDY)
    return found


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
        picked = np.clip(probs[np.arange(len(truth)), truth], 1e-12, 1.0)
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


def _locked(probs: NDArray[np.float64]) -> NDArray[np.float64]:
    """A float64 copy that cannot be written to."""
    own = np.array(probs, dtype=np.float64)
    own.setflags(write=False)
    return own
