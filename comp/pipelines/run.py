"""run(): the chain from a raw folder to a submission, top to bottom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comp import events
from comp.checks.context import Finding, applying, counts, downgrade_allowed
from comp.checks.related_images import CloseLook
from comp.checks.runner import CheckResult, raise_on_errors, say_findings, show_findings
from comp.config import as_overrides
from comp.data.competitions.competition import find_competition
from comp.data.competitions.raw_folder import raw_of
from comp.data.predictions import Predictions
from comp.data.pseudo_labels import FILE as PSEUDO
from comp.data.pseudo_labels import PseudoLabels
from comp.errors import InputError, Stopped, in_words
from comp.files import make_folder, remove_leftovers, write_text
from comp.pipelines import refit as refits
from comp.pipelines.check import parse_folds, survey
from comp.pipelines.pseudo_label import rows_for
from comp.pipelines.record import StepTimer, record, write_inputs, write_submission
from comp.pipelines.report import report_of
from comp.pipelines.request import (
    GROUPING,
    FoldEngine,
    RunRequest,
    marks_of,
    new_request,
    quick_rows,
    require_folds,
)
from comp.pipelines.resume import kept_of, resumed_request
from comp.pipelines.run_features import judge_features
from comp.pipelines.run_result import RunResult
from comp.recipe import Recipe, as_one
from comp.runs import run as runs
from comp.runs.contents import folds_of, manifest_of, require_kept, require_same_reading, require_same_rows
from comp.runs.progress import ProgressFile
from comp.runs.result import confusion_csv
from comp.training.time_limit import Deadline, parse_seconds
from comp.workspace import Workspace

if TYPE_CHECKING:
    from comp.data.competitions.competition import Competition
    from comp.pipelines.decide import Decided
    from comp.pipelines.training_plans import Start
    from comp.training.plan import TrainedModels, TrainPlan


def run(
    slug: str,
    folds: int | str | Path = 5,
    *,
    workspace: str | Path | None = None,
    data: str | Path | None = None,
    recipe: str | Path | None = None,
    overrides: Sequence[str] | Mapping[str, object] = (),
    seed: int | None = None,
    quick: bool = False,
    resume: str | None = None,
    refit: str | None = None,
    manifest: str | Path | None = None,
    extra: str | Path | None = None,
    pseudo: str | Path | None = None,
    rare: str | None = None,
    only: Sequence[int] | None = None,
    time_limit: str | None = None,
    engine: str | None = None,
    address: str | None = None,
    cpus_per_fold: float | None = None,
    gpus_per_fold: float | None = None,
    allow: dict[str, str] | None = None,
    thorough: bool | None = None,
    group_scenes: bool = False,
    ensemble: str | None = None,
    report: bool = True,
    track: Sequence[str] = (),
    listeners: Sequence[events.RunListener] = (),
) -> RunResult:
    """Takes a competition from its raw folder to a validated submission.

    Parameters
    ----------
    slug : str
        A competition of ``comp list``.
    folds : int or path
        K, or a CSV of ``id,fold`` made elsewhere.
    workspace, data, recipe : path, optional
        By default the current folder, ``data/<slug>`` in it, and the competition's baseline.toml.
    overrides : sequence of str, or mapping
        ``key=value`` over the recipe; or ``{"optimizer.lr": 1e-3, "epochs": 3}``.
    seed : int, optional
        Of the recipe; folds do not depend on it.
    quick : bool
        A smoke run: one epoch on a few rows of each class; all test rows are predicted.
    resume : str, optional
        An unfinished run to go on with, by its own recipe and folds; finished folds are kept. With ``overrides`` a
        finished one, which a child run goes on from: its weights, folds and changed recipe; ``epochs`` is the total.
    refit : str, optional
        A finished run, each of whose models is trained once more on all labelled rows, as its folds were, for the same
        number of epochs (see docs/refit.md). There is no score: no row is held out.
    manifest : path, optional
        A hand-made manifest instead of the adapter's.
    extra : path, optional
        A CSV of images from elsewhere that only ever train: path, label, and weight and prob:CLASS if any (docs/recipes.md).
    pseudo : path, optional
        Test rows that ``comp.pseudo`` labelled; each fold trains on those of its own model alone.
    rare : "error", "pool" or "spread"
        What becomes of classes with fewer groups than folds: refused, or kept in training only and left out of OOF.
    only : sequence of int, optional
        Train these folds only; the submission is then a partial one, and ``resume`` trains the rest.
    time_limit : str, optional
        Such as "11h": training stops in time for the finished folds to predict; ``resume`` goes on.
    engine, address, cpus_per_fold, gpus_per_fold : optional
        "ray" deals the folds to the machines of the Ray cluster at ``address``, each with so much of one; without it
        ``gpus_per_fold`` GPUs of this machine train each fold together (docs/cluster.md).
    allow : dict, optional
        Checks whose errors become warnings, each with its reason.
    thorough : bool, optional
        Look closely at every image, for strongly changed copies and images of one scene (see docs/near-duplicates.md). By
        default up to 3,000 images.
    group_scenes : bool
        Rows of one scene, or parts of one image, share a fold.
    ensemble : str, optional
        A method of ``comp.ensemble``: blends the recipe's models, or the runs of each of ``overrides=["seed=0,1,2"]``, which
        are averaged unless another is named. The result is the blend's.
    report : bool
        Write the run's page, ``report.html`` in its folder (see ``comp.write_report``).
    track : sequence of str, optional
        Trackers that are told of the run: "mlflow", "tensorboard", "wandb" (see docs/track.md).
    listeners : sequence of comp.events.RunListener, optional
        Objects that hear of every epoch, fold and the end; see ``comp.events``. What they raise does not end the run.

    Raises
    ------
    CompError
        Every mistake of a user and every refusal; see ``comp.errors``.
    """
    given = dict(locals())
    overrides = as_overrides(overrides)
    if refit is not None:
        refits.require_alone(given)
    if ensemble is not None or any(
        text.partition("=")[0].strip() == "seed" and "," in text for text in overrides
    ):
        return _several({**given, "overrides": overrides})
    clock = StepTimer()
    ws = Workspace.find(workspace)
    heard = events.guarded(listeners) + (trackers_of(track, ws) if track else [])
    competition = find_competition(slug, ws)
    with ExitStack() as held, events.listening(*heard):
        if refit is not None:
            request = refits.refit_request(runs.find_run(ws, refit, slug), ws, competition, data)
        elif resume is None:
            raw = raw_of(competition, ws, data)
            request = new_request(ws, competition, raw, recipe, overrides, seed, parse_folds(folds), quick)
        else:
            plain = not (recipe or seed is not None or quick or pseudo)
            this_run = runs.find_run(ws, resume)
            if not overrides and not this_run.record:
                held.enter_context(runs.at_work(this_run))
                this_run = runs.find_run(ws, this_run.id)  # another process may just have finished it
            request = resumed_request(this_run, ws, competition, data, overrides, plain)
        request = replace(
            request,
            only=only,
            seconds=parse_seconds(time_limit) if time_limit else None,
            pseudo=Path(pseudo).expanduser() if pseudo else None,
            report=report,
            look=CloseLook(thorough, group_scenes, by_itself=True),
        )
        request = FoldEngine.of(engine, address, cpus_per_fold, gpus_per_fold).on(request)
        request.look.require_possible()
        with clock.step("model"):
            starts = _ready(request)
        with clock.step("check"):
            result = checked(request, manifest, extra, rare, allow)
        return train_and_predict(request, result, clock, held, starts)


def _ready(request: RunRequest) -> list[Start]:
    """What the models start from; refuses before any image is read what needs none to be judged."""
    from comp.pipelines import training_plans

    request.competition.require_layout(request.raw)
    request.engine.require_possible()
    if request.refit and request.only is not None:
        raise InputError("a refit has no folds", f"`only={list(request.only)}`", "drop it")
    if isinstance(request.folds, int):
        require_folds(request.only, request.folds)
    if request.pseudo is not None:
        PseudoLabels.load(request.pseudo)
    return training_plans.find_starts(request.competition, request.recipe, request.workspace)


def _several(given: dict[str, Any]) -> RunResult:
    """The blend of what a command runs, whose arguments are ``given``: several seeds, or a recipe's models."""
    from comp.pipelines.seeds import require_whole, run_seeds

    only = given["only"]
    named = None if only is None else ",".join(map(str, only))
    require_whole(given["overrides"], given["ensemble"], named, given["time_limit"], given["resume"])

    def go(overrides: Sequence[str], resume: str | None) -> RunResult:
        return run(**{**given, "overrides": overrides, "resume": resume, "ensemble": None})

    kept = {name: given[name] for name in ("seed", "workspace", "data", "resume", "report")}
    return run_seeds(go, given["overrides"], given["ensemble"], **kept)


