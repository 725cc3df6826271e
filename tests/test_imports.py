"""Imports point down, heavy libraries stay behind the modules that own them, and looking around stays light."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from made import REPOSITORY, clean_environment

PACKAGE = REPOSITORY / "comp"

# Top to bottom. Between packages imports point strictly down: packages of one line do not import each other, and those
# within functions or for types alone count too. What is in no package is the ground, which all may import; the face,
# ``comp`` itself, is imported by nobody inside.
FLOORS = (
    ("cli",),
    ("pipelines", "kaggle"),
    ("report",),
    ("training", "checks", "ensembling"),
    ("inference", "submission"),
    ("models",),
    ("runs",),
    ("data",),
)
GROUND = len(FLOORS)
MOST_FOLDERS, MOST_FILES = 12, 16
SHIMS = {"_old_paths.py"}  # old module paths, each with a DeprecationWarning; they go with the next release

# Within data/ what lies in one of these folders imports nothing from those before it.
DATA_FLOORS = ("competitions", "loading", "augment", "images")
SPEAKING = ("cli", "pipelines", "kaggle", "report")  # all others say what they do through ``events`` alone

OWNERS = {
    "rich": {"comp.console"},
    "albumentations": {"comp.data.augment.policies"},
    "kaggle": {"comp.kaggle.client"},
    "kagglesdk": {"comp.kaggle.client"},
    "faiss": set(),
}
HEAVY = ("torch", "timm", "albumentations", "pandas", "sklearn", "scipy", "cv2", "kaggle", "accelerate")


def modules() -> dict[str, Path]:
    """Every module of the package, by its dotted name."""
    every = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(REPOSITORY).with_suffix("").parts
        if "builtin" not in parts:
            every[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return every


MODULES = modules()


def imports(name: str, lazy: bool = True) -> Iterator[str]:
    """What a module imports, by dotted name, for types alone too; ``lazy`` also inside functions."""

    def walk(node: ast.AST) -> Iterator[ast.AST]:
        for child in ast.iter_child_nodes(node):
            if not lazy and isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            yield child
            yield from walk(child)

    for node in walk(ast.parse(MODULES[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name} imports relatively"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield whole if whole in MODULES else str(node.module)


def package(name: str) -> str:
    """The package of a module; empty for the ground and the face."""
    parts = name.split(".")
    return parts[1] if len(parts) > 1 and (PACKAGE / parts[1]).is_dir() else ""


def floor(name: str) -> int:
    """The number of a module's floor from above."""
    if not package(name):
        return GROUND
    (number,) = (n for n, rooms in enumerate(FLOORS) if package(name) in rooms)
    return number


def inside(name: str, lazy: bool = True) -> set[str]:
    """The modules of this package that a module imports."""
    return {other for other in imports(name, lazy) if other.split(".")[0] == "comp"} - {name}


def test_the_house_has_these_rooms_and_no_others() -> None:
    folders = {path.name for path in PACKAGE.iterdir() if path.is_dir() and any(path.rglob("*.py"))}
    assert folders - {"builtin"} == {room for rooms in FLOORS for room in rooms}
    assert len(folders) <= MOST_FOLDERS
    assert len({path.name for path in PACKAGE.iterdir() if path.is_file()} - SHIMS) <= MOST_FILES
    assert len(MODULES) > 40


@pytest.mark.parametrize("name", [name for name in MODULES if name != "comp"])
def test_imports_point_down(name: str) -> None:
    wrong = [
        other
        for other in inside(name)
        if package(other) != package(name) and floor(other) <= floor(name) and package(name)
    ]
    assert not wrong, f"{name} imports upwards or sideways: {wrong}"
    if not package(name):
        assert not [other for other in inside(name) if package(other)], f"{name} is the ground"
    assert "comp" not in inside(name), f"{name} imports the face"


