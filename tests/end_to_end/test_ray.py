"""A Ray cluster of two nodes gives the bytes of this process, whatever of it dies on the way."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from made import clean_environment, write_shapes

pytestmark = pytest.mark.slow
ray_cluster = pytest.importorskip("ray.cluster_utils")

MEMORY = 120_000_000
AT = re.compile(r"fold (\d) at \S+ \((\w+)\), process (\d+)")


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A head without a CPU, to which nodes are added."""
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    found = ray_cluster.Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 0, "object_store_memory": MEMORY, "include_dashboard": False},
    )
    yield found
    found.shutdown()


def node(cluster: Any, **environment: str) -> Any:
    return cluster.add_node(num_cpus=1, object_store_memory=MEMORY, env_vars=environment)


class Command:
    """``comp run``, or another verb, in a process of its own, whose lines can be waited for."""

    def __init__(self, workspace: Path, *words: str, verb: str = "run", **environment: str) -> None:
        command = [
            sys.executable,
            "-m",
            "comp.cli.main",
            verb,
            *words,
            "--workspace",
            str(workspace),
            "--json",
        ]
        self.log = workspace / f"log-{time.monotonic_ns()}.txt"
        with self.log.open("w") as err, self.log.with_suffix(".json").open("w") as out:
            given = {**clean_environment(), "COLUMNS": "200", **environment}
            self.process = subprocess.Popen(command, env=given, stdout=out, stderr=err)

    def until(self, there: Callable[[str], object], seconds: float = 180) -> str:
        """What it has said, once that holds."""
        ends = time.monotonic() + seconds
        while not there(text := self.log.read_text()):
            assert self.process.poll() is None, text
            assert time.monotonic() < ends, text
            time.sleep(0.05)
        return text

    def done(self, seconds: float = 300) -> dict[str, Any]:
        assert self.process.wait(seconds) == 0, self.log.read_text()
        found: dict[str, Any] = json.loads(self.log.with_suffix(".json").read_text())
        return found


def digits(*more: str) -> list[str]:
    return ["digits", "--folds", "3", "--set", "epochs=3", "--set", "threads=1", *more]


def has_begun_the_third(text: str) -> bool:
    """Whether the third fold to be sent out has ended its first epoch, and has more to do."""
    sent = AT.findall(text)
    if len(sent) < 3:
        return False
    since = text[text.rindex(f"process {sent[-1][2]}") :]
    return f"fold {sent[-1][0]}  epoch 1/3" in since


def on(cluster: Any) -> list[str]:
    return ["--engine", "ray", "--address", cluster.address]


