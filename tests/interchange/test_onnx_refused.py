"""Nothing but a model that lnp wrote is taken for one: damage, other graphs, other tensors, other metadata."""

import json
import tracemalloc
from dataclasses import replace

import numpy as np
import onnx
import pytest
from damage import cut, flipped
from onnx import TensorProto, helper, numpy_helper
from tiny import tiny_front, tiny_model, tiny_stack

from lnp_edge.base.errors import LnpError, ModelError
from lnp_edge.interchange import onnx_file

SMALL = tiny_model(1, n=6, n_in=2, n_out=2)
GOOD = onnx_file.to_proto(SMALL).SerializeToString(deterministic=True)


def refusal(tmp_path, data):
    path = tmp_path / "m.onnx"
    path.write_bytes(data)
    with pytest.raises(ModelError) as e:
        onnx_file.load(path)
    assert e.value.what.startswith(str(path))
    assert e.value.try_next and "\n" not in e.value.try_next
    return e.value.what.removeprefix(str(path))


def test_the_file_that_the_others_here_damage_is_good(tmp_path):
    (tmp_path / "m.onnx").write_bytes(GOOD)
    assert onnx_file.load(tmp_path / "m.onnx").fingerprint == SMALL.fingerprint


def test_a_file_cut_anywhere_is_refused(tmp_path):
    for data in cut(GOOD, 13):
        refusal(tmp_path, data)


def test_a_flipped_bit_anywhere_is_refused(tmp_path):
    for data in flipped(GOOD, 13):
        refusal(tmp_path, data)


def test_any_flipped_bit_of_weights_and_parameters_is_refused(tmp_path):
    for tensor in onnx_file.to_proto(SMALL).graph.initializer:
        at = GOOD.index(tensor.raw_data, GOOD.index(b"\x42" + bytes([len(tensor.name)]) + tensor.name.encode()))
        for data in flipped(GOOD, 1, at, at + len(tensor.raw_data)):
            refusal(tmp_path, data)


@pytest.mark.parametrize(
    "data", [b"", b"\0" * 1000, b"\xff" * 1000, b"PK\3\4" * 99, b"\x0a\xff\xff\xff\xff\x0f", GOOD + GOOD]
)
def test_bytes_that_are_no_model_are_refused(tmp_path, data):
    refusal(tmp_path, data)


def test_random_bytes_and_random_damage_are_refused(tmp_path):
    rng = np.random.default_rng(5)
    for size in (1, 10, 100, 1000):
        refusal(tmp_path, rng.bytes(size))
    for _ in range(60):
        damaged = bytearray(GOOD)
        at = int(rng.integers(0, len(GOOD) - 8))
        damaged[at : at + int(rng.integers(1, 8))] = rng.bytes(int(rng.integers(0, 8)))
        if damaged != GOOD:
            refusal(tmp_path, bytes(damaged))


def test_a_foreign_onnx_model_is_refused(tmp_path):
    node = helper.make_node("Relu", ["x"], ["y"])
    shape = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in "xy"]
    foreign = helper.make_model(helper.make_graph([node], "g", shape[:1], shape[1:]))
    assert refusal(tmp_path, foreign.SerializeToString()) == ": no lnp-edge metadata"


@pytest.mark.parametrize("path", ["nowhere.onnx", ".", "/dev/zero", "/dev/null"])
def test_what_is_no_regular_file_is_refused_at_once(tmp_path, monkeypatch, path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError):
        onnx_file.load(path)


def test_a_file_too_large_is_refused_unread(tmp_path):
    with open(tmp_path / "m.onnx", "wb") as file:
        file.truncate(10 * 2**30)
    with pytest.raises(ModelError, match="more than 268435456"):
        onnx_file.load(tmp_path / "m.onnx")


def changed(change, good=GOOD):
    """A good file's bytes with something done to its message."""
    proto = onnx.ModelProto()
    proto.ParseFromString(good)
    change(proto, {t.name: t for t in proto.graph.initializer})
    return proto.SerializeToString()


def with_dims(name, dims, raw=b""):
    def change(proto, tensors):
        del tensors[name].dims[:]
        tensors[name].dims.extend(dims)
        tensors[name].raw_data = raw

    return change


def external(proto, tensors):
    tensors["hidden_v_th"].data_location = TensorProto.EXTERNAL
    entry = tensors["hidden_v_th"].external_data.add()
    entry.key, entry.value = "location", "../../etc/passwd"


