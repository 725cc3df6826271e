"""Whether pairs of pictures can all be copies of one: the doubt about simple drawings.

Any ring lies upon any other once it is moved and scaled, and so does a cross, an arrow, a letter: four numbers are
fitted, and a drawing of one stroke has hardly more. Each pair for itself looks like a crop. Together they betray
themselves: copies of one picture are crops of one frame, whereas a chain of drawings leads from the smallest to the
largest, and from one corner to the other, much further than any crop. So where pictures have little structure, the
frames of all that hang together are laid into the frame of the first, and only those pairs are believed that nothing
had to be moved for, unless the frames agree.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from comp.checks.duplicates.alignment import Agreement
from comp.checks.duplicates.candidates import Candidates

Floats = NDArray[np.float32]

_SPARSE: Final = 0.5  # share of structure under which a picture is a drawing: a fifth of Caltech photos are
_STILL: Final = 0.012  # of a side, about a third of a thumbnail's pixel: nothing was moved
_SURE: Final = 0.95  # structure asked of such a pair
_APART: Final = 0.3  # of a side, that the frames of one picture's copies may lie apart at one edge

# what `orient` does to points of the unit square, about its middle: rows are (across, down)
_ACROSS = np.diag([-1.0, 1.0])
_DOWN = np.diag([1.0, -1.0])
_SWAP = np.array([[0.0, 1.0], [1.0, 0.0]])


def edges_moved(at: Floats) -> Floats:
    """By how much of a side the map `at` (M, 2, 2) moves the edge that it moves most: (M,)."""
    low, high = at[..., 1], at[..., 0] + at[..., 1] - 1
    result: Floats = np.maximum(np.abs(low), np.abs(high)).max(axis=1)
    return result


def consistent(pairs: Candidates, measured: Agreement, believed: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Those of the believed pairs (M,) that can be copies together: (M,)."""
    drawn = np.flatnonzero(believed & (measured.filled < _SPARSE))
    still = (edges_moved(measured.at[drawn]) <= _STILL) & (measured.structure[drawn] >= _SURE)
    if still.all():
        return believed
    left, right = pairs.left[drawn].tolist(), pairs.right[drawn].tolist()
    maps = _maps(measured.at[drawn], pairs.orientation[drawn])
    apart = _far_apart(left, right, maps)
    result = believed.copy()
    result[drawn] = still | ~apart
    return result


def _maps(at: Floats, orientation: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The maps (M, 3, 3) that lay points of the right picture upon the left one, about the middle of a side of 1."""
    maps = np.zeros((len(at), 3, 3))
    for n, (scale_and_shift, turn) in enumerate(
        zip(at.astype(np.float64), orientation.tolist(), strict=True)
    ):
        turned = np.eye(2)
        for bit, step in ((4, _SWAP), (2, _DOWN), (1, _ACROSS)):
            if turn & bit:
                turned = step @ turned
        scale, shift = scale_and_shift[:, 0], scale_and_shift[:, 1]
        maps[n, :2, :2] = scale[:, None] * turned
        maps[n, :2, 2] = scale / 2 + shift - 0.5
        maps[n, 2, 2] = 1
    return maps


def _far_apart(left: list[int], right: list[int], maps: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which pairs (M,) belong to a family whose frames, laid into the first one's, do not agree."""
    across: dict[int, list[tuple[int, int, bool]]] = {}
    for n, (one, other) in enumerate(zip(left, right, strict=True)):
        across.setdefault(one, []).append((other, n, True))
        across.setdefault(other, []).append((one, n, False))
    apart = np.zeros(len(left), dtype=np.bool_)
    seen: set[int] = set()
    for root in across:
        if root in seen:
            continue
        seen.add(root)
        frames, waiting, inside = [np.eye(3)], [(root, np.eye(3))], []
        while waiting:
            row, here = waiting.pop()
            for other, n, is_right in across[row]:
                inside.append(n)
                if other not in seen:
                    seen.add(other)
                    there = here @ (maps[n] if is_right else np.linalg.inv(maps[n]))
                    frames.append(there)
                    waiting.append((other, there))
        apart[inside] = _spread(np.stack(frames)) > _APART
    return apart


def _spread(frames: NDArray[np.float64]) -> float:
    """How far apart the frames (F, 3, 3) lie at the edge where they differ most, in sides of the first."""
    half = np.abs(frames[:, :2, :2]).sum(axis=2) / 2
    edges = np.concatenate([frames[:, :2, 2] - half, frames[:, :2, 2] + half], axis=1)
    return float(np.ptp(edges, axis=0).max())
