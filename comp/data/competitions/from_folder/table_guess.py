"""Which table has the labelled rows, by which columns rows have ids, images and labels, and what may group them."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from comp.config import finite_number
from comp.data.competitions.from_folder.image_patterns import pattern_of
from comp.data.competitions.from_folder.label_guess import separator_of, split_cell
from comp.data.competitions.from_folder.survey import MATCHED, Survey, column, columns, counted
from comp.data.csv_table import Table, clean
from comp.data.images.raw_tree import nfc, without_suffix

_LABEL = re.compile(
    r"label|target|class|categor|species|diagnos|level|tag|breed|type|answer|grade", re.IGNORECASE
)
_GROUPS = (
    re.compile(r"patient|subject|person|participant|driver|individual|animal", re.IGNORECASE),
    re.compile(r"location|(^|_)site($|_id)|camera|station|plot|field_id|farm|region", re.IGNORECASE),
    re.compile(
        r"seq(uence)?_?id|study|series|session|case|slide|volume|video|clip|burst|scan", re.IGNORECASE
    ),
    re.compile(r"group|user|owner|scene|lesion|parent|.+_id$", re.IGNORECASE),
)
_NO_GROUP = re.compile(
    r"license|right|institution|category|annotation|class|label|count|chain|image", re.IGNORECASE
)
_NO_LABEL = re.compile(r"count|width|height|area|bbox|_num|num_|file|path|url|date|time", re.IGNORECASE)
_SEQUENCE = 2  # of _GROUPS: where rows also have a location, that says more


@dataclass(frozen=True)
class Link:
    """How a table's rows have their images: ``id`` its column of ids, ``path`` the one that names files."""

    name: str
    table: Table
    id: str
    path: str
    share: float


@dataclass(frozen=True)
class Choice:
    """Something that was chosen, with the evidence, and what is doubtful about it."""

    value: str
    why: str
    unsure: str = ""


def plain_id(cell: str) -> str:
    """An id without folders and suffix, in small letters: under which tables that spell it otherwise agree."""
    return without_suffix(nfc(clean(cell))).rpartition("/")[2].casefold()


def overlap(cells: Iterable[str], others: Iterable[str]) -> float:
    """The share of cells, spelled plainly, that are among others."""
    known = set(map(plain_id, others))
    looked = set(map(plain_id, cells))
    return len(looked & known) / max(1, len(looked))


def links(
    survey: Survey, template: str, asked: Sequence[str], targets: Sequence[str]
) -> tuple[list[Link], Link | None]:
    """The tables with labelled rows, and the table of the rows to predict, if there is one.

    A table that has most ids of the template is of the rows to predict, unless it has a target too (ids may be numbers
    that count anew in each split) or many other rows.
    """
    train: list[Link] = []
    both: list[Link] = []
    test: Link | None = None
    wanted = {target.casefold() for target in targets}
    for name, table in survey.tables.items():
        if name == template or name in survey.templates:
            continue
        path, share = survey.id_column(table)
        if share < MATCHED * 0.6:
            path, share = _by_affix(survey, table)
        if not path:
            continue
        ids = _ids_asked(table, path, asked)
        link = Link(name, table, path, path, share)
        if not ids or wanted & set(map(str.casefold, columns(table))):
            train.append(link)
        elif len(table) > 1.5 * len(asked):
            both.append(link)
        elif test is None or _rank_of_test(name, table) > _rank_of_test(test.name, test.table):
            test = Link(name, table, ids, path, share)
    return train or both, test


def _by_affix(survey: Survey, table: Table) -> tuple[str, float]:
    """The first column whose cells stand within the names of images, ``a`` in ``a_green.png``."""
    for name in columns(table)[:3]:
        cells = column(table, name) if name else []
        if len(cells) < 2 or len(set(cells)) < len(cells):
            continue
        found = pattern_of(survey, cells, "train")
        if found is not None and found.share >= MATCHED:
            return name, found.share
    return "", 0.0


def _rank_of_test(name: str, table: Table) -> tuple[bool, int]:
    return "test" in name.lower(), len(table.header)


