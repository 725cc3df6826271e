"""Folds on the machines of a Ray cluster: workers train and send back what they wrote; the process that asked writes the run."""

__all__ = ["connection", "executor"]  # the modules that other packages import
