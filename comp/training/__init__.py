"""Training: a fold is a function of files and values that writes only into its own folder."""
