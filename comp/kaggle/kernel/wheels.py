"""Wheels without a network: of ``comp`` itself and of what is installed; others are taken from disk or downloaded."""

from __future__ import annotations

import base64
import hashlib
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from comp._version import PACKAGE, __version__
from comp.data.competitions.competition import built_in_folder
from comp.errors import InputError
from comp.files import atomic

DISTRIBUTION = "imgcomp"
PYTHON = "3.12"  # of the machine that a downloaded wheel is for, where it is compiled
_PLATFORMS = ("any", "manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")
_WHEEL = "Wheel-Version: 1.0\nGenerator: comp\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def own_wheel(folder: Path) -> Path:
    """Writes the wheel of the ``comp`` that is running, its built-in competitions inside, into ``folder``.

    It is made of the package's own files, so that it needs neither a checkout nor a build tool.
    """
    files = {f"comp/{name}": content for name, content in _files(PACKAGE).items()}
    if built_in_folder() != PACKAGE / "builtin":
        files |= {f"comp/builtin/{name}": content for name, content in _files(built_in_folder()).items()}
    about = {"METADATA": _about(), "entry_points.txt": "[console_scripts]\ncomp = comp.cli.main:main\n"}
    return _write(folder, DISTRIBUTION, __version__, files, about)


def installed_wheel(name: str, folder: Path) -> Path | None:
    """Writes the wheel that an installed distribution came from, as its record lists its files; None if it is not pure Python.

    Raises
    ------
    InputError
        If no distribution of that name is installed.
    """
    try:
        found = metadata.distribution(name)
    except metadata.PackageNotFoundError as error:
        remedy = f"install it, or name a wheel of it: `wheels=[{name!r}]`"
        raise InputError("a wheel is made of what is installed", f"{name} is not", remedy) from error
    if "Root-Is-Purelib: true" not in (found.read_text("WHEEL") or "") or not found.files:
        return None
    files, about = {}, {}
    for file in found.files:
        if file.suffix == ".pyc" or ".." in file.parts:
            continue
        if not file.parts[0].endswith(".dist-info"):
            files[file.as_posix()] = Path(str(file.locate())).read_bytes()
        elif file.name in ("METADATA", "entry_points.txt"):
            about[file.name] = Path(str(file.locate())).read_text(encoding="utf-8")
    return _write(folder, found.metadata["Name"], found.version, files, about)


def fetch_wheels(wanted: Sequence[str], folder: Path) -> list[Path]:
    """Brings wheels into ``folder``: files are copied, requirements (``pydicom``, ``pydicom==3.0.1``) downloaded by pip.

    Of compiled ones those for Linux on x86-64 and Python ``PYTHON``. What they depend on is not brought along.

    Raises
    ------
    InputError
        If a file is no wheel, or pip does not find one; the value is pip's own last line.
    """
    before = set(folder.glob("*.whl"))
    for one in wanted:
        path = Path(one).expanduser()
        if path.suffix == ".whl":
            if not zipfile.is_zipfile(path):
                raise InputError(
                    "a wheel must be one", f"{path} is not there, or no wheel", "correct `wheels`"
                )
            shutil.copyfile(path, folder / path.name)
        else:
            _download(one, folder)
    return sorted(set(folder.glob("*.whl")) - before)


def _download(requirement: str, folder: Path) -> None:
    platforms = [word for name in _PLATFORMS for word in ("--platform", name)]
    how = ["--no-deps", "--only-binary", ":all:", "--python-version", PYTHON, "--implementation", "cp"]
    command = [sys.executable, "-m", "pip", "download", "--quiet", *how, *platforms]
    done = subprocess.run(
        [*command, "--dest", str(folder), "--", requirement], capture_output=True, text=True, check=False
    )
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or ["pip failed"]
        remedy = "correct `wheels`, or give the path of a wheel that you have"
        raise InputError("pip must find a wheel", f"{requirement}: {said[-1]}", remedy)


def _files(folder: Path) -> dict[str, bytes]:
    """The files of a package's folder by their paths there, without what Python or an editor leaves."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not is_left_over(path.relative_to(folder))
    }


def is_left_over(path: Path) -> bool:
    """Whether a file is one that Python, an editor or a system left in a folder."""
    return path.suffix == ".pyc" or any(part.startswith(".") or part == "__pycache__" for part in path.parts)


def _about() -> str:
    """The METADATA of this ``comp``, or the least that a wheel needs where it runs from a checkout."""
    try:
        found = metadata.distribution(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        found = None
    text = found.read_text("METADATA") if found is not None and found.version == __version__ else None
    return text or f"Metadata-Version: 2.1\nName: {DISTRIBUTION}\nVersion: {__version__}\n"


def _write(folder: Path, name: str, version: str, files: dict[str, bytes], about: dict[str, str]) -> Path:
    """Writes a pure wheel: the files, then ``.dist-info`` with its record, by the binary distribution format (PEP 427).

    Equal contents give equal bytes.
    """
    stem = f"{name.replace('-', '_')}-{version}"
    info = f"{stem}.dist-info"
    every = files | {f"{info}/{key}": text.encode() for key, text in ({"WHEEL": _WHEEL} | about).items()}
    path = folder / f"{stem}-py3-none-any.whl"
    lines = []
    with atomic(path) as part, zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as archive:
        for inside, content in every.items():
            digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
            lines.append(f"{_quoted(inside)},sha256={digest},{len(content)}\n")
            archive.writestr(_entry(inside), content)
        archive.writestr(_entry(f"{info}/RECORD"), "".join([*lines, f"{info}/RECORD,,\n"]))
    return path


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name)  # dated 1980, as ZipInfo has it
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = 0o644 << 16
    return entry


def _quoted(name: str) -> str:
    return f'"{name}"' if "," in name else name
