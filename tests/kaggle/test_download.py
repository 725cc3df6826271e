"""``comp data SLUG --download`` of a Kaggle competition: resumed, checked, unpacked, refused."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest

from comp.kaggle import download as kaggle_data
from kaggle_server import Fault, LoopbackKaggle
from made import write_shapes

BIG = bytes(range(256)) * 3000


@pytest.fixture
def raw(workspace: Path, kaggle: LoopbackKaggle) -> Path:
    """An empty raw folder of shapes, whose files Kaggle has."""
    full = write_shapes(workspace)
    facts = workspace / "competitions" / "shapes" / "competition.toml"
    facts.write_text('kaggle = "three-shapes"\n' + facts.read_text())
    kaggle.files = {str(p.relative_to(full)): p.read_bytes() for p in sorted(full.rglob("*")) if p.is_file()}
    full.rename(workspace / "elsewhere")
    return full


def packed(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return out.getvalue()


def test_every_listed_file_comes_and_none_comes_twice(
    workspace: Path, raw: Path, kaggle: LoopbackKaggle
) -> None:
    done = kaggle.comp(workspace, "data", "shapes", "--download", "--json")
    assert done.code == 0, done.err
    assert done.json["missing"] == []
    assert {str(p.relative_to(raw)): p.read_bytes() for p in raw.rglob("*") if p.is_file()} == kaggle.files
    before = kaggle.count("file")
    assert kaggle.comp(workspace, "data", "shapes", "--download").code == 0
    assert kaggle.count("file") == before == len(kaggle.files)


def test_a_file_that_breaks_off_twice_is_gone_on_with(
    workspace: Path, raw: Path, kaggle: LoopbackKaggle
) -> None:
    kaggle.files = {"train.csv": BIG}
    kaggle.faults["file"] = [Fault(kind="cut"), Fault(503), Fault(kind="cut")]
    done = kaggle.comp(workspace, "data", "shapes", "--download")
    assert (raw / "train.csv").read_bytes() == BIG, done.err
    first, *others = kaggle.ranges
    starts = [int(one.removeprefix("bytes=").removesuffix("-")) for one in others]
    block = kaggle_data.BLOCK
    half, quarter = len(BIG) // 2, len(BIG) // 2 + len(BIG) // 4
    assert first == ""
    assert starts[0] == starts[1]
    assert half - block <= starts[1] <= half
    assert quarter - 2 * block <= starts[2] <= quarter
    assert "broke off" in done.err


def test_an_answer_without_a_length_that_ends_early_is_gone_on_with(
    workspace: Path, raw: Path, kaggle: LoopbackKaggle
) -> None:
    kaggle.files = {"train.csv": BIG}
    kaggle.faults["file"] = [Fault(kind="cut"), Fault(kind="cut")]
    kaggle.says_lengths = False
    done = kaggle.comp(workspace, "data", "shapes", "--download")
    assert (raw / "train.csv").read_bytes() == BIG, done.err
    assert kaggle.ranges[1:] == [f"bytes={len(BIG) // 2}-", f"bytes={len(BIG) // 4 * 3}-"]


def test_a_broken_download_goes_on_in_the_next_call(
    workspace: Path, raw: Path, kaggle: LoopbackKaggle
) -> None:
    kaggle.files = {"train.csv": BIG}
    kaggle.faults["file"] = [Fault(kind="cut"), *[Fault(503)] * 5]
    done = kaggle.comp(workspace, "data", "shapes", "--download")
    assert done.code == 2
    assert "the same command goes on" in done.err
    assert not (raw / "train.csv").exists()
    kaggle.ranges.clear()
    kaggle.comp(workspace, "data", "shapes", "--download")
    assert (raw / "train.csv").read_bytes() == BIG
    assert kaggle.ranges == [f"bytes={len(BIG) // 2 // kaggle_data.BLOCK * kaggle_data.BLOCK}-"]


def test_a_file_of_another_size_is_refused(workspace: Path, raw: Path, kaggle: LoopbackKaggle) -> None:
    kaggle.files = {"train.csv": BIG}
    kaggle.sizes["train.csv"] = len(BIG) + 1
    done = kaggle.comp(workspace, "data", "shapes", "--download")
    assert done.code == 2
    assert "listed size" in done.err
    assert not list(raw.glob("train.csv*"))


def test_another_file_is_never_overwritten(workspace: Path, raw: Path, kaggle: LoopbackKaggle) -> None:
    raw.mkdir()
    (raw / "train.csv").write_text("mine")
    done = kaggle.comp(workspace, "data", "shapes", "--download")
    assert done.code == 2
    assert (raw / "train.csv").read_text() == "mine"


def test_a_file_that_kaggle_packed_is_unpacked(workspace: Path, raw: Path, kaggle: LoopbackKaggle) -> None:
    kaggle.files = {"train.csv": BIG}
    kaggle.served["train.csv"] = ("train.csv.zip", packed({"train.csv": BIG}))
    done = kaggle.comp(workspace, "data", "shapes", "--download")
    assert (raw / "train.csv").read_bytes() == BIG, done.err
    assert [p.name for p in raw.iterdir()] == ["train.csv"]


def test_many_files_come_as_one_archive(workspace: Path, raw: Path, kaggle: LoopbackKaggle) -> None:
    kaggle.files |= {f"more/{n}.txt": b"%d" % n for n in range(kaggle_data.FEW)}
    kaggle.bundle = ("three-shapes.zip", packed(kaggle.files))
    kaggle.faults["file"] = [Fault(kind="cut")]
    done = kaggle.comp(workspace, "data", "shapes", "--download")
    assert done.code == 0, done.err
    assert kaggle.count("DownloadDataFile") == 0
    assert {str(p.relative_to(raw)): p.read_bytes() for p in raw.rglob("*") if p.is_file()} == kaggle.files


@pytest.mark.parametrize("name", ["../evil.csv", "/etc/evil.csv", "a/../../evil.csv", "C:\\evil.csv"])
def test_a_name_that_leaves_the_folder_is_refused(
    workspace: Path, raw: Path, kaggle: LoopbackKaggle, name: str
) -> None:
    kaggle.files = {name: b"evil"}
    done = kaggle.comp(workspace, "data", "shapes", "--download")
    assert done.code == 2
    assert "must stay in its folder" in done.err
    assert not list(workspace.rglob("evil*"))


def test_an_archive_that_leaves_the_folder_is_refused(
    workspace: Path, raw: Path, kaggle: LoopbackKaggle
) -> None:
    kaggle.files = {f"{n}.txt": b"" for n in range(kaggle_data.FEW + 1)}
    kaggle.bundle = ("all.zip", packed({**kaggle.files, "../evil.txt": b"evil"}))
    done = kaggle.comp(workspace, "data", "shapes", "--download")
    assert done.code == 2
    assert "leaves the folder" in done.err
    assert not list(workspace.rglob("evil*"))


def test_rules_that_were_not_accepted_are_named_with_their_page(
    workspace: Path, raw: Path, kaggle: LoopbackKaggle
) -> None:
    kaggle.competition = {"userHasEntered": False}
    done = kaggle.comp(workspace, "data", "shapes", "--download")
    assert done.code == 1
    assert "https://www.kaggle.com/competitions/three-shapes/rules" in done.err
    assert kaggle.count("ListDataFiles") == 0


@pytest.mark.parametrize("method", ["ListDataFiles", "DownloadDataFile"])
def test_a_bare_403_names_the_page_of_the_rules(
    workspace: Path, raw: Path, kaggle: LoopbackKaggle, method: str
) -> None:
    kaggle.faults[method] = [Fault(403, "")]
    done = kaggle.comp(workspace, "data", "shapes", "--download")
    assert done.code == 1
    assert "https://www.kaggle.com/competitions/three-shapes/rules" in done.err
