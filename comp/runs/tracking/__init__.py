"""Experiment trackers: a run's events go to a process of each tracker's own, which outlives the run where it is slow."""