def hidden_external(proto, tensors):
    entry = tensors["hidden_v_th"].external_data.add()
    entry.key, entry.value = "location", "weights.bin"


def both_data(proto, tensors):
    tensors["hidden_v_th"].int32_data.extend([1, 2])


def twice(proto, tensors):
    proto.graph.initializer.add().CopyFrom(tensors["hidden_v_th"])


def extra_node(proto, tensors):
    proto.graph.node.add(op_type="Identity", input=["counts"], output=["more"])


def extra_body_node(proto, tensors):
    proto.graph.node[0].attribute[0].g.node.add(op_type="Identity", input=["count"], output=["more"])


def other_operator(proto, tensors):
    node = next(n for n in proto.graph.node[0].attribute[0].g.node if n.op_type == "Sub")
    node.op_type = "Add"


def function(proto, tensors):
    proto.functions.add(name="f")


def sparse_weights(proto, tensors):
    proto.graph.sparse_initializer.add()


def domain(proto, tensors):
    proto.graph.node[0].domain = "evil"


def opset(proto, tensors):
    proto.opset_import[0].version = 19


def no_weights(proto, tensors):
    proto.graph.initializer.remove(tensors["w_rec"])


def float_weights(proto, tensors):
    tensors["w_rec"].CopyFrom(numpy_helper.from_array(np.zeros((6, 6), np.float32), "w_rec"))


def threshold_zero(proto, tensors):
    tensors["hidden_v_th"].CopyFrom(numpy_helper.from_array(np.zeros(6, np.int32), "hidden_v_th"))


def weight_of_minus_128(proto, tensors):
    tensors["w_in"].CopyFrom(numpy_helper.from_array(np.full((2, 6), -128, np.int8), "w_in"))


CHANGES = [
    external, hidden_external, both_data, twice, extra_node, extra_body_node, other_operator, function, sparse_weights,
    domain, opset, no_weights, float_weights, threshold_zero, weight_of_minus_128,
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES, ids=lambda f: f.__name__)
def test_a_file_that_holds_anything_else_is_refused(tmp_path, change):
    refusal(tmp_path, changed(change))


def front_threshold(values):
    def change(proto, tensors):
        tensors["front_threshold"].CopyFrom(numpy_helper.from_array(np.array(values), "front_threshold"))

    return change


def no_threshold(proto, tensors):
    proto.graph.initializer.remove(tensors["front_threshold"])


@pytest.mark.parametrize(("change", "said"), [
    (no_threshold, "its front_threshold is missing"),
    (front_threshold(np.zeros(3, np.int32)), "front threshold[0] is 0, outside 1..32767"),
    (front_threshold(np.full(3, 2**31 - 1, np.int32)), "front threshold[0] is 2147483647, outside 1..32767"),
    (front_threshold(np.ones(2, np.int32)), "front threshold: expected 3 values, got shape (2,)"),
    (front_threshold(np.ones(0, np.int32)), "front threshold: expected 3 values, got shape (0,)"),
    (front_threshold(np.ones(10**6, np.int32)), "front threshold: expected 3 values, got shape (1025,)"),
    (front_threshold(np.ones((3, 1), np.int32)), "its front_threshold has the wrong type or rank"),
    (front_threshold(np.ones(3, np.int64)), "its front_threshold has the wrong type or rank"),
    (front_threshold(np.ones(3, np.int32)), "is damaged"),
])  # fmt: skip
def test_wrong_parameters_of_a_front_end_are_refused(tmp_path, change, said):
    good = onnx_file.to_proto(tiny_front("delta", 4)).SerializeToString(deterministic=True)
    assert said in refusal(tmp_path, changed(change, good))


def test_a_tensor_that_is_there_twice_is_named(tmp_path):
    assert refusal(tmp_path, changed(twice)) == ": it holds 'hidden_v_th' twice"


def test_damage_in_a_stack_is_refused(tmp_path):
    """Its graph widens weights of 16 bits before the steps."""
    good = onnx_file.to_proto(tiny_stack()).SerializeToString(deterministic=True)
    rng = np.random.default_rng(6)
    for at in rng.integers(0, len(good), 150).tolist():
        damaged = bytearray(good)
        damaged[at] ^= 1 << at % 8
        refusal(tmp_path, bytes(damaged))


def test_data_in_another_file_is_named_as_the_reason(tmp_path):
    assert refusal(tmp_path, changed(external)) == ": 'hidden_v_th' is in another file"


