"""Frama-C's WP proves what a contract says of a function, for all arguments that it allows. docs/reliability.md.

contracts.acsl has the contracts, and marks of the bodies. They are put into the text that is generated, after the
preprocessor. Nothing else is changed, but that what only GNU C has is out. Each proof has a control: with one change
of a function, a goal must fail.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from tiny import MODELS

from lnp_edge import boards
from lnp_edge.firmware_gen.generate import generate

pytestmark = pytest.mark.slow

CONTRACTS = Path(__file__).with_name("contracts.acsl")
LEFT_OUT = re.compile(r"_Static_assert\(.*?\);|#include <.*?>\n", re.S)
PROVERS = ("frama-c", "why3", "z3", "cvc4")


def plain_c(folder):
    """lnp_ops.h as one text without macros, for a core without products of 64 bits."""
    for name, text in generate(MODELS["layer"](), boards.get("host")).items():
        if name.endswith(".h"):
            (folder / name).write_text(LEFT_OUT.sub("", text))
    command = ["gcc", "-E", "-P", "-U__GNUC__", "-U__x86_64__", "-U__aarch64__", "lnp_ops.h"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout


def closing(text, at):
    """Where the block that begins at the brace `at` ends."""
    depth = 0
    for brace in re.compile("[{}]").finditer(text, at):
        depth += 1 if brace[0] == "{" else -1
        if depth == 0:
            return brace.end()
    raise AssertionError("a brace is open")


def annotated(text, function, section):
    """text with the contract before the function, and each mark where its words stand next in the body."""
    contract, *marks = re.split(r"^-- (before|after) (.*)\n", section, flags=re.M)
    begin = re.search(rf"^static inline \w+ {function}\(", text, re.M).start()
    brace = text.index("{", begin)
    end, at, out = closing(text, brace), brace, [text[:begin], f"/*@ {contract} */\n", text[begin:brace]]
    for where, words, notes in zip(marks[::3], marks[1::3], marks[2::3], strict=True):
        found = text.index(words, at, end) + len(words)
        cut = found if where == "after" else found - len(words)
        out += [text[at:cut], "\n", *(f"/*@ {note} */\n" for note in notes.split("\n\n")), text[cut:found]]
        at = found
    return "".join([*out, text[at:]])


def proved(folder, functions, *selected, old="", new="", seconds=60):
    """How many goals WP proves, and how many there are.

    functions : that have their contracts
    selected : words that say which goals; without them, those of the functions
    old, new : what a control replaces in the first function
    """
    for program in PROVERS:
        shutil.which(program) or pytest.skip(f"{program} is not installed: apt-get install frama-c-base why3 z3 cvc4")
    head, *named = re.split(r"^== (.*)\n", CONTRACTS.read_text(), flags=re.M)
    contracts, text = dict(zip(named[::2], named[1::2], strict=True)), plain_c(folder)
    place = text.index(f" {functions[0]}(")
    assert old in text[place : closing(text, text.index("{", place))]
    text = text[:place] + text[place:].replace(old, new, 1)
    for function in functions:
        text = annotated(text, function, contracts[function])
    (folder / "prove.c").write_text("\n".join(["#include <stdint.h>", head, text]))
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
    "power": """(and (bvule k 14) (or (= (bvshl 1 k) 0) (bvugt (bvshl 1 k) 16384)
        (distinct (bvshl 1 (bvadd k 1)) (bvmul 2 (bvshl 1 k)))))""",
}


def example(found):
    """Whether z3 finds one."""
    program = shutil.which("z3") or pytest.skip("z3 is not installed: apt-get install z3")
    wide = re.sub(r"(?<= )\d+", r"(_ bv\g<0> 64)", found)
    text = f"""(declare-const y (_ BitVec 32)) (declare-const k (_ BitVec 64))
        (define-fun u () (_ BitVec 64) ((_ zero_extend 32) y)) (define-fun s () (_ BitVec 64) ((_ sign_extend 32) y))
        (assert {wide}) (check-sat)"""
    return subprocess.run([program, "-in"], input=text, capture_output=True, text=True, check=False).stdout.strip()


def test_what_the_contracts_take_for_granted_of_bits_is_so():
    assert sorted(re.findall(r"axiom (\w+):", CONTRACTS.read_text())) == sorted(BITS)
    assert {name: example(found) for name, found in BITS.items()} == dict.fromkeys(BITS, "unsat")
    assert example(BITS["floor_16"].replace(" 16)", " 17)")) == "sat"


OPERATIONS = ["lnp_leak", "lnp_leak_half", "lnp_shift_round", "lnp_clamp", "lnp_add", "lnp_sub", "lnp_mul"]


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
    ],
)
def test_an_operation_that_is_changed_is_not_proved(tmp_path, function, old, new):
    found, goals = proved(tmp_path, [function], old=old, new=new, seconds=5)
    assert found < goals
