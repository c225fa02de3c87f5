"""The C of one model, compiled under a sanitizer: it does what its definition says and refuses what it must."""

import ctypes
import itertools
import struct
import subprocess
import zlib
from pathlib import Path

import numpy as np
import pytest
from conftest import need
from tiny import oracle, tiny_counts, tiny_model

from lnp_edge import boards
from lnp_edge.firmware_gen import commands, tables
from lnp_edge.firmware_gen.generate import generate
from lnp_edge.spec import layout, ops

ROOT = Path(__file__).parents[2]
CSRC = ROOT / "firmware_gen" / "csrc"
INT32 = 2**31 - 1


def library(path, sources, flags=()):
    """A shared library under UBSan: any undefined behaviour ends the test with its place in the C file."""
    need("gcc")
    output = path / "lib.so"
    checks = ("-fsanitize=undefined", "-fno-sanitize-recover=all")
    base = ("gcc", "-std=c11", "-O1", "-g", "-shared", "-fPIC", *commands.WARNINGS)
    subprocess.run([*base, *checks, *flags, "-o", output, *sources], cwd=path, check=True)
    return ctypes.CDLL(str(output))


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
