"""A new competition from a raw folder: its facts are looked for there, tried, and written down or kept beside its folds."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from comp import events
from comp.config import validate
from comp.data.competitions.competition import SCAFFOLDS, Competition, facts_beside_folds
from comp.data.competitions.facts import CompetitionConfig
from comp.data.competitions.from_folder.as_toml import as_toml
from comp.data.competitions.from_folder.guess import propose
from comp.data.competitions.from_folder.proposal import Proposal
from comp.data.competitions.scaffold import new_folder, scaffold_facts, title_of
from comp.data.task import TASKS
from comp.errors import InputError, UnknownName
from comp.files import make_folder, parse_toml, write_text
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
    positive: str | None = None,
    notebooks_only: bool = False,
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
    positive : str, optional
        Of two classes the one whose probability the site wants.
    kaggle, said : str
        The competition's name on Kaggle, and how it words its metric, kept as evidence.
    notebooks_only : bool
        Whether Kaggle takes notebooks alone, whose test is mostly hidden.

    Raises
    ------
    InputError
        For a slug that is taken, an unknown metric or task, or a folder in which nothing says the labels.
    """
    ws = Workspace.find(workspace)
    new_folder(slug, ws)
    place = Path(raw).expanduser().absolute()
    proposal, _, summary = _looked_at(slug, place, metric, task, kaggle, said, positive, notebooks_only)
    table = proposal.table()
    drawn = not {"box", "coco"} & set(table["data"])
    folder = scaffold_facts(slug, as_toml(proposal, slug, title_of(slug)), ws, drawn)
    return NewCompetition(slug, folder, place, table, proposal.unsure, summary)


def is_path(name: str) -> bool:
    """Whether what stands in a slug's place is a folder: it has a separator, or begins with a dot."""
    return "/" in name or os.sep in name or name.startswith((".", "~"))


def linked_folder(
    images: Path,
    test: Path | None,
    csv: Path | None,
    template: Path | None,
    slug: str | None = None,
    workspace: str | Path | None = None,
) -> Path:
    """A raw folder in the workspace's ``data/`` of links to parts that lie apart: images, images to predict, the table of
    labels and the template. Its name is ``slug``, or made of that of ``images``.

    Raises
    ------
    InputError
        For a part that is not there, a folder that holds something else already, or where no links can be made.
    """
    given = {"train": images, "test": test, "csv": csv, "template": template}
    parts = {name: path.expanduser().absolute() for name, path in given.items() if path is not None}
    for name, path in parts.items():
        folder = name in ("train", "test")
        if not (path.is_dir() if folder else path.is_file()):
            what = "folder" if folder else "file"
            raise InputError(
                "the parts of raw data must be there", f"{path} is no {what}", "correct the path"
            )
    links = {name: path for name, path in parts.items() if name in ("train", "test")}
    links |= {f"train{path.suffix}": path for name, path in parts.items() if name == "csv"}
    links |= {f"sample_submission{path.suffix}": path for name, path in parts.items() if name == "template"}
    told = "\x1f".join(f"{name}={path}" for name, path in sorted(links.items()))
    digest = hashlib.sha256(told.encode("utf-8", "surrogatepass")).hexdigest()[:6]
    raw = Workspace.find(workspace).raw(slug or f"{images.name or 'images'}-{digest}")
    try:
        for name, path in links.items():
            make_folder(raw)
            if not (raw / name).is_symlink() or (raw / name).readlink() != path:
                (raw / name).symlink_to(path, target_is_directory=path.is_dir())
    except OSError as error:
        remedy = "copy the parts into one folder, and name that"
        raise InputError("parts are linked into one folder", f"{raw}: {error}", remedy) from error
    return raw


def slug_of_path(
    path: str,
    metric: str | None = None,
    task: str | None = None,
    save: str | None = None,
    workspace: str | Path | None = None,
    settled: bool = True,
    positive: str | None = None,
) -> str:
    """The slug of the competition that a raw folder is, by the facts that it proposes; they are said.

    They are kept beside its folds, unless ``save`` names a slug to write them down under.

    Raises
    ------
    InputError
        With ``settled``, where the metric, whether cells want a class or a probability, or of which of two classes, is
        open and not given.
    """
    place = Path(path).expanduser().absolute()
    if save is not None:
        new_folder(save, Workspace.find(workspace))
    digest = hashlib.sha256(str(place).encode("utf-8", "surrogatepass")).hexdigest()[:6]
    slug = f"{re.sub('[^a-z0-9]+', '-', place.name.lower()).strip('-') or 'folder'}-{digest}"[-100:].lstrip(
        "-"
    )
    slug = slug if save is None else save
    proposal, facts, summary = _looked_at(slug, place, metric, task, "", "", positive)
    if settled:
        _require_settled(path, proposal, facts)
    if save is not None:
        text = as_toml(proposal, slug, title_of(slug))
        folder = scaffold_facts(slug, text, Workspace.find(workspace))
        events.log(f"facts of {path} -> {folder / 'competition.toml'}")
        return slug
    events.log(f"facts of {path}: {summary}")
    for key, fact in proposal.facts.items():
        doubt = f"  (not sure: {fact.unsure})" if fact.unsure else ""
        events.log(f"  {key} = {fact.value!r}{doubt}")
    events.log("  kept with its folds; `comp run DIR --save SLUG` writes them down as a competition")
    write_text(facts_beside_folds(slug, Workspace.find(workspace)), as_toml(proposal, slug, title_of(slug)))
    return slug


