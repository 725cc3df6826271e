"""A clean environment, a workspace with a made-up competition, and the art sample in its real layout."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

os.environ["HF_HUB_OFFLINE"] = "1"  # no test asks the network
os.environ["OMP_NUM_THREADS"] = "1"  # threads that wait for each other make a busy machine slower, not faster
os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"

from comp.data.competitions.competition import find_competition
from comp.data.competitions.sample import write_sample
from comp.workspace import Workspace
from kaggle_server import LoopbackKaggle, serve
from made import KAGGLE_KEY, KAGGLE_USER, files_with_secrets, run_comp, write_shapes

# a credential that every test could let slip, and no way to where it would be used
os.environ["KAGGLE_USERNAME"], os.environ["KAGGLE_KEY"] = KAGGLE_USER, KAGGLE_KEY
os.environ["KAGGLE_API_ENVIRONMENT"] = "LOCALHOST"
os.environ["https_proxy"] = "http://127.0.0.1:9"
os.environ.pop("KAGGLE_API_TOKEN", None)

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
    for name in ("COMP_WORKSPACE", "COMP_WEIGHTS", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Nothing that the whole suite wrote may hold a credential: looks through every file of its scratch folders."""
    factory = getattr(session.config, "_tmp_path_factory", None)
    if factory is None or getattr(factory, "_basetemp", None) is None:
        return
    found = files_with_secrets(factory.getbasetemp())
    if found:
        print("\na credential was written:", *found, sep="\n  ")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """An empty workspace."""
    return tmp_path


@pytest.fixture
def shapes(workspace: Path) -> Path:
    """The raw folder of the made-up competition ``shapes`` in ``workspace``: 18 train, 12 test images."""
    return write_shapes(workspace)


@pytest.fixture(scope="session")
def art_raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A made-up raw folder of art-classification in its real layout; not to be written to."""
    root = tmp_path_factory.mktemp("art")
    art = find_competition("art-classification", Workspace(root))
    write_sample(art, root / "raw")
    return root / "raw"


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with ``shapes``, on Kaggle as ``three-shapes``, and one finished run; not to be written to."""
    place = tmp_path_factory.mktemp("finished")
    write_shapes(place)
    facts = place / "competitions" / "shapes" / "competition.toml"
    facts.write_text('kaggle = "three-shapes"\n' + facts.read_text())
    assert run_comp(place, "run", "shapes", "--folds", 2).code == 0
    return place


@pytest.fixture
def submittable(finished: Path, workspace: Path) -> Path:
    """A copy of ``finished`` that may be written to."""
    shutil.copytree(finished, workspace, dirs_exist_ok=True)
    return workspace


@pytest.fixture
def kaggle() -> Iterator[LoopbackKaggle]:
    """A made-up Kaggle on this machine."""
    server = LoopbackKaggle()
    thread = serve(server)
    yield server
    server.released.set()
    server.shutdown()
    thread.join()
    server.server_close()
