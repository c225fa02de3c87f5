"""Samples come in as they are, lines that are none are passed over and counted, gaps are never joined."""

import io
import os
import sys
import threading
import tty
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import tiny_model

from lnp_edge.base.errors import DataError, LinkError
from lnp_edge.runtime import feeds
from lnp_edge.runtime.feeds import LINE_LIMIT, Back, FileFeed
from lnp_edge.runtime.log import Gap, Sample
from lnp_edge.runtime.source import Source
from lnp_edge.spec.quantity import Quantity

NAMES = ("ax", "ay", "az")
MODEL = replace(tiny_model(), channels=NAMES, dt=0.04)
ONE = replace(tiny_model(n_in=1), channels=("ax",), dt=0.04)
IN_G = replace(MODEL, quantities=tuple(Quantity("g", 10.0, 0.001, False) for _ in NAMES))


class Heard:
    """A source of bytes in memory, with what it told."""

    def __init__(self, data, model=MODEL, **options):
        self.told = []
        options.setdefault("feed", FileFeed(io.BufferedReader(io.BytesIO(data))))
        self.source = Source("it", model, tell=self.told.append, **options)

    def events(self):
        """Each sample as a list, each gap as its reason."""
        return [e.counts.tolist() if isinstance(e, Sample) else e.why for e in self.source]

    def gaps(self):
        return [round(e.seconds, 3) for e in self.source if isinstance(e, Gap)]

    def times(self):
        return [e.t if isinstance(e, Sample) else "gap" for e in self.source]


def read(data, **options):
    return Heard(data, **options).events()


def refusal(data, **options):
    with pytest.raises(DataError) as e:
        read(data, **options)
    assert e.value.what.startswith("it line ") and e.value.try_next
    return e.value.what


# ---- groups

OF_MACHINES = replace(MODEL, provenance={"config": {"data": {"group": "Machine"}}})


def machines(order, turns=1):
    rows = (f"{k // turns * 0.04:.2f},{who},{k},0,{ord(who)}" for k, who in enumerate(order))
    return ("t,machine,ax,ay,az\n" + "\n".join(rows) + "\n").encode()


def test_machines_in_turn_are_refused_and_one_of_them_is_chosen():
    """Their rows were mixed into one stream, and each decision was of nothing that exists."""
    assert "machine" in refusal(machines("abcabcabc"), model=OF_MACHINES).casefold()
    with pytest.raises(DataError) as e:
        read(machines("abab"), model=OF_MACHINES)
    assert e.value.what == "it line 4: Machine is a again after b: rows of several are mixed"
    assert e.value.try_next == "--where Machine=a takes those of one"
    with pytest.raises(DataError, match="'Machine=line a' takes those of one"):
        read(machines("abab").replace(b",a,", b",line a,"), model=OF_MACHINES)
    heard = Heard(machines("abcabcabc", 3), OF_MACHINES, where=("machine", "B"))
    assert heard.events() == [[1, 0, ord("b")], [4, 0, ord("b")], [7, 0, ord("b")]]
    assert heard.source.summary() == ["passed over: 6 rows that --where leaves out"]
    assert "no column 'pump', for --where" in refusal(machines("ab"), where=("pump", "1"))
    assert "no column 'pump', for --where" in refusal(b"1,2,3\n", where=("pump", "1"))


def test_where_the_machine_changes_for_long_is_a_gap_and_a_model_without_groups_does_not_mind():
    n = OF_MACHINES.window
    events = read(machines("a" * n + "b" * n + "a" * n), model=OF_MACHINES)
    gaps = [e for e in events if isinstance(e, str)]
    assert gaps == ["a row was lost: Machine is b now", "a row was lost: Machine is a now"]
    assert len(read(machines("abcabc"))) == 6
    for odd in ({"config": 3}, {"config": {"data": {"group": 7}}}, {}):
        assert len(read(machines("abcabc"), model=replace(MODEL, provenance=odd))) == 6


# ---- dialects


