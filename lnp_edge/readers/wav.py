"""WAV, by scipy: a channel is a column, and the file says its rate."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from lnp_edge.base.errors import DataError
from lnp_edge.readers import BLOCK_ROWS, Block, Column, Empty, Table, damaged, finite_or_nan

ENDINGS = (".wav",)
MAX_BYTES = 2**29  # of a file of 24 bits, which cannot be mapped into memory


def open_table(path: Path) -> Table:
    from scipy.io import wavfile

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of chunks that hold no samples
            try:
                rate, samples = wavfile.read(path, mmap=True)
            except ValueError:
                if path.stat().st_size > MAX_BYTES:
                    raise
                rate, samples = wavfile.read(path)
    except Exception as e:  # a damaged file raises many types
        raise damaged(path, e) from None
    samples = samples[:, None] if samples.ndim == 1 else samples
    if not len(samples):
        raise Empty(f"{path} has no samples", "remove it")
    if rate < 1:
        raise DataError(f"{path} has a rate of {rate} Hz", "write it again")
    return _Wav(path, samples, float(rate))


class _Wav(Table):
    def __init__(self, path: Path, samples: np.ndarray, rate: float):
        super().__init__(path, [Column(f"{k + 1}") for k in range(samples.shape[1])], False, rate)
        self.samples = samples

    def blocks(self, numbers: Sequence[str], others: Sequence[str]) -> Iterator[Block]:
        self.rows = 0
        for k in range(0, len(self.samples), BLOCK_ROWS):
            part = self.samples[k : k + BLOCK_ROWS]
            self.rows += len(part)
            if part.dtype == np.uint8:  # WAV of 8 bits rests at 128
                part = part.astype(np.int16) - 128
            elif part.dtype == np.int32:  # 24 bits, at the top of 32
                part = part / 2.0**16
            yield {name: finite_or_nan(part[:, int(name) - 1]) for name in (*numbers, *others)}
