"""Blends of runs: joined by id, weights learned on OOF rows alone, scored by nested folds; calibration and decision rules."""
