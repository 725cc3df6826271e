"""Blends of runs: joined by id, weights learned on OOF rows alone, scored by nested folds; calibration and decision rules."""

__all__ = ["aligned", "decisions", "evaluate", "members", "methods"]  # the modules that other packages import
