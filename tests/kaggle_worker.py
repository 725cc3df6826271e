"""``comp`` commands in processes of their own, forked from one that has the imports, so that many of them are quick."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

from made import Outcome, clean_environment


class Worker:
    """A process that forks a new one for each command; it has imported Kaggle's client, and asked it nothing."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**clean_environment(), "PYTHONPATH": os.pathsep.join(sys.path)},
        )

    def start(self, arguments: list[str], folder: Path, environment: dict[str, str]) -> int:
        """Starts a command with ``folder`` as its current one; its process id."""
        return int(self._ask({"arguments": arguments, "folder": str(folder), "environment": environment}))

    def end(self, pid: int, folder: Path) -> Outcome:
        """Waits for a command of that folder; a killed one has the negative signal as its code."""
        code = int(self._ask({"pid": pid}))
        out, err = ((folder / f"{pid}.{name}").read_text() for name in ("out", "err"))
        return Outcome(code, out, err)

    def _ask(self, request: dict[str, Any]) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


@cache
def worker() -> Worker:
    """The one worker; it ends with this process, when its input does."""
    return Worker()


def _command(arguments: list[str], folder: str, environment: dict[str, str]) -> None:
    """A command in a process of its own, from start to exit."""
    from comp.cli.main import main

    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for name, place in (("out", 1), ("err", 2)):
        os.dup2(os.open(f"{os.getpid()}.{name}", os.O_WRONLY | os.O_CREAT, 0o600), place)
    code = 3
    try:
        main(arguments)
    except SystemExit as stop:
        code = int(stop.code or 0)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _serve() -> None:
    import kagglesdk.competitions.types.competition_api_service  # noqa: F401
    import pandas  # noqa: F401
    import requests  # noqa: F401

    import comp.cli.main
    import comp.cli.show_submissions  # noqa: F401

    for line in sys.stdin:
        request = json.loads(line)
        if "pid" in request:
            status = os.waitpid(request["pid"], 0)[1]
            print(os.waitstatus_to_exitcode(status), flush=True)
            continue
        pid = os.fork()
        if not pid:
            _command(**request)
        print(pid, flush=True)


if __name__ == "__main__":
    _serve()
