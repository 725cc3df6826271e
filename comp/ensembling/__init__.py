"""Blends of runs: joined by id, weights learned on OOF rows alone, scored by nested folds; calibration and decision rules."""

__all__ = [
    "aligned",
    "decisions",
    "evaluate",
    "forward_selection",
    "kept_blend",
    "learned_again",
    "members",
    "methods",
    "nested_cv",
]  # the modules that other packages import
