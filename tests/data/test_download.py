"""Downloads from a server on this machine that serves ranges, breaks off, and corrupts."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from comp.data import download
from comp.errors import DownloadError, InputError
from made import run_comp

CONTENT = bytes(range(256)) * 4000
MD5 = hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves CONTENT under every name; ``faults`` says what goes wrong, one request after another."""

    faults: list[str]
    asked: list[str]
    ranges = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        wanted = self.headers.get("Range", "")
        self.server.asked.append(wanted)
        fault = self.server.faults.pop(0) if self.server.faults else ""
        if fault.isdigit():
            self.send_error(int(fault))
            return
        start = int(wanted.removeprefix("bytes=").rstrip("-") or 0) if self.server.ranges else 0
        if start >= len(CONTENT):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(CONTENT)}")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}")
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        body = CONTENT[start:]
        if fault == "break":
            body = body[: len(body) // 2]
        elif fault == "corrupt":
            body = body[:-1] + b"?"
        elif fault == "silent":
            body = b""
        self.wfile.write(body)
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(download, "PAUSE", 0.001)
    monkeypatch.setattr(download, "TIMEOUT", 5.0)
    one = Server(("127.0.0.1", 0), Handler)
    one.faults, one.asked = [], []
    thread = threading.Thread(target=one.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield one
    one.shutdown()
    thread.join()
    one.server_close()


def test_a_file_comes_whole(server: Server, tmp_path: Path) -> None:
    download.fetch(f"{server.url}/x.tar", tmp_path / "raw" / "x.tar", MD5)
    assert (tmp_path / "raw" / "x.tar").read_bytes() == CONTENT
    assert [path.name for path in (tmp_path / "raw").iterdir()] == ["x.tar"]
    download.fetch(f"{server.url}/x.tar", tmp_path / "raw" / "x.tar", MD5)
    assert server.asked == [""], "what is there is not asked for again"


def test_it_goes_on_where_it_broke_off(server: Server, tmp_path: Path) -> None:
    server.faults = ["break", "break", "503", "break"]
    download.fetch(f"{server.url}/x.tar", tmp_path / "x.tar", MD5)
    assert (tmp_path / "x.tar").read_bytes() == CONTENT
    starts = [int(asked.removeprefix("bytes=").rstrip("-") or 0) for asked in server.asked]
    assert starts[0] == 0
    assert starts == sorted(starts)
    assert starts[1] == len(CONTENT) // 2


def test_another_command_goes_on_too(server: Server, tmp_path: Path) -> None:
    (tmp_path / "x.tar.part").write_bytes(CONTENT[:1000])
    download.fetch(f"{server.url}/x.tar", tmp_path / "x.tar", MD5)
    assert server.asked == ["bytes=1000-"]
    assert (tmp_path / "x.tar").read_bytes() == CONTENT


def test_a_part_that_is_whole_already_is_taken(server: Server, tmp_path: Path) -> None:
    (tmp_path / "x.tar.part").write_bytes(CONTENT)
    download.fetch(f"{server.url}/x.tar", tmp_path / "x.tar", MD5)
    assert (tmp_path / "x.tar").read_bytes() == CONTENT


@pytest.mark.parametrize("part", [b"of another file", CONTENT + b"and more"])
def test_a_part_of_another_file_is_started_anew(part: bytes, server: Server, tmp_path: Path) -> None:
    (tmp_path / "x.tar.part").write_bytes(part)
    download.fetch(f"{server.url}/x.tar", tmp_path / "x.tar", MD5)
    assert (tmp_path / "x.tar").read_bytes() == CONTENT


def test_a_server_without_ranges_starts_anew(server: Server, tmp_path: Path) -> None:
    server.ranges = False
    server.faults = ["break"]
    download.fetch(f"{server.url}/x.tar", tmp_path / "x.tar", MD5)
    assert (tmp_path / "x.tar").read_bytes() == CONTENT


def test_corrupt_bytes_never_get_the_files_name(server: Server, tmp_path: Path) -> None:
    server.faults = ["corrupt"]
    with pytest.raises(DownloadError) as error:
        download.fetch(f"{server.url}/x.tar", tmp_path / "x.tar", MD5)
    assert MD5 in error.value.value
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_only_breaks_off_is_given_up(server: Server, tmp_path: Path) -> None:
    server.faults = ["silent"] * 50
    with pytest.raises(DownloadError, match="reachable"):
        download.fetch(f"{server.url}/x.tar", tmp_path / "x.tar", MD5)
    assert len(server.asked) == download.ATTEMPTS


def test_a_file_that_the_server_does_not_have_is_not_asked_for_twice(server: Server, tmp_path: Path) -> None:
    server.faults = ["404"]
    with pytest.raises(DownloadError) as error:
        download.fetch(f"{server.url}/x.tar", tmp_path / "x.tar", MD5)
    assert "404" in error.value.value
    assert len(server.asked) == 1


def test_another_file_of_the_name_is_not_overwritten(server: Server, tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_bytes(b"mine")
    with pytest.raises(InputError, match="never overwrites"):
        download.fetch(f"{server.url}/x.tar", tmp_path / "x.tar", MD5)
    assert (tmp_path / "x.tar").read_bytes() == b"mine"


def test_a_full_disk_is_told_before(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 1000})())
    with pytest.raises(InputError, match="room"):
        download.fetch(f"{server.url}/x.tar", tmp_path / "x.tar", MD5)


@pytest.mark.parametrize(
    ("slug", "name"), [("cifar-100", "cifar-100-python.tar.gz"), ("caltech-256", "256_ObjectCategories.tar")]
)
def test_the_command_asks_the_mirror_and_checks_the_sum(
    slug: str, name: str, server: Server, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(download.MIRROR, server.url)
    done = run_comp(workspace, "data", slug, "--download")
    assert done.code == 2
    assert "published md5" in done.err
    assert f"{server.url}/{name}" in done.err


def test_offline_is_one_clear_error(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "PAUSE", 0.0)
    monkeypatch.setenv(download.MIRROR, "http://127.0.0.1:9")
    done = run_comp(workspace, "data", "cifar-100", "--download")
    assert done.code == 2
    assert done.err.count("error:") == 1
    assert "are you online?" in done.err
    assert "Traceback" not in done.err


def test_what_may_not_be_downloaded_says_where_it_is(workspace: Path) -> None:
    done = run_comp(workspace, "data", "art-classification", "--download")
    assert done.code == 2
    assert "aistages.ai" in done.err
    assert run_comp(workspace, "data", "digits", "--download").code == 0
