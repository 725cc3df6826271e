"""Control rows: held-out train images that travel through the test path and must come back as they were judged."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from comp.errors import CheckFailed, InputError
from comp.images.source import ImageSource
from comp.labels import LabelMap
from comp.run_files import read_result, require_of_fold
from comp.runs import RESULT
from comp.shapes import Shape, read_shaped
from comp.workspace import write_bytes, write_json

MOST = 16
TOLERANCE = {"fp32": 1e-3, "bf16": 0.02, "fp16": 0.02}
_MARK = "\x00control"  # in no path and no id of a real row

Probs = NDArray[np.float64]


class _Row(Shape):
    """A line of ``control.json``: the sample, the file with its image, and its probabilities by class name."""

    id: str
    file: str
    probs: dict[str, float]


@dataclass(frozen=True)
class ControlRow:
    """One control row: its id among the rows to predict, its path for ``WithControls``, and the identity-view
    probabilities (C,) that its own fold gave it.
    """

    id: str
    path: str
    sample: str
    probs: Probs


@dataclass(frozen=True)
class WithControls:
    """A source that also knows the control rows kept in run folders."""

    own: ImageSource

    def load(self, path: str) -> bytes | NDArray[np.uint8]:
        if not path.startswith(_MARK):
            return self.own.load(path)
        file = Path(path.removeprefix(_MARK))
        content = file.read_bytes()
        if file.suffix == ".npy":
            return np.asarray(np.load(io.BytesIO(content), allow_pickle=False), dtype=np.uint8)
        return content


def keep_controls(
    folder: Path,
    source: ImageSource,
    ids: Sequence[str],
    paths: Sequence[str],
    probs: Probs,
    labels: LabelMap,
) -> None:
    """Keeps min(16, n) of a fold's held-out images, byte for byte, with their identity-view probabilities.

    Which ones is decided by SHA-256 of their ids. They are all that a later prediction needs to prove itself,
    even where the train folder is gone.
    """
    order = sorted(
        range(len(ids)), key=lambda n: hashlib.sha256(ids[n].encode("utf-8", "surrogatepass")).digest()
    )
    rows: list[dict[str, Any]] = []
    for n in order[:MOST]:
        content = source.load(paths[n])
        name = f"control/{len(rows):02}" + (".image" if isinstance(content, bytes) else ".npy")
        if not isinstance(content, bytes):
            out = io.BytesIO()
            np.save(out, content)
            content = out.getvalue()
        write_bytes(folder / name, content)
        rows.append({"id": ids[n], "file": name, "probs": dict(zip(labels, probs[n].tolist(), strict=True))})
    write_json(folder / "control.json", rows)


def control_table(folder: Path) -> list[_Row]:
    """The control rows of a fold as its ``control.json`` has them.

    Raises
    ------
    InputError
        Where a file of them is missing, damaged, or not what the fold wrote.
    CheckFailed
        For no control rows, or fewer than the fold has to have: they would prove nothing.
    """
    path = folder / "control.json"
    require_of_fold(folder, [path.name])
    rows: list[_Row] = read_shaped(path, list[_Row], "train this fold again")
    outside = [row.file for row in rows if PurePosixPath(row.file).parts[:-1] != ("control",)]
    if outside:
        value = f"{path} names {outside[0]!r}"
        raise InputError("control rows lie beside their fold", value, "train this fold again")
    require_of_fold(folder, [row.file for row in rows])
    held_out = read_result(folder)["rows"] if (folder / RESULT).is_file() else len(rows)
    if len({row.id for row in rows}) < max(1, min(MOST, held_out)):
        value = f"control-rows: {path} has {len(rows)}, for {held_out} held-out rows"
        raise CheckFailed("a run's predictions prove themselves", value, "train this fold again")
    return rows


def read_controls(folder: Path, labels: LabelMap) -> list[ControlRow]:
    """The control rows of a fold; their probabilities were kept by class name and come in the order of ``labels``,
    so that another label map cannot pass. Raises as ``control_table`` does.
    """
    return [
        ControlRow(
            f"{_MARK}{folder}/{n}",
            f"{_MARK}{folder / row.file}",
            row.id,
            np.array([row.probs.get(name, np.nan) for name in labels], dtype=np.float64),
        )
        for n, row in enumerate(control_table(folder))
    ]


def shuffled(count: int, seed: int = 0) -> NDArray[np.int64]:
    """A fixed shuffle of ``count`` rows, so that control rows stand among the test rows."""
    return np.random.default_rng(seed).permutation(count)


def worst_difference(controls: Sequence[ControlRow], found: dict[str, Probs]) -> tuple[float, str]:
    """The largest |Δp| between what the rows were judged and what came back by their ids, and the sample's id."""
    worst, sample = 0.0, ""
    for row in controls:
        difference = float(np.abs(found[row.id] - row.probs).max())
        if difference > worst or not np.isfinite(difference):
            worst, sample = difference, row.sample
    return worst, sample


def refuse(folder: Path, difference: float, sample: str) -> CheckFailed:
    """The error of control rows that came back changed."""
    value = f"control-rows: {folder.name}, sample {sample!r} came back {difference:.3f} away from its OOF probabilities"
    remedy = "the checkpoint's preprocessing, label map or precision is not what it was judged with: restore its files, or train this fold again"
    return CheckFailed("the test path must give what validation gave", value, remedy)
