"""The page of one run: what it scored, where it errs, and what to try next."""

__all__ = ["page"]  # the module that other packages import