def test_a_line_of_a_live_source_in_the_code_page_of_windows_is_read_as_in_files():
    lines = feeds.Lines(text=False)
    assert lines.push("t,T [°C]\n".encode("cp1252")) == ["t,T [°C]"]
    assert lines.push("t,T [°C]\n".encode()) == ["t,T [°C]"], "UTF-8 stays what it is"
    lines = feeds.Lines(text=True)
    assert lines.push(b"ok\n") + lines.push("21 °C".encode("cp1252")) + lines.end() == ["ok", "21 °C"]


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"", []),
        (b"1,2,3", [[1, 2, 3]]),
        (b"1,2,3\n4,5,6\n", [[1, 2, 3], [4, 5, 6]]),
        (b"1,2,3\r\n4,5,6\r\n", [[1, 2, 3], [4, 5, 6]]),
        (b"1,2,3\r4,5,6\r", [[1, 2, 3], [4, 5, 6]]),
        (b" 1 ,\t2, 3 \n", [[1, 2, 3]]),
        (b"-32768,32767,+0\n", [[-32768, 32767, 0]]),
        (b"007,-0,1.0\n", [[7, 0, 1]]),
        (b"1e2,2.,3\n", [[100, 2, 3]]),
        (b"\n\n1,2,3\n\n# 4,5,6\n   \n7,8,9", [[1, 2, 3], [7, 8, 9]]),
        (b"1;2;3\n", [[1, 2, 3]]),
        (b"1,0;2,0;3\n", [[1, 2, 3]]),
        (b"1\t2\t3\n", [[1, 2, 3]]),
        (b"1|2|3\n", [[1, 2, 3]]),
        (b"  1   2  3\n", [[1, 2, 3]]),
        (b"1,2,3,\n4,5,6,\n", [[1, 2, 3], [4, 5, 6]]),
        (b'"1","2","3"\n', [[1, 2, 3]]),
        (b"ax,ay,az\n1,2,3\n", [[1, 2, 3]]),
        (b"ax,ay,az,\n1,2,3,\n", [[1, 2, 3]]),
        (b"# ax ay az\n1 2 3\n", [[1, 2, 3]]),
        (b"# made today\naz,ay,ax\n1,2,3\n", [[3, 2, 1]]),
        (b"n,az,x y,ax,ay,label\n99999,3,0.5,1,2,walk\n", [[1, 2, 3]]),
        (b'"AZ [g]";"ay (mg)";"Ax"\n1;2;3\n', [[3, 2, 1]]),
        (b"\xef\xbb\xbfax,ay,az\r\n1,2,3\r\n", [[1, 2, 3]]),
        (b"\xef\xbb\xbf1,2,3\n", [[1, 2, 3]]),
        ("\ufeffaz;ay;ax\r\n1;2;3\r\n".encode("utf-16-le"), [[3, 2, 1]]),
        ("az;ay;ax\r\n1;2;3\r\n".encode("utf-16-be"), [[3, 2, 1]]),
        (b"2026-11-03T14:05:00.250,1,2,3\n", [[1, 2, 3]]),
        (b"03.11.2026 14:05:00 1 2 3\n", [[1, 2, 3]]),
    ],
)
def test_every_dialect_of_files_is_read(data, found):
    assert read(data) == found


def test_a_column_of_decimal_commas_needs_a_header_and_else_the_comma_separates():
    model = replace(ONE, quantities=(Quantity("g", 0.0, 0.1, False),))
    assert read(b"ax\n1,5\n2,5\n", model=model) == [[15], [25]]
    assert refusal(b"1,5\n2,5\n", model=model) == "it line 1 has 2 values, the model 1 channels"
    assert read(b"15\n25\n", model=ONE) == [[15], [25]]


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"1,2\n", "it line 1 has 2 values, the model 3 channels"),
        (b"1,2,3,4\n", "it line 1 has 4 values, the model 3 channels"),
        (b"1,2,32768\n", "it line 1: 32768 is outside -32768..32767"),
        (b"-32769,2,3\n", "it line 1: -32769 is outside -32768..32767"),
        (b"1,2,3.5\n", "it line 1: 3.5 is not a whole number"),
        (b"1,2,1e999\n", "it line 1: az is inf, which stands for no value"),
        (b"1,2,0x10\n", "it line 1: '1,2,0x10' is no row of 3 numbers"),
        (b"1,2,1_0\n", "it line 1: '1,2,1_0' is no row of 3 numbers"),
        (b"1,2,--5\n", "it line 1: '1,2,--5' is no row of 3 numbers"),
        (b"1,2,\0003\n", "it line 1: '1,2,\\x003' is no row of 3 numbers"),
        ("1,2,٣\n".encode(), "it line 1: '1,2,٣' is no row of 3 numbers"),
        (b"1,2,\xff\n", "it line 1: '1,2,\xff' is no row of 3 numbers"),
        (b"nan,nan,nan\n", "it line 1: 'nan,nan,nan' is no row of 3 numbers"),
        (b"ax,ay\n1,2\n", "it line 1: no column 'az'"),
        (b"a,b,c\n1,2,3\n", "it line 1: no column 'ax'"),
        (b"made by x\na,b,c\n1,2,3\n", "it line 2: no column 'ax'"),
        (b"hello\n", "it line 1: 'hello' is no row of 3 numbers"),
        (b"\0" * 100 + b"\n", "it line 1: '" + r"\x00" * 10),
    ],
)
def test_a_file_without_a_row_is_refused_with_what_is_wrong_first(data, what):
    assert refusal(data).startswith(what)


