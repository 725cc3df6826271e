"""Groups, the rows that must share a fold, and the checks of folds."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Final

import numpy as np
import pandas as pd

from comp.checks.context import CheckContext, Finding, check, finding
from comp.data.folds import Folds, components, group_names
from comp.data.images.boxes import MARK, without_box
from comp.data.images.raw_tree import IMAGE_SUFFIXES, is_array_row, name_of, nfc
from comp.data.manifest import Manifest

_EXTENSION = f"(?:{'|'.join(sorted(suffix[1:] for suffix in IMAGE_SUFFIXES))})"
_UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
# What was done to a copy. After a name that has a digit these are hardly ever part of the name; before a name
# only the forms that say "done" are taken (`gray_wolf_12` and `mirror_001` are ordinary).
_DONE = (
    r"(?:[hv]_?flip(?:ped)?|flipped(?:_(?:lr|ud|h|v|x|y))?|mirrored|rot(?:ate|ated|ation)?[_-]?-?\d{2,3}|rotated|"
    r"blurred|noised|brightened|darkened|cropped|zoomed|sheared|shifted|jittered|desaturated|saturated|distorted|"
    r"skewed|sharpened|equali[sz]ed|inverted)"
)
_ACT = (
    rf"(?:{_DONE}|flip(?:_?(?:lr|ud|h|v|x|y|horizontal|vertical|left_right|top_bottom))?|mirror|rotate|"
    r"blur|gauss(?:ian)?_?(?:blur|noise)|noisy?|bright(?:ness|er)?|dark(?:er)?|contrast|gr[ae]y(?:scale)?|"
    r"crop|zoom|shear|shift|jitter|hue|saturation|cutout|elastic|distortion|skew|sharpen)"
)
_AUG = r"(?:aug(?:mented|mentation|ment)?)"
_NO_YEAR = r"(?!(?:19|20)\d\d$)"  # 15-aug-2019 is a day

# Each gives the parent's name in the group `of`, with or without its extension. Tried on the name without
# its own extension, in this order, again and again, so that a copy of a copy leads to the first image.
_COUNTED: Final = re.compile(r"^(?P<of>.+?) ?\(\d{1,4}\)$")
_PATTERNS: Final = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        # Augmentor: <class>_original_<file name>_<uuid>, and its _groundtruth_ twin for masks
        rf"^(?:.*?_)?original_(?P<of>.+?)_{_UUID}$",
        rf"^(?P<of>.+)[ _-]{_UUID}$",
        # Roboflow: cat_jpg.rf.0123456789abcdef0123456789abcdef
        r"^(?P<of>.+)\.rf\.[0-9a-z]{16,40}$",
        # cat_aug_3, cat-aug3, cat_augmented, cat_aug_0_1234 (Keras, whose aug_0_1234 names no parent)
        rf"^(?P<of>.+?)[_.-]{_AUG}(?:[_.-]?{_NO_YEAR}\d{{1,6}}){{0,2}}$",
        rf"^{_AUG}(?:[_-]?\d{{1,4}})?(?:[_-]of)?[_-](?P<of>[^\d].*)$",
        # by hand or by a file manager: copy_2_of_cat, cat copy 3, cat - Copy (2)
        r"^(?:a[ _-])?copy[ _-]?(?:\(?\d{1,4}\)?[ _-])?of[ _-](?P<of>.+)$",
        r"^(?P<of>.+?)(?: - | |_|-)copy(?:[ _-]?\(?\d{1,4}\)?)?$",
        r"^(?P<of>.+?)[_-](?:dup|duplicate)(?:[_-]?\d{1,4})?$",
        _COUNTED.pattern,
        rf"^(?P<of>\D*\d.*?)[_.-]{_ACT}(?:[_-]\d{{1,3}})?$",
        rf"^{_DONE}[_-](?P<of>(?=.*\d)(?=.*[^\W\d_]).+)$",
    )
)
_MAY_CLAIM: Final = re.compile(r"[a-z(]|-.*-.*-.*-", re.IGNORECASE)  # numbers alone claim nothing
_COUNTABLE: Final = 9  # more than so many `NAME (n)` are a numbered set, not copies of NAME
_TAIL: Final = re.compile(rf"[._-]{_EXTENSION}$", re.IGNORECASE)
_OWN: Final = re.compile(rf"\.{_EXTENSION}$", re.IGNORECASE)


def parent_name(filename: str) -> str | None:
    """The stem of the image that `filename` says it was made from, or None where it says nothing.

    `filename` may carry folders, which are left out of the answer, and any image extension. The answer has
    no extension (`cat_original_pic_005.jpg_<uuid>.jpg` gives `pic_005`) and is NFC. A name is only a claim:
    `name_parents` looks for context.
    """
    return _claim(_stem(filename))


def _claim(own: str) -> str | None:
    """The same of a stem."""
    if not _MAY_CLAIM.search(own):
        return None
    name = own
    for _ in range(8):
        for pattern in _PATTERNS:
            match = pattern.match(name)
            if match and (of := _TAIL.sub("", match["of"]).strip()):
                name = of
                break
        else:
            break
    return name if name != own else None


def name_parents(names: Iterable[str]) -> dict[str, str]:
    """Links child to parent among `names`, where the names' claims have context.

    A claim counts where an image of the claimed name is there, or where two or more names make the same
    claim: the first of them, in order of text, then stands for the absent parent. For that the claimed name
    must have a digit (`horse_aug_1` to `horse_aug_500` may well have 500 parents), and `NAME (2)` is never
    enough, as file managers number unrelated files so. Names keep the spelling they came in. A parent in the child's own folder is preferred; one elsewhere counts only where it is
    the only one of that name (images `001.jpg` of two classes are not each other's parents).
    """
    stems = {name: _stem(name) for name in sorted(set(names))}
    claims: dict[str, list[str]] = defaultdict(list)
    for name, stem in stems.items():
        if (claimed := _claim(stem)) is not None:
            claims[claimed.casefold()].append(name)
    if not claims:
        return {}
    plain: dict[str, list[str]] = defaultdict(list)
    for name, stem in stems.items():
        plain[stem.casefold()].append(name)
    links: dict[str, str] = {}
    for claimed, children in claims.items():
        parents = plain.get(claimed, [])
        orphans: dict[str, list[str]] = defaultdict(list)
        for child in children:
            near = [parent for parent in parents if _folder(parent) == _folder(child)]
            found = near[:1] or (parents if len(parents) == 1 else [])
            if len(children) > _COUNTABLE and _COUNTED.match(_stem(child)):
                continue
            if found and found[0] != child:
                links[child] = found[0]
            elif not found and any(map(str.isdigit, claimed)) and not _COUNTED.match(_stem(child)):
                orphans[_folder(child)].append(child)
        for siblings in orphans.values():
            links.update((child, siblings[0]) for child in siblings[1:])
    return links


def _stem(filename: str) -> str:
    return _OWN.sub("", unicodedata.normalize("NFC", name_of(filename.replace("\\", "/"))))


def _folder(filename: str) -> str:
    return filename.replace("\\", "/").rpartition("/")[0]


def grouped(context: CheckContext) -> Manifest:
    """The manifest with every kinship as a group, and the contents of its images.

    Two labelled rows are related if they share a declared group, if one is the other's parent, if their images are
    one image (exactly or nearly) or boxes of one, or if their file names say that one was made from the other. Kinship is
    transitive; a group is named after the smallest id in it. Rows without related rows have no group. The column
    ``content`` is the first half of the SHA-256 of the pixels, so that the manifest's fingerprint knows them.
    """
    table = context.manifest.table.copy()
    table["content"] = [content[:32] for content in context.images.contents(table["path"])]
    labelled = table.index[table["split"] != "test"].to_numpy()
    rows = table.loc[labelled]
    links = _links(rows)
    component = components(len(rows), _edges(context, rows, links))
    ids = rows["id"].to_numpy(dtype=object)
    declared = rows["group"].to_numpy(dtype=object)
    sizes = np.bincount(component, minlength=1)
    first: dict[int, str] = {}
    for name, related in zip(ids, component.tolist(), strict=True):
        first[related] = min(first.get(related, name), name)
    names = [
        first[related] if sizes[related] > 1 else own
        for related, own in zip(component.tolist(), declared, strict=True)
    ]
    table.loc[labelled, "group"] = names
    parents = _parents_by_name(rows, links)
    if parents:
        known = table.loc[labelled, "parent"]
        table.loc[labelled, "parent"] = [
            own or parents.get(sample, "") for own, sample in zip(known, ids, strict=True)
        ]
    return replace(context.manifest, table=table)


def without_test_copies(context: CheckContext) -> CheckContext:
    """The context without extra rows whose image is a test row's, exactly or nearly, and with a note of how many there
    were: with their labels training would be told what is asked.
    """
    manifest = context.manifest
    if not len(manifest.extra) or not len(manifest.test):
        return context
    test = set(manifest.test["path"])
    alike = {path for cluster in context.alike if test.intersection(cluster) for path in cluster} | test
    table = manifest.table
    copied = (table["split"] == "extra") & table["path"].isin(alike)
    if not copied.any():
        return context
    first = table["id"][copied].iloc[0]
    note = f"{int(copied.sum()):,} of {len(manifest.extra):,} extra rows show a test image and are left out, first {first!r}"
    kept = replace(manifest, table=table[~copied].reset_index(drop=True), notes=(*manifest.notes, note))
    return replace(context, dataset=context.dataset.with_manifest(kept))


def folds_of_related(context: CheckContext, folds: Folds) -> dict[str, set[int]]:
    """The folds that hold out rows related to each test row, by its id; rows without related rows are left out.

    Kin are as in ``grouped``, with the test rows among them: a declared group or parent, one image (exactly or
    nearly), a file name, and all that these tie together.
    """
    table = (context.declared or context.manifest).table
    component = components(len(table), _edges(context, table, _links(table)))
    held: dict[int, set[int]] = {}
    for related, sample, split in zip(component.tolist(), table["id"], table["split"], strict=True):
        if split == "train":
            held.setdefault(related, set()).add(folds.by_id.get(sample, -1))
    pairs = zip(component.tolist(), table["id"], table["split"], strict=True)
    return {sample: held[related] for related, sample, split in pairs if split == "test" and related in held}


def _links(rows: pd.DataFrame) -> dict[str, str]:
    """Child path → parent path, by the names of files."""
    return name_parents(path for path in rows["path"] if not is_array_row(path) and MARK not in path)


def _parents_by_name(rows: pd.DataFrame, links: Mapping[str, str]) -> dict[str, str]:
    """Child id → parent id, where a file's name says which other file it was made from."""
    by_path = dict(zip(rows["path"], rows["id"], strict=True))
    return {by_path[child]: by_path[parent] for child, parent in links.items() if _is_named(child, parent)}


def _is_named(child: str, parent: str) -> bool:
    """Whether the child's name names this parent, and is not only a sibling's."""
    return (parent_name(child) or "").casefold() == nfc(PurePosixPath(parent).stem).casefold()


def _edges(context: CheckContext, rows: pd.DataFrame, links: Mapping[str, str]) -> list[tuple[int, int]]:
    """Pairs of row places that are related; ``links`` are those by the names of files."""
    edges: list[tuple[int, int]] = []
    by_group: dict[str, int] = {}
    for n, group in enumerate(rows["group"]):
        if group:
            edges.append((by_group.setdefault(group, n), n))
    parents = [(n, parent) for n, parent in enumerate(rows["parent"]) if parent]
    by_id = {sample: n for n, sample in enumerate(rows["id"])} if parents else {}
    orphans: dict[str, int] = {}
    edges.extend((by_id.get(parent, orphans.setdefault(parent, n)), n) for n, parent in parents)
    boxes = [(n, path) for n, path in enumerate(rows["path"]) if MARK in path]
    by_file: dict[str, int] = {}
    edges.extend((by_file.setdefault(without_box(path), n), n) for n, path in boxes)
    same_file = rows["path"][rows["path"].duplicated()].unique().tolist()
    related = [*([path] for path in same_file), *context.sharing_a_fold]
    asked = {path for cluster in related for path in cluster} | set(links) | set(links.values())
    by_path: dict[str, list[int]] = {}
    for n, path in enumerate(rows["path"]) if asked else ():
        if path in asked:
            by_path.setdefault(path, []).append(n)
    for cluster in related:
        members = [n for path in cluster for n in by_path.get(path, [])]
        edges.extend((members[0], other) for other in members[1:])
    edges.extend((by_path[parent][0], by_path[child][0]) for child, parent in links.items())
    return edges


@check(
    "fold-coverage",
    "folds",
    "folds",
    "error",
    catches="training rows without a fold, folds without rows, ids with a fold that are no row",
    misses="ids of extra rows",
)
def fold_coverage(context: CheckContext) -> list[Finding]:
    """Train rows without a fold, a fold without rows, or folds of ids that no row has. Exact; O(N)."""
    if context.folds is None:
        return []
    known = set(context.folds.ids)
    strange = sorted(known - set(context.manifest.table["id"]))
    if strange and not stale_folds(context):  # which says it in other words
        message = f"{len(strange)} ids that have a fold are no rows of these data, first {strange[0]!r}"
        remedy = "bring the folds of these rows; take out the lines of others"
        return [finding("fold-coverage", "error", strange, message, remedy), *_without_folds(context, known)]
    return _without_folds(context, known)


def _without_folds(context: CheckContext, known: set[str]) -> list[Finding]:
    assert context.folds is not None, "its caller looked"
    without = [i for i in context.manifest.train["id"] if i not in known]
    if without:
        return [
            finding(
                "fold-coverage",
                "error",
                without,
                f"{len(without)} train rows have no fold",
                "make the folds again",
            )
        ]
    used = np.unique(context.folds.fold[context.folds.fold >= 0])
    empty = [f"fold {k}" for k in range(context.folds.k) if k not in used]
    return (
        [finding("fold-coverage", "error", empty, f"{len(empty)} folds hold no row", "choose fewer `folds`")]
        if empty
        else []
    )


@check(
    "group-across-folds",
    "folds",
    "folds",
    "error",
    catches="a group, or a parent and its copies, in different folds",
    misses="groups that nobody declared",
)
def group_across_folds(context: CheckContext) -> list[Finding]:
    """Rows of one group (declared, or a parent and its copies) in different folds. Exact; O(N)."""
    if context.folds is None:
        return []
    train, known = context.manifest.train, context.folds.by_id
    first: dict[str, int] = {}
    across: dict[str, None] = {}
    for group, name in zip(group_names(train), train["id"], strict=True):
        fold = known.get(name, -1)
        # others only train, and are left out beside held-out related rows
        if fold >= 0 and first.setdefault(group, fold) != fold:
            across[group] = None
    torn = [group[2:] for group in across]
    if not torn:
        return []
    message = f"{len(torn)} groups lie in more than one fold, so that a sample would validate related ones"
    return [
        finding("group-across-folds", "error", torn, message, "make the folds again with the groups declared")
    ]


@check(
    "stale-folds",
    "folds",
    "folds",
    "error",
    catches="folds made for other rows, labels, groups or contents",
)
def stale_folds(context: CheckContext) -> list[Finding]:
    """Folds that were made for other train rows than these. One SHA-256 over ids, labels, groups and contents."""
    if context.folds is None:
        return []
    now = context.manifest.fingerprint("train")
    if context.folds.fingerprint == now:
        return []
    gone = sorted(set(context.folds.ids) - set(context.manifest.train["id"]))
    come = sorted(set(context.manifest.train["id"]) - set(context.folds.ids))
    kept, path = f"folds/{context.competition.slug}", context.folds.path
    changed = f"{len(come)} came, {len(gone)} went, or labels, groups or contents changed"
    message = f"the folds were made for other train rows: {changed}{f' ({path})' if path else ''}"
    remedy = f"remove {kept}/ to make them again (earlier runs then no longer compare)"
    if path is not None and not path.parent.as_posix().endswith(
        kept
    ):  # a run's own, say: there is nothing to remove
        remedy = "restore the rows that they were made for, or start a new run with `folds=K`"
    rows = [*come, *gone] or list(context.manifest.train["id"])  # the folds know one fingerprint for all rows
    return [finding("stale-folds", "error", rows, message, remedy)]


@check(
    "copy-across-folds",
    "folds",
    "folds",
    "error",
    catches="copies of one image in different folds",
    misses="as `near-duplicate`",
)
def copy_across_folds(context: CheckContext) -> list[Finding]:
    """One image, exactly or nearly, in different folds: a copy would validate its original.

    Folds made by ``comp`` hold such rows together; this judges folds made elsewhere.
    """
    if context.folds is None:
        return []
    train, fold_of = context.manifest.train, context.folds.by_id
    first: dict[str, int] = {}
    across: dict[str, None] = {}  # a path with rows in several folds
    for path, name in zip(train["path"], train["id"], strict=True):
        fold = fold_of.get(name, -1)
        if fold >= 0 and first.setdefault(path, fold) != fold:
            across[path] = None
    known = {path for cluster in context.alike for path in cluster}
    torn = []
    for cluster in [*context.alike, *([path] for path in across if path not in known)]:
        related = tuple(path for path in cluster if path in first)
        if len({first[path] for path in related}) > 1 or any(path in across for path in related):
            torn.append(related)
    if not torn:
        return []
    rows = [path for related in torn for path in related]
    message = f"{len(rows)} rows are copies of one another and lie in different folds ({len(torn)} images)"
    remedy = "make the folds with comp, which keeps copies together, or give all copies of an image one fold"
    return [Finding("copy-across-folds", "error", len(rows), message, tuple(rows[:5]), remedy, tuple(torn))]


@check(
    "stratification",
    "folds",
    "folds",
    "warning",
    catches="classes spread unevenly over the folds",
)
def stratification(context: CheckContext) -> list[Finding]:
    """Classes spread unevenly over the folds: a fold without a class, or with half as many again as its share
    (and three rows more). Exact; O(N).
    """
    if context.folds is None or fold_coverage(context):
        return []
    train = context.manifest.train
    fold = context.folds.of(train["id"])
    kinds = np.array(context.task.strata(list(train["label"])), dtype=object)
    counts = pd.crosstab(kinds[fold >= 0], fold[fold >= 0])
    table = counts.reindex(columns=range(context.folds.k), fill_value=0).to_numpy()
    share = (
        table.sum(axis=1, keepdims=True) * table.sum(axis=0, keepdims=True) / table.sum()
    )  # folds may differ in size
    uneven = ((table == 0) & (share >= 1)) | (np.abs(table - share) > np.maximum(3, share / 2))
    names = [str(name) for name, yes in zip(counts.index, uneven.any(axis=1), strict=True) if yes]
    if not names:
        return []
    message = f"{len(names)} classes are spread unevenly over the folds, first {names[0]!r}: {table[list(counts.index).index(names[0])].tolist()}"
    remedy = "large groups leave no better spread; if you made the folds yourself, stratify them by label"
    return [finding("stratification", "warning", names, message, remedy)]


@check(
    "test-id-in-folds",
    "folds",
    "folds",
    "error",
    catches="test rows that have a fold",
)
def test_id_in_folds(context: CheckContext) -> list[Finding]:
    """Test rows that have a fold: the test set would be trained and validated on. Exact; O(N)."""
    if context.folds is None:
        return []
    train, folded = set(context.manifest.train["id"]), set(context.folds.ids)
    rows = [i for i in context.manifest.test["id"] if i in folded and i not in train]
    if not rows:
        return []
    message = f"{len(rows)} test ids stand among the folds"
    return [
        finding(
            "test-id-in-folds",
            "error",
            rows,
            message,
            "folds are for train rows only: take these out of the file",
        )
    ]
