"""The layout of a model in flash: typed arrays, in one order for generator and verifier."""

from dataclasses import dataclass, replace
from functools import lru_cache
from importlib import import_module
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from lnp_edge.spec import plugins
from lnp_edge.spec.frontend import GROUP
from lnp_edge.spec.model import CSR, INPUT, Projection, QuantizedModel
from lnp_edge.spec.trace import Statement, trace

DRIVE = "drive"
PACKAGE = "lnp_edge.layouts"


def smallest(limit: int) -> type[np.unsignedinteger]:
    """The narrowest unsigned type that holds 0..limit."""
    return np.uint8 if limit <= 0xFF else np.uint16 if limit <= 0xFFFF else np.uint32


def weight_type(bits: int) -> type[np.signedinteger]:
    """The type that stores a weight of `bits` bits, on a device and in model.onnx."""
    return np.int16 if bits > 8 else np.int8


def of(model: QuantizedModel, p: Projection) -> ModuleType:
    """The layout of a projection, a file of lnp_edge/layouts: of those that serve, the fewest bytes for its worth."""
    return _serving(model, p)[0][1]


def chosen(model: QuantizedModel, p: Projection) -> str:
    """The layout of a projection in words, and why it is taken."""
    (size, one), *others = _serving(model, p)
    why = (
        "the fewest" if all(size <= other for other, _ in others) else f"faster, and below {one.WORTH} times the fewest"
    )
    rest = f" ({', '.join(f'{_name(kind)} {other:,} B' for other, kind in others)})"
    return f"w_{p.name} lies as {_name(one)}, {size:,} B: {why + rest if others else 'no other serves it'}"


def _serving(model: QuantizedModel, p: Projection) -> list[tuple[int, ModuleType]]:
    """Bytes and layout of those that serve a projection, the one that is taken first."""
    path = tuple(import_module(PACKAGE).__path__)
    of_one, sizes = model.sizes.get((p.name, path), (None, {}))
    if of_one is not p:
        known = [one for one in _known(path) if one.serves(model, p)]
        found = [(sum(t.nbytes for t in one.tables(model, p).values()), one) for one in known]
        sizes = {_name(one): size for size, one in sorted(found, key=lambda found: found[0] / found[1].WORTH)}
        model.sizes[p.name, path] = p, sizes
    return [(size, plugins.get(PACKAGE, name)) for name, size in sizes.items()]


def _name(kind: ModuleType) -> str:
    return kind.__name__.rpartition(".")[2]


@lru_cache
def _known(path: tuple[str, ...]) -> tuple[ModuleType, ...]:
    """The layouts of these folders, listed once: every size of every model asks for them."""
    return tuple(plugins.get(PACKAGE, name) for name in plugins.names(PACKAGE))


def tables(model: QuantizedModel) -> dict[str, NDArray]:
    """Every table of the firmware by name, in its stored type and in the order of the device."""
    found: dict[str, NDArray] = {f"{GROUP}_{name}": a.astype(np.int16) for name, a in model.front.tables.items()}
    for name in plugins.get("lnp_edge.encoders", model.encoder).PARAMS:
        found[f"encoder_{name}"] = model.encoder_params[name].astype(np.int16)
    for population in model.populations:
        for name, stored in population.module.TABLES.items():
            found[f"{population.name}_{name}"] = stored.table(population.params[name])
    for p in model.projections:
        found |= {f"w_{p.name}_{part}": array for part, array in of(model, p).tables(model, p).items()}
    return found


def table_bytes(model: QuantizedModel) -> int:
    """Bytes of flash that the tables need, before the linker aligns them."""
    return sum(t.nbytes for t in tables(model).values())


def state_bytes(model: QuantizedModel) -> int:
    """Bytes of RAM of one lnp_<name>_t: state words, step number, digest, and sums that cannot be added in place."""
    return 4 * (model.state_words + 2 + drives(model))


def drives(model: QuantizedModel) -> int:
    """The number of drives that have a place of their own: one population at a time needs them."""
    return max(p.n * (parts(p.module).into == DRIVE) for p in model.populations)


@dataclass(frozen=True)
class Parts:
    """A neuron's step as a device does it: it begins, all that the neuron receives is added, and it finishes.

    into : the state variable that is added to; or "drive", which begins with 0
    """

    into: str
    begin: tuple[Statement, ...]
    finish: tuple[Statement, ...]


def parts(module: ModuleType) -> Parts:
    """Adds in place where the step adds the drive, once, to a state variable of which alone it used something before.

    What it adds next to that variable is added in the beginning: sums are exact, so their order is free.
    """
    found = list(trace(module.step).statements)
    uses = [k for k, one in enumerate(found) if DRIVE in one.args]
    at = found[uses[0]] if len(uses) == 1 else None
    if at is None or at.op != "add" or at.target not in at.args or at.target not in module.STATE:
        return Parts(DRIVE, (), tuple(found))
    into, own = at.target, {at.target, *module.TABLES}

    def is_own(one: Statement) -> bool:
        return one.target == into and all(isinstance(arg, int) or arg in own for arg in one.args)

    before, after = found[: uses[0]], found[uses[0] + 1 :]
    if not all(map(is_own, before)):
        return Parts(DRIVE, (), tuple(found))
    while after and after[0].op == "add" and is_own(after[0]) and after[0].args.count(into) == 1:
        before.append(after.pop(0))
    return Parts(into, tuple(before), tuple(after))


def alignment(table: NDArray) -> int:
    """Of a table on a device: a loop may read a word of its int8, int16 or uint16 at once."""
    return 4 if table.dtype.kind == "i" or table.itemsize == 2 else table.itemsize


def struct_bytes(model: QuantizedModel) -> int:
    """sizeof of the C struct of the tables.

    An empty table has one element.
    """
    end, widest = 0, 1
    for table in tables(model).values():
        at = alignment(table)
        end = -(-end // at) * at + table.itemsize * max(1, len(table))
        widest = max(widest, at)
    return -(-end // widest) * widest


def sized(model: QuantizedModel, neurons: int, synapses: int) -> QuantizedModel:
    """A model of zeros as large as one layer with `neurons` neurons and `synapses` synapses.

    Of the weights from the input and to the read-out, the same share is stored as in the model. Synapses in blocks stay
    in blocks that are as full.
    """
    hidden, out = model.populations
    sizes = {INPUT: len(model.inputs), hidden.name: neurons, out.name: out.n}

    def resized(p: Projection) -> Projection:
        pre, post = sizes[p.source], sizes[p.target]
        nnz = synapses if p.source == p.target else round(pre * post * p.w.nnz / (p.w.shape[0] * p.w.shape[1]))
        places = getattr(of(model, p), "spread", _evenly)(p, pre, post, nnz)
        nnz = len(places)
        indptr = np.searchsorted(places, np.arange(pre + 1) * post).astype(np.int32)
        return replace(p, w=CSR(indptr, (places % post).astype(np.int32), np.zeros(nnz, np.int32), (pre, post)))

    grown = replace(hidden, n=neurons, params={name: np.zeros(neurons, np.int32) for name in hidden.params})
    return replace(model, populations=(grown, out), projections=tuple(map(resized, model.projections)))


def _evenly(p: Projection, pre: int, post: int, nnz: int) -> NDArray:
    """The places of so many synapses, evenly spread: the layout depends on the rows."""
    return np.arange(nnz) * (pre * post) // max(nnz, 1)
