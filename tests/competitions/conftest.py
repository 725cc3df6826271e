"""The samples of the competitions, each written once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from comp.data.competitions.competition import Competition, find_competition
from comp.data.competitions.sample import write_sample
from comp.workspace import Workspace


@pytest.fixture(scope="session")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The made-up raw folder of a competition by slug; not to be written to."""
    root = tmp_path_factory.mktemp("samples")

    def made(slug: str) -> Path:
        if not (root / slug).is_dir():
            write_sample(find_competition(slug, Workspace(root)), root / slug)
        return root / slug

    return made


@pytest.fixture
def competition(tmp_path: Path) -> Callable[[str], Competition]:
    """A built-in competition by slug."""
    return lambda slug: find_competition(slug, Workspace(tmp_path))
