"""Kaggle: credentials, its client, downloads, submissions and offline kernels."""
