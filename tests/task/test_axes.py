"""Images: input weights are drawn and trained on axes on which pixels are independent."""

from dataclasses import replace

import numpy as np
import pytest

from lnp_edge.config import Config, DataSettings, NetworkSettings
from lnp_edge.datasets import spar
from lnp_edge.encoders import affine
from lnp_edge.quantization import quantize
from lnp_edge.stages import pipeline
from lnp_edge.task.dataset import Dataset, check
from lnp_edge.task.split import split
from lnp_edge.task.task import encoded


def pictures(rng, count=400, rows=6, columns=8):
    """Bright and dark pictures, each pixel much like its neighbours."""
    bright = rng.normal(0, 40, (count, rows, 1)) + rng.normal(0, 10, (count, rows, columns))
    counts = np.clip(bright + 128, 0, 255).astype(np.int16)
    names = tuple(f"column{k}" for k in range(columns))
    groups = np.arange(count) % 2
    return check(Dataset("x", 0.01, names, ("a", "b"), counts, groups.copy(), groups, (1,), pixel=1))


def settings(rows=6):
    seconds = rows * 0.01
    return Config(data=DataSettings(window=seconds, hop=seconds), network=NetworkSettings(neurons=40))


def test_on_the_axes_of_pictures_channels_are_independent_and_drive_a_neuron_as_six_would():
    config, data = settings(), pictures(np.random.default_rng(1))
    parts = split(config, data)
    x = encoded(parts.task, parts.train.recordings).reshape(-1, 8) * 2  # std 1
    assert np.abs(np.corrcoef(x.T) - np.eye(8)).max() > 0.9
    on_axes = np.cov((x @ parts.axes).T)
    assert np.abs(on_axes - np.diag(np.diag(on_axes))).max() < 0.1 * on_axes.max()
    assert 4 < np.diag(on_axes).sum() < 6  # AXES_FLOOR takes some


def test_a_data_set_without_pictures_has_no_axes():
    config = Config(network=NetworkSettings("cuba_lif"))
    parts = split(config, spar.load())
    assert parts.axes is None
    drawn = pipeline.new_network(config, parts)
    unit = (1 - np.exp(-0.04 / drawn.params["tau_syn"])) * (1 - np.exp(-0.04 / drawn.params["tau_mem"]))
    assert (drawn.w_in / unit).std() == pytest.approx(2, rel=0.1)


def test_axes_change_how_input_weights_train_and_not_what_they_are():
    torch = pytest.importorskip("torch")
    from lnp_edge.training.loop import Trainable

    config, data = settings(), pictures(np.random.default_rng(1))
    parts = split(config, data)
    network = pipeline.new_network(config, parts)
    plain, on_axes = Trainable(network), Trainable(network, parts.axes)
    back = on_axes.to_network(on_axes.leaf)
    assert np.allclose(back.w_in, network.w_in, rtol=1e-4, atol=1e-6)
    assert on_axes.leaf["w_in"].std() == pytest.approx(2, rel=0.1)
    assert torch.equal(plain.leaf["w_rec"], on_axes.leaf["w_rec"])
    brighter = replace(config, train=replace(config.train, epochs=3))
    trained, _ = pipeline.train(brighter, parts, network)
    assert not np.allclose(trained.w_in, network.w_in, rtol=1e-3)


def test_moments_are_those_of_all_samples_together(monkeypatch):
    counts = np.random.default_rng(1).integers(-32768, 32768, (1000, 3)).astype(np.int16)
    counts[:, 2] = 7
    monkeypatch.setattr(affine, "_PART", 64)
    mean, std = affine.moments(counts)
    assert (mean == counts.astype(np.float64).mean(0)).all()
    assert np.allclose(std, counts.astype(np.float64).std(0), rtol=1e-12, atol=0)
    assert affine.fit(counts)["gain"][2] == 0


def test_rounded_input_weights_make_up_for_each_others_errors():
    rng = np.random.default_rng(1)
    x = rng.normal(0, 30, (5000, 1)) + rng.normal(0, 3, (5000, 24))
    heard, w = x.T @ x / len(x), rng.normal(0, 4, (24, 50))

    def error(levels):
        return np.mean(((levels - w).T @ heard) * (levels - w).T)

    together = quantize._levels_together(w, 127, heard)
    assert (together == np.round(together)).all() and np.abs(together - w).max() < 4
    assert error(together) < error(np.round(w)) / 8


def test_input_weights_of_independent_channels_are_rounded_each_for_itself():
    w = np.random.default_rng(1).normal(0, 40, (24, 50))
    for heard in (None, np.diag(np.arange(24.0)), np.zeros((24, 24))):
        assert (quantize._levels_together(w, 31, heard) == np.clip(np.round(w), -31, 31)).all()
