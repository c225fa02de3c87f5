"""lnp bench --kernels: the reference workload, steps that are forced, and what the command prints."""

import json
from contextlib import closing
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from conftest import need_for
from naive import Naive
from tiny import ALL, tiny_counts, tiny_model

from lnp_edge import boards
from lnp_edge.base.console import markdown
from lnp_edge.cli import main
from lnp_edge.commands import _costs, _forced, _kernels, _measure
from lnp_edge.commands._cost_report import verdict
from lnp_edge.commands._forced import Start
from lnp_edge.firmware_gen.build import build
from lnp_edge.firmware_gen.generate import write
from lnp_edge.firmware_gen.states import generate
from lnp_edge.interchange import onnx_file, windows_file
from lnp_edge.runtime.emulator import Emulator
from lnp_edge.runtime.reference import Reference
from lnp_edge.spec import layout
from lnp_edge.spec.model import CSR

M4 = _measure.roomy(boards.get("cortex-m4"))
workload = cache(_kernels.workload)


@pytest.mark.parametrize("neuron", ["cuba_lif", "adlif"])
@pytest.mark.parametrize("n", [40, 256])
def test_a_tenth_of_the_neurons_of_the_workload_fires_and_no_parameter_is_0(neuron, n):
    model = workload(neuron, n)
    spikes, events = _kernels.activity(model, [_kernels.counts(300)], 100)
    assert abs(spikes - 25.5 * n / 256) < 0.06  # of 200 steps of a chaotic network
    synapses = {p.name: p.w.nnz for p in model.projections}
    assert synapses == {"in": 16 * n, "rec": round(6398 / 65280 * n * (n - 1)), "out": 5 * n}
    assert 0.9 * spikes * synapses["rec"] / n < events < 1.1 * spikes * synapses["rec"] / n
    hidden = model.populations[0].params
    assert all((values != 0).all() and len(np.unique(values)) > n / 2 for values in hidden.values())
    assert (_kernels.counts(300) != 0).all() and np.abs(_kernels.counts(300)).max() < 127


def test_in_blocks_all_four_targets_have_a_synapse_but_for_that_to_the_neuron_itself():
    model = workload("cuba_lif", 256, ", blocks")
    rec = model.projection("rec")
    there = rec.w.dense() != 0
    blocks = there.reshape(256, 64, 4).any(2)
    assert (there == (np.repeat(blocks, 4, 1) & ~np.eye(256, dtype=bool))).all()
    assert blocks.sum() == 1623 and rec.w.nnz == 6467 and layout.of(model, rec).__name__.endswith("blocks")
    assert abs(_kernels.activity(model, [_kernels.counts(300)], 100)[0] - 25.5) < 0.06


def test_the_spikes_and_events_are_those_of_the_oracle():
    model, rows = workload("cuba_lif", 40), _kernels.counts(60)
    naive, fan_out, spikes, events = Naive(model), np.diff(model.projection("rec").w.indptr), [], []
    for row in rows:
        naive.step(row)
        spikes.append(sum(naive.z["hidden"]))
        events.append(fan_out @ np.array(naive.z["hidden"]))
    found = _kernels.activity(model, [rows], 20)
    assert found == pytest.approx((np.mean(spikes[20:]), np.mean(events[20:])), rel=1e-12)  # sums of floats


@pytest.fixture(scope="module")
def small():
    """A row of the workload with 40 neurons on each core, counted twice on one of them."""
    need_for("cortex-m4")
    model, runs = workload("cuba_lif", 40), [_kernels.counts(60)]
    cores = ("cortex-m4", "cortex-m4", "cortex-m0")
    rows = [_kernels.row("cuba_lif", model, runs, 20, boards.get(core), "zig") for core in cores]
    return [*rows, of_flags(*_kernels.IN_C)]


def of_flags(what, more):
    return _kernels.row(f"cuba_lif{what}", workload("cuba_lif", 40), [_kernels.counts(60)], 20, M4, "zig", more)


def test_what_is_counted_repeats_exactly_and_its_parts_add_up(small):
    first, again, other, in_c = small
    assert first == again and other.core == "cortex-m0" and other.step > in_c.step > first.step
    assert in_c.flags == f"{first.flags} -DLNP_C_LOOPS" and in_c.core == first.core
    assert any(part.endswith("_asm") for part in first.parts) and not any(part.endswith("_asm") for part in in_c.parts)
    for row in small:
        assert sum(row.parts.values()) == pytest.approx(row.step, rel=1e-12)  # sums of floats
        assert row.fired == row.neurons == 40 and row.all_fire > 1.2 * row.step
        assert row.code > 500 and row.state > 4 * 2 * 40 and row.tables > 16 * 40


