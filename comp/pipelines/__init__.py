"""One module a use case: run, check, predict, ensemble, merge, import and the others, from a request to its result."""

import sys

import comp.console  # noqa: F401  its listener shows what pipelines say

if "IPython" in sys.modules:  # else there is no notebook
    from comp.report.notebook import take_over

    take_over()

__all__ = [
    "benchmark",
    "check",
    "check_table",
    "clean",
    "compare",
    "contact_sheet",
    "engine",
    "ensemble",
    "find_lr",
    "import_predictions",
    "label_errors",
    "listing",
    "merge",
    "neighbours",
    "new_competition",
    "predict",
    "preset",
    "pseudo_label",
    "refit",
    "report",
    "report_index",
    "run",
    "run_bin",
    "run_diff",
    "run_result",
    "score",
    "sweep",
    "sweep_values",
    "tune",
    "validate",
]  # the modules that other packages import
