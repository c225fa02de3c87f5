"""Choose the code that runs a network in training: fused kernels if possible, or the plain loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from lnp_edge.network import Network
from lnp_edge.training.kernels.derive import derived
from lnp_edge.training.kernels.fused import Workspace, fused, samples
from lnp_edge.training.kernels.sparse import Wiring
from lnp_edge.training.layer import Parameters, generic

Run = Callable[[Parameters, torch.Tensor], torch.Tensor]


def runner(network: Network) -> Run:
    """The function run(p, x) -> y [B, T, O], x [B, T, C]. Only the network's structure is used."""
    place = np.repeat(np.arange(len(network.populations)), [p.n for p in network.populations])
    rows, columns = network.w_rec.nonzero()
    served = all(derived(p.neuron) for p in network.populations) and any(p.feeds for p in network.populations)
    if served and (place[rows] <= place[columns]).all():  # no backward connections
        return Layers(network)
    return lambda p, x: generic(network, p, x)


class Layers:
    """Runs the populations one after the other, each over all steps at once."""

    def __init__(self, network: Network):
        self.layers = [FusedLayer(network, k) for k in range(len(network.populations))]

    def __call__(self, p: Parameters, x: torch.Tensor) -> torch.Tensor:
        arrived: torch.Tensor | None = None  # of the remaining populations; axis 2: neurons
        shares = []  # contributions to y
        for layer in self.layers:
            onwards, y = layer(p, x, None if arrived is None else arrived[:, :, : layer.n])
            if arrived is None or not layer.later:
                arrived = onwards
            else:
                rest = arrived[:, :, layer.n :]
                same = rest.shape == onwards.shape
                arrived = rest + onwards if same else samples(rest, len(x)) + samples(onwards, len(x))
            shares += [y] if layer.feeds else []
        if "w_skip" in p:
            shares.append(leaky(x @ p["w_skip"], p["gamma"]))
        return sum(shares[1:], shares[0])


class FusedLayer:
    """One population in the fused kernel: the currents of later populations and its part of y."""

    def __init__(self, network: Network, k: int):
        part, self.at = network.parts()[k]
        self.name, self.n, self.hears, self.feeds = part.name, part.n, part.hears, part.feeds
        self.last = not any(p.feeds for p in network.populations[k + 1 :])  # adds bias_out
        block = network.w_rec[self.at].tocoo()
        first = int(network.w_rec.indptr[self.at.start])
        own = block.col < self.at.stop
        whole = own.all() and self.n == network.n
        self.recurrent = slice(None) if whole else torch.from_numpy(first + np.flatnonzero(own))
        self.forward = torch.from_numpy(first + np.flatnonzero(~own))
        self.later = network.n - self.at.stop  # neurons of later populations
        wiring = Wiring.of(
            network.w_rec[self.at, self.at],
            len(network.w_in),
            len(network.tau_out) if self.feeds else 0,
            network.w_rec[self.at, self.at.stop :] if self.later else None,
        )
        neuron = derived(part.neuron)
        assert neuron is not None, part.neuron
        self.work = Workspace(wiring, neuron)

    def parameters(self, p: Parameters) -> Parameters:
        """The parameters of this population, with the kernel's names."""
        own = {
            "w_rec": p["w_rec"][self.recurrent],
            "w_forward": p["w_rec"][self.forward],
            "w_in": p["w_in"][:, self.at],
            "w_out": p["w_out"][self.at],
            "bias": p[f"{self.name}.bias"],
            "bias_out": p["bias_out"] if self.last else torch.zeros_like(p["bias_out"]),
            "tables": torch.stack([p[f"{self.name}.{table}"] for table in self.work.neuron.tables]),
            "gamma": p["gamma"],
        }
        return own if self.feeds else own | {name: own[name][..., :0] for name in ("w_out", "bias_out", "gamma")}

    def __call__(
        self, p: Parameters, x: torch.Tensor, currents: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Run the population on x [B, T, C].

        currents : from earlier populations, [B, T, n] or in a kernel's layout

        Returns the currents of later populations, in a kernel's layout, and y [B, T, O].
        """
        own: dict[str, Any] = self.parameters(p)
        if currents is not None:
            source = samples(currents, len(x)) + x @ own["w_in"] if self.hears else currents
            w_in = None
        elif self.hears:
            source, w_in = x, own["w_in"]
        else:
            source, w_in = x.new_zeros(*x.shape[:2], self.n), None
        return fused(self.work, own | {"w_in": w_in}, source, len(x))


def leaky(u: torch.Tensor, gamma: torch.Tensor) -> torch.Tensor:
    """y[t] = gamma * y[t-1] + u[t] over the steps of u [B, T, O]."""
    y, ys = u.new_zeros(u[:, 0].shape), []
    for now in u.unbind(1):
        y = gamma * y + now
        ys.append(y)
    return torch.stack(ys, 1)
