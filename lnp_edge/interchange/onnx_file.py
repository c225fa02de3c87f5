"""model.onnx: the quantised model as an executable graph of standard integer operators.

onnxruntime and onnx's reference evaluator compute the same bits as the device. The input is
`counts`, int16 [T, n_in]. The outputs are the state after each step, one per field of the state
words: `<population>_<variable>` int32 [T, n] and `<population>_z` uint8 [T, n]. Loading rebuilds
the QuantizedModel from the initializers and the metadata, then the graph from the model, and
refuses a file whose graph differs. A CRC-32 over fingerprint and metadata detects a flipped bit in
either. SEMANTICS.md section 11 defines the format.

A name in the graph with a capital letter is internal: names of populations and projections have
none.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from lnp_edge.base.errors import LnpError, ModelError
from lnp_edge.base.files import parse_json, read_bounded, write_whole
from lnp_edge.interchange.wire import refuse_large
from lnp_edge.spec import plugins
from lnp_edge.spec.decision import PLAIN as PLAIN_DECISION
from lnp_edge.spec.decision import Decision
from lnp_edge.spec.frontend import GROUP, RAW, FrontEnd
from lnp_edge.spec.layout import weight_type
from lnp_edge.spec.model import (
    CSR,
    INPUT,
    LARGEST,
    MAX_IN,
    MAX_NEURONS,
    MAX_POPULATIONS,
    MAX_PROJECTIONS,
    NAME,
    Forecast,
    Population,
    Projection,
    QuantizedModel,
)
from lnp_edge.spec.quantity import MAX_TITLE, Quantity, is_title
from lnp_edge.spec.trace import Trace, trace

OPSET, IR_VERSION, FORMAT = 18, 9, 2
MAX_BYTES = 256 * 2**20
LEAST_MEMORY = 2**24  # bytes that a file of any size may take when it is parsed; else twice its size
MAX_METADATA = 2 * 2**20  # 1280 names of 64 escaped characters take half of it
HINT = "use a model.onnx written by lnp quantize"
PLAIN = ("encoder", "dt", "window", "hop", "provenance")
NAMES = ("channels", "classes")
POPULATION = {"name": str, "neuron": str, "n": int}
PROJECTION = {"name": str, "source": str, "target": str, "shift": int, "bits": int}


def save(model: QuantizedModel, path: Path) -> None:
    """Write model.onnx. Raises ModelError if its matrices, dense in the graph, exceed MAX_BYTES."""
    size = sum(p.w.shape[0] * p.w.shape[1] * np.dtype(weight_type(p.bits)).itemsize for p in model.projections)
    if size > MAX_BYTES - 2**24:
        raise ModelError(
            f"the dense weights of {model.n} neurons take {size} bytes", f"prune neurons: at most {MAX_BYTES} fit"
        )
    write_whole(path, to_proto(model).SerializeToString(deterministic=True))


def load(path: Path) -> QuantizedModel:
    """The checked model of a model.onnx. Raises ModelError if the file is damaged or foreign."""
    data = read_bounded(path, MAX_BYTES, ModelError, HINT)
    proto = onnx.ModelProto()
    try:
        refuse_large(data, proto.DESCRIPTOR, max(LEAST_MEMORY, 2 * len(data)))
        proto.ParseFromString(data)
        model = _from_proto(proto).check()
        sound = to_proto(model) == proto
    except LnpError as e:
        raise ModelError(f"{path}: {e.what}", e.try_next) from None
    except (DecodeError, ValueError, TypeError, KeyError, RecursionError, AttributeError, OverflowError) as e:
        raise ModelError(f"{path} is not a model of lnp-edge: {str(e)[:100] or type(e).__name__}", HINT) from None
    if not sound:
        raise ModelError(f"{path} is damaged, or its graph is not the one that lnp-edge writes", HINT)
    return model


def _from_proto(proto: onnx.ModelProto) -> QuantizedModel:
    info = _info(proto)
    plain: dict[str, Any] = {name: info.pop(name) for name in PLAIN}
    for name in ("window", "hop"):
        if type(plain[name]) is not int:
            raise ModelError(f"{name} is {str(plain[name])[:40]!r}", HINT)
    plain["dt"] = float(plain["dt"])
    if not isinstance(plain["provenance"], dict):
        raise ModelError("its provenance is not a table", HINT)
    names: dict[str, Any] = {name: tuple(_text(v) for v in info.pop(name)) for name in NAMES}
    populations = _tables(info.pop("populations"), "population", POPULATION, MAX_POPULATIONS)
    projections = _tables(info.pop("projections"), "projection", PROJECTION, MAX_PROJECTIONS)
    forecast = _forecast(info.pop("forecast")) if "forecast" in info else None
    found = info.pop("front", None)
    decision = _decision(info.pop("decision")) if "decision" in info else PLAIN_DECISION
    quantities = _quantities(info.pop("quantities")) if "quantities" in info else ()
    missing = _missing(info.pop("missing")) if "missing" in info else ()
    info.pop("crc32", None)  # compared with the whole graph
    if info:
        raise ModelError(f"unknown metadata {sorted(info)[0][:40]!r}", HINT)
    tensors: dict[str, onnx.TensorProto] = {}
    for tensor in proto.graph.initializer:
        if tensor.name in tensors:
            raise ModelError(f"it holds {tensor.name[:40]!r} twice", HINT)
        tensors[tensor.name] = tensor
    front = RAW if found is None else _front(found, tensors)
    encoder = plugins.get("lnp_edge.encoders", plain["encoder"])
    return QuantizedModel(
        encoder_params={p: _array(tensors, f"encoder_{p}", np.int32, 1) for p in encoder.PARAMS},
        populations=tuple(_population(found, tensors) for found in populations),
        projections=tuple(_projection(found, tensors) for found in projections),
        forecast=forecast,
        front=front,
        decision=decision,
        quantities=quantities,
        missing=missing,
        **plain,
        **names,
    )


def _info(proto: onnx.ModelProto) -> dict[str, Any]:
    """The metadata. Raises ModelError if there is none, or it has another format."""
    meta = [p.value for p in proto.metadata_props if p.key == "lnp_edge"]
    if len(meta) != 1:
        raise ModelError("no lnp-edge metadata", HINT)
    info = parse_json(meta[0], MAX_METADATA)
    found = info.pop("format")
    if found != FORMAT:
        what = f"it has format {str(found)[:20]}, this lnp-edge reads format {FORMAT}"
        raise ModelError(what, "quantise the network again: lnp quantize")
    return info


def _tables(found: object, what: str, kinds: dict[str, type], most: int) -> list[dict[str, Any]]:
    """A list of tables with exactly these keys of these types; each name is a NAME and unique."""
    if not (isinstance(found, list) and len(found) <= most):
        raise ModelError(f"its {what}s are not a list of up to {most}", HINT)
    for table in found:
        if not (isinstance(table, dict) and {k: type(v) for k, v in table.items()} == kinds):
            raise ModelError(f"a {what} is {str(table)[:80]!r}", HINT)
        if not NAME.fullmatch(table["name"]):
            raise ModelError(f"a {what} is called {table['name'][:40]!r}", HINT)
    if len({table["name"] for table in found}) < len(found):
        raise ModelError(f"two {what}s have the same name", HINT)
    return found


def _population(found: dict[str, Any], tensors: dict[str, onnx.TensorProto]) -> Population:
    if not 1 <= found["n"] <= MAX_NEURONS:
        raise ModelError(f"population {found['name']} has {str(found['n'])[:20]} neurons", HINT)
    population = Population(**found, params={})
    for table in population.module.TABLES:
        population.params[table] = _array(tensors, f"{population.name}_{table}", np.int32, 1)
    return population


def _projection(found: dict[str, Any], tensors: dict[str, onnx.TensorProto]) -> Projection:
    name = f"w_{found['name']}"
    if found["bits"] not in LARGEST:
        raise ModelError(f"{name} has {found['bits']} bits", HINT)
    w = _array(tensors, name, weight_type(found["bits"]), 2)
    if max(w.shape) > MAX_NEURONS:  # an empty array may claim any shape
        raise ModelError(f"its {name} is {w.shape[0]} x {w.shape[1]}", HINT)
    return Projection(**found, w=CSR.from_dense(w))


def _forecast(found: object) -> Forecast:
    """The forecast of a table; its ranges are checked with those of the model."""
    if not (isinstance(found, dict) and sorted(found) == ["horizon", "target", "unit"]):
        raise ModelError(f"its forecast is {str(found)[:40]!r}", HINT)
    horizon, target, unit = found["horizon"], found["target"], found["unit"]
    kinds = [(target, int), ([horizon], int), (unit, float)]
    if not all(isinstance(values, list) and all(type(v) is kind for v in values) for values, kind in kinds):
        raise ModelError(f"its forecast is {str(found)[:80]!r}", HINT)
    return Forecast(tuple(target), horizon, tuple(unit))


def _front(found: object, tensors: dict[str, onnx.TensorProto]) -> FrontEnd:
    """The front end of a table; the ranges of its parameters are checked with those of the model."""
    if not (isinstance(found, dict) and {k: type(v) for k, v in found.items()} == {"kind": str, "frame": int}):
        raise ModelError(f"its front end is {str(found)[:80]!r}", HINT)
    front = FrontEnd(**found).check()
    arrays = [_array(tensors, f"{GROUP}_{name}", np.int32, 1) for name in front.ranges]
    return replace(front, params=tuple(tuple(a[: MAX_IN + 1].tolist()) for a in arrays))


def _decision(found: object) -> Decision:
    """The rule of decisions of a table; its ranges are checked with those of the model."""
    kinds = {name: type(value) for name, value in _listed(PLAIN_DECISION).items()}
    if not (isinstance(found, dict) and {k: type(v) for k, v in found.items()} == kinds):
        raise ModelError(f"its decision is {str(found)[:80]!r}", HINT)
    pairs, low, high = found["levels"], found["low"], found["high"]
    if not all(isinstance(pair, list) and len(pair) == 2 for pair in pairs):
        raise ModelError(f"its levels are {str(pairs)[:80]!r}", HINT)
    if not all(type(value) is int for values in (low, high, *pairs) for value in values):
        raise ModelError(f"its decision is {str(found)[:80]!r}", HINT)
    return Decision(**found | {"low": tuple(low), "high": tuple(high), "levels": tuple(map(tuple, pairs))})


def _listed(decision: Decision) -> dict[str, Any]:
    """The decision as JSON has it: lists for tuples."""
    found = json.loads(json.dumps(asdict(decision)))
    assert isinstance(found, dict)
    return found


def _quantities(found: object) -> tuple[Quantity, ...]:
    kinds = {"unit": str, "zero": float, "scale": float, "in_file": bool}
    if not (isinstance(found, list) and found):
        raise ModelError(f"its quantities are {str(found)[:40]!r}", HINT)
    for one in found:
        if not (isinstance(one, dict) and {k: type(v) for k, v in one.items()} == kinds):
            raise ModelError(f"a quantity is {str(one)[:80]!r}", HINT)
    return tuple(Quantity(**one) for one in found)


def _missing(found: object) -> tuple[float, ...]:
    if not (isinstance(found, list) and found and all(type(value) is float for value in found)):
        raise ModelError(f"the values that stand for none are {str(found)[:40]!r}", HINT)
    return tuple(found)


def _text(value: object) -> str:
    if not is_title(value):
        raise ModelError(f"it has the name {str(value)[:40]!r}", f"names are 1 to {MAX_TITLE} printable characters")
    return str(value)


def _array(tensors: dict[str, onnx.TensorProto], name: str, dtype: type, ndim: int) -> NDArray:
    tensor = tensors.get(name)
    if tensor is None:
        raise ModelError(f"its {name} is missing", HINT)
    if tensor.data_location != TensorProto.DEFAULT or tensor.external_data:
        raise ModelError(f"{name!r} is in another file", "external data is not supported")
    if tensor.data_type != helper.np_dtype_to_tensor_dtype(np.dtype(dtype)) or len(tensor.dims) != ndim:
        raise ModelError(f"its {name} has the wrong type or rank", HINT)
    return numpy_helper.to_array(tensor)


def to_proto(model: QuantizedModel) -> onnx.ModelProto:
    """The graph of a model; the same model gives the same message."""
    g = _Body()
    carried = _carried(model)
    _step(g, model)
    first = [] if model.front.stacks else [("First", TensorProto.INT64, 1)]  # carried, but no output
    body = helper.make_graph(
        g.nodes + [helper.make_node("Identity", [f"After_{s}"], [f"Traced_{s}"]) for s, _, _ in carried],
        "step",
        [helper.make_tensor_value_info(f"Before_{s}", kind, [size]) for s, kind, size in first + carried]
        + [helper.make_tensor_value_info("Count", TensorProto.INT16, [model.n_in])],
        [helper.make_tensor_value_info(f"{end}_{s}", kind, [size])
         for end, those in (("After", first + carried), ("Traced", carried)) for s, kind, size in those],
    )  # fmt: skip
    scan = helper.make_node(
        "Scan",
        [f"Reset_{s}" for s, _, _ in first + carried] + ["counts"],
        [f"Last_{s}" for s, _, _ in first + carried] + [s for s, _, _ in carried],
        body=body,
        num_scan_inputs=1,
    )
    # A 16-bit matrix is widened once, not in each step.
    wide = [p.name for p in model.projections if weight_type(p.bits) is np.int16]
    graph = helper.make_graph(
        [helper.make_node("Cast", [f"w_{w}"], [f"Wide_{w}"], to=TensorProto.INT64) for w in wide] + [scan],
        "lnp_edge",
        [helper.make_tensor_value_info("counts", TensorProto.INT16, ["T", model.n_in])],
        [helper.make_tensor_value_info(s, kind, ["T", size]) for s, kind, size in carried],
        [numpy_helper.from_array(a, name) for name, a in _initializers(model, carried, g.constants).items()],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    proto.producer_name = "lnp-edge"
    helper.set_model_props(proto, {"lnp_edge": json.dumps(_metadata(model), sort_keys=True)})
    return proto


def _carried(model: QuantizedModel) -> list[tuple[str, int, int]]:
    """Name, type and size of each field that a step passes on: the state, with z unpacked."""
    return [
        (f.full_name, TensorProto.UINT8, model.population(f.population).n)
        if f.name == "z" else (f.full_name, TensorProto.INT32, f.words)
        for f in model.fields
    ]  # fmt: skip


def _step(g: _Body, model: QuantizedModel) -> None:
    """The nodes of one step, from Count and Before_<field> to After_<field>."""
    encoder = plugins.get("lnp_edge.encoders", model.encoder)
    params = [g.cast(f"encoder_{p}", TensorProto.INT64) for p in encoder.PARAMS]
    (x,) = g.play(trace(encoder.encode), [_features(g, model), *params])
    sent = {p.name: f"Before_{p.name}_z" for p in model.populations} | {INPUT: g.cast(x, TensorProto.INT8)}
    for population in model.populations:
        drives = [g.project(sent[p.source], p) for p in model.into(population)]
        drive = g.total(drives, population.n)
        own, neuron = population.name, population.module
        before = [g.cast(f"Before_{own}_{s}", TensorProto.INT64) for s in neuron.STATE]
        params = [g.cast(f"{own}_{table}", TensorProto.INT64) for table in neuron.TABLES]
        after = g.play(trace(neuron.step), [*before, drive, *params])
        for s, value in zip(neuron.STATE, after, strict=False):
            g.cast(value, TensorProto.INT32, f"After_{own}_{s}")
        if population.spikes:
            sent[own] = g.cast(after[-1], TensorProto.UINT8, f"After_{own}_z")


def _features(g: _Body, model: QuantizedModel) -> str:
    """The features of a step [inputs]; the state of the front end goes to After_<field>."""
    row, front, c = g.cast("Count", TensorProto.INT64), model.front, len(model.channels)
    if front.stacks:
        return row
    samples = [g.node("Slice", row, g.constant(k * c, 1), g.constant((k + 1) * c, 1)) for k in range(front.frame)]
    fields = [f.full_name for f in model.fields[: len(front.state)]]
    before = [g.cast(f"Before_{field}", TensorProto.INT64) for field in fields]
    params = [g.cast(f"{GROUP}_{name}", TensorProto.INT64) for name in front.ranges]
    made = g.play(front.trace, ["Before_First", *samples, *before, *params])
    for field, value in zip(fields, made[len(front.features) :], strict=True):
        g.cast(value, TensorProto.INT32, f"After_{field}")
    g.node("Identity", g.constant(0, 1), output="After_First")
    return g.node("Concat", *made[: len(front.features)], axis=0)


def _initializers(model: QuantizedModel, carried: list, constants: dict[str, NDArray]) -> dict[str, NDArray]:
    found = {f"{GROUP}_{p}": a for p, a in model.front.tables.items()}
    found |= {f"encoder_{p}": a for p, a in model.encoder_params.items()}
    found |= {f"w_{p.name}": p.w.dense().astype(weight_type(p.bits)) for p in model.projections}
    for p in model.populations:
        found |= {f"{p.name}_{table}": p.params[table] for table in p.module.TABLES}
    for s, kind, size in carried:
        found[f"Reset_{s}"] = np.zeros(size, helper.tensor_dtype_to_np_dtype(kind))
    if not model.front.stacks:
        found["Reset_First"] = np.ones(1, np.int64)
    return found | constants


def _metadata(model: QuantizedModel) -> dict:
    own: dict[str, Any] = {name: getattr(model, name) for name in (*PLAIN, *NAMES)}
    own["populations"] = _described(model.populations, POPULATION)
    own["projections"] = _described(model.projections, PROJECTION)
    if model.forecast:
        own["forecast"] = asdict(model.forecast)
    if model.front != RAW:
        own["front"] = {"kind": model.front.kind, "frame": model.front.frame}
    if model.decision != PLAIN_DECISION:
        own["decision"] = _listed(model.decision)
    if model.quantities:
        own["quantities"] = [asdict(quantity) for quantity in model.quantities]
    if model.missing:
        own["missing"] = list(model.missing)
    crc = zlib.crc32(json.dumps(own, sort_keys=True).encode(), model.fingerprint)
    return {"format": FORMAT, "crc32": crc} | own


def _described(parts: Iterable, kinds: dict[str, type]) -> list[dict]:
    return [{name: getattr(part, name) for name in kinds} for part in parts]


class _Body:
    """Collects nodes; has a method per operation of spec/ops.py. Values are int64 unless cast."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, NDArray] = {}

    def node(self, op: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        output = output or f"{op}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [output], **attributes))
        return output

    def cast(self, value: str, to: int, output: str = "") -> str:
        return self.node("Cast", value, output=output, to=to)

    def project(self, sent: str, p: Projection) -> str:
        """The exact input that a projection adds to its target. sent : [n_pre] int8 or uint8"""
        if weight_type(p.bits) is np.int8:
            found = self.cast(self.node("MatMulInteger", sent, f"w_{p.name}"), TensorProto.INT64)
        else:
            found = self.node("MatMul", self.cast(sent, TensorProto.INT64), f"Wide_{p.name}")
        return self.node("Mul", found, self.constant(1 << p.shift))

    def total(self, parts: list[str], n: int) -> str:
        """The sum of parts [n]; zeros if there are none."""
        found, *rest = parts or [self.constant(0, n)]
        for part in rest:
            found = self.node("Add", found, part)
        return found

    def constant(self, value: int, n: int | None = None) -> str:
        """A number, or an array of n equal numbers."""
        name = f"Constant_{value}".replace("-", "minus_") + ("" if n is None else f"_{n}")
        self.constants[name] = np.array(value, np.int64) if n is None else np.full(n, value, np.int64)
        return name

    def play(self, steps: Trace, inputs: list[str]) -> list[str]:
        """Add the operations of a neuron or encoder as nodes; returns the names of its results."""
        values = dict(zip(steps.args, inputs, strict=True))
        for s in steps.statements:
            operands = [self.constant(a) if isinstance(a, int) else values[a] for a in s.args]
            values[s.target] = getattr(self, s.op)(*operands)
        return [values[name] for name in steps.returns]

    def add(self, a: str, b: str) -> str:
        return self.node("Add", a, b)

    def sub(self, a: str, b: str) -> str:
        return self.node("Sub", a, b)

    def mul(self, a: str, b: str) -> str:
        return self.node("Mul", a, b)

    def leak(self, x: str, c: str) -> str:
        """ONNX divides towards zero, so this divides the non-negative c * |x| + 65535 + [x < 0]."""
        negative = self.node("Less", x, self.constant(0))
        rounding = self.node("Add", self.cast(negative, TensorProto.INT64), self.constant(65535))
        product = self.node("Mul", c, self.node("Abs", x))
        away = self.node("Div", self.node("Add", product, rounding), self.constant(65536))
        return self.node("Where", negative, self.node("Add", x, away), self.node("Sub", x, away))

    def greater(self, a: str, b: str) -> str:
        return self.cast(self.node("Greater", a, b), TensorProto.INT64)

    def gate(self, z: str, x: str) -> str:
        return self.node("Mul", z, x)

    def shift_round(self, x: str, k: str) -> str:
        """Adds 2**40 to keep the dividend positive and subtracts it after the division."""
        power = self.node("Pow", self.constant(2), k)
        lift = self.constant(2**40)
        half = self.node("Div", power, self.constant(2))
        lifted = self.node("Div", self.node("Add", self.node("Add", x, half), lift), power)
        return self.node("Sub", lifted, self.node("Div", lift, power))

    def clamp(self, x: str, low: str, high: str) -> str:
        return self.node("Min", self.node("Max", x, low), high)

    def absolute(self, x: str) -> str:
        return self.node("Abs", x)

    def choose(self, z: str, a: str, b: str) -> str:
        return self.node("Where", self.cast(z, TensorProto.BOOL), a, b)

    def log2(self, x: str) -> str:
        """Counts the powers of 2 up to x for the whole part."""
        x = self.node("Max", x, self.constant(1))
        self.constants["Powers"] = 2 ** np.arange(1, 31)
        at_least = self.node("GreaterOrEqual", self.node("Unsqueeze", x, self.constant(1, 1)), "Powers")
        e = self.node("ReduceSum", self.cast(at_least, TensorProto.INT64), self.constant(1, 1), keepdims=0)
        power, unit = self.node("Pow", self.constant(2), e), self.constant(64)
        part = self.node("Div", self.node("Mul", unit, self.node("Sub", x, power)), power)
        return self.node("Add", self.node("Mul", unit, e), part)