DIMS = [
    [2**60, 0], [2**33, 0], [0, 2**60], [0, 0], [2**31, 2**31], [2**40], [-1, 6], [-(2**63), 1], [], [2, 6, 1], [6, 2],
    [2**62, 2**62],
]  # fmt: skip


@pytest.mark.parametrize("name", ["w_in", "w_rec", "hidden_v_th"])
@pytest.mark.parametrize("dims", DIMS, ids=str)
def test_dimensions_that_the_data_do_not_have_are_refused(tmp_path, name, dims):
    refusal(tmp_path, changed(with_dims(name, dims)))
    refusal(tmp_path, changed(with_dims(name, dims, b"\1" * 12)))


@pytest.mark.parametrize("kind", range(30))
def test_every_other_element_type_is_refused(tmp_path, kind):
    if kind != TensorProto.INT32:
        refusal(tmp_path, changed(lambda proto, tensors: setattr(tensors["hidden_v_th"], "data_type", kind)))


def with_metadata(edit):
    """edit(dict) -> None, a dict to take its place, or the text itself."""

    def change(proto, tensors):
        info = json.loads(proto.metadata_props[0].value)
        new = edit(info)
        proto.metadata_props[0].value = new if isinstance(new, str) else json.dumps(info if new is None else new)

    return changed(change)


METADATA = {
    "NaN dt": lambda i: i.update(dt=float("nan")),
    "NaN text": lambda i: i.update(dt="nan"),
    "infinite dt": lambda i: i.update(dt=float("inf")),
    "negative dt": lambda i: i.update(dt=-0.01),
    "true as dt": lambda i: i.update(dt=True),
    "huge dt": lambda i: i.update(dt=10**400),
    "control characters": lambda i: i.update(classes=["a\x1b[31m", "b"]),
    "line feed": lambda i: i.update(channels=["a\nb", "c"]),
    "empty name": lambda i: i.update(channels=["", "c"]),
    "long name": lambda i: i.update(channels=["x" * 65, "c"]),
    "right to left": lambda i: i.update(channels=["a\u202eb", "c"]),
    "surrogate": lambda i: i.update(channels=["\ud800", "c"]),
    "too many names": lambda i: i.update(classes=["a", "b", "c"]),
    "names as text": lambda i: i.update(channels="ab"),
    "numbers as names": lambda i: i.update(channels=[1, 2]),
    "unknown encoder": lambda i: i.update(encoder="delta"),
    "float window": lambda i: i.update(window=20.0),
    "hop above window": lambda i: i.update(hop=21),
    "window 0": lambda i: i.update(window=0),
    "provenance a list": lambda i: i.update(provenance=[]),
    "unknown key": lambda i: i.update(extra=1),
    "missing key": lambda i: i.pop("dt") and None,
    "no checksum": lambda i: i.pop("crc32") and None,
    "other checksum": lambda i: i.update(crc32=i["crc32"] ^ 1),
    "later format": lambda i: i.update(format=3),
    "bool as format": lambda i: i.update(format=True),
    "populations a table": lambda i: i.update(populations={"hidden": "cuba_lif"}),
    "populations text": lambda i: i.update(populations="hidden"),
    "populations null": lambda i: i.update(populations=None),
    "no populations": lambda i: i.update(populations=[]),
    "read-out alone": lambda i: i.update(populations=i["populations"][1:], projections=[]),
    "read-out first": lambda i: i["populations"].reverse(),
    "two read-outs": lambda i: i["populations"].append(i["populations"][1] | {"name": "more"}),
    "many populations": lambda i: i.update(populations=[i["populations"][0]] * 100_000),
    "projections a table": lambda i: i.update(projections={}),
    "projections in another order": lambda i: i["projections"].reverse(),
    "a projection too few": lambda i: i["projections"].pop() and None,
    "a projection twice": lambda i: i["projections"].append(i["projections"][0]),
    "many projections": lambda i: i.update(projections=[i["projections"][0]] * 65),
    "another name": lambda i: i.update(classes=["class 1", "class 0"]),
    "number": lambda i: "5",
    "list": lambda i: "[]",
    "null": lambda i: "null",
    "no JSON": lambda i: "{",
    "deep JSON": lambda i: "[" * 100_000,
    "deep provenance": lambda i: json.dumps(i).replace(
        '"provenance": {}', '"provenance": {{"a": {}1{}}}'.format("[" * 9999, "]" * 9999)
    ),
    "5000 digits": lambda i: json.dumps(i).replace('"hop": 10', f'"hop": {"9" * 5000}'),
    "repeated key": lambda i: json.dumps(i).replace('"hop": 10', '"hop": 9, "hop": 10'),
    "spaces": lambda i: json.dumps(i) + " ",
}


