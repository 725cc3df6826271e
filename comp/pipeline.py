"""run(): the chain from a raw folder to a submission, top to bottom."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from comp import console, ledger, registry, runs
from comp.checks.findings import Finding, counts, lower
from comp.checks.gate import require_pass
from comp.child import resumed_order
from comp.clock import Clock
from comp.findings_view import say_findings, show_findings
from comp.leftovers import remove_leftovers
from comp.order import Order, new_order, require_folds
from comp.predictions import Predictions
from comp.pseudo_labels import rows_for
from comp.pseudo_rows import FILE as PSEUDO
from comp.pseudo_rows import PseudoRows, folds_sha256
from comp.quick import quick_rows
from comp.recipe import Recipe, as_one
from comp.result import RunResult, confusion_csv
from comp.run_files import folds_of, manifest_of
from comp.survey import Survey, fold_count, survey
from comp.training.deadline import Deadline, parse_seconds
from comp.workspace import Workspace, make_folder, write_bytes, write_json, write_text

if TYPE_CHECKING:
    from comp.training.fold import Plan


def run(
    slug: str,
    folds: int | str | Path = 5,
    *,
    workspace: str | Path | None = None,
    data: str | Path | None = None,
    recipe: str | Path | None = None,
    overrides: Sequence[str] = (),
    seed: int | None = None,
    quick: bool = False,
    resume: str | None = None,
    manifest: str | Path | None = None,
    extra: str | Path | None = None,
    pseudo: str | Path | None = None,
    rare: str = "error",
    only: Sequence[int] | None = None,
    time_limit: str | None = None,
    allow: dict[str, str] | None = None,
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
    overrides : sequence of str
        ``key=value`` over the recipe, as ``--set`` on the command line.
    seed : int, optional
        Of the recipe; folds do not depend on it.
    quick : bool
        A smoke run: one epoch on a few rows of each class; all test rows are predicted.
    resume : str, optional
        An unfinished run to go on with, by its own recipe and folds; finished folds are kept. With ``overrides`` a
        finished one, which a child run goes on from: its weights, folds and changed recipe; ``epochs`` is the total.
    manifest : path, optional
        A hand-made manifest instead of the adapter's.
    extra : path, optional
        A CSV of labelled pictures from elsewhere (path, label) that only ever train.
    pseudo : path, optional
        Test rows that ``comp.pseudo`` labelled; each fold trains on those of its own model alone.
    rare : "error" or "pool"
        What becomes of classes with fewer groups than folds: refused, or kept in training only and left out of OOF.
    only : sequence of int, optional
        Train these folds only; the submission is then a partial one, and --resume trains the rest.
    time_limit : str, optional
        Such as "11h": training stops in time for the finished folds to predict; --resume goes on.
    allow : dict, optional
        Checks whose errors become warnings, each with its reason.

    Raises
    ------
    CompError
        Every mistake of a user and every refusal; see ``comp.errors``.
    """
    clock = Clock()
    place = Workspace.find(workspace)
    competition = registry.competition(slug, place)
    with ExitStack() as held:
        if resume is None:
            raw = Path(data).expanduser().absolute() if data else place.raw(slug)
            order = new_order(place, competition, raw, recipe, overrides, seed, fold_count(folds), quick)
        else:
            plain = not (recipe or seed is not None or quick or pseudo)
            one = runs.find_run(place, resume)
            if not overrides and not one.record:
                held.enter_context(runs.at_work(one))
                one = runs.find_run(place, one.id)  # another process may just have finished it
            order = resumed_order(one, place, competition, data, overrides, plain)
        order = replace(
            order,
            only=only,
            seconds=parse_seconds(time_limit) if time_limit else None,
            pseudo=Path(pseudo).expanduser() if pseudo else None,
        )
        with clock.step("check"):
            found = checked(order, manifest, extra, rare, allow)
        return _train_and_predict(order, found, clock, held)


