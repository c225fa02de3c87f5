import os
import subprocess
import sys
import zlib
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
from nets import SPIKING, tiny_layers, tiny_network
from stops import Stopped, stopping_at

from lnp_edge.base.errors import ModelError, NetworkError
from lnp_edge.config import Augmentation, Config, DataSettings, LayerSettings, NetworkSettings, TrainSettings
from lnp_edge.datasets import spar
from lnp_edge.encoders import affine
from lnp_edge.network.draw import drawn, random_network
from lnp_edge.quantization.quantize import quantize
from lnp_edge.stages import pipeline
from lnp_edge.task.dataset import windows
from lnp_edge.task.split import load_data, split
from lnp_edge.task.task import Task
from lnp_edge.training.augment import Crops, rotations
from lnp_edge.training.loop import train


def test_a_start_network_has_the_asked_density_signs_and_time_constants():
    net = random_network(64, 6, 7, dt=0.04, density=0.3, rng=np.random.default_rng(0), neuron="cuba_lif")
    assert net.w_rec.nnz == round(0.3 * 64 * 63) and net.w_rec.diagonal().sum() == 0
    assert (np.sign(net.w_rec.data) == np.repeat(net.sign, np.diff(net.w_rec.indptr))).all()
    assert min(net.params["tau_mem"].min(), net.params["tau_syn"].min()) >= 1.5 * net.dt
    assert (net.all("v_th") == 1).all()


SMALL = NetworkSettings("cuba_lif", neurons=24)


def small_training(epochs=3, seed=0, progress=None, resume=None, network=SMALL, **settings):
    data = spar.load().of_groups([1])
    counts = windows(data, 4.0, 2.0).counts
    net = drawn(network, 6, 7, data.dt, np.random.default_rng(1))
    task = Task("affine", affine.fit(counts), window=50, hop=25, channels=data.channels, classes=data.classes)
    crops = Crops(data, task, 32, Augmentation())
    return net, *train(net, crops, TrainSettings(epochs=epochs, **settings), seed, progress, resume)


def test_training_learns_and_keeps_synapses_signs_and_shortest_time_constants():
    before, after, history = small_training(epochs=8)
    assert history[-1]["loss"] < 0.9 * history[0]["loss"]
    assert (after.w_rec.indices == before.w_rec.indices).all() and (after.w_rec.indptr == before.w_rec.indptr).all()
    assert (after.w_rec.data * np.repeat(before.sign, np.diff(before.w_rec.indptr)) >= 0).all()
    assert min(after.params["tau_mem"].min(), after.params["tau_syn"].min()) >= 0.25 * after.dt
    assert not np.allclose(after.params["tau_mem"], before.params["tau_mem"])


def test_an_input_that_a_neuron_lacks_is_neither_trained_nor_quantised_into_being():
    """Inputs that go together: rounding makes up for one weight with the others, but not with those that are absent."""
    before, after, _ = small_training(epochs=1, network=replace(SMALL, inputs=2))
    assert ((before.w_in != 0).sum(0) == 2).all()
    assert ((after.w_in != 0) == (before.w_in != 0)).all() and (after.w_in != before.w_in).any()
    x = np.random.default_rng(1).normal(0, 30, (2000, 1)) + np.random.default_rng(2).normal(0, 3, (2000, 6))
    data = spar.load()
    task = Task("affine", affine.fit(data.samples()), 100, 50, data.channels, data.classes, products=x.T @ x / len(x))
    model = quantize(after, task, bits=4)
    assert not model.projection("in").w.dense()[after.w_in == 0].any()


def test_time_constants_stay_unless_asked():
    before, after, _ = small_training(epochs=1, train_taus=False)
    np.testing.assert_allclose(
        after.params["tau_mem"], before.params["tau_mem"], rtol=1e-6
    )  # float32 logarithm and back


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


def trained_bits():
    """A checksum of trained weights, of a sparse and of a dense kernel."""
    networks = (NetworkSettings("cuba_lif", neurons=64, density=density) for density in (0.1, 0.5))
    trained = (small_training(1, network=network)[1] for network in networks)
    return [zlib.crc32(after.w_rec.data.tobytes() + after.w_in.tobytes()) for after in trained]


