"""The rivals with a trained float network: C equals the reference, which stays close to the floats."""

from dataclasses import replace

import numpy as np
import pytest
from conftest import need, need_for

from lnp_edge import boards, config
from lnp_edge.rivals import FORECAST_ONE, _cnn, _float, _gru, cnn_1k, gru_12
from lnp_edge.stages import rival
from lnp_edge.task.dataset import Dataset, Series
from lnp_edge.task.split import split
from lnp_edge.task.task import encoded
from lnp_edge.training import plain

need("torch")

import torch  # noqa: E402

STEPS, CHANNELS = 23, 3


def tones(seed, trials=False, series=False, encoder="affine"):
    """A split of noisy tones in three channels: the frequency tells the class, or the next counts are forecast."""
    rng = np.random.default_rng(seed)
    length, count = (STEPS if trials else 4 * STEPS), 24
    label = np.arange(count) % 2
    phase = rng.uniform(0, 6, (count, 1, CHANNELS))
    wave = np.sin(phase + np.arange(length)[None, :, None] * np.where(label, 0.5, 1.1)[:, None, None])
    x = np.rint(3000 * wave + 300 * rng.standard_normal(wave.shape) + 500).astype(np.int16)
    data = Dataset(
        "tones", 0.04, ("a", "b", "c"), () if series else ("low", "high"), x, label * (not series),
        np.arange(count) // 8, (2,), series=Series((0, 2), 1, 1.0, "count") if series else None,
    )  # fmt: skip
    settings = config.DataSettings(window=STEPS * 0.04, hop=STEPS * 0.02, encoder=encoder)
    return split(replace(config.Config(), data=settings), data)


