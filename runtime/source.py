"""A stream of samples from a CSV file, standard input, a serial sensor or a log, with its gaps."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from datetime import datetime

from lnp_edge.base.console import ascii_only
from lnp_edge.base.errors import DataError
from lnp_edge.runtime import log
from lnp_edge.runtime.feeds import Back, Feed, FileFeed, Lines, open_feed
from lnp_edge.runtime.listening import Listening, Rates
from lnp_edge.runtime.log import Gap, Sample
from lnp_edge.runtime.rows import HOLD, Lost, Parser, Row
from lnp_edge.runtime.stamps import Pace, Stamps
from lnp_edge.spec.model import QuantizedModel

PAUSE, PAUSE_ROWS = 0.5, 5  # s, sample intervals: a longer silence of a live source is a gap
MOMENT = 0.1  # s; what comes within it after a silence came in one block
WAITED = 2e-4  # s; a read that took longer had to wait
HOPELESS = 10_000  # lines of a file without a row
UNREAD = 3  # times that cannot be read, in a row, after which the column is no time


class Source:
    """Iterating over it gives Samples, and a Gap before a sample that does not follow on the last.

    place   : "-", a file, a log of lnp run --log, a serial port or a pyserial URL
    missing : what becomes of a missing value, see rows.Parser
    where   : a column and its value, of the rows to take
    tell    : is called with remarks while the stream runs

    live : whether the samples come when they are made

    Raises LnpError for a place that cannot be read. Iterating raises DataError for a file or a pipe in
    which no line is a row.
    """

    def __init__(
        self,
        place: str,
        model: QuantizedModel,
        *,
        missing: str = HOLD,
        baud: int = 115_200,
        tell: Callable[[str], None] = lambda text: None,
        where: tuple[str, str] | None = None,
        feed: Feed | None = None,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._name = "standard input" if place == "-" else place
        self._model, self._tell, self._clock = model, tell, clock
        self._feed = feed or open_feed(place, baud, tell)
        self.live, port = self._feed.live, self._feed.port
        self._parser = Parser(
            self._name,
            model.channels,
            model.quantities,
            missing,
            not port,
            model.missing,
            model.window,
            _group_of(model),
            where,
        )
        self._pace = Pace(model.sample_dt)
        self._stamps: Stamps | None = None
        self._unread = 0
        self._limit = max(PAUSE, PAUSE_ROWS * model.sample_dt)
        self._next: bytes | Back | None = None  # was read already
        self._lost, self._why = 0, ""
        self._lost_time = 0.0  # s that the stamps of lost rows advanced by
        self._pause = 0.0  # s of silence that are a gap before the next row
        self._rates = Rates(model.sample_dt, tell)
        self._listening = Listening(model.sample_dt, port, tell, self._rates) if self.live else None

    def __iter__(self) -> Iterator[Sample | Gap]:
        try:
            if isinstance(self._feed, FileFeed) and self._feed.begins().startswith(b"{"):
                yield from log.replay(self._feed.lines(), self._name, self._model, self._tell)
            else:
                yield from self._events()
        finally:
            self._feed.close()

    def summary(self) -> list[str]:
        """What was passed over, held and clipped, in words."""
        return self._parser.summary()

    @property
    def began(self) -> datetime | None:
        """The date of the first row, if the stamps are dates that never went back."""
        return self._stamps.began if self._stamps and not self._pace.went_back else None

    # ---- from bytes to samples

    def _events(self) -> Iterator[Sample | Gap]:
        lines, waited, cut = Lines(text=not self._feed.port), 0.0, self._feed.port
        while (read := self._read()) is not None:
            data, took = read
            if isinstance(data, Back):
                lines.cut()
                cut, waited = True, 0.0
                self._pause, self._why = max(self._limit, data.seconds), "the port was away"
                self._stamps = None
                self._parser.begin()
                continue
            waited += took
            if not data:
                continue
            silent = waited > self._limit
            if silent:
                data += self._rest_of_block()
            texts = lines.push(data)
            if cut and texts:
                cut = False
                texts = self._without_cut(texts)
            found: Iterator[Row | Lost | None] = map(self._parsed, texts)
            if silent:
                block = list(found)
                waited = self._silence(waited, sum(isinstance(one, Row) for one in block))
                found = iter(block)
            for one in found:
                if one is not None:
                    waited = 0.0
                    yield from self._taken(one)
        for one in map(self._parsed, lines.end()):
            yield from self._taken(one) if one is not None else ()
        if not self._parser.rows and self._parser.refused:
            raise DataError(*self._parser.refused)

    def _read(self) -> tuple[bytes | Back, float] | None:
        """Bytes, and for how long a live source was silent before them, s."""
        begin = self._clock()
        data, self._next = self._next or self._feed.read(), None
        if data is None:
            return None
        took = self._clock() - begin
        if not self._listening:
            return data, 0.0
        took = took if took > WAITED or not data else 0.0
        if took:
            parser = self._parser
            wrong = ": ".join(parser.refused or ())
            self._listening.waits(begin, self._clock(), parser.rows, parser.lines, wrong, self._stamps is not None)
        return data, took

    def _rest_of_block(self) -> bytes:
        found, until = b"", self._clock() + MOMENT
        while self._clock() < until:
            data = self._feed.read()
            if not data or isinstance(data, Back):
                self._next = data or None
                break
            found += data
        return found

    def _silence(self, waited: float, rows: int) -> float:
        """What is left of a silence, s, when some rows end it: nothing if they made it up, or if they have stamps."""
        dt = self._model.sample_dt
        if not rows or not self._listening:
            return waited
        if self._stamps or self._listening.recorded:
            return 0.0
        if rows > 1 and 2 * rows * dt >= waited:
            self._listening.in_blocks(waited)
        else:
            self._pause += waited
            self._why = self._why or f"no row for {waited:.1f} s"
        return 0.0

    def _without_cut(self, texts: list[str | None]) -> list[str | None]:
        """The lines without the first: "-12,3" cut to "2,3" would be a row."""
        if texts[0] is None or not texts[0].strip() or self._parser.may_be_header(texts[0].strip()):
            return texts
        self._parser.pass_over("cut")
        return texts[1:]

    def _parsed(self, text: str | None) -> Row | Lost | None:
        if text is None:
            self._parser.pass_over("too long")
            return Lost("a line that is too long") if self._parser.rows else None
        found = self._parser.parse(text)
        while self._parser.said:
            self._tell(self._parser.said.pop(0))
        if not self.live and not self._parser.rows and self._parser.passed.total() >= HOPELESS:
            raise DataError(*(self._parser.refused or (f"{self._name} has no rows", "give a CSV file")))
        return found

    def _taken(self, one: Row | Lost) -> Iterator[Sample | Gap]:
        if isinstance(one, Row):
            step = self._step(one.stamp)
            if step is not None and math.isnan(step):
                one = Lost(f"its time {(one.stamp or '')[:30]!r} cannot be read")
            elif one.held and self._pace.parts(step, self._pause):
                self._why = self._why_apart(step)
                self._lost_time += step or 0.0
                one = self._parser.take_back(one)
            else:
                yield from self._paced(one, step)
                return
        self._parser.forget()
        self._lost += 1
        self._why = self._why or f"a row was lost: {one.why}"

    def _step(self, stamp: str | None) -> float | None:
        """Seconds since the stamp before; None without one, NaN if it cannot be read."""
        if stamp is None:
            self._stamps = None
            return None
        if self._stamps is None:
            self._stamps = Stamps(*self._parser.clock, self._model.sample_dt)
            self._pace.without_clock()
        found = self._stamps.step(stamp, self._pace.since + 1 + self._lost)
        self._unread = self._unread + 1 if found is not None and math.isnan(found) else 0
        why = f"{stamp[:30]!r} is none" if self._unread == UNREAD else self._pace.no_clock
        if why:
            name = self._parser.clock[0] or "the first column"
            self._tell(ascii_only(f"{name} is not taken as the time: {why}"))
            self._parser.without_times()
            self._stamps = None
            self._pace.without_clock()
            return None
        return found

    def _why_apart(self, step: float | None) -> str:
        """Why a row does not follow on the last: what was noted, or what their stamps say."""
        if self._why or step is None:
            return self._why
        return "the clock was set back" if step < 0 else f"{step - self._model.sample_dt:.3g} s without a row"

    def _paced(self, row: Row, step: float | None) -> Iterator[Sample | Gap]:
        step = None if step is None else step + self._lost_time
        t, missing = self._pace.next(step, self._lost, self._pause)
        if missing is not None:
            yield Gap(round(missing, 6), self._why_apart(step))
        if self._pause and self._listening:
            self._listening.begins()
        self._lost, self._lost_time, self._pause, self._why = 0, 0.0, 0.0, ""
        if self._pace.rate:
            self._rates.compare(self._pace.rate)
        yield Sample(row.counts, t)


def _group_of(model: QuantizedModel) -> str:
    """The column or name that said the group in training; "" if nothing did."""
    found: object = model.provenance
    for part in ("config", "data", "group"):
        found = found.get(part) if isinstance(found, dict) else None
    return found if isinstance(found, str) else ""
