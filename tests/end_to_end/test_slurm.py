"""The scripts of docs/cluster.md, as plain processes: a fold each, at once, then a merge."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from made import clean_environment

pytestmark = pytest.mark.slow
PAGE = Path(__file__).parents[2] / "docs" / "cluster.md"
SCRIPT = re.compile(r'```sh title="(\w+\.sh)"\n(.*?)```', re.DOTALL)


def test_an_array_of_folds_and_a_merge_give_the_run_of_one_process(tmp_path: Path) -> None:
    scripts = dict(SCRIPT.findall(PAGE.read_text()))
    assert set(scripts) == {"folds.sh", "merge.sh"}
    (tmp_path / "bin").mkdir()
    for name, interpreter in (
        ("comp", f'exec {sys.executable} -m comp.cli.main "$@"'),
        ("python", f'exec {sys.executable} "$@"'),
    ):
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{interpreter}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    for name, text in scripts.items():
        (tmp_path / name).write_text(text)
    folder = tmp_path / "competitions" / "digits"
    folder.mkdir(parents=True)
    environment = {
        **clean_environment(),
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
        "OMP_NUM_THREADS": "1",
    }
    (folder / "competition.toml").write_text('extends = "digits"\n')
    own = (PAGE.parents[1] / "competitions" / "digits" / "baseline.toml").read_text()
    (folder / "baseline.toml").write_text(own.replace("epochs = 7", "epochs = 1\nthreads = 1"))

    def start(*words: str, **more: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            words,
            cwd=tmp_path,
            env={**environment, **more},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def end(process: subprocess.Popen[str]) -> str:
        out, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
        return out

    for pair in ((0, 1), (2, 3), (4,)):
        tasks = [start("sh", "folds.sh", "digits", SLURM_ARRAY_TASK_ID=str(k)) for k in pair]
        for task in tasks:
            end(task)
    end(start("sh", "merge.sh"))
    alone = json.loads(end(start("comp", "run", "digits", "--folds", "5", "--json")))
    runs = [json.loads(path.read_text()) for path in (tmp_path / "runs").glob("*/record.json")]
    (merged,) = [one for one in runs if one.get("run") != alone["run"]]
    assert merged["oof"] == alone["oof"]
    csv = [(tmp_path / "runs" / run / "submission.csv").read_bytes() for run in (merged["run"], alone["run"])]
    assert csv[0] == csv[1]
