"""Step 4 of Lyapunov noise pruning: tunes time constants by Bayesian optimisation.

LNP tunes the distributions of time constants on the Lyapunov spectrum, without task data. We could
not read its objective. Ours is the spectrum of the network before pruning:

    J = W1(spectrum, wanted spectrum) * T + 10 max(0, lambda_1 - wanted lambda_1) * T

W1 is the Wasserstein distance of the largest exponents, and T the mean over neurons of the sum of
their time constants. The search is over shape and mean of the gamma distribution of each time
constant of each population (as in the authors' earlier work, we recall). Every neuron keeps its
quantile, so that J is smooth. Optuna's Gaussian process (Matern 5/2, expected improvement) proposes
the trials.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from lnp_edge.base.install import require
from lnp_edge.dynamics import lyapunov
from lnp_edge.network import Floats, Network, Population
from lnp_edge.spec.parameters import SHAPE, SHORTEST

SHAPES = 0.5, 20.0  # range of the shape of a gamma distribution
MEANS = 1 / 3, 3.0  # range of the factor of its mean
EXPONENTS = 32
FIRST = 10  # random trials
NEEDED = "optuna", "torch"  # Optuna's Gaussian process runs on torch


def optimise_timescales(
    network: Network,
    wanted: Floats,
    trials: int,
    seed: int,
    tried: Callable[[list[float]], None] = lambda costs: None,
    known: Sequence[float] = (),
) -> Network:
    """The network with the best time constants of `trials` trials, or with its own.

    wanted : largest exponents, descending, 1/s
    tried  : called with the costs so far, that of the network itself first
    known  : the costs of an interrupted run

    Weights into a neuron keep their size in units of its leaks.
    """
    require(*NEEDED)
    import optuna
    from scipy import stats

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    taus = [{name: p.params[name] for name in times(p)} for p in network.populations]
    known_as = [{name: f"{p.name}_{name}" for name in times(p)} for p in network.populations]
    rank = [{name: (stats.rankdata(tau) - 0.5) / len(tau) for name, tau in own.items()} for own in taus]
    means = [{name: float(tau.mean()) for name, tau in own.items()} for own in taus]
    scale = sum(p.n / network.n * sum(mean.values()) for p, mean in zip(network.populations, means, strict=True))

    costs: list[float] = []

    def cost(candidate: Network) -> float:
        if len(costs) < len(known):
            costs.append(known[len(costs)])
        else:
            k = min(EXPONENTS, lyapunov.dimension(candidate))
            found = lyapunov.of_network(candidate, k=k).exponents
            costs.append(distance(found, wanted[:k]) * scale)
            tried(costs)
        return costs[-1]

    def drawn(trial: optuna.Trial) -> Network:
        def tau(k: int, name: str) -> Floats:
            shape = trial.suggest_float(f"shape_{known_as[k][name]}", *SHAPES, log=True)
            factor = trial.suggest_float(f"mean_{known_as[k][name]}", *MEANS, log=True)
            return stats.gamma.ppf(rank[k][name], shape) / shape * means[k][name] * factor

        return with_taus(network, [{name: tau(k, name) for name in own} for k, own in enumerate(taus)])

    best, least = network, cost(network)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler = optuna.samplers.GPSampler(seed=seed, n_startup_trials=FIRST, deterministic_objective=True)
    study = optuna.create_study(sampler=sampler)
    every = [name for names in known_as for name in names.values()]
    study.enqueue_trial({f"shape_{name}": SHAPE for name in every} | {f"mean_{name}": 1.0 for name in every})
    for _ in range(trials):
        trial = study.ask()
        candidate = drawn(trial)
        value = cost(candidate)
        study.tell(trial, value)
        if value < least:
            best, least = candidate, value
    return best


def distance(exponents: Floats, wanted: Floats) -> float:
    """W1 of two spectra of equal length, plus ten times the excess of the largest exponent; 1/s."""
    return float(np.abs(np.sort(exponents) - np.sort(wanted)).mean() + 10 * max(0.0, exponents.max() - wanted.max()))


def times(population: Population) -> list[str]:
    """The names of the time constants of a population's neuron."""
    return [name for name, p in population.module.PARAMETERS.items() if p.is_time]


def with_taus(network: Network, taus: list[dict[str, Floats]]) -> Network:
    """The network with other time constants, [n] in s, of each population.

    Weights scale with the drive for a potential of 1 and other parameters with their own scale, as
    when they are drawn.
    """
    populations = []
    for p, new in zip(network.populations, taus, strict=True):
        params = dict(p.params)
        for name, meaning in p.module.PARAMETERS.items():
            if name in new:
                params[name] = np.maximum(new[name], SHORTEST * network.dt)
            elif meaning.scale:
                factor = meaning.scale(network.dt, params) / meaning.scale(network.dt, p.params)
                params[name] = np.clip(p.params[name] * factor, meaning.low, meaning.high)
        populations.append(replace(p, params=params))
    other = replace(network, populations=tuple(populations))
    factor = other.drive_for()[1] / network.drive_for()[1]
    w_rec = network.w_rec.copy()
    w_rec.data = w_rec.data * factor[w_rec.indices]
    return replace(other, w_in=network.w_in * factor, w_rec=w_rec)
