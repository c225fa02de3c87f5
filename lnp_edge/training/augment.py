"""Random training windows, changed as another wearer or another day would change them."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

import numpy as np

from lnp_edge.config import Augmentation
from lnp_edge.encoders.affine import moments
from lnp_edge.task.dataset import Dataset, Windows
from lnp_edge.task.task import Task, encoded

LONGEST = 10.0  # windows; the data cannot tell longer time constants apart, integers lose precision
AT_ONCE = 2048  # windows: bounds the memory
MIRRORED = 0.5  # share of windows that are mirrored, if the data set defines how


def triples(channels: tuple[str, ...]) -> list[int]:
    """The first index of each run of channels named ..x, ..y, ..z with the same prefix."""
    starts = range(len(channels) - 2)
    return [k for k in starts if [channels[k + d] for d in range(3)] == [channels[k][:-1] + a for a in "xyz"]]


def vectors(dataset: Dataset) -> list[slice | list[int]]:
    """The channels of each vector: those that the data set names, else by their names."""
    if dataset.vectors is None:
        return [slice(k, k + 3) for k in triples(dataset.channels)]
    return [list(three) for three in dataset.vectors]


def windows(dataset: Dataset, task: Task, strength: Augmentation, count: int, seed: int = 1) -> Windows:
    """Random windows of recordings, in counts, changed as `strength` says; a longer recording gives more of them."""
    crops, rng = Crops(dataset, task, AT_ONCE, strength), np.random.default_rng(seed)
    which = rng.choice(len(crops.length), count, p=crops.share)
    parts = [crops.counts(which[k : k + AT_ONCE], rng) for k in range(0, count, AT_ONCE)]
    counts = np.concatenate(parts) if parts else np.empty((0, task.window, len(dataset.channels)), np.int16)
    return Windows(counts, crops.labels[which], crops.groups[which])


class _Recordings:
    """The recordings that are long enough for a window and `ahead` more steps, concatenated."""

    def __init__(self, dataset: Dataset, task: Task, batch: int, ahead: int, settings: object):
        usable = [r for r, a in enumerate(dataset.recordings) if len(a) >= task.window + ahead]
        whole = len(usable) == len(dataset.recordings)
        self.signal = dataset.samples() if whole else np.concatenate([dataset.recordings[r] for r in usable])
        self.length = np.array([len(dataset.recordings[r]) for r in usable])
        self.start = np.cumsum(self.length) - self.length
        self.labels, self.groups = dataset.labels[usable], dataset.groups[usable]
        self.task, self.samples, self.steps, self.batch = task, task.window, task.steps, batch
        self.longest = LONGEST * self.steps
        self.std = moments(self.signal)[1].astype(np.float32)
        parts = (self.signal, self.labels, self.length)
        self.identity = f"{[zlib.crc32(a.tobytes()) for a in parts]} {task.window} {task.front} {batch} {settings}"
        # As many windows as with a hop of half a window; once each if a recording is one window.
        overlap = 2 if self.length.max() > self.samples else 1
        self.batches = max(1, round(overlap * self.length.sum() / self.samples / batch))


class Crops(_Recordings):
    """Batches of encoded random windows. Recordings are drawn in proportion to their length.

    balance : 0..1; a class is drawn in proportion to its number of samples to the power 1 - balance
    """

    def __init__(self, dataset: Dataset, task: Task, batch: int, strength: Augmentation, balance: float = 0.0):
        super().__init__(dataset, task, batch, 0, (strength, balance))
        self.strength = strength
        samples = np.bincount(self.labels, self.length, len(dataset.classes))
        weight = self.length * np.maximum(samples, 1)[self.labels] ** -balance
        self.share = weight / weight.sum()
        self.vectors = vectors(dataset)
        # Augmentation works about zero; None where all are 0, as a sum with 0 could still change the last bit.
        zero = np.array([q.rest for q in dataset.quantities], np.float32)
        self.zero = zero if zero.any() else None
        mirror = np.array(dataset.mirror or range(1, len(dataset.channels) + 1))
        self.mirror_from, self.mirror_sign = np.abs(mirror) - 1, np.sign(mirror).astype(np.float32)
        self.pixel = dataset.pixel

    def epoch(self, rng: np.random.Generator) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield pairs of x float32 [B, T, inputs] and labels [B]."""
        for _ in range(self.batches):
            r = rng.choice(len(self.length), self.batch, p=self.share)
            yield encoded(self.task, np.rint(self._windows(r, rng))), self.labels[r]

    def counts(self, r: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """A window int16 [T, C] of each of the recordings r, changed."""
        return np.clip(np.rint(self._windows(r, rng)), -32768, 32767).astype(np.int16)

    def _windows(self, r: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        s, size = self.strength, len(r)
        last = self.samples - 1
        speed = np.minimum(np.exp(rng.normal(0, s.speed, size)), (self.length[r] - 1) / max(last, 1))
        first = rng.random(size) * (self.length[r] - 1 - speed * last)
        at = np.minimum(first[:, None] + speed[:, None] * np.arange(self.samples), self.length[r][:, None] - 1)
        below = np.minimum(at.astype(np.int64), np.maximum(self.length[r][:, None] - 2, 0))
        part = (at - below).astype(np.float32)[..., None]
        below += self.start[r][:, None]
        return self._changed(below, part, np.arange(size)[:, None], rng)

    def _changed(self, below: np.ndarray, part: np.ndarray, of: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """The signal between samples `below` [B, T] and the next, augmented.

        part : [B, T, 1], of the way to the next
        of   : [B, 1] or [B, T], the stretch of each sample, counted from 0; each is changed in its own way
        """
        s, size = self.strength, int(of.max()) + 1
        counts = self.signal[below].astype(np.float32)
        counts += (self.signal[np.minimum(below + 1, len(self.signal) - 1)] - counts) * part
        if self.vectors:
            if self.zero is not None:
                counts -= self.zero
            turn = rotations(rng.normal(0, s.rotation, (size, 3))).astype(np.float32)
            for three in self.vectors:
                size_of = np.exp(rng.normal(0, s.scale, (size, 1, 1))).astype(np.float32)
                x, change = counts[..., three], turn * size_of
                whole = of.shape[1] == 1  # then one product for each row
                counts[..., three] = x @ change if whole else np.einsum("bti,btij->btj", x, change[of])
            if self.zero is not None:
                counts += self.zero
        mirrored = counts[..., self.mirror_from] * self.mirror_sign
        counts = np.where((rng.random(size) < MIRRORED)[of][..., None], mirrored, counts)
        if s.shift and self.pixel:
            counts = self._moved(counts, rng)
        if s.noise and self.task.front.module.NOISE:
            counts = counts + rng.standard_normal(counts.shape, np.float32) * (s.noise * self.std)
        return counts

    def _moved(self, counts: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Images shifted by up to strength.shift rows and columns, filled with the edge."""
        rows, columns = rng.integers(-self.strength.shift, self.strength.shift + 1, (2, len(counts), 1))
        images = counts.reshape(*counts.shape[:2], -1, self.pixel)
        row = np.clip(np.arange(images.shape[1]) + rows, 0, images.shape[1] - 1)
        column = np.clip(np.arange(images.shape[2]) + columns, 0, images.shape[2] - 1)
        which = np.arange(len(images))[:, None, None]
        return images[which, row[:, :, None], column[:, None, :]].reshape(counts.shape)


class Stretches(_Recordings):
    """Batches of a series: random windows, and the wanted forecast at each step after the washout.

    Noise is added to the input but not to the wanted forecast, which therefore leads back to the
    clean series. This keeps a closed loop from drifting away.
    """

    def __init__(self, dataset: Dataset, task: Task, batch: int, strength: Augmentation, washout: float):
        assert task.forecast
        self.horizon, self.target = task.forecast.horizon, list(task.forecast.target)
        super().__init__(dataset, task, batch, self.horizon, (strength.noise, washout))
        self.noise = strength.noise if task.front.module.NOISE else 0.0
        self.unit = np.array(task.forecast.unit, np.float32)
        self.first = min(int(washout * self.steps), self.steps - 1)

    def epoch(self, rng: np.random.Generator) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield pairs of x float32 [B, T, inputs] and wanted float32 [B, T - washout, O].

        Wanted is in units of the float read-out.
        """
        starts = self.length - self.samples - self.horizon + 1
        frame = self.task.front.frame
        ends = slice(frame * (self.first + 1) - 1, self.samples, frame)  # the last sample of each step
        for _ in range(self.batches):
            r = rng.choice(len(self.length), self.batch, p=starts / starts.sum())
            first = self.start[r] + rng.integers(0, starts[r])
            clean = self.signal[first[:, None] + np.arange(self.samples + self.horizon)].astype(np.float32)
            counts = clean[:, : self.samples]
            if self.noise:
                counts = counts + rng.standard_normal(counts.shape, np.float32) * (self.noise * self.std)
            counts = np.clip(np.rint(counts), -32768, 32767)
            later = clean[:, self.horizon :][:, ends, self.target]
            yield encoded(self.task, counts), (later - counts[:, ends, self.target]) / self.unit


def rotations(vectors: np.ndarray) -> np.ndarray:
    """Rotation matrices [B, 3, 3] about vectors [B, 3], by their length in radians (Rodrigues)."""
    angle = np.maximum(np.linalg.norm(vectors, axis=1), 1e-12)[:, None, None]
    k = np.zeros((len(vectors), 3, 3))
    x, y, z = (vectors / angle[:, 0]).T
    k[:, 0, 1], k[:, 0, 2], k[:, 1, 2] = -z, y, -x
    k -= k.transpose(0, 2, 1)
    return np.eye(3) + np.sin(angle) * k + (1 - np.cos(angle)) * (k @ k)
