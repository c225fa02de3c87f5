"""The quantised model: the common input of generation, the reference and a device.

A model consists of populations and projections. A population is n neurons of one kind; the last one
is the read-out, whose neurons do not spike. A projection holds the weights from a source to a
target population.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from lnp_edge.base.errors import ConfigError, ModelError
from lnp_edge.spec import plugins
from lnp_edge.spec.decision import PLAIN, Decision
from lnp_edge.spec.frontend import GROUP, RAW, FrontEnd, inputs
from lnp_edge.spec.neuron import neuron_module
from lnp_edge.spec.quantity import LARGEST_MISSING, MOST_MISSING, Quantity

MAX_IN, MAX_NEURONS, MAX_OUT = 1024, 65535, 256
MAX_POPULATIONS, MAX_PROJECTIONS = 16, 64
MAX_SHIFT = 16
MIN_DT, MAX_DT = 1e-9, 1e6  # s: a step has MIN_DT or more, and less than MAX_DT
INT32_MAX = 2**31 - 1
X_MAX = 127  # |network input|, SEMANTICS.md section 3
LARGEST = {4: 7, 8: 127, 16: 32767}  # bits of a projection: largest |weight|, symmetric
READOUT = "out"  # the name that quantisation gives the read-out
INPUT = "input"  # as the source of a projection: the encoder's output
# Of populations and projections: the names become C identifiers.
NAME = re.compile(r"[a-z][a-z0-9]{0,15}(_[a-z0-9]{1,16})?")
MAX_UNIT = 1e9  # counts per unit of a read-out

Ints = NDArray[np.int32]


@dataclass(frozen=True)
class CSR:
    """A sparse matrix with one row per presynaptic unit: a spike reads one contiguous slice.

    indptr : int32 [n_pre + 1]; indices, data : int32 [nnz]; shape : (n_pre, n_post)
    """

    indptr: Ints
    indices: Ints
    data: Ints
    shape: tuple[int, int]

    @classmethod
    def from_dense(cls, w: NDArray) -> CSR:
        """A matrix of the non-zero entries of w [n_pre, n_post]."""
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

    def column_sums(self, largest: NDArray | int = 1) -> NDArray[np.int64]:
        """Largest |weighted sum| that each target can receive, int64 [n_post].

        largest : the largest |value| that each presynaptic unit sends, [n_pre] or one for all
        """
        sent = np.broadcast_to(np.asarray(largest, np.int64), self.shape[:1])
        sums = np.zeros(self.shape[1], np.int64)
        np.add.at(sums, self.indices, np.abs(self.data.astype(np.int64)) * sent[self.rows()])
        return sums

    def check(self, name: str, shape: tuple[int, int], most: int) -> None:
        """Refuse a malformed matrix, another shape, and weights outside -most..most.

        name : what errors call the matrix
        """
        bad = "the model file is damaged: write it again with lnp quantize"
        if self.shape != shape:
            raise ModelError(f"{name} is {self.shape[0]} x {self.shape[1]}, expected {shape[0]} x {shape[1]}", bad)
        n_pre, n_post = shape
        steps = np.diff(self.indptr.astype(np.int64))
        if len(self.indptr) != n_pre + 1 or self.indptr[0] != 0 or self.indptr[-1] != self.nnz:
            raise ModelError(f"{name}.indptr does not span its {self.nnz} entries", bad)
        if (steps < 0).any():
            raise ModelError(f"{name}.indptr decreases at row {int(np.argmax(steps < 0))}", bad)
        if len(self.indices) != self.nnz or (self.nnz and not 0 <= self.indices.min() <= self.indices.max() < n_post):
            raise ModelError(f"{name}.indices has a column outside 0..{n_post - 1}", bad)
        order = self.rows().astype(np.int64) * n_post + self.indices
        if (np.diff(order) <= 0).any():
            row = int(self.rows()[1:][np.diff(order) <= 0][0])
            raise ModelError(f"{name} row {row} repeats a column or is not sorted", bad)
        if self.nnz and (np.abs(self.data).max() > most or (self.data == 0).any()):
            raise ModelError(f"{name} has a weight of 0 or outside -{most}..{most}", bad)


@dataclass(frozen=True)
class Forecast:
    """What the read-outs forecast: count[t + horizon, target] = count[t, target] + unit * y[t].

    target  : the channel of each read-out
    horizon : steps
    unit    : counts per unit of each y
    """

    target: tuple[int, ...]
    horizon: int
    unit: tuple[float, ...]

    def of(self, now: NDArray, y: NDArray) -> NDArray[np.float64]:
        """The forecast, in counts [..., n_out].

        now : the present counts [..., n_in]
        y   : the read-outs [..., n_out]

        One product and one sum of doubles, each rounded: equal y give equal forecasts everywhere.
        """
        return now[..., list(self.target)].astype(np.float64) + y * np.array(self.unit)

    def closes(self, n_in: int) -> bool:
        """Whether the forecasts can be fed back as the next counts."""
        return self.horizon == 1 and self.target == tuple(range(n_in))

    def check(self, n_in: int, n_out: int) -> None:
        """Raise ModelError if the forecast does not suit n_in channels and n_out read-outs."""
        what = f"the model forecasts channels {self.target[:8]} of {n_in}, {self.horizon} steps ahead"
        hint = "write the model again with lnp quantize"
        if not len(self.target) == len(self.unit) == n_out:
            raise ModelError(f"{what}, with {n_out} read-outs", hint)
        if not (all(0 <= c < n_in for c in self.target) and 1 <= self.horizon <= 2**20):
            raise ModelError(what, hint)
        if not all(0 < u <= MAX_UNIT for u in self.unit):  # false of NaN
            raise ModelError(f"{what}, in units of {self.unit[:8]} counts", hint)


@dataclass(frozen=True)
class Population:
    """n neurons of one kind.

    params : int32 [n] each, named as in TABLES of the neuron's file
    """

    name: str
    neuron: str
    n: int
    params: dict[str, Ints]

    @property
    def module(self) -> ModuleType:
        """The neuron's file."""
        return neuron_module(self.neuron)

    @property
    def spikes(self) -> bool:
        """Whether the neurons spike. Those of a read-out do not."""
        return hasattr(self.module, "drive_for")

    @property
    def z_words(self) -> int:
        """32-bit words of the packed spikes."""
        return -(-self.n // 32) if self.spikes else 0

    @property
    def state_words(self) -> int:
        return len(self.module.STATE) * self.n + self.z_words


@dataclass(frozen=True)
class Projection:
    """Weights from a source to a target population, which sums w * 2**shift * value.

    source : INPUT, or the name of a population that spikes
    """

    name: str
    source: str
    target: str
    w: CSR
    shift: int
    bits: int = 8  # of a weight, a key of LARGEST


@dataclass(frozen=True)
class Field:
    """A range of state words: one state variable of a population or of the front end, or spikes z.

    population : its name; GROUP for the front end, whose variables have one word per channel
    """

    population: str
    name: str
    words: int

    @property
    def full_name(self) -> str:
        return f"{self.population}_{self.name}"


def steps_a_second(dt: float, window: int, hop: int, stream: bool) -> float:
    """Steps of dt s for a second of signal: every hop brings a window that starts from a reset, if it is no stream."""
    return (1.0 if stream else window / hop) / dt


@dataclass(frozen=True)
class QuantizedModel:
    """A network in the integers of SEMANTICS.md. `check` validates it once; it is trusted after.

    populations : in the order of a step, the read-out last. A projection reads the spikes of this
        step if its source comes before its target, and else those of the previous step. So there
        are no cycles within a step.
    """

    encoder: str
    encoder_params: dict[str, Ints]
    populations: tuple[Population, ...]
    projections: tuple[Projection, ...]
    # The integers do not depend on the rest: it is not part of the fingerprint.
    dt: float  # s, of a step
    window: int  # samples per prediction
    hop: int  # samples from one prediction to the next
    channels: tuple[str, ...]
    classes: tuple[str, ...]
    provenance: dict = field(default_factory=dict)
    forecast: Forecast | None = None  # None: a classifier, whose largest y is the class
    front: FrontEnd = RAW  # part of the fingerprint
    decision: Decision = PLAIN  # of a classifier; of a forecast only the training range
    quantities: tuple[Quantity, ...] = ()  # of each channel; () if nothing is known but counts
    missing: tuple[float, ...] = ()  # values that stand for no sample, as recordings hold them: quantity.is_missing

    @property
    def n_in(self) -> int:
        """Number of counts that one step takes: `front.frame` samples of every channel."""
        return self.front.frame * len(self.channels)

    @cached_property
    def inputs(self) -> tuple[str, ...]:
        """The name of each input of the network: a feature of a channel."""
        return inputs(self.front, self.channels)

    @property
    def sample_dt(self) -> float:
        """s from one sample to the next."""
        return self.dt / self.front.frame

    @property
    def open_windows(self) -> int:
        """Windows that a sample belongs to, each a network of its own; one if it is never reset."""
        return 1 if self.decision.stream else -(-self.window // self.hop)

    @property
    def steps_a_second(self) -> float:
        """Steps for a second of signal, all windows together."""
        return steps_a_second(self.dt, self.window, self.hop, self.decision.stream)

    @property
    def missing_counts(self) -> tuple[int, ...]:
        """Counts that stand for no sample; none if recordings hold physical values of some channel."""
        if not all(q.in_file for q in self.quantities):
            return ()
        return tuple(int(v) for v in self.missing if v.is_integer() and -32768 <= v <= 32767)

    @property
    def forecast_quantities(self) -> tuple[Quantity, ...]:
        """The quantity that each read-out of a forecast gives."""
        known = self.quantities or (Quantity(),) * len(self.channels)
        return tuple(known[c] for c in self.forecast.target) if self.forecast else ()

    def rows(self, counts: NDArray[np.int16]) -> NDArray[np.int16]:
        """Samples [..., T, C] as the rows of steps, [..., T / frame, n_in]."""
        return counts.reshape(*counts.shape[:-2], -1, self.n_in)

    @property
    def n(self) -> int:
        """Number of neurons that spike."""
        return sum(p.n for p in self.populations if p.spikes)

    @property
    def readout(self) -> Population:
        return self.populations[-1]

    @property
    def n_out(self) -> int:
        return self.readout.n

    @property
    def synapses(self) -> int:
        """Number of stored weights of all projections."""
        return sum(p.w.nnz for p in self.projections)

    def population(self, name: str) -> Population:
        return next(p for p in self.populations if p.name == name)

    def projection(self, name: str) -> Projection:
        return next(p for p in self.projections if p.name == name)

    def into(self, population: Population) -> list[Projection]:
        """The projections into a population, in their order."""
        return [p for p in self.projections if p.target == population.name]

    def delayed(self, projection: Projection) -> bool:
        """Whether it reads the spikes of the previous step, not those of this step."""
        if projection.source == INPUT:
            return False
        names = [p.name for p in self.populations]
        return names.index(projection.source) >= names.index(projection.target)

    @cached_property
    def fields(self) -> tuple[Field, ...]:
        """The fields of the state words in their order, SEMANTICS.md section 5."""
        found = [Field(GROUP, name, len(self.channels)) for name in self.front.state]
        for p in self.populations:
            found += [Field(p.name, name, p.n) for name in p.module.STATE]
            found += [Field(p.name, "z", p.z_words)] if p.spikes else []
        return tuple(found)

    @cached_property
    def sizes(self) -> dict[tuple[str, tuple[str, ...]], tuple[Projection, dict[str, int]]]:
        """What spec/layout.py found of its projections, by a projection's name and the folders of the layouts: the
        projection, and the bytes of each layout's name. Each is asked for some ten times a program."""
        return {}

    @cached_property
    def state_words(self) -> int:
        """Number of 32-bit words of state."""
        return sum(f.words for f in self.fields)

    @cached_property
    def _y(self) -> slice:
        first = self.state_words - self.readout.state_words
        return slice(first, first + self.n_out)

    def y_of(self, words: NDArray) -> NDArray[np.int32]:
        """The read-out y, a copy [n_out], in all state words, uint32 or int32 [state_words]."""
        return words[self._y].view(np.int32).copy()

    def locate(self, word: int) -> tuple[Field, int]:
        """The field of a state word and the index in it; for z, that of the word's first neuron."""
        for f in self.fields:
            if word < f.words:
                return f, 32 * word if f.name == "z" else word
            word -= f.words
        raise IndexError(word)

    def spikes(self, words: NDArray[np.uint32]) -> NDArray[np.bool_]:
        """The spikes of all populations, bool [n], unpacked from state words."""
        found, first = [], 0
        for f in self.fields:
            if f.name == "z":
                packed = words[first : first + f.words].astype("<u4").view(np.uint8)
                found.append(np.unpackbits(packed, bitorder="little")[: self.population(f.population).n])
            first += f.words
        return np.concatenate(found).astype(bool)

    def arrays(self) -> Iterator[tuple[str, NDArray]]:
        """Every array and size that the integers depend on, in the order of the fingerprint."""
        sizes = [len(self.inputs), *(p.n for p in self.populations), *(p.shift for p in self.projections)]
        yield "sizes", np.array(sizes, np.int32)
        for name, values in self.front.tables.items():
            yield f"{GROUP}_{name}", values
        for name in plugins.get("lnp_edge.encoders", self.encoder).PARAMS:
            yield f"encoder_{name}", self.encoder_params[name]
        for projection in self.projections:
            yield f"w_{projection.name}_indptr", projection.w.indptr
            yield f"w_{projection.name}_indices", projection.w.indices
            yield f"w_{projection.name}_data", projection.w.data
        for p in self.populations:
            for name in p.module.TABLES:
                yield f"{p.name}_{name}", p.params[name]

    @property
    def structure(self) -> str:
        """The neurons and connections as text; for one recurrent layer, the neuron's name."""
        populations = [p.neuron for p in self.populations]
        names = [INPUT, *(p.name for p in self.populations)]
        joined = [(names.index(p.source), names.index(p.target)) for p in self.projections]
        if populations[1:] == ["li"] and joined == [(0, 1), (1, 1), (1, 2)]:
            return populations[0]
        return "+".join(populations) + "".join(f" {a}>{b}" for a, b in joined)

    @cached_property
    def fingerprint(self) -> int:
        """CRC-32 of the structure, the encoder and every array.

        Each array is preceded by its length; all numbers are little-endian int32.
        """
        front = "" if self.front.stacks else f",{self.front.kind} {self.front.frame}"
        crc = zlib.crc32(f"lnp-edge model 1,{self.structure},{self.encoder}{front}".encode())
        for _, array in self.arrays():
            crc = zlib.crc32(len(array).to_bytes(4, "little"), crc)
            crc = zlib.crc32(np.ascontiguousarray(array, "<i4").tobytes(), crc)
        return crc

    def check(self) -> QuantizedModel:
        """Return self. Raises ModelError naming whatever SEMANTICS.md does not allow."""
        damaged = "the model file is damaged or not ours: write it again with lnp quantize"
        self._check_shape(damaged)
        try:
            self.front.check()
        except ConfigError as e:
            raise ModelError(e.what, damaged) from None
        for k, (name, (low, high)) in enumerate(self.front.ranges.items()):
            values = np.array(self.front.params[k], np.int64) if k < len(self.front.params) else None
            self._check_range(f"{GROUP} {name}", values, len(self.channels), low, high)
        for what, value, most in (
            ("channels", len(self.channels), MAX_IN),
            ("counts a step", self.n_in, MAX_IN),
            ("inputs", len(self.front.features) * len(self.channels), MAX_IN),
            ("neurons", self.n, MAX_NEURONS),
            ("read-outs", self.n_out, MAX_OUT),
        ):
            if not 1 <= value <= most:
                raise ModelError(f"the model has {value} {what}", f"choose from 1 to {most}")
        if not MIN_DT <= self.dt < MAX_DT:
            raise ModelError(f"dt is {self.dt} s", f"choose a step of {MIN_DT:g} s or more, below {MAX_DT:g} s")
        if not (1 <= self.hop <= self.window <= 2**20) or self.window % self.front.frame:
            what = f"the window has {self.window} samples, the hop {self.hop} and a step {self.front.frame}"
            raise ModelError(what, "choose 1 <= hop <= window <= 2**20, and a window of whole steps")
        if len(self.classes) != self.n_out:
            raise ModelError(f"expected {self.n_out} class names, got {len(self.classes)}", damaged)
        sizes = {INPUT: len(self.inputs)} | {p.name: p.n for p in self.populations}
        for projection in self.projections:
            name, shape = f"w_{projection.name}", (sizes[projection.source], sizes[projection.target])
            if not 0 <= projection.shift <= MAX_SHIFT:
                raise ModelError(f"the shift of {name} is {projection.shift}, outside 0..{MAX_SHIFT}", damaged)
            projection.w.check(name, shape, LARGEST[projection.bits])
        for p in self.populations:
            for name, stored in p.module.TABLES.items():
                self._check_range(f"{p.name}_{name}", p.params.get(name), p.n, stored.low, stored.high)
        encoder = plugins.get("lnp_edge.encoders", self.encoder)
        for name, (low, high) in encoder.PARAMS.items():
            self._check_range(f"encoder {name}", self.encoder_params.get(name), len(self.inputs), low, high)
        if self.forecast:
            self.forecast.check(len(self.channels), self.n_out)
        self.decision.check(len(self.channels), self.window)
        decision = self.decision
        if self.forecast and (decision.without_range() != PLAIN or decision.ranged(self.window)):
            raise ModelError("a forecast has a rule for the decision of classes", damaged)
        if self.decision.stream and self.hop % self.front.frame:
            raise ModelError(f"a stream decides every {self.hop} samples, a step takes {self.front.frame}", damaged)
        if len(self.quantities) not in (0, len(self.channels)):
            raise ModelError(f"{len(self.quantities)} quantities of {len(self.channels)} channels", damaged)
        for channel, quantity in zip(self.channels, self.quantities, strict=False):
            quantity.check(channel)
        if len(self.missing) > MOST_MISSING or not all(abs(v) <= LARGEST_MISSING for v in self.missing):  # false of NaN
            raise ModelError(f"the values {self.missing[:8]} stand for none", damaged)
        self._check_full_names()
        self._prove_no_overflow()
        return self

    def _check_shape(self, damaged: str) -> None:
        """Check the number, names, neurons and connections of populations and projections."""
        if not (2 <= len(self.populations) <= MAX_POPULATIONS and len(self.projections) <= MAX_PROJECTIONS):
            what = f"{len(self.populations)} populations and {len(self.projections)} projections"
            raise ModelError(what, f"choose 2 to {MAX_POPULATIONS} and at most {MAX_PROJECTIONS}")
        for kind, parts in (("population", self.populations), ("projection", self.projections)):
            names = [part.name for part in parts]
            for name in names:
                if not NAME.fullmatch(name) or names.count(name) > 1 or name in (INPUT, GROUP):
                    hint = f"{damaged}; names must be distinct lower-case words"
                    raise ModelError(f"{name[:40]!r} cannot name a {kind}", hint)
        *inner, last = self.populations
        silent = [p.name for p in inner if not p.spikes]
        if silent or last.spikes:
            what = f"{silent[0]} does not spike" if silent else f"{last.name} spikes"
            hint = "the last population, the read-out, must not spike; all others must"
            raise ModelError(what, hint)
        sources, targets = [INPUT, *(p.name for p in inner)], [p.name for p in self.populations]
        for p in self.projections:
            if p.source not in sources or p.target not in targets or p.bits not in LARGEST:
                raise ModelError(
                    f"projection {p.name} goes from {p.source[:20]!r} to {p.target[:20]!r} with {p.bits} bits",
                    f"choose from {', '.join(sources)} to {', '.join(targets)}, "
                    f"with {', '.join(map(str, LARGEST))} bits",
                )

    def _check_full_names(self) -> None:
        """Check that the joined names of C and ONNX differ: a + b_c and a_b + c do not."""
        names = [name for name, _ in self.arrays()] + [f"w_{p.name}" for p in self.projections]
        names += [f.full_name for f in self.fields]
        again = next((name for name in names if names.count(name) > 1), None)
        if again:
            raise ModelError(f"{again} names two things of the model", "rename a population or a projection")

    @staticmethod
    def _check_range(name: str, values: NDArray | None, count: int, low: int, high: int) -> None:
        again = "the model file is damaged: run lnp quantize again"
        if values is None or values.shape != (count,):
            found = "none" if values is None else f"shape {values.shape}"
            raise ModelError(f"{name}: expected {count} values, got {found}", again)
        if values.min() < low or values.max() > high:
            at = int(np.argmax((values < low) | (values > high)))
            raise ModelError(f"{name}[{at}] is {values[at]}, outside {low}..{high}", "run lnp quantize again")

    def drive_bounds(self, population: Population) -> list[int]:
        """Largest |drive| of each neuron, SEMANTICS.md section 6. Python integers, [n]."""
        total = [0] * population.n
        for p in self.into(population):
            sums = p.w.column_sums(self.limits if p.source == INPUT else 1)
            total = [a + (b << p.shift) for a, b in zip(total, sums.tolist(), strict=True)]
        return total

    @cached_property
    def limits(self) -> Ints:
        """Largest |input| of each channel that the encoder gives for any count, int32 [n_in]."""
        return plugins.get("lnp_edge.encoders", self.encoder).limits(**self.encoder_params)

    def bounds(self, population: Population) -> list[int]:
        """Largest |value| that any variable of each neuron can reach, SEMANTICS.md section 6.

        Python integers, [n].
        """
        neuron = population.module
        params = zip(*(population.params[name].tolist() for name in neuron.TABLES), strict=True)
        return [neuron.bound(a, *p) for a, p in zip(self.drive_bounds(population), params, strict=True)]

    def _prove_no_overflow(self) -> None:
        for population in self.populations:
            for i, most in enumerate(self.bounds(population)):
                if most > INT32_MAX:
                    what = f"neuron {i} of {population.name}" if population.spikes else f"read-out {i}"
                    raise ModelError(
                        f"{what} may reach {f'{most:,}'.replace(',', ' ')}, beyond int32",
                        "shorten its time constants or prune more, then quantise again",
                    )
