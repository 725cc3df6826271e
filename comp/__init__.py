"""From a competition's raw images to a submission you can trust.

The verbs of the command line as functions: ``comp.run("digits", folds=5)``, ``comp.check("digits")``,
``comp.predict("latest")``, ``comp.pseudo("latest", 0.95)``, ``comp.merge("RUN", "RUN")``,
``comp.ensemble("RUN", "RUN")``,
``comp.lr("digits")``, ``comp.bench("digits")``, ``comp.validate("digits", "submission.csv")``,
``comp.score("digits", "submission.csv")``, ``comp.kernel("digits")``,
``comp.compare("one.csv", "other.csv")``, ``comp.import_("digits", "oof.csv", "test.csv")``,
``comp.submit("digits")``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from comp._version import __version__

__all__ = [
    "__version__",
    "bench",
    "check",
    "compare",
    "ensemble",
    "import_",
    "kernel",
    "lr",
    "merge",
    "predict",
    "pseudo",
    "run",
    "score",
    "submit",
    "validate",
]

if TYPE_CHECKING:
    from comp.blending import ensemble
    from comp.comparing import compare
    from comp.find_lr import lr
    from comp.importing import import_
    from comp.kernels.folder import kernel
    from comp.measure_parts import bench
    from comp.merging import merge
    from comp.pipeline import run
    from comp.pseudo_labels import pseudo
    from comp.repeat import predict, validate
    from comp.scoring import score
    from comp.submitting import submit
    from comp.survey import check

_HOMES = {
    "run": "comp.pipeline",
    "check": "comp.survey",
    "lr": "comp.find_lr",
    "kernel": "comp.kernels.folder",
    "bench": "comp.measure_parts",
    "merge": "comp.merging",
    "ensemble": "comp.blending",
    "predict": "comp.repeat",
    "pseudo": "comp.pseudo_labels",
    "compare": "comp.comparing",
    "import_": "comp.importing",
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
