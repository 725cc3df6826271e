"""Training: a fold is a function of files and values that writes only into its own folder."""

__all__ = [
    "arcface",
    "cluster",
    "gradients",
    "head_trial",
    "launches",
    "linear_probe",
    "loop",
    "losses",
    "lr_range_test",
    "optim",
    "plan",
    "state",
    "teacher",
    "throughput",
    "time_limit",
    "train_fold",
    "train_folds",
    "transform_trial",
    "warm_start",
]  # the modules that other packages import
