"""lnp prune with a budget: the bytes are those of the compiler, and what is found is the most that fits."""

import json
import re
import subprocess
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import need, need_for
from tiny import tiny_counts, tiny_model

from lnp_edge import boards
from lnp_edge.base.errors import BoardError, ConfigError, DoesNotFit
from lnp_edge.cli import main
from lnp_edge.commands import _forced, _measure
from lnp_edge.config import Config, LayerSettings
from lnp_edge.firmware_gen import tables
from lnp_edge.firmware_gen.build import build
from lnp_edge.firmware_gen.generate import generate, write
from lnp_edge.network import file as network_file
from lnp_edge.pruning import lnp
from lnp_edge.runtime.reference import Reference
from lnp_edge.spec import layout
from lnp_edge.spec.model import CSR
from lnp_edge.stages import budget, pipeline
from lnp_edge.stages.budget import RESERVE, Budget, Fitted, fit, parse, predicted, stored
from lnp_edge.stages.cost import Use
from lnp_edge.task.split import data_for, load_data, split

SMALL = "[network]\nneurons = 64\n[data]\nlimit = 2\n"
PLAIN = SMALL + '[prune]\nmethod = "magnitude"\n'  # in a third of the time, where the method is not asked
CONFIG = Config.from_json(
    '{"network": {"neurons": 64}, "prune": {"method": "magnitude", "keep": 0.05}, "data": {"limit": 2}}'
)
HUGE = 10**9
CODE, STACK = 4000, 2000  # B, of the meter below


@pytest.fixture(scope="module")
def data():
    return split(CONFIG, load_data(CONFIG))


def meter(model):
    """Bytes without a compiler, and instructions that bend a little, as real ones do."""
    nnz = model.projection("rec").w.nnz
    ops = 50 * model.n + 2 * nnz + 0.01 * nnz**1.5
    return Use(CODE + layout.struct_bytes(model), STACK + layout.state_bytes(model), ops, int(2 * ops))


def fitted(data, flash=HUGE, ram=HUGE, ops=None, config=CONFIG, meter=meter) -> Fitted:
    return fit(config, data, Budget(flash, ram, ops), meter, lambda what: None)


def flash_with(found, synapses, neurons=None):
    return CODE + layout.struct_bytes(layout.sized(found.model, neurons or found.model.n, synapses))


def blank(n, synapses):
    """A model of this size that can be compiled."""
    model = tiny_model(n=n)
    empty = CSR.from_dense(np.zeros((n, n)))
    projections = tuple(replace(p, w=empty) if p.name == "rec" else p for p in model.projections)
    return stored(replace(model, projections=projections), _Places(model, synapses))


