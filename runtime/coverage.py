"""What of a model some inputs reach: neurons that fired, synapses that carried a spike or an input, encoder values,
and how large the state became.

It is counted on the reference, which a device that is verified equals in every state word.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from lnp_edge.runtime.reference import Reference
from lnp_edge.spec import plugins, saved
from lnp_edge.spec.frontend import GROUP
from lnp_edge.spec.model import INPUT, QuantizedModel
from lnp_edge.spec.ops import bind

MOST_STEPS = 50_000  # that are looked at; a step at a time is slow
NAMED = 12  # neurons or synapses that are named
HELD = 4000  # steps of the largest drive


@dataclass(frozen=True)
class Part:
    """So many of all; what is missing, in words, as far as NAMED."""

    name: str
    used: int
    all: int
    missing: tuple[str, ...] = ()


@dataclass(frozen=True)
class Coverage:
    """neurons : of each population that spikes, those that fired;  synapses : of each projection, those that carried
    something;  entries : of the tables, those that a step has read to effect;  values : of each input together, those
    of the encoder;  largest : the largest magnitude of a state variable as a share of what the proof allows, and its
    place"""

    steps: int
    neurons: tuple[Part, ...]
    synapses: tuple[Part, ...]
    entries: Part
    values: Part
    largest: float
    where: str

    def as_dict(self) -> dict:
        return asdict(self)

    @property
    def whole(self) -> bool:
        return all(part.used == part.all for part in (*self.neurons, *self.synapses))

    def lines(self) -> list[str]:
        def of(parts: Iterable[Part]) -> str:
            some = list(parts)
            used, every = sum(p.used for p in some), sum(p.all for p in some)
            return f"{used:,} of {every:,}"

        return [
            f"coverage: {of(self.neurons)} neurons fired, {of(self.synapses)} synapses carried something, "
            f"{of([self.entries])} table entries and {of([self.values])} encoder values used, "
            f"largest magnitude {100 * self.largest:.2g} % of its bound ({self.where})"
        ]

    def missing(self) -> list[str]:
        """What did not fire or carry anything, in words."""
        parts = [(part, "did not fire") for part in self.neurons] + [(p, "carried nothing") for p in self.synapses]
        found = []
        for part, what in parts:
            if rest := part.all - part.used:
                more = ", ..." * (rest > len(part.missing))
                found.append(f"{rest} of {part.name} {what}: {', '.join(part.missing)}{more}")
        return found


class Counter:
    """Takes runs from reset, and counts what they reach."""

    def __init__(self, model: QuantizedModel):
        self.model, self._reference = model, Reference(model)
        self.steps = 0
        self.fired = {p.name: np.zeros(p.n, bool) for p in model.populations if p.spikes}
        self._before = {name: np.zeros_like(fired) for name, fired in self.fired.items()}  # a last step
        self.sent = np.zeros(len(model.inputs), bool)
        self._values = np.zeros((len(model.inputs), 256), bool)  # of x + 128
        self._most = np.zeros(model.state_words, np.int64)
        self._bits = np.array(sorted(saved.used_bits(model)), np.int64)

    def take(self, counts: NDArray[np.int16]) -> int:
        """A run from reset; the number of neurons, inputs and values that are new."""
        before = self._reached()
        reference, each = self._reference, np.arange(len(self.model.inputs))
        reference.reset()
        before_last, last = np.zeros((2, self.model.n), bool)
        for row in counts[: max(0, MOST_STEPS - self.steps)]:
            reference.steps(row[None], digests=False)
            words = reference.state()
            before_last = before_last | last
            last = self.model.spikes(words)
            np.maximum(self._most, np.abs(words.view(np.int32).astype(np.int64)), out=self._most)
            self._values[each, reference.inputs + 128] = True
            self.steps += 1
        at = 0
        for name, fired in self.fired.items():
            self._before[name] |= before_last[at : at + len(fired)]
            fired |= self._before[name] | last[at : at + len(fired)]
            at += len(fired)
        self.sent |= np.delete(self._values, 128, axis=1).any(1)
        return self._reached() - before

    def _reached(self) -> int:
        return int(sum(f.sum() for f in self.fired.values()) + self.sent.sum() + self._values.sum())

    def silent(self) -> list[tuple[str, int]]:
        """Neurons that did not fire."""
        return [(name, int(i)) for name, fired in self.fired.items() for i in np.flatnonzero(~fired)]

    def coverage(self) -> Coverage:
        model = self.model
        neurons = tuple(
            Part(name, int(fired.sum()), len(fired), _named(f"neuron {i}" for i in np.flatnonzero(~fired)))
            for name, fired in self.fired.items()
        )
        synapses = []
        for p in model.projections:
            # A spike that is read in the next step is not, if there is none.
            fired = self._before if model.delayed(p) else self.fired
            active = self.sent if p.source == INPUT else fired[p.source]
            each = np.diff(p.w.indptr)
            synapses.append(Part(p.name, int(each[active].sum()), p.w.nnz, _named(self._idle(p, active))))
        tables = [v for _, v in model.front.tables.items()] + list(model.encoder_params.values())
        tables += [values for p in model.populations for values in p.params.values()]
        others = sum(v.size for v in tables)  # every step reads them
        carried, all_synapses = sum(s.used for s in synapses), model.synapses
        possible = _possible(model)
        reached = self._values & possible
        largest, where = self._largest()
        return Coverage(
            self.steps, neurons, tuple(synapses),
            Part("entries", others + carried, others + all_synapses),
            Part("values", int(reached.sum()), int(possible.sum())),
            largest, where,
        )  # fmt: skip

    def _idle(self, p, active: NDArray[np.bool_]) -> Iterator[str]:
        for j in np.flatnonzero(~active):
            for i in p.w.indices[p.w.indptr[j] : p.w.indptr[j + 1]]:
                yield f"{j} to {i}"

    def _largest(self) -> tuple[float, str]:
        """The largest share of a bound, and where."""
        model, bounds = self.model, list[NDArray]()
        for field in model.fields:
            if field.population == GROUP:
                bounds.append(np.full(field.words, model.front.state[field.name], float))
            elif field.name == "z":
                bounds.append(np.full(field.words, np.inf))
            else:
                bounds.append(np.array(model.bounds(model.population(field.population)), float))
        of = np.concatenate(bounds)
        inner = np.array([f.population != GROUP for f in model.fields for _ in range(f.words)])
        shares = np.where(inner, self._most / of, 0.0)
        word = int(np.argmax(shares))
        field, index = model.locate(word)
        return float(shares[word]), f"{field.full_name}[{index}]"


def _named(names: Iterable[str]) -> tuple[str, ...]:
    found = []
    for name in names:
        found.append(name)
        if len(found) == NAMED:
            break
    return tuple(found)


def _possible(model: QuantizedModel) -> NDArray[np.bool_]:
    """The values that the encoder of each input gives for any count, bool [inputs, 256]; of x + 128."""
    encoder = plugins.get("lnp_edge.encoders", model.encoder)
    encode = bind(encoder.encode, saved.PLAIN | {"clamp": np.clip})
    counts, found = np.arange(-32768, 32768), np.zeros((len(model.inputs), 256), bool)
    for k in range(len(model.inputs)):
        params = {name: int(values[k]) for name, values in model.encoder_params.items()}
        found[k, encode(counts, **params) + 128] = True
    return found


def search(counter: Counter, tries: int, steps: int, seed: int) -> Iterator[NDArray[np.int16]]:
    """Runs, int16 [steps, n_in], that reach what no run before did, until all neurons fired and all inputs sent.

    Each is aimed at a neuron that is silent: extremes by the sign of what the inputs add to it, held or switched at
    random, or random levels. At most `tries` are tried.
    """
    model, rng = counter.model, np.random.default_rng([seed, 9])
    pull = _pull(model)
    for number in range(tries):
        silent = counter.silent()
        if not silent and counter.sent.all():
            return
        name, i = silent[int(rng.integers(len(silent)))] if silent else ("", 0)
        sign = np.sign(pull[name][:, i]) if silent else rng.choice([-1, 1], len(model.inputs))
        counts = _aimed(model, sign, steps, number % 4, rng)
        if counter.take(counts):
            yield counts


def _pull(model: QuantizedModel) -> dict[str, NDArray]:
    """How much each input adds to each neuron, directly or through what fires before it: {population: [inputs, n]}."""
    found = {INPUT: np.eye(len(model.inputs))}
    for p in model.populations:
        found[p.name] = np.zeros((len(model.inputs), p.n))
    for _ in range(3):
        for p in model.populations:
            total = np.zeros((len(model.inputs), p.n))
            for q in model.into(p):
                unit = np.abs(found[q.source]).max() or 1.0
                total += (found[q.source] / unit) @ q.w.dense() * 2.0**q.shift
            found[p.name] = total
    return found


def _aimed(model: QuantizedModel, sign: NDArray, steps: int, kind: int, rng: np.random.Generator) -> NDArray[np.int16]:
    """Counts int16 [steps, n_in] that give inputs of these signs: held, from the middle on, switched, or at random."""
    encoder = plugins.get("lnp_edge.encoders", model.encoder)
    size = np.full((steps, len(model.inputs)), 400.0) * np.where(sign == 0, rng.choice([-1, 1], len(sign)), sign)
    if kind == 1:
        size[: steps // 2] *= -1
    elif kind == 2:
        size *= np.repeat(rng.choice([-1, 1], -(-steps // 8)), 8)[:steps, None]
    elif kind == 3:
        size = rng.normal(0, 60, size.shape) * rng.choice([0.2, 1, 3], len(sign))
    if not model.front.stacks:
        row = rng.choice([-32768, 32767], (steps, model.n_in)) * (rng.random((steps, 1)) < rng.random())
        return row.astype(np.int16)
    return encoder.decode(size, **model.encoder_params)


def cannot(model: QuantizedModel, silent: list[tuple[str, int]]) -> list[str]:
    """Those neurons that stay silent though their largest drive is held for HELD steps, in words."""
    found = []
    for name, i in silent:
        p = model.population(name)
        row = [int(p.params[table][i]) for table in p.module.TABLES]
        step = bind(p.module.step, saved.PLAIN)
        most = 0
        for q in model.into(p):
            column = q.w.dense()[:, i].astype(np.int64) << q.shift
            most += int((np.abs(column) * model.limits).sum() if q.source == INPUT else column[column > 0].sum())
        state = [0] * len(p.module.STATE)
        for _ in range(HELD):
            *state, z = step(*state, most, *row)
            if z:
                break
        else:
            found.append(f"neuron {i} of {name}")
    return found
