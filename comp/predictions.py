"""Predictions: probabilities of rows known by id, never by position."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from comp.errors import InputError
from comp.labels import LabelMap
from comp.workspace import atomic

ROW_SUM_TOLERANCE = 1e-4


@dataclass(frozen=True)
class Predictions:
    """Class probabilities by id.

    Parameters
    ----------
    ids : tuple of str
        N ids, each once.
    labels : LabelMap
        C classes.
    probs : float64 array (N, C)
        Rows sum to one.
    fingerprint : str
        SHA-256 of the rows they answer (the manifest's, for that split).

    Raises
    ------
    InputError
        For a doubled id, another shape, a NaN, a value outside 0 … 1, or a row that does not sum to one.
    """

    ids: tuple[str, ...]
    labels: LabelMap
    probs: NDArray[np.float64]
    fingerprint: str = ""

    def __post_init__(self) -> None:
        remedy = "predict again; if it stays, please report it"
        if self.probs.shape != (len(self.ids), len(self.labels)):
            value = f"{self.probs.shape} for {len(self.ids)} ids and {len(self.labels)} classes"
            raise InputError("predictions need one row an id and one column a class", value, remedy)
        if len(set(self.ids)) != len(self.ids):
            twice = Counter(self.ids).most_common(1)[0][0]
            raise InputError("an id is predicted once", f"{twice!r} comes twice", remedy)
        if not np.isfinite(self.probs).all():
            row = self.ids[int(np.argmin(np.isfinite(self.probs).all(axis=1)))]
            raise InputError("probabilities must be numbers", f"{row!r} has a NaN or infinity", remedy)
        off = np.abs(self.probs.sum(axis=1) - 1.0)
        if len(off) and (off.max() > ROW_SUM_TOLERANCE or self.probs.min() < 0):
            row = self.ids[int(off.argmax())]
            value = f"{row!r} sums to {self.probs[int(off.argmax())].sum():.6f}"
            raise InputError("probabilities are 0 to 1 and sum to one", value, remedy)

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
            raise InputError(
                "predictions of one competition share a label map", value, "use runs of the same competition"
            )

    def save(self, path: Path) -> None:
        """Writes an .npz with ids, class names, probs (float64) and the fingerprint; no pickles."""
        meta = json.dumps({"ids": self.ids, "classes": self.labels.names, "fingerprint": self.fingerprint})
        with atomic(path) as part, part.open("wb") as out:
            np.savez(
                out,
                probs=self.probs,
                meta=np.frombuffer(meta.encode("utf-8", "surrogatepass"), dtype=np.uint8),
            )

    @classmethod
    def load(cls, path: Path) -> Predictions:
        """Reads what ``save`` wrote."""
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
                meta = json.loads(stored["meta"].tobytes().decode("utf-8", "surrogatepass"))
                probs = stored["probs"].astype(np.float64)
        except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
            raise InputError("predictions must be readable", f"{path}: {error}", "predict again") from error
        return cls(tuple(meta["ids"]), LabelMap(meta["classes"]), probs, str(meta["fingerprint"]))


def average(parts: Sequence[Predictions]) -> Predictions:
    """The arithmetic mean of probabilities over models or views, joined by id in the first part's order."""
    first = parts[0]
    total = np.zeros_like(first.probs)
    for part in parts:
        part.require_labels(first.labels)
        if len(part) != len(first):
            raise InputError(
                "parts of a mean answer the same rows", f"{len(part)} against {len(first)}", "predict again"
            )
        total += part.select(first.ids).probs
    return Predictions(first.ids, first.labels, total / len(parts), first.fingerprint)


def join(parts: Sequence[Predictions], ids: Sequence[str]) -> Predictions:
    """Disjoint parts (the folds' OOF rows) as one, in the order of ``ids``; a row in two parts is refused."""
    for part in parts:
        part.require_labels(parts[0].labels)
    together = Predictions(
        tuple(i for part in parts for i in part.ids),
        parts[0].labels,
        np.concatenate([part.probs for part in parts]),
        parts[0].fingerprint,
    )
    return together.select(ids)
