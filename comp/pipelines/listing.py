"""What there is, as tables: competitions, runs, and the facts of one of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from markupsafe import Markup

from comp import events
from comp.data.competitions.competition import Competition, find_competition, find_competitions
from comp.data.competitions.facts import KaggleFacts
from comp.data.competitions.raw_folder import raw_or_usual, require_wanted
from comp.errors import CompError, InputError, UnknownName
from comp.runs import ledger
from comp.runs import run as runs
from comp.runs.progress import live_state
from comp.workspace import Workspace, shown

Row = TypeVar("Row")
MOST_LINES = 15  # of the repr of rows


class Rows(list[Row]):
    """A list of rows that a notebook shows as a table, and a prompt by the first of them."""

    def __repr__(self) -> str:
        lines = [f"{row!r}" for row in self[:MOST_LINES]]
        left = len(self) - len(lines)
        return "[" + ",\n ".join([*lines, *([f"… {left} more"] if left else [])]) + "]"

    def _repr_html_(self) -> str:
        tables = [asdict(row) for row in self]  # type: ignore[call-overload]
        names = [
            name
            for name in (tables[0] if tables else {})
            if any(table[name] not in (None, "", []) for table in tables)
        ]
        head = Markup("").join(Markup("<th>{}</th>").format(name) for name in names)
        lines = (
            Markup("").join(Markup("<td>{}</td>").format(_told(table[name])) for name in names)
            for table in tables
        )
        body = Markup("").join(Markup("<tr>{}</tr>").format(line) for line in lines)
        return Markup("<table><tr>{}</tr>{}</table>").format(head, body)


def _told(value: Any) -> str:
    """A value in a cell; nothing for what is not known."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4f}"
    return shown(Path(value)) if isinstance(value, str) and Path(value).is_absolute() else _cell(value)


@dataclass(frozen=True, repr=False)
class CompetitionRow:
    """A competition: whether its ``data`` is there, the best OOF score of its full runs and the best public score on
    the leaderboard; ``error`` says why it cannot be used, and is None where it can.
    """

    slug: str
    title: str = ""
    metric: str = ""
    data: bool = False
    best_oof: float | None = None
    best_public: float | None = None
    error: str | None = None

    def __repr__(self) -> str:
        return f"CompetitionRow({self.slug!r}, data={self.data}, best_oof={self.best_oof})"

    def as_json(self) -> dict[str, Any]:
        """The row of ``comp list --json``."""
        return asdict(self)


@dataclass(frozen=True, repr=False)
class RunRow:
    """A run: its ``state`` (done, running, unfinished, damaged), what it was made of, its OOF score and its submission.

    ``progress`` says where one that is not done is, or was stopped (see ``runs.progress.live_state``).
    """

    run: str
    slug: str
    state: str
    damage: str | None
    marks: list[str]
    mode: str | None
    model: str | None
    folds: int | None
    parent: str | None
    refit: str | None
    merged: list[str]
    pseudo: str | None
    metric: str | None
    oof: float | None
    submission: str | None
    progress: dict[str, Any] | None = None

    def __repr__(self) -> str:
        return f"RunRow({self.run!r}, {self.slug!r}, {self.state}, oof={self.oof})"

    def as_json(self) -> dict[str, Any]:
        """The row of ``comp runs --json``."""
        return asdict(self)


@dataclass(frozen=True, repr=False)
class ModelRow:
    """A backbone: the side of its input in pixels, 10^9 multiply-adds an image, 10^6 parameters, the least device that fine-tunes it
    in hours, its weights' licence and whether a winner may publish them; ``weights`` is where they lie, None where they must be downloaded.
    """

    name: str
    size: int
    gmacs: float
    params: float
    device: str
    licence: str
    open: bool
    known_for: str
    weights: str | None

    def __repr__(self) -> str:
        return f"ModelRow({self.name!r}, gmacs={self.gmacs}, weights={self.weights!r})"

    def as_json(self) -> dict[str, Any]:
        """The row of ``comp models --json``."""
        return asdict(self)


@dataclass(frozen=True, repr=False)
class Facts:
    """What is known of a competition or a run: ``lines`` for people, ``document`` for programs."""

    name: str
    lines: list[tuple[str, str]]
    document: dict[str, Any]

    def _repr_html_(self) -> str:
        row = Markup("<tr><td>{}</td><td style='text-align:left'>{}</td></tr>")
        rows = Markup("").join(row.format(what, value) for what, value in self.lines)
        return Markup("<p><b>{}</b></p><table>{}</table>").format(self.name, rows)

    def __repr__(self) -> str:
        return "\n".join([self.name, *(f"  {what}: {value}" for what, value in self.lines)])


