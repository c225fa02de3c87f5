"""The time of a stream: what its stamps say, where it has gaps, how many rows a second it has."""

from __future__ import annotations

import math
from collections import deque
from datetime import UTC, datetime, timedelta

import numpy as np

from lnp_edge.recordings.times import UNITS, forms, plain, unit_of

GAP = 2.5  # sample intervals; a longer step is a gap
RECENT = 15  # steps, whose median is the usual one
ROWS = 20  # from which a rate is measured
DAY = 86400 * 10**6  # us
WRAPPED = 2**32  # where the counters of microcontrollers begin anew
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Stamps:
    """Seconds from each stamp to the next: numbers, or dates in a form of recordings/times.py.

    name, unit : of the column, as its header says
    dt : s, the model's interval; numbers whose unit nothing tells get that which is nearest to it
    """

    def __init__(self, name: str, unit: str, dt: float):
        self._name, self._unit, self._dt = name, unit, dt
        self._form: str | None = None  # "number", or a form of dates
        self._factor: float | None = None
        self._wrap = 0
        self._last: int | float | None = None
        self._first = ""  # the first stamp that could be read

    @property
    def began(self) -> datetime | None:
        """The date of the first stamp in its own zone, UTC if it says none; None if stamps have no date."""
        dated = self._form is not None and self._form != "number" and not self._wrap
        return _moment(self._first, self._form) if dated and self._form else None

    def step(self, cell: str, rows: int) -> float | None:
        """Seconds since the last stamp that could be read, `rows` rows before; None for the first, NaN if it is none.

        A counter of 32 bits and a time of day begin anew without a step.
        """
        cell = plain(cell)
        value = self._value(cell)
        before = self._last
        if value is None:
            return math.nan
        self._last = value
        self._first = self._first or cell
        if before is None:
            return None
        step = value - before
        if self._factor is None:
            if step <= 0:
                return float(step)
            per_row = step / rows
            self._factor = min(UNITS.values(), key=lambda f: abs(math.log(per_row * f / self._dt)))
        if step < 0 and self._wrap and 0 <= (step + self._wrap) * self._factor < 10 * rows * self._dt:
            step += self._wrap
        return step * self._factor

    def _value(self, cell: str) -> int | float | None:
        if self._form is None:
            self._form = "number" if _number(cell) is not None else self._fitting(cell)
            if self._form != "number":
                self._factor, self._wrap = 1e-6, DAY if self._form and self._form.startswith(("%H", "%I")) else 0
        if self._form != "number":
            found = _date(cell, self._form) if self._form else None
            if found is None and (other := self._fitting(cell)):  # the month came first
                self._form, self._last = other, None
                found = _date(cell, other)
            return found
        value = _number(cell)
        if value is not None and self._factor is None:
            unit = unit_of(self._name, self._unit, np.array([float(value)]))
            self._factor = UNITS[unit] if unit else None
        if self._form == "number":
            self._wrap = WRAPPED if isinstance(value, int) else 0
        return value

    def _fitting(self, cell: str) -> str | None:
        return next((form for form in forms(cell) if _date(cell, form) is not None), None)


def _number(cell: str) -> int | float | None:
    """An int where the cell is one: a double cannot hold nanoseconds since 1970."""
    cell = cell.replace(",", ".")
    if not cell.isascii() or "_" in cell or len(cell) > 40:
        return None
    try:
        return int(cell)
    except ValueError:
        pass
    try:
        value = float(cell)
    except ValueError:
        return None
    return value if abs(value) < 1e20 else None  # false of NaN


def _date(cell: str, form: str) -> int | None:
    """Microseconds since 1970, or since the day began."""
    found = _moment(cell, form)
    return None if found is None else (found - _EPOCH) // timedelta(microseconds=1)