def _require_settled(path: str, proposal: Proposal, facts: CompetitionConfig) -> None:
    """InputError where something is open that decides how answers are scored."""
    keys = ("metric", "template.kind", "template.positive")
    open_keys = [key for key in keys if key in proposal.unsure]
    if not open_keys:
        return
    value = f"{path}: {'; '.join(f'{key}: {proposal.unsure[key]}' for key in open_keys)}"
    remedies = []
    if open_keys != ["template.positive"]:
        remedies.append(
            f"`metric=NAME`, of {', '.join(fitting(facts.task))}; for other answers `task=NAME` too"
        )
    if "template.positive" in open_keys:
        remedies.append("`positive=CLASS`, the one whose probability the site wants")
    remedy = f"say how the site scores: {'; '.join(remedies)}"
    raise InputError("a folder does not say how its answers are scored", value, remedy)


def _looked_at(
    slug: str,
    place: Path,
    metric: str | None,
    task: str | None,
    kaggle: str,
    said: str,
    positive: str | None = None,
    notebooks_only: bool = False,
) -> tuple[Proposal, CompetitionConfig, str]:
    """The proposal for a folder, tried; its facts; and what reading by them gives."""
    if task is not None and task not in TASKS:
        raise UnknownName("task", task, TASKS)
    if metric is not None:
        _require_metric(metric, task)
    proposal = propose(place, _plain(metric or ""), task or "")
    if metric is not None:
        proposal.put("metric", metric, f"{said!r} on Kaggle" if said else "as given")
    if kaggle and notebooks_only:
        why = "notebooks only, says Kaggle: run again on rows that nobody sees?"
        proposal.put("kaggle.slug", kaggle)
        proposal.put("kaggle.hidden_test", True, unsure=f"{why} state hidden_rows and the hours by its page")
    elif kaggle:
        proposal.put("kaggle", kaggle)
    if positive is not None:
        if "template.positive" not in proposal.facts:
            value = f"`positive={positive!r}`, and the template's kind is {proposal.facts['template.kind'].value!r}"
            raise InputError("`positive` is for one probability of two classes", value, "leave it out")
        proposal.put("template.positive", positive, "as given")
    facts = _facts(proposal, slug)
    metric_by_name(facts.metric, task=facts.task)
    summary = _tried(Competition(SCAFFOLDS, facts), place, proposal)
    return proposal, _facts(proposal, slug), summary


def _facts(proposal: Proposal, slug: str) -> CompetitionConfig:
    text = as_toml(proposal, slug, title_of(slug))
    return validate(CompetitionConfig, parse_toml(text), "the facts of the folder")


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
    raise UnknownName("metric", metric, known, "or leave `metric` out, and correct the file")


def _tried(competition: Competition, raw: Path, proposal: Proposal) -> str:
    """What reading the folder by the facts gives, in one line; what does not fit is said beside them."""
    from comp.data.images.raw_tree import RawTree

    try:
        manifest = competition.read(raw)
    except InputError as error:
        proposal.notes.append(f"not sure: reading by these facts says: {error}")
        proposal.doubt("data", f"reading by these facts says: {error}")
        return "these facts do not read the folder yet"
    has = getattr(competition.source(raw), "has", RawTree(raw).has)
    absent = [path for path in manifest.table["path"] if not has(path)]
    if absent:
        proposal.doubt("data.images", f"{len(absent)} rows name no file, first {absent[0]}")
    classes = f", {len(competition.label_map(manifest, raw))} {_what(competition)}"
    return f"{len(manifest.train):,} images with labels{classes}, {len(manifest.test):,} to predict"


def _what(competition: Competition) -> str:
    return "classes" if competition.facts.task != "regression" else "targets"
