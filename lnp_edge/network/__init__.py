"""The float network: what pruning reads and returns, training adjusts and quantisation reads."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

Floats = NDArray[np.float64]
X_SCALE = 64.0  # the float network sees the encoder's int8 output divided by this


@dataclass(frozen=True)
class Network:
    """A heterogeneous recurrent spiking network (HRSNN) of N neurons, C inputs and O outputs.

    One step, recurrence reading the spikes of the step before (spec/SEMANTICS.md in integers):

        i_syn = alpha * i_syn + spikes[t-1] @ w_rec + x[t] @ w_in + bias     alpha = exp(-dt / tau_syn)
        v     = beta  * v + i_syn                                            beta  = exp(-dt / tau_mem)
        z     = v > v_th ;  v = v - v_th * z
        y     = gamma * y + z @ w_out + bias_out                             gamma = exp(-dt / tau_out)

    x is the encoder's integer output divided by X_SCALE, so that full scale is about +-2.
    """

    dt: float  # s
    tau_mem: Floats  # s, [N]
    tau_syn: Floats  # s, [N]
    tau_out: Floats  # s, [O]
    sign: NDArray[np.int8]  # +1 excitatory, -1 inhibitory, [N]: sign of each neuron's outgoing w_rec
    w_in: Floats  # [C, N]
    w_rec: sparse.csr_array  # float64 [N, N], row = presynaptic; stored entries are the synapses, sorted
    w_out: Floats  # [N, O]
    bias: Floats  # [N]
    bias_out: Floats  # [O]
    v_th: Floats  # [N]

    @property
    def n(self) -> int:
        return len(self.tau_mem)

    def identity(self, *rest: object) -> str:
        """A digest of the network and of what else some long work starts from: a checkpoint of other work has
        another."""
        h = hashlib.sha256(repr(rest).encode())
        for name in ("dt", "tau_mem", "tau_syn", "tau_out", "sign", "w_in", "w_out", "bias", "bias_out", "v_th"):
            h.update(np.ascontiguousarray(getattr(self, name)).tobytes())
        for part in (self.w_rec.data, self.w_rec.indices, self.w_rec.indptr):
            h.update(part.tobytes())
        return h.hexdigest()

    def keep_neurons(self, index: NDArray[np.intp]) -> Network:
        """The same network with only these neurons: every array shrinks together."""
        w_rec = sparse.csr_array(self.w_rec[index][:, index])
        w_rec.sort_indices()
        return replace(
            self,
            tau_mem=self.tau_mem[index],
            tau_syn=self.tau_syn[index],
            sign=self.sign[index],
            w_in=np.ascontiguousarray(self.w_in[:, index]),
            w_rec=w_rec,
            w_out=self.w_out[index],
            bias=self.bias[index],
            v_th=self.v_th[index],
        )
