from dataclasses import replace

import numpy as np
import pytest

from lnp_edge import config
from lnp_edge.base.errors import DataError
from lnp_edge.datasets import spar
from lnp_edge.stages import pipeline
from lnp_edge.task.baselines import simple
from lnp_edge.task.dataset import check, windows
from lnp_edge.task.split import split


def stored():
    with np.load(spar.__file__.replace("spar.py", spar.FILE)) as f:
        return dict(f)


def test_spar_has_every_person_doing_every_exercise_with_both_arms():
    data = spar.load()
    assert (len(data.recordings), data.dt, len(data.classes)) == (140, 0.04, 7)
    pairs = np.stack([data.groups, data.labels], 1)
    assert sorted(set(map(tuple, pairs.tolist()))) == [(g, k) for g in range(1, 11) for k in range(7)]
    assert sum(map(len, data.recordings)) == 122_083
    assert all(r.dtype == np.int16 and r.shape[1] == 6 for r in data.recordings)


def test_windows_lie_within_one_recording():
    data = spar.load().of_groups([8])
    found = windows(data, 4.0, 2.0)
    assert found.counts.shape[1:] == (100, 6) and set(found.groups) == {8}
    assert len(found) == sum((len(r) - 100) // 50 + 1 for r in data.recordings)
    assert (found.counts[1] == data.recordings[0][50:150]).all() and found.wanted[1] == data.labels[0]


def test_a_window_longer_than_any_recording_is_refused():
    with pytest.raises(DataError, match="100 s long"):
        windows(spar.load(), 100, 2)


@pytest.mark.parametrize("change", ["length", "signal", "y", "missing", "truncated", "pickle"])
def test_a_damaged_file_is_refused(tmp_path, change):
    arrays = stored()
    if change == "length":
        arrays["length"][0] += 1
    elif change == "signal":
        arrays["signal"] = arrays["signal"].astype(np.float32)
    elif change == "y":
        arrays["y"][0] = 7
    elif change == "missing":
        del arrays["subject"]
    elif change == "pickle":
        arrays["classes"] = arrays["classes"].astype(object)
    path = tmp_path / spar.FILE
    np.savez_compressed(path, **arrays)
    if change == "truncated":
        path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(DataError, match="damaged"):
        spar.load(tmp_path)


def test_an_absent_file_is_named(tmp_path):
    with pytest.raises(DataError, match=spar.FILE):
        spar.load(tmp_path)


def test_ridge_regression_on_statistics_tells_most_exercises_apart():
    data = split(config.Config(), spar.load().of_groups([1, 2, 3, 4]), (4,))
    said = simple(data)["ridge on statistics"]
    assert pipeline.measures(data, said)["accuracy"] > 0.6


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"recordings": (np.zeros((200, 6), np.float32),)}, "recording 0: expected int16, got float32"),
        ({"recordings": (np.zeros((200, 5), np.int16),)}, "recording 0: expected shape"),
        ({"labels": np.array([7])}, "recording 0 has label 7"),
        ({"labels": np.array([-1])}, "recording 0 has label -1"),
        ({"groups": np.array([1, 2])}, "1 recordings, 1 labels"),
        ({"classes": ("one",)}, "empty"),
    ],
)
def test_a_data_set_no_network_could_learn_from_is_refused(change, what):
    good = spar.load()
    one = replace(good, recordings=good.recordings[:1], labels=good.labels[:1], groups=good.groups[:1])
    assert check(one) is one
    with pytest.raises(DataError, match=what):
        check(replace(one, **change))


def test_windows_that_leave_gaps_are_refused():
    with pytest.raises(DataError, match="leave gaps"):
        windows(spar.load(), 2.0, 4.0)
