"""NPY and NPZ, never unpickled.

An array [T, C] has the columns "1" to "C", a structured array its fields. Of an NPZ, every array with as
many rows as the longest is a column, or several (name_1, name_2, ...), and a single number called rate,
rate_hz, fs or sfreq is the rate in Hz.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from lnp_edge.base.errors import DataError
from lnp_edge.readers import (
    BLOCK_ROWS,
    MAX_COLUMNS,
    NUMBER,
    TEXT,
    TIME,
    Block,
    Column,
    Empty,
    Table,
    damaged,
    finite_or_nan,
    named_columns,
)  # fmt: skip

ENDINGS = (".npy", ".npz")
MAX_BYTES = 2**30  # inflated; an NPY is mapped into memory instead
MAX_MEMBERS = 1000
RATES = ("rate", "rate_hz", "fs", "sfreq")
_KINDS = {"b": NUMBER, "i": NUMBER, "u": NUMBER, "f": NUMBER, "U": TEXT, "S": TEXT, "M": TIME}


def open_table(path: Path) -> Table:
    try:
        rate, arrays = _npz(path) if zipfile.is_zipfile(path) else (0.0, {"": np.load(path, "r", allow_pickle=False)})
    except DataError:
        raise
    except Exception as e:  # numpy raises many types, and warns of pickles in one
        raise damaged(path, str(e).replace("allow_pickle=False", "lnp never unpickles")) from None
    rows = max((len(a) for a in arrays.values() if a.ndim), default=0)
    if not rows:
        raise Empty(f"{path} has no rows", "remove it")
    named = [one for name, a in arrays.items() if a.ndim and len(a) == rows for one in _columns(path, name, a)]
    if not named:
        raise DataError(f"{path} has no array of numbers [T] or [T, C]", "write it as one, or as CSV")
    columns = named_columns([name for name, _ in named], [_KINDS[a.dtype.kind] for _, a in named])
    return _Arrays(path, columns, [a for _, a in named], bool(named[0][0]), rate)


def _npz(path: Path) -> tuple[float, dict[str, np.ndarray]]:
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        total = sum(member.file_size for member in members)
        if total > MAX_BYTES or len(members) > MAX_MEMBERS:
            raise DataError(
                f"{path} has {len(members)} arrays of {total} bytes", f"{MAX_BYTES} at most: write several files"
            )
        for member in members:  # an array must not claim to be larger than its member
            with archive.open(member) as file:
                version = np.lib.format.read_magic(file)
                read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
                shape, _, dtype = read(file)
                if dtype.hasobject or int(np.prod(shape, dtype=object)) * dtype.itemsize > member.file_size:
                    raise ValueError(f"{member.filename} holds objects, or less than it says")
    with np.load(path, allow_pickle=False) as found:
        arrays = {name: found[name] for name in found.files}
    rates = [float(a) for name, a in arrays.items() if name.lower() in RATES and a.size == 1 and a.dtype.kind in "iuf"]
    rate = rates[0] if rates and 1e-9 <= rates[0] < 1e12 else 0.0
    return rate, {name: a for name, a in arrays.items() if a.ndim and name.lower() not in RATES}


def _columns(path: Path, name: str, a: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """The columns of an array, by name."""
    if a.dtype.names:
        parts = [(field, a[field]) for field in a.dtype.names]
    elif a.ndim == 1:
        parts = [(name, a)]
    elif a.ndim == 2:
        if a.shape[1] > MAX_COLUMNS:
            raise DataError(f"{path} has {a.shape[1]} columns", f"{MAX_COLUMNS} at most: is it transposed?")
        parts = [(f"{name}_{k + 1}" if name else "", a[:, k]) for k in range(a.shape[1])]
    else:
        parts = []
    return [(field, one) for field, one in parts if one.ndim == 1 and one.dtype.kind in _KINDS]


class _Arrays(Table):
    def __init__(self, path: Path, columns: Sequence[Column], arrays: list[np.ndarray], named: bool, rate: float):
        super().__init__(path, columns, named, rate)
        self.arrays = dict(zip(self.names, arrays, strict=True))

    def blocks(self, numbers: Sequence[str], others: Sequence[str]) -> Iterator[Block]:
        length, self.rows = len(next(iter(self.arrays.values()))), 0
        for k in range(0, length, BLOCK_ROWS):
            parts = {name: self.arrays[name][k : k + BLOCK_ROWS] for name in (*numbers, *others)}
            self.rows = min(length, k + BLOCK_ROWS)
            yield {name: finite_or_nan(a) if name in numbers else _plain(a) for name, a in parts.items()}


def _plain(a: np.ndarray) -> np.ndarray:
    if a.dtype.kind == "S":
        a = np.char.decode(a, "utf-8", "replace")
    return a if a.dtype.kind in "iuM" else a.astype(object)
