"""Checks: evidence in, findings out; the gate decides."""
