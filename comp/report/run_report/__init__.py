"""The page of one run: what it scored, where it errs, and what to try next."""

__all__ = ["notebook", "page"]  # the modules that other packages import
