"""What is told of the rate of a stream, and that a live source is heard."""

from __future__ import annotations

from collections.abc import Callable

OFF = 0.1  # share by which a rate may differ from the model's
FIRST = 1.0  # s of rows after which their rate is told
NOTHING = 1.5  # s after which it is told that no rate is known yet
SURE, SURE_ROWS = 2.0, 10  # s and rows after which a rate is compared with the model's
RECORDED = 10.0  # a pipe whose rate is so many times the model's has no live source behind it


class Rates:
    """Tells of a rate that is not the model's, once. dt : s, the model's interval"""

    def __init__(self, dt: float, tell: Callable[[str], None]):
        self._dt, self._tell, self._done = dt, tell, False

    def compare(self, rate: float) -> None:
        if not self._done and abs(rate * self._dt - 1) > OFF:
            self._tell(f"{spoken(rate)}, the model was trained at {spoken(1 / self._dt)}")
        self._done = True


def spoken(rate: float) -> str:
    """A rate in words."""
    return f"{rate:.1f} rows a second" if rate >= 0.95 else f"one row in {1 / rate:.3g} s"


class Listening:
    """Tells that a live source is heard, and at which rate.

    Measured between moments at which the reader had to wait: all that had come was read. So neither what
    came before nor what comes in blocks is taken for a high rate.

    port : whether it is a serial port

    recorded : whether the rows of a pipe come too fast for a live source
    """

    def __init__(self, dt: float, port: bool, tell: Callable[[str], None], rates: Rates):
        self._dt, self._port, self._tell, self._rates = dt, port, tell, rates
        self._start: float | None = None
        self._anchor: tuple[float, int] | None = None
        self._rows = 0  # at the last wait
        self._nothing = self._told = self._blocks = False
        self.recorded = False

    def begins(self) -> None:
        """A rate is measured anew."""
        self._anchor = None

    def waits(self, begin: float, now: float, rows: int, lines: int, wrong: str, stamped: bool) -> None:
        """The reader waited from `begin` to now.

        rows, lines : read so far
        wrong       : with the first line that was passed over
        stamped     : whether rows have a time, which tells their rate better
        """
        if self._start is None:
            self._start = begin
        if rows != self._rows or self._anchor is None:
            self._rows = rows
            self._measure(begin, rows, stamped)
        if not (self._nothing or self._told or self.recorded) and now - self._start >= NOTHING:
            self._nothing = True
            heard = (
                f"{rows} rows so far" if rows else f"{lines} lines, none is a row: {wrong}" if wrong else "nothing yet"
            )
            self._tell(f"listening: {heard}")

    def _measure(self, begin: float, rows: int, stamped: bool) -> None:
        if self._anchor is None:
            self._anchor = begin, rows
            return
        seconds, count = begin - self._anchor[0], rows - self._anchor[1]
        if self.recorded or seconds < FIRST or not count:
            return
        rate = count / seconds
        self.recorded = not self._port and rate * self._dt > RECORDED
        if not self._told and not self.recorded:
            self._told = True
            self._tell(f"listening: {spoken(rate)}")
        if not self.recorded and not stamped and seconds >= SURE and count >= SURE_ROWS:
            self._rates.compare(rate)

    def in_blocks(self, seconds: float) -> None:
        if not self._blocks:
            self._blocks = True
            self._tell(f"rows come in blocks, {seconds:.1f} s apart: let the program before the pipe flush each line")
