"""The C runtime: compiled by every compiler, it does what the oracle does and refuses what it must."""

import ctypes
import grp
import itertools
import os
import queue
import random
import re
import shutil
import struct
import subprocess
import sys
import threading
import zlib
from collections import namedtuple
from contextlib import closing
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import need, need_for
from naive import Naive
from tiny import tiny_counts, tiny_model

import boards
from firmware_gen import build as build_module
from firmware_gen import commands, elf, flash, tables
from firmware_gen.build import build
from firmware_gen.generate import STACK_BYTES, generate, write
from lnp_edge.errors import BoardError, ConfigError, DoesNotFit
from lnp_edge.spec import layout, ops, protocol
from lnp_edge.spec.board import CPUS, Region
from lnp_edge.spec.protocol import NAK, REPLIES, REPLY, REQUESTS, Frame
from runtime.device import Device
from runtime.ports import open_board, owner_group

ROOT = Path(__file__).parents[1]
CSRC = ROOT / "firmware_gen" / "csrc"
INT32 = 2**31 - 1
GROUP = namedtuple("GROUP", "gr_name")


def folder_for(model, board, path, name="net"):
    write(generate(model, board, name), path)
    return path


def library(path, sources, flags=()):
    """A shared library under UBSan: any undefined behaviour ends the test with its place in the C file."""
    need("gcc")
    output = path / "lib.so"
    checks = ("-fsanitize=undefined", "-fno-sanitize-recover=all")
    base = ("gcc", "-std=c11", "-O1", "-g", "-shared", "-fPIC", *commands.WARNINGS)
    subprocess.run([*base, *checks, *flags, "-o", output, *sources], cwd=path, check=True)
    return ctypes.CDLL(str(output))


@cache
def oracle(steps=150, **model):
    """(digests, state words, y) of the slow reference."""
    naive = Naive(tiny_model(**model))
    digests = []
    for row in tiny_counts(naive.m, steps):
        naive.step(row)
        digests.append(naive.h)
    return digests, naive.words(), naive.y


def assert_runs_like_the_oracle(port, steps=150, **which):
    model = tiny_model(**which)
    digests, words, y = oracle(steps, **which)
    with closing(Device(port, model)) as device:
        device.reset()
        found = device.steps(tiny_counts(model, steps))
        assert found.digests.tolist() == digests
        assert device.state().tolist() == words
        assert found.y.tolist() == y
        arrays = layout.tables(model).values()
        assert device.table_crcs() == [zlib.crc32(a.tobytes()) for a in arrays]
        assert [device.read_table(k, a.nbytes) for k, a in enumerate(arrays)] == [a.tobytes() for a in arrays]


# --- operations

BASES = (0, 1, 255, 32767, 65535, 65536, 2**24, 2**30, INT32 - 2)
EDGES = sorted({sign * (base + d) for sign in (1, -1) for base in BASES for d in (-1, 0, 1, 2)})
LEAKS = [1, 2, 3, 255, 256, 4000, 16383, 16384, 32766, 32767, 32768]


def fits(value):
    return abs(value) <= INT32


CASES = {
    "add": ((a, b) for a, b in itertools.product(EDGES, EDGES) if fits(a + b)),
    "sub": ((a, b) for a, b in itertools.product(EDGES, EDGES) if fits(a - b)),
    "mul": ((a, b) for a, b in itertools.product(EDGES, EDGES) if fits(a * b)),
    "leak": ((a, c) for a, c in itertools.product([*EDGES, -(2**31)], LEAKS)),
    "greater": itertools.product(EDGES, EDGES),
    "gate": itertools.product((0, 1), EDGES),
    "shift_round": ((a, k) for a, k in itertools.product(EDGES, range(1, 16)) if abs(a) <= 2**30),
    "clamp": ((a, -b, b) for a, b in itertools.product(EDGES, (0, 1, 127, INT32))),
}


def test_every_operation_equals_its_definition_over_all_edge_values(tmp_path):
    assert set(CASES) == set(ops.OPS)
    arity = {"clamp": 3}
    lines = ['#include "lnp_ops.h"', ""]
    for op in ops.OPS:
        names = "abc"[: arity.get(op, 2)]
        parameters = ", ".join(f"int32_t {n}" for n in names)
        lines += [f"int32_t c_{op}({parameters});", f"int32_t c_{op}({parameters})"]
        lines += ["{", f"    return lnp_{op}({', '.join(names)});", "}"]
    (tmp_path / "ops.c").write_text("\n".join(lines) + "\n")
    compiled = library(tmp_path, ["ops.c"], ["-I", str(CSRC)])
    for op, cases in CASES.items():
        python, c = getattr(ops, op).py_func, getattr(compiled, f"c_{op}")
        c.restype = ctypes.c_int32
        count = 0
        for args in cases:
            assert c(*args) == python(*args), (op, args)
            count += 1
        assert count > 100, op


