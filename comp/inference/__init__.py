"""Views, and predictions of rows by checkpoints."""

__all__ = [
    "feature_cache",
    "forward",
    "grad_cam",
    "level_features",
    "neighbours",
    "predict",
]  # the modules that other packages import
