"""The end of a study: the best trial with its honest score, its recipe as a file, and the page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from comp.data.folds import group_names
from comp.errors import Refusal
from comp.files import make_folder, write_text
from comp.pipelines.tuning.result import TuneResult, counted_states
from comp.pipelines.tuning.search_space import shown
from comp.pipelines.tuning.selection import NestedScore, nested_score
from comp.pipelines.tuning.storage import without_password
from comp.pipelines.tuning.study import TrialRow
from comp.recipe import from_table

if TYPE_CHECKING:
    from comp.pipelines.tuning.session import Session

RECIPE, PAGE = "best.toml", "report.html"


def written(session: Session) -> TuneResult:
    """What a study comes to, with its files written.

    Raises
    ------
    Refusal
        Where no trial has all its folds.
    """
    metric = session.checks.dataset.competition.metric
    done = [one for one in session.trials if one.state == "complete" and one.score is not None]
    if not done:
        states = counted_states([one.state for one in session.trials])
        value = ", ".join(f"{count} {state}" for state, count in states.items())
        raise Refusal(
            "a study needs a finished trial", value, "the same command goes on with it; a longer `time_limit`"
        )
    sign = -1.0 if metric.direction == "max" else 1.0
    best = min(done, key=lambda one: (sign * float(one.score or 0.0), one.slot))
    assert best.score is not None
    path = make_folder(session.folder) / RECIPE
    root = session.request.workspace.root
    result = TuneResult(
        slug=session.request.competition.slug,
        study=session.study,
        metric=metric.name,
        direction=metric.direction,
        score=best.score,
        trial=best.slot,
        values=dict(best.values),
        baseline=next((one.score for one in done if one.slot == 0), None),
        nested=nested_of(session, done),
        counts=counted_states([one.state for one in session.trials]),
        recipe=path,
        report=session.folder / PAGE,
        storage=without_password(session.url),
        command=session.order.rows.command(
            session.request.competition.slug, session.request.workspace.shown(path)
        ),
        root=root,
    )
    write_text(path, _document(best, result))
    _write_page(session, result)
    return result


def nested_of(session: Session, done: Sequence[TrialRow]) -> NestedScore | None:
    """The honest score of the finished trials; None where it cannot be had."""
    checks, rows = session.checks, session.rows
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


def _write_page(session: Session, result: TuneResult) -> None:
    from comp.pipelines.tuning.page import page_of

    write_text(result.report, page_of(session.trials, session.space, result))
