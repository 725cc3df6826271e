"""Several processes on one study, in SQLite and in PostgreSQL: no trial lost or doubled, and a killed one tried once more."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from made import clean_environment, write_shapes

pytestmark = pytest.mark.slow

# signs of life every second instead of every ten: the test need not wait a minute for the dead
WORKER = """
import sys
from comp.pipelines.tuning import storage
storage.HEARTBEAT, storage.GRACE = 1, 6
from comp.cli.main import main
main(sys.argv[1:])
"""
SPACE = '[search]\n"optimizer.lr" = { low = 1e-4, high = 1e-2, log = true }\n'


class Workers:
    """Processes that work at one study of ``shapes``."""

    def __init__(self, workspace: Path, url: str | None, trials: int, epochs: int = 12) -> None:
        write_shapes(workspace)
        (workspace / "space.toml").write_text(SPACE, encoding="utf-8")
        self.workspace, self.started = workspace, []  # type: Path, list[subprocess.Popen[str]]
        self.command = [sys.executable, "-c", WORKER, "tune", "shapes", "--folds", "2", "--json"]
        self.command += ["--trials", str(trials), "--set", f"epochs={epochs}", "--search", "space.toml"]
        self.command += ["--storage", url] if url else []
        self.url = url or f"sqlite:///{workspace / 'tune' / 'shapes' / 'default' / 'study.db'}"
        self.url = self.url.replace("postgresql://", "postgresql+psycopg://")
        self.name, self.is_file = "shapes/default" if url else "default", url is None

    def start(self) -> subprocess.Popen[str]:
        environment = {**clean_environment(), "OMP_NUM_THREADS": "1"}
        process = subprocess.Popen(
            self.command,
            cwd=self.workspace,
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.started.append(process)
        return process

    def end(self, process: subprocess.Popen[str]) -> tuple[Any, str]:
        """The document of a process and what it said."""
        out, err = process.communicate(timeout=400)
        assert process.returncode == 0, err
        return json.loads(out), err

    def trials(self) -> list[Any]:
        """The trials in the database; none while there is no study."""
        import optuna
        from optuna.exceptions import OptunaError
        from sqlalchemy.exc import SQLAlchemyError

        if self.is_file and not Path(self.url.removeprefix("sqlite:///")).exists():
            return []
        not_yet = (
            OptunaError,
            SQLAlchemyError,
            AssertionError,
            KeyError,
            RuntimeError,
        )  # tables, or the study
        try:
            storage = optuna.storages.RDBStorage(self.url, skip_table_creation=True)
        except not_yet:
            return []
        try:
            return optuna.load_study(study_name=self.name, storage=storage).get_trials()
        except not_yet:
            return []
        finally:
            storage.remove_session()
            storage.engine.dispose()

    def kill_in_a_trial(self, process: subprocess.Popen[str]) -> int:
        """Kills a process for good while it is at a trial; the number of that trial."""
        mine: list[int] = []
        while not mine:
            assert process.poll() is None, "it ended before it could be killed"
            time.sleep(0.2)
            os.kill(process.pid, signal.SIGSTOP)  # so that the trial does not end while we look
            mine = [
                t.number
                for t in self.trials()
                if t.state.name == "RUNNING" and t.user_attrs.get("worker", "").endswith(f":{process.pid}")
            ]
            os.kill(process.pid, signal.SIGKILL if mine else signal.SIGCONT)
        process.communicate()
        return mine[0]

    def wait_for(self, what: Callable[[list[Any]], bool], seconds: float = 120) -> None:
        end = time.monotonic() + seconds
        while not what(self.trials()):
            assert time.monotonic() < end, [one.state.name for one in self.trials()]
            time.sleep(0.2)


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A PostgreSQL of this test alone, on a free port of this machine; its URL."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found and not os.environ.get("CI"):
        pytest.skip("no PostgreSQL here: apt-get install postgresql")
    assert found, "CI installs PostgreSQL (.ci/run)"
    binaries, place = found[-1].parent, Path("/tmp") / f"comp-postgres-{os.getpid()}"
    place.mkdir(mode=0o755)
    user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []  # it does not start as root
    if user:
        shutil.chown(place, "postgres", "postgres")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    cluster, log = place / "cluster", place / "log"
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={place} -c fsync=off"

    def run(*command: object) -> None:
        subprocess.run([*user, *map(str, command)], cwd=place, check=True, capture_output=True, timeout=120)

    run(binaries / "initdb", "-D", cluster, "-A", "trust", "-U", "comp", "-E", "UTF8")
    try:
        run(binaries / "pg_ctl", "-D", cluster, "-l", log, "-w", "-o", options, "start")
        yield f"postgresql://comp@127.0.0.1:{port}/postgres"
    finally:
        subprocess.run(
            [*user, str(binaries / "pg_ctl"), "-D", str(cluster), "-m", "immediate", "stop"],
            cwd=place,
            check=False,
            capture_output=True,
        )
        shutil.rmtree(place, ignore_errors=True)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> str | None:
    return None if request.param == "sqlite" else request.getfixturevalue("postgres")


@pytest.fixture
def workers(
    workspace: Path, url: str | None, request: pytest.FixtureRequest
) -> Iterator[Callable[..., Workers]]:
    made: list[Workers] = []

    def make(trials: int, **more: Any) -> Workers:
        made.append(Workers(workspace, url, trials, **more))
        if url:  # a study of its own in the one database
            study = request.node.name.replace("[", "-").replace("]", "")[:60]
            made[-1].command += ["--study", study]
            made[-1].name = f"shapes/{study}"
        return made[-1]

    yield make
    for one in made:
        for process in one.started:
            if process.poll() is None:
                process.kill()
                process.wait()
            for stream in (process.stdout, process.stderr):
                if stream is not None:
                    stream.close()


def told_trials(*said: str) -> Counter[int]:
    """How often each trial was told to have ended, in what all processes said."""
    lines = [line for text in said for line in text.splitlines() if line.startswith("  trial ")]
    return Counter(int(line.split()[1].rstrip(":")) for line in lines)


def test_two_processes_lose_no_trial_and_double_none(workers: Callable[..., Workers]) -> None:
    both = workers(10, epochs=2)
    (one, first), (other, second) = map(both.end, [both.start(), both.start()])
    assert told_trials(first, second) == Counter(range(10))
    assert told_trials(first)
    assert told_trials(second)
    assert one["trials"] == other["trials"] == 10
    assert one["best"] == other["best"]
    assert one["best"]["nested"] is not None
    counted = [t for t in both.trials() if not t.user_attrs.get("surplus")]
    assert len(counted) == 10
    assert {t.state.name for t in counted} <= {"COMPLETE", "PRUNED"}


def test_a_killed_processs_trial_is_tried_once_more_by_the_other(workers: Callable[..., Workers]) -> None:
    both = workers(6, epochs=30)
    doomed, other = both.start(), both.start()
    running = both.kill_in_a_trial(doomed)
    document, said = both.end(other)
    assert document["trials"] == 6
    assert set(document["states"]) == {"complete", "pruned"}
    trials = both.trials()
    dead = [t for t in trials if t.state.name == "FAIL" and not t.user_attrs.get("surplus")]
    assert [t.number for t in dead] == [running]
    again = [t for t in trials if t.user_attrs.get("slot") is not None]
    assert len(again) == 1
    assert again[0].params.items() >= dead[0].params.items()
    assert again[0].user_attrs["deaths"] == 1
    assert all(count == 1 for count in told_trials(said).values())


def test_one_process_goes_on_after_kill_9(workers: Callable[..., Workers]) -> None:
    alone = workers(4, epochs=20)
    doomed = alone.start()
    alone.wait_for(lambda trials: any(t.state.name == "COMPLETE" for t in trials))
    alone.kill_in_a_trial(doomed)
    document, said = alone.end(alone.start())
    assert document["trials"] == 4
    assert "goes on after" in said
    assert document["states"]["complete"] + document["states"]["pruned"] == 4
