"""lnp bench --costs: what the cases do, and that each figure is the cost of one thing."""

import json
from dataclasses import replace

import numpy as np
import pytest
from conftest import need, need_for

from lnp_edge.cli import main
from lnp_edge.commands import _costs
from lnp_edge.commands._costs import CHANNELS, HIGH, LOW, STEPS, Case, N
from lnp_edge.firmware_gen.build import Sizes
from lnp_edge.runtime.reference import Reference
from lnp_edge.spec import plugins
from lnp_edge.spec.frontend import FrontEnd

QUIET = Case("cuba_lif", "li")
FIRING = replace(QUIET, fan_in=N, weight=1, threshold=LOW)


def spikes(case, steps=STEPS):
    """How many neurons fire in each step."""
    model = case.model()
    reference, found = Reference(model), []
    rng = np.random.default_rng(1)
    hidden = model.populations[0]
    for row in rng.integers(1, 1000, (steps, len(model.channels))).astype(np.int16):
        reference.steps(row[None])
        words = reference.state()[hidden.state_words - hidden.z_words : hidden.state_words]
        found.append(int(np.unpackbits(words.view(np.uint8)).sum()))
    return found


def test_of_every_neuron_none_fires_or_all_do(more_neurons):
    kinds = [n for n in plugins.names("lnp_edge.neurons") if hasattr(_costs.neuron_module(n), "drive_for")]
    assert {"adlif", "cuba_lif"} < set(kinds) | set(more_neurons)
    for kind in kinds:
        assert set(spikes(replace(FIRING, neuron=kind))[STEPS // 2 :]) == {N}, kind
        assert set(spikes(replace(FIRING, neuron=kind, threshold=HIGH))) == {0}, kind


def test_synapses_of_weight_0_change_nothing_but_the_cost():
    assert spikes(replace(FIRING, recurrent=N // 2)) == spikes(FIRING)
    sizes = {p.name: p.w.nnz for p in replace(FIRING, recurrent=N // 2).model().projections}
    assert sizes == {"in": CHANNELS * N, "rec": N * N // 2, "out": 0}


@pytest.fixture
def counted(monkeypatch):
    """Costs that add up: a count 25, an input synapse 6, a recurrent one 4, a neuron 50, a spike 20, an output 9."""

    def run(case, chain):
        fires = case.n if case.threshold == LOW else 0
        count = case.channels * case.front.frame
        ops = 700 + 25 * count + 6 * case.channels * case.fan_in + 50 * case.n + 9 * case.outputs
        ops += fires * (20 + 4 * case.recurrent)
        ops *= 2 if chain == "gcc" else 1
        flash = 1000 + 10 * count * (case.front != FrontEnd())
        return Sizes(None, flash, 2 * flash, 1, 1), [ops - 10] + [ops] * (STEPS - 2) + [ops]

    monkeypatch.setattr(_costs, "_run", run)
    monkeypatch.setattr(_costs, "toolchains", lambda: ["zig", "gcc"])


def test_a_figure_is_the_cost_of_one_thing(counted):
    costs = {cost.what: cost for cost in _costs.measure(["zig", "gcc"])}
    spiking = [name for name in plugins.names("lnp_edge.neurons") if hasattr(_costs.neuron_module(name), "drive_for")]
    wanted = {
        "a weight of an input that reaches every neuron": 6,
        "a synapse of an input that reaches few, and is not 0": 6, "a recurrent synapse of a spike": 4,
        "the same, in full blocks": 4,
        **{f"{name}: a neuron that does not fire": 50 for name in spiking},
        **{f"{name}: a spike, without its synapses": 20 for name in spiking},
        **{f"{name}: an output": 9 for name in set(plugins.names("lnp_edge.neurons")) - set(spiking)},
    }  # fmt: skip
    assert {"adlif: a spike, without its synapses", "mean: an output"} < set(wanted)
    of_fronts = {what: cost for what, cost in costs.items() if "frame" in what}
    assert {what: cost.instructions for what, cost in costs.items() if what not in of_fronts} == {
        what: {"zig": value, "gcc": 2 * value} for what, value in wanted.items()
    }
    assert all(cost.instructions == {"zig": 25, "gcc": 50} for cost in of_fronts.values())
    assert of_fronts["logdiff, frame 8: a sample of a channel"].flash == {"zig": 480, "gcc": 480}
    assert of_fronts["logdiff, frame 8: a sample of a channel"].ram["zig"] == 960
    assert {what.partition(",")[0] for what in of_fronts} == set(plugins.names("lnp_edge.frontends"))


def test_the_command_prints_a_row_for_each(counted, capsys):
    assert main(["bench", "--costs"]) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert (
        "li: an output 9.0 18.0" in lines
        and "logdiff, frame 8: a sample of a channel 25.0 50.0 480 480 960 960" in lines
    )
    assert main(["bench", "--costs", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    an_output = {"what": "mean: an output", "instructions": {"zig": 9.0, "gcc": 18.0}, "flash": None, "ram": None}
    assert an_output in rows


def test_what_is_counted_repeats_exactly_and_grows_with_what_is_added():
    need_for("cortex-m4")
    need("unicorn")
    small = replace(FIRING, n=10, fan_in=4)
    counts = []
    for case in (small, small, replace(small, recurrent=5)):
        _costs._run.cache_clear()
        counts.append(_costs._run(case, "zig")[1])
    assert counts[0] == counts[1] and len(counts[0]) == STEPS
    assert 10 * 5 < counts[2][-1] - counts[0][-1] < 10 * 5 * 20
