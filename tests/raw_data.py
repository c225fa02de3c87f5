"""Small files in the formats of data sets that do not ship."""

import gzip
import struct

import numpy as np

from lnp_edge.datasets import cifar10


def beats(rng, count=30):
    """Beats of a patient of DS1, a paced one and one of DS2."""
    rr = rng.uniform(0.4, 1.2, (3, count + 1)).astype(np.float32)
    return {
        "x": rng.integers(-3000, 3000, (3 * count, 120)).astype(np.int16),
        "y": rng.integers(0, 5, 3 * count).astype(np.uint8),
        "record": np.repeat(np.int16([101, 102, 234]), count),
        "rr": np.stack([rr[:, :-1], rr[:, 1:]], axis=2).reshape(-1, 2),
    }


def colours(rng):
    return rng.integers(0, 256, (60, 32, 32, 3)).astype(np.uint8), np.sort(rng.integers(0, 10, (2, 30))).reshape(60)


def write_binary(root, images, labels):
    folder = root / cifar10.ORIGINAL
    folder.mkdir(parents=True)
    records = np.concatenate([labels[:, None].astype(np.uint8), images.transpose(0, 3, 1, 2).reshape(60, -1)], axis=1)
    for k, name in enumerate([*(f"data_batch_{k}.bin" for k in range(1, 6)), "test_batch.bin"]):
        (folder / name).write_bytes(records[10 * k : 10 * k + 10].tobytes())


def write_idx(root, images, labels):
    root.mkdir(parents=True, exist_ok=True)
    for part, at in (("train", slice(50)), ("t10k", slice(50, 60))):
        for name, a in (("images-idx3", images[at]), ("labels-idx1", labels[at])):
            header = struct.pack(f">HBB{a.ndim}I", 0, 8, a.ndim, *a.shape)
            (root / f"{part}-{name}-ubyte.gz").write_bytes(gzip.compress(header + a.astype(np.uint8).tobytes()))
