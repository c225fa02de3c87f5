"""Fashion-MNIST: 70,000 grey images of clothes, 28 by 28 pixels, presented row by row.

One image row is a step and its pixels, grey values 0 to 255, are the channels. A row nominally
lasts 10 ms; only the ratio to the neurons' time constants matters. Xiao et al. 2017, arXiv
1708.07747, MIT licence.
"""

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np

from lnp_edge.datasets import _files as files
from lnp_edge.task.dataset import Dataset

DEBIAN = Path("/usr/share/datasets/fashion-mnist")  # from the package dataset-fashion-mnist
CLASSES = ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
PARTS = {"train": 60_000, "t10k": 10_000}  # first word of the file names: group 0, group 1
HELD_OUT = (1,)
SIDE = 28
_WHERE = "apt-get install dataset-fashion-mnist, or the four .gz files of github.com/zalandoresearch/fashion-mnist"


def load(root=None) -> Dataset:
    """The data set from four .gz files.

    root : their folder; None: that of Debian's package, or else $LNP_DATA

    Raises DataError if a file is missing or damaged.
    """
    # Before $LNP_DATA, where plain MNIST may have files of the same names.
    root = root or (DEBIAN if DEBIAN.is_dir() else None)
    images, labels = [], []
    for part, count in PARTS.items():
        images.append(_idx(files.find(root, f"{part}-images-idx3-ubyte.gz", _WHERE), (count, SIDE, SIDE)))
        path = files.find(root, f"{part}-labels-idx1-ubyte.gz", _WHERE)
        labels.append(_idx(path, (count,)))
        if labels[-1].max() >= len(CLASSES):
            raise files.damaged(path, f"label {labels[-1].max()}")
    return Dataset(
        name="fashion_mnist",
        dt=0.01,
        channels=tuple(f"column{k}" for k in range(SIDE)),
        classes=CLASSES,
        recordings=np.concatenate(images).astype(np.int16),
        labels=np.concatenate(labels).astype(np.int64),
        groups=np.repeat((0, 1), tuple(PARTS.values())),
        held_out=HELD_OUT,
        mirror=tuple(range(SIDE, 0, -1)),
        pixel=1,
        group_name="part",
    )


def _idx(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """The array of a gzipped IDX file, which must be uint8 of this shape. Inflates no more."""
    header = struct.pack(f">HBB{len(shape)}I", 0, 8, len(shape), *shape)
    size = len(header) + int(np.prod(shape))
    try:
        with gzip.open(path) as f:
            data = f.read(size + 1)
    except (OSError, EOFError, ValueError, zlib.error) as e:
        raise files.damaged(path, e) from None
    if len(data) != size or not data.startswith(header):
        raise files.damaged(path, f"not an IDX file of {' x '.join(map(str, shape))} bytes")
    return np.frombuffer(data, np.uint8, offset=len(header)).reshape(shape)
