"""Rivals: their C computes what the integer reference does, and the reference what the float baseline does."""

import json
from dataclasses import dataclass, fields, replace

import numpy as np
import pytest
from conftest import need, need_for

from lnp_edge import boards, config, rivals
from lnp_edge.base.errors import ConfigError
from lnp_edge.cli import main
from lnp_edge.datasets import spar
from lnp_edge.experiments import executors
from lnp_edge.experiments.rivals import Rivals, RivalTrial
from lnp_edge.rivals import FORECAST_ONE, _linear, _statistics, rocket
from lnp_edge.stages import pipeline, rival
from lnp_edge.stages.rival import Measured
from lnp_edge.task import baselines, metrics
from lnp_edge.task.dataset import Dataset, Series, Windows
from lnp_edge.task.split import Split, split

INT16 = (-32768, 32768)


def settings(steps):
    base = config.Config()
    return replace(base, data=replace(base.data, window=float(steps), hop=float(steps)))


def test_a_rival_takes_samples_whatever_front_end_the_network_has():
    delta = config.DataSettings(front="delta", frame=4, params={"threshold": 2.0})
    assert rival.raw(config.Config(data=delta)) == config.Config()


def classes(steps, channels=3, each=1, seed=1):
    """Noise of three classes that differ in mean, strength and colour; `each` windows a recording."""
    rng, recordings, labels = np.random.default_rng(seed), [], np.tile(np.arange(3), 24)
    for label in labels:
        x = rng.normal(0, 200, (steps * each + 1, channels))
        recordings.append((x[1:] * (1 + label) + label * x[:-1] + 300 * label).astype(np.int16))
    groups = np.repeat(np.arange(6), 12)
    names = tuple(f"c{k}" for k in range(channels))
    data = Dataset("noise", 1.0, names, ("a", "b", "c"), tuple(recordings), labels, groups, (4, 5))
    return split(settings(steps), data)


def series(steps=20):
    rng = np.random.default_rng(2)
    x = np.cumsum(rng.normal(0, 30, (1200, 3)), axis=0) + np.array([0, 5000, -5000])
    x[:, 0] = np.roll(x[:, 1], 3) / 2
    parts = tuple(part.astype(np.int16) for part in (x[:800], x[800:]))
    data = Dataset(
        "walk", 1.0, ("p", "q", "r"), (), parts, np.zeros(2, np.int64), np.arange(2), (1,), metric="rmse_ratio",
        series=Series(target=(0, 2), horizon=2, per_unit=10.0, unit="m"),
    )  # fmt: skip
    return split(settings(steps), data)


# Trials of even, odd and power-of-two length, recordings of two windows, a series.
TASKS = {
    "36": lambda: classes(36),
    "33": lambda: classes(33, channels=1),
    "64": lambda: classes(64, each=2),
    "series": series,
}
CASES = [(task, name) for task, made in TASKS.items() for name in rival.suiting(made())]


def spread():
    """Each rival once, with its tasks in turn."""
    for k, name in enumerate(rival.names()):
        if tasks := [task for task, named in CASES if named == name]:
            yield tasks[k % len(tasks)], name


ON_BOARD = list(spread())


def marked(cases):
    """Those of CMSIS-NN are slow: ./run test -m slow installs what they read."""
    return [pytest.param(*case, marks=pytest.mark.slow) if case[-1].startswith("cmsis_") else case for case in cases]


@pytest.fixture(scope="module")
def fitted():
    """fitted(task, name) -> the split and the trained rival, once."""
    found = {}

    def get(task, name):
        if task not in found:
            found[task] = TASKS[task]()
        if (task, name) not in found:
            found[task, name] = rival.trained(name, found[task], 1)
        return found[task], found[task, name]

    return get


