"""A clean environment, a workspace with a made-up competition, and the art sample in its real layout."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

os.environ["HF_HUB_OFFLINE"] = "1"  # no test asks the network
os.environ["OMP_NUM_THREADS"] = "1"  # threads that wait for each other make a busy machine slower, not faster
os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"

from comp import registry
from comp.survey import write_sample
from comp.workspace import Workspace
from made import write_shapes

settings.register_profile(
    "comp",
    max_examples=60,
    deadline=None,  # the machine is shared
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("comp")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Whatever the developer has set, tests see no workspace, cache or weights but their own."""
    monkeypatch.setenv("COMP_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    for name in ("COMP_WORKSPACE", "COMP_WEIGHTS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """An empty workspace."""
    return tmp_path


@pytest.fixture
def shapes(workspace: Path) -> Path:
    """The raw folder of the made-up competition ``shapes`` in ``workspace``: 18 train, 12 test pictures."""
    return write_shapes(workspace)


@pytest.fixture(scope="session")
def art_raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A made-up raw folder of art-classification in its real layout; not to be written to."""
    root = tmp_path_factory.mktemp("art")
    art = registry.competition("art-classification", Workspace(root))
    write_sample(art, root / "raw")
    return root / "raw"
