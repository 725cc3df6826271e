"""Which run a file or a name means, and which bytes are a run's own submission."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from comp.errors import CheckFailed, InputError, Refusal
from comp.files import read_json, write_json
from comp.kaggle import prepare
from comp.runs.run import Run, all_runs
from comp.runs.submissions import require_its_own
from comp.workspace import Workspace
from made import proven_again, rewritten


def the_run(workspace: Path) -> Run:
    (run,) = all_runs(Workspace(workspace))
    return run


def older_twin(workspace: Path) -> str:
    """A second run, of an hour before, with another CSV; its id."""
    run = the_run(workspace)
    folder = run.folder.with_name(f"20000101-000000-{run.id[-4:]}")
    shutil.copytree(run.folder, folder)
    rewritten(folder / "started.json", started_at="2000-01-01T00:00:00+00:00")
    csv = folder / "submission.csv"
    csv.write_text(csv.read_text().replace("circle", "cross"))
    shutil.copy(csv, workspace / "submissions" / "shapes" / f"{folder.name}.csv")
    proven_again(folder)
    return folder.name


def without_a_proof(run: Run) -> Run:
    """The run as an older version would have left it."""
    for path in [*run.folder.glob("*.json"), *run.folder.rglob("result.json")]:
        table = read_json(path)
        if isinstance(table, dict):
            lost = ("files", "sha256", "folder") + (("run",) if path.name == "started.json" else ())
            write_json(path, {key: value for key, value in table.items() if key not in lost})
    return next(r for r in all_runs(Workspace(run.folder.parent.parent)) if r.id == run.id)


def test_a_run_that_is_named_is_the_one_and_latest_is_the_newest(submittable: Path) -> None:
    place, newest = Workspace(submittable), the_run(submittable).id
    older = older_twin(submittable)
    for name, meant in ((older, older), (newest, newest), ("latest", newest)):
        path, run = prepare.choose(place, "shapes", name, None, False)
        assert run is not None
        assert (run.id, path) == (meant, submittable / "submissions" / "shapes" / f"{meant}.csv")
    _, run = prepare.choose(place, "shapes", None, None, True)
    assert run is not None
    assert run.id == newest
    with pytest.raises(Refusal, match=newest):
        prepare.choose(place, "shapes", None, None, False)
    with pytest.raises(InputError, match="`run` or `file`"):
        prepare.choose(place, "shapes", newest, "x.csv", True)


def test_a_file_belongs_to_the_run_that_wrote_its_bytes(submittable: Path) -> None:
    place, newest = Workspace(submittable), the_run(submittable).id
    older = older_twin(submittable)
    for name in (older, newest):
        mine = submittable / "mine.csv"
        shutil.copy(submittable / "submissions" / "shapes" / f"{name}.csv", mine)
        path, run = prepare.choose(place, "shapes", None, mine, False)
        assert (path, run and run.id) == (mine, name)
    mine.write_text(mine.read_text().replace("circle", "square"))
    assert prepare.choose(place, "shapes", None, mine, False) == (mine, None)


@pytest.mark.parametrize("lost", ["submissions", "run", ""])
def test_a_file_of_a_run_of_an_older_version_is_known_by_either_copy(submittable: Path, lost: str) -> None:
    place, run = Workspace(submittable), without_a_proof(the_run(submittable))
    copies = {
        "submissions": place.submissions("shapes") / f"{run.id}.csv",
        "run": run.folder / "submission.csv",
    }
    mine = submittable / "mine.csv"
    shutil.copy(copies["run"], mine)
    if lost:
        copies[lost].unlink()
    _, found = prepare.choose(place, "shapes", None, mine, False)
    assert found is not None
    assert found.id == run.id
    mine.write_bytes(mine.read_bytes()[:-1] + b" ")  # as long, and another
    assert prepare.choose(place, "shapes", None, mine, False)[1] is None


def test_the_bytes_of_an_older_version_are_compared_with_the_runs_copy(submittable: Path) -> None:
    run = without_a_proof(the_run(submittable))
    path = submittable / "submissions" / "shapes" / f"{run.id}.csv"
    require_its_own(run, path, path.read_bytes())
    with pytest.raises(CheckFailed, match="is not what"):
        require_its_own(run, path, path.read_bytes() + b"\n")
    (run.folder / "submission.csv").unlink()
    require_its_own(run, path, b"whatever")  # nothing is left that could say otherwise
    with pytest.raises(Refusal, match="of an older version"):
        prepare.require_proven(run, False)
    prepare.require_proven(run, True)


def test_the_bytes_of_a_run_are_those_whose_sha256_it_keeps(submittable: Path) -> None:
    run = the_run(submittable)
    path = submittable / "submissions" / "shapes" / f"{run.id}.csv"
    require_its_own(run, path, path.read_bytes())
    prepare.require_proven(run, False)
    with pytest.raises(CheckFailed, match="is not what"):
        require_its_own(run, path, path.read_bytes() + b"\n")


@pytest.mark.parametrize(
    ("page", "score"),
    [
        ({"oof": {"score": 0.75}}, 0.75),
        ({"oof": {"score": 1}}, 1.0),
        ({"oof": {"score": "high"}}, None),
        ({"oof": 0.75}, None),
        ([], None),
        (None, None),
    ],
)
def test_the_score_of_an_older_partial_run_is_that_of_its_ledger_page(
    submittable: Path, page: object, score: float | None
) -> None:
    run = without_a_proof(the_run(submittable))
    assert prepare.oof_of(run) == run.record["oof"]["score"]
    (run.folder / "record.json").unlink()
    beside = submittable / "submissions" / "shapes" / f"{run.id}.json"
    beside.unlink(missing_ok=True)
    if page is not None:
        write_json(beside, page)
    (partial,) = all_runs(Workspace(submittable))
    assert prepare.oof_of(partial) == score
    assert prepare.marks_of(partial) == ["partial"]
