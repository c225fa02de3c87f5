"""What a step of the reference workload or of a model costs, on every core and with every compiler.

16 dense inputs of 8 bits, 9.8 % of the synapses between N neurons, alone, in aligned blocks of four
targets, with weights of 4 bits, or both, 5 read-outs, every parameter per neuron, biases not 0. Thresholds
are scaled until a tenth of the neurons fires on average: the spikes and the events, which are the
synapses of the spikes, are counted. All draws are seeded, and what an emulator counts repeats
exactly.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lnp_edge import boards, config
from lnp_edge.base.console import counted, note
from lnp_edge.base.errors import BoardError, ConfigError, DataError
from lnp_edge.commands import _forced, _measure, _qemu
from lnp_edge.experiments.executors import Executor, in_process
from lnp_edge.firmware_gen import commands
from lnp_edge.firmware_gen.build import version
from lnp_edge.firmware_gen.folder import scratch
from lnp_edge.interchange import onnx_file, windows_file
from lnp_edge.runtime.code import Functions
from lnp_edge.runtime.device import Device
from lnp_edge.runtime.emulator import Emulator, InstructionCount
from lnp_edge.runtime.reference import Reference
from lnp_edge.spec import layout
from lnp_edge.spec.board import IN_ASSEMBLY, Board
from lnp_edge.spec.model import CSR, INPUT, Population, Projection, QuantizedModel
from lnp_edge.spec.neuron import neuron_module
from lnp_edge.stages.cost import BoardCost, Counted, Forced
from lnp_edge.task.split import load_data

STEP, DIGEST = "lnp_net_step", "lnp_net_digest"
SIZES, NEURONS, BOARDS = (256, 1024), ("cuba_lif", "adlif"), ("cortex-m4", "cortex-m0", "rv32imac")
PLAIN = ("cortex-m3",)  # a further core of the first neuron alone
BY_HAND = tuple(core for core in BOARDS if core in IN_ASSEMBLY)  # whose loops in assembly are left out too
# Cores without these; and the first without DSP instructions that C names, where a compiler may still use them.
IN_C, PORTABLE = (", loops in C", ("-DLNP_C_LOOPS",)), (", portable C", ("-U__ARM_FEATURE_DSP",))
ON_QEMU = ("mps3-an547",)  # with cores that unicorn lacks: counted too, if QEMU counts
TASKS = ("spar", "spar-cuba_lif", "hapt")
INPUTS, OUTPUTS, FIRING = 16, 5, 25.5 / 256
SHARE = 6398 / (256 * 255)  # of the synapses between different neurons
BLOCKS = 1623 / (256 * 64)  # of the blocks; no neuron has a synapse to itself, which leaves 6,467 of 256 neurons
KINDS = ("", ", blocks", ", 4 bits", ", blocks of 4 bits")  # of the synapses between neurons
DENSE = ", all synapses"  # between different neurons: _peers.py compares it
SETTLE, STEPS = 100, 200  # steps before those that are counted, and those
SHIFTS, UNIT = {"in": 4, "rec": 8, "out": 2}, 2**18
SEED = 3  # of those tried, the one whose spikes have nearest to 24.6 synapses each


@dataclass(frozen=True)
class Row:
    """A model on a core, with one compiler: instructions of a step, and bytes.

    spikes, events : of a step, on average: of the steps whose instructions are counted
    parts : the instructions by what lnp_net_step calls
    digest : instructions that only lnp verify asks for, after each step
    all_fire : the most instructions of a step in which every neuron was forced to fire, and that many did; on QEMU,
        where nothing is forced and no digest is counted, these are 0
    tables, code : B of the tables, and of all functions that ran in a step
    """

    model: str
    neurons: int
    core: str
    compiler: str
    version: str
    flags: str
    spikes: float
    events: float
    step: float
    parts: dict[str, float]
    digest: float
    all_fire: int
    fired: int
    tables: int
    code: int
    state: int


def workload(neuron: str, n: int, kind: str = KINDS[0], seed: int = SEED) -> QuantizedModel:
    """The reference workload with N neurons of this kind. kind : of its synapses, one of KINDS, or DENSE"""
    rng = np.random.default_rng(seed)
    model = _drawn(neuron, n, "blocks" in kind, 1.0 if kind == DENSE else SHARE, rng)
    if "4 bits" in kind:
        model = replace(model, projections=tuple(map(_in_4_bits, model.projections)))
    low, high = -6.0, 6.0  # binary logarithms of what thresholds are multiplied with
    for _ in range(12):
        middle = (low + high) / 2
        low, high = (middle, high) if _spikes(_raised(model, middle)) > FIRING * n else (low, middle)
    # Activity is not monotonic at this scale, as it is chaotic: the nearest of many is taken.
    near = [_raised(model, power) for power in np.linspace(low - 0.1, low + 0.1, 81)]
    return min(near, key=lambda one: abs(_spikes(one) - FIRING * n)).check()


def _spikes(model: QuantizedModel) -> float:
    return activity(model, [counts(SETTLE + STEPS)], SETTLE)[0]


def counts(steps: int, seed: int = SEED) -> NDArray[np.int16]:
    """Samples of which none is 0, each drawn by itself: every input changes in every step."""
    rng = np.random.default_rng(seed)
    return (rng.choice((-1, 1), (steps, INPUTS)) * rng.integers(1, 65, (steps, INPUTS))).astype(np.int16)


def _drawn(neuron: str, n: int, in_blocks: bool, share: float, rng: np.random.Generator) -> QuantizedModel:
    def weights(shape: tuple[int, ...]) -> NDArray[np.int64]:
        return rng.choice((-1, 1), shape) * rng.integers(1, 128, shape)

    pairs = np.flatnonzero(~np.eye(n, dtype=bool))
    if in_blocks:
        first = 4 * rng.choice(n * n // 4, round(BLOCKS * n * n / 4), replace=False)
        chosen = np.intersect1d(np.add.outer(first, np.arange(4)), pairs)
    else:
        chosen = rng.choice(pairs, round(share * len(pairs)), replace=False)
    recurrent = np.zeros(n * n, np.int64)
    recurrent[chosen] = weights(chosen.shape)
    shapes = {"in": (INPUTS, n), "out": (n, OUTPUTS)}
    dense = {name: weights(shape) for name, shape in shapes.items()} | {"rec": recurrent.reshape(n, n)}
    ends = {"in": (INPUT, "hidden"), "rec": ("hidden", "hidden"), "out": ("hidden", "out")}
    encoder = {"offset": 0, "gain": 256, "shift": 8}  # limits to 8 bits
    return QuantizedModel(
        encoder="affine",
        encoder_params={name: np.full(INPUTS, value, np.int32) for name, value in encoder.items()},
        populations=(
            Population("hidden", neuron, n, _tables(neuron, n, rng)),
            Population("out", "li", OUTPUTS, _tables("li", OUTPUTS, rng)),
        ),
        projections=tuple(
            Projection(name, *ends[name], CSR.from_dense(dense[name]), shift) for name, shift in SHIFTS.items()
        ),
        dt=0.01, window=STEPS, hop=STEPS, channels=tuple(f"c{k}" for k in range(INPUTS)),
        classes=tuple(f"k{k}" for k in range(OUTPUTS)),
    )  # fmt: skip


def _in_4_bits(p: Projection) -> Projection:
    """Weights between neurons rounded to -7..7, 16 times what the integers say, as the largest are 127."""
    if p.name != "rec":
        return p
    data = np.sign(p.w.data) * np.maximum(1, np.abs(p.w.data) * 7 // 127)
    return replace(p, w=replace(p.w, data=data.astype(np.int32)), bits=4, shift=p.shift + 4)


def _tables(neuron: str, n: int, rng: np.random.Generator) -> dict[str, NDArray[np.int32]]:
    """Each value of each neuron drawn by itself: no table has one value alone, and none is 0."""
    module, found = neuron_module(neuron), {}
    for name, stored in module.TABLES.items():
        if stored.form == "leak":
            values = rng.integers(8000, 30000, n)
        elif stored.form == "share":
            values = rng.integers(1000, 6000, n)
        elif stored.low > 0:  # a threshold
            values = rng.integers(UNIT // 2, UNIT * 3 // 2, n)
        else:
            sign = 1 if module.PARAMETERS[stored.source].low >= 0 else rng.choice((-1, 1), n)
            values = sign * rng.integers(1, UNIT // 8, n)
        found[name] = values.astype(np.int32)
    return found


def _raised(model: QuantizedModel, power: float) -> QuantizedModel:
    """The model with thresholds of 2**power times as much."""
    hidden, out = model.populations
    of = {name for name, stored in hidden.module.TABLES.items() if stored.form == "state" and stored.low > 0}
    raised = {name: np.rint(hidden.params[name] * 2.0**power).astype(np.int32) for name in of}
    return replace(model, populations=(replace(hidden, params=hidden.params | raised), out))


def activity(model: QuantizedModel, runs: list[NDArray[np.int16]], settle: int) -> tuple[float, float]:
    """Spikes and events a step: the mean over some runs, each from reset, without the first `settle` steps."""
    reference, spikes = Reference(model), []
    for rows in runs:
        reference.reset()
        for t, one in enumerate(rows):
            reference.steps(one[None], digests=False)
            if t >= settle:
                spikes.append(model.spikes(reference.state()))
    fired, first, events = np.array(spikes, np.int64), 0, 0.0
    for p in model.populations[:-1]:
        own = fired[:, first : first + p.n].mean(0)
        of = [q for q in model.projections if q.source == p.name and q.target != model.readout.name]
        events += sum(float(own @ np.diff(q.w.indptr)) for q in of)
        first += p.n
    return float(fired.sum(1).mean()), events


def measure(
    chains: list[str],
    sizes: tuple[int, ...] = SIZES,
    progress: Callable[[str], None] = lambda what: None,
    executor: Executor = in_process,
) -> list[Row]:
    """The rows of the reference workload: every neuron, size, core and compiler. executor : runs a model at a time"""
    items = [(k, *item, chains) for k, item in enumerate(product(sizes, NEURONS, KINDS))]
    done = sorted(executor(_of_model, items, progress))
    for why in dict.fromkeys(why for _, _, left_out in done for why in left_out):
        note(why)
    return [one for _, rows, _ in done for one in rows]


def _of_model(
    item: tuple[int, int, str, str, list[str]], tell: Callable[[str], None]
) -> tuple[int, list[Row], list[str]]:
    """The rows of one model, and why some are left out. item : its place, N, the neuron, one of KINDS, compilers"""
    place, n, neuron, kind, chains = item
    model, rows, name = workload(neuron, n, kind), counts(SETTLE + STEPS), neuron + kind
    cases: list[tuple[str, str, tuple[str, ...]]] = [("", core, ()) for core in BOARDS]
    if name == NEURONS[0]:
        cases += [("", core, ()) for core in PLAIN]
        cases += [(IN_C[0], core, IN_C[1]) for core in BY_HAND]
        cases.append((PORTABLE[0], BOARDS[0], PORTABLE[1]))
    cases += [("", core, ()) for core in ON_QEMU]
    found, left_out = [], []
    for (what, core, more), chain in product(cases, chains):
        tell(f"{name}{what}, N = {n}, {core}, {chain}")
        try:
            found.append(row(name + what, model, [rows], SETTLE, boards.get(core), chain, more))
        except BoardError as e:
            if core not in ON_QEMU:
                raise
            left_out.append(f"{core} is left out: {e.what}")
    return place, found, left_out


def row(
    name: str,
    model: QuantizedModel,
    runs: list[NDArray[np.int16]],
    settle: int,
    board: Board,
    chain: str,
    more: tuple[str, ...] = (),
) -> Row:
    """Count the steps of some runs [T, n_in], each from reset, but for the first `settle` of each.

    more : flags of the compiler that come last
    """
    board = _measure.roomy(board)
    with scratch() as folder:
        image = _measure.built(model, board, chain, folder, more).image
        opened, digest = _on_qemu if board.start == "qemu" else _in_process, 0.0
        with opened(board, image, model) as (device, steps):
            for rows in runs:
                device.reset()
                device.steps(rows[:settle])
                with steps:
                    device.steps(rows[settle:])
            if isinstance(steps, InstructionCount):
                with steps.emulator.count(DIGEST) as digests:
                    device.steps(rows[-1:])
                digest = float(np.mean(digests.calls))
            calls, total = steps.calls, steps.total
        functions, parts, code = Functions(image, STEP), Counter[str](), set()
        for block, times in total.items():
            for address, _ in steps.instructions(block):
                parts[functions.name(address)] += times
                code.add(functions.whole(address))
    forced = _forced.measure(model, board, chain, more) if board.start != "qemu" else Forced(0, 0, 0, 0)
    spikes, events = activity(model, runs, settle)
    return Row(
        name, model.n, board.cpu, chain, version(chain, board.family), flags(board, chain, more), spikes, events,
        float(np.mean(calls)), {part: times / len(calls) for part, times in parts.most_common()},
        digest, forced.largest, forced.fired, layout.table_bytes(model),
        sum(end - begin for begin, end, _ in code), layout.state_bytes(model),
    )  # fmt: skip


@contextmanager
def _in_process(board: Board, image: Path, model: QuantizedModel) -> Iterator[tuple[Device, InstructionCount]]:
    with closing(Emulator(board, image)) as emulator:
        yield Device(emulator, model), emulator.count(STEP)


@contextmanager
def _on_qemu(board: Board, image: Path, model: QuantizedModel) -> Iterator[tuple[Device, _qemu.QemuCount]]:
    with _qemu.counting(board, image, STEP) as (port, steps):
        yield Device(port, model), steps


def flags(board: Board, chain: str, more: tuple[str, ...] = ()) -> str:
    """The flags of a compiler that its instructions depend on."""
    tools = commands.toolchain(board, chain)
    return " ".join((tools.optimize, *(flag for flag in tools.flags if flag.startswith(("-mcpu", "-march"))), *more))


def trained(
    chains: list[str], folder: Path, progress: Callable[[str], None] = lambda what: None
) -> list[tuple[Row, BoardCost]]:
    """A row, and the cost of a window, of the network of each of TASKS, on training data.

    folder : keeps the trainings, as lnp reproduce does. A task whose data are not on this machine is left out
    """
    from lnp_edge.experiments.runs import Runs
    from lnp_edge.experiments.trial import Trial

    found = []
    for task in TASKS:
        settings = config.load(config.FOLDER / f"{task}.toml")
        try:
            load_data(settings)
        except DataError as e:
            note(f"{task} is left out: {e.what}")
            continue
        runs, trial = Runs(folder), Trial(task, settings)
        runs.all([trial], in_process)
        found += of_file(task, runs.path(trial).parent / "model.onnx", chains, progress)
    return found


def of_file(
    name: str, path: Path, chains: list[str], progress: Callable[[str], None] = lambda what: None
) -> list[tuple[Row, BoardCost]]:
    """Rows, and the cost of a window, of a model on the training data that lie beside its file."""
    model, found = onnx_file.load(path), []
    windows = windows_file.load(model, path)
    if windows is None:
        raise ConfigError(f"{path} has no windows beside it", "write both again: lnp quantize, or train it again")
    rows = list(model.rows(_measure.some(windows, model.front.frame)))
    for what, core, more in [*(("", core, ()) for core in BOARDS), *((IN_C[0], core, IN_C[1]) for core in BY_HAND)]:
        for chain in chains:
            progress(f"{name}{what}, {core}, {chain}")
            board = boards.get(core)
            one = row(name + what, model, rows, 0, board, chain, more)
            cost = BoardCost(model, board, counted=(Counted("training data", sum(map(len, rows)), one.step, 0),))
            found.append((one, cost))
    return found


LEAST = 10  # instructions of a step in a function that a table names
WORDS, KEYS = (0, 2, 3), 4  # of the tables below: the columns that are no numbers, and those that name a row


def tables(rows: list[Row], trained: list[tuple[Row, BoardCost]]) -> Iterator[tuple[list[str], list[list[str]]]]:
    """The columns and the rows of what was measured of the workload and of networks: docs/performance.md has them."""
    keys = ["model", "N", "core", "compiler"]
    if rows:
        counts = ["spikes", "events", "a step", "all fire", "digest", "tables + step, B", "state, B"]
        yield [*keys, *counts], [
            [*_of(r), f"{r.spikes:.1f}", f"{r.events:.0f}", whole(r.step), _if_any(r.all_fire), _if_any(r.digest),
             whole(r.tables + r.code), whole(r.state)]
            for r in rows
        ]  # fmt: skip
    if trained:
        counts = ["spikes", "events", "a step", "all fire", "a window", "a second", "tables + step, B", "state, B"]
        yield [*keys, *counts], [
            [*_of(r), f"{r.spikes:.1f}", f"{r.events:.0f}", whole(r.step), whole(r.all_fire), counted(cost.a_window),
             counted(cost.a_second), whole(r.tables + r.code), whole(r.state)]
            for r, cost in trained
        ]  # fmt: skip


def parts(rows: list[Row]) -> tuple[list[str], list[list[str]]]:
    """The same of the functions that the instructions of a step are in, the most first."""
    found = []
    for r in rows:
        most = sorted(((name, n) for name, n in r.parts.items() if n >= LEAST), key=lambda part: -part[1])
        found.append([*_of(r), ", ".join(f"`{name}` {whole(n)}" for name, n in most)])
    return ["model", "N", "core", "compiler", f"functions with {LEAST} instructions of a step and more"], found


def notes(rows: list[Row]) -> Iterator[str]:
    """What compiled each row, and of which models not all neurons fired when they were forced to."""
    yield from dict.fromkeys(f"* {r.compiler}, {r.core}: {r.version}, `{r.flags}`" for r in rows)
    short = [r for r in rows if r.all_fire > 0 and r.fired < r.neurons]
    yield from dict.fromkeys(
        f"* {r.model}: at most {r.fired} of {r.neurons} neurons fired in a forced step" for r in short
    )


def _of(row: Row) -> list[str]:
    return [row.model, str(row.neurons), row.core, row.compiler]


def whole(value: float) -> str:
    return f"{value:,.0f}"


def _if_any(value: float) -> str:
    return whole(value) if value else ""