def part(which, k, **changes):
    """An edit of one population or projection; a change of None takes the key away."""

    def edit(info):
        info[which][k].update(changes)
        info[which][k] = {key: value for key, value in info[which][k].items() if value is not None}

    return edit


CHANGES = {
    ("populations", 0): {
        "population too much": {"more": 1},
        "population without a size": {"n": None},
        "bool as size": {"n": True},
        "float as size": {"n": 6.0},
        "text as size": {"n": "6"},
        "size 0": {"n": 0},
        "negative size": {"n": -6},
        "another size": {"n": 5},
        "huge size": {"n": 2**31},
        "size of many digits": {"n": 10**40},
        "another name": {"name": "other"},
        "the name of the input": {"name": "input"},
        "the same name": {"name": "out"},
        "path as name": {"name": "../x"},
        "empty name": {"name": ""},
        "capital": {"name": "Hidden"},
        "line feed in a name": {"name": "hidden\n"},
        "long name": {"name": "h" * 100_000},
        "number as name": {"name": 5},
        "list as name": {"name": ["hidden"]},
        "inner name": {"name": "Before_hidden"},
        "path as neuron": {"neuron": "../../evil"},
        "module as neuron": {"neuron": "os"},
        "list as neuron": {"neuron": ["cuba_lif"]},
        "another neuron": {"neuron": "adlif"},
        "read-out as neuron": {"neuron": "li"},
    },
    ("populations", 1): {
        "read-out that spikes": {"neuron": "cuba_lif"},
    },
    ("projections", 0): {
        "projection too much": {"w": [[1]]},
        "projection without bits": {"bits": None},
        "name of another projection": {"name": "rec"},
        "expression as name": {"name": "__import__('os')"},
        "source nowhere": {"source": "nowhere"},
        "source the read-out": {"source": "out"},
        "target the input": {"target": "input"},
        "source a number": {"source": 0},
        "3 bits": {"bits": 3},
        "other bits": {"bits": 4},
        "16 bits": {"bits": 16},
        "bool as bits": {"bits": True},
        "float bits": {"bits": 8.0},
        "bool as shift": {"shift": False},
        "shift 17": {"shift": 17},
        "negative shift": {"shift": -1},
        "huge shift": {"shift": 10**30},
        "another shift": {"shift": 1},
    },
    ("projections", 1): {
        "another target": {"target": "out"},
    },
}
PARTS = {
    "population a list": lambda i: i["populations"].__setitem__(0, ["hidden", "cuba_lif", 6]),
    "population null": lambda i: i["populations"].__setitem__(0, None),
    "projection a number": lambda i: i["projections"].__setitem__(0, 7),
} | {name: part(*where, **change) for where, edits in CHANGES.items() for name, change in edits.items()}


@pytest.mark.parametrize("name", PARTS)
def test_a_population_or_projection_of_any_other_form_is_refused(tmp_path, name):
    data = with_metadata(PARTS[name])
    assert data != GOOD
    what = refusal(tmp_path, data)
    assert len(what) < 200 and what.isprintable()


def test_a_file_of_the_format_before_is_refused_with_what_to_do(tmp_path):
    (tmp_path / "m.onnx").write_bytes(with_metadata(lambda i: i.update(format=1)))
    with pytest.raises(ModelError) as e:
        onnx_file.load(tmp_path / "m.onnx")
    assert e.value.what == f"{tmp_path}/m.onnx: it has format 1, this lnp-edge reads format 2"
    assert e.value.try_next == "quantise the network again: lnp quantize"


GOOD_FORECAST = {"target": [1, 0], "horizon": 6, "unit": [0.5, 2.0]}
FORECASTS = {
    "a list": [],
    "null": None,
    "no unit": {"target": [1, 0], "horizon": 6},
    "more": GOOD_FORECAST | {"more": 1},
    "target as text": GOOD_FORECAST | {"target": "10"},
    "target as number": GOOD_FORECAST | {"target": 1},
    "bool as target": GOOD_FORECAST | {"target": [True, False]},
    "float as target": GOOD_FORECAST | {"target": [1.0, 0.0]},
    "no such channel": GOOD_FORECAST | {"target": [1, 2]},
    "negative channel": GOOD_FORECAST | {"target": [1, -1]},
    "a target too few": GOOD_FORECAST | {"target": [1]},
    "a unit too many": GOOD_FORECAST | {"unit": [1.0, 1.0, 1.0]},
    "units nested": GOOD_FORECAST | {"unit": [[1.0], [1.0]]},
    "unit whole": GOOD_FORECAST | {"unit": [1, 1]},
    "unit 0": GOOD_FORECAST | {"unit": [0.5, 0.0]},
    "unit negative": GOOD_FORECAST | {"unit": [0.5, -1.0]},
    "unit NaN": GOOD_FORECAST | {"unit": [0.5, float("nan")]},
    "unit infinite": GOOD_FORECAST | {"unit": [float("inf"), 1.0]},
    "horizon 0": GOOD_FORECAST | {"horizon": 0},
    "horizon huge": GOOD_FORECAST | {"horizon": 10**40},
    "horizon as float": GOOD_FORECAST | {"horizon": 6.0},
}


