"""Find the densest network within a budget of flash, RAM and instructions per step.

The length of the code hardly depends on the number of synapses, and tables and state follow from
their layout: the bytes of one measured network predict those of any other size. Instructions are
nearly linear in the size. The returned network has been measured. Nothing is built or run here: the
caller provides the meter.

The budget is for the largest network that training can produce: every synapse is stored, including
those whose weight now rounds to 0. The mean of instructions is counted before training and changes
with the firing rate. Their bound hardly does: in it all neurons fire, and no synapse is left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from lnp_edge.base.errors import ConfigError, DoesNotFit
from lnp_edge.config import Config
from lnp_edge.network import Network
from lnp_edge.pruning.steps.blocks import blocks_of
from lnp_edge.spec import layout, plugins
from lnp_edge.spec.model import CSR, INPUT, Projection, QuantizedModel
from lnp_edge.stages import pipeline
from lnp_edge.stages.cost import Meter, Use
from lnp_edge.task.split import Split

SIZE = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)([km]?)(b?)", re.IGNORECASE | re.ASCII)
# B of flash left free. Offsets into the tables are constants in the code: with a few synapses less,
# zig's code was up to 232 B longer than that of most networks of the size, gcc's 12 B.
RESERVE = 256
MOST_TRIES = 8  # of one search; two are usual
FEWEST = 2  # neurons
FEWER = (0.25,)  # shares of the inputs of a neuron that are tried too; half of them save next to nothing
NEAR = 0.99  # share of the instructions that suffices: training changes the firing rate by more
GOLDEN = (5**0.5 - 1) / 2  # multiples of it modulo 1 are evenly spread, however many they are
FIRES_MORE = 1.1  # ratio of instructions up to which a network that fires more than expected is made smaller


@dataclass(frozen=True)
class Budget:
    flash: int  # B
    ram: int  # B
    ops: float | None = None  # instructions per step; None: not counted
    steps_a_second: float | None = None  # if the instructions were asked for a second of signal
    bound: bool = False  # whether every step counts, as if all neurons fired, and not their mean

    def in_words(self, ops: float) -> str:
        """Instructions per step, as they were asked for."""
        rate, most = self.steps_a_second, " at most" * self.bound
        if rate is None:
            return f"{ops:.0f} instructions per step{most}"
        return f"{ops * rate:.0f} instructions a second{most}"

    def exceeded_by(self, cost: Use) -> str:
        """The first limit that a cost exceeds, in words; "" if it is within the budget."""
        if cost.flash + RESERVE > self.flash:
            return f"{cost.flash + RESERVE} B flash, the budget is {self.flash}"
        if cost.ram > self.ram:
            return f"{cost.ram} B RAM, the budget is {self.ram}"
        if self.ops is not None and cost.ops > self.ops:
            return f"{self.in_words(cost.ops)}, the budget is {self.in_words(self.ops).split()[0]}"
        return ""


@dataclass(frozen=True)
class Fitted:
    """A measured network. config draws and prunes it again; model has every synapse stored."""

    config: Config
    dense: Network
    network: Network
    model: QuantizedModel
    cost: Use
    too_much: str = ""  # the limit that the configured neurons exceed, if there are fewer here


def parse(text: str, option: str, k: int) -> int:
    """The value of a size such as 64k, 1.5k or 8kB. k : 1024 for bytes, 1000 for instructions"""
    found = SIZE.fullmatch(text.strip())
    value = float(found[1]) * {"": 1, "k": k, "m": k * k}[found[2].lower()] if found else 0.0
    if not found or value < 1 or value != int(value) or (found[3] and k == 1000):
        unit, example = ("B", "64k, 8kB") if k == 1024 else ("instructions", "20k, 400k/s")
        raise ConfigError(
            f"{option} is {text[:40]!r}", f"write a whole number of {unit}, such as {example} or 9000; k is {k}"
        )
    return int(value)


def require_one_layer(config: Config) -> None:
    """Raises ConfigError for a configuration that the search does not support."""
    if config.network.layer:
        raise ConfigError(
            f"a budget needs a network of one layer, this has {len(config.network.layer)} tables [[network.layer]]",
            "omit these tables, or omit --board and set [prune] keep",
        )


def fit(
    config: Config,
    data: Split,
    budget: Budget,
    meter: Meter,
    progress: Callable[[str], None],
    folder: Path | None = None,
) -> Fitted:
    """The network with the most synapses within the budget.

    It has fewer neurons than configured if [prune] keep of their synapses exceeds the budget.

    folder : keeps prunings, so that a stopped search does not repeat them; the caller discards it

    Raises DoesNotFit, which says what the smallest network needs.
    """

    def measured(settings: Config, dense: Network, network: Network) -> Fitted:
        progress(f"{network.n} neurons, {network.w_rec.nnz} synapses")
        rounded = replace(settings, quantize=replace(settings.quantize, epochs=0))  # same size, no torch
        model = stored(pipeline.quantize(rounded, data, network)[0], network)
        return Fitted(settings, dense, network, model, meter(model))

    def sparsest(neurons: int) -> Fitted:
        settings = replace(config, network=replace(config.network, neurons=neurons))
        dense = pipeline.new_network(settings, data)
        network = pipeline.prune_inputs(settings, data, dense)
        return measured(settings, dense, _thinned(network, _least(config, dense.n, dense.w_rec.nnz), block))

    def pruned(synapses: int) -> Fitted:
        settings = replace(start.config, prune=replace(config.prune, keep=synapses / total))
        kept = folder and folder / f"{start.dense.identity(settings.to_json())[:16]}.checkpoint"
        return measured(settings, start.dense, pipeline.prune(settings, data, start.dense, None, kept))

    require_one_layer(config)
    block = config.prune.block
    start = sparsest(config.network.neurons)
    too_much = budget.exceeded_by(start.cost)
    if too_much:
        seen = {start.dense.n: start}
        start = _largest(sparsest, FEWEST, start.dense.n, seen, budget, partial(_as_sparse, config))
    if not start.dense.w_rec.nnz:  # nothing to prune
        whole = replace(start.config, prune=replace(config.prune, keep=1.0))
        return replace(start, config=whole, too_much=too_much)
    few, total = start.network.w_rec.nnz, start.dense.w_rec.nnz
    most = total - _keeps_shared(config)
    found = _largest(pruned, few, most, {few: start}, budget, lambda model, k: layout.sized(model, model.n, k))
    if found is start:  # the method has not chosen its synapses yet
        found = pruned(few)
        over = found.cost.ops / budget.ops if budget.ops else 0.0
        if budget.exceeded_by(found.cost) and 1 < over < FIRES_MORE and found.dense.n > FEWEST:
            # The neurons were counted with other synapses, and fire more with these: leave that much room.
            tighter = replace(budget, ops=budget.ops / over * NEAR if budget.ops else None)
            return replace(fit(config, data, tighter, meter, progress, folder), too_much=too_much)
        _refuse(budget, found)
    return replace(found, too_much=too_much)


def smaller(config: Config, data: Split) -> list[Config]:
    """Configurations that cost less: fewer inputs a neuron, no synapses between neurons, and both. Of one layer.

    Whitened pixels are not pruned.
    """
    inputs = len(data.task.inputs)
    each = min(config.network.inputs or inputs, inputs) * config.prune.inputs
    shares = [share for share in FEWER if data.axes is None and each * share >= 1]
    found = [replace(config, prune=replace(config.prune, inputs=config.prune.inputs * share)) for share in shares]
    return found + [without_recurrence(one) for one in (config, *found)] if config.network.density else found


def without_recurrence(config: Config) -> Config:
    """The configuration without synapses between neurons, of one layer."""
    return replace(config, network=replace(config.network, density=0.0), prune=replace(config.prune, keep=1.0))


def _largest(
    measured: Callable[[int], Fitted],
    low: int,
    high: int,
    seen: dict[int, Fitted],
    budget: Budget,
    resized: Callable[[QuantizedModel, int], QuantizedModel],
) -> Fitted:
    """The largest measured size from low to high that is within the budget; costs rise with size.

    seen : previous measurements, at least one
    resized : returns a measured model as it would be at another size
    Raises DoesNotFit if even the lowest size exceeds the budget.
    """
    aim = replace(budget, ops=budget.ops and budget.ops * (1 + NEAR) / 2)
    last = next(iter(seen.values()))
    for _ in range(MOST_TRIES):
        within = [size for size, one in seen.items() if not budget.exceeded_by(_careful(one, one.model, seen))]
        best = max(within, default=low - 1)
        first = min(seen.keys() - within, default=high + 1)
        if first - best <= 1 or (within and _is_full(budget, seen[best], resized(seen[best].model, best + 1), seen)):
            break
        below, above = best, first
        while above - below > 1:
            size = (below + above) // 2
            cost = replace(predicted(last, resized(last.model, size)), ops=_on_line(seen, size))
            below, above = (below, size) if aim.exceeded_by(cost) else (size, above)
        size = max(below, best + 1)
        last = seen[size] = measured(size)
    within = [size for size, one in seen.items() if not budget.exceeded_by(_careful(one, one.model, seen))]
    if not within:
        _refuse(budget, seen[min(seen)])
    return seen[max(within, default=min(seen))]


def _is_full(budget: Budget, found: Fitted, next_larger: QuantizedModel, seen: dict[int, Fitted]) -> bool:
    near = budget.ops is not None and found.cost.ops >= NEAR * budget.ops
    return near or bool(budget.exceeded_by(_careful(found, next_larger, seen)))


def _careful(found: Fitted, model: QuantizedModel, seen: dict[int, Fitted]) -> Use:
    """The cost of a model of another size, with the longest code measured for as many neurons.

    Some code is shorter by chance.
    """
    longest = max(code_bytes(one) for one in seen.values() if one.model.n == found.model.n)
    return replace(predicted(found, model), flash=longest + layout.struct_bytes(model))


def _refuse(budget: Budget, smallest: Fitted) -> None:
    if too_much := budget.exceeded_by(smallest.cost):
        size = f"{smallest.dense.n} neurons and {smallest.network.w_rec.nnz} synapses"
        raise DoesNotFit(f"{size} need {too_much}", "allow more, or choose another --board (lnp boards lists them)")


def code_bytes(found: Fitted) -> int:
    """The bytes of flash that are not tables."""
    return found.cost.flash - layout.struct_bytes(found.model)


def predicted(found: Fitted, model: QuantizedModel) -> Use:
    """The cost of a model of another size with the code and the instructions of a measured one."""
    ram = found.cost.ram + layout.state_bytes(model) - layout.state_bytes(found.model)
    return replace(found.cost, flash=code_bytes(found) + layout.struct_bytes(model), ram=ram)


def _on_line(seen: dict[int, Fitted], size: int) -> float:
    """Instructions on the line through the two nearest measured sizes."""
    a, *more = sorted(seen, key=lambda other: abs(other - size))[:2]
    slope = [(seen[b].cost.ops - seen[a].cost.ops) / (b - a) for b in more]
    return seen[a].cost.ops + sum(slope) * (size - a)


def _keeps_shared(config: Config) -> bool:
    """Is one network pruned for all tasks? At keep = 1 the task's own network would replace it."""
    return config.prune.shared and not hasattr(plugins.get("lnp_edge.pruning", config.prune.method), "NEEDS")