def test_a_matrix_library_that_sums_in_another_order_changes_no_bit():
    """MKL chooses the order by the processor; told to be compatible with all of them it takes another."""
    if tuple(map(int, version("torch").partition("+")[0].split(".")[:2])) < (2, 13):
        pytest.skip("of torch before 2.13 it is not known, of 2.3 it is not so: docs/reproducibility.md")
    code = f"""
import sys
sys.path[:0] = {[str(Path(__file__).parent), str(Path(__file__).parents[1])]}
from test_training import trained_bits
print(trained_bits())
"""
    environment = os.environ | {"MKL_CBWR": "COMPATIBLE"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{trained_bits()}\n"


def test_a_stopped_training_resumes_to_the_same_bits(tmp_path, monkeypatch):
    monkeypatch.setattr("lnp_edge.training.loop.SAVE_EVERY", 2)
    file = tmp_path / "run.checkpoint"
    _, whole, history = small_training(5)
    with pytest.raises(Stopped):
        small_training(5, progress=stopping_at(3), resume=file)
    seen = []
    for _ in range(2):  # the second time nothing is left to do
        _, resumed, again = small_training(5, progress=lambda epoch, *rest: seen.append(epoch), resume=file)
    assert history == again and seen == [2, 3, 4, 5, 5]
    for name in ("w_in", "w_out", "tau_out"):
        assert (getattr(whole, name) == getattr(resumed, name)).all()
    assert all((whole.params[name] == resumed.params[name]).all() for name in whole.params)
    assert (whole.w_rec.data == resumed.w_rec.data).all()


def test_a_checkpoint_of_another_training_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("lnp_edge.training.loop.SAVE_EVERY", 1)
    file = tmp_path / "run.checkpoint"
    with pytest.raises(Stopped):
        small_training(3, progress=stopping_at(2), resume=file)
    with pytest.raises(ModelError, match="another training"):
        small_training(3, seed=1, resume=file)
    file.write_bytes(b"nonsense")
    with pytest.raises(ModelError, match="no checkpoint"):
        small_training(3, resume=file)


def test_a_pruned_network_is_saved_stopped_and_resumed(tmp_path, monkeypatch):
    """Pruning leaves arrays column by column, which a checkpoint must take."""
    monkeypatch.setattr("lnp_edge.training.loop.SAVE_EVERY", 1)
    config = Config(data=DataSettings(limit=1), network=NetworkSettings(neurons=24), train=TrainSettings(epochs=2))
    data = split(config, load_data(config))
    network = pipeline.prune(config, data, pipeline.new_network(config, data))
    whole, _ = pipeline.train(config, data, network)
    with pytest.raises(Stopped):
        pipeline.train(config, data, network, stopping_at(2), tmp_path / "c")
    resumed, _ = pipeline.train(config, data, network, None, tmp_path / "c")
    assert (whole.w_in == resumed.w_in).all() and (whole.w_rec.data == resumed.w_rec.data).all()


@pytest.mark.parametrize("neuron", SPIKING)
def test_every_neuron_trains_what_its_file_says(neuron):
    """Parameters stay in their ranges; those that do not train stay as they are."""
    before, after, history = small_training(2, network=NetworkSettings(neuron, 24))
    assert history[1]["loss"] < history[0]["loss"]
    for name, parameter in after.populations[0].module.PARAMETERS.items():
        values = after.params[name]
        assert (values != before.params[name]).any() == parameter.trains, name
        assert (values >= parameter.low).all() and (values <= parameter.high).all(), name
        assert not parameter.is_time or (values >= 0.25 * after.dt).all()


@pytest.mark.parametrize("network", [
    NetworkSettings(layer=(LayerSettings(20), LayerSettings(16))),
    NetworkSettings(layer=(LayerSettings(20, recurrent=False), LayerSettings(16)), skip=True),
    NetworkSettings(layer=(LayerSettings(20), LayerSettings(16, "adlif"))),
])  # fmt: skip
def test_layers_train_together_and_keep_their_synapses(network):
    before, after, history = small_training(4, network=network)
    assert history[-1]["loss"] < 0.95 * history[0]["loss"]
    assert (after.w_rec.indices == before.w_rec.indices).all() and (after.w_rec.data != before.w_rec.data).any()
    assert (after.w_in[:, 20:] == 0).all() and (after.w_out[:20] == 0).all()
    assert (after.w_skip is not None) == network.skip and (not network.skip or (after.w_skip != before.w_skip).all())
    for was, now in zip(before.populations, after.populations, strict=True):
        assert (was.params["bias"] != now.params["bias"]).any()


class Few:
    """Batches of noise."""

    batches, longest, identity = 2, 300.0, "noise"

    def epoch(self, rng):
        for _ in range(2):
            yield rng.normal(size=(4, 30, 3)).astype(np.float32), rng.integers(0, 4, 4)


def test_a_training_that_is_no_longer_finite_is_refused():
    network = tiny_network(n=8, neuron="adlif", jump=1e9)
    with pytest.raises(NetworkError, match="diverged in epoch 1"):
        train(network, Few(), TrainSettings(epochs=3, batch=4), 1)


def test_a_checkpoint_in_which_a_bit_flipped_is_refused(tmp_path):
    network, settings, path = tiny_layers(sizes=(5, 4)), TrainSettings(epochs=10, batch=4), tmp_path / "c"
    train(network, Few(), settings, 1, None, path)
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)
    with pytest.raises(ModelError):
        train(network, Few(), settings, 1, None, path)
