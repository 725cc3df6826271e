"""Wheels that are made without a build tool or a network: pip takes them, and they hold what is installed."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

import comp
from comp.errors import InputError
from comp.kaggle.kernel.wheels import fetch_wheels, installed_wheel, is_left_over, own_wheel
from made import REPOSITORY, clean_environment


def install(wheel: Path, folder: Path) -> None:
    """pip, offline, into a folder: it checks the record of a wheel against its files."""
    how = ["--no-index", "--no-deps", "--quiet", "--disable-pip-version-check", "--target", str(folder)]
    subprocess.run([sys.executable, "-m", "pip", "install", *how, str(wheel)], check=True)


def test_the_own_wheel_is_comp_with_its_competitions(tmp_path: Path) -> None:
    wheel = own_wheel(tmp_path)
    assert wheel.name == f"imgcomp-{comp.__version__}-py3-none-any.whl"
    install(wheel, tmp_path / "site")
    program = (
        "import sys, comp, comp.data.competitions.competition as r; from comp.workspace import Workspace\n"
    )
    program += "print(comp.__file__, *r.sound_competitions(Workspace.find()))"
    environment = {k: v for k, v in clean_environment().items() if k != "PYTHONPATH"}
    told = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=environment | {"PYTHONPATH": str(tmp_path / "site")},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert told[0] == str(tmp_path / "site" / "comp" / "__init__.py")
    assert {"digits", "art-classification", "cifar-100"} <= set(told[1:])
    here = {path.relative_to(REPOSITORY).as_posix() for path in (REPOSITORY / "comp").rglob("*.py")}
    with zipfile.ZipFile(wheel) as archive:
        assert here <= set(archive.namelist())
        assert not [name for name in archive.namelist() if "__pycache__" in name]


def test_equal_contents_give_equal_bytes(tmp_path: Path) -> None:
    (tmp_path / "again").mkdir()
    assert own_wheel(tmp_path).read_bytes() == own_wheel(tmp_path / "again").read_bytes()


def test_an_installed_distribution_becomes_the_wheel_it_came_from(tmp_path: Path) -> None:
    wheel = installed_wheel("tomli-w", tmp_path)
    assert wheel is not None
    assert wheel.name == f"tomli_w-{metadata.version('tomli-w')}-py3-none-any.whl"
    install(wheel, tmp_path / "site")
    import tomli_w

    (there,) = (tmp_path / "site").glob("tomli_w/_writer.py")
    assert there.read_bytes() == Path(tomli_w.__file__).with_name("_writer.py").read_bytes()


def test_a_compiled_distribution_is_left_to_the_image(tmp_path: Path) -> None:
    assert installed_wheel("numpy", tmp_path) is None
    assert list(tmp_path.iterdir()) == []


def test_what_is_not_installed_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="what is installed") as refused:
        installed_wheel("no-such-thing", tmp_path)
    assert "wheels=['no-such-thing']" in refused.value.remedy


def test_wheels_come_from_disk_or_by_pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf, first, second = (tmp_path / name for name in ("shelf", "first", "second"))
    for folder in (shelf, first, second):
        folder.mkdir()
    wheel = installed_wheel("tomli-w", shelf)
    assert wheel is not None
    (copied,) = fetch_wheels([str(wheel)], first)
    assert copied.read_bytes() == wheel.read_bytes()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(shelf))
    (loaded,) = fetch_wheels(["tomli-w"], second)
    assert loaded.read_bytes() == wheel.read_bytes()
    with pytest.raises(InputError, match="pip must find") as refused:
        fetch_wheels(["no-such-thing"], second)
    assert "no-such-thing" in refused.value.value
    assert "ERROR" in refused.value.value


def test_a_wheel_must_be_one(tmp_path: Path) -> None:
    (tmp_path / "torn-1-py3-none-any.whl").write_text("no zip")
    for name in ("torn-1-py3-none-any.whl", "missing-1-py3-none-any.whl"):
        with pytest.raises(InputError, match="a wheel must be one"):
            fetch_wheels([str(tmp_path / name)], tmp_path)


def test_what_python_and_editors_leave_is_known() -> None:
    left = ("a/__pycache__/b.py", "a.pyc", ".git/config", "a/.adapter.py.swp")
    assert all(is_left_over(Path(name)) for name in left)
    assert not any(is_left_over(Path(name)) for name in ("adapter.py", "images/a.png"))


def interpreter(version: str) -> Path | None:
    """A Python of that version on this machine, that can make environments with pip."""
    found = [
        Path(sys.executable),
        *(Path.home() / ".pyenv" / "versions").glob(f"{version}.*/bin/python"),
        Path(shutil.which(f"python{version}") or "/none"),
    ]
    program = "import sys, ensurepip; print('.'.join(map(str, sys.version_info[:2])))"
    for path in found:
        if path.exists():
            told = subprocess.run([path, "-c", program], capture_output=True, text=True, check=False)
            if told.stdout.strip() == version:
                return path
    return None


@pytest.mark.slow
@pytest.mark.parametrize("version", ["3.11", "3.12"])
def test_a_datasets_wheels_install_in_an_empty_environment(version: str, tmp_path: Path) -> None:
    python = interpreter(version)
    if python is None:
        pytest.skip(f"there is no Python {version} here")
    shelf = tmp_path / "dataset"
    shelf.mkdir()
    wheels = [own_wheel(shelf), installed_wheel("timm", shelf)]
    subprocess.run([python, "-m", "venv", tmp_path / "empty"], check=True)
    here = tmp_path / "empty" / "bin" / "python"
    how = ["--no-index", "--no-deps", "--quiet", "--disable-pip-version-check", "--find-links", shelf]
    names = ["imgcomp", "timm"]
    environment = {k: v for k, v in clean_environment().items() if k != "PYTHONPATH"}
    subprocess.run([here, "-m", "pip", "install", *how, *names], check=True, env=environment)
    program = (
        "import comp, compileall, os; print(comp.__version__);"
        "assert compileall.compile_dir(os.path.dirname(comp.__file__), quiet=1)"
    )
    told = subprocess.run(
        [here, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False, env=environment
    )
    assert told.returncode == 0, told.stderr
    assert told.stdout.split()[-1] == comp.__version__
    listed = subprocess.run(
        [here, "-m", "pip", "list", "--format", "freeze"], capture_output=True, text=True, check=True
    )
    assert f"timm=={metadata.version('timm')}" in listed.stdout
    assert 1e6 < sum(wheel.stat().st_size for wheel in wheels if wheel is not None) < 8e6, "as the docs say"
