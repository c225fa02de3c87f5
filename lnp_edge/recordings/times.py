"""Clocks of loggers: numbers in s, ms, us or ns, and dates in common forms, as seconds."""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from lnp_edge.base.errors import DataError

UNITS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
SPELLED = {
    "s": "s", "sec": "s", "secs": "s", "second": "s", "seconds": "s", "ms": "ms", "msec": "ms", "millis": "ms",
    "milliseconds": "ms", "us": "us", "µs": "us", "μs": "us", "usec": "us", "micros": "us", "microseconds": "us",
    "ns": "ns", "nanoseconds": "ns",
}  # fmt: skip
# Seconds since 1970 of dates from 2001 to 2286 tell their unit by their size.
EPOCH = {"s": (1e9, 1e10), "ms": (1e12, 1e13), "us": (1e15, 1e16), "ns": (1e18, 1e19)}
# Names of columns of time.
CLOCK = re.compile(r"time|zeit|stamp|^t(s|_?[mun]?s)?$|millis|micros|^date|datum|seconds|elapsed|uptime|^ms$", re.I)
LATEST = 1e12  # s; a later time is junk
_DAY = r"\d{1,2}", r"\d{4}|\d{2}"
ORDERS = ("%d{0}%m{0}%Y", "%m{0}%d{0}%Y")


def unit_of(name: str, unit: str, values: NDArray[np.float64] | None) -> str:
    """The unit of a time column of numbers: from its header, its name ("t_ms") or its size; "" if nothing says it."""
    for word in (unit, re.split(r"[^a-zµμ]+", name.lower())[-1]):
        if word.strip().lower() in SPELLED:
            return SPELLED[word.strip().lower()]
    if values is not None and np.isfinite(values).any():
        middle = float(np.nanmedian(values))
        return next((u for u, (low, high) in EPOCH.items() if low <= middle < high), "")
    return ""


