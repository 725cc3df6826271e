"""Transforms of training images, for one image and for whole batches."""
