"""Checks: a context in, findings out; an error stops a run."""
