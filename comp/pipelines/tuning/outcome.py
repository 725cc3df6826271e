"""The end of a study: the best trial with its honest score, its recipe as a file, and the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from comp.checks.runner import CheckResult
from comp.data.folds import group_names
from comp.errors import Refusal
from comp.files import make_folder, write_text
from comp.pipelines.tuning.order import SearchOrder
from comp.pipelines.tuning.page import page_of
from comp.pipelines.tuning.result import TuneResult, counted_states
from comp.pipelines.tuning.search_space import SearchSpace, shown
from comp.pipelines.tuning.selection import NestedScore, nested_score, rows_of
from comp.pipelines.tuning.storage import without_password
from comp.pipelines.tuning.study import TrialRow
from comp.recipe import from_table
from comp.workspace import Workspace

RECIPE, PAGE = "best.toml", "report.html"


@dataclass(frozen=True)
class EndedStudy:
    """A study whose trials are over, or left: where it lies, what it searched, on which rows."""

    order: SearchOrder
    space: SearchSpace
    workspace: Workspace
    checks: CheckResult
    folder: Path
    name: str
    url: str
    trials: Sequence[TrialRow]

    @property
    def slug(self) -> str:
        """The competition."""
        return self.checks.dataset.competition.slug


def written(ended: EndedStudy) -> TuneResult:
    """What a study comes to, with its files written.

    Raises
    ------
    Refusal
        Where no trial has all its folds.
    """
    metric = ended.checks.dataset.competition.metric
    done = [one for one in ended.trials if one.state == "complete" and one.score is not None]
    if not done:
        states = counted_states([one.state for one in ended.trials])
        value = ", ".join(f"{count} {state}" for state, count in states.items())
        raise Refusal(
            "a study needs a finished trial",
            value,
            "the same command tries it again from its start: give it a longer `time_limit`, or none",
        )
    sign = -1.0 if metric.direction == "max" else 1.0
    best = min(done, key=lambda one: (sign * float(one.score or 0.0), one.slot))
    assert best.score is not None
    path = make_folder(ended.folder) / RECIPE
    root = ended.workspace.root
    result = TuneResult(
        slug=ended.slug,
        study=ended.name,
        metric=metric.name,
        direction=metric.direction,
        score=best.score,
        trial=best.slot,
        values=dict(best.values),
        baseline=next((one.score for one in done if one.slot == 0), None),
        nested=nested_of(ended, done),
        counts=counted_states([one.state for one in ended.trials]),
        recipe=path,
        report=ended.folder / PAGE,
        storage=without_password(ended.url),
        command=ended.order.rows.command(ended.slug, ended.workspace.shown(path)),
        root=root,
    )
    write_text(path, _document(best, result))
    _write_page(ended, result)
    return result


def nested_of(ended: EndedStudy, done: Sequence[TrialRow]) -> NestedScore | None:
    """The honest score of the finished trials; None where it cannot be had."""
    checks, rows = ended.checks, rows_of(ended.checks, ended.folder)
    assert checks.folds is not None
    table = checks.dataset.manifest.train.set_index("id", drop=False).loc[list(rows.ids)]
    slots = [one.slot for one in done if "same_as" not in one.facts]
    metric = checks.dataset.competition.metric
    truth = checks.dataset.labels.encode(table["label"])
    fold = np.asarray(checks.folds.of(table["id"]))
    return nested_score(rows, slots, truth, fold, group_names(table), metric)


def _document(best: TrialRow, result: TuneResult) -> str:
    """The best recipe with a header that says where it comes from and what to expect of it."""
    table: dict[str, Any] = dict(best.facts["recipe"])
    recipe = from_table(table, RECIPE, lambda _: [])
    values = ", ".join(f"{key} = {shown(value)}" for key, value in best.values.items())
    lines = [
        result.command,
        f"Trial {best.slot} of {result.trials} of the study {result.study} of {result.slug}: {values or 'the recipe as it stood'}.",
        f"Expected on the study's folds: OOF {result.metric} {result.score!r}, the best of all trials and so rather too good.",
    ]
    if result.nested is not None:
        lines.append(
            f"Nested, chosen by other rows than it is scored on: {result.nested.score:.4f}; {result.verdict}."
        )
    if result.baseline is not None:
        lines.append(f"The recipe as it stood: {result.baseline:.4f}.")
    return recipe.to_toml("\n".join(lines))


def _write_page(ended: EndedStudy, result: TuneResult) -> None:
    write_text(result.report, page_of(ended.trials, ended.space, result))
