"""Checks of the manifest against the raw folder, the label map and the template."""

from __future__ import annotations

import unicodedata
from collections import Counter, defaultdict
from pathlib import PurePosixPath

from comp.checks.context import CheckContext
from comp.checks.registry import Finding, Severity, check, finding
from comp.data.folds import group_names
from comp.data.images.raw_tree import RawTree, is_array_row, natural_key, nfc
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
def duplicate_id(evidence: CheckContext) -> list[Finding]:
    """Two rows with one id: every join by id would mix them up. Exact; O(N)."""
    rows = [i for i, n in Counter(evidence.manifest.table["id"]).items() if n > 1]
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
def empty_id(evidence: CheckContext) -> list[Finding]:
    """Rows without an id, which nothing could be joined to. Exact; O(N)."""
    table = evidence.manifest.table
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
def duplicate_path(evidence: CheckContext) -> list[Finding]:
    """Rows that point at one file: by the same path, another spelling of it (``..``, case, Unicode form), a
    symbolic or a hard link. The fault behind 100 % validation accuracy and 25 points. One ``stat`` a row.
    """
    owners: defaultdict[object, list[str]] = defaultdict(list)
    tree = RawTree(evidence.raw)
    spelled: dict[str, object] = {}
    for path in evidence.manifest.table["path"]:
        identity = tree.identity(path)
        owners[spelled.setdefault(nfc(path).casefold(), identity)].append(
            path
        )  # files equal after NFC are one to every table
    shared = sorted((paths for paths in owners.values() if len(paths) > 1), key=len, reverse=True)
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
def missing_file(evidence: CheckContext) -> list[Finding]:
    """Rows with no file behind them in the raw folder (a path that leaves it is none), and no row of an array that the
    competition has. Reads the one look at every image; one ``stat`` for each that failed.
    """
    rows = [path for path in evidence.manifest.table["path"] if path in evidence.absent]
    if not rows:
        return []
    arrays = [path for path in rows if is_array_row(path)]
    of_arrays = f" ({len(arrays)} are rows of arrays that are not there)" if arrays else ""
    message = f"{len(rows)} rows name a file that is not in {evidence.raw}{of_arrays}"
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
def unlisted_file(evidence: CheckContext) -> list[Finding]:
    """Files in the folders of the layout that no row names, beside those that the competition leaves out.

    A warning: images without a row, images where the layout has none, and files that are no image as far as can be
    seen here (HEIC, no suffix and unknown first bytes). Information: texts and tables. One listing, and the first bytes
    of files whose suffix is no image's.
    """
    layout = evidence.competition.facts.layout
    tree = RawTree(evidence.raw)
    known = {nfc(path) for path in evidence.manifest.table["path"]}
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
            f"{len(no_row)} images in {evidence.raw} have no row",
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
def unknown_label(evidence: CheckContext) -> list[Finding]:
    """Labelled rows with no label, or one that the label map does not have. Exact; O(N)."""
    labelled = evidence.manifest.table[evidence.manifest.table["split"] != "test"]
    wrong = labelled[[label not in evidence.labels for label in labelled["label"]]]
    if wrong.empty:
        return []
    names = list(dict.fromkeys(wrong["label"]))
    near = near_names(names[0], evidence.labels.names)
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


@check(
    "label-map",
    "data",
    "rows",
    "error",
    catches="a class without a training row",
)
def label_map(evidence: CheckContext) -> list[Finding]:
    """Classes without one training row. Exact; O(N)."""
    present = set(evidence.manifest.train["label"])
    absent = [name for name in evidence.labels if name not in present]
    if not absent:
        return []
    message = f"{len(absent)} of {len(evidence.labels)} classes have no training row"
    return [finding("label-map", "error", absent, message, "is the download complete? see `comp data`")]