def random_cnn(data, seed, whole=False):
    """Random weights and biases, and ranges so small that activations reach 255."""
    rng = np.random.default_rng(seed)
    layers, before = [], CHANNELS
    for k, (width, stride) in enumerate([(6, 2), (4, 1), (8, 2)]):
        shapes = [(width, before, 5)] if k == 0 else [(before, 1, 5), (width, before, 1)]
        for shape in shapes:
            step = stride if shape[2] > 1 else 1
            layers.append(_layer(rng, shape, step, shape[2] // 2))
        before = width
    if whole:
        layers.append(_layer(rng, (before, 1, 6), 1, 0))
    w, bias = rng.standard_normal((len(data.task.classes), before)), rng.standard_normal(len(data.task.classes))
    return _cnn.Cnn(data.task, layers, (w, bias), plain.UNIT)


def _layer(rng, shape, stride, pad):
    weight = rng.standard_normal(shape)
    weight[0] *= 1e-6  # a channel that is nearly dead
    return plain.Layer(weight, rng.standard_normal(shape[0]), stride, pad, shape[1] == 1, 3.0)


def random_gru(data, seed, mean, units=12, size=1.0):
    rng = np.random.default_rng(seed)
    outputs = len(data.task.classes)
    shapes = (3 * units, CHANNELS), (3 * units, units), (3 * units,), (3 * units,)
    gates = tuple(size * rng.standard_normal(shape) for shape in shapes)
    read_out = rng.standard_normal((outputs, units)), rng.standard_normal(outputs)
    return _gru.Gru(data.task, gates, read_out, mean, plain.UNIT)


CASES = {
    "cnn": lambda: (tones(1), random_cnn(tones(1), 1)),
    "cnn of trials": lambda: (tones(1, trials=True), random_cnn(tones(1, trials=True), 2, whole=True)),
    "cnn of a series": lambda: (tones(1, series=True), random_cnn(tones(1, series=True), 3)),
    "cnn with another encoder": lambda: (tones(1, encoder="clamped"), random_cnn(tones(1, encoder="clamped"), 3)),
    "gru": lambda: (tones(1), random_gru(tones(1), 1, mean=True)),
    "gru of trials": lambda: (tones(1, trials=True), random_gru(tones(1, trials=True), 2, mean=False)),
    "gru of a series": lambda: (tones(1, series=True), random_gru(tones(1, series=True), 3, mean=False)),
    "gru with large weights": lambda: (tones(1), random_gru(tones(1), 4, mean=True, units=24, size=30.0)),
}


def windows(data, seed):
    """Test windows, louder ones, random ones of every size, and those at the edges of int16."""
    rng = np.random.default_rng(seed)
    counts = data.test_windows.counts[:20]
    loud = np.clip(counts * rng.uniform(1, 20, (len(counts), 1, 1)), -32768, 32767).astype(np.int16)
    noise = rng.integers(-32768, 32768, (40, STEPS, CHANNELS)) >> rng.integers(0, 16, (40, 1, 1))
    return np.concatenate([counts, loud, noise.astype(np.int16), rival.hostile(counts.shape[1:], seed)])


@pytest.mark.parametrize("case", CASES)
def test_c_equals_the_reference_without_undefined_behaviour(case):
    need_for("host")
    data, network = CASES[case]()
    counts = windows(data, 1)
    with rival.on_board(network, rival.shape_of(data), boards.get("host"), sanitize=True) as device:
        said = device.scores(counts)
    assert (said == network.scores(counts)).all()
    assert len(np.unique(said, axis=0)) > len(counts) / 4


@pytest.mark.parametrize("case", ["cnn", "gru"])
def test_on_the_emulated_board_too(case):
    need_for("cortex-m4")
    data, network = CASES[case]()
    counts = windows(data, 2)
    with rival.on_board(network, rival.shape_of(data), boards.get("cortex-m4")) as device:
        assert (device.scores(counts) == network.scores(counts)).all()


def trained(data, build, steps=150):
    return plain.fit(build, _float.batches(data, 32), steps, 0.01, 0.01, 0.1, seed=3)


def cnn_of(data, whole):
    sizes = CHANNELS, STEPS, len(data.task.classes)
    net = trained(data, lambda: plain.Convolutions(((8, 2), (12, 2)), *sizes, whole, 0.1))
    return net, _cnn.Cnn(data.task, net.folded(_float.calibration(data)), net.read_out(), plain.UNIT)


def gru_of(data, mean):
    net = trained(data, lambda: plain.Gru(CHANNELS, 8, len(data.task.classes), mean, 0.1))
    return net, _gru.Gru(data.task, net.gates(), net.read_out(), mean, plain.UNIT)


def floats(data, net):
    return plain.outputs(net, encoded(data.task, data.test_windows.counts))


@pytest.mark.parametrize("make", [cnn_of, gru_of])
@pytest.mark.parametrize("option", [False, True])
def test_integers_say_what_the_floats_say(make, option):
    """Scores are logits times a factor: rounding to 8 bits moves them by a few per cent."""
    data = tones(1, trials=option)
    net, integers = make(data, option)
    logits, scores = floats(data, net), integers.scores(data.test_windows.counts)
    assert np.corrcoef(logits.ravel(), scores.ravel())[0, 1] > 0.995
    factor = (scores * logits).sum() / np.square(logits).sum()
    assert np.abs(scores / factor - logits).max() < 0.08 * np.abs(logits).max()
    assert (scores.argmax(1) == logits.argmax(1)).mean() > 0.9


@pytest.mark.parametrize("make", [cnn_of, gru_of])
def test_a_forecast_is_the_last_count_and_the_change_that_the_floats_say(make):
    """On the training windows, which gave the ranges of activations: beyond them the integers are limited."""
    data = tones(1, series=True)
    net, integers = make(data, False)
    counts = data.train_windows.counts
    change = plain.outputs(net, encoded(data.task, counts)) * np.array(data.task.forecast.unit)
    now = counts[:, -1, [0, 2]]
    said = integers.scores(counts) / FORECAST_ONE
    assert np.square(said - now - change).mean() < 0.03**2 * np.square(change).mean()
    wanted = data.train_windows.wanted[:, 0].astype(float)
    assert np.square(said - wanted).mean() < 0.5 * np.square(now - wanted).mean()


@pytest.mark.parametrize("build", [
    lambda: plain.Convolutions(((8, 2), (12, 2)), CHANNELS, STEPS, 2, False, 0.1),
    lambda: plain.Gru(CHANNELS, 8, 2, True, 0.1),
])  # fmt: skip
def test_a_seed_gives_the_same_bits_and_leaves_the_global_random_state_alone(build):
    data = tones(1)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = trained(data, build, 5)
    assert (torch.get_rng_state() == before).all()
    torch.manual_seed(6)
    again, other = trained(data, build, 5), plain.fit(build, _float.batches(data, 32), 5, 0.01, 0.01, 0.1, seed=4)
    assert all((a == b).all() for a, b in zip(first.parameters(), again.parameters(), strict=True))
    assert any((a != b).any() for a, b in zip(first.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize("module", [cnn_1k, gru_12])
def test_the_rival_trains_on_the_training_part_and_reports_progress(module, monkeypatch):
    monkeypatch.setattr(_cnn if module is cnn_1k else _gru, "STEPS", 50)  # progress comes every 50
    data, heard = tones(1), []
    found = module.fit(data, 1, lambda share, text: heard.append(share))
    other = replace(data, test=replace(data.test, labels=1 - data.test.labels))
    assert heard == [1.0]
    assert (module.fit(other, 1).scores(data.test_windows.counts) == found.scores(data.test_windows.counts)).all()


def test_few_training_trials_leave_nothing_to_choose_on():
    """Of one or two, no third is left: the first option is trained on all of them."""
    seen = []
    for count in (1, 2):
        x = tuple(np.zeros((20, 1), np.int16) for _ in range(count + 1))
        groups = np.array([0] * count + [1])
        dataset = Dataset("x", 0.1, ("a",), ("u", "v"), x, groups % 2, groups, (1,))
        data = split(config.Config(data=config.DataSettings(window=2.0, hop=2.0)), dataset)
        said = _float.chosen(data, (True, False), lambda data, *rest: seen.append((data, *rest[:2])), 300, None)
        assert said == (None, True) and seen.pop() == (data, True, 300)


def test_what_a_trial_needs_is_chosen_on_part_of_the_training_trials():
    """The class is the order of two knocks, farther apart than a kernel and away from the ends."""
    rng = np.random.default_rng(1)
    label, sign = np.arange(600) % 2, 1 - 2 * (np.arange(600) % 2)
    x = rng.normal(0, 1000, (600, STEPS, CHANNELS))
    x[:, 6] = 4000 * sign[:, None]
    x[:, 16] = -x[:, 6]
    data = tones(1, trials=True)
    trials = replace(data.train, recordings=x.astype(np.int16), labels=label, groups=np.zeros(600, int))
    data = replace(data, train=trials)

    def train(inner, whole, steps, progress):
        heard.append((len(inner.train.labels), len(inner.test.labels), steps))
        return plain.fit(
            lambda: plain.Convolutions(((8, 2),), CHANNELS, STEPS, 2, whole, 0.0),
            _float.batches(inner, 64), steps, 0.01, 0.01, 0.1, 3, progress,
        )  # fmt: skip

    heard = []
    shares = []
    net, whole = _float.chosen(data, (False, True), train, 300, lambda share, text: shares.append(share))
    assert whole
    assert heard == [(400, 200, 100), (400, 200, 100), (600, 8, 300)]
    assert shares == sorted(shares) and shares[-1] == 1.0
    assert isinstance(net, plain.Convolutions)


def test_what_could_leave_int32_is_refused():
    data = tones(1)
    assert _float.suits(data) == ""
    assert "8,192" in _float.suits(replace(data, task=replace(data.task, window=8193)))
    assert "256" in _float.suits(replace(data, task=replace(data.task, channels=("x",) * 257)))


def test_the_largest_task_that_is_taken_stays_in_int32():
    """Every weight 127, every bias at its limit: the sums that Cnn and Gru check are below 2**31."""
    task = replace(tones(1).task, window=8192, channels=("x",) * 256)
    layer = plain.Layer(np.ones((4, 256, 5)), np.full(4, 1e9), 8, 2, False, 3.0)
    _cnn.Cnn(task, [layer], (np.ones((2, 4)), np.full(2, 1e9)), plain.UNIT)
    n = 24
    gates = np.ones((3 * n, 256)), np.ones((3 * n, n)), np.full(3 * n, 1e9), np.full(3 * n, 1e9)
    _gru.Gru(task, gates, (np.ones((2, n)), np.full(2, 1e9)), True, plain.UNIT)
