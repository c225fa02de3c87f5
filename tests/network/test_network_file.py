"""network.safetensors comes back as it was; a damaged, foreign or hostile one is refused with what is wrong."""

import json
from dataclasses import replace

import numpy as np
import pytest
from nets import task, tiny_network
from safetensors.numpy import save as save_tensors

from lnp_edge.base.errors import ModelError
from lnp_edge.config import Config
from lnp_edge.network import file as network_file
from lnp_edge.network.file import VECTORS, NetworkFile
from lnp_edge.quantization.quantize import quantize

NET = tiny_network(n=6, c=2, o=2, density=0.5)
ARRAYS = {name: getattr(NET, name) for name in VECTORS} | {
    "w_in": NET.w_in,
    "w_out": NET.w_out,
    "dt": np.array([NET.dt]),
    "w_rec_indptr": NET.w_rec.indptr.astype(np.int64),
    "w_rec_indices": NET.w_rec.indices.astype(np.int64),
    "w_rec_data": NET.w_rec.data,
}
META = {"format": "network 1", "config": Config().to_json(), "history": "{}"}


def file_of(arrays=None, meta=None):
    """The good file with some entries changed and a checksum that fits; None leaves one out."""
    arrays = {k: np.ascontiguousarray(v) for k, v in (ARRAYS | (arrays or {})).items() if v is not None}
    meta = {k: v for k, v in (META | (meta or {})).items() if v is not None}
    meta = {"crc32": network_file._crc(arrays, meta)} | meta
    return save_tensors(arrays, {"lnp_edge": json.dumps(meta)})


GOOD = file_of()
HEADER = int.from_bytes(GOOD[:8], "little")


def refusal(tmp_path, data):
    path = tmp_path / "n.safetensors"
    path.write_bytes(data)
    with pytest.raises(ModelError) as e:
        network_file.load(path)
    assert str(path) in e.value.what
    return e.value.what


def test_a_network_comes_back_exactly(tmp_path):
    config, history = replace(Config(), seed=5), {"train": [{"loss": 0.5}], "float_accuracy": 0.9}
    network_file.save(NetworkFile(NET, config, history), tmp_path / "a")
    found = network_file.load(tmp_path / "a")
    assert (found.config, found.history) == (config, history)
    for name in ("tau_mem", "tau_syn", "tau_out", "sign", "w_in", "w_out", "bias", "bias_out", "v_th", "dt"):
        np.testing.assert_array_equal(getattr(found.network, name), getattr(NET, name))
    assert (found.network.w_rec != NET.w_rec).nnz == 0
    assert quantize(found.network, task(2, 2)).fingerprint == quantize(NET, task(2, 2)).fingerprint


def test_the_file_that_the_others_here_damage_is_good(tmp_path):
    (tmp_path / "n.safetensors").write_bytes(GOOD)
    assert network_file.load(tmp_path / "n.safetensors").network.n == 6


def test_a_file_cut_anywhere_is_refused(tmp_path):
    for at in range(0, len(GOOD), 11):
        refusal(tmp_path, GOOD[:at])


def test_a_flipped_bit_anywhere_is_refused(tmp_path):
    for at in range(0, len(GOOD), 3):
        damaged = bytearray(GOOD)
        damaged[at] ^= 1 << at % 8
        refusal(tmp_path, bytes(damaged))


@pytest.mark.parametrize(
    "data", [b"", b"\0" * 100, b"\xff" * 100, b"[1]" * 99, GOOD + b"\0", (2**60).to_bytes(8, "little") + GOOD[8:]]
)
def test_bytes_that_are_no_network_are_refused(tmp_path, data):
    refusal(tmp_path, data)


def test_a_foreign_safetensors_file_is_refused(tmp_path):
    refusal(tmp_path, save_tensors({"weight": np.zeros((2, 2))}))
    refusal(tmp_path, save_tensors(ARRAYS, {"format": "pt"}))


