"""adlif.reachable: it admits what is reached from rest, and from nothing that it admits can a step leave int32."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from loaded import accepts, corners, powers
from tiny import random_tables

from lnp_edge.neurons import adlif
from lnp_edge.spec import ops

INT32 = 2**31 - 1
PLAIN = {name: getattr(ops, name).py_func for name in ops.OPS}  # of Python integers, which cannot overflow
# Leaks (c_mem, c_ad, c_pull): oscillating for long, critical, without coupling, and of trained networks.
LEAKS = [(1000, 1000, 30000), (1000, 1000, 4000), (2000, 3000, 1), (2000, 3000, 111), (600, 3000, 600), (800, 60000, 3)]
LEAKS += [(8000, 5000, 1400), (30000, 2000, 65535), (32768, 32768, 32768), (650, 1300, 300)]


def largest(v, w, drives, tables):
    """The largest |result| of any operation of these steps."""
    found = [0]

    def keeping(op):
        def wrapped(*args):
            result = op(*args)
            found[0] = max(found[0], abs(result))
            return result

        return wrapped

    step = ops.bind(adlif.step, {name: keeping(op) for name, op in PLAIN.items()})
    for drive in drives:
        v, w, _ = step(v, w, drive, *tables)
    return found[0]


def attacked(limits, drive, tables, steps, rows=4):
    """The largest |result| of a step that an adversary gets: for the last of t steps, the corner that leaves most
    there, and drives each with the sign of what a pulse at its step is there. t up to `steps`."""
    m, starts, worst = powers(*tables[:3], steps + 1), corners(limits, rows), 0
    pulses = m @ [1, tables[2] / 65536]
    for variable in (0, 1):
        for t in sorted({*range(1, min(10, steps)), *np.geomspace(1, steps, 14).astype(int).tolist()}):
            v, w = max(starts, key=lambda start: m[t, variable] @ start)
            drives = [drive if pulses[t - 1 - k, variable] >= 0 else -drive for k in range(t)]
            worst = max(worst, largest(v, w, [*drives, drive], tables), largest(-v, -w, [-d for d in drives], tables))
    return worst


def largest_drive(rest):
    """The largest drive with which int32 suffices. rest : c_mem, c_ad, c_pull, v_th, jump, bias"""
    low, high = 0, 2**31
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if adlif.bound(middle, *rest) <= INT32 else (low, middle)
    return low


def steps_for(c_mem, c_ad):
    return min(300, 5 * 65536 // min(c_mem, c_ad))


@pytest.mark.parametrize("leaks", LEAKS)
@pytest.mark.parametrize("rest", [(1, 0, 0), (1000, 300, -50), (10**7, 10**6, -(10**6))])
def test_no_step_after_any_accepted_state_overflows_with_the_largest_drive_there_may_be(leaks, rest):
    tables = (*leaks, *rest)
    drive = largest_drive(tables)
    limits = adlif.reachable(drive, *tables)
    assert 2**31 * 0.97 < adlif.bound(drive, *tables) <= INT32
    assert INT32 * 0.5 < attacked(limits, drive, tables, steps_for(*leaks[:2])) <= INT32


@pytest.mark.parametrize("leaks", [LEAKS[1], LEAKS[-1]])
def test_limits_of_each_variable_alone_would_not_do(leaks):
    """Else the two others, and the attack, would be for nothing."""
    tables = (*leaks, 1000, 300, -50)
    drive = largest_drive(tables)
    limits = adlif.reachable(drive, *tables)
    assert attacked(limits, drive, tables, 100, rows=2) > 1.05 * INT32


@pytest.mark.parametrize("seed", range(30))
def test_no_step_of_random_neurons_overflows_after_a_load(seed):
    rng = np.random.default_rng(seed)
    tables = [int(values[0]) for values in random_tables("adlif", seed, 1, longest=6.0).values()]
    drive = largest_drive(tables)
    limits = adlif.reachable(drive, *tables)
    assert attacked(limits, drive, tables, steps_for(*tables[:2])) <= INT32
    for v, w in corners(limits):
        assert largest(v, w, rng.choice([-drive, drive], 100).tolist(), tables) <= INT32


LEAK = st.integers(1, 65535) | st.integers(500, 33000) | st.sampled_from([1, 2, 32768, 65535])


@settings(max_examples=300, deadline=None)
@given(LEAK, LEAK, LEAK, st.integers(0, 2**20), st.integers(1, 2**20), st.integers(-(2**12), 2**12), st.data())
def test_what_is_reached_from_rest_is_accepted(c_mem, c_ad, c_pull, drive, v_th, jump, data):
    """Drives of one sign, of the sign of a pulse's response, along which of the limits ever, and at random."""
    tables = c_mem, c_ad, c_pull, v_th, jump, data.draw(st.integers(-1000, 1000))
    limits = adlif.reachable(drive, *tables)
    _, _, k, _, _ = limits
    step, steps = ops.bind(adlif.step, PLAIN), 120
    pulses = powers(c_mem, c_ad, c_pull, steps) @ [1, c_pull / 65536]
    along = data.draw(st.sampled_from([(1, 0), (0, 1), (1, 2**k), (1, -(2**k))]))
    signs = np.where(pulses[::-1] @ along >= 0, 1, -1).tolist()
    if data.draw(st.booleans()):
        signs = np.random.default_rng(data.draw(st.integers(0, 2**32))).choice([-1, 1], steps).tolist()
    v = w = 0
    for sign in signs:
        v, w, _ = step(v, w, sign * drive, *tables)
        assert accepts(limits, v, w)