def stress(data, model, seed=3):
    """Windows of the test, of hostile counts, and of random ones around every threshold."""
    shape = data.test_windows.counts.shape[1:]
    rng = np.random.default_rng(seed)
    random = rng.integers(*INT16, (20, *shape)) >> rng.integers(0, 16, (20, 1, 1))
    flat = np.tile(rng.integers(*INT16, (4, 1, shape[1])), (1, shape[0], 1))
    ramp = np.linspace(-32768, 32767, shape[0]).astype(np.int16)[None, :, None] * np.ones((1, 1, shape[1]), np.int16)
    parts = [data.test_windows.counts[:20], rival.hostile(shape, seed), random, flat, ramp, ramp[:, ::-1]]
    windows = np.concatenate(parts).astype(np.int16)
    return windows, model.scores(windows)


@pytest.mark.parametrize(("task", "name"), marked(CASES))
def test_c_equals_the_reference_and_has_no_undefined_behaviour(fitted, task, name):
    need_for("host")
    data, model = fitted(task, name)
    windows, wanted = stress(data, model)
    with rival.on_board(model, rival.shape_of(data), boards.get("host"), sanitize=True) as device:
        assert device.scores(windows).tolist() == wanted.tolist()


def test_every_task_has_a_rival_on_the_board():
    assert {task for task, _ in ON_BOARD} == set(TASKS)


@pytest.mark.parametrize(("task", "name"), marked(ON_BOARD))
def test_on_the_board_too_and_its_count_repeats(fitted, task, name):
    """The C is that of the host: what Arm's compiler makes of a rival hardly depends on the task."""
    need_for("cortex-m4")
    data, model = fitted(task, name)
    windows, wanted = stress(data, model)
    with rival.on_board(model, rival.shape_of(data), boards.get("cortex-m4")) as device:
        first = device.instructions(windows[:3])
        assert device.scores(windows).tolist() == wanted.tolist()
        assert device.instructions(windows[:3]) == first and len(first) == 3 and min(first) > 0


@pytest.mark.parametrize(("name",), marked((name,) for name in rival.names()))
def test_a_rival_says_what_it_is_and_fits_the_same_twice(fitted, name):
    task = next((task for task, named in CASES if named == name), "")
    if not task:
        pytest.skip(f"{name} needs what is not installed")  # cmsis_1k, cmsis_3k
    data, model = fitted(task, name)
    assert 0 < len(rival.title(name)) <= 24
    again = rival.trained(name, data, 1)
    assert again.c_files() == model.c_files()
    scores = again.scores(data.test_windows.counts)
    assert scores.dtype == np.int32 and scores.shape == (len(data.test_windows), len(data.task.classes))


def test_nothing_of_a_rival_is_chosen_by_the_test_windows(fitted):
    data, _ = fitted("64", "majority")
    other = replace(data.test, recordings=tuple(a[::-1] for a in data.test.recordings), labels=data.test.labels[::-1])
    for name in rival.suiting(data):
        changed = rival.trained(name, Split(data.train, other, data.task, data.cut), 1)
        assert changed.c_files() == fitted("64", name)[1].c_files(), name


def test_a_difference_between_board_and_reference_is_found(fitted, monkeypatch):
    need_for("cortex-m4")
    data, model = fitted("36", "majority")

    @dataclass
    class Wrong:
        def scores(self, counts):
            found = model.scores(counts)
            found[1, 0] ^= 1
            return found

        c_files = model.c_files

    monkeypatch.setattr(rival, "trained", lambda *_: Wrong())
    found = rival.measure("majority", data)
    assert (found.differ, found.compared) == (2, len(data.test_windows) + 6)  # one of the test, one hostile


def test_a_rival_for_other_data_is_refused(fitted):
    data, _ = fitted("series", "persistence")
    with pytest.raises(ConfigError, match="it forecasts a series\n  choose among autoregression, "):
        rival.trained("majority", data, 1)


# --- features


