"""From a competition's raw images to a submission you can trust.

The verbs of the command line as functions: ``comp.run("digits", folds=5)``, ``comp.check("digits")``,
``comp.predict("latest")``, ``comp.pseudo("latest", 0.95)``, ``comp.labels("latest")``, ``comp.merge("RUN", "RUN")``,
``comp.ensemble("RUN", "RUN")``,
``comp.tune("digits", trials=50)``, ``comp.run_preset("digits", "fast", time_limit="4m")``, ``comp.lr("digits")``, ``comp.bench("digits")``, ``comp.validate("digits", "submission.csv")``,
``comp.score("digits", "submission.csv")``, ``comp.kernel("digits")``,
``comp.compare("one.csv", "other.csv")``, ``comp.import_("digits", "oof.csv", "test.csv")``,
``comp.submit("digits")``, ``comp.write_report("latest")``,
``comp.sweep("digits", overrides=["optimizer.lr=1e-3,3e-3"])``, ``comp.diff_runs("RUN", "RUN")``, ``comp.delete_runs("RUN")``,
``comp.restore_runs("RUN")``, ``comp.clean()``. What there is, as tables: ``comp.list_competitions()``, ``comp.list_runs("digits")``,
``comp.list_models()``, ``comp.show("digits")``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from comp._old_paths import accept_old_paths
from comp._version import __version__

__all__ = [
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

if TYPE_CHECKING:
    from comp.kaggle.kernel.build import kernel
    from comp.kaggle.submit import submit
    from comp.pipelines.benchmark import bench
    from comp.pipelines.check import check
    from comp.pipelines.clean import clean
    from comp.pipelines.compare import compare
    from comp.pipelines.ensemble import ensemble
    from comp.pipelines.find_lr import lr
    from comp.pipelines.import_predictions import import_
    from comp.pipelines.label_errors import labels
    from comp.pipelines.listing import list_competitions, list_models, list_runs, show
    from comp.pipelines.merge import merge
    from comp.pipelines.neighbours import neighbours
    from comp.pipelines.predict import predict
    from comp.pipelines.preset import run_preset
    from comp.pipelines.pseudo_label import pseudo
    from comp.pipelines.report import write_report
    from comp.pipelines.run import run
    from comp.pipelines.run_bin import delete_runs, restore_runs
    from comp.pipelines.run_diff import diff_runs
    from comp.pipelines.score import score
    from comp.pipelines.sweep import sweep
    from comp.pipelines.tune import tune
    from comp.pipelines.validate import validate

_HOMES = {
    "run": "comp.pipelines.run",
    "check": "comp.pipelines.check",
    "lr": "comp.pipelines.find_lr",
    "kernel": "comp.kaggle.kernel.build",
    "labels": "comp.pipelines.label_errors",
    "list_competitions": "comp.pipelines.listing",
    "list_models": "comp.pipelines.listing",
    "list_runs": "comp.pipelines.listing",
    "show": "comp.pipelines.listing",
    "bench": "comp.pipelines.benchmark",
    "merge": "comp.pipelines.merge",
    "neighbours": "comp.pipelines.neighbours",
    "ensemble": "comp.pipelines.ensemble",
    "predict": "comp.pipelines.predict",
    "run_preset": "comp.pipelines.preset",
    "pseudo": "comp.pipelines.pseudo_label",
    "compare": "comp.pipelines.compare",
    "import_": "comp.pipelines.import_predictions",
    "validate": "comp.pipelines.validate",
    "score": "comp.pipelines.score",
    "sweep": "comp.pipelines.sweep",
    "clean": "comp.pipelines.clean",
    "delete_runs": "comp.pipelines.run_bin",
    "restore_runs": "comp.pipelines.run_bin",
    "diff_runs": "comp.pipelines.run_diff",
    "submit": "comp.kaggle.submit",
    "tune": "comp.pipelines.tune",
    "write_report": "comp.pipelines.report",
}


def __getattr__(name: str) -> Any:
    """The verbs, imported when they are first used, so that ``import comp`` stays light."""
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'comp' has no attribute {name!r}")


accept_old_paths(__path__)