def trackers_of(names: Sequence[str], workspace: Workspace) -> list[events.RunListener]:
    """The listeners of these trackers; what they need is imported by processes of their own."""
    from comp.runs.tracking.listener import trackers

    return [events.Guarded(one) for one in trackers(names, workspace.root)]


def checked(
    request: RunRequest,
    manifest: str | Path | None = None,
    extra: str | Path | None = None,
    rare: str | None = None,
    allow: dict[str, str] | None = None,
) -> CheckResult:
    """The checked rows and folds of an request, said as they are found; CheckFailed where they do not pass."""
    competition, given = request.competition, request.given
    raw = f": {request.workspace.shown(request.raw)}" if competition.facts.layout.needs_data else ""
    events.log(competition.facts.title + raw)
    if competition.facts.unsure:
        guessed = ", ".join(competition.facts.unsure)
        events.log(
            f"  not sure: {guessed} of competition.toml, which a raw folder cannot say: look at the site"
        )
    kept, corrections = None, None
    look = request.look
    if given:  # its extra rows and corrected labels are still wanted, and its folds
        corrections = manifest_of(given).corrections
        folds_of(given)
        kept = given.folder / "manifest.csv"
        before = given.started.get(GROUPING, {})
        look = CloseLook(bool(before.get("thorough")), bool(before.get("group_scenes")))
        request.look.require_like(look)
    found = survey(
        competition,
        request.workspace,
        request.raw,
        folds=request.folds,
        fold_seed=request.recipe.fold_seed,
        manifest_file=Path(manifest).expanduser() if manifest else None,
        extra_file=Path(extra).expanduser() if extra else kept,
        rare="pool" if given else rare,  # its folds are made already
        allow=allow,
        corrections=corrections,
        look=look,
    )
    show_findings(found)
    raise_on_errors(found.findings, competition.slug)
    return found