def test_memmove_is_right_where_regions_overlap(tmp_path):
    move = library(tmp_path, [str(ROOT / "boards" / "common" / "memory.c")], ["-fno-builtin"]).memmove
    move.restype, move.argtypes = ctypes.c_void_p, (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
    for to, start, count in itertools.product(range(8), range(8), (0, 1, 7, 24)):
        memory = ctypes.create_string_buffer(bytes(range(32)), 32)
        expected = bytearray(range(32))
        expected[to : to + count] = bytes(range(start, start + count))
        at = ctypes.addressof(memory)
        assert move(at + to, at + start, count) == at + to
        assert memory.raw == expected


# --- the model part


class Net:
    """One model of a shared library."""

    def __init__(self, lib, model, name):
        self.model, self.name, self.lib = model, name, lib
        self.memory = ctypes.create_string_buffer(b"\xaa" * layout.state_bytes(model))
        for function in ("step", "digest", "state_word", "argmax"):
            getattr(lib, f"lnp_{name}_{function}").restype = ctypes.c_uint32
        for function in ("save", "load"):
            getattr(lib, f"lnp_{name}_{function}").restype = ctypes.c_bool
        self.call("init")

    def call(self, function, *args):
        return getattr(self.lib, f"lnp_{self.name}_{function}")(self.memory, *args)

    def step(self, row):
        self.call("step", row.ctypes.data_as(ctypes.c_void_p))
        return self.call("digest")

    def words(self):
        return [self.call("state_word", k) for k in range(self.model.state_words)]

    def save(self, size=None):
        size = tables.sizes(self.model)["SAVE_BYTES"] if size is None else size
        out = ctypes.create_string_buffer(size)
        return out.raw if self.call("save", out, ctypes.c_size_t(size)) else None

    def load(self, data):
        return self.call("load", data, ctypes.c_size_t(len(data)))


@pytest.fixture(scope="module")
def nets(tmp_path_factory):
    """Two models in one program."""
    path = tmp_path_factory.mktemp("nets")
    a, b = tiny_model(), tiny_model(seed=5, n=64, n_in=2, n_out=3)
    files = generate(a, boards.get("host"), "one") | generate(b, boards.get("host"), "two")
    for name, text in files.items():
        (path / name).write_text(text)
    parts = ["lnp_one.c", "lnp_one_tables.c", "lnp_two.c", "lnp_two_tables.c", "lnp_crc32.c"]
    lib = library(path, parts)
    return lambda: (Net(lib, a, "one"), Net(lib, b, "two"))


def test_two_models_share_a_program_and_do_not_touch_each_other(nets):
    one, two = nets()
    for net, which in ((one, {}), (two, {"seed": 5, "n": 64, "n_in": 2, "n_out": 3})):
        digests, words, _ = oracle(150, **which)
        net.expected = iter(digests)
        net.last = words
    for x, y in zip(tiny_counts(one.model, 150), tiny_counts(two.model, 150), strict=True):
        assert one.step(x) == next(one.expected)
        assert two.step(y) == next(two.expected)
    assert (one.words(), two.words()) == (one.last, two.last)


def test_argmax_is_the_lowest_index_of_the_largest(nets):
    one, _ = nets()
    assert one.call("argmax") == 0
    for row in tiny_counts(one.model, 30):
        one.step(row)
        y = np.array(one.words()[-4:], np.uint32).view(np.int32)
        assert one.call("argmax") == int(np.argmax(y))


def test_a_saved_state_goes_on_where_it_was(nets):
    one, _ = nets()
    rows = tiny_counts(one.model, 150)
    for row in rows[:70]:
        one.step(row)
    saved = one.save()
    fresh, _ = nets()
    assert fresh.load(saved)
    assert fresh.save() == saved
    digests = [fresh.step(row) for row in rows[70:]]
    assert digests == oracle(150)[0][70:]
    fresh.call("reset")
    assert fresh.words() == [0] * one.model.state_words


def test_a_state_of_another_size_model_or_content_is_refused_and_changes_nothing(nets):
    one, two = nets()
    for row in tiny_counts(one.model, 10):
        one.step(row)
    saved, before = one.save(), one.words()
    assert one.save(len(saved) - 1) is None and one.save(len(saved) + 1) is None
    assert not one.load(saved[:-1]) and not one.load(saved + b"\0") and not one.load(b"")
    assert not one.load(two.save()[: len(saved)].ljust(len(saved), b"\0"))
    for bit in range(0, 8 * len(saved), 7):
        damaged = bytearray(saved)
        damaged[bit // 8] ^= 1 << bit % 8
        assert not one.load(bytes(damaged)), bit
    assert one.words() == before


def test_a_saved_spike_of_a_neuron_that_does_not_exist_is_refused(nets):
    one, _ = nets()
    saved = bytearray(one.save())
    last_z = len(saved) - 4 - 4 * one.model.n_out - 4
    for bit, allowed in ((7, True), (8, False), (31, False)):  # n = 40: bits 0..7 of the second word
        forged = bytearray(saved)
        struct.pack_into("<I", forged, last_z, 1 << bit)
        forged[-4:] = zlib.crc32(forged[:-4]).to_bytes(4, "little")
        assert one.load(bytes(forged)) == allowed


def test_a_saved_value_that_no_step_can_reach_is_refused(nets):
    one, _ = nets()
    model, saved = one.model, one.save()
    neuron, y = max(model.neuron_bounds()), max(model.readout_bounds())
    assert neuron < INT32 and y < INT32
    first_y = model.state_words - model.n_out
    for word, most in ((0, neuron), (2 * model.n - 1, neuron), (first_y, y), (model.state_words - 1, y)):
        for value, allowed in ((most, True), (-most, True), (most + 1, False), (-most - 1, False), (-(2**31), False)):
            forged = bytearray(saved)
            struct.pack_into("<i", forged, 12 + 4 * word, value)
            forged[-4:] = zlib.crc32(forged[:-4]).to_bytes(4, "little")
            assert one.load(bytes(forged)) == allowed, (word, value)


# --- whole firmware


@pytest.mark.parametrize("optimize", ["-O0", "-O2", "-O3", "-Os"])
def test_gcc_gives_the_same_results_at_every_level(tmp_path, optimize):
    need_for("host")
    board = boards.get("host")
    image = build(folder_for(tiny_model(), board, tmp_path), optimize=optimize).image
    assert_runs_like_the_oracle(open_board(board, image))


@pytest.mark.parametrize("compiler", ["clang", "gcc"])
def test_another_compiler_gives_the_same_results_for_other_sizes(tmp_path, compiler, monkeypatch):
    need({"clang": "ziglang", "gcc": "gcc"}[compiler])
    if compiler == "clang":
        monkeypatch.setattr(build_module, "_on_path", lambda names: ())  # zig's clang is what is left
    for which in (
        {"n": 1, "n_in": 1, "n_out": 1},
        {"n": 32, "density": 0.0},
        {"n": 300, "n_in": 5, "density": 0.05},
    ):
        board = boards.get("host")
        path = tmp_path / str(which["n"])
        image = build(folder_for(tiny_model(**which), board, path), sanitize=compiler == "gcc").image
        assert_runs_like_the_oracle(open_board(board, image), 60, **which)


EMULATED = [
    (name, toolchain)
    for name in boards.names()
    if boards.get(name).start in ("qemu", "unicorn")
    for toolchain in commands.names(boards.get(name))
]


@pytest.mark.parametrize(("name", "toolchain"), EMULATED)
def test_an_emulated_board_runs_like_the_oracle(tmp_path, name, toolchain):
    need_for(name, toolchain)
    board = boards.get(name)
    image = build(folder_for(tiny_model(), board, tmp_path), toolchain).image
    assert_runs_like_the_oracle(open_board(board, image))


def test_behind_a_bootloader_the_core_gets_our_vector_table(tmp_path, monkeypatch):
    need_for("cortex-m4")
    board = replace(boards.get("cortex-m4"), flash=Region(0x8000, 0x10000))
    monkeypatch.setattr(boards, "get", lambda name: board)
    port = open_board(board, build(folder_for(tiny_model(), board, tmp_path)).image)
    assert_runs_like_the_oracle(port)
    assert bytes(port._uc.mem_read(0xE000ED08, 4)) == struct.pack("<I", 0x8000)  # DDI 0403 B3.2.5: VTOR


@pytest.mark.parametrize("cpu", [cpu for cpu in CPUS if cpu != "host"])
@pytest.mark.parametrize("toolchain", ["gcc", "zig"])
def test_it_compiles_clean_for_every_core(tmp_path, monkeypatch, cpu, toolchain):
    need_for("nucleo-f401re", toolchain)
    board = replace(boards.get("nucleo-f401re"), cpu=cpu)
    monkeypatch.setattr(boards, "get", lambda name: board)
    sizes = build(folder_for(tiny_model(n=80), board, tmp_path), toolchain)
    assert layout.table_bytes(tiny_model(n=80)) < sizes.flash < 24_000
    assert sizes.ram > layout.state_bytes(tiny_model(n=80)) + STACK_BYTES


def test_no_function_uses_floating_point_or_heap(tmp_path):
    need_for("mps2-an386", start=False)
    image = build(folder_for(tiny_model(), boards.get("mps2-an386"), tmp_path)).image
    names = subprocess.run(["arm-none-eabi-nm", image], capture_output=True, text=True, check=True).stdout
    assert not re.search(r"malloc|free|__aeabi_[fd]|__aeabi_u?l", names)


def test_the_stack_reserve_covers_every_function_at_once(tmp_path):
    need_for("nucleo-f401re")
    path = folder_for(tiny_model(n=300, n_in=100, n_out=50), boards.get("nucleo-f401re"), tmp_path)
    tools = commands.toolchain(boards.get("nucleo-f401re"))
    for optimize in ("-Os", "-O3"):
        for source in sorted(path.glob("*.c")):
            flags = [optimize, *tools.flags, "-fstack-usage", "-c", "-o", path / f"{source.stem}.o", source]
            subprocess.run([*tools.cc, "-std=c11", *flags], check=True, cwd=path)
        frames = [int(line.split("\t")[1]) for su in path.glob("*.su") for line in su.read_text().splitlines()]
        # Nothing here calls itself, so the sum of all frames and an interrupt's 32 bytes bounds the depth.
        assert 0 < sum(frames) + 32 < STACK_BYTES, optimize


def test_make_runs_the_same_command(tmp_path):
    need("make")
    for name in boards.names():
        board = boards.get(name)
        path = folder_for(tiny_model(), board, tmp_path / name)
        for toolchain in commands.names(board):
            done = subprocess.run(
                ["make", "-n", f"TOOLCHAIN={toolchain}"], cwd=path, capture_output=True, text=True, check=True
            )
            tools = commands.toolchain(board, toolchain)
            sources = sorted(p.name for p in path.glob("*.c"))
            expected = commands.compile_command(tools, sources, commands.output("net", toolchain))
            assert done.stdout.splitlines()[-1].split() == expected


@pytest.mark.parametrize("name", ["host", "mps2-an386"])
def test_the_folder_builds_with_make_alone(tmp_path, name):
    need("make")
    need_for(name)
    board = boards.get(name)
    path = folder_for(tiny_model(), board, tmp_path)
    subprocess.run(["make", "-s"], cwd=path, check=True, env={"PATH": os.environ["PATH"]})
    assert_runs_like_the_oracle(open_board(board, path / commands.output("net", board.toolchain)))


def test_sizes_are_those_of_the_section_headers(tmp_path):
    need_for("nucleo-f401re")
    sizes = build(folder_for(tiny_model(), boards.get("nucleo-f401re"), tmp_path))
    text = subprocess.run(["arm-none-eabi-size", sizes.image], capture_output=True, text=True, check=True).stdout
    code, data, bss = map(int, text.splitlines()[1].split()[:3])
    assert (sizes.flash, sizes.ram) == (code + data, data + bss)
    assert any("of     524,288 B" in line for line in sizes.lines())


# --- what can go wrong


def test_an_absent_compiler_is_said_with_the_command_that_gets_it(tmp_path, monkeypatch):
    path = folder_for(tiny_model(), boards.get("mps2-an386"), tmp_path / "arm")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(BoardError, match="apt-get install gcc-arm-none-eabi"):
        build(path)
    monkeypatch.setattr(build_module, "_zig", lambda: ())
    with pytest.raises(BoardError, match=r"pip install .*ziglang"):
        build(path, "zig")
    host = folder_for(tiny_model(), boards.get("host"), tmp_path / "host")
    with pytest.raises(BoardError, match="apt-get install gcc"):
        build(host)


def test_a_failing_compiler_shows_its_last_lines_and_leaves_no_image(tmp_path):
    need_for("host")
    path = folder_for(tiny_model(), boards.get("host"), tmp_path)
    build(path)
    (path / "main.c").write_text("this is no C\n")
    with pytest.raises(BoardError, match=r"(?s)failed with code 1.*main\.c:1"):
        build(path)
    assert not list((path / "build").rglob("*.elf"))


@pytest.mark.parametrize("toolchain", ["gcc", "zig"])
def test_an_image_that_outgrows_the_board_says_what_it_needs(tmp_path, monkeypatch, toolchain):
    need_for("cortex-m4", toolchain, start=False)
    full = boards.get("cortex-m4")
    whole = build(folder_for(tiny_model(), full, tmp_path / "full"), toolchain)
    small = replace(full, flash=Region(0, 4096))
    monkeypatch.setattr(boards, "get", lambda name: small)
    with pytest.raises(DoesNotFit, match=r"needs \d+ B flash, cortex-m4 has 4096") as e:
        build(folder_for(tiny_model(), small, tmp_path / "small"), toolchain)
    assert abs(int(re.search(r"needs (\d+)", str(e.value))[1]) - whole.flash) <= 64
    tight = replace(full, ram=Region(0x20000000, whole.ram - 8))
    monkeypatch.setattr(boards, "get", lambda name: tight)
    with pytest.raises(DoesNotFit, match=r"needs \d+ B RAM"):
        build(folder_for(tiny_model(), tight, tmp_path / "tight"), toolchain)


def test_other_toolchains_and_folders_are_refused(tmp_path):
    path = folder_for(tiny_model(), boards.get("host"), tmp_path / "fw")
    with pytest.raises(BoardError, match="not built with 'gcc'"):
        build(path, "gcc")
    with pytest.raises(ConfigError, match="cannot read"):
        build(tmp_path)


def test_the_callers_environment_does_not_reach_the_compiler(tmp_path, monkeypatch):
    need_for("host")
    path = folder_for(tiny_model(), boards.get("host"), tmp_path)
    reference = build(path).image.read_bytes()
    for key in ("CFLAGS", "CPATH", "C_INCLUDE_PATH", "GCC_EXEC_PREFIX", "LD_PRELOAD"):
        monkeypatch.setenv(key, "/nonexistent")
    assert build(path).image.read_bytes() == reference


def test_flashing_says_what_it_would_do_and_writes_the_flash_image(tmp_path):
    need_for("nucleo-f401re")
    path = folder_for(tiny_model(), boards.get("nucleo-f401re"), tmp_path)
    with pytest.raises(BoardError, match="no image yet"):
        flash.flash(path, dry_run=True)
    image = build(path).image
    shown = flash.flash(path, dry_run=True)
    assert shown == f"cd {path} && st-flash --reset write build/gcc/lnp_net.bin 0x08000000"
    subprocess.run(["arm-none-eabi-objcopy", "-O", "binary", image, tmp_path / "x.bin"], check=True)
    assert image.with_suffix(".bin").read_bytes() == (tmp_path / "x.bin").read_bytes()
    assert elf.flash_bytes(image, 0x08000000 - 16)[:16] == b"\xff" * 16


def test_flashing_without_the_tool_or_an_emulated_board(tmp_path, monkeypatch):
    need_for("nucleo-f401re")
    real = shutil.which
    monkeypatch.setattr(shutil, "which", lambda name: None if name == "st-flash" else real(name))
    path = folder_for(tiny_model(), boards.get("nucleo-f401re"), tmp_path / "a")
    build(path)
    with pytest.raises(BoardError, match=r"(?s)st-flash is not installed.*apt-get install stlink-tools"):
        flash.flash(path)
    other = folder_for(tiny_model(), boards.get("host"), tmp_path / "b")
    assert flash.flash(other) == "nothing to flash: host starts with the image"


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("clock_hz", 100_000_000, "clock_hz is 168, 84, 56 or 42 MHz"),
        ("clock_hz", 16_000_000, "clock_hz is 168, 84, 56 or 42 MHz"),
        ("clock_hz", 80_000_000, "clock_hz is 168, 84, 56 or 42 MHz"),  # divided by 4.2
        ("clock_hz", 112_000_000, "clock_hz is 168, 84, 56 or 42 MHz"),  # divided by 3
        ("clock_hz", 336_000_000, "clock_hz is 168, 84, 56 or 42 MHz"),
        ("clock_hz", 33_600_000, "clock_hz is 168, 84, 56 or 42 MHz"),  # divided by 10
        ("baud", 2_000_000, "baud is out of the range"),
        ("baud", 300, "baud is out of the range"),
    ],
)
def test_a_clock_or_baud_rate_that_the_stm32_cannot_have_stops_the_compiler(tmp_path, monkeypatch, key, value, said):
    need_for("nucleo-f401re")
    board = replace(boards.get("nucleo-f401re"), **{key: value})
    monkeypatch.setattr(boards, "get", lambda name: board)
    with pytest.raises(BoardError, match=said):
        build(folder_for(tiny_model(), board, tmp_path))


