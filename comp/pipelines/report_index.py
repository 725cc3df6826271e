"""write_index(): the page of all runs of a workspace."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

from comp import events
from comp.data.competitions.competition import Competition, find_competition
from comp.data.folds import group_names
from comp.errors import CompError
from comp.files import require_output, write_text
from comp.pipelines.report import REPORT, flat, model_in_words, recipe_table, score_of, word
from comp.report.index_html import IndexCompetition, IndexPair, IndexRun, render
from comp.report.run_report.scores import in_words, likeness
from comp.runs import ledger
from comp.runs import run as runs
from comp.runs.contents import manifest_of, scored_oof
from comp.runs.progress import live_state
from comp.runs.run import Run
from comp.uncertainty import PairedJackknife
from comp.workspace import Workspace

MOST_PAIRED = 8  # runs of a competition that are compared with each other


def write_index(*, workspace: str | Path | None = None, html: str | Path | None = None) -> Path:
    """Writes the page of all runs, by competition, with links to the pages of the runs.

    Returns its path, by default ``report.html`` in the workspace.

    Raises
    ------
    InputError
        Where the page cannot be written.
    """
    ws = Workspace.find(workspace)
    out = require_output(html) or ws.root / REPORT
    found = []
    for slug in sorted({run.slug for run in runs.sound_runs(ws)} - {""}):
        try:
            found.append(_competition(ws, find_competition(slug, ws), out))
        except CompError as error:
            events.log(f"  warning: {slug} is left out: {error}")
    write_text(out, render(found))
    return out


def _competition(workspace: Workspace, competition: Competition, page: Path) -> IndexCompetition:
    every = runs.sound_runs(workspace, competition.slug)
    return IndexCompetition(
        competition.slug,
        competition.facts.title,
        competition.metric.name,
        competition.direction,
        [_run(workspace, competition, run, page) for run in every],
        _pairs(competition, [run for run in every if run.record and not run.refit][:MOST_PAIRED]),
    )


def _run(workspace: Workspace, competition: Competition, run: Run, page: Path) -> IndexRun:
    entries = [one for one in ledger.entries(workspace, run.slug) if one.run == run.id]
    better = min if competition.direction == "min" else max
    best = {
        kind: better(
            (value for one in entries if (value := getattr(one, kind)) is not None), default=math.nan
        )
        for kind in ("public", "private")
    }
    try:
        recipe = recipe_table(run)
    except CompError as error:
        events.log(f"  warning: {run.id} is shown without its recipe: {error}")
        recipe = {}
    report = run.folder / REPORT
    done = run.record or run.partial
    return IndexRun(
        run.id,
        str(live_state(run)["state"]),
        tuple(run.marks),
        model_in_words(run, recipe),
        str(run.started.get("started", ""))[:16].replace("T", " "),
        score_of(done),
        float(sum((done.get("seconds") or {}).values())),
        best["public"],
        best["private"],
        Path(os.path.relpath(report, page.parent)).as_posix() if report.is_file() else "",
        {key: word(value) for key, value in flat(recipe).items()},
    )


def _pairs(competition: Competition, done: Sequence[Run]) -> list[IndexPair]:
    """Every two of some runs that have the same rows and labels, judged in pairs."""
    judge: PairedJackknife | None = None
    label: dict[str, str] = {}
    probs, scored = {}, {}
    for run in done:
        try:
            oof, table = scored_oof(run), manifest_of(run).train
            theirs = dict(zip(table["id"], map(str, table["label"]), strict=True))
            if judge is None:
                group = dict(zip(table["id"], group_names(table), strict=True))
                truth = oof.labels.encode([theirs[i] for i in oof.ids])
                judge = PairedJackknife(competition.metric, truth, [group[i] for i in oof.ids])
                first, label = oof, theirs
            if theirs != label or oof.labels != first.labels or set(oof.ids) != set(first.ids):
                continue
            answers = oof.select(first.ids).probs
        except CompError as error:
            events.log(f"  warning: {run.id} is compared with none: {error}")
            continue
        probs[run.id], scored[run.id] = answers, judge.score(answers)
    if judge is None:
        return []
    return [
        IndexPair(
            a,
            b,
            in_words(judge.gain(scored[a], scored[b])),
            likeness(judge.truth, probs[a], probs[b], first.labels),
            competition.metric(judge.truth, (probs[a] + probs[b]) / 2),
        )
        for a, b in combinations(scored, 2)
    ]
