"""A machine like Kaggle's for a rehearsal: a fresh environment without comp, with the libraries of this one as its image; no
way to other machines, and no GPU.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from comp.errors import InputError

# Into the machine's Python: whatever asks for another machine is written down and refused.
GUARD = """\
import os, sys

def refuse_network(event, arguments):
    if event in ("socket.connect", "socket.sendto"):
        address = arguments[1]
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        address = arguments[:1]
    else:
        return
    if isinstance(address, tuple) and address[0] not in ("127.0.0.1", "::1", "localhost", "", None):
        with open(os.environ["NETWORK_LOG"], "a") as log:
            log.write(f"{event} {address[0]}\\n")
        raise OSError(f"no network here: {event} {address[0]}")

sys.addaudithook(refuse_network)
"""

# The code cells of a notebook one after another, in one namespace, as Jupyter runs them.
RUNNER = """\
import json, sys

sys.argv, book = ["notebook"], sys.argv[1]
names = {"__name__": "__main__"}
for number, cell in enumerate(json.load(open(book, encoding="utf-8"))["cells"]):
    if cell["cell_type"] == "code":
        exec(compile("".join(cell["source"]), f"cell {number}", "exec"), names)
"""
_OURS = ("COMP_", "PYTHON", "PIP_", "JUPYTER", "HF_", "KAGGLE_")
LOOK = 0.2  # seconds between looks at the disk


@dataclass(frozen=True)
class Ran:
    """What a process came to: its exit status, what it said, seconds, the most memory and the most of the disk, in bytes, and
    what it asked of the network.
    """

    code: int
    text: str
    seconds: float
    memory: int
    disk: int
    asked: tuple[str, ...]


class Machine:
    """The machine, in a folder: ``home`` is where it may write."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "home"

    @classmethod
    def make(cls, folder: Path) -> Machine:
        """Makes the environment; nothing is downloaded.

        Raises
        ------
        InputError
            Where this Python cannot make one.
        """
        found = cls(folder)
        command = [sys.executable, "-m", "venv", "--without-pip", str(folder / "venv")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            value = (done.stderr or done.stdout).strip().splitlines()[-1:] or ["it does not say why"]
            raise InputError("a rehearsal needs a fresh environment", value[0], "install Python's venv")
        found.home.mkdir(exist_ok=True)
        (packages,) = (folder / "venv").glob("lib/python*/site-packages")
        image = [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]
        (packages / "image.pth").write_text("\n".join(image) + "\n", encoding="utf-8")
        (packages / "sitecustomize.py").write_text(GUARD, encoding="utf-8")
        return found

    def command(self, book: Path) -> list[str]:
        """What runs a notebook there."""
        return [str(self.folder / "venv" / "bin" / "python"), "-c", RUNNER, str(book)]

    def environment(self, inputs: Path) -> dict[str, str]:
        """The environment of a process there: nothing of ours, no GPU."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
        return kept | {
            "HOME": str(self.home),
            "TMPDIR": str(self.home),
            "NETWORK_LOG": str(self.folder / "network.log"),
            "PIP_NO_CACHE_DIR": "1",
            "CUDA_VISIBLE_DEVICES": "",
            "COMP_KERNEL_INPUT": str(inputs),
        }

    def run(
        self, book: Path, inputs: Path, output: Path, told: Callable[[str], None] = lambda line: None
    ) -> Ran:
        """Runs a notebook in ``output``; ``told`` hears of its last line, now and then."""
        output.mkdir(exist_ok=True)
        log = self.folder / "notebook.log"
        started = time.monotonic()
        with log.open("wb") as out, _Disk(self.home) as disk:
            process = subprocess.Popen(
                self.command(book), cwd=output, env=self.environment(inputs), stdout=out, stderr=out
            )
            memory = _waited(process, log, told)
        asked = self.folder / "network.log"
        return Ran(
            int(process.returncode or 0),
            log.read_text(encoding="utf-8", errors="replace"),
            time.monotonic() - started,
            memory,
            disk.most,
            tuple(asked.read_text().splitlines()) if asked.exists() else (),
        )


def _waited(process: subprocess.Popen[bytes], log: Path, told: Callable[[str], None]) -> int:
    """Waits for a process; the most memory that it or a child of it had, in bytes."""
    try:
        while True:
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            if pid:
                process.returncode = os.waitstatus_to_exitcode(status)
                return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
            lines = log.read_bytes()[-400:].decode("utf-8", "replace").splitlines()
            told(lines[-1].strip()[:80] if lines else "starting")
            time.sleep(LOOK)
    except BaseException:
        process.kill()
        process.wait()
        raise


class _Disk:
    """Looks at what a folder takes while something runs."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self.most = 0

    def _look(self) -> None:
        while not self._over.wait(LOOK):
            self.most = max(self.most, _size(self._folder))

    def __enter__(self) -> _Disk:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()
        self.most = max(self.most, _size(self._folder))


def _size(folder: Path) -> int:
    """What the files below a folder take on the disk, links not counted."""
    found = 0
    for place, _, files in os.walk(folder):
        for name in files:
            try:
                facts = os.lstat(os.path.join(place, name))
            except OSError:  # gone meanwhile
                continue
            found += getattr(facts, "st_blocks", facts.st_size // 512) * 512
    return found
