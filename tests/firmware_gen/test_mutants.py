"""Mutants of C: which there are, that each is one change, and that the draw is seeded."""

import pytest

from lnp_edge import boards
from lnp_edge.firmware_gen import mutants
from lnp_edge.firmware_gen.generate import generate

SOURCE = """#include "a.h"  // i < 1
#define TWICE(x) (x) * 2
enum { MOST = 8 };
static uint32_t f(const uint8_t *p, uint32_t n)
{
    uint32_t sum = 0;  // - 1
    LNP_OPAQUE(p);
    for (uint32_t i = 0; i < n; i++) {
        sum += (uint16_t)(p[i] - 1u);
        clear(&sum, "a + b");
    }
    return sum == 0 ? 1u : -sum;
}
int16_t table[3] = {
    1, 2,
};
"""


def of(text):
    return {(m.line, m.after) for some in mutants.mutants("f.c", text) for m in some}


def test_the_changes_are_of_tokens_and_of_statements():
    found = of(SOURCE)
    for line, after in (
        (2, "#define TWICE(x) (x) + 2"),
        (2, "#define TWICE(x) (x) * 3"),
        (3, "enum { MOST = 7 };"),
        (6, "    uint8_t sum = 0;  // - 1"),
        (6, "    uint32_t sum = 1;  // - 1"),
        (8, "    for (uint8_t i = 0; i < n; i++) {"),
        (8, "    for (uint32_t i = 0; i <= n; i++) {"),
        (8, "    for (uint32_t i = 0; i < n; i--) {"),
        (9, "        sum += (uint8_t)(p[i] - 1u);"),
        (9, "        sum -= (uint16_t)(p[i] - 1u);"),
        (9, "        sum += (uint16_t)(p[i] + 1u);"),
        (9, "        sum += (uint16_t)(p[i] - 0u);"),
        (9, "        ;"),
        (9, '        clear(&sum, "a + b");\n        sum += (uint16_t)(p[i] - 1u);'),
        (10, "        ;"),
        (12, "    return sum != 0 ? 1u : -sum;"),
        (12, "    return sum == 0 ? 1u : +sum;"),
        (14, "int16_t table[2] = {"),
        (15, "    2, 2,"),
    ):
        assert (line, after) in found, (line, after)


def test_what_changes_no_result_is_left_as_it_is():
    """Comments, strings, hints, pointers' stars, a longer array, parameters, what a function returns, declarations."""
    found = of(SOURCE)
    assert not [m for m in found if m[0] in (1, 4, 7)]
    lines = SOURCE.split("\n")
    assert not [after for line, after in found if "// - 1" in lines[line - 1] and "// - 1" not in after]
    assert (14, "int16_t table[4] = {") not in found
    assert not [after for _, after in found if '"a - b"' in after]


def test_order_counts_only_where_one_needs_the_other():
    assert (1, "    b = a;\n    a = 1;") in of("    a = 1;\n    b = a;")
    assert (1, "    update(s);\n    project(s->drive);") in of("    project(s->drive);\n    update(s);")
    for text in ("    a = 1;\n    b = 2;", "    lnp_put_a(to, 1);\n    lnp_put_b(to, 2);", "    int a;\n    int b;"):
        assert not [m for m in of(text) if m[1] == "\n".join(reversed(text.split("\n")))]


@pytest.fixture(scope="module")
def files():
    from tiny import tiny_model

    found = generate(tiny_model(), boards.get("host"))
    return {name: text for name, text in found.items() if name.endswith((".c", ".h"))}


def test_a_mutant_changes_its_line_and_no_other(files):
    for mutant in mutants.drawn(files, 400, seed=1):
        before, after = files[mutant.file].split("\n"), mutant.of(files[mutant.file]).split("\n")
        differs = [k for k, (a, b) in enumerate(zip(before, after, strict=True), 1) if a != b]
        assert differs and set(differs) <= {mutant.line, mutant.line + 1}
        assert len(differs) == 1 + ("\n" in mutant.before)


def test_the_draw_is_seeded_and_without_repetition(files):
    one, again, other = (mutants.drawn(files, 300, seed) for seed in (1, 1, 2))
    assert one == again != other
    assert len(set(one)) == 300 and len({m.file for m in one}) > 8
    assert sum(m.file == "lnp_net_tables.c" for m in one) <= 40
    everything = mutants.drawn(files, 10**6, seed=1)
    assert len(everything) == len(set(everything)) > 2000
