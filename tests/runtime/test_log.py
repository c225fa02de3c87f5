"""A log holds whole lines, is only ever added to, and replays as it was, damaged or not."""

import errno
import io
import json
import os
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny import tiny_counts, tiny_model

from lnp_edge.base.errors import ConfigError, DataError
from lnp_edge.runtime import log
from lnp_edge.runtime.log import BEGINS, Gap, Log, Sample, replay
from lnp_edge.runtime.source import Source

MODEL = tiny_model()
EVENTS = [Sample(row, round(0.01 * k, 6)) for k, row in enumerate(tiny_counts(MODEL, 6))]
EVENTS.insert(3, Gap(3.2, "no row for 3.2 s"))


def written(path, events=EVENTS, model=MODEL):
    one = Log(path, model, "somewhere")
    for event in events:
        one.event(event)
    one.write({"prediction": {"window": 0}})
    one.close()
    return path


def read(path, model=MODEL):
    told = []
    return plain(Source(str(path), model, tell=told.append)), told


def plain(events):
    return [(e.counts.tolist(), e.t) if isinstance(e, Sample) else tuple(e) for e in events]


def test_a_log_gives_what_was_written_and_a_second_run_follows_after_a_gap(tmp_path):
    path = written(tmp_path / "l")
    assert read(path) == (plain(EVENTS), [])
    written(path)
    assert read(path) == ([*plain(EVENTS), (0.0, "another run"), *plain(EVENTS)], [])


def test_a_log_of_another_model_is_told_and_of_another_number_of_channels_is_refused(tmp_path):
    path = written(tmp_path / "l")
    other = tiny_model(seed=2)
    assert read(path, other) == (plain(EVENTS), [f"{path} was written with another model: its decisions may differ"])
    with pytest.raises(DataError, match="is a log of 3 channels, the model has 2"):
        read(path, tiny_model(n_in=2))
    before = path.read_bytes()
    with pytest.raises(ConfigError, match="is of 3 channels, the model has 2"):
        Log(path, tiny_model(n_in=2), "x")
    assert path.read_bytes() == before


def test_a_line_that_was_cut_is_a_gap_and_no_part_of_the_next(tmp_path):
    path = written(tmp_path / "l")
    path.write_bytes(path.read_bytes() + b'{"t":0.06,"x":[1,2')
    written(path)
    found, _ = read(path)
    assert found == [*plain(EVENTS), (0.0, "another run"), *plain(EVENTS)]
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:2], lines[2][:-3] + b"\n", *lines[3:9]]))
    found, _ = read(path)
    assert found[:3] == [plain(EVENTS)[0], (0.0, "a damaged line of the log"), plain(EVENTS)[2]]


def test_two_runs_do_not_write_one_log(tmp_path):
    one = Log(tmp_path / "l", MODEL, "x")
    with pytest.raises(ConfigError, match="another run writes"):
        Log(tmp_path / "l", MODEL, "x")
    one.close()
    Log(tmp_path / "l", MODEL, "x").close()


def test_what_is_no_log_is_never_added_to(tmp_path):
    for content in (b"c0,c1,c2\n", b"{}\n", BEGINS + b"1}\n", BEGINS * 9):
        (tmp_path / "x").write_bytes(content)
        with pytest.raises(ConfigError, match="exists and is no log"):
            Log(tmp_path / "x", MODEL, "x")
        assert (tmp_path / "x").read_bytes() == content
    for place in (tmp_path, tmp_path / "nowhere/x", "/dev/null"):
        with pytest.raises(ConfigError):
            Log(place, MODEL, "x")


@pytest.mark.parametrize("wrote", [0, 7])
def test_a_full_disk_leaves_whole_lines(tmp_path, monkeypatch, wrote):
    one = Log(tmp_path / "l", MODEL, "x")
    one.event(EVENTS[0])
    before, real = (tmp_path / "l").read_bytes(), os.write

    def full(number, data):
        if not wrote:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(number, data[:wrote])

    monkeypatch.setattr(log.os, "write", full)
    with pytest.raises(DataError, match=r"(?i)no space left"):
        one.event(EVENTS[1])
    one.close()
    assert (tmp_path / "l").read_bytes() == before


HEAD = BEGINS + b'1,"channels":["a","b","c"]}\n'
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3), st.lists, max_leaves=5
)
LINES = st.binary(max_size=60) | st.fixed_dictionaries(
    {}, optional=dict.fromkeys(("t", "x", "gap", "why", "prediction", "lnp_log"), VALUES)
).map(lambda table: json.dumps(table).encode())


@given(st.lists(LINES, max_size=6), st.integers(-40000, 40000))
def test_any_lines_give_samples_in_range_or_a_refusal(lines, value):
    data = HEAD + b'{"t":1,"x":[1,2,%d]}\n' % value + b"\n".join(lines) + b'\n{"t":1,"x":[1,2,3]}\n'
    try:
        for event in replay(iter(io.BytesIO(data).readlines(65536)), "it", MODEL, lambda text: None):
            if isinstance(event, Sample):
                assert event.counts.dtype == np.int16 and event.counts.shape == (3,) and 0 <= event.t < 1e12
            else:
                assert 0 <= event.seconds < 1e12 and event.why.isprintable()
    except DataError as e:
        assert e.what.startswith("it is a log of")


def test_a_long_line_is_damaged_as_a_whole():
    long = b"x" * 65536 + b'{"t":1,"x":[1,2,3]}\n'
    data = io.BytesIO(HEAD + b'{"t":0,"x":[1,2,3]}\n' + long + b'{"t":2,"x":[1,2,3]}\n')
    found = plain(replay(iter(lambda: data.readline(65536), b""), "it", replace(MODEL), lambda text: None))
    assert found == [([1, 2, 3], 0.0), (0.0, "a damaged line of the log"), ([1, 2, 3], 2.0)]