@pytest.mark.parametrize("steps", [32, 33, 36, 50, 97, 100, 120, 128])
def test_integer_features_are_those_of_the_baseline(steps):
    rng = np.random.default_rng(steps)
    scale = 2.0 ** rng.uniform(1, 13, (40, 1, 2))
    x = np.clip(rng.normal(0, scale, (40, steps, 2)) + rng.normal(0, 4000, (40, 1, 2)), *INT16).astype(np.int16)
    x[0], x[1, :, 0] = 0, 5
    found = _statistics.features(x, bands=True, lags=True)
    mean, std, low, high, q1, q3, moved = np.split(baselines.statistics(x)[:, :14].reshape(40, 7, 2), 7, axis=1)
    own = np.stack([found[:, :15], found[:, 15:30]], axis=2)  # seven statistics and eight bands of each channel
    assert np.allclose(own[:, 0] / steps, mean[:, 0], rtol=0, atol=1e-9)
    assert np.allclose(own[:, 1] / steps, std[:, 0], rtol=2**-15, atol=1 / steps)
    for k, exact in ((2, low), (3, high), (4, 4 * q1), (5, 4 * q3), (6, moved * (steps - 1))):
        assert np.allclose(own[:, k], exact[:, 0], rtol=0, atol=1e-6), k
    assert np.allclose(found[:, 30] / steps, baselines.statistics(x)[:, 14], rtol=1e-12)
    assert np.allclose(found[:, 31:] / (steps - baselines.LAG), baselines.lagged(x), rtol=1e-12)
    # The powers have the scale 2**8 * frequencies * steps; the parabola errs by 0.008, tables and shifts by less.
    edges = np.diff(baselines.band_edges(steps))
    powers = np.log2(np.exp(baselines.band_powers(x)))
    logs = own[:, 7:].reshape(40, 16) / 2**10  # a band of both channels, then the next
    assert np.abs(logs - np.log2(np.repeat(edges, 2) * steps * 2**8) - powers).max() < 0.03


def test_root_and_logarithm_at_their_edges():
    n = np.array([0, 1, 2, 3, 4, 2**32 - 1, 2**32, 2**54, 2**54 - 1])
    assert _statistics.root(n).tolist() == [0, 1, 1, 1, 2, 65535, 65536, 2**27, (2**16 - 1) * 2**11]
    n = np.array([1, 2, 3, 2**15, 2**53 + 1, 2**60 - 1, 2**60, 2**62 - 1])
    exact = np.array([0, 1, np.log2(3), 15, 53, 60, 60, 62])
    found = _statistics.log2(n) / 2**10
    assert np.abs(found - exact).max() < 0.009
    assert (found[[0, 1, 3, 6]] == exact[[0, 1, 3, 6]]).all() and found[5] < 60


def test_a_linear_model_keeps_within_its_bound_for_any_feature():
    rng = np.random.default_rng(5)
    deviation = 10.0 ** rng.uniform(1.5, 12, 60)
    mean = deviation * rng.normal(0, 1000, 60)
    model = baselines.Linear(0.0, 1.0, mean, deviation, rng.normal(0, 1, (60, 4)), rng.normal(0, 1, 4))
    quantised = _linear.quantize(model)
    most = np.abs(quantised.c.astype(np.int64)).sum(1) * _linear.LIMIT + np.abs(quantised.bias.astype(np.int64))
    assert most.max() < 2**30
    features = np.rint(model.mean + model.deviation * rng.normal(0, 1, (500, 60))).astype(np.int64)
    wanted, found = model.scores(features), quantised.scores(features)
    assert np.corrcoef(wanted.ravel(), found.ravel())[0, 1] > 0.9999
    assert (wanted.argmax(1) == found.argmax(1)).mean() > 0.98


# --- against the float baselines


@pytest.mark.parametrize(("name", "row", "most"), [
    ("ridge_statistics", "ridge on statistics", 0.005), ("ridge_bands", "ridge on statistics and bands", 0.005),
])  # fmt: skip
def test_on_spar_integers_are_as_accurate_as_the_baseline(name, row, most):
    data = split(config.named("spar"), spar.load())
    said = baselines.ridge(data, baselines.kinds(data)[row]).predicted
    found = rival.trained(name, data, 1).scores(data.test_windows.counts).argmax(1)
    exact, ours = (pipeline.measures(data, predicted)["accuracy"] for predicted in (said, found))
    assert abs(exact - ours) <= most and (said == found).mean() > 0.98


