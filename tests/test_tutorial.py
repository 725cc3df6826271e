"""The commands of the tutorial and of the page on one's own folder, run as they stand, in a fresh folder."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from made import REPOSITORY, clean_environment


def run_page(name: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Runs the sh blocks of a page in one shell, but for those with names that stand for something else."""
    blocks = re.findall(
        r"```sh\n(.*?)```", (REPOSITORY / "docs" / name).read_text(encoding="utf-8"), re.DOTALL
    )
    script = "set -e\ncomp() { " + f'"{sys.executable}"' + ' -m comp.cli.main "$@"; }\n'
    done = subprocess.run(
        ["bash", "-c", script + "\n".join(block for block in blocks if "photos" not in block)],
        cwd=folder,
        capture_output=True,
        text=True,
        env=clean_environment(),
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done


@pytest.mark.slow
def test_every_command_of_the_tutorial_works(tmp_path: Path) -> None:
    done = run_page("tutorial.md", tmp_path)
    assert "leaf-disease: pass" in done.stdout
    assert "Digits, my way" in done.stdout
    assert "id,path,label,answer,p_true,fold" in done.stdout
    submissions = list((tmp_path / "submissions" / "leaf-disease").glob("*.csv"))
    assert len(submissions) == 1
    assert len(submissions[0].read_text().splitlines()) == 11
    [run] = (tmp_path / "runs").glob("*/report.html")
    assert run.parent.name in (tmp_path / "report.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_every_command_of_the_page_on_ones_own_folder_works(tmp_path: Path) -> None:
    run_page("own-folder.md", tmp_path)
    assert (tmp_path / "findings.html").exists()
    assert len(list((tmp_path / "submissions").glob("*/*.csv"))) == 2
    facts = (tmp_path / "competitions" / "my_leaves" / "competition.toml").read_text()
    assert "not sure" in facts
