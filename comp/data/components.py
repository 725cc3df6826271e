"""Connected components: rows that pairs tie together, however long the chain."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components


def components(count: int, pairs: ArrayLike) -> NDArray[np.int64]:
    """The number of each row's component, int64 (count,), for pairs (M, 2) of rows; a row without a pair is its own."""
    ends = np.asarray(pairs, dtype=np.int64).reshape(-1, 2)
    graph = coo_array((np.ones(len(ends), np.int8), (ends[:, 0], ends[:, 1])), shape=(count, count))
    return np.asarray(connected_components(graph, directed=False)[1], dtype=np.int64)
