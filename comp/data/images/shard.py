"""What a shard is: a file with the images of many rows, of which any can be read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

KEY = "key"  # the column of the names that samples have in their shard


class Shard(Protocol):
    """One shard, whose N rows stand in the order in which they lie.

    ``columns`` are what a row has beside its image, ``classes`` the class names of those columns that count them,
    ``layout`` the name and type of each column where a shard states them: shards of one set must agree in both.
    ``notes`` are what people should know, once the rows were read.
    """

    @property
    def columns(self) -> tuple[str, ...]: ...

    @property
    def classes(self) -> Mapping[str, tuple[str, ...]]: ...

    @property
    def layout(self) -> Mapping[str, str]: ...

    @property
    def notes(self) -> Sequence[str]: ...

    def paths(self) -> list[str]:
        """The path (N,) of each row in the raw folder, the shard's in front."""
        ...

    def values(self, column: str) -> list[Any]:
        """The cells (N,) of a column, or the ``key`` of each row; None where a row has none."""
        ...

    def has(self, path: str) -> bool:
        """Whether there is a row of that path."""
        ...

    def load(self, path: str) -> bytes:
        """The bytes of the image of a row."""
        ...
