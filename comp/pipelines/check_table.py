"""People's own tables of images, without a competition: `comp check --images DIR --csv FILE`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd

from comp.checks.context import downgrade_allowed
from comp.checks.related_images import CloseLook
from comp.checks.runner import CheckResult, require_known, run_data_checks, run_fold_checks
from comp.data.competitions.competition import Competition
from comp.data.competitions.facts import CompetitionConfig
from comp.data.csv_table import read_table
from comp.data.dataset import Dataset, made_template
from comp.data.folds import Folds, make_folds
from comp.data.images.raw_tree import RawTree, is_image_name, nfc
from comp.data.labels import LabelMap
from comp.data.manifest import Manifest, Sample
from comp.errors import InputError
from comp.pipelines.check import BARE, scan_images
from comp.workspace import Workspace


@dataclass(frozen=True)
class OwnTable:
    """A table of images with labels: the manifest, a competition made of it, and its own split if it has one.

    ``splits`` are the values of the fold column, in the order of the folds' numbers.
    """

    competition: Competition
    manifest: Manifest
    folds: Folds | None
    splits: tuple[str, ...]


def read_own_table(
    images: Path, csv: Path, id_column: str, label_column: str, fold_column: str | None
) -> OwnTable:
    """Reads a table whose ids name images in a folder: by path, by file name, or by file name without suffix.

    Raises
    ------
    InputError
        If the folder or a column is missing, or an id fits several files.
    """
    if not images.is_dir():
        raise InputError("`images` names a folder", f"{images} is not one", "check the path")
    table = read_table(csv)
    ids = [cell.strip() for cell in table.column(id_column)]
    labels = [cell.strip() for cell in table.column(label_column)]
    files = _files_by_name(images)
    samples = []
    for name, label in zip(ids, labels, strict=True):
        places = files.get(nfc(name), [name])
        if len(places) > 1:
            value = f"{name!r} fits {', '.join(places[:3])}"
            raise InputError(
                "an id must name one image", value, "write ids with their folder, relative to `images`"
            )
        samples.append(Sample(name, places[0], "train", label))
    manifest = Manifest.from_samples(samples)
    facts = CompetitionConfig(slug="own-table", title=f"{csv.name} with {images}")
    folds, splits = (
        _own_folds(manifest, [cell.strip() for cell in table.column(fold_column)])
        if fold_column
        else (None, ())
    )
    return OwnTable(Competition(images, facts), manifest, folds, splits)


def check_table(
    images: str | Path,
    csv: str | Path,
    id_column: str,
    label_column: str,
    fold_column: str | None = None,
    *,
    folds: int | None = None,
    workspace: str | Path | None = None,
    allow: dict[str, str] | None = None,
    thorough: bool | None = None,
    group_scenes: bool = False,
) -> CheckResult:
    """The leakage check of a folder of images and a table, without a competition.

    With ``fold_column`` the table's own split is judged as ours would be: its values are the folds, or train and
    valid; a row without a value has no fold. Otherwise folds are made (5 unless told, and then a class too small for
    them is only a warning), to see whether the data allows them; nothing is kept but fingerprints.

    Raises
    ------
    InputError
        If the folder or a column is missing, or an id fits several files.
    """
    look = CloseLook(thorough, group_scenes)
    look.require_possible()
    ws = Workspace.find(workspace)
    raw = Path(images).expanduser().absolute()
    own = read_own_table(raw, Path(csv).expanduser(), id_column, label_column, fold_column)
    wanted = 5 if folds is None else folds
    k = own.folds.k if own.folds else wanted
    allowed = {**(BARE if folds is None else {}), **(allow or {})}
    require_known(allowed)
    labels = LabelMap.discover(label for label in own.manifest.train["label"] if label)
    template = made_template([], "id", "label", "label")
    dataset = Dataset(own.competition, raw, own.manifest, labels, template, RawTree(raw))
    context = scan_images(dataset, ws, k, look)
    findings = run_data_checks(context, answers=False)
    made = own.folds
    if made is None and not any(f.severity == "error" for f in downgrade_allowed(findings, allowed)):
        made = make_folds(context.manifest, wanted)
    if made is not None:
        made = replace(made, fingerprint=context.manifest.fingerprint("train"))
        context = replace(context, folds=made)
        findings += run_fold_checks(context)
    return CheckResult(context, made, downgrade_allowed(findings, allowed), allowed)


def _own_folds(manifest: Manifest, cells: list[str]) -> tuple[Folds, tuple[str, ...]]:
    """The table's own split; values may be numbers or words (train, valid)."""
    stated = [(i, cell) for i, cell in zip(manifest.train["id"], cells, strict=True) if cell]
    codes, names = pd.factorize(np.array([cell for _, cell in stated], dtype=object), sort=True)
    if len(names) < 2:
        raise InputError(
            "a fold column has two values or more", f"it has {list(names)}", "name another `fold_column`"
        )
    ids = tuple(i for i, _ in stated)
    folds = Folds(ids, codes.astype(np.int64), len(names), -1, "")
    return folds, tuple(map(str, names))


def _files_by_name(images: Path) -> dict[str, list[str]]:
    """Every image by its path, its name, and both without suffix; a whole path wins over a name."""
    paths = [path for path in RawTree(images).files if is_image_name(path)]
    found: dict[str, list[str]] = {}
    for path in paths:
        pure = PurePosixPath(path)
        for key in {nfc(pure.name), nfc(pure.stem)} - {nfc(path)}:
            found.setdefault(key, []).append(path)
    for path in paths:
        found[nfc(path)] = [path]
        stem = nfc(str(PurePosixPath(path).with_suffix("")))
        if "/" in stem:
            found[stem] = [path]
    return found
