"""What a file would take in memory is known before it is parsed."""

import numpy as np
import onnx
import pytest
from tiny import ALL

from lnp_edge.base.errors import ModelError
from lnp_edge.interchange import onnx_file
from lnp_edge.interchange.wire import refuse_large

KIND = onnx.ModelProto.DESCRIPTOR
GRAPH, PROPS, NODE, INITIALIZER, DIMS, INT64S, RAW = 7, 14, 1, 5, 1, 7, 9


def varint(n):
    return bytes([n & 127 | 128]) + varint(n >> 7) if n > 127 else bytes([n])


def field(number, content):
    return varint(number << 3 | 2) + varint(len(content)) + content


def tensor(number, content):
    return field(GRAPH, field(INITIALIZER, field(number, content)))


SIZE = 3_000_000
LARGE = {
    "nodes": field(GRAPH, field(NODE, b"") * SIZE),
    "tensors": field(GRAPH, field(INITIALIZER, b"") * SIZE),
    "metadata": field(PROPS, b"") * SIZE,
    "names of inputs": field(GRAPH, field(NODE, field(1, b"") * SIZE)),
    "packed numbers": tensor(INT64S, bytes(4 * SIZE)),
    "packed dimensions": tensor(DIMS, bytes(4 * SIZE)),
    "numbers one by one": field(GRAPH, field(INITIALIZER, b"\x38\0" * SIZE)),
    "fields that nobody knows": field(99, b"") * SIZE,
}


@pytest.mark.parametrize("kind", LARGE)
def test_a_file_that_would_take_many_times_its_size_is_refused_before_it_is_parsed(tmp_path, kind):
    (tmp_path / "m.onnx").write_bytes(LARGE[kind])
    with pytest.raises(ModelError, match="would take more than") as e:
        onnx_file.load(tmp_path / "m.onnx")
    assert "lnp quantize" in e.value.try_next


@pytest.mark.parametrize("kind", ALL)
def test_our_own_models_take_little(kind):
    data = onnx_file.to_proto(ALL[kind]()).SerializeToString()
    refuse_large(data, KIND, 2**21)


def test_weights_as_plain_bytes_take_what_they_have():
    data = tensor(RAW, bytes(SIZE))
    refuse_large(data, KIND, len(data) + 10_000)
    with pytest.raises(ValueError, match="would take more"):
        refuse_large(data, KIND, len(data) - 10_000)


def test_what_is_no_message_is_refused_and_never_read_beyond(tmp_path):
    """Cut anywhere and with any byte changed."""
    good = onnx_file.to_proto(ALL["layer"](1)).SerializeToString()[:3000]
    rng = np.random.default_rng(5)
    for _ in range(3000):
        data = bytearray(good[: int(rng.integers(len(good) + 1))])
        for at in rng.integers(0, max(1, len(data)), 3)[: len(data)]:
            data[at] = rng.integers(256)
        try:
            refuse_large(bytes(data), KIND, 2**24)
        except ValueError:
            continue
    for bad in (b"\x80" * 11, b"\x0b", b"\x0a\x05", b"\x0d\0", b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\xff\1"):
        with pytest.raises(ValueError):
            refuse_large(bad, KIND, 2**24)
