"""The real kaggle client takes the folder: it pushes the notebook and uploads the dataset to a server of ours."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from comp.kaggle.kernel.build import KernelFolder, kernel
from made import clean_environment, run_comp, write_shapes

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        find_spec("kaggle") is None or find_spec("six") is None,  # it needs six without declaring it
        reason="the kaggle client is not installed, or lacks six",
    ),
]


class Server(ThreadingHTTPServer):
    """Answers what the client asks when it pushes and uploads; keeps what it was sent."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.sent: dict[str, list[Any]] = {}
        self.blobs: dict[str, int] = {}


class Answer(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        method = self.path.rsplit("/", 1)[-1]
        asked = json.loads(self._body() or b"{}")
        self.server.sent.setdefault(method, []).append(asked)
        if method == "SaveKernel":
            self._say(200, {"ref": "/ann/k", "url": "http://localhost/k", "versionNumber": 1})
        elif method == "GetDatasetStatus":
            self._say(404, {"code": 404, "message": "no such dataset"})
        elif method == "StartBlobUpload":
            self._say(200, {"token": asked["name"], "createUrl": f"http://localhost/blob/{asked['name']}"})
        elif method == "CreateDataset":
            self._say(200, {"status": "Ok", "url": "http://localhost/d", "ref": "ann/d"})
        else:
            self._say(200, {"active": True, "username": "ann"})

    def do_PUT(self) -> None:
        self.server.blobs[self.path.rsplit("/", 1)[-1]] = len(self._body())
        self._say(201, {})

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _say(self, code: int, value: dict[str, Any]) -> None:
        content = json.dumps(value).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *arguments: object) -> None:
        """Says nothing: pytest's output is for tests."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as found:
        thread = threading.Thread(target=found.serve_forever)
        thread.start()
        yield found
        found.shutdown()
        thread.join()


@pytest.fixture
def made(workspace: Path) -> KernelFolder:
    write_shapes(workspace)
    done = run_comp(workspace, "run", "shapes", "--folds", "2", "--json")
    assert done.code == 0, done.err
    return kernel("shapes", workspace=workspace, kaggle="shapes-behind-a-curtain", user="ann")


def client(server: Server, home: Path, *arguments: object) -> str:
    """The ``kaggle`` command, unpatched, with a way to our server alone; what it printed."""
    home.mkdir(exist_ok=True)
    variables = {
        "KAGGLE_API_ENVIRONMENT": "LOCALHOST",
        "http_proxy": f"http://127.0.0.1:{server.server_address[1]}",
        "https_proxy": "http://127.0.0.1:9",
        "no_proxy": "",
        "HOME": str(home),
        "TMPDIR": str(home),
        "KAGGLE_USERNAME": "ann",
        "KAGGLE_KEY": "made-up",
    }
    environment = {k: v for k, v in clean_environment().items() if not k.startswith("KAGGLE")} | variables
    command = [sys.executable, "-c", "from kaggle.cli import main; main()", *map(str, arguments)]
    done = subprocess.run(
        command, cwd=home, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_it_pushes_the_notebook(server: Server, made: KernelFolder, tmp_path: Path) -> None:
    told = client(server, tmp_path / "home", *made.next[2].split()[1:3], "-p", made.folder)
    assert "version 1 successfully pushed" in told
    assert "does not resolve" not in told
    (sent,) = server.sent["SaveKernel"]
    assert sent["slug"] == made.id
    assert sent["language"] == "python"
    assert sent["kernelType"] == "notebook"
    assert sent["isPrivate"] is True
    assert not sent.get("enableInternet")
    assert sent["datasetDataSources"] == [made.id]
    assert sent["competitionDataSources"] == ["shapes-behind-a-curtain"]
    assert len(json.loads(sent["text"])["cells"]) > 5


def test_it_uploads_the_dataset_whole_and_privately(
    server: Server, made: KernelFolder, tmp_path: Path
) -> None:
    told = client(server, tmp_path / "home", *made.next[0].split()[1:3], "-p", made.dataset)
    assert "private Dataset is being created" in told
    (sent,) = server.sent["CreateDataset"]
    assert f"{sent['ownerSlug']}/{sent['slug']}" == made.id
    assert sent.get("isPrivate") is True
    there = {path.name: path.stat().st_size for path in made.dataset.iterdir()}
    del there["dataset-metadata.json"]
    assert server.blobs == there
    assert {one["token"] for one in sent["files"]} == set(there)
