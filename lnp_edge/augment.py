"""Random training windows, changed the way another wearer or another day would change them."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

import numpy as np

from lnp_edge.config import Augmentation
from lnp_edge.datasets import Dataset
from lnp_edge.encoders import encode
from lnp_edge.network import X_SCALE
from lnp_edge.quantize import Task

MIRRORED = 0.5  # share of windows that change arms, where the data set knows how


def triples(channels: tuple[str, ...]) -> list[int]:
    """First index of each run of channels named ..x, ..y, ..z with one prefix."""
    starts = range(len(channels) - 2)
    return [k for k in starts if [channels[k + d] for d in range(3)] == [channels[k][:-1] + a for a in "xyz"]]


class Crops:
    """Batches of encoded random windows. epoch() visits each recording in proportion to its length."""

    def __init__(self, dataset: Dataset, task: Task, batch: int, strength: Augmentation):
        steps = task.window
        usable = [r for r, a in enumerate(dataset.recordings) if len(a) >= steps]
        self.signal = np.concatenate([dataset.recordings[r] for r in usable]).astype(np.float32)
        length = np.array([len(dataset.recordings[r]) for r in usable])
        self.length, self.start = length, np.cumsum(length) - length
        self.labels = dataset.labels[usable]
        self.task, self.steps, self.batch, self.strength = task, steps, batch, strength
        self.vectors = triples(dataset.channels)
        self.mirror = np.array(dataset.mirror or np.ones(len(dataset.channels)), np.float32)
        self.std = self.signal.std(0)
        self.identity = (
            f"{zlib.crc32(self.signal.tobytes())} {self.labels.tolist()} {length.tolist()} {batch} {strength}"
        )
        self.batches = max(1, round(2 * length.sum() / steps / batch))  # windows at a hop of half a window

    def epoch(self, rng: np.random.Generator) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Pairs x float32 [B, T, C], labels [B]."""
        for _ in range(self.batches):
            r = rng.choice(len(self.length), self.batch, p=self.length / self.length.sum())
            counts = np.rint(self._windows(r, rng))
            x = encode(self.task.encoder, counts, self.task.encoder_params) / np.float32(X_SCALE)
            yield x.astype(np.float32), self.labels[r]

    def _windows(self, r: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        s, size = self.strength, len(r)
        speed = np.minimum(np.exp(rng.normal(0, s.speed, size)), (self.length[r] - 1) / (self.steps - 1))
        first = rng.random(size) * (self.length[r] - 1 - speed * (self.steps - 1))
        at = np.minimum(first[:, None] + speed[:, None] * np.arange(self.steps), self.length[r][:, None] - 1)
        below = np.minimum(at.astype(np.int64), self.length[r][:, None] - 2)
        part = (at - below).astype(np.float32)[..., None]
        below += self.start[r][:, None]
        counts = self.signal[below]
        counts += (self.signal[below + 1] - counts) * part
        if self.vectors:
            turn = rotations(rng.normal(0, s.rotation, (size, 3))).astype(np.float32)
            for k in self.vectors:
                size_of = np.exp(rng.normal(0, s.scale, (size, 1, 1))).astype(np.float32)
                counts[..., k : k + 3] = counts[..., k : k + 3] @ (turn * size_of)
        counts = np.where(rng.random((size, 1, 1)) < MIRRORED, counts * self.mirror, counts)
        return counts + rng.standard_normal(counts.shape, np.float32) * (s.noise * self.std)


def rotations(vectors: np.ndarray) -> np.ndarray:
    """Rotation matrices [B, 3, 3] about vectors [B, 3] by their length in radians (Rodrigues)."""
    angle = np.maximum(np.linalg.norm(vectors, axis=1), 1e-12)[:, None, None]
    k = np.zeros((len(vectors), 3, 3))
    x, y, z = (vectors / angle[:, 0]).T
    k[:, 0, 1], k[:, 0, 2], k[:, 1, 2] = -z, y, -x
    k -= k.transpose(0, 2, 1)
    return np.eye(3) + np.sin(angle) * k + (1 - np.cos(angle)) * (k @ k)
