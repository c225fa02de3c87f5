"""The reference: SEMANTICS.md in Numba, fast enough that nobody waits."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from types import FunctionType
from typing import Any

import numpy as np
from lnp_edge.runtime.runner import Steps, checked
from numba import njit
from numpy.typing import NDArray

from lnp_edge.base.jit import cached
from lnp_edge.spec import digest as digest_module
from lnp_edge.spec import ops, plugins
from lnp_edge.spec.digest import mix
from lnp_edge.spec.model import CSR, QuantizedModel


class Reference:
    """Runs a model like a device does: `reset`, `steps`, `state` (see runtime.runner.Runner)."""

    def __init__(self, model: QuantizedModel):
        self.model = model
        neuron = plugins.get("lnp_edge.neurons", model.neuron)
        encoder = plugins.get("lnp_edge.encoders", model.encoder)
        self._kernel = _kernel(model.neuron, model.encoder)
        self._tables = (
            np.stack([model.encoder_params[p] for p in encoder.PARAMS], axis=1).astype(np.int32),
            *_narrow(model.w_in),
            *_narrow(model.w_rec),
            *_narrow(model.w_out),
            np.array([1 << model.shift_in, 1 << model.shift_rec, 1 << model.shift_out], np.int64),
            np.stack([model.params[p] for p in neuron.PARAMS], axis=1).astype(np.int32),
            model.c_out.astype(np.int32),
            model.bias_out.astype(np.int32),
        )
        self._vars = np.zeros((model.n, len(neuron.STATE)), np.int32)  # a neuron's variables side by side
        self._spikes = np.zeros(model.n, np.int32)  # indices of the neurons that fired, first `_fired` of them
        self._y = np.zeros(model.n_out, np.int32)
        self._scratch = np.zeros((2, model.n), np.int32)
        self._words = np.zeros(model.z_words, np.uint32)
        self.reset()

    def reset(self) -> None:
        self.t = 0
        self.digest = 0
        self._fired = 0
        self._vars[:] = 0
        self._y[:] = 0
        self._words[:] = 0

    def steps(self, counts: NDArray[np.int16], digests: bool = True) -> Steps:
        """Run the next len(counts) steps. counts : int16 [T, n_in]. Digests may be left out for speed.

        Raises DataError for another shape, and for values that are no integers or beyond int16.
        """
        counts = checked(counts, self.model.n_in)
        found = np.zeros(len(counts), np.uint32)
        self._fired, self.digest = self._kernel(
            counts, *self._tables, self._vars, self._spikes, self._fired, self._y,
            self._scratch, self._words, np.uint32(self.digest), found, digests,
        )  # fmt: skip
        self.t += len(counts)
        return Steps(self._y.copy(), found, 0)

    def state(self) -> NDArray[np.uint32]:
        """All state words in the order of SEMANTICS.md section 5, uint32 [state_words]."""
        return np.concatenate([self._vars.T.ravel().view(np.uint32), self._words, self._y.view(np.uint32)])


def _narrow(w: CSR) -> tuple[NDArray, NDArray, NDArray]:
    """Narrow types keep a row's synapses in few cache lines."""
    return w.indptr.astype(np.uint32), w.indices.astype(np.uint16), w.data.astype(np.int8)


@cache
def _kernel(neuron: str, encoder: str) -> Callable:
    """The kernel with one neuron and one encoder compiled into it, cached on disk."""
    neuron_module = plugins.get("lnp_edge.neurons", neuron)
    encoder_module = plugins.get("lnp_edge.encoders", encoder)
    bound = globals() | {
        "neuron_step": njit(neuron_module.step),
        "encode": njit(encoder_module.encode),
        "variables_of": _row_reader(len(neuron_module.STATE)),
        "params_of": _row_reader(len(neuron_module.PARAMS)),
        "encoder_of": _row_reader(len(encoder_module.PARAMS)),
        "N_VARS": len(neuron_module.STATE),
    }
    function = FunctionType(_run.__code__, bound, _run.__name__)
    function.__qualname__ = f"run_{neuron}_{encoder}"
    return cached(function, ops, digest_module, neuron_module, encoder_module)


def _row_reader(width: int) -> Callable:
    """read(a, i) -> tuple(a[i]), its width known to the compiler: slicing the row would count references."""
    cells = "".join(f"a[i, {k}], " for k in range(width))
    scope: dict = {}
    exec(f"def read(a, i):\n    return ({cells})", scope)
    return njit(scope["read"])


def _unbound(*_: Any) -> Any:
    """Stands for what _kernel binds to the model's neuron and encoder."""
    raise NotImplementedError


neuron_step = encode = variables_of = params_of = encoder_of = _unbound
N_VARS = 0


def _run(
    counts, encoder_params, in_ptr, in_idx, in_w, rec_ptr, rec_idx, rec_w, out_ptr, out_idx, out_w,
    scales, params, c_out, bias_out, variables, spikes, fired, y, scratch, words, digest, digests, want,
):  # fmt: skip
    n = variables.shape[0]
    from_input, from_spikes = scratch[0], scratch[1]
    for t in range(counts.shape[0]):
        from_input[:] = 0
        from_spikes[:] = 0
        for k in range(counts.shape[1]):
            x = encode(np.int64(counts[t, k]), *encoder_of(encoder_params, k))
            if x != 0:
                for s in range(in_ptr[k], in_ptr[k + 1]):
                    from_input[in_idx[s]] += np.int32(in_w[s]) * np.int32(x)
        for f in range(fired):
            j = spikes[f]
            for s in range(rec_ptr[j], rec_ptr[j + 1]):
                from_spikes[rec_idx[s]] += np.int32(rec_w[s])
        fired = 0
        words[:] = 0
        for i in range(n):
            drive = from_input[i] * scales[0] + from_spikes[i] * scales[1]
            before = variables_of(variables, i)
            after = neuron_step(*before, drive, *params_of(params, i))
            for s in range(N_VARS):
                variables[i, s] = after[s]
            if after[N_VARS] != 0:
                spikes[fired] = i
                fired += 1
                words[i >> 5] |= np.uint32(1) << np.uint32(i & 31)
        for o in range(len(y)):
            y[o] = ops.leak(np.int64(y[o]), np.int64(c_out[o])) + bias_out[o]
        for f in range(fired):
            j = spikes[f]
            for s in range(out_ptr[j], out_ptr[j + 1]):
                y[out_idx[s]] += out_w[s] * scales[2]
        if want:
            for s in range(N_VARS):
                for i in range(n):
                    digest = mix(digest, np.uint32(variables[i, s]))
            for w in range(len(words)):
                digest = mix(digest, words[w])
            for o in range(len(y)):
                digest = mix(digest, np.uint32(y[o]))
            digests[t] = digest
    return fired, digest