@pytest.mark.parametrize("path", ["nowhere", ".", "/dev/zero"])
def test_what_is_no_regular_file_is_refused_at_once(tmp_path, monkeypatch, path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError):
        network_file.load(path)


@pytest.mark.parametrize("name", ARRAYS)
def test_an_array_of_other_presence_shape_type_or_value_is_refused(tmp_path, name):
    good = ARRAYS[name]
    others = [None, good[None], good[:0], good.astype(np.float32), good.astype(np.int16), good != 0]
    if good.dtype == np.float64:
        others += [np.where(np.arange(good.size).reshape(good.shape) == 0, bad, good) for bad in (np.nan, np.inf)]
    for other in others:
        refusal(tmp_path, file_of({name: other}))


@pytest.mark.parametrize("name", ["tau_mem", "tau_syn", "tau_out", "v_th", "dt"])
@pytest.mark.parametrize("factor", [0.0, -1.0])
def test_what_must_be_positive_is(tmp_path, name, factor):
    assert f"{name} must be positive" in refusal(tmp_path, file_of({name: ARRAYS[name] * factor}))


INDICES, INDPTR = ARRAYS["w_rec_indices"], ARRAYS["w_rec_indptr"]


@pytest.mark.parametrize(
    "arrays",
    [
        {"w_rec_indices": INDICES + 100},
        {"w_rec_indices": INDICES - 100},
        {"w_rec_indices": INDICES + 2**40},
        {"w_rec_indices": INDICES * 0},
        {"w_rec_indices": INDICES[::-1]},
        {"w_rec_indices": INDICES[:-1]},
        {"w_rec_indptr": INDPTR[::-1]},
        {"w_rec_indptr": INDPTR * 2},
        {"w_rec_indptr": INDPTR * 0},
        {"w_rec_indptr": INDPTR - 1},
        {"w_rec_indptr": INDPTR[:-1]},
        {"sign": ARRAYS["sign"] * 0},
        {"sign": ARRAYS["sign"] * 5},
        {"w_in": NET.w_in[:0]},
        {"tau_out": NET.tau_out[:0], "bias_out": NET.bias_out[:0], "w_out": NET.w_out[:, :0]},
    ],
    ids=range(15),
)
def test_a_matrix_that_is_none_is_refused(tmp_path, arrays):
    refusal(tmp_path, file_of(arrays))


@pytest.mark.parametrize(
    "meta",
    [
        {"format": None},
        {"format": "network 2"},
        {"crc32": "00000000"},
        {"config": None},
        {"config": "{"},
        {"config": "[]"},
        {"config": '{"sed": 1}'},
        {"config": '{"seed": NaN}'},
        {"config": '{"network": 3}'},
        {"config": "[" * 100_000},
        {"config": "9" * 5000},
        {"history": None},
        {"history": "[]"},
        {"history": "3"},
        {"history": "[" * 100_000},
    ],
    ids=range(15),
)
def test_metadata_of_any_other_form_is_refused(tmp_path, meta):
    refusal(tmp_path, file_of(meta=meta))


@pytest.mark.parametrize("entry", [{"shape": [2**62, 2**62]}, {"shape": [0, 2**62]}, {"dtype": "BF16"}, {"dtype": "X"}])
def test_a_header_that_claims_other_shapes_or_types_is_refused(tmp_path, entry):
    header = json.loads(GOOD[8 : 8 + HEADER])
    header["bias"] |= entry
    text = json.dumps(header).encode()
    refusal(tmp_path, len(text).to_bytes(8, "little") + text + GOOD[8 + HEADER :])


def test_a_file_too_large_is_refused_unread(tmp_path):
    with open(tmp_path / "n", "wb") as file:
        file.truncate(2**31 + 1)
    with pytest.raises(ModelError, match="more than"):
        network_file.load(tmp_path / "n")


def test_the_same_network_gives_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        network_file.save(NetworkFile(NET, Config(), {}), tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
