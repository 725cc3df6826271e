"""A fresh install has all that is imported: by ``comp``, and by the kaggle commands that it tells people to use."""

from __future__ import annotations

import ast
import sys
import tomllib
from collections.abc import Iterable
from functools import cache
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from importlib.util import find_spec
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from made import REPOSITORY
from test_imports import MODULES, imports

# used where they are: IPython in a notebook alone, which brings it; trackers in processes of their own, by the extras
OPTIONAL = {"faiss", "IPython", "mlflow", "tensorboard", "wandb"}
OF_AN_EXTRA = {
    "lmdb",
    "optuna",
    "pyarrow",
    "pydicom",
    "ray",
    "sqlalchemy",
    "tifffile",
}  # of `shards`, `medical`, `tune` and `scale`; refused with a remedy where they are absent
STATED = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]


@cache
def installed() -> frozenset[str]:
    """The distributions that an install brings: the stated ones, theirs, and so on."""
    found: set[str] = set()
    open_ = [Requirement(one) for one in STATED]
    while open_:
        one = open_.pop()
        name = canonicalize_name(one.name)
        if name in found or (one.marker and not one.marker.evaluate({"extra": ""})):
            continue
        found.add(name)
        try:
            open_ += map(Requirement, requires(name) or ())
        except PackageNotFoundError:  # another platform's
            continue
    return frozenset(found)


def lacking(modules: Iterable[str]) -> set[str]:
    """Those that no distribution of an install has."""
    known = packages_distributions()
    tops = {name.split(".")[0] for name in modules} - sys.stdlib_module_names - OPTIONAL - OF_AN_EXTRA
    return {top for top in tops if not installed() & {canonicalize_name(d) for d in known.get(top, ())}}


def test_comp_imports_only_what_an_install_brings() -> None:
    used = {other for name in MODULES for other in imports(name)}
    assert len(used) > 20
    assert not lacking(other for other in used if other.split(".")[0] != "comp")


def test_kaggle_imports_only_what_an_install_brings() -> None:
    """It imports six, and does not state it."""
    spec = find_spec("kaggle")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("the kaggle package is not installed")
    (folder,) = spec.submodule_search_locations
    used = set()
    for path in Path(folder).rglob("*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Import):
                used |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
                used.add(node.module)
    assert not lacking(used)
