"""A front end, a frame, sparse inputs and the read-out `mean`, from a configuration to predictions."""

from dataclasses import replace

import numpy as np
import pytest

from lnp_edge.cli import main
from lnp_edge.config import load
from lnp_edge.experiments.predict import of_model, of_network
from lnp_edge.interchange import onnx_file
from lnp_edge.network import file as network_file
from lnp_edge.runtime.host import infer
from lnp_edge.runtime.reference import Reference
from lnp_edge.spec.frontend import FrontEnd
from lnp_edge.spec.model import INT32_MAX
from lnp_edge.stages import pipeline
from lnp_edge.task.dataset import Dataset, Series
from lnp_edge.task.split import load_data, split
from lnp_edge.training.augment import Crops, Stretches

TEXT = """
[data]
name = "spar"
limit = 1
front = "logdiff"
frame = 4
[network]
neuron = "adlif"
neurons = 24
readout = "mean"
inputs = 5
skip = true
[train]
epochs = 2
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    at = tmp_path_factory.mktemp("frames")
    (at / "c.toml").write_text(TEXT)
    for line in ("train c.toml -o t.safetensors", "quantize t.safetensors -o m.onnx"):
        words = [str(at / word) if "." in word else word for word in line.split()]
        assert main(words) == 0
    return load(at / "c.toml"), network_file.load(at / "t.safetensors"), onnx_file.load(at / "m.onnx")


@pytest.fixture(scope="module")
def data(trained):
    return split(trained[0], load_data(trained[0]))


def test_every_file_keeps_the_frame_the_front_end_and_the_readout(trained, data):
    config, file, model = trained
    assert file.config.data == config.data and file.network.readout == "mean"
    assert model.front == FrontEnd("logdiff", 4) and model.readout.neuron == "mean"
    assert (model.window, model.hop) == (100, 50) and data.task.steps == 25
    assert model.dt == file.network.dt == pytest.approx(0.16) and model.sample_dt == pytest.approx(0.04)
    assert ((file.network.w_in != 0).sum(0) == 5).all()


def test_floats_and_integers_agree_and_so_does_the_stream(trained, data):
    config, file, model = trained
    floats, integers = of_network(config, data, file.network), of_model(data, model)
    assert (floats == integers).mean() > 0.9  # rounding decides between classes that are nearly equal
    recording = data.test.recordings[0]
    stream = [p.label for p in infer(Reference(model), model, recording)]
    assert stream == integers[: len(stream)].tolist()


def test_no_window_reaches_the_limit_of_the_sum(trained, data):
    """As the read-out only sums, its largest step times the steps of a window must stay within it."""
    _, file, model = trained
    out, steps = model.readout, data.task.steps
    a_step = max(a + abs(b) for a, b in zip(model.drive_bounds(out), out.params["bias"].tolist(), strict=True))
    assert a_step * steps <= 2**30 and max(model.bounds(out)) <= INT32_MAX
    assert np.array_equal(file.network.gamma, np.ones(len(file.network.tau_out)))


def test_trials_of_two_front_ends_have_two_keys(trained):
    config = trained[0]
    texts = {replace(config, data=replace(config.data, **change)).to_json() for change in (
        {}, {"front": "bands"}, {"frame": 8}, {"front": "stack"}, {"front": "stack", "frame": 1})}  # fmt: skip
    assert len(texts) == 5
    assert all(type(config).from_json(text).to_json() == text for text in texts)


def test_noise_is_added_only_where_the_front_end_bears_it(trained):
    config = trained[0]
    strong = replace(config, augment=replace(config.augment, noise=5.0, rotation=0.0, speed=0.0, scale=0.0))
    for front, bears in (("logdiff", False), ("stack", True)):
        wanted = replace(strong, data=replace(strong.data, front=front))
        data = split(wanted, load_data(wanted))
        loud, quiet = (
            next(Crops(data.train, data.task, 8, replace(strong.augment, noise=noise)).epoch(np.random.default_rng(1)))[
                0
            ]
            for noise in (5.0, 0.0)
        )
        assert (loud != quiet).any() == bears


def test_a_forecast_is_wanted_after_the_last_sample_of_a_step():
    """Of squares, in recordings of one window: (t + 3)**2 - t**2 at the last sample of each of the last five steps."""
    t = np.arange(43, dtype=np.int16)[:, None]
    series = Series(target=(0,), horizon=3, per_unit=1.0, unit="")
    squares = Dataset("squares", 1.0, ("x",), (), (t * t, t * t), np.zeros(2, int), np.arange(2), (1,), series=series)
    config = load_config({"front": "stack", "frame": 4})
    data = split(config, squares)
    batches = Stretches(data.train, data.task, 2, replace(config.augment, noise=0.0), 0.5)
    x, wanted = next(batches.epoch(np.random.default_rng(1)))
    assert x.shape == (2, 10, 4) and wanted.shape == (2, 5, 1)
    expected = [6 * last + 9 for last in (23, 27, 31, 35, 39)]
    np.testing.assert_allclose(wanted[..., 0] * data.task.forecast.unit[0], [expected] * 2, rtol=1e-6)  # float32


def load_config(data):
    from lnp_edge.config import Config, DataSettings

    return Config(data=DataSettings(window=40.0, hop=4.0, **data))


def test_a_window_of_no_whole_steps_is_refused(trained, data):
    config = trained[0]
    odd = replace(config, data=replace(config.data, frame=8))
    with pytest.raises(Exception, match="a window of 100 samples is not a whole number of steps of 8 samples"):
        split(odd, load_data(odd))
    assert pipeline.new_network(config, data).w_in.shape == (24, 24)
