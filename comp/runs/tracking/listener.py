"""The side of the run: events go into a queue with a limit, and from there to the process of a tracker."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path

from comp import events
from comp.errors import InputError, UnknownName
from comp.files import make_folder
from comp.workspace import shown

FOLDER = "tracking"  # of the workspace
LIMIT = 10_000  # events that wait for a tracker; what comes when it is full is dropped, and counted
WAIT_SECONDS = 0.8  # at the end of a run, for the tracker to be done


@dataclass(frozen=True)
class Tool:
    """A tracker: where its class is, the modules that it needs, the extra that brings them, and where in ``tracking/``
    it writes.
    """

    target: str
    needs: tuple[str, ...]
    extra: str
    place: str


TRACKERS = {
    "mlflow": Tool(
        "comp.runs.tracking.to_mlflow:MlflowTracker",
        ("mlflow", "sqlalchemy", "alembic", "pandas"),
        "track",
        "mlflow.db",
    ),
    "tensorboard": Tool(
        "comp.runs.tracking.to_tensorboard:TensorboardTracker", ("tensorboard",), "track", "tensorboard"
    ),
    "wandb": Tool("comp.runs.tracking.to_wandb:WandbTracker", ("wandb",), "wandb", "wandb"),
}


def trackers(names: Sequence[str], root: Path) -> list[events.RunListener]:
    """A listener for each tracker named, which writes below ``tracking/`` of the workspace ``root``.

    Raises
    ------
    UnknownName, InputError
        For a name that is no tracker's, one whose package is not installed, and a workspace that cannot be written to.
    """
    names = [names] if isinstance(names, str) else list(dict.fromkeys(names))
    for name in names:
        if name not in TRACKERS:
            raise UnknownName("tracker", str(name), TRACKERS)
        missing = [module for module in TRACKERS[name].needs if find_spec(module) is None]
        if missing:
            value = f"{name} needs {', '.join(missing)}"
            raise InputError(
                "a tracker must be installed", value, f'pip install "imgcomp[{TRACKERS[name].extra}]"'
            )
    if names:
        make_folder(root / FOLDER / "logs")
    return [TrackerProcess(name, TRACKERS[name], root) for name in names]


class TrackerProcess(events.RunListener):
    """Sends what happens in a run to a tracker that works in a process of its own.

    Nothing that the tracker does, or fails to do, reaches the run: a thread that dies with the process writes to its
    pipe, and the run waits at its end at most ``WAIT_SECONDS``. A process that is alive then goes on by itself.
    """

    def __init__(self, name: str, tool: Tool, root: Path) -> None:
        self._name, self._tool, self._root = name, tool, root
        self._queue: queue.Queue[bytes | None] = queue.Queue(LIMIT)
        self._over = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._dropped, self._said, self._log = 0, False, root

    def on_run_start(self, event: events.RunStarted) -> None:
        self._log = self._root / FOLDER / "logs" / f"{event.run}-{self._name}.log"
        module = "comp.runs.tracking.process"
        command = [sys.executable, "-P", "-m", module, self._tool.target, self._name, str(self._root)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p or os.getcwd() for p in sys.path)}
        environment.pop("PYTHONWARNINGS", None)  # what a package warns of itself is no reason to stop
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                bufsize=0,
                env=environment,
                start_new_session=True,  # Ctrl-C ends the run, and the tracker is told so
            )
        threading.Thread(target=self._send, name=f"track-{self._name}", daemon=True).start()
        self._put(event)

    def on_fold_start(self, event: events.FoldStarted) -> None:
        self._put(event)

    def on_epoch(self, event: events.EpochEnded) -> None:
        self._put(event)

    def on_fold_end(self, event: events.FoldEnded) -> None:
        self._put(event)

    def on_run_end(self, event: events.RunEnded) -> None:
        if self._process is None:
            return
        self._put(event)
        while True:
            try:
                self._queue.put_nowait(None)
                break
            except queue.Full:  # it takes no more anyway
                self._dropped += self._take_one()
        is_over = self._over.wait(WAIT_SECONDS)
        self._say_end(is_over)

    def _put(self, event: events.Event) -> None:
        if self._over.is_set():
            self._say_failure()
            return
        line = json.dumps({"kind": type(event).__name__, **asdict(event)}).encode() + b"\n"
        try:
            self._queue.put_nowait(line)
        except queue.Full:
            self._dropped += 1

    def _take_one(self) -> int:
        try:
            self._queue.get_nowait()
        except queue.Empty:
            return 0
        return 1

    def _send(self) -> None:
        """Writes the queue to the process and waits for its end: in a thread, which may wait for ever."""
        process = self._process
        assert process is not None
        assert process.stdin is not None
        try:
            while (line := self._queue.get()) is not None:
                rest = memoryview(line)
                while rest:
                    rest = rest[process.stdin.write(rest) or 0 :]
        except OSError:  # it ended before the run did
            pass
        finally:
            process.stdin.close()
            process.wait()
            self._over.set()

    def _say_end(self, is_over: bool) -> None:
        assert self._process is not None
        if is_over and self._process.returncode:
            self._say_failure()
        elif is_over:
            events.log(f"  {self._name}: {shown(self._root / FOLDER / self._tool.place)}")
        else:
            waiting = f"process {self._process.pid}, {shown(self._log)}"
            events.log(f"  {self._name} is not done with this run yet: it goes on by itself ({waiting})")
        if self._dropped:
            events.log(f"  warning: {self._name} was too slow: {self._dropped} events were not sent to it")

    def _say_failure(self) -> None:
        if self._said:
            return
        self._said = True
        try:
            lines = self._log.read_text(encoding="utf-8", errors="replace").split("\n")
        except OSError:
            lines = []
        reason = next((line.strip() for line in reversed(lines) if line.strip()), "no reason is known")
        events.log(
            f"  warning: {self._name} failed, the run goes on without it: {reason[:200]} ({shown(self._log)})"
        )
