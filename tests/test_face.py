"""What others may import: the face of comp, that of comp.data, and old paths that warn."""

from __future__ import annotations

import importlib
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

import comp
import comp.data
from comp._old_paths import OLD_PATHS
from comp.errors import UnknownName
from made import clean_environment, subprocess_comp

OLD_ADAPTER = """
from comp.manifest import Manifest, Sample, natural_key
from comp.images.source import ArraySource, RawTree
from comp.names import nfc
from comp.tables import parse_table, read_table
from comp.labels import in_order
from comp import archives, pickles
from comp.download import fetch
print(Manifest.__module__, ArraySource.__module__, archives.__name__)
"""


def test_the_verbs_are_these() -> None:
    assert comp.__all__ == [
        "__version__",
        "bench",
        "check",
        "clean",
        "compare",
        "delete_runs",
        "diff_runs",
        "ensemble",
        "import_",
        "kernel",
        "labels",
        "list_competitions",
        "list_models",
        "list_runs",
        "lr",
        "merge",
        "neighbours",
        "predict",
        "pseudo",
        "restore_runs",
        "run",
        "run_preset",
        "score",
        "show",
        "submit",
        "sweep",
        "tune",
        "validate",
        "write_report",
    ]
    for name in comp.__all__:
        assert getattr(comp, name) is not None
        assert not (Path(comp.__file__).parent / name).exists(), f"the package {name} would hide comp.{name}"


def test_adapters_find_what_they_need_in_comp_data() -> None:
    assert comp.data.__all__ == sorted(comp.data.__all__, key=lambda name: (name[0].islower(), name))
    for name in comp.data.__all__:
        assert getattr(comp.data, name).__name__ == name
    with pytest.raises(AttributeError, match="has no attribute 'Nothing'"):
        _ = comp.data.Nothing  # type: ignore[attr-defined]


def test_the_old_paths_of_adapters_work_with_a_warning(tmp_path: Path) -> None:
    (tmp_path / "adapter.py").write_text(OLD_ADAPTER)
    done = subprocess.run(
        [sys.executable, "-W", "always::DeprecationWarning", "adapter.py"],
        cwd=tmp_path,
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["comp.data.manifest", "comp.data.images.source", "comp.archives"]
    for old in ("manifest", "images.source", "names", "tables", "labels", "archives", "pickles", "download"):
        assert f"DeprecationWarning: comp.{old} is now comp.data." in done.stderr


def test_old_paths_work_when_a_program_empties_pythons_cache_of_finders() -> None:
    code = "import sys, comp; sys.path_importer_cache.clear(); import comp.manifest; print(comp.manifest.Sample.__name__)"
    done = subprocess.run(
        [sys.executable, "-c", code], env=clean_environment(), capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout.strip()) == (0, "Sample"), done.stderr


def test_an_old_adapter_of_a_workspace_works_with_a_warning(shapes: Path, workspace: Path) -> None:
    adapter = workspace / "competitions" / "shapes" / "adapter.py"
    new = "from comp.data import Manifest, RawTree, Sample, read_table\n"
    old = "from comp.images.source import RawTree\nfrom comp.manifest import Manifest, Sample\nfrom comp.tables import read_table\n"
    assert new in adapter.read_text()
    adapter.write_text(adapter.read_text().replace(new, old))
    done = subprocess_comp(workspace, "check", "shapes", "--folds", "2")
    assert done.code == 0, done.err
    assert "comp.manifest is now comp.data.manifest" in done.err
    assert "comp.images.source is now comp.data.images.source" in done.err


@pytest.mark.parametrize("old", OLD_PATHS)
def test_every_old_path_leads_somewhere(old: str) -> None:
    sys.modules.pop(old, None)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        module = importlib.import_module(old)
    assert f"{old} is now comp.data" in str(said[-1].message)
    assert said[-1].category is DeprecationWarning
    for home in OLD_PATHS[old]:
        there = importlib.import_module(home)
        for name in getattr(there, "__all__", []):
            assert hasattr(module, name)
    sys.modules.pop(old, None)


def test_the_old_module_of_a_verbs_name_can_be_called_as_the_verb(workspace: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        importlib.import_module("comp.labels")
    with pytest.raises(UnknownName, match="latest"):
        comp.labels("latest", workspace=workspace)
