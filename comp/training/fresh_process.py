"""Work in a process that begins anew, with an environment of its own: what a GPU's driver reads once, or memory that is to be measured."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from multiprocessing.connection import Connection

from comp.training.child_process import Child, tell, watch_parent


class Fresh(Child):
    """A process that calls ``work``, a pickled function without arguments, in this environment with ``more`` over it.

    It sees the modules that this one sees. What it prints is heard as lines of the log; Ctrl-C is this process's, which has to kill it.
    """

    def __init__(self, work: bytes, k: int = 0, more: Mapping[str, str] | None = None) -> None:
        ours, theirs = multiprocessing.Pipe()
        super().__init__(k, ours)
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p or os.getcwd() for p in sys.path)}
        environment.pop("PYTHONWARNINGS", None)  # what a package warns of itself is no reason to stop
        command = [sys.executable, "-P", "-m", "comp.training.fresh_process"]
        try:
            self._process = subprocess.Popen(
                [*command, str(theirs.fileno()), str(os.getpid())],
                stdin=subprocess.DEVNULL,
                stdout=2,  # standard output belongs to the answer of the command
                env={**environment, **(more or {})},
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
        # it reads once it has its imports, seconds from now
        threading.Thread(target=_send, args=(ours, work), daemon=True).start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def kill(self) -> None:
        self._process.kill()

    def _ended_with(self, seconds: float) -> int:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        self._process.kill()
        return self._process.wait()


def _send(pipe: Connection, work: bytes) -> None:
    with suppress(OSError):  # it ended before it read all: its end says so
        pipe.send_bytes(work)


def main() -> None:
    """In the new process."""
    pipe, parent = Connection(int(sys.argv[1])), int(sys.argv[2])
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    watch_parent(parent)

    def prepared() -> Callable[[], object]:
        work: Callable[[], object] = pickle.loads(pipe.recv_bytes())
        return work

    tell(pipe, prepared)


if __name__ == "__main__":
    main()