def _moment(cell: str, form: str) -> datetime | None:
    whole, dot, fraction = cell.partition(".") if ":" in cell.partition(".")[0] else (cell, "", "")
    digits = len(fraction) - len(fraction.lstrip("0123456789"))
    cell = whole + dot + fraction[: min(digits, 6)] + fraction[digits:]  # a logger may write nanoseconds
    try:
        if form == "ISO8601":
            found = datetime.fromisoformat(cell)
        else:
            try:
                found = datetime.strptime(cell, form)
            except ValueError:  # a whole second may be written without its fraction
                found = datetime.strptime(cell, form.replace(".%f", ""))
        return found if found.tzinfo else found.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None


class Pace:
    """The stream's own time, in s since its first row, and its gaps.

    dt : s, the model's interval

    rate : rows a second, measured from stamps; 0 until it is known
    """

    def __init__(self, dt: float):
        self.dt = dt
        self.rate = 0.0
        self._t, self._rows = 0.0, 0  # of the last row
        self._origin = 0.0, 1  # time and number of a row from which rows without stamps are counted
        self.since = 0  # rows since the stamp changed
        self._seen = self._back = 0  # changes, and those of them that went back
        self._steps: deque[float] = deque(maxlen=RECENT)  # s a row
        self._known: tuple[float, int] | None = None  # where the present stamp began; None if that was not seen

    def next(self, step: float | None, lost: int, pause: float) -> tuple[float, float | None]:
        """The time of the next row, and the seconds that are missing before it if there is a gap.

        step  : s since the stamp before, if both are known
        lost  : rows before it that could not be used: always a gap
        pause : s of silence before it that are a gap; else 0
        """
        self._rows += 1 + lost
        if self._rows == 1 + lost:
            self._rows = 1
            return 0.0, None
        self.since += 1 + lost
        advance = max(self.dt * (1 + lost), pause)
        gap = bool(lost or pause)
        if step is not None:
            gap |= self._is_gap(step, self.since)
            advance = step if step >= 0 else advance
            self._t += advance
            self._origin = self._t, self._rows
        elif gap:
            self._t += advance
            self._origin = self._t, self._rows
        else:
            self._t = self._origin[0] + (self._rows - self._origin[1]) * self.dt
        if gap:
            self._known = None
        if step:
            self._changed(step, gap)
        return round(self._t, 6), max(0.0, advance - self.dt) if gap else None

    def parts(self, step: float | None, pause: float) -> bool:
        """Whether there is a gap before the next row: see next(), with no row lost."""
        return self._rows > 0 and (pause > 0 or (step is not None and self._is_gap(step, self.since + 1)))

    def _is_gap(self, step: float, n: int) -> bool:
        """n : rows since the stamp changed"""
        usual = sorted(self._steps)[(len(self._steps) - 1) // 2] if self._steps else self.dt
        interval = max(self.dt, usual)
        if n == 1:
            return step < 0 or step > GAP * interval
        # A clock of whole seconds, or rows that come in bursts: how long the first such stamp lasted is unknown.
        return step < 0 or (self._known is not None and step > 1.5 * (n + 1) * interval)

    def _changed(self, step: float, gap: bool) -> None:
        self._seen += 1
        self._back += step < 0
        if step > 0:
            self._steps.append(step / self.since)
        self.since = 0
        if gap:
            return
        self._known = self._known or (self._t, self._rows)
        seconds, rows = self._t - self._known[0], self._rows - self._known[1]
        if not self.rate and rows >= ROWS and seconds > 0:
            self.rate = rows / seconds

    @property
    def went_back(self) -> bool:
        return self._back > 0

    @property
    def no_clock(self) -> str:
        """Why the stamps are no time; "" if they may be one."""
        if self._back > 2 and 5 * self._back > self._seen:
            return "it goes back"
        return "it stands still" if self.since > max(100, 3 / self.dt) else ""

    def without_clock(self) -> None:
        """What follows has no stamps."""
        self.rate = 0.0
        self.since = self._seen = self._back = 0
        self._steps.clear()
        self._known = None
