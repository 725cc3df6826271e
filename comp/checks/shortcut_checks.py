"""Checks for labels that can be guessed from facts beside the pixels instead of the images."""

from __future__ import annotations

import hashlib
import heapq
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from comp.checks.context import CheckContext, Finding, check
from comp.checks.image_index import CROP
from comp.checks.image_metadata import ENCODING
from comp.data.folds import group_names
from comp.data.images.boxes import without_box
from comp.data.images.raw_tree import is_array_row

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

FOLDS = 3
MOST_ROWS = 4000
CERTAIN = 4  # standard deviations of chance
CERTAIN_OF_ONE = 5  # of the best of all classes
MOST_WORDS = 64  # of one tag, the most telling ones of the training rows
_BINS = (4, 16, 64, 256)
_DATE = re.compile(r"(\d{4})[:/.-]?(\d{2})[:/.-]?(\d{2})(?:[T ](\d{2}):?(\d{2}):?(\d{2}))?(?!\d)")
_WORD = re.compile(r"[^\W\d_]+|\d+")
_DIGITS = re.compile(r"\d+")
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


@dataclass(frozen=True)
class Guess:
    """How well held-out rows were guessed by a fact: balanced accuracy, or the area under the ROC curve.

    ``fact`` is a tag's name, or the most telling of a group of numbers; ``chance`` is the score that no relation
    gives, ``error`` its standard deviation then. ``told`` is the class that is told best from all others, ``apart`` by
    how much: the share of its rows that are guessed so, less that of other rows; 0 where chance may have done it.
    """

    fact: str
    is_tag: bool
    score: float
    chance: float
    error: float
    told: str = ""
    apart: float = 0.0

    @property
    def gain(self) -> float:
        return self.score - self.chance

    @property
    def is_certain(self) -> bool:
        """Whether the gain is four standard deviations or more: not one in 10,000 facts that tell nothing is so."""
        return self.gain >= CERTAIN * self.error


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows to guess, sorted by content: ``order`` (M,) their places among those given, ``y`` (M,) their classes 0 …
    C-1, ``names`` (C,) what they are called, ``fold`` (M,) the part that each is held out in, ``units`` (C,) how many
    groups a class has.
    """

    order: Ints
    y: Ints
    names: NDArray[np.str_]
    fold: Ints
    units: Ints


def rows_by_content(contents: Sequence[str], labels: Sequence[str], groups: Sequence[str]) -> Rows | None:
    """At most 4,000 rows of classes with three groups or more, dealt into three folds; None where no two are left.

    A group takes part with its first row's class. Nothing depends on the order of what is given, but among rows of
    equal content and label.
    """
    last = heapq.nsmallest(MOST_ROWS, contents)[-1:]
    some = [n for n, content in enumerate(contents) if content <= last[0]] if last else []
    taken = [[column[n] for n in some] for column in (contents, labels, groups)]
    table = pd.DataFrame(dict(zip(("content", "label", "group"), taken, strict=True)), index=some)
    table = table.sort_values(["content", "label"], kind="stable")[:MOST_ROWS]
    first = table.drop_duplicates("group")
    units = first["label"].value_counts()
    table = table[table["label"].isin(units.index[units >= FOLDS])]
    if table["label"].nunique() < 2:
        return None
    first = first[first["label"].isin(table["label"].unique())]
    # dealt class by class, each going on where the last one stopped
    dealt = first.sort_values("label", kind="stable")["group"]
    fold_of = dict(zip(dealt, np.arange(len(dealt)) % FOLDS, strict=True))
    kept = table["group"].isin(fold_of).to_numpy()
    table = table[kept]
    names, y = np.unique(table["label"].to_numpy(str), return_inverse=True)
    fold = table["group"].map(fold_of).to_numpy(np.int64)
    return Rows(
        table.index.to_numpy(np.int64),
        y.astype(np.int64),
        names,
        fold,
        np.array([units.get(name, 1) for name in names], dtype=np.int64),
    )


def guesses(
    rows: Rows,
    numbers: Sequence[Mapping[str, Sequence[float]]],
    tags: Mapping[str, Sequence[str]],
    ranked: bool,
) -> list[Guess]:
    """The guess by each group of numbers and by each tag, all of length N by name; the best score first.

    ``ranked`` asks for the area under the ROC curve of two classes instead of balanced accuracy.
    """
    judge = _judged_by_rank if ranked else _judged
    found = []
    for facts in numbers:
        x = np.array(list(facts.values()), dtype=np.float64).T  # (N, F), or nothing
        if x.size and x[rows.order].std(axis=0).any():
            x = x[rows.order]
            guess = judge(rows, _by_forest(rows, x), "", False)
            fact = list(facts)[_most_telling(rows, x)] if guess.is_certain else ""
            found.append(replace(guess, fact=fact))
    for tag, texts in tags.items():
        taken = [texts[n] for n in rows.order]
        found.append(judge(rows, _by_words(rows, taken), tag, True))
    return sorted(found, key=lambda guess: (-guess.score, guess.fact))


def _forest() -> Any:
    from sklearn.ensemble import ExtraTreesClassifier

    return ExtraTreesClassifier(n_estimators=40, min_samples_leaf=3, class_weight="balanced", random_state=0)


def _by_forest(rows: Rows, facts: Floats) -> Floats:
    """Held-out class scores (M, C) of numbers (M, F), by a small forest."""
    scores = np.zeros((len(rows.y), len(rows.names)))
    for k in range(FOLDS):
        held = rows.fold == k
        forest = _forest().fit(facts[~held], rows.y[~held])
        scores[np.ix_(held, forest.classes_)] = forest.predict_proba(facts[held])
    return scores


def _most_telling(rows: Rows, facts: Floats) -> int:
    """The column of facts (M, F) that a forest goes by most."""
    return int(np.argmax(_forest().fit(facts, rows.y).feature_importances_))


def _by_words(rows: Rows, texts: Sequence[str]) -> Floats:
    """Held-out class scores (M, C) of texts (M,), by the words that tell classes apart among the training rows.

    A text's words are itself whole, its letters and numbers, the parts of a date in it, and how great its numbers and
    its date are among all. Each class counts alike (naive Bayes over the 64 most telling words).
    """
    from scipy.sparse import csr_array

    words = _words(texts)
    vocabulary: dict[str, int] = {}
    row_of, column_of = [], []
    for n, some in enumerate(words):
        for word in some:
            row_of.append(n)
            column_of.append(vocabulary.setdefault(word, len(vocabulary)))
    shape = (len(texts), len(vocabulary))
    seen = csr_array((np.ones(len(row_of)), (row_of, column_of)), shape=shape)
    scores = np.zeros((len(rows.y), len(rows.names)))
    for k in range(FOLDS):
        held = rows.fold == k
        scores[held] = seen[held] @ _evidence(seen[~held], rows.y[~held], len(rows.names))
    return scores


def _evidence(seen, y: Ints, classes: int) -> Floats:  # type: ignore[no-untyped-def]
    """What each word speaks for each class (V, C), in logarithms; nothing for words that tell nothing."""
    sizes = np.bincount(y, minlength=classes).astype(np.float64)
    counts = np.stack([seen[y == c].sum(axis=0) for c in range(classes)], axis=1)  # (V, C)
    share = counts.sum(axis=1) / len(y)
    expected = share[:, None] * sizes
    with np.errstate(divide="ignore", invalid="ignore"):
        surprise = np.nansum((counts - expected) ** 2 / expected, axis=1) / np.maximum(1 - share, 1e-9)
    freedom = classes - 1
    telling = (surprise > freedom + 3 * np.sqrt(2 * freedom)) & (counts.sum(axis=1) >= 2)
    best = np.argsort(-np.where(telling, surprise, 0), kind="stable")[: max(MOST_WORDS, 4 * classes)]
    chosen = np.zeros(len(share), dtype=bool)
    chosen[best] = telling[best]
    rate = (counts + share[:, None]) / (sizes + 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        weight = np.log(rate / share[:, None])
    return np.where(chosen[:, None] & (share > 0)[:, None], weight, 0.0)


def _words(texts: Sequence[str]) -> list[set[str]]:
    """The words of each text; equal texts are taken apart once."""
    distinct = sorted(set(texts))
    dates = {text: date_in(text) for text in distinct}
    numbers = {text: _numbers(text) for text in distinct}
    greatness = {"date": {t: (d - datetime.min).total_seconds() for t, d in dates.items() if d}}
    greatness["time of day"] = {t: d.hour * 3600 + d.minute * 60 + d.second for t, d in dates.items() if d}
    for n in range(4):
        greatness[f"number {n}"] = {t: found[n] for t, found in numbers.items() if len(found) > n}
    greatness["length"] = {text: float(len(text)) for text in distinct}
    words = {text: _plain_words(text, dates[text]) for text in distinct}
    for name, values in greatness.items():
        if len(values) > 1:
            for text, where in _bins(name, values, texts).items():
                words[text] |= where
    return [words[text] for text in texts]


def _plain_words(text: str, date: datetime | None) -> set[str]:
    words = {f"whole {text}", *(f"word {word}" for word in _WORD.findall(text.casefold())[:200])}
    if date is not None:
        words |= {f"{part} {date.strftime(part)}" for part in ("%Y", "%m", "%d", "%H", "%M", "%S", "%a")}
        words.add(f"day {date:%Y-%m-%d}")
    return words


def _bins(name: str, values: dict[str, float], texts: Sequence[str]) -> dict[str, set[str]]:
    """Where each value lies among all rows' values, in quarters, sixteenths …, as words."""
    every = np.sort([values[text] for text in texts if text in values])
    some = list(values)
    place = np.searchsorted(every, [values[text] for text in some], side="left") / len(every)
    used = [count for count in _BINS if count == _BINS[0] or 4 * count <= len(every)]
    return {
        text: {f"{name} {int(at * count)} of {count}" for count in used}
        for text, at in zip(some, place, strict=True)
    }