def test_integers_forecast_within_a_count_of_the_float_autoregression(fitted):
    data, model = fitted("series", "autoregression")
    counts = data.test_windows.counts
    wanted = counts[:, -1, [0, 2]] + baselines.autoregression(data)
    assert np.abs(model.scores(counts) / FORECAST_ONE - wanted).max() < 1


# --- measures


def test_the_interval_resamples_what_belongs_together():
    data = classes(36)
    wanted = data.test_windows.wanted
    predicted = np.where(np.arange(len(wanted)) % 4 == 0, (wanted + 1) % 3, wanted)
    low, high, units = metrics.interval(data.test, data.test_windows, predicted, data.cut)
    assert units == "24 recordings" and low < 0.75 < high
    assert (high - low) == pytest.approx(2 * 1.96 * np.sqrt(0.75 * 0.25 / 24), rel=0.15)  # windows are independent
    assert metrics.interval(data.test, data.test_windows, predicted, data.cut) == (low, high, units)
    many = Windows(data.test_windows.counts, wanted, np.arange(len(wanted)) // 2)
    assert metrics.interval(data.test, many, predicted, data.cut)[2] == "12 people"


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1"])
def test_the_interval_is_of_the_metric(metric):
    data = classes(36)
    test = replace(data.test, metric=metric)
    right = metrics.interval(test, data.test_windows, data.test_windows.wanted, data.cut)
    assert right[:2] == (1.0, 1.0)
    constant = np.zeros(len(data.test_windows), np.int64)
    low, high, _ = metrics.interval(test, data.test_windows, constant, data.cut)
    assert low < metrics.of(test, data.test_windows, constant)[metric] < high


def test_the_interval_of_a_series_draws_stretches_of_time():
    data = series()
    now = data.test_windows.counts[:, -1:][..., [0, 2]]
    low, high, units = metrics.interval(data.test, data.test_windows, now, data.cut)
    assert (low, high) == (1.0, 1.0) and units == "19 stretches of time"


# --- the command


def test_the_command_prints_a_row_for_each_rival(tmp_path, capsys):
    need_for("cortex-m4")
    words = ["baseline", "spar", "--rivals", "majority", "--windows", "20", "--jobs", "1", "-o", str(tmp_path)]
    assert main([*words, "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["compared"], row["differ"], row["metric"], row["units"]) == (26, 0, "accuracy", "42 recordings")
    assert row["per_second"] == row["instructions"] / 2.0 and 500 < row["flash"] < 1500
    assert row["ram"] > 100 * 6 * 2 + 2048
    assert main(words) == 0
    assert "Every score of 26 windows equals the integer reference" in capsys.readouterr().out


@pytest.mark.parametrize(("words", "said"), [
    (("spar", "--rivals", "ridge_band"), "did you mean 'ridge_bands'"),
    (("spar", "--rivals", "persistence"), "persistence cannot take spar: it tells classes apart"),
    (("spar", "--windows", "0"), "--windows is 0"),
    (("lorenz",), "no rival can take lorenz"),
])  # fmt: skip
def test_errors_have_two_lines(capsys, words, said):
    need("ziglang")
    assert main(["baseline", *words]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2 and said in "\n".join(lines)


def test_a_table_of_eighty_columns_is_not_broken(capsys, monkeypatch):
    from lnp_edge.base.console import out
    from lnp_edge.commands import baseline

    data = split(config.named("spar"), spar.load())
    row = rival.Measured(
        "ridge_statistics", "linear autoregression", "accuracy", 0.888, 0.82, 0.95, "42 recordings", [], 868281.0,
        868281, 678344.5, 19132,
        14920, 713, 0, "cortex-m4",
    )  # fmt: skip
    monkeypatch.setattr(out, "width", 80)
    baseline._print(data, [row, replace(row, title="ridge, with bands", differ=3)])
    lines = capsys.readouterr().out.splitlines()
    cells = "ridge_statistics 0.888 0.82–0.95 868 k 678 k 19132 14920"
    assert cells in [" ".join(line.split()) for line in lines]
    assert "NOT equal: ridge, with bands differs from its reference in 3 of 713 windows" in lines


@pytest.mark.parametrize(("count", "shown"), [
    (6.9e-05, "6.9e-05"), (3.738, "3.74"), (912.0, "912"), (50668.1, "50.7 k"), (1.2e6, "1.2 M"),
])  # fmt: skip
def test_instructions_are_printed_with_three_digits(count, shown):
    from lnp_edge.commands.baseline import counted

    assert counted(count) == shown


def test_helpers_are_no_rivals():
    assert not [name for name in rival.names() if name.startswith("_")]
    assert {"majority", "persistence", "ridge_bands", "ridge_statistics", "rocket"} <= set(rival.names())
    assert rivals.FORECAST_ONE == 256


def test_a_rival_that_draws_nothing_is_trained_once_for_all_seeds(fitted, tmp_path):
    need_for("cortex-m4")
    trials = [RivalTrial("majority", config.named("spar"), seed, compared=1) for seed in (1, 2, 3)]
    found = Rivals(tmp_path).all(trials, executors.in_process)
    assert len(found) == 3 and found[0] == found[1] == found[2]
    assert len(list(tmp_path.glob("*.json"))) == 1
    drawing = {name for _, name in CASES if rival.draws(name)}
    assert drawing and not drawing & {"majority", "persistence", "autoregression", "ridge_bands"}
    data, model = fitted("36", "rocket")
    assert rival.trained("rocket", data, 2).c_files() != model.c_files()


@pytest.mark.slow
@pytest.mark.parametrize("best", [(0,), (1,), (2,), (3,), (1, 2, 3)])
def test_a_rocket_is_the_best_of_four_in_cross_validation_and_of_equal_ones_the_cheapest(monkeypatch, best):
    """Four or eight thresholds a kernel, without and with levels; and the C of each."""
    need_for("host")
    number = iter(range(4))
    fit = rocket.linear
    monkeypatch.setattr(rocket, "linear", lambda *a, **k: replace(fit(*a, **k), score=float(next(number) in best)))
    data = TASKS["36"]()
    model = rival.trained("rocket", data, 1)
    assert (model.threshold.shape[1], model.level.shape[1]) == ((4, 0), (4, 8), (8, 0), (8, 8))[best[0]]
    windows, wanted = stress(data, model)
    with rival.on_board(model, rival.shape_of(data), boards.get("host"), sanitize=True) as device:
        assert device.scores(windows).tolist() == wanted.tolist()


def test_a_stored_measurement_that_is_none_is_refused():
    trial = RivalTrial("majority", config.named("spar"), 1)
    good = {
        "name": "majority", "title": "most frequent", "metric": "accuracy", "value": 0.5, "low": 0.4, "high": 0.6,
        "units": "9 people", "sums": [[1.0, 2.0]], "instructions": 5.0, "longest": 5, "per_second": 5.0, "flash": 1,
        "ram": 1, "compared": 4, "differ": 0, "board": "cortex-m4",
    }  # fmt: skip
    assert {one.name for one in fields(Measured)} == {*good, "files"} and not trial.valid(good)
    good["asked"] = 4
    assert trial.valid(good)
    for key, wrong in (
        ("value", None), ("value", float("nan")), ("value", "x"), ("low", None), ("instructions", float("inf")),
        ("instructions", -5.0), ("per_second", "9"), ("name", 5), ("name", "rocket"), ("units", "\x1b[2J"),
        ("ram", None), ("differ", "no"), ("differ", True), ("sums", [["a"]]), ("sums", None),
    ):  # fmt: skip
        assert not trial.valid(good | {key: wrong}), key
    assert not trial.valid({})


@pytest.mark.parametrize("data", [classes(32), classes(33, each=2), series()])
def test_every_baseline_beside_a_network_names_the_rival_that_builds_it(data):
    found = rival.of_baselines(data)
    assert all(found[row] == (found[row][0], "") for row in baselines.simple(data))


def test_a_baseline_that_cannot_be_built_says_why():
    name, why = rival.of_baselines(classes(4096))["ridge on statistics and bands"]
    assert name == "ridge_bands" and why == "its windows have 4096 steps, 32 to 1024 are possible"