@check(
    "class-too-small",
    "data",
    "rows",
    "error",
    catches="a class with fewer groups than folds",
)
def class_too_small(evidence: CheckContext) -> list[Finding]:
    """Classes with fewer groups than folds: some fold would have none to hold out. Exact; O(N)."""
    train = evidence.manifest.train
    groups: defaultdict[str, set[str]] = defaultdict(set)
    for label, group in zip(train["label"], group_names(train), strict=True):
        groups[label].add(group)
    small = sorted(
        (label for label, found in groups.items() if len(found) < evidence.k), key=lambda c: len(groups[c])
    )
    if not small:
        return []
    message = f"{len(small)} classes have fewer than {evidence.k} groups to spread over {evidence.k} folds, smallest {small[0]!r} with {len(groups[small[0]])}"
    return [
        finding(
            "class-too-small",
            "error",
            small,
            message,
            "choose fewer --folds, merge classes, or --rare pool keeps them in training only",
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
def train_test_overlap(evidence: CheckContext) -> list[Finding]:
    """Files that stand both among the labelled and the test rows. One ``stat`` a row."""
    tree = RawTree(evidence.raw)
    labelled = {tree.identity(p) for p in evidence.manifest.table.query("split != 'test'")["path"]}
    both = [p for p in evidence.manifest.test["path"] if tree.identity(p) in labelled]
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


@check(
    "template-mismatch",
    "data",
    "answers",
    "error",
    catches=(
        "template ids without a test image, test images without a row, ids that come twice, a "
        "template without rows; another file beside an id than `pairs` and `order` of "
        "competition.toml give"
    ),
    misses="wrong facts in competition.toml: `rows.csv` of a run is there to be looked at",
    of_answers=True,
    of_test_rows=True,
)
def template_mismatch(evidence: CheckContext) -> list[Finding]:
    """Template ids and test rows that do not pair up: ids missing on either side, doubled, or another file
    beside an id than the competition's own rule gives (``pairs`` and ``order`` in competition.toml, worked out
    here from the raw folder alone).
    """
    wanted, test = list(evidence.template.samples), list(evidence.manifest.test["id"])
    have, asked = set(test), set(wanted)
    found: list[Finding] = []
    doubled = [i for i, n in Counter(wanted).items() if n > 1]
    missing = [i for i in wanted if i not in have]
    extra = [i for i in test if i not in asked]
    name = evidence.template.table.name
    remedy = "complete the download; the template and the test files must belong together"
    if not wanted:
        nobody = "there are no test rows" if evidence.template.made else f"{name} has no rows"
        found.append(Finding("template-mismatch", "error", 0, f"nothing is asked for: {nobody}", (), remedy))
    if any(not i.strip() for i in evidence.template.ids):
        rows = [f"row {n}" for n, i in enumerate(evidence.template.ids, start=2) if not i.strip()]
        found.append(
            finding("template-mismatch", "error", rows, f"{len(rows)} rows of {name} have no id", remedy)
        )
    if doubled:
        found.append(
            finding(
                "template-mismatch", "error", doubled, f"{name} asks for {len(doubled)} ids twice", remedy
            )
        )
    if missing:
        message = f"{name} asks for {len(wanted)} rows and {len(missing)} of them have no test image ({len(test)} found)"
        found.append(finding("template-mismatch", "error", missing, message, remedy))
    if extra:
        message = f"{len(extra)} test images have no row in {name}"
        found.append(finding("template-mismatch", "error", extra, message, remedy))
    return found or check_pairs(evidence)


def check_pairs(evidence: CheckContext) -> list[Finding]:
    """Compares the adapter's id → file with the rule that the competition states.

    ``pairs = "filename"``: an id is its file's name, with or without the suffix. ``pairs = "position"``: row i of
    the template is the i-th test file in ``order``. Catches an adapter that sorts names as text (1, 10, 2) or
    takes them as the folder lists them. One listing of the raw folder.
    """
    expected = expected_pairs(evidence)
    if expected is None:
        return []
    actual = dict(zip(evidence.manifest.test["id"], evidence.manifest.test["path"], strict=True))
    wrong = [i for i in evidence.template.samples if i in expected and _nfc(actual[i]) != _nfc(expected[i])]
    if not wrong:
        return []
    first = wrong[0]
    message = (
        f"{len(wrong)} rows would be answered from another file than the competition means, "
        f"first row {first!r}: the adapter reads {actual[first]}, the rule gives {expected[first]}"
    )
    facts = evidence.competition.facts
    remedy = f"pairs = {facts.pairs!r}, order = {facts.order!r}: make the adapter keep to it, or correct competition.toml"
    return [finding("template-mismatch", "error", wrong, message, remedy)]


def expected_pairs(evidence: CheckContext) -> dict[str, str] | None:
    """Sample id → path by the stated rule; None where the competition states no test files."""
    facts = evidence.competition.facts
    if evidence.template.made:
        return None
    if facts.pairs == "position" and facts.order == "array":
        return None
    if not facts.layout.test:
        return None
    files = RawTree(evidence.raw).images(facts.layout.test)
    if facts.pairs == "position":
        if facts.order == "natural":
            files.sort(key=lambda f: natural_key(PurePosixPath(f).name))
        elif facts.order == "text":
            files.sort(key=lambda f: PurePosixPath(f).name)
        return dict(zip(evidence.template.samples, files, strict=False))
    by_name = {_nfc(PurePosixPath(f).name): f for f in files}
    by_stem = {_nfc(PurePosixPath(f).stem): f for f in files}
    asked = zip(evidence.template.samples, evidence.template.ids, strict=True)
    pairs = {sample: by_name.get(_nfc(i)) or by_stem.get(_nfc(i)) for sample, i in asked}
    return {i: path for i, path in pairs.items() if path is not None}


def _nfc(text: str) -> str:
    return unicodedata.normalize("NFC", text)
