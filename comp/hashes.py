"""SHA-256 of files, and JSON documents that carry their own, so that a change to either is noticed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from comp.documents import json_text

SEAL = "sha256"  # the key of a document's own SHA-256
_BLOCK = 1 << 20  # bytes


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, read a block at a time; OSError where it cannot be read."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def sealed(document: Mapping[str, Any]) -> dict[str, Any]:
    """A document with the SHA-256 of everything else in it, as it will be read back."""
    plain = {key: value for key, value in document.items() if key != SEAL}
    return {**plain, SEAL: _digest(json.loads(json_text(plain)))}


def is_intact(document: Mapping[str, Any]) -> bool:
    """Whether a document that was read is as ``sealed`` made it; one without a SHA-256 of its own is not judged."""
    return SEAL not in document or document[SEAL] == _digest(
        {key: value for key, value in document.items() if key != SEAL}
    )


def _digest(plain: Mapping[str, Any]) -> str:
    text = json.dumps(plain, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()
