"""Small float networks and the task they are for, before quantisation; and what the equations say of them."""

from copy import deepcopy
from dataclasses import replace
from functools import partial

import numpy as np
from scipy import sparse

from lnp_edge.config import LayerSettings, NetworkSettings
from lnp_edge.network.draw import drawn, random_network
from lnp_edge.spec.plugins import get, names
from lnp_edge.task.task import Task
from lnp_edge.training.kernels.derive import derived

SPIKING = [name for name in names("lnp_edge.neurons") if hasattr(get("lnp_edge.neurons", name), "drive_for")]
FUSED = [name for name in SPIKING if derived(name)]  # the others train by the plain loop


def tiny_network(seed=1, n=40, c=3, o=4, dt=0.02, density=0.3, neuron="cuba_lif", **means):
    return random_network(n, c, o, dt, density, np.random.default_rng(seed), neuron, **means)


DRAWN = {}


def _drawn(settings, c, o, dt, seed):
    """drawn(), once for equal arguments, as it runs a network of layers: a copy, which may be changed."""
    key = repr((settings, c, o, dt, seed))
    if key not in DRAWN:
        DRAWN[key] = drawn(settings, c, o, dt, np.random.default_rng(seed))
    return deepcopy(DRAWN[key])


def tiny_layers(seed=1, sizes=(20, 16), c=3, o=4, dt=0.04, neurons=("cuba_lif", "adlif"), first_recurrent=True):
    """Layers of these neurons, in turn, with a skip from the input to the read-out."""
    layers = tuple(
        LayerSettings(n, neurons[k % len(neurons)], 0.4, first_recurrent or k > 0) for k, n in enumerate(sizes)
    )
    return _drawn(NetworkSettings(skip=True, layer=layers), c, o, dt, seed)


# What every part that runs a network must run: each neuron alone, and layers.
NETWORKS = {name: partial(tiny_network, neuron=name, dt=0.04) for name in SPIKING} | {"layers": tiny_layers}


def stacked(*layers, seed=1, c=3, o=4, dt=0.02, skip=False):
    """A network of layers, each a dict of LayerSettings' fields."""
    common = {"density": 0.3, "neuron": "cuba_lif"}
    settings = NetworkSettings(layer=tuple(LayerSettings(**common | layer) for layer in layers), skip=skip)
    return _drawn(settings, c, o, dt, seed)


def with_way_back(network, synapses=60, seed=3):
    """The same with spikes that go from the last population back to the first."""
    rng, (_, first), (_, last) = np.random.default_rng(seed), network.parts()[0], network.parts()[-1]
    w = network.w_rec.toarray()
    pre, post = rng.integers(last.start, last.stop, synapses), rng.integers(first.start, first.stop, synapses)
    w[pre, post] = network.sign[pre] * np.abs(rng.choice(network.w_rec.data, synapses))
    return replace(network, w_rec=sparse.csr_array(w))


# What quantisation must serve.
STRUCTURES = {
    "layer": tiny_network,
    "adlif": lambda: tiny_network(neuron="adlif"),
    "two recurrent": lambda: stacked({"neurons": 30}, {"neurons": 24}),
    "feed-forward first": lambda: stacked({"neurons": 30, "recurrent": False}, {"neurons": 24}),
    "skip": lambda: stacked({"neurons": 40}, skip=True),
    "mixed": lambda: stacked({"neurons": 24}, {"neurons": 30, "neuron": "adlif"}, {"neurons": 20}, skip=True),
    "adlif first, back": lambda: with_way_back(stacked({"neurons": 30, "neuron": "adlif"}, {"neurons": 24})),
}


def without_recurrence(network):
    """The same without synapses between neurons of one population, and back to an earlier one."""
    place = np.repeat(np.arange(len(network.populations)), [p.n for p in network.populations])
    w = network.w_rec.tocoo()
    onwards = place[w.row] < place[w.col]
    ends = (w.row[onwards], w.col[onwards])
    return replace(network, w_rec=sparse.csr_array((w.data[onwards], ends), w.shape))


def task(c=3, o=4) -> Task:
    return Task(
        encoder="affine",
        encoder_params={
            "offset": np.zeros(c, np.int32),
            "gain": np.full(c, 256, np.int32),
            "shift": np.full(c, 8, np.int32),
        },
        window=20,
        hop=10,
        channels=tuple(f"c{k}" for k in range(c)),
        classes=tuple(f"class {k}" for k in range(o)),
    )


def _cuba_lif(s, drive, p, dt):
    s["i_syn"] = np.exp(-dt / p["tau_syn"]) * s["i_syn"] + drive + p["bias"]
    s["v"] = np.exp(-dt / p["tau_mem"]) * s["v"] + s["i_syn"]
    z = s["v"] > p["v_th"]
    s["v"] = s["v"] - p["v_th"] * z
    return z


def _adlif(s, drive, p, dt):
    v = np.exp(-dt / p["tau_mem"]) * s["v"] + drive + p["bias"] - s["w"]
    z = v > p["v_th"]
    s["v"] = v = v - p["v_th"] * z
    s["w"] = np.exp(-dt / p["tau_ad"]) * s["w"] + p["pull"] * v + p["jump"] * z
    return z


EQUATIONS = {"cuba_lif": (("i_syn", "v"), _cuba_lif), "adlif": (("v", "w"), _adlif)}


def float_run(network, x):
    """y [T, O] and spikes [T, N] of a float network, by its equations written out. x : [T, C], the encoder's integers.

    Shares no code with the project.
    """
    parts = network.parts()
    states = [{name: np.zeros(p.n) for name in EQUATIONS[p.neuron][0]} for p, _ in parts]
    w_rec, z, y, ys, zs = network.w_rec.toarray(), np.zeros(network.n), np.zeros(len(network.tau_out)), [], []
    for row in x / 64:
        for (p, at), state in zip(parts, states, strict=True):
            z[at] = EQUATIONS[p.neuron][1](state, z @ w_rec[:, at] + row @ network.w_in[:, at], p.params, network.dt)
        y = np.exp(-network.dt / network.tau_out) * y + z @ network.w_out + network.bias_out
        y = y if network.w_skip is None else y + row @ network.w_skip
        ys.append(y)
        zs.append(z.copy())
    return np.array(ys), np.array(zs)