def _ids_asked(table: Table, path: str, asked: Sequence[str]) -> str:
    """The column of a table that has the ids of the template; empty where none has most of them."""
    if not asked:
        return ""
    looked = set(map(clean, asked))
    shares = {
        name: (overlap(asked, cells), len(looked & set(cells)), name == path)
        for name in columns(table)
        if name and (cells := column(table, name))
    }
    best = max(shares, key=lambda name: shares[name], default="")
    narrow = best == path or len(set(column(table, best))) > 0.9 * len(table)
    return best if best and shares[best][0] >= MATCHED and narrow else ""


def best_train(found: list[Link], targets: Sequence[str]) -> Link | None:
    """Of several tables with labelled rows, the one that has the targets, most images and most rows."""

    def rank(link: Link) -> tuple[bool, bool, bool, int, float, int]:
        names = set(map(str.casefold, columns(link.table)))
        wanted = sum(target.casefold() in names for target in targets)
        values = {cell for name in columns(link.table) for cell in column(link.table, name)[:2000]}
        as_cells = sum(target in values for target in targets)
        words = link.name.rpartition("/")[2].lower()
        unique = len(set(column(link.table, link.path))) > 0.95 * len(link.table)
        others = len(link.table.header) > 1
        return (
            others,
            wanted + as_cells >= 0.8 * max(1, len(targets)),
            unique,
            ("train" in words) - ("val" in words or ("annotation" in words and "json" not in words)),
            round(link.share, 1),
            len(link.table),
        )

    return max(found, key=rank, default=None)


def id_beside(link: Link, test: Link | None) -> str:
    """The id column of the labelled rows: the one that is named as in the test table, else the one that names files."""
    names = columns(link.table)
    if test is not None and test.id in names and len(set(column(link.table, test.id))) > 1:
        return test.id
    if "image_id" in names and link.path == "file_name":
        return "image_id"
    return "id" if "id" in names and link.path == "file_name" else link.path


def label_column(link: Link, target: str, cells: Sequence[str], test: Link | None) -> Choice | None:
    """The column that says what the template asks for; None where no column can be it."""
    names = [name for name in columns(link.table) if name and name not in (link.id, link.path)]
    same = [name for name in names if name.casefold() == target.casefold()]
    if same:
        return Choice(same[0], f"named as the template's target; {counted(column(link.table, same[0]))}")
    hidden = set(columns(test.table)) if test is not None else set()
    asked = {clean(cell) for cell in cells if clean(cell)}
    words = asked | {word for cell in asked for word in cell.split()}
    ranked: list[tuple[float, str]] = []
    for place, name in enumerate(names):
        values = column(link.table, name)
        distinct = set(values)
        if len(distinct) < 2:
            continue
        known = len(asked & distinct or words & distinct) / max(1, len(asked or words))
        near = target and (target.casefold() in name.casefold() or name.casefold() in target.casefold())
        score = 3.0 * bool(near) + 2.0 * (bool(test) and name not in hidden) + min(1.0, known) * 4
        score += 1.0 * bool(_LABEL.search(name)) - 2.0 * (
            len(distinct) > 0.95 * len(values) and len(values) > 20
        )
        score -= (
            2.0 * (_group_rank(name) < _SEQUENCE and known < 0.5)
            + 3.0 * bool(_NO_LABEL.search(name))
            + place / 1000
        )
        ranked.append((score, name))
    if not ranked:
        return None
    ranked.sort(key=lambda one: -one[0])
    best = ranked[0][1]
    close = [name for score, name in ranked[1:] if score > ranked[0][0] - 0.5]
    why = f"the likeliest of {len(names)} columns: {counted(column(link.table, best))}"
    return Choice(best, why, f"it may be {' or '.join(close[:3])}" if close else "")


def column_of_names(link: Link, names: Sequence[str]) -> Choice | None:
    """The column whose values are the template's columns, where there is one."""
    wanted = {clean(name) for name in names}
    for name in columns(link.table):
        values = set(column(link.table, name))
        if len(values & wanted) >= 0.8 * len(values) and len(values) > 1 and name not in (link.id, link.path):
            return Choice(name, f"its {len(values)} values are columns of the template")
    return None


