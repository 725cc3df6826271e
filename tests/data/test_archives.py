"""Zips and tars in place: what is read, and what is refused."""

from __future__ import annotations

import io
import stat
import tarfile
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from comp.data import archives
from comp.data.images.raw_tree import RawTree
from comp.errors import ImageError, RawDataError


def zipped(path: Path, files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as packed:
        for name, content in files.items():
            packed.writestr(name, content)
    return path


def tarred(path: Path, files: dict[str, bytes], **odd: object) -> Path:
    with tarfile.open(path, "w:gz" if path.name.endswith("gz") else "w") as packed:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            for key, value in odd.items():
                setattr(info, key, value)
            packed.addfile(info, io.BytesIO(content))
    return path


FILES = {"a/1.txt": b"one" * 1000, "a/b/2.txt": b"", "3.txt": bytes(range(256))}


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_zips_members_are_read_whole(method: int, tmp_path: Path) -> None:
    found = archives.index(zipped(tmp_path / "x.zip", FILES, method)).files
    assert {name: archives.read(member) for name, member in found.items()} == FILES


def test_a_tars_members_are_read_whole(tmp_path: Path) -> None:
    found = archives.index(
        tarred(tmp_path / "x.tar", {f"./{name}": content for name, content in FILES.items()})
    ).files
    assert {name: archives.read(member) for name, member in found.items()} == FILES


def test_members_are_read_from_many_threads(tmp_path: Path) -> None:
    files = {f"{n}.bin": bytes([n % 256]) * (500 + n) for n in range(300)}
    found = archives.index(zipped(tmp_path / "x.zip", files)).files
    with ThreadPoolExecutor(8) as pool:
        assert dict(zip(found, pool.map(archives.read, found.values()), strict=True)) == files


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/etc/x", "C:/x", "..\\x"])
def test_members_that_leave_the_folder_are_refused(name: str, tmp_path: Path) -> None:
    for path in (zipped(tmp_path / "x.zip", {name: b"x"}), tarred(tmp_path / "x.tar", {name: b"x"})):
        with pytest.raises(RawDataError) as error:
            archives.index(path)
        assert "leaves the folder" in error.value.value
        assert error.value.exit_code == 2


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_in_a_tar_are_refused(kind: bytes, tmp_path: Path) -> None:
    with pytest.raises(RawDataError, match="plain files"):
        archives.index(tarred(tmp_path / "x.tar", {"x": b""}, type=kind, linkname="/etc/passwd"))


def test_links_and_locks_in_a_zip_are_refused(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("x")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as packed:
        packed.writestr(link, "/etc/passwd")
    with pytest.raises(RawDataError) as error:
        archives.index(tmp_path / "x.zip")
    assert "x is a link" in error.value.value
    with pytest.raises(RawDataError) as error:
        archives.index(zipped(tmp_path / "y.zip", {"x": b"x"}, zipfile.ZIP_LZMA))
    assert "packed by method" in error.value.value


def test_bombs_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "SMALL", 1 << 20)
    with pytest.raises(RawDataError) as error:
        archives.index(zipped(tmp_path / "x.zip", {"x": bytes(30 << 20)}))
    assert "would unpack to 31,457,280" in error.value.value
    packed = tarred(tmp_path / "x.tar.gz", {"x": bytes(30 << 20)})
    with pytest.raises(RawDataError, match="plain files"), archives.stream(packed, "x"):
        pass


def test_a_member_that_is_larger_than_it_says_is_not_unpacked_further(tmp_path: Path) -> None:
    path = zipped(tmp_path / "x.zip", {"x": bytes(1 << 20)})
    content = path.read_bytes()
    path.write_bytes(content.replace((1 << 20).to_bytes(4, "little"), (10).to_bytes(4, "little")))
    member = archives.index(path).files["x"]
    assert member.size == 10
    with pytest.raises(RawDataError, match="whole"):
        archives.read(member)


@pytest.mark.parametrize("name", ["x.zip", "x.tar"])
def test_a_cut_off_archive_is_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    zipped(path, FILES) if name.endswith("zip") else tarred(path, {"a": bytes(5000), "b": bytes(5000)})
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(RawDataError, match="readable and whole"):
        archives.index(path)


def test_a_damaged_member_is_found_by_its_checksum(tmp_path: Path) -> None:
    path = zipped(tmp_path / "x.zip", {"x": b"something to damage"}, zipfile.ZIP_STORED)
    path.write_bytes(path.read_bytes().replace(b"damage", b"Damage"))
    tree = RawTree(tmp_path)
    with pytest.raises(ImageError, match="readable"):
        tree.load("x/x")


def test_a_tar_gz_gives_one_member(tmp_path: Path) -> None:
    path = tarred(tmp_path / "x.tar.gz", FILES)
    with archives.stream(path, "a/1.txt") as opened:
        assert opened.read() == FILES["a/1.txt"]
    with pytest.raises(RawDataError, match="hold what its layout says"), archives.stream(path, "nothing"):
        pass
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(RawDataError), archives.stream(path, "nothing"):
        pass


@pytest.mark.parametrize(
    ("members", "prefix"),
    [
        (("dog/1.jpg", "cat/2.jpg"), "pack/"),
        (("pack/dog/1.jpg",), ""),
        (("1.jpg", "2.jpg"), "pack/"),
        (("train/dog/1.jpg", "test/1.jpg", "sample.csv"), ""),
        (("images/1.jpg", "labels.csv"), ""),
        (("pack/1.jpg", "__MACOSX/pack/._1.jpg"), ""),
    ],
)
def test_an_archive_counts_as_unpacked_where_a_person_would_unpack_it(
    members: tuple[str, ...], prefix: str, tmp_path: Path
) -> None:
    zipped(tmp_path / "pack.zip", dict.fromkeys(members, b"x"))
    tree = RawTree(tmp_path)
    wanted = sorted(prefix + name for name in members if "__MACOSX" not in name)
    assert list(tree.files) == wanted
    assert tree.ignored == sum("__MACOSX" in name for name in members)
    assert all(tree.has(path) and tree.load(path) == b"x" for path in wanted)
    assert len({tree.identity(path) for path in wanted}) == len(wanted)
    assert not tree.has(prefix + "nothing.jpg")


def test_names_of_windows_programs_have_slashes(tmp_path: Path) -> None:
    zipped(tmp_path / "pack.zip", {"a\\b.txt": b"x"})
    assert RawTree(tmp_path).files == ("pack/a/b.txt",)


def test_a_folder_that_links_to_its_parent_is_walked_once(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "1.txt").write_text("x")
    (tmp_path / "a" / "up").symlink_to(tmp_path, target_is_directory=True)
    assert RawTree(tmp_path).files == ("a/1.txt",)
