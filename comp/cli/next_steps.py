"""The last lines of a command: what it warned of, and the commands that may come next."""

from __future__ import annotations

import shlex
from pathlib import Path

from comp import console
from comp.data.competitions.competition import Competition, find_competition
from comp.errors import CompError
from comp.pipelines.run_result import RunResult
from comp.runs.marks import REFIT
from comp.runs.run import find_run
from comp.workspace import Workspace


def after_run(result: RunResult, workspace: Path | None) -> None:
    """After a run, a blend, a merge or an import."""
    ws = Workspace.find(workspace)
    slug, run = result.slug, result.run
    has_page = _there_is("report") and REFIT not in result.marks
    report = [(f"comp report {run}", "what went wrong where, as a page")] if has_page else []
    if "partial" in result.marks:
        then = [(f"comp run {slug} --resume {run}", "train the folds that are left")]
    elif "sample" in result.marks:
        then = [(f"comp data {slug}", "the real data, which this was not")]
    elif "quick" in result.marks:
        then = [(f"comp run {slug}", "a full run: this one shows that all works")]
    else:
        send = _send(slug, run, result.submission, ws)
        beside = (f"comp runs {slug}", "beside your other runs")
        is_for_the_end = send[0].startswith("comp score")  # choosing runs by it would make it worth nothing
        then = [*report, beside, send] if is_for_the_end else [send, *report, beside]
    console.closing(here(then))


def after_check(asked: str | None, passed: bool) -> None:
    """After a check of what was ``asked``: a competition or a raw folder; None for people's own images and table."""
    then = [(f"comp run {shlex.quote(asked)}", "train and predict")] if passed and asked else []
    console.closing(here(then))


def after_tune(command: str) -> None:
    """After a search: the ``command`` that runs what it came to."""
    console.closing(here([(command, "train, predict and write the submission by the best recipe")]))


def after_predict(name: str, path: Path, workspace: Path | None) -> None:
    """After a prediction by the run of that name: of its own test rows, or of others."""
    ws = Workspace.find(workspace)
    run = find_run(ws, name)
    is_its_own = path.absolute() == ws.submissions(run.slug) / f"{run.id}.csv"
    console.closing(here([_send(run.slug, run.id, path, ws)] if is_its_own else []))


def _send(slug: str, run: str, submission: Path, workspace: Workspace) -> tuple[str, str]:
    """What one does with a submission: score it where labels are published, else send it."""
    competition = _competition(slug, workspace)
    if competition is not None and not competition.facts.kaggle.slug and competition.adapter.has("answers"):
        shown = shlex.quote(workspace.shown(submission))
        return f"comp score {slug} {shown}", "at the very end: judge it by the published labels"
    to = (
        "send it to Kaggle"
        if competition is not None and competition.facts.kaggle.slug
        else "check and send it"
    )
    return f"comp submit {slug} --run {run}", to


def _competition(slug: str, workspace: Workspace) -> Competition | None:
    try:
        return find_competition(slug, workspace)
    except CompError:  # the facts of a folder that was run as it is
        return None


def _there_is(verb: str) -> bool:
    return verb in console.settings.verbs


def here(then: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """The commands with the workspace that this one was given."""
    along = console.settings.workspace
    return [
        (f"{command} --workspace {shlex.quote(along)}" if along else command, why) for command, why in then
    ]
