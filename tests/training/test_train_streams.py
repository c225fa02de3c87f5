"""Training streams carry a label at every step, and no loss where the network cannot know."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from nets import tiny_network
from stops import Stopped, stopping_at

from lnp_edge import config
from lnp_edge.base.errors import ConfigError
from lnp_edge.config import Augmentation, StreamSettings, TrainSettings
from lnp_edge.spec.frontend import FrontEnd
from lnp_edge.task.dataset import Dataset, Stream
from lnp_edge.task.split import load_data, split
from lnp_edge.task.task import Task
from lnp_edge.training.loop import _loss, train
from lnp_edge.training.streams import Streams

STILL = Augmentation(rotation=0, speed=0, scale=0, noise=0)
FRAME, WINDOW, GRACE = 2, 8, 3  # samples, samples, steps


def batches(washout=0.25, grace=0.1 * FRAME * GRACE, **changes):
    """Counts tell the label: 10 for class 0, 20 for class 1, 90 for none."""
    label = np.repeat([0, 1, -1], [60, 50, 10])
    signal = np.choose(label + 1, [90, 10, 20]).astype(np.int16)[:, None]
    none = ((), np.zeros(0, np.int64), np.zeros(0, np.int64), ())
    data = Dataset("x", 0.1, ("one",), ("a", "b"), *none, streams=(Stream(signal, label, 1),))
    params = {
        "offset": np.zeros(FRAME, np.int32),
        "gain": np.full(FRAME, 2, np.int32),
        "shift": np.ones(FRAME, np.int32),
    }
    task = Task("affine", params, WINDOW, 2, ("one",), ("a", "b"), front=FrontEnd("stack", FRAME))
    return Streams(replace(data, **changes), task, 32, STILL, 0.0, washout, StreamSettings(100, grace))


def test_a_step_has_its_class_unless_it_is_new_or_unknown():
    data, rng = batches(), np.random.default_rng(1)
    x, wanted = next(data.epoch(rng))
    assert x.shape == (32, 3 * WINDOW // FRAME, FRAME) and wanted.shape == x.shape[:2]
    heard = np.rint(x[:, :, -1] * 64).astype(int)  # the last sample of each step
    true = np.select([heard < 20, heard < 90], [0, 1], -1)  # between two samples the label is that of the first
    assert set(wanted.ravel()) == {-1, 0, 1}
    for row, given in zip(true, wanted, strict=True):
        for t in range(len(row)):
            others = [s for s in range(t) if row[s] >= 0 and row[s] != row[t]]
            new = row[t] >= 0 and bool(others) and t - others[-1] <= GRACE
            assert given[t] == (-1 if new or t < 3 else row[t])  # a quarter of 12 steps is washed out
    assert any((np.diff(row) != 0).any() for row in true)


def test_short_recordings_fill_a_stream_too():
    short = Stream(np.full((3, 1), 20, np.int16), np.ones(3, np.int64), 1)
    x, wanted = next(batches(streams=(short,)).epoch(np.random.default_rng(1)))
    assert (np.rint(x * 64) == 20).all() and set(wanted[:, 3:].ravel()) == {1}


def test_the_loss_is_the_mean_over_the_steps_that_have_one():
    rng = np.random.default_rng(1)
    y, target = rng.normal(size=(2, 4, 3)), np.array([[-1, 0, 2, -1], [1, -1, -1, 2]])
    by_hand = [-np.log(np.exp(y[b, t, k]) / np.exp(y[b, t]).sum()) for (b, t), k in np.ndenumerate(target) if k >= 0]
    found = _loss(torch.from_numpy(y), torch.from_numpy(target)).item()
    assert found == pytest.approx(np.mean(by_hand), rel=1e-12)  # sums in another order


def test_no_time_constant_exceeds_the_window_and_a_stopped_training_goes_on(tmp_path):
    bound = 0.1 * WINDOW
    start = tiny_network(n=8, c=FRAME, o=2, dt=0.1 * FRAME, tau_out=bound)
    settings = TrainSettings(epochs=2, batch=32)
    whole, history = train(start, batches(), settings, 1)
    assert max(whole.tau_out.max(), whole.all("tau_mem").max()) <= bound * (1 + 1e-6)  # float32 logarithms
    free = batches()
    free.longest = 1e9
    assert train(start, free, settings, 1)[0].tau_out.max() > bound * 1.01
    assert history[-1]["loss"] < history[0]["loss"] and history[-1]["accuracy"] > 0.5
    path = tmp_path / "x.checkpoint"
    with pytest.raises(Stopped):
        train(start, batches(), settings, 1, lambda done, *_: stopping_at(0.5)(done / 2, ""), path)
    assert train(start, batches(), settings, 1, None, path)[0].identity() == whole.identity()


@pytest.mark.parametrize(("section", "change", "what"), [
    ("data", {"name": "fashion_mnist", "front": "stack", "frame": 1}, "fashion_mnist has no streams"),
    ("network", {"readout": "mean"}, "the read-out mean never forgets"),
    ("network", {"tau_out": 4.5}, "network.tau_out is 4.5 s"),
    ("data", {"hop": 0.2}, "a hop of 5 samples"),
])  # fmt: skip
def test_what_cannot_be_a_stream_is_refused(section, change, what):
    base = config.named("spar-stream")
    wrong = replace(base, **{section: replace(getattr(base, section), **change)})
    data = load_data(base)
    if "name" in change:
        data = replace(data, name="fashion_mnist", pixel=1)
    with pytest.raises(ConfigError, match=what):
        split(wrong, data)
