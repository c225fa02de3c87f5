"""Random training streams in which the class changes, with a label at every step."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from lnp_edge.config import Augmentation, StreamSettings
from lnp_edge.task import streams
from lnp_edge.task.dataset import Dataset
from lnp_edge.task.task import Task, encoded
from lnp_edge.training.augment import Crops

EPOCH = 20  # batches
STRETCH = 1, 4  # windows: the shortest and the longest stretch of one recording
LENGTH = 3  # windows in a stream


class Streams(Crops):
    """Batches of streams of LENGTH windows, each joined from random stretches of the training data.

    Stretches are cut about random labelled samples, and played at random speeds. A stream starts from a
    reset. A step has no loss in the first `washout` of a stream, without a label, such as in a transition,
    and until `grace` after the class before it ended: a transition between two classes is part of the grace.
    """

    def __init__(
        self, dataset: Dataset, task: Task, batch: int, strength: Augmentation, balance: float, washout: float,
        stream: StreamSettings,
    ):  # fmt: skip
        frame = task.front.frame
        parts = [part for part in streams.parts(dataset) if len(part.labels) >= frame]
        whole = replace(
            dataset,
            recordings=tuple(part.signal for part in parts),
            labels=np.zeros(len(parts), np.int64),
            groups=np.array([part.group for part in parts]),
            streams=(),
        )
        super().__init__(whole, replace(task, window=frame), batch, strength)
        self.longest = task.steps  # else it would forget more slowly than it settles
        self.batches, self.samples = EPOCH, LENGTH * task.window
        self.steps = self.samples // frame
        self.stretch = [windows * task.window for windows in STRETCH]
        self.label = np.concatenate([part.labels for part in parts])
        self.part = np.repeat(np.arange(len(parts)), self.length)
        weight = np.maximum(np.bincount(self.label[self.label >= 0], minlength=len(dataset.classes)), 1) ** -balance
        self.labelled = np.flatnonzero(self.label >= 0)
        total = np.cumsum(weight[self.label[self.labelled]])
        self.chance = total / total[-1]
        self.grace = math.ceil(stream.grace / (dataset.dt * frame) - 1e-9)
        self.first = int(washout * self.steps)
        crc = zlib.crc32(self.label.tobytes())
        self.identity += f" {crc} {balance} {task.window} {self.grace} {self.first}"

    def epoch(self, rng: np.random.Generator) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield pairs of x float32 [B, T, inputs] and labels [B, T], UNLABELLED where there is no loss."""
        for _ in range(self.batches):
            below, part, of = self._places(rng)
            x = encoded(self.task, np.rint(self._changed(below, part, of, rng)))
            frame = self.task.front.frame
            yield x, self._targets(self.label[below[:, frame - 1 :: frame]])

    def _places(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The sample below each place [B, T], its part of the way to the next [B, T, 1], and its stretch [B, T]."""
        shortest, longest = self.stretch
        shape = self.batch, -(-self.samples // shortest)
        middle = self.labelled[np.searchsorted(self.chance, rng.random(shape), side="right")]
        speed = np.exp(rng.normal(0, self.strength.speed, shape))
        wanted = rng.integers(shortest, longest + 1, shape)
        first, length = self.start[self.part[middle]], self.length[self.part[middle]]
        span = np.minimum((wanted - 1) * speed, length - 1)
        begin = np.clip(middle - rng.random(shape) * span, first, first + length - 1 - span)
        # A recording that is shorter than its stretch ends before it: the next one begins, or the same again.
        taken = np.floor(span / speed).astype(np.int64) + 1
        stop = np.cumsum(taken, axis=1)
        t = np.arange(self.samples)
        now = t % np.maximum(1, stop[:, -1:])
        slot = (now[:, :, None] >= stop[:, None]).sum(2)
        row = np.arange(self.batch)[:, None]
        at = begin[row, slot] + (now - (stop - taken)[row, slot]) * speed[row, slot]
        last = (first + length - 1)[row, slot]
        below = np.minimum(at.astype(np.int64), np.maximum(last - 1, first[row, slot]))
        return below, np.clip(at - below, 0, 1).astype(np.float32)[..., None], row * shape[1] + slot

    def _targets(self, label: np.ndarray) -> np.ndarray:
        """Labels [B, T] with UNLABELLED where there is no loss."""
        t = np.arange(label.shape[1])
        known = np.maximum.accumulate(np.where(label >= 0, t, -1), axis=1)  # the last step with a label
        before = np.pad(known[:, :-1], ((0, 0), (1, 0)), constant_values=-1)
        other = (label >= 0) & (before >= 0) & (np.take_along_axis(label, np.maximum(before, 0), 1) != label)
        ended = np.maximum.accumulate(np.where(other, before, -1), axis=1)  # the class before
        fresh = (t - ended <= self.grace) & (ended >= 0)  # the stream's own begin is no change
        return np.where(fresh | (t < self.first), streams.UNLABELLED, label)