def train_and_predict(
    request: RunRequest, checks: CheckResult, clock: StepTimer, held: ExitStack, starts: list[Start]
) -> RunResult:
    """From checked folds to the record; the heavy imports begin here. A new run is held by ``held`` from when it is made."""
    from comp.pipelines import training_plans

    pseudo = rows_for(request, checks) if request.has_pseudo_labels else None
    with clock.step("model"):
        reduce = quick_rows if request.quick else None
        here = len(request.only) if request.only is not None else None
        plans = training_plans.make_plans(
            request.competition, checks, request.recipe, request.workspace, reduce, here, starts
        )
        plans = [replace(plan, pseudo=pseudo, refit=bool(request.refit)) for plan in plans]
    findings = [*checks.findings, *_shown(training_plans.judge_recipe(plans, request.recipe), checks)]
    raise_on_errors(findings, request.competition.slug)
    require_folds(request.only, plans[0].folds.k)
    if request.resumed is None:
        training_plans.require_starts(plans, request.only)
    if request.seconds is not None:
        rows, views = len(plans[0].by_image.test), plans[0].most_views
        deadline = Deadline(request.seconds - clock.total(), rows, views)
        plans = [replace(plan, deadline=deadline) for plan in plans]
    marks = marks_of(request, checks)
    this_run = run_folder(request, checks, as_one([plan.recipe for plan in plans]), marks, held, pseudo)
    return finish_run(request, checks, clock, this_run, plans, findings, marks)


