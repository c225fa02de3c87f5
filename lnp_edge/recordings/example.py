"""The data set SPAR as a folder of plain CSV files: what recordings of one's own may look like."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lnp_edge.base.errors import ConfigError
from lnp_edge.base.files import make_folder, new_folder, write_whole
from lnp_edge.datasets import spar

UNITS = (16.0, 8.0)  # counts of acceleration in one g, of angular rate in one rad/s
HEADER = "time [s],ax [g],ay [g],az [g],gx [rad/s],gy [rad/s],gz [rad/s]\n"
ELSEWHERE = "make room, or choose another folder"
NOTICE = "spar_watch_25hz_int8.LICENSE"


def write(folder: Path) -> int:
    """Write <person>/<exercise>_<n>.csv and the licence notice; returns the number of recordings.

    Raises ConfigError if the folder holds anything.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder} exists and is not an empty folder", "choose another name")
    with new_folder(folder) as made:
        return _written(made)


def _written(folder: Path) -> int:
    data = spar.load()
    seen: dict[tuple[int, int], int] = {}
    for x, label, group in zip(data.recordings, data.labels.tolist(), data.groups.tolist(), strict=True):
        number = seen[label, group] = seen.get((label, group), 0) + 1
        place = folder / f"p{group:02d}" / f"{data.classes[label].replace(' ', '-')}_{number}.csv"
        make_folder(place.parent, ELSEWHERE)
        physical = x / np.repeat(UNITS, 3)
        rows = "".join(
            f"{k * data.dt:.2f}," + ",".join(f"{value:.10g}" for value in row) + "\n"
            for k, row in enumerate(physical.tolist())
        )
        write_whole(place, (HEADER + rows).encode(), ELSEWHERE)
    write_whole(folder / "LICENSE", (Path(spar.__file__).parent / NOTICE).read_bytes(), ELSEWHERE)
    return len(data.recordings)
