"""Checks: a context in, findings out; an error stops a run."""

__all__ = [
    "context",
    "feature_checks",
    "feature_drift",
    "fold_checks",
    "image_index",
    "image_scan",
    "label_errors",
    "look_alikes",
    "prediction_checks",
    "proposed_manifest",
    "related_images",
    "runner",
]  # the modules that other packages import
