"""The files of a fold as they travel between machines: names, bytes, and one SHA-256 over all of it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from comp.errors import InputError
from comp.files import is_leftover, parse_json, write_bytes, write_json
from comp.runs.contents import ANSWERS
from comp.runs.progress import HISTORY
from comp.runs.run import RESULT
from comp.training.early_stopping import BEST_FILE
from comp.training.state import FILE as STATE
from comp.training.state import SIDECAR

# of a fold under way, in the order in which they are read: training goes on from a state whose other files are as new or newer
UNDER_WAY = (SIDECAR, STATE, BEST_FILE, HISTORY, ANSWERS)


@dataclass(frozen=True)
class Parcel:
    """Files by name, and the SHA-256 of all names and bytes, which ``opened`` checks."""

    files: Mapping[str, bytes]
    sha256: str

    @classmethod
    def of(cls, files: Mapping[str, bytes]) -> Parcel:
        return cls(files, _digest(files))

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(map(len, self.files.values()))

    def opened(self, where: str) -> dict[str, bytes]:
        """The files.

        Raises
        ------
        InputError
            Where a byte or a name is not as it was sent, or a name leads out of a folder; ``where`` says from whom it came.
        """
        if _digest(self.files) != self.sha256:
            value = f"what came from {where} has another SHA-256 than was sent"
            raise InputError("files must arrive as they were sent", value, "run it again with `resume`")
        for name in self.files:
            parts = PurePosixPath(name).parts
            if not parts or PurePosixPath(name).is_absolute() or ".." in parts or "\\" in name:
                raise InputError(
                    "files must stay in their fold's folder", f"{name!r} from {where}", "look at that machine"
                )
        return dict(self.files)


def _digest(files: Mapping[str, bytes]) -> str:
    told = hashlib.sha256()
    for name in sorted(files):
        told.update(f"{len(name.encode())} {name} {len(files[name])}\n".encode())
        told.update(files[name])
    return told.hexdigest()


def finished_fold(folder: Path) -> Parcel:
    """Every file of a finished fold."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and not is_leftover(path))
    return Parcel.of({path.relative_to(folder).as_posix(): path.read_bytes() for path in paths})


def fold_under_way(folder: Path) -> Parcel | None:
    """What training goes on from; None where nothing is saved yet, or it is being written this moment."""
    found = _read(folder, UNDER_WAY)
    if STATE not in found or SIDECAR not in found:
        return None
    if hashlib.sha256(found[STATE]).hexdigest() not in _proven(found[SIDECAR]):
        return None
    return Parcel.of(found)


def _read(folder: Path, names: Iterable[str]) -> dict[str, bytes]:
    found = {}
    for name in names:
        try:
            found[name] = (folder / name).read_bytes()
        except FileNotFoundError:
            continue
    return found


def _proven(sidecar: bytes) -> list[str]:
    """The SHA-256 of the states that a state.json proves."""
    table = parse_json(sidecar)
    return list(table["sha256"]) if isinstance(table, dict) else []


def unpack(files: Mapping[str, bytes], folder: Path) -> None:
    """Writes files of a fold into its folder, each all or nothing: whatever moment this process dies at, training goes on from
    the state before or from this one, and ``result.json`` comes last, after which nothing is left to go on from.
    """
    for name in sorted(set(files) - {STATE, SIDECAR, RESULT}):
        write_bytes(folder / name, files[name])
    if STATE in files:
        before = (folder / SIDECAR).read_bytes() if (folder / SIDECAR).is_file() else b'{"sha256": []}'
        write_json(folder / SIDECAR, {"sha256": [*_proven(files[SIDECAR]), *_proven(before)]})
        write_bytes(folder / STATE, files[STATE])
        write_bytes(folder / SIDECAR, files[SIDECAR])
    if RESULT in files:
        write_bytes(folder / RESULT, files[RESULT])
        for name in (STATE, SIDECAR, BEST_FILE, ANSWERS):
            (folder / name).unlink(missing_ok=True)
