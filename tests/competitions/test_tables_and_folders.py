"""Art's folders and apple's table: archives, ids, labels and names as people really have them."""

from __future__ import annotations

import shutil
import unicodedata
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from comp.data.competitions.competition import Competition
from comp.data.images.decode import load_pixels
from comp.errors import InputError, RawDataError
from made import run_comp

Find = Callable[[str], Competition]
Own = Callable[[str], Path]


@pytest.fixture
def own(samples: Callable[[str], Path], tmp_path: Path) -> Own:
    """A sample of one's own, by slug."""

    def copied(slug: str) -> Path:
        shutil.copytree(samples(slug), tmp_path / "raw" / slug)
        return tmp_path / "raw" / slug

    return copied


def zip_folder(folder: Path, archive: Path, top: str) -> None:
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        for path in sorted(folder.rglob("*"), reverse=True):
            if path.is_file():
                packed.write(path, f"{top}{path.relative_to(folder).as_posix()}")


@pytest.mark.parametrize("carried", [True, False])
def test_art_reads_its_zips_as_it_reads_the_folders(
    carried: bool, own: Own, tmp_path: Path, competition: Find
) -> None:
    raw, packed = own("art-classification"), tmp_path / "packed"
    packed.mkdir()
    for name in ("train", "test"):
        zip_folder(raw / name, packed / f"{name}.zip", f"{name}/" if carried else "")
    shutil.copy(raw / "test_answer_sample_.csv", packed)
    art = competition("art-classification")
    assert art.missing(packed) == []
    one, other = art.read(raw), art.read(packed)
    assert one.table.equals(other.table)
    assert load_pixels(art.source(packed), other.test["path"][3]).shape == (96, 96, 3)
    done = run_comp(tmp_path, "check", "art-classification", "--data", str(packed), "--json")
    assert done.code == 0
    assert "train.zip" in str(done.json["stats"]["notes"])


def test_one_zip_of_everything_is_read_too(own: Own, tmp_path: Path, competition: Find) -> None:
    raw, packed = own("art-classification"), tmp_path / "packed"
    packed.mkdir()
    zip_folder(raw, packed / "download (1).zip", "")
    art = competition("art-classification")
    assert art.missing(packed) == []
    assert art.read(packed).table.equals(art.read(raw).table)
    assert run_comp(tmp_path, "check", "art-classification", "--data", str(packed)).code == 0


def test_an_archive_beside_its_unpacked_folder_is_left_alone(own: Own, competition: Find) -> None:
    raw = own("art-classification")
    art = competition("art-classification")
    zip_folder(raw / "train", raw / "train.zip", "train/")
    (raw / "train" / "dog" / "pic_001.jpg").unlink()
    manifest = art.read(raw)
    assert len(manifest.train) == 83
    assert "train/dog/pic_001.jpg" not in set(manifest.table["path"])


def test_a_file_missing_from_an_archive_is_missing(own: Own, tmp_path: Path) -> None:
    raw = own("apple-varieties")
    next((raw / "train").iterdir()).unlink()
    zip_folder(raw / "train", raw / "train.zip", "")
    shutil.rmtree(raw / "train")
    done = run_comp(tmp_path, "check", "apple-varieties", "--data", str(raw), "--json")
    found = {f["check"]: f for f in done.json["findings"]}
    assert done.code == 1
    assert found["missing-file"]["count"] == 1
    assert "unreadable-image" not in found
    assert "duplicate-path" not in found


def test_art_takes_2_before_10(own: Own, competition: Find) -> None:
    test = competition("art-classification").read(own("art-classification")).test
    assert test["path"][1] == "test/0/2.jpg"
    assert test["path"][9] == "test/0/10.jpg"


def test_the_systems_litter_is_ignored_and_counted(own: Own, competition: Find) -> None:
    raw = own("art-classification")
    art = competition("art-classification")
    before = art.read(raw)
    for name in (
        ".DS_Store",
        "train/dog/Thumbs.db",
        "train/desktop.ini",
        "test/0/._1.jpg",
        "__MACOSX/train/1.jpg",
    ):
        (raw / name).parent.mkdir(parents=True, exist_ok=True)
        (raw / name).write_bytes(b"litter")
    after = art.read(raw)
    assert after.table.equals(before.table)
    assert "5 files of the operating system ignored" in after.notes


