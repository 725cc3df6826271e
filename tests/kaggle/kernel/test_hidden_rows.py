"""Hidden rows stand where the visible ones stood: other ids, the same layout, nothing of the train part."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from comp.data.competitions.competition import Competition, find_competition
from comp.data.csv_table import read_table
from comp.data.images.decode import decode
from comp.errors import ImageError, InputError
from comp.kaggle.kernel.hidden_rows import listing, read_only, remove, write_hidden
from comp.workspace import Workspace
from made import write_shapes
from made_kernel import SLUG, write_digits

BY_TABLE = """\
slug = "moles"
title = "Moles"
[data]
table = "train.csv"
id = "image_id"
label = "kind"
images = "train/{image_id}.png"
test_table = "test.csv"
test_images = "test/{image_id}.png"
[template]
file = "sample_submission.csv"
id = "image_id"
target = "kind"
"""


@pytest.fixture
def by_table(workspace: Path) -> Competition:
    """A competition by its facts, with a table of test rows that has a column of its own."""
    raw = write_shapes(workspace)
    folder = workspace / "competitions" / "moles"
    folder.mkdir()
    (folder / "competition.toml").write_text(BY_TABLE)
    shutil.copytree(raw, workspace / "data" / "moles")
    raw = workspace / "data" / "moles"
    text = (raw / "train.csv").read_text().replace("id,label", "image_id,kind", 1)
    (raw / "train.csv").write_text(text)
    rows = "".join(f"t{n},ward {n}\n" for n in range(12))
    (raw / "test.csv").write_text("image_id,place\n" + rows)
    (raw / "sample_submission.csv").write_text(
        "image_id,kind\n" + "".join(f"t{n},circle\n" for n in range(12))
    )
    return find_competition("moles", Workspace(workspace))


def test_tables_of_test_rows_ask_for_the_hidden_ones(by_table: Competition, workspace: Path) -> None:
    raw, target = workspace / "data" / "moles", workspace / "hidden"
    found = write_hidden(by_table, raw, target, 40)
    assert sorted(path.name for path in target.iterdir()) == ["sample_submission.csv", "test", "test.csv"]
    table = read_table(target / "test.csv")
    assert table.header == ("image_id", "place")
    assert len(table.rows) == 40
    assert {row[1] for row in table.rows} == {"ward 0"}
    ids = [row[0] for row in table.rows]
    assert ids == [row[0] for row in read_table(target / "sample_submission.csv").rows]
    assert not {f"t{n}" for n in range(12)} & set(ids), "ids that the visible test lacks"
    assert found.rows == 40
    assert found.decoded == 40 * 40 * 40 * 3
    (broken,) = found.broken
    for name in ids:
        content = (target / "test" / f"{name}.png").read_bytes()
        if name == broken:
            with pytest.raises(ImageError):
                decode(content, name)
        else:
            assert decode(content, name).shape == (40, 40, 3)
    assert write_hidden(by_table, raw, workspace / "whole", 5, 0).broken == ()


def test_ids_may_carry_their_suffix(workspace: Path) -> None:
    raw = write_digits(workspace, 3, 6)
    found = write_hidden(find_competition(SLUG, Workspace(workspace)), raw, workspace / "hidden", 9)
    assert found.broken == ("hidden0000004.png",)
    assert len(list((workspace / "hidden" / "test").iterdir())) == 9


def test_rows_by_position_are_counted(art_raw: Path, tmp_path: Path) -> None:
    art = find_competition("art-classification", Workspace(tmp_path))
    found = write_hidden(art, art_raw, tmp_path / "hidden", 12)
    assert len(list((tmp_path / "hidden" / "test" / "0").iterdir())) == 12
    assert len(art.read_test(tmp_path / "hidden").test) == 12
    assert found.broken == ("6",)
    rows = read_table(tmp_path / "hidden" / "test_answer_sample_.csv").rows
    assert [row[0] for row in rows] == [str(n) for n in range(12)]
    assert len({row[1] for row in rows}) == 1, "an answer that looks like an id stays"


def test_what_cannot_be_made_is_refused(by_table: Competition, workspace: Path) -> None:
    raw = workspace / "data" / "moles"
    with pytest.raises(InputError, match="3 rows or more"):
        write_hidden(by_table, raw, workspace / "few", 2)
    shapes = find_competition("shapes", Workspace(workspace))  # its adapter reads no test rows alone
    with pytest.raises(InputError, match="readable alone"):
        write_hidden(shapes, workspace / "data" / "shapes", workspace / "hidden", 9)
    digits = find_competition("digits", Workspace(workspace))
    with pytest.raises(InputError, match="layout of the visible ones"):
        write_hidden(digits, workspace / "none", workspace / "bundled", 9)


def test_what_changes_in_a_folder_shows(tmp_path: Path) -> None:
    (tmp_path / "in" / "below").mkdir(parents=True)
    (tmp_path / "in" / "below" / "a.txt").write_text("a")
    before = read_only(tmp_path / "in")
    assert (tmp_path / "in" / "below" / "a.txt").stat().st_mode & 0o222 == 0
    assert listing(tmp_path / "in") == before
    (tmp_path / "in" / "below" / "a.txt").chmod(0o644)
    (tmp_path / "in" / "below" / "a.txt").write_text("bb")
    assert listing(tmp_path / "in") != before
    remove(tmp_path / "in")
    assert not (tmp_path / "in").exists()
