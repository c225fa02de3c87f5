"""One network of a comparison: drawn, pruned and measured, frozen or trained."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import cache

import numpy as np

from lnp_edge import config, pruning
from lnp_edge.base.errors import ConfigError, NetworkError
from lnp_edge.base.progress import Progress
from lnp_edge.config import Config, PruneSettings
from lnp_edge.dynamics import lyapunov
from lnp_edge.dynamics.rate_model import X_STD, rate_model
from lnp_edge.experiments.evidence import reservoir
from lnp_edge.experiments.evidence.methods import DENSE
from lnp_edge.experiments.store import Result
from lnp_edge.network import Network
from lnp_edge.network.draw import random_network
from lnp_edge.network.simulate import Simulation
from lnp_edge.pruning.steps.delocalise import localisation
from lnp_edge.stages import pipeline
from lnp_edge.task.fit import configuration

EXPONENTS = 8
LONG = 4000  # steps
KINDS = {"heterogeneous": (True, 1), "homogeneous": (False, 1), "clustered": (True, 4)}


@dataclass(frozen=True)
class Cell:
    """A network of the frozen regime; equal cells have equal results."""

    method: str  # its name in a table
    prune: PruneSettings
    kind: str  # of KINDS
    seed: int
    tasks: tuple[str, ...]
    neurons: int = 200
    density: float = 0.3

    @property
    def key(self) -> str:
        known = asdict(replace(self, method=""))
        if self.prune.block == 1:  # stored results of earlier versions lack it
            del known["prune"]["block"]
        text = json.dumps(known, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def valid(self, found: dict) -> bool:
        return {"kind", "seed", "keep"} <= set(found)


def core(cell: Cell) -> Network:
    """The unpruned network without a task, with a step of 1 s."""
    heterogeneous, clusters = KINDS[cell.kind]
    c, o = pipeline.TASK_FREE
    return random_network(
        cell.neurons, c, o, 1.0, cell.density, np.random.default_rng([cell.seed, 0]), "cuba_lif",
        tau_mem=reservoir.TAU_MEM, tau_syn=reservoir.TAU_SYN, tau_out=reservoir.TAU_OUT,
        heterogeneous=heterogeneous, clusters=clusters,
    )  # fmt: skip


def pruned(cell: Cell) -> Network:
    start, settings = core(cell), cell.prune
    if settings.keep == 1.0 or not start.w_rec.nnz:
        return start
    return pruning.pruned(settings, start, pipeline.stage_seed(Config(seed=cell.seed), 1))


def measure(cell: Cell, progress: Progress | None = None) -> Result:
    """The row of one network; "failed" if it cannot be pruned or measured. Work for store.run."""
    known = asdict(cell) | {"keep": cell.prune.keep}
    evaluations = [_evaluation(name) for name in cell.tasks]
    try:
        network = pruned(cell)
        found = describe(network)
        for evaluation in evaluations:
            found |= reservoir.measures(network, evaluation, cell.seed)
        bad = [name for name, value in found.items() if not np.isfinite(value)]
        return known | ({"failed": f"{bad[0]} is not finite"} if bad else found)
    except NetworkError as e:
        return known | {"failed": e.what}


@cache
def _evaluation(name: str) -> reservoir.Evaluation:
    return reservoir.evaluation(name)


def describe(network: Network) -> dict[str, float]:
    """Size, stability and spread of a network.

    synapses_with_ports : synapses, plus one input and one read-out per neuron
    drift : relative change of the firing rate from the first to the second half of a long run
    """
    m = pruning.measure(network)
    spectrum = lyapunov.of_network(network, k=min(EXPONENTS, lyapunov.dimension(network)), steps=300, warm_up=100)
    every, slowest, _ = localisation(rate_model(network).m)
    return {
        "neurons": m.neurons, "synapses": m.synapses, "synapses_with_ports": m.synapses + 2 * m.neurons,
        "synops": m.synops, "rate": m.rate, "abscissa": m.abscissa, "radius": m.radius,
        "largest_exponent": spectrum.largest, "ipr": every, "ipr_slowest": slowest, "drift": _drift(network),
    }  # fmt: skip


def _drift(network: Network) -> float:
    run, rng, rates = Simulation(network, 2), np.random.default_rng(0), []
    for _ in range(LONG):
        rates.append(run.step(np.clip(rng.normal(0, X_STD, (2, len(network.w_in))), -2, 2)).mean())
    early, late = np.mean(rates[LONG // 10 : LONG // 2]), np.mean(rates[LONG // 2 :])
    return float(abs(late - early) / max(early, 1e-9))


def grid(
    methods: dict[str, PruneSettings], keeps: list[float], kinds: list[str], seeds: int, tasks: tuple[str, ...],
    neurons: int,
) -> list[Cell]:  # fmt: skip
    """The cells: dense, without recurrence, and every method at every share of synapses."""
    found = []
    for kind in kinds:
        for seed in range(1, seeds + 1):
            found.append(Cell("dense", DENSE, kind, seed, tasks, neurons))
            found.append(Cell("no recurrence", DENSE, kind, seed, tasks, neurons, density=0.0))
            found += [
                Cell(name, replace(settings, keep=keep), kind, seed, tasks, neurons)
                for keep in keeps
                for name, settings in methods.items()
            ]
    return found


def trained_config(task: str, kind: str, seed: int, prune: PruneSettings, changes: list[dict]) -> Config:
    """The configuration of a task with another pruning, to train all weights."""
    base = configuration(task)
    heterogeneous, clusters = KINDS[kind]
    base = replace(base, seed=seed, prune=prune)
    for change in [{"network": {"heterogeneous": heterogeneous, "clusters": clusters}}, *changes]:
        base = replace(base, **{name: replace(getattr(base, name), **values) for name, values in change.items()})
    return base


def trained_row(result: Result, metric: str) -> dict:
    """The row of a training that runs.py has stored."""
    if "failed" in result:
        return {"failed": result["failed"]}
    floats, integers = result["float_measures"][metric], result["measures"][metric]
    sizes = {name: result[name] for name in ("neurons", "synapses")}
    return {metric: floats, f"{metric}, integers": integers} | sizes


def known_task(name: str) -> None:
    """Check that a name is a memory task or a configuration.

    Raises ConfigError, which lists the available ones, or DataError if its data cannot be read.
    """
    if name not in reservoir.MEMORY and name not in (known := config.names()):
        raise ConfigError(f"no task {name[:40]!r}", f"available: {', '.join([*reservoir.MEMORY, *known])}")
    _evaluation(name)


def examples(cell: Cell, methods: dict[str, PruneSettings], keep: float) -> dict[str, Network]:
    """One network before and after pruning, by method, for figures; without those that fail."""
    found = {"dense": core(cell)}
    for name, settings in methods.items():
        with suppress(NetworkError):
            found[name] = pruned(replace(cell, prune=replace(settings, keep=keep)))
    return found
