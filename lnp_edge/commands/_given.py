"""The value of an option that has a default of its own."""

import argparse


def text(value: str) -> str:
    """A text. An empty one, as of a variable of a shell that is not set, is not the default."""
    if not value:
        raise argparse.ArgumentTypeError("'' is nothing: leave it out for the default")
    return value
