"""Frama-C's WP proves what a contract says of a function, for all arguments that it allows. docs/reliability.md.

The *.acsl beside this file have the contracts, and marks of the bodies. They are put into the text that is generated,
after the preprocessor. Nothing else is changed, but that what only GNU C has is out, and that spikes are visited by the
number of their neuron, as in test_proved.py. Each proof has a control: with one change of a function, a goal must fail.
"""

import os
import re
import subprocess
from functools import cache
from pathlib import Path

import pytest
from conftest import need
from test_proved import BY_NUMBER, SPIKES
from tiny import MODELS

from lnp_edge import boards
from lnp_edge.firmware_gen.generate import generate

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
CONTRACTS = sorted(HERE.glob("*.acsl"))
LEFT_OUT = re.compile(r"_Static_assert\(.*?\);|#include <.*?>\n", re.S)
TYPES = {"u": "uint", "i": "int"}
PROVERS = ("frama-c", "why3", "z3", "cvc4")


def plain_c(folder):
    """lnp_kernel.h and lnp_ops.h as one text without macros, for a core without products of 64 bits."""
    for name, text in generate(MODELS["layer"](), boards.get("host")).items():
        if name.endswith(".h"):
            (folder / name).write_text(SPIKES.sub(lambda _: BY_NUMBER, LEFT_OUT.sub("", text)))
    command = ["gcc", "-E", "-P", "-U__GNUC__", "-U__x86_64__", "-U__aarch64__", "lnp_kernel.h"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout


def closing(text, at):
    """Where the block that begins at the brace `at` ends."""
    depth = 0
    for brace in re.compile("[{}]").finditer(text, at):
        depth += 1 if brace[0] == "{" else -1
        if depth == 0:
            return brace.end()
    raise AssertionError("a brace is open")


def written(notes):
    return [f"/*@ {note} */\n" for note in notes.split("\n\n")]


def annotated(text, function, section):
    """text with the contract before the function, and each mark where its words stand next in the body."""
    contract, *marks = re.split(r"^-- (before|after) (.*)\n", section, flags=re.M)
    begin = re.search(rf"^static inline \w+ {function}\(", text, re.M).start()
    brace = text.index("{", begin)
    end, at, out = closing(text, brace), brace, [text[:begin], *written(contract), text[begin:brace]]
    for where, words, notes in zip(marks[::3], marks[1::3], marks[2::3], strict=True):
        found = text.index(words, at, end) + len(words)
        cut = found if where == "after" else found - len(words)
        out += [text[at:cut], "\n", *written(notes), text[cut:found]]
        at = found
    return "".join([*out, text[at:]])


def contracts(function):
    """What stands before the contracts of the file that has the function's, and its own: with the types in its name."""
    types = re.findall(r"_([ui])(\d+)", function)
    if function.startswith("add_nibbles"):  # four weights are a uint16_t
        function, types = "add_blocks_T_W", [*types, ("u", "16")]
    name = re.sub(r"_i\d+$", "_W", re.sub(r"_u\d+", "_T", function))
    for path in CONTRACTS:
        head, *named = re.split(r"^== (.*)\n", path.read_text(), flags=re.M)
        if name in named[::2]:
            text = named[named.index(name) + 1]
            for word, (letter, bits) in zip("TW"[-len(types) :], types, strict=False):
                text = re.sub(rf"\b{word}\b", TYPES[letter] + bits + "_t", text)
            return head, text
    raise KeyError(function)


@cache
def need_provers():
    need(*PROVERS, everywhere=False)
    asked = subprocess.run(["frama-c", "-wp-help"], capture_output=True, check=False)
    asked.returncode == 0 or pytest.skip("this Frama-C has no WP, as Ubuntu 24.04's")


def proved(folder, functions, *selected, old="", new="", seconds=60):
    """How many goals WP proves, and how many there are.

    functions : that have their contracts; what stands before them is that of the first one's file
    selected : words that say which goals; without them, those of the functions
    old, new : what a control replaces in the first function
    """
    need_provers()
    text = plain_c(folder)
    place = text.index(f" {functions[0]}(")
    assert old in text[place : closing(text, text.index("{", place))]
    text = text[:place] + text[place:].replace(old, new, 1)
    for function in functions:
        text = annotated(text, function, contracts(function)[1])
    head = contracts(functions[0])[0]
    (folder / "prove.c").write_text("\n".join(["#include <stdbool.h>\n#include <stdint.h>", head, text]))
    environment = os.environ | {"PWD": str(folder), "WHY3CONFIG": str(folder / "why3.conf")}
    subprocess.run(["why3", "config", "detect"], env=environment, capture_output=True, check=True)
    selected = selected or ("-wp-fct", ",".join(functions))
    words = ["-wp", "-wp-rte", "-wp-prover", "z3,cvc4", "-wp-par", "2", "-wp-timeout", str(seconds), *selected]
    command = ["frama-c", *words, "-machdep", "gcc_x86_64", "prove.c"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    count = re.search(r"Proved goals: +(\d+) / (\d+)", done.stdout)
    assert done.returncode == 0 and count, (done.stdout + done.stderr)[-2000:]
    return int(count[1]), int(count[2])


# Of each axiom on bits what z3 must find no example of. y has 32 bits; u and s are its values without and with a sign,
# in 64 bits, where nothing is cut off; k is any.
BITS = {
    "low_16": "(distinct (bvand u 65535) (bvsub s (bvmul (bvashr s 16) 65536)))",
    "floor_16": "(bvuge (bvsub s (bvmul (bvashr s 16) 65536)) 65536)",
    "floor_u16": "(bvuge (bvsub u (bvmul (bvlshr u 16) 65536)) 65536)",
    "floor_k": "(and (bvule 1 k) (bvule k 15) (bvuge (bvsub s (bvmul (bvashr s k) (bvshl 1 k))) (bvshl 1 k)))",
    "nibble_k": """(and (bvule u 65535) (bvule k 3) (let ((n (bvurem (bvlshr u (bvmul 4 k)) 16))
        (of_32 (bvand (bvshl u (bvsub 28 (bvmul 4 k))) 4294967295)))
        (distinct (bvashr (bvsub (bvxor of_32 2147483648) 2147483648) 28) (ite (bvult n 8) n (bvsub n 16)))))""",
    "bit_0": "(distinct (distinct (bvand u 1) 0) (= (bvurem u 2) 1))",
    "bit_1": "(distinct (distinct (bvand u 2) 0) (bvuge (bvurem u 4) 2))",
    "low_8": """(let ((low (bvashr (bvshl u 56) 56))) (or (bvuge (bvadd low 128) 256)
        (distinct (bvand (bvsub (bvashr (bvshl u 48) 48) low) 255) 0)))""",
    "shifted": "(and (bvule k 7) (distinct (bvashr (bvmul s 256) (bvsub 8 k)) (bvmul s (bvshl 1 k))))",
    "power_16": "(and (bvule k 16) (or (= (bvshl 1 k) 0) (bvugt (bvshl 1 k) 65536)))",
    "power_8": "(and (bvule 8 k) (bvule k 16) (distinct (bvshl 1 k) (bvmul 256 (bvshl 1 (bvsub k 8)))))",
    "power": """(and (bvule k 14) (or (= (bvshl 1 k) 0) (bvugt (bvshl 1 k) 16384)
        (distinct (bvshl 1 (bvadd k 1)) (bvmul 2 (bvshl 1 k)))))""",
}


def example(found):
    """Whether z3 finds one."""
    need("z3", everywhere=False)
    wide = re.sub(r"(?<= )\d+", r"(_ bv\g<0> 64)", found)
    text = f"""(declare-const y (_ BitVec 32)) (declare-const k (_ BitVec 64))
        (define-fun u () (_ BitVec 64) ((_ zero_extend 32) y)) (define-fun s () (_ BitVec 64) ((_ sign_extend 32) y))
        (assert {wide}) (check-sat)"""
    return subprocess.run(["z3", "-in"], input=text, capture_output=True, text=True, check=False).stdout.strip()


def test_what_the_contracts_take_for_granted_of_bits_is_so():
    text = "".join(path.read_text() for path in CONTRACTS)
    assert sorted(re.findall(r"axiom (\w+):", text)) == sorted(BITS)
    assert {name: example(found) for name, found in BITS.items()} == dict.fromkeys(BITS, "unsat")
    assert example(BITS["floor_16"].replace(" 16)", " 17)")) == "sat"


# How lnp_kernel.h visits spikes: its words, with the table and the numbers of De Bruijn.
TABLE = r"""index\[32\] = \{([\d,\s]+)\};.*?
 +return lnp_bit_index\(\)\[\(\(word & \(~word \+ 1u\)\) \* (\w+)u\) >> (\d+)\];"""
LOOP = r"""left = \(z\)\[word\], j; left != 0 && \(\(j\) = 32u \* word \+ lowest_bit\(left\), 1\); \\
 +left &= left - 1u\)"""


def another_bit(table, factor, shift):
    """What z3 must find no example of: a word u that is not 0, of which the table does not give the lowest bit."""
    entry = "0"
    for place, bit in enumerate(table):
        entry = f"(ite (= place {place}) {bit} {entry})"
    return f"""(let ((lowest (bvand u (bvadd (bvnot u) 1))))
        (let ((place (bvlshr (bvand (bvmul lowest {factor}) 4294967295) {shift}))) (let ((bit {entry}))
        (and (distinct u 0) (or (bvuge place 32) (bvuge bit 32) (distinct (bvand (bvlshr u bit) 1) 1)
        (distinct (bvand u (bvsub (bvshl 1 bit) 1)) 0)
        (distinct (bvand u (bvsub u 1)) (bvsub u (bvshl 1 bit))))))))"""


def test_the_lowest_bit_that_is_left_visits_each_spike_in_the_order_of_numbers():
    """Of each word that is not 0 it is a bit that is 1, all below it are 0, and `left & (left - 1)` is the rest."""
    text = generate(MODELS["layer"](), boards.get("host"))["lnp_kernel.h"]
    assert len(re.findall(LOOP, text)) == 1
    entries, factor, shift = re.search(TABLE, text, re.S).groups()
    table = [int(entry) for entry in re.findall(r"\d+", entries)]
    assert example(another_bit(table, int(factor, 16), shift)) == "unsat"
    assert example(another_bit([*table[:30], table[31], table[30]], int(factor, 16), shift)) == "sat"


OPERATIONS = ["lnp_leak", "lnp_leak_half", "lnp_shift_round", "lnp_clamp", "lnp_add", "lnp_sub", "lnp_mul", "nibble_at"]


def test_operations_do_what_the_specification_says(tmp_path):
    """For all arguments. lnp_leak without a product of 64 bits, as a Cortex-M0 has it."""
    found, goals = proved(tmp_path, OPERATIONS)
    assert found == goals >= 40
    assert proved(tmp_path, OPERATIONS, "-wp-prop", "@lemma") == (1, 1)


@pytest.mark.parametrize(
    ("function", "old", "new"),
    [
        ("lnp_leak", "(of_high < 0)", "0"),
        ("lnp_leak", "0xFFFFu", "0x7FFFu"),
        ("lnp_shift_round", "(k - 1)", "k"),
        ("lnp_clamp", "x < low", "x <= high"),
        ("nibble_at", ">> 28", ">> 27"),
    ],
)
def test_an_operation_that_is_changed_is_not_proved(tmp_path, function, old, new):
    found, goals = proved(tmp_path, [function], old=old, new=new, seconds=5)
    assert found < goals


# Of a row with a rest: cvc4 alone needs half the time, if WP leaves the goals as they are.
AS_IT_IS = ("-wp-prover", "cvc4", "-wp-no-pruning", "-wp-no-filter", "-wp-no-parasite", "-wp-no-core")
# Of blocks: a goal for each way to get there.
EACH_WAY = ("-wp-prover", "cvc4", "-wp-split")
PAIRS = "add_pairs add_four upper lower_byte"


@pytest.mark.parametrize(
    ("functions", "least", "options"),
    [
        ("add_row_u8_i8", 100, AS_IT_IS),
        ("add_gaps", 30, ()),
        ("add_blocks_u8_i8", 150, EACH_WAY),
        ("add_nibbles_u8 nibble_at", 180, EACH_WAY),
        ("add_dense_i8 add_four", 100, AS_IT_IS),
        ("add_four", 60, ()),
        ("upper", 20, ()),
        # Goals of the controls below: what takes a minute in all was proved once.
        (PAIRS, 1, (*AS_IT_IS, "-wp-prop", "now_c")),
        ("add_spikes_to_i8", 2, (*AS_IT_IS, "-wp-prop", "row_0,all_4")),
        ("add_spikes_i8 add_spikes_to_i8", 7, (*AS_IT_IS, "-wp-prop", "w_is,sums_is,done,@ensures")),
    ],
)
def test_a_kernel_adds_each_weight_to_the_sum_of_its_target(tmp_path, functions, least, options):
    """For any number of synapses and sums. The same functions of other types are the same text."""
    kernel, *called = functions.split()
    found, goals = proved(tmp_path, [kernel, *called], "-wp-fct", kernel, *options)
    assert found == goals >= least


def test_the_lemmas_of_halfwords_with_two_weights_are_so(tmp_path):
    assert proved(tmp_path, PAIRS.split(), "-wp-prop", "@lemma") == (3, 3)


@pytest.mark.parametrize(("bound", "fits"), [("0x7FFFFFFF", 1), ("0x80000000", 0)])
def test_a_row_within_the_bound_of_each_sum_fits(tmp_path, monkeypatch, bound, fits):
    """What add_row_u8_i8 requires of partial sums follows from the absolute values of all weights of a target."""
    path = tmp_path / "rows.acsl"
    path.write_text((HERE / "rows.acsl").read_text().replace("count, i) <= 0x7FFFFFFF", f"count, i) <= {bound}"))
    monkeypatch.setattr(f"{__name__}.CONTRACTS", [path])
    only = ("-wp-fct", "row_bound", "-wp-prover", "cvc4")
    found, goals = proved(tmp_path, ["add_row_u8_i8"], *only, seconds=10)
    assert found == goals - 1 + fits and goals >= 15


@pytest.mark.parametrize(
    ("functions", "old", "new", "goal"),
    [
        ("add_row_u8_i8", "[*target++]", "[*target++ + 1]", "odd"),
        ("add_row_u8_i8", "+=", "=", "odd"),
        ("add_row_u8_i8", "count & 2u", "count & 1u", "rest"),
        ("add_row_u8_i8", "four != 0", "four > 1", "@ensures"),
        ("add_gaps", "sum +=", "sum++; sum +=", "at_it"),
        ("add_gaps", "both >> 4", "both >> 5", "added"),
        ("add_blocks_u8_i8", "sum[2] +=", "sum[1] +=", "lane_2"),
        ("add_blocks_u8_i8", "targets - i >= 4u", "targets - i >= 3u", "room"),
        ("add_blocks_u8_i8", "k < targets", "k + 1u < targets", "beyond_1"),
        ("add_nibbles_u8 nibble_at", "w += 1", "w += 2", "at_w"),
        ("add_dense_i8 add_four", "added[2] += *w++", "added[2] -= *w++", "now_2"),
        ("add_dense_i8 add_four", "k < inputs", "k + 1u < inputs", "next_block"),
        ("add_four", "sums[k] +=", "sums[k] =", "done"),
        ("upper", "(8u - shift)", "(7u - shift)", "@ensures"),
        (PAIRS, "lower_byte(w + 3)", "lower_byte(w + 2)", "now_c"),
        ("add_spikes_to_i8", "sum[i] += first[i]", "sum[i] = first[i]", "row_0"),
        ("add_spikes_to_i8", "targets > 4u", "targets > 5u", "all_4"),
        ("add_spikes_i8 add_spikes_to_i8", "8u * n_pre", "4u * n_pre", "w_is"),
        ("add_spikes_i8 add_spikes_to_i8", "targets != 0", "targets > 1u", "@ensures"),
    ],
)
def test_a_kernel_that_is_changed_is_not_proved(tmp_path, functions, old, new, goal):
    """Without the change each of these goals takes less than a second."""
    kernel, *called = functions.split()
    only = ("-wp-fct", kernel, "-wp-prop", goal)
    found, goals = proved(tmp_path, [kernel, *called], *only, old=old, new=new, seconds=2)
    assert found == goals - 1