def _least(config: Config, neurons: int, synapses: int) -> int:
    """The fewest synapses to which a network is pruned; below that, fewer neurons are better."""
    return max(min(neurons, synapses), round(config.prune.keep * synapses))


def _as_sparse(config: Config, model: QuantizedModel, neurons: int) -> QuantizedModel:
    """The model with as many neurons and the fewest synapses."""
    dense = round(config.network.density * neurons * (neurons - 1))
    return layout.sized(model, neurons, _least(config, neurons, dense))


def _thinned(network: Network, count: int, block: int) -> Network:
    """The network with `count` of its synapses, evenly chosen, in blocks."""
    w, blocks = network.w_rec.tocoo(), blocks_of(network, block)
    spread = np.argsort(np.arange(len(blocks.size)) * GOLDEN % 1)
    kept = np.linspace(0, w.nnz - 1, min(count, w.nnz)).astype(int) if block == 1 else blocks.first(spread, count)
    w_rec = sparse.csr_array((w.data[kept], (w.row[kept], w.col[kept])), w.shape)
    return replace(network, w_rec=w_rec)


def stored(model: QuantizedModel, network: Network) -> QuantizedModel:
    """The model of a network that also stores its weights of 0; it computes the same."""
    w = network.w_rec.tocoo()
    synapses = np.sort(w.row.astype(np.int64) * network.n + w.col)

    def whole(p: Projection) -> Projection:
        if p.source == INPUT and p.target != model.readout.name:
            return replace(p, w=_with_zeros(p.w, np.flatnonzero(network.w_in)))
        places = synapses if p.source == p.target else np.arange(p.w.shape[0] * p.w.shape[1])
        return replace(p, w=_with_zeros(p.w, places))

    return replace(model, projections=tuple(map(whole, model.projections)))


def _with_zeros(w: CSR, places: NDArray[np.int64]) -> CSR:
    """places : pre * n_post + post of each entry, ascending"""
    n_pre, n_post = w.shape
    data = np.zeros(len(places), np.int32)
    data[np.searchsorted(places, w.rows().astype(np.int64) * n_post + w.indices)] = w.data
    indptr = np.searchsorted(places, np.arange(n_pre + 1) * n_post).astype(np.int32)
    return CSR(indptr, (places % n_post).astype(np.int32), data, w.shape)
