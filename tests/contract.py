"""What every competition must do: sample, read, check, run, validate."""

from __future__ import annotations

import hashlib
from pathlib import Path

from comp.data.competitions.competition import find_competition
from comp.data.competitions.sample import SAMPLE_MARK, write_sample
from comp.workspace import Workspace
from made import Outcome, run_comp

QUICK = ("--quick", "--set", "mode=scratch", "--set", "model.name=test_resnet", "--set", "model.size=32")
TINY = (
    "--set",
    "model.fit=squash",
    "--set",
    "transform=none",
    "--set",
    'tta=["identity"]',
    "--set",
    "batch=64",
)


def fulfil(slug: str, workspace: Path) -> Outcome:
    """Takes a competition from its own sample to a valid submission; what `comp run` ended with."""
    place = Workspace(workspace)
    competition = find_competition(slug, place)
    raw = workspace / "data" / slug
    again = workspace / "again"
    write_sample(competition, raw)
    write_sample(competition, again)
    assert contents(raw) == contents(again), "the same seed writes the same sample"

    assert competition.missing(raw) == []
    manifest = competition.read(raw)
    assert len(manifest.train) > 0
    assert len(manifest.test) > 0
    assert set(manifest.test["label"]) == {""}, "test rows have no label"
    assert manifest.table.equals(competition.read(again).table), (
        "the manifest does not depend on where the data lies"
    )
    labels = competition.label_map(manifest, raw)
    assert set(manifest.train["label"]) == set(labels.names)

    checked = run_comp(workspace, "check", slug, "--folds", "2", "--json")
    assert checked.code == 0, checked.out + checked.err
    assert [f for f in checked.json["findings"] if f["severity"] == "error"] == []
    done = run_comp(workspace, "run", slug, "--folds", "2", *QUICK, *TINY, "--json")
    assert done.code == 0, done.err
    csv = done.json["submission"]
    valid = run_comp(workspace, "validate", slug, csv, "--json")
    assert valid.code == 0, valid.out
    assert valid.json["rows"] == len(manifest.test)
    return done


def contents(folder: Path) -> dict[str, str]:
    """The SHA-256 of every file of a folder, by its path there."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != SAMPLE_MARK]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
