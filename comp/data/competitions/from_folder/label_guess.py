"""What kind of answer a competition asks for, by the labels that there are and the cells of its template."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from comp.config import finite_number
from comp.data.competitions.from_folder.survey import counted
from comp.data.csv_table import NOTHING, clean, listed, number_of

SEPARATORS = (" ", ",", ";", "|")
FEW = 5  # rows of a class, with fewer of which the usual folds cannot all have one
MOST_STEPS = 11  # of an ordinal scale
MANY_NUMBERS = 30  # distinct whole numbers that are rather measured than counted classes
ORDINAL = ("quadratic_kappa", "qwk", "quadratic_weighted_kappa")
OF_NUMBERS = ("rmse", "mae", "mse", "mcrmse", "rmsle", "r2")
_MEASURED = re.compile(r"(^|_)(age|count|number|weight|height|length|price|score|size)s?($|_)", re.IGNORECASE)
OF_ONE_CLASS = ("f1", "binary_f1")  # of two classes
_OF_SEVERAL = re.compile(r"(map@|top)\d+")  # metrics that judge several names a row
_YES = ("yes", "true", "positive", "pos", "t", "y")
_USUAL = ("normal", "healthy", "benign", "negative", "real", "genuine", "background", "clean", "good", "ok")
_DENIED = re.compile(r"^(no|non|not|without)([\W_]|$)", re.IGNORECASE)  # classes of what is not there
_BOOLEANS = {"true": 1.0, "false": 0.0}
OF_PROBS = ("roc_auc", "auc", "log_loss", "logloss", "average_precision", "ap", "probabilistic_f1", "pf1")


@dataclass
class Answer:
    """What is asked: the task, the template's kind and the keys beside it, each with its evidence.

    ``unsure`` names keys that nothing in a folder says.
    """

    task: str
    kind: str
    metric: str
    why_task: str
    why_kind: str
    template: dict[str, object] = field(default_factory=dict)
    data: dict[str, object] = field(default_factory=dict)
    unsure: dict[str, str] = field(default_factory=dict)


def separator_of(cells: Sequence[str]) -> str:
    """The sign between several names of a cell; empty where cells are one name each.

    Names of several words are no lists: their words do not stand in other combinations, or alone.
    """
    distinct = {clean(cell) for cell in cells if clean(cell)}
    for sign in reversed(SEPARATORS):
        many = [cell for cell in distinct if len(split_cell(cell, sign)) > 1]
        if not many or (len(many) == len(distinct) and len(distinct) < 3):
            continue
        words = Counter(word for cell in distinct for word in split_cell(cell, sign))
        again = sum(words[word] > 1 for cell in many for word in split_cell(cell, sign))
        total = sum(len(split_cell(cell, sign)) for cell in many)
        alone = any(cell in words for cell in distinct if len(split_cell(cell, sign)) == 1)
        combined = len(words) < len(distinct) or (alone and len(words) <= len(distinct))
        in_many = {word for cell in many for word in split_cell(cell, sign)}
        singles = {cell for cell in distinct if len(split_cell(cell, sign)) == 1}
        if combined and again >= 0.8 * total and (singles & in_many or len(words) < 0.7 * len(distinct)):
            return sign
    return ""


def split_cell(cell: str, sign: str) -> list[str]:
    """The names of a cell with a sign between them."""
    return [part.strip() for part in cell.split(sign) if part.strip()]


def guess_answer(labels: Sequence[str], cells: Sequence[str], target: str, metric: str, task: str) -> Answer:
    """The answer to one target column: ``labels`` of the training rows, ``cells`` of the template."""
    given = [clean(cell) for cell in cells if clean(cell).lower() not in NOTHING]
    distinct = list(dict.fromkeys(clean(label) for label in labels if clean(label)))
    between = separator_of(labels) if task in ("", "multi-label") else ""
    if task == "multi-label" or between:
        return _of_several(labels, between or " ", metric)
    if task == "regression" or (not task and _is_measured(distinct, given, metric, target)):
        return _of_number(distinct, metric)
    if task == "ordinal" or (not task and metric in ORDINAL and _is_scale(distinct)):
        why = f"the labels are the steps {', '.join(sorted(distinct, key=float))}, and {metric} goes by their distances"
        return Answer("ordinal", "label", metric, why, _shown(given))
    many = _depth(given, distinct, bool(_OF_SEVERAL.fullmatch(metric)))
    if many > 1:
        why = f"a cell of {target!r} names {many} classes, such as {given[0]!r}"
        answer = Answer("single-label", "topk", metric or f"map@{many}", _few(labels), why, {"k": many})
        if not metric:
            answer.unsure["metric"] = f"map@{many} fits {many} names a row; the folder cannot say"
        return answer
    return _of_class(labels, distinct, given, target, metric)


def _of_class(
    labels: Sequence[str], distinct: list[str], given: list[str], target: str, metric: str
) -> Answer:
    answer = Answer("single-label", "label", metric or "accuracy", _few(labels), _shown(given))
    numbers = [_BOOLEANS.get(cell.casefold(), finite_number(cell)) for cell in given]
    between = bool(given) and all(n is not None and 0 <= n <= 1 for n in numbers)
    fraction = between and any(n not in (0, 1) for n in numbers)
    words = any(cell.casefold() in _BOOLEANS for cell in given)
    between = between and (
        not words or metric in OF_PROBS
    )  # True and False are classes, unless the metric says no
    if len(distinct) == 2 and (fraction or between) and (fraction or metric in (*OF_PROBS, "")):
        answer.kind, answer.metric = "prob", metric or "roc_auc"
        positive, doubt = _positive(distinct, target)
        answer.template["positive"] = positive
        answer.why_kind = f"{_shown(given)}: one number for two classes"
        if doubt:
            answer.unsure["template.positive"] = doubt
        if not fraction and not metric:
            answer.unsure["template.kind"] = 'cells of 0 and 1 may want a class: then kind = "label"'
    elif given and not set(given) & set(distinct) and _are_places(given, distinct):
        answer.kind = "index"
        answer.why_kind = f"{_shown(given)}: places of classes, which are words"
        answer.unsure["classes"] = "the order of the classes is that of their names"
    if answer.kind == "label" and len(distinct) == 2 and metric in OF_ONE_CLASS:
        answer.template["positive"], doubt = _positive(distinct, target)
        if doubt:
            answer.unsure["template.positive"] = doubt
    if not metric:
        answer.unsure["metric"] = "a folder does not say how answers are scored"
    return answer


def _of_several(labels: Sequence[str], between: str, metric: str) -> Answer:
    why = f"cells have several names with {between!r} between, such as {max(labels, key=len)[:60]!r}"
    answer = Answer(
        "multi-label", "labels", metric or "samples_f1", why, "a cell names every class that applies"
    )
    answer.data["separator"] = between
    if between != " ":
        answer.template["separator"] = between
    if not metric:
        answer.unsure["metric"] = "a folder does not say how answers are scored"
    return answer


def _of_number(distinct: list[str], metric: str) -> Answer:
    values = [n for n in map(finite_number, distinct) if n is not None]
    why = (
        f"{len(distinct)} different numbers from {min(values):g} to {max(values):g}"
        if values
        else "as stated"
    )
    answer = Answer("regression", "number", metric or "rmse", why, "the target is a number")
    if not metric:
        answer.unsure["metric"] = "a folder does not say how answers are scored"
    return answer


def _is_measured(distinct: list[str], given: list[str], metric: str, target: str) -> bool:
    """Whether labels are numbers that are measured, no names of classes."""
    values = [finite_number(label) for label in distinct]
    if not values or any(value is None for value in values) or len(values) < 3:
        return False
    fractions = any(value is not None and value != int(value) for value in values)
    cells = [finite_number(cell) for cell in given]
    between = any(cell is not None and cell != int(cell) for cell in cells)
    if metric in OF_NUMBERS:
        return True
    named = bool(_MEASURED.search(target)) and len(values) > MOST_STEPS
    return fractions or named or (between and len(values) > MANY_NUMBERS)


def _is_scale(distinct: list[str]) -> bool:
    """Whether labels are few whole numbers that follow one another from 0 or 1."""
    if not all(re.fullmatch(r"\d{1,2}", label) for label in distinct):
        return False
    steps = sorted(map(int, distinct))
    return 2 < len(steps) <= MOST_STEPS and steps == list(range(steps[0], steps[0] + len(steps)))


def _depth(given: list[str], distinct: list[str], several: bool) -> int:
    """How many names the template's cells have; 1 where they are one class, or none that is known; ``several`` where
    the metric judges more than one.
    """
    known = set(distinct)
    if not given or set(given) <= known:
        return 1
    counts = Counter(len(cell.split()) for cell in given)
    words = [word for cell in given[:200] for word in cell.split()]
    most, rows = counts.most_common(1)[0]
    names = any(" " in label for label in distinct)
    fitting = sum(word in known for word in words) >= 0.5 * len(words)
    numbers = all(number_of(word) is not None for word in words) and not fitting and not several
    return most if rows > 0.5 * len(given) and most > 1 and (fitting or not names) and not numbers else 1


def _positive(distinct: list[str], target: str) -> tuple[str, str]:
    """The class whose probability is asked for, and what is doubtful about it."""
    by_number = {finite_number(label): label for label in distinct}
    if set(by_number) == {0.0, 1.0}:
        return by_number[1.0], ""
    named = [label for label in distinct if label.casefold() == target.casefold()] or [
        label for label in distinct if _words(label) and f" {_words(label)} " in f" {_words(target)} "
    ]
    if len(named) == 1:
        return named[0], ""
    yes = [label for label in distinct if label.casefold() in _YES]
    if len(yes) == 1:
        return yes[0], ""
    usual = [label for label in distinct if label.casefold() in _USUAL or _DENIED.search(label)]
    rest = [label for label in distinct if label not in usual]
    positive = rest[0] if len(rest) == 1 else sorted(distinct)[-1]
    (other,) = (label for label in distinct if label != positive)
    return positive, f"it may be {other!r}: the site says which class is 1"


def _words(name: str) -> str:
    """A name in small letters with one space between its words."""
    return " ".join(re.split(r"[\W_]+", name.casefold())).strip()


def _are_places(given: list[str], distinct: list[str]) -> bool:
    """Whether cells are whole numbers below the number of classes, which are no numbers."""
    if any(number_of(label) is not None for label in distinct):
        return False
    return all(cell.isdigit() and int(cell) < len(distinct) for cell in given)


def _few(labels: Sequence[str]) -> str:
    return f"one of {len(set(labels))} classes a row: {counted(labels)}"


def _shown(given: Sequence[str]) -> str:
    return f"cells such as {listed(dict.fromkeys(given), 3)}" if given else "the cells are empty"
