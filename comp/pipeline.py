"""run(): the chain from a raw folder to a submission, top to bottom."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from comp import console, registry, runs
from comp.checks.findings import counts
from comp.checks.gate import require_pass
from comp.competition import Competition
from comp.errors import InputError
from comp.predictions import Predictions
from comp.quick import QUICK_OVERRIDES, quick_rows
from comp.recipe import Recipe, load
from comp.result import RunResult
from comp.survey import Survey, fold_count, show_findings, survey
from comp.workspace import Workspace, write_bytes, write_json, write_text


@dataclass
class Clock:
    """Seconds by step."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = round(time.perf_counter() - started, 3)


@dataclass(frozen=True)
class Order:
    """What was asked for: where, of what, by which recipe, and whether an unfinished run goes on."""

    workspace: Workspace
    competition: Competition
    raw: Path
    recipe: Recipe
    folds: int | Path
    quick: bool
    resumed: runs.Run | None


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
        An unfinished run to go on with, by its own recipe and folds; finished folds are kept.
    manifest : path, optional
        A hand-made manifest instead of the adapter's.
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
    if resume is None:
        raw = Path(data).expanduser().absolute() if data else place.raw(slug)
        order = Order(
            place,
            competition,
            raw,
            load_recipe(competition, recipe, overrides, seed, quick),
            fold_count(folds),
            quick,
            None,
        )
    else:
        if recipe or overrides or seed is not None or quick:
            raise InputError(
                "a resumed run keeps its own recipe",
                "--resume came with a recipe, --set, --seed or --quick",
                "drop them",
            )
        order = _order_of(runs.find_run(place, resume), place, competition, data)

    console.say(
        competition.facts.title
        + (f": {place.shown(order.raw)}" if competition.facts.layout.needs_data else "")
    )
    with clock.step("check"):
        manifest_file = Path(manifest).expanduser() if manifest else None
        found = survey(
            competition,
            place,
            order.raw,
            folds=order.folds,
            fold_seed=order.recipe.fold_seed,
            manifest_file=manifest_file,
            allow=allow,
        )
    show_findings(found)
    require_pass(found.findings, slug)
    return _train_and_predict(order, found, clock)


def _train_and_predict(order: Order, found: Survey, clock: Clock) -> RunResult:
    """From checked folds to the record; the heavy imports begin here."""
    from comp.engine import predict_test, prepare, train_folds

    with clock.step("model"):
        plan = prepare(
            order.competition, found, order.recipe, order.workspace, quick_rows if order.quick else None
        )
    marks = [mark for mark, yes in (("quick", order.quick), ("sample", found.is_sample)) if yes]
    if order.resumed:
        runs.require_same_rows(order.resumed, found.evidence.manifest)
        one = order.resumed
    else:
        one = runs.new_run(
            order.workspace, runs.facts(order.competition.facts, found.evidence, plan.recipe, marks)
        )
        _write_inputs(one.folder, found, plan.recipe)
    plan = plan.in_folder(one.folder)
    recipe = plan.recipe
    console.say(
        f"run {one.id}: {recipe.mode} {recipe.model.name}, {plan.folds.k} folds, on {recipe.device} in {recipe.precision}"
    )

    with clock.step("train"):
        results, oof = train_folds(plan)
    with clock.step("predict"):
        test = predict_test(plan)
    with clock.step("submit"):
        path = _write_submission(order, found, one, test)

    targets = plan.labels.encode(plan.manifest.train["label"])
    rows = sum(r.rows for r in results)
    result = RunResult(
        run=one.id,
        slug=order.competition.slug,
        metric=plan.metric.name,
        direction=plan.metric.direction,
        score=plan.metric(targets, oof.select(list(plan.manifest.train["id"])).probs),
        identity_score=sum(r.identity_score * r.rows for r in results) / rows,
        per_fold=[r.score for r in results],
        submission=path,
        findings=counts(found.findings),
        seconds=clock.seconds,
        folder=one.folder,
        marks=marks,
    )
    write_json(path.with_suffix(".json"), {**result.as_json(), "message": None, "submitted": None})
    runs.finish(one, result.as_json())
    return result


def load_recipe(
    competition: Competition,
    recipe: str | Path | None,
    overrides: Sequence[str],
    seed: int | None,
    quick: bool,
) -> Recipe:
    """The recipe that was asked for: a file or the competition's baseline, then --set, --seed, --quick."""
    named = competition.file(f"{recipe or 'baseline'}.toml")  # --recipe story means the competition's own
    path = (
        Path(recipe).expanduser()
        if recipe and not (str(recipe).isidentifier() and named.is_file())
        else named
    )
    laid = [*overrides, *([f"seed={seed}"] if seed is not None else []), *(QUICK_OVERRIDES if quick else [])]
    return load(path if recipe or path.is_file() else None, laid)


def _order_of(one: runs.Run, place: Workspace, competition: Competition, data: str | Path | None) -> Order:
    """The order of an unfinished run, as its folder tells it."""
    if one.record:
        raise InputError(
            "only an unfinished run can be resumed",
            f"{one.id} is done",
            f"`comp predict {one.id}` predicts again",
        )
    if one.slug != competition.slug:
        raise InputError(
            "a run belongs to one competition",
            f"{one.id} is of {one.slug}",
            f"comp run {one.slug} --resume {one.id}",
        )
    raw = Path(data).expanduser().absolute() if data else Path(str(one.started["raw"]))
    quick = "quick" in one.marks
    return Order(
        place, competition, raw, load(one.folder / "recipe.toml"), one.folder / "folds.csv", quick, one
    )


def _write_inputs(folder: Path, found: Survey, recipe: Recipe) -> None:
    """What the run was given: the manifest, the folds, the findings, the resolved recipe."""
    assert found.folds is not None, "the gate lets no run pass without folds"
    write_text(folder / "manifest.csv", found.evidence.manifest.to_csv())
    found.folds.save(folder / "folds.csv")
    write_json(folder / "findings.json", [f.as_json() for f in found.findings])
    slug, k = found.evidence.competition.slug, found.evidence.k
    header = f"the resolved recipe of run {folder.name}\ncomp run {slug} --folds {k} --recipe runs/{folder.name}/recipe.toml"
    write_text(folder / "recipe.toml", recipe.to_toml(header))


def _write_submission(order: Order, found: Survey, one: runs.Run, test: Predictions) -> Path:
    """The CSV, validated, under submissions/ and in the run folder, and rows.csv for people to look at."""
    from comp import submission

    path = order.workspace.submissions(order.competition.slug) / f"{one.id}.csv"
    submission.write(test, found.evidence.template, path)
    write_bytes(one.folder / "submission.csv", path.read_bytes())
    write_text(one.folder / "rows.csv", submission.row_table(test, found.evidence.manifest))
    return path
