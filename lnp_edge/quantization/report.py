"""Compare a quantised network with its float network, layer by layer, and propose improvements.

Both networks run over the same windows: the floats with the neurons' own steps, the integers on the
reference. Needs no torch. Spike trains are compared by the distance of van Rossum 2001, Neural
Comput. 13:751: each train is filtered by exp(-t / tau) with tau = TAU steps. The distance is the
squared difference, summed over time, neurons and windows, divided by the sum of the squares of
both:

    0 = all spikes are equal    0.39 = a lone spike is one step late    1 = one of the two is silent
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lnp_edge.encoders import encode
from lnp_edge.network import X_SCALE, Floats, Network
from lnp_edge.network.simulate import Simulation
from lnp_edge.quantization.quantize import largest_weight
from lnp_edge.runtime.reference import Reference
from lnp_edge.spec.model import CSR, INPUT, X_MAX, Population, QuantizedModel
from lnp_edge.task.task import Task

STEPS = 20_000  # of both networks; fewer if they are large:
CELLS = 2**28  # limit of steps times neurons
TAU = 2.0  # steps; a longer tau compares rates, which may agree even if no spike does
SILENT = 0.01  # share of the spikes in floats below which an integer network counts as silent
ALWAYS = 0.95  # spikes per step from which a neuron counts as always firing
LOST = 10.0  # a leak of 1 unit per step takes 1 / LOST of the threshold in one time constant
COARSE = 0.02  # relative error of a leak
LIMITS = ("coarse_leaks", "leak_lost", "cannot_reach_v_th")
Findings = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Activity:
    """Spikes z, bool [T, W, N], and y [W, O], the read-out after the last step, in its own unit."""

    z: NDArray[np.bool_]
    y: Floats


def some(counts: NDArray[np.int16], n: int) -> NDArray[np.int16]:
    """Windows int16 [W, T, C], evenly chosen from all, with about STEPS steps in total."""
    steps = max(1, min(STEPS, CELLS // n))
    wanted = int(np.clip(steps // counts.shape[1], 1, len(counts)))
    return counts[np.linspace(0, len(counts) - 1, wanted).astype(int)]


def in_floats(network: Network, model: QuantizedModel, counts: NDArray[np.int16]) -> Activity:
    """Run the float network on counts [W, T, C], with the front end and encoder of the model."""
    x = encode(model.encoder, model.front.run(counts), model.encoder_params) / X_SCALE
    run, y = Simulation(network, len(counts)), np.zeros((len(counts), model.n_out))
    spikes = np.zeros((x.shape[1], len(counts), network.n), bool)
    for t in range(x.shape[1]):
        spikes[t] = run.step(x[:, t])
        y = network.gamma * y + spikes[t] @ network.w_out + network.bias_out
        if network.w_skip is not None:
            y += x[:, t] @ network.w_skip
    return Activity(spikes, y)


def in_integers(model: QuantizedModel, counts: NDArray[np.int16]) -> Activity:
    """Run the model on counts [W, T, C] on the reference; spikes are read from its state words."""
    reference, rows = Reference(model), model.rows(counts)
    spikes, ys = np.zeros((rows.shape[1], len(counts), model.n), bool), []
    for w, window in enumerate(rows):
        reference.reset()
        for t in range(len(window)):
            y = reference.steps(window[t : t + 1], digests=False).y
            spikes[t, w] = model.spikes(reference.state())
        ys.append(y)
    return Activity(spikes, np.array(ys, np.float64))


def distance(a: NDArray[np.bool_], b: NDArray[np.bool_], decay: float) -> tuple[Floats, Floats]:
    """The squared difference of filtered spike trains, and the sum of their squares, both [N].

    a, b : spikes [T, W, N];  decay : of the filter, per step
    """
    f, g = np.zeros(a.shape[1:], np.float32), np.zeros(a.shape[1:], np.float32)
    apart, own = np.zeros(a.shape[2]), np.zeros(a.shape[2])
    for now_a, now_b in zip(a, b, strict=True):
        f, g = decay * f + now_a, decay * g + now_b
        apart += np.square(f - g).sum(0)
        own += (f * f + g * g).sum(0)
    return apart, own


def compare(network: Network, model: QuantizedModel, task: Task, bits: int, counts: NDArray[np.int16]) -> Findings:
    """The report: the findings for each layer on held-out windows. counts : [W, T, C]"""
    floats, integers = in_floats(network, model, counts), in_integers(model, counts)
    most, readout = largest_weight(bits), model.readout.name
    x = np.abs(encode(model.encoder, model.front.run(counts), model.encoder_params))
    from_input = [p.w for p in model.projections if p.source == INPUT and p.target != readout]
    recurrent = [p.w for p in model.projections if p.source != INPUT and p.target != readout]
    to_readout = [p.w for p in model.projections if p.target == readout]
    skips = 0 if network.w_skip is None else int(np.count_nonzero(network.w_skip))
    spikes = _Spikes(floats.z, integers.z)
    populations = {
        part.name: spikes.of(at) | _limits(model, population)
        for (part, at), population in zip(network.parts(), model.populations[:-1], strict=True)
    }
    found: Findings = {
        "input": {
            "inputs_at_127": float((x == X_MAX).mean()),
            "worst_channel": model.inputs[int((x == X_MAX).mean((0, 1)).argmax())],
            "worst_channel_at_127": float((x == X_MAX).mean((0, 1)).max()),
            **_weights(from_input, int(np.count_nonzero(network.w_in)), most),
        },
        "recurrent": _weights(recurrent, int(np.count_nonzero(network.w_rec.data)), most),
        "neurons": spikes.of(slice(None))
        | {name: sum(p[name] for p in populations.values()) for name in LIMITS}
        | {
            "distance_tau": TAU * network.dt,
            "populations": populations,
        },
        "read-out": _weights(to_readout, int(np.count_nonzero(network.w_out)) + skips, most),
    }
    found["read-out"] |= {"coarse_leaks": int(_coarse(model.readout).sum())}
    found["read-out"] |= _read_out(task, model, floats.y, integers.y)
    return found


def _limits(model: QuantizedModel, population: Population) -> dict[str, int]:
    """How many of its neurons the integers limit, for each of LIMITS."""
    v_th = population.params["v_th"]
    slow = [LOST * 2.0**16 / c > v_th for c in _leaks(population)]
    silent = replace(population, params=population.params | {"v_th": np.zeros_like(v_th)})  # no resets
    unable = [most < threshold for most, threshold in zip(model.bounds(silent), v_th.tolist(), strict=True)]
    return dict(zip(LIMITS, (int(_coarse(population).sum()), int(np.any(slow, 0).sum()), sum(unable)), strict=True))


def _leaks(population: Population) -> list[NDArray[np.int32]]:
    """The decay tables of a population."""
    tables = population.module.TABLES.items()
    return [population.params[name] for name, stored in tables if stored.form == "leak"]


def _coarse(population: Population) -> NDArray[np.bool_]:
    """Neurons whose leak may change by over COARSE in 16 bits: with taus above 2600 steps."""
    return np.any([c < 0.5 / COARSE for c in _leaks(population)], 0)


def _weights(matrices: list[CSR], before: int, most: int) -> dict[str, Any]:
    at_limit, left = sum(int((np.abs(w.data) >= most).sum()) for w in matrices), sum(w.nnz for w in matrices)
    return {"weights": before, "rounded_to_0": before - left, "at_limit": at_limit, "limit": most}


class _Spikes:
    """Compares spikes in floats and in integers, bool [T, W, N]."""

    def __init__(self, floats: NDArray[np.bool_], integers: NDArray[np.bool_]):
        self.trains = floats, integers
        self.rates = floats.mean((0, 1)), integers.mean((0, 1))
        self.apart, self.own = distance(floats, integers, float(np.exp(-1 / TAU)))

    def of(self, at: slice) -> dict[str, Any]:
        """The findings for these neurons."""
        a, b = (z[..., at] for z in self.trains)
        rates = [rate[at] for rate in self.rates]
        either = int((a | b).sum())
        return {
            "neurons": len(rates[0]),
            "spikes_a_step": [float(rate.mean()) for rate in rates],
            "distance": float(self.apart[at].sum() / max(self.own[at].sum(), 1e-9)),
            "equal_spikes": int((a & b).sum()) / either if either else 1.0,
            "silent": [int((rate == 0).sum()) for rate in rates],
            "went_silent": int(((rates[0] > 0) & (rates[1] == 0)).sum()),
            "always": [int((rate >= ALWAYS).sum()) for rate in rates],
            "went_always": int(((rates[0] < ALWAYS) & (rates[1] >= ALWAYS)).sum()),
        }


def _read_out(task: Task, model: QuantizedModel, floats: Floats, integers: Floats) -> dict[str, Any]:
    """The share of windows that keep their class; for a series, the RMS error relative to y."""
    if not (task.forecast and model.forecast):
        return {"same_class": float((floats.argmax(1) == integers.argmax(1)).mean())}
    a, b = floats * np.array(task.forecast.unit), integers * np.array(model.forecast.unit)
    return {"error": float(np.sqrt(np.mean(np.square(a - b)) / max(np.mean(np.square(a)), 1e-30)))}


def silenced(found: Findings) -> list[str]:
    """The populations that fire in floats but are silent in integers (see SILENT)."""
    populations = found["neurons"]["populations"].items()
    return [
        name for name, p in populations if p["spikes_a_step"][0] > 0
        and p["spikes_a_step"][1] < SILENT * p["spikes_a_step"][0]
    ]  # fmt: skip


def shown_name(found: Findings, population: str) -> str:
    """The name of a population in a sentence; "the network" if there is only one."""
    return population if len(found["neurons"]["populations"]) > 1 else "the network"


def proposals(found: Findings, bits: int, epochs: int, trains: bool) -> list[str]:
    """One or two sentences that name the worst problems and what would help.

    trains : whether this network can be trained in integers
    """
    n, rec, inputs = found["neurons"], found["recurrent"], found["input"]
    more = [f"--epochs {2 * epochs or 20}"] if trains else []
    more += [f"--bits {min(8, bits + 2) if bits < 8 else 16}"] if bits < 16 else []
    better = " or ".join(more) or "train again with more weight_decay"
    said, silent = list[str](), silenced(found)
    if n["spikes_a_step"][0] == 0:
        said.append("The network does not fire in floats either: train it, or lower v_th.")
    for name in silent:
        one = n["populations"][name]
        unable = one["cannot_reach_v_th"]
        why = f"; {unable} of {one['neurons']} can never reach their threshold" if unable else ""
        who = shown_name(found, name).replace("the", "The")
        said.append(f"{who} fires in floats but is silent in integers{why}: {better}, or check v_th and taus.")
    if n["went_silent"] and not silent:
        said.append(f"{n['went_silent']} neurons fire in floats but never in integers: {better}.")
    if n["went_always"]:
        said.append(f"{n['went_always']} neurons fire at every step in integers but not in floats: {better}.")
    if inputs["worst_channel_at_127"] > 0.02:
        share = f"{inputs['worst_channel_at_127']:.0%}"
        reach = "another [data] encoder, a file of lnp_edge/encoders, may reach further"
        said.append(f"{inputs['worst_channel']} is clamped in {share} of the samples: {reach}.")
    if n["leak_lost"]:
        said.append(
            f"The minimum leak of 1 unit per step costs {n['leak_lost']} neurons at least a tenth of v_th "
            f"per time constant: shorten their taus{f', or --bits {8 if bits < 8 else 16}' if bits < 16 else ''}."
        )
    if n["coarse_leaks"] + found["read-out"]["coarse_leaks"]:
        said.append(
            f"The 16-bit leaks of {n['coarse_leaks']} neurons and {found['read-out']['coarse_leaks']} read-outs may "
            f"be off by over {COARSE:.0%}: use a longer step dt or shorter taus."
        )
    if found["read-out"].get("same_class", 1.0) < 0.95:
        said.append(f"Only {found['read-out']['same_class']:.1%} of the windows keep their class: {better}.")
    if found["read-out"].get("error", 0.0) > 0.2:
        said.append(f"The forecast differs by {found['read-out']['error']:.0%} of its size: {better}.")
    if rec["rounded_to_0"] > 0.1 * rec["weights"]:
        left = 1 - rec["rounded_to_0"] / rec["weights"]
        kept = f"multiply [prune] keep by {left:.2f}, which loses none"
        said.append(f"{1 - left:.0%} of the synapses between neurons round to 0: {kept}.")
    return said[:2] or ["Nothing to improve."]


def rows(found: Findings) -> list[list[str]]:
    """The rows of a table: layer, finding, in floats, in integers."""
    n, inputs, out = found["neurons"], found["input"], found["read-out"]
    several = len(n["populations"]) > 1
    lines = [
        *_weight_rows("input", found["input"]),
        ["input", "inputs at +-127", "", f"{inputs['inputs_at_127']:.2%}"],
        ["input", f"at most, {inputs['worst_channel']}", "", f"{inputs['worst_channel_at_127']:.2%}"],
        *_weight_rows("between neurons" if several else "recurrent", found["recurrent"]),
    ]
    for name, p in n["populations"].items():
        leaks = p["leak_lost"] + p["coarse_leaks"]
        found_of_it = (
            ("spikes per step", *(f"{rate:.4f}" for rate in p["spikes_a_step"])),
            ("silent", *map(str, p["silent"])),
            (f"firing in {ALWAYS:.0%} of steps", *map(str, p["always"])),
            (f"spike distance, tau {n['distance_tau'] * 1000:.0f} ms", "", f"{p['distance']:.3f}"),
            ("equal spikes", "", f"{p['equal_spikes']:.1%}"),
            *([("leaks lost, coarse", "", f"{p['leak_lost']}, {p['coarse_leaks']}")] * (leaks > 0)),
        )
        lines += [[name if several else "neurons", *row] for row in found_of_it]
    lines += _weight_rows("read-out", out)
    if out["coarse_leaks"]:
        lines.append(["read-out", "coarse leaks", "", f"{out['coarse_leaks']}"])
    if "same_class" in out:
        lines.append(["read-out", "windows of the same class", "", f"{out['same_class']:.1%}"])
    else:
        lines.append(["read-out", "error, relative to y", "", f"{out['error']:.1%}"])
    return lines


def _weight_rows(name: str, w: dict[str, Any]) -> list[list[str]]:
    share = f"{w['rounded_to_0'] / max(1, w['weights']):.0%}"
    return [
        [name, "weights", f"{w['weights']}", f"{w['weights'] - w['rounded_to_0']}"],
        [name, "rounded to 0", "", f"{w['rounded_to_0']} ({share})"],
        [name, f"at +-{w['limit']}", "", f"{w['at_limit']}"],
    ]
