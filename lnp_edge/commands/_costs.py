"""Where the instructions of a step go: each figure is the difference of two models that differ by one thing.

Weights are 0 and thresholds are high or low, so that the neurons do the same whatever is connected:
none fires, or all do in every step. What an emulator counts repeats exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from numpy.typing import NDArray

from lnp_edge import boards
from lnp_edge.base.errors import BoardError, ConfigError
from lnp_edge.commands import _measure
from lnp_edge.firmware_gen.build import Sizes, compiler
from lnp_edge.firmware_gen.folder import scratch
from lnp_edge.spec import plugins
from lnp_edge.spec.frontend import PACKAGE as FRONT_ENDS
from lnp_edge.spec.frontend import RAW, FrontEnd, inputs
from lnp_edge.spec.model import CSR, INPUT, Population, Projection, QuantizedModel
from lnp_edge.spec.neuron import PACKAGE as NEURONS
from lnp_edge.spec.neuron import neuron_module

BOARD, TOOLCHAINS = "cortex-m4", ("zig", "gcc")
N, STEPS = 44, 32  # N is no multiple of 32: compilers unroll loops over whole words of spikes, which few networks have
CHANNELS = 6  # whose flash and RAM are given for a front end
FRAMES = (1, 8, 16, 64)
HIGH, LOW = 2**24, 1  # thresholds


@dataclass(frozen=True)
class Figure:
    what: str
    instructions: dict[str, float]  # by toolchain
    flash: dict[str, int] | None = None  # B, more than with the samples themselves
    ram: dict[str, int] | None = None


@dataclass(frozen=True)
class Case:
    """A model. fan_in, recurrent : targets of each input and of each neuron, the first ones"""

    neuron: str
    readout: str
    n: int = N
    channels: int = CHANNELS
    front: FrontEnd = RAW
    outputs: int = 2
    fan_in: int = 0
    recurrent: int = 0
    apart: int = 1  # how far the targets of a neuron are from each other
    weight: int = 0  # of inputs
    threshold: int = HIGH

    def model(self) -> QuantizedModel:
        """Not checked: stored weights of 0 are no model's."""
        channels = tuple(f"c{k}" for k in range(self.channels))
        count, window = len(inputs(self.front, channels)), STEPS * self.front.frame
        encoder = {"offset": 0, "gain": 256, "shift": 8}  # limits to 8 bits
        return QuantizedModel(
            encoder="affine",
            encoder_params={name: np.full(count, value, np.int32) for name, value in encoder.items()},
            populations=(
                Population("hidden", self.neuron, self.n, _tables(self.neuron, self.n, self.threshold)),
                Population("out", self.readout, self.outputs, _tables(self.readout, self.outputs, self.threshold)),
            ),
            projections=(
                Projection("in", INPUT, "hidden", _first(count, self.n, self.fan_in, self.weight), 0),
                Projection("rec", "hidden", "hidden", _first(self.n, self.n, self.recurrent, 0, self.apart), 0),
                Projection("out", "hidden", "out", _first(self.n, self.outputs, 0, 0), 0),
            ),
            dt=0.01, window=window, hop=window, channels=channels, classes=tuple(f"k{k}" for k in range(self.outputs)),
            front=self.front.fit(np.zeros((1, self.channels), np.int16)),
        )  # fmt: skip


def toolchains() -> list[str]:
    """Those that are installed. Raises BoardError if there is none."""
    found = list[str]()
    for name in TOOLCHAINS:
        try:
            compiler(name)
        except BoardError:
            if name == TOOLCHAINS[-1] and not found:
                raise
        else:
            found.append(name)
    return found


