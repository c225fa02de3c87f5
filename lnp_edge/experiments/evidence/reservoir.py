"""The frozen regime: only a linear read-out is trained, by ridge regression.

The recurrent weights stay as pruned, so the task depends on what pruning preserves. A run takes
seconds, which allows many seeds. The core of the network is pruned once, without a task; every task
adds its own inputs and read-out.

A gain on all recurrent weights and the strength of the regression are chosen for every network in
the same way, on part of the training data. GAINS end at 4, but networks whose weights were not
rescaled need up to 30: what those lose is due to the grid, not to the method. The result at gain 1,
as pruned, is kept too. For every measure here, larger is better.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from lnp_edge.dynamics.rate_model import X_STD
from lnp_edge.network import Floats, Network
from lnp_edge.network.draw import with_ports
from lnp_edge.network.simulate import Simulation, filtered
from lnp_edge.pruning import scaled
from lnp_edge.task import metrics
from lnp_edge.task.dataset import Windows
from lnp_edge.task.fit import configuration
from lnp_edge.task.split import Split, load_data, split
from lnp_edge.task.task import encoded

TAU_MEM, TAU_SYN, TAU_OUT = 5.0, 2.5, 5.0  # steps: means, and the read-out filter of a memory task
GAINS = (0.5, 1.0, 2.0, 4.0)
STRENGTHS = 10.0 ** np.arange(-6, 1)  # of the regression, relative to the features' mean square
SYMBOL = 10  # steps per symbol of a memory task
DELAYS = 15  # symbols
LENGTHS = (4, 8)  # symbols of the adding problem
WASHOUT = 20  # symbols
LIMIT = 2000  # windows of a real task, for training and for testing each
# In units of the input's standard deviation. Without noise, a single neuron remembers its whole
# input as the phase of its next spike.
NOISE = 0.5
MISSING = 0.2  # share of the samples that are lost
Measures = dict[str, float]


@dataclass(frozen=True)
class Evaluation:
    """evaluate(network, rng) returns a network's measures, and "validation" to choose its gain."""

    channels: int
    evaluate: Callable[[Network, np.random.Generator], Measures]
    tau_out: float = TAU_OUT  # steps
    axes: Floats | None = None


def evaluation(name: str) -> Evaluation:
    """The evaluation of that name: one of MEMORY, or of a configuration of lnp_edge/configs."""
    return MEMORY[name] if name in MEMORY else _real(name)


def measures(core: Network, what: Evaluation, seed: int) -> Measures:
    """The measures of a task at the best gain, and "... as pruned" at gain 1."""
    network = with_ports(core, what.channels, 1, 1.0, what.tau_out, np.random.default_rng([seed, 1]))
    if what.axes is not None:
        network = replace(network, w_in=what.axes @ network.w_in)
    found = {gain: what.evaluate(scaled(network, gain), np.random.default_rng([seed, 2])) for gain in GAINS}
    best = found[max(GAINS, key=lambda gain: found[gain]["validation"])]
    both = best | {f"{name} as pruned": value for name, value in found[1.0].items()}
    return {name: value for name, value in both.items() if "validation" not in name}


# Memory of graded length


def recall(network: Network, rng: np.random.Generator) -> Measures:
    """Memory capacity: squared correlations with the symbol k symbols ago, summed over DELAYS.

    Jaeger 2001. "xor" is the same for the product of two neighbouring symbols; the last two
    measures are the first one with more noise and with lost samples.
    """
    u, x = _symbols(rng, 12, 150 + WASHOUT)
    x = _noisy(x, rng)
    features = _at_symbols(network, x)
    wanted = np.stack([f for k in range(DELAYS) for f in (_ago(u, k), _ago(u, k) * _ago(u, k + 1))], axis=-1)[
        :, WASHOUT:
    ]
    train, held, test = slice(0, 6), slice(6, 8), slice(8, 12)
    w, _ = regression(features[train], wanted[train], features[held], wanted[held])

    def capacities(features: Floats, part: slice) -> Floats:
        r2 = _squared_correlation(_predicted(features, w), wanted[part])
        return r2.reshape(DELAYS, 2).sum(0)

    kept = capacities(features[test], test)
    noisy = _noisy(x[test], rng)
    lost = np.where(rng.random(x[test].shape) < MISSING, 0.0, x[test])
    return {
        "validation": float(capacities(features[held], held).sum()),
        "recall": float(kept[0]),
        "xor": float(kept[1]),
        "recall, more noise": float(capacities(_at_symbols(network, noisy), test)[0]),
        "recall, lost samples": float(capacities(_at_symbols(network, lost), test)[0]),
    }


