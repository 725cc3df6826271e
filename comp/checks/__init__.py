"""Checks: a context in, findings out; an error stops a run."""

__all__ = [
    "context",
    "fold_checks",
    "image_scan",
    "label_errors",
    "prediction_checks",
    "proposed_manifest",
    "runner",
]  # the modules that other packages import
