"""Commands on competitions: list, show, data, new."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from comp import console
from comp.cli.options import AsJson, DataDir, RecipeFile, SetOption, Slug, WorkspaceDir, argument, option
from comp.data.competitions.competition import Competition, find_competition
from comp.data.competitions.raw_folder import raw_of, remember
from comp.errors import InputError
from comp.workspace import Workspace


def list_(workspace: WorkspaceDir = None, json: AsJson = False) -> None:
    """List competitions, their data and best scores.

    A score is of OOF rows or of the public leaderboard.
    """
    from comp.pipelines.listing import list_competitions

    rows = list_competitions(workspace)
    shown = [
        (
            r.slug,
            r.title if r.error is None else "not usable: see its warning",
            "yes" if r.data else "no",
            r.metric,
            "–" if r.best_oof is None else r.best_oof,
            "–" if r.best_public is None else r.best_public,
        )
        for r in rows
    ]
    header = ("competition", "title", "data", "metric", "best OOF", "leaderboard")
    console.table("", header, shown, drop=("title", "metric", "leaderboard", "best OOF"))
    if json:
        console.print_json([row.as_json() for row in rows])


def show(
    slug: Annotated[str, argument("SLUG|RUN", "A competition of `comp list`, or a run of `comp runs`.")],
    transforms: Annotated[
        bool, option("--transforms", "Draw a contact sheet of what the network sees in training.")
    ] = False,
    views: Annotated[
        str | None, option("--views SET", "Draw what it sees under a set of views, such as d4.")
    ] = None,
    recipe: RecipeFile = None,
    overrides: SetOption = None,
    rows: Annotated[int, option("--rows N", "Of a contact sheet: how many images.")] = 8,
    out: Annotated[
        Path | None, option("--out PNG", "Where it goes. Default: SLUG-transforms.png or -views.png.")
    ] = None,
    data: DataDir = None,
    workspace: WorkspaceDir = None,
    json: AsJson = False,
) -> None:
    """Show the facts of a competition or a run.

    These are layout, label map, metric and template; with --transforms or --views a contact sheet is drawn instead.
    """
    if transforms and views is not None:
        raise InputError("a contact sheet shows one thing", "--transforms and --views", "drop one")
    if transforms or views is not None:
        from comp.pipelines.contact_sheet import contact_sheet

        sheet = contact_sheet(
            slug,
            views=views,
            workspace=workspace,
            data=data,
            recipe=recipe,
            overrides=overrides or [],
            rows=rows,
            out=out,
        )
        console.print_result(f"contact sheet {sheet}")
        if json:
            console.print_json({"slug": slug, "transforms" if transforms else "views": str(sheet)})
        return
    if recipe or overrides or out:
        raise InputError(
            "--recipe, --set and --out belong to --transforms or --views", "both are missing", "add one"
        )
    from comp.pipelines.listing import show as facts_of

    found = facts_of(slug, workspace, data)
    console.table("", (found.name, ""), found.lines)
    if json:
        console.print_json(found.document)


def data(
    slug: Slug,
    download: Annotated[
        bool, option("--download", "Fetch it, where that may be done; goes on where it broke off.")
    ] = False,
    sample: Annotated[
        bool, option("--sample", "Write a small made-up raw folder in the real layout.")
    ] = False,
    data: DataDir = None,
    workspace: WorkspaceDir = None,
    json: AsJson = False,
) -> None:
    """Say which raw data is there; download it.

    The exit code is 1 if something is missing.
    """
    from comp.pipelines.listing import raw_state

    ws = Workspace.find(workspace)
    competition = find_competition(slug, ws)
    raw = raw_of(competition, ws, data)
    if sample:
        from comp.data.competitions.sample import write_sample

        write_sample(competition, raw)
        console.print_result(f"made-up sample of {slug} -> {ws.shown(raw)}")
    if download:
        _download(competition, raw)
    if data is not None:
        remember(competition, ws, raw)  # it may be complete only now
    missing = competition.missing(raw)
    layout = competition.facts.layout
    console.print_result(f"{ws.shown(raw)}: {raw_state(competition, raw)}")
    for pattern in layout.required:
        console.print_result(f"  {'missing' if pattern in missing else 'there':<8} {pattern}")
    if missing:
        _tell_where(competition, ws.shown(raw))
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
    elif competition.facts.kaggle.slug:
        from comp.kaggle.download import download

        download(competition.facts.kaggle.slug, raw)
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
    if competition.adapter.has("download") or competition.facts.kaggle.slug:
        console.print_result(f"or let `comp data {competition.slug} --download` do both")
    console.print_result(
        f"to try without it: `comp data {competition.slug} --sample --data sample/{competition.slug}`"
    )


def new(
    slug: Annotated[str, argument("SLUG", "Lower-case letters, digits and hyphens.")],
    layout: Annotated[
        str | None, option("--layout folders|csv|array", "What the raw data looks like.")
    ] = None,
    from_folder: Annotated[
        Path | None,
        option("--from DIR", "A raw folder to look at: its facts are written down, with the evidence."),
    ] = None,
    metric: Annotated[
        str | None, option("--metric NAME", "With --from: how the site scores, which no folder says.")
    ] = None,
    task: Annotated[
        str | None, option("--task NAME", "With --from: single-label, multi-label, ordinal or regression.")
    ] = None,
    positive: Annotated[
        str | None,
        option("--positive CLASS", "With --from: of two classes the one whose probability the site wants."),
    ] = None,
    kaggle: Annotated[
        str | None,
        option("--kaggle NAME", "With --from: the competition on Kaggle, which is asked for its metric."),
    ] = None,
    workspace: WorkspaceDir = None,
    json: AsJson = False,
) -> None:
    """Add a competition, from its raw folder if given.

    Its folder works at once: on that raw folder, or on its own made-up sample.
    """
    ws = Workspace.find(workspace)
    if from_folder is not None:
        if layout is not None:
            raise InputError("--from says the layout", "--layout too is given", "drop one")
        _new_from(slug, from_folder, metric, task, positive, kaggle, ws, json)
        return
    given = [
        name
        for name, one in (
            ("--metric", metric),
            ("--task", task),
            ("--positive", positive),
            ("--kaggle", kaggle),
        )
        if one is not None
    ]
    if given:
        raise InputError(f"{', '.join(given)} belong to --from", "--from is missing", "add it")
    from comp.data.competitions.scaffold import scaffold

    folder = scaffold(slug, layout or "folders", ws)
    for name in ("competition.toml", "adapter.py", "baseline.toml", "README.md"):
        console.print_result(f"  {ws.shown(folder / name)}")
    console.print_result(
        f"next: comp data {slug} --sample --data sample/{slug}, then comp check {slug} --data sample/{slug}"
    )
    if json:
        console.print_json({"slug": slug, "layout": layout or "folders", "folder": str(folder)})


def _new_from(
    slug: str,
    raw: Path,
    metric: str | None,
    task: str | None,
    positive: str | None,
    kaggle: str | None,
    workspace: Workspace,
    json: bool,
) -> None:
    """Looks at a raw folder and writes its facts; ends with what they leave open."""
    from comp.pipelines.new_competition import new_from_folder

    said, notebooks_only = "", False
    if kaggle is not None and metric is None:
        from comp.kaggle.evaluation import facts_on_kaggle

        metric, said, notebooks_only = facts_on_kaggle(kaggle)
        console.print_result(
            f"Kaggle scores {kaggle} by {said!r}" + (f": metric = {metric!r}" if metric else "")
        )
    found = new_from_folder(
        slug,
        raw,
        metric=metric,
        task=task,
        kaggle=kaggle or "",
        said=said,
        workspace=workspace.root,
        positive=positive,
        notebooks_only=notebooks_only,
    )
    for name in ("competition.toml", "baseline.toml", "README.md"):
        console.print_result(f"  {workspace.shown(found.folder / name)}")
    console.print_result(found.summary)
    for key, why in found.unsure.items():
        console.print_result(f"  not sure: {key}: {why}")
    console.print_result(f"next: comp check {slug} --data {workspace.shown(found.raw)}")
    if json:
        console.print_json(found.as_json())
