"""Image files to pixels: reading, decoding, fitting to a square, and the cache of decoded images."""
