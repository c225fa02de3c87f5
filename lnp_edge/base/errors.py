"""Errors that a user can fix.

Any other exception is our bug: it keeps its traceback and the command exits with 70.
"""

import re

LONG = re.compile(r"([^\s/,]{60})[^\s/,]{60,}")  # a number or a word, not a path of many folders


def told(value: object) -> str:
    """A value of a file in a message, at most 60 characters: text in quotes, so that "9" is told from 9."""
    return "missing" if value is None else repr(value[:60]) if isinstance(value, str) else str(value)[:60]


class LnpError(Exception):
    """Says what failed, with its value, and then what to try next.

    The command line prints both lines and exits with 2. A word of 120 characters or more, such as a
    number of a foreign file, is cut to 60.
    """

    exit_code = 2

    def __init__(self, what: str, try_next: str):
        what, try_next = LONG.sub(r"\1...", what), LONG.sub(r"\1...", try_next)
        super().__init__(what, try_next)  # pickling from a worker needs both
        self.what = what
        self.try_next = try_next

    def __str__(self) -> str:
        return f"{self.what}\n  {self.try_next}"


class ConfigError(LnpError):
    """A configuration or a command-line value is wrong."""


class DataError(LnpError):
    """Sensor data or a data set is missing or malformed."""


class ModelError(LnpError):
    """A network or model file is damaged, not ours, or outside the range of the overflow proof."""


class NetworkError(LnpError):
    """A network is too small, unstable or not finite for an operation.

    In a comparison of methods this is a result, not a failure.
    """


class BoardError(LnpError):
    """A board, compiler, emulator or flash tool is unknown, missing or has failed."""


class LinkError(LnpError):
    """The serial line is silent, busy or noisy, or the device runs another model."""


class DoesNotFit(LnpError):
    """The model is larger than the board. A negative answer, not a failure: exits with 1."""

    exit_code = 1


class WentSilent(LnpError):
    """A network that fires in floats does not fire in integers. Exits with 1."""

    exit_code = 1
