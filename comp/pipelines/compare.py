"""Two submissions against each other: where they agree, and which rows differ."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from comp import events
from comp.data.competitions.competition import Competition, find_competition
from comp.data.competitions.facts import TemplateFacts
from comp.data.competitions.raw_folder import raw_of, raw_or_usual
from comp.data.csv_table import Table
from comp.data.dataset import Template, from_table, ids_apart, match_ids, read_submission
from comp.data.predictions import Predictions
from comp.errors import CompError, InputError, UnknownName
from comp.files import read_json, require_output, write_text
from comp.runs import run as runs
from comp.runs.submissions import named_run, warn_of_another_content
from comp.submission.comparison import Comparison, Difference
from comp.task_scores import answered_sets
from comp.workspace import Workspace


def compare(
    one: str | Path,
    other: str | Path,
    *,
    slug: str | None = None,
    workspace: str | Path | None = None,
    data: str | Path | None = None,
    html: str | Path | None = None,
) -> Comparison:
    """Compares two submissions, joined by id.

    Parameters
    ----------
    one, other : path or str
        A file; or a run by its id, a prefix or "latest", whose submission is meant.
    slug : str, optional
        Their competition; by default that of the run which wrote one of them. Without any, the first column is the
        id, and the others are the answer or, where all cells are numbers, probabilities.
    workspace, data : path, optional
        As for ``comp.run``; ``data`` is read for images alone.
    html : path, optional
        A page with the images of the rows that differ; needs the competition.

    Raises
    ------
    InputError
        If the files ask for other columns or other ids, naming them, or hold what is no answer; if a name is neither a
        file's nor a run's.
    """
    ws = Workspace.find(workspace)
    html = require_output(html)
    paths = [_file_of(one, ws, slug), _file_of(other, ws, slug)]
    tables = [read_submission(path) for path in paths]
    for path in paths:
        warn_of_another_content(ws, path, path.read_bytes())
    found = slug or next((s for path in paths if (s := _slug_of(path, ws))), "")
    competition = find_competition(found, ws) if found else None
    if html is not None and competition is None:
        value = "neither file is of a run here"
        raise InputError("images need a competition", value, "name it with `slug=SLUG`")
    if competition is None:
        _require_one_header(tables, paths)
    facts = competition.facts.template if competition else _guessed(tables[0])
    first, second = (from_table(table, facts.id, facts.target, facts.kind) for table in tables)
    joined = _joined(first, second)
    files = (str(paths[0]), str(paths[1]))
    result = _compared(first, joined, files, found)
    if competition is not None:
        result = replace(result, names=_class_names(competition, paths, ws, data))
        if html is not None:
            _write_page(result, competition, ws, data, html)
    return result


def _file_of(name: str | Path, workspace: Workspace, slug: str | None) -> Path:
    """The file of that path, or the submission of the run of that name."""
    path = Path(name).expanduser()
    if path.is_file() or len(path.parts) > 1 or path.suffix.lower() == ".csv":
        return path
    try:
        run = runs.find_run(workspace, str(name), slug)
    except UnknownName as unknown:
        value = f"{str(name)!r} is no file here, and no run"
        raise InputError("compare takes two CSVs or runs", value, unknown.remedy) from None
    usual = workspace.submissions(run.slug) / f"{run.id}.csv"
    named = Path(str({**run.partial, **run.record}.get("submission") or usual))
    found = next((one for one in (usual, named, run.folder / "submission.csv") if one.is_file()), None)
    if found is None:
        value = f"{run.id} is {run.state}, and {usual} is not there"
        raise InputError("a run is compared by its submission", value, f"`comp predict {run.id}` writes it")
    return found


def _require_one_header(tables: Sequence[Table], paths: Sequence[Path]) -> None:
    """InputError where two files of no known competition have other columns: neither is known to be the right one."""
    headers = [sorted(table.header) for table in tables]
    if headers[0] != headers[1]:
        value = "; ".join(
            f"{path} has {', '.join(table.header[:5])}" + (" …" if len(table.header) > 5 else "")
            for path, table in zip(paths, tables, strict=True)
        )
        remedy = "correct the header that is wrong; `slug=SLUG` says what it must be"
        raise InputError("two submissions have the same columns", value, remedy)


def _class_names(
    competition: Competition, paths: Sequence[Path], workspace: Workspace, data: str | Path | None
) -> dict[str, str]:
    """Class names by what stands in the files, where that is the index; of the runs that wrote them, else of the facts."""
    if competition.facts.template.kind != "index":
        return {}
    run = next((one for path in paths if (one := named_run(workspace, path)) and not one.damage), None)
    try:
        if run is not None:
            labels = Predictions.load(run.folder / ("test.npz" if run.refit else "oof.npz")).labels
            return {str(n): name for n, name in enumerate(labels.names)}
        return names_of(
            competition, Path(data).expanduser() if data else raw_or_usual(competition, workspace)
        )
    except CompError:  # names only help to read: indices do too
        return {}


def _slug_of(path: Path, workspace: Workspace) -> str:
    """The competition of the run that wrote a CSV: by the record beside it, or by the run's id in its name."""
    for beside in (
        path.with_suffix(".json"),
        path.parent / runs.STARTED,
    ):  # the ledger's, or that of a run's copy
        try:
            record = read_json(beside) if beside.is_file() else {}
        except InputError as damaged:  # a run's id in the name will do
            events.warn_once(str(damaged))
            continue
        if isinstance(record, dict) and isinstance(record.get("slug"), str):
            return str(record["slug"])
    return next((run.slug for run in runs.all_runs(workspace) if path.name.startswith(run.id)), "")


