"""Step IV: the gamma distributions of the time constants, by Bayesian optimisation on the Lyapunov spectrum.

LNP tunes time constants so, without data of a task; its objective is not stated where we could read it. Ours: the
spectrum shall be that of the network before pruning,

    J = W1(spectrum, wanted spectrum) * T + 10 max(0, lambda_1 - wanted lambda_1) * T

W1 the Wasserstein distance of the largest exponents, T = mean tau_mem + mean tau_syn. What is searched are shape and
mean of the two gamma distributions (as in the authors' earlier work, we recall); every neuron keeps its quantile, so
that J is smooth. Optuna's Gaussian process (Matern 5/2, expected improvement) proposes.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from scipy import stats

from lnp_edge.base.install import require
from lnp_edge.dynamics import lyapunov
from lnp_edge.network import Floats, Network
from lnp_edge.network.draw import SHAPE, SHORTEST

SHAPES = 0.5, 20.0  # of a gamma distribution
MEANS = 1 / 3, 3.0  # times what they are
EXPONENTS = 32
FIRST = 10  # trials at random
NEEDED = "optuna", "torch"  # its Gaussian process runs on torch


def optimise_timescales(
    network: Network,
    wanted: Floats,
    trials: int,
    seed: int,
    tried: Callable[[list[float]], None] = lambda costs: None,
    known: Sequence[float] = (),
) -> Network:
    """The network with time constants from better gamma distributions: the best of `trials`, itself included.

    wanted : largest exponents, falling, 1/s
    tried : is told the costs so far, the network's own first; `known` are those of a run that was stopped

    Weights into a neuron keep their size in units of its leaks.
    """
    require(*NEEDED)
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    means = [float(tau.mean()) for tau in (network.tau_mem, network.tau_syn)]
    rank = [(stats.rankdata(tau) - 0.5) / network.n for tau in (network.tau_mem, network.tau_syn)]

    costs: list[float] = []

    def cost(candidate: Network) -> float:
        if len(costs) < len(known):
            costs.append(known[len(costs)])
        else:
            found = lyapunov.of_network(candidate, k=min(EXPONENTS, 2 * candidate.n)).exponents
            costs.append(distance(found, wanted[: len(found)]) * sum(means))
            tried(costs)
        return costs[-1]

    def drawn(trial: optuna.Trial) -> Network:
        taus = [
            stats.gamma.ppf(rank[k], shape := trial.suggest_float(f"shape_{name}", *SHAPES, log=True))
            / shape * means[k] * trial.suggest_float(f"mean_{name}", *MEANS, log=True)
            for k, name in enumerate(("mem", "syn"))
        ]  # fmt: skip
        return with_taus(network, *taus)

    best, least = network, cost(network)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler = optuna.samplers.GPSampler(seed=seed, n_startup_trials=FIRST, deterministic_objective=True)
    study = optuna.create_study(sampler=sampler)
    study.enqueue_trial({"shape_mem": SHAPE, "mean_mem": 1.0, "shape_syn": SHAPE, "mean_syn": 1.0})
    for _ in range(trials):
        trial = study.ask()
        candidate = drawn(trial)
        value = cost(candidate)
        study.tell(trial, value)
        if value < least:
            best, least = candidate, value
    return best


def distance(exponents: Floats, wanted: Floats) -> float:
    """W1 of two spectra of one length, and ten times what the largest exceeds the wanted by; 1/s."""
    return float(np.abs(np.sort(exponents) - np.sort(wanted)).mean() + 10 * max(0.0, exponents.max() - wanted.max()))


def with_taus(network: Network, tau_mem: Floats, tau_syn: Floats) -> Network:
    """Other time constants [N], s; weights and bias scale with (1 - alpha)(1 - beta), as init_network draws them."""
    mem, syn = (np.maximum(tau, SHORTEST * network.dt) for tau in (tau_mem, tau_syn))
    before, after = (
        (1 - np.exp(-network.dt / s)) * (1 - np.exp(-network.dt / m))
        for s, m in ((network.tau_syn, network.tau_mem), (syn, mem))
    )
    factor = after / before
    w_rec = network.w_rec.copy()
    w_rec.data = w_rec.data * factor[w_rec.indices]
    return replace(
        network, tau_mem=mem, tau_syn=syn, w_in=network.w_in * factor, w_rec=w_rec, bias=network.bias * factor
    )
