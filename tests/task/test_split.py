"""A data set cut in two: what of it the encoder sees, and which encoder that is."""

from dataclasses import replace

import numpy as np
import pytest

from lnp_edge.base.errors import ConfigError
from lnp_edge.cli import main
from lnp_edge.config import Config, DataSettings, NetworkSettings
from lnp_edge.encoders import affine, encode
from lnp_edge.quantization.quantize import quantize
from lnp_edge.spec import frontend, plugins
from lnp_edge.spec.frontend import FrontEnd
from lnp_edge.spec.model import X_MAX
from lnp_edge.stages import pipeline
from lnp_edge.task.dataset import Dataset, Series, check
from lnp_edge.task.split import split
from lnp_edge.task.task import encoded

ENCODERS = plugins.names("lnp_edge.encoders")
EVENTS = [kind for kind in plugins.names(frontend.PACKAGE) if getattr(FrontEnd(kind).module, "EVENTS", False)]


def events(rng, count=40, steps=50):
    """Recordings of an ordinary channel and three of events, of two groups."""
    x = rng.normal(100, 300, (count, steps, 4)).astype(np.int16)
    x[..., 1:] = rng.random((count, steps, 3)) < [0.02, 0.1, 0.3]
    groups = np.arange(count) % 2
    return check(Dataset("x", 0.01, ("a", "b", "c", "d"), ("one", "two"), x, groups.copy(), groups, (1,)))


def settings(encoder="affine"):
    data = DataSettings(window=0.5, hop=0.5, encoder=encoder)
    return Config(data=data, network=NetworkSettings("cuba_lif", neurons=40))


@pytest.fixture
def data():
    return events(np.random.default_rng(1))


@pytest.mark.parametrize("encoder", ENCODERS)
def test_the_encoder_of_the_configuration_is_fitted_to_the_training_data_alone(data, encoder):
    parts = split(settings(encoder), data)
    module = plugins.get("lnp_edge.encoders", encoder)
    fitted = module.fit(data.of_groups({0}).samples())
    assert parts.task.encoder == encoder and set(parts.task.encoder_params) == set(module.PARAMS) == set(fitted)
    for name in fitted:
        assert (parts.task.encoder_params[name] == fitted[name]).all()
    x = encode(encoder, data.of_groups({0}).samples(), fitted)
    assert (np.abs(x).max(0) <= module.limits(**fitted)).all() and np.abs(x).max() <= X_MAX
    np.testing.assert_array_equal(parts.task.products, x.T.astype(float) @ x / len(x))
    model = quantize(pipeline.new_network(settings(encoder), parts), parts.task)
    assert model.encoder == encoder and (model.limits == module.limits(**fitted)).all()


@pytest.mark.parametrize("kind", plugins.names(frontend.PACKAGE))
def test_the_front_end_is_fitted_to_the_training_data_alone(data, kind):
    """With its settings from [data]: those at their largest give other parameters than the default."""
    most = {name: high for name, (_, _, high) in frontend.settings_of(kind).items()}
    wanted = DataSettings(window=0.4, hop=0.4, front=kind, frame=4, params=most)
    front = split(Config(data=wanted), data).task.front
    assert front == FrontEnd(kind, 4).fit(data.of_groups({0}).samples(), most)
    if front.params:
        assert front not in (FrontEnd(kind, 4).fit(data.samples(), most), FrontEnd(kind, 4).fit(data.samples()))


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("kind", EVENTS)
def test_what_did_not_happen_is_no_input(data, kind, encoder):
    """Although the mean of the changes is far from 0: recordings are short, and begin at 10,000."""
    away = replace(data, recordings=[a + np.int16(10_000) for a in data.recordings])
    parts = split(Config(data=DataSettings(window=0.5, hop=0.5, front=kind, encoder=encoder)), check(away))
    features = parts.task.front.run(parts.train.samples())
    assert abs(parts.task.front.run(away.recordings[0]).mean(0)).min() > 100
    x = encode(encoder, features, parts.task.encoder_params)
    assert (features == 0).any() and (x[features == 0] == 0).all() and x.any()


