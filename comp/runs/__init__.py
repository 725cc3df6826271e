"""Run folders: what a run keeps, reads again and proves, and the ledger of submissions."""

__all__ = [
    "contents",
    "ledger",
    "marks",
    "parts",
    "progress",
    "result",
    "run",
    "submissions",
    "tracking",
]  # the modules that other packages import