@pytest.mark.parametrize("leaks", LEAKS)
def test_what_pushes_comes_near_every_limit(leaks):
    """1 % of it, without resets: the limits are not loose."""
    drive, tables = 10**6, (*leaks, 2**40, 0, 0)
    limits = adlif.reachable(drive, *leaks, 1, 0, 0)
    most_v, most_w, k, total, apart = limits
    steps = 900
    pulses = powers(*leaks, steps) @ [1, leaks[2] / 65536]
    step = ops.bind(adlif.step, PLAIN)
    for along, most in (((1, 0), most_v), ((0, 1), most_w), ((1, 2**k), 4 * total), ((1, -(2**k)), 4 * apart)):
        v = w = 0
        for sign in np.where(pulses[::-1] @ along >= 0, 1, -1).tolist():
            v, w, _ = step(v, w, sign * drive, *tables)
        assert 0.99 * most - 30 < v * along[0] + w * along[1] <= most


@pytest.mark.parametrize("c_pull", [1, 30, 3000, 32768, 65535])
def test_a_state_that_decays_never_exceeds_what_is_said_of_it(c_pull):
    """From the corners of a box, in floats, and no more than 4 times too much. Beyond 1/2 there may be no bound."""
    for c_mem in (1, 60, 3000, 40000, 65535):
        for c_ad in (1, 60, 3000, 40000, 65535):
            m = powers(c_mem, c_ad, c_pull, 2000)
            for v, w in ((1.0, 0.0), (0.0, 1.0), (1.0, (c_pull / 65536) ** 0.5)):
                found = np.array(adlif._beyond(c_mem, c_ad, c_pull, v, w))
                reached = np.abs(m @ [[v, v], [w, -w]]).max((0, 2))
                assert np.isfinite(found).all() or c_pull > 32768
                assert (reached <= found * (1 + 1e-12)).all()  # 1e-12: the powers are rounded


def test_a_slow_neuron_keeps_the_bound_from_rest_where_int32_has_room():
    """And one that does not, at its limit, gives up no more than what its oscillation needs."""
    for leaks in LEAKS:
        tables = (*leaks, 1000, 300, -50)
        v, w, _ = adlif._largest(5000, *tables)
        assert adlif.bound(5000, *tables) == v + w + 5000 + 50 + 300 + 2
        drive = largest_drive(tables)
        v, w, _ = adlif._largest(drive, *tables)
        assert v + w + drive > 0.85 * INT32
