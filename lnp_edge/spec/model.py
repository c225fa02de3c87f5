"""The quantised model: all that generation, the reference and a device know of a network."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from lnp_edge.base.errors import ModelError
from lnp_edge.spec import plugins

MAX_IN, MAX_NEURONS, MAX_OUT = 1024, 65535, 256
MAX_SHIFT = 16
INT32_MAX = 2**31 - 1
X_MAX = 127  # |network input|, SEMANTICS.md section 4
MAX_UNIT = 1e9  # counts per unit of a read-out

Ints = NDArray[np.int32]


@dataclass(frozen=True)
class CSR:
    """A sparse matrix with one row per presynaptic unit: one spike touches one contiguous slice.

    indptr : int32 [n_pre + 1]; indices, data : int32 [nnz]; shape : (n_pre, n_post)
    """

    indptr: Ints
    indices: Ints
    data: Ints
    shape: tuple[int, int]

    @classmethod
    def from_dense(cls, w: NDArray) -> CSR:
        """The non-zero entries of w [n_pre, n_post]."""
        pre, post = np.nonzero(w)
        indptr = np.zeros(w.shape[0] + 1, np.int32)
        np.cumsum(np.bincount(pre, minlength=w.shape[0]), out=indptr[1:])
        return cls(indptr, post.astype(np.int32), w[pre, post].astype(np.int32), (w.shape[0], w.shape[1]))

    @property
    def nnz(self) -> int:
        return len(self.data)

    def dense(self) -> Ints:
        w = np.zeros(self.shape, np.int32)
        w[self.rows(), self.indices] = self.data
        return w

    def rows(self) -> Ints:
        """The presynaptic unit of each stored entry, int32 [nnz]."""
        return np.repeat(np.arange(self.shape[0], dtype=np.int32), np.diff(self.indptr))

    def column_sums(self) -> NDArray[np.int64]:
        """sum |w| that each target receives, int64 [n_post]."""
        sums = np.zeros(self.shape[1], np.int64)
        np.add.at(sums, self.indices, np.abs(self.data.astype(np.int64)))
        return sums

    def column_max(self) -> Ints:
        """Largest |w| that each target receives, int32 [n_post]."""
        largest = np.zeros(self.shape[1], np.int32)
        np.maximum.at(largest, self.indices, np.abs(self.data))
        return largest

    def check(self, name: str, shape: tuple[int, int]) -> None:
        bad = "the model file is damaged: write it again with lnp quantize"
        if self.shape != shape:
            raise ModelError(f"{name} is {self.shape[0]} x {self.shape[1]}, not {shape[0]} x {shape[1]}", bad)
        n_pre, n_post = shape
        steps = np.diff(self.indptr.astype(np.int64))
        if len(self.indptr) != n_pre + 1 or self.indptr[0] != 0 or self.indptr[-1] != self.nnz:
            raise ModelError(f"{name}.indptr does not span its {self.nnz} entries", bad)
        if (steps < 0).any():
            raise ModelError(f"{name}.indptr falls at row {int(np.argmax(steps < 0))}", bad)
        if len(self.indices) != self.nnz or (self.nnz and not 0 <= self.indices.min() <= self.indices.max() < n_post):
            raise ModelError(f"{name}.indices has a column outside 0..{n_post - 1}", bad)
        order = self.rows().astype(np.int64) * n_post + self.indices
        if (np.diff(order) <= 0).any():
            row = int(self.rows()[1:][np.diff(order) <= 0][0])
            raise ModelError(f"{name} row {row} repeats a column or is not in order", bad)
        if self.nnz and (np.abs(self.data).max() > 127 or (self.data == 0).any()):
            raise ModelError(f"{name} holds a weight of 0 or beyond +-127", bad)


@dataclass(frozen=True)
class Forecast:
    """What the read-outs foretell: count[t + horizon, target] = count[t, target] + unit * y[t].

    target : channel of each read-out;  horizon : steps;  unit : counts per unit of each y
    """

    target: tuple[int, ...]
    horizon: int
    unit: tuple[float, ...]

    def of(self, now: NDArray, y: NDArray) -> NDArray[np.float64]:
        """What is foretold, in counts [..., n_out]; now : counts [..., n_in], y [..., n_out]

        One product and one sum of doubles, each rounded: equal y give equal forecasts on any computer.
        """
        return now[..., list(self.target)].astype(np.float64) + y * np.array(self.unit)

    def closes(self, n_in: int) -> bool:
        """Can the forecasts be fed back as the next counts?"""
        return self.horizon == 1 and self.target == tuple(range(n_in))

    def check(self, n_in: int, n_out: int) -> None:
        what = f"the model foretells channels {self.target[:8]} of {n_in}, {self.horizon} steps ahead"
        hint = "write the model again with lnp quantize"
        if not len(self.target) == len(self.unit) == n_out:
            raise ModelError(f"{what}, with {n_out} read-outs", hint)
        if not (all(0 <= c < n_in for c in self.target) and 1 <= self.horizon <= 2**20):
            raise ModelError(what, hint)
        if not all(0 < u <= MAX_UNIT for u in self.unit):  # false of NaN
            raise ModelError(f"{what}, in units of {self.unit[:8]} counts", hint)


@dataclass(frozen=True)
class QuantizedModel:
    """A network in the integers of SEMANTICS.md. Checked where it enters (`check`), trusted after."""

    neuron: str
    params: dict[str, Ints]
    w_in: CSR
    w_rec: CSR
    w_out: CSR
    shift_in: int
    shift_rec: int
    shift_out: int
    c_out: Ints
    bias_out: Ints
    encoder: str
    encoder_params: dict[str, Ints]
    # What the integers do not depend on: not part of the fingerprint.
    dt: float  # s
    window: int  # steps a prediction looks at
    hop: int  # steps from one prediction to the next
    channels: tuple[str, ...]
    classes: tuple[str, ...]
    provenance: dict = field(default_factory=dict)
    forecast: Forecast | None = None  # of a series; None where the largest y is a class

    @property
    def n_in(self) -> int:
        return self.w_in.shape[0]

    @property
    def n(self) -> int:
        return self.w_in.shape[1]

    @property
    def n_out(self) -> int:
        return self.w_out.shape[1]

    @property
    def state_fields(self) -> tuple[str, ...]:
        return plugins.get("lnp_edge.neurons", self.neuron).STATE

    @property
    def z_words(self) -> int:
        return -(-self.n // 32)

    @property
    def state_words(self) -> int:
        """32-bit words of state, in the order of SEMANTICS.md section 5."""
        return len(self.state_fields) * self.n + self.z_words + self.n_out

    def locate(self, word: int) -> tuple[str, int]:
        """The field and index a state word belongs to; for z the index is that of the word's first neuron."""
        for name in self.state_fields:
            if word < self.n:
                return name, word
            word -= self.n
        return ("z", 32 * word) if word < self.z_words else ("y", word - self.z_words)

    def arrays(self) -> Iterator[tuple[str, NDArray]]:
        """Every array and size that the integers depend on, in the order of the fingerprint."""
        sizes = [self.n_in, self.n, self.n_out, self.shift_in, self.shift_rec, self.shift_out]
        yield "sizes", np.array(sizes, np.int32)
        for name in plugins.get("lnp_edge.encoders", self.encoder).PARAMS:
            yield f"encoder_{name}", self.encoder_params[name]
        for matrix, w in (("w_in", self.w_in), ("w_rec", self.w_rec), ("w_out", self.w_out)):
            yield f"{matrix}_indptr", w.indptr
            yield f"{matrix}_indices", w.indices
            yield f"{matrix}_data", w.data
        for name in plugins.get("lnp_edge.neurons", self.neuron).PARAMS:
            yield name, self.params[name]
        yield "c_out", self.c_out
        yield "bias_out", self.bias_out

    @cached_property
    def fingerprint(self) -> int:
        """CRC-32 of neuron, encoder and every array, each preceded by its length, little-endian int32."""
        crc = zlib.crc32(f"lnp-edge model 1,{self.neuron},{self.encoder}".encode())
        for _, array in self.arrays():
            crc = zlib.crc32(len(array).to_bytes(4, "little"), crc)
            crc = zlib.crc32(np.ascontiguousarray(array, "<i4").tobytes(), crc)
        return crc

    def check(self) -> QuantizedModel:
        """Refuse whatever SEMANTICS.md does not allow, naming it; returns self."""
        damaged = "the model file is damaged or foreign: write it again with lnp quantize"
        for what, value, most in (
            ("channels", self.n_in, MAX_IN),
            ("neurons", self.n, MAX_NEURONS),
            ("read-outs", self.n_out, MAX_OUT),
        ):
            if not 1 <= value <= most:
                raise ModelError(f"the model has {value} {what}", f"1 to {most} are possible")
        for name in ("shift_in", "shift_rec", "shift_out"):
            if not 0 <= getattr(self, name) <= MAX_SHIFT:
                raise ModelError(f"{name} is {getattr(self, name)}, outside 0..{MAX_SHIFT}", damaged)
        if not (np.isfinite(self.dt) and 0 < self.dt < 1e6):
            raise ModelError(f"dt is {self.dt} s", "a step lasts more than 0 s and less than 1e6 s")
        if not (1 <= self.hop <= self.window <= 2**20):
            raise ModelError(f"window {self.window}, hop {self.hop} steps", "1 <= hop <= window <= 2**20")
        if len(self.channels) != self.n_in or len(self.classes) != self.n_out:
            raise ModelError(f"{len(self.channels)} channel and {len(self.classes)} class names", damaged)
        self.w_in.check("w_in", (self.n_in, self.n))
        self.w_rec.check("w_rec", (self.n, self.n))
        self.w_out.check("w_out", (self.n, self.n_out))
        neuron = plugins.get("lnp_edge.neurons", self.neuron)
        for name, kind in neuron.PARAMS.items():
            self._check_range(name, self.params.get(name), self.n, kind.low, kind.high)
        encoder = plugins.get("lnp_edge.encoders", self.encoder)
        for name, (low, high) in encoder.PARAMS.items():
            self._check_range(f"encoder {name}", self.encoder_params.get(name), self.n_in, low, high)
        self._check_range("c_out", self.c_out, self.n_out, 1, 32768)
        self._check_range("bias_out", self.bias_out, self.n_out, -INT32_MAX, INT32_MAX)
        if self.forecast:
            self.forecast.check(self.n_in, self.n_out)
        self._prove_no_overflow()
        return self

    @staticmethod
    def _check_range(name: str, values: Ints | None, count: int, low: int, high: int) -> None:
        if values is None or values.shape != (count,):
            raise ModelError(f"{name} has not {count} values", "the model file is damaged: run lnp quantize again")
        if values.min() < low or values.max() > high:
            at = int(np.argmax((values < low) | (values > high)))
            raise ModelError(f"{name}[{at}] is {values[at]}, outside {low}..{high}", "run lnp quantize again")

    def neuron_bounds(self) -> list[int]:
        """Largest |value| that any variable of neuron i can reach, SEMANTICS.md section 6. Python integers, [n]."""
        neuron = plugins.get("lnp_edge.neurons", self.neuron)
        from_input = (self.w_in.column_sums() * X_MAX).tolist()
        from_spikes = self.w_rec.column_sums().tolist()
        params = zip(*(self.params[p].tolist() for p in neuron.PARAMS), strict=True)
        return [
            neuron.bound((a << self.shift_in) + (b << self.shift_rec), *p)
            for a, b, p in zip(from_input, from_spikes, params, strict=True)
        ]

    def readout_bounds(self) -> list[int]:
        """Largest |y| of each read-out, SEMANTICS.md section 6. Python integers, [n_out]."""
        columns = (self.w_out.column_sums().tolist(), self.c_out.tolist(), self.bias_out.tolist())
        return [
            -(-((spikes << self.shift_out) + abs(bias) + 1) * 65536 // c)
            for spikes, c, bias in zip(*columns, strict=True)
        ]

    def _prove_no_overflow(self) -> None:
        for what, bounds in (("neuron", self.neuron_bounds()), ("read-out", self.readout_bounds())):
            for i, most in enumerate(bounds):
                if most > INT32_MAX:
                    raise ModelError(
                        f"{what} {i} may reach {f'{most:,}'.replace(',', ' ')}, beyond int32",
                        "shorten its time constants or prune more, then quantise again",
                    )
