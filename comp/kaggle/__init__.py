"""Kaggle: credentials, its client, downloads, submissions and offline kernels."""

import comp.console  # noqa: F401  its listener shows what is said here

__all__ = [
    "credentials",
    "download",
    "evaluation",
    "kernel",
    "manual_score",
    "oof_vs_leaderboard",
    "submit",
    "submitted",
]  # the modules that other packages import
