"""network.safetensors comes back as it was; a damaged, foreign or hostile one is refused with what is wrong."""

import json
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from damage import cut, flipped
from nets import NETWORKS, tiny_layers, tiny_network
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from lnp_edge.base.errors import ModelError
from lnp_edge.config import Config, NetworkSettings
from lnp_edge.network import file as network_file
from lnp_edge.network.draw import random_network
from lnp_edge.network.file import NetworkFile

NET = tiny_network(n=6, c=2, o=2, density=0.5)


def arrays_of(net):
    found = {f"{p.name}.{name}": a for p in net.populations for name, a in p.params.items()}
    found |= {name: getattr(net, name) for name in ("sign", "w_in", "w_out", "tau_out", "bias_out")}
    found |= {} if net.w_skip is None else {"w_skip": net.w_skip}
    return found | {
        "dt": np.array([net.dt]),
        "w_rec_indptr": net.w_rec.indptr.astype(np.int64),
        "w_rec_indices": net.w_rec.indices.astype(np.int64),
        "w_rec_data": net.w_rec.data,
    }


def populations_of(net):
    return [{"name": p.name, "neuron": p.neuron, "hears": p.hears, "feeds": p.feeds} for p in net.populations]


LAYERS = tiny_layers(sizes=(4, 3), c=2, o=2)
ARRAYS = arrays_of(NET)
META = {
    "format": "network 2",
    "populations": json.dumps(populations_of(NET)),
    "config": Config().to_json(),
    "history": "{}",
}


def file_of(arrays=None, meta=None, net=None):
    """The good file with some entries changed and a checksum that fits; None leaves one out."""
    start = ARRAYS if net is None else arrays_of(net)
    own = {} if net is None else {"populations": json.dumps(populations_of(net))}
    arrays = {k: np.ascontiguousarray(v) for k, v in (start | (arrays or {})).items() if v is not None}
    meta = {k: v for k, v in (META | own | (meta or {})).items() if v is not None}
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


def assert_same(found, net):
    assert populations_of(found) == populations_of(net)
    a, b = arrays_of(found), arrays_of(net)
    assert set(a) == set(b)
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)


@pytest.mark.parametrize("kind", NETWORKS)
def test_a_network_comes_back_exactly(tmp_path, kind):
    net = NETWORKS[kind]()
    config, history = replace(Config(), seed=5), {"train": [{"loss": 0.5}], "float_accuracy": 0.9}
    network_file.save(NetworkFile(net, config, history), tmp_path / "a")
    found = network_file.load(tmp_path / "a")
    assert (found.config, found.history) == (config, history)
    assert_same(found.network, net)
    assert found.network.identity() == net.identity()


def test_a_network_is_the_same_one_in_whatever_type_its_indices_are():
    """scipy's, after a step of pruning, are often int32; those of a file are int64."""
    narrow = NET.w_rec.copy()
    narrow.indices, narrow.indptr = narrow.indices.astype(np.int32), narrow.indptr.astype(np.int32)
    assert replace(NET, w_rec=narrow).w_rec.indices.dtype == np.int32
    assert replace(NET, w_rec=narrow).identity() == NET.identity()


FORMER = Path(__file__).parents[1] / "data" / "network-1.safetensors"


def test_a_file_of_format_1_is_read():
    """Written by version 0.1: random_network(24, 3, 4, 0.02, 0.3, default_rng(5)), then lnp.prune(network, 0.5, 1)."""
    found = network_file.load(FORMER)
    assert (found.config, found.history["float_accuracy"]) == (
        Config(seed=5, network=NetworkSettings("cuba_lif")),
        0.75,
    )
    raw = load_tensors(FORMER.read_bytes())
    assert raw.keys() == {name.removeprefix("hidden.") for name in arrays_of(found.network)}
    for name, a in arrays_of(found.network).items():
        np.testing.assert_array_equal(a, raw[name.removeprefix("hidden.")], err_msg=name)
    assert populations_of(found.network) == [{"name": "hidden", "neuron": "cuba_lif", "hears": True, "feeds": True}]


