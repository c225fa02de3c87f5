"""Float network to the integers of SEMANTICS.md: weights of 2 to 8 bits, one scale a neuron, 16-bit decays, proved.

Weights of fewer than 8 bits are small integers, stored in int8 tables like all others.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from lnp_edge.base.errors import ConfigError, ModelError, NetworkError
from lnp_edge.encoders.affine import TARGET_STD
from lnp_edge.network import X_SCALE, Floats, Network
from lnp_edge.spec import plugins
from lnp_edge.spec.kinds import leak_factors
from lnp_edge.spec.model import CSR, INT32_MAX, MAX_SHIFT, QuantizedModel
from lnp_edge.task.task import Task

MIN_BITS, MAX_BITS = 2, 8
# No gain makes a threshold exceed this. It concerns only neurons that never fire: the proof leaves them less than
# 2**30 to reach. Without it one neuron of tiny weights would have a whole network refused.
V_TH_MAX = 2.0**30
LARGEST, SMALLEST = 1e30, 1e-30
CLIPPINGS = 2.0 ** np.arange(0, 2.01, 0.125)  # by how much a gain may exceed that of the largest weight
DAMPING = 0.01  # added to the mean squares in Task.heard, of their mean: training data does not say all
RATE = 0.1  # spikes a step of a typical neuron: how much a recurrent weight counts beside one of the input


@dataclass(frozen=True)
class Scale:
    """How many integers a float unit is. fit_scale() finds one; training/integer.py learns one."""

    bits: int  # of a weight
    shift_in: int
    shift_rec: int
    gain: Floats  # [N] units of a neuron's state per float unit; its weights are 2**shift / gain apart
    level_out: float  # levels of w_out per float unit

    @property
    def most(self) -> int:
        """Largest |weight|."""
        return largest_weight(self.bits)


def largest_weight(bits: int) -> int:
    """127 of 8 bits, 7 of 4: both signs alike."""
    return 2 ** (bits - 1) - 1


def quantize(
    network: Network,
    task: Task,
    neuron: str = "cuba_lif",
    provenance: dict | None = None,
    bits: int = 8,
    scale: Scale | None = None,
) -> QuantizedModel:
    """The checked integer model nearest to a float network.

    bits : of a weight, 2 to 8;  scale : one that training learned, in the place of bits and fit_scale()

    Neuron i has a gain G_i, integer units per float unit of its state:

        q_in = round(w_in / 64 * G_i / 2**shift_in)    q_rec = round(w_rec * G_i / 2**shift_rec)
        v_th = round(G_i * v_th)                       bias  = round(G_i * bias)

    q_in up or down so that the errors of a neuron's inputs cancel, where the task says how these go together
    (_levels_together). Weights that round to 0 are dropped. Raises NetworkError, naming the neuron, where no gain
    can be proved.
    """
    if not MIN_BITS <= bits <= MAX_BITS:
        raise ConfigError(f"{bits} bits a weight", f"choose from {MIN_BITS} to {MAX_BITS}")
    _check_sizes(network)
    try:
        scale = scale or fit_scale(network, task, neuron, bits)
        return to_integers(network, task, neuron, scale, provenance)[0].check()
    except ModelError as e:
        raise NetworkError(e.what, e.try_next) from None


def fit_scale(network: Network, task: Task, neuron: str, bits: int) -> Scale:
    """The finest scale that the overflow proof allows.

    At 8 bits a gain is the largest for which every weight that the neuron receives fits. At fewer bits it is the
    one of least square error: clipping a largest weight then costs less than a coarser step for all the others.

    shift_rec - shift_in makes up for the different size of input and recurrent weights (median over the
    neurons); both are then the largest that can be proved, or 0 where even that cannot (see to_integers).
    """
    w_in, w_rec, most = network.w_in / X_SCALE, network.w_rec.tocsc(), largest_weight(bits)
    in_max, rec_max, out_max = np.abs(w_in).max(0), _column_max(w_rec), np.abs(network.w_out).max()
    spread = _spread(in_max, rec_max)
    level_out = most / out_max if out_max > SMALLEST else 2.0**-MAX_SHIFT
    if bits < MAX_BITS:
        level_out *= _clipping(network.w_out.ravel() * level_out, np.zeros(network.w_out.size, int), 1, most)[0]
    for base in range(MAX_SHIFT, -1, -1):
        shift_in, shift_rec = max(0, base - max(0, spread)), max(0, base + min(0, spread))
        need = np.maximum(in_max / 2.0**shift_in, rec_max / 2.0**shift_rec)
        gain = np.where(need > SMALLEST, most / np.maximum(need, SMALLEST), 1024.0)
        if bits < MAX_BITS:
            gain *= _clipping_of_neurons(w_in, w_rec, gain, shift_in, shift_rec, most)
        # A neuron that receives nothing gets 1024; none makes its threshold exceed V_TH_MAX.
        gain = np.minimum(gain, V_TH_MAX / np.maximum(network.v_th, SMALLEST))
        scale = Scale(bits, shift_in, shift_rec, gain, float(level_out))
        if max(_neurons(network, task, neuron, scale, None).neuron_bounds()) <= INT32_MAX:
            break
    return scale


def to_integers(
    network: Network, task: Task, neuron: str, scale: Scale, provenance: dict | None = None
) -> tuple[QuantizedModel, Scale]:
    """The integers of a network at a scale, not yet checked, and the scale that was used.

    The gain of a neuron whose bound leaves int32 is halved until it holds; shift_out is the largest that can be
    proved. The same arguments give the same bits: training in integers runs what this returns.
    """
    model = _neurons(network, task, neuron, scale, provenance)
    for _ in range(INT32_MAX.bit_length()):  # after so many halvings no weight is left
        beyond = np.array([most > INT32_MAX for most in model.neuron_bounds()])
        if not beyond.any():
            break
        scale = replace(scale, gain=np.where(beyond, scale.gain / 2, scale.gain))
        model = _neurons(network, task, neuron, scale, provenance)
    model = _with_readout(model, network, scale)
    if task.forecast:
        gain = scale.level_out * 2.0**model.shift_out
        model = replace(model, forecast=replace(task.forecast, unit=tuple(u / gain for u in task.forecast.unit)))
    return model, scale


def _neurons(network: Network, task: Task, neuron: str, scale: Scale, provenance: dict | None) -> QuantizedModel:
    """Everything but the read-out's weights."""
    w_in, w_rec = network.w_in / X_SCALE, network.w_rec
    per_synapse = scale.gain[w_rec.indices] / 2.0**scale.shift_rec
    return QuantizedModel(
        neuron=neuron,
        params=_params(network, neuron, scale.gain),
        w_in=CSR.from_dense(_levels_together(w_in * scale.gain / 2.0**scale.shift_in, scale.most, task.heard)),
        w_rec=_to_csr(w_rec, _levels(w_rec.data * per_synapse, scale.most)),
        w_out=CSR.from_dense(np.zeros_like(network.w_out)),
        shift_in=scale.shift_in,
        shift_rec=scale.shift_rec,
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


def _with_readout(model: QuantizedModel, network: Network, scale: Scale) -> QuantizedModel:
    """One gain for all read-outs, as their largest is the class; shift_out the largest that can be proved."""
    w_out = CSR.from_dense(_levels(network.w_out * scale.level_out, scale.most))
    for shift in range(MAX_SHIFT, -1, -1):
        bias = np.clip(np.round(network.bias_out * scale.level_out * 2.0**shift), -INT32_MAX, INT32_MAX)
        found = replace(model, w_out=w_out, bias_out=bias.astype(np.int32), shift_out=shift)
        if max(found.readout_bounds()) <= INT32_MAX:
            break
    return found


def _levels(w: Floats, most: int) -> Floats:
    return np.clip(np.round(w), -most, most)


def _levels_together(w: Floats, most: int, heard: Floats | None) -> Floats:
    """Levels of input weights [C, N] of which a neuron's drive is nearest to that of w, in the mean square.

    Pixels vary together: rounded each for itself, what their weights are wrong by adds up. Here the weights that
    are still to be rounded make up for the error of each channel (Frantar et al. 2023, arXiv:2210.17323). On
    CIFAR-10 the error of the drive falls from 48 % to 13 % of it; independent channels are rounded as ever.
    """
    if heard is None:
        return _levels(w, most)
    damped = heard + np.eye(len(heard)) * max(DAMPING * np.trace(heard) / len(heard), SMALLEST)
    upper = np.linalg.cholesky(np.linalg.inv(damped)).T
    left, found = w.copy(), np.empty_like(w)
    for c in range(len(w)):
        found[c] = _levels(left[c], most)
        left[c + 1 :] -= np.outer(upper[c, c + 1 :] / upper[c, c], left[c] - found[c])
    return found


def _clipping_of_neurons(
    w_in: Floats, w_rec: sparse.csc_array, gain: Floats, shift_in: int, shift_rec: int, most: int
) -> Floats:
    """_clipping of every neuron's weights, [N]: errors count by what they do to the drive."""
    target = np.repeat(np.arange(len(gain)), np.diff(w_rec.indptr))
    levels = [(w_in * gain / 2.0**shift_in).ravel(), w_rec.data * gain[target] / 2.0**shift_rec]
    # Mean square of what a weight is multiplied by, and of the size of its level in units of the state.
    power = [
        np.full(w_in.size, TARGET_STD**2 * 4.0**shift_in),
        np.full(w_rec.nnz, RATE * 4.0**shift_rec),
    ]
    group = np.concatenate([np.tile(np.arange(len(gain)), len(w_in)), target])
    return _clipping(np.concatenate(levels), group, len(gain), most, np.concatenate(power))


def _clipping(levels: Floats, group: NDArray, groups: int, most: int, power: Floats | float = 1.0) -> Floats:
    """The factor of CLIPPINGS for each group by which its weights, in levels, are rounded with least square error."""
    best, least = np.ones(groups), np.full(groups, np.inf)
    for factor in CLIPPINGS:
        error = power * (_levels(levels * factor, most) / factor - levels) ** 2
        total = np.bincount(group, error, groups)
        best, least = np.where(total < least, factor, best), np.minimum(total, least)
    return best


def _check_sizes(network: Network) -> None:
    for name in ("w_in", "w_out", "bias", "bias_out", "v_th"):
        _check_size(name, getattr(network, name))
    _check_size("w_rec", network.w_rec.data)
    if not (network.v_th > 0).all():
        i = int(np.argmin(network.v_th))
        raise NetworkError(f"v_th[{i}] is {network.v_th[i]:.6g}", "a threshold is positive")


def _check_size(name: str, values: Floats) -> None:
    if not (np.abs(values) <= LARGEST).all():
        what = f"{name} of the trained network is not finite or beyond 1e30"
        raise NetworkError(what, "train again with a smaller lr")


def _column_max(w: sparse.csc_array) -> Floats:
    return np.asarray(abs(w).max(axis=0).todense(), np.float64).ravel() if w.nnz else np.zeros(w.shape[1])


def _spread(in_max: Floats, rec_max: Floats) -> int:
    """log2 of how much larger a neuron's recurrent weights are than its input weights, as a whole number."""
    both = (in_max > 0) & (rec_max > 0)
    if not both.any():
        return 0
    ratio = np.log2(rec_max[both]) - np.log2(in_max[both])
    return int(np.clip(np.round(np.median(ratio)), -MAX_SHIFT, MAX_SHIFT))


def _params(network: Network, neuron: str, gain: Floats) -> dict[str, NDArray[np.int32]]:
    found = {}
    for name, kind in plugins.get("lnp_edge.neurons", neuron).PARAMS.items():
        values = getattr(network, kind.source)
        if kind.is_leak:
            found[name] = leak_factors(kind.source, values, network.dt)
        else:
            found[name] = np.clip(np.round(values * gain), kind.low, kind.high).astype(np.int32)
    return found


def _to_csr(w: sparse.csr_array, levels: Floats) -> CSR:
    """The synapses of w with these weights, without those that became 0. levels : [nnz]"""
    w = sparse.csr_array((levels, w.indices, w.indptr), shape=w.shape, copy=True)
    w.eliminate_zeros()
    w.sort_indices()
    return CSR(w.indptr.astype(np.int32), w.indices.astype(np.int32), w.data.astype(np.int32), w.shape)