def test_upper_case_extensions_are_images(own: Own, competition: Find, tmp_path: Path) -> None:
    raw = own("art-classification")
    (raw / "train" / "dog" / "pic_001.jpg").rename(raw / "train" / "dog" / "pic_001.JPG")
    (raw / "test" / "0" / "7.jpg").rename(raw / "test" / "0" / "7.JPEG")
    manifest = competition("art-classification").read(raw)
    assert len(manifest.train) == 84
    assert manifest.test["path"][6] == "test/0/7.JPEG"
    assert run_comp(tmp_path, "check", "art-classification", "--data", str(raw)).code == 0


@pytest.mark.parametrize("suffixes", ["none in train.csv", "none anywhere", "template alone"])
def test_apple_ids_come_with_or_without_extension(
    suffixes: str, own: Own, competition: Find, tmp_path: Path
) -> None:
    raw = own("apple-varieties")
    tables = {
        "none in train.csv": ("train.csv",),
        "none anywhere": ("train.csv", "test.csv", "sample_submission.csv"),
        "template alone": ("test.csv",),
    }
    for name in tables[suffixes]:
        (raw / name).write_text((raw / name).read_text().replace(".jpg", ""))
    manifest = competition("apple-varieties").read(raw)
    assert all((raw / path).is_file() for path in manifest.table["path"])
    done = run_comp(tmp_path, "check", "apple-varieties", "--data", str(raw), "--json")
    assert done.code == 0, done.out
    # the made-up varieties differ in how well they compress
    assert [f for f in done.json["findings"] if f["check"] != "metadata-shortcut"] == []


def test_an_id_without_a_file_and_a_file_without_a_row(own: Own, tmp_path: Path) -> None:
    raw = own("apple-varieties")
    first = sorted((raw / "train").iterdir())[0]
    first.rename(raw / "train" / "stray.jpg")
    done = run_comp(tmp_path, "check", "apple-varieties", "--data", str(raw), "--json")
    found = {f["check"]: f for f in done.json["findings"]}
    assert done.code == 1
    assert found["missing-file"]["severity"] == "error"
    assert found["missing-file"]["examples"] == [f"train/{first.name}"]
    assert found["unlisted-file"]["severity"] == "warning"
    assert found["unlisted-file"]["examples"] == ["train/stray.jpg"]


def test_an_id_that_fits_two_files_is_refused(own: Own, competition: Find) -> None:
    raw = own("apple-varieties")
    first = sorted((raw / "train").iterdir())[0]
    shutil.copy(first, first.with_suffix(".png"))
    (raw / "train.csv").write_text((raw / "train.csv").read_text().replace(".jpg", ""))
    with pytest.raises(InputError, match="one file"):
        competition("apple-varieties").read(raw)


@pytest.mark.parametrize("column", ["img_id", "a_type"])
def test_a_table_without_its_column_says_what_it_has(column: str, own: Own, tmp_path: Path) -> None:
    raw = own("apple-varieties")
    (raw / "train.csv").write_text((raw / "train.csv").read_text().replace(column, "other", 1))
    done = run_comp(tmp_path, "check", "apple-varieties", "--data", str(raw))
    assert done.code == 2
    assert f"train.csv has no '{column}'; it has " in done.err
    assert "'other'" in done.err


def test_labels_with_spaces_case_and_bom_are_tidied_and_that_is_said(own: Own, competition: Find) -> None:
    raw = own("apple-varieties")
    lines = (raw / "train.csv").read_text().splitlines()
    at = [n for n, line in enumerate(lines) if line.endswith(",HJ")][:3]
    for row, spelling in zip(at, ("HJ ", "\ufeffHJ", "hj"), strict=True):
        lines[row] = lines[row].replace(",HJ", f",{spelling}")
    (raw / "train.csv").write_text("\n".join(lines) + "\n", encoding="utf-8-sig")
    apple = competition("apple-varieties")
    manifest = apple.read(raw)
    assert apple.label_map(manifest, raw).names == ("AR", "HJ", "HR", "SG")
    assert (manifest.train["label"] == "HJ").sum() == 40
    assert any("3 labels read in another spelling" in note for note in manifest.notes)
    assert any("utf-8-sig" in note for note in manifest.notes)


