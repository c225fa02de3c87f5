"""Shared by every package: errors, files, the console, installation hints, compilation."""
