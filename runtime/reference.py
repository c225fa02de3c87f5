"""The reference: SEMANTICS.md in Numba.

One kernel runs any model: populations and projections are rows of tables that are passed to it. It calls
by address what it is not compiled for: the step of each neuron type, and the front end with its encoder.
Each of them is compiled once, in whatever models it occurs.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numba import from_dtype, types
from numpy.typing import NDArray

from lnp_edge.base.jit import cached, caller, inner, pointed_to, tuple_of
from lnp_edge.runtime.runner import Steps, checked
from lnp_edge.spec import digest as digest_module
from lnp_edge.spec import ops, plugins
from lnp_edge.spec.digest import mix
from lnp_edge.spec.frontend import RAW, FrontEnd
from lnp_edge.spec.model import INPUT, Projection, QuantizedModel
from lnp_edge.spec.neuron import neuron_module
from lnp_edge.spec.trace import trace

# A unit is a possible sender: first the channels of the input, then the neurons of each population
# that spikes. All numbers are unsigned: Numba checks a signed index for being negative, which takes
# 10 % longer.
POPULATION = np.dtype([
    ("advance", np.uint64),  # address of the function that steps its neurons
    ("n", np.uint64),
    ("word", np.uint64),  # its first state word
    ("z_words", np.uint64),  # number of words of packed spikes, its last state words
    ("entry", np.uint64),  # its first entry in `params`
    ("unit", np.uint64),  # its first unit
    ("projections", np.uint64),  # end of its projections; they follow the previous ones
])  # fmt: skip
PROJECTION = np.dtype([
    ("source", np.uint64),  # 0: the input, p + 1: population p
    ("unit", np.uint64),  # first unit of the source
    ("row", np.uint64),  # entry of `indptr` for this unit
    ("shift", np.uint64),  # applied to the whole sum of the target after this projection
])  # fmt: skip


class Tables(NamedTuple):
    """A model in the form that the kernel reads.

    Projections are grouped by target and sorted by falling shift, so that the sum is shifted as a
    whole instead of each term: shifts of 5, 2, 2 become 3 after the first, 0, and 2 at the end.
    """

    populations: NDArray  # POPULATION [populations]
    projections: NDArray  # PROJECTION [projections]
    front: NDArray[np.int32]  # [parameters of the front end, channels]
    encoder: NDArray[np.int32]  # [n_in, parameters of the encoder]
    params: NDArray[np.int32]  # one row per neuron of each population: its TABLES side by side
    indptr: NDArray[np.uint32]  # the indptr of each projection, as offsets into the next two arrays
    indices: NDArray[np.uint16]  # the target neuron of each synapse
    weights: NDArray  # int8, or int16 if any projection has 16 bits; int8 needs fewer cache lines


class State(NamedTuple):
    """The arrays that change from step to step."""

    words: NDArray[np.int32]  # the state words in the order of SEMANTICS.md section 5
    fired: NDArray[np.uint64]  # number of active units of the input and of each population
    senders: NDArray[np.int32]  # [units] their indices, from the first unit of each on
    features: NDArray[np.int64]  # [inputs] of the front end; unused if it stacks
    x: NDArray[np.int32]  # [inputs] the value that each input sends; a neuron sends 1
    drive: NDArray[np.int32]  # [n] summed input of the population being stepped


class Reference:
    """Runs a model as a device does: `reset`, `steps`, `state` (see runtime.runner.Runner)."""

    def __init__(self, model: QuantizedModel):
        self.model = model
        self._link()
        state = State(
            words=np.zeros(model.state_words, np.int32),
            fired=np.zeros(1 + len(model.populations), np.uint64),
            senders=np.zeros(len(model.inputs) + model.n, np.int32),
            features=np.zeros(len(model.inputs), np.int64),
            x=np.zeros(len(model.inputs), np.int32),
            drive=np.zeros(max(p.n for p in model.populations), np.int32),
        )
        self._words, self._fired, self._senders, self._x = state.words, state.fired, state.senders, state.x
        self._state = tuple(state)
        self.reset()

    def _link(self) -> None:
        self._perceive = np.uint64(_perceive_of(self.model.encoder, self.model.front.plain).address)
        # Numba recognises plain tuples in a third of the time: this saves 2 us per call.
        self._tables = tuple(_tables(self.model))

    def __setstate__(self, kept: dict[str, Any]) -> None:
        """Of a copy: addresses are those of one process, and it may be in another."""
        vars(self).update(kept)
        self._link()

    def reset(self) -> None:
        self.t = 0
        self.digest = 0
        self._words[:] = 0
        self._fired[:] = 0

    def load(self, words: NDArray, t: int) -> None:
        """Continue from these state words, uint32 or int32 [state_words], after t steps."""
        self.t = t
        self._words[:] = words.view(np.int32)
        first, unit = 0, len(self.model.inputs)
        numbers = {p.name: k for k, p in enumerate(self.model.populations, 1)}
        for f in self.model.fields:
            if f.name == "z":
                packed = self._words[first : first + f.words].view(np.uint8)
                fired = np.flatnonzero(np.unpackbits(packed, bitorder="little"))
                self._senders[unit : unit + len(fired)] = fired
                self._fired[numbers[f.population]] = len(fired)
                unit += self.model.population(f.population).n
            first += f.words

    def steps(self, counts: NDArray[np.int16], digests: bool = True) -> Steps:
        """Run the next len(counts) steps. counts : int16 [T, n_in]. Faster without digests.

        Raises DataError for a wrong shape, and for values that are not integers or out of range.
        """
        counts = checked(counts, self.model.n_in)
        found = np.zeros(len(counts) if digests else 0, np.uint32)
        self.digest = _kernel(counts, self._perceive, self._tables, self._state, self.t, np.uint32(self.digest), found)
        self.t = (self.t + len(counts)) % 2**32
        return Steps(self.model.y_of(self._words), found, 0)

    @property
    def inputs(self) -> NDArray[np.int32]:
        """What each input sent in the last step, a view [inputs]."""
        return self._x

    def state(self) -> NDArray[np.uint32]:
        """All state words in the order of SEMANTICS.md section 5, uint32 [state_words]."""
        return self._words.view(np.uint32).copy()


def _tables(model: QuantizedModel) -> Tables:
    """The model as Tables."""
    populations, params, first_unit = [], [], {INPUT: 0}
    order: list[Projection] = []
    word, entry, unit = len(model.front.state) * len(model.channels), 0, len(model.inputs)
    for p in model.populations:
        order += sorted(model.into(p), key=lambda q: -q.shift)
        populations.append((_advance_of(p.neuron).address, p.n, word, p.z_words, entry, unit, len(order)))
        params.append(np.stack([p.params[name] for name in p.module.TABLES], axis=1).ravel())
        first_unit[p.name] = unit
        word, entry, unit = word + p.state_words, entry + len(params[-1]), unit + (p.n if p.spikes else 0)
    projections, indptr, sources, synapses, row = [], [], list(first_unit), 0, 0
    for k, q in enumerate(order):
        then = [after.shift for after in order[k + 1 : k + 2] if after.target == q.target]
        projections.append((sources.index(q.source), first_unit[q.source], row, q.shift - sum(then)))
        indptr.append(q.w.indptr.astype(np.uint32) + np.uint32(synapses))
        synapses, row = synapses + q.w.nnz, row + len(q.w.indptr)
    weight = np.int16 if any(q.bits > 8 for q in order) else np.int8
    encoder = plugins.get("lnp_edge.encoders", model.encoder)
    return Tables(
        np.array(populations, POPULATION),
        np.array(projections, PROJECTION),
        np.array(model.front.params, np.int32).reshape(-1, len(model.channels)),
        np.stack([model.encoder_params[name] for name in encoder.PARAMS], axis=1).astype(np.int32),
        np.concatenate(params).astype(np.int32),
        _joined(indptr, np.uint32),
        _joined([q.w.indices for q in order], np.uint16),
        _joined([q.w.data for q in order], weight),
    )


def _joined(arrays: list[NDArray], kind: type) -> NDArray:
    """The arrays concatenated; an empty array if there are none."""
    return np.concatenate([np.zeros(0, kind), *(a.astype(kind) for a in arrays)])


# What the kernel calls by address. A record goes by its address, an array as what Numba knows of it.
ADVANCE = types.uint64(
    from_dtype(POPULATION),
    types.int32[::1],  # params
    types.int32[::1],  # words
    types.int32[::1],  # drive
    types.int32[::1],  # senders
)
PERCEIVE = types.uint64(
    types.boolean,  # whether this is the first step
    types.int16[::1],  # the counts of the step
    types.int32[:, ::1],  # front
    types.int32[:, ::1],  # encoder
    types.int32[::1],  # words
    types.int64[::1],  # features
    types.int32[::1],  # x
    types.int32[::1],  # senders
)
advance, perceive = caller(ADVANCE), caller(PERCEIVE)


@cache
def _advance_of(neuron: str) -> Any:
    """advance(p, params, words, drive, senders) steps population p, returns how many neurons fired.

    It is generated with the neuron's numbers of variables and tables, which the compiler must know.
    """
    module = neuron_module(neuron)
    variables = range(len(module.STATE))
    new = [f"s{k}" for k in variables] + ["z"] * hasattr(module, "drive_for")
    old = [f"words[at + u({k}) * p.n]" for k in variables]
    constants = [f"params[entry + u({k})]" for k in range(len(module.TABLES))]
    lines = [
        "fired = u(0)",
        f"z_word = p.word + u({len(module.STATE)}) * p.n",
        "for w in range(p.z_words):",
        "    words[z_word + w] = 0",
        "for i in range(p.n):",
        "    at = p.word + i",
        f"    entry = p.entry + u({len(constants)}) * i",
        f"    {', '.join(new)} = step({', '.join([*old, 'np.int64(drive[i])', *constants])})",
        *(f"    {place} = s{k}" for k, place in enumerate(old)),
    ]
    if "z" in new:
        lines += [
            "    if z:",
            "        senders[p.unit + fired] = i",
            "        fired += u(1)",
            "        words[z_word + (i >> u(5))] |= np.int32(1) << np.int32(i & u(31))",
        ]
    made = _made("advance(p, params, words, drive, senders)", [*lines, "return fired"], step=inner(module.step))
    return pointed_to(ADVANCE, made, ops, str(trace(module.step)), name=f"advance_{neuron}")


@cache
def _perceive_of(encoder: str, front: FrontEnd) -> Any:
    """perceive(first, row, ...) senses and encodes the counts of a step, returns how many inputs are active."""
    if front.stacks:
        front = RAW  # one function for all frames
    module = plugins.get("lnp_edge.encoders", encoder)
    meaning = {
        "encode": inner(module.encode),
        "encoder_of": tuple_of("a, i", "a[i, {s}]", len(module.PARAMS)),
        "sense": _sense(front),
    }
    name = f"perceive_{encoder}" + ("" if front.stacks else f"_{front.kind}_{front.frame}")
    made = ops.bind(_perceive, globals() | meaning)
    return pointed_to(PERCEIVE, made, ops, str(trace(module.encode)), str(front.trace), name=name)


def _sense(front: FrontEnd) -> Callable:
    """sense(first, row, words, params, features) -> the features of one step, from its counts.

    It updates the state variables of the front end, which are the first words.
    """
    head = "sense(first, row, words, params, features)"
    if front.stacks:
        return inner(_made(head, ["return row"]))
    traced, samples, state = front.trace, front.frame, [f"s{k}" for k in range(len(front.state))]
    made, new = traced.returns[: len(front.features)], traced.returns[len(front.features) :]
    lines = [f"channels = len(row) // {samples}", "for c in range(channels):"]
    lines += [f"    x{k} = np.int64(row[{k} * channels + c])" for k in range(samples)]
    lines += [f"    {name} = np.int64(words[{k} * channels + c])" for k, name in enumerate(state)]
    lines += [f"    p{k} = np.int64(params[{k}, c])" for k in range(len(front.ranges))]
    lines += [f"    {s.target} = {s.op}({', '.join(map(str, s.args))})" for s in traced.statements]
    lines += [f"    features[{k} * channels + c] = {value}" for k, value in enumerate(made)]
    lines += [f"    words[{k} * channels + c] = {value}" for k, value in enumerate(new)]
    return inner(_made(head, [*lines, "return features"], **{op: getattr(ops, op) for op in ops.FRONT_END_OPS}))


def _made(head: str, lines: list[str], **scope: Any) -> Callable:
    """A function of these lines, whose file is this one: Numba keeps what it compiles beside it."""
    scope |= {"np": np, "u": np.uint64, "__name__": __name__}
    exec(compile("\n    ".join([f"def {head}:", *lines]), __file__, "exec"), scope)
    return scope[head.partition("(")[0]]


def _unbound(*_: Any) -> Any:
    """A placeholder for the functions that _perceive_of binds."""
    raise NotImplementedError


encode = encoder_of = sense = _unbound


def _perceive(first, row, front, encoder, words, features, all_x, senders):
    active = np.uint64(0)
    sensed = sense(first, row, words, front, features)
    for k in range(len(sensed)):
        x = encode(np.int64(sensed[k]), *encoder_of(encoder, k))
        all_x[k] = x
        if x != 0:
            senders[active] = k
            active += np.uint64(1)
    return active


def _run(counts, input_of, tables, state, t0, digest, digests):
    """Run the steps of SEMANTICS.md section 4; returns the digest after the last.

    counts : int16 [T, n_in];  tables : Tables;  state : State, modified in place
    t0     : the number of steps since the reset
    digest : uint32, the digest before the first step
    digests : uint32 [T], receives the digest after each step; or [0]: none is computed
    """
    populations, projections, front, encoder, params, indptr, indices, weights = tables
    words, fired, senders, features, all_x, drive = state
    one = np.uint64(1)
    for t in range(counts.shape[0]):
        first = (t0 + t) & 0xFFFFFFFF == 0
        fired[0] = perceive(input_of, (first, counts[t], front, encoder, words, features, all_x, senders))
        q = np.uint64(0)
        for number in range(len(populations)):
            p = populations[number]
            for i in range(p.n):
                drive[i] = 0
            while q < p.projections:
                source = projections[q]
                for f in range(source.unit, source.unit + fired[source.source]):
                    j = np.uint64(senders[f])
                    row = source.row + j
                    if source.source == 0:
                        for s in range(indptr[row], indptr[row + one]):
                            drive[indices[s]] += np.int32(weights[s]) * all_x[j]
                    else:
                        for s in range(indptr[row], indptr[row + one]):
                            drive[indices[s]] += np.int32(weights[s])
                if source.shift > 0:
                    for i in range(p.n):
                        drive[i] <<= np.int32(source.shift)
                q += one
            fired[number + 1] = advance(p.advance, (p, params, words, drive, senders))
        if len(digests) > 0:
            for w in range(len(words)):
                digest = mix(digest, np.uint32(words[w]))
            digests[t] = digest
    return digest


_kernel = cached(_run, digest_module)
