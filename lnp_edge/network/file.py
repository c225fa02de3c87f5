"""Reads and writes network.safetensors, the float network between the stages.

safetensors holds plain tensors and a table of text, so loading a file cannot run code. Format 2:

    <population>.<parameter>   float64 [n], for each of the neuron's PARAMETERS
    sign                       int8 [N]
    w_in, w_out, w_skip        float64 [C, N], [N, O], [C, O]; w_skip is optional
    w_rec_indptr, _indices     int64 [N + 1], [nnz]
    w_rec_data                 float64 [nnz]
    tau_out, bias_out, dt      float64 [O], [O], [1]

The text is JSON: format, populations (name, neuron, hears, feeds of each), config, history, crc32,
and readout if it is not li.
Format 1 can still be read: it has one population of cuba_lif, with the parameters' plain names.
"""

from __future__ import annotations

import json
import os
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors
from scipy import sparse

from lnp_edge.base.errors import ConfigError, LnpError, ModelError
from lnp_edge.base.files import parse_json, read_bounded, write_whole
from lnp_edge.config import MAX_LAYERS, Config, require_readout
from lnp_edge.network import Network, Population
from lnp_edge.spec.frontend import GROUP
from lnp_edge.spec.model import INPUT, NAME, READOUT
from lnp_edge.spec.neuron import neuron_module

MAX_BYTES = 2**31
MAX_METADATA = 8 * 2**20  # the history of the most epochs that [train] allows takes 7.5 MB
FORMAT, FORMER = "network 2", "network 1"
HINT = "give it a file written by lnp prune or lnp train"
DTYPES = {"sign": np.int8, "w_rec_indptr": np.int64, "w_rec_indices": np.int64}  # others: float64
ONE = [{"name": "hidden", "neuron": "cuba_lif", "hears": True, "feeds": True}]  # of format 1
TYPES = {key: type(value) for key, value in ONE[0].items()}
Arrays = dict[str, NDArray]


@dataclass(frozen=True)
class NetworkFile:
    """A network with its configuration and the history of what was done to it."""

    network: Network
    config: Config
    history: dict


def save(file: NetworkFile, path: Path) -> None:
    """Write a network file atomically. Equal networks give equal bytes."""
    n = file.network
    arrays: Arrays = {f"{p.name}.{name}": a for p in n.populations for name, a in p.params.items()}
    arrays |= {name: getattr(n, name) for name in ("sign", "w_in", "w_out", "tau_out", "bias_out")}
    arrays |= {} if n.w_skip is None else {"w_skip": n.w_skip}
    arrays |= {f"w_rec_{part}": getattr(n.w_rec, part) for part in ("indptr", "indices", "data")}
    arrays["dt"] = np.array([n.dt])
    arrays = {name: np.ascontiguousarray(a, _dtype(name)) for name, a in arrays.items()}
    populations = [{key: getattr(p, key) for key in ONE[0]} for p in n.populations]
    meta = {"format": FORMAT, "populations": json.dumps(populations)}
    meta |= {"config": file.config.to_json(), "history": json.dumps(file.history)}
    meta |= {} if n.readout == "li" else {"readout": n.readout}  # older files lack it
    meta["crc32"] = _crc(arrays, meta)
    # One key only, because safetensors writes several in arbitrary order.
    write_whole(path, save_tensors(arrays, {"lnp_edge": json.dumps(meta, sort_keys=True)}))


def is_one(name: str) -> bool:
    """Whether a name is that of a network's file, by its ending or by what it holds: a short length, and JSON."""
    if name.endswith(".safetensors") or not os.path.isfile(name):  # Path.is_file raises for a name that is too long
        return name.endswith(".safetensors")
    try:
        with open(name, "rb") as file:
            begin = file.read(9)
    except OSError:
        return False
    return begin[8:] == b"{" and int.from_bytes(begin[:8], "little") <= MAX_BYTES


def load(path: Path) -> NetworkFile:
    """The checked network of a file. Raises ModelError if the file is damaged or not ours."""
    data = read_bounded(path, MAX_BYTES, ModelError, HINT)
    try:
        header = parse_json(data[8 : 8 + int.from_bytes(data[:8], "little")], MAX_METADATA)
        meta = parse_json(header["__metadata__"]["lnp_edge"], MAX_METADATA)
        arrays = load_tensors(data)
        if meta["format"] not in (FORMAT, FORMER):
            raise ModelError(f"{path} was written by another version of lnp-edge", "run lnp prune or lnp train again")
        if meta.pop("crc32") != _crc(arrays, meta):
            raise ModelError(f"{path} is damaged: its CRC-32 differs", HINT)
        populations: Any = parse_json(meta["populations"], MAX_METADATA) if meta["format"] == FORMAT else ONE
        if meta["format"] == FORMER:
            own = neuron_module(str(ONE[0]["neuron"])).PARAMETERS
            arrays = {f"{ONE[0]['name']}.{name}" if name in own else name: a for name, a in arrays.items()}
        history = parse_json(meta["history"], MAX_METADATA)
        if not isinstance(history, dict):
            raise ModelError(f"{path}: its history is not a table", HINT)
        config = Config.from_json(meta["config"])
        _refuse_foreign_code(path, config)
        return NetworkFile(_network(path, populations, arrays, meta.get("readout", "li")), config, history)
    except ConfigError as e:
        raise ModelError(f"{path}: {e.what}", e.try_next) from None
    except LnpError:
        raise
    except (SafetensorError, ValueError, KeyError, TypeError, RecursionError, IndexError) as e:
        reason = str(e)[:100] or type(e).__name__
        raise ModelError(f"{path} is not a network file of lnp-edge: {reason}", HINT) from None


