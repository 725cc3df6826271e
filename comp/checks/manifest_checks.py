"""Checks of the manifest against the raw folder and the label map, and of how labels are spelled."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from pathlib import PurePosixPath

from comp.checks.context import CheckContext, Finding, Severity, check, finding
from comp.data.csv_table import folded, is_padded, number_of, same_number
from comp.data.folds import group_names
from comp.data.images.boxes import without_box
from comp.data.images.raw_tree import is_array_row, is_in_shard, nfc
from comp.data.manifest import TRAINING
from comp.errors import near_names

TEXTS = {
    *(".csv", ".tsv", ".txt", ".md", ".json", ".jsonl", ".xml", ".html", ".htm"),
    *(".pdf", ".yml", ".yaml", ".toml", ".ini", ".py", ".ipynb", ".log"),
}


@check(
    "duplicate-id",
    "data",
    "rows",
    "error",
    catches="two rows with one id",
    misses="two ids for one sample: that is `exact-duplicate`",
    of_test_rows=True,
)
def duplicate_id(context: CheckContext) -> list[Finding]:
    """Two rows with one id: every join by id would mix them up. Exact; O(N)."""
    rows = [i for i, n in Counter(context.manifest.table["id"]).items() if n > 1]
    if not rows:
        return []
    message = f"{len(rows)} ids stand for more than one row"
    return [finding("duplicate-id", "error", rows, message, "make ids unique in the table or the adapter")]


@check(
    "empty-id",
    "data",
    "rows",
    "error",
    catches="rows without an id",
    of_test_rows=True,
)
def empty_id(context: CheckContext) -> list[Finding]:
    """Rows without an id, which nothing could be joined to. Exact; O(N)."""
    table = context.manifest.table
    paths = [path for i, path in zip(table["id"], table["path"], strict=True) if not i.strip()]
    if not paths:
        return []
    message = f"{len(paths)} rows have no id"
    return [finding("empty-id", "error", paths, message, "give each row an id in the table or the adapter")]


@check(
    "duplicate-path",
    "data",
    "rows",
    "error",
    catches=(
        "rows that point at one file: by path, by `..`, by letter case, by Unicode form, by a "
        "symbolic or hard link. All paths collapsed onto one file"
    ),
    misses="copies of a file under other names: that is `exact-duplicate`",
    of_test_rows=True,
)
def duplicate_path(context: CheckContext) -> list[Finding]:
    """Rows that point at one file: by the same path, another spelling of it (``..``, case, Unicode form), a
    symbolic or a hard link. The fault behind 100 % validation accuracy and 25 points. One ``stat`` a row.
    """
    first: dict[object, str] = {}
    owners: dict[object, list[str]] = {}
    spelled: dict[str, object] = {}
    for path in context.manifest.table["path"]:
        # files equal after NFC are one to every table; keys of a shard are as they are written
        written = path if is_in_shard(path) else nfc(path).casefold()
        file = spelled.setdefault(written, context.identities[path])
        if file in first:
            owners.setdefault(file, [first[file]]).append(path)
        else:
            first[file] = path
    shared = sorted(owners.values(), key=len, reverse=True)
    if not shared:
        return []
    rows = sum(len(paths) for paths in shared)
    message = f"{rows} rows point at {len(shared)} file{'s' if len(shared) > 1 else ''}; {shared[0][0]!r} alone stands for {len(shared[0])} rows"
    examples = [p for paths in shared for p in dict.fromkeys(paths)]
    remedy = "each row needs its own file: look at how paths are built in the table or the adapter"
    return [
        Finding(
            "duplicate-path",
            "error",
            rows,
            message,
            tuple(examples[:5]),
            remedy,
            tuple(tuple(dict.fromkeys(p)) for p in shared),
        )
    ]


@check(
    "missing-file",
    "data",
    "rows",
    "error",
    catches="rows whose file, or whose row of an array, is not there; paths that leave the raw folder",
    misses="a file with another image in it",
    of_test_rows=True,
)
def missing_file(context: CheckContext) -> list[Finding]:
    """Rows with no file behind them in the raw folder (a path that leaves it is none), and no row of an array that the
    competition has. Reads the one look at every image; one ``stat`` for each that failed.
    """
    rows = [path for path in context.manifest.table["path"] if path in context.absent]
    if not rows:
        return []
    arrays = [path for path in rows if is_array_row(path)]
    of_arrays = f" ({len(arrays)} are rows of arrays that are not there)" if arrays else ""
    message = f"{len(rows)} rows name a file that is not in {context.raw}{of_arrays}"
    return [finding("missing-file", "error", rows, message, "complete the download, or take the rows out")]


@check(
    "unlisted-file",
    "data",
    "rows",
    "warning, note",
    catches=(
        "images of the layout that no row names, images outside the layout's patterns, files that "
        "cannot be read (HEIC), each with the reason; texts and tables as a note"
    ),
    misses="dot-files; competitions whose facts name no `train` or `test` layout",
)
def unlisted_file(context: CheckContext) -> list[Finding]:
    """Files in the folders of the layout that no row names, beside those that the competition leaves out.

    A warning: images without a row, images where the layout has none, and files that are no image as far as can be
    seen here (HEIC, no suffix and unknown first bytes). Information: texts and tables. One listing, and the first bytes
    of files whose suffix is no image's.
    """
    layout = context.competition.facts.layout
    if not layout.train and not layout.test:
        return []  # in shards, say
    tree = context.tree
    known = {nfc(without_box(path)) for path in context.manifest.table["path"]}
    known.update(nfc(path) for pattern in layout.ignore for path in tree.glob(pattern))
    patterns = [pattern for pattern in (layout.train, layout.test) if pattern]
    listed = {path for pattern in patterns for path in tree.glob(pattern)}
    folders = tuple(folder for folder in map(_folder_of, patterns) if folder)
    rest = [
        path
        for path in tree.files
        if (path in listed or path.startswith(folders)) and nfc(path) not in known and _counts(path)
    ]
    texts = [path for path in rest if PurePosixPath(path).suffix.lower() in TEXTS]
    others = [path for path in rest if PurePosixPath(path).suffix.lower() not in TEXTS]
    is_image = {path: tree.is_image(path) for path in others}
    images = [path for path in others if is_image[path]]
    unknown = [path for path in others if not is_image[path]]
    away = [path for path in images if path not in listed]
    no_row = [path for path in images if path in listed]
    layout_is = " and ".join(patterns)
    kinds: list[tuple[list[str], Severity, str, str]] = [
        (
            no_row,
            "warning",
            f"{len(no_row)} images in {context.raw} have no row",
            "is the table complete? else take the files away",
        ),
        (
            away,
            "warning",
            f"{len(away)} images lie where the layout ({layout_is}) has none, and are not read",
            "move them, or correct [layout] of competition.toml and the adapter",
        ),
        (
            unknown,
            "warning",
            f"{len(unknown)} files are not read, as they are no images that can be decoded here: {_suffixes(unknown)}",
            "convert them to JPEG or PNG if they are images; else take them away, or name them in [layout] ignore",
        ),
        (texts, "info", f"{len(texts)} texts and tables lie among the images: {_suffixes(texts)}", ""),
    ]
    return [
        finding("unlisted-file", severity, rows, message, remedy)
        for rows, severity, message, remedy in kinds
        if rows
    ]


def _folder_of(pattern: str) -> str:
    """The folder that a glob begins with, ``train/`` of ``train/*/*``; nothing where it begins with a wildcard."""
    parts = pattern.split("/")[:-1]
    plain = parts[: next((n for n, part in enumerate(parts) if set(part) & set("*?[")), len(parts))]
    return "".join(f"{part}/" for part in plain)


def _counts(path: str) -> bool:
    """Whether a file is a person's: names that begin with a dot are programs' own."""
    return not any(part.startswith(".") for part in path.split("/"))


def _suffixes(paths: list[str]) -> str:
    """How many files there are of each suffix, most first: ``12 .heic, 3 without suffix``."""
    counted = Counter(PurePosixPath(path).suffix.lower() or "without suffix" for path in paths)
    most = [f"{n} {suffix}" for suffix, n in counted.most_common(5)]
    return ", ".join(most) + (" …" if len(counted) > len(most) else "")


@check(
    "unknown-label",
    "data",
    "rows",
    "error",
    catches="labelled rows with no label, or with one that is not in the label map",
    misses="a wrong label that is a class",
)
def unknown_label(context: CheckContext) -> list[Finding]:
    """Labelled rows with no label, or one that the label map does not have. Exact; O(N)."""
    labelled = context.manifest.table[context.manifest.table["split"] != "test"]
    if not context.task.has_classes:  # numbers were looked at when they were read
        return []
    strange = [_strange(label, context) for label in labelled["label"]]
    wrong = labelled[[name is not None for name in strange]]
    if wrong.empty:
        return []
    names = list(dict.fromkeys(name for name in strange if name is not None))
    near = near_names(names[0], context.labels.names)
    hint = f"; {names[0]!r} looks like {near[0]!r}" if near else ""
    message = (
        f"{len(wrong)} rows have a label that is no class: {', '.join(repr(n) for n in names[:5])}{hint}"
    )
    return [
        finding(
            "unknown-label",
            "error",
            list(wrong["id"]),
            message,
            "correct the labels, or `classes` in competition.toml",
        )
    ]


def _strange(label: str, context: CheckContext) -> str | None:
    """The first name of a label that is no class, an empty text where there has to be one; None where all is well."""
    parts = context.task.parts(label)
    if not parts:
        return None if context.task.takes_no_label else ""
    return next((name for name in parts if name not in context.labels), None)


@check(
    "label-map",
    "data",
    "rows",
    "error",
    catches="a class without a training row",
)
def label_map(context: CheckContext) -> list[Finding]:
    """Classes without one training row. Exact; O(N)."""
    if not context.task.has_classes:
        return []
    train = context.manifest.train
    cells = [
        *train["label"],
        *(train[TRAINING].dropna() if context.labels.task.unknown and TRAINING in train else ()),
    ]
    present = {name for label in cells for name in context.task.parts(label)} | {context.labels.task.unknown}
    absent = [name for name in context.labels if name not in present]
    if not absent:
        return []
    message = f"{len(absent)} of {len(context.labels)} classes have no training row"
    return [finding("label-map", "error", absent, message, "is the download complete? see `comp data`")]


@check(
    "class-too-small",
    "data",
    "rows",
    "error, warning",
    catches="a class with fewer groups than folds; a warning where rows may have several",
)
def class_too_small(context: CheckContext) -> list[Finding]:
    """Classes with fewer groups than folds: some fold would have none to hold out. Exact; O(N)."""
    train = context.manifest.train
    groups: defaultdict[str, set[str]] = defaultdict(set)
    if not context.task.has_classes:
        return []
    for label, group in zip(train["label"], group_names(train), strict=True):
        for name in context.task.parts(label):
            groups[name].add(group)
    small = sorted(
        (label for label, found in groups.items() if len(found) < context.k), key=lambda c: len(groups[c])
    )
    if not small:
        return []
    message = f"{len(small)} classes have fewer than {context.k} groups to spread over {context.k} folds, smallest {small[0]!r} with {len(groups[small[0]])}"
    return [
        finding(
            "class-too-small",
            "warning" if context.task.takes_no_label else "error",
            small,
            message,
            'choose fewer `folds`, merge classes, or `rare="pool"` keeps them in training only, `rare="spread"` deals them as far as they go',
        )
    ]


@check(
    "train-test-overlap",
    "data",
    "rows",
    "error",
    catches="one file among labelled and test rows",
    misses="copies of it: that is `train-test-duplicate`",
)
def train_test_overlap(context: CheckContext) -> list[Finding]:
    """Files that stand both among the labelled and the test rows. One ``stat`` a row."""
    table, files = context.manifest.table, context.identities
    labelled = {files[path] for path in table["path"][table["split"] != "test"]}
    both = [path for path in context.manifest.test["path"] if files[path] in labelled]
    if not both:
        return []
    message = f"{len(both)} test rows are labelled rows too"
    return [
        finding(
            "train-test-overlap",
            "error",
            both,
            message,
            "the test set is for predicting only: take these rows out of train",
        )
    ]


ABSENT = {"nan", "NaN", "NAN", "<NA>", "NaT"}  # what pandas writes where a cell was empty
STATE = "correct the table, or state `classes` in competition.toml: labels are then read as those"


@check(
    "label-spelling",
    "data",
    "rows",
    "error, warning",
    catches=(
        "classes that are one number in two spellings (`1` and `1.0`), a label `nan`; a warning "
        "for `a` and `A`, `1` and `01`"
    ),
    misses="classes that mean the same in other words",
)
def label_spelling(context: CheckContext) -> list[Finding]:
    """Classes that are one word or one number in two spellings: ``1`` and ``1.0`` are refused (tables joined with
    pandas), ``a`` and ``A``, ``1`` and ``01`` are two classes, and that is said with their rows. So is what was read
    as another spelling, and a label ``nan``. Classes that competition.toml states are what it says. Exact; O(N).
    """
    said = [
        finding(one.check, "warning", list(one.rows), one.message, one.remedy)
        for one in context.manifest.remarks
        if one.check == "label-spelling"
    ]
    if context.competition.facts.classes != "discover" or not context.task.has_classes:
        return said
    names = list(context.labels)
    rows = _rows_of(context)
    one_number = _sharing(names, same_number)
    padded = [group for group in _sharing(names, number_of) if any(is_padded(name) for name in group)]
    alike = [group for group in _sharing(names, folded) if group not in one_number]
    absent = [name for name in names if name in ABSENT]
    return [
        *_spoken(context, one_number, rows, "error", "are one number in several spellings"),
        *_absent(context, absent, rows),
        *said,
        *_spoken(context, padded, rows, "warning", "are several classes, by the zeros in front alone"),
        *_spoken(context, alike, rows, "warning", "are several classes, by case or spacing alone"),
    ]


@check(
    "test-labels",
    "data",
    "rows",
    "warning",
    catches="an adapter that gives labels to test rows; they are dropped, and nothing reads them",
    misses="where the adapter knows them from",
    of_test_rows=True,
)
def labels_of_test_rows(context: CheckContext) -> list[Finding]:
    """Test rows that came with a label: nothing may know them. They were dropped when the rows were read. Exact; O(N)."""
    return [
        finding(one.check, "warning", list(one.rows), one.message, one.remedy)
        for one in context.manifest.remarks
        if one.check == "test-labels"
    ]


def _absent(context: CheckContext, names: Sequence[str], rows: Counter[str]) -> list[Finding]:
    if not names:
        return []
    message = f"{_told(names, rows)} {'is' if len(names) == 1 else 'are'} what tables write for no label"
    return [finding("label-spelling", "error", _ids(context, names), message, STATE)]


def _spoken(
    context: CheckContext, groups: Sequence[Sequence[str]], rows: Counter[str], severity: Severity, what: str
) -> list[Finding]:
    """One finding on all groups of a kind, with the rows of every spelling of the first few."""
    if not groups:
        return []
    told = "; ".join(_told(group, rows) for group in groups[:3]) + ("; …" if len(groups) > 3 else "")
    ids = _ids(context, [name for group in groups for name in group])
    message = f"{told} {what}"
    return [finding("label-spelling", severity, ids, message, STATE)]


def _told(names: Sequence[str], rows: Counter[str]) -> str:
    each = [f"{name!r} ({rows[name]} row{'' if rows[name] == 1 else 's'})" for name in names]
    return " and ".join(each)


def _ids(context: CheckContext, names: Iterable[str]) -> list[str]:
    """The train rows of these classes, those of the rarest spelling first."""
    train = context.manifest.train
    rows, wanted = _rows_of(context), set(names)
    pairs = [
        (rows[name], i)
        for i, label in zip(train["id"], train["label"], strict=True)
        for name in context.task.parts(label)
        if name in wanted
    ]
    return [i for _, i in sorted(pairs, key=lambda pair: pair[0])]


def _rows_of(context: CheckContext) -> Counter[str]:
    """How many training rows each class has."""
    return Counter(name for label in context.manifest.train["label"] for name in context.task.parts(label))


def _sharing(names: Iterable[str], key: Callable[[str], Hashable]) -> list[list[str]]:
    """Groups of two names or more with one key; None is no key."""
    groups: defaultdict[Hashable, list[str]] = defaultdict(list)
    for name in names:
        groups[key(name)].append(name)
    return [group for k, group in groups.items() if k is not None and len(group) > 1]
