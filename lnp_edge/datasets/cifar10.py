"""CIFAR-10: 60,000 colour images of 32 by 32 pixels, presented row by row.

One image row is a step and its 96 colour values, 0 to 255, are the channels: red, green and blue of
a pixel side by side. A row nominally lasts 10 ms; only the ratio to the neurons' time constants
matters. Krizhevsky 2009, University of Toronto; no licence is stated.
"""

import hashlib
import json
from pathlib import Path

import numpy as np

from lnp_edge.base.errors import DataError, LnpError
from lnp_edge.base.files import read_bounded
from lnp_edge.base.install import INSTALL
from lnp_edge.datasets import _files as files
from lnp_edge.task.dataset import Dataset

ORIGINAL = "cifar-10-batches-bin"  # folder of Toronto's binary version
LOSSLESS = "cifar10_lossless"  # folder of a manifest.json and strips of images as lossless .webp
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
PARTS = {"train": 50_000, "test": 10_000}  # group 0, group 1
HELD_OUT = (1,)
SIDE, PIXEL = 32, 3
_WHERE = "unpack cifar-10-binary.tar.gz from www.cs.toronto.edu/~kriz/cifar.html"
_RECORD = 1 + PIXEL * SIDE * SIDE  # bytes of the binary version
_BATCHES = (*(f"data_batch_{k}.bin" for k in range(1, 6)), "test_batch.bin")
_STRIP = 16383 // SIDE  # images; a .webp file has at most 16,383 pixels per side
_MAX_BYTES = 4_000_000  # of a strip; the largest has 0.9 MB


def load(root=None) -> Dataset:
    """The data set from Toronto's binary version, or else from lossless strips.

    root : the folder of either; None: $LNP_DATA

    Raises DataError if both are missing, or if the files are damaged.
    """
    path = files.find(root, (ORIGINAL, LOSSLESS), _WHERE)
    rows = np.empty((sum(PARTS.values()), SIDE, SIDE * PIXEL), np.int16)
    try:
        labels = (_from_binary if path.name == ORIGINAL else _from_strips)(path, rows)
        files.hold(labels.shape == rows.shape[:1], f"{len(labels)} labels")
    except LnpError:
        raise
    except Exception as e:  # a damaged image or manifest raises many types
        raise files.damaged(path, e) from None
    column, colour = np.divmod(np.arange(SIDE * PIXEL), PIXEL)
    return Dataset(
        name="cifar10",
        dt=0.01,
        channels=tuple(f"{'rgb'[c]}{k}" for k, c in zip(column, colour, strict=True)),
        classes=CLASSES,
        recordings=rows,
        labels=labels,
        groups=np.repeat((0, 1), tuple(PARTS.values())),
        held_out=HELD_OUT,
        mirror=tuple((1 + PIXEL * (SIDE - 1 - column) + colour).tolist()),
        pixel=PIXEL,
        group_name="part",
    )


def _from_binary(folder: Path, rows: np.ndarray) -> np.ndarray:
    """Fill rows [60000, 32, 96] and return the labels.

    A record is a label and the image, colour by colour.
    """
    count = len(rows) // len(_BATCHES)
    labels = np.empty(len(rows), np.int64)
    for k, name in enumerate(_BATCHES):
        data = read_bounded(folder / name, count * _RECORD, DataError, _WHERE)
        files.hold(len(data) == count * _RECORD, f"{name} has {len(data)} bytes")
        records, part = np.frombuffer(data, np.uint8).reshape(count, _RECORD), slice(k * count, (k + 1) * count)
        labels[part] = records[:, 0]
        rows[part] = records[:, 1:].reshape(-1, PIXEL, SIDE, SIDE).transpose(0, 2, 3, 1).reshape(count, SIDE, -1)
    return labels


def _from_strips(folder: Path, rows: np.ndarray) -> np.ndarray:
    """Fill rows [60000, 32, 96] and return the labels. Both must match the manifest's SHA-256."""
    try:
        from PIL import Image
    except ImportError:
        raise LnpError(f"reading {LOSSLESS} needs Pillow, which is not installed", INSTALL["pillow"]) from None
    manifest = json.loads(read_bounded(folder / "manifest.json", 100_000, DataError, _WHERE))
    labels: list[int] = []
    for part, total in PARTS.items():
        pixels, first = hashlib.sha256(), len(labels)
        for strip in manifest["splits"][part]["files"]:
            here = [(int(c), int(n)) for c, n in strip["labels"]]
            count, done = sum(n for _, n in here), len(labels)
            hold_count = all(0 <= c < len(CLASSES) and 0 < n <= _STRIP for c, n in here) and count <= _STRIP
            files.hold(hold_count and done + count <= first + total, f"labels {str(here)[:60]}")
            path = folder / Path(strip["file"]).name
            files.hold(path.stat().st_size <= _MAX_BYTES, f"{path.name} is too long")
            with Image.open(path, formats=["WEBP"]) as image:
                # The header gives the size before anything is inflated.
                files.hold(image.size == (SIDE, SIDE * count), f"{path.name} is {image.size}")
                strip_rows = np.asarray(image.convert("RGB")).reshape(count, SIDE, -1)
            pixels.update(strip_rows.tobytes())
            rows[done : done + count] = strip_rows
            labels += [c for c, n in here for _ in range(n)]
        same = pixels.hexdigest() == manifest["splits"][part]["sha256_raw"]
        same &= hashlib.sha256(bytes(labels[first:])).hexdigest() == manifest["splits"][part]["sha256_labels"]
        files.hold(same and len(labels) == first + total, f"{part}: images or labels do not match the manifest")
    return np.array(labels, np.int64)
