"""A loopback Kaggle for tests: speaks as the wire notes of the real one, and goes wrong when it is told to.

The real client reaches it through ``http_proxy``, with requests in absolute form; ``https_proxy`` leads nowhere, so that
nothing gets out.
"""

from __future__ import annotations

import json
import re
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from kaggle_worker import worker
from made import KAGGLE_KEY, KAGGLE_USER, SIGNED, Outcome, clean_environment

GONE = "\0"


@dataclass
class Fault:
    """One thing that goes wrong, once: an HTTP error, or ``cut`` (after ``after`` bytes), ``silent``, ``late`` (done, not said)."""

    status: int = 0
    body: Any = None
    kind: str = ""
    headers: dict[str, str] = field(default_factory=dict)


class LoopbackKaggle(ThreadingHTTPServer):
    """State of a made-up Kaggle; ``faults`` by method name (``blob``, ``file``, …), used up one after another."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.faults: dict[str, list[Fault]] = {}
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.authorization: list[str] = []
        self.blobs: dict[str, bytes] = {}
        self.submissions: list[dict[str, Any]] = []
        self.statuses: list[str] = ["COMPLETE"]  # of a submission, one look after another
        self.scored: dict[str, Any] = {"publicScore": "0.8125"}
        self.competition: dict[str, Any] = {"userHasEntered": True, "maxDailySubmissions": 5, "teamCount": 2}
        self.limits: dict[str, Any] = {"numToday": 1, "numTotal": 3, "numAllowedNow": 4}
        self.board: list[dict[str, Any]] = [
            {"teamId": 1, "teamName": "first", "score": "0.9"},
            {"teamId": 2, "teamName": "ours", "score": "0.8"},
        ]
        self.found: list[dict[str, Any]] = []
        self.files: dict[str, bytes] = {}
        self.bundle: tuple[str, bytes] = ("all.zip", b"")
        self.served: dict[str, tuple[str, bytes]] = {}  # a file that comes under another name and packed
        self.sizes: dict[str, int] = {}
        self.says_lengths = True  # of data files
        self.ranges: list[str] = []
        self.released = threading.Event()  # ends silences
        self.reached = threading.Event()  # set when a silence begins
        self.refused_keys: set[str] = set()
        self.datasets: dict[str, list[dict[str, Any]]] = {}  # versions by owner/slug
        self.dataset_statuses: list[str] = ["READY"]  # one look after another
        self.kernels: dict[str, list[dict[str, Any]]] = {}
        self.kernel_statuses: list[dict[str, Any]] = [{"status": "COMPLETE"}]

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def environment(self, home: Path) -> dict[str, str]:
        """What a process must be given to find this server, and this server alone."""
        home.mkdir(parents=True, exist_ok=True)
        return {
            "KAGGLE_API_ENVIRONMENT": "LOCALHOST",
            "http_proxy": f"http://127.0.0.1:{self.port}",
            "https_proxy": "http://127.0.0.1:9",
            "no_proxy": "",
            "HOME": str(home),
            "KAGGLE_USERNAME": KAGGLE_USER,
            "KAGGLE_KEY": KAGGLE_KEY,
            "COMP_KAGGLE_PAUSE": "0.01",
            "COMP_KAGGLE_POLL": "0.01",
            "COMP_KAGGLE_TIMEOUT": "10",
        }

    def start(self, workspace: Path, *arguments: object, **changed: str) -> int:
        """A ``comp`` command in a process of its own, with the real client and this server; its process id.

        Variables are changed, or taken away with GONE.
        """
        here = {**clean_environment(), **self.environment(workspace / "home"), **changed}
        return worker().start(
            list(map(str, arguments)), workspace, {n: v for n, v in here.items() if v != GONE}
        )

    def comp(self, workspace: Path, *arguments: object, **changed: str) -> Outcome:
        """The same, with what it ended with."""
        return worker().end(self.start(workspace, *arguments, **changed), workspace)

    def count(self, method: str) -> int:
        """How often a method was called."""
        return sum(name == method for name, _ in self.calls)

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # clients that are killed


class Handler(BaseHTTPRequestHandler):
    server: LoopbackKaggle
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        path = urlsplit(self.path).path
        request = json.loads(self._body() or b"{}")
        method = path.rpartition("/")[2]
        self.server.calls.append((method, request))
        self.server.authorization.append(self.headers.get("Authorization", ""))
        if not path.startswith("/api/v1/"):
            self._send(404, {"message": "no such path"})
        elif any(key in self.server.authorization[-1] for key in self.server.refused_keys):
            self._send(401, {"code": 401, "message": "Unauthenticated"})
        elif not self._fault(method):
            answer = getattr(self, f"_{method}", None)
            self._send(404, {"message": "no such method"}) if answer is None else answer(request)

    def do_PUT(self) -> None:
        self.server.calls.append(("blob", {"authorization": self.headers.get("Authorization")}))
        faults = self.server.faults.get("blob")
        if faults and faults[0].kind == "cut":
            faults.pop(0)
            self.rfile.read(10)
            self.connection.close()
            self.close_connection = True
            return
        content = self._body()
        if not self._fault("blob"):
            self.server.blobs[urlsplit(self.path).path.rpartition("/")[2]] = content
            self._send(200, {})

    def do_GET(self) -> None:
        name = urlsplit(self.path).path.removeprefix("/files/")
        wanted = self.headers.get("Range", "")
        self.server.calls.append(("file", {"name": name}))
        self.server.ranges.append(wanted)
        packed = dict([self.server.bundle, *self.server.served.values()])
        content = packed.get(name, self.server.files.get(name))
        faults = self.server.faults.get("file")
        fault = faults.pop(0) if faults else Fault()
        if fault.status or content is None:
            self._send(fault.status or 404, fault.body or {"message": "no such file"})
            return
        start = int(re.sub(r"\D", "", wanted) or 0)
        if start and start >= len(content):
            self._send(416, {}, {"Content-Range": f"bytes */{len(content)}"})
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        if self.server.says_lengths:
            self.send_header("Content-Length", str(len(content) - start))
        else:
            self.send_header("Connection", "close")
            self.close_connection = True
        self.end_headers()
        body = content[start:]
        self.wfile.write(body[: len(body) // 2] if fault.kind == "cut" else body)
        if fault.kind == "cut":
            self.close_connection = True

    def _GetCompetition(self, request: dict[str, Any]) -> None:  # noqa: N802 - the wire's names
        self._send(200, {"ref": request["competitionName"], **self.server.competition})

    def _IntrospectToken(self, request: dict[str, Any]) -> None:  # noqa: N802
        self._send(200, {"active": True, "username": KAGGLE_USER})

    def _GetSubmissionLimits(self, request: dict[str, Any]) -> None:  # noqa: N802
        self._send(200, self.server.limits)

    def _ListCompetitions(self, request: dict[str, Any]) -> None:  # noqa: N802
        self._send(200, {"competitions": self.server.found})

    def _ListSubmissions(self, request: dict[str, Any]) -> None:  # noqa: N802
        self._send(200, {"submissions": list(reversed(self.server.submissions))})

    def _StartSubmissionUpload(self, request: dict[str, Any]) -> None:  # noqa: N802
        token = f"blob{self.server.count('StartSubmissionUpload')}"
        self.name = request["fileName"]
        self.server.sizes[token] = request.get("contentLength", 0)
        self.server.files[f"name-of-{token}"] = request["fileName"].encode()
        address = f"http://localhost/upload/{token}?signature={SIGNED}"
        self._send(200, {"token": token, "createUrl": address})

    def _CreateSubmission(self, request: dict[str, Any]) -> None:  # noqa: N802
        token = request["blobFileTokens"]
        assert len(self.server.blobs[token]) == self.server.sizes[token]
        ref = 4000 + len(self.server.submissions)
        self.server.submissions.append(
            {
                "ref": ref,
                "fileName": self.server.files[f"name-of-{token}"].decode(),
                "description": request.get("submissionDescription", ""),
                "date": "2026-01-02T03:04:05.678Z",
                "teamName": "ours",
            }
        )
        if self._fault("created"):
            return
        self._send(200, {"message": "Successfully submitted", "ref": ref})

    def _GetSubmission(self, request: dict[str, Any]) -> None:  # noqa: N802
        (one,) = (s for s in self.server.submissions if s["ref"] == request["ref"])
        status = self.server.statuses.pop(0) if len(self.server.statuses) > 1 else self.server.statuses[0]
        if status != "PENDING":
            one.update({"status": status, **(self.server.scored if status == "COMPLETE" else {})})
        if status == "ERROR":
            one["errorDescription"] = "Submission must have 12 rows"
        self._send(200, one)

    def _GetDataset(self, request: dict[str, Any]) -> None:  # noqa: N802
        versions = self.server.datasets.get(f"{request['ownerSlug']}/{request['datasetSlug']}")
        found = {"currentVersionNumber": len(versions or [])}
        self._send(200 if versions else 404, found if versions else {"message": "Dataset not found"})

    def _GetDatasetStatus(self, request: dict[str, Any]) -> None:  # noqa: N802
        there = f"{request['ownerSlug']}/{request['datasetSlug']}" in self.server.datasets
        status = self._next(self.server.dataset_statuses) if there else ""
        self._send(200 if there else 404, {"status": status} if there else {"message": "Dataset not found"})

    def _StartBlobUpload(self, request: dict[str, Any]) -> None:  # noqa: N802
        assert request["type"] == "DATASET"
        token = f"dataset-{self.server.count('StartBlobUpload')}-{request['name']}"
        self.server.sizes[token] = request.get("contentLength", 0)
        address = f"http://localhost/upload/{token}?signature={SIGNED}"
        self._send(200, {"token": token, "createUrl": address})

    def _CreateDataset(self, request: dict[str, Any]) -> None:  # noqa: N802
        self._dataset(f"{request['ownerSlug']}/{request['slug']}", request)

    def _CreateDatasetVersion(self, request: dict[str, Any]) -> None:  # noqa: N802
        self._dataset(f"{request['ownerSlug']}/{request['datasetSlug']}", request["body"])

    def _dataset(self, name: str, request: dict[str, Any]) -> None:
        tokens = [one["token"] for one in request["files"]]
        assert all(len(self.server.blobs[token]) == self.server.sizes[token] for token in tokens)
        self.server.datasets.setdefault(name, []).append(request)
        if not self._fault("made"):
            self._send(200, {"status": "Ok", "ref": f"/{name}", "url": "http://localhost/d"})

    def _GetKernel(self, request: dict[str, Any]) -> None:  # noqa: N802
        versions = self.server.kernels.get(f"{request['userName']}/{request['kernelSlug']}")
        found = {"metadata": {"currentVersionNumber": len(versions or [])}}
        self._send(200 if versions else 404, found if versions else {"message": "Kernel not found"})

    def _SaveKernel(self, request: dict[str, Any]) -> None:  # noqa: N802
        if any(name not in self.server.datasets for name in request["datasetDataSources"]):
            self._send(200, {"invalidDatasetSources": request["datasetDataSources"]})
            return
        versions = self.server.kernels.setdefault(request["slug"], [])
        versions.append(request)
        if not self._fault("pushed"):
            self._send(200, {"ref": f"/{request['slug']}", "versionNumber": len(versions)})

    def _GetKernelSessionStatus(self, request: dict[str, Any]) -> None:  # noqa: N802
        self._send(200, self._next(self.server.kernel_statuses))

    def _CreateCodeSubmission(self, request: dict[str, Any]) -> None:  # noqa: N802
        versions = self.server.kernels[f"{request['kernelOwner']}/{request['kernelSlug']}"]
        assert 1 <= request["kernelVersion"] <= len(versions)
        ref = 4000 + len(self.server.submissions)
        self.server.submissions.append(
            {
                "ref": ref,
                "fileName": request["fileName"],
                "description": request.get("submissionDescription", ""),
                "date": "2026-01-02T03:04:05.678Z",
                "teamName": "ours",
            }
        )
        if not self._fault("created"):
            self._send(200, {"message": "Successfully submitted", "ref": ref})

    @staticmethod
    def _next(given: list[Any]) -> Any:
        """The next of what a look shows; the last one stays."""
        return given.pop(0) if len(given) > 1 else given[0]

    def _GetLeaderboard(self, request: dict[str, Any]) -> None:  # noqa: N802
        self._send(200, {"submissions": self.server.board})

    def _ListDataFiles(self, request: dict[str, Any]) -> None:  # noqa: N802
        rows = [
            {"name": n, "totalBytes": self.server.sizes.get(n, len(c))} for n, c in self.server.files.items()
        ]
        start = int(request.get("pageToken") or 0)
        more = {"nextPageToken": str(start + 2)} if start + 2 < len(rows) else {}
        self._send(200, {"files": rows[start : start + 2], **more})

    def _DownloadDataFile(self, request: dict[str, Any]) -> None:  # noqa: N802
        name = request["fileName"]
        self._redirect(self.server.served.get(name, (name, b""))[0])

    def _DownloadDataFiles(self, request: dict[str, Any]) -> None:  # noqa: N802
        self._redirect(self.server.bundle[0])

    def _redirect(self, name: str) -> None:
        self._send(302, {}, {"Location": f"http://localhost/files/{name}?signature={SIGNED}"})

    def _fault(self, method: str) -> bool:
        """Whether something went wrong just now, as was asked for."""
        faults = self.server.faults.get(method)
        if not faults:
            return False
        fault = faults.pop(0)
        if fault.kind in ("silent", "late"):
            self.server.reached.set()
            self.server.released.wait(60)
            self.close_connection = True
            return True
        self._send(fault.status, fault.body, fault.headers)
        return True

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _send(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
        content = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        kind = "text/html" if isinstance(body, str) else "application/json"
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        pass


def serve(server: LoopbackKaggle) -> threading.Thread:
    """Serves in a thread until ``shutdown``."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    return thread


def wait_until(condition: Any, seconds: float = 30.0) -> None:
    """Waits for something to become true."""
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends, "it did not happen"
        time.sleep(0.01)
