"""Finds the files of a data set, and reads them with bounded size and without pickle."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from lnp_edge.base.errors import DataError

ROOT_VARIABLE = "LNP_DATA"


def find(root: str | Path | None, name: str | tuple[str, ...], where_from: str) -> Path:
    """The file or folder `name`, in `root` or in a folder in it.

    root       : None: $LNP_DATA, or else the current folder
    name       : one name, or several, of which the first that exists is taken
    where_from : where to get it, for the second line of the DataError if it is missing
    """
    names = (name,) if isinstance(name, str) else name
    base = Path(root or os.environ.get(ROOT_VARIABLE, "."))
    found = [path for n in names for path in (base / n, *sorted(base.glob(f"*/{n}"))) if path.exists()]
    if not found:
        place = f"{base}" if root or ROOT_VARIABLE in os.environ else "this folder"
        raise DataError(
            f"no {' and no '.join(names)} in {place}",
            f'{where_from}; then [data] root = "its folder", or {ROOT_VARIABLE}=its folder',
        )
    return found[0]


def read_npz(path: Path, names: tuple[str, ...], max_bytes: int) -> tuple[np.ndarray, ...]:
    """The named arrays of an .npz file.

    Raises DataError if the file is damaged, or larger than max_bytes compressed or inflated.
    """
    try:
        if path.stat().st_size > max_bytes:
            raise ValueError(f"more than {max_bytes} bytes")
        with np.load(path, allow_pickle=False) as f:
            # NpzFile inflates a member on access, so check the declared size first.
            if sum(member.file_size for member in f.zip.infolist()) > max_bytes:
                raise ValueError(f"more than {max_bytes} bytes inflated")
            return tuple(f[name] for name in names)
    except Exception as e:  # a damaged zip raises many types
        raise damaged(path, e) from None


def damaged(path: Path, why: object) -> DataError:
    """The error for a damaged file."""
    return DataError(f"{path.name} is damaged: {str(why)[:100]}", "restore it from where it came from")


def hold(condition: bool, what: str) -> None:
    """Raise ValueError(what) unless the condition holds. Loaders turn it into `damaged`."""
    if not condition:
        raise ValueError(what)