@pytest.mark.parametrize(("n_in", "ring"), [(3, 1024), (300, 1024), (1024, 4096)])
def test_the_ring_of_the_stm32_holds_the_longest_frame(tmp_path, n_in, ring):
    need_for("nucleo-f401re")
    model = tiny_model(n_in=n_in)
    image = build(folder_for(model, boards.get("nucleo-f401re"), tmp_path)).image
    text = subprocess.run(["arm-none-eabi-nm", "-S", image], capture_output=True, text=True, check=True).stdout
    assert int(re.search(r"\w+ (\w+) b ring\n", text)[1], 16) == ring
    assert len(protocol.encode(Frame(1, 2, 3, b"\1" * tables.max_payload(model)))) < ring


@pytest.mark.parametrize("content", [b"", b"no image", b"\x7fELF", None])
def test_a_file_that_is_no_image_is_refused_by_the_emulator(tmp_path, content):
    need("unicorn", "elftools")
    if content is not None:
        (tmp_path / "x.elf").write_bytes(content)
    with pytest.raises(BoardError, match=r"x\.elf is no image for cortex-m4") as e:
        open_board(boards.get("cortex-m4"), tmp_path / "x.elf")
    assert e.value.try_next == "build one first: lnp build DIR"


def test_an_image_for_other_memory_is_refused_by_the_emulator(tmp_path):
    need("arm-none-eabi-gcc", "unicorn", "elftools")
    image = build(folder_for(tiny_model(), boards.get("netduinoplus2"), tmp_path)).image
    with pytest.raises(BoardError, match="is no image for cortex-m4"):
        open_board(boards.get("cortex-m4"), image)


