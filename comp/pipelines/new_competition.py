"""A new competition from a raw folder: its facts are looked for there, tried, and written down."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from comp.config import validate
from comp.data.competitions.competition import Competition
from comp.data.competitions.facts import CompetitionConfig
from comp.data.competitions.from_folder.as_toml import as_toml
from comp.data.competitions.from_folder.guess import Proposal, propose
from comp.data.competitions.scaffold import new_folder, scaffold_facts, title_of
from comp.data.task import TASKS
from comp.errors import InputError, UnknownName
from comp.files import parse_toml
from comp.metrics import fitting, metric_by_name
from comp.workspace import Workspace


@dataclass(frozen=True)
class NewCompetition:
    """A competition that was written: its folder, what reading the raw folder by it gave, and what it leaves open."""

    slug: str
    folder: Path
    raw: Path
    facts: dict[str, Any]
    unsure: dict[str, str]
    summary: str

    def as_json(self) -> dict[str, Any]:
        """The document of ``comp new SLUG --from DIR --json``."""
        return {
            "slug": self.slug,
            "folder": str(self.folder),
            "raw": str(self.raw),
            "facts": self.facts,
            "unsure": self.unsure,
        }


def new_from_folder(
    slug: str,
    raw: str | Path,
    metric: str | None = None,
    task: str | None = None,
    kaggle: str = "",
    said: str = "",
    workspace: str | Path | None = None,
) -> NewCompetition:
    """Writes competition.toml with the facts of a raw folder, baseline.toml and README.md.

    Parameters
    ----------
    slug : str
        Of the new competition.
    raw : path
        The raw folder; nothing is written into it.
    metric, task : str, optional
        Where they are known; else the likeliest is written, and marked as not sure.
    kaggle, said : str
        The competition's name on Kaggle, and how it words its metric, kept as evidence.

    Raises
    ------
    InputError
        For a slug that is taken, an unknown metric or task, or a folder in which nothing says the labels.
    """
    ws = Workspace.find(workspace)
    new_folder(slug, ws)
    if task is not None and task not in TASKS:
        raise UnknownName("task", task, TASKS)
    if metric is not None:
        _require_metric(metric, task)
    place = Path(raw).expanduser().absolute()
    proposal = propose(place, _plain(metric or ""), task or "")
    if metric is not None:
        told = f"{said!r} on Kaggle" if said else "as given"
        proposal.put("metric", metric, told)
    if kaggle:
        proposal.put("kaggle", kaggle)
    text = as_toml(proposal, slug, title_of(slug))
    facts = validate(CompetitionConfig, parse_toml(text), "the facts of the folder")
    metric_by_name(facts.metric, task=facts.task)
    summary = _tried(Competition(ws.competitions / slug.replace("-", "_"), facts), place, proposal)
    text = as_toml(proposal, slug, title_of(slug))
    folder = scaffold_facts(slug, text, ws)
    return NewCompetition(slug, folder, place, proposal.table(), proposal.unsure, summary)


def _plain(metric: str) -> str:
    return metric.strip().lower().replace("-", "_").replace(" ", "_")


def _require_metric(metric: str, task: str | None) -> None:
    """UnknownName for a metric that no task has, or that the stated task has not."""
    if metric.startswith("adapter:"):
        return
    if task is not None:
        metric_by_name(metric, task=task)
        return
    for one in TASKS:
        try:
            metric_by_name(metric, task=one)
            return
        except InputError:
            continue
    known = {name for one in TASKS for name in fitting(one)} | {"map@5", "top5", "macro_f2"}
    raise UnknownName("metric", metric, known, "or leave --metric out, and correct the file")


def _tried(competition: Competition, raw: Path, proposal: Proposal) -> str:
    """What reading the folder by the facts gives, in one line; what does not fit is said beside them."""
    from comp.data.images.raw_tree import RawTree

    try:
        manifest = competition.read(raw)
    except InputError as error:
        proposal.notes.append(f"not sure: reading by these facts says: {error}")
        proposal.doubt("data", f"reading by these facts says: {error}")
        return "these facts do not read the folder yet"
    tree = RawTree(raw)
    absent = [path for path in manifest.table["path"] if not tree.has(path)]
    if absent:
        proposal.doubt("data.images", f"{len(absent)} rows name no file, first {absent[0]}")
    classes = f", {len(competition.label_map(manifest, raw))} {_what(competition)}"
    return f"{len(manifest.train):,} images with labels{classes}, {len(manifest.test):,} to predict"


def _what(competition: Competition) -> str:
    return "classes" if competition.facts.task != "regression" else "targets"
