"""The data sets without classes: what they hold, what they refuse, and the forecast that needs no network."""

import numpy as np
import pytest

from lnp_edge.base.errors import DataError
from lnp_edge.config import Config, DataSettings
from lnp_edge.datasets import _chaos as chaos
from lnp_edge.datasets import goog, lorenz, rossler, wind
from lnp_edge.task.dataset import check, windows
from lnp_edge.task.split import split
from lnp_edge.task.task import encoded


def persistence(data, seconds):
    """RMSE of "as it is now", in the data set's unit, over every window of the held-out part."""
    w = windows(data.of_groups(data.held_out), seconds, data.dt)
    now = w.counts[:, -1:, list(data.series.target)].astype(float)
    return float(np.sqrt(np.mean((w.wanted - now) ** 2))) / data.series.per_unit


# ---- wind


def test_wind_is_unbroken_runs_in_time_and_the_last_three_tenths_are_held_out():
    data = check(wind.load())
    assert [len(a) for a in data.recordings] == [2, 17749, 48337, 29541]
    assert data.groups.tolist() == [0, 0, 0, 1]
    assert all(a[:, :3].min() >= 0 and a[:, 6].min() > 200 for a in data.recordings)  # nothing is missing in them


def test_persistence_of_wind_is_as_others_measured_it():
    assert persistence(wind.load(), 600) == pytest.approx(1.725, abs=0.0005)


def test_a_direction_and_an_hour_are_points_on_a_circle():
    a = wind.load().recordings[-1].astype(float)
    for sine, cosine in ((3, 4), (8, 9)):
        assert np.hypot(a[:, sine], a[:, cosine]) == pytest.approx(10_000, abs=1)
    hour = np.rad2deg(np.arctan2(a[:, 8], a[:, 9])) / 15 % 24
    first = (wind.START + (98_469 - len(a)) / 6) % 24
    assert hour[0] == pytest.approx(first, abs=0.01) and hour[144] == pytest.approx(hour[0], abs=0.01)


def test_a_speed_above_its_mean_knows_nothing_that_comes_later():
    a = wind.load().recordings[-1].astype(float)
    for k, steps in enumerate(wind.MEANS.values()):
        mean = a[500 - steps + 1 : 501, 0].mean()
        assert a[500, 10 + k] == pytest.approx(10 * (a[500, 0] - mean), abs=0.51)


# ---- GOOG


def test_goog_is_two_parts_in_time_of_one_share():
    data = check(goog.load())
    assert [len(a) for a in data.recordings] == [1483, 645]
    close = np.concatenate(data.recordings)[:, 0] / 40
    assert close[-1] == pytest.approx(806.19, abs=0.0125)
    later = np.concatenate(data.recordings)[5:].astype(float)
    back = np.concatenate(data.recordings)[:-5].astype(float)
    assert 5e4 * np.log(later[:, 0] / back[:, 0]) == pytest.approx(later[:, 2], abs=15)  # counts are 2.5 cents


def test_persistence_of_goog_is_as_others_measured_it():
    """With three weeks of past before the first forecast."""
    assert persistence(goog.load(), 21 * 86400) == pytest.approx(9.84, abs=0.005)


def test_a_forecast_of_goog_knows_nothing_that_comes_later():
    """The row of a day is the same whatever the days after it hold."""
    price = np.cumprod(1 + np.random.default_rng(1).normal(0, 0.01, (300, 1)), axis=0) * [100, 102, 98, 101]
    volume = np.random.default_rng(2).uniform(1e6, 2e6, 300)
    changed = price.copy(), volume.copy()
    changed[0][200:] *= 1.5
    changed[1][200:] *= 7
    assert (goog._channels(price, volume)[: 200 - 20] == goog._channels(*changed)[: 200 - 20]).all()


def test_the_network_does_not_hear_the_close():
    data = split(Config(data=DataSettings("goog", window=21 * 86400.0, hop=86400.0)), goog.load())
    x = encoded(data.task, data.test_windows.counts)
    assert (x[..., 0] == 0).all() and (x[..., 1:].std((0, 1)) > 0.1).all()
    assert data.task.forecast.target == (0,)


# ---- damage


@pytest.mark.parametrize("module", [wind, goog])
def test_a_damaged_or_absent_file_is_refused(tmp_path, module):
    with pytest.raises(DataError, match=module.FILE):
        module.load(tmp_path)
    path = tmp_path / module.FILE
    with np.load(module.__file__.replace(f"{module.__name__.rpartition('.')[2]}.py", module.FILE)) as f:
        arrays = dict(f)
    for name, a in arrays.items():
        if name == "day":
            continue
        for bad in (a.astype(np.float32), a[..., None], a[:0], a[:1].astype(object), -1 - np.abs(a)):
            if module is wind and bad.dtype == a.dtype and bad.shape == a.shape:
                continue
            np.savez_compressed(path, **arrays | {name: bad})
            with pytest.raises(DataError, match="damaged"):
                module.load(tmp_path)
    np.savez_compressed(path, **arrays)
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(DataError, match="damaged"):
        module.load(tmp_path)


# ---- chaos


@pytest.mark.parametrize(("module", "dt"), [(lorenz, 0.02), (rossler, 0.1)])
def test_a_step_of_a_trajectory_is_the_step_of_its_equations(module, dt):
    """By a hundred small steps of another method."""
    found = chaos.trajectories(module.field, np.array([[1.0, 2.0, 3.0], [-3.0, 5.0, 1.0]]), 7.0, dt, 30)
    state = found[:, 0].T
    for _ in range(100):
        h = dt / 100
        k1 = module.field(state)
        k2 = module.field(state + h / 2 * k1)
        k3 = module.field(state + h / 2 * k2)
        k4 = module.field(state + h * k3)
        state = state + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    assert np.abs(state.T - found[:, 1]).max() < 1e-7


@pytest.mark.parametrize("module", [lorenz, rossler])
def test_a_chaotic_set_is_recordings_that_differ_and_repeat(module, monkeypatch):
    data = check(module.load())
    starts = {tuple(a[0]) for a in data.recordings}
    assert len(starts) == len(data.recordings) and set(data.groups.tolist()) == {0, 1}
    assert data.series.free_run * data.dt * data.series.lyapunov == pytest.approx(15, rel=0.001)
    assert np.abs(np.concatenate(data.recordings).astype(int)).max() < 32767  # nothing is clipped
    monkeypatch.setattr(chaos, "LYAPUNOV_TIMES", 1)
    again = module.load().recordings
    assert all(0 < len(b) < len(a) and (a[: len(b)] == b).all() for a, b in zip(data.recordings, again, strict=True))


@pytest.mark.parametrize("module", [lorenz, rossler])
def test_the_largest_exponent_is_the_one_that_is_stated(module):
    """By the growth of 25 distances of 1e-7."""
    rng = np.random.default_rng(3)
    seconds = 8.0 / module.LYAPUNOV
    starts = chaos.trajectories(module.field, rng.normal(1, 1, (25, 3)), 12.0 + seconds, 1.0, 2)[:, 0]
    near = starts + 1e-7 * rng.normal(0, 1, starts.shape)
    ends = [chaos.trajectories(module.field, s, 0.0, seconds, 2)[:, 1] for s in (starts, near)]
    apart = np.linalg.norm(ends[1] - ends[0], axis=1)
    grown = np.log(apart / np.linalg.norm(near - starts, axis=1)).mean() / seconds
    assert grown == pytest.approx(module.LYAPUNOV, rel=0.15)