def test_a_network_is_drawn_as_by_the_version_that_wrote_format_1():
    old, new = (
        network_file.load(FORMER).network,
        random_network(24, 3, 4, 0.02, 0.3, np.random.default_rng(5), "cuba_lif"),
    )
    kept = np.flatnonzero(np.isin(new.w_in[0].round(12), old.w_in[0].round(12)))
    assert len(kept) == old.n == 23
    new = new.keep_neurons(kept)
    for name in ("sign", "w_in", "w_out"):  # exp and sqrt may differ in a last bit from one processor to another
        np.testing.assert_allclose(getattr(new, name), getattr(old, name), rtol=1e-12)
    for name, a in new.params.items():
        np.testing.assert_allclose(a, old.params[name], rtol=1e-12)
    pre, post = old.w_rec.nonzero()
    assert old.w_rec.nnz == 83 and (np.sign(new.w_rec.toarray()[pre, post]) == np.sign(old.w_rec.data)).all()


@pytest.mark.parametrize(
    "change",
    [
        None,
        "{",
        "{}",
        "[]",
        "[3]",
        [{}],
        [{"name": "hidden", "neuron": "cuba_lif", "hears": True}],
        [{"name": "hidden", "neuron": "cuba_lif", "hears": True, "feeds": 1}],
        [{"name": "hidden", "neuron": "cuba_lif", "hears": True, "feeds": True, "more": True}],
        [{"name": "other", "neuron": "cuba_lif", "hears": True, "feeds": True}],
        [{"name": "Hidden", "neuron": "cuba_lif", "hears": True, "feeds": True}],
        [{"name": "hidden", "neuron": "adlif", "hears": True, "feeds": True}],
        [{"name": "hidden", "neuron": "li", "hears": True, "feeds": True}],
        [{"name": "hidden", "neuron": "../x", "hears": True, "feeds": True}],
        [{"name": "hidden", "neuron": "cuba_lif", "hears": False, "feeds": True}],
        [{"name": "hidden", "neuron": "cuba_lif", "hears": True, "feeds": False}],
        [{"name": "hidden", "neuron": "cuba_lif", "hears": True, "feeds": True}] * 2,
        [{"name": "hidden", "neuron": "cuba_lif", "hears": True, "feeds": True}] * 16,
    ],
    ids=range(18),
)
def test_populations_of_any_other_form_are_refused(tmp_path, change):
    refusal(tmp_path, file_of(meta={"populations": json.dumps(change) if isinstance(change, list) else change}))


def test_layers_are_refused_where_an_array_does_not_fit(tmp_path):
    (tmp_path / "n.safetensors").write_bytes(file_of(net=LAYERS))
    assert network_file.load(tmp_path / "n.safetensors").network.n == 7
    for name, good in arrays_of(LAYERS).items():
        for other in (None if name != "w_skip" else good[:1], good[:0], good[None], good.astype(np.float32)):
            refusal(tmp_path, file_of({name: other}, net=LAYERS))
    assert "weights for a missing projection" in refusal(tmp_path, file_of({"w_in": LAYERS.w_in + 1}, net=LAYERS))
    assert "is outside 0 to 0.5" in refusal(tmp_path, file_of({"layer2.pull": np.full(3, 0.6)}, net=LAYERS))
    assert "not part of its network" in refusal(tmp_path, file_of({"layer3.bias": np.zeros(3)}, net=LAYERS))


def test_the_file_that_the_others_here_damage_is_good(tmp_path):
    (tmp_path / "n.safetensors").write_bytes(GOOD)
    assert network_file.load(tmp_path / "n.safetensors").network.n == 6


def test_a_file_cut_anywhere_is_refused(tmp_path):
    for data in cut(GOOD, 11):
        refusal(tmp_path, data)


