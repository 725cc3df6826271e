"""Features of frozen backbones, kept in the workspace: the same images never go through the same network twice."""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from comp.errors import InputError
from comp.files import atomic, make_folder
from comp.views import VIEWS

Features = NDArray[np.float32]
_DIGEST = 32  # bytes behind the array: SHA-256 of all before them, since wrong features would go unnoticed
MOST = 8 << 30  # bytes of all features of a workspace; those not used for longest go first


@dataclass(frozen=True)
class FeatureCache:
    """The features of some images by one network, a file a view.

    A file is found by everything that decides its numbers: the network's tensors and how it was made, preprocessing,
    precision, layout, device, torch and the images' contents in their order. Anything else is another file.

    Parameters
    ----------
    folder : Path
    facts : dict
        What decides the numbers, beside the images.
    contents : sequence of str, (N,)
        What the images hold, in the order of the features' rows.
    """

    folder: Path
    facts: dict[str, Any]
    contents: Sequence[str]

    def file(self, view: str) -> Path:
        """Where the features of a view lie or will lie."""
        told = hashlib.sha256(json.dumps([view, self.facts], sort_keys=True, default=str).encode())
        for content in self.contents:
            told.update(f"{content}\n".encode())
        return self.folder / f"{told.hexdigest()[:32]}.npy"

    def load(self, view: str) -> Features | None:
        """The features (N, D) of a view; None where they are not kept, or torn."""
        if not VIEWS[view].keeps_features:
            return None
        try:
            content = memoryview(self.file(view).read_bytes())
            os.utime(self.file(view))
        except OSError:
            return None
        if hashlib.sha256(content[:-_DIGEST]).digest() != content[-_DIGEST:]:
            return None
        found = np.load(io.BytesIO(content[:-_DIGEST]), allow_pickle=False)
        fits = found.ndim == 2 and len(found) == len(self.contents) and found.dtype == np.float32
        return found if fits else None

    def keep(self, view: str, features: Features) -> None:
        """Keeps the features (N, D) of a view, if it is one whose features may be; a place that cannot be written costs
        time, not the run.
        """
        if not VIEWS[view].keeps_features:
            return
        try:
            make_folder(self.folder)
            written = io.BytesIO()
            np.save(written, features)
            content = written.getvalue()
            with atomic(self.file(view)) as part:
                part.write_bytes(content + hashlib.sha256(content).digest())
            self._evict()
        except (InputError, OSError):
            return

    def _evict(self) -> None:
        files = sorted(self.folder.glob("*.npy"), key=lambda file: file.stat().st_mtime, reverse=True)
        held = 0
        for file in files:
            held += file.stat().st_size
            if held > MOST:
                file.unlink(missing_ok=True)
