"""Loops in assembly give the bits of the C beside them, on each core, whatever the sizes and with every compiler."""

import subprocess
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
from conftest import need_for
from elftools.elf.elffile import ELFFile
from tiny import random_model, random_tables, tiny_blocks, tiny_counts, tiny_model, tiny_stack, with_rec

from lnp_edge import boards
from lnp_edge.firmware_gen import build as build_module
from lnp_edge.firmware_gen import commands, hand
from lnp_edge.firmware_gen.build import build
from lnp_edge.firmware_gen.generate import generate, write
from lnp_edge.neurons import cuba_lif
from lnp_edge.runtime.device import Device
from lnp_edge.runtime.ports import open_board
from lnp_edge.runtime.reference import Reference
from lnp_edge.spec import layout, plugins
from lnp_edge.spec.model import CSR, Population
from lnp_edge.spec.ops import add, gate, greater, leak, sub

pytestmark = pytest.mark.usual_level  # an optimiser may take what an instruction overwrites for unchanged
BOARD, HELIUM, RISCV = "cortex-m4", "mps3-an547", "rv32imac"
CORES = (BOARD, RISCV)
NOPS = {BOARD: b"\x00\xbf", HELIUM: b"\x00\xbf", RISCV: b"\x01\x00"}
LOOPS = {"by hand": "", "in C": "#define LNP_C_LOOPS\n", "in portable C": "#undef __ARM_FEATURE_DSP\n"}


def folder_for(model, path, loops="by hand", board=BOARD):
    write(generate(model, boards.get(board)), path)
    kernel = path / "lnp_kernel.h"
    kernel.write_text(LOOPS[loops] + kernel.read_text())
    return path


def assert_runs_like_the_reference(model, path, toolchain, loops="by hand", optimize="", board=BOARD):
    need_for(board, toolchain)
    image = build(folder_for(model, path, loops, board), toolchain, optimize).image
    counts, reference = tiny_counts(model, 60), Reference(model)
    with closing(Device(open_board(boards.get(board), image), model)) as device:
        device.reset()
        assert device.steps(counts).digests.tolist() == reference.steps(counts).digests.tolist()
        assert device.state().tolist() == reference.state().tolist()
    return image


def functions(image):
    """The functions of an image that are assembly alone."""
    with image.open("rb") as file:
        symbols = ELFFile(file).get_section_by_name(".symtab").iter_symbols()
        return {s.name for s in symbols if s.name.endswith("_asm") or s.name == "sum_spikes"}


def of(model, neuron="cuba_lif", into=0, within=3, **leaks):
    """The layer with other neurons, shifts of its weights from the input and between its neurons, and leaks."""
    hidden, out = model.populations
    hidden = Population("hidden", neuron, hidden.n, hidden.params)
    if neuron != "cuba_lif":
        hidden = replace(hidden, params=random_tables(neuron, 5, hidden.n))
    hidden = replace(hidden, params=hidden.params | {k: np.full(hidden.n, v, np.int32) for k, v in leaks.items()})
    shifts = {"in": into, "rec": within, "out": 5}
    projections = tuple(replace(p, shift=shifts[p.name]) for p in model.projections)
    return replace(model, populations=(hidden, out), projections=projections).check()


def rows_of_every_length():
    """Neuron j has j % 42 synapses, and most neurons fire: every way into the loop over a row is taken."""
    model, rng = tiny_model(n=86), np.random.default_rng(3)
    w = np.zeros((86, 86), np.int32)
    for j in range(86):
        w[j, rng.choice(86, j % 42, replace=False)] = rng.integers(1, 128, j % 42) * rng.choice((-1, 1), j % 42)
    return with_rec(firing(model), w)


def firing(model):
    """The layer with thresholds so low that most neurons fire."""
    hidden, out = model.populations
    low = replace(hidden, params=hidden.params | {"v_th": np.full(hidden.n, 1, np.int32)})
    return replace(model, populations=(low, out)).check()