def test_a_header_that_names_other_channels_is_told_of_a_port_and_not_guessed_of_a_file():
    heard = Heard(b"", feed=Port([b"x\na,b,c\n1,2,3\n"]))
    assert heard.events() == [[1, 2, 3]]
    assert "'a,b,c' does not name the channels" in heard.told[0]


# ---- values


def test_physical_values_become_counts_and_clipped_ones_are_counted():
    heard = Heard(b"ax [g],ay [mg],az\n0.001,0.0015,-0.01\n1,1e9,-1e9\n0.0025,0.0035,.5\n", model=IN_G)
    assert heard.events() == [[11, 12, 0], [1010, 32767, -32768], [12, 14, 510]]  # halves to even
    assert heard.source.summary() == ["clipped: 2 values"]
    assert heard.told == [
        "ay is in mg, the model was trained on g",
        "ay is 1e+09: beyond what the model's counts hold, clipped",
    ]


EMPTY = b"1,,3\n1,2,3\n4,nan,6\n,,\n7,8,9\n"


def test_empty_cells_are_held_skipped_or_an_end():
    held = Heard(EMPTY)
    assert held.events() == [[1, 2, 3], [4, 2, 6], [4, 2, 6], [7, 8, 9]]
    assert held.source.summary() == ["passed over: 1 row without a value of each channel", "held: 4 missing values"]
    assert held.told == ["ay is empty: its last value is held"]
    skipped = Heard(EMPTY, missing="skip")
    assert skipped.events() == [[1, 2, 3], "a row was lost: ay is empty", [7, 8, 9]]
    assert skipped.source.summary() == ["passed over: 3 rows without a value of each channel"]
    with pytest.raises(DataError, match="it line 3: ay is empty"):
        read(b"\n" + EMPTY[5:], missing="stop")


# ---- what is passed over


def test_junk_is_passed_over_and_counted_and_never_joined_into_a_row():
    boot = b"ets Jul 29 2019\n\nrst:0x1 (POWERON),boot:0x13\nload,1,2\n"
    heard = Heard(boot + b"ax,ay,az\n1,2,3\nT = 23.5\nax,ay,az\n4,5,6\n\xff\xfe\n7,8,9\n")
    assert heard.events() == [[1, 2, 3], [4, 5, 6], [7, 8, 9]]
    assert heard.source.summary() == ["passed over: 5 lines that are no rows, 1 repeated header"]


@pytest.mark.parametrize(
    "half", [b"7,8", b"7,8,9,1", b"7,8,9x", b"7;8;9", b"7,8,40000", b"7,8,9.5", b"7,8," + b"9" * 70000]
)
def test_a_row_that_is_damaged_is_lost_and_a_gap(half):
    heard = Heard(b"1,2,3\n" + half + b"\n4,5,6\n")
    first, gap, last = heard.events()
    assert (first, last) == ([1, 2, 3], [4, 5, 6]) and gap.startswith("a row was lost: ")
    assert sum(heard.source._parser.passed.values()) == 1
    assert Heard(b"1,2,3\n" + half + b"\n4,5,6\n").times() == [0.0, "gap", 0.08]


def test_columns_that_change_their_order_or_delimiter_are_followed():
    assert read(b"ax,ay,az\n1,2,3\naz,ay,ax\n1,2,3\n") == [[1, 2, 3], [3, 2, 1]]
    rows = read(b"az,ay,ax\n1,2,3\n" + b"1;2;3\n" * 4)
    assert [r for r in rows if isinstance(r, list)] == [[3, 2, 1]] * 3


