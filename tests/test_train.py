from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy import sparse

from lnp_edge import pipeline
from lnp_edge.augment import Crops, rotations
from lnp_edge.config import Augmentation, Config, NetworkSettings, TrainSettings
from lnp_edge.datasets import spar, windows
from lnp_edge.encoders import affine
from lnp_edge.errors import ModelError
from lnp_edge.init_network import random_network
from lnp_edge.neurons import cuba_lif
from lnp_edge.quantize import Task
from lnp_edge.spec.kinds import LEAK, SCALED, THRESHOLD
from lnp_edge.spec.ops import add, gate, greater, leak, sub
from lnp_edge.train import train
from lnp_edge.train_kernel import Wiring
from lnp_edge.train_layer import Workspace, fused, generic


def random_layer(n, c, o, density, seed):
    """Wiring and parameters of a layer that fires and depends on all of them."""
    rng = np.random.default_rng(seed)
    w_rec = sparse.csr_array(sparse.random_array((n, n), density=density, rng=rng, dtype=np.float64))
    w_rec.sort_indices()
    draw = rng.standard_normal
    values = {
        "w_rec": draw(w_rec.nnz) * 0.2,
        "w_in": draw((c, n)) * 0.3,
        "w_out": draw((n, o)),
        "bias": draw(n) * 0.1,
        "bias_out": draw(o),
        "alpha": rng.uniform(0.5, 0.9, n),
        "beta": rng.uniform(0.5, 0.95, n),
        "gamma": rng.uniform(0.8, 0.99, o),
        "v_th": rng.uniform(0.8, 1.2, n),
    }
    return Wiring.of(w_rec, c, o), {k: torch.tensor(v, dtype=torch.float64) for k, v in values.items()}


@pytest.mark.parametrize(("batch", "steps", "density"), [(32, 30, 0.1), (45, 33, 0.3), (3, 1, 0.0), (64, 6, 1.0)])
def test_fused_gradients_equal_autograd_on_the_generic_path(batch, steps, density):
    wiring, p = random_layer(n=40, c=3, o=4, density=density, seed=1)
    x = torch.from_numpy(np.random.default_rng(2).standard_normal((batch, steps, 3)))
    weight = torch.from_numpy(np.random.default_rng(3).standard_normal((batch, steps, 4)))
    outputs, grads = [], []
    for dtype in (torch.float64, torch.float32):
        own = {k: v.to(dtype).clone().requires_grad_(k != "v_th") for k, v in p.items()}
        y = generic(cuba_lif, own, wiring, x) if dtype == torch.float64 else fused(Workspace(wiring), own, x.float())
        (y * weight).sum().backward()
        outputs.append(y.detach().double())
        grads.append({k: v.grad.double() for k, v in own.items() if k != "v_th"})
    # float32 against float64 with the same spikes: a tie at the threshold would show here, not below.
    torch.testing.assert_close(outputs[1], outputs[0], rtol=1e-5, atol=1e-4)
    for name, grad in grads[0].items():
        error = (grads[1][name] - grad).norm() / grad.norm().clamp_min(1e-12)
        assert error < 1e-5, name


def test_a_start_network_has_the_asked_density_signs_and_time_constants():
    net = random_network(64, 6, 7, dt=0.04, density=0.3, rng=np.random.default_rng(0))
    assert net.w_rec.nnz == round(0.3 * 64 * 63) and net.w_rec.diagonal().sum() == 0
    assert (np.sign(net.w_rec.data) == np.repeat(net.sign, np.diff(net.w_rec.indptr))).all()
    assert min(net.tau_mem.min(), net.tau_syn.min()) >= 1.5 * net.dt
    assert (net.v_th == 1).all()


def small_training(epochs=3, seed=0, progress=None, resume=None, neuron="cuba_lif", **settings):
    data = spar.load().of_groups([1, 2])
    counts, _, _ = windows(data, 4.0, 2.0)
    net = random_network(24, 6, 7, dt=data.dt, density=0.3, rng=np.random.default_rng(1))
    task = Task("affine", affine.fit(counts), window=50, hop=25, channels=data.channels, classes=data.classes)
    crops = Crops(data, task, 32, Augmentation())
    return net, *train(net, crops, TrainSettings(epochs=epochs, **settings), seed, progress, resume, neuron)


def test_training_learns_and_keeps_synapses_signs_and_shortest_time_constants():
    before, after, history = small_training(epochs=8)
    assert history[-1]["loss"] < 0.9 * history[0]["loss"]
    assert (after.w_rec.indices == before.w_rec.indices).all() and (after.w_rec.indptr == before.w_rec.indptr).all()
    assert (after.w_rec.data * np.repeat(before.sign, np.diff(before.w_rec.indptr)) >= 0).all()
    assert min(after.tau_mem.min(), after.tau_syn.min()) >= 1.5 * after.dt
    assert not np.allclose(after.tau_mem, before.tau_mem)


def test_time_constants_stay_unless_asked():
    before, after, _ = small_training(epochs=1, train_taus=False)
    np.testing.assert_allclose(after.tau_mem, before.tau_mem, rtol=1e-6)  # float32 logarithm and back


