"""Sensor counts come in as they are, or the line that is wrong is named; nothing is guessed."""

import io
import os
import sys
import tty

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lnp_edge.base.errors import DataError
from lnp_edge.runtime import source
from lnp_edge.runtime.ports import open_serial
from lnp_edge.runtime.source import LINE_LIMIT, parse, rows

NAMES = ("ax", "ay", "az")


def read(data, **options):
    """Rows of some bytes as lists, read as a file is."""
    file = io.BytesIO(data)
    lines = iter(lambda: file.readline(LINE_LIMIT), b"")
    return [row.tolist() for row in parse(lines, NAMES, "it", **options)]


def refusal(data):
    with pytest.raises(DataError) as e:
        read(data)
    assert e.value.what.startswith("it line ") and e.value.try_next
    return e.value.what


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"", []),
        (b"1,2,3", [[1, 2, 3]]),
        (b"1,2,3\n4,5,6\n", [[1, 2, 3], [4, 5, 6]]),
        (b"1,2,3\r\n4,5,6\r\n", [[1, 2, 3], [4, 5, 6]]),
        (b" 1 ,\t2, 3 \n", [[1, 2, 3]]),
        (b"-32768,32767,+0\n", [[-32768, 32767, 0]]),
        (b"007,-0,1\n", [[7, 0, 1]]),
        (b"\n\n1,2,3\n\n# 4,5,6\n   \n7,8,9", [[1, 2, 3], [7, 8, 9]]),
        (b"ax,ay,az\n1,2,3\n", [[1, 2, 3]]),
        (b"# made today\naz,ay,ax\n1,2,3\n", [[3, 2, 1]]),
        (b"t,az,x y,ax,ay,label\n99999,3,0.5,1,2,walk\n", [[1, 2, 3]]),
        (b"\xef\xbb\xbfax,ay,az\r\n1,2,3\r\n", [[1, 2, 3]]),
        (b"\xef\xbb\xbf1,2,3\n", [[1, 2, 3]]),
    ],
)
def test_what_is_read(data, found):
    assert read(data) == found


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"1,2\n", "it line 1: expected 3 values, got 2"),
        (b"1,2,3,4\n", "it line 1: expected 3 values, got 4"),
        (b"1,2,3\n1;2;3\n", "it line 2: expected 3 values, got 1"),
        (b"1,2,3\n\n# x\n1,2\n", "it line 4: expected 3 values, got 2"),
        (b"1,2,32768\n", "it line 1: '32768' is not an integer from -32768 to 32767"),
        (b"-32769,2,3\n", "it line 1: '-32769' is not an integer from -32768 to 32767"),
        (b"1,2,3.0\n", "it line 1: '3.0' is not an integer from -32768 to 32767"),
        (b"1,2,1e3\n", "it line 1: '1e3' is not an integer from -32768 to 32767"),
        (b"1,2,nan\n", "it line 1: 'nan' is not an integer from -32768 to 32767"),
        (b"1,2,inf\n", "it line 1: 'inf' is not an integer from -32768 to 32767"),
        (b"1,2,0x10\n", "it line 1: '0x10' is not an integer from -32768 to 32767"),
        (b"1,2,1_0\n", "it line 1: '1_0' is not an integer from -32768 to 32767"),
        (b"1,2,\n", "it line 1: '' is not an integer from -32768 to 32767"),
        (b"1,2,-\n", "it line 1: '-' is not an integer from -32768 to 32767"),
        (b"1,2,--5\n", "it line 1: '--5' is not an integer from -32768 to 32767"),
        (b"1,2,\0003\n", "it line 1: '\\x003' is not an integer from -32768 to 32767"),
        (b"1,2," + b"9" * 5000 + b"\n", "it line 1: '99999999999999999999' is not an integer from -32768 to 32767"),
        ("1,2,٣\n".encode(), "it line 1: '٣' is not an integer from -32768 to 32767"),
        (b"1,2,\xff\n", "it line 1: '\ufffd' is not an integer from -32768 to 32767"),
        (b"ax,ay\n1,2\n", "it line 1: no column 'az'"),
        (b"AX,AY,AZ\n1,2,3\n", "it line 1: no column 'ax'"),
        (b"ax,ay,az\n1,2,3\nax,ay,az\n", "it line 3: 'ax' is not an integer from -32768 to 32767"),
        (b"t,ax,ay,az\n1,2,3\n", "it line 2: expected 4 values, got 3"),
        (b"hello\n", "it line 1: no column 'ax'"),
        (b"\0" * 100, "it line 1: no column 'ax'"),
    ],
)
def test_what_is_refused_and_why(data, what):
    assert refusal(data) == what


@pytest.mark.parametrize("byte", [b"1", b",", b" ", b"\0", b"x", b"1,"])
def test_a_line_of_10_megabytes_is_refused_and_never_cut_into_rows(byte):
    with pytest.raises(DataError):
        read(b"1,2," + byte * (10_000_000 // len(byte)) + b"5\n")


def test_a_padded_line_is_not_cut_into_another_value():
    padded = b"1,2," + b" " * (LINE_LIMIT - 5) + b"12\n"
    assert "longer than" in refusal(padded)


@settings(max_examples=300)
@given(st.binary(max_size=80) | st.text("0123456789,-+ #axyz\n\r.\0", max_size=80).map(str.encode))
def test_any_bytes_give_rows_in_range_or_a_refusal(data):
    try:
        assert all(len(row) == 3 and -32768 <= min(row) <= max(row) <= 32767 for row in read(data))
    except DataError as e:
        assert e.what.startswith("it line ")


@pytest.mark.parametrize("cut", [b"23,4\n", b",4\n", b"x\xff\xfe\0\n", b"3\n", b"z\n"])
def test_a_serial_stream_may_begin_in_the_middle_of_a_line(cut):
    assert read(cut + b"1,2,3\n4,5,6\n", first_may_be_cut=True) == [[1, 2, 3], [4, 5, 6]]
    with pytest.raises(DataError):
        read(b"1,2,3\n" + cut, first_may_be_cut=True)


def test_a_file_standard_input_and_a_serial_port_give_the_same_rows(tmp_path, monkeypatch):
    data = b"ax,ay,az\n" + b"".join(b"%d,%d,%d\n" % (k, -k, 7 * k) for k in range(50))
    expected = read(data)
    assert len(expected) == 50
    (tmp_path / "a.csv").write_bytes(data)
    assert [r.tolist() for r in rows(str(tmp_path / "a.csv"), NAMES)] == expected
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    assert [r.tolist() for r in rows("-", NAMES)] == expected
    assert serial_rows(monkeypatch, data, 50) == expected


def serial_rows(monkeypatch, data, count):
    """The first rows of a pty that a sensor writes to once somebody listens: opening empties the line."""
    master, slave = os.openpty()
    tty.setraw(slave)

    def opened(*args):
        port = open_serial(*args)
        os.write(master, data)
        return port

    monkeypatch.setattr(source, "open_serial", opened)
    stream = rows(os.ttyname(slave), NAMES)
    try:
        return [next(stream).tolist() for _ in range(count)]
    finally:
        stream.close()
        os.close(master)
        os.close(slave)


def test_a_source_that_cannot_be_read_is_said(tmp_path):
    for place, reason in ((tmp_path / "nowhere.csv", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(DataError, match=reason) as e:
            list(rows(str(place), NAMES))
        assert str(place) in e.value.what


def test_an_empty_file_is_no_rows(tmp_path):
    (tmp_path / "a.csv").touch()
    assert list(rows(str(tmp_path / "a.csv"), NAMES)) == []
    assert list(rows(os.devnull, NAMES)) == []
