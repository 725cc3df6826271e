"""The tutorial's commands, run as they stand, in a fresh folder."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from made import REPOSITORY, clean_environment


@pytest.mark.slow
def test_every_command_of_the_tutorial_works(tmp_path: Path) -> None:
    text = (REPOSITORY / "docs" / "tutorial.md").read_text()
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == 5
    script = "set -e\ncomp() { " + f'"{sys.executable}"' + ' -m comp.cli.main "$@"; }\n' + "\n".join(blocks)
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=clean_environment(),
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "leaf-disease: pass" in done.stdout
    assert "Digits, my way" in done.stdout
    submissions = list((tmp_path / "submissions" / "leaf-disease").glob("*.csv"))
    assert len(submissions) == 1
    assert len(submissions[0].read_text().splitlines()) == 11
