from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, cohen_kappa_score, f1_score, precision_score, recall_score

from lnp_edge.task import metrics, streams
from lnp_edge.task.dataset import Dataset, Series, Stream, Windows

NAMES = ("a", "b", "c")


def classes_data():
    recordings = tuple(np.zeros((4, 1), np.int16) for _ in range(3))
    return Dataset("x", 0.1, ("one",), NAMES, recordings, np.arange(3), np.arange(3), (2,))


def series_data(free_run=0):
    series = Series((0,), 1, per_unit=10.0, unit="m/s", lyapunov=0.5 * bool(free_run), free_run=free_run)
    recording, one = np.zeros((9, 1), np.int16), np.zeros(1, int)
    return Dataset("x", 0.1, ("one",), (), (recording,), one, one, (), series=series)


def test_classes_are_measured_as_scikit_learn_measures_them():
    rng = np.random.default_rng(1)
    wanted, said = rng.integers(0, 3, 200), rng.integers(0, 3, 200)
    found = metrics.of(classes_data(), Windows(np.zeros((200, 1, 1), np.int16), wanted, wanted), said)
    assert found["accuracy"] == pytest.approx(accuracy_score(wanted, said), abs=1e-15)
    assert found["macro_f1"] == pytest.approx(f1_score(wanted, said, average="macro"), abs=1e-15)
    recalls = recall_score(wanted, said, average=None)
    assert [found[f"recall {name}"] for name in NAMES] == pytest.approx(recalls.tolist(), abs=1e-15)
    precisions = precision_score(wanted, said, average=None)
    assert [found[f"+P {name}"] for name in NAMES] == pytest.approx(precisions.tolist(), abs=1e-15)
    rare = [k for k in range(3) if k != np.bincount(wanted).argmax()]
    j = recalls[rare].sum() + precisions[rare].sum()
    assert found["j_kappa"] == pytest.approx(cohen_kappa_score(wanted, said) / 2 + j / 8, abs=1e-14)


def test_measures_of_a_class_that_does_not_occur():
    wanted = np.array([0, 0, 1])
    windows = Windows(np.zeros((3, 1, 1), np.int16), wanted, wanted)
    never = metrics.of(classes_data(), windows, wanted)
    assert (never["recall c"], never["+P c"], never["+P b"], never["j_kappa"]) == (1.0, 1.0, 1.0, 1.0)
    once = metrics.of(classes_data(), windows, np.array([0, 2, 1]))
    assert (once["recall c"], once["+P c"]) == (0.0, 0.0)
    missed = metrics.of(classes_data(), windows, np.array([0, 0, 0]))
    assert (missed["+P b"], missed["+P c"], missed["j_kappa"]) == (0.0, 1.0, 0.25)


def test_a_window_that_was_not_classified_is_wrong():
    wanted, said = np.array([0, 1, 2, 2]), np.array([0, -1, 2, -1])
    found = metrics.of(classes_data(), Windows(np.zeros((4, 1, 1), np.int16), wanted, wanted), said)
    assert (found["accuracy"], found["recall b"], found["recall c"]) == (0.5, 0.0, 0.5)
    assert metrics.confusion(NAMES, wanted, said).tolist() == [[1, 0, 0], [0, 0, 0], [0, 0, 1]]


def test_a_series_is_measured_in_its_unit_and_against_persistence():
    now, came = np.array([[[10]], [[20]]], np.int16), np.array([[[30]], [[20]]], np.int16)
    windows = Windows(now, came, np.zeros(2, int))
    assert metrics.of(series_data(), windows, now) == {"rmse": pytest.approx(2**0.5), "rmse_ratio": 1.0}
    half = metrics.of(series_data(), windows, (now + came) / 2)
    assert half == {"rmse": pytest.approx(2**-0.5), "rmse_ratio": pytest.approx(0.5)}


def test_valid_time_ends_where_the_normalised_error_first_exceeds_the_threshold():
    true = np.tile(np.array([-100, 100], np.int16), 10)[None, :, None]  # deviation 100
    wrong = true.copy()
    wrong[0, 7], wrong[0, 9:] = true[0, 7] + 39, true[0, 9:] + 41
    data = series_data(free_run=20)
    # A step is 0.1 s, 0.05 Lyapunov times: at 0.3 the error of 0.39 counts, at 0.4 only that of 0.41.
    assert metrics.valid_times(data, true, wrong, 0.3).tolist() == pytest.approx([7 * 0.05])
    assert metrics.valid_times(data, true, wrong, 0.4).tolist() == pytest.approx([9 * 0.05])
    assert metrics.valid_times(data, true, wrong, 0.5).tolist() == pytest.approx([20 * 0.05])
    windows = Windows(np.zeros((1, 1, 1), np.int16), true, np.zeros(1, int))
    found = metrics.of(data, windows, wrong)
    assert found["valid_time"] == found["valid_time_0.4"] == pytest.approx(0.45)


def test_every_measure_that_a_table_shows_is_measured():
    wanted = np.array([0, 1, 2])
    for data in (classes_data(), replace(classes_data(), metric="macro_f1")):
        found = metrics.of(data, Windows(np.zeros((3, 1, 1), np.int16), wanted, wanted), wanted)
        assert {data.metric, *metrics.shown(data), *metrics.shown_by_class(data)} <= set(found)
    for data, length in ((series_data(), 1), (series_data(free_run=5), 5)):
        came = np.arange(3 * length, dtype=np.int16).reshape(3, length, 1)
        windows = Windows(np.full((3, 1, 1), -5, np.int16), came, np.zeros(3, int))
        assert set(metrics.shown(data)) < set(metrics.of(data, windows, came))


def test_on_streams_of_few_groups_the_interval_draws_stretches_of_each_stream():
    """Two streams of 6 and 4 decisions; the one after 5 samples has no label. A stretch has one window at least."""
    label = np.array([0, 0, 1, 1, -1, 2, 2], np.int64)
    some = [Stream(np.zeros((n, 1), np.int16), label[:n], n) for n in (7, 5)]
    windows = streams.windows(some, window=2, hop=1)
    assert windows.source.tolist() == [0] * 5 + [1] * 3
    sums, what = metrics.by_unit(classes_data(), windows, windows.wanted, (0.2, 0.1))
    assert what == "8 stretches of time" and sums.sum(1).tolist() == [1] * 8
