"""How a model lies in a device's flash: one typed array a table, in one order for generator and verifier."""

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
