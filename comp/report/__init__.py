"""Pages for people: what a check found, with images."""
