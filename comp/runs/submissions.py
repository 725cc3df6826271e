"""What a run wrote as its submission, and which run wrote a CSV."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from comp import events
from comp.config import Shape, read_shaped, require_shape
from comp.errors import CheckFailed, InputError
from comp.files import is_intact, sealed, sha256_of, write_json
from comp.runs import run as runs
from comp.runs.run import PREDICTED, Run
from comp.workspace import Workspace


def require_its_own(run: Run, path: Path, content: bytes) -> None:
    """CheckFailed unless the content of a CSV is what a run wrote as its submission, beside whose score it would stand."""
    if run.is_proven:
        known = submissions_of(run)
        written = hashlib.sha256(content).hexdigest() in known
        if not known:
            value = f"{run.id} did not come to a submission: nothing says what {path} is"
            remedy = f"`comp run {run.slug} --resume {run.id}` goes on with it"
            raise CheckFailed("a run's submission is the one that it wrote", value, remedy)
    else:
        copy = run.folder / "submission.csv"
        written = not copy.is_file() or copy.read_bytes() == content
    if not written:
        value = f"{path} is not what {run.id} wrote: its SHA-256 is another"
        remedy = (
            f"`comp predict {run.id}` writes it again; a CSV of your own goes with `file`, under another name"
        )
        raise CheckFailed("a run's submission is the one that it wrote", value, remedy)


def run_that_wrote(workspace: Workspace, slug: str, content: bytes) -> Run | None:
    """The run whose submission has that very content, if there is one."""
    sha256 = hashlib.sha256(content).hexdigest()
    for run in runs.sound_runs(workspace, slug):
        if run.is_proven:
            if sha256 in _known_submissions(run):
                return run
            continue
        for path in (workspace.submissions(slug) / f"{run.id}.csv", run.folder / "submission.csv"):
            if path.is_file() and path.stat().st_size == len(content) and path.read_bytes() == content:
                return run
    return None


def _known_submissions(run: Run) -> set[str]:
    """The SHA-256 of a run's submissions; of a run whose proof is damaged there are none, which is said."""
    try:
        return submissions_of(run)
    except InputError as damaged:
        events.warn_once(f"{run.id} is passed over: {damaged.value}")
        return set()


def named_run(workspace: Workspace, path: Path) -> Run | None:
    """The run that a CSV has the name and the folder of, if there is one."""
    for run in runs.all_runs(workspace):
        folders = (workspace.submissions(run.slug), run.folder)
        if path.absolute() in (folders[0] / f"{run.id}.csv", folders[1] / "submission.csv"):
            return run
    return None


def warn_of_another_content(workspace: Workspace, path: Path, content: bytes) -> None:
    """Says where a CSV that is called as a run's submission is not what that run wrote."""
    run = named_run(workspace, path)
    if run is None or run.damage or not run.is_proven:
        return
    try:
        require_its_own(run, path, content)
    except (CheckFailed, InputError) as other:
        events.warn_once(f"{other.value}: no score of {run.id} says anything of it")


class _Predicted(Shape):
    run: str
    files: dict[str, str]
    sha256: str


def remember_predicted(run: Run, csv: Path) -> None:
    """Keeps the SHA-256 of a run's submission that was predicted again, where it is not that of the first."""
    sha256 = sha256_of(csv)
    if run.is_proven and sha256 not in submissions_of(run):
        files = {csv.name: sha256}
        write_json(run.folder / PREDICTED, sealed({"run": run.id, "slug": run.slug, "files": files}))


def submissions_of(run: Run) -> set[str]:
    """The SHA-256 of each CSV that is a run's submission: the one that it wrote, and the one of the last prediction.

    Raises
    ------
    InputError
        Where the document of that prediction is damaged.
    """
    found = {run.files["submission.csv"]} if "submission.csv" in run.files else set()
    path = run.folder / PREDICTED
    if path.is_file():
        remedy = f"remove it; `comp predict {run.id}` writes it anew"
        document: dict[str, Any] = read_shaped(path, dict[str, Any], remedy)
        require_shape(_Predicted, document, str(path), remedy)
        if not is_intact(document) or document["run"] != run.id:
            raise InputError("a run's files are as it wrote them", f"{path} was changed", remedy)
        found.update(document["files"].values())
    return found