def _refuse_foreign_code(path: Path, config: Config) -> None:
    """A network file may name a Python file that loads the data; only one in the folder of the user is run."""
    module = config.data.module
    if module and not (Path(config.data.root) / module).resolve().is_relative_to(Path.cwd()):
        raise ModelError(
            f"{path} wants to run {Path(config.data.root) / module}, outside this folder",
            "if you trust it, change to its folder and give the TOML file",
        )


def _dtype(name: str) -> type:
    return DTYPES.get(name, np.float64)


def _crc(arrays: Arrays, meta: dict[str, str]) -> str:
    """CRC-32 of the text and of all arrays in the order of their names."""
    crc = zlib.crc32(json.dumps(meta, sort_keys=True).encode())
    for name in sorted(arrays):
        crc = zlib.crc32(arrays[name].tobytes(), zlib.crc32(name.encode(), crc))
    return f"{crc:08x}"


def _network(path: Path, populations: object, a: Arrays, readout: str) -> Network:
    require_readout(readout)
    parts = _populations(path, populations, a)
    n, o, c = sum(p.n for p in parts), len(a["tau_out"]), len(a["w_in"])
    if min(n, o, c) < 1:
        raise ModelError(f"{path} has {n} neurons, {c} channels and {o} read-outs", HINT)
    shapes = {"sign": (n,), "w_in": (c, n), "w_out": (n, o), "tau_out": (o,), "bias_out": (o,), "dt": (1,)}
    shapes |= {"w_skip": (c, o)} if "w_skip" in a else {}
    for name, shape in shapes.items():
        _expect(path, name, a[name], shape)
    for name in ("tau_out", "dt"):
        if not (a[name] > 0).all():
            raise ModelError(f"{path}: {name} must be positive", HINT)
    if not (np.abs(a["sign"]) == 1).all():
        raise ModelError(f"{path}: sign has values other than 1 and -1", HINT)
    for name in ("w_rec_indptr", "w_rec_indices", "w_rec_data"):
        _expect(path, name, a[name], (n + 1,) if name.endswith("indptr") else (a["w_rec_data"].size,))
    known = {*shapes, "w_rec_indptr", "w_rec_indices", "w_rec_data"}
    known |= {f"{p.name}.{name}" for p in parts for name in p.params}
    if a.keys() - known:
        raise ModelError(f"{path} has {sorted(a.keys() - known)[0][:40]!r}, which is not part of its network", HINT)
    w_rec = sparse.csr_array((a["w_rec_data"], a["w_rec_indices"], a["w_rec_indptr"]), shape=(n, n))
    w_rec.check_format(full_check=True)
    if w_rec.nnz != len(a["w_rec_data"]):
        raise ModelError(f"{path}: w_rec_indptr does not span its {len(a['w_rec_data'])} synapses", HINT)
    if not w_rec.has_canonical_format:
        raise ModelError(f"{path}: w_rec repeats synapses or is not sorted", HINT)
    vectors = {name: a[name] for name in ("sign", "w_in", "w_out", "tau_out", "bias_out")}
    network = Network(float(a["dt"][0]), parts, w_rec=w_rec, w_skip=a.get("w_skip"), readout=readout, **vectors)
    for p, at in network.parts():
        if (not p.hears and network.w_in[:, at].any()) or (not p.feeds and network.w_out[at].any()):
            raise ModelError(f"{path}: {p.name} has weights for a missing projection", HINT)
    return network


def _populations(path: Path, populations: object, a: Arrays) -> tuple[Population, ...]:
    if not (isinstance(populations, list) and 1 <= len(populations) <= MAX_LAYERS):
        raise ModelError(f"{path} has no list of 1 to {MAX_LAYERS} populations", HINT)
    found: list[Population] = []
    for given in populations:
        if not (isinstance(given, dict) and {key: type(value) for key, value in given.items()} == TYPES):
            raise ModelError(f"{path}: a population is {str(given)[:60]!r}", HINT)
        name, module = given["name"], neuron_module(given["neuron"])
        if not NAME.fullmatch(name) or name in (INPUT, READOUT, GROUP) or name in [p.name for p in found]:
            raise ModelError(f"{path}: {name[:40]!r} cannot name a population", HINT)
        if not hasattr(module, "drive_for"):
            raise ModelError(f"{path}: {name} consists of {given['neuron']}, which does not spike", HINT)
        params = {key: a[f"{name}.{key}"] for key in module.PARAMETERS}
        for key, meaning in module.PARAMETERS.items():
            values = params[key]
            _expect(path, f"{name}.{key}", values, (len(next(iter(params.values()))),))
            if not len(values):
                raise ModelError(f"{path}: {name} has no neurons", HINT)
            if (meaning.is_time or key == "v_th") and not (values > 0).all():
                raise ModelError(f"{path}: {name}.{key} must be positive", HINT)
            if not ((meaning.low <= values) & (values <= meaning.high)).all():
                raise ModelError(f"{path}: {name}.{key} is outside {meaning.low:g} to {meaning.high:g}", HINT)
        found.append(Population(params=params, **given))
    return tuple(found)


def _expect(path: Path, name: str, array: NDArray, shape: tuple[int, ...]) -> None:
    plain = name.partition(".")[2] or name
    if array.dtype != _dtype(name):
        raise ModelError(f"{path}: {plain} is {array.dtype}, expected {np.dtype(_dtype(name))}", HINT)
    if array.shape != shape:
        raise ModelError(f"{path}: {plain} has shape {array.shape}, expected {shape}", HINT)
    if not np.isfinite(array).all():
        raise ModelError(f"{path}: {plain} is not finite", HINT)
