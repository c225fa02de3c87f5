"""Where a data set's files lie, and reading them bounded: no pickles, no bombs."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from lnp_edge.base.errors import DataError

ROOT_VARIABLE = "LNP_DATA"


def find(root: str | Path | None, name: str | tuple[str, ...], where_from: str) -> Path:
    """The file or folder `name` in folder `root` or one folder below it; root None: that of $LNP_DATA.

    name : or several, of which the first that is there is taken
    where_from : the sentence that says where to get it, the second line of the DataError if it is absent.
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
    """These arrays of an .npz file. Raises DataError if it is damaged, or more than max_bytes as a file or inflated."""
    try:
        if path.stat().st_size > max_bytes:
            raise ValueError(f"more than {max_bytes} bytes")
        with np.load(path, allow_pickle=False) as f:
            # NpzFile inflates a member on access: refuse by the declared size first.
            if sum(member.file_size for member in f.zip.infolist()) > max_bytes:
                raise ValueError(f"more than {max_bytes} bytes inflated")
            return tuple(f[name] for name in names)
    except Exception as e:  # a damaged zip raises any of a dozen types
        raise damaged(path, e) from None


def damaged(path: Path, why: object) -> DataError:
    return DataError(f"{path.name} is damaged: {str(why)[:100]}", "restore it from where it came from")


def hold(condition: bool, what: str) -> None:
    """Raises ValueError(what) unless the condition holds; loaders turn it into `damaged`."""
    if not condition:
        raise ValueError(what)
