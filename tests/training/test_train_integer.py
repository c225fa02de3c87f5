"""Training in integers: its forward pass is the reference's, bit for bit, and its gradients are the float layer's."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from nets import FUSED, task, tiny_network
from scipy import sparse
from stops import Stopped, stopping_at

from lnp_edge import config
from lnp_edge.base.errors import ConfigError, ModelError
from lnp_edge.config import TrainSettings
from lnp_edge.experiments.trial import Trial, run_trial
from lnp_edge.quantization.quantize import quantize
from lnp_edge.runtime.reference import Reference
from lnp_edge.stages import pipeline
from lnp_edge.task.split import load_data, split
from lnp_edge.task.task import encoded
from lnp_edge.training import integer
from lnp_edge.training.integer import InIntegers, snap, train_in_integers
from lnp_edge.training.kernels.integer_kernel import State, run
from lnp_edge.training.kernels.lanes import LANES
from lnp_edge.training.run import runner

X_SCALE = 64


def inputs(batch, steps, seed=2, channels=3):
    """The encoder's integers; task() hands counts on as they are."""
    return np.random.default_rng(seed).integers(-127, 128, (batch, steps, channels)).astype(np.int16)


def on_the_reference(model, counts):
    """y [B, T, O] and spikes [B, T, N] after every step."""
    reference, ys, zs = Reference(model), [], []
    for window in counts:
        reference.reset()
        for row in window:
            ys.append(reference.steps(row[None]).y)
            zs.append(model.spikes(reference.state()))
    shape = counts.shape[:2]
    return np.array(ys).reshape(*shape, -1), np.array(zs).reshape(*shape, -1)


def off_the_grid(network, bits, seed=5):
    """A model whose steps and weights are no longer those that quantise() would choose."""
    model = InIntegers(network, task(), bits)
    draw = torch.Generator().manual_seed(seed)
    for name in ("step", "step_out", "w_rec", "hidden.tau_mem"):
        model.leaf[name] = model.leaf[name] + 0.1 * torch.randn(model.leaf[name].shape, generator=draw)
    model.project(10.0)
    return model