class _Places:
    """As much of a network as stored() reads: synapses on the first places."""

    def __init__(self, model, synapses):
        from scipy import sparse

        self.n, places = (n := model.n), np.arange(synapses)
        self.w_in = np.ones((model.n_in, n))
        self.w_rec = sparse.csr_array((np.ones(synapses), (places // n, places % n)), (n, n))


# ---- sizes


@pytest.mark.parametrize(
    ("text", "k", "value"),
    [("512", 1024, 512), ("64k", 1024, 65536), ("64K", 1024, 65536), ("8kB", 1024, 8192), ("1.5k", 1024, 1536),
     ("1M", 1024, 2**20), ("100b", 1024, 100), ("20k", 1000, 20000), (" 7 ", 1000, 7), ("1.5k", 1000, 1500)],
)  # fmt: skip
def test_sizes_are_read(text, k, value):
    assert parse(text, "--flash", k) == value


@pytest.mark.parametrize("text", ["", "k", "-1", "0", "64 kilo", "1.5", "1e3", "0x10", "nan", "64kk", "٣", "9" * 40])
@pytest.mark.parametrize("k", [1000, 1024])
def test_what_is_no_size_is_refused(text, k):
    with pytest.raises(ConfigError, match="--flash is"):
        parse(text, "--flash", k)


def test_instructions_have_no_bytes():
    with pytest.raises(ConfigError, match="such as 20k, 400k/s or 9000"):
        parse("20kB", "--ops", 1000)


# ---- bytes


@pytest.mark.parametrize(
    ("n", "synapses"), [(40, 0), (40, 1), (41, 503), (42, 501), (43, 502), (261, 900), (300, 65535), (300, 65536)]
)
def test_the_struct_is_as_long_as_the_compiler_makes_it(tmp_path, n, synapses):
    need("cc")
    model = blank(n, synapses)
    assert model.projection("rec").w.nnz == synapses
    write(generate(model, boards.get("host")), tmp_path)
    check = (
        f'#include "lnp_net_tables.h"\n_Static_assert(sizeof(lnp_net_tables_t) == {layout.struct_bytes(model)}u, "");\n'
    )
    (tmp_path / "check.c").write_text(check)
    subprocess.run(["cc", "-std=c11", "-fsyntax-only", "check.c"], cwd=tmp_path, check=True)
    assert layout.struct_bytes(layout.sized(model, n, synapses)) == layout.struct_bytes(model)
    assert "lnp_net_tables_t" in tables.header(model, "net")


@pytest.mark.parametrize("name", ["cortex-m4", "nucleo-f401re"])
def test_one_build_tells_the_bytes_of_other_sizes(name):
    """RAM to the byte, flash but for the code, in which offsets into the tables are constants: see RESERVE."""
    need_for(name, start=False)
    measured = _measure.meter(boards.get(name))
    model = blank(128, 2000)
    found = Fitted(CONFIG, None, None, model, measured(model))
    for n, synapses in ((128, 2401), (120, 2000)):
        other = blank(n, synapses)
        cost = measured(other)
        assert cost.ram == predicted(found, other).ram
        if n == model.n:
            assert cost.flash <= predicted(found, other).flash + RESERVE, cost.flash - predicted(found, other).flash


def test_blocks_leave_room_for_more_synapses(data):
    """Of 8 bits a block of four takes 5 B, four synapses 8: the search keeps more of them, all in blocks."""
    dense = replace(CONFIG, network=replace(CONFIG.network, density=1.0))
    found = [
        fitted(data, flash=9128, config=replace(dense, prune=replace(dense.prune, block=block))) for block in (1, 4)
    ]
    free, blocks = (one.network.w_rec.nnz for one in found)
    assert all(9128 - 16 < one.cost.flash + RESERVE <= 9128 for one in found)
    assert blocks > 1.4 * free and found[1].config.prune.block == 4
    again = pipeline.prune(found[1].config, data, pipeline.new_network(found[1].config, data))
    assert again.identity() == found[1].network.identity()
    fifth = replace(dense, prune=replace(dense.prune, keep=0.2))  # 806 synapses: 8,000 B if each lies by itself
    few, all_of_them = (
        fitted(data, flash=7600, config=replace(fifth, prune=replace(fifth.prune, block=block))) for block in (1, 4)
    )
    assert few.network.n < 64 == all_of_them.network.n and all_of_them.network.w_rec.nnz >= 806 and few.too_much


def test_a_model_with_its_zeros_stored_computes_the_same(data):
    network = pipeline.new_network(CONFIG, data)
    weak = replace(network, w_in=np.where(np.arange(64) % 3, network.w_in, 1e-9))
    weak.w_rec.data[::2] *= 1e-9
    model, _ = pipeline.quantize(CONFIG, data, weak)
    full = stored(model, weak)
    matrices = {p.name: (p.w, full.projection(p.name).w) for p in model.projections}
    assert matrices["rec"][1].nnz == network.w_rec.nnz > matrices["rec"][0].nnz
    assert matrices["in"][1].nnz == 64 * model.n_in > matrices["in"][0].nnz
    for some, every in matrices.values():
        assert (every.dense() == some.dense()).all()
        assert (np.diff(every.indptr) >= np.diff(some.indptr)).all()
    counts = tiny_counts(model, 50)
    runs = [Reference(m).steps(counts) for m in (model, full)]
    assert (runs[0].digests == runs[1].digests).all()


# ---- the search


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("flash", [7600, 7601, 7777, 8192, 8400])
def test_one_synapse_more_would_not_fit(data, flash, shared):
    found = fitted(data, flash, config=replace(CONFIG, prune=replace(CONFIG.prune, shared=shared)))
    kept = found.network.w_rec.nnz
    assert found.cost.flash == flash_with(found, kept) <= flash - RESERVE < flash_with(found, kept + 1)
    assert found.network.n == 64 and kept < found.dense.w_rec.nnz and not found.too_much


def test_all_is_kept_where_all_fits(data):
    found = fitted(data)
    assert found.config.prune.keep == 1 and found.network.w_rec.nnz == found.dense.w_rec.nnz


def test_all_but_one_of_a_shared_network_where_all_fits(data):
    """All would be the task's own network, whose synapses are others."""
    found = fitted(data, config=replace(CONFIG, prune=replace(CONFIG.prune, shared=True)))
    assert found.network.w_rec.nnz == found.dense.w_rec.nnz - 1


def test_fewer_neurons_are_better_than_less_than_the_share_that_was_asked_for(data):
    """At 7,000 B 64 neurons keep some 5 % of their synapses; asked for 30 %, fewer neurons keep at least that."""
    asked = replace(CONFIG, prune=replace(CONFIG.prune, keep=0.3))
    found = budget.fit(asked, data, Budget(7000, HUGE), meter, lambda what: None)
    few = budget.fit(CONFIG, data, Budget(7000, HUGE), meter, lambda what: None)
    assert few.dense.n > found.dense.n and "flash" in found.too_much
    assert found.network.w_rec.nnz >= 0.3 * found.dense.w_rec.nnz - 0.5
    assert few.network.w_rec.nnz < 0.3 * few.dense.w_rec.nnz


def test_little_ram_means_fewer_neurons_but_not_one_too_few(data):
    found = fitted(data, flash=8000, ram=2440)
    n = found.config.network.neurons
    assert n == found.dense.n < 64 and "RAM" in found.too_much
    more = STACK + layout.state_bytes(layout.sized(found.model, n + 1, n + 1))
    assert found.cost.ram == STACK + layout.state_bytes(found.model) <= 2440 < more
    kept = found.network.w_rec.nnz
    assert kept == found.dense.w_rec.nnz or flash_with(found, kept + 1) > 8000 - RESERVE


def test_flash_that_holds_no_synapse_a_neuron_means_fewer_neurons(data):
    found = fitted(data, flash=5600)
    n = found.dense.n
    assert n < 64 and "flash" in found.too_much
    assert flash_with(found, n, n) <= 5600 - RESERVE < flash_with(found, n + 1, n + 1)


@pytest.mark.parametrize("ops", [3600, 4000, 4800])
def test_instructions_are_used_to_99_percent(data, ops):
    found = fitted(data, ops=ops)
    assert 0.99 * ops <= found.cost.ops <= ops and found.dense.n == 64


def test_the_tightest_budget_rules(data):
    by_flash = fitted(data, 8000)
    assert fitted(data, 8000, ops=HUGE).network.w_rec.nnz == by_flash.network.w_rec.nnz
    assert fitted(data, 8000, ops=3600).network.w_rec.nnz < by_flash.network.w_rec.nnz


def test_code_of_changing_length_takes_few_builds_and_still_fits(data):
    built = []

    def changing(model):
        built.append(model)
        cost = meter(model)
        return replace(cost, flash=cost.flash + 12 * (model.projection("rec").w.nnz * 7919 % 11))

    found = fitted(data, 8000, meter=changing)
    assert len(built) <= 6
    assert 8000 - RESERVE - 12 * 11 - 8 <= found.cost.flash <= 8000 - RESERVE


@pytest.mark.slow
def test_the_configuration_draws_and_prunes_the_same_network_again(data):
    for changes in ({}, {"shared": True}, {"method": "lnp"}):
        config = replace(CONFIG, prune=replace(CONFIG.prune, **changes))
        found = fitted(data, 8000, 2440, config=config)
        settings = Config.from_json(found.config.to_json())
        again = pipeline.prune(settings, data, pipeline.new_network(settings, data))
        assert (again.w_rec != found.network.w_rec).nnz == 0 and again.w_rec.nnz == found.model.projection("rec").w.nnz
        assert settings == replace(config, network=found.config.network, prune=found.config.prune)


def test_training_in_integers_is_left_for_later(data, monkeypatch):
    monkeypatch.setattr(pipeline, "require_torch", lambda: pytest.fail("torch was asked for"))
    config = replace(CONFIG, quantize=replace(CONFIG.quantize, epochs=3))
    assert fitted(data, 8000, config=config).config.quantize.epochs == 3


@pytest.mark.parametrize(("limits", "what"), [
    ({"flash": 4000}, "B flash, the budget is 4000"), ({"ram": 2000}, "B RAM, the budget is 2000"),
    ({"ops": 50}, "instructions per step, the budget is 50"),
])  # fmt: skip
def test_what_cannot_fit_is_said_with_what_the_smallest_needs(data, limits, what):
    with pytest.raises(DoesNotFit, match=f"2 neurons and 1 synapses need .* {what}") as e:
        fitted(data, **limits)
    assert e.value.exit_code == 1


def test_without_recurrence_as_many_neurons_are_found_as_fit(data):
    """Instructions of a neuron are 50 with the meter above: 60 neurons take 3,000."""
    plain = budget.without_recurrence(CONFIG)
    for ops, neurons in ((3000, 60), (3049, 60), (HUGE, 64)):
        found = fitted(data, ops=ops, config=plain)
        assert (found.dense.n, found.network.w_rec.nnz, bool(found.too_much)) == (neurons, 0, neurons < 64)
        again = Config.from_json(found.config.to_json())
        network = pipeline.prune(again, data, pipeline.new_network(again, data))
        assert network.identity() == found.network.identity()
    with pytest.raises(DoesNotFit, match="2 neurons and 0 synapses need 100 instructions per step, the budget is 50"):
        fitted(data, ops=50, config=plain)


def test_a_budget_for_a_second_of_signal_is_said_for_a_second(data):
    assert (
        Budget(HUGE, HUGE, 50.0, bound=True).exceeded_by(Use(1, 1, 60.0))
        == "60 instructions per step at most, the budget is 50"
    )
    assert (
        Budget(HUGE, HUGE, 50.0, 20.0).exceeded_by(Use(1, 1, 60.0)) == "1200 instructions a second, the budget is 1000"
    )


@pytest.mark.parametrize(
    "changes", [{"neuron": neuron, "skip": skip} for neuron in ("adlif", "cuba_lif") for skip in (False, True)]
)
def test_any_neuron_and_a_skip_have_a_budget(data, changes):
    """The tables are those of the neuron, and the skip's weights are stored like those of input and read-out."""
    config = Config.from_json(json.dumps(json.loads(CONFIG.to_json()) | {"network": {"neurons": 64} | changes}))
    found = fitted(data, 8192, config=config)
    kept = found.network.w_rec.nnz
    assert found.cost.flash == flash_with(found, kept) <= 8192 - RESERVE < flash_with(found, kept + 1)
    assert found.model.populations[0].neuron == changes["neuron"]
    sizes = {p.name: p.w.nnz for p in found.model.projections}
    skip = {"input_out": found.model.n_in * found.model.n_out} if changes["skip"] else {}
    assert sizes == {"in": 64 * found.model.n_in, "rec": kept, "out": 64 * found.model.n_out} | skip


def test_several_layers_have_no_budget(data, at, capsys):
    layers = replace(CONFIG, network=replace(CONFIG.network, layer=(LayerSettings(neurons=64),)))
    with pytest.raises(ConfigError, match="a budget needs a network of one layer"):
        fitted(data, 8192, config=layers)
    (at / "small.toml").write_text(SMALL + "[[network.layer]]\nneurons = 20\n[[network.layer]]\n")
    assert main(["prune", "small.toml", "--board", "cortex-m4", "--flash", "64k"]) == 2
    captured = capsys.readouterr()
    first, second = captured.err.splitlines()
    assert "one layer" in first and "2 tables [[network.layer]]" in first and "[prune] keep" in second
    assert captured.out == ""
    assert [p.name for p in at.iterdir()] == ["small.toml"]


# ---- boards that count


def test_a_real_board_is_counted_on_the_emulated_one_of_its_cpu():
    for name in ("cortex-m4", "nucleo-f401re", "mps2-an386"):
        assert _measure.counting_board(boards.get(name)).name == "cortex-m4"
    assert _measure.counting_board(boards.get("rpi-pico")).name == "cortex-m0"
    assert _measure.counting_board(boards.get("esp32-c3-devkitm-1")).name == "rv32imac"
    with pytest.raises(BoardError, match=r"nothing counts the instructions of host \(host\)") as e:
        _measure.counting_board(boards.get("host"))
    assert e.value.try_next.startswith("omit --ops, or take a board whose core is one of cortex-m0, cortex-m0plus, ")


def test_some_windows_are_few_steps_from_everywhere():
    windows = np.arange(50 * 90 * 2, dtype=np.int16).reshape(50, 90, 2)
    assert [w[0, 0] for w in _measure.some(windows, 1)] == [windows[k, 0, 0] for k in (0, 16, 32, 49)]
    assert _measure.some(np.zeros((3, 1000, 2), np.int16), 1).shape == (1, _measure.STEPS, 2)
    assert _measure.some(np.zeros((300, 5, 2), np.int16), 1).shape == (80, 5, 2)


@pytest.mark.parametrize(
    ("windows", "frame", "found"),
    [((50, 1280, 3), 64, (20, 1280, 3)), ((2, 32_000, 3), 64, (1, 25_600, 3)), ((9, 90, 3), 18, (9, 90, 3))],
)
def test_some_windows_are_of_whole_frames(windows, frame, found):
    assert _measure.some(np.zeros(windows, np.int16), frame).shape == found
    assert found[0] * found[1] // frame <= _measure.STEPS and found[1] % frame == 0


# ---- the command


@pytest.fixture
def at(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.toml").write_text(SMALL)
    return tmp_path


@pytest.mark.parametrize(("words", "what"), [
    ("--flash 64k", "--flash needs a board"),
    ("--ops 20k", "--ops needs a board"),
    ("--board cortex-m44 --flash 64k", "cortex-m44"),
    ("--board cortex-m4 --flash lots", "--flash is 'lots'"),
    ("--board cortex-m4 --ram 1.23", "--ram is '1.23'"),
    ("--board cortex-m4 --ops 0", "--ops is '0'"),
    ("--board cortex-m4 --ops 5/min", "--ops is '5/min'"),
    ("--board cortex-m4 --flash 64k/s", "--flash is '64k/s'"),
    ("--board cortex-m4 --flash 1M", "--flash is 1048576 B, cortex-m4 has 524288"),
    ("--board host --ops 20k", "nothing counts the instructions of host"),
    ("--every-step", "--every-step needs a board"),
    ("--board cortex-m4 --every-step", "--every-step needs a limit"),
])  # fmt: skip
def test_what_cannot_be_asked_is_refused_in_two_lines(at, capsys, words, what):
    assert main(["prune", "small.toml", *words.split()]) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert what in first and second.startswith("  ")
    assert [p.name for p in at.iterdir()] == ["small.toml"]


@pytest.mark.slow
def test_what_is_written_fits_when_it_is_quantised_and_built(at, capsys, monkeypatch):
    neuron, flash, ops = "adlif", 11_000, 20  # cuba_lif is that of the sizes above
    need_for("cortex-m4")
    monkeypatch.setattr(_measure, "STEPS", 100)
    (at / "small.toml").write_text(SMALL.replace("[network]", f'[network]\nneuron = "{neuron}"'))
    words = f"prune small.toml --board cortex-m4 --flash {flash} --ops {ops}k --json"
    assert main(words.split()) == 0
    report = json.loads(capsys.readouterr().out)
    found = report["fit"]
    file = network_file.load(at / "pruned.safetensors")
    assert (file.config.prune.keep, file.config.network.neurons) == (found["keep"], found["neurons"])
    assert report["after"]["synapses"] == file.network.w_rec.nnz
    data = data_for(file.config, file.network)
    model, _ = pipeline.quantize(file.config, data, file.network)
    board = boards.get("cortex-m4")
    write(generate(model, board, selftest=False), at / "fw")  # the budget is of what a user's program needs
    sizes = build(at / "fw")
    assert sizes.flash <= found["flash"]["budget"] == flash
    assert sizes.ram == found["ram"]["used"] <= found["ram"]["budget"] == board.ram.size
    assert found["ops"]["used"] <= found["ops"]["budget"] == 1000 * ops and found["longest_step"] > found["ops"]["used"]
    full = flash - found["flash"]["used"] < 2 * RESERVE
    assert full or found["ops"]["used"] >= 990 * ops or found["keep"] == 1
    before = _measure.meter(board, _measure.some(data.train_windows.counts, 1))(stored(model, file.network))
    assert (before.flash, round(before.ops)) == (found["flash"]["used"], found["ops"]["used"])


@pytest.mark.slow
def test_a_limit_for_every_step_holds_where_all_neurons_fire(at, capsys, monkeypatch):
    need_for("cortex-m4")
    monkeypatch.setattr(_measure, "STEPS", 50)
    monkeypatch.setattr(budget, "smaller", lambda *_: [])  # what else would fit is asked of the meter
    (at / "small.toml").write_text(PLAIN)
    assert main(["prune", "small.toml", "--board", "cortex-m4", "--ops", "8k", "--every-step"]) == 0
    said = capsys.readouterr().out
    used, longest = (
        int(re.search(text, said)[1]) for text in (r"per step, at most +8000 +(\d+) ", r"longest step: (\d+) ")
    )
    file = network_file.load(at / "pruned.safetensors")
    model, _ = pipeline.quantize(file.config, data_for(file.config, file.network), file.network)
    forced = _forced.measure(model, _measure.roomy(boards.get("cortex-m4")), "zig")
    assert 7_200 < forced.bound <= used <= 8_000
    assert longest < 0.8 * used, "few neurons fire before training"


def test_a_stopped_search_goes_on(at, monkeypatch):
    built, rounds, prune_round = [], [], lnp.prune_round

    def stopping(model):
        built.append(model.fingerprint)
        if len(rounds) == 1 and built.count(built[-1]) == 1:  # the first pruned network
            raise KeyboardInterrupt
        return meter(model)

    def counted(*args):
        rounds.append(args)
        return prune_round(*args)

    monkeypatch.setattr(_measure, "meter", lambda *_: stopping)
    monkeypatch.setattr(lnp, "prune_round", counted)
    words = ["prune", "small.toml", "--board", "cortex-m4", "--flash", "7k", "--ram", "3000"]
    assert main(words) == 130
    assert len(built) > 1
    assert main(words) == 0
    assert built.count(built[0]) == 1 and len(set(built)) == len(built) - 1  # only what was stopped is built again
    assert sorted(p.name for p in at.iterdir()) == ["pruned.safetensors", "small.toml"]
    resumed, needed = (at / "pruned.safetensors").read_bytes(), len(rounds)
    monkeypatch.setattr(_measure, "meter", lambda *_: meter)
    assert main(words) == 0
    assert (at / "pruned.safetensors").read_bytes() == resumed
    assert len(rounds) == 2 * needed  # nothing was pruned twice


def test_a_budget_for_a_second_is_the_same_for_a_step(at, capsys, monkeypatch):
    """SPAR has 25 samples a second, two windows begin in 4 s, and a step takes 4 samples: 12.5 steps a second."""
    monkeypatch.setattr(_measure, "meter", lambda *_: meter)
    (at / "small.toml").write_text(PLAIN.replace("limit = 2", "limit = 2\nframe = 4"))
    reports = []
    for ops in ("3200", "40k/s"):
        assert main(["prune", "small.toml", "--board", "cortex-m4", "--ops", ops, "--json"]) == 0
        reports.append(json.loads(capsys.readouterr().out)["fit"])
    a_step, a_second = reports
    assert a_second["ops_a_second"]["budget"] == 40000 and a_step["neurons"] == a_second["neurons"]
    for used in (lambda report: report, *(lambda report, k=k: report["others"][k] for k in range(3))):
        ops, much = (used(report)[name] for report, name in ((a_step, "ops"), (a_second, "ops_a_second")))
        ops, much = (one["used"] if isinstance(one, dict) else one for one in (ops, much))
        assert much == pytest.approx(12.5 * ops, abs=6.25)  # rounded to one instruction


def test_what_fits_with_fewer_inputs_and_without_recurrence_is_said(at, capsys, monkeypatch):
    """Instructions of a neuron are 50 with the meter above, and of a synapse from the input 2 with this."""

    def dear(model):
        return replace(cost := meter(model), ops=cost.ops + 2 * model.projection("in").w.nnz)

    monkeypatch.setattr(_measure, "meter", lambda *_: dear)
    (at / "small.toml").write_text(PLAIN)
    words = ["prune", "small.toml", "--board", "cortex-m4", "--ops", "2480"]
    assert main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["fit"]
    rows = [(0.25, 0.3), (1, 0), (0.25, 0)]
    assert [(one["inputs"], one["density"]) for one in found["others"]] == rows
    quarter, plain, both = (one["neurons"] for one in found["others"])
    assert found["neurons"] < quarter < both == 2480 // (50 + 2 * 1.5) and plain == 2480 // (50 + 2 * 6)
    assert network_file.load(at / "pruned.safetensors").network.n == found["neurons"]
    assert main(words) == 0
    text = capsys.readouterr().out
    assert "\nBefore training nothing says" in text and text.rstrip().endswith(
        ": lnp reproduce small.toml --rows 'lnp,no recurrence' --seeds 5"
    )
    said = [line.split() for line in text.splitlines()]
    assert [plain, 0, 1, 1] in [[float(x) for x in line[:4]] for line in said if len(line) == 7 and line[0].isdigit()]


def test_what_is_without_recurrence_needs_no_word_of_it(at, capsys, monkeypatch):
    monkeypatch.setattr(_measure, "meter", lambda *_: meter)
    (at / "small.toml").write_text(PLAIN.replace("= 64", "= 64\ndensity = 0.0"))
    assert main(["prune", "small.toml", "--board", "cortex-m4"]) == 0
    assert "Prefer another" in (said := capsys.readouterr().out) and "recurrence" not in said


def test_the_smaller_networks_are_drawn_again_from_what_is_said(data):
    for config in budget.smaller(CONFIG, data):
        found = fitted(data, flash=7000, config=config)
        again = Config.from_json(found.config.to_json())
        network = pipeline.prune(again, data, pipeline.new_network(again, data))
        assert network.identity() == found.network.identity()
        assert np.count_nonzero(network.w_in) == round(config.prune.inputs * found.dense.w_in.size)
        assert found.model.projection("in").w.nnz == np.count_nonzero(network.w_in)


def test_no_network_is_proposed_whose_neurons_hear_less_than_one_input(data):
    def shares(**network):
        config = replace(CONFIG, network=replace(CONFIG.network, **network))
        return [(one.prune.inputs, one.network.density) for one in budget.smaller(config, data)]

    assert len(data.task.inputs) == 6
    assert shares() == [(0.25, 0.3), (1, 0), (0.25, 0)]
    assert shares(density=0.0) == [(0.25, 0.0)]
    assert shares(inputs=4) == [(0.25, 0.3), (1, 0), (0.25, 0)] and shares(inputs=3) == [(1, 0)]
    assert shares(inputs=9) == shares()
    pixels = SimpleNamespace(task=data.task, axes=np.eye(6))
    assert [one.network.density for one in budget.smaller(CONFIG, pixels)] == [0]


def test_only_the_inputs_that_a_neuron_has_are_paid_for(data):
    """One of six by [network] inputs or by [prune] inputs: as many are stored, and more neurons fit."""
    sizes = []
    for network, prune in ((1, 1.0), (0, 1 / 6)):
        config = replace(
            CONFIG, network=replace(CONFIG.network, inputs=network), prune=replace(CONFIG.prune, inputs=prune)
        )
        found = fitted(data, 5600, config=config)
        assert found.model.projection("in").w.nnz == found.dense.n
        assert found.cost.flash == flash_with(found, found.network.w_rec.nnz) <= 5600 - RESERVE
        sizes.append(found.dense.n)
    assert sizes[0] == sizes[1] > fitted(data, 5600).dense.n


@pytest.mark.parametrize("text", ["{", '{"a": [1, 2, 3]}', '{"a": [1, 2, 1e999, 4]}', '{"a": [-1, 2, 3.0, 4]}'])
def test_forged_costs_are_refused(at, capsys, monkeypatch, text):
    monkeypatch.setattr(_measure, "meter", lambda *_: meter)
    (at / "pruned.safetensors.fit").mkdir()
    (at / "pruned.safetensors.fit" / "costs.checkpoint").write_text(text)
    assert main(["prune", "small.toml", "--board", "cortex-m4", "--flash", "8k"]) == 2
    first, second = capsys.readouterr().err.splitlines()[-2:]
    assert "cannot read" in first and "delete it" in second


def test_fewer_neurons_are_said(at, capsys, monkeypatch):
    monkeypatch.setattr(_measure, "meter", lambda *_: meter)
    (at / "small.toml").write_text(PLAIN)
    assert main(["prune", "small.toml", "--board", "cortex-m4", "--flash", "7k", "--ram", "2440"]) == 0
    text = capsys.readouterr().out
    assert "64 neurons -> " in text and "need" in text and "7168" in text and "2440" in text
    assert main(["prune", "small.toml", "--board", "cortex-m4", "--flash", "1k"]) == 1
    assert budget.FEWEST == 2 and capsys.readouterr().err.splitlines()[-2].startswith("2 neurons and 1 synapses need")
