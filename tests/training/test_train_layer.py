"""Training's layers: kernels against the plain loop, the plain loop against finite differences."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from nets import FUSED, SPIKING
from scipy import sparse

from lnp_edge import cli
from lnp_edge.config import LayerSettings, NetworkSettings
from lnp_edge.network import Network, Population
from lnp_edge.network.draw import drawn
from lnp_edge.spec.ops import OPS
from lnp_edge.training import bench, bench_peers, layer
from lnp_edge.training.kernels.derive import derived
from lnp_edge.training.kernels.fused import DENSE_FROM, bytes_a_step
from lnp_edge.training.layer import Greater, generic
from lnp_edge.training.loop import exact
from lnp_edge.training.run import FusedLayer, Layers, runner


def population(rng, name, n, neuron="cuba_lif", **ends):
    """Neurons that fire and depend on all of their parameters, and do not multiply gradients in time."""
    made, params = Population(name, neuron, {}, **ends), {}
    for key, meaning in made.module.PARAMETERS.items():
        if meaning.is_time:
            params[key] = -1 / np.log(rng.uniform(0.5, 0.8, n))
        elif key == "v_th":
            params[key] = rng.uniform(0.8, 1.2, n)
        else:
            size = min(0.3, meaning.high) * np.ones(n)
            params[key] = size * (rng.uniform(0.1, 0.7, n) if meaning.low >= 0 else rng.standard_normal(n) / 3)
    return replace(made, params=params)


def random_network(sizes, c, o, density, seed, joined=None, skip=False, neurons=("cuba_lif",), ends=({},)):
    """Populations of these sizes. joined : pairs of populations with synapses; None: each with itself and the next

    Where gradients grow, so do their rounding errors: those of v through the slope of the surrogate first.
    """
    rng = np.random.default_rng(seed)
    parts = [population(rng, f"p{k}", n, neurons[k % len(neurons)], **ends[k % len(ends)]) for k, n in enumerate(sizes)]
    at = np.cumsum([0, *sizes])
    n, draw = int(at[-1]), rng.standard_normal
    if joined is None:
        joined = [(k, k) for k in range(len(sizes))] + [(k, k + 1) for k in range(len(sizes) - 1)]
    w_rec = np.zeros((n, n))
    for a, b in joined:
        w = draw((sizes[a], sizes[b])) * (rng.random((sizes[a], sizes[b])) < density)
        w_rec[at[a] : at[a + 1], at[b] : at[b + 1]] = w * (0.2 if a == b else 1.0) / np.sqrt(max(1, density * sizes[a]))
    hears = np.concatenate([np.full(p.n, p.hears) for p in parts])
    feeds = np.concatenate([np.full(p.n, p.feeds) for p in parts])
    return Network(
        dt=1.0, populations=tuple(parts), sign=np.ones(n, np.int8), w_in=draw((c, n)) * 0.5 / np.sqrt(c) * hears,
        w_rec=sparse.csr_array(w_rec), w_out=draw((n, o)) * feeds[:, None], tau_out=rng.uniform(5, 50, o),
        bias_out=draw(o), w_skip=draw((c, o)) if skip else None,
    )  # fmt: skip


def untrained(network):
    """The parameters of a runner that training leaves as they are: they need no gradient."""
    tables = ((p, name, p.module.PARAMETERS[table.source]) for p in network.populations
              for name, table in p.module.TABLES.items())  # fmt: skip
    return {f"{part.name}.{name}" for part, name, source in tables if not source.trains}


def gradients(run, p, x, weight, fixed=()):
    """Read-out of run(p, x) and the gradients of sum(y * weight), all as float64."""
    own = {k: v.clone().requires_grad_(k not in fixed) for k, v in p.items()}
    y = run(own, x)
    (y * weight).sum().backward()
    return y.detach().double(), {k: v.grad.double() for k, v in own.items() if v.grad is not None}


def case(network, batch, steps, loss):
    """Parameters, inputs, and what each y counts in the loss: the last step's only, or every step's."""
    x = torch.from_numpy(np.random.default_rng(2).standard_normal((batch, steps, len(network.w_in))))
    shape = batch, steps, len(network.tau_out)
    weight = torch.from_numpy(np.random.default_rng(3).standard_normal(shape))
    if loss == "last":
        weight[:, :-1] = 0
    return exact(network), x, weight


def largest(a):
    return max(a.abs().flatten().tolist(), default=0.0)


def single(p):
    return {k: v.float() for k, v in p.items()}


def assert_fused_equals_generic(network, batch, steps, loss="every"):
    p, x, weight = case(network, batch, steps, loss)
    fixed = untrained(network)
    expected_y, expected = gradients(lambda p, x: generic(network, p, x), p, x, weight, fixed)
    assert (expected["w_in"] != 0).any()
    run = runner(network)
    assert isinstance(run, Layers)
    y, grads = gradients(lambda p, x: run(p, x.float()), single(p), x, weight, fixed)
    # float32 against float64 with the same spikes: a tie at the threshold would show here, not below.
    torch.testing.assert_close(y, expected_y, rtol=1e-5, atol=1e-4)
    assert expected.keys() <= grads.keys()
    assert not any(grads[name].any() for name in grads.keys() - expected.keys())  # y does not depend on it
    # A neuron that fires more has longer sums, and their rounding errors: alif's of gamma is 1.1e-5.
    most = 1e-5 if {part.neuron for part in network.populations} <= {"cuba_lif", "adlif"} else 3e-5
    for name, grad in expected.items():
        # Relative to the largest: one near 0 is a sum of large terms that cancel, and keeps their rounding errors.
        torch.testing.assert_close(grads[name], grad, rtol=0, atol=most * largest(grad), msg=name)


@pytest.fixture(params=["whole", "segments"])
def memory(request, monkeypatch):
    """Whether v of all steps is kept, or the steps are computed again in segments on the way back."""
    if request.param == "segments":
        monkeypatch.setattr("lnp_edge.training.kernels.fused.KEPT", 0)


# n, c, density, batch, steps; each from the kernel that serves it.
SIZES = [
    (40, 3, 0.1, 32, 30), (40, 3, 0.2, 45, 33), (40, 3, 0.0, 3, 1), (64, 96, 0.1, 33, 12),
    (40, 3, 0.3, 45, 33), (40, 3, 1.0, 3, 1), (130, 3, 1.0, 9, 37), (64, 96, 1.0, 33, 12),
    # Products take four neurons, channels or steps at a time: every remainder.
    (39, 1, 0.1, 5, 6), (41, 2, 0.1, 5, 7), (42, 4, 0.1, 5, 9), (43, 5, 0.1, 5, 10),
    (39, 1, 1.0, 5, 6), (41, 2, 1.0, 5, 7), (42, 4, 1.0, 5, 9), (43, 5, 1.0, 5, 10),
]  # fmt: skip


@pytest.mark.parametrize("neuron", FUSED)
@pytest.mark.parametrize("loss", ["last", "every"])
@pytest.mark.parametrize(
    ("n", "c", "density", "batch", "steps"),
    [pytest.param(*of, id=f"{'dense' if of[2] >= DENSE_FROM else 'sparse'}-{of[0]}-{of[2]}") for of in SIZES],
)
def test_fused_gradients_equal_autograd_on_the_plain_loop(n, c, density, batch, steps, loss, memory, neuron):
    assert_fused_equals_generic(random_network([n], c, 4, density, seed=5, neurons=(neuron,)), batch, steps, loss)


STACKS = {
    "two recurrent layers": {"sizes": [40, 30], "ends": ({"feeds": False}, {"hears": False})},
    "forward, then recurrent": {"sizes": [20, 40], "joined": [(0, 1), (1, 1)], "ends": ({"feeds": False}, {})},
    "a skip and both feed": {"sizes": [33, 24], "skip": True},
    "three, one past the next": {"sizes": [20, 30, 24], "joined": [(0, 0), (0, 1), (0, 2), (1, 2), (2, 2)]},
    "the first does not hear": {"sizes": [20, 30], "ends": ({"hears": False}, {})},
    "three, only the first hears": {
        "sizes": [20, 30, 24],
        "joined": [(0, 0), (0, 1), (0, 2), (1, 1), (1, 2)],
        "ends": ({"feeds": False}, {"hears": False}, {"hears": False}),
    },
}


@pytest.mark.parametrize("neurons", [(name,) for name in FUSED] + [("cuba_lif", "adlif"), ("adlif", "cuba_lif")])
@pytest.mark.parametrize("density", [0.2, 1.0])
@pytest.mark.parametrize("stack", STACKS)
def test_a_stack_of_fused_layers_equals_the_plain_loop(stack, density, neurons, memory):
    network = random_network(c=3, o=4, density=density, seed=4, neurons=neurons, **STACKS[stack])
    assert_fused_equals_generic(network, 33, 25)


def test_what_the_kernels_do_not_serve_runs_by_the_plain_loop():
    network = random_network([12, 10], 3, 4, 0.5, 5, joined=[(0, 1), (1, 0)])
    p, x, _ = case(network, 3, 9, "every")
    run = runner(network)
    assert not isinstance(run, Layers)
    assert (run(p, x) == generic(network, p, x)).all()


@pytest.mark.parametrize("density", [0.1, 1.0])
def test_segments_give_the_same_read_out_and_gradients(density, monkeypatch):
    network = random_network([40], 3, 4, density, seed=1)
    p, x, weight = case(network, 33, 50, "every")
    run = lambda p, x: runner(network)(p, x.float())  # noqa: E731
    whole_y, whole = gradients(run, single(p), x, weight)
    monkeypatch.setattr("lnp_edge.training.kernels.fused.KEPT", 0)
    y, grads = gradients(run, single(p), x, weight)
    assert (y == whole_y).all()
    for name, grad in whole.items():
        # Not to the bit: float32 sums over hundreds of steps and samples, added in another order.
        torch.testing.assert_close(grads[name], grad, rtol=0, atol=3e-6 * largest(grad), msg=name)


@pytest.mark.parametrize("density", [0.1, 1.0])
def test_one_runner_serves_batches_of_any_size_and_steps_one_after_another(density):
    network = random_network([40], 3, 4, density, seed=1)
    shared = runner(network)
    for batch, steps in ((64, 9), (5, 20), (64, 9)):
        p, x, weight = case(network, batch, steps, "every")
        y, grads = gradients(lambda p, x: shared(p, x.float()), single(p), x, weight)
        fresh_y, fresh = gradients(lambda p, x: runner(network)(p, x.float()), single(p), x, weight)
        assert (y == fresh_y).all() and all((grads[name] == fresh[name]).all() for name in fresh)


@pytest.mark.parametrize(("neuron", "kept"), [("cuba_lif", ["v"]), ("adlif", ["v", "w"])])
def test_little_is_kept_of_a_step(neuron, kept):
    assert [name.partition("X")[0] for name in derived(neuron).kept] == kept


@pytest.mark.parametrize("neuron", ["cuba_lif", "adlif"])
@pytest.mark.parametrize("density", [0.1, 1.0])
def test_long_sequences_keep_the_square_root_of_their_memory(density, neuron, monkeypatch):
    work = FusedLayer(random_network([64], 3, 4, density, seed=1, neurons=(neuron,)), 0).work
    kept = len(work.neuron.kept)
    state = 4 * 64 * 64  # bytes of a variable of one step, batch 64
    io = 4 * 64 * (3 + 1 + 4)  # bytes of a step's inputs, with the constant one, and outputs
    found = lambda steps: bytes_a_step(work.wiring, work.neuron, 64, steps) - steps * io  # noqa: E731
    assert found(100) == (100 * kept + 3) * state  # two states and the spikes before the first step
    monkeypatch.setattr("lnp_edge.training.kernels.fused.KEPT", 800 * kept * state)
    assert found(800) == (800 * kept + 3) * state
    length = {"cuba_lif": 100, "adlif": 71}[neuron]
    assert found(5000) == (length * kept + 3 * -(-5000 // length)) * state


def test_a_second_backward_pass_is_refused():
    network = random_network([40], 3, 4, 0.1, seed=1)
    p, x, _ = case(network, 3, 5, "every")
    own = {k: v.float().requires_grad_(not k.endswith("v_th")) for k, v in p.items()}
    y = runner(network)(own, x.float()).sum()
    y.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="second"):
        y.backward()


# The plain loop


class Smooth(torch.autograd.Function):
    """Greater with the function it is differentiated as: u / (1 + SLOPE |u|), u = a / b - 1."""

    @staticmethod
    def forward(ctx, a, b):
        ctx.save_for_backward(a, b)
        u = a / b - 1
        return u / (1 + layer.SLOPE * u.abs())

    backward = Greater.backward


@pytest.mark.parametrize("neuron", SPIKING)
def test_gradients_of_the_plain_loop_are_those_of_finite_differences(neuron, monkeypatch):
    """In float64, of every parameter and coupling. Resets carry no gradient: their spikes are kept as they are."""
    network = random_network([7, 5], 2, 3, 0.6, 6, neurons=(neuron,), skip=True)
    p, x, weight = case(network, 2, 6, "every")
    resets, replayed = [], None

    def gate(z, value):
        if replayed is None:
            resets.append(z.detach())
            return z.detach() * value
        return next(replayed) * value

    monkeypatch.setattr(layer, "FLOAT_OPS", layer.FLOAT_OPS | {"greater": Smooth.apply, "gate": gate})
    own = {k: v.clone().requires_grad_() for k, v in p.items()}
    (generic(network, own, x) * weight).sum().backward()

    def loss(**changed):
        nonlocal replayed
        replayed = iter(resets)
        return float((generic(network, p | changed, x) * weight).sum())

    rng, h = np.random.default_rng(7), 1e-6
    for name, leaf in own.items():
        direction = torch.from_numpy(rng.standard_normal(tuple(leaf.shape)))
        numeric = (loss(**{name: p[name] + h * direction}) - loss(**{name: p[name] - h * direction})) / (2 * h)
        assert float((leaf.grad * direction).sum()) == pytest.approx(numeric, rel=1e-5, abs=1e-7), name
        assert (leaf.grad != 0).any(), name


def test_the_operations_have_one_float_meaning_each():
    from lnp_edge.spec.floats import PLAIN

    assert set(PLAIN) == set(layer.FLOAT_OPS) == set(OPS)
    rng = np.random.default_rng(8)
    a, b, c = rng.standard_normal((3, 50))
    cases = {
        "add": (a, b), "sub": (a, b), "mul": (a, b), "leak": (a, np.abs(b)), "greater": (a, np.abs(b) + 0.1),
        "gate": ((a > 0) * 1.0, b), "shift_round": (a, np.full(50, 3.0)), "clamp": (a, -np.abs(b), np.abs(c)),
    }  # fmt: skip
    for op, values in cases.items():
        tensors = [torch.from_numpy(v) for v in values]
        np.testing.assert_array_equal(layer.FLOAT_OPS[op](*tensors).numpy(), PLAIN[op](*values), err_msg=op)


def test_the_training_benchmark_goes_on_without_the_peers(monkeypatch, capsys):
    monkeypatch.setattr(bench_peers, "install", lambda name: "no network")
    monkeypatch.setattr(bench, "STEPS", 4)
    rows = bench.measure(sizes=(32,), rounds=1)
    failed = [row.name for row in rows if row.failed == "no network"]
    assert failed == list(bench_peers.PACKAGES)
    assert all(row.ms > 0 and row.kept > 0 for row in rows if not row.failed)
    assert {v["density"] for v in bench.ratios(rows)} == set(bench.AIMS)
    monkeypatch.setattr(bench, "measure", lambda **options: rows)
    stack = bench.stack(16, 1)
    assert stack["times"] == stack["plain_ms"] / stack["ms"] > 0
    monkeypatch.setattr(bench, "stack", lambda *sizes: stack)
    assert cli.main(["bench", "--train"]) == 0
    assert "no network" in capsys.readouterr().out
    assert cli.main(["bench", "--train", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["rows"]) == len(rows)


def test_the_benchmarks_own_loops_compute_the_same_read_out():
    network = bench.start_network(32, 0.1)
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((5, 20, 16)).astype(np.float32))
    with torch.no_grad():
        ours, plain, csr = (build(network, x)[1]() for build in (bench.ours, bench.plain, bench.sparse_csr))
    torch.testing.assert_close(plain, ours, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(csr, ours, rtol=1e-4, atol=1e-5)


def test_the_benchmark_of_a_stack_computes_the_same_read_out():
    layers = (LayerSettings(24, "cuba_lif", 0.3), LayerSettings(24, "cuba_lif", 0.3))
    network = drawn(NetworkSettings(layer=layers), 16, 7, 0.04, np.random.default_rng(1))
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((5, 20, 16)).astype(np.float32))
    with torch.no_grad():
        ours, plain = (build(network, x)[1]() for build in (bench.ours, bench.plain_stack))
    torch.testing.assert_close(plain, ours, rtol=1e-4, atol=1e-5)


EVERY_NEURON_FIRES = """
from test_train_layer import case, gradients, random_network, runner, single

for density in (0.1, 1.0):
    network = random_network([64], 3, 4, density, seed=5)
    p, x, weight = case(network, 9, 20, "every")
    p["p0.bias"] += 100
    gradients(lambda p, x: runner(network)(p, x.float()), single(p), x, weight)
print("within bounds")
"""


@pytest.mark.slow
def test_kernels_stay_within_the_room_that_they_are_given(tmp_path):
    """Numba checks no index unless it is told to."""
    places = os.pathsep.join(map(str, Path(__file__).parents[:2]))
    told = {"NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(tmp_path), "PYTHONPATH": places}
    call = [sys.executable, "-c", EVERY_NEURON_FIRES]
    done = subprocess.run(call, env=os.environ | told, capture_output=True, text=True)
    assert done.stdout == "within bounds\n", done.stderr
