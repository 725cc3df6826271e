"""Pseudo-labels: test rows with the labels that a run's models gave them, apart for each fold."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from comp.config import Shape, require_shape
from comp.data.csv_table import read_table
from comp.data.folds import Folds, folds_sha256
from comp.data.labels import LabelMap
from comp.data.manifest import Manifest
from comp.errors import InputError
from comp.files import read_json, write_json, write_text

FILE = "pseudo.csv"  # in the folder of a run that trains with them
REMEDY = "`comp pseudo RUN --threshold P` makes them anew"


class _Facts(Shape):
    """The JSON beside pseudo-labels."""

    run: str
    slug: str
    threshold: float
    train_sha256: str
    test_sha256: str
    folds_sha256: str
    k: int
    selected: bool


@dataclass(frozen=True)
class PseudoLabels:
    """The pseudo-labels of a run, and what they were made from.

    ``table`` has the columns fold, id, label, prob: a row says that the models which held out fold ``fold`` answered
    test row ``id`` with ``label``, ``prob`` sure. Only fold ``fold`` may train on it: other models have seen what
    that fold holds out. ``selected`` says that something of the run was chosen by its OOF rows.
    """

    run: str
    slug: str
    threshold: float
    train_sha256: str
    test_sha256: str
    folds_sha256: str
    k: int
    selected: bool
    table: pd.DataFrame

    def of(self, k: int) -> dict[str, str]:
        """Test id → label of the rows that may train fold k."""
        own = self.table[self.table["fold"] == k]
        return dict(zip(own["id"], own["label"], strict=True))

    @property
    def ids(self) -> list[str]:
        """The test rows that train some fold, in the order of their ids."""
        return sorted(set(self.table["id"]))

    @property
    def rows(self) -> list[int]:
        """How many rows each fold gets."""
        return [int(n) for n in np.bincount(self.table["fold"].to_numpy(np.int64), minlength=self.k)]

    def as_json(self) -> dict[str, Any]:
        """What the record of a run says of its pseudo-labels."""
        return {"run": self.run, "threshold": self.threshold, "rows": self.rows}

    def without(self, related: Mapping[str, Collection[int]]) -> PseudoLabels:
        """The rows whose image is related to none that their fold holds out; ``related`` is test id → those folds."""
        pairs = zip(self.table["fold"], self.table["id"], strict=True)
        kept = np.array([fold not in related.get(i, ()) for fold, i in pairs], dtype=bool)
        return replace(self, table=self.table[kept].reset_index(drop=True))

    def few(self, most: int) -> PseudoLabels:
        """At most so many rows of each class and fold, chosen by SHA-256 of their ids."""
        keyed = self.table.assign(key=[hashlib.sha256(_bytes(i)).hexdigest() for i in self.table["id"]])
        kept = keyed.sort_values("key").groupby(["fold", "label"]).head(most).index
        return replace(self, table=self.table.loc[sorted(kept)].reset_index(drop=True))

    def save(self, path: Path) -> None:
        """Writes ``path`` (fold,id,label,prob) and a JSON of the same name that says what they were made from."""
        text = str(self.table.to_csv(index=False, lineterminator="\n"))
        facts = {name: value for name, value in vars(self).items() if name != "table"}
        write_text(path, text)
        write_json(path.with_suffix(".json"), {**facts, "sha256": hashlib.sha256(_bytes(text)).hexdigest()})

    @classmethod
    def load(cls, path: Path) -> PseudoLabels:
        """Reads what ``save`` wrote.

        Raises
        ------
        InputError
            For a file that something else wrote, or that was changed since: who predicted what could not be known.
        """
        beside = path.with_suffix(".json")
        facts = read_json(beside) if path.is_file() and beside.is_file() else {}
        facts = dict(facts) if isinstance(facts, dict) else {}
        told = facts.pop("sha256", None)
        if set(facts) != {name for name in cls.__annotations__ if name != "table"}:
            value = (
                f"{path} has no JSON of `comp pseudo` beside it" if path.is_file() else f"{path} is not there"
            )
            raise InputError("pseudo-labels are made by `comp pseudo`", value, REMEDY)
        if hashlib.sha256(path.read_bytes()).hexdigest() != told:
            raise InputError("pseudo-labels are as `comp pseudo` made them", f"{path} was changed", REMEDY)
        require_shape(_Facts, facts, str(beside), REMEDY)
        read = read_table(path)
        table = pd.DataFrame({name: read.column(name) for name in ("fold", "id", "label", "prob")})
        try:
            found = cls(**facts, table=table.astype({"fold": np.int64, "prob": np.float64}))
        except (ValueError, OverflowError) as error:
            raise InputError(
                "pseudo-labels are as `comp pseudo` made them", f"{path}: {error}", REMEDY
            ) from error
        if not len(table) or not table["fold"].astype(np.int64).between(0, found.k - 1).all():
            value = f"{path} has no rows, or rows of folds that there are not"
            raise InputError("pseudo-labels are as `comp pseudo` made them", value, REMEDY)
        return found

    def require_fitting(self, slug: str, manifest: Manifest, folds: Folds, labels: LabelMap) -> None:
        """Refuses rows of other data, or of other folds than the ones that are to be trained.

        Raises
        ------
        InputError
            Naming what differs.
        """
        other = [
            name
            for name, yes in (
                (f"of {self.slug}, not of {slug}", self.slug != slug),
                ("of other train rows", self.train_sha256 != manifest.fingerprint("train")),
                ("of other test rows", self.test_sha256 != manifest.fingerprint("test")),
                ("of other folds", self.folds_sha256 != folds_sha256(folds)),
            )
            if yes
        ]
        if other:
            remedy = f"`comp run {self.slug} --folds runs/{self.run}/folds.csv`, on the data of that run"
            value = f"those of {self.run} are {other[0]}"
            raise InputError("pseudo-labels train the folds whose models made them", value, remedy)
        test = set(manifest.test["id"])
        strange = [i for i in self.ids if i not in test]
        if strange:
            raise InputError("pseudo-labels are of test rows", f"{strange[0]!r} is none", REMEDY)
        labels.encode(self.table["label"])


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
