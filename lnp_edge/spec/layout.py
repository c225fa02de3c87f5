"""How a model lies in a device's flash: one typed array a table, in one order for generator and verifier."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lnp_edge.spec import plugins
from lnp_edge.spec.model import CSR, QuantizedModel


def smallest(limit: int) -> type[np.unsignedinteger]:
    """The narrowest unsigned type that holds 0..limit."""
    return np.uint8 if limit <= 0xFF else np.uint16 if limit <= 0xFFFF else np.uint32


def tables(model: QuantizedModel) -> dict[str, NDArray]:
    """Every table of the firmware by name, typed as it is stored; a device lists them in this order."""
    found: dict[str, NDArray] = {}
    for name in plugins.get("lnp_edge.encoders", model.encoder).PARAMS:
        found[f"encoder_{name}"] = model.encoder_params[name].astype(np.int16)
    for name, w in (("w_in", model.w_in), ("w_rec", model.w_rec), ("w_out", model.w_out)):
        found |= _csr(name, w)
    for name, kind in plugins.get("lnp_edge.neurons", model.neuron).PARAMS.items():
        found[name] = model.params[name].astype(kind.ctype)
    found["c_out"] = model.c_out.astype(np.uint16)
    found["bias_out"] = model.bias_out.astype(np.int32)
    return found


def _csr(name: str, w: CSR) -> dict[str, NDArray]:
    return {
        f"{name}_indptr": w.indptr.astype(smallest(max(w.nnz, 256))),
        f"{name}_indices": w.indices.astype(smallest(w.shape[1] - 1)),
        f"{name}_data": w.data.astype(np.int8),
    }


def table_bytes(model: QuantizedModel) -> int:
    """Flash the tables take, before the linker aligns them."""
    return sum(t.nbytes for t in tables(model).values())


def state_bytes(model: QuantizedModel) -> int:
    """RAM of one lnp_<name>_t: state words, step number, digest, and the sums that a step gathers."""
    return 4 * (model.state_words + 2 + model.n)


def struct_bytes(model: QuantizedModel) -> int:
    """sizeof of the C struct of the tables: each begins at a multiple of its type, an empty one holds one element."""
    end, widest = 0, 1
    for table in tables(model).values():
        size = table.itemsize
        end = -(-end // size) * size + size * max(1, len(table))
        widest = max(widest, size)
    return -(-end // widest) * widest


def sized(model: QuantizedModel, neurons: int, synapses: int) -> QuantizedModel:
    """Zeros that take as many bytes as a model of these sizes, all weights of inputs and read-outs stored."""

    def zeros(pre: int, post: int, nnz: int) -> CSR:
        return CSR(np.zeros(pre + 1, np.int32), np.zeros(nnz, np.int32), np.zeros(nnz, np.int32), (pre, post))

    return replace(
        model,
        params={name: np.zeros(neurons, np.int32) for name in model.params},
        w_in=zeros(model.n_in, neurons, model.n_in * neurons),
        w_rec=zeros(neurons, neurons, synapses),
        w_out=zeros(neurons, model.n_out, neurons * model.n_out),
    )
