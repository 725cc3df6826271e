"""OOF scores beside the leaderboard's: do they tell the same, is a difference more than chance, which two to select."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from comp import events
from comp.data.competitions.competition import Competition
from comp.data.dataset import read_submission
from comp.data.predictions import Predictions
from comp.errors import CompError
from comp.runs import ledger
from comp.runs import run as runs
from comp.runs.contents import manifest_of, scored_oof
from comp.runs.ledger import SubmissionEntry
from comp.runs.run import Run
from comp.uncertainty import bootstrap
from comp.workspace import Workspace

PUBLIC_SHARE = 0.3  # of the test rows, where competition.toml does not say
FEWEST = 3  # submissions for a correlation
SAME_ERRORS = 0.9995  # a correlation that is shown as 1.000

Probs = NDArray[np.float64]


@dataclass(frozen=True)
class ScoredSubmission:
    """An entry beside its run: OOF on the site's scale, ``difference`` of the public score from it, and the standard
    error of a score on as many rows as the public part has (None where it cannot be known).
    """

    entry: SubmissionEntry
    oof: float | None
    difference: float | None
    standard_error: float | None

    @property
    def beyond(self) -> bool:
        """Whether the difference is more than two standard errors."""
        return (
            self.difference is not None
            and self.standard_error is not None
            and abs(self.difference) > 2 * self.standard_error
        )

    def as_json(self) -> dict[str, Any]:
        """The entry and what it was judged to be."""
        e = self.entry
        kept = ("file", "at", "message", "state", "status", "error", "public", "private")
        return {
            **{name: getattr(e, name) for name in kept},
            "run": e.run or None,
            "ref": e.ref or None,
            "oof": self.oof,
            "difference": self.difference,
            "standard_error": self.standard_error,
            "beyond_two_standard_errors": self.beyond,
        }


@dataclass(frozen=True)
class SubmissionSummary:
    """Every submission of a competition, and Pearson's correlation of OOF with the public and the private scores
    (None below three submissions, or where one of both is constant).
    """

    judged: list[ScoredSubmission]
    public: float | None
    private: float | None


@dataclass(frozen=True)
class Final:
    """A run to select: its fair OOF score, why, the correlation of its OOF errors with the first one's, and the runs
    that give the ``same`` answers.
    """

    run: str
    score: float
    why: str
    submitted: bool
    correlation: float | None = None
    same: tuple[str, ...] = ()


def standing(workspace: Workspace, competition: Competition) -> SubmissionSummary:
    """What the ledger says of a competition, beside the OOF scores of its runs."""
    scale, slug = competition.facts.score_scale, competition.slug
    by_id = {run.id: run for run in runs.sound_runs(workspace, slug)}
    errors: dict[tuple[str, int], float | None] = {}
    judged = []
    for entry in ledger.entries(workspace, slug):
        oof = None if entry.oof is None else entry.oof * scale
        if oof is None or entry.public is None:
            judged.append(ScoredSubmission(entry, oof, None, None))
            continue
        rows = max(1, round(entry.rows * (competition.facts.public_share or PUBLIC_SHARE)))
        key = (entry.run, rows)
        if key not in errors:
            errors[key] = _standard_error(by_id.get(entry.run), competition, rows)
        error = errors[key]
        judged.append(
            ScoredSubmission(entry, oof, entry.public - oof, None if error is None else error * scale)
        )
    return SubmissionSummary(judged, _correlation(judged, "public"), _correlation(judged, "private"))


def final_two(workspace: Workspace, competition: Competition) -> list[Final]:
    """Two runs to select: the one of the best OOF score, and of the strong others the one that errs most differently.

    Submitted runs go before others, where there are two of them. Strong is within two standard errors of the best;
    where none is, it is the second best. Runs that give the same answers count as one, so that there may be no second.
    Runs without a score, and those whose files are not as they wrote them, are left out; the latter are named.
    """
    slug, metric = competition.slug, competition.metric
    sent = {e.run for e in ledger.entries(workspace, slug) if e.counts and e.status != "ERROR"}
    full = [run for run in runs.sound_runs(workspace, slug) if run.record and not run.gaps]
    scored = [(run, score) for run in full if (score := _fair(run)) is not None and _is_as_written(run)]
    scored.sort(key=lambda pair: pair[1], reverse=metric.direction == "max")
    groups = _by_answers(scored, sent)
    if sum(one.submitted for _, one in groups) > 1:
        groups = [pair for pair in groups if pair[1].submitted]
    if len(groups) < 2:
        return [one for _, one in groups]
    (best, first), *others = groups
    oof, truth = _oof(best)
    error = bootstrap(metric, truth, oof.probs, len(truth)) if oof else 0.0
    strong = [(run, one) for run, one in others if abs(one.score - first.score) <= 2 * error]
    judged = [(run, replace(one, correlation=_errors_alike(best, run))) for run, one in strong]
    known = [one for _, one in judged if one.correlation is not None]
    if not known:
        why = "the second best; none within two standard errors errs otherwise"
        return [first, replace(others[0][1], why=why)]
    other = min(known, key=lambda one: one.correlation or 0.0)
    differs = (other.correlation or 0.0) < SAME_ERRORS
    why = "errs most differently" if differs else "errs on the same OOF rows, and answers test rows otherwise"
    return [first, replace(other, why=f"strong, and {why}")]


def _by_answers(scored: Sequence[tuple[Run, float]], sent: set[str]) -> list[tuple[Run, Final]]:
    """Scored runs, the best first, those that give the same answers as one: named by its best."""
    groups: dict[object, list[tuple[Run, float]]] = {}
    for run, score in scored:
        groups.setdefault(_answers(run), []).append((run, score))
    found = []
    for (run, score), *same in groups.values():
        submitted = any(one.id in sent for one in (run, *(other for other, _ in same)))
        ids = tuple(other.id for other, _ in same)
        found.append((run, Final(run.id, score, "the best OOF score", submitted, same=ids)))
    return found


def _answers(run: Run) -> object:
    """The answers of a run, whatever their order; the run's id where it has no file of them."""
    if not run.has("submission.csv"):
        return run.id
    table = read_submission(run.folder / "submission.csv")
    return table.header, tuple(sorted(table.rows))