def _guessed(table: Table) -> TemplateFacts:
    """The id and the target of a table of no known competition."""
    if len(table.header) < 2:
        value = f"{table.name} has {', '.join(map(repr, table.header))}"
        raise InputError("a submission has an id and an answer", value, "compare two submissions")
    target: str | tuple[str, ...] = table.header[1] if len(table.header) == 2 else "*"
    kind = "probs" if len(table.header) > 2 else "label"
    return TemplateFacts(id=table.header[0], target=target, kind=kind)  # type: ignore[arg-type]


def _joined(one: Template, other: Template) -> list[tuple[str, ...]]:
    """The answers of ``other`` in the rows and columns of ``one``."""
    for template in (one, other):
        template.require_rows()
    ours = [one.table.header[place] for place in one.target_places]
    theirs = [other.table.header[place] for place in other.target_places]
    if sorted(ours) != sorted(theirs):
        value = f"{', '.join(ours[:5])} in {one.table.name}; {', '.join(theirs[:5])} in {other.table.name}"
        raise InputError("two submissions answer the same columns", value, "compare those of one competition")
    ids = match_ids(one.ids, other.ids, one.table.name)
    answers = dict(zip(other.ids, other.table.rows, strict=True))
    apart = ids_apart(ids, sorted(answers), f"ids of {one.table.name} alone", f"of {other.table.name} alone")
    if apart:
        raise InputError("two submissions answer the same ids", apart, "compare those of one template")
    places = [other.target_places[theirs.index(name)] for name in ours]
    return [tuple(answers[i][place] for place in places) for i in ids]


def _compared(one: Template, joined: list[tuple[str, ...]], files: tuple[str, str], slug: str) -> Comparison:
    ours = [tuple(row[place] for place in one.target_places) for row in one.table.rows]
    mean_difference = correlation = None
    if one.kind in ("prob", "probs", "number"):
        mine, theirs = (_numbers(cells, file) for cells, file in zip((ours, joined), files, strict=True))
        mean_difference = float(np.abs(mine - theirs).mean())
        both = mine.std() > 0 and theirs.std() > 0
        correlation = float(np.corrcoef(mine.ravel(), theirs.ravel())[0, 1]) if both else None
        names = [one.table.header[place] for place in one.target_places]
        said = [_sides(probs, names, one.kind) for probs in (mine, theirs)]
        agree = [a == b for a, b in zip(*said, strict=True)]
    else:
        said = [[cells[0] for cells in rows] for rows in (ours, joined)]
        firsts = [[cell.split(" ")[0] if one.kind == "topk" else cell for cell in cells] for cells in said]
        agree = [a == b for a, b in zip(*firsts, strict=True)]
        said = firsts if one.kind == "topk" else said
    differing = [
        Difference(i, n, a, b)
        for n, (i, a, b, same) in enumerate(zip(one.ids, *said, agree, strict=True), start=2)
        if not same
    ]
    counts = Counter(zip(*said, strict=True))
    return Comparison(
        files,
        slug,
        one.kind,
        len(agree),
        sum(agree) / len(agree),
        differing,
        dict(sorted(counts.items())),
        mean_difference,
        correlation,
    )


def _sides(values: NDArray[np.float64], names: Sequence[str], kind: str) -> list[str]:
    """What each row (N, C) says: the likeliest class, which side of a half a probability is, or its numbers."""
    if kind == "probs":
        return [names[n] for n in values.argmax(axis=1)]
    if kind == "prob":
        return [f"{names[0]} {'0.5 or more' if yes else 'below 0.5'}" for yes in answered_sets(values)[:, 0]]
    return [" ".join(f"{value:.4g}" for value in row) for row in values]


def _numbers(rows: Sequence[tuple[str, ...]], file: str) -> NDArray[np.float64]:
    """Cells (N, C) as numbers."""
    try:
        found = np.array(rows, dtype=np.float64)
    except ValueError as error:
        raise InputError(
            "probabilities must be numbers", f"{file}: {error}", "`comp validate` says all"
        ) from error
    if not np.isfinite(found).all():
        row = int(np.argmin(np.isfinite(found).all(axis=1))) + 2
        value = f"{file}, row {row} has a NaN or infinity"
        raise InputError("probabilities must be numbers", value, "`comp validate` says all")
    return found


def _write_page(
    result: Comparison, competition: Competition, workspace: Workspace, data: str | Path | None, html: Path
) -> None:
    from comp.report.comparison_html import render

    raw = raw_of(competition, workspace, data)
    manifest = competition.read_test(raw)
    samples = list(manifest.test["id"])
    paths = dict(zip(samples, manifest.test["path"], strict=True))
    ids = [one.id for one in result.differing]
    shown = match_ids(ids, samples, result.files[0])
    images = {i: paths[sample] for i, sample in zip(ids, shown, strict=True) if sample in paths}
    write_text(html, render(result, images, competition.source(raw), names_of(competition, raw)))


def names_of(competition: Competition, raw: Path) -> dict[str, str]:
    """What answers are called on a page: class names by index, where the template asks for indices."""
    classes = competition.classes(raw) if competition.facts.template.kind == "index" else None
    return {str(index): name for index, name in enumerate(classes or ())}
