"""Random populations and projections: what no model of tests/tiny.py has."""

import numpy as np

from lnp_edge.spec import plugins
from lnp_edge.spec.model import CSR, INPUT, LARGEST, Population, Projection, QuantizedModel


def random_structure(seed: int) -> QuantizedModel:
    """1 to 5 populations of any neurons and a read-out of any, joined anyhow: two projections between the same parts,
    none into a population, none from the input, one neuron, more than 256, a multiple of 32, no weights."""
    rng = np.random.default_rng([seed, 12])
    neurons = [Population("", name, 1, {}) for name in plugins.names("lnp_edge.neurons")]
    inner, last = ([p.neuron for p in neurons if p.spikes == spikes] for spikes in (True, False))
    n_in = int(rng.choice([1, 2, 7]))
    populations = [
        _population(rng, f"p{k}", str(rng.choice(inner)), int(rng.choice([1, 5, 32, 33, 64, 70, 257, 300])))
        for k in range(int(rng.integers(1, 6)))
    ]
    populations.append(_population(rng, "out", str(rng.choice(last)), int(rng.choice([1, 3, 40]))))
    sizes = {INPUT: n_in} | {p.name: p.n for p in populations}
    projections = [
        _projection(rng, k, str(rng.choice(list(sizes)[:-1])), str(rng.choice(list(sizes)[1:])), sizes)
        for k in range(int(rng.integers(0, 9)))
    ]
    encoder_params = {
        "offset": rng.integers(-200, 200, n_in, dtype=np.int32),
        "gain": rng.integers(-2000, 2000, n_in, dtype=np.int32),
        "shift": rng.integers(8, 15, n_in, dtype=np.int32),
    }
    return QuantizedModel(
        "affine", encoder_params, tuple(populations), tuple(projections), dt=0.01, window=20, hop=10,
        channels=tuple(f"c{k}" for k in range(n_in)), classes=tuple(f"class {o}" for o in range(populations[-1].n)),
    ).check()  # fmt: skip


def _population(rng: np.random.Generator, name: str, neuron: str, n: int) -> Population:
    """Its neurons fire now and then: thresholds of the size of a few weights."""
    found = Population(name, neuron, n, {})
    for table, stored in found.module.TABLES.items():
        low, high = (2000, 32768) if stored.is_leak else (1, 3000)
        if stored.form == "share":
            low, high = 1, 6000
        found.params[table] = rng.integers(max(low, stored.low), min(high, stored.high) + 1, n, dtype=np.int32)
    return found


def _projection(rng: np.random.Generator, k: int, source: str, target: str, sizes: dict[str, int]) -> Projection:
    bits = int(rng.choice(list(LARGEST)))
    shape = sizes[source], sizes[target]
    w = rng.integers(-LARGEST[bits], LARGEST[bits] + 1, shape)
    density = rng.choice([0.0, 0.3, 0.7, 1.0, 1.0]) / max(1, max(shape) // 60)
    sparse = CSR.from_dense(np.where(rng.random(shape) < density, w, 0))
    shift = int(rng.integers(0, {4: 10, 8: 6, 16: 1}[bits]))
    return Projection(f"j{k}", source, target, sparse, shift, bits)
