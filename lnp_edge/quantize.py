"""Float network to the integers of SEMANTICS.md: int8 weights with one scale a neuron, 16-bit decays, proved."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from lnp_edge.errors import ModelError
from lnp_edge.network import X_SCALE, Floats, Network
from lnp_edge.spec import plugins
from lnp_edge.spec.kinds import leak_factors
from lnp_edge.spec.model import CSR, INT32_MAX, MAX_SHIFT, QuantizedModel

W_MAX = 127
# No gain makes a threshold exceed this. It concerns only neurons that never fire: the proof leaves them less than
# 2**30 to reach. Without it one neuron of tiny weights would have a whole network refused.
V_TH_MAX = 2.0**30
LARGEST, SMALLEST = 1e30, 1e-30


@dataclass(frozen=True)
class Task:
    """What a model needs to know of its data beside the network."""

    encoder: str
    encoder_params: dict[str, NDArray[np.int32]]
    window: int  # steps
    hop: int  # steps
    channels: tuple[str, ...]
    classes: tuple[str, ...]


def quantize(network: Network, task: Task, neuron: str = "cuba_lif", provenance: dict | None = None) -> QuantizedModel:
    """The checked integer model nearest to a float network.

    Neuron i has a gain G_i, integer units per float unit of its state: the largest for which every weight it
    receives fits in int8.

        q_in = round(w_in / 64 * G_i / 2**shift_in)    q_rec = round(w_rec * G_i / 2**shift_rec)
        v_th = round(G_i * v_th)                       bias  = round(G_i * bias)

    shift_rec - shift_in makes up for the different size of input and recurrent weights (median over the
    neurons); both are then the largest that the overflow proof allows, or 0 with a smaller gain for the few
    neurons whose time constants ask for it. Weights that round to 0 are dropped.
    Raises ModelError, naming the neuron, where no gain can be proved.
    """
    _check_sizes(network)
    w_in, w_rec = network.w_in / X_SCALE, network.w_rec.tocsc()
    spread = _spread(np.abs(w_in).max(0), _column_max(w_rec))
    empty = QuantizedModel(
        neuron=neuron,
        params={},
        w_in=CSR.from_dense(np.zeros_like(w_in)),
        w_rec=CSR.from_dense(np.zeros((1, 1))),
        w_out=CSR.from_dense(np.zeros_like(network.w_out)),
        shift_in=0,
        shift_rec=0,
        shift_out=0,
        c_out=leak_factors("tau_out", network.tau_out, network.dt),
        bias_out=np.zeros(len(network.tau_out), np.int32),
        encoder=task.encoder,
        encoder_params=task.encoder_params,
        dt=network.dt,
        window=task.window,
        hop=task.hop,
        channels=task.channels,
        classes=task.classes,
        provenance=provenance or {},
    )

    def at(gain: Floats) -> QuantizedModel:
        return replace(
            empty,
            params=_params(network, neuron, gain),
            w_in=CSR.from_dense(np.round(w_in * gain / 2.0**shift_in)),
            w_rec=_to_csr(sparse.csr_array(w_rec * (gain / 2.0**shift_rec))),
            shift_in=shift_in,
            shift_rec=shift_rec,
        )

    for base in range(MAX_SHIFT, -1, -1):
        shift_in, shift_rec = max(0, base - max(0, spread)), max(0, base + min(0, spread))
        gain = _gain(w_in, w_rec, network.v_th, shift_in, shift_rec)
        model = at(gain)
        if max(model.neuron_bounds()) <= INT32_MAX:
            break
    for _ in range(W_MAX.bit_length()):  # after so many halvings no weight is left
        beyond = np.array([most > INT32_MAX for most in model.neuron_bounds()])
        if not beyond.any():
            break
        gain = np.where(beyond, gain / 2, gain)
        model = at(gain)
    return _with_readout(model, network.w_out, network.bias_out).check()


def _with_readout(model: QuantizedModel, w_out: Floats, bias_out: Floats) -> QuantizedModel:
    """One gain for all read-outs, as their largest is the class; shift_out the largest that can be proved."""
    largest = np.abs(w_out).max()
    for shift in range(MAX_SHIFT, -1, -1):
        gain = W_MAX * 2.0**shift / largest if largest > SMALLEST else 1.0
        bias = np.clip(np.round(bias_out * gain), -INT32_MAX, INT32_MAX).astype(np.int32)
        found = replace(
            model, w_out=CSR.from_dense(np.round(w_out * gain / 2.0**shift)), bias_out=bias, shift_out=shift
        )
        if max(found.readout_bounds()) <= INT32_MAX:
            break
    return found


def _check_sizes(network: Network) -> None:
    for name in ("w_in", "w_out", "bias", "bias_out", "v_th"):
        _check_size(name, getattr(network, name))
    _check_size("w_rec", network.w_rec.data)
    if not (network.v_th > 0).all():
        i = int(np.argmin(network.v_th))
        raise ModelError(f"v_th[{i}] is {network.v_th[i]:.6g}", "a threshold is positive")


def _check_size(name: str, values: Floats) -> None:
    if not (np.abs(values) <= LARGEST).all():
        raise ModelError(f"{name} of the trained network is not finite or beyond 1e30", "train again with a smaller lr")


def _column_max(w: sparse.csc_array) -> Floats:
    return np.asarray(abs(w).max(axis=0).todense(), np.float64).ravel() if w.nnz else np.zeros(w.shape[1])


def _spread(in_max: Floats, rec_max: Floats) -> int:
    """log2 of how much larger a neuron's recurrent weights are than its input weights, as a whole number."""
    both = (in_max > 0) & (rec_max > 0)
    if not both.any():
        return 0
    ratio = np.log2(rec_max[both]) - np.log2(in_max[both])
    return int(np.clip(np.round(np.median(ratio)), -MAX_SHIFT, MAX_SHIFT))


def _gain(w_in: Floats, w_rec: sparse.csc_array, v_th: Floats, shift_in: int, shift_rec: int) -> Floats:
    """G_i, [N]: a neuron that receives nothing gets 1024; none makes its threshold exceed V_TH_MAX."""
    need = np.maximum(np.abs(w_in).max(0) / 2.0**shift_in, _column_max(w_rec) / 2.0**shift_rec)
    gain = np.where(need > SMALLEST, W_MAX / np.maximum(need, SMALLEST), 1024.0)
    return np.minimum(gain, V_TH_MAX / np.maximum(v_th, SMALLEST))


def _params(network: Network, neuron: str, gain: Floats) -> dict[str, NDArray[np.int32]]:
    found = {}
    for name, kind in plugins.get("lnp_edge.neurons", neuron).PARAMS.items():
        values = getattr(network, kind.source)
        if kind.is_leak:
            found[name] = leak_factors(kind.source, values, network.dt)
        else:
            found[name] = np.clip(np.round(values * gain), kind.low, kind.high).astype(np.int32)
    return found


def _to_csr(w: sparse.csr_array) -> CSR:
    """Rounded, without the entries that became 0."""
    w = sparse.csr_array((np.round(w.data), w.indices, w.indptr), shape=w.shape)
    w.eliminate_zeros()
    w.sort_indices()
    return CSR(w.indptr.astype(np.int32), w.indices.astype(np.int32), w.data.astype(np.int32), w.shape)