def list_competitions(workspace: str | Path | None = None) -> Rows[CompetitionRow]:
    """Every competition by slug, those that cannot be used last; what is wrong with them is said."""
    ws = Workspace.find(workspace)
    finished = [run for run in runs.sound_runs(ws) if run.record and not run.gaps]
    known = find_competitions(ws)
    rows = []
    for slug, competition in known.competitions.items():
        scores = [run.record["oof"]["score"] for run in finished if run.slug == slug]
        public = [one.public for one in _unless_damaged(slug, partial(ledger.entries, ws, slug)) or []]
        rows.append(
            CompetitionRow(
                slug,
                competition.facts.title,
                competition.facts.metric,
                _unless_damaged(slug, partial(_has_data, competition, ws)) or False,
                _best(competition, scores),
                _best(competition, public),
            )
        )
    for broken in known.broken:
        events.log(f"  warning: {broken}")
    return Rows([*rows, *(CompetitionRow(broken.slugs[0], error=str(broken)) for broken in known.broken)])


def _has_data(competition: Competition, workspace: Workspace) -> bool:
    return competition.has_data(raw_or_usual(competition, workspace))


def _best(competition: Competition, scores: list[float | None]) -> float | None:
    better = min if competition.direction == "min" else max
    return better((float(score) for score in scores if score is not None), default=None)


def _unless_damaged(slug: str, ask: Callable[[], Any]) -> Any:
    """What ``ask`` gives; None, with a warning, where a file of one competition is damaged: no reason to hide the others."""
    try:
        return ask()
    except CompError as damaged:
        events.log(f"  warning: {slug}: {damaged}")
        return None


def list_runs(
    slug: str | None = None,
    workspace: str | Path | None = None,
    *,
    where: Sequence[str] = (),
    sort: str | None = None,
    export: str | Path | None = None,
) -> Rows[RunRow]:
    """Runs, newest first; of one competition if asked, with damaged ones that do not say whose they are. What is wrong
    with a damaged one is said.

    Parameters
    ----------
    where : sequence of str
        Conditions that all hold: a key, an operator (= != < > <= >= or ~, "contains") and a value, ``"oof>0.9"``. Keys are
        those of the rows, "date", "seconds" and the dotted keys of the recipe, ``"optimizer.lr<=1e-3"``.
    sort : str, optional
        A key, smallest first; with a minus before it largest first.
    export : path, optional
        A .csv or .parquet file that is written: these runs, with their recipes.

    Raises
    ------
    UnknownName, InputError
        For a competition that there is not, or that cannot be used; for a condition, an order or a file that is none.
    """
    if where or sort is not None or export is not None:
        from comp.pipelines.run_export import export_runs, require_export
        from comp.pipelines.run_filter import RunValues, chosen

        target = require_export(export)
        chosen([], where, sort)  # better refused before runs are read
        known = Workspace.find(workspace)
        rows = [RunValues(row, known.runs / row.run) for row in list_runs(slug, workspace)]
        found = chosen(rows, where, sort)
        if target is not None:
            export_runs(found, target)
        return Rows(one.run_row for one in found)
    ws = Workspace.find(workspace)
    if slug is not None:
        find_competition(slug, ws)
    every = _every(ws, slug)
    states = [live_state(run) for run in every]
    if any(run.has_ended_since() for run in every):  # one ended while the others were looked at
        every = _every(ws, slug)
        states = [live_state(run) for run in every]
    for run in every:
        if run.damage:
            events.warn_once(f"run {run.id} is damaged and left out: {run.damage}")
    return Rows(RunRow(**{**run.summary(), **state}) for run, state in zip(every, states, strict=True))


def _every(workspace: Workspace, slug: str | None) -> list[runs.Run]:
    """The runs that there are, of a competition if asked; damaged ones too, which may not even say whose they are."""
    return runs.all_runs(workspace, slug) + (
        [one for one in runs.all_runs(workspace, "") if one.damage] if slug else []
    )


def list_models(
    licence: str | None = None, device: str | None = None, workspace: str | Path | None = None
) -> Rows[ModelRow]:
    """Backbones that are worth a try, the cheapest first; any other of timm's can be named in a recipe as well.

    Parameters
    ----------
    licence : str, optional
        "any", or the name of one; by default those that the winner of a competition may publish with a solution.
    device : "cpu", "gpu" or "big-gpu", optional
        Those that such a device fine-tunes in hours.
    workspace : path, optional
        Whose ``weights/`` are looked at, beside ``COMP_WEIGHTS`` and the hub's cache.
    """
    from comp.models.ladder import DEVICES, allowed, weights_at_hand

    if device not in (None, *DEVICES):
        raise InputError("unknown `device`", repr(device), f"one of {', '.join(DEVICES)}")
    folders = Workspace.find(workspace).weight_folders()
    return Rows(
        ModelRow(**one.model_dump(exclude={"family"}), weights=weights_at_hand(one.name, folders))
        for one in allowed(licence, device or DEVICES[-1])
    )


