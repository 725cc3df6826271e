"""The wheel carries the built-in competitions inside the package, and works far from the repository."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from made import REPOSITORY


@pytest.mark.slow
def test_a_wheel_outside_the_repository_has_its_competitions(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path / "dist")]
    subprocess.run(build, cwd=REPOSITORY, check=True, capture_output=True)
    (wheel,) = (tmp_path / "dist").glob("imgcomp-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        archive.extractall(tmp_path / "site")
    assert not [name for name in names if name.startswith("competitions/")]
    templates = {
        path.relative_to(REPOSITORY).as_posix() for path in REPOSITORY.glob("comp/report/templates/*")
    }
    assert len(templates) > 5
    assert templates <= set(names)
    assert {name.split("/")[2] for name in names if name.startswith("comp/builtin/")} >= {
        "digits",
        "art_classification",
        "apple_varieties",
        "caltech_256",
        "cifar_100",
    }
    program = "import sys; sys.path.insert(0, sys.argv.pop(1)); from comp.cli.main import main; main()"
    listed = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "site"), "list", "--json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert len(json.loads(listed.stdout)) == 5
    shown = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "site"), "show", "digits", "--json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert Path(json.loads(shown.stdout)["folder"]).is_relative_to(tmp_path / "site")
