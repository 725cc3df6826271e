"""Dear results of checks, kept beside the fingerprints they were worked out from."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from comp.files import write_json


class Memory:
    """Remembers a JSON value by name for as long as what it was worked out from has the same digest."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self._kept: dict[str, Any] = {}
        if path is not None and path.is_file():
            try:
                self._kept = dict(json.loads(path.read_text(encoding="utf-8")))
            except (OSError, ValueError, TypeError):
                self._kept = {}  # a torn file only costs the work again

    def recall(self, name: str, digest: str, work: Callable[[], Any]) -> Any:
        """The value of ``work()``, worked out only where it is not known for this digest."""
        known = self._kept.get(name)
        if known is not None and known.get("digest") == digest:
            return known["value"]
        value = work()
        self._kept[name] = {"digest": digest, "value": value}
        if self.path is not None:
            write_json(self.path, self._kept)
        return value