@pytest.mark.slow
def test_portable_c_has_no_loops_in_assembly_and_no_dsp_instructions_named_in_c(small):
    first, _, other, in_c = small
    portable = of_flags(*_kernels.PORTABLE)
    assert other.step > portable.step > 1.3 * in_c.step and portable.core == first.core
    assert not any(part.endswith("_asm") for part in portable.parts)


def test_the_command_prints_each_row_with_its_core_compiler_version_and_flags(small, monkeypatch, capsys):
    monkeypatch.setattr(_kernels, "measure", lambda chains, sizes, progress, executor: small)
    assert main(["bench", "--kernels", "--quick"]) == 0
    said = capsys.readouterr().out.splitlines()
    row = small[0]
    assert said[0].startswith("| model | N | core | compiler | spikes | events | a step | all fire |")
    assert said[2].startswith(
        f"| cuba_lif | 40 | cortex-m4 | zig | {row.spikes:.1f} | {row.events:.0f} | {row.step:,.0f} |"
    )
    assert f"* zig, cortex-m4: {row.version}, `-O2 -mcpu=cortex_m4-vfp4d16sp`" in said and "clang" in row.version
    assert main(["bench", "--kernels", "--quick", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["workload"][0] == vars(row) and found["trained"] == []


@pytest.fixture
def real(tmp_path):
    """The file of a model with a window beside it."""
    model, path = tiny_model(n=40), tmp_path / "own.onnx"
    windows_file.save_both(model, tiny_counts(model, 30)[None], path)
    return path


@pytest.mark.slow
def test_the_command_prints_the_rows_of_a_model_of_ones_own(real, monkeypatch, capsys):
    need_for("cortex-m4")
    monkeypatch.setattr(_costs, "toolchains", lambda: ["zig"])
    assert main(["bench", "--kernels", str(real), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    kinds = [("own.onnx", core) for core in _kernels.BOARDS]
    kinds += [("own.onnx, loops in C", core) for core in _kernels.BY_HAND]
    assert found["workload"] == [] and [(row["model"], row["core"]) for row in found["trained"]] == kinds
    model = onnx_file.load(real)
    rows = list(model.rows(windows_file.load(model, real)))
    assert [row["spikes"] for row in found["trained"]] == len(kinds) * [_kernels.activity(model, rows, 0)[0]]
    assert main(["bench", "--kernels", str(real)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("| model | N |") and said[2].startswith("| own.onnx | 40 | cortex-m4 | zig |")
    assert not any("cuba_lif" in line for line in said)


def test_a_model_without_windows_is_refused(real, capsys):
    windows_file.path_of(real).unlink()
    assert main(["bench", "--kernels", str(real)]) == 2
    assert "own.onnx has no windows beside it" in capsys.readouterr().err


def test_no_name_of_a_file_breaks_a_row_or_reaches_the_terminal():
    assert markdown(["network"], [["a|b\x1b[31m.onnx"]])[2] == r"| a\|b\x1b[31m.onnx |"


# ---- forced steps


def within(model, states, rng):
    """A state that load accepts and counts, both at random: each neuron takes one of the states, and its spikes."""
    owner, columns = _forced._owner(model), np.arange(model.state_words)
    which = rng.integers(0, len(states), max(model.n, 1))
    words = np.where(owner >= 0, states[which[owner], columns], states[rng.integers(len(states))])
    front, at = np.zeros(model.state_words, np.int32), 0
    for most in model.front.state.values():
        front[at : at + len(model.channels)] = rng.integers(-most, most + 1, len(model.channels))
        at += len(model.channels)
    before = _forced._spikes(model, rng.random(model.n) < rng.random())
    counts = rng.integers(-(2 ** rng.integers(4, 15)), 2 ** rng.integers(4, 15), model.n_in)
    return Start(words | front | before, counts.astype(np.int16), int(rng.integers(0, 2)))


def counted(model, starts, toolchain, folder):
    """The instructions of steps from these states; each state after a step is the reference's."""
    write(generate(model, M4), folder)
    image, reference = build(folder, toolchain).image, Reference(model)
    with closing(Emulator(M4, image)) as emulator, emulator.count("lnp_net_step") as count:
        for start in starts:
            found = _forced._step(emulator, model, start)
            reference.load(start.words, start.t)
            reference.steps(start.counts[None])
            assert found.tolist() == reference.state().tolist()
    return count.calls


BOUNDED = ALL | {"adlif": lambda seed: workload("adlif", 40)}


@pytest.mark.usual_level
@pytest.mark.parametrize(
    ("kind", "toolchain"), [*((kind, "zig") for kind in BOUNDED), ("adlif", "gcc"), ("stack", "gcc")]
)
def test_no_step_from_a_random_state_exceeds_the_bound(kind, toolchain, tmp_path):
    need_for("cortex-m4", toolchain)
    model, rng = BOUNDED[kind](1), np.random.default_rng(5)
    forced = _forced.measure(model, M4, toolchain)
    states = _forced._states(model)
    calls = counted(model, [within(model, states, rng) for _ in range(60)], toolchain, tmp_path)
    assert max(calls) <= forced.bound and forced.largest <= forced.bound <= 1.15 * forced.largest
    assert forced.fired == forced.neurons == model.n


def of_one_pattern(n=40):
    """Neurons that forget within a step, and fire only where channels are at full scale with these signs."""
    model, signs = tiny_model(n=n, n_in=8), np.array([1, -1, 1, -1, 1, -1, -1, 1])
    encoder = {"offset": 0, "gain": 128, "shift": 15}
    hidden = {"c_syn": 65535, "c_mem": 65535, "v_th": 8 * 120 * 120, "bias": 0}
    w_in = CSR.from_dense(np.repeat(120 * signs[:, None], n, 1))
    changed = replace(
        model,
        encoder_params={name: np.full(8, value, np.int32) for name, value in encoder.items()},
        populations=(
            replace(model.populations[0], params={k: np.full(n, value, np.int32) for k, value in hidden.items()}),
            model.readout,
        ),
        projections=(replace(model.projections[0], w=w_in), *model.projections[1:]),
    )
    return changed.check(), (32767 * signs).astype(np.int16)


def test_the_bound_is_of_steps_in_which_no_more_fire_than_did(tmp_path):
    """No forced step meets the pattern: a real one does, and is dearer."""
    need_for("cortex-m4")
    model, counts = of_one_pattern()
    cost = _measure.cost(model, boards.get("cortex-m4"), {"data": [tiny_counts(model, 20)]})
    assert cost.forced.fired == 0
    start = Start(_forced._spikes(model, np.ones(model.n, bool)), counts, 1)
    assert counted(model, [start], "zig", tmp_path)[0] > cost.forced.bound
    assert "ms if no more than 0 of 40 fire" in verdict(cost)


def test_the_forced_states_make_every_neuron_fire_or_none_and_all_inputs_work():
    model = tiny_model()
    reference, fired = Reference(model), []
    for start in _forced.starts(model):
        reference.load(start.words, start.t)
        reference.steps(start.counts[None])
        fired.append(int(model.spikes(reference.state()).sum()))
    # Each row of counts meets states that all fire, twice, take turns, or are silent, three times each.
    full, again, turns, silent = (fired[k::4] for k in range(4))
    assert len(fired) == 8 * 3 * 4 and {*full, *again} == {model.n}
    assert set(turns) == {model.n // 2} and set(silent) == {0}


def test_a_step_dearer_than_the_bound_leaves_none(monkeypatch):
    need_for("cortex-m4")
    model = tiny_model()
    runs = {"data": [tiny_counts(model, 20)]}
    cost = _measure.cost(model, boards.get("cortex-m4"), runs)
    assert cost.forced.bound > cost.counted[0].largest and cost.bound_ms[1] > cost.largest_ms[1]
    low = replace(cost.forced, bound=cost.counted[0].largest - 1)
    monkeypatch.setattr(_forced, "measure", lambda *_: low)
    cost = _measure.cost(model, boards.get("cortex-m4"), runs)
    assert cost.forced is None and cost.bound_ms == cost.largest_ms


def test_reference_goes_on_from_a_loaded_state():
    for make in ALL.values():
        model = make(1)
        rows, whole, other = tiny_counts(model, 30), Reference(model), Reference(model)
        whole.steps(rows[:20])
        other.steps(rows[::-1][:7])
        other.load(whole.state(), whole.t)
        other.digest = whole.digest
        assert other.steps(rows[20:]).digests.tolist() == whole.steps(rows[20:]).digests.tolist()
