"""Kaggle: credentials, its client, downloads, submissions and offline kernels."""

import comp.console  # noqa: F401  its listener shows what is said here
