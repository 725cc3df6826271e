"""What a fold costs more at a Ray cluster than in the process that was asked.

    python benchmarks/ray_folds.py [--folds 10] [--models 3] [--rounds 2] [--epochs 1] [--json]

Digits by so many networks (`test_resnet`, which differ in their batches), all with one thread: here, on a cluster of one node and on one of two nodes of this
machine (a CPU each; raylets on loopback), in turn. `overhead` is the seconds that training took longer than without a cluster, by folds: the start of the workers'
processes, what travels, and the wait are in it; what is measured once for a network and a machine is not. Two nodes on two cores show what dealing costs, not what a second machine gains. Run it on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

MEMORY = 200_000_000  # bytes of a node's object store
MODEL = """
[[model]]
name = "test_resnet"
size = 32
mean = [0.3, 0.3, 0.3]
std = [0.37, 0.37, 0.37]
crop_pct = 1.0
fit = "squash"
batch = {batch}
"""


def recipe(models: int, epochs: int) -> str:
    """So many networks, which differ in their batches."""
    head = f'mode = "scratch"\nprecision = "fp32"\nthreads = 1\nepochs = {epochs}\ntta = ["identity"]\n'
    return head + "".join(MODEL.format(batch=64 + 8 * n) for n in range(models))


@contextmanager
def cluster(nodes: int) -> Iterator[list[str]]:
    """The options of a command for a cluster of so many nodes; none of them: no cluster."""
    if not nodes:
        yield []
        return
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    found = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "object_store_memory": MEMORY})
    try:
        for _ in range(nodes):
            found.add_node(num_cpus=1, object_store_memory=MEMORY)
        yield ["--engine", "ray", "--address", found.address]
    finally:
        found.shutdown()


def one_run(file: Path, folds: int, options: list[str]) -> tuple[float, float, str]:
    """Seconds of the command and of its training, and the SHA-256 of its CSV."""
    with tempfile.TemporaryDirectory() as folder:
        words = [sys.executable, "-m", "comp.cli.main", "run", "digits", "--folds", str(folds), "--json"]
        words += ["--recipe", str(file), "--no-report", "--workspace", folder, *options]
        started = time.monotonic()
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        took = time.monotonic() - started
        if done.returncode:
            raise SystemExit(done.stderr)
        document: dict[str, Any] = json.loads(done.stdout)
        csv = Path(folder) / "runs" / document["run"] / "submission.csv"
        return took, float(document["seconds"]["train"]), hashlib.sha256(csv.read_bytes()).hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, default in (("folds", 10), ("models", 3), ("rounds", 2), ("epochs", 1)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    seconds: dict[int, list[float]] = {0: [], 1: [], 2: []}
    made = set()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "recipe.toml"
        file.write_text(recipe(asked.models, asked.epochs))
        with cluster(1) as options:  # what is measured once, such as a fold's memory, is not counted
            one_run(file, 2, options)
        for _ in range(asked.rounds):
            for nodes, found in seconds.items():
                with cluster(nodes) as options:
                    took, training, digest = one_run(file, asked.folds, options)
                found.append(training)
                made.add(digest)
                print(f"{nodes} nodes: {took:.1f} s, training {training:.1f} s", file=sys.stderr)
    if len(made) != 1:
        raise SystemExit("the runs gave different bytes")
    lot = asked.folds * asked.models
    local = statistics.median(seconds[0])
    rows = {
        f"{nodes} nodes": {
            "training": round(statistics.median(found), 1),
            "overhead_a_fold": round((statistics.median(found) - local) / lot, 3) if nodes else 0.0,
        }
        for nodes, found in seconds.items()
    }
    print(json.dumps(rows, indent=None if asked.json else 1))


if __name__ == "__main__":
    main()
