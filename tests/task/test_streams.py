"""Where streams come from, and what decisions on them are worth: expected values are counted by hand."""

from dataclasses import replace

import numpy as np
import pytest

from lnp_edge.base.errors import DataError
from lnp_edge.datasets import spar
from lnp_edge.task import streams
from lnp_edge.task.dataset import Dataset, Stream, check
from lnp_edge.task.streams import Judge


def stream(labels, group=0):
    """Counts tell the place."""
    return Stream(np.arange(len(labels), dtype=np.int16)[:, None], np.array(labels, np.int64), group)


WITH = Dataset(
    "x", 0.1, ("one",), ("a", "b"), (np.zeros((9, 1), np.int16),) * 2, np.array([0, 1]), np.array([1, 2]), (2,),
    streams=(stream([0, 0, -1, 1], 1), stream([1, 1, 0], 2)),
)  # fmt: skip


def test_recordings_are_joined_whole_so_that_the_class_changes():
    data = spar.load().of_groups([1, 3])
    found = streams.of(data, orders=2)
    assert [s.group for s in found] == [1, 1, 3, 3]
    for s in found:
        own = data.of_groups([s.group])
        edges = np.flatnonzero(np.diff(s.labels)) + 1
        pieces = [a.tobytes() for a in np.split(s.signal, edges)]
        assert sorted(pieces) == sorted(a.tobytes() for a in own.recordings)
    assert found[0].signal.tobytes() != found[1].signal.tobytes()
    assert found[0].signal.tobytes() == streams.of(data)[0].signal.tobytes()


def test_the_streams_of_a_data_set_are_its_own_and_go_with_their_groups():
    assert streams.of(WITH) == streams.parts(WITH) == WITH.streams
    assert WITH.of_groups([2]).streams == WITH.streams[1:]
    with pytest.raises(DataError, match="stream 0 has a label without a class"):
        check(replace(WITH, streams=(stream([2]),)))


def test_windows_are_those_before_each_decision_with_a_label():
    found = streams.windows([stream([0, 0, 0, 0, -1, 1, 1], 5)], window=3, hop=2)
    assert found.counts[:, :, 0].tolist() == [[0, 1, 2], [4, 5, 6]]
    assert (found.wanted.tolist(), found.groups.tolist()) == ([0, 1], [5, 5])


def test_what_decisions_are_worth_is_counted():
    labels = [0] * 10 + [-1] * 2 + [1] * 8 + [2] * 4 + [1] * 6
    judge = Judge(dt=1.0, window=2, hop=2)
    # after           2  4  6  8 10 12 14 16 18 20 22 24 26 28 30
    said = np.array([0, 0, 1, 0, 0, 2, 2, 1, 1, 0, 1, 1, 1, 1, 1])
    unknown = np.zeros(15, bool)
    unknown[[2, 3, 5]] = True
    judge.add(stream(labels), said, unknown)
    found = judge.measures()
    assert found["accuracy"] == 9 / 14  # the decision after 12 has no label
    # At least 4 s after the change: after 4 to 10, 16 to 20, 24, and 28, 30.
    assert found["settled"] == 7 / 10
    assert found["changes"] == 3 and found["missed"] == 1 / 3  # class 2 was never found
    assert (found["delay_50"], found["delay_95"]) == (4.0, np.inf)  # 2 s and 4 s
    # To 1 after 6 and to 0 after 20; that to 2 after 12 is without a label, that to 1 after 22 is wrong too.
    assert found["false_changes"] == 3 / (14 * 2 / 3600)
    assert (found["unknown"], found["rejected"], found["known"]) == (2 / 14, 1 / 9, 8 / 12)


def test_the_interval_is_over_groups_or_over_streams():
    """A stream of each kind in turn: right throughout, and in half of its decisions."""

    def judged(groups):
        judge = Judge(dt=1.0, window=2, hop=2)
        for k, group in enumerate(groups):
            judge.add(stream([0] * 8, group), np.array([0, 0, k % 2, k % 2]))
        return judge

    low, high, units = judged(range(12)).interval()
    assert 0.6 < low < 0.7 and 0.8 < high < 0.9 and units == "12 groups"
    assert judged([1] * 6 + [2] * 6).interval() == (low, high, "12 streams")
    pairs = judged(k // 2 for k in range(16)).interval()
    assert pairs == (0.75, 0.75, "8 groups")  # as each has one of both kinds
    assert judged(range(7)).interval() is None
    bare = judged(range(12))
    bare.add(stream([-1] * 8, 99), np.zeros(4, np.int64))  # without a label
    assert bare.interval() == (low, high, "12 groups")
