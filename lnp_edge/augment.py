"""Random training windows cut from recordings, changed the way another wearer or another day would change them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from lnp_edge.datasets import Dataset
from lnp_edge.encoders import affine
from lnp_edge.network import X_SCALE


@dataclass(frozen=True)
class Augmentation:
    """Strengths, each the standard deviation over windows; 0 switches it off."""

    rotation: float = 0.2  # rad, of all 3-vectors alike: the watch sits differently
    speed: float = 0.1  # log of the playback speed: slower and faster movement
    scale: float = 0.1  # log of each channel triple's amplitude
    noise: float = 0.1  # of a channel's standard deviation, per sample
    mirror: float = 0.5  # share of windows that change arms, where the data set knows how


def encode(counts: np.ndarray, params: dict) -> np.ndarray:
    """Network input float32 [..., C] of counts [..., C]: affine.encode over arrays, divided by X_SCALE."""
    wide = (counts.astype(np.int32) - params["offset"]) * params["gain"]
    x = np.clip((wide + (1 << (params["shift"] - 1))) >> params["shift"], -127, 127)
    return (x / X_SCALE).astype(np.float32)


def triples(channels: tuple[str, ...]) -> list[int]:
    """First index of each run of channels named ..x, ..y, ..z with one prefix."""
    starts = range(len(channels) - 2)
    return [k for k in starts if [channels[k + d] for d in range(3)] == [channels[k][:-1] + a for a in "xyz"]]


class Crops:
    """Batches of encoded random windows. epoch() visits each recording in proportion to its length."""

    def __init__(
        self, dataset: Dataset, encoder_params: dict, steps: int, batch: int, strength: Augmentation
    ):
        usable = [r for r, a in enumerate(dataset.recordings) if len(a) >= steps]
        self.signal = np.concatenate([dataset.recordings[r] for r in usable]).astype(np.float32)
        length = np.array([len(dataset.recordings[r]) for r in usable])
        self.length, self.start = length, np.cumsum(length) - length
        self.labels = dataset.labels[usable]
        self.params, self.steps, self.batch, self.strength = encoder_params, steps, batch, strength
        self.vectors = triples(dataset.channels)
        self.mirror = np.array(dataset.mirror or np.ones(len(dataset.channels)), np.float32)
        self.std = self.signal.std(0)
        self.batches = max(1, round(2 * length.sum() / steps / batch))  # windows at a hop of half a window

    def epoch(self, rng: np.random.Generator) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Pairs x float32 [B, T, C], labels [B]."""
        for _ in range(self.batches):
            r = rng.choice(len(self.length), self.batch, p=self.length / self.length.sum())
            yield encode(np.rint(self._windows(r, rng)), self.params), self.labels[r]

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
        counts = np.where(rng.random((size, 1, 1)) < s.mirror, counts * self.mirror, counts)
        return counts + rng.standard_normal(counts.shape, np.float32) * (s.noise * self.std)


def rotations(vectors: np.ndarray) -> np.ndarray:
    """Rotation matrices [B, 3, 3] about vectors [B, 3] by their length in radians (Rodrigues)."""
    angle = np.maximum(np.linalg.norm(vectors, axis=1), 1e-12)[:, None, None]
    k = np.zeros((len(vectors), 3, 3))
    x, y, z = (vectors / angle[:, 0]).T
    k[:, 0, 1], k[:, 0, 2], k[:, 1, 2] = -z, y, -x
    k -= k.transpose(0, 2, 1)
    return np.eye(3) + np.sin(angle) * k + (1 - np.cos(angle)) * (k @ k)
