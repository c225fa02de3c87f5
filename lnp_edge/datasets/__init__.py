"""Data sets: one module each with load(root=None) -> Dataset, found by its presence."""
