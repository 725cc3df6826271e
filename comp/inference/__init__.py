"""Views, and predictions of rows by checkpoints."""