def lanes(counts):
    padded = np.zeros((-(-len(counts) // LANES) * LANES, *counts.shape[1:]))
    padded[: len(counts)] = counts
    return padded.reshape(-1, LANES, *counts.shape[1:]).transpose(0, 2, 3, 1)


@pytest.mark.parametrize("neuron", FUSED)
@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_every_spike_and_read_out_is_the_reference_s(seed, bits, neuron):
    model = off_the_grid(tiny_network(seed, neuron=neuron), bits, seed)
    derived = model.work.neuron
    v_th = model.parameters(model.leaf)["hidden.v_th"].numpy()
    counts = inputs(batch=45, steps=120)
    v = np.einsum("gtcl,cn->gtnl", lanes(counts), model.work.model.projection("in").w.dense()).astype(np.float32)
    kept, state = np.stack([v] * len(derived.kept)), State.reset(derived, 2, 40, 4)
    y = run(model.work.model, derived, model.wiring, kept, state, model.work.scale.gain, v_th)
    v = kept[0]
    y, z = (a.transpose(0, 3, 1, 2).reshape(-1, 120, a.shape[2])[:45] for a in (y, v > v_th[:, None]))
    y_reference, z_reference = on_the_reference(model.work.model.check(), counts)
    assert z_reference.sum() > 5000
    assert (z == z_reference).all() and (y == y_reference).all()


def test_a_potential_one_unit_from_its_threshold_is_on_the_right_side_in_float32():
    """Near 2**29 float32 counts in steps of 64: rounded, 16 units above and below the threshold are one number."""
    still = tiny_network(n=1, c=1, o=1, density=0.0).with_params(bias=np.zeros(1))
    model = InIntegers(replace(still, w_in=np.full((1, 1), 1e-6)), task(1, 1), 8)
    params = {"c_syn": 1, "c_mem": 1, "v_th": 2**29 - 2**13, "bias": 0}
    integers = model.integers(model.leaf)[0]
    hidden = replace(integers.populations[0], params={k: np.array([value], np.int32) for k, value in params.items()})
    integers = replace(integers, populations=(hidden, integers.readout))
    state = State.reset(model.work.neuron, 1, 1, 1)
    potential = state.x[:, 1]
    potential[:] = 2**29 + np.arange(LANES) - LANES // 2  # the leak takes 2**13 of it, or 1 more from 2**29 + 1 on
    away = potential - 2**13 - (potential > 2**29) - params["v_th"]
    kept, gain = np.zeros((1, 1, 1, 1, LANES), np.float32), np.array([0.3])
    v_th = np.array([params["v_th"] / 0.3], np.float32)
    run(integers, model.work.neuron, model.wiring, kept, state, gain, v_th)
    v = kept[0]
    assert (state.z == (away > 0)).all() and 0 < state.z.sum() < LANES
    assert ((v[0] > v_th[0]) == (away > 0)).all()
    assert np.abs(v / v_th - 1).max() < 1e-6


@pytest.mark.parametrize("neuron", FUSED)
@pytest.mark.parametrize("bits", [4, 8])
def test_the_layer_trains_on_these_read_outs(bits, neuron):
    """As float32, and unchanged if a long sequence is computed in segments."""
    model = off_the_grid(tiny_network(neuron=neuron), bits)
    counts = inputs(batch=33, steps=50)
    p = model.parameters(model.leaf)
    y = model.run(p, torch.from_numpy(counts / np.float32(X_SCALE)))
    gain = model.work.scale.level_out * 2.0 ** model.work.model.projection("out").shift
    exact, _ = on_the_reference(model.work.model, counts)
    assert (y.numpy() == (exact / gain).astype(np.float32)).all()


def gradients(model, x, run_):
    for leaf in model.leaf.values():
        leaf.requires_grad_().grad = None
    y = run_(model.parameters(model.leaf), x)
    (y * torch.from_numpy(np.random.default_rng(3).standard_normal(y.shape).astype(np.float32))).sum().backward()
    return y.detach(), {name: leaf.grad.clone() for name, leaf in model.leaf.items()}


@pytest.mark.parametrize("neuron", FUSED)
def test_segments_change_no_bit_of_the_read_out_and_nothing_of_the_gradients(neuron, monkeypatch):
    model, x = (
        InIntegers(tiny_network(neuron=neuron), task(), 4),
        torch.from_numpy(inputs(40, 60) / np.float32(X_SCALE)),
    )
    y, whole = gradients(model, x, model.run)
    monkeypatch.setattr("lnp_edge.training.kernels.fused.KEPT", 0)
    y_again, parts = gradients(model, x, model.run)
    assert (y == y_again).all()
    for name, grad in whole.items():
        torch.testing.assert_close(parts[name], grad, rtol=1e-3, atol=1e-4 * float(grad.abs().max()), msg=name)


@pytest.mark.parametrize("neuron", FUSED)
def test_gradients_equal_the_float_layer_s_where_integers_hold_the_network_exactly(neuron):
    """Decays of 16 bits and 8-bit weights as they are; what is left is that a leak rounds away from the float by up
    to 1 unit of a state of 2**20, and float32."""
    net = tiny_network(n=24, neuron=neuron)
    net = replace(net, w_rec=sparse.csr_array(net.w_rec.shape))
    model, x = InIntegers(net, task(), 8), torch.from_numpy(inputs(20, 20) / np.float32(X_SCALE))
    y, found = gradients(model, x, model.run)
    y_float, wanted = gradients(model, x, runner(net))
    torch.testing.assert_close(y, y_float, rtol=1e-3, atol=1e-3)
    of_neurons = [name for name in model.leaf if name.startswith("hidden.")]
    for name in ("w_in", "w_out", "bias_out", "tau_out", "step", "step_out", *of_neurons):
        error = (found[name] - wanted[name]).norm() / wanted[name].norm()
        assert error < 1e-3, name


@pytest.mark.parametrize("neuron", FUSED)
def test_recurrent_gradients_equal_the_float_layer_s_while_no_spike_differs(neuron):
    model, x = (
        InIntegers(tiny_network(neuron=neuron), task(), 4),
        torch.from_numpy(inputs(32, 12) / np.float32(X_SCALE)),
    )
    y, found = gradients(model, x, model.run)
    y_float, wanted = gradients(model, x, runner(model.network))
    assert (y - y_float).abs().max() < 1e-3  # a spike more or less would show here
    for name, grad in wanted.items():
        assert (found[name] - grad).norm() / grad.norm() < 1e-3, name


def test_the_step_learns_by_the_rule_of_lsq():
    """Esser et al. 2020, equation 3, times the step, as the leaf is its logarithm."""
    w = torch.tensor([0.26, -0.31, 0.04, 2.0, -2.0], requires_grad=True)
    log_step = torch.zeros(1, requires_grad=True)
    step, most = 0.1, 7
    levels = np.clip(np.round(w.detach().double().numpy() / step), -most, most)
    out = snap(w, levels, np.array(step), most, log_step)
    np.testing.assert_allclose(out.detach(), [0.3, -0.3, 0.0, 0.7, -0.7], rtol=1e-6)
    for k, (by_w, by_step) in enumerate([(1, 3 - 2.6), (1, -3 + 3.1), (1, 0 - 0.4), (0, 7), (0, -7)]):
        grad_w, grad_step = torch.autograd.grad(out[k], (w, log_step), retain_graph=True)
        assert grad_w[k] == by_w
        np.testing.assert_allclose(grad_step, by_step * step, rtol=1e-4)


def small(bits=4, epochs=4, progress=None, resume=None, seed=0, neuron="cuba_lif", batch=64):
    settings = config.Config(
        network=config.NetworkSettings(neurons=24, neuron=neuron), train=TrainSettings(epochs=0, batch=batch)
    )
    data = split(settings, load_data(settings))
    network = pipeline.new_network(settings, data)
    batches = pipeline._batches(settings, data)
    wanted = TrainSettings(epochs=epochs, lr=0.01)
    return network, data, train_in_integers(network, data.task, batches, wanted, seed, bits, progress, resume)


@pytest.mark.parametrize("neuron", FUSED)
def test_it_learns_and_hands_over_the_model_that_it_ran(neuron, monkeypatch):
    fitted = []
    fit = integer.fit
    monkeypatch.setattr(integer, "fit", lambda *a: fitted.append((a[0], fit(*a), a[3])) or fitted[-1][1])
    _, data, (model, history) = small(neuron=neuron)
    assert history[-1]["loss"] < 0.9 * history[0]["loss"]
    assert max(np.abs(p.w.data).max() for p in model.projections) == 7
    layer, (leaf, _), settings = fitted[0]
    assert settings.dropout == 0
    assert (leaf["step"].abs() > 1e-4).all() and leaf["step_out"] != 0  # the steps were learned
    counts = data.test_windows.counts[:5]
    y = layer.run(layer.parameters(leaf), torch.from_numpy(encoded(data.task, counts)))
    exact, spikes = on_the_reference(model, counts)
    gain = layer.work.scale.level_out * 2.0 ** model.projection("out").shift
    assert (y.detach().numpy() == (exact / gain).astype(np.float32)).all()
    assert spikes.mean() > 0.01


def test_a_stopped_training_resumes_to_the_same_model(tmp_path, monkeypatch):
    monkeypatch.setattr("lnp_edge.training.loop.SAVE_EVERY", 1)
    file = tmp_path / "integers.checkpoint"
    _, _, (whole, history) = small(batch=256, epochs=3)
    with pytest.raises(Stopped):
        small(batch=256, epochs=3, progress=stopping_at(2), resume=file)
    with pytest.raises(ModelError, match="another training"):
        small(bits=5, batch=256, epochs=3, resume=file)
    _, _, (resumed, again) = small(batch=256, epochs=3, resume=file)
    assert whole.fingerprint == resumed.fingerprint and history == again


def test_the_pipeline_rounds_or_trains_as_asked():
    settings = config.Config(network=config.NetworkSettings(neurons=24), train=TrainSettings(batch=256))
    data = split(settings, load_data(settings))
    network = pipeline.new_network(settings, data)

    def model(**wanted):
        return pipeline.quantize(replace(settings, quantize=config.QuantizeSettings(**wanted)), data, network)[0]

    assert model().fingerprint == quantize(network, data.task).fingerprint
    assert model(bits=4).fingerprint == quantize(network, data.task, bits=4).fingerprint
    trained = model(bits=4, epochs=1)
    assert trained.fingerprint != model(bits=4).fingerprint
    assert trained.provenance["config"]["quantize"] == {"bits": 4, "epochs": 1, "lr": 0.003}
    trial = replace(
        settings, train=TrainSettings(epochs=0, batch=256), quantize=config.QuantizeSettings(bits=4, epochs=1)
    )
    assert np.abs(run_trial(Trial("short", trial)).model.projection("rec").w.data).max() == 7


@pytest.mark.parametrize("change", [{"layer": (config.LayerSettings(12),) * 2}, {"skip": True}])
def test_training_in_integers_refuses_what_it_does_not_serve(change):
    settings = config.Config(network=config.NetworkSettings(neurons=24, **change))
    data = split(settings, load_data(settings))
    network = pipeline.new_network(settings, data)
    settings = replace(settings, quantize=config.QuantizeSettings(epochs=1))
    with pytest.raises(ConfigError, match="one layer in up to 8 bits that the fused kernels run, not 8 bits"):
        pipeline.quantize(settings, data, network)
    with pytest.raises(ConfigError, match="epochs is 1, with 8 bits"):  # before the first training
        pipeline.new_network(settings, data)