def checked(
    order: Order,
    manifest: str | Path | None = None,
    extra: str | Path | None = None,
    rare: str = "error",
    allow: dict[str, str] | None = None,
) -> Survey:
    """The checked rows and folds of an order, said as they are found; CheckFailed where they do not pass."""
    competition, given = order.competition, order.given
    raw = f": {order.workspace.shown(order.raw)}" if competition.facts.layout.needs_data else ""
    console.say(competition.facts.title + raw)
    kept = None
    if given:  # its extra rows are still wanted, and its folds
        manifest_of(given)
        folds_of(given)
        kept = given.folder / "manifest.csv"
    found = survey(
        competition,
        order.workspace,
        order.raw,
        folds=order.folds,
        fold_seed=order.recipe.fold_seed,
        manifest_file=Path(manifest).expanduser() if manifest else None,
        extra_file=Path(extra).expanduser() if extra else kept,
        rare="pool" if given else rare,  # its folds are made already
        allow=allow,
    )
    show_findings(found)
    require_pass(found.findings, competition.slug)
    return found


def _train_and_predict(order: Order, found: Survey, clock: Clock, held: ExitStack) -> RunResult:
    """From checked folds to the record; the heavy imports begin here. A new run is held by ``held`` from when it is made."""
    from comp import engine

    pseudo = rows_for(order, found)
    with clock.step("model"):
        reduce = quick_rows if order.quick else None
        here = len(order.only) if order.only is not None else None
        plans = engine.prepare(order.competition, found, order.recipe, order.workspace, reduce, here)
        plans = [replace(plan, pseudo=pseudo) for plan in plans]
    findings = [*found.findings, *_shown(engine.judge_recipe(plans, order.recipe), found)]
    require_pass(findings, order.competition.slug)
    require_folds(order.only, plans[0].folds.k)
    if order.resumed is None:
        engine.require_starts(plans, order.only)
    if order.seconds is not None:
        rows, views = len(plans[0].manifest.test), plans[0].most_views
        deadline = Deadline(order.seconds - clock.total(), rows, views)
        plans = [replace(plan, deadline=deadline) for plan in plans]
    marks = marks_of(order, found)
    one = run_folder(order, found, as_one([plan.recipe for plan in plans]), marks, held, pseudo)
    return finish_run(order, found, clock, one, plans, findings, marks)


def marks_of(order: Order, found: Survey) -> list[str]:
    """Why a run is no full one, before it is known whether it has all its folds."""
    return [mark for mark, yes in (("quick", order.quick), ("sample", found.is_sample)) if yes]


def finish_run(
    order: Order,
    found: Survey,
    clock: Clock,
    one: runs.Run,
    plans: list[Plan],
    findings: list[Finding],
    marks: list[str],
) -> RunResult:
    """Trains what is left of a run, predicts, and writes the submission and the record."""
    from comp import engine
    from comp.trained import model_folder, remember_parts, require_something
    from comp.tta import choose_views, judge_views

    plans = [plan.in_folder(model_folder(one.folder, n, len(plans))) for n, plan in enumerate(plans)]
    for plan in plans:
        console.say(f"run {one.id}: {plan.summary}")
    with clock.step("train"):
        trained = engine.train_models(one.folder, plans, order.only)
        require_something(trained)
        remember_parts(trained)
        runs.goes_on(one)
        trained, views = choose_views(trained)
        oof = trained.oof
        oof.save(one.folder / "oof.npz")
        write_text(one.folder / "confusion.csv", confusion_csv(plans[0].labels, trained.confusion(oof)))
    with clock.step("predict"):
        unread = found.unread()
        test = engine.predict_test(trained, set(unread.values()))
    score, beside = trained.score(oof), trained.beside()
    findings = [
        *findings,
        *_shown(engine.judge_run(plans[0], test, score, None if order.quick else order.expected), found),
        *_shown(judge_views(trained), found),
    ]
    with clock.step("submit"):
        path = write_submission(order.workspace, found, one, test)
    result = RunResult(
        run=one.id,
        slug=order.competition.slug,
        metric=plans[0].metric.name,
        direction=plans[0].metric.direction,
        score=score,
        beside={name: trained.score(predictions) for name, predictions in beside.items()},
        selected_on_oof=any(p.selects for p in plans),
        views=views,
        pseudo=one.started.get("pseudo"),
        folds=trained.folds,
        per_fold=trained.per_fold(),
        calibration=trained.calibration(oof),
        models=trained.by_model() if len(plans) > 1 else [],
        submission=path,
        findings=counts(findings),
        seconds=clock.seconds,
        folder=one.folder,
        unread=list(unread),
        marks=[*marks, *([] if trained.is_whole else ["partial"])],
    )
    _record(one, result, findings)
    return result