def _is_as_written(run: Run) -> bool:
    """Whether the files that a run is judged by are as it wrote them; where not, that is said."""
    try:
        for name in ("oof.npz", "manifest.csv", "submission.csv"):
            if run.has(name):
                run.checked(name)
        if run.has("submission.csv"):
            read_submission(run.folder / "submission.csv")
    except CompError as problem:
        events.warn_once(f"run {run.id} is left out: {problem.value}")
        return False
    return True


def _standard_error(run: Run | None, competition: Competition, rows: int) -> float | None:
    """Of a score on so many rows, by a run's OOF rows; None where they cannot be read or judged."""
    oof, truth = _oof(run) if run else (None, np.empty(0, dtype=np.int64))
    if oof is None:
        return None
    try:
        error = bootstrap(competition.metric, truth, oof.probs, rows)
    except (CompError, ValueError, ZeroDivisionError):  # a metric that needs more than a sample has
        return None
    return (
        max(error, 1 / rows) if np.isfinite(error) else None
    )  # no less than one row, where OOF has no errors


def _oof(run: Run) -> tuple[Predictions | None, NDArray[Any]]:
    """A run's OOF predictions, as it answers by them, and the truth of their rows."""
    try:
        found = scored_oof(run)
        train = manifest_of(run).train
        labels = dict(zip(train["id"], train["label"], strict=True))
        return found, found.labels.encode([labels[i] for i in found.ids])
    except CompError as problem:
        events.warn_once(f"the OOF predictions of {run.id} are left out: {problem.value}")
        return None, np.empty(0, dtype=np.int64)
    except KeyError:
        return None, np.empty(0, dtype=np.int64)


def _fair(run: Run) -> float | None:
    """The OOF score that nothing was chosen by: nested for a blend, the last epoch's where epochs were chosen; None
    where it is undefined.
    """
    oof = run.record["oof"]
    fair = oof.get("last_epoch") if oof.get("selected_on_oof") else None
    score = oof["score"] if fair is None else fair
    return None if score is None else float(score)


def _errors_alike(run: Run, other: Run) -> float | None:
    """Pearson's correlation of two runs' OOF errors (probs less truth), over the rows that both have."""
    (a, truth), (b, _) = _oof(run), _oof(other)
    if a is None or b is None or a.labels.names != b.labels.names:
        return None
    index = {sample: n for n, sample in enumerate(b.ids)}
    both = [n for n, sample in enumerate(a.ids) if sample in index]
    if not both:
        return None
    wanted = truth[both].astype(np.float64)
    if a.labels.task.is_single_label:
        wanted = np.eye(len(a.labels))[truth[both]]
    wanted = wanted.reshape(len(both), -1)
    theirs = b.probs[[index[a.ids[n]] for n in both]]
    return _pearson((a.probs[both] - wanted).ravel(), (theirs - wanted).ravel())


def _correlation(judged: Sequence[ScoredSubmission], part: str) -> float | None:
    latest = {j.entry.sha256: j for j in judged if j.oof is not None and getattr(j.entry, part) is not None}
    if len(latest) < FEWEST:
        return None
    pairs = [(float(j.oof or 0.0), float(getattr(j.entry, part))) for j in latest.values()]
    return _pearson(np.array([p[0] for p in pairs]), np.array([p[1] for p in pairs]))


def _pearson(one: NDArray[np.float64], other: NDArray[np.float64]) -> float | None:
    if one.std() == 0 or other.std() == 0:
        return None
    return float(np.corrcoef(one, other)[0, 1])


def sync_with_kaggle(workspace: Workspace, competition: Competition) -> tuple[int | None, str]:
    """Asks Kaggle, once and briefly, what became of submissions; how many are left today, and why it could not be asked.

    Nothing is asked where nothing was submitted there, or there is no credential.
    """
    from comp.kaggle.credentials import find_credential

    slug = competition.slug
    names = [e.kaggle for e in ledger.entries(workspace, slug) if e.kaggle]
    name = names[-1] if names else competition.facts.kaggle.slug
    if not name or find_credential() is None or (not names and not runs.sound_runs(workspace, slug)):
        return None, ""
    from comp.kaggle.client import Kaggle
    from comp.kaggle.http import RetryPolicy
    from comp.kaggle.reconcile import reconcile

    usual = RetryPolicy()
    try:
        api = Kaggle.open(replace(usual, timeout=min(usual.timeout, 10.0), attempts=1, poll=0.0))
        limits = api.limits(name)
        with ledger.submit_lock(workspace, slug):
            reconcile(api, workspace, slug, name, api.submissions(name))
    except CompError as problem:
        return None, problem.value or problem.rule
    return (limits.left if limits.known else None), ""
