"""The C of one model, compiled under a sanitizer: it does what its definition says and refuses what it must."""

import bisect
import ctypes
import itertools
import struct
import subprocess
import zlib
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import numpy as np
import pytest
from conftest import need
from loaded import accepts, corners, powers
from naive import Naive
from tiny import ALL, FRONTS, oracle, random_model, tiny_counts, tiny_model

from lnp_edge import boards
from lnp_edge.firmware_gen import commands, tables
from lnp_edge.firmware_gen.generate import generate
from lnp_edge.spec import layout, ops, plugins, saved
from lnp_edge.spec.frontend import GROUP
from lnp_edge.spec.model import CSR, INPUT, LARGEST, Population, Projection

ROOT = Path(__file__).parents[2]
CSRC = ROOT / "firmware_gen" / "csrc"
INT32 = 2**31 - 1


def library(path, sources, flags=()):
    """A shared library under UBSan: any undefined behaviour ends the test with its place in the C file.

    Not optimised: that takes gcc three times as long, and what is optimised away is not checked. Without -g: the places
    are the sanitizer's own.
    """
    need("gcc")
    output = path / "lib.so"
    checks = ("-fsanitize=undefined", "-fno-sanitize-recover=all")
    base = ("gcc", "-std=c11", "-O0", "-shared", "-fPIC", *commands.WARNINGS)
    subprocess.run([*base, *checks, *flags, "-o", output, *sources], cwd=path, check=True)
    return ctypes.CDLL(str(output))


# --- operations

BASES = (0, 1, 255, 32767, 65535, 65536, 2**24, 2**30, INT32 - 2)
EDGES = sorted({sign * (base + d) for sign in (1, -1) for base in BASES for d in (-1, 0, 1, 2)})
LEAKS = [1, 2, 3, 255, 256, 4000, 16383, 16384, 32766, 32767, 32768, 50000, 65534, 65535]


def fits(value):
    return abs(value) <= INT32


CASES = {
    "add": ((a, b) for a, b in itertools.product(EDGES, EDGES) if fits(a + b)),
    "sub": ((a, b) for a, b in itertools.product(EDGES, EDGES) if fits(a - b)),
    "mul": ((a, b) for a, b in itertools.product(EDGES, EDGES) if fits(a * b)),
    "leak": itertools.product(EDGES, LEAKS),
    "leak_half": ((a, c) for a, c in itertools.product(EDGES, LEAKS) if c <= 32768),
    "greater": itertools.product(EDGES, EDGES),
    "gate": itertools.product((0, 1), EDGES),
    "shift_round": ((a, k) for a, k in itertools.product(EDGES, range(1, 16)) if abs(a) <= 2**30),
    "absolute": ((a,) for a in EDGES),
    "choose": itertools.product((0, 1), EDGES[::3], EDGES[::3]),
    "log2": ((a,) for a in (*EDGES, *range(1, 2000), *(2**k + d for k in range(2, 31) for d in (-1, 0, 1)))),
    "clamp": ((a, -b, b) for a, b in itertools.product(EDGES, (0, 1, 127, INT32))),
}
CASES = {op: list(cases) for op, cases in CASES.items()}


HERE = Path(__file__).parent
CORES = {
    "host": (),
    "Armv6-M": ("-D__ARM_ARCH_6M__", "-D__thumb__"),  # neither zeros counted nor high products; few registers
    "DSP": (*(f"-D__ARM_FEATURE_{has}=1" for has in ("DSP", "SIMD32", "UNALIGNED")), "-I", str(HERE)),  # by arm_acle.h
}