def test_the_group_of_a_port_is_its_own_and_never_roots(tmp_path, monkeypatch):
    port = tmp_path / "port"
    assert owner_group(port) == "dialout"  # unplugged
    port.touch()
    for number, name in ((0, "dialout"), (123, "plugdev"), (124, "dialout")):
        status = SimpleNamespace(st_gid=number)
        with monkeypatch.context() as m:
            m.setattr(Path, "stat", lambda self, s=status: s)
            m.setattr(grp, "getgrgid", lambda number: {0: GROUP("root"), 123: GROUP("plugdev")}[number])
            assert owner_group(port) == name


# --- the link


class Line:
    """The host firmware on two pipes, frame by frame. A thread reads: neither side waits for the other."""

    def __init__(self, image):
        pipe = subprocess.PIPE
        self.process = subprocess.Popen([image], stdin=pipe, stdout=pipe, stderr=pipe)
        self.frames = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()
        self.greeting = self.read()

    def _listen(self):
        buffer = b""
        while more := self.process.stdout.read1(4096):
            *whole, buffer = (buffer + more).split(b"\0")
            for stuffed in filter(None, whole):
                self.frames.put(protocol.decode(stuffed))
        self.frames.put(None)

    def read(self):
        frame = self.frames.get(timeout=10)
        assert frame is not None, self.process.stderr.read().decode()
        return frame

    def send(self, name, payload=b"", sid=7, seq=1, kind=None):
        self.raw(protocol.encode(Frame(REQUESTS[name].type if kind is None else kind, sid, seq, payload)))

    def raw(self, data):
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def ask(self, *args, **kwargs):
        self.send(*args, **kwargs)
        return self.read()

    def refusal(self, *args, **kwargs):
        frame = self.ask(*args, **kwargs)
        assert frame.type == REPLIES["nak"].type
        code, _ = REPLIES["nak"].struct.unpack(frame.payload)
        return next(name for name, value in NAK.items() if value == code)

    def close(self):
        self.process.stdin.close()
        assert self.process.wait(10) == 0, self.process.stderr.read().decode()
        assert self.process.stderr.read() == b""


