"""Checks for labels that can be read off the files instead of the images."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from dataclasses import asdict
from pathlib import PurePosixPath

import numpy as np
import pandas as pd

from comp.checks.context import CheckContext
from comp.checks.findings import Finding
from comp.checks.guessing import FOLDS, Guess, date_in, guesses, rows_by_content
from comp.checks.image_metadata import ENCODING
from comp.checks.registry import check
from comp.data.folds import group_names

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
        'a mark inside the image; a rule that trees cannot learn, such as "every tenth row"; '
        "texts that only tell together"
    ),
)
def metadata_shortcut(evidence: CheckContext) -> list[Finding]:
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
    train = evidence.manifest.train
    known = train[[not evidence.images[p].error for p in train["path"]]]
    if len(known) < LEAST_ROWS or known["label"].nunique() < 2:
        return []
    numbers = [_facts(evidence, known), _name_facts(evidence, known)]
    found = _guesses(evidence, "shortcut", known, list(known["label"]), numbers, _tags(evidence, known))
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
)
def train_test_drift(evidence: CheckContext) -> list[Finding]:
    """The same facts, without names, telling train rows from test rows: adversarial validation.

    A warning where the cross-validated area under the ROC curve is 0.8 or more, and four standard deviations beyond
    chance: the test images were made in another way, and the OOF score may not carry over. Tags with a text of its own
    for nearly every image count as names, unless they are dates.
    """
    table = evidence.manifest.table
    readable = np.array([not evidence.images[p].error for p in table["path"]], dtype=bool)
    known = table[(table["split"] != "extra").to_numpy() & readable]
    tests = int((known["split"] == "test").sum())
    if min(tests, len(known) - tests) < LEAST_ROWS // 2:
        return []
    tags = {tag: texts for tag, texts in _tags(evidence, known).items() if not _are_names(texts)}
    found = _guesses(evidence, "drift", known, list(known["split"]), [_facts(evidence, known)], tags)
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


def _guesses(
    evidence: CheckContext,
    name: str,
    rows: pd.DataFrame,
    labels: list[str],
    numbers: list[Numbers],
    tags: dict[str, list[str]],
) -> list[Guess]:
    """The guesses of some rows' labels by each group of numbers and each tag, the best first; remembered."""
    looks = [evidence.images[path] for path in rows["path"]]
    contents = [look.file_sha for look in looks]
    groups = group_names(rows)
    told = json.dumps([METHOD, contents, labels, groups, numbers, tags])
    digest = hashlib.sha256(told.encode()).hexdigest()

    def work() -> list[dict[str, object]]:
        taken = rows_by_content(contents, labels, groups)
        if taken is None:
            return []
        return [asdict(guess) for guess in guesses(taken, numbers, tags, ranked=name == "drift")]

    return [Guess(**guess) for guess in evidence.memory.recall(name, digest, work)]


def _facts(evidence: CheckContext, rows: pd.DataFrame) -> Numbers:
    """Numbers known of every file, by name; none of arrays."""
    looks = [evidence.images[path] for path in rows["path"]]
    if all(look.kind == "array" for look in looks):
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


def _name_facts(evidence: CheckContext, rows: pd.DataFrame) -> Numbers:
    """Numbers of a row's name and place that test rows have too; none of arrays."""
    facts: Numbers = {}
    if all(evidence.images[path].kind == "array" for path in rows["path"]):
        return facts
    if _names_alike(evidence):
        facts["number in the name"] = [_number(path) for path in rows["path"]]
        facts["length of the name"] = [len(PurePosixPath(path).stem) for path in rows["path"]]
    if evidence.competition.facts.order == "table":
        facts["place in the table"] = [float(n) for n in range(len(rows))]
    return facts


def _tags(evidence: CheckContext, rows: pd.DataFrame) -> dict[str, list[str]]:
    """The text of every row by the name of its tag, "" where it has none; only tags that differ between rows, and of
    those that differ between the same rows the first.
    """
    looks = [evidence.images[path] for path in rows["path"]]
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


def _names_alike(evidence: CheckContext) -> bool:
    """Whether train and test files are named after one pattern, so that a name could betray a test row too."""
    patterns = [
        {re.sub(r"\d+", "#", PurePosixPath(path).stem) for path in part["path"]}
        for part in (evidence.manifest.train, evidence.manifest.test)
    ]
    return bool(patterns[0] & patterns[1])


def _number(path: str) -> float:
    digits = re.findall(r"\d+", PurePosixPath(path).stem)
    return float(digits[-1][-15:]) if digits else -1.0
