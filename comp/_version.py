"""The version, in one place: the build reads it here too; and the folder of the package."""

from __future__ import annotations

from pathlib import Path

__version__ = "0.1.0"
PACKAGE = Path(__file__).parent
