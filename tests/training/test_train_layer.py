import json

import numpy as np
import pytest
import torch
from scipy import sparse

from lnp_edge import cli
from lnp_edge.neurons import cuba_lif
from lnp_edge.training import bench, bench_peers
from lnp_edge.training.kernels.fused import Workspace, bytes_a_step, fused
from lnp_edge.training.kernels.sparse import Wiring
from lnp_edge.training.layer import generic


def random_layer(n, c, o, density, seed):
    """Wiring and parameters of a layer that fires and depends on all of them, and does not multiply gradients in time.

    Where gradients grow, so do their rounding errors: those of v through the slope of the surrogate first.
    """
    rng = np.random.default_rng(seed)
    w_rec = sparse.csr_array(sparse.random_array((n, n), density=density, rng=rng, dtype=np.float64))
    w_rec.sort_indices()
    draw = rng.standard_normal
    values = {
        "w_rec": draw(w_rec.nnz) * 0.2 / np.sqrt(max(1, density * n)),
        "w_in": draw((c, n)) * 0.5 / np.sqrt(c),
        "w_out": draw((n, o)),
        "bias": draw(n) * 0.1,
        "bias_out": draw(o),
        "alpha": rng.uniform(0.5, 0.8, n),
        "beta": rng.uniform(0.5, 0.8, n),
        "gamma": rng.uniform(0.8, 0.99, o),
        "v_th": rng.uniform(0.8, 1.2, n),
    }
    return Wiring.of(w_rec, c, o), {k: torch.tensor(v, dtype=torch.float64) for k, v in values.items()}


def gradients(run, p, x, weight):
    """Read-out of the layer run(p, x) and the gradients of sum(y * weight), all as float64."""
    own = {k: v.clone().requires_grad_(k != "v_th") for k, v in p.items()}
    y = run(own, x)
    (y * weight).sum().backward()
    return y.detach().double(), {k: v.grad.double() for k, v in own.items() if k != "v_th"}


def case(n, c, density, batch, steps, loss):
    """A layer, its inputs, and what each y counts in the loss: the last step's only, or every step's."""
    wiring, p = random_layer(n, c, o=4, density=density, seed=1)
    x = torch.from_numpy(np.random.default_rng(2).standard_normal((batch, steps, c)))
    weight = torch.from_numpy(np.random.default_rng(3).standard_normal((batch, steps, 4)))
    if loss == "last":
        weight[:, :-1] = 0
    return wiring, p, x, weight


def largest(a):
    return max(a.abs().flatten().tolist(), default=0.0)


def single(p):
    return {k: v.float() for k, v in p.items()}


@pytest.fixture(params=["whole", "segments"])
def memory(request, monkeypatch):
    """Whether v of all steps is kept, or the steps are computed again in segments on the way back."""
    if request.param == "segments":
        monkeypatch.setattr("lnp_edge.training.kernels.fused.KEPT", 0)


@pytest.mark.parametrize("loss", ["last", "every"])
@pytest.mark.parametrize(
    ("n", "c", "density", "batch", "steps"),
    [(40, 3, 0.1, 32, 30), (40, 3, 0.2, 45, 33), (40, 3, 0.0, 3, 1), (64, 96, 0.1, 33, 12),
     (40, 3, 0.3, 45, 33), (40, 3, 1.0, 3, 1), (130, 3, 1.0, 9, 37), (64, 96, 1.0, 33, 12)],
)  # fmt: skip
def test_fused_gradients_equal_autograd_on_the_generic_path(n, c, density, batch, steps, loss, memory):
    wiring, p, x, weight = case(n, c, density, batch, steps, loss)
    expected_y, expected = gradients(lambda p, x: generic(cuba_lif, p, wiring, x), p, x, weight)
    assert (expected["w_in"] != 0).any()
    y, grads = gradients(lambda p, x: fused(Workspace(wiring), p, x.float()), single(p), x, weight)
    # float32 against float64 with the same spikes: a tie at the threshold would show here, not below.
    torch.testing.assert_close(y, expected_y, rtol=1e-5, atol=1e-4)
    for name, grad in expected.items():
        # Relative to the largest: one near 0 is a sum of large terms that cancel, and keeps their rounding errors.
        torch.testing.assert_close(grads[name], grad, rtol=0, atol=1e-5 * largest(grad), msg=name)


@pytest.mark.parametrize("density", [0.1, 1.0])
def test_segments_give_the_same_read_out_and_gradients(density, monkeypatch):
    wiring, p, x, weight = case(40, 3, density, batch=33, steps=50, loss="every")
    run = lambda p, x: fused(Workspace(wiring), p, x.float())  # noqa: E731
    whole_y, whole = gradients(run, single(p), x, weight)
    monkeypatch.setattr("lnp_edge.training.kernels.fused.KEPT", 0)
    y, grads = gradients(run, single(p), x, weight)
    assert (y == whole_y).all()
    for name, grad in whole.items():
        # Not to the bit: float32 sums over hundreds of steps and samples, added in another order.
        torch.testing.assert_close(grads[name], grad, rtol=0, atol=3e-6 * largest(grad), msg=name)


@pytest.mark.parametrize("density", [0.1, 1.0])
def test_a_workspace_serves_batches_of_any_size_and_steps_one_after_another(density):
    wiring, p, *_ = case(40, 3, density, 1, 1, "every")
    shared = Workspace(wiring)
    for batch, steps in ((64, 9), (5, 20), (64, 9)):
        _, _, x, weight = case(40, 3, density, batch, steps, "every")
        y, grads = gradients(lambda p, x: fused(shared, p, x.float()), single(p), x, weight)
        fresh_y, fresh = gradients(lambda p, x: fused(Workspace(wiring), p, x.float()), single(p), x, weight)
        assert (y == fresh_y).all() and all((grads[name] == fresh[name]).all() for name in fresh)


@pytest.mark.parametrize("density", [0.1, 1.0])
def test_long_sequences_keep_the_square_root_of_their_memory(density, monkeypatch):
    wiring, _ = random_layer(64, 3, 4, density, seed=1)
    state = 4 * 64 * 64  # bytes of v of one step, batch 64
    io = 4 * 64 * (3 + 1 + 4)  # bytes of a step's inputs, with the constant one, and outputs
    assert bytes_a_step(wiring, 64, 100) == (100 + 2) * state + 100 * io
    monkeypatch.setattr("lnp_edge.training.kernels.fused.KEPT", 800 * state)
    assert bytes_a_step(wiring, 64, 800) == (800 + 2) * state + 800 * io
    assert bytes_a_step(wiring, 64, 5000) == (100 + 2 * 50) * state + 5000 * io


def test_a_second_backward_pass_is_refused():
    wiring, p, x, _ = case(40, 3, 0.1, 3, 5, "every")
    own = {k: v.float().requires_grad_(k != "v_th") for k, v in p.items()}
    y = fused(Workspace(wiring), own, x.float()).sum()
    y.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="second"):
        y.backward()


def test_the_training_benchmark_goes_on_without_the_peers(monkeypatch, capsys):
    monkeypatch.setattr(bench_peers, "install", lambda name: "no network")
    monkeypatch.setattr(bench, "STEPS", 4)
    rows = bench.measure(sizes=(32,), rounds=1)
    failed = [row.name for row in rows if row.failed == "no network"]
    assert failed == list(bench_peers.PACKAGES)
    assert all(row.ms > 0 and row.kept > 0 for row in rows if not row.failed)
    assert {v["density"] for v in bench.ratios(rows)} == set(bench.AIMS)
    monkeypatch.setattr(bench, "measure", lambda **options: rows)
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