class Clock:
    """Reads the time of one file, block by block, in one form that its first block decides.

    absolute : whether the times are dates, so that files may continue each other
    """

    def __init__(self, place: str, name: str, unit: str, header_unit: str):
        self.place, self.name, self.unit, self.header_unit = place, name, unit, header_unit
        self.form: str | None = None  # "number", or a strptime format, or "ISO8601"
        self.origin: int | None = None
        self.absolute = False

    def seconds(self, values: NDArray) -> NDArray[np.float64]:
        """Seconds of the cells, less whole seconds that are the same for a file; NaN where a cell is no time."""
        import pandas

        if values.dtype.kind == "M":
            return self._since(values.astype("datetime64[ns]"))
        if self.form is None:
            self.form = self._form(values)
        if self.form != "number":
            text = pandas.Series(values, dtype=object).map(plain)
            return self._since(_parsed(text, self.form))
        if values.dtype == object:
            text = pandas.Series(values).map(lambda c: c.replace(",", ".") if isinstance(c, str) else c)
            values = pandas.to_numeric(text, errors="coerce").to_numpy()
        found = values.astype(np.float64)
        self.unit = self.unit or unit_of(self.name, self.header_unit, found) or "s"
        factor = UNITS[self.unit]
        low, high = EPOCH[self.unit]
        middle = np.nanmedian(found) if np.isfinite(found).any() else 0.0
        self.absolute |= bool(low <= middle < high)
        if self.origin is None:  # subtracted before the product: a double holds 2**53 ns exactly
            self.origin = int(np.nanmin(found)) if np.isfinite(found).any() and abs(np.nanmin(found)) < 1e18 * 9 else 0
        with np.errstate(all="ignore"):
            exact = values - self.origin if values.dtype.kind in "iu" else found - self.origin
            found = exact.astype(np.float64) * factor
        return np.where(np.abs(found) < LATEST, found, np.nan)

    @property
    def start(self) -> float:
        """What seconds() subtracts, in s since 1970 if the times are absolute."""
        return float(self.origin or 0) * (UNITS[self.unit or "s"] if self.form == "number" else 1.0)

    def _since(self, stamps: NDArray) -> NDArray[np.float64]:
        self.absolute = not str(self.form).startswith(("%H", "%I"))
        found, none = stamps.astype(np.int64), np.isnat(stamps)
        if self.origin is None:
            self.origin = int(found[~none].min() // 10**9) if not none.all() else 0
        seconds = (found - self.origin * 10**9) / 1e9
        return np.where(none | (np.abs(seconds) >= LATEST), np.nan, seconds)

    def _form(self, values: NDArray) -> str:
        """ "number", or the format of dates that reads most of some cells."""
        import pandas

        if values.dtype.kind in "iuf":
            return "number"
        some = pandas.Series(values[:2000], dtype=object).map(plain)
        some = some[some != ""]
        numbers = pandas.to_numeric(some.map(lambda c: c.replace(",", ".")), errors="coerce")
        if 2 * numbers.notna().sum() >= max(1, len(some)):
            return "number"
        best, most = "", 0.0
        for form in forms(some.iloc[0]) if len(some) else ():
            stamps = _parsed(some, form)
            right = float(np.mean(~np.isnat(stamps)))
            steps = np.diff(stamps[~np.isnat(stamps)]).astype(np.int64)
            right += 0.1 * float(np.mean(steps >= 0)) if len(steps) else 0.0
            if right > most + 1e-9:
                best, most = form, right
        if most < 0.5:
            raise DataError(
                f"{self.place}: {self.name} is {str(some.iloc[0])[:30]!r}, which is no time that lnp knows" if len(some)
                else f"{self.place}: {self.name} is empty",
                "write s, ms or ISO 8601, such as 2026-11-03T14:05:00.250",
            )  # fmt: skip
        return best


def plain(cell: object) -> str:
    """A cell with a decimal point after the seconds, and single spaces."""
    if not isinstance(cell, str):
        return "" if cell is None or cell != cell else str(cell)
    return re.sub(r"(:\d{2}),(\d+)", r"\1.\2", " ".join(cell.split()))


def forms(cell: str) -> list[str]:
    """The formats that a cell may have; the day comes before the month if nothing decides."""
    if re.match(r"\d{4}-\d{2}-\d{2}", cell):
        return ["ISO8601"]
    clock = re.search(r"([T ]?)\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?( ?[AaPp][Mm])?$", cell)
    tail = ""
    if clock:
        twelve = bool(clock[4])
        tail = clock[1] + ("%I:%M" if twelve else "%H:%M") + (":%S" if clock[2] else "") + (".%f" if clock[3] else "")
        tail += (" " if " " in (clock[4] or "") else "") + "%p" if twelve else ""
    day = cell[: clock.start()] if clock else cell
    if clock and not day:
        return [tail]
    mark = next((m for m in "./-" if m in day), "")
    if re.match(r"\d{4}[-./]", day):
        return [f"%Y{mark}%m{mark}%d{tail}"]
    year = "%Y" if re.search(r"\d{4}$", day) else "%y"
    orders = ORDERS if mark != "." else ORDERS[:1]
    return [order.format(mark).replace("%Y", year) + tail for order in orders]


def _parsed(text, form: str) -> NDArray:
    """Stamps as datetime64[ns] in UTC; NaT where a cell has another form or a year beyond 2262."""
    import pandas

    stamps = pandas.to_datetime(text, format=form, errors="coerce", utc=True)
    if form != "ISO8601" and ".%f" in form:  # a whole second may be written without its fraction
        stamps = stamps.fillna(pandas.to_datetime(text, format=form.replace(".%f", ""), errors="coerce", utc=True))
    inside = (stamps >= pandas.Timestamp("1700-01-01", tz="UTC")) & (stamps < pandas.Timestamp("2250-01-01", tz="UTC"))
    return stamps.where(inside).dt.tz_localize(None).to_numpy("datetime64[ns]")
