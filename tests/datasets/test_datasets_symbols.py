"""Memory tasks: that what is asked for is in what is heard, and how far back."""

import itertools

import numpy as np
import pytest

from lnp_edge import config
from lnp_edge.base.errors import DataError
from lnp_edge.datasets import _symbols as symbols
from lnp_edge.datasets import symbol_adding, symbol_recall, symbol_xor
from lnp_edge.task.dataset import check
from lnp_edge.task.split import split

ALL = [symbol_recall, symbol_xor, symbol_adding]


def heard(data):
    """Mean of each symbol [R, L, C], in units of a symbol's 1."""
    x = np.asarray(data.recordings, float) / symbols.COUNTS
    return x.reshape(len(x), -1, symbols.STEPS, x.shape[2]).mean(2)


@pytest.mark.parametrize("module", ALL)
def test_trials_repeat_and_those_of_the_test_are_others(module):
    data = check(module.load())
    assert (data.recordings == module.load().recordings).all()
    assert np.bincount(data.groups).tolist() == [2000, 1000] and data.held_out == (1,)
    known = {a.tobytes() for a in data.recordings[:2000]}
    assert len(known) == 2000 and not any(a.tobytes() in known for a in data.recordings[2000:])
    share = np.bincount(data.labels) / len(data.labels)
    assert len(share) == len(data.classes) and abs(share - 1 / len(share)).max() < 4 * np.sqrt(share.max() / 3000)
    noise = np.asarray(data.recordings, float) / symbols.COUNTS - np.repeat(heard(data), symbols.STEPS, axis=1)
    assert noise.std() == pytest.approx(symbols.NOISE * np.sqrt(1 - 1 / symbols.STEPS), rel=0.01)


@pytest.mark.parametrize("module", [symbol_recall, symbol_xor])
def test_a_class_names_the_bits_of_its_delays(module):
    data = check(module.load())
    for u, label in zip(heard(data)[..., 0] > 0, data.labels, strict=True):
        said = ""
        for delay in module.DELAYS:
            bit = u[-1 - delay]
            if module is symbol_xor:
                bit = bit != u[-2 - delay]
            said += "1" if bit else "0"
        assert data.classes[label] == said


def test_one_value_is_marked_in_either_half_and_their_sum_decides():
    data = check(symbol_adding.load())
    value, mark = (heard(data) + 1).transpose(2, 0, 1) / 2
    marked = mark > 0.5
    halves = marked.reshape(len(marked), 2, -1).sum(2)
    assert (halves == 1).all()
    total = value[marked].reshape(-1, 2).sum(1)
    low = np.array([-np.inf, *symbol_adding.EDGES])[data.labels]
    high = np.array([*symbol_adding.EDGES, np.inf])[data.labels]
    far = 5 * np.sqrt(2 / symbols.STEPS) * symbols.NOISE / 2  # five deviations of the sum of two noisy means
    assert ((total > low - far) & (total < high + far)).all()


def test_no_linear_filter_tells_neighbours_alike_and_one_recalls():
    """Least squares of each bit on all that was heard: the sign of what it says of the trials for the test."""
    for module, right in ((symbol_recall, 0.99), (symbol_xor, 0.6)):
        data = module.load()
        x = np.concatenate([heard(data)[..., 0], np.ones((3000, 1))], axis=1)
        bits = np.array([[c == "1" for c in data.classes[k]] for k in data.labels], float) - 0.5
        said = x[2000:] @ np.linalg.lstsq(x[:2000], bits[:2000], rcond=None)[0]
        shares = ((said > 0) == (bits[2000:] > 0)).mean(0)
        assert (shares > right).all() if module is symbol_recall else (shares < right).all()


def test_names_and_numbers_of_bits_agree():
    table = np.array(list(itertools.product([False, True], repeat=3)))
    assert symbols.bits(3) == ("000", "001", "010", "011", "100", "101", "110", "111")
    assert [symbols.bits(3)[k] for k in symbols.numbers(table)] == ["".join("01"[int(b)] for b in row) for row in table]


def test_a_window_longer_than_every_trial_is_said():
    settings = config.Config(data=config.DataSettings(name="symbol_recall"))
    with pytest.raises(DataError, match="no recording of symbol_recall is 4 s long\n  the longest has 1 s: shorten"):
        split(settings, symbol_recall.load())