def test_without_a_word_it_is_affine(data):
    parts = split(Config(data=DataSettings(window=0.5, hop=0.5)), data)
    assert parts.task.encoder == "affine"
    assert {name: a.tolist() for name, a in parts.task.encoder_params.items()} == {
        name: a.tolist() for name, a in affine.fit(data.of_groups({0}).samples()).items()
    }


def test_channels_of_events_leave_the_proof_room_where_they_are_clamped(data):
    """Of 0 and 1 alone an input weight counts once, not 127 times, so that a neuron's scale is finer."""
    parts = {name: split(settings(name), data) for name in ("affine", "clamped")}
    x = encoded(parts["clamped"].task, data.recordings)
    assert set(np.unique(x[..., 1:] * 64)) == {0.0, 1.0} and np.abs(x[..., 0]).max() > 1
    network = pipeline.new_network(settings(), parts["affine"])
    w_in = np.zeros_like(network.w_in)
    w_in[1:] = network.w_in[1:]
    network = replace(network, w_in=w_in)
    affine_model, clamped = (quantize(network, part.task) for part in parts.values())
    assert clamped.projection("in").shift > affine_model.projection("in").shift


@pytest.mark.parametrize("encoder", ENCODERS)
def test_a_channel_that_is_only_added_to_the_forecast_is_no_input(encoder):
    rng = np.random.default_rng(1)
    series = Series((0,), 1, per_unit=1.0, unit="counts", unheard=(0,))
    recordings = tuple(rng.integers(-500, 500, (200, 2)).astype(np.int16) for _ in range(2))
    data = check(Dataset("x", 0.01, ("a", "b"), (), recordings, np.zeros(2, int), np.arange(2), (1,), series=series))
    parts = split(settings(encoder), data)
    x = encoded(parts.task, recordings[0][None])
    assert (x[..., 0] == 0).all() and (x[..., 1] != 0).any()


def test_an_unknown_encoder_is_refused_with_what_is_available(data, tmp_path, capsys):
    with pytest.raises(ConfigError, match="no encoder is called 'afine'") as e:
        split(settings("afine"), data)
    assert "did you mean 'affine'?" in e.value.try_next and all(name in e.value.try_next for name in ENCODERS)
    (tmp_path / "c.toml").write_text('[data]\nencoder = "afine"\nlimit = 1\n')
    assert main(["prune", str(tmp_path / "c.toml"), "-o", str(tmp_path / "p.safetensors")]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and len(captured.err.splitlines()) == 2
    assert [p.name for p in tmp_path.iterdir()] == ["c.toml"]


def test_images_are_on_their_axes_with_any_encoder():
    rng = np.random.default_rng(1)
    bright = rng.normal(0, 40, (300, 6, 1)) + rng.normal(0, 10, (300, 6, 8))
    counts, groups = np.clip(bright + 128, 0, 255).astype(np.int16), np.arange(300) % 2
    names = tuple(f"column{k}" for k in range(8))
    data = check(Dataset("x", 0.01, names, ("a", "b"), counts, groups.copy(), groups, (1,), pixel=1))
    on_axes = []
    for encoder in ENCODERS:
        config = Config(data=DataSettings(window=0.06, hop=0.06, encoder=encoder))
        parts = split(config, data)
        x = encoded(parts.task, parts.train.recordings).reshape(-1, 8)
        std = plugins.get("lnp_edge.encoders", encoder).TARGET_STD / 64
        on_axes.append(np.trace(np.cov((x @ parts.axes).T)) / std**2)
    assert np.allclose(on_axes, on_axes[0], rtol=0.1) and 4 < on_axes[0] < 6  # not the same: an encoder may be curved
