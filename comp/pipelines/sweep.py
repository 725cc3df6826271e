"""sweep(): the product of several values of the recipe, a run each, and one table of what they scored."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Any

from pydantic import Field

from comp import events
from comp.config import Shape, as_overrides, read_shaped
from comp.data.competitions.competition import find_competition
from comp.data.folds import group_names
from comp.errors import CompError, InputError, Stopped, UnknownName
from comp.files import alone, make_folder, read_json, write_json
from comp.pipelines.request import recipe_file
from comp.pipelines.run import run
from comp.pipelines.sweep_values import PREFIX, grid_of
from comp.runs import run as runs
from comp.runs.contents import manifest_of, scored_oof
from comp.uncertainty import PairedJackknife
from comp.workspace import Workspace

FOLDER = "sweeps"
MOST = 1000  # runs of a sweep
_FACTS = ("run", "slug", "ended", "files", "sha256")  # of a record, beside the result's own document
_WHOLE = {
    "refit": "a refit keeps the recipe of its run: name one or the other",
    "only": "train and merge the folds of each value by themselves",
    "time_limit": "a time limit is one run's: stop the sweep when you like, and go on with it by `resume`",
    "ensemble": "`comp ensemble` blends the runs that a sweep made",
}


class _Point(Shape):
    set: dict[str, str]
    run: str | None = None


class _Sweep(Shape):
    """A sweep's file: what its runs are given, the values, and the run of each that has begun."""

    sweep: str
    slug: str
    started: str
    given: dict[str, Any]
    recipe: str
    points: list[_Point] = Field(min_length=1)


@dataclass(frozen=True, repr=False)
class SweepRow:
    """A run of a sweep: the values that were ``set``, its OOF score, and what it gains over the sweep's first run, above
    zero where it is better, with the standard error of that; None where the two do not answer the same rows.
    """

    run: str
    set: dict[str, str]
    score: float | None
    gain: float | None
    standard_error: float | None
    seconds: float
    document: dict[str, Any]

    def __repr__(self) -> str:
        return f"SweepRow({self.run!r}, {self.set}, {self.score})"

    def as_json(self) -> dict[str, Any]:
        """The run's own document, with the values and what it gains over the first."""
        return {
            **self.document,
            "set": self.set,
            "gain_over_first": self.gain,
            "standard_error": self.standard_error,
        }


@dataclass(frozen=True, repr=False)
class SweepResult:
    """What a sweep came to: a row for each of its runs, in the order of the values; ``best`` is the one of highest (or by
    ``direction`` lowest) OOF score, which is optimistic: it was chosen among all.
    """

    sweep: str
    slug: str
    metric: str
    direction: str
    rows: list[SweepRow]

    @property
    def best(self) -> SweepRow | None:
        known = [row for row in self.rows if row.score is not None]
        sign = -1.0 if self.direction == "min" else 1.0
        return max(known, key=lambda row: sign * float(row.score or 0.0), default=None)

    def __repr__(self) -> str:
        best = self.best
        best_text = "" if best is None else f", best {best.set} {self.metric} {best.score:.4f}"
        return f"SweepResult({self.sweep!r}, {len(self.rows)} runs{best_text})"

    def as_json(self) -> dict[str, Any]:
        """The document of a sweep's ``comp run --json``."""
        best = self.best
        chosen = None if best is None else {"run": best.run, "set": best.set, "score": best.score}
        return {
            "sweep": self.sweep,
            "slug": self.slug,
            "metric": self.metric,
            "direction": self.direction,
            "runs": [row.as_json() for row in self.rows],
            "best": None if chosen is None else {**chosen, "chosen_among": len(self.rows)},
        }