@pytest.fixture(scope="module")
def sanitized(tmp_path_factory):
    need("gcc")
    path = tmp_path_factory.mktemp("sanitized")
    return build(folder_for(tiny_model(), boards.get("host"), path), sanitize=True).image


@pytest.fixture
def line(sanitized):
    with closing(Line(sanitized)) as found:
        yield found


def steps_payload(t, count, seed=2):
    return struct.pack("<I", t) + tiny_counts(tiny_model(), 150, seed)[t : t + count].tobytes()


def test_a_device_greets_at_boot_and_at_hello(line):
    assert (line.greeting.sid, line.greeting.seq) == (0, 0)
    frame = line.ask("hello", sid=9, seq=3)
    assert (frame.type, frame.sid, frame.seq) == (REPLY | 1, 9, 3)
    assert frame.payload == line.greeting.payload
    *numbers, name = REPLIES["hello"].struct.unpack(frame.payload)
    m = tiny_model()
    assert numbers == [
        protocol.wire_crc(), m.fingerprint, 0, m.state_words, 1_000_000_000, m.n, m.n_in, m.n_out, 18, 512,
    ]  # fmt: skip
    assert name == b"host".ljust(24, b"\0")


def test_without_hello_and_from_another_session_nothing_is_done(line):
    assert line.refusal("reset", sid=0) == "session"
    line.ask("hello", sid=7)
    line.ask("steps", steps_payload(0, 5), seq=2)
    assert line.refusal("reset", sid=8) == "session"
    line.ask("hello", sid=8)
    assert line.refusal("steps", steps_payload(5, 1), sid=7) == "session"
    assert struct.unpack_from("<I", line.ask("hello", sid=8, seq=9).payload, 8) == (5,)


