"""The walk over a tar's headers sees what Python's tarfile sees, or leaves the tar to it."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comp.data import archives
from comp.data.tar_headers import Unusual, plain_files
from comp.errors import RawDataError

FORMATS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}


def written(path: Path, files: list[tuple[str, bytes]], form: int, mtime: float = 0, **odd: object) -> Path:
    with tarfile.open(path, "w", format=form) as opened:
        folder = tarfile.TarInfo("folder")
        folder.type = tarfile.DIRTYPE
        opened.addfile(folder)
        for name, content in files:
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(content), mtime  # type: ignore[assignment]
            for key, value in odd.items():
                setattr(info, key, value)
            opened.addfile(info, io.BytesIO(content))
    return path


def by_tarfile(path: Path) -> list[tuple[str, int, int]]:
    with tarfile.open(path, "r:") as opened:
        return [(info.name, info.offset_data, info.size) for info in opened if info.isreg()]


NAMES = st.text(
    st.characters(codec="utf-8", exclude_characters="\0/", exclude_categories=["Cc", "Cs"]), min_size=1
)
PARTS = st.lists(NAMES.filter(lambda name: name not in (".", "..")), min_size=1, max_size=40).map("/".join)


@pytest.mark.parametrize("form", ["gnu", "pax"])
@given(
    names=st.lists(PARTS, min_size=1, max_size=6, unique=True),
    size=st.integers(0, 1500),
    mtime=st.floats(0, 1e9),
)
def test_it_sees_what_tarfile_sees(
    form: str, names: list[str], size: int, mtime: float, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("tar") / "t.tar"
    moment = mtime if form == "pax" else int(mtime)
    written(path, [(name, bytes(size)) for name in names], FORMATS[form], moment)
    assert plain_files(path)[0] == by_tarfile(path)


def test_names_of_ustar_with_a_prefix(tmp_path: Path) -> None:
    path = written(tmp_path / "t.tar", [(f"{'a' * 90}/{'b' * 90}.jpg", b"x")], tarfile.USTAR_FORMAT)
    assert plain_files(path)[0] == by_tarfile(path)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.GNUTYPE_SPARSE])
def test_what_is_no_plain_file_is_left_to_tarfile_and_refused(kind: bytes, tmp_path: Path) -> None:
    path = written(tmp_path / "t.tar", [("a", b"")], tarfile.GNU_FORMAT, type=kind, linkname="b")
    with pytest.raises(Unusual):
        plain_files(path)
    with pytest.raises(RawDataError):
        list(archives.tar_files(path))


@pytest.mark.parametrize("at", [0, 30, 130, 150, 156, 257])
def test_a_damaged_header_is_refused(at: int, tmp_path: Path) -> None:
    path = written(tmp_path / "t.tar", [("a", b"x"), ("b", b"y")], tarfile.PAX_FORMAT)
    content = bytearray(path.read_bytes())
    content[512 + at] ^= 0x15
    path.write_bytes(content)
    with pytest.raises(Unusual):
        plain_files(path)
    with pytest.raises(RawDataError, match="readable and whole"):
        list(archives.tar_files(path))
