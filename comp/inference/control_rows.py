"""Control rows: held-out train images that travel through the test path and must come back as they were judged."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from comp.config import Shape, read_shaped
from comp.data.images.source import ImageSource
from comp.data.labels import LabelMap
from comp.errors import CheckFailed, InputError
from comp.files import write_bytes, write_json
from comp.models.checkpoint import Noise
from comp.runs.contents import read_result, require_of_fold
from comp.runs.run import RESULT

MOST = 16
# how far probabilities of control rows may come back: FACTOR times the noise of their run, within these bounds
FACTOR = 4.0
LEAST = {"fp32": 1e-3, "bf16": 0.02, "fp16": 0.02}
UTMOST = {"fp32": 0.01, "bf16": 0.25, "fp16": 0.25}
_MARK = "\x00control"  # in no path and no id of a real row

Probs = NDArray[np.float64]


class _Row(Shape):
    """A line of ``control.json``: the sample, the file with its image, and its probabilities by class name; ``exact`` in
    fp32, where the fold was judged in half precision. Older ones have none.
    """

    id: str
    file: str
    probs: dict[str, float]
    exact: dict[str, float] | None = None


@dataclass(frozen=True)
class ControlRow:
    """One control row: its id among the rows to predict, its path for ``ControlRowSource``, and the identity-view
    probabilities (C,) that its own fold gave it; ``exact`` are those in fp32, where it was judged in half precision.
    """

    id: str
    path: str
    sample: str
    probs: Probs
    exact: Probs | None = None


@dataclass(frozen=True)
class ControlRowSource:
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


def chosen(ids: Sequence[str]) -> list[int]:
    """The places of min(16, n) ids, chosen and ordered by their SHA-256."""
    order = sorted(
        range(len(ids)), key=lambda n: hashlib.sha256(ids[n].encode("utf-8", "surrogatepass")).digest()
    )
    return order[:MOST]


def keep_controls(
    folder: Path,
    source: ImageSource,
    ids: Sequence[str],
    paths: Sequence[str],
    probs: Probs,
    labels: LabelMap,
    exact: Probs | None = None,
) -> None:
    """Keeps a fold's ``chosen`` held-out images, byte for byte, with their identity-view probabilities (N, C) in the order
    of ``ids``, and ``exact`` (n, C), those in fp32 of the chosen ones.

    They are all that a later prediction needs to prove itself, even where the train folder is gone.
    """
    rows: list[dict[str, Any]] = []
    for n in chosen(ids):
        content = source.load(paths[n])
        name = f"control/{len(rows):02}" + (".image" if isinstance(content, bytes) else ".npy")
        if not isinstance(content, bytes):
            out = io.BytesIO()
            np.save(out, content)
            content = out.getvalue()
        write_bytes(folder / name, content)
        row = {"id": ids[n], "file": name, "probs": dict(zip(labels, probs[n].tolist(), strict=True))}
        if exact is not None:
            row["exact"] = dict(zip(labels, exact[len(rows)].tolist(), strict=True))
        rows.append(row)
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

    def by_class(named: dict[str, float]) -> Probs:
        return np.array([named.get(name, np.nan) for name in labels], dtype=np.float64)

    return [
        ControlRow(
            f"{_MARK}{folder}/{n}",
            f"{_MARK}{folder / row.file}",
            row.id,
            by_class(row.probs),
            by_class(row.exact) if row.exact is not None else None,
        )
        for n, row in enumerate(control_table(folder))
    ]


def shuffled(count: int, seed: int = 0) -> NDArray[np.int64]:
    """A fixed shuffle of ``count`` rows, so that control rows stand among the test rows."""
    return np.random.default_rng(seed).permutation(count)


def exactly(controls: Sequence[ControlRow]) -> list[ControlRow]:
    """The rows with their probabilities in fp32; none where they were not kept."""
    return [replace(row, probs=row.exact) for row in controls if row.exact is not None]


def tolerance(precision: str, noise: Noise) -> float:
    """How far the probabilities of control rows that were judged in ``precision`` may come back.

    Other kernels, batches and devices round otherwise: the noise that the run measured, by ``FACTOR``; not less than
    ``LEAST``, which is also for runs that measured none, and never more than ``UTMOST``, which still tells another model's
    mean and std, or a turned label map (docs/decisions/0011).
    """
    largest = max(noise.get(precision, {}).values(), default=0.0)
    return min(max(LEAST[precision], FACTOR * largest), UTMOST[precision])


def max_abs_difference(controls: Sequence[ControlRow], found: dict[str, Probs]) -> tuple[float, str]:
    """The largest |Δp| between what the rows were judged and what came back by their ids, and the sample's id."""
    worst, sample = 0.0, ""
    for row in controls:
        difference = float(np.abs(found[row.id] - row.probs).max())
        if difference > worst or not np.isfinite(difference):
            worst, sample = difference, row.sample
    return worst, sample


def control_row_error(
    folder: Path, difference: float, sample: str, most: float = LEAST["fp32"]
) -> CheckFailed:
    """The error of control rows that came back changed by more than ``most``."""
    value = f"control-rows: {folder.name}, sample {sample!r} came back {difference:.3f} away from its OOF probabilities (at most {most:.3g})"
    remedy = "the checkpoint's preprocessing, label map or precision is not what it was judged with: restore its files, or train this fold again"
    return CheckFailed("the test path must give what validation gave", value, remedy)