def test_a_repeated_request_is_answered_from_memory(line):
    line.ask("hello")
    first = line.ask("steps", steps_payload(0, 5), seq=2)
    assert line.ask("steps", steps_payload(0, 5), seq=2) == first
    assert line.refusal("reset", sid=8, seq=2) == "session"  # a refusal between does not disturb it
    assert line.refusal("steps", steps_payload(9, 5), seq=3) == "step"
    assert line.ask("steps", steps_payload(0, 5), seq=2) == first
    assert line.ask("steps", steps_payload(5, 5), seq=3).payload[:4] == struct.pack("<I", 10)
    # The same number with another body is another request, and a new session has no memory.
    assert line.refusal("steps", steps_payload(0, 5), seq=3) == "step"
    line.ask("hello", seq=3)
    assert line.refusal("steps", steps_payload(5, 5), seq=3) == "step"


def test_steps_come_back_with_number_readout_and_digests(line):
    line.ask("hello")
    digests, _, _ = oracle(150)
    most = tables.max_steps(tiny_model())
    frame = line.ask("steps", steps_payload(0, most), seq=2)
    t, cycles, *words = struct.unpack(f"<II{4 + most}I", frame.payload)
    assert (t, cycles) == (most, 0)
    assert words[4:] == digests[:most]
    assert line.ask("reset", seq=3).payload == struct.pack("<II", 0, 0)
    frame = line.ask("steps", steps_payload(0, 1), seq=4)
    assert frame.payload[-4:] == struct.pack("<I", digests[0])


