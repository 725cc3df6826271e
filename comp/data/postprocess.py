"""What is done to the predictions of a group's rows together, before they are answers: a patient's mean, say."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from comp.data.competitions.competition import Competition
from comp.data.competitions.facts import PostFacts
from comp.data.labels import LabelMap
from comp.data.manifest import Manifest
from comp.data.predictions import Predictions
from comp.errors import CompError, InputError, shortened

Probs = NDArray[np.float64]


def postprocessed(
    predictions: Predictions,
    competition: Competition,
    rows: pd.DataFrame,
    began: Mapping[str, Any] | None = None,
) -> Predictions:
    """Predictions as ``[post]`` of the competition has them; ``rows`` (id, group) are of a manifest. With ``began``, what a
    run's started.json says, as the competition had it then.

    Raises
    ------
    InputError
        For rows without any group, a rule that the task has no use for, and an adapter's function that gives no
        predictions.
    """
    facts = competition.facts.post if began is None else PostFacts.model_validate(began.get("post") or {})
    if not facts.is_asked:
        return predictions
    group_of = dict(zip(rows["id"], rows["group"], strict=True))
    groups = [group_of[i] or f"\x1f{i}" for i in predictions.ids]
    _require_groups(competition, [group_of[i] for i in predictions.ids], "rows")
    if facts.function:
        name = facts.function.removeprefix("adapter:")
        probs = _by_function(competition.adapter.function(name), predictions.probs, groups, facts.function)
    else:
        probs = within_groups(predictions.probs, groups, facts.group, predictions.labels)
    return replace(predictions, probs=probs)


def require_post(competition: Competition, manifest: Manifest, labels: LabelMap) -> None:
    """Looks before training whether ``[post]`` can be done to the predictions of these rows.

    Raises
    ------
    InputError
        For a function that the adapter lacks, a rule that the task has no use for, and for labelled rows or rows to
        predict that have no group at all.
    """
    facts = competition.facts.post
    name = facts.function.removeprefix("adapter:")
    if name and not competition.adapter.has(name):
        value = f"{competition.file('adapter.py')} has no function {name!r}"
        raise InputError(
            '[post] function = "adapter:function" names one of the adapter\'s', value, "define it"
        )
    if facts.group == "rank" and not name:
        _require_ranks(labels)
    if facts.group != "none" or name:
        for rows, which in ((manifest.train, "labelled rows"), (manifest.test, "rows to predict")):
            if len(rows):
                _require_groups(competition, rows["group"], which)


def _require_groups(competition: Competition, groups: Iterable[str], which: str) -> None:
    each = list(groups)
    if not any(each):
        value = f"[post] of {competition.file('competition.toml')}: none of {len(each)} {which} has a group"
        remedy = "state group in [data], and test_table with that column"
        raise InputError("rows to postprocess have groups", value, remedy)


def _require_ranks(labels: LabelMap) -> None:
    if labels.task.is_numeric or (labels.task.is_single_label and len(labels) != 2):
        value = f"[post] group = 'rank' beside task = {labels.task.name!r} with {len(labels)} classes"
        raise InputError("ranks are of probabilities of one class each", value, 'choose group = "mean"')


def within_groups(probs: Probs, groups: Sequence[str], how: str, labels: LabelMap) -> Probs:
    """Predictions (N, D) of rows in groups (N,): each the ``mean`` or ``max`` of its group's, or its ``rank`` in it, from 0
    to 1 with equals in the middle. The order of rows changes no bit.
    """
    single = labels.task.is_single_label
    if how == "rank":
        _require_ranks(labels)
    columns = probs[:, 1:] if how == "rank" and single else probs
    answered = np.empty_like(columns)
    numbered = pd.factorize(np.asarray(groups, dtype=object))[0]
    for group in range(int(numbered.max(initial=-1)) + 1):
        here = numbered == group
        answered[here] = _REDUCED[how](columns[here])
    if how == "rank" and single:
        return np.concatenate([1 - answered, answered], axis=1)
    return answered / answered.sum(axis=1, keepdims=True) if single else answered


def _mean(values: Probs) -> Probs:
    return np.asarray(np.sort(values, axis=0).mean(axis=0, keepdims=True))


def _max(values: Probs) -> Probs:
    return np.asarray(values.max(axis=0, keepdims=True))


def _rank(values: Probs) -> Probs:
    below = (values[None] < values[:, None]).sum(axis=1)
    alike = (values[None] == values[:, None]).sum(axis=1)
    return np.asarray((below + alike / 2) / len(values))


_REDUCED: dict[str, Callable[[Probs], Probs]] = {"mean": _mean, "max": _max, "rank": _rank}


def _by_function(function: Callable[..., Any], probs: Probs, groups: list[str], name: str) -> Probs:
    try:
        given = function(probs.copy(), list(groups))
        values = np.asarray(given, dtype=np.float64)
    except (CompError, MemoryError):
        raise
    except Exception as error:
        value = f"{name} raised {type(error).__name__}: {error}"
        raise InputError("a postprocess function gives predictions", value, "correct it") from error
    if values.shape != probs.shape:
        value = f"{name} gave {shortened(repr(values.shape))} for {probs.shape}"
        raise InputError("a postprocess function gives as many predictions as it gets", value, "correct it")
    return values
