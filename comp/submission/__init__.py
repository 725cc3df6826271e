"""Submission CSVs: writing, validating, repairing ids, comparing."""
