"""Errors a user can mend. Anything else that escapes is our bug: it keeps its traceback, and exits with 70."""


class LnpError(Exception):
    """What failed, with its value; then the next thing to try.

    The command line prints both lines and exits with 2.
    """

    exit_code = 2

    def __init__(self, what: str, try_next: str):
        super().__init__(what, try_next)  # both, so that it survives the way back from a worker process
        self.what = what
        self.try_next = try_next

    def __str__(self) -> str:
        return f"{self.what}\n  {self.try_next}"


class ConfigError(LnpError):
    """A configuration or a command-line value is wrong."""


class DataError(LnpError):
    """Sensor data or a data set is missing or malformed."""


class ModelError(LnpError):
    """A network or model file is damaged, foreign or outside the proven range."""


class NetworkError(LnpError):
    """A network is too small, unstable or not finite for what is done to it. In a comparison that is a result."""


class BoardError(LnpError):
    """A board, a compiler, an emulator or a flash tool is unknown, absent or failed."""


class LinkError(LnpError):
    """The serial line is silent, busy, noisy, or speaks for another model."""


class DoesNotFit(LnpError):
    """The answer is no: the model is larger than the board. Exit 1, not 2."""

    exit_code = 1


class WentSilent(LnpError):
    """The answer is no: a network that fires in floats does not in integers."""

    exit_code = 1