@pytest.mark.parametrize("byte", [b"1", b",", b" ", b"\0", b"x", b"1,"])
def test_a_line_of_10_megabytes_is_passed_over_and_never_cut_into_rows(byte):
    heard = Heard(b"1,2,3\n1,2," + byte * (10_000_000 // len(byte)) + b"5\n4,5,6\n")
    assert heard.events() == [[1, 2, 3], "a row was lost: a line that is too long", [4, 5, 6]]


def test_the_end_of_a_line_that_is_too_long_is_no_row():
    lines = feeds.Lines(text=False)
    assert lines.push(b"x" * 70000) == [None]
    assert lines.push(b"1,2,3\r") == [] and lines.push(b"\n4,5,6\r\n7") == ["4,5,6"] and lines.end() == ["7"]


def test_a_padded_line_is_not_cut_into_another_value():
    assert refusal(b"1,2," + b" " * (LINE_LIMIT - 5) + b"12\n") == "it line 1 is too long"


def test_a_large_file_without_rows_is_not_read_to_its_end():
    class Endless(FileFeed):
        def read(self):
            return b"hello\n" * 1000

    with pytest.raises(DataError, match="'hello' is no row"):
        read(b"", feed=Endless(io.BytesIO()))


JUNK = st.binary(max_size=80) | st.text('0123456789,;-+ #axyz\n\r.:T\0\t"', max_size=80).map(str.encode)


@settings(max_examples=300)
@given(
    st.lists(JUNK, max_size=4), st.sampled_from(["hold", "skip"]), st.sampled_from([MODEL, ONE, IN_G]), st.booleans()
)
def test_any_bytes_give_rows_in_range_or_a_refusal(parts, missing, model, port):
    head = b"time,ax,ay,az\n0,1,2,3\n" if len(parts) > 2 else b""
    feed = Port([head, *parts]) if port else FileFeed(io.BufferedReader(io.BytesIO(head + b"".join(parts))))
    try:
        for event in Heard(b"", model=model, missing=missing, feed=feed).source:
            if isinstance(event, Sample):
                assert event.counts.dtype == np.int16 and event.counts.shape == (len(model.channels),) and event.t >= 0
            else:
                assert 0 <= event.seconds < 1e13
    except DataError as e:
        assert e.what.startswith("it")


# ---- time


def stamped(stamps, head="time", rows=None):
    body = "".join(f"{s},{k},0,0\n" for k, s in enumerate(stamps))
    return f"{head},ax,ay,az\n{body}".encode()


CLOCKS = {
    "s": ("time", [f"{0.04 * k:.2f}" for k in (0, 1, 2, 3, 10, 11)]),
    "a unit in the header": ("t [ms]", [40 * k for k in (0, 1, 2, 3, 10, 11)]),
    "a unit that its size tells": ("t", [7 + 40 * k for k in (0, 1, 2, 3, 10, 11)]),
    "us": ("micros", [40_000 * k for k in (0, 1, 2, 3, 10, 11)]),
    "ns since 1970": ("timestamp", [1_790_000_000_000_000_000 + 40_000_000 * k for k in (0, 1, 2, 3, 10, 11)]),
    "ISO 8601": ("date", [f"2026-11-03T14:05:{0.04 * k:09.6f}+01:00" for k in (0, 1, 2, 3, 10, 11)]),
    "nanoseconds": ("x", [f"2026-11-03 23:59:{59 + 0.04 * k:.9f}" for k in (0, 1, 2, 3, 10, 11)]),
    "day and month": ("x", [f"03.11.2026 14:05:{0.04 * k:06.3f}" for k in (0, 1, 2, 3, 10, 11)]),
    "a counter that wraps": ("ms", [(2**32 - 60 + 40 * k) % 2**32 for k in (0, 1, 2, 3, 10, 11)]),
    "midnight": ("clock", ["23:59:59.92", "23:59:59.96", "00:00:00", "00:00:00.04", "00:00:00.32", "00:00:00.36"]),
}


@pytest.mark.parametrize("kind", CLOCKS)
def test_a_step_of_more_than_two_and_a_half_intervals_is_a_gap(kind):
    head, stamps = CLOCKS[kind]
    if kind == "nanoseconds":
        stamps = [s if float(s[17:]) < 60 else f"2026-11-04 00:00:0{float(s[17:]) - 60:.9f}" for s in stamps]
    heard = Heard(stamped(stamps, head))
    assert heard.times() == [0.0, 0.04, 0.08, 0.12, "gap", 0.4, 0.44]
    assert Heard(stamped(stamps, head)).gaps() == [0.24]
    assert heard.told == []


def test_one_late_row_is_no_gap_and_a_clock_that_is_set_back_is_one():
    assert Heard(stamped([0, 40, 140, 180], "t_ms")).times() == [0.0, 0.04, 0.14, 0.18]
    assert Heard(stamped([0, 40, 141, 180], "t_ms")).times() == [0.0, 0.04, "gap", 0.141, 0.18]
    heard = Heard(stamped([9000, 9040, 0, 40], "t_ms"))
    assert heard.events()[2] == "the clock was set back"
    assert Heard(stamped([9000, 9040, 0, 40], "t_ms")).times() == [0.0, 0.04, "gap", 0.08, 0.12]


def test_a_clock_of_whole_seconds_has_gaps_of_seconds_only():
    rows = [k // 25 for k in range(10, 200)]
    assert Heard(stamped(rows, "time [s]")).gaps() == []
    assert Heard(stamped([s + 2 * (s > 4) for s in rows], "time [s]")).gaps() == [2.96]


def test_a_date_and_a_time_of_day_may_stand_in_two_columns():
    rows = "".join(f"03.11.2026;14:05:{s};1;2;3\n" for s in ("00,00", "00,04", "00,08", "01,00"))
    assert Heard(f"date;clock;ax;ay;az\n{rows}".encode()).times() == [0.0, 0.04, 0.08, "gap", 1.0]
    rows = rows.replace(";", " ").replace(",", ".")
    assert Heard(rows.encode()).times() == [0.0, 0.04, 0.08, "gap", 1.0]


def test_a_temperature_called_t_is_not_taken_for_the_time():
    heard = Heard(stamped([23.5 + 0.1 * (k % 3) for k in range(60)], "t"))
    assert len(heard.gaps()) <= 4
    assert heard.told == ["t is not taken as the time: it goes back"]
    heard = Heard(stamped([23.5] * 120, "t"))
    assert heard.gaps() == [] and heard.told == ["t is not taken as the time: it stands still"]


def test_a_time_that_cannot_be_read_loses_its_row():
    heard = Heard(stamped([0, 40, "x", 120, 160], "t_ms"))
    assert heard.events()[2] == "a row was lost: its time 'x' cannot be read"


RATES = [(40, ""), (43, ""), (20, "50.0 rows a second"), (50, "20.0 rows a second"), (5000, "one row in 5 s")]


@pytest.mark.parametrize(("ms", "said"), RATES)
def test_a_rate_that_is_not_the_models_is_told_once(ms, said):
    heard = Heard(stamped([ms * k for k in range(100)], "t [ms]"))
    heard.events()
    assert heard.told == ([f"{said}, the model was trained at 25.0 rows a second"] if said else [])


# ---- live sources


class Port:
    """A port in memory: bytes, a silence in s, or Back; `now` is its clock."""

    live = port = True

    def __init__(self, events, port=True):
        self.now, self.port = 100.0, port
        self._events = list(events)

    def read(self):
        if not self._events:
            return None
        event = self._events.pop(0)
        if isinstance(event, float):
            tick = min(event, 0.05)
            self.now += tick
            if event - tick > 1e-9:
                self._events.insert(0, event - tick)
            return b""
        return event

    def close(self):
        self.closed = True


def live(events, model=MODEL, port=True, **options):
    feed = Port(events, port)
    return Heard(b"", model=model, feed=feed, clock=lambda: feed.now, **options)


def rows(count, first=0, dt=0.04):
    return [x for k in range(first, first + count) for x in (dt, b"%d,2,3\n" % k)]


@pytest.mark.parametrize("cut", [b"23,4\n", b"3\n", b"x\xff\xfe\0\n", b"1,2,3\n"])
def test_a_port_may_begin_in_the_middle_of_a_line(cut):
    heard = live([cut + b"1,2,3\n4,", b"5,6\n"])
    assert heard.events() == [[1, 2, 3], [4, 5, 6]]
    assert heard.source.summary() == ["passed over: 1 first line of a port, which may be cut"]
    assert live([b"ax,ay,az\n1,2,3\n"]).events() == [[1, 2, 3]]


@pytest.mark.parametrize("port", [True, False])
def test_a_silence_of_a_live_source_is_a_gap_and_its_rate_is_told_after_a_second(port):
    heard = live([b"\n", *rows(60), 3.2, *rows(60, 60)], port=port)
    events = heard.events()
    assert len(events) == 121 and events[60] == "no row for 3.2 s"
    assert heard.told == ["listening: 25.0 rows a second"]
    times = live([b"\n", *rows(60), 3.2, *rows(2, 60)], port=port).times()
    assert times[59:] == [2.36, "gap", 5.6, 5.64]
    assert live([b"\n", *rows(9), 0.45, *rows(9)], port=port).gaps() == []


def test_rows_that_wait_while_a_window_is_computed_are_no_gap():
    heard = live([b"\n", *rows(3)])
    feed, count = heard.source._feed, 0
    feed._events += [b"9,9,9\n" * 5, *rows(3)]
    for event in heard.source:
        assert isinstance(event, Sample)
        count += 1
        feed.now += 7.0
    assert count == 11


def test_a_live_source_with_another_rate_is_told_once_and_a_recording_through_a_pipe_is_not():
    heard = live([b"\n", *rows(300, dt=0.02)])
    heard.events()
    assert heard.told == [
        "listening: 50.0 rows a second",
        "50.0 rows a second, the model was trained at 25.0 rows a second",
    ]
    heard = live([b"1,2,3\n" * 100, *rows(3000, dt=0.001), 1.0, *rows(5, dt=0.001)], port=False)
    assert "gap" not in heard.times() and heard.told == []


def test_what_is_heard_is_told_if_it_is_no_row():
    heard = live([2.0, *rows(30)])
    heard.events()
    assert heard.told == ["listening: nothing yet", "listening: 25.0 rows a second"]
    heard = live([b"x\n", *[0.1, b"1,2\n"] * 30], port=False)
    with pytest.raises(DataError):
        heard.events()
    assert heard.told == [
        "listening: 16 lines, none is a row: it line 1: 'x' is no row of 3 numbers: "
        "name the model's channels in a first line: ax,ay,az"
    ]
    heard = live([b"x\n", *[0.1, b"7,1,2,3\n"] * 30])
    with pytest.raises(DataError) as e:
        heard.events()
    assert "if the sensor sent it before the port was opened, reset the sensor" in heard.told[0]
    assert "reset the sensor" in e.value.try_next


def test_blocks_of_a_program_that_does_not_flush_are_no_gaps():
    block = b"1,2,3\n" * 250
    heard = live([block, 10.0, block[:700], block[700:], 10.0, block, 0.05], port=False)
    assert heard.events() == [[1, 2, 3]] * 750
    assert [text.partition(",")[0] for text in heard.told] == [
        "listening: 250 rows so far", "rows come in blocks", "listening: 24.9 rows a second",
    ]  # fmt: skip


def test_stamps_tell_better_than_silence():
    late = [x for k in range(20) for x in (2.0, b"%d,1,2,3\n" % (40 * k))]
    assert live([b"ms,ax,ay,az\n", *late]).gaps() == []


def test_a_port_that_comes_back_begins_anew_without_half_a_line():
    heard = live([b"\n", *rows(3), b"4,5,", Back(5.0), b"5,6,7\n", b"7,8,9\n", *rows(2)])
    assert heard.events() == [[0, 2, 3], [1, 2, 3], [2, 2, 3], "the port was away", [7, 8, 9], [0, 2, 3], [1, 2, 3]]
    assert live([b"\n", *rows(3), Back(5.0), b"6\n7,8,9\n"]).times() == [0.0, 0.04, 0.08, "gap", 5.08]
    assert live([b"\n", *rows(2), Back(5.0), b"x\n1,,3\n4,5,6\n"]).events()[3:] == [[4, 5, 6]]  # nothing to hold
    quick = live([b"\n", *rows(3), 1.0, b"3,2,3\n4,", Back(5.0), b"6,7,8\n", b"7,8,9\n"]).events()[3:]
    assert quick == ["no row for 1.0 s", [3, 2, 3], "the port was away", [7, 8, 9]]
    assert live([b"\n", *rows(3), Back(5.0), b"6\n", 2.0, b"7,8,9\n"]).times() == [0.0, 0.04, 0.08, "gap", 7.08]


# ---- where the bytes come from


def test_a_file_standard_input_a_pipe_and_a_serial_port_give_the_same_rows(tmp_path, monkeypatch):
    data = b"ax,ay,az\n" + b"".join(b"%d,%d,%d\n" % (k, -k, 7 * k) for k in range(50))
    expected = read(data)
    assert len(expected) == 50

    def all_of(place):
        return [e.counts.tolist() for e in Source(place, MODEL)]

    (tmp_path / "a.csv").write_bytes(data)
    assert all_of(str(tmp_path / "a.csv")) == expected
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    assert all_of("-") == expected
    out, into = os.pipe()
    os.write(into, data)
    os.close(into)
    with open(out) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        assert all_of("-") == expected
    os.mkfifo(tmp_path / "fifo")
    writer = threading.Thread(target=(tmp_path / "fifo").write_bytes, args=(data,))
    writer.start()
    assert all_of(str(tmp_path / "fifo")) == expected
    writer.join()
    with Pty() as pty:
        stream = iter(pty.source(monkeypatch, data))
        assert [next(stream).counts.tolist() for _ in range(50)] == expected


class Pty:
    """A port whose sensor writes once somebody listens: opening empties the line."""

    def __enter__(self):
        self.master, self.slave = os.openpty()
        tty.setraw(self.slave)
        return self

    def __exit__(self, *_):
        for number in (self.master, self.slave):
            os.close(number)

    def source(self, monkeypatch, data, **options):
        real = feeds.open_serial

        def opened(*args):
            port = real(*args)
            os.write(self.master, data)
            return port

        monkeypatch.setattr(feeds, "open_serial", opened)
        return Source(os.ttyname(self.slave), MODEL, **options)


def test_a_port_that_goes_away_is_opened_again_until_it_is_back(monkeypatch):
    told, attempts = [], []
    monkeypatch.setattr(feeds, "AGAIN", 0.01)
    with Pty() as second:
        first = Pty().__enter__()
        stream = iter(first.source(monkeypatch, b"x\n1,2,3\n4,5", tell=told.append))
        found = [next(stream)]
        writes = feeds.open_serial

        def opened(place, baud):
            attempts.append(place)
            if len(attempts) < 4:
                raise LinkError("cannot open it: permission denied", "wait")
            return writes(os.ttyname(second.slave), baud)

        monkeypatch.setattr(feeds, "open_serial", opened)
        first.master, old = second.master, first.master
        os.close(old)
        os.close(first.slave)
        found += [next(stream), next(stream)]
        stream.close()
    assert [e.counts.tolist() if isinstance(e, Sample) else e.why for e in found] == [
        [1, 2, 3],
        "the port was away",
        [1, 2, 3],
    ]
    assert (
        len(attempts) == 4 and told[0].startswith("lost /dev/pts/") and told[1].startswith("cannot open it: permission")
    )
    assert told[2].endswith("is back after 0 s") and len(told) == 3


def test_a_source_that_cannot_be_read_is_said(tmp_path):
    for place, reason in ((tmp_path / "nowhere.csv", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(DataError, match=reason) as e:
            Source(str(place), MODEL)
        assert str(place) in e.value.what


def test_an_empty_file_is_no_rows(tmp_path):
    (tmp_path / "a.csv").touch()
    assert list(Source(str(tmp_path / "a.csv"), MODEL)) == []
    assert list(Source(os.devnull, MODEL)) == []


@pytest.mark.parametrize("header", ["c0,c1,c2,c0", "c1,c1,c0,c2", "C0,c1,c2,c0 [g]"])
def test_a_header_that_names_a_channel_twice_is_refused(tmp_path, header):
    """Which of both columns is the channel's, nobody but the user knows."""
    (tmp_path / "a.csv").write_text(f"{header}\n" + "1,2,3,4\n" * 9)
    with pytest.raises(DataError, match=r"line 1: 'c\d' names 2 columns\n  name each column once"):
        list(Source(str(tmp_path / "a.csv"), tiny_model()))