def test_a_class_folder_in_another_case_is_its_class(own: Own, competition: Find) -> None:
    raw = own("art-classification")
    (raw / "train" / "dog").rename(raw / "train" / "Dog ")
    manifest = competition("art-classification").read(raw)
    assert (manifest.train["label"] == "dog").sum() == 12


def test_a_class_folder_without_images_is_an_error(own: Own, tmp_path: Path) -> None:
    raw = own("art-classification")
    shutil.rmtree(raw / "train" / "horse")
    (raw / "train" / "horse").mkdir()
    done = run_comp(tmp_path, "check", "art-classification", "--data", str(raw), "--json")
    assert done.code == 1
    assert {f["check"]: f["examples"] for f in done.json["findings"]}["label-map"] == ["horse"]


NAMES = ["a b.jpg", "it's.jpg", 'say "cheese".jpg', "one, two.jpg", "사과.jpg", "cat #1.jpg", "100%.JPG"]


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_odd_names_work(form: str, own: Own, competition: Find, tmp_path: Path) -> None:
    import csv

    raw = own("apple-varieties")
    with (raw / "train.csv").open(newline="") as table:
        rows = list(csv.reader(table))
    for row, name in zip(rows[1:], NAMES, strict=False):
        (raw / "train" / row[0]).rename(raw / "train" / unicodedata.normalize(form, name))  # the disk's form
        row[0] = unicodedata.normalize("NFC", name)  # the table's
    with (raw / "train.csv").open("w", newline="") as table:
        csv.writer(table).writerows(rows)
    apple = competition("apple-varieties")
    manifest = apple.read(raw)
    assert set(NAMES) <= set(manifest.train["id"])
    for path in manifest.train["path"]:
        assert load_pixels(apple.source(raw), path).shape == (128, 128, 3)
    done = run_comp(tmp_path, "check", "apple-varieties", "--data", str(raw), "--json")
    # the made-up varieties differ in how well they compress
    assert [f for f in done.json["findings"] if f["check"] != "metadata-shortcut"] == []


@pytest.mark.parametrize("encoding", ["utf-8", "cp949"])
def test_korean_names_in_tables_and_zips_of_either_encoding(
    encoding: str, own: Own, competition: Find, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = own("apple-varieties")
    first = sorted((raw / "train").iterdir())[0]
    text = (raw / "train.csv").read_text().replace(first.name, "빨간 사과.jpg")
    (raw / "train.csv").write_bytes(text.encode(encoding))
    first.rename(raw / "train" / "빨간 사과.jpg")
    # as other programs write names: plain bytes, without the flag that says UTF-8
    monkeypatch.setattr(
        zipfile.ZipInfo, "_encodeFilenameFlags", lambda info: (info.filename.encode(encoding), 0)
    )
    zip_folder(raw / "train", raw / "train.zip", "train/")
    monkeypatch.undo()
    shutil.rmtree(raw / "train")
    apple = competition("apple-varieties")
    manifest = apple.read(raw)
    assert "빨간 사과.jpg" in set(manifest.train["id"])
    assert "train/빨간 사과.jpg" in set(manifest.train["path"])
    assert run_comp(tmp_path, "check", "apple-varieties", "--data", str(raw)).code == 0


def test_two_files_equal_after_nfc_are_one_path(own: Own, tmp_path: Path) -> None:
    raw = own("art-classification")
    folder = raw / "train" / "dog"
    (folder / "pic_001.jpg").rename(folder / unicodedata.normalize("NFC", "강아지.jpg"))
    (folder / "pic_002.jpg").rename(folder / unicodedata.normalize("NFD", "강아지.jpg"))
    done = run_comp(tmp_path, "check", "art-classification", "--data", str(raw), "--json")
    assert done.code == 1
    assert "duplicate-path" in {f["check"] for f in done.json["findings"]}


def test_a_zip_that_leaves_the_folder_is_refused(own: Own, tmp_path: Path) -> None:
    raw = own("art-classification")
    with zipfile.ZipFile(raw / "more.zip", "w") as packed:
        packed.writestr("../x.jpg", b"x")
    done = run_comp(tmp_path, "check", "art-classification", "--data", str(raw))
    assert done.code == 2
    assert "../x.jpg leaves the folder" in done.err


def test_data_of_another_competition_is_refused(own: Own, competition: Find) -> None:
    with pytest.raises(RawDataError, match="laid out as apple-varieties"):
        competition("apple-varieties").read(own("art-classification"))
