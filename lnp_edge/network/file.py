"""network.safetensors: a float network between init, pruning, training and quantisation.

safetensors holds plain tensors and one table of text: nothing in it can run, nor claim more than its size.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors
from scipy import sparse

from lnp_edge.base.errors import ConfigError, LnpError, ModelError
from lnp_edge.base.files import read_bounded, write_whole
from lnp_edge.config import Config
from lnp_edge.network import Network

MAX_BYTES = 2**31
FORMAT = "network 1"
HINT = "give it a file written by lnp prune or lnp train"
VECTORS = {"tau_mem": "n", "tau_syn": "n", "tau_out": "o", "sign": "n", "bias": "n", "bias_out": "o", "v_th": "n"}
DTYPES = {"sign": np.int8, "w_rec_indptr": np.int64, "w_rec_indices": np.int64}  # others float64


@dataclass(frozen=True)
class NetworkFile:
    """A network, the configuration it comes from, and what was done to it so far."""

    network: Network
    config: Config
    history: dict


def save(file: NetworkFile, path: Path) -> None:
    n = file.network
    arrays = {name: np.ascontiguousarray(getattr(n, name)) for name in VECTORS}
    arrays |= {"w_in": n.w_in, "w_out": n.w_out, "dt": np.array([n.dt])}
    arrays |= {f"w_rec_{part}": getattr(n.w_rec, part) for part in ("indptr", "indices", "data")}
    arrays = {name: np.ascontiguousarray(a, _dtype(name)) for name, a in arrays.items()}
    meta = {"format": FORMAT, "config": file.config.to_json(), "history": json.dumps(file.history)}
    meta["crc32"] = _crc(arrays, meta)
    # One key: safetensors writes several in any order, and the same network should give the same bytes.
    write_whole(path, save_tensors(arrays, {"lnp_edge": json.dumps(meta, sort_keys=True)}))


def load(path: Path) -> NetworkFile:
    """The checked network of a file. Raises ModelError if it is damaged or foreign."""
    data = read_bounded(path, MAX_BYTES, ModelError, HINT)
    try:
        arrays = load_tensors(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        meta = json.loads(header["__metadata__"]["lnp_edge"])
        if meta["format"] != FORMAT:
            raise ModelError(f"{path} was written by another version of lnp-edge", "run lnp prune or lnp train again")
        if meta.pop("crc32") != _crc(arrays, meta):
            raise ModelError(f"{path} is damaged: its CRC-32 differs", HINT)
        history = json.loads(meta["history"])
        if not isinstance(history, dict):
            raise ModelError(f"{path}: its history is no table", HINT)
        return NetworkFile(_network(path, arrays), Config.from_json(meta["config"]), history)
    except ConfigError as e:
        raise ModelError(f"{path}: {e.what}", e.try_next) from None
    except LnpError:
        raise
    except (SafetensorError, ValueError, KeyError, TypeError, RecursionError, IndexError) as e:
        raise ModelError(f"{path} is no network of lnp-edge: {str(e)[:100] or type(e).__name__}", HINT) from None


def _dtype(name: str) -> type:
    return DTYPES.get(name, np.float64)


def _crc(arrays: dict, meta: dict[str, str]) -> str:
    """CRC-32 of all in the order of the names, so that no flipped bit passes as another network."""
    crc = zlib.crc32(json.dumps(meta, sort_keys=True).encode())
    for name in sorted(arrays):
        crc = zlib.crc32(arrays[name].tobytes(), zlib.crc32(name.encode(), crc))
    return f"{crc:08x}"


def _network(path: Path, a: dict) -> Network:
    for name, array in a.items():
        if array.dtype != _dtype(name):
            raise ModelError(f"{path}: {name} is {array.dtype}, not {np.dtype(_dtype(name))}", HINT)
    n, o, c = len(a["tau_mem"]), len(a["tau_out"]), len(a["w_in"])
    if min(n, o, c) < 1:
        raise ModelError(f"{path} has {n} neurons, {c} channels and {o} read-outs", HINT)
    sizes = {"n": (n,), "o": (o,)}
    shapes = {name: sizes[size] for name, size in VECTORS.items()} | {"w_in": (c, n), "w_out": (n, o), "dt": (1,)}
    for name, shape in shapes.items():
        if a[name].shape != shape or not np.isfinite(a[name]).all():
            raise ModelError(f"{path}: {name} has shape {a[name].shape}, not {shape}, or is not finite", HINT)
    for name in ("tau_mem", "tau_syn", "tau_out", "v_th", "dt"):
        if not (a[name] > 0).all():
            raise ModelError(f"{path}: {name} must be positive", HINT)
    if not (np.abs(a["sign"]) == 1).all():
        raise ModelError(f"{path}: sign holds other than 1 and -1", HINT)
    w_rec = sparse.csr_array((a["w_rec_data"], a["w_rec_indices"], a["w_rec_indptr"]), shape=(n, n))
    w_rec.check_format(full_check=True)
    if w_rec.nnz != len(a["w_rec_data"]):
        raise ModelError(f"{path}: w_rec_indptr does not span its {len(a['w_rec_data'])} synapses", HINT)
    if not (w_rec.has_canonical_format and np.isfinite(w_rec.data).all()):
        raise ModelError(f"{path}: w_rec repeats synapses, is not sorted or not finite", HINT)
    vectors = {name: a[name] for name in VECTORS}
    return Network(dt=float(a["dt"][0]), w_in=a["w_in"], w_out=a["w_out"], w_rec=w_rec, **vectors)
