"""A small float network and the task it is for, before quantisation."""

from functools import partial

import numpy as np

from lnp_edge.config import LayerSettings, NetworkSettings
from lnp_edge.network.draw import drawn, random_network
from lnp_edge.spec.plugins import get, names
from lnp_edge.task.task import Task

SPIKING = [name for name in names("lnp_edge.neurons") if hasattr(get("lnp_edge.neurons", name), "drive_for")]


def tiny_network(seed=1, n=40, c=3, o=4, dt=0.02, density=0.3, neuron="cuba_lif"):
    return random_network(n, c, o, dt, density, np.random.default_rng(seed), neuron)


def tiny_layers(seed=1, sizes=(20, 16), c=3, o=4, dt=0.04, neurons=("cuba_lif", "adlif"), first_recurrent=True):
    """Layers of these neurons, in turn, with a skip from the input to the read-out."""
    layers = tuple(
        LayerSettings(n, neurons[k % len(neurons)], 0.4, first_recurrent or k > 0) for k, n in enumerate(sizes)
    )
    return drawn(NetworkSettings(skip=True, layer=layers), c, o, dt, np.random.default_rng(seed))


# What every part that runs a network must run: each neuron alone, and layers.
NETWORKS = {name: partial(tiny_network, neuron=name, dt=0.04) for name in SPIKING} | {"layers": tiny_layers}


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
