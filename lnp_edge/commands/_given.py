"""The value of an option: an empty one, as of a variable of a shell that is not set, is none."""

import argparse
from pathlib import Path


def text(value: str) -> str:
    """A text. An empty one is not the default."""
    if not value:
        raise argparse.ArgumentTypeError("'' is nothing: leave it out for the default")
    return value


def path(value: str) -> Path:
    """A path. An empty one would be the folder that one is in."""
    if not value:
        raise argparse.ArgumentTypeError("'' is no file and no folder")
    return Path(value)
