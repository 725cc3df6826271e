"""Groups: rows that must share a fold, from what is declared and from what the images show."""

from __future__ import annotations

from dataclasses import replace
from pathlib import PurePosixPath

import numpy as np
import pandas as pd

from comp.checks.context import CheckContext
from comp.checks.duplicates.name_patterns import name_parents, parent_name
from comp.data.components import components
from comp.data.file_names import is_array_row, nfc
from comp.data.folds import Folds
from comp.data.manifest import Manifest


def grouped(evidence: CheckContext) -> Manifest:
    """The manifest with every kinship as a group, and the contents of its images.

    Two labelled rows are kin if they share a declared group, if one is the other's parent, if their images are
    one picture (exactly or nearly), or if their file names say that one was made from the other. Kinship is
    transitive; a group is named after the smallest id in it. Rows without kin have no group. The column
    ``content`` is the first half of the SHA-256 of the pixels, so that the manifest's fingerprint knows them.
    """
    table = evidence.manifest.table.copy()
    table["content"] = [evidence.images[path].pixel_sha[:32] for path in table["path"]]
    labelled = table.index[table["split"] != "test"].to_numpy()
    rows = table.loc[labelled]
    component = components(len(rows), _edges(evidence, rows))
    ids = rows["id"].to_numpy(dtype=object)
    declared = rows["group"].to_numpy(dtype=object)
    sizes = np.bincount(component, minlength=1)
    first: dict[int, str] = {}
    for name, kin in zip(ids, component.tolist(), strict=True):
        first[kin] = min(first.get(kin, name), name)
    names = [
        first[kin] if sizes[kin] > 1 else own for kin, own in zip(component.tolist(), declared, strict=True)
    ]
    table.loc[labelled, "group"] = names
    parents = parents_by_name(rows)
    if parents:
        known = table.loc[labelled, "parent"]
        table.loc[labelled, "parent"] = [
            own or parents.get(sample, "") for own, sample in zip(known, ids, strict=True)
        ]
    return replace(evidence.manifest, table=table)


def folds_of_kin(evidence: CheckContext, folds: Folds) -> dict[str, set[int]]:
    """The folds that hold out kin of each test row, by its id; rows without kin are left out.

    Kin are as in ``grouped``, with the test rows among them: a declared group or parent, one picture (exactly or
    nearly), a file name, and all that these tie together.
    """
    table = (evidence.declared or evidence.manifest).table
    component = components(len(table), _edges(evidence, table))
    held: dict[int, set[int]] = {}
    for kin, sample, split in zip(component.tolist(), table["id"], table["split"], strict=True):
        if split == "train":
            held.setdefault(kin, set()).add(folds.by_id.get(sample, -1))
    pairs = zip(component.tolist(), table["id"], table["split"], strict=True)
    return {sample: held[kin] for kin, sample, split in pairs if split == "test" and kin in held}


def parents_by_name(rows: pd.DataFrame) -> dict[str, str]:
    """Child id → parent id, where a file's name says which other file it was made from."""
    by_path = dict(zip(rows["path"], rows["id"], strict=True))
    links = name_parents([path for path in rows["path"] if not is_array_row(path)])
    return {by_path[child]: by_path[parent] for child, parent in links.items() if _is_named(child, parent)}


def _is_named(child: str, parent: str) -> bool:
    """Whether the child's name names this parent, and is not only a sibling's."""
    return (parent_name(child) or "").casefold() == nfc(PurePosixPath(parent).stem).casefold()


def _edges(evidence: CheckContext, rows: pd.DataFrame) -> list[tuple[int, int]]:
    """Pairs of row places that are kin."""
    edges: list[tuple[int, int]] = []
    by_group: dict[str, int] = {}
    by_path: dict[str, list[int]] = {}
    by_id = {sample: n for n, sample in enumerate(rows["id"])}
    for n, (group, path) in enumerate(zip(rows["group"], rows["path"], strict=True)):
        by_path.setdefault(path, []).append(n)
        if group:
            edges.append((by_group.setdefault(group, n), n))
    orphans: dict[str, int] = {}
    for n, parent in enumerate(rows["parent"]):
        if parent:
            edges.append((by_id.get(parent, orphans.setdefault(parent, n)), n))
    same_file = [[path] for path, members in by_path.items() if len(members) > 1]
    for cluster in [*same_file, *evidence.alike]:
        members = [n for path in cluster for n in by_path.get(path, [])]
        edges.extend((members[0], other) for other in members[1:])
    links = name_parents([path for path in rows["path"] if not is_array_row(path)])
    edges.extend((by_path[parent][0], by_path[child][0]) for child, parent in links.items())
    return edges