def sweep(
    slug: str,
    folds: int | str | Path = 5,
    *,
    overrides: Sequence[str] | Mapping[str, object] = (),
    values: Mapping[str, Sequence[object]] | None = None,
    resume: str | None = None,
    workspace: str | Path | None = None,
    report: bool = True,
    track: Sequence[str] = (),
    listeners: Sequence[events.RunListener] = (),
    **given: Any,
) -> SweepResult:
    """Runs a recipe with every combination of several values, one run after the other on the same folds.

    Parameters
    ----------
    overrides : sequence of str, or mapping
        As for ``comp.run``; a text with several values, ``"optimizer.lr=1e-3,3e-3"``, is swept over.
    values : mapping, optional
        The values to sweep over by key, ``{"optimizer.lr": [1e-3, 3e-3]}``.
    resume : str, optional
        The id of a sweep (or its beginning, where no other has it): what is finished is kept, and the run under way
        goes on. It takes nothing else but ``report``, ``track`` and ``listeners``.
    given
        What ``comp.run`` takes beside these: ``recipe``, ``data``, ``seed``, ``quick`` …

    Raises
    ------
    CompError
        For values that are none, several seeds (which ``comp.run`` blends), ``only``, ``time_limit`` and ``ensemble``;
        and every error of a run.
    """
    ws = Workspace.find(workspace)
    given = {
        name: value
        for name, value in given.items()
        if not (value is None or value in ((), [], {}) or (value is False and name != "thorough"))
    }
    for name, remedy in _WHOLE.items():
        if name in given:
            raise InputError("a sweep is of whole runs", f"`{name}` beside several values", remedy)
    if resume is None:
        path = _begin(ws, slug, {**given, "folds": folds}, as_overrides(overrides), values)
    else:
        more = [*given, *(["overrides"] if overrides else []), *(["values"] if values else [])]
        path = _found(ws, slug, resume, more)
    with alone(
        path.with_name(f".{path.stem}.lock"),
        "one process at a time works on a sweep",
        f"{path.stem} is under way in process {{pid}}",
        "wait for it to end, or stop it",
    ):
        plan = _read(path)
        common = {"workspace": ws.root, "report": report, "track": track}
        try:
            for number in range(len(plan.points)):
                _run_point(ws, path, plan, number, {**common, "listeners": list(listeners)})
        except KeyboardInterrupt:
            raise Stopped(plan.slug, plan.sweep) from None
        except CompError:
            if not any(point.run for point in plan.points):  # nothing is there to go on with
                path.unlink(missing_ok=True)
            raise
    return _result(ws, plan)


def _begin(
    ws: Workspace,
    slug: str,
    given: dict[str, Any],
    overrides: list[str],
    values: Mapping[str, Sequence[object]] | None,
) -> Path:
    """Writes the file of a new sweep, once all its recipes are known to be sound."""
    grid, others = grid_of(overrides, values)
    count = 1
    for texts in grid.values():
        count *= len(texts)
    if count > MOST:
        raise InputError(f"a sweep is of at most {MOST:,} runs", f"{count:,} combinations", "name fewer")
    points = [dict(zip(grid, texts, strict=True)) for texts in product(*grid.values())]
    competition = find_competition(slug, ws)
    _require_sound(ws, slug, given, others, points)
    name = f"{PREFIX}{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
    path = make_folder(ws.root / FOLDER) / f"{name}.json"
    document = {
        "sweep": name,
        "slug": competition.slug,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "given": {**{key: _as_json_value(value) for key, value in given.items()}, "overrides": others},
        "recipe": _recipe_sha256(ws, slug, given.get("recipe")),
        "points": [{"set": one, "run": None} for one in points],
    }
    write_json(path, document)
    events.log(f"{name}: {count} runs, {' × '.join(f'{key} ({len(texts)})' for key, texts in grid.items())}")
    return path


def _require_sound(
    ws: Workspace, slug: str, given: dict[str, Any], others: list[str], points: list[dict[str, str]]
) -> None:
    """RecipeError for the first combination that is no recipe, before anything is trained."""
    from comp.pipelines.request import load_recipe

    competition = find_competition(slug, ws)
    path = recipe_file(competition, given.get("recipe"))
    for point in points:
        laid = [*others, *_texts(point)]
        load_recipe(
            competition, path, bool(given.get("recipe")), laid, given.get("seed"), bool(given.get("quick"))
        )


def _as_json_value(value: Any) -> Any:
    """An argument as JSON keeps it; a path that is there as it is from anywhere."""
    if isinstance(value, str | Path) and os.path.exists(Path(value).expanduser()):
        return str(Path(value).expanduser().absolute())
    return str(value) if isinstance(value, Path) else value


def _recipe_sha256(ws: Workspace, slug: str, recipe: Any) -> str:
    path = recipe_file(find_competition(slug, ws), recipe)
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def _found(ws: Workspace, slug: str, name: str, more: Sequence[str]) -> Path:
    """The file of a sweep that goes on.

    Raises
    ------
    UnknownName, InputError
        Where there is none or several, it is of another competition, its recipe was changed, or ``more`` is given.
    """
    folder = ws.root / FOLDER
    known = sorted(path.stem for path in folder.glob("sweep-*.json")) if folder.is_dir() else []
    fitting = [name] if name in known else [one for one in known if one.startswith(name)]
    if not fitting:
        raise UnknownName("sweep", name, known)
    if len(fitting) > 1:
        raise InputError(
            "a prefix must fit one sweep", f"{name!r} fits {', '.join(fitting[:4])}", "write more of it"
        )
    plan = _read(folder / f"{fitting[0]}.json")
    if plan.slug != slug:
        remedy = f"`comp run {plan.slug} --resume {plan.sweep}`"
        raise InputError("a sweep belongs to one competition", f"{plan.sweep} is of {plan.slug}", remedy)
    if more:
        value = ", ".join(f"`{one}`" for one in more)
        raise InputError("a sweep that goes on keeps what it began with", value, "drop it, or begin another")
    if plan.recipe != _recipe_sha256(ws, slug, plan.given.get("recipe")):
        value = f"the recipe of {plan.sweep} was changed since it began"
        raise InputError("the runs of a sweep have one recipe", value, "restore it, or begin another sweep")
    return folder / f"{fitting[0]}.json"