def date_in(text: str) -> datetime | None:
    """The first date in a text, as EXIF, ISO 8601 or IPTC write it, with its time of day where there is one."""
    for found in _DATE.finditer(text):
        year, month, day, hour, minute, second = (int(part or 0) for part in found.groups())
        try:
            return datetime(year, month, day, hour, minute, second)
        except ValueError:
            continue
    return None


def _numbers(text: str) -> list[float]:
    """The first three numbers of a text, and three as degrees, minutes and seconds."""
    found = [float(number) for number in _NUMBER.findall(text)[:3] if len(number) < 16]
    return [*found, found[0] + found[1] / 60 + found[2] / 3600] if len(found) == 3 else found


def _judged(rows: Rows, scores: Floats, fact: str, is_tag: bool) -> Guess:
    """Balanced accuracy of held-out class scores (M, C), and the class that is told best."""
    guessed = scores.argmax(axis=1)
    classes, units = len(rows.names), rows.units
    sizes = np.bincount(rows.y, minlength=classes)
    hits = np.bincount(rows.y[guessed == rows.y], minlength=classes)
    answers = np.bincount(guessed, minlength=classes)
    recall, share = hits / sizes, answers / len(guessed)
    spread = share * (1 - share)
    apart = recall - (answers - hits) / np.maximum(1, len(guessed) - sizes)
    by_chance = np.sqrt(spread * (1 / units + 1 / np.maximum(1, units.sum() - units)))
    apart = np.where(apart >= CERTAIN_OF_ONE * by_chance, apart, 0.0)
    best = int(apart.argmax())
    error = float(np.sqrt((spread / units).sum()) / classes)
    return Guess(
        fact, is_tag, float(recall.mean()), 1 / classes, error, str(rows.names[best]), float(apart[best])
    )


