"""A small float network and the task it is for, before quantisation."""

import numpy as np

from lnp_edge.network.draw import random_network
from lnp_edge.task.task import Task


def tiny_network(seed=1, n=40, c=3, o=4, dt=0.02, density=0.3):
    return random_network(n, c, o, dt, density, np.random.default_rng(seed))


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
