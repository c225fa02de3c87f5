"""model.onnx: the quantised model as an executable graph of standard integer operators.

onnxruntime and onnx's reference evaluator run it to the same bits as the device. Input `counts` int16
[T, n_in]; outputs are the state after each step: one int32 [T, n] for each state variable of the neuron,
`z` uint8 [T, n] and `y` int32 [T, n_out]. Reading rebuilds the QuantizedModel from the initializers and the
metadata, then the graph from the model: a file that is not exactly that graph is refused, and a CRC-32 over
fingerprint and metadata refuses one in which a bit of either flipped.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from lnp_edge.base.errors import LnpError, ModelError
from lnp_edge.base.files import read_bounded, write_whole
from lnp_edge.spec import plugins
from lnp_edge.spec.model import CSR, MAX_NEURONS, Forecast, QuantizedModel
from lnp_edge.spec.trace import Trace, trace

OPSET, IR_VERSION, FORMAT = 18, 9, 1
MAX_BYTES = 256 * 2**20
HINT = "give it a model.onnx written by lnp quantize"
PLAIN = ("neuron", "encoder", "shift_in", "shift_rec", "shift_out", "dt", "window", "hop", "provenance")
NAMES = ("channels", "classes")


def save(model: QuantizedModel, path: Path) -> None:
    """Write model.onnx. Raises ModelError for a network whose matrices, dense in the graph, are beyond MAX_BYTES."""
    cells = model.n * (model.n_in + model.n + model.n_out)
    if cells > MAX_BYTES - 2**24:
        raise ModelError(
            f"{model.n} neurons make a graph of {cells} weights", f"at most {MAX_BYTES} fit: prune neurons"
        )
    write_whole(path, to_proto(model).SerializeToString(deterministic=True))


def load(path: Path) -> QuantizedModel:
    """The checked model of a model.onnx. Raises ModelError if it is damaged or foreign."""
    data = read_bounded(path, MAX_BYTES, ModelError, HINT)
    proto = onnx.ModelProto()
    try:
        proto.ParseFromString(data)
        model = _from_proto(proto).check()
        sound = to_proto(model) == proto
    except LnpError as e:
        raise ModelError(f"{path}: {e.what}", e.try_next) from None
    except (DecodeError, ValueError, TypeError, KeyError, RecursionError, AttributeError, OverflowError) as e:
        raise ModelError(f"{path} is no model of lnp-edge: {str(e)[:100] or type(e).__name__}", HINT) from None
    if not sound:
        raise ModelError(f"{path} is damaged, or holds other than the graph lnp-edge writes", HINT)
    return model


def _from_proto(proto: onnx.ModelProto) -> QuantizedModel:
    meta = [p.value for p in proto.metadata_props if p.key == "lnp_edge"]
    if len(meta) != 1:
        raise ModelError("no lnp-edge metadata", HINT)
    info = json.loads(meta[0])
    if info.pop("format") != FORMAT:
        raise ModelError("it was written by another version of lnp-edge", "run lnp quantize again")
    plain: dict[str, Any] = {name: info.pop(name) for name in PLAIN}
    for name in ("shift_in", "shift_rec", "shift_out", "window", "hop"):
        if type(plain[name]) is not int:
            raise ModelError(f"{name} is {str(plain[name])[:40]!r}", HINT)
    plain["dt"] = float(plain["dt"])
    if not isinstance(plain["provenance"], dict):
        raise ModelError("its provenance is not a table", HINT)
    names: dict[str, Any] = {name: tuple(_text(v) for v in info.pop(name)) for name in NAMES}
    forecast = _forecast(info.pop("forecast")) if "forecast" in info else None
    info.pop("crc32", None)  # compared with the whole graph
    if info:
        raise ModelError(f"unknown metadata {sorted(info)[0][:40]!r}", HINT)
    arrays = {t.name: _array(t) for t in proto.graph.initializer}
    neuron = plugins.get("lnp_edge.neurons", plain["neuron"])
    encoder = plugins.get("lnp_edge.encoders", plain["encoder"])
    return QuantizedModel(
        params={p: _vector(arrays, p) for p in neuron.PARAMS},
        encoder_params={p: _vector(arrays, f"encoder_{p}") for p in encoder.PARAMS},
        c_out=_vector(arrays, "c_out"),
        bias_out=_vector(arrays, "bias_out"),
        w_in=_matrix(arrays, "w_in"),
        w_rec=_matrix(arrays, "w_rec"),
        w_out=_matrix(arrays, "w_out"),
        forecast=forecast,
        **plain,
        **names,
    )


def _forecast(found: object) -> Forecast:
    """Of a table; its ranges are checked with the model's."""
    if not (isinstance(found, dict) and sorted(found) == ["horizon", "target", "unit"]):
        raise ModelError(f"its forecast is {str(found)[:40]!r}", HINT)
    horizon, target, unit = found["horizon"], found["target"], found["unit"]
    kinds = [(target, int), ([horizon], int), (unit, float)]
    if not all(isinstance(values, list) and all(type(v) is kind for v in values) for values, kind in kinds):
        raise ModelError(f"its forecast is {str(found)[:80]!r}", HINT)
    return Forecast(tuple(target), horizon, tuple(unit))


