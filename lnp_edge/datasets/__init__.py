"""Data sets, one per module with load(root=None) -> Dataset. Adding a file adds a data set."""