def adding(network: Network, rng: np.random.Generator) -> Measures:
    """The adding problem (Hochreiter & Schmidhuber 1997): the explained share of variance.

    The target is the sum of two marked values among the symbols; each half has one mark.
    """
    found: Measures = {"validation": 0.0}
    for length in LENGTHS:
        value = rng.random((700, length))
        mark = np.zeros_like(value)
        rows = np.arange(len(value))
        for half in range(2):
            mark[rows, half * length // 2 + rng.integers(0, length // 2, len(value))] = 1.0
        x = _noisy(X_STD * np.repeat(np.stack([2 * value - 1, 2 * mark - 1], -1), SYMBOL, axis=1), rng)
        features = _last(network, x)[:, None]
        wanted = (value * mark).sum(1)[:, None, None]
        w, held = regression(features[:400], wanted[:400], features[400:500], wanted[400:500])
        found["validation"] += held
        found[f"adding {length}"] = _explained(_predicted(features[500:], w), wanted[500:])
    return found


def _symbols(rng: np.random.Generator, batch: int, length: int) -> tuple[Floats, Floats]:
    """Symbols +-1 [B, L] and their input [B, L * SYMBOL, 1], scaled like sensor data."""
    u = rng.choice([-1.0, 1.0], (batch, length))
    return u, X_STD * np.repeat(u, SYMBOL, axis=1)[:, :, None]


def _noisy(x: Floats, rng: np.random.Generator) -> Floats:
    return x + NOISE * X_STD * rng.standard_normal(x.shape)


def _ago(u: Floats, k: int) -> Floats:
    return np.roll(u, k, axis=1)


def _at_symbols(network: Network, x: Floats) -> Floats:
    """Features [B, L - WASHOUT, N] at the end of each symbol."""
    every = [r for t, r in enumerate(filtered(network, x, network.tau_out[0])) if t % SYMBOL == SYMBOL - 1]
    return np.stack(every[WASHOUT:], axis=1)


def _last(network: Network, x: NDArray) -> Floats:
    """Features [B, N] at the end of each window."""
    for r in filtered(network, x, network.tau_out[0]):
        last = r
    return last


MEMORY = {"recall": Evaluation(1, recall), "adding": Evaluation(2, adding)}


# Tasks of lnp_edge/configs


def _real(name: str) -> Evaluation:
    settings = configuration(name)
    data = split(settings, load_data(settings))
    series = data.test.series
    evaluate = _closed_loop if series and series.free_run else _forecast if series else _classes
    tau_out = settings.network.tau_out / data.dt
    return Evaluation(len(data.task.inputs), partial(evaluate, name, data), tau_out, data.axes)


def _some(windows: Windows, rng: np.random.Generator) -> Windows:
    """At most LIMIT of the windows, drawn at random."""
    chosen = np.sort(rng.permutation(len(windows))[:LIMIT])
    return Windows(windows.counts[chosen], windows.wanted[chosen], windows.groups[chosen])


def _window_features(network: Network, data: Split, windows: Windows) -> Floats:
    """Features [W, 1, N] after each window."""
    return _last(network, encoded(data.task, windows.counts).astype(float))[:, None]


def _classes(name: str, data: Split, network: Network, rng: np.random.Generator) -> Measures:
    train, test = (_some(w, rng) for w in (data.train_windows, data.test_windows))
    held = _held_out(train.groups, rng)
    features, wanted = _window_features(network, data, train), np.eye(len(data.task.classes))[train.wanted][:, None]
    w, _ = regression(features[~held], wanted[~held], features[held], wanted[held])
    metric = data.test.metric

    def share(features: Floats, windows: Windows) -> float:
        return metrics.of(data.test, windows, _predicted(features, w)[:, 0].argmax(1))[metric]

    chosen = Windows(train.counts[held], train.wanted[held], train.groups[held])
    return {"validation": share(features[held], chosen), name: share(_window_features(network, data, test), test)}


def _held_out(groups: NDArray, rng: np.random.Generator) -> NDArray[np.bool_]:
    """A mask of a fifth of the groups; with fewer than five groups, of a fifth of the windows."""
    everyone = np.unique(groups)
    if len(everyone) < 5:
        return rng.random(len(groups)) < 0.2
    return np.isin(groups, rng.permutation(everyone)[: len(everyone) // 5])


def _forecast(name: str, data: Split, network: Network, rng: np.random.Generator) -> Measures:
    """The explained share of the squared error of persistence; negative if worse than that."""
    assert data.test.series
    target = list(data.test.series.target)
    train, test = (_some(w, rng) for w in (data.train_windows, data.test_windows))
    first = np.arange(len(train)) < 0.8 * len(train)  # in time
    features, wanted = _window_features(network, data, train), train.wanted - train.counts[:, -1:, target].astype(float)
    w, held = regression(features[first], wanted[first], features[~first], wanted[~first])
    change = test.wanted - test.counts[:, -1:, target].astype(float)
    error = np.square(_predicted(_window_features(network, data, test), w) - change).sum()
    return {"validation": held, name: float(1 - error / np.square(change).sum())}


def _closed_loop(name: str, data: Split, network: Network, rng: np.random.Generator) -> Measures:
    """The valid time in Lyapunov times at an error of 0.4, median over the test windows."""
    series = data.test.series
    assert series
    length = min(map(len, data.train.recordings))
    counts = np.stack([a[:length] for a in data.train.recordings])
    mean, std = counts.mean((0, 1)), counts.std((0, 1))
    train, held = counts[: -len(counts) // 4], counts[-len(counts) // 4 :]
    warm = data.task.window

    def inputs(counts: NDArray) -> Floats:
        return X_STD * (counts - mean) / std

    def features(counts: NDArray) -> Floats:
        rates = list(filtered(network, inputs(counts[:, :-1]), network.tau_out[0]))
        return np.stack(rates[warm // 2 :: 4], axis=1)

    def changes(counts: NDArray) -> Floats:
        return (np.diff(counts.astype(float), axis=1) / std)[:, warm // 2 :: 4]

    w, _ = regression(features(train), changes(train), features(held), changes(held))

    def valid(windows: Windows) -> float:
        run, now = Simulation(network, len(windows)), windows.counts[:, 0].astype(float)
        gamma, r, said = np.exp(-1 / network.tau_out[0]), np.zeros((len(windows), network.n)), []
        for t in range(warm - 1 + series.free_run):
            r = gamma * r + (1 - gamma) * run.step(np.clip(inputs(now), -4, 4))
            if t + 1 < warm:
                now = windows.counts[:, t + 1].astype(float)
            else:
                now = np.clip(now + std * _predicted(r[:, None], w)[:, 0], mean - 100 * std, mean + 100 * std)
                said.append(now)
        return float(np.median(metrics.valid_times(data.test, windows.wanted, np.stack(said, 1), 0.4)))

    chosen = Windows(held[:, :warm], held[:, warm : warm + series.free_run], np.zeros(len(held), np.int64))
    return {"validation": valid(chosen), name: valid(data.test_windows)}


# The read-out


def regression(features: Floats, wanted: Floats, held: Floats, held_wanted: Floats) -> tuple[Floats, float]:
    """Ridge regression of wanted [B, S, O] on features [B, S, N].

    Returns weights [N + 1, O], the last row for a constant, and the share of variance they explain
    in the held-out part, which chooses the strength.
    """
    f, y = _with_one(features), wanted.reshape(-1, wanted.shape[-1])
    values, vectors = np.linalg.eigh(f.T @ f)
    moment = vectors.T @ (f.T @ y)
    found = [vectors @ (moment / (np.maximum(values, 0) + s * values.mean())[:, None]) for s in STRENGTHS]
    shares = [_explained(_predicted(held, w), held_wanted) for w in found]
    best = int(np.argmax(shares))
    return found[best], shares[best]


def _with_one(features: Floats) -> Floats:
    flat = features.reshape(-1, features.shape[-1])
    return np.concatenate([flat, np.ones((len(flat), 1))], axis=1)


def _predicted(features: Floats, w: Floats) -> Floats:
    return features @ w[:-1] + w[-1]


def _explained(said: Floats, wanted: Floats) -> float:
    """The explained share of the variance of wanted, over all outputs, each in units of its own."""
    scale = np.maximum(wanted.std((0, 1)), 1e-12)
    return float(1 - np.mean(np.square((said - wanted) / scale)))


def _squared_correlation(said: Floats, wanted: Floats) -> Floats:
    """The squared correlation of each output, [O]."""
    a, b = (x.reshape(-1, x.shape[-1]) - x.mean((0, 1)) for x in (said, wanted))
    products = np.sqrt(np.square(a).sum(0) * np.square(b).sum(0))
    return np.square(np.divide((a * b).sum(0), products, out=np.zeros(len(products)), where=products > 0))