def _judged_by_rank(rows: Rows, scores: Floats, fact: str, is_tag: bool) -> Guess:
    """Area under the ROC curve of held-out scores (M, 2)."""
    from sklearn.metrics import roc_auc_score

    first, second = (int(n) for n in rows.units)
    error = float(np.sqrt((first + second + 1) / (12 * first * second)))
    return Guess(fact, is_tag, float(roc_auc_score(rows.y, scores[:, 1] - scores[:, 0])), 0.5, error)


METHOD = 2  # what another one came to is worked out again
LEAST_ROWS = 40
SHORTCUT_GAIN = 0.15
ONE_CLASS = 0.5
DRIFT_AUC = 0.8
MOST_TAGS = 200
OWN_TEXTS = 0.9  # share of rows with a text of their own, from which a tag is a name
_SAID = 3  # facts that a message names

Numbers = dict[str, list[float]]


@check(
    "metadata-shortcut",
    "data",
    "shortcuts",
    "warning",
    catches=(
        "facts of the files that predict the label: size, bytes, format, every text, date and "
        "number beside the pixels (EXIF, XMP, IPTC, comments, PNG chunks), the number in the name, "
        "the place in the table"
    ),
    misses=(
        'a mark inside the image: that is `pixel-shortcut`; a rule that trees cannot learn, such as "every tenth row"; '
        "texts that only tell together"
    ),
)
def metadata_shortcut(context: CheckContext) -> list[Finding]:
    """Facts of the files that predict the label: size in pixels and bytes, format; each text, date and number that is
    written beside the pixels (EXIF, XMP, IPTC, comments, PNG chunks, profiles); the number in the name (where train
    and test names are made alike), the place in the table (in table layouts). The class folder is never a fact.

    Size and format together, name and place together, and every tag alone guess the label of held-out rows (3 folds
    with groups whole, at most 4,000 rows): numbers by a small forest, tags by naive Bayes over words, dates and
    numbers. A warning where balanced accuracy gains 0.15 or more, or where a text or date tells one class from all others (the
    share of its rows that are guessed so is greater by half or more), each time four standard deviations beyond chance. Rows
    are taken by content, so that names and order change nothing. A second on thousands of rows; remembered for the
    same contents. What is not found: a rule such as "every tenth row", a tag whose text is another for every image,
    tags that tell only together.
    """
    train = context.manifest.train
    known = train[context.images.can_be_read(train["path"])]
    if len(known) < LEAST_ROWS or known["label"].nunique() < 2:
        return []
    kinds = context.task.strata(list(known["label"]))
    found = _guesses(context, "shortcut", known, kinds)
    telling = [guess for guess in found if _tells(guess)]
    if not telling:
        return []
    best = telling[0]
    if best.gain >= SHORTCUT_GAIN:
        tell = f"give balanced accuracy {best.score:.2f} ({best.chance:.2f} by chance)"
    else:
        tell = f"tell class {best.told!r} from the others"
    message = f"the files alone, without their images, {tell}; most telling: {_named(telling)}"
    remedy = "a model may learn this instead of the images: look at how the classes were collected"
    return [Finding("metadata-shortcut", "warning", len(known), message, tuple(known["id"][:5]), remedy)]


