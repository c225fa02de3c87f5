"""Verify a device against the reference: every state word of every step, and its tables in flash.

The words themselves are read only if their digest differs. Of the functions in lnp_<name>.h it
runs init (at boot), reset, step and digest, and reads the directory of tables; selftest.py runs the
others. Of several networks in one program it checks the one that the link serves. The result
holds for the image that was checked: the same folder built with another compiler, or as part of
another program, is a different image.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from lnp_edge.base.errors import ConfigError
from lnp_edge.runtime.device import Device
from lnp_edge.runtime.journal import HINT, Part
from lnp_edge.runtime.reference import Reference
from lnp_edge.runtime.runner import Runner, Steps
from lnp_edge.spec import layout, plugins
from lnp_edge.spec.layout import tables
from lnp_edge.spec.model import INPUT, QuantizedModel

RUN = 500  # steps of one stimulus at most; the next begins with a reset of the state it leaves
RUNS = 2  # of a model that is never reset: runs before the long ones
LONGEST = 10**6  # steps of a long run
BATCH = 200  # steps between two comparisons of the digests


@dataclass(frozen=True)
class StateDifference:
    """The first state word that differs. step counts from 0.

    field is a state variable of the population, or z. If the states agree after the step but their
    digests do not, field is "digest", population is "", and neuron and words are 0. If only what is
    told of the read-outs differs, it is "read-out", and neuron is its number.
    """

    step: int
    population: str
    field: str
    neuron: int
    device: int
    reference: int
    words: int  # how many state words differ after that step

    def __str__(self) -> str:
        if self.field == "digest":
            return (
                f"first difference at step {self.step}, digest: device {self.device:08x}, "
                f"reference {self.reference:08x} (the state agrees: reset or digest is wrong)"
            )
        if self.field == "read-out":
            return (
                f"first difference at step {self.step}, read-out {self.neuron}: device {self.device}, "
                f"reference {self.reference} (the state agrees: the reply to steps is wrong)"
            )
        return (
            f"first difference at step {self.step}, neuron {self.neuron} of {self.population}, {self.field}: "
            f"device {self.device}, reference {self.reference} ({self.words} words differ after that step)"
        )


@dataclass(frozen=True)
class TableDifference:
    """The first entry of a flash table that differs, and the number of entries that do."""

    table: str
    index: int
    place: str
    device: int
    model: int
    entries: int

    def __str__(self) -> str:
        more = f" ({self.entries} entries differ)" if self.entries > 1 else ""
        return f"table {self.table}[{self.index}], {self.place}: device {self.device}, model {self.model}{more}"


@dataclass(frozen=True)
class Verdict:
    steps: int
    state_words: int  # compared in all
    longest: int  # steps without a reset
    tables: int
    table_differences: tuple[TableDifference, ...]
    state_difference: StateDifference | None
    transient: bool  # a digest differed, but not when the same steps were run again
    cycles_per_step: float | None  # None if the device has no counter
    classes: tuple[int, ...]  # the device's class after each run

    @property
    def ok(self) -> bool:
        return not (self.table_differences or self.state_difference or self.transient)

    @property
    def cause(self) -> str:
        """What has most likely led to the first difference, in words; "" without one."""
        d = self.state_difference
        if self.table_differences:
            return "The image in flash is of another build or damaged: build and flash it again."
        if d is None:
            return "Memory, clock or supply: it did not come back. Run it again, longer." if self.transient else ""
        if d.field == "digest":
            return (
                "The function digest, or what reset leaves of it: the state agrees, and the digest is wrong each time."
            )
        if d.field == "read-out":
            return "The reply to steps: the state agrees, and a read-out that is told is wrong each time."
        if d.step == 0 and len(self.classes) > 1:
            return "The function reset: it leaves something of the run before."
        return f"The step of {d.population}, its compiler or its memory: the tables are right, the state is not."

    def as_dict(self) -> dict:
        return {"ok": self.ok, "cause": self.cause} | asdict(self)

    def lines(self) -> list[str]:
        """The report for a reader, with the verdict last."""
        found = [str(d) for d in self.table_differences]
        if self.state_difference:
            found.append(str(self.state_difference))
        if self.transient:
            found.append("a digest differed once but not when repeated: a transient fault of memory, clock or supply")
        if self.ok:
            unbroken = f", {self.longest} steps without a reset" * (self.longest > RUN)
            found.append(f"verified: {self.steps} steps, {self.state_words} state words, 0 differences{unbroken}")
        else:
            tables = f"{len(self.table_differences)} of {self.tables} tables differ"
            differs = self.state_difference or self.transient
            state = f"the state differs within {self.steps} steps" if differs else f"{self.steps} steps agree"
            found.append(f"NOT verified: {tables}, {state}")
        return found


def verify(
    model: QuantizedModel,
    device: Device,
    runs: Iterable[NDArray[np.int16]],
    progress: Callable[[int], None] = lambda steps: None,
    part: Part | None = None,
) -> Verdict:
    """Compare the tables and, for each run from reset, the state after every step.

    runs : counts, int16 [T, n_in] each
    part : what was found so far; the first runs are those that it has, and a run that had not ended goes on

    Stops at the first run that differs. progress is called with the number of steps done.
    """
    part, last = part or Part(), Comparison(0, True, None, 0)
    runs = iter(runs)
    _check_ended(part, [len(counts) for counts in islice(runs, len(part.classes))])
    progress(part.steps)
    for counts in runs:
        last = compare(device, Reference(model), counts, progress, part)
        if not last.same:
            break
        part.ends()
    differs = not last.same
    done = part.steps + last.steps * differs
    return Verdict(
        steps=done,
        state_words=done * model.state_words,
        longest=max(part.longest, last.steps * differs),
        tables=len(tables(model)),
        table_differences=tuple(compare_tables(model, device)),
        state_difference=last.difference,
        transient=differs and last.difference is None,
        cycles_per_step=part.cycles / part.timed if part.cycles else None,
        classes=(*part.classes, *[last.label] * differs),
    )


@dataclass(frozen=True)
class Comparison:
    """One run from reset, on both. Not the same, yet no difference: it did not happen again."""

    steps: int  # compared, including the one that differs
    same: bool
    difference: StateDifference | None
    label: int  # the device's class at the end


def compare(
    device: Device,
    reference: Reference,
    counts: NDArray[np.int16],
    progress: Callable[[int], None] = lambda steps: None,
    part: Part | None = None,
) -> Comparison:
    """Compare the digest after every BATCH steps, which covers all steps before.

    If one differs, run both again, first for the step, then for the word that differs.
    part : is told what agrees; if it is within this run, that goes on from there
    """
    part = part or Part()
    if part.at:
        _go_on(device, reference, counts, part)
        progress(part.at)
    else:
        device.reset()
        reference.reset()
        part.begins(device.run)
    while part.at < len(counts) and not part.differs:
        chunk = counts[part.at : part.at + BATCH - part.at % BATCH]
        theirs, ours = device.steps(chunk, digests=False), reference.steps(chunk)
        part.run, label = device.run, int(np.argmax(theirs.y))
        if theirs.digests[-1] != ours.digests[-1] or (theirs.y != ours.y).any():
            part.does_not_agree(len(chunk), label)
        else:
            part.agrees(len(chunk), int(ours.digests[-1]), label, theirs.cycles)
            progress(len(chunk))
    if part.differs:
        steps, place = _locate(device, reference, counts[: part.at])
        return Comparison(steps, False, place, part.label)
    return Comparison(len(counts), True, None, part.label)


def _check_ended(part: Part, lengths: list[int]) -> None:
    """Raise ConfigError unless runs of these lengths have ended."""
    if (len(part.classes), part.steps, part.longest) != (len(lengths), sum(lengths), max(lengths, default=0)):
        told = f"{len(part.classes)} runs with {part.steps} steps, the longest {part.longest}"
        raise ConfigError(f"the journal has {told}, which are not theirs", HINT)


def _go_on(device: Device, reference: Reference, counts: NDArray[np.int16], part: Part) -> None:
    """Both to where a run was left: the device too, by replay if it is not there, or beyond, any more."""
    if part.at > len(counts):
        raise ConfigError(f"the journal is at step {part.at} of a run of {len(counts)}", HINT)
    if part.differs:
        return
    reference.reset()
    if int(reference.steps(counts[: part.at]).digests[-1]) != part.digest:
        raise ConfigError(f"the journal has digest {part.digest:08x} after {part.at} steps, which is not theirs", HINT)
    beyond = device.t if device.run == part.run else 0
    if part.at < beyond < len(counts):
        part.digest = int(reference.steps(counts[part.at : beyond]).digests[-1])
        part.at = beyond
    device.take_up(part.run, counts[: part.at], part.digest)


class Lockstep:
    """Runs a device and the reference together; returns the device's results.

    It keeps the inputs up to the first difference.
    """

    def __init__(self, device: Device, reference: Reference):
        self.device, self.reference = device, reference
        self.reset()

    def reset(self) -> None:
        self.device.reset()
        self.reference.reset()
        self._inputs: list[NDArray[np.int16]] = []
        self._done = self._cycles = 0
        self._differs = False

    def steps(self, counts: NDArray[np.int16], digests: bool = False) -> Steps:
        theirs, ours = self.device.steps(counts, digests=False), self.reference.steps(counts)
        if not self._differs:
            self._inputs.append(counts)
            self._differs = bool((theirs.digests[-1:] != ours.digests[-1:]).any() or (theirs.y != ours.y).any())
        self._done, self._cycles = self._done + len(counts), self._cycles + theirs.cycles
        return theirs

    def state(self) -> NDArray[np.uint32]:
        return self.device.state()

    def report(self) -> Verdict:
        """A report of all steps since the last reset, and of the tables.

        Runs the device again if a step differed.
        """
        done, model, place = self._done, self.reference.model, None
        if self._differs:
            done, place = _locate(self.device, self.reference, np.concatenate(self._inputs))
        return Verdict(
            steps=done,
            state_words=done * model.state_words,
            longest=done,
            tables=len(tables(model)),
            table_differences=tuple(compare_tables(model, self.device)),
            state_difference=place,
            transient=self._differs and place is None,
            cycles_per_step=self._cycles / self._done if self._cycles else None,
            classes=(),
        )


def _locate(device: Runner, reference: Reference, counts: NDArray[np.int16]) -> tuple[int, StateDifference | None]:
    """The number of steps to the first whose digest differs, and what differs after it; all, if none differs again."""
    theirs, ours = (_from_reset(runner, counts).digests for runner in (device, reference))
    differs = np.flatnonzero(theirs != ours)
    first = counts[: int(differs[0]) + 1] if len(differs) else counts
    if found := _difference(device, reference, first):
        return len(first), found
    # Nothing differs when all digests are asked for: perhaps it does where only the last one is, as it did before.
    return len(counts), _told(len(counts) - 1, *(_in_batches(runner, counts) for runner in (device, reference)))


def _from_reset(runner: Runner, counts: NDArray[np.int16]) -> Steps:
    runner.reset()
    return runner.steps(counts)


def _in_batches(runner: Runner, counts: NDArray[np.int16]) -> Steps:
    runner.reset()
    for at in range(0, len(counts), BATCH):
        last = runner.steps(counts[at : at + BATCH], digests=isinstance(runner, Reference))
    return last


def _told(step: int, theirs: Steps, ours: Steps) -> StateDifference | None:
    """What differs of what is told after a step, while the states agree."""
    a, b = int(theirs.digests[-1]), int(ours.digests[-1])
    if a != b:
        return StateDifference(step, "", "digest", 0, a, b, 0)
    wrong = np.flatnonzero(theirs.y != ours.y)
    if not len(wrong):
        return None
    o = int(wrong[0])
    return StateDifference(step, "", "read-out", o, int(theirs.y[o]), int(ours.y[o]), 0)


def _difference(device: Runner, reference: Reference, counts: NDArray[np.int16]) -> StateDifference | None:
    told = [_from_reset(runner, counts) for runner in (device, reference)]
    theirs, ours = device.state(), reference.state()
    differs = np.flatnonzero(theirs != ours)
    if not len(differs):
        return _told(len(counts) - 1, *told)
    word = int(differs[0])
    field, neuron = reference.model.locate(word)
    a, b = int(theirs[word].view(np.int32)), int(ours[word].view(np.int32))
    if field.name == "z":
        bit = ((a ^ b) & -(a ^ b)).bit_length() - 1  # the lowest that differs
        neuron, a, b = neuron + bit, a >> bit & 1, b >> bit & 1
    return StateDifference(len(counts) - 1, field.population, field.name, neuron, a, b, len(differs))


def compare_tables(model: QuantizedModel, device: Device) -> list[TableDifference]:
    """The first difference in every table whose CRC in flash is not that of the model.

    A decay or threshold that is wrong by one unit may not affect the state for 1,000 steps; this
    comparison finds it.
    """
    found = []
    for number, ((name, ours), crc) in enumerate(zip(tables(model).items(), device.table_crcs(), strict=True)):
        ours_crc = zlib.crc32(ours.tobytes())
        if ours_crc == crc:
            continue
        theirs = np.frombuffer(device.read_table(number, ours.nbytes), ours.dtype)
        differs = np.flatnonzero(theirs != ours)
        if len(differs):
            k = int(differs[0])
            place = _place(model, name, k, int(ours[k]), int(theirs[k]))
            found.append(TableDifference(name, k, place, int(theirs[k]), int(ours[k]), len(differs)))
        else:
            found.append(TableDifference(name, 0, "CRC-32 differs, but the bytes agree", crc, ours_crc, 0))
    return found


def _place(model: QuantizedModel, table: str, k: int, ours: int, theirs: int) -> str:
    """The place of entry k of a table of layout.tables, in words; of several weights in it the first that differs."""

    def unit(of: str, number: int) -> str:
        return f"channel {number}" if of == INPUT else f"neuron {number} of {of}"

    for p in model.projections:
        kind = layout.of(model, p)
        for part in kind.tables(model, p):
            if table == f"w_{p.name}_{part}":
                pairs = zip(*(kind.synapses(p, part, k, entry) for entry in (ours, theirs)), strict=True)
                for (pre, post, weight), (_, found, other) in pairs:
                    if post is None or found is None:
                        return f"row of {unit(p.source, pre)}"
                    if weight is None or weight != other:
                        return f"synapse {unit(p.source, pre)} to {unit(p.target, post)}"
                return "padding"
    for population in model.populations:
        if table in {f"{population.name}_{name}" for name in population.module.TABLES}:
            return unit(population.name, k)
    return unit(INPUT, k)  # a parameter of the encoder or of the front end


def stimulus(model: QuantizedModel, steps: int, seed: int) -> Iterator[NDArray[np.int16]]:
    """Yield seeded counts that cover extreme inputs: runs int16 [T, n_in], `steps` in total, each after a reset.

    Of a model that is never reset, all but the first RUNS are joined to runs of at most LONGEST steps.
    """
    runs = _runs(model, steps, seed)
    yield from islice(runs, RUNS) if model.decision.stream else runs
    while joined := list(islice(runs, LONGEST // RUN)):
        yield np.concatenate(joined)


def _runs(model: QuantizedModel, steps: int, seed: int) -> Iterator[NDArray[np.int16]]:
    """Runs of at most RUN steps.

    Each has six equal parts: rest, sensor-like noise, jumps, full scale,
    rest and noise. It ends with noise so that the reset before the next run has an active network
    to clear; for the same reason there are at least two runs. The noise is that of ordinary inputs of
    the network; with a front end, whose features are not counts, it has another size in each run.
    """
    encoder = plugins.get("lnp_edge.encoders", model.encoder)
    most = min(RUN, -(-steps // 2))
    for number, first in enumerate(range(0, steps, most)):
        length = min(most, steps - first)
        rng = np.random.default_rng([seed, number])
        at = np.linspace(0, length, 7).astype(int)
        part = np.diff(at)
        x = np.zeros((length, model.n_in))
        for noise in (1, 5):
            x[at[noise] : at[noise + 1]] = rng.normal(0, encoder.TARGET_STD, (part[noise], model.n_in))
        x[at[2] : at[3]] = 100 * rng.choice([-1.0, 0.0, 1.0], (part[2], model.n_in))
        if model.front.stacks:
            counts = encoder.decode(x, **model.encoder_params)
        else:
            counts = np.rint(x * 4.0 ** (number % 5 - 1)).astype(np.int16)
        counts[at[3] : at[4]] = rng.choice([-32768, 32767], (part[3], model.n_in))
        yield counts