def _text(value: object) -> str:
    if not (isinstance(value, str) and 0 < len(value) <= 64 and value.isprintable()):
        raise ModelError(f"the name {str(value)[:40]!r} in it", "names are 1 to 64 printable characters")
    return value


def _array(tensor: onnx.TensorProto) -> NDArray:
    if tensor.data_location != TensorProto.DEFAULT or tensor.external_data:
        raise ModelError(f"{tensor.name[:40]!r} lies in another file", "external data is not supported")
    return numpy_helper.to_array(tensor)


def _vector(arrays: dict[str, NDArray], name: str) -> NDArray[np.int32]:
    return _shaped(arrays, name, np.int32, 1)


def _matrix(arrays: dict[str, NDArray], name: str) -> CSR:
    found = _shaped(arrays, name, np.int8, 2)
    if max(found.shape) > MAX_NEURONS:  # an empty array may claim any shape
        raise ModelError(f"its {name} is {found.shape[0]} x {found.shape[1]}", HINT)
    return CSR.from_dense(found)


def _shaped(arrays: dict[str, NDArray], name: str, dtype: type, ndim: int) -> NDArray:
    found = arrays.get(name)
    if found is None or found.dtype != dtype or found.ndim != ndim:
        raise ModelError(f"its {name} is missing or of another type or rank", HINT)
    return found