def finish_run(
    request: RunRequest,
    checks: CheckResult,
    clock: StepTimer,
    this_run: runs.Run,
    plans: list[TrainPlan],
    findings: list[Finding],
    marks: list[str],
) -> RunResult:
    """Trains what is left of a run, predicts, and writes the submission and the record; says when it begins and ends."""
    from comp.runs.progress import model_folder

    plans = [plan.in_folder(model_folder(this_run.folder, n, len(plans))) for n, plan in enumerate(plans)]
    facts: dict[str, Any] = {"run": this_run.id, "slug": this_run.slug, "metric": plans[0].metric.name}
    with events.listening(events.Guarded(ProgressFile(this_run.folder))):
        events.emit(_run_started(this_run, plans, request.only))
        try:
            ends = refits.finished if request.refit else _finished
            result = ends(request, checks, clock, this_run, plans, findings, marks)
            result = _with_page(request, result, clock)
        except BaseException as error:
            events.emit(events.RunEnded(**facts, score=None, failure=in_words(error)))
            if isinstance(error, KeyboardInterrupt):
                raise Stopped(this_run.slug, this_run.id) from None
            raise
        events.emit(
            events.RunEnded(
                **facts,
                score=None if request.refit else result.score,
                folds=tuple(result.folds),
                per_fold=tuple(result.per_fold),
                submission=str(result.submission),
                marks=tuple(result.marks),
                seconds=sum(result.seconds.values()),
            )
        )
    return result


def _run_started(this_run: runs.Run, plans: list[TrainPlan], only: Sequence[int] | None) -> events.RunStarted:
    recipes = [plan.recipe for plan in plans]
    return events.RunStarted(
        run=this_run.id,
        slug=this_run.slug,
        folder=str(this_run.folder),
        folds=plans[0].folds.k,
        only=tuple(plans[0].numbers if only is None else only),
        models=tuple(recipe.model.name for recipe in recipes),
        epochs=tuple(0 if recipe.mode == "probe" else recipe.epochs for recipe in recipes),
        summaries=tuple(plan.summary for plan in plans),
        metric=plans[0].metric.name,
        direction=plans[0].metric.direction,
    )


def _finished(
    request: RunRequest,
    checks: CheckResult,
    clock: StepTimer,
    this_run: runs.Run,
    plans: list[TrainPlan],
    findings: list[Finding],
    marks: list[str],
) -> RunResult:
    """What a run comes to, trained, predicted and written down."""
    from comp.pipelines import training_plans, view_choice
    from comp.training.plan import remember_parts, require_something

    with clock.step("train"):
        executor = request.engine.executor(checks)
        trained = training_plans.train_models(this_run.folder, plans, request.only, executor)
        require_something(trained)
        remember_parts(trained)
        runs.goes_on(this_run)
        trained, views = view_choice.choose_views(trained)
        decided = answered_oof(this_run, trained, request.competition)
        oof = trained.oof if decided is None else decided.oof
        _write_confusion(this_run, trained, oof)
    with clock.step("predict"):
        unread = checks.unread()
        test = training_plans.predict_test(trained, set(unread.values()))
    test = test if decided is None else decided.of(test, plans[0].manifest.test)
    score, learned = trained.score(oof), decided.facts if decided else {}
    expected = None if request.quick else request.expected
    judged = training_plans.judge_run(trained, test, score, expected)
    with clock.step("features"):
        judged += judge_features(checks, trained, oof)
    findings = [*findings, *_shown(judged, checks)]
    with clock.step("submit"):
        path = write_submission(request.workspace, checks, this_run, test)
    result = RunResult(
        run=this_run.id,
        slug=request.competition.slug,
        metric=plans[0].metric.name,
        direction=plans[0].metric.direction,
        score=score,
        beside=_judged_beside(trained, oof, learned),
        selected_on_oof=any(p.selects for p in plans),
        views=views,
        pseudo=this_run.started.get("pseudo"),
        folds=trained.folds,
        per_fold=trained.per_fold(oof),
        decision=learned,
        calibration=trained.calibration(trained.oof),
        models=trained.by_model() if len(plans) > 1 else [],
        submission=path,
        findings=counts(findings),
        seconds=clock.seconds,
        folder=this_run.folder,
        unread=list(unread),
        engine=request.engine.name,
        marks=[*marks, *([] if trained.is_whole else ["partial"])],
    )
    record(this_run, result, findings)
    return result


