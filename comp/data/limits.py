"""How large an image or a table may be, and reading a file only where it is within its limit.

A file of 30 GB that is named like an image or a table would fill the memory before anything could be said of it. So
sizes are compared first. The limits are stated numbers, and each has a name in the environment that raises it.
"""

from __future__ import annotations

import math
import os
from pathlib import Path

from comp.errors import InputError, RawDataError

MEGAPIXELS = "COMP_MAX_MEGAPIXELS"  # pixels of one image
DEFAULT_MEGAPIXELS = 178.0
TABLE_GB = "COMP_MAX_TABLE_GB"  # bytes of one table
DEFAULT_TABLE_GB = 1.0
_BYTES_A_PIXEL = 8  # four values of 16 bits, not packed at all
_BESIDE_PIXELS = 64 << 20  # metadata and thumbnails
TABLES = (".csv", ".tsv")


def max_pixels() -> int:
    """The most pixels that an image may have: 178 million, or what COMP_MAX_MEGAPIXELS says."""
    return int(_number(MEGAPIXELS, DEFAULT_MEGAPIXELS, "megapixels") * 1e6)


def max_image_bytes() -> int:
    """The most bytes that an image's file may have: those of the largest image, uncompressed."""
    return max_pixels() * _BYTES_A_PIXEL + _BESIDE_PIXELS


def max_table_bytes() -> int:
    """The most bytes that a table may have: 1 GB, or what COMP_MAX_TABLE_GB says."""
    return int(_number(TABLE_GB, DEFAULT_TABLE_GB, "gigabytes") * 1e9)


def require_size(name: str, size: int) -> None:
    """RawDataError, before anything is read, for a file of ``size`` bytes that is too large.

    A name that ends like a table has the limit of tables, any other that of images.
    """
    table = name.lower().endswith(TABLES)
    limit = max_table_bytes() if table else max_image_bytes()
    if size <= limit:
        return
    if table:
        rule, raised = "a table must fit in memory", f"{TABLE_GB}={math.ceil(size / 1e9)}"
    else:
        rule, raised = "an image's file must be of an image's size", f"{MEGAPIXELS}={math.ceil(size / 8e6)}"
    value = f"{name}: {size:,} bytes, over the limit of {limit:,}; {raised} in the environment reads it"
    raise RawDataError(rule, value, "is it the right file? restore it, or raise the limit")


def read_file(path: Path, name: str = "") -> bytes:
    """The bytes of a file that is within its limit; ``name`` is what errors call it.

    Raises
    ------
    RawDataError
        If it is too large, see ``require_size``.
    OSError
        If it cannot be read.
    """
    with path.open("rb") as opened:
        require_size(name or str(path), os.fstat(opened.fileno()).st_size)
        return opened.read()


def _number(name: str, default: float, unit: str) -> float:
    """A positive number of the environment."""
    stated = os.environ.get(name)
    if not stated:
        return default
    try:
        found = float(stated)
    except ValueError:
        found = math.nan
    if not (math.isfinite(found) and 0 < found < 1e9):
        value = repr(stated) if len(stated) < 40 else f"{len(stated)} letters"
        raise InputError(f"{name} is a number of {unit} above 0", value, f"for example {name}={default:g}")
    return found