def to_proto(model: QuantizedModel) -> onnx.ModelProto:
    """The graph of a model; the same model gives the same message."""
    g = _Body()
    state = model.state_fields
    neuron = plugins.get("lnp_edge.neurons", model.neuron)
    encoder = plugins.get("lnp_edge.encoders", model.encoder)

    count = g.cast("count", TensorProto.INT64)
    x = g.play(trace(encoder.encode), [count, *(g.cast(f"encoder_{p}", TensorProto.INT64) for p in encoder.PARAMS)])
    from_input = g.matmul(g.cast(x[0], TensorProto.INT8), "w_in")
    from_spikes = g.matmul("z_before", "w_rec")
    drive = g.node("Add", g.node("Mul", from_input, "scale_in"), g.node("Mul", from_spikes, "scale_rec"))
    before = [g.cast(f"{s}_before", TensorProto.INT64) for s in state]
    params = [g.cast(p, TensorProto.INT64) for p in neuron.PARAMS]
    *after, z = g.play(trace(neuron.step), [*before, drive, *params])
    z = g.cast(z, TensorProto.UINT8, "z_after")
    for s, value in zip(state, after, strict=True):
        g.cast(value, TensorProto.INT32, f"{s}_after")
    y = g.leak(g.cast("y_before", TensorProto.INT64), g.cast("c_out", TensorProto.INT64))
    y = g.node("Add", y, g.node("Mul", g.matmul(z, "w_out"), "scale_out"))
    g.cast(g.node("Add", y, g.cast("bias_out", TensorProto.INT64)), TensorProto.INT32, "y_after")

    carried = [(s, TensorProto.INT32, model.n) for s in state]
    carried += [("z", TensorProto.UINT8, model.n), ("y", TensorProto.INT32, model.n_out)]
    body = helper.make_graph(
        g.nodes + [helper.make_node("Identity", [f"{s}_after"], [f"{s}_traced"]) for s, _, _ in carried],
        "step",
        [helper.make_tensor_value_info(f"{s}_before", kind, [size]) for s, kind, size in carried]
        + [helper.make_tensor_value_info("count", TensorProto.INT16, [model.n_in])],
        [helper.make_tensor_value_info(f"{s}_{end}", kind, [size])
         for end in ("after", "traced") for s, kind, size in carried],
    )  # fmt: skip
    scan = helper.make_node(
        "Scan",
        [f"{s}_reset" for s, _, _ in carried] + ["counts"],
        [f"{s}_last" for s, _, _ in carried] + [s for s, _, _ in carried],
        body=body,
        num_scan_inputs=1,
    )
    graph = helper.make_graph(
        [scan],
        "lnp_edge",
        [helper.make_tensor_value_info("counts", TensorProto.INT16, ["T", model.n_in])],
        [helper.make_tensor_value_info(s, kind, ["T", size]) for s, kind, size in carried],
        [numpy_helper.from_array(a, name) for name, a in _initializers(model, carried, g.constants).items()],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    proto.producer_name = "lnp-edge"
    helper.set_model_props(proto, {"lnp_edge": json.dumps(_metadata(model), sort_keys=True)})
    return proto


def _initializers(model: QuantizedModel, carried: list, constants: dict[str, NDArray]) -> dict[str, NDArray]:
    found = {f"encoder_{p}": a for p, a in model.encoder_params.items()}
    found |= {w: getattr(model, w).dense().astype(np.int8) for w in ("w_in", "w_rec", "w_out")}
    found |= model.params | {"c_out": model.c_out, "bias_out": model.bias_out}
    for matrix in ("in", "rec", "out"):
        found[f"scale_{matrix}"] = np.array(1 << getattr(model, f"shift_{matrix}"), np.int64)
    for s, kind, size in carried:
        found[f"{s}_reset"] = np.zeros(size, helper.tensor_dtype_to_np_dtype(kind))
    return found | constants


def _metadata(model: QuantizedModel) -> dict:
    own = {f.name: getattr(model, f.name) for f in fields(model) if f.name in (*PLAIN, *NAMES)}
    if model.forecast:
        own["forecast"] = asdict(model.forecast)
    crc = zlib.crc32(json.dumps(own, sort_keys=True).encode(), model.fingerprint)
    return {"format": FORMAT, "crc32": crc} | own


class _Body:
    """Collects nodes; every value inside is int64 unless cast. The operations of spec/ops.py, one method each."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, NDArray] = {}

    def node(self, op: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        output = output or f"{op.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [output], **attributes))
        return output

    def cast(self, value: str, to: int, output: str = "") -> str:
        return self.node("Cast", value, output=output, to=to)

    def matmul(self, a: str, b: str) -> str:
        """[k] int8 or uint8 times [k, n] int8, exact; as int64."""
        return self.cast(self.node("MatMulInteger", a, b), TensorProto.INT64)

    def constant(self, value: int) -> str:
        name = f"constant_{value}"
        self.constants[name] = np.array(value, np.int64)
        return name

    def play(self, steps: Trace, inputs: list[str]) -> list[str]:
        """The operations of a neuron or an encoder as nodes; returns the names of what it returns."""
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
        """ONNX divides towards zero, so the non-negative c * |x| + 65535 + [x < 0] is divided."""
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
        """2**40 on top keeps the dividend positive and is taken off again after the division."""
        power = self.node("Pow", self.constant(2), k)
        lift = self.constant(2**40)
        half = self.node("Div", power, self.constant(2))
        lifted = self.node("Div", self.node("Add", self.node("Add", x, half), lift), power)
        return self.node("Sub", lifted, self.node("Div", lift, power))

    def clamp(self, x: str, low: str, high: str) -> str:
        return self.node("Min", self.node("Max", x, low), high)
