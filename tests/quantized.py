"""Quantised networks under test: what they must serve, some changed in one value, and what they do."""

from dataclasses import replace

import numpy as np
import pytest
from naive import Naive
from nets import STRUCTURES, task

from lnp_edge.quantization.quantize import quantize
from lnp_edge.spec.model import LARGEST, Forecast

STORED = sorted(LARGEST)  # bits
ALL = pytest.mark.parametrize("network", [pytest.param(make(), id=name) for name, make in STRUCTURES.items()])


def changed(values, at, value):
    values = values.copy()
    values[at] = value
    return values


def with_tables(model, name, **tables):
    """The model with other tables of a population."""
    tables = {table: np.asarray(values, np.int32) for table, values in tables.items()}
    populations = (replace(p, params=p.params | tables) if p.name == name else p for p in model.populations)
    return replace(model, populations=tuple(populations))


def of_population(network, k, name, at, value):
    """The network with another value of a parameter of a neuron."""
    part = network.populations[k]
    part = replace(part, params=part.params | {name: changed(part.params[name], at, value)})
    return replace(network, populations=(*network.populations[:k], part, *network.populations[k + 1 :]))


def slow_neuron(net, tau_mem, tau_syn):
    """The network with other time constants of neuron 5, in steps."""
    slow = {"tau_mem": tau_mem, "tau_syn": tau_syn}
    return net.with_params(**{name: changed(net.params[name], 5, steps * net.dt) for name, steps in slow.items()})


def finer(model, population):
    """The model with twice the scale of a population: all that it receives, thresholds and biases.

    A threshold of twice the scale may be rounded to one less than twice its value, and so may others.
    """
    states = [name for name, stored in population.module.TABLES.items() if stored.form == "state"]
    doubled = {name: 2 * population.params[name].astype(np.int64) for name in states}
    tables = population.params | {name: values - np.sign(values) for name, values in doubled.items()}
    projections = (replace(p, shift=p.shift + (p.target == population.name)) for p in model.projections)
    doubled = replace(population, params=tables)
    populations = tuple(doubled if p.name == population.name else p for p in model.populations)
    return replace(model, populations=populations, projections=tuple(projections)), doubled


def received(model, population):
    """The largest |weight| of each neuron of a population, in levels."""
    return np.max([np.abs(p.w.dense()).max(0) for p in model.into(population)], 0)


def integer_run(model, counts):
    """y [T, O] and spikes [T, N] of a model on the oracle."""
    naive, ys, zs = Naive(model), [], []
    for row in counts:
        naive.step(row)
        ys.append(list(naive.y))
        zs.append([z for p in model.populations[:-1] for z in naive.z[p.name]])
    return np.array(ys), np.array(zs)


def unit_of_y(network, bits, of=None):
    """Integer units of the read-out per float unit: the unit of a forecast of 1 says it."""
    forecasting = replace(of or task(), forecast=Forecast((0, 1, 2, 0), 1, (1.0,) * 4))
    return 1 / quantize(network, forecasting, bits=bits).forecast.unit[0]


# Of spikes, of steps and neurons, that may differ; and of the largest |y|, by how much y may. A level of a weight is
# 1/14, 1/254 and 1/65534 of the largest of its neuron: potentials differ by about as much, and a spike comes a step
# early or late where a potential is that near its threshold. The leak of the read-out, 327 of 65536 to within a half,
# leaves 2e-4 of y.
CLOSE = {4: (0.1, 0.5), 8: (0.03, 0.12), 16: (0.0, 3e-4)}