def at_the_threshold(model):
    """The layer with the thresholds that its neurons just reach in the first step, where that is above 0."""
    hidden, out = model.populations

    def with_thresholds(v_th):
        return replace(model, populations=(replace(hidden, params=hidden.params | {"v_th": v_th}), out)).check()

    silent = Reference(with_thresholds(np.full(hidden.n, 2**20, np.int32)))
    silent.steps(tiny_counts(model, 60)[:1])
    names = [f.full_name for f in model.fields]
    first = sum(f.words for f in model.fields[: names.index("hidden_v")])
    v = silent.state()[first : first + hidden.n].astype(np.int32)
    assert (v > 0).any()
    return with_thresholds(np.where(v > 0, v, 1).astype(np.int32))


def blocks_of_every_number(n, numbers):
    """Neurons have so many blocks in turn, and most fire: every way into the loop over eight is taken."""
    model, rng, w = tiny_model(n=n), np.random.default_rng(4), np.zeros((n, n // 4, 4), np.int32)
    for j in range(n):
        some = numbers[j % len(numbers)]
        w[j, rng.choice(n // 4, some, replace=False)] = rng.integers(1, 128, (some, 4)) * rng.choice((-1, 1), (some, 4))
    return with_rec(firing(model), w.reshape(n, n))


def four_bits(model, shift, kind="gaps"):
    """The model with weights of 4 bits between its neurons: bytes with distances, or four of a block in a halfword."""
    p, rng = model.projection("rec"), np.random.default_rng(2)
    data = rng.choice((-1, 1), p.w.nnz) * rng.integers(1, 8, p.w.nnz)
    four = replace(p, w=CSR(p.w.indptr, p.w.indices, data.astype(np.int32), p.w.shape), bits=4, shift=shift)
    assert layout.of(model, four).__name__ == f"lnp_edge.layouts.{kind}"
    return replace(model, projections=tuple(four if q is p else q for q in model.projections)).check()


def largest_weights():
    """All weights from the input are 127 or -127, and inputs often: the sums of pairs at their limits."""
    model = tiny_model(n=44, n_in=12)
    w = np.where(np.arange(12 * 44).reshape(12, 44) * 7 % 5 < 2, -127, 127).astype(np.int32)
    into = replace(model.projection("in"), w=CSR.from_dense(w))
    return replace(model, projections=tuple(into if p.name == "in" else p for p in model.projections)).check()


def leaks_of_any_size(neuron):
    model = of(tiny_model(n=82), neuron)
    hidden, out = model.populations
    ranges = {"c_syn": (2000, 65535), "c_mem": (2000, 65535), "c_ad": (2000, 65535)}
    leaks = {k: np.linspace(*ranges[k], hidden.n).astype(np.int32) for k in hidden.params if k in ranges}
    hidden = replace(hidden, params=hidden.params | leaks | {"v_th": np.full(82, 400, np.int32)})
    return replace(model, populations=(hidden, out)).check()


HALVES = {"c_syn": 30000, "c_mem": 30000}
ALL_LOOPS = {
    "leak_and_add_asm",
    "encode_affine_asm",
    "pairs_of_in_asm",
    "rows_of_rec_asm",
    "fire_lif_asm",
    "sum_spikes",
}
FEW = ALL_LOOPS - {"rows_of_rec_asm"}  # few neurons, whose synapses are dense
ADLIF = ALL_LOOPS - {"fire_lif_asm"} | {"fire_adlif_asm"}
ANY = ALL_LOOPS - {"leak_and_add_asm", "fire_lif_asm"} | {"leak_and_add_any_asm", "fire_lif_any_asm"}
BLOCKS = ALL_LOOPS - {"rows_of_rec_asm"} | {"blocks_of_rec_asm"}
TURNED = ALL_LOOPS - {"leak_and_add_asm"} | {"leak_and_turn_hidden_asm"}  # many synapses a neuron
TURNED_BLOCKS = TURNED - {"rows_of_rec_asm"} | {"blocks_of_rec_asm"}
CASES = {  # a model, and which loops it has
    "1 neuron": (tiny_model(n=1, n_in=1), {"sum_spikes"}),
    "7 neurons": (tiny_model(n=7, n_in=2), FEW - {"leak_and_add_asm", "fire_lif_asm"}),
    "8 neurons": (tiny_model(n=8, n_in=4), ALL_LOOPS),
    "9 neurons": (tiny_model(n=9, n_in=5), FEW),
    "39 neurons": (tiny_model(n=39, n_in=6), ALL_LOOPS),
    "adlif, 41": (of(tiny_model(n=41, n_in=7), "adlif"), ADLIF),
    "adlif, 64": (of(tiny_model(n=64, n_in=9), "adlif"), ADLIF),
    "9 outputs, 63 inputs": (tiny_model(n=33, n_in=63, n_out=9), ALL_LOOPS),
    "64 inputs": (tiny_model(n=32, n_in=64), ALL_LOOPS),
    "65 inputs": (tiny_model(n=32, n_in=65), ALL_LOOPS - {"pairs_of_in_asm"}),
    "indices of 16 bits": (tiny_model(n=300, density=0.05), ALL_LOOPS),
    "ends of rows of 32 bits": (tiny_model(n=508, density=0.3), ALL_LOOPS),
    "rows of every length": (rows_of_every_length(), ALL_LOOPS),
    "largest weights": (largest_weights(), ALL_LOOPS),
    "at the threshold": (at_the_threshold(tiny_model()), ALL_LOOPS),
    "adlif, at the threshold": (at_the_threshold(of(tiny_model(), "adlif")), ADLIF),
    "shifts of 7 and 14": (of(tiny_model(n=41, density=0.05), into=7, within=14, **HALVES), ALL_LOOPS),
    "shifts of 8 and 0": (of(tiny_model(n=41, density=0.05), into=8, within=0, **HALVES), ALL_LOOPS),
    "shifts of 9 and 15": (
        of(tiny_model(n=41, density=0.05), into=9, within=15, **HALVES),
        ALL_LOOPS - {"rows_of_rec_asm"},
    ),
    "shift of 14": (of(tiny_model(n=41, density=0.05), into=14, **HALVES), ALL_LOOPS),
    "leaks above 1/2": (leaks_of_any_size("cuba_lif"), ANY),
    "adlif, leaks above 1/2": (leaks_of_any_size("adlif"), ANY - {"fire_lif_any_asm"} | {"fire_adlif_any_asm"}),
    "adlif, pull above 1/2": (of(tiny_model(), "adlif", c_pull=32769), ADLIF - {"fire_adlif_asm"}),
    "leaks of 1/2": (of(tiny_model(), c_mem=32768, c_syn=32768), ALL_LOOPS),
    "turned by 3": (tiny_model(n=104, density=0.55), TURNED),
    "turned by 1, indices of 16 bits": (of(tiny_model(n=304, density=0.25), within=1), TURNED),
    "turned by 14, large sums": (of(tiny_model(n=104, density=0.55), within=14, c_syn=32768, c_mem=32768), TURNED),
    "turned, leaks above 1/2": (of(tiny_model(n=104, density=0.55), c_syn=40000), TURNED),
    "turned adlif": (of(tiny_model(n=104, density=0.55), "adlif"), TURNED - {"fire_lif_asm"} | {"fire_adlif_asm"}),
    "blocks of every number": (blocks_of_every_number(88, range(20)), BLOCKS),
    "few blocks of every number": (blocks_of_every_number(88, (*range(10), 15, 16, 17, 1, 0, 2)), BLOCKS),
    "blocks, 39 neurons": (firing(tiny_blocks(n=39)), BLOCKS),
    "blocks, adlif, 41": (of(tiny_blocks(n=41), "adlif"), ADLIF - {"rows_of_rec_asm"} | {"blocks_of_rec_asm"}),
    "blocks, 65 neurons": (firing(tiny_blocks(n=65, share=0.2)), BLOCKS),
    "blocks, starts of 16 bits": (firing(tiny_blocks(n=301, share=0.3)), BLOCKS),
    "blocks, indices of 16 bits": (firing(tiny_blocks(n=1030, share=0.02)), BLOCKS),
    "blocks, indices and starts of 16 bits": (firing(tiny_blocks(n=1030, share=0.05)), BLOCKS),
    "blocks, shift of 14": (of(tiny_blocks(n=44, share=0.1), within=14, **HALVES), BLOCKS),
    "blocks, shift of 15": (of(tiny_blocks(n=44, share=0.1), within=15, **HALVES), FEW),
    "turned by 3, blocks": (firing(tiny_blocks(n=104, share=0.9)), TURNED_BLOCKS),
    "turned, blocks of every number": (blocks_of_every_number(160, range(40)), TURNED_BLOCKS),
    "turned by 1, blocks, starts of 16 bits": (of(tiny_blocks(n=304), within=1), TURNED_BLOCKS),
    "turned, blocks, indices of 16 bits": (firing(tiny_blocks(n=1032, share=0.07)), TURNED_BLOCKS),
    "4 bits": (four_bits(rows_of_every_length(), 8), ALL_LOOPS),
    "4 bits, far apart": (four_bits(tiny_model(n=300, density=0.08), 4), ALL_LOOPS),
    "4 bits, ends of rows of 32 bits": (four_bits(tiny_model(n=508, density=0.3), 9), None),
    "4 bits, shift of 3": (four_bits(tiny_model(n=41, density=0.1), 3), ALL_LOOPS - {"rows_of_rec_asm"}),
    "4 bits, turned by 1": (four_bits(tiny_model(n=184, density=0.3), 5), TURNED),
    "4 bits, not turned": (four_bits(tiny_model(n=184, density=0.3), 4), ALL_LOOPS),
    "nibbles of every number": (four_bits(blocks_of_every_number(88, range(20)), 8, "nibbles"), BLOCKS),
    "nibbles, 39 neurons, shift of 16": (four_bits(firing(tiny_blocks(n=39)), 16, "nibbles"), BLOCKS),
    "nibbles, starts of 16 bits": (four_bits(tiny_blocks(n=304), 4, "nibbles"), BLOCKS),
    "nibbles, indices of 16 bits": (four_bits(firing(tiny_blocks(n=1030, share=0.02)), 0, "nibbles"), BLOCKS),
    "turned, nibbles of every number": (four_bits(blocks_of_every_number(160, range(40)), 9, "nibbles"), TURNED_BLOCKS),
    "turned by 1, nibbles, starts of 16 bits": (four_bits(tiny_blocks(n=304), 5, "nibbles"), TURNED_BLOCKS),
    "two layers": (tiny_stack(), None),
}
QUICK = {
    BOARD: (
        "39 neurons",
        "at the threshold",
        "adlif, 41",
        "rows of every length",
        "leaks above 1/2",
        "adlif, leaks above 1/2",
        "turned by 3",
        "blocks of every number",
        "few blocks of every number",
        "blocks, 39 neurons",
        "turned, blocks of every number",
        "nibbles of every number",
        "turned, nibbles of every number",
    ),
    RISCV: ("39 neurons", "rows of every length", "adlif, leaks above 1/2", "nibbles of every number"),
}


def on(board, loops):
    """The loops that a core has of those of a Cortex-M4: one of RISC-V serves any leak and turns no sums."""
    if board == BOARD:
        return loops
    renamed = (name.replace("_any", "").replace("leak_and_turn_hidden", "leak_and_add") for name in loops)
    return set(renamed) - {"encode_affine_asm", "sum_spikes"}


@pytest.mark.parametrize("toolchain", ["gcc", "zig"])
@pytest.mark.parametrize(
    ("case", "board"),
    [pytest.param(c, b, marks=() if c in QUICK[b] else pytest.mark.slow) for c in CASES for b in CORES],
)
def test_loops_by_hand_run_like_the_reference(tmp_path, case, toolchain, board):
    model, loops = CASES[case]
    image = assert_runs_like_the_reference(model, tmp_path, toolchain, board=board)
    assert loops is None or functions(image) == on(board, loops)


@pytest.mark.slow
@pytest.mark.parametrize("board", CORES)
@pytest.mark.parametrize("toolchain", ["gcc", "zig"])
@pytest.mark.parametrize("seed", range(100, 106))
def test_any_structure_runs_like_the_reference(tmp_path, seed, toolchain, board):
    assert_runs_like_the_reference(random_model(seed), tmp_path, toolchain, board=board)


@pytest.mark.slow
@pytest.mark.parametrize(("board", "loops"), [(BOARD, "in C"), (BOARD, "in portable C"), (RISCV, "in C")])
@pytest.mark.parametrize("toolchain", ["gcc", "zig"])
@pytest.mark.parametrize(
    "case", ["39 neurons", "adlif, 41", "turned by 3", "two layers", "blocks, 39 neurons", "leaks above 1/2"]
)
def test_the_same_network_with_its_loops_in_c_runs_like_the_reference(tmp_path, case, loops, toolchain, board):
    image = assert_runs_like_the_reference(CASES[case][0], tmp_path, toolchain, loops, board=board)
    assert functions(image) == set()


@pytest.mark.slow
@pytest.mark.parametrize("board", CORES)
@pytest.mark.parametrize("optimize", ["-O0", "-O1", "-O2", "-O3", "-Os"])
@pytest.mark.parametrize("toolchain", ["gcc", "zig"])
def test_loops_by_hand_run_like_the_reference_at_every_level(tmp_path, toolchain, optimize, board):
    assert_runs_like_the_reference(CASES["adlif, 41"][0], tmp_path, toolchain, optimize=optimize, board=board)


# --- Helium: vectors of a Cortex-M55


def all_ones(n=256, weight=127):
    """Each neuron has a synapse of the largest weight to all others, and all fire: halfwords at their limits."""
    model = firing(tiny_model(n=n, density=0.01))
    spread = replace(model.projection("out"), shift=0)
    model = replace(model, projections=tuple(spread if p.name == "out" else p for p in model.projections))
    return with_rec(model, np.where(np.eye(n, dtype=bool), 0, weight).astype(np.int32))


WIDE = {  # a model, and whether Helium takes its rows
    "39 neurons": (CASES["39 neurons"][0], True),
    "rows of every length": (rows_of_every_length(), True),
    "turned by 3": (CASES["turned by 3"][0], True),
    "turned by 14, large sums": (CASES["turned by 14, large sums"][0], True),
    "shifts of 7 and 14": (CASES["shifts of 7 and 14"][0], True),
    "shifts of 8 and 0": (CASES["shifts of 8 and 0"][0], True),
    "256 neurons": (firing(tiny_model(n=256, density=0.3)), True),
    "257 neurons": (firing(tiny_model(n=257, density=0.1)), False),
    "two layers": (tiny_stack(), None),
}


@pytest.mark.parametrize("toolchain", ["gcc", "zig"])
@pytest.mark.parametrize("case", [pytest.param(c, marks=() if c == "39 neurons" else pytest.mark.slow) for c in WIDE])
def test_rows_by_helium_run_like_the_reference(tmp_path, case, toolchain):
    model, wide = WIDE[case]
    assert_runs_like_the_reference(model, tmp_path, toolchain, board=HELIUM)
    assert wide is None or ("LNP_WIDE_ROWS(" in (tmp_path / "lnp_net.c").read_text()) == wide


@pytest.mark.slow
@pytest.mark.parametrize("toolchain", ["gcc", "zig"])
@pytest.mark.parametrize("weight", [127, -127])
def test_sums_of_the_largest_weights_of_256_neurons_stay_in_a_halfword(tmp_path, toolchain, weight, monkeypatch):
    model = all_ones(weight=weight)
    monkeypatch.setattr(
        layout, "_known", lambda path: (plugins.get(layout.PACKAGE, "csr"),)
    )  # dense.py has fewer bytes
    assert_runs_like_the_reference(model, tmp_path, toolchain, board=HELIUM)
    assert "LNP_WIDE_ROWS(" in (tmp_path / "lnp_net.c").read_text()


@pytest.mark.parametrize("case", ["39 neurons", pytest.param("turned by 3", marks=pytest.mark.slow)])
def test_the_numbers_for_clang_are_the_instructions_that_gcc_assembles(tmp_path, case):
    found = []
    for toolchain in ("gcc", "zig"):
        need_for(HELIUM, toolchain, start=False)
        path = folder_for(WIDE[case][0], tmp_path / toolchain, board=HELIUM)
        found.append(code(path, toolchain, "-O2", board=HELIUM)["rows_of_rec_asm"])
    assert found[0] == found[1] and len(found[0]) > 100


def code(path, toolchain, *flags, board=BOARD):
    """The bytes of each function that is assembly alone, compiled with these flags."""
    tools = commands.toolchain(boards.get(board), toolchain)
    cc = build_module.compiler(toolchain, boards.get(board).family)
    command = [*cc, "-std=c11", *commands.WARNINGS, *tools.flags, *flags, "-c", "lnp_net.c", "-o", "net.o"]
    subprocess.run(command, cwd=path, check=True, env=build_module._environment(path))
    found = {}
    with (path / "net.o").open("rb") as file:
        elf = ELFFile(file)
        for s in elf.get_section_by_name(".symtab").iter_symbols():
            if s.name.endswith("_asm"):
                begin = s["st_value"] & ~1
                whole = elf.get_section(s["st_shndx"]).data()[begin : begin + s["st_size"]]
                found[s.name] = whole.removesuffix(NOPS[board])  # before what comes next
    return found


@pytest.mark.parametrize("board", CORES)
@pytest.mark.parametrize("toolchain", ["gcc", "zig"])
def test_no_flag_of_a_compiler_changes_a_loop_by_hand(tmp_path, toolchain, board):
    """Frame pointers take a register, position independence another, from what a compiler writes: not from these."""
    need_for(board, toolchain, start=False)
    path = folder_for(tiny_model(), tmp_path, board=board)
    plain = code(path, toolchain, "-O2", board=board)
    assert plain.keys() == on(board, ALL_LOOPS) - {"sum_spikes"} and min(map(len, plain.values())) > 50
    for flags in (("-O0", "-fno-omit-frame-pointer"), ("-O1", "-fPIC"), ("-O3", "-fPIE"), ("-Os",)):
        found = code(path, toolchain, *flags, board=board)
        assert {name: found[name] for name in plain} == plain, flags


# --- which steps have a loop


def renamed(u, x, k, top):
    """The second part of cuba_lif in other words."""
    u = leak(u, k)
    u = add(u, x)
    fired = greater(u, top)
    back = gate(fired, top)
    u = sub(u, back)
    return u, fired


def zero_reset(v, i_syn, c_mem, v_th):
    """The potential itself is subtracted, not the threshold."""
    v = leak(v, c_mem)
    v = add(v, i_syn)
    z = greater(v, v_th)
    kick = gate(z, v)
    v = sub(v, kick)
    return v, z


def swapped(v, i_syn, c_mem, v_th):
    """Spikes below the threshold."""
    v = leak(v, c_mem)
    v = add(v, i_syn)
    z = greater(v_th, v)
    kick = gate(z, v_th)
    v = sub(v, kick)
    return v, z


@pytest.mark.parametrize(("step", "same"), [(renamed, True), (zero_reset, False), (swapped, False)])
def test_a_step_in_other_words_is_the_same_step(step, same):
    from lnp_edge.spec.trace import trace

    assert bool(hand._same(hand.fire_lif, trace(step).statements)) == same


def test_a_step_adds_in_place_where_it_adds_the_drive_to_a_state_variable():
    into = {
        name: layout.parts(plugins.get("lnp_edge.neurons", name)).into for name in ("cuba_lif", "adlif", "li", "mean")
    }
    assert into == {"cuba_lif": "i_syn", "adlif": "v", "li": "y", "mean": "y"}
    assert layout.drives(tiny_stack()) == 0


def twice(i_syn, v, drive, c_syn, c_mem, v_th, bias):
    """The drive reaches both variables."""
    i_syn = add(i_syn, drive)
    v = add(v, drive)
    z = greater(v, v_th)
    return i_syn, v, z


def late(i_syn, v, drive, c_syn, c_mem, v_th, bias):
    """The other variable changes before the drive comes."""
    v = leak(v, c_mem)
    i_syn = add(i_syn, drive)
    v = add(v, i_syn)
    z = greater(v, v_th)
    kick = gate(z, v_th)
    v = sub(v, kick)
    return i_syn, v, z


@pytest.mark.parametrize("step", [twice, late])
@pytest.mark.parametrize("toolchain", ["gcc", "zig"])
def test_any_other_step_has_its_sums_apart(tmp_path, monkeypatch, step, toolchain):
    need_for(BOARD, toolchain, start=False)
    before = generate(tiny_model(), boards.get(BOARD))["lnp_net.h"]
    monkeypatch.setattr(cuba_lif, "step", step)
    assert layout.parts(cuba_lif).into == "drive" and layout.drives(tiny_model()) == 40
    text = generate(tiny_model(), boards.get(BOARD))["lnp_net.h"]
    assert "int32_t drive[40];" in text and "int32_t drive[40];" not in before
    code(folder_for(tiny_model(), tmp_path), toolchain, "-O2")
