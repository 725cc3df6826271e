"""Verbs that look: list, show, data, runs, doctor."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from comp import console, registry
from comp.cli.options import AsJson, DataDir, Slug, WorkspaceDir
from comp.competition import Competition
from comp.workspace import Workspace


def list_(workspace: WorkspaceDir = None, json: AsJson = False) -> None:
    """Competitions, whether their data is there, and their best OOF score."""
    from comp import runs as records

    place = Workspace.find(workspace)
    finished = [run for run in records.all_runs(place) if run.record and not run.marks]
    rows: list[dict[str, Any]] = []
    for slug, competition in registry.competitions(place).items():
        scores = [float(run.record["oof"]["score"]) for run in finished if run.slug == slug]
        best = (min if competition.facts.metric == "log_loss" else max)(scores) if scores else None
        there = competition.has_data(place.raw(slug))
        rows.append(
            {
                "slug": slug,
                "title": competition.facts.title,
                "metric": competition.facts.metric,
                "data": there,
                "best_oof": best,
            }
        )
    shown = [
        (
            r["slug"],
            r["title"],
            "yes" if r["data"] else "no",
            r["metric"],
            "–" if r["best_oof"] is None else r["best_oof"],
        )
        for r in rows
    ]
    console.table("", ("competition", "title", "data", "metric", "best OOF"), shown)
    if json:
        console.document(rows)


def show(slug: Slug, data: DataDir = None, workspace: WorkspaceDir = None, json: AsJson = False) -> None:
    """A competition's facts: layout, label map, metric, template."""
    place = Workspace.find(workspace)
    competition = registry.competition(slug, place)
    raw = (data or place.raw(slug)).expanduser()
    facts = competition.facts
    classes = "discovered in the training labels" if facts.classes == "discover" else ", ".join(facts.classes)
    target = (
        facts.template.target if isinstance(facts.template.target, str) else ", ".join(facts.template.target)
    )
    lines = [
        ("title", facts.title),
        ("page", facts.url),
        ("kaggle", facts.kaggle or "not on Kaggle"),
        ("metric", facts.metric),
        ("classes", classes),
        ("raw folder", f"{raw}: {_state(competition, raw)}"),
        ("layout", ", ".join(facts.layout.required) or "no files needed"),
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
        ("folder", str(competition.folder)),
    ]
    console.table("", (slug, ""), lines)
    if json:
        console.document(
            {
                **facts.model_dump(mode="json"),
                "raw": str(raw),
                "missing": competition.missing(raw),
                "folder": str(competition.folder),
            }
        )


def data(
    slug: Slug,
    sample: Annotated[
        bool, typer.Option("--sample", help="Write a small made-up raw folder in the real layout.")
    ] = False,
    data: DataDir = None,
    workspace: WorkspaceDir = None,
    json: AsJson = False,
) -> None:
    """Say what raw data is there and what is missing; exit code 1 if something is."""
    place = Workspace.find(workspace)
    competition = registry.competition(slug, place)
    raw = (data or place.raw(slug)).expanduser().absolute()
    if sample:
        from comp.survey import write_sample

        write_sample(competition, raw)
        console.answer(f"made-up sample of {slug} -> {place.shown(raw)}")
    missing = competition.missing(raw)
    console.answer(f"{place.shown(raw)}: {_state(competition, raw)}")
    for pattern in competition.facts.layout.required:
        console.answer(f"  {'missing' if pattern in missing else 'there':<8} {pattern}")
    if missing and competition.facts.url:
        console.answer(
            f"get it from {competition.facts.url} and put it there as named above, or try `comp data {slug} --sample`"
        )
    if json:
        console.document(
            {
                "slug": slug,
                "raw": str(raw),
                "required": list(competition.facts.layout.required),
                "missing": missing,
            }
        )
    if missing:
        raise typer.Exit(1)


def runs(
    slug: Annotated[str | None, typer.Argument(metavar="[SLUG]", help="Of one competition only.")] = None,
    workspace: WorkspaceDir = None,
    json: AsJson = False,
) -> None:
    """Runs, newest first, with their OOF scores and submissions."""
    from comp import runs as records

    place = Workspace.find(workspace)
    if slug is not None:
        registry.competition(slug, place)
    found = [run.summary() for run in records.all_runs(place, slug)]
    header = ("run", "competition", "state", "model", "folds", "metric", "OOF", "submission")
    rows = [
        (
            r["run"],
            r["slug"],
            " ".join([r["state"], *r["marks"]]),
            f"{r['mode']} {r['model']}",
            r["folds"],
            r["metric"],
            "–" if r["oof"] is None else r["oof"],
            place.shown(Path(r["submission"])) if r["submission"] else "",
        )
        for r in found
    ]
    console.table("", header, rows)
    if json:
        console.document(found)


def doctor(workspace: WorkspaceDir = None, json: AsJson = False) -> None:
    """Devices, versions, free disk, and what is missing; exit code 1 if something that is needed does not work."""
    from comp.diagnosis import diagnose

    found = diagnose(Workspace.find(workspace))
    for line in found.lines:
        console.answer(line)
    for problem in found.problems:
        console.answer(f"problem: {problem}")
    if json:
        console.document({**found.facts, "problems": found.problems})
    if found.problems:
        raise typer.Exit(1)


def _state(competition: Competition, raw: Path) -> str:
    if not competition.facts.layout.needs_data:
        return "needs no download"
    if not raw.is_dir():
        return "not there"
    missing = competition.missing(raw)
    return f"incomplete, lacks {', '.join(missing)}" if missing else "complete"
