"""The facts of a raw folder whose images lie in shards, as the Hugging Face hub and webdataset have them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from comp.data.competitions.from_folder.label_guess import FEW, Answer, guess_answer
from comp.data.competitions.from_folder.proposal import Proposal
from comp.data.competitions.from_folder.survey import counted
from comp.data.competitions.read_shards import CLS, ShardSet
from comp.data.csv_table import Table, clean, listed, read_table
from comp.data.images.raw_tree import is_ignored, is_image_name, natural_key
from comp.data.images.shard import KEY, Shard
from comp.data.images.shard_source import open_shard
from comp.data.task import SEPARATOR
from comp.errors import InputError, RawDataError

_DEEP = ("*", "*/*", "*/*/*")  # data/train-00000-of-00002.parquet; default/train/0000.parquet
_TEST = re.compile(r"(^|[/_-])test", re.IGNORECASE)
_OTHER = re.compile(r"(^|[/_-])(val|valid|validation|dev|extra|unsupervised)(?![a-z])", re.IGNORECASE)
_LABEL = re.compile(r"(^|[._])(label|labels|class|target|category|species|breed)", re.IGNORECASE)
_IDS = ("id", "image_id", "img_id", "image_name", "file_name", "filename")
_TEMPLATE = re.compile(r"sample|submi", re.IGNORECASE)


@dataclass(frozen=True)
class _Label:
    column: str
    why: str
    unsure: str = ""


def propose_shards(raw: Path, metric: str = "", task: str = "") -> Proposal | None:
    """What a folder of shards says of its competition; None where it has no shards of images with labels.

    Raises
    ------
    InputError
        If no glob tells the shards of a split from others, or a package that reads them is not installed.
    """
    found = _labelled_shards(raw)
    if found is None:
        return None
    names, first, label = found
    tests = [name for name in names if _TEST.search(name)]
    others = [name for name in names if name not in tests and _OTHER.search(name)]
    trains = [name for name in names if name not in (*tests, *others)]
    trains, others = (trains, others) if trains else (others, [])
    if not trains:
        return None
    shards = ShardSet(raw, _glob_of(raw, trains), "shards", "")
    rows = shards.read([label.column])
    labels = rows.cells[label.column]
    test = ShardSet(raw, _glob_of(raw, tests), "test_shards", "") if tests else None
    template = _template(raw)
    answer = _answer(labels, rows.lists, template, metric, task)
    proposal = Proposal()
    put, unsure = proposal.put, answer.unsure
    put("task", answer.task, answer.why_task)
    put("metric", answer.metric, "" if "metric" in unsure else "as given", unsure.get("metric", ""))
    small = [name for name, count in Counter(labels).items() if name and count < FEW]
    if small and answer.task != "regression":
        why = f"{len(small)} classes have fewer than {FEW} rows, first {listed(sorted(small), 3)}"
        put("folds.rare", "spread", why)
    put("data.shards", shards.pattern, f"{len(rows.paths):,} rows in {_count(shards)}")
    if test is not None:
        why = f"{_count(test)}, by the names; labels in them are not read"
        put("data.test_shards", test.pattern, why)
    columns = set(first.columns) & set(test.first.columns if test is not None else first.columns)
    ids = next((name for name in _IDS if name in columns), "")
    if ids:
        put("data.id", ids, "by its name")
    key, why = "data.labels" if rows.lists else "data.label", f"{label.why}; {counted(labels)}"
    put(key, label.column, why, label.unsure)
    if rows.lists:
        put("data.separator", SEPARATOR, "between the names of a list")
    _put_template(proposal, answer, template, test, ids)
    if others:
        proposal.notes.append(f"left out: {listed(others, 3)}")
    return proposal


def _count(shards: ShardSet) -> str:
    return "1 shard" if len(shards.names) == 1 else f"{len(shards.names):,} shards"


def _labelled_shards(raw: Path) -> tuple[list[str], Shard, _Label] | None:
    """The shards of a folder, the first of the labelled ones, and their column of labels."""
    paths = [path for deep in _DEEP for path in raw.glob(f"{deep}.parquet")]
    paths = paths or [path for deep in _DEEP for path in raw.glob(f"{deep}.tar")]
    names = [path.relative_to(raw).as_posix() for path in paths]
    names = sorted((name for name in names if not is_ignored(name)), key=natural_key)
    trains = [name for name in names if not _TEST.search(name)]
    if not trains:
        return None
    try:
        first = open_shard(raw, trains[0])
        label = _label_of(first)
    except RawDataError:  # a table, or an archive of other things: looked at as such
        return None
    except InputError:  # a package is not installed
        if any(is_image_name(path.name) for path in raw.rglob("*")):
            return None
        raise
    return None if label is None else (names, first, label)


def _label_of(shard: Shard) -> _Label | None:
    """The column of labels of a shard; None where no column can be it."""
    named = [name for name in shard.columns if shard.classes.get(name)]
    if CLS in shard.columns:
        return _Label(CLS, "as webdataset names it")
    if named:
        doubt = f"it may be {' or '.join(named[1:3])}" if len(named) > 1 else ""
        return _Label(named[0], f"{len(shard.classes[named[0]])} class names stand in the shards", doubt)
    alike = [name for name in shard.columns if _LABEL.search(name)]
    others = [name for name in shard.columns if name not in _IDS]
    if alike:
        doubt = f"it may be {' or '.join(alike[1:3])}" if len(alike) > 1 else ""
        return _Label(alike[0], "by its name", doubt)
    alone = len(others) == 1 and shard.layout  # what lies beside images in a tar may be anything
    return _Label(others[0], "the only column", "by nothing else") if alone else None


def _glob_of(raw: Path, names: Sequence[str]) -> str:
    """A glob that finds these shards and no others.

    Raises
    ------
    InputError
        If there is none.
    """
    stars = {re.sub(r"\d+", "*", name) for name in names}
    tries = [names[0]] if len(names) == 1 else []
    tries += [re.sub(r"[*]-of-[*]", "*", star) for star in stars if len(stars) == 1] + sorted(stars)
    for pattern in tries:
        if sorted(path.relative_to(raw).as_posix() for path in raw.glob(pattern)) == sorted(names):
            return pattern
    value = f"{raw}: {listed(names, 4)}"
    remedy = "state shards and test_shards in [data] of a competition.toml"
    raise InputError("the shards of a set have names that differ in numbers", value, remedy)


def _answer(labels: Sequence[str], lists: bool, template: Table | None, metric: str, task: str) -> Answer:
    target = clean(template.header[1]) if template is not None and len(template.header) == 2 else ""
    cells = template.column(target) if template is not None and target else []
    answer = guess_answer(labels, cells, target, metric, "multi-label" if lists else task)
    if answer.kind == "prob" and template is None:
        answer.kind, answer.template = "label", {}
    return answer


def _template(raw: Path) -> Table | None:
    """The sample submission, where there is one."""
    named = sorted(path for path in raw.glob("*.csv") if _TEMPLATE.search(path.name))
    return read_table(named[0]) if named else None


def _put_template(
    proposal: Proposal, answer: Answer, template: Table | None, test: ShardSet | None, ids: str
) -> None:
    put, unsure = proposal.put, answer.unsure
    if template is None or test is None:
        put("template.file", "made", "no sample submission was there", "the site's columns are not known")
        put("template.kind", answer.kind, answer.why_kind)
        return
    asked, column = [clean(one) for one in template.column(template.header[0])], ids or KEY
    known = set(map(clean, test.read([column]).cells[column]))
    if not known.issuperset(asked):
        doubt = "no id names a row of the shards: row i is taken for the i-th of them"
        put(
            "pairs",
            "position",
            f"{len(asked)} rows in the sample submission, {len(known)} in the shards",
            doubt,
        )
    put("template.file", template.name, f"{len(template)} rows")
    put("template.id", clean(template.header[0]))
    put("template.target", clean(template.header[1]) if len(template.header) == 2 else "*")
    put(
        "template.kind",
        answer.kind if len(template.header) == 2 else "probs",
        answer.why_kind,
        unsure.get("template.kind", ""),
    )
    for key, value in answer.template.items():
        put(f"template.{key}", value, "", unsure.get(f"template.{key}", ""))
