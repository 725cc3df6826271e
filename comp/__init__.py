"""From a competition's raw images to a submission you can trust.

The verbs of the command line as functions: ``comp.run("digits", folds=5)``, ``comp.check("digits")``,
``comp.predict("latest")``, ``comp.merge("RUN", "RUN")``, ``comp.lr("digits")``, ``comp.bench("digits")``,
``comp.validate("digits", "submission.csv")``, ``comp.score("digits", "submission.csv")``,
``comp.submit("digits")``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["__version__", "bench", "check", "lr", "merge", "predict", "run", "score", "submit", "validate"]

if TYPE_CHECKING:
    from comp.find_lr import lr
    from comp.measure_parts import bench
    from comp.merging import merge
    from comp.pipeline import run
    from comp.repeat import predict, validate
    from comp.scoring import score
    from comp.submitting import submit
    from comp.survey import check

_HOMES = {
    "run": "comp.pipeline",
    "check": "comp.survey",
    "lr": "comp.find_lr",
    "bench": "comp.measure_parts",
    "merge": "comp.merging",
    "predict": "comp.repeat",
    "validate": "comp.repeat",
    "score": "comp.scoring",
    "submit": "comp.submitting",
}


def __getattr__(name: str) -> Any:
    """The verbs, imported when they are first used, so that ``import comp`` stays light."""
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'comp' has no attribute {name!r}")
