"""Commands on competitions: list, show, data, new."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from comp import console
from comp.cli.options import AsJson, DataDir, RecipeFile, SetOption, Slug, WorkspaceDir
from comp.data.competitions import competition as registry
from comp.data.competitions.competition import Competition
from comp.errors import CompError, InputError
from comp.workspace import Workspace


def list_(workspace: WorkspaceDir = None, json: AsJson = False) -> None:
    """Competitions, whether their data is there, and their best scores: OOF, and on the leaderboard."""
    from comp.runs import ledger
    from comp.runs import run as records

    place = Workspace.find(workspace)
    finished = [run for run in records.sound_runs(place) if run.record and not run.marks]
    rows: list[dict[str, Any]] = []
    known = registry.find(place)
    for slug, competition in known.competitions.items():
        scores = [run.record["oof"]["score"] for run in finished if run.slug == slug]
        scores = [float(score) for score in scores if score is not None]
        better = min if competition.direction == "min" else max
        best = better(scores) if scores else None
        public = _unless_damaged(slug, partial(ledger.entries, place, slug)) or []
        public = [entry.public for entry in public if entry.public is not None]
        there = _unless_damaged(slug, partial(competition.has_data, place.raw(slug))) or False
        rows.append(
            {
                "slug": slug,
                "title": competition.facts.title,
                "metric": competition.facts.metric,
                "data": there,
                "best_oof": best,
                "best_public": better(public) if public else None,
                "error": None,
            }
        )
    rows += [_broken_row(one) for one in known.broken]
    shown = [
        (
            r["slug"],
            r["title"] if r["error"] is None else "not usable: see its warning",
            "yes" if r["data"] else "no",
            r["metric"],
            "–" if r["best_oof"] is None else r["best_oof"],
            "–" if r["best_public"] is None else r["best_public"],
        )
        for r in rows
    ]
    console.table("", ("competition", "title", "data", "metric", "best OOF", "leaderboard"), shown)
    if json:
        console.print_json(rows)


def _unless_damaged(slug: str, ask: Callable[[], Any]) -> Any:
    """What ``ask`` gives; None, with a warning, where a file of one competition is damaged: no reason to hide the others."""
    try:
        return ask()
    except CompError as damaged:
        console.log(f"  warning: {slug}: {damaged}")
        return None


def _broken_row(one: registry.Broken) -> dict[str, Any]:
    """The row of a competition that cannot be used, which is also said in full."""
    console.log(f"  warning: {one}")
    empty = {"title": "", "metric": "", "data": False, "best_oof": None, "best_public": None}
    return {"slug": one.slugs[0], **empty, "error": str(one)}


def show(
    slug: Slug,
    transforms: Annotated[
        bool, typer.Option("--transforms", help="Draw a contact sheet of what the network sees in training.")
    ] = False,
    views: Annotated[
        str | None,
        typer.Option("--views", metavar="SET", help="Draw what it sees under a set of views, such as d4."),
    ] = None,
    recipe: RecipeFile = None,
    set_: SetOption = None,
    rows: Annotated[
        int, typer.Option("--rows", metavar="N", help="Of a contact sheet: how many pictures.")
    ] = 8,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="PNG", help="Where it goes. Default: SLUG-transforms.png or -views.png."
        ),
    ] = None,
    data: DataDir = None,
    workspace: WorkspaceDir = None,
    json: AsJson = False,
) -> None:
    """A competition's facts: layout, label map, metric, template; --transforms or --views a contact sheet."""
    if transforms and views is not None:
        raise InputError("a contact sheet shows one thing", "--transforms and --views", "drop one")
    if transforms or views is not None:
        from comp.pipelines.contact_sheet import contact_sheet, view_sheet

        draw = contact_sheet if views is None else partial(view_sheet, views=views)
        sheet = draw(
            slug, workspace=workspace, data=data, recipe=recipe, overrides=set_ or [], rows=rows, out=out
        )
        console.print_result(f"contact sheet {sheet}")
        if json:
            console.print_json({"slug": slug, "transforms" if transforms else "views": str(sheet)})
        return
    if recipe or set_ or out:
        raise InputError(
            "--recipe, --set and --out belong to --transforms or --views", "both are missing", "add one"
        )
    place = Workspace.find(workspace)
    competition = registry.competition(slug, place)
    raw = (data or place.raw(slug)).expanduser()
    console.table("", (slug, ""), _lines(competition, raw))
    if json:
        console.print_json(
            {
                **competition.facts.model_dump(mode="json"),
                "raw": str(raw),
                "missing": competition.missing(raw),
                "folder": str(competition.folder),
            }
        )


