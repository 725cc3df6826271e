"""run_preset(): spends a given time for the highest honest score, candidate by candidate, and blends what gains."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comp import events
from comp.checks.related_images import CloseLook
from comp.config import as_overrides
from comp.data.competitions.competition import Competition, find_competition
from comp.data.competitions.raw_folder import raw_of
from comp.data.folds import folds_sha256
from comp.ensembling.evaluate import BlendOptions
from comp.ensembling.forward_selection import FORWARD
from comp.errors import CompError, InputError, Refusal, Stopped
from comp.files import alone, sha256_of
from comp.pipelines.check import parse_folds
from comp.pipelines.engine.candidates import Source
from comp.pipelines.engine.journal import Journal
from comp.pipelines.engine.order import (
    PresetOrder,
    find_order,
    new_order,
    require_known,
    require_preset,
)
from comp.pipelines.ensemble import EnsembleResult, blend_runs
from comp.pipelines.request import FoldEngine, RunRequest, recipe_file
from comp.pipelines.run import checked, trackers_of
from comp.training.time_limit import parse_seconds
from comp.workspace import Workspace

if TYPE_CHECKING:
    from comp.checks.runner import CheckResult
    from comp.pipelines.engine.plan import PlannedPreset
    from comp.pipelines.engine.session import Session
    from comp.pipelines.run_result import RunResult

_KEPT = (
    "folds",
    "data",
    "overrides",
    "seed",
    "manifest",
    "extra",
    "rare",
    "allow",
    "thorough",
    "group_scenes",
    "backbones",
    "licence",
    "time_limit",
)
_ENGINE = ("engine", "address", "cpus_per_fold", "gpus_per_fold")
LOCK = ".running"


@dataclass(frozen=True, repr=False)
class PresetResult(EnsembleResult):
    """What a preset came to: the blend of its runs that gain. ``score`` is nested over the choice among all of them; ``preset``
    has its id, each candidate with what became of it, and the time.
    """

    preset: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """The document of ``comp run --preset --json``."""
        return {**super().as_json(), "preset": self.preset}


def run_preset(
    slug: str,
    preset: str | None = None,
    folds: int | str | Path = 5,
    *,
    time_limit: str | None = None,
    backbones: Sequence[str] = (),
    licence: str | None = None,
    workspace: str | Path | None = None,
    data: str | Path | None = None,
    overrides: Sequence[str] | Mapping[str, object] = (),
    seed: int | None = None,
    resume: str | None = None,
    manifest: str | Path | None = None,
    extra: str | Path | None = None,
    rare: str | None = None,
    allow: dict[str, str] | None = None,
    thorough: bool | None = None,
    group_scenes: bool = False,
    report: bool = True,
    engine: str | None = None,
    address: str | None = None,
    cpus_per_fold: float | None = None,
    gpus_per_fold: float | None = None,
    track: Sequence[str] = (),
    listeners: Sequence[events.RunListener] = (),
    began: float | None = None,
    **others: Any,
) -> RunResult:
    """Spends a time for the highest honest score: tries candidates, each a run of its own, and blends those that gain.

    Parameters
    ----------
    slug : str
        A competition of ``comp list``.
    preset : "fast", "good" or "best"
        Classifiers of frozen features, in minutes; then a network that is trained; then several, and further seeds.
    time_limit : str, optional
        Such as "2h", of the whole command. Without one a preset takes what its kind is for, by a table and not by the clock,
        so that the same command gives the same submission.
    backbones : sequence of str, optional
        timm's names of those to try; by default those of ``comp.list_models()`` whose weights can be had.
    licence : str, optional
        As ``comp.list_models`` takes it: "any" lets in those whose weights a winner may not publish.
    resume : str, optional
        The id of a preset run that was stopped, or "latest": it goes on by its own arguments; ``time_limit`` is then of this command.
    engine, address, cpus_per_fold, gpus_per_fold : optional
        As ``comp.run`` takes them: with "ray" the folds of every candidate are dealt to a cluster. They change no candidate, and one that goes
        on may have others.
    began : float, optional
        The ``time.monotonic()`` that the limit counts from; by default now.
    folds, workspace, data, overrides, seed, manifest, extra, rare, allow, thorough, group_scenes, report, track, listeners
        As ``comp.run`` takes them; ``overrides`` narrow what every candidate may be. What else it takes is refused.

    Raises
    ------
    CompError
        Every mistake of a user and every refusal; see ``comp.errors``.
    """
    given = {name: value for name, value in locals().items() if name in _KEPT}
    began = time.monotonic() if began is None else began
    ws = Workspace.find(workspace)
    competition = find_competition(slug, ws)
    require_known(others)
    by = _engine(engine, address, cpus_per_fold, gpus_per_fold)
    heard = events.guarded(listeners) + (trackers_of(track, ws) if track else [])
    if resume is None:
        require_preset(preset or "", others)
        given |= {"overrides": as_overrides(overrides), "backbones": list(backbones)}
        order = _new(ws, competition, preset or "", given)
    else:
        order = _found(ws, resume, slug, preset, given)
    held = alone(order.folder / LOCK, "a preset run is at work once", f"{order.id} is at work", "wait for it")
    with held, without_empty_folder(order, resume is None), events.listening(*heard):
        session = _session(order, ws, competition, time_limit if resume else None, began, by)
        with by.connected():
            session.run()
        return result_of(session, report)


def plan_preset(slug: str, preset: str, folds: int | str | Path = 5, **given: Any) -> PlannedPreset:
    """What ``run_preset`` would try with these arguments, and how long each would take by measured steps; nothing is trained.

    The rows are checked, which the run that follows need not do again where its images are known.
    """
    began = time.monotonic()
    plain = (*_KEPT, *_ENGINE, "workspace", "report", "track", "listeners")
    others = {name: value for name, value in given.items() if name not in plain}
    require_known(others)
    require_preset(preset, others)
    by = _engine(*(given.get(name) for name in _ENGINE))
    ws = Workspace.find(given.get("workspace"))
    competition = find_competition(slug, ws)
    kept: dict[str, Any] = {"folds": folds, **dict.fromkeys(_KEPT[1:]), "group_scenes": False}
    kept |= {name: value for name, value in given.items() if name in _KEPT}
    kept |= {"overrides": as_overrides(given.get("overrides") or ())}
    kept |= {"backbones": list(given.get("backbones") or ())}
    order = PresetOrder(preset, slug, _sound(ws, competition, kept), Path())
    from comp.pipelines.engine.plan import planned

    session = _session(order, ws, competition, None, began, by)
    with by.connected():
        return planned(session)


def _engine(*given: Any) -> FoldEngine:
    """What trains the folds of candidates; refused before any image is read where it cannot be had."""
    engine = FoldEngine.of(*given)
    engine.require_for_many()
    engine.require_possible()
    return engine


def _new(ws: Workspace, competition: Competition, preset: str, given: dict[str, Any]) -> PresetOrder:
    """A new order, once everything that needs no image is known to be sound."""
    return new_order(ws, preset, competition.slug, _sound(ws, competition, given))


def _sound(ws: Workspace, competition: Competition, given: dict[str, Any]) -> dict[str, Any]:
    """Arguments as JSON has them; refuses what can be seen to be wrong without an image."""
    Source.of(competition, given["overrides"], given["seed"])
    if given["time_limit"]:
        parse_seconds(given["time_limit"])
    raw = raw_of(competition, ws, given["data"])
    competition.require_layout(raw)
    given = {**given, "data": str(Path(raw).absolute()) if given["data"] else None}
    for name in ("folds", "manifest", "extra"):
        if isinstance(given[name], Path) or (name != "folds" and given[name]):
            given[name] = str(Path(given[name]).expanduser().absolute())
    return given


def _found(ws: Workspace, resume: str, slug: str, preset: str | None, given: dict[str, Any]) -> PresetOrder:
    """The order that goes on.

    Raises
    ------
    InputError
        Where it is done, or arguments came with it that it has already.
    """
    order = find_order(ws, resume, slug)
    data = str(Path(given["data"]).expanduser().absolute()) if given["data"] else None
    same = given["data"] if data == order.given["data"] else ""
    usual = {"folds": (5, "5"), "time_limit": (given["time_limit"],), "data": (same,)}
    more = [name for name in _KEPT if given[name] and given[name] not in usual.get(name, ())]
    if preset not in (None, order.preset):
        more.append("preset")
    if more:
        value = ", ".join(f"`{name}`" for name in more)
        raise InputError(
            "a preset run that goes on keeps what it began with", value, "drop it, or begin another"
        )
    end = Journal.of(order.folder).last("ended")
    if end is not None and end.get("why") == "done":
        value = f"{order.id} is done: run {end.get('run')}"
        raise InputError("a finished preset run has nothing left", value, f"`comp show {end.get('run')}`")
    return order


@contextmanager
def without_empty_folder(order: PresetOrder, is_new: bool) -> Iterator[None]:
    """Removes the folder of a new order that came to nothing: that was refused before its first decision."""
    try:
        yield
    except CompError:
        if is_new and len(Journal.of(order.folder).entries) <= 1:
            shutil.rmtree(order.folder, ignore_errors=True)
        raise


def _session(
    order: PresetOrder,
    ws: Workspace,
    competition: Competition,
    limit: str | None,
    began: float,
    engine: FoldEngine,
) -> Session:
    """The preset at work: its rows checked once; the heavy imports begin here."""
    from comp.models.runtime import resolve_device
    from comp.pipelines.engine.budget import Budget
    from comp.pipelines.engine.candidates import candidate_backbones
    from comp.pipelines.engine.session import Session

    given = order.given
    source = Source.of(competition, given["overrides"], given["seed"])
    recipe = source.recipe(source.table, "the preset")
    device = resolve_device(recipe).device
    source = replace(source, device=device)
    wanted = candidate_backbones(
        ws, given["backbones"], given["licence"], "cpu" if device == "cpu" else "big-gpu"
    )
    look = CloseLook(given["thorough"], given["group_scenes"], by_itself=True)
    look.require_possible()
    raw, folds = raw_of(competition, ws, given["data"]), parse_folds(given["folds"])
    request = RunRequest(ws, competition, raw, recipe, folds, False, None, None, report=False, look=look)
    request = replace(request, engine=engine)
    journal = Journal.of(order.folder)  # empty where nothing is to be written
    journal.begin_again()
    seconds = parse_seconds(limit or given["time_limit"]) if limit or given["time_limit"] else None
    if seconds is not None and limit is None:
        seconds = max(1.0, seconds - journal.before)
    told = (
        f"preset {order.preset}"
        + (f" ({order.id})" if order.id else "")
        + ("" if seconds is None else f", {seconds:,.0f} s")
    )
    events.log(f"{told}: {', '.join(one.name for one in wanted) or 'no pretrained weights at hand'}")
    checks = checked(request, given["manifest"], given["extra"], given["rare"], given["allow"])
    if order.id:
        _require_same(journal, order, checks, recipe_file(competition, None))
    budget = Budget(order.preset, seconds, device, began)
    return Session(order, request, checks, source, wanted, budget, journal)


def _require_same(journal: Journal, order: PresetOrder, checks: CheckResult, recipe: Path) -> None:
    """Refuses to go on with other rows or folds, or another recipe of the competition: the runs so far would be blended with
    those of something else.
    """
    assert checks.folds is not None, "the checks let no run pass without folds"
    manifest = checks.dataset.manifest
    now = {
        **{f"{split} rows": manifest.fingerprint(split) for split in ("train", "test", "extra")},
        "folds": folds_sha256(checks.folds),
        "baseline.toml": sha256_of(recipe) if recipe.is_file() else "",
    }
    before = journal.last("begins")
    if before is None:
        journal.write("begins", **now)
        return
    other = [name for name, value in now.items() if before.get(name) != value]
    if other:
        value = f"{', '.join(other)} are no longer those that {order.id} began with"
        raise Refusal("a preset run goes on with what it began with", value, "restore them, or begin another")


def result_of(session: Session, report: bool) -> RunResult:
    """What a preset comes to: the blend of its finished runs; where none is whole, what the limit left of one.

    Raises
    ------
    Stopped, CompError
        Where there is nothing.
    """
    order, journal = session.order, session.journal
    cut = session.stopped or any(row.again for row in session.rows)
    if not session.members:
        if session.stopped:
            raise Stopped(order.slug, order.id)
        if session.partial is not None:
            journal.write("ended", why="limit", run=session.partial.run)
            return session.partial
        if session.failures:
            raise session.failures[0]
        remedy = "give it a longer `time_limit`, or `backbones`"
        raise Refusal("a preset needs a candidate that can be trained", "there is none", remedy)
    options = BlendOptions(FORWARD)
    told = {"preset": order.id}
    found = blend_runs(
        session.request.workspace,
        list(session.members),
        options,
        None,
        report,
        partial(PresetResult, preset=facts_of(session)),
        **told,
    )
    why = "stopped" if session.stopped else "left" if cut else "done"
    journal.write("ended", why=why, run=found.run, score=found.score)
    return found


def facts_of(session: Session) -> dict[str, Any]:
    """A preset for its record: each candidate, and the time."""
    budget = session.budget
    return {
        "id": session.order.id,
        "preset": session.order.preset,
        "time_limit": budget.seconds,
        "seconds": round(time.monotonic() - budget.began, 2),
        "stopped": session.stopped,
        "candidates": [row.as_json() for row in session.table()],
    }
