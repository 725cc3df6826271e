"""Submission CSVs: writing, validating, repairing ids, comparing."""

__all__ = ["answers", "comparison", "validate", "write"]  # the modules that other packages import
