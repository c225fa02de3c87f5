"""Code derived from a neuron's step: forms that the package's own neurons do not have."""

import pytest
import torch
from test_train_layer import assert_fused_equals_generic, case, random_network

from lnp_edge import neurons
from lnp_edge.training.kernels.derive import derived
from lnp_edge.training.layer import generic
from lnp_edge.training.run import Layers, runner

HEAD = '''"""{name}"""

from dataclasses import replace

from lnp_edge.neurons import adlif, cuba_lif
from lnp_edge.spec.ops import add, clamp, gate, greater, leak, mul, sub
from lnp_edge.spec.parameters import LEAK, SCALED, THRESHOLD

drive_for = cuba_lif.drive_for
PARAMETERS = cuba_lif.PARAMETERS | {{"tau_ad": adlif.PARAMETERS["tau_ad"], "rise": adlif.PARAMETERS["jump"]}}
PARAMETERS |= {{"v_th": replace(PARAMETERS["v_th"], trains={trains})}}
TABLES = {{
    "c_syn": LEAK("tau_syn"), "c_mem": LEAK("tau_mem"), "c_ad": LEAK("tau_ad"), "v_th": THRESHOLD("v_th"),
    "rise": SCALED("rise"), "bias": SCALED("bias"),
}}
STATE = {state}


def bound(drive, {tables}):
    return 2**30


def step({arguments}):
{step}
'''
TABLES = "c_syn, c_mem, c_ad, v_th, rise, bias"

ALIF = """
i_syn = leak(i_syn, c_syn)
i_syn = add(drive, i_syn)
i_syn = add(bias, i_syn)
v = leak(v, c_mem)
v = add(i_syn, v)
threshold = add(v_th, a)
z = greater(v, threshold)
kick = gate(z, threshold)
v = sub(v, kick)
a = leak(a, c_ad)
risen = mul(z, rise)
a = add(a, risen)
return i_syn, v, a, z
"""
# The drive is added to no leak, the potential is kept before and after a product, a leak is read twice.
ODD = """
i_syn = leak(i_syn, c_syn)
slow = leak(a, c_ad)
i_syn = sub(i_syn, slow)
i_syn = add(i_syn, drive)
i_syn = add(i_syn, bias)
v = leak(v, c_mem)
v = add(v, i_syn)
raised = mul(v, c_mem)
z = greater(raised, v_th)
kick = gate(z, v)
v = sub(raised, kick)
part = mul(a, rise)
a = add(slow, part)
a = sub(a, v)
jump = mul(z, v_th)
a = add(a, jump)
return i_syn, v, a, z
"""
AGAINST = ALIF.replace("v = add(i_syn, v)", "v = sub(v, i_syn)")  # the state that leaks is taken away
TWICE = ALIF.replace("v = add(i_syn, v)", "v = add(i_syn, v)\nv = add(v, drive)")
LATE_BIAS = ALIF.replace("i_syn = add(bias, i_syn)\n", "").replace("threshold =", "v = add(v, bias)\nthreshold =")
CLAMPED = ALIF.replace("threshold =", "v = clamp(v, -5, 5)\nthreshold =")


@pytest.fixture
def neuron(tmp_path, monkeypatch):
    """neuron(name, step): a neuron's file with this step, found while the test runs."""
    monkeypatch.setattr(neurons, "__path__", [*neurons.__path__, str(tmp_path)])

    def write(name, step, state='("i_syn", "v", "a")', trains=True):
        lines = "\n".join(f"    {line}" for line in step.strip().splitlines())
        arguments = f"i_syn, v, a, drive, {TABLES}"
        text = HEAD.format(name=name, state=state, tables=TABLES, arguments=arguments, step=lines, trains=trains)
        (tmp_path / f"{name}.py").write_text(text)
        return name

    return write


@pytest.mark.parametrize(
    ("form", "step", "trains"),
    [("alif", ALIF, True), ("alif", ALIF, False), ("odd", ODD, True), ("against", AGAINST, True)],
)
@pytest.mark.slow
def test_gradients_of_any_derived_neuron_equal_the_plain_loop_s(form, step, trains, neuron, monkeypatch):
    name = neuron(f"{form}_{trains}".lower(), step, trains=trains)
    assert ("v_th" in derived(name).trained) == trains
    network = random_network([40], 3, 4, 1.0 if form == "odd" else 0.2, seed=5, neurons=(name,), skip=True)
    assert_fused_equals_generic(network, 33, 7)
    monkeypatch.setattr("lnp_edge.training.kernels.fused.KEPT", 0)
    assert_fused_equals_generic(network, 33, 7)


@pytest.mark.slow
def test_neurons_of_other_files_are_derived_too(more_neurons):
    for name in more_neurons:
        assert_fused_equals_generic(random_network([40], 3, 4, 0.2, seed=5, neurons=(name,)), 33, 20)


@pytest.mark.parametrize(("form", "step"), [("twice", TWICE), ("late_bias", LATE_BIAS), ("clamped", CLAMPED)])
def test_a_step_of_another_form_trains_by_the_plain_loop(form, step, neuron):
    name = neuron(form, step)
    assert derived(name) is None
    network = random_network([12], 3, 4, 0.5, 5, neurons=(name,))
    p, x, _ = case(network, 3, 9, "every")
    run = runner(network)
    assert not isinstance(run, Layers)
    assert torch.equal(run(p, x), generic(network, p, x))