@pytest.mark.parametrize("core", CORES)
def test_every_operation_equals_its_definition_over_all_edge_values(tmp_path, core):
    assert set(CASES) == set(ops.FRONT_END_OPS) | {"leak_half"}
    arity = {"clamp": 3, "choose": 3, "absolute": 1, "log2": 1}
    lines = ['#include "lnp_ops.h"', ""]
    for op in CASES:
        names = "abc"[: arity.get(op, 2)]
        parameters = ", ".join(f"int32_t {n}" for n in names)
        lines += [f"int32_t c_{op}({parameters});", f"int32_t c_{op}({parameters})"]
        lines += ["{", f"    return lnp_{op}({', '.join(names)});", "}"]
    (tmp_path / "ops.c").write_text("\n".join(lines) + "\n")
    compiled = library(tmp_path, ["ops.c"], ["-I", str(CSRC), *CORES[core]])
    for op, cases in CASES.items():
        python, c = getattr(ops, op.removesuffix("_half")).py_func, getattr(compiled, f"c_{op}")
        c.restype = ctypes.c_int32
        count = 0
        for args in cases:
            stored = (args[0], 65536 - args[1]) if op.startswith("leak") else args  # C has what a leak leaves
            assert c(*stored) == python(*args), (op, args)
            count += 1
        assert count > 50, op


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
        self.save_bytes = tables.sizes(model)["SAVE_BYTES"]
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
        size = self.save_bytes if size is None else size
        out = ctypes.create_string_buffer(size)
        return out.raw if self.call("save", out, ctypes.c_size_t(size)) else None

    def load(self, data):
        return self.call("load", data, ctypes.c_size_t(len(data)))


def files_of(models):
    return {name: generate(model, boards.get("host"), name) for name, model in models.items()}


def library_of(path, files, core="host"):
    """One library of several models, by name the files of each: gcc starts and links once."""
    for texts in files.values():
        for file, text in texts.items():
            (path / file).write_text(text)
    parts = [f"lnp_{name}{part}.c" for name in files for part in ("", "_tables")]
    return library(path, [*parts, "lnp_crc32.c"], CORES[core])


WHICH = {"one": ("layer", {}), "two": ("layer", {"seed": 5, "n": 64, "n_in": 2, "n_out": 3}), "three": ("stack", {})}
WHICH |= {kind.split()[0]: (kind, {}) for kind in FRONTS}


@pytest.fixture(scope="module")
def nets(tmp_path_factory):
    """Several models in one program."""
    path = tmp_path_factory.mktemp("nets")
    models = {name: ALL[kind](**which) for name, (kind, which) in WHICH.items()}
    lib = library_of(path, files_of(models))
    return lambda: {name: Net(lib, model, name) for name, model in models.items()}


def test_models_share_a_program_and_do_not_touch_each_other(nets):
    found = nets()
    rows = {name: tiny_counts(net.model, 150) for name, net in found.items()}
    expected = {name: oracle(150, kind, **which) for name, (kind, which) in WHICH.items()}
    for t in range(150):
        for name, net in found.items():
            assert net.step(rows[name][t]) == expected[name][0][t], (name, t)
    for name, net in found.items():
        assert net.words() == expected[name][1], name


@pytest.mark.parametrize("name", WHICH)
def test_argmax_is_the_lowest_index_of_the_largest(nets, name):
    net = nets()[name]
    assert net.call("argmax") == 0
    seen = set()
    for row in tiny_counts(net.model, 60):
        net.step(row)
        y = np.array(net.words()[-net.model.n_out :], np.uint32).view(np.int32)
        assert net.call("argmax") == int(np.argmax(y))
        seen.add(int(np.argmax(y)))
    assert len(seen) > 1


@pytest.mark.parametrize("name", WHICH)
def test_a_saved_state_goes_on_where_it_was(nets, name):
    kind, which = WHICH[name]
    net = nets()[name]
    rows = tiny_counts(net.model, 150)
    for row in rows[:70]:
        net.step(row)
    saved = net.save()
    fresh = nets()[name]
    assert fresh.load(saved)
    assert fresh.save() == saved
    digests = [fresh.step(row) for row in rows[70:]]
    assert digests == oracle(150, kind, **which)[0][70:]
    fresh.call("reset")
    assert fresh.words() == [0] * net.model.state_words


@pytest.mark.parametrize("name", WHICH)
def test_a_saved_state_is_what_the_semantics_say(nets, name):
    """Fingerprint, t, digest, the state words, CRC-32: little-endian words."""
    net = nets()[name]
    naive = Naive(net.model)
    for row in tiny_counts(net.model, 33):
        net.step(row)
        naive.step(row)
    words = [net.model.fingerprint, 33, naive.h, *naive.words()]
    body = struct.pack(f"<{len(words)}I", *words)
    assert net.save() == body + struct.pack("<I", zlib.crc32(body))


