"""Imports point down, heavy libraries stay behind the modules that own them, and looking around stays light."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from made import REPOSITORY, clean_environment

PACKAGE = REPOSITORY / "comp"

# Top to bottom; a module belongs to the longest prefix that fits it, and imports from its own layer and below.
LAYERS: dict[str, tuple[str, ...]] = {
    "verbs": ("comp.cli",),
    "chains": (
        "comp.pipelines.run",
        "comp.pipelines.predict",
        "comp.pipelines.check",
        "comp.pipelines.training_plans",
        "comp.training.result",
        "comp.pipelines.tta_selection",
        "comp.pipelines.pseudo_label",
        "comp.pipelines.record",
        "comp.cli.doctor",
        "comp.data.competitions.scaffold",
        "comp.pipelines.score",
        "comp.pipelines.request",
        "comp.pipelines.resume",
        "comp.pipelines.merge",
        "comp.pipelines.import_predictions",
        "comp.pipelines.compare",
        "comp.pipelines.ensemble",
        "comp.cli.show_ensemble",
        "comp.pipelines.seeds",
        "comp.pipelines.check_table",
        "comp.pipelines.contact_sheet",
        "comp.pipelines.find_lr",
        "comp.pipelines.benchmark",
        "comp.report.findings_text",
        "comp.kaggle.client",
        "comp.kaggle.kernel",
        "comp.kaggle.types",
        "comp.kaggle.http",
        "comp.kaggle.download",
        "comp.kaggle.permissions",
        "comp.kaggle.prepare",
        "comp.kaggle.reconcile",
        "comp.kaggle.submit",
        "comp.kaggle.manual_score",
        "comp.submitted_view",
        "comp.kaggle.oof_vs_leaderboard",
        "comp.cli.show_submissions",
        "comp.report",
    ),
    "steps": (
        "comp.checks",
        "comp.training",
        "comp.inference",
        "comp.ensembling",
        "comp.submission.write",
        "comp.submission.validate",
        "comp.pipelines.smoke",
    ),
    "records": (
        "comp.runs.machine",
        "comp.runs.run",
        "comp.runs.contents",
        "comp.runs.result",
        "comp.runs.ledger",
    ),
    "images": ("comp.images",),
    "domain": (
        "comp.data.competitions.competition",
        "comp.data.competitions.adapter",
        "comp.data.competitions.schema",
        "comp.data.competitions.registry",
        "comp.recipe",
        "comp.overrides",
        "comp.recipe_schema",
        "comp.tta_presets",
        "comp.data.manifest",
        "comp.data.extra_rows",
        "comp.data.label_cleaning",
        "comp.data.labels",
        "comp.data.folds",
        "comp.metrics",
        "comp.scores",
        "comp.uncertainty",
        "comp.data.predictions",
        "comp.data.pseudo_labels",
        "comp.data.template",
        "comp.pipelines.external_predictions",
        "comp.data.csv_table",
        "comp.submission.id_repair",
        "comp.data.images.source",  # files and their bytes: what an adapter reads with, no pictures yet
        "comp.data.images.raw_tree",
    ),
    "files": (
        "comp.kaggle.credentials",
        "comp.data.download",
        "comp.data.archives",
        "comp.data.safe_pickle",
        "comp.data.file_names",
        "comp.data.limits",
        "comp.data.spelling",
        "comp.workspace",
        "comp.hashes",
        "comp.leftovers",
        "comp.runs.lock",
        "comp.shapes",
    ),
    "speech": ("comp.console",),
    "errors": ("comp.errors", "comp.documents", "comp.numerals", "comp"),
}
ORDER = list(LAYERS)

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
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(REPOSITORY).with_suffix("").parts
        if "builtin" not in parts:
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def imports(name: str, lazy: bool = True, typing: bool = False) -> Iterator[str]:
    """What a module imports, by dotted name: ``lazy`` also inside functions, ``typing`` also for types alone."""

    def walk(node: ast.AST) -> Iterator[ast.AST]:
        for child in ast.iter_child_nodes(node):
            if not typing and isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
                continue
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


def layer(name: str) -> str:
    """The layer of a module."""
    fitting = [
        (len(prefix), kind)
        for kind, prefixes in LAYERS.items()
        for prefix in prefixes
        if name == prefix or (prefix != "comp" and name.startswith(prefix + "."))
    ]
    assert fitting, f"{name} has no layer: give it one in {Path(__file__).name}"
    return max(fitting)[1]


def test_every_module_has_a_layer() -> None:
    assert len(MODULES) > 40
    assert all(layer(name) in ORDER for name in MODULES)


@pytest.mark.parametrize("name", MODULES)
def test_imports_point_down(name: str) -> None:
    inside = [other for other in imports(name) if other.split(".")[0] == "comp"]
    upward = [other for other in inside if ORDER.index(layer(other)) < ORDER.index(layer(name))]
    assert not upward, f"{name} imports upwards: {upward}"


@pytest.mark.parametrize("name", MODULES)
def test_domain_types_do_not_speak(name: str) -> None:
    assert layer(name) != "domain" or "comp.console" not in imports(name)


def test_no_import_goes_round_in_a_circle() -> None:
    graph = {
        name: {other for other in imports(name, lazy=False) if other in MODULES and other != "comp"}
        for name in MODULES
    }
    assert len(list(TopologicalSorter(graph).static_order())) >= len(MODULES) - 1


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
