"""Image files: where they lie, decoding, fingerprints."""
