"""Tangents of a neuron's step against finite differences, and each operation against what it says."""

import numpy as np
import pytest
from nets import SPIKING, tiny_network

from lnp_edge.dynamics import tangent
from lnp_edge.dynamics.tangent import TANGENT
from lnp_edge.spec.floats import PLAIN
from lnp_edge.spec.ops import OPS, bind


def smooth(a, b):
    """ds/du = 1 / (1 + 10 |u|)**2"""
    u = a / b - 1
    return u / (1 + 10 * np.abs(u))


def test_every_operation_has_a_tangent():
    assert set(TANGENT) == set(OPS) == set(PLAIN)


CASES = {
    "add": (1.5, -2.0),
    "sub": (1.5, -2.0),
    "mul": (1.5, -2.0),
    "leak": (1.5, 0.7),
    "greater": (0.9, 1.2),
    "clamp": (0.3, -1.0, 1.0),
}


@pytest.mark.parametrize(("op", "at"), [*CASES.items(), ("clamp", (-3.0, -1.0, 1.0)), ("clamp", (3.0, -1.0, 1.0)),
                                        ("greater", (-1.4, 1.2)), ("greater", (2.4, 0.5))])  # fmt: skip
def test_an_operation_has_the_derivative_of_each_operand(op, at):
    meaning = smooth if op == "greater" else PLAIN[op]
    for k in range(len(at)):
        up, down = ([a + sign * 1e-6 * (j == k) for j, a in enumerate(at)] for sign in (1, -1))
        value, along = TANGENT[op](*((a, float(j == k)) for j, a in enumerate(at)))
        assert value == PLAIN[op](*at)
        assert along == pytest.approx((meaning(*up) - meaning(*down)) / 2e-6, abs=1e-8)


def test_a_gate_lets_the_tangent_of_its_value_pass_and_not_that_of_the_spike():
    assert TANGENT["gate"]((1.0, 5.0), (2.0, 3.0)) == (2.0, 3.0)
    assert TANGENT["gate"]((0.0, 5.0), (2.0, 3.0)) == (0.0, 0.0)
    assert TANGENT["mul"]((1.0, 5.0), (2.0, 3.0)) == (2.0, 5.0 * 2.0 + 3.0)


def test_constants_have_no_tangent():
    assert TANGENT["shift_round"]((8.0, 4.0), 2) == (2.0, 1.0)
    assert TANGENT["clamp"]((5.0, 1.0), -3, 3) == (3.0, 0.0)
    assert TANGENT["add"](1, (2.0, 7.0)) == (3.0, 7.0)


@pytest.mark.parametrize("neuron", SPIKING)
def test_the_tangents_of_a_neuron_are_its_finite_differences(neuron):
    """Of a step whose `greater` is smooth, with the resets of the step as it is; states on both sides of v_th."""
    net = tiny_network(n=200, neuron=neuron)
    (p,), rng = net.populations, np.random.default_rng(4)
    size, constants = len(p.module.STATE), p.constants(net.dt)
    state, drive = rng.normal(0.3, 0.6, (size, p.n)), rng.normal(0.3, 0.6, p.n)
    fired = bind(p.module.step, PLAIN)(*state, drive, *constants)[-1]
    assert 0.1 < fired.mean() < 0.9
    detached = PLAIN | {"greater": smooth, "gate": lambda z, x: fired * x}

    def moved(by):
        new = bind(p.module.step, detached)(*(state + by[:size, None]), drive + by[size], *constants)
        return np.array(new)

    steps = 1e-6 * np.eye(size + 1)
    expected = np.stack([(moved(d) - moved(-d)) / 2e-6 for d in steps], axis=-1)  # [S + 1, n, S + 1]
    q = np.repeat(np.eye(size + 1)[:size, None], p.n, axis=1)[::-1].copy()
    from_spikes = np.repeat(np.eye(size + 1)[size:], p.n, axis=0)
    dz = np.empty((p.n, size + 1))
    tangent.kernel(neuron)(state, drive, np.stack(constants), q, from_spikes, dz)
    np.testing.assert_allclose(q[::-1], expected[:size], atol=1e-7)
    np.testing.assert_allclose(dz, expected[size], atol=1e-7)
    assert (np.abs(dz).max(0) > 1e-3).all()


@pytest.mark.parametrize("neuron", SPIKING)
def test_the_compiled_tangents_are_those_of_the_table(neuron):
    net = tiny_network(n=50, neuron=neuron)
    (p,), rng = net.populations, np.random.default_rng(4)
    size, constants = len(p.module.STATE), p.constants(net.dt)
    state, drive, q = rng.normal(size=(size, 50)), rng.normal(size=50), rng.normal(size=(size, 50, 7))
    from_spikes, dz = rng.normal(size=(50, 7)), np.empty((50, 7))
    duals = [(a[:, None], along) for a, along in zip(state, q[::-1], strict=True)]
    fixed = [c[:, None] for c in constants]
    *after, z = bind(p.module.step, TANGENT)(*duals, (drive[:, None], from_spikes), *fixed)
    expected = [along for _, along in after]
    tangent.kernel(neuron)(state, drive, np.stack(constants), q, from_spikes, dz)
    np.testing.assert_allclose(q[::-1], expected, rtol=1e-12)  # the compiler may join a product and a sum
    np.testing.assert_allclose(dz, z[1], rtol=1e-12)
