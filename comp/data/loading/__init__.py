"""Batches of training images: filled ahead by threads, or gathered where they lie packed."""