def measure(chains: list[str], progress: Callable[[str], None] = lambda what: None) -> list[Figure]:
    """The figures, in the order of a step."""

    def cost(what: str, more: Case, less: Case, units: int, without: tuple[Case, Case] | None = None) -> Figure:
        """without : two models whose difference is no part of the cost"""
        progress(what)

        def difference(more: Case, less: Case, chain: str) -> int:
            return _last(more, chain) - _last(less, chain)

        rest = {chain: difference(*without, chain) if without else 0 for chain in chains}
        return Figure(what, {chain: (difference(more, less, chain) - rest[chain]) / units for chain in chains})

    kinds = plugins.names(NEURONS)
    spiking = [name for name in kinds if hasattr(neuron_module(name), "drive_for")]
    others = [name for name in kinds if name not in spiking]
    quiet = Case(spiking[0], others[0])
    driven = replace(quiet, fan_in=N, weight=1)
    firing = replace(driven, threshold=LOW)
    half = N // 2

    found = list[Figure]()
    for front in _front_ends():
        progress(f"{front.kind}, frame {front.frame}")
        found.append(_of_front_end(replace(quiet, front=front), quiet, chains))
    found += [
        # More channels, as the dense input also sets the sums that others must clear; less their samples.
        cost(
            "a weight of an input that reaches every neuron",
            replace(driven, channels=2 * CHANNELS),
            driven,
            CHANNELS * N,
            (replace(quiet, channels=2 * CHANNELS), quiet),
        ),
        cost(
            "a synapse of an input that reaches few, and is not 0",
            replace(quiet, fan_in=N // 8),
            replace(quiet, fan_in=1),
            CHANNELS * (N // 8 - 1),
        ),
        cost(
            "a recurrent synapse of a spike",
            replace(firing, recurrent=half, apart=2),
            replace(firing, recurrent=half // 2, apart=2),
            N * half // 2,
        ),
        cost("the same, in full blocks", replace(firing, recurrent=N), replace(firing, recurrent=half), N * half),
    ]
    for name in spiking:
        one = replace(quiet, neuron=name)
        found.append(cost(f"{name}: a neuron that does not fire", replace(one, n=N + 64), one, 64))
    for name in spiking:
        one = replace(firing, neuron=name)
        found.append(cost(f"{name}: a spike, without its synapses", one, replace(one, threshold=HIGH), N))
    for name in others:
        one = replace(quiet, readout=name)
        found.append(cost(f"{name}: an output", replace(one, outputs=16), replace(one, outputs=8), 8))
    return found


def _of_front_end(case: Case, plain: Case, chains: list[str]) -> Figure:
    """For a sample of a channel, encoder included: the mean over steps, as it depends on the samples."""
    twice, instructions = replace(case, channels=2 * CHANNELS), {}
    for chain in chains:
        more, less = (float(np.mean(_run(one, chain)[1])) for one in (twice, case))
        instructions[chain] = (more - less) / CHANNELS / case.front.frame
    sizes = {chain: (_run(case, chain)[0], _run(plain, chain)[0]) for chain in chains}
    return Figure(
        f"{case.front.kind}, frame {case.front.frame}: a sample of a channel",
        instructions,
        {chain: with_it.flash - without.flash for chain, (with_it, without) in sizes.items()},
        {chain: with_it.ram - without.ram for chain, (with_it, without) in sizes.items()},
    )


def _front_ends() -> Iterator[FrontEnd]:
    """Every front end with every one of FRAMES that it takes."""
    for kind in plugins.names(FRONT_ENDS):
        for frame in FRAMES:
            try:
                yield FrontEnd(kind, frame).check()
            except ConfigError:
                continue


def _first(pre: int, post: int, targets: int, weight: int, apart: int = 1) -> CSR:
    """Each of `pre` reaches the first `targets` of `post`, which are so far apart; weights of 0 are stored."""
    indptr, indices = np.arange(pre + 1) * targets, np.tile(apart * np.arange(targets), pre)
    return CSR(indptr.astype(np.int32), indices.astype(np.int32), np.full(pre * targets, weight, np.int32), (pre, post))


def _tables(kind: str, n: int, threshold: int) -> dict[str, NDArray[np.int32]]:
    """Leaks of a half, the smallest shares, this threshold, and else 0."""
    found = {}
    for name, stored in neuron_module(kind).TABLES.items():
        value = {"leak": 32768, "share": stored.low}.get(stored.form, threshold if stored.low > 0 else 0)
        found[name] = np.full(n, value, np.int32)
    return found


def _last(case: Case, chain: str) -> int:
    """The instructions of the last step: by then all neurons do what they do for ever."""
    return _run(case, chain)[1][-1]


@cache
def _run(case: Case, chain: str) -> tuple[Sizes, list[int]]:
    """The sizes of a case's firmware, and the instructions of each of STEPS steps."""
    model, board = case.model(), boards.get(BOARD)
    counts = np.random.default_rng(1).integers(1, 1000, (1, model.window, case.channels)).astype(np.int16)
    with scratch() as folder:
        sizes = _measure.built(model, board, chain, folder)
        return sizes, _measure.instructions(sizes, board, model, counts)
