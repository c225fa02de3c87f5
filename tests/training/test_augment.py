from dataclasses import replace

import numpy as np
import pytest

from lnp_edge.config import Augmentation, Config, DataSettings
from lnp_edge.datasets import spar
from lnp_edge.spec.model import Forecast
from lnp_edge.spec.quantity import Quantity
from lnp_edge.task.dataset import Dataset, Series
from lnp_edge.task.split import split
from lnp_edge.task.task import Task
from lnp_edge.training.augment import Crops, Stretches, vectors

STILL = Augmentation(rotation=0, speed=0, scale=0, noise=0)


def plain_task(c, window, **more):
    """An encoder that leaves counts as they are, up to +-127."""
    params = {"offset": np.zeros(c, np.int32), "gain": np.full(c, 2, np.int32), "shift": np.ones(c, np.int32)}
    return Task("affine", params, window=window, hop=1, channels=tuple(map(str, range(c))), classes=("a", "b"), **more)


def images(**changes):
    """Two pictures of 5 rows and 4 columns of 2 colours, every count another."""
    counts = np.arange(80, dtype=np.int16).reshape(2, 5, 8)
    base = Dataset("x", 0.1, tuple(map(str, range(8))), ("a", "b"), counts, np.array([0, 1]), np.zeros(2, int), ())
    return replace(base, pixel=2, **changes)


def heard(crops, batches=1, seed=0):
    rng = np.random.default_rng(seed)
    found = [next(crops.epoch(rng)) for _ in range(batches)]
    return np.concatenate([x for x, _ in found]) * 64, np.concatenate([labels for _, labels in found])


def test_a_mirrored_picture_is_the_picture_with_its_columns_reversed():
    data = images(mirror=(7, 8, 5, 6, 3, 4, 1, 2))
    x, labels = heard(Crops(data, plain_task(8, 5), 64, STILL))
    flipped = 0
    for picture, label in zip(x, labels, strict=True):
        as_is = data.recordings[label].reshape(5, 4, 2)
        flipped += (picture.reshape(5, 4, 2) == as_is[:, ::-1]).all()
        assert (picture.reshape(5, 4, 2) == as_is).all() or (picture.reshape(5, 4, 2) == as_is[:, ::-1]).all()
    assert 16 < flipped < 48


def test_a_moved_picture_repeats_its_edge():
    x, labels = heard(Crops(images(), plain_task(8, 5), 256, replace(STILL, shift=1)))
    moves = set()
    for picture, label in zip(x.reshape(-1, 5, 4, 2), labels, strict=True):
        padded = np.pad(images().recordings[label].reshape(5, 4, 2), ((1, 1), (1, 1), (0, 0)), "edge")
        same = [(r, c) for r in range(3) for c in range(3) if (picture == padded[r : r + 5, c : c + 4]).all()]
        assert len(same) == 1
        moves |= set(same)
    assert len(moves) == 9


def test_balance_draws_rare_classes_as_often_as_it_says():
    recordings = np.zeros((100, 5, 1), np.int16)
    labels = np.array([0] * 90 + [1] * 10)
    data = Dataset("x", 0.1, ("one",), ("a", "b"), recordings, labels, np.zeros(100, int), ())
    for balance, share in ((0.0, 0.1), (0.5, 0.25), (1.0, 0.5)):  # sqrt(10) / (sqrt(10) + sqrt(90)) = 1/4
        crops = Crops(data, plain_task(1, 5), 64, STILL, balance)
        assert np.bincount(labels, crops.share)[1] == pytest.approx(share)


def series(noise=0.0, washout=0.5):
    walk = (np.arange(60, dtype=np.int16) * 2)[:, None] + np.array([0, 1], np.int16)
    ahead, one = Series((1,), 3, 1.0, ""), np.zeros(1, int)
    data = Dataset("x", 0.1, ("a", "b"), (), (walk,), one, one, (), series=ahead)
    task = plain_task(2, 10, forecast=Forecast((1,), 3, (4.0,)))
    return Stretches(data, task, 32, replace(STILL, noise=noise), washout)


def test_a_stretch_wants_the_change_over_the_horizon_in_units_of_the_read_out():
    x, wanted = next(series().epoch(np.random.default_rng(0)))
    assert x.shape == (32, 10, 2) and wanted.shape == (32, 5, 1)
    assert (wanted == 6 / 4).all()  # two counts a step, three steps, a unit of 4


def test_noise_on_what_is_heard_is_taken_off_what_is_wanted():
    """The forecast leads back to the clean series: heard + wanted is clean, whatever the noise."""
    x, wanted = next(series(noise=0.05).epoch(np.random.default_rng(0)))
    later = (x * 64)[:, 5:, 1:] + 4 * wanted
    assert (np.diff(later, axis=1) == 2).all()
    assert not (np.diff(x * 64, axis=1) == 2).all()


def test_limits_keep_so_many_recordings_of_each_class_and_group():
    data = spar.load().limited(1, 100)
    pairs = list(zip(data.labels.tolist(), data.groups.tolist(), strict=True))
    assert len(pairs) == len(set(pairs)) == 70
    assert (data.recordings[0] == spar.load().recordings[0]).all()


def test_a_turn_is_about_the_zero_of_each_channel():
    """Unsigned counts about 512 stay about it; about count 0 a turn would scatter the means of windows."""
    rng = np.random.default_rng(1)
    x = np.rint(512 + rng.normal(0, 20, (400, 3))).astype(np.int16)
    strength = Augmentation(rotation=0.5, speed=0.0, scale=0.3, noise=0.0)

    def spread(zero):
        found = Dataset(
            "raw", 0.02, ("a", "b", "c"), ("u", "v"), (x, x), np.array([0, 1]), np.array([0, 1]), (1,),
            quantities=(Quantity(zero=zero),) * 3, vectors=((0, 1, 2),),
        )  # fmt: skip
        data = split(Config(data=DataSettings(window=1.0, hop=1.0)), found)
        crops = Crops(data.train, replace(data.task, window=50), 32, strength)
        windows = crops._windows(np.zeros(32, int), np.random.default_rng(2))
        return float(windows.mean((1, 2)).std())

    assert spread(512.0) < 5 < 50 < spread(0.0)


def test_vectors_are_those_that_the_data_set_names():
    x = tuple(np.zeros((60, 4), np.int16) for _ in range(2))
    found = Dataset("raw", 0.02, ("ax", "ay", "az", "w"), ("u", "v"), x, np.array([0, 1]), np.array([0, 1]), (1,))
    assert vectors(found) == [slice(0, 3)]
    assert vectors(replace(found, vectors=((0, 1, 3),))) == [[0, 1, 3]] and vectors(replace(found, vectors=())) == []
