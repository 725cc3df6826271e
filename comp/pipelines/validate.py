"""`comp validate`: a submission beside its template."""

from __future__ import annotations

from pathlib import Path

from comp.data.competitions.competition import Competition, find_competition
from comp.data.competitions.raw_folder import raw_of
from comp.data.dataset import load_template, read_submission
from comp.data.manifest import Manifest
from comp.errors import InputError
from comp.runs import run as runs
from comp.runs.parts import parts_of
from comp.runs.submissions import warn_of_another_content
from comp.submission.validate import Problem
from comp.submission.validate import validate as judge
from comp.workspace import Workspace


def validate(
    slug: str,
    csv: str | Path,
    *,
    workspace: str | Path | None = None,
    data: str | Path | None = None,
    run: str | None = None,
    template: str | Path | None = None,
) -> tuple[list[Problem], int]:
    """Every way in which a CSV does not answer the competition's template (or ``template``), and its number of rows.

    The train part of the raw folder may be absent, where the class names are known without it; with ``run`` they are
    those of its checkpoints.
    """
    ws = Workspace.find(workspace)
    competition = find_competition(slug, ws)
    raw = raw_of(competition, ws, data)
    file = Path(csv).expanduser()
    table = read_submission(file)
    warn_of_another_content(ws, file, file.read_bytes())
    if run is None:
        manifest = _asked_rows(competition, raw)
        labels = competition.label_map(manifest, raw)
    else:
        from comp.models.checkpoint import read_sidecar

        manifest = competition.read_test(raw)
        labels = read_sidecar(parts_of(ws, runs.find_run(ws, run), True)[0].folders[0]).labels
    asked = load_template(competition, raw, manifest, Path(template).expanduser() if template else None)
    return judge(table, asked, labels), len(table)


def _asked_rows(competition: Competition, raw: Path) -> Manifest:
    """The rows of a raw folder; the test rows alone where there are no others."""
    try:
        return competition.read(raw)
    except InputError:
        if not raw.is_dir() or not competition.missing(raw) or not competition.classes(raw):
            raise
        return competition.read_test(raw)