def test_wrong_types_lengths_and_ranges_are_refused(line):
    line.ask("hello")
    words, last = tiny_model().state_words, len(layout.tables(tiny_model())) - 1
    bias_out = 4 * tiny_model().n_out
    assert line.refusal("", kind=0) == "type"
    assert line.refusal("", kind=0x07) == "type"
    assert line.refusal("", kind=0x81) == "type"
    for name in ("hello", "reset", "tables"):
        assert line.refusal(name, b"\0") == "length"
    for size in (0, 3, 4, 5, 9, 11, 511, 512):
        payload = bytes(size)
        assert line.refusal("steps", payload) == "length", size
    assert line.refusal("steps", steps_payload(1, 1)) == "step"
    for payload in (b"", b"\0" * 5, b"\0" * 7):
        assert line.refusal("state", payload) == "length"
    for word, count in ((words, 1), (words + 1, 0), (words - 1, 2), (2**32 - 1, 2), (0, 127), (0, 65535)):
        assert line.refusal("state", struct.pack("<IH", word, count)) == "range", (word, count)
    assert len(line.ask("state", struct.pack("<IH", words - 1, 1)).payload) == 12
    for payload in (b"", b"\0" * 7, b"\0" * 9):
        assert line.refusal("read", payload) == "length"
    for table, offset, count in (
        (last + 1, 0, 1), (65535, 0, 0), (last, bias_out, 1), (last, bias_out + 1, 0), (last, 2**32 - 1, 2),
        (last, 1, bias_out), (0, 0, 507), (0, 0, 65535),
    ):  # fmt: skip
        assert line.refusal("read", struct.pack("<HIH", table, offset, count)) == "range", (
            table,
            offset,
            count,
        )
    assert len(line.ask("read", struct.pack("<HIH", last, bias_out - 1, 1)).payload) == 7
    assert struct.unpack_from("<I", line.ask("hello", seq=99).payload, 8) == (0,)