def column_of_several(link: Link, names: Sequence[str]) -> Choice | None:
    """The column whose cells list the template's columns, beside at most one name for none of them; None where there
    is none.
    """
    wanted = {clean(name) for name in names}
    for name in columns(link.table):
        cells = column(link.table, name)
        between = separator_of(cells) if name not in (link.id, link.path) else ""
        if not between:
            continue
        known = {part for cell in cells for part in split_cell(cell, between)}
        alone = {cell for cell in cells if cell in known - wanted}
        if len(known & wanted) >= 0.8 * len(wanted) and known - wanted == alone and len(alone) < 2:
            return Choice(name, f"its cells list columns of the template with {between!r} between")
    return None


def columns_of_targets(link: Link, targets: Sequence[str]) -> tuple[list[str], str] | None:
    """The columns that are named as the targets with one more word, such as ``X4_mean`` for ``X4``, and what is
    doubtful; None where some target has none.
    """
    names = columns(link.table)
    endings: dict[str, int] = defaultdict(int)
    for target in targets:
        for name in names:
            if name.startswith(f"{target}_"):
                endings[name.removeprefix(target)] += 1
    full = sorted(
        (one for one, count in endings.items() if count == len(targets)),
        key=lambda one: (one != "_mean", one),
    )
    if not full:
        return None
    doubt = f"the columns with {' and '.join(full[1:])} may be it" if len(full) > 1 else ""
    return [f"{target}{full[0]}" for target in targets], doubt


def onehot_sums(table: Table, names: Sequence[str]) -> tuple[bool, bool]:
    """Whether columns have 0 and 1 alone, and whether each row has exactly one 1."""
    cells = [column(table, name) for name in names]
    words = {"true": 1.0, "false": 0.0}
    values = [
        [words.get(cell.lower(), finite_number(cell)) for cell in row] for row in zip(*cells, strict=True)
    ]
    binary = all(value in (0, 1) for row in values for value in row)
    return binary, binary and all(sum(value or 0 for value in row) == 1 for row in values)


def group_column(link: Link, label: Sequence[str], used: Sequence[str]) -> Choice | None:
    """The column of what may not be split over folds: patients, places, sequences; None where none looks like one."""
    found: list[tuple[int, str]] = []
    for name in columns(link.table):
        if not name or name in (*used, link.id, link.path) or _NO_GROUP.search(name):
            continue
        rank = _group_rank(name)
        if rank < len(_GROUPS) and _groups(column(link.table, name), label):
            found.append((rank, name))
    if not found:
        return None
    found.sort(key=lambda one: one[0])
    rank, name = found[0]
    cells = column(link.table, name)
    why = f"{len(set(cells))} values in {len(cells)} rows; rows of one may look alike"
    others = [other for _, other in found[1:]]
    doubt = (
        f"{', '.join(others[:3])} may group rows too" if others and rank > 0 and found[1][0] <= rank else ""
    )
    if rank == len(_GROUPS) - 1:
        doubt = doubt or "by its name alone"
    return Choice(name, why, doubt)


def joined_group(
    survey: Survey, link: Link, label: Sequence[str], template: str
) -> tuple[str, str, str, str] | None:
    """Another table with a group for the ids: its name, key and column, and the evidence."""
    ids = column(link.table, link.id)
    for name, table in survey.tables.items():
        if name in (link.name, template) or len(table.header) < 2:
            continue
        for key in columns(table):
            if not key or overlap(ids, column(table, key)) < 1:
                continue
            other = Link(name, table, key, key, 1.0)
            by_id = {plain_id(one): n for n, one in enumerate(column(table, key))}
            group = group_column(other, [], [])
            if group is not None and len(by_id) == len(table):
                cells = column(table, group.value)
                if _groups([cells[by_id[plain_id(one)]] for one in ids], label):
                    return name, key, group.value, group.why
    return None


def _group_rank(name: str) -> int:
    return next((n for n, pattern in enumerate(_GROUPS) if pattern.search(name)), len(_GROUPS))


def _groups(cells: Sequence[str], label: Sequence[str]) -> bool:
    """Whether values group rows: fewer than rows, several, seldom empty, and no property of the classes."""
    distinct = set(cells)
    if not 3 <= len(distinct) < len(cells) or cells.count("") > 0.2 * len(cells):
        return False
    if not label or len(set(label)) < 2:
        return True
    values = defaultdict(set)
    for cell, name in zip(cells, label, strict=True):
        values[name].add(cell)
    return any(len(found) > 1 for found in values.values())
