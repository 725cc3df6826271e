"""Pages for people, and plots: what a check found, what a run came to, two submissions, all runs."""

__all__ = [
    "comparison_html",
    "findings_text",
    "index_html",
    "lr_plot",
    "notebook",
    "run_report",
    "study_html",
]  # the modules that other packages import
