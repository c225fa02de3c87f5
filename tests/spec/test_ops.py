"""The operations on plain integers, against their definitions; test_c_model.py has those in C."""

import pytest
from naive import leak as naive_leak

from lnp_edge.spec import ops

EDGES = sorted({s * (2**k + d) for k in (0, 1, 7, 15, 16, 17, 30) for d in (-1, 0, 1) for s in (-1, 1)} | {0})
INT32 = [*EDGES, 2**31 - 1, -(2**31) + 1]
LEAKS = [1, 2, 3, 255, 256, 4000, 32767, 32768, 50000, 65534, 65535]


@pytest.fixture(params=["compiled", "python"])
def op(request):
    return lambda name: getattr(ops, name) if request.param == "compiled" else getattr(ops, name).py_func


def test_leak_is_its_definition_and_always_moves_towards_zero(op):
    for x in INT32:
        for c in LEAKS:
            after = op("leak")(x, c)
            assert after == naive_leak(x, c)
            assert abs(after) < abs(x) or x == after == 0
            assert after * x >= 0


def test_leak_of_known_values(op):
    known = [
        (0, 1, 0),
        (1, 1, 0),
        (-1, 1, 0),
        (65536, 1, 65535),
        (-65536, 1, -65534),
        (100, 32768, 50),
        (-100, 32768, -49),
    ]
    assert [(x, c, op("leak")(x, c)) for x, c, _ in known] == known


def test_shift_round_is_floor_of_the_half_up_quotient(op):
    for x in (x for x in INT32 if abs(x) <= 2**30):
        for k in range(1, 16):
            assert op("shift_round")(x, k) == (x + 2 ** (k - 1)) // 2**k


def test_the_other_operations_are_their_definitions(op):
    for a in INT32:
        for b in INT32:
            assert op("greater")(a, b) == int(a > b)
            assert op("add")(a, b) == a + b
            assert op("sub")(a, b) == a - b
            assert op("mul")(a, b) == a * b
            low, high = min(a, b), max(a, b)
            assert all(op("clamp")(x, low, high) == min(max(x, low), high) for x in (low - 1, low, 0, high, high + 1))
        assert (op("gate")(1, a), op("gate")(0, a)) == (a, 0)
