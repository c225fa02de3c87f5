"""Trials that are run, kept on disk, compared and drawn."""
