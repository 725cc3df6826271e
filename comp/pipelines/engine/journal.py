"""What a preset decided and why, a line each: read back when it goes on."""

from __future__ import annotations

import json
import math
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from comp.errors import InputError
from comp.files import parse_json, unwritable

FILE = "decisions.jsonl"


@dataclass
class Journal:
    """``decisions.jsonl`` of a preset. A line that a crash tore is the last one, and is written again."""

    path: Path
    before: float = 0.0  # seconds that earlier commands worked
    began: float = field(default_factory=time.monotonic)
    entries: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def of(cls, folder: Path) -> Journal:
        """The journal of a preset's folder, as far as it is written."""
        path = folder / FILE
        found: list[dict[str, Any]] = []
        whole = 0
        content = path.read_bytes() if path.is_file() else b""
        for line in content.splitlines(keepends=True):
            try:
                entry = parse_json(line)
            except ValueError:
                entry = None
            if not isinstance(entry, dict) or not line.endswith(b"\n"):
                if whole + len(line) < len(content):
                    value = f"{path}: line {len(found) + 1} is none"
                    raise InputError("decisions are lines of JSON", value, "begin another preset run")
                break
            found.append(entry)
            whole += len(line)
        if whole < len(content):
            os.truncate(path, whole)
        return cls(path, max((float(one.get("elapsed", 0.0)) for one in found), default=0.0), entries=found)

    @property
    def elapsed(self) -> float:
        """Seconds of work, those of earlier commands among them."""
        return self.before + time.monotonic() - self.began

    def write(self, what: str, **facts: Any) -> None:
        """Appends a line."""
        entry = {"what": what, **{name: _plain(value) for name, value in facts.items()}}
        entry["elapsed"] = round(self.elapsed, 2)
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry, sort_keys=False, allow_nan=False) + "\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise unwritable(self.path, error) from error
        self.entries.append(entry)

    def last(self, what: str, **facts: Any) -> dict[str, Any] | None:
        """The last line of a kind with these facts."""
        wanted = {"what": what, **facts}
        fitting = (one for one in reversed(self.entries) if wanted.items() <= one.items())
        return next(fitting, None)

    def begin_again(self) -> None:
        """Forgets what was left out for want of time, or failed, in a command that has ended: there is new time, or a remedy."""
        ends = [n for n, entry in enumerate(self.entries) if entry["what"] in ("ended", "stopped")]
        past = ends[-1] if ends else 0
        self.entries = [
            entry
            for n, entry in enumerate(self.entries)
            if n >= past or not (entry["what"] == "skipped" and entry.get("again"))
        ]


def _plain(value: Any) -> Any:
    """A value that JSON has: a score that is no number is null."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
