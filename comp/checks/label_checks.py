"""Checks of how labels are spelled, and of labels that test rows should not have."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence

from comp.checks.context import CheckContext
from comp.checks.registry import Finding, Severity, check, finding
from comp.data.csv_table import folded, is_padded, number_of, same_number

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
def label_spelling(evidence: CheckContext) -> list[Finding]:
    """Classes that are one word or one number in two spellings: ``1`` and ``1.0`` are refused (tables joined with
    pandas), ``a`` and ``A``, ``1`` and ``01`` are two classes, and that is said with their rows. So is what was read
    as another spelling, and a label ``nan``. Classes that competition.toml states are what it says. Exact; O(N).
    """
    said = [
        finding(one.check, "warning", list(one.rows), one.message, one.remedy)
        for one in evidence.manifest.remarks
        if one.check == "label-spelling"
    ]
    if evidence.competition.facts.classes != "discover":
        return said
    names = list(evidence.labels)
    rows = Counter(evidence.manifest.train["label"])
    one_number = _sharing(names, same_number)
    padded = [group for group in _sharing(names, number_of) if any(is_padded(name) for name in group)]
    alike = [group for group in _sharing(names, folded) if group not in one_number]
    absent = [name for name in names if name in ABSENT]
    return [
        *_spoken(evidence, one_number, rows, "error", "are one number in several spellings"),
        *_absent(evidence, absent, rows),
        *said,
        *_spoken(evidence, padded, rows, "warning", "are several classes, by the zeros in front alone"),
        *_spoken(evidence, alike, rows, "warning", "are several classes, by case or spacing alone"),
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
def labels_of_test_rows(evidence: CheckContext) -> list[Finding]:
    """Test rows that came with a label: nothing may know them. They were dropped when the rows were read. Exact; O(N)."""
    return [
        finding(one.check, "warning", list(one.rows), one.message, one.remedy)
        for one in evidence.manifest.remarks
        if one.check == "test-labels"
    ]


def _absent(evidence: CheckContext, names: Sequence[str], rows: Counter[str]) -> list[Finding]:
    if not names:
        return []
    message = f"{_told(names, rows)} {'is' if len(names) == 1 else 'are'} what tables write for no label"
    return [finding("label-spelling", "error", _ids(evidence, names), message, STATE)]


def _spoken(
    evidence: CheckContext, groups: Sequence[Sequence[str]], rows: Counter[str], severity: Severity, what: str
) -> list[Finding]:
    """One finding on all groups of a kind, with the rows of every spelling of the first few."""
    if not groups:
        return []
    told = "; ".join(_told(group, rows) for group in groups[:3]) + ("; …" if len(groups) > 3 else "")
    ids = _ids(evidence, [name for group in groups for name in group])
    message = f"{told} {what}"
    return [finding("label-spelling", severity, ids, message, STATE)]


def _told(names: Sequence[str], rows: Counter[str]) -> str:
    each = [f"{name!r} ({rows[name]} row{'' if rows[name] == 1 else 's'})" for name in names]
    return " and ".join(each)


def _ids(evidence: CheckContext, names: Iterable[str]) -> list[str]:
    """The train rows of these classes, those of the rarest spelling first."""
    train = evidence.manifest.train
    rows = Counter(train["label"])
    wanted = set(names)
    pairs = [
        (rows[label], i) for i, label in zip(train["id"], train["label"], strict=True) if label in wanted
    ]
    return [i for _, i in sorted(pairs, key=lambda pair: pair[0])]


def _sharing(names: Iterable[str], key: Callable[[str], Hashable]) -> list[list[str]]:
    """Groups of two names or more with one key; None is no key."""
    groups: defaultdict[Hashable, list[str]] = defaultdict(list)
    for name in names:
        groups[key(name)].append(name)
    return [group for k, group in groups.items() if k is not None and len(group) > 1]
