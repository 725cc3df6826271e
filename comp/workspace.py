"""Where competitions, raw data, runs, submissions and the cache live, and how files are written there."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from comp.errors import InputError


@dataclass(frozen=True)
class Workspace:
    """A folder of work: the folder given, else ``COMP_WORKSPACE``, else the current folder."""

    root: Path

    @classmethod
    def find(cls, given: str | Path | None = None) -> Workspace:
        """The workspace that was asked for.

        Raises
        ------
        InputError
            If the folder does not exist.
        """
        root = Path(given or os.environ.get("COMP_WORKSPACE") or ".").expanduser().absolute()
        if not root.is_dir():
            raise InputError(
                "the workspace must be a folder", f"{root} is not one", "make it, or name another `workspace`"
            )
        return cls(root)

    @property
    def competitions(self) -> Path:
        return self.root / "competitions"

    def raw(self, slug: str) -> Path:
        """The raw folder of a competition unless ``data`` names another."""
        return self.root / "data" / slug

    @property
    def runs(self) -> Path:
        return self.root / "runs"

    def folds(self, slug: str) -> Path:
        return self.root / "folds" / slug

    def submissions(self, slug: str) -> Path:
        return self.root / "submissions" / slug

    @property
    def memory(self) -> Path:
        """What commands remember and can make again; it need not travel with the workspace, but saves time."""
        return self.root / ".comp"

    @property
    def features(self) -> Path:
        return self.memory / "features"

    @property
    def fingerprints(self) -> Path:
        return self.memory / "fingerprints"

    def weight_folders(self) -> list[Path]:
        """Where ``weights = "default"`` is looked for before the hub: ``COMP_WEIGHTS``, then ``weights/``."""
        given = os.environ.get("COMP_WEIGHTS")
        return [Path(p).expanduser() for p in (given.split(os.pathsep) if given else [])] + [
            self.root / "weights"
        ]

    def shown(self, path: Path) -> str:
        """A path as people want to read it; see ``shown``."""
        return shown(path)


def shown(path: Path) -> str:
    """A path as people want to read it: relative to the current folder where that is shorter."""
    try:
        relative = os.path.relpath(path)
    except ValueError:  # another drive on Windows
        return str(path)
    return relative if len(relative) < len(str(path)) else str(path)


def cache_folder() -> Path:
    """Where things lie that can always be made again: ``COMP_CACHE``, else the user's cache folder."""
    named = os.environ.get("COMP_CACHE")
    if named:
        return Path(named).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "comp"