def test_damaged_and_foreign_frames_get_no_answer(line):
    body = protocol.HEADER.pack(1, 1, 7, 1, 0)
    line.raw(protocol.encode(Frame(1, 7, 1, bytes(513))))  # longer than any frame may be
    good = protocol.encode(Frame(1, 7, 1, b""))
    for damaged in (
        protocol.HEADER.pack(2, 1, 7, 1, 0),  # another version
        protocol.HEADER.pack(1, 1, 7, 1, 1),  # a length that is not true
        protocol.HEADER.pack(1, 1, 7, 1, 65535),
        body[:-1],
    ):
        line.raw(b"\0" + protocol.cobs_encode(damaged + zlib.crc32(damaged).to_bytes(4, "little")) + b"\0")
    for bit in range(8, 8 * (len(good) - 1)):
        wrong = bytearray(good)
        wrong[bit // 8] ^= 1 << bit % 8
        line.raw(bytes(wrong))
    assert line.ask("hello", seq=42).seq == 42


def test_any_garbage_is_survived(line):
    rng = random.Random(3)
    valid = [protocol.encode(Frame(k, 7, 1, rng.randbytes(n))) for k in range(8) for n in (0, 4, 6, 8, 10, 100)]
    for _ in range(3000):
        kind = rng.randrange(4)
        data = rng.randbytes(rng.randrange(1, 40)) if kind == 0 else bytearray(rng.choice(valid))
        if kind == 1:
            data[rng.randrange(len(data))] = rng.randrange(256)
        if kind == 2:
            del data[rng.randrange(len(data)) :]
        if kind == 3:
            data = bytes([rng.choice((1, 2, 254, 255))]) * rng.randrange(2000)
        line.raw(bytes(data))
    line.raw(b"\0")
    line.send("hello", sid=12345, seq=54321)
    while (frame := line.read()).sid != 12345:
        pass
    assert frame.seq == 54321
    assert line.ask("reset", sid=12345, seq=54322).payload == struct.pack("<II", 0, 0)


def test_requests_with_long_runs_without_a_zero_arrive_whole(line):
    """A COBS block of 254 bytes is not followed by a zero: counts without a zero byte make such blocks."""
    naive, digests = Naive(tiny_model()), []
    rows = np.random.default_rng(1).integers(1, 128, (84, 3), np.int16) * 257
    for row in rows:
        naive.step(row)
        digests.append(naive.h)
    line.ask("hello", seq=0)
    for count in range(38, 85):
        line.ask("reset", seq=2 * count)
        reply = line.ask("steps", bytes(4) + rows[:count].astype("<i2").tobytes(), seq=2 * count + 1)
        assert reply.payload[-4:] == struct.pack("<I", digests[count - 1]), count


def test_payloads_of_all_lengths_pass_the_framing(line):
    """COBS on both sides, with runs of 253 to 255 bytes without a zero: read them out of the tables."""
    line.ask("hello")
    arrays = list(layout.tables(tiny_model()).values())
    wide = max(range(len(arrays)), key=lambda k: arrays[k].nbytes)
    raw = arrays[wide].tobytes()
    for seq, count in enumerate((0, 1, *range(236, 262), 500, 506), start=10):
        count = min(count, len(raw))
        frame = line.ask("read", struct.pack("<HIH", wide, 0, count), seq=seq)
        assert frame.payload[6:] == raw[:count]


# --- style


def test_c_files_keep_their_format():
    found = [*CSRC.glob("*.[ch]"), *(ROOT / "boards" / "common").glob("*.[ch]")]
    assert len(found) > 15
    beside = shutil.which("clang-format", path=str(Path(sys.executable).parent))
    if not beside:
        need("clang-format")
    tool = beside or "clang-format"
    call = [tool, "--dry-run", "--Werror", f"--style=file:{ROOT / '.clang-format'}", *found]
    done = subprocess.run(call, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[:2000]


def test_make_refuses_a_toolchain_it_does_not_know(tmp_path):
    need("make")
    folder = folder_for(tiny_model(), boards.get("host"), tmp_path)
    done = subprocess.run(["make", "TOOLCHAIN=nonsense"], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 2 and "TOOLCHAIN is 'nonsense': choose host" in done.stderr
    assert not (folder / "build").exists()
