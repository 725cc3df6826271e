"""Pages for people: what a check found, with images."""

__all__ = ["comparison_html", "findings_text", "lr_plot"]  # the modules that other packages import
