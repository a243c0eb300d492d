"""Files that are hostile, damaged or of another kind; each is a named case."""