@check(
    "train-test-drift",
    "data",
    "shortcuts",
    "warning",
    catches="the same facts, without names, telling training files from test files",
    misses="another camera, light or place behind equal files",
    of_scored_rows=True,
)
def train_test_drift(context: CheckContext) -> list[Finding]:
    """The same facts, without names, telling train rows from test rows: adversarial validation.

    A warning where the cross-validated area under the ROC curve is 0.8 or more, and four standard deviations beyond
    chance: the test images were made in another way, and the OOF score may not carry over. Tags with a text of its own
    for nearly every image count as names, unless they are dates.
    """
    table = context.manifest.table
    readable = context.images.can_be_read(table["path"])
    known = table[(table["split"] != "extra").to_numpy() & readable]
    tests = int((known["split"] == "test").sum())
    if min(tests, len(known) - tests) < LEAST_ROWS // 2:
        return []
    found = _guesses(context, "drift", known, list(known["split"]))
    telling = [guess for guess in found if guess.score >= DRIFT_AUC and guess.is_certain]
    if not telling:
        return []
    message = f"train and test files differ: their facts tell them apart with an AUC of {telling[0].score:.2f}; most telling: {_named(telling)}"
    remedy = "were they resized or encoded differently? bring both to one form, and doubt the OOF score"
    return [Finding("train-test-drift", "warning", tests, message, (), remedy)]


def _tells(guess: Guess) -> bool:
    """Whether a fact betrays labels; of what people or cameras wrote it is enough that it betrays one class."""
    is_written = guess.is_tag and not guess.fact.startswith(ENCODING)
    return (guess.is_certain and guess.gain >= SHORTCUT_GAIN) or (is_written and guess.apart >= ONE_CLASS)


def _named(telling: list[Guess]) -> str:
    return ", ".join(guess.fact for guess in telling[:_SAID])