def _write_confusion(this_run: runs.Run, trained: TrainedModels, oof: Predictions) -> None:
    text = confusion_csv(oof.labels, trained.truth(oof), oof.probs)
    write_text(this_run.folder / "confusion.csv", text)


def _with_page(request: RunRequest, result: RunResult, clock: StepTimer) -> RunResult:
    """A result with its page, where one was asked for and there are rows to show."""
    if request.refit:
        return result
    with clock.step("report"):
        took, ws = sum(result.seconds.values()), request.workspace
        page = report_of(result.run, took, ws, request.competition, request.raw, request.report)
    return replace(result, report=page)


def _judged_beside(trained: TrainedModels, oof: Predictions, learned: dict[str, Any]) -> dict[str, float]:
    """The scores of the same rows judged otherwise: by corrected labels, by other views or weights, and without what was
    ``learned``.
    """
    beside = {name: trained.score(other) for name, other in trained.beside().items()}
    if learned:
        beside["without_decision"] = learned["score_before"]
    corrected = trained.corrected_score(oof)
    return beside if corrected is None else {"corrected_labels": corrected, **beside}


def answered_oof(this_run: runs.Run, trained: TrainedModels, competition: Competition) -> Decided | None:
    """What moves a run's predictions before they are answers, with its OOF rows so moved; None where nothing can. Writes the
    OOF rows as they were predicted, and what moves them.
    """
    trained.oof.save(this_run.folder / "oof.npz")
    metric, post = trained.plans[0].metric, competition.facts.post.is_asked
    if not (metric.wants_decision or metric.proper or post or competition.facts.unknown):
        return None
    from comp.pipelines.decide import decide, keep

    decided = decide(trained, competition)
    keep(decided, this_run.folder, trained.oof)
    return decided


def _shown(findings: list[Finding], checks: CheckResult) -> list[Finding]:
    """Findings with the allowed ones lowered, said as they come."""
    lowered = downgrade_allowed(applying(findings, checks.context.competition), checks.allowed)
    say_findings(lowered)
    return lowered


def run_folder(
    request: RunRequest,
    checks: CheckResult,
    recipe: Recipe,
    marks: list[str],
    held: ExitStack,
    pseudo: PseudoLabels | None = None,
) -> runs.Run:
    """The folder of the run that goes on, or a new one with what it was given, which ``held`` keeps from others."""
    slug = request.competition.slug
    for folder in (request.workspace.submissions(slug), request.workspace.folds(slug)):
        remove_leftovers(folder)
    make_folder(request.workspace.submissions(slug))  # better refused now than after training
    if before := request.resumed or (request.like if request.refit else None):
        require_same_rows(before, checks.dataset.manifest)
        require_same_reading(before, request.competition.facts)
        require_kept(before, kept_of(request, checks, recipe), request.competition.file("models.py"))
    if request.resumed:
        return request.resumed
    seen = checks.context
    facts = runs.run_metadata(
        request.competition.facts, seen.raw, seen.k, checks.dataset.manifest, recipe, marks, request.expected
    )
    told: dict[str, Any] = {"pseudo": pseudo.as_json()} if pseudo else {}
    told[GROUPING] = {"thorough": seen.thorough, "group_scenes": seen.group_scenes}
    if request.competition.facts.unsure:
        told["unsure"] = list(request.competition.facts.unsure)
    kept = kept_of(request, checks, recipe)

    def inputs(folder: Path) -> None:
        write_inputs(folder, checks, recipe, request.refit)
        if pseudo:
            pseudo.save(folder / PSEUDO)
        if request.refit and request.like:
            refits.write_given(request.like, folder)

    this_run = runs.new_run(request.workspace, {**facts, **kept, **request.origin, **told}, inputs)
    held.enter_context(runs.at_work(this_run))
    return this_run
