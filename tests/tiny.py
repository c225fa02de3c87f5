"""Small random models that pass QuantizedModel.check and fire, and what the oracle says of them."""

from dataclasses import replace
from functools import cache

import numpy as np
from naive import Naive

from lnp_edge.spec.model import CSR, Forecast, QuantizedModel


def tiny_model(seed=1, n=40, n_in=3, n_out=4, density=0.2) -> QuantizedModel:
    """A valid model with random arrays; n = 40 leaves unused bits in the second word of z."""
    rng = np.random.default_rng(seed)
    model = QuantizedModel(
        neuron="cuba_lif",
        params={
            "c_syn": rng.integers(4000, 32769, n, dtype=np.int32),
            "c_mem": rng.integers(2000, 32769, n, dtype=np.int32),
            "v_th": rng.integers(1500, 4000, n, dtype=np.int32),
            "bias": rng.integers(-30, 60, n, dtype=np.int32),
        },
        w_in=_sparse(rng, n_in, n, 0.5, 40),
        w_rec=_sparse(rng, n, n, density, 127),
        w_out=_sparse(rng, n, n_out, 0.9, 127),
        shift_in=0,
        shift_rec=3,
        shift_out=5,
        c_out=rng.integers(500, 32769, n_out, dtype=np.int32),
        bias_out=rng.integers(-500, 500, n_out, dtype=np.int32),
        encoder="affine",
        encoder_params={
            "offset": rng.integers(-200, 200, n_in, dtype=np.int32),
            "gain": rng.integers(100, 2000, n_in, dtype=np.int32),
            "shift": rng.integers(8, 15, n_in, dtype=np.int32),
        },
        dt=0.01,
        window=20,
        hop=10,
        channels=tuple(f"c{k}" for k in range(n_in)),
        classes=tuple(f"class {o}" for o in range(n_out)),
    )
    return model.check()


def tiny_loop(seed=1, n=40, n_in=3) -> QuantizedModel:
    """One that foretells every channel a step ahead, by some hundred counts."""
    forecast = Forecast(tuple(range(n_in)), 1, tuple(0.01 / (k + 3) for k in range(n_in)))
    names = tuple(f"c{k} in 0.01 s" for k in range(n_in))
    return replace(tiny_model(seed, n, n_in, n_in), forecast=forecast, classes=names).check()


def tiny_counts(model, steps, seed=2):
    """Sensor counts that drive it, int16 [steps, n_in], extremes included."""
    rng = np.random.default_rng(seed)
    counts = rng.normal(0, 600, (steps, model.n_in)).clip(-32768, 32767).astype(np.int16)
    counts[rng.random(counts.shape) < 0.02] = 32767
    counts[rng.random(counts.shape) < 0.02] = -32768
    return counts


def _sparse(rng, n_pre, n_post, density, most):
    w = rng.integers(1, most + 1, (n_pre, n_post)) * rng.choice([-1, 1], (n_pre, n_post))
    return CSR.from_dense(np.where(rng.random((n_pre, n_post)) < density, w, 0))


@cache
def oracle(steps=150, **model):
    """(digests, state words, y) of the slow reference."""
    naive = Naive(tiny_model(**model))
    digests = []
    for row in tiny_counts(naive.m, steps):
        naive.step(row)
        digests.append(naive.h)
    return digests, naive.words(), naive.y
