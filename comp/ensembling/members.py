"""Runs as parts of a blend: what each predicted, for which rows, in which folds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from comp.data.folds import Folds, group_names, make_folds
from comp.data.manifest import Manifest
from comp.data.predictions import Predictions
from comp.errors import InputError, Refusal
from comp.runs import run as runs
from comp.runs.contents import (
    folds_of,
    manifest_of,
    predictions_of,
    require_held_out,
    require_rows,
    require_same_train_rows,
)
from comp.workspace import Workspace


@dataclass(frozen=True, eq=False)
class Member:
    """A run, or one model of a run, with its OOF and test predictions, its rows and its folds."""

    name: str
    run: runs.Run
    oof: Predictions
    test: Predictions
    manifest: Manifest
    folds: Folds

    @cached_property
    def groups(self) -> dict[str, str]:
        """The group of each train row, by id."""
        train = self.manifest.train
        return dict(zip(train["id"], group_names(train), strict=True))


def read_parts(workspace: Workspace, names: Sequence[str]) -> list[Member]:
    """The parts of these names: RUN, or RUN/model-1 for one model of a run with several. A run of several models that
    is named alone is taken apart into them.

    Raises
    ------
    InputError
        For a run that is not finished, comes twice, or lacks a file.
    """
    if {type(name) for name in names} - {str}:
        remedy = 'name each by itself: comp.ensemble("RUN", "RUN")'
        raise InputError("runs are named by their ids", f"got {list(names)!r}"[:200], remedy)
    found: list[Member] = []
    for name in names:
        run, sign, below = name.partition("/")
        this_run = runs.find_run(workspace, run)
        require_held_out(this_run)
        _require_done(this_run)
        models = [folder.name for folder in _models(this_run)]
        if sign:
            if below not in models:
                value = f"{this_run.id} has {', '.join(models) or 'one model'}, not {below!r}"
                raise InputError(
                    "a part is a run, or a model of a run", value, f"comp ensemble {this_run.id} …"
                )
            found.append(_part(this_run, below))
        elif len(names) == 1 and models:
            found += [_part(this_run, model) for model in models]
        else:
            found.append(_part(this_run, ""))
    twice = {part.name for part in found if sum(p.name == part.name for p in found) > 1}
    if twice:
        raise InputError("a part is named once", f"{min(twice)} comes twice", "name each run once")
    slugs = sorted({part.run.slug for part in found})
    if len(slugs) > 1:
        raise InputError("parts are of one competition", f"of {' and '.join(slugs)}", "`comp runs SLUG`")
    return sorted(found, key=lambda part: part.name)


def _models(run: runs.Run) -> list[Path]:
    """The folders of a run's models, where it has several."""
    return sorted(run.folder.glob("model-*"), key=lambda folder: (len(folder.name), folder.name))


def _require_done(run: runs.Run) -> None:
    if not run.record:
        remedy = f"`comp run {run.slug} --resume {run.id}`"
        raise InputError("a part of a blend is a finished run", f"{run.id} is not", remedy)


def _part(run: runs.Run, model: str) -> Member:
    folder = run.folder / model
    for name in ("oof.npz", "test.npz"):
        if not (folder / name).is_file():
            value = f"{run.id}{'/' + model if model else ''} has no {name}"
            remedy = (
                "train it again: older runs kept no predictions of each model" if model else "train it again"
            )
            raise InputError("a part has OOF and test predictions", value, remedy)
    part = Member(
        f"{run.id}/{model}" if model else run.id,
        run,
        predictions_of(run, "oof", model),
        predictions_of(run, "test", model),
        manifest_of(run),
        folds_of(run),
    )
    for kind, split, predictions in (("oof", "train", part.oof), ("test", "test", part.test)):
        if predictions.fingerprint not in ("", part.manifest.fingerprint(split)):
            value = f"{folder / kind}.npz is of other {split} rows than {run.folder / 'manifest.csv'}"
            raise InputError("a run's predictions are of its own rows", value, "restore the run's folder")
    require_same_train_rows(run, part.manifest, part.folds)
    for kind, predictions in (("oof", part.oof), ("test", part.test)):
        require_rows(run, kind, predictions, part.manifest, part.folds)
    return part