def _read(path: Path) -> _Sweep:
    found: _Sweep = read_shaped(path, _Sweep, "begin another sweep: its finished runs stay")
    return found


def _run_point(ws: Workspace, path: Path, plan: _Sweep, number: int, common: dict[str, Any]) -> None:
    """Trains a combination, or what is left of it; which run it is, is written down when the run begins."""
    point = plan.points[number]
    known = None
    if point.run is not None and os.path.lexists(ws.runs / point.run):
        known = runs.find_run(ws, point.run)
        if known.record:
            return
    noting = _Noting(lambda name: _note(path, plan, number, name))
    common = {**common, "listeners": [noting, *common["listeners"]]}
    events.log(f"sweep {number + 1} of {len(plan.points)}: {_in_words(point.set)}")
    allow = plan.given.get("allow")
    if known is not None:
        manifest = {key: plan.given[key] for key in ("manifest", "data") if key in plan.given}
        run(plan.slug, resume=known.id, allow=allow, **manifest, **common)
        return
    given = {key: value for key, value in plan.given.items() if key != "overrides"}
    overrides = [*plan.given.get("overrides", []), *_texts(point.set)]
    run(plan.slug, **given, overrides=overrides, **common)


class _Noting(events.RunListener):
    """Writes down which run began."""

    def __init__(self, note: Callable[[str], None]) -> None:
        self._note = note

    def on_run_start(self, event: events.RunStarted) -> None:
        self._note(event.run)


def _note(path: Path, plan: _Sweep, number: int, name: str) -> None:
    plan.points[number].run = name
    write_json(path, plan.model_dump())


def _texts(point: Mapping[str, str]) -> list[str]:
    return [f"{key}={text}" for key, text in point.items()]


def _in_words(point: Mapping[str, str]) -> str:
    return ", ".join(_texts(point))


def _result(ws: Workspace, plan: _Sweep) -> SweepResult:
    """The table of a sweep whose runs are all done."""
    every = [runs.find_run(ws, str(point.run)) for point in plan.points]
    gains = _gains(ws, plan.slug, every)
    rows = []
    for point, one in zip(plan.points, every, strict=True):
        plain = {
            key: value for key, value in read_json(one.folder / runs.RECORD).items() if key not in _FACTS
        }
        document = {"run": one.id, "slug": one.slug, **plain}
        seconds = float(sum((plain.get("seconds") or {}).values()))
        score, (gain, error) = plain["oof"]["score"], gains.get(one.id, (None, None))
        rows.append(SweepRow(one.id, dict(point.set), score, gain, error, seconds, document))
    first = every[0].record
    return SweepResult(plan.sweep, plan.slug, str(first["metric"]), str(first["direction"]), rows)


def _gains(ws: Workspace, slug: str, every: Sequence[runs.Run]) -> dict[str, tuple[float, float]]:
    """What each run gains over the first on the same OOF rows, with its paired standard error, by run."""
    metric = find_competition(slug, ws).metric
    train = manifest_of(every[0]).train
    label = dict(zip(train["id"], map(str, train["label"]), strict=True))
    group = dict(zip(train["id"], group_names(train), strict=True))
    first = scored_oof(every[0])
    truth = first.labels.encode([label[i] for i in first.ids])
    judge = PairedJackknife(metric, truth, [group[i] for i in first.ids])
    against, found = judge.score(first.probs), {}
    for one in every[1:]:
        try:
            oof = scored_oof(one)
            theirs = manifest_of(one).train
            same = dict(zip(theirs["id"], map(str, theirs["label"]), strict=True)) == label
            if not same or set(oof.ids) != set(first.ids) or oof.labels != first.labels:
                events.log(f"  warning: {one.id} answers other rows than {every[0].id}: not compared with it")
                continue
            gain = judge.gain(judge.score(oof.select(first.ids).probs), against)
        except CompError as problem:
            events.log(f"  warning: {one.id} is compared with none: {problem}")
            continue
        found[one.id] = (gain.value, gain.error)
    return found