def test_the_same_seed_trains_the_same_network():
    (_, a, _), (_, b, _), (_, c, _) = small_training(1), small_training(1), small_training(1, seed=1)
    assert (a.w_rec.data == b.w_rec.data).all() and (a.w_out == b.w_out).all()
    assert not (a.w_out == c.w_out).all()


def test_an_unchanged_crop_is_a_piece_of_its_recording():
    data = spar.load().of_groups([1])
    still = replace(data, mirror=())
    same = {"offset": np.zeros(6, np.int32), "gain": np.full(6, 2, np.int32), "shift": np.ones(6, np.int32)}
    task = Task("affine", same, window=40, hop=20, channels=data.channels, classes=data.classes)
    crops = Crops(still, task, 16, Augmentation(rotation=0, speed=0, scale=0, noise=0))
    x, labels = next(crops.epoch(np.random.default_rng(0)))
    assert crops.batches == round(2 * sum(map(len, data.recordings)) / 40 / 16)
    # A crop may start between two samples; one that follows the signal stays within its neighbours' range.
    for crop, label in zip(np.clip(x * 64, -127, 127), labels, strict=True):
        found = False
        for r in np.flatnonzero(data.labels == label):
            signal = np.clip(data.recordings[r], -127, 127)
            low, high = np.minimum(signal[:-1], signal[1:]), np.maximum(signal[:-1], signal[1:])
            for k in range(len(low) - 39):
                found |= (low[k : k + 40] <= crop).all() and (crop <= high[k : k + 40]).all()
        assert found


def test_rotations_are_rotations():
    turn = rotations(np.random.default_rng(0).normal(0, 1, (50, 3)))
    np.testing.assert_allclose(turn @ turn.transpose(0, 2, 1), np.broadcast_to(np.eye(3), turn.shape), atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(turn), 1, atol=1e-12)


def no_synapse(v, drive, c_mem, v_th, bias):
    v = leak(v, c_mem)
    v = add(v, drive)
    v = add(v, bias)
    z = greater(v, v_th)
    kick = gate(z, v_th)
    v = sub(v, kick)
    return v, z


NO_SYNAPSE = SimpleNamespace(
    STATE=("v",),
    PARAMS={"c_mem": LEAK("tau_mem"), "v_th": THRESHOLD("v_th"), "bias": SCALED("bias")},
    step=no_synapse,
)


class Stopped(Exception):
    pass


def test_a_stopped_training_resumes_to_the_same_bits(tmp_path, monkeypatch):
    monkeypatch.setattr("lnp_edge.train.SAVE_EVERY", 2)

    def stop(epoch, epochs, now):
        if epoch == 3:
            raise Stopped

    file = tmp_path / "run.checkpoint"
    _, whole, history = small_training(4)
    with pytest.raises(Stopped):
        small_training(4, progress=stop, resume=file)
    _, resumed, again = small_training(4, resume=file)
    assert history == again and not file.exists()
    for name in ("tau_mem", "w_in", "w_out", "bias"):
        assert (getattr(whole, name) == getattr(resumed, name)).all()
    assert (whole.w_rec.data == resumed.w_rec.data).all()


def test_a_checkpoint_of_another_training_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("lnp_edge.train.SAVE_EVERY", 1)
    file = tmp_path / "run.checkpoint"

    def stop(epoch, epochs, now):
        if epoch == 2:
            raise Stopped

    with pytest.raises(Stopped):
        small_training(3, progress=stop, resume=file)
    with pytest.raises(ModelError, match="another training"):
        small_training(3, seed=1, resume=file)
    file.write_bytes(b"nonsense")
    with pytest.raises(ModelError, match="no checkpoint"):
        small_training(3, resume=file)


def test_a_pruned_network_is_saved_stopped_and_resumed(tmp_path, monkeypatch):
    """Pruning leaves arrays column by column, which a checkpoint must take."""
    monkeypatch.setattr("lnp_edge.train.SAVE_EVERY", 1)
    config = Config(network=NetworkSettings(neurons=24), train=TrainSettings(epochs=2))
    data = pipeline.split(config, pipeline.load_data(config))
    network = pipeline.prune(config, pipeline.new_network(config, data))
    whole, _ = pipeline.train(config, data, network)

    def stop(done, total, now):
        if done == 2:
            raise Stopped

    with pytest.raises(Stopped):
        pipeline.train(config, data, network, stop, tmp_path / "c")
    resumed, _ = pipeline.train(config, data, network, None, tmp_path / "c")
    assert (whole.w_in == resumed.w_in).all() and (whole.w_rec.data == resumed.w_rec.data).all()


def test_another_neuron_trains_by_the_generic_loop(monkeypatch):
    monkeypatch.setattr(
        "lnp_edge.train_layer.plugins", SimpleNamespace(get=lambda package, name: {"lif": NO_SYNAPSE}[name])
    )
    _, before, _ = small_training(0, neuron="lif")
    _, after, history = small_training(2, neuron="lif")
    assert history[1]["loss"] < history[0]["loss"]
    assert (after.w_in != before.w_in).all() and (after.tau_mem != before.tau_mem).any()
    assert (after.tau_syn == before.tau_syn).all()  # it has none
