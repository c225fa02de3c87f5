"""The float network, which pruning and training change and quantisation reads.

It has populations of neurons in the order of a step, and one matrix with the synapses among all
neurons: spectra, covariances and pruning treat the network as a whole.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from lnp_edge.base.errors import NetworkError
from lnp_edge.spec.neuron import neuron_module

Floats = NDArray[np.float64]
X_SCALE = 64.0  # the input of the float network is the encoder's int8 output divided by this


@dataclass(frozen=True)
class Population:
    """n neurons of one kind.

    params : float [n] each, named as in PARAMETERS of the neuron's file
    hears  : whether it receives the input
    feeds  : whether it projects to the read-out
    """

    name: str
    neuron: str
    params: dict[str, Floats]
    hears: bool = True
    feeds: bool = True

    @property
    def n(self) -> int:
        return len(next(iter(self.params.values())))

    @property
    def module(self) -> ModuleType:
        """The neuron's file."""
        return neuron_module(self.neuron)

    def constants(self, dt: float) -> list[Floats]:
        """The last arguments of the neuron's `step` in floats: an array [n] per entry of TABLES."""
        return [stored.constant(self.params[stored.source], dt) for stored in self.module.TABLES.values()]

    def drive_for(self, dt: float) -> tuple[Floats, Floats]:
        """The constant drives for a current and a potential of 1; see neurons/__init__.py."""
        return self.module.drive_for(dt, self.params)


@dataclass(frozen=True)
class Network:
    """A heterogeneous recurrent spiking network (HRSNN) with N neurons, C inputs and O outputs.

    One step updates the populations in order. Each receives

        drive = spikes @ w_rec + x[t] @ w_in

    and runs the step of its neuron. Spikes of an earlier population are those of this step; its own
    and those of later populations are from the previous step. Then the read-out:

        y = gamma * y + spikes @ w_out + x[t] @ w_skip + bias_out     gamma = exp(-dt / tau_out)

    A read-out without a leak, such as "mean", has gamma = 1; its tau_out only scales its start weights.
    x is the encoder's integer output divided by X_SCALE, so full scale is about +-2.
    spec/SEMANTICS.md defines the same in integers.
    """

    dt: float  # s
    populations: tuple[Population, ...]
    sign: NDArray[np.int8]  # [N], of each neuron's outgoing w_rec: +1 excitatory, -1 inhibitory
    w_in: Floats  # [C, N], 0 for populations that do not receive the input
    w_rec: sparse.csr_array  # float64 [N, N], row = presynaptic; sorted; its entries are synapses
    w_out: Floats  # [N, O], 0 for populations that do not project to the read-out
    tau_out: Floats  # s, [O]
    bias_out: Floats  # [O]
    w_skip: Floats | None = None  # [C, O], directly from the input to the read-out
    readout: str = "li"  # a neuron that does not spike

    @property
    def n(self) -> int:
        return len(self.sign)

    @property
    def leaks(self) -> bool:
        """Whether the read-out leaks."""
        return "c" in neuron_module(self.readout).TABLES

    @property
    def gamma(self) -> Floats:
        """What stays of y in a step, [O]."""
        return np.exp(-self.dt / self.tau_out) if self.leaks else np.ones(len(self.tau_out))

    def parts(self) -> list[tuple[Population, slice]]:
        """Each population with the slice of its neurons among all."""
        ends = np.cumsum([p.n for p in self.populations]).tolist()
        return [(p, slice(end - p.n, end)) for p, end in zip(self.populations, ends, strict=True)]

    def all(self, name: str) -> Floats:
        """A parameter that every neuron has, such as v_th or bias, [N]."""
        return np.concatenate([p.params[name] for p in self.populations])

    def drive_for(self) -> tuple[Floats, Floats]:
        """Population.drive_for for all neurons, [N] each."""
        found = [p.drive_for(self.dt) for p in self.populations]
        return np.concatenate([f[0] for f in found]), np.concatenate([f[1] for f in found])

    def only(self, what: str) -> Population:
        """The only population. Raises NetworkError if there are several.

        what : what the error says needs a single population
        """
        if len(self.populations) > 1:
            names = ", ".join(p.name for p in self.populations)
            raise NetworkError(f"{what} serves networks of one population, this has {names}", "use a single layer")
        return self.populations[0]

    @property
    def params(self) -> dict[str, Floats]:
        """The parameters of the only population."""
        return self.only("this").params

    def with_params(self, **values: Any) -> Network:
        """The network with new parameter values, [n] each, of its only population."""
        p = self.only("this")
        return replace(self, populations=(replace(p, params=p.params | values),))

    def identity(self, *rest: object) -> str:
        """A digest of the network and of `rest`, by which a checkpoint recognises its work.

        rest : everything else that the work depends on
        """
        parts = [(p.name, p.neuron, p.hears, p.feeds) for p in self.populations]
        h = hashlib.sha256(repr((rest, parts, self.readout)).encode())
        arrays = [a for p in self.populations for a in p.params.values()]
        arrays += [getattr(self, name) for name in ("dt", "sign", "w_in", "w_out", "tau_out", "bias_out")]
        # scipy takes int32 or int64 as it likes, a file has int64
        arrays += [self.w_rec.data, *(a.astype(np.int64) for a in (self.w_rec.indices, self.w_rec.indptr))]
        arrays += [] if self.w_skip is None else [self.w_skip]
        for array in arrays:
            h.update(np.ascontiguousarray(array).tobytes())
        return h.hexdigest()

    def keep_neurons(self, index: NDArray[np.intp]) -> Network:
        """The network with only these neurons.

        index : ascending, or in another order within each population, which the neurons then get

        Raises NetworkError if a population would lose all its neurons.
        """
        w_rec = sparse.csr_array(self.w_rec[index][:, index])
        w_rec.sort_indices()
        populations = []
        for p, at in self.parts():
            kept = index[(index >= at.start) & (index < at.stop)] - at.start
            if not len(kept):
                raise NetworkError(f"no neuron of {p.name} would be left", "keep more neurons")
            populations.append(replace(p, params={name: a[kept] for name, a in p.params.items()}))
        return replace(
            self,
            populations=tuple(populations),
            sign=self.sign[index],
            w_in=np.ascontiguousarray(self.w_in[:, index]),
            w_rec=w_rec,
            w_out=self.w_out[index],
        )
