"""Measure the time, memory and error of pruning, up to millions of synapses.

Each case runs in a separate process, to measure its peak memory. Times are processor times.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from lnp_edge.base import system
from lnp_edge.dynamics import covariance
from lnp_edge.dynamics.rate_model import rate_model
from lnp_edge.experiments.executors import Tell, processes
from lnp_edge.network import Network
from lnp_edge.network.draw import random_network
from lnp_edge.pruning import abscissa_limit, endpoints
from lnp_edge.pruning.lnp import prune_round
from lnp_edge.pruning.steps.edges import prune_edges, synapse_scores
from lnp_edge.pruning.steps.nodes import betweenness, centrality

KEEP, NODES = 0.3, 0.05
GROWTH = (25_000, 50_000, 100_000)  # neurons, DEGREE synapses each
DEGREE = 50


@dataclass(frozen=True)
class Measured:
    """A measured case. aim, aim_megabytes : upper limits; nan: none"""

    what: str
    neurons: int
    synapses: int
    seconds: float
    megabytes: float
    remark: str = ""
    aim: float = np.nan
    aim_megabytes: float = np.nan

    @property
    def met(self) -> bool:
        return not (self.seconds > self.aim or self.megabytes > self.aim_megabytes)


def start(n: int, density: float) -> Network:
    return random_network(n, 8, 8, 0.04, density, np.random.default_rng(1), "cuba_lif")


def full_round(n: int, density: float) -> tuple[float, int, str]:
    """Prune synapses and neurons, with operating point and guard."""
    network = start(n, density)
    began = time.process_time()
    limit = abscissa_limit(network, rate_model(network).abscissa())
    count = round(KEEP * network.w_rec.nnz)
    after = prune_round(network, count, round((1 - NODES) * n), limit, np.random.default_rng(1))
    return time.process_time() - began, network.w_rec.nnz, f"{after.w_rec.nnz} synapses, {after.n} neurons left"


def edge_step(n: int, density: float) -> tuple[float, int, str]:
    """Find the operating point, score the synapses by probes, and sample them."""
    network, rng = start(n, density), np.random.default_rng(1)
    began = time.process_time()
    model = rate_model(network)
    limit = abscissa_limit(network, model.abscissa())
    score = synapse_scores(network, model.stabilised(limit), rng)
    prune_edges(network, score, round(KEEP * len(score)), rng)
    return time.process_time() - began, network.w_rec.nnz, f"{covariance.PROBES} probes"


def node_step(n: int, density: float) -> tuple[float, int, str]:
    network = start(n, density)
    began = time.process_time()
    centrality(network, np.random.default_rng(1))
    return time.process_time() - began, network.w_rec.nnz, "betweenness from as many sources as take some 10 s"


def plain_covariance(n: int, density: float) -> tuple[float, int, str]:
    """The speed of the matrix sign relative to SciPy's Bartels-Stewart, and their difference."""
    network = start(n, density)
    model = rate_model(network)
    a, q, times, found = model.a(), model.q(), [], []
    for solver in (covariance.by_schur, covariance.by_sign):
        began = time.process_time()
        found.append(solver(a, q))
        times.append(time.process_time() - began)
    off = np.abs(found[0] - found[1]).max() / np.abs(found[0]).max()
    return times[1], network.w_rec.nnz, f"{times[0] / times[1]:.1f} times as fast as SciPy, {off:.0e} apart"


def probes_against_exact(n: int, density: float) -> tuple[float, int, str]:
    from scipy.stats import spearmanr

    network = start(n, density)
    model, (pre, post), sign = rate_model(network), endpoints(network), np.sign(network.w_rec.data)
    began = time.process_time()
    c = covariance.stationary_covariance(model.a(), model.q())
    exact = covariance.pair_variance(c, sign, pre, post)
    took = time.process_time() - began
    began = time.process_time()
    found = covariance.probed_pair_variance(model, sign, pre, post, np.random.default_rng(1))
    seconds = time.process_time() - began
    ratio, rank = found / exact, spearmanr(found, exact).statistic
    return (
        seconds, len(pre),
        f"{took / seconds:.1f} times as fast as exact; ratio {ratio.mean():.2f} ± {ratio.std():.2f}, rank {rank:.2f}",
    )  # fmt: skip


def pivots_against_exact(n: int, density: float) -> tuple[float, int, str]:
    from scipy.stats import spearmanr

    network = start(n, density)
    began = time.process_time()
    exact = betweenness(network)
    took = time.process_time() - began
    began = time.process_time()
    found = betweenness(network, pivots=n // 5, rng=np.random.default_rng(1))
    seconds = time.process_time() - began
    rank = spearmanr(exact, found).statistic
    return seconds, network.w_rec.nnz, f"{took / seconds:.1f} times as fast as exact, rank correlation {rank:.2f}"


Case = tuple[str, Callable[[int, float], tuple[float, int, str]], int, float, float, float]


def cases(quick: bool) -> list[Case]:
    """The cases: name, function, neurons, density, aim in seconds and in megabytes."""
    none = np.nan
    small = 300 if quick else 1000
    found: list[Case] = [
        ("covariance, matrix sign", plain_covariance, small, 0.3, none, none),
        ("variances by probes", probes_against_exact, small, 0.3, none, none),
        ("betweenness, a fifth", pivots_against_exact, small, 0.1, none, none),
        ("full round", full_round, small, 0.3, 10.0, none),
    ]
    if quick:
        return [*found, ("edge step", edge_step, 4000, 0.01, none, none)]
    return [
        *found,
        ("variances by probes", probes_against_exact, 2000, 0.1, none, none),
        ("edge step", edge_step, 5000, 0.1, 180.0, 4000.0),
        *(("edge step", edge_step, n, DEGREE / (n - 1), 600.0 if n == GROWTH[-1] else none, 4000.0) for n in GROWTH),
        ("node step", node_step, GROWTH[-1], DEGREE / (GROWTH[-1] - 1), none, 4000.0),
    ]


def measure(quick: bool) -> Iterator[Measured]:
    """Yield the result of each case as it ends."""
    for case in cases(quick):
        yield from processes(_run, [case], lambda *args: None)


def growth(rows: list[Measured]) -> float:
    """The exponent of time as a power of neurons, at a constant number of synapses each.

    It is the slope of the logarithms; nan with fewer than two rows.
    """
    sized = [r for r in rows if r.what == "edge step" and r.neurons in GROWTH]
    if len(sized) < 2:
        return np.nan
    return float(np.polyfit(np.log([r.neurons for r in sized]), np.log([r.seconds for r in sized]), 1)[0])


def _run(case: Case, tell: Tell) -> Measured:
    what, function, n, density, aim, aim_megabytes = case
    function(60, 0.2)  # compiles the kernels
    seconds, synapses, remark = function(n, density)
    megabytes = system.peak_megabytes()
    return Measured(what, n, synapses, seconds, megabytes, remark, aim, aim_megabytes)