def require_same_rows(parts: Sequence[Member]) -> None:
    """Refuses parts of other rows: ids, labels and, where both know them, contents must agree, in train and test.

    Groups may differ: which rows are related may have been found out, or stated, by one of the runs alone.

    Raises
    ------
    Refusal
        Naming the first row that differs.
    """
    first = parts[0]
    for other in parts[1:]:
        for split in ("train", "test"):
            told = _difference(_rows(first.manifest, split), _rows(other.manifest, split))
            if told:
                value = f"{split} rows of {first.name} and {other.name}: {told}"
                raise Refusal("parts of a blend answer the same rows", value, "blend runs of the same data")


def _rows(manifest: Manifest, split: str) -> pd.DataFrame:
    table = manifest.train if split == "train" else manifest.test
    return table.set_index("id", drop=False)


def _difference(one: pd.DataFrame, other: pd.DataFrame) -> str:
    """The first way in which two tables of rows by id differ, in words; nothing where they agree."""
    apart = set(one.index) ^ set(other.index)
    if apart:
        return f"{len(apart)} ids are in one of them only, first {min(apart)!r}"
    same = other.loc[list(one.index)]
    for column in ("label", "content"):
        if column in one and column in same:
            known = (one[column] != "") & (same[column].to_numpy() != "")
            differ = known & (one[column].to_numpy() != same[column].to_numpy())
            if differ.any():
                return f"{int(differ.sum())} have another {column}, first {min(one.index[differ])!r}"
    return ""


def joined_manifest(parts: Sequence[Member]) -> Manifest:
    """The rows of the parts, grouped by what any of them groups: a chain of groups of several parts is one."""
    table = parts[0].manifest.table
    table = table[table["split"] != "extra"].reset_index(drop=True)
    rows = [
        pd.DataFrame(
            {"id": list(part.groups), "group": [f"{n} {g}" for g in part.groups.values()], "parent": ""}
        )
        for n, part in enumerate(parts)
    ]
    ties = pd.concat(rows, ignore_index=True)
    related = dict(zip(ties["id"], group_names(ties), strict=True))
    many = {name for name, count in Counter(related.values()).items() if count > 1}
    is_train = table["split"] == "train"
    own = [
        related[i] if yes and related[i] in many else "" for i, yes in zip(table["id"], is_train, strict=True)
    ]
    group = table["group"].where(~is_train, pd.Series(own, dtype="object"))
    return Manifest(table.assign(group=group, parent=table["parent"].where(~is_train, "")))


def require_whole_groups(parts: Sequence[Member]) -> None:
    """Refuses parts one of which was trained on rows that another calls related to those it predicted.

    Raises
    ------
    Refusal
        Naming both runs and the rows.
    """
    for one in parts:
        fold = one.folds.by_id
        for other in parts:
            home: dict[str, str] = {}
            for i, group in sorted(other.groups.items()):
                if i not in fold:
                    continue
                first = home.setdefault(group, i)
                if fold[first] != fold[i]:
                    value = f"{first!r} and {i!r} are one group in {other.name}, and in folds {fold[first]} and {fold[i]} of {one.name}"
                    remedy = f"train it on the other's folds: `comp run {other.run.slug} --folds runs/{other.run.id}/folds.csv`"
                    raise Refusal("no part's folds split a group of another", value, remedy)


def nested_folds(parts: Sequence[Member], manifest: Manifest) -> Folds:
    """The folds that weights are learned and judged in: the parts' own where all have the same, else new ones over
    the joined groups of ``manifest``, as many as the part with the fewest has.
    """
    first = parts[0].folds
    prints = manifest.fingerprint("train")
    if all(_same(first, part.folds) for part in parts[1:]):
        return Folds(first.ids, first.fold, first.k, first.fold_seed, prints)
    k = min(part.folds.k for part in parts)
    answered = set(parts[0].oof.ids)
    table = manifest.table
    judged = Manifest(table[(table["split"] != "train") | table["id"].isin(answered)].reset_index(drop=True))
    made = make_folds(judged, k, task=parts[0].oof.labels.task)
    fold = {**dict.fromkeys(manifest.train["id"], -1), **made.by_id}
    ids = tuple(manifest.train["id"])
    return Folds(ids, np.array([fold[i] for i in ids], dtype=np.int64), k, made.fold_seed, prints)


def _same(one: Folds, other: Folds) -> bool:
    """Whether two runs held the same rows out together, whatever the numbers of the folds."""
    if one.by_id.keys() != other.by_id.keys():
        return False
    pairs = {(f, other.by_id[i]) for i, f in one.by_id.items()}
    pooled = all((a == -1) == (b == -1) for a, b in pairs)
    return pooled and len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})
