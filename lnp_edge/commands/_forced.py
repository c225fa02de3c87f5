"""The most that a step of a model costs, counted while every neuron is forced to fire.

A program with the same step as the firmware takes single steps from states that are chosen here and
loaded: all neurons fired before and all fire again, or every other one; or none fired before, and all
fire or none does. Counts are at full scale, alternate, or are random, alike for all channels. Each
step is compared with the reference, bit for bit.

What is measured: how often each block of instructions ran, in the step in which it ran most often.
The bound is the sum of these over all blocks, as if one step took both sides of every branch.

What holds by construction: the loops of a step run over inputs, neurons, read-outs, the spikes and
their synapses. Where all inputs are not 0 and all neurons fire, each runs its longest. Loops over the
spikes of the step before and over those of this step may do so in different steps: what a neuron
receives where all fired before can keep it silent. What is not proved: that a branch within a loop,
such as a clamp or the sign of a state, was taken in all rounds of the loop in one of these steps.
Every step that is counted elsewhere is compared with the bound, which is dropped if one exceeds it.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from lnp_edge.firmware_gen.build import build
from lnp_edge.firmware_gen.folder import scratch, write
from lnp_edge.firmware_gen.states import generate
from lnp_edge.runtime import code
from lnp_edge.runtime.emulator import Emulator
from lnp_edge.runtime.reference import Reference
from lnp_edge.spec import ops
from lnp_edge.spec.board import Board
from lnp_edge.spec.frontend import GROUP
from lnp_edge.spec.model import Population, QuantizedModel
from lnp_edge.stages.cost import Forced

SHARES = (1, 2, 4, 16)  # of its limit a state variable starts at: 1, a half and so on
WAYS = 3  # states of a neuron that fires, and of one that does not
FULL = 32767
GIVEN = "lnp_given"  # in states_main.c.in
LATER = 1  # step number: neither the first step after a reset, nor the last


@dataclass(frozen=True)
class Start:
    """The state before a step, and its counts. words : int32 [state_words]; counts : int16 [n_in]"""

    words: NDArray[np.int32]
    counts: NDArray[np.int16]
    t: int


def measure(model: QuantizedModel, board: Board, toolchain: str, more: tuple[str, ...] = ()) -> Forced:
    """Force the steps of a model on an emulated board, which is made as large as it needs.

    more : flags of the compiler that come last
    """
    with scratch() as folder:
        write(generate(model, board), folder)
        image = build(folder, toolchain, more=more).image
        with closing(Emulator(board, image)) as emulator:
            reference, fired = Reference(model), 0
            with emulator.count("lnp_net_step") as counted:
                for start in starts(model):
                    found = _step(emulator, model, start)
                    reference.load(start.words, start.t)
                    reference.steps(start.counts[None], digests=False)
                    if not np.array_equal(found, reference.state()):
                        raise RuntimeError("a forced step differs from the reference")
                    fired = max(fired, int(model.spikes(found).sum()))
            bound = sum(emulator.size(block) * times for block, times in counted.most.items())
            cycles = counted.cycles(counted.most)[1] if board.cpu == code.CPU else 0
    return Forced(bound, max(counted.calls), fired, model.n, cycles)


def _step(emulator: Emulator, model: QuantizedModel, start: Start) -> NDArray[np.uint32]:
    """The state words after one step. SEMANTICS.md section 10 has the form of a saved state."""
    head = np.array([model.fingerprint, start.t, 0], "<u4").tobytes()
    state = head + start.words.astype("<i4").tobytes()
    crc = zlib.crc32(state).to_bytes(4, "little")
    emulator.read(1)  # runs until the program waits: as it begins, it clears its variables
    emulator.put(GIVEN, state + crc + start.counts.astype("<i2").tobytes())
    emulator.write(b"x")
    if emulator.read(1) != b"\1":
        raise RuntimeError("a device refuses a forced state")
    return np.frombuffer(emulator.get(GIVEN, len(state)), "<u4", model.state_words, len(head)).astype(np.uint32)


def starts(model: QuantizedModel) -> Iterator[Start]:
    """The forced steps: for each row of counts, states whose neurons all fire, take turns, or are silent."""
    reference, states, owner = Reference(model), _states(model), _owner(model)
    all_fired, turns = _spikes(model, np.ones(model.n, bool)), np.arange(model.n) % 2 == 0
    for counts, front, t in _rows(model):

        def fires(before: NDArray[np.int32], counts=counts, front=front, t=t) -> NDArray[np.bool_]:
            """Which neurons fire from each state, bool [states, n]."""
            found = []
            for state in states:
                reference.load(state | front | before, t)
                reference.steps(counts[None], digests=False)
                found.append(model.spikes(reference.state()))
            return np.array(found)

        after, after_rest = fires(all_fired), fires(np.zeros_like(all_fired))
        for way in range(WAYS):
            for wanted, found, before in (
                (np.ones(model.n, bool), after, all_fired),
                (np.ones(model.n, bool), after_rest, np.zeros_like(all_fired)),
                (turns, after, all_fired),
                (np.zeros(model.n, bool), after_rest, np.zeros_like(all_fired)),
            ):
                which = [_nth(column == want, way) for column, want in zip(found.T, wanted, strict=True)]
                words = states[way % len(states)].copy()  # of the read-out
                owned = owner >= 0
                words[owned] = states[np.array(which)[owner[owned]], np.flatnonzero(owned)]
                yield Start(words | front | before, counts, t)


def _nth(fits: NDArray[np.bool_], way: int) -> int:
    """The state of a neuron, in turn one of those that fit; 0 if none does."""
    found = np.flatnonzero(fits)
    return int(found[way % len(found)]) if len(found) else 0


def _rows(model: QuantizedModel) -> Iterator[tuple[NDArray[np.int16], NDArray[np.int32], int]]:
    """Counts of a step, the words of the front end's state before it, and the number of the step."""
    rng, channels, frame = np.random.default_rng(1), len(model.channels), model.front.frame
    alike = [
        np.full(frame, FULL), np.full(frame, -FULL), np.where(np.arange(frame) % 2, FULL, -FULL),
        rng.integers(-FULL, FULL, frame), rng.integers(-300, 300, frame), np.zeros(frame),
    ]  # fmt: skip
    rows = [np.repeat(values, channels) for values in alike] + [rng.integers(-FULL, FULL, frame * channels)]
    limits = np.zeros(model.state_words, np.int32)
    at = 0
    for most in model.front.state.values():
        limits[at : at + channels] = most
        at += channels
    yield rows[0].astype(np.int16), 0 * limits, 0  # the first step after a reset
    for row in rows:
        for sign in (0, 1, -1) if at else (0,):
            yield row.astype(np.int16), sign * limits, LATER