@pytest.mark.parametrize(
    "name", [name for name in MODULES if name.startswith("comp.data.") and name.split(".")[2] in DATA_FLOORS]
)
def test_within_data_imports_point_down_too(name: str) -> None:
    above = DATA_FLOORS[: DATA_FLOORS.index(name.split(".")[2])]
    wrong = [
        other for other in inside(name) if other.startswith("comp.data.") and other.split(".")[2] in above
    ]
    assert not wrong, f"{name} imports upwards: {wrong}"


@pytest.mark.parametrize(
    "name", [name for name in MODULES if package(name) and package(name) not in SPEAKING]
)
def test_a_library_does_not_print(name: str) -> None:
    assert "comp.console" not in inside(name)


def test_no_import_goes_round_in_a_circle() -> None:
    graph = {
        name: {other for other in inside(name) if other in MODULES} for name in MODULES if name != "comp"
    }
    assert len(list(TopologicalSorter(graph).static_order())) >= len(MODULES) - 1
    rooms = {
        room: {package(other) for name in MODULES if package(name) == room for other in inside(name)}
        - {room, ""}
        for rooms in FLOORS
        for room in rooms
    }
    assert len(list(TopologicalSorter(rooms).static_order())) == len(rooms)


@pytest.mark.parametrize("library", OWNERS)
def test_a_library_is_imported_by_its_owner_alone(library: str) -> None:
    users = {name for name in MODULES if any(other.split(".")[0] == library for other in imports(name))}
    assert users <= OWNERS[library]


def loaded_after(workspace: Path, *arguments: str) -> set[str]:
    """The top-level modules that a process holds after a command."""
    program = (
        "import json, sys\n"
        "from comp.cli.main import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit as stop:\n    assert not stop.code, stop.code\n"
        "print('\\n' + json.dumps(sorted({name.split('.')[0] for name in sys.modules})))\n"
    )
    command = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(
        command, cwd=workspace, capture_output=True, text=True, env=clean_environment(), check=True
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize("arguments", [["--help"], ["list"], ["run", "--help"], ["runs"]], ids=" ".join)
def test_looking_around_imports_nothing_heavy(workspace: Path, arguments: list[str]) -> None:
    assert not loaded_after(workspace, *arguments) & set(HEAVY)


def test_a_run_imports_nothing_of_the_extras(workspace: Path) -> None:
    after = loaded_after(workspace, "run", "digits", "--quick", "--folds", "2", "--no-report", "--json")
    assert "torch" in after
    assert not after & {"ray", "optuna", "sqlalchemy", "mlflow", "tensorboard", "wandb", "lmdb"}


def test_import_comp_is_light_and_offers_its_verbs() -> None:
    program = (
        "import sys, comp; print(sorted({n.split('.')[0] for n in sys.modules})); print(comp.run, comp.check)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    first, second = done.stdout.splitlines()
    assert not set(ast.literal_eval(first)) & {*HEAVY, "numpy", "rich", "pydantic"}
    assert "function run" in second


def test_no_module_hides_a_verb_of_the_same_name() -> None:
    """``import comp.x`` would put the module where ``comp.x(...)`` is the verb."""
    import comp

    names = {path.stem for path in Path(comp.__file__).parent.iterdir()}
    assert not names & set(comp.__all__)


@pytest.mark.parametrize("room", [room for rooms in FLOORS for room in rooms if room not in ("cli", "data")])
def test_a_package_names_what_others_import(room: str) -> None:
    """Its ``__all__`` has exactly the modules that other packages import; all others are its own affair."""
    named = ast.literal_eval(re.search(r"__all__ = (\[.*?\])", MODULES[f"comp.{room}"].read_text(), re.S)[1])  # type: ignore[index]
    prefix = f"comp.{room}."
    used = {other for name in MODULES if package(name) != room for other in inside(name) if other in MODULES}
    assert sorted(named) == sorted(
        {other.removeprefix(prefix).split(".")[0] for other in used if other.startswith(prefix)}
    )