def test_a_state_of_another_size_model_or_content_is_refused_and_changes_nothing(nets):
    for name, other in (("one", "two"), ("three", "one")):
        net, foreign = nets()[name], nets()[other]
        for row in tiny_counts(net.model, 10):
            net.step(row)
        saved, before = net.save(), net.words()
        assert net.save(len(saved) - 1) is None and net.save(len(saved) + 1) is None
        assert not net.load(saved[:-1]) and not net.load(saved + b"\0") and not net.load(b"")
        assert not net.load(foreign.save()[: len(saved)].ljust(len(saved), b"\0"))
        for bit in range(0, 8 * len(saved), 7):
            damaged = bytearray(saved)
            damaged[bit // 8] ^= 1 << bit % 8
            assert not net.load(bytes(damaged)), bit
        assert net.words() == before


def forged(net, words):
    """A saved state in which some words are others, {word: value}, with a right CRC."""
    found = bytearray(net.save())
    for word, value in words.items():
        struct.pack_into("<I", found, 12 + 4 * word, value % 2**32)
    found[-4:] = zlib.crc32(found[:-4]).to_bytes(4, "little")
    return bytes(found)


def first_words(model):
    """The index of the first state word of each field."""
    ends = np.cumsum([f.words for f in model.fields]).tolist()
    return [(f, end - f.words) for f, end in zip(model.fields, ends, strict=True)]


@pytest.mark.parametrize("name", WHICH)
def test_a_saved_spike_of_a_neuron_that_does_not_exist_is_refused(nets, name):
    net = nets()[name]
    for field, first in first_words(net.model):
        if field.name == "z":
            n = net.model.population(field.population).n
            for bit in range(32 * field.words):
                assert net.load(forged(net, {first + bit // 32: 1 << bit % 32})) == (bit < n), (field, bit)
                net.call("init")


def limits(model):
    """The largest |value| of each state word that load accepts, SEMANTICS.md section 10, but for neurons that have
    limits of two variables together: of these and of z 0."""
    found = []
    for field in model.fields:
        if field.population == GROUP:
            found += [model.front.state[field.name]] * field.words
            continue
        p = model.population(field.population)
        most = max(model.bounds(p))
        if p.neuron == "cuba_lif" and field.name == "i_syn":
            found += [-(-c * most // 65536) for c in p.params["c_mem"].tolist()]
        else:
            found += [0 if field.name == "z" or hasattr(p.module, "reachable") else most] * field.words
    return found


@pytest.mark.parametrize("name", WHICH)
def test_a_saved_value_from_which_a_step_may_overflow_is_refused(nets, name):
    net = nets()[name]
    bounds = {max(net.model.bounds(p)) for p in net.model.populations}
    assert max(bounds) < INT32
    assert len(bounds) == len(net.model.populations)  # else the bound of another population would pass
    for word, most in enumerate(limits(net.model)):
        for value in (most, -most, most + 1, -most - 1, -(2**31)):
            if most:
                assert net.load(forged(net, {word: value})) == (abs(value) <= most), (word, value)
                net.call("init")


def pairs(model):
    """Of each neuron with limits of two variables together: its two state words, and the limits."""
    first = {f.full_name: word for f, word in first_words(model)}
    for p in model.populations:
        if hasattr(p.module, "reachable"):
            x, y = (first[f"{p.name}_{name}"] for name in p.module.STATE)
            tables = zip(*(p.params[name].tolist() for name in p.module.TABLES), strict=True)
            for i, (drive, row) in enumerate(zip(model.drive_bounds(p), tables, strict=True)):
                yield x + i, y + i, p.module.reachable(drive, *row)


def test_what_a_device_accepts_is_told_as_the_semantics_say():
    """spec/saved.py, which the self-test of lnp verify asks."""
    for kind in ALL:
        model = ALL[kind]()
        together = {word: of for x, y, of in pairs(model) for word, of in ((x, of[0]), (y, of[1]))}
        spikes = saved.used_bits(model)
        told = [together.get(word, -1 if word in spikes else most) for word, most in enumerate(limits(model))]
        assert saved.limits(model).tolist() == told
        assert saved.pairs(model) == {(x, y): of for x, y, of in pairs(model)}
        for field, first in first_words(model):
            if field.name == "z":
                bits = [spikes[first + k] for k in range(field.words)]
                assert sum(bits[k] << 32 * k for k in range(len(bits))) == 2 ** model.population(field.population).n - 1


def edges(of):
    """Pairs of values at each limit of each sign, and one beyond."""
    most_x, most_y, k, total, apart = of
    for sign in (-1, 1):
        for beyond in (0, 1):
            yield sign * (most_x + beyond), sign * (2 * total - most_x // 2) // 2**k // 2
            yield 0, sign * (most_y + beyond)
            for y in (0, most_y // 2, -most_y // 2, most_y, -most_y):
                for limit, along in ((total, 1), (apart, -1)):
                    quarter = sign * (limit + beyond) - along * (2**k * y // 4)
                    yield 4 * quarter, y
                    yield 4 * quarter + 3, y
    yield -(2**31), 0
    yield 0, -(2**31)


OF_PAIRS = [
    name for name, (kind, which) in WHICH.items()
    if any(hasattr(p.module, "reachable") for p in ALL[kind](**which).populations)
]  # fmt: skip


@pytest.mark.parametrize("name", [*OF_PAIRS, "near int32"])
def test_a_saved_pair_of_values_from_which_a_step_may_overflow_is_refused(nets, of_pairs, name):
    net, seen = of_pairs() if name == "near int32" else nets()[name], {False: 0, True: 0}
    for x, y, of in pairs(net.model):
        for values in edges(of):
            if max(map(abs, values)) <= 2**31:
                state = forged(net, dict(zip((x, y), values, strict=True)))
                assert net.load(state) == accepts(of, *values), (x, y, values, of)
                seen[accepts(of, *values)] += 1
                net.call("init")
    assert min(seen.values()) > 100


def near_int32(seed):
    """A layer of cuba_lif and a read-out whose largest bounds are 2**31 - 1, those of most others far below."""
    model = tiny_model(seed)
    while max(max(model.bounds(p)) for p in model.populations) <= INT32:
        last, model = model, replace(model, projections=tuple(replace(p, shift=p.shift + 1) for p in model.projections))
    hidden, out = last.populations
    bounds = last.bounds(hidden)
    v_th, bias = hidden.params["v_th"].copy(), out.params["bias"].copy()
    v_th[np.argmax(bounds)] += INT32 - max(bounds)
    at = int(np.argmax(last.bounds(out)))
    rest = INT32 * int(out.params["c"][at]) // 65536 - last.drive_bounds(out)[at] - 1
    bias[at] = rest
    hidden, out = (
        replace(p, params=p.params | {key: value}) for p, key, value in ((hidden, "v_th", v_th), (out, "bias", bias))
    )
    return replace(last, populations=(hidden, out)).check()


def near_int32_of_pairs(seed=1, n=24):
    """One layer of adlif that oscillates for long, and a read-out: weights from the input so large that the bound of
    each neuron is within 1 % of int32, or as near as its input allows."""
    rng = np.random.default_rng(seed)
    tables = {
        "c_mem": rng.integers(300, 3000, n),
        "c_ad": rng.integers(300, 3000, n),
        "c_pull": np.exp2(rng.uniform(3, 15, n)),
        "v_th": np.full(n, 2**20),
        "jump": rng.integers(0, 2**12, n),
        "bias": rng.integers(-(2**12), 2**12, n),
    }
    layer = tiny_model(seed, n=n)
    hidden = Population("hidden", "adlif", n, {name: a.astype(np.int32) for name, a in tables.items()})
    w = np.zeros((3, n), np.int64)
    for i, row in enumerate(zip(*(a.tolist() for a in hidden.params.values()), strict=True)):
        overflows = partial(lambda row, size: hidden.module.bound(127 * 2**12 * size, *row) > INT32, row)
        w[0, i] = 8 * (bisect.bisect(range(4096), False, key=overflows) - 1)
    w[1] = -w[0] // 3
    w[0] += w[1]
    projections = (Projection("in", INPUT, "hidden", CSR.from_dense(w), 9, 16), layer.projection("out"))
    return replace(layer, populations=(hidden, layer.readout), projections=projections).check()


def built(path, model, core="host"):
    return Net(library_of(path, files_of({"net": model}), core), model, "net")


@pytest.fixture(scope="module")
def of_pairs(tmp_path_factory):
    """of_pairs() -> the Net of near_int32_of_pairs(), compiled once."""
    model, path = near_int32_of_pairs(), tmp_path_factory.mktemp("pairs")
    lib = built(path, model).lib
    return lambda: Net(lib, model, "net")


def largest_accepted(net, word):
    """The largest value of a state word, the others 0, that load accepts."""
    net.call("init")
    return bisect.bisect(range(1, INT32 + 1), False, key=lambda value: not net.load(forged(net, {word: value})))


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_no_step_overflows_from_any_state_that_is_accepted(tmp_path, seed):
    """UBSan ends the test at an overflow. Before, i_syn could be as large as the largest v."""
    rng, model = np.random.default_rng(seed), near_int32(seed)
    net = built(tmp_path, model)
    most = np.array([largest_accepted(net, word) if of else 0 for word, of in enumerate(limits(model))])
    assert max(most) == INT32
    for trial in range(40):
        signs = [np.full(len(most), 1 - 2 * (trial % 2)), rng.choice([-1, 1], len(most))][trial >= 2]
        net.call("init")
        assert net.load(forged(net, dict(enumerate((signs * most).tolist()))))
        push = [np.full(3, 32767), np.full(3, -32768)][trial % 2] if trial < 20 else None
        for _ in range(60):
            net.step(np.array(rng.choice([-32768, 32767], 3) if push is None else push, np.int16))
        assert net.load(net.save())  # what is accepted leads to nothing else


@pytest.mark.parametrize("t", [1, 3, 10, 30, 100])
def test_no_step_overflows_from_any_pair_that_is_accepted(of_pairs, t):
    """UBSan again. For each neuron in turn, the corners that leave it most v after t steps, and the input that adds
    most. Each gets the largest drive that there may be."""
    net = of_pairs()
    model, hidden = net.model, net.model.populations[0]
    assert min(model.bounds(hidden)) > 0.97 * INT32
    tables = [hidden.params[name].tolist() for name in ("c_mem", "c_ad", "c_pull")]
    for c_mem, c_ad, c_pull in zip(*tables, strict=True):
        m = powers(c_mem, c_ad, c_pull, t + 1)
        signs = np.where((m @ [1, c_pull / 65536])[t - 1 :: -1, 0] >= 0, 1, -1)
        for side in (1, -1):
            state = {}
            for x, y, of in pairs(model):
                v, w = max(corners(of), key=lambda corner: side * m[t, 0] @ corner)
                state |= {x: v, y: w}
            net.call("init")
            assert net.load(forged(net, state))
            for sign in (*signs, 1):
                net.step(np.where(side * sign * np.array([1, -1, 1]) > 0, 32767, -32768).astype(np.int16))


@pytest.mark.parametrize(
    "model_of",
    [lambda: near_int32(4), lambda: near_int32_of_pairs(2), lambda: random_model(3), lambda: random_model(7)],
)
def test_every_state_of_a_run_at_the_limits_is_accepted(tmp_path, model_of):
    rng, model = np.random.default_rng(1), model_of()
    net = built(tmp_path, model)
    for t in range(600):
        extreme = np.full(model.n_in, (-32768, 32767)[t // 100 % 2])
        net.step((extreme if t < 400 else rng.choice([-32768, 32767], model.n_in)).astype(np.int16))
        assert net.load(net.save())


# --- other structures


def wide_model(bits):
    """Synapse indices of 16 bits, and weights of as many bits as are asked for."""
    model = tiny_model(n=300, density=0.03)
    w = model.projection("rec").w
    spread = replace(w, data=w.data * (LARGEST[bits] // 127)) if bits > 8 else w
    rec = replace(model.projection("rec"), w=spread, shift=0, bits=bits)
    return replace(model, projections=tuple(rec if p.name == "rec" else p for p in model.projections)).check()


OTHERS = {f"wide{bits}": partial(wide_model, bits) for bits in (8, 16)}
OTHERS |= {f"random{seed}": partial(random_model, seed) for seed in range(16)}


@pytest.fixture(scope="module")
def others(tmp_path_factory):
    models = {name: made() for name, made in OTHERS.items()}
    lib = library_of(tmp_path_factory.mktemp("others"), files_of(models))
    return {name: Net(lib, model, name) for name, model in models.items()}


@pytest.mark.parametrize("name", OTHERS)
def test_any_structure_runs_like_the_oracle(others, name):
    net = others[name]
    naive = Naive(net.model)
    for row in tiny_counts(net.model, 40):
        naive.step(row)
        assert net.step(row) == naive.h
    assert net.words() == naive.words()


@cache
def of_layout(kind):
    """The files of models whose synapses lie by this layout wherever it serves, also where another would be taken; and
    the (bits, targets modulo 4) that it serves."""
    forced, of, served = plugins.get(layout.PACKAGE, kind), layout.of, set()

    def chosen(model, p):
        if not forced.serves(model, p):
            return of(model, p)
        served.add((p.bits, p.w.shape[1] % 4))
        return forced

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout, "of", chosen)
        return files_of({f"n{seed}": random_model(seed) for seed in SEEDS}), served


@cache
def run_of(seed):
    """Counts for a random model, and the oracle's digest after each."""
    naive, counts, digests = Naive(random_model(seed)), tiny_counts(random_model(seed), 40), []
    for row in counts:
        naive.step(row)
        digests.append(naive.h)
    return counts, digests


SEEDS = (1, 2, 4, 6)  # of random models: all widths of weights, all remainders of targets


@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize("kind", plugins.names(layout.PACKAGE))
def test_every_layout_of_synapses_runs_like_the_oracle(tmp_path, kind, core):
    """With all bits that it serves and any number of targets."""
    files, served = of_layout(kind)
    lib = library_of(tmp_path, files, core)
    for seed in SEEDS:
        net, (counts, digests) = Net(lib, random_model(seed), f"n{seed}"), run_of(seed)
        assert [net.step(row) for row in counts] == digests, seed
    forced, rec, bits = plugins.get(layout.PACKAGE, kind), tiny_model().projection("rec"), {bits for bits, _ in served}
    assert bits >= {4, 16} & {one for one in LARGEST if forced.serves(tiny_model(), replace(rec, bits=one))}
    assert bits and {rest for _, rest in served} >= {0, 1, 2}


@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize("sign", [-1, 1])
def test_the_largest_sums_of_packed_weights_are_exact(tmp_path, core, sign):
    """All inputs and weights at their limits, and all of 300 neurons fire: where products and spikes share a word."""
    model = tiny_model(n=300, n_in=518)
    hidden, out = model.populations
    values = {"c_syn": 32768, "c_mem": 32768, "v_th": 1, "bias": 2**24}
    always = replace(hidden, params={name: np.full(300, value, np.int32) for name, value in values.items()})
    full = {p.name: np.full(p.w.shape, 127) * (-1) ** (np.arange(p.w.shape[1]) // 2) for p in model.projections}
    full["in"] = sign * full["in"]
    projections = tuple(
        replace(p, shift=0, w=CSR.from_dense(full[p.name])) if p.name != "rec" else p for p in model.projections
    )
    model = replace(model, populations=(always, out), projections=projections).check()
    assert {layout.of(model, model.projection(name)).__name__[-5:] for name in ("in", "out")} == {"dense"}
    net, naive = built(tmp_path, model, core), Naive(model)
    for count in (32767, -32768, 32767):
        row = np.full(518, count, np.int16)
        naive.step(row)
        assert net.step(row) == naive.h
    assert sum(word.bit_count() for word in naive.words()[600:610]) == 300