def test_a_flipped_bit_anywhere_is_refused(tmp_path):
    for data in flipped(GOOD, 7):
        refusal(tmp_path, data)


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


def test_a_file_that_cannot_be_opened_is_no_network_by_what_it_holds(tmp_path, monkeypatch):
    path = tmp_path / "closed"
    path.write_bytes(save_tensors(ARRAYS, META))
    assert network_file.is_one(str(path))

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(network_file, "open", refuse, raising=False)
    assert not network_file.is_one(str(path))


@pytest.mark.parametrize("name", ARRAYS)
def test_an_array_of_other_presence_shape_type_or_value_is_refused(tmp_path, name):
    good = ARRAYS[name]
    others = [None, good[None], good[:0], good.astype(np.float32), good.astype(np.int16), good != 0]
    if good.dtype == np.float64:
        others += [np.where(np.arange(good.size).reshape(good.shape) == 0, bad, good) for bad in (np.nan, np.inf)]
    for other in others:
        refusal(tmp_path, file_of({name: other}))


@pytest.mark.parametrize("name", ["hidden.tau_mem", "hidden.tau_syn", "tau_out", "hidden.v_th", "dt"])
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
        {"format": "network 3"},
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
    header["hidden.bias"] |= entry
    text = json.dumps(header).encode()
    refusal(tmp_path, len(text).to_bytes(8, "little") + text + GOOD[8 + HEADER :])


NESTED = {
    "deep lists": "[" * 9 + "]" * 9,
    "tables": '{"a": {}}',
    "long text": '"' + "x" * 200 + '"',
}


def memory_of_a_refusal(tmp_path, data):
    """The most that it takes besides the file's own bytes, in bytes."""
    (tmp_path / "n.safetensors").write_bytes(data)
    tracemalloc.start()
    with pytest.raises(ModelError, match="bytes of JSON"):
        network_file.load(tmp_path / "n.safetensors")
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return most - len(data)


@pytest.mark.parametrize("kind", NESTED)
def test_metadata_that_would_fill_the_memory_is_refused_unread(tmp_path, kind):
    """The file is read; a copy of the metadata is all that comes to it. It took 18 times as much."""
    many = '{"a": [' + ", ".join([NESTED[kind]] * (9_000_000 // len(NESTED[kind]))) + "]}"
    data = file_of(meta={"history": many})
    assert memory_of_a_refusal(tmp_path, data) < 1.2 * len(data)


def test_the_history_of_the_most_epochs_of_a_training_is_read(tmp_path):
    epoch = {"loss": 0.12345678901234567, "accuracy": 0.98765432109876543}
    history = {"train": [epoch] * 100_000, "float_measures": {"accuracy": epoch["accuracy"]}}
    network_file.save(NetworkFile(NET, Config(), history), tmp_path / "n")
    assert network_file.load(tmp_path / "n").history == history


def test_a_file_too_large_is_refused_unread(tmp_path):
    with open(tmp_path / "n", "wb") as file:
        file.truncate(2**31 + 1)
    with pytest.raises(ModelError, match="more than"):
        network_file.load(tmp_path / "n")


def test_the_same_network_gives_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        network_file.save(NetworkFile(NET, Config(), {}), tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_flipped_bit_of_the_former_format_is_refused(tmp_path):
    data = bytearray(FORMER.read_bytes())
    data[-5] ^= 1  # of the last tensor
    (tmp_path / "n").write_bytes(data)
    with pytest.raises(ModelError, match="CRC-32 differs"):
        network_file.load(tmp_path / "n")


@pytest.mark.parametrize("name", ["input", "out"])
def test_a_population_called_like_an_end_of_the_network_is_refused(tmp_path, name):
    alone = replace(NET, populations=(replace(NET.populations[0], name=name),))
    network_file.save(NetworkFile(alone, Config(), {}), tmp_path / "n")
    with pytest.raises(ModelError, match="cannot name a population"):
        network_file.load(tmp_path / "n")