def _record(one: runs.Run, result: RunResult, findings: list[Finding]) -> None:
    """Writes what the run came to; the record last, and only for a run with all its folds."""
    write_json(one.folder / "findings.json", [f.as_json() for f in findings])
    ledger.keep_entries(result.submission.with_suffix(".json"), result.as_json())
    if "partial" in result.marks:
        runs.finish_partly(one, result.as_json())
        console.say(f"  some folds are left: `comp run {result.slug} --resume {one.id}` trains them")
    else:
        runs.finish(one, result.as_json())


def _shown(findings: list[Finding], found: Survey) -> list[Finding]:
    """Findings with the allowed ones lowered, said as they come."""
    lowered = lower(findings, found.allowed)
    say_findings(lowered)
    return lowered


def run_folder(
    order: Order,
    found: Survey,
    recipe: Recipe,
    marks: list[str],
    held: ExitStack,
    pseudo: PseudoRows | None = None,
) -> runs.Run:
    """The folder of the run that goes on, or a new one with what it was given, which ``held`` keeps from others."""
    slug = order.competition.slug
    for folder in (order.workspace.submissions(slug), order.workspace.folds(slug)):
        remove_leftovers(folder)
    make_folder(order.workspace.submissions(slug))  # better refused now than after training
    if order.resumed:
        runs.require_same_rows(order.resumed, found.evidence.manifest)
        models = order.competition.file("models.py")
        runs.require_kept(order.resumed, kept_of(order, found, recipe), models)
        return order.resumed
    facts = runs.facts(order.competition.facts, found.evidence, recipe, marks, order.expected)
    told = {"pseudo": pseudo.as_json()} if pseudo else {}
    kept = kept_of(order, found, recipe)

    def inputs(folder: Path) -> None:
        _write_inputs(folder, found, recipe)
        if pseudo:
            pseudo.save(folder / PSEUDO)

    one = runs.new_run(order.workspace, {**facts, **kept, **order.origin, **told}, inputs)
    held.enter_context(runs.at_work(one))
    return one


def kept_of(order: Order, found: Survey, recipe: Recipe) -> dict[str, str | None]:
    """What has to be the same when a run goes on: its folds, and its competition's models.py where a network is of it."""
    from comp.training.networks import models_sha256

    assert found.folds is not None, "the gate lets no run pass without folds"
    names = [one.model.name for one in recipe.each]
    models = models_sha256(order.competition.file("models.py"), names)
    return {"folds_sha256": folds_sha256(found.folds), "models_sha256": models}


def _write_inputs(folder: Path, found: Survey, recipe: Recipe) -> None:
    """What the run was given: the manifest, the folds, the findings, the resolved recipe."""
    assert found.folds is not None, "the gate lets no run pass without folds"
    write_text(folder / "manifest.csv", found.evidence.manifest.to_csv())
    found.folds.save(folder / "folds.csv")
    write_json(folder / "findings.json", [f.as_json() for f in found.findings])
    slug, k = found.evidence.competition.slug, found.evidence.k
    header = f"the resolved recipe of run {folder.name}\ncomp run {slug} --folds {k} --recipe runs/{folder.name}/recipe.toml"
    write_text(folder / "recipe.toml", recipe.to_toml(header))


def write_submission(place: Workspace, found: Survey, one: runs.Run, test: Predictions) -> Path:
    """The CSV, validated, under submissions/ and in the run folder, and rows.csv for people to look at."""
    from comp import submission

    path = place.submissions(one.slug) / f"{one.id}.csv"
    submission.write(test, found.evidence.template, path)
    write_bytes(one.folder / "submission.csv", path.read_bytes())
    write_text(one.folder / "rows.csv", submission.row_table(test, found.evidence.manifest))
    return path