def made(workspace: Path, document: dict[str, Any]) -> dict[str, bytes]:
    """The bytes of a run: its CSV, and every fold's weights and OOF rows."""
    run = workspace / "runs" / document["run"]
    files = [
        run / "submission.csv",
        *sorted(run.glob("fold-*/model.safetensors")),
        *sorted(run.glob("fold-*/oof.npz")),
    ]
    return {path.relative_to(run).as_posix(): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    workspace = tmp_path_factory.mktemp("local")
    return made(workspace, Command(workspace, *digits()).done())


def test_two_nodes_give_the_bytes_of_one_process(
    tmp_path: Path, cluster: Any, local: dict[str, bytes]
) -> None:
    node(cluster), node(cluster)
    document = Command(tmp_path, *digits(*on(cluster))).done()
    assert len(local) == 7
    assert made(tmp_path, document) == local
    assert document["engine"] == "ray"
    run = tmp_path / "runs" / document["run"]
    assert json.loads((run / "record.json").read_text())["engine"] == "ray"
    results = [json.loads((run / f"fold-{k}" / "result.json").read_text()) for k in range(3)]
    assert len({one["node"] for one in results}) == 2
    assert all(one["pid"] > 0 for one in results)


def test_a_killed_worker_and_a_killed_node_cost_no_byte(
    tmp_path: Path, cluster: Any, local: dict[str, bytes]
) -> None:
    nodes = [node(cluster), node(cluster)]
    command = Command(tmp_path, *digits(*on(cluster)))
    text = command.until(lambda text: "epoch 1/3" in text)
    os.kill(int(AT.findall(text)[0][2]), signal.SIGKILL)
    command.until(lambda text: "is gone" in text)
    text = command.until(has_begun_the_third)
    last = AT.findall(text)[-1][1]
    (victim,) = [one for one in nodes if one.node_id.startswith(last)]
    cluster.remove_node(victim, allow_graceful=False)
    document = command.done()
    text = command.log.read_text()
    assert text.count("is gone") >= 2, text
    assert made(tmp_path, document) == local


def test_a_killed_driver_trains_only_what_is_missing(
    tmp_path: Path, cluster: Any, local: dict[str, bytes]
) -> None:
    node(cluster)
    command = Command(tmp_path, *digits(*on(cluster)))
    command.until(lambda text: "held-out rows" in text and text.count("epoch 1/3") >= 2)
    command.process.kill()
    command.process.wait()
    (run,) = (tmp_path / "runs").iterdir()
    finished = {p.parent.name: p.stat().st_mtime_ns for p in run.glob("fold-*/result.json")}
    assert 1 <= len(finished) < 3
    document = Command(tmp_path, "digits", "--resume", run.name, *on(cluster)).done()
    assert made(tmp_path, document) == local
    again = {p.parent.name: p.stat().st_mtime_ns for p in run.glob("fold-*/result.json")}
    assert {name: again[name] for name in finished} == finished


def test_a_machine_without_the_images_gets_them_once(tmp_path: Path, cluster: Any) -> None:
    """Each node has a cache of its own. Two folds train on one, two on the other, unless the first is so fast that Ray gives
    it all four.
    """
    alone, shared = tmp_path / "alone", tmp_path / "shared"
    for workspace in (alone, shared):
        write_shapes(workspace)
    words = ["shapes", "--folds", "4", "--set", "threads=1", "--set", "epochs=2"]
    expected = made(alone, Command(alone, *words, COMP_CACHE=str(tmp_path / "cache")).done())
    caches = {
        node(cluster, COMP_CACHE=str(tmp_path / name)).node_id: tmp_path / name for name in ("one", "two")
    }
    command = Command(shared, *words, *on(cluster), COMP_CACHE=str(tmp_path / "cache"))
    assert made(shared, command.done()) == expected
    (store,) = (tmp_path / "cache" / "pixels").iterdir()
    size = sum(file.stat().st_size for file in store.iterdir())
    text = command.log.read_text()
    came = re.findall(r"\((\w+)\) got ([\d,]+) bytes", text)
    trained = {name for _, name, _ in AT.findall(text)}
    assert sorted(int(bytes_.replace(",", "")) for _, bytes_ in came) == [size] * len(came)
    assert sorted(name for name, _ in came) == sorted(trained), "once for each node that trained"
    for cache in (cache for node_id, cache in caches.items() if node_id[: len(came[0][0])] in trained):
        assert (cache / "pixels" / store.name / "pixels.u8").read_bytes() == (
            store / "pixels.u8"
        ).read_bytes()


SPACE = '[search]\n"optimizer.lr" = { low = 1e-5, high = 1e-1, log = true }\n'


def test_a_study_on_a_cluster_tries_and_finds_the_same(tmp_path: Path, cluster: Any) -> None:
    node(cluster), node(cluster)
    (tmp_path / "space.toml").write_text(SPACE)
    words = ["shapes", "--folds", "2", "--trials", "2", "--search", str(tmp_path / "space.toml")]
    words += ["--set", "threads=1", "--set", "epochs=2"]
    found = []
    for name, more in (("here", []), ("there", on(cluster))):
        workspace = tmp_path / name
        write_shapes(workspace)
        command = Command(workspace, *words, *more, verb="tune")
        document = command.done()
        study = workspace / "tune" / "shapes" / "default"
        oof = {path.name: path.read_bytes() for path in (study / "oof").iterdir()}
        told = [document[key] for key in ("states", "baseline", "gain")] + [document["best"]["values"]]
        found.append((oof, told, [document["best"][key] for key in ("score", "nested", "trial")]))
        assert not list(study.glob("work-*"))
    assert found[0] == found[1]
    assert len(found[0][0]) == 2


def test_a_preset_on_a_cluster_blends_the_same(tmp_path: Path, cluster: Any) -> None:
    node(cluster)
    found = []
    for name, more in (("here", []), ("there", on(cluster))):
        workspace = tmp_path / name
        write_shapes(workspace)
        words = ["shapes", "--preset", "fast", "--folds", "2", "--set", "threads=1", *more]
        document = Command(workspace, *words).done()
        runs = [workspace / "runs" / one["run"] for one in document["preset"]["candidates"] if one["run"]]
        engines = {json.loads((run / "record.json").read_text())["engine"] for run in runs}
        assert engines == {"ray" if more else "local"}
        found.append([*(made(workspace, {"run": run.name}) for run in runs), made(workspace, document)])
    assert found[0] == found[1]
    assert len(found[0]) >= 2


def test_a_cluster_that_is_not_there_and_one_too_small_are_refused(tmp_path: Path, cluster: Any) -> None:
    cluster.add_node(num_cpus=1, object_store_memory=MEMORY, memory=150_000_000)
    for words, said in (
        (["--engine", "ray", "--address", "127.0.0.1:1"], "needs a cluster that answers"),
        (
            [*on(cluster), "--cpus-per-fold", "1"],
            "GB of memory; of 2 machines the largest have 1 CPUs, 0 GPUs, 0.15 GB of memory",
        ),
        ([*on(cluster), "--cpus-per-fold", "64"], "has what a fold asks for"),
        (["--address", cluster.address], "only a cluster deals folds"),
        (["--engine", "spark"], "unknown engine"),
    ):
        command = Command(tmp_path, "digits", "--quick", *words)
        assert command.process.wait(180) == 2, command.log.read_text()
        assert said in command.log.read_text()
