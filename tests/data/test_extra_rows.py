"""--extra: labelled images from elsewhere, which only ever train."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from comp.data.competitions.competition import find_competition
from comp.data.extra_rows import with_extra
from comp.data.manifest import Manifest
from comp.errors import InputError
from comp.workspace import Workspace
from made import draw, run_comp, save_image


@pytest.fixture
def extra(workspace: Path) -> Path:
    """Six more shapes in a folder of their own, and their table."""
    folder = workspace / "more"
    lines = ["path,label"]
    for number in range(6):
        shape = ("circle", "cross", "square")[number % 3]
        save_image(folder / "images" / f"{number}.png", draw(shape, 500 + number))
        lines.append(f"images/{number}.png,{shape.upper()}")
    (folder / "extra.csv").write_text("\n".join(lines) + "\n")
    return folder / "extra.csv"


def test_extra_rows_are_checked_and_train_but_get_no_fold(workspace: Path, shapes: Path, extra: Path) -> None:
    checked = run_comp(workspace, "check", "shapes", "--folds", "2", "--extra", extra, "--json")
    assert checked.code == 0, checked.out
    assert checked.json["stats"]["extra"] == 6
    done = run_comp(workspace, "run", "shapes", "--folds", "2", "--extra", extra, "--json")
    assert done.code == 0, done.err
    folder = workspace / "runs" / done.json["run"]
    manifest = Manifest.read_csv(folder / "manifest.csv")
    assert set(manifest.extra["label"]) == {"circle", "cross", "square"}
    folds = (folder / "folds.csv").read_text()
    assert "extra:" not in folds
    assert len(folds.splitlines()) == 1 + 18
    with np.load(folder / "oof.npz") as oof:
        assert oof["probs"].shape == (18, 3)


def test_extra_rows_beside_a_competition_of_arrays(workspace: Path, extra: Path) -> None:
    extra.write_text(extra.read_text().replace("CIRCLE", "0").replace("CROSS", "1").replace("SQUARE", "4"))
    checked = run_comp(workspace, "check", "digits", "--folds", "2", "--extra", extra, "--json")
    assert checked.code == 0, checked.out
    assert checked.json["stats"]["extra"] == 6


def test_a_missing_or_unknown_extra_row_is_found(workspace: Path, shapes: Path, extra: Path) -> None:
    extra.write_text("path,label\nimages/0.png,hexagon\nimages/none.png,circle\n")
    checked = run_comp(workspace, "check", "shapes", "--folds", "2", "--extra", extra, "--json")
    found = {f["check"]: f["count"] for f in checked.json["findings"] if f["severity"] == "error"}
    assert checked.code == 1
    assert found["unknown-label"] == 1
    assert found["missing-file"] == 1


def test_a_table_without_its_columns_or_with_known_ids_is_refused(
    workspace: Path, shapes: Path, extra: Path
) -> None:
    manifest = find_competition("shapes", Workspace(workspace)).read(shapes)
    extra.write_text("file,label\n1.png,circle\n")
    with pytest.raises(InputError, match="columns"):
        with_extra(manifest, extra)
    extra.write_text(f"id,path,label\n{manifest.train['id'][0]},1.png,circle\n")
    with pytest.raises(InputError, match="other rows"):
        with_extra(manifest, extra)


def test_a_column_that_comes_twice_is_refused_where_it_is_read(
    workspace: Path, shapes: Path, extra: Path
) -> None:
    manifest = find_competition("shapes", Workspace(workspace)).read(shapes)
    header, *rows = extra.read_text().splitlines()
    extra.write_text("\n".join([f"{header},note,note", *(f"{row},1,2" for row in rows)]))
    assert len(with_extra(manifest, extra).extra) == 6
    extra.write_text("\n".join([f"{header},Label", *(f"{row},cross" for row in rows)]))
    assert set(with_extra(manifest, extra).extra["label"]) == {"CIRCLE", "CROSS", "SQUARE"}
    extra.write_text("\n".join([f"{header},label", *(f"{row},cross" for row in rows)]))
    with pytest.raises(InputError, match="a table has a column once"):
        with_extra(manifest, extra)