def _guesses(context: CheckContext, name: str, rows: pd.DataFrame, labels: list[str]) -> list[Guess]:
    """The guesses of some rows' labels by what is known of their files, the best first; remembered. ``name`` is what is
    asked: "shortcut", or "drift", which hears of no names.
    """
    contents = context.images.contents(rows["path"], "file_sha")
    groups = group_names(rows)
    dealt = rows_by_content(contents, labels, groups)
    if dealt is None:
        return []
    taken = rows.iloc[dealt.order]
    numbers, tags = [_facts(context, taken)], _tags(context, taken)
    if name == "drift":
        tags = {tag: texts for tag, texts in tags.items() if not _are_names(texts)}
    else:
        numbers.append(_name_facts(context, taken, dealt.order))
    told = json.dumps([METHOD, contents, labels, groups, numbers, tags])
    digest = hashlib.sha256(told.encode()).hexdigest()

    def work() -> list[dict[str, object]]:
        alone = replace(dealt, order=np.arange(len(dealt.order)))
        return [asdict(guess) for guess in guesses(alone, numbers, tags, ranked=name == "drift")]

    return [Guess(**guess) for guess in context.memory.recall(name, digest, work)]


def _facts(context: CheckContext, rows: pd.DataFrame) -> Numbers:
    """Numbers known of every file, by name; none of arrays, and of boxes, whose size is what they show."""
    looks = [context.images[path] for path in rows["path"]]
    if all(look.kind in ("array", CROP) for look in looks):
        return {}
    kinds = {kind: n for n, kind in enumerate(sorted({look.kind for look in looks}))}
    return {
        "height": [look.height for look in looks],
        "width": [look.width for look in looks],
        "side ratio": [look.width / max(1, look.height) for look in looks],
        "bytes": [look.file_bytes for look in looks],
        "bytes per pixel": [look.file_bytes / max(1, look.height * look.width) for look in looks],
        "format": [kinds[look.kind] for look in looks],
    }


def _name_facts(context: CheckContext, rows: pd.DataFrame, places: Ints) -> Numbers:
    """Numbers of a row's name and place that test rows have too; none of arrays."""
    facts: Numbers = {}
    if context.images.kinds(rows["path"]) == {"array"}:
        return facts
    if _names_alike(context):
        facts["number in the name"] = [_number(path) for path in rows["path"]]
        facts["length of the name"] = [len(_stem(path)) for path in rows["path"]]
    if context.competition.facts.order == "table":
        facts["place in the table"] = [float(n) for n in places]
    return facts


def _tags(context: CheckContext, rows: pd.DataFrame) -> dict[str, list[str]]:
    """The text of every row by the name of its tag, "" where it has none; only tags that differ between rows, and of
    those that differ between the same rows the first.
    """
    looks = [context.images[path] for path in rows["path"]]
    counted = Counter(name for look in looks for name in look.tags)
    often = sorted(
        (name for name, count in counted.items() if count >= FOLDS), key=lambda n: (-counted[n], n)
    )
    tags: dict[str, list[str]] = {}
    seen: set[bytes] = set()
    for name in often[:MOST_TAGS]:
        texts = [look.tags.get(name, "") for look in looks]
        codes, values = pd.factorize(pd.Series(texts, dtype="object"))
        if len(values) > 1 and codes.tobytes() not in seen:
            seen.add(codes.tobytes())
            tags[name] = texts
    return tags


def _are_names(texts: list[str]) -> bool:
    given = [text for text in texts if text]
    return len(set(given)) > OWN_TEXTS * len(given) and sum(
        date_in(text) is not None for text in given
    ) * 2 < len(given)


def _names_alike(context: CheckContext) -> bool:
    """Whether train and test files are named after one pattern, so that a name could betray a test row too."""
    if any(map(is_array_row, context.manifest.table["path"])):
        return False  # a row of a shard has a place, and no name
    patterns = [
        {_DIGITS.sub("#", _stem(path)) for path in part["path"]}
        for part in (context.manifest.train, context.manifest.test)
    ]
    return bool(patterns[0] & patterns[1])


def _stem(path: str) -> str:
    """The name of a file without its suffix."""
    name = without_box(path).rpartition("/")[2]
    return name.rpartition(".")[0] or name


def _number(path: str) -> float:
    digits = _DIGITS.findall(_stem(path))
    return float(digits[-1][-15:]) if digits else -1.0