def data(
    slug: Slug,
    download: Annotated[
        bool, typer.Option("--download", help="Fetch it, where that may be done; goes on where it broke off.")
    ] = False,
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
        from comp.data.competitions.sample import write_sample

        write_sample(competition, raw)
        console.print_result(f"made-up sample of {slug} -> {place.shown(raw)}")
    if download:
        _download(competition, raw)
    missing = competition.missing(raw)
    layout = competition.facts.layout
    console.print_result(f"{place.shown(raw)}: {_state(competition, raw)}")
    for pattern in layout.required:
        console.print_result(f"  {'missing' if pattern in missing else 'there':<8} {pattern}")
    if missing:
        _tell_where(competition, place.shown(raw))
    if json:
        required = list(layout.required)
        console.print_json({"slug": slug, "raw": str(raw), "required": required, "missing": missing})
    if missing:
        raise typer.Exit(1)


def _download(competition: Competition, raw: Path) -> None:
    if not competition.facts.layout.needs_data:
        console.print_result(f"{competition.slug} needs no download")
    elif competition.adapter.has("download"):
        competition.adapter.download(raw)
    elif competition.facts.kaggle:
        from comp.kaggle.download import download

        download(competition.facts.kaggle, raw)
    else:
        where = competition.facts.url or "the competition's page"
        value = f"{competition.slug} has no public home that may be downloaded from without an account"
        remedy = f"get it from {where}, put it into {raw}, then `comp data {competition.slug}`"
        raise InputError("only public data can be downloaded", value, remedy)


def _tell_where(competition: Competition, raw: str) -> None:
    """What to do about missing data."""
    archives = ", ".join(competition.facts.layout.archives)
    if archives:
        console.print_result(f"  or, as it came: {archives}")
    if competition.facts.url:
        console.print_result(f"get it from {competition.facts.url} and put it into {raw}")
    else:
        console.print_result(f"put it into {raw} as named above, or name its folder with --data DIR")
    if competition.adapter.has("download") or competition.facts.kaggle:
        console.print_result(f"or let `comp data {competition.slug} --download` do both")
    console.print_result(
        f"to try without it: `comp data {competition.slug} --sample --data sample/{competition.slug}`"
    )


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
        ("kaggle", facts.kaggle or "not on Kaggle"),
        ("metric", facts.metric),
        ("classes", classes),
        ("raw folder", f"{raw}: {_state(competition, raw)}"),
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


def _state(competition: Competition, raw: Path) -> str:
    if not competition.facts.layout.needs_data:
        return "needs no download"
    if not raw.is_dir():
        return "not there"
    missing = competition.missing(raw)
    made_up = " (a made-up sample)" if (raw / ".comp-sample").is_file() else ""
    return (f"incomplete, lacks {', '.join(missing)}" if missing else "complete") + made_up


def new(
    slug: Annotated[str, typer.Argument(metavar="SLUG", help="Lower-case letters, digits and hyphens.")],
    layout: Annotated[
        str, typer.Option("--layout", metavar="folders|csv|array", help="What the raw data looks like.")
    ] = "folders",
    workspace: WorkspaceDir = None,
    json: AsJson = False,
) -> None:
    """Scaffold a competition folder that works at once on its own made-up sample."""
    from comp.data.competitions.scaffold import scaffold
    from comp.workspace import Workspace

    place = Workspace.find(workspace)
    folder = scaffold(slug, layout, place)
    for name in ("competition.toml", "adapter.py", "baseline.toml", "README.md"):
        console.print_result(f"  {place.shown(folder / name)}")
    console.print_result(
        f"next: comp data {slug} --sample --data sample/{slug}, then comp check {slug} --data sample/{slug}"
    )
    if json:
        console.print_json({"slug": slug, "layout": layout, "folder": str(folder)})