@pytest.mark.parametrize("name", FORECASTS)
def test_a_forecast_of_any_other_form_is_refused(tmp_path, name):
    what = refusal(tmp_path, with_metadata(lambda i: i.update(forecast=FORECASTS[name])))
    assert "forecast" in what


def test_a_forecast_that_was_slipped_in_is_refused(tmp_path):
    """Its form is right, but not the checksum."""
    assert "is damaged" in refusal(tmp_path, with_metadata(lambda i: i.update(forecast=GOOD_FORECAST)))


@pytest.mark.parametrize("name", METADATA)
def test_metadata_of_any_other_form_is_refused(tmp_path, name):
    data = with_metadata(METADATA[name])
    assert data != GOOD
    refusal(tmp_path, data)


def test_metadata_as_deep_as_json_reads_is_taken_or_refused_but_never_fatal(tmp_path):
    for depth in range(300, 1000, 25):
        nested = '"provenance": {{"a": {}1{}}}'.format("[" * depth, "]" * depth)
        (tmp_path / "m.onnx").write_bytes(
            with_metadata(lambda i, n=nested: json.dumps(i).replace('"provenance": {}', n))
        )
        with pytest.raises(LnpError):  # its checksum is of other metadata
            onnx_file.load(tmp_path / "m.onnx")


LONG_NUMBERS = {
    "window": lambda i: i.update(window=10**4000),
    "hop": lambda i: i.update(hop=-(10**4000)),
    "bits": lambda i: i["projections"][0].update(bits=10**4000),
    "shift": lambda i: i["projections"][0].update(shift=10**4000),
    "horizon": lambda i: i.update(forecast={"target": [0, 1], "horizon": 10**4000, "unit": [1.0, 1.0]}),
    "target": lambda i: i.update(forecast={"target": [10**4000] * 9, "horizon": 1, "unit": [1.0] * 9}),
}


@pytest.mark.parametrize("name", LONG_NUMBERS)
def test_a_number_of_thousands_of_digits_is_not_printed(tmp_path, name):
    assert len(refusal(tmp_path, with_metadata(LONG_NUMBERS[name]))) < 800


@pytest.mark.parametrize("value", ["[" * 9 + "]" * 9, '{"a": {}}', '"' + "x" * 200 + '"'])
def test_metadata_that_would_fill_the_memory_is_refused_unread(tmp_path, value):
    """It took 18 times its bytes; now two copies of them, by protobuf and as text, and what is counted in them."""
    many = '"provenance": {"a": [' + ", ".join([value] * (9_000_000 // len(value))) + "]}"
    data = with_metadata(lambda i: json.dumps(i).replace('"provenance": {}', many))
    (tmp_path / "m.onnx").write_bytes(data)
    tracemalloc.start()
    with pytest.raises(ModelError, match="bytes of JSON"):
        onnx_file.load(tmp_path / "m.onnx")
    assert tracemalloc.get_traced_memory()[1] < 3.2 * len(data)
    tracemalloc.stop()


def test_the_longest_names_are_read(tmp_path):
    """Of 64 characters that JSON writes as twelve each."""
    long = replace(tiny_model(1, n=6, n_in=1024, n_out=256), **{
        key: tuple(chr(0x20000 + k) * 64 for k in range(n)) for key, n in (("channels", 1024), ("classes", 256))
    })  # fmt: skip
    onnx_file.save(long, tmp_path / "m.onnx")
    assert onnx_file.load(tmp_path / "m.onnx").channels == long.channels


def test_a_control_character_in_a_refused_name_does_not_reach_the_message(tmp_path):
    what = refusal(tmp_path, with_metadata(METADATA["control characters"]))
    assert what == r": it has the name 'a\x1b[31m'"
