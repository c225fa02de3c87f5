"""Reads and writes model.onnx.windows: a few real windows of samples beside a model.

They are of the training data, never of the test. lnp verify runs them after its synthetic stimulus,
and counts what a step costs on them. A safetensors file with one tensor:

    counts    int16 [W, T, C]    W windows from reset; of a model that is never reset, one stretch

Its text is JSON: fingerprint of the model, and crc32 of the counts. Without the file a model is
still whole. A file that is damaged, or of another model, is refused: its cost would be of nothing.
"""

from __future__ import annotations

import json
import os
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from lnp_edge.base.errors import ModelError
from lnp_edge.base.files import beside, parse_json, read_bounded, write_whole
from lnp_edge.interchange import onnx_file
from lnp_edge.spec.model import MAX_IN, QuantizedModel

MOST_WINDOWS, MOST_STEPS = 64, 8192  # of all windows together
MAX_METADATA = 1024
MAX_BYTES = 2 * MOST_STEPS * MAX_IN + 2 * MAX_METADATA
HINT = "write both again with lnp quantize, or delete this file: the stimulus then is synthetic alone"


def path_of(model: Path) -> Path:
    """The file of the windows of a model file."""
    return beside(model, "windows")


def some(
    counts: NDArray[np.int16], frame: int, steps: int = MOST_STEPS, windows: int = MOST_WINDOWS
) -> NDArray[np.int16]:
    """At most so many steps and windows of [W, T, C]: windows spread over them, or the beginning of one.

    frame : samples of a step; by default as many as a file may hold
    """
    samples = min(counts.shape[1] // frame, steps) * frame
    count = min(len(counts), windows, max(1, steps * frame // samples))
    return counts[np.linspace(0, len(counts) - 1, count).astype(int), :samples]


def save(model: QuantizedModel, counts: NDArray[np.int16], path: Path) -> None:
    """Write windows [W, T, C], as some() gives them, beside the model file `path`."""
    write_whole(path_of(path), _bytes_of(model, counts))


def save_both(model: QuantizedModel, counts: NDArray[np.int16], path: Path) -> None:
    """Write the model file and its windows. Stopped anywhere, it leaves no model beside another's windows."""
    final = path_of(path)
    staged = beside(final, "new")
    write_whole(staged, _bytes_of(model, counts))  # first: it may fail, as on a full disk
    final.unlink(missing_ok=True)
    onnx_file.save(model, path)
    os.replace(staged, final)


def _bytes_of(model: QuantizedModel, counts: NDArray[np.int16]) -> bytes:
    counts = np.ascontiguousarray(counts, np.int16)
    meta = {"fingerprint": f"{model.fingerprint:08x}", "crc32": _crc(counts)}
    return save_tensors({"counts": counts}, {"lnp_edge": json.dumps(meta, sort_keys=True)})


def load(model: QuantizedModel, path: Path) -> NDArray[np.int16] | None:
    """The windows [W, T, C] beside the model file `path`; None if there is no such file.

    Raises ModelError if it is damaged, or belongs to another model.
    """
    path = path_of(path)
    if not os.path.exists(path):  # Path.exists raises for a name that is too long
        return None
    data = read_bounded(path, MAX_BYTES, ModelError, HINT)
    try:
        header = parse_json(data[8 : 8 + int.from_bytes(data[:8], "little")], MAX_METADATA)
        meta = parse_json(header["__metadata__"]["lnp_edge"], MAX_METADATA)
        theirs, crc = meta["fingerprint"], meta["crc32"]
        counts = load_tensors(data)["counts"]
    except (SafetensorError, ValueError, KeyError, TypeError, RecursionError, IndexError) as e:
        reason = str(e)[:100] or type(e).__name__
        raise ModelError(f"{path} is no file of windows: {reason}", HINT) from None
    if theirs != f"{model.fingerprint:08x}":
        raise ModelError(f"{path} is of model {str(theirs)[:8]!r}, this is {model.fingerprint:08x}", HINT)
    frame = model.front.frame
    if counts.dtype != np.int16 or counts.ndim != 3 or counts.shape[2] != len(model.channels):
        what = f"{path} holds {counts.dtype} of shape {counts.shape}"
        raise ModelError(f"{what}, not int16 of {len(model.channels)} channels", HINT)
    steps = counts.shape[0] * counts.shape[1] // frame
    if counts.shape[1] % frame or not 1 <= steps <= MOST_STEPS:
        raise ModelError(f"{path} holds {counts.shape[0]} windows of {counts.shape[1]} samples", HINT)
    if crc != _crc(counts):
        raise ModelError(f"{path} is damaged: its CRC-32 differs", HINT)
    return counts


def _crc(counts: NDArray[np.int16]) -> str:
    return f"{zlib.crc32(counts.astype('<i2').tobytes()):08x}"