def show(slug_or_run: str, workspace: str | Path | None = None, data: str | Path | None = None) -> Facts:
    """The facts of a competition by its slug, or else of a run by its id, a prefix or "latest"; where its page is, which is
    written where there is none yet.

    Parameters
    ----------
    data : path, optional
        The raw folder of a competition.

    Raises
    ------
    CompError
        For a name that is neither's, a competition that cannot be used, or a run that is damaged.
    """
    ws = Workspace.find(workspace)
    try:
        competition = find_competition(slug_or_run, ws)
    except UnknownName as unknown:
        try:
            return _facts_of_run(runs.find_run(ws, slug_or_run), ws)
        except UnknownName:
            raise unknown from None
    raw = Path(data or raw_or_usual(competition, ws)).expanduser()
    if data:
        require_wanted(competition, raw)
    document = {
        **competition.facts.model_dump(mode="json"),
        "raw": str(raw),
        "missing": competition.missing(raw),
        "folder": str(competition.folder),
    }
    return Facts(slug_or_run, _lines(competition, raw), document)


def _facts_of_run(run: runs.Run, workspace: Workspace) -> Facts:
    row = RunRow(**run.summary()).as_json()
    page = _page_of(run, workspace)
    document = {**row, "oof": run.record.get("oof"), "folder": str(run.folder), "report": page}
    return Facts(run.id, [(name, _cell(value)) for name, value in document.items() if value], document)


def _page_of(run: runs.Run, workspace: Workspace) -> str | None:
    """Where the page of a run lies in the workspace; written where there is none yet, None where nothing can be drawn."""
    from comp.pipelines.report import REPORT, write_report

    page = run.folder / REPORT
    if run.refit:  # a page shows what was answered for held-out rows
        return None
    if not page.is_file():
        try:
            write_report(run.id, workspace=workspace.root)
        except CompError as problem:
            events.log(f"  no report: {problem}")
            return None
    return page.relative_to(workspace.root).as_posix()


def _cell(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_cell(one)}" for name, one in value.items())
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _classes(competition: Competition, raw: Path) -> str:
    """The class names in index order, as far as facts and raw folder state them."""
    stated = competition.facts.classes
    if stated == "discover":
        known = competition.has_data(raw) and raw.is_dir()
        found = competition.classes(raw) if known else None
        if found is None:
            return "discovered in the training labels" if known else "discovered in the raw folder"
        stated = found
    shown = [f"{name} {index}" for index, name in enumerate(stated)]
    return ", ".join(shown if len(shown) <= 30 else [*shown[:10], f"… {len(shown)} in all …", shown[-1]])


def _hidden(kaggle: KaggleFacts) -> list[tuple[str, str]]:
    """A line on a hidden test, where there is one."""
    if not kaggle.hidden_test:
        return []
    rows = f"{kaggle.hidden_rows:,} rows" if kaggle.hidden_rows else "how many rows is not stated"
    return [
        ("hidden test", f"{rows}; {kaggle.gpu_hours:g} hours with a GPU, {kaggle.cpu_hours:g} without one")
    ]


def _lines(competition: Competition, raw: Path) -> list[tuple[str, str]]:
    """A competition's facts, a line each."""
    facts = competition.facts
    classes = _classes(competition, raw)
    target = (
        facts.template.target if isinstance(facts.template.target, str) else ", ".join(facts.template.target)
    )
    return [
        ("title", facts.title),
        ("page", facts.url),
        ("kaggle", facts.kaggle.slug or "not on Kaggle"),
        *_hidden(facts.kaggle),
        ("metric", facts.metric),
        ("classes", classes),
        ("raw folder", f"{raw}: {raw_state(competition, raw)}"),
        ("layout", ", ".join(facts.layout.required) or "no files needed"),
        (
            "archives",
            ", ".join(facts.layout.archives) + " in place of what they hold"
            if facts.layout.archives
            else "none",
        ),
        (
            "template",
            f"{facts.template.file}: id {facts.template.id!r}, target {target!r} as {facts.template.kind}",
        ),
        (
            "pairs",
            f"row and file by {facts.pairs}"
            + (f", files in {facts.order} order" if facts.pairs == "position" else ""),
        ),
        (
            "allowed",
            "; ".join(f"{c}: {why}" for c, why in facts.check.allow.items()) or "no check is lowered",
        ),
        ("options", ", ".join(f"{name} = {value}" for name, value in facts.options.items()) or "none"),
        (
            "recipes",
            ", ".join(n for n in ("baseline", "story") if competition.file(f"{n}.toml").is_file()) or "none",
        ),
        (
            "published labels",
            "yes: `comp score` judges a submission" if competition.adapter.has("answers") else "no",
        ),
        ("folder", str(competition.folder)),
    ]


def raw_state(competition: Competition, raw: Path) -> str:
    """Whether a competition's raw folder is there and complete."""
    if not competition.facts.layout.needs_data:
        return "needs no download"
    if not raw.is_dir():
        return "not there"
    missing = competition.missing(raw)
    made_up = " (a made-up sample)" if (raw / ".comp-sample").is_file() else ""
    return (f"incomplete, lacks {', '.join(missing)}" if missing else "complete") + made_up