def _states(model: QuantizedModel) -> NDArray[np.int32]:
    """States within the limits of SEMANTICS.md section 10, [states, state_words]; spikes and front end are 0."""
    corners = {p.name: _corners(model, p) for p in model.populations}
    found = []
    for share, k in product(SHARES, range(max(map(len, corners.values())))):
        words, at = np.zeros(model.state_words, np.int32), 0
        for f in model.fields:
            if f.population != GROUP and f.name != "z":
                corner = corners[f.population][k % len(corners[f.population])]
                values = corner[model.population(f.population).module.STATE.index(f.name)]
                words[at : at + f.words] = np.sign(values) * (np.abs(values) // share)
            at += f.words
        found.append(words)
    return np.array(found)


def _corners(model: QuantizedModel, p: Population) -> list[tuple[NDArray[np.int64], ...]]:
    """Values of the state variables that load accepts, [n] each: every combination of signs, and 0."""
    module, most = p.module, max(model.bounds(p))
    tables = list(zip(*(p.params[name].tolist() for name in module.TABLES), strict=True))
    ways = list(product((1, -1, 0), repeat=len(module.STATE)))
    if hasattr(module, "reachable"):
        rows = [module.reachable(drive, *row) for drive, row in zip(model.drive_bounds(p), tables, strict=True)]
        x, y, k, total, apart = np.array(rows, np.int64).T
        found = list[tuple[NDArray[np.int64], ...]]()
        for a, b in ways:
            room = 4 * (np.minimum(total, apart) if a * b == 0 else total if a == b else apart)
            room = np.maximum(room - 8, 0)  # two quotients are rounded down
            along, across = np.minimum(x, room), np.minimum(y, room >> k)
            found += [(a * along, b * np.minimum(y, (room - along * abs(a)) >> k)),
                      (a * np.minimum(x, room - (across << k) * abs(b)), b * across)]  # fmt: skip
        return found
    limits = [np.full(p.n, most)] * len(module.STATE)
    if hasattr(module, "limits"):
        of = ops.bind(module.limits, {op: getattr(ops, op).py_func for op in ops.OPS})
        limits = list(np.array([np.atleast_1d(of(most, *row)) for row in tables], np.int64).T)
    return [tuple(sign * limit for sign, limit in zip(signs, limits, strict=True)) for signs in ways]


def _owner(model: QuantizedModel) -> NDArray[np.int64]:
    """The neuron that spikes to which each state word belongs, -1 for others and for words of spikes."""
    found, first = [], 0
    for f in model.fields:
        p = None if f.population == GROUP else model.population(f.population)
        if p is None or not p.spikes or f.name == "z":
            found.append(np.full(f.words, -1))
            first += p.n if p and f.name == "z" else 0
        else:
            found.append(np.arange(first, first + p.n))
    return np.concatenate(found)


def _spikes(model: QuantizedModel, fired: NDArray[np.bool_]) -> NDArray[np.int32]:
    """State words of these spikes, bool [n], and else 0."""
    words, at, first = np.zeros(model.state_words, np.uint32), 0, 0
    for f in model.fields:
        if f.name == "z" and f.population != GROUP:
            n = model.population(f.population).n
            bits = np.zeros(32 * f.words, bool)
            bits[:n] = fired[first : first + n]
            words[at : at + f.words] = np.packbits(bits, bitorder="little").view("<u4")
            first += n
        at += f.words
    return words.view(np.int32)
