"""Baselines: as strong as they are said to be, and chosen on training data alone."""

from dataclasses import replace

import numpy as np
import pytest
from conftest import need

from lnp_edge import config
from lnp_edge.datasets import spar
from lnp_edge.stages import pipeline
from lnp_edge.task.dataset import Dataset
from lnp_edge.task.split import Split, split

need("sklearn")

from sklearn.linear_model import RidgeClassifier  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import StandardScaler  # noqa: E402

from lnp_edge.task import baselines  # noqa: E402

CONFIG = config.Config()  # windows of 4 s every 2 s
STEPS = 100


@pytest.fixture(scope="module")
def watch():
    return split(CONFIG, spar.load())


def noise(seed, classes=3, people=6, each=4, informative=0.0, channels=1):
    """A split of recordings of noise, one window each, whose mean tells the class as far as `informative`."""
    rng = np.random.default_rng(seed)
    labels = np.tile(np.arange(classes), people * each)
    groups = np.repeat(np.arange(people), classes * each)
    x = rng.normal(0, 100, (len(labels), STEPS, channels)) + informative * labels[:, None, None]
    names = tuple(f"c{k}" for k in range(channels))
    kinds = tuple(f"class {k}" for k in range(classes))
    data = Dataset("noise", 0.04, names, kinds, x.astype(np.int16), labels, groups, (people - 1,))
    return split(CONFIG, data)


def test_on_spar_band_powers_come_first_and_are_the_stronger(watch):
    said = baselines.simple(watch)
    assert list(said) == ["ridge on statistics and bands", "ridge on statistics"]
    assert [round(pipeline.measures(watch, p)["accuracy"], 3) for p in said.values()] == [0.908, 0.884]


def test_nothing_is_chosen_by_the_test_windows(watch):
    rng = np.random.default_rng(1)
    shuffled = replace(watch.test, labels=rng.permutation(watch.test.labels))
    other = Split(watch.train, shuffled, watch.task, watch.cut)
    said, again = baselines.simple(watch), baselines.simple(other)
    assert list(said) == list(again)
    assert all((said[name] == again[name]).all() for name in said)


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1"])
def test_at_the_default_strength_it_is_scikit_learns_ridge_classifier(watch, monkeypatch, metric):
    monkeypatch.setattr(baselines, "STRENGTHS", (1.0,))
    uneven = watch.train._only(np.flatnonzero((watch.train.labels > 0) | (watch.train.groups < 3)))
    data = Split(replace(uneven, metric=metric), replace(watch.test, metric=metric), watch.task, watch.cut)
    theirs = RidgeClassifier(class_weight=None if metric == "accuracy" else "balanced")
    theirs = make_pipeline(StandardScaler(), theirs)
    theirs.fit(baselines.statistics(data.train_windows.counts), data.train_windows.wanted)
    expected = theirs.predict(baselines.statistics(data.test_windows.counts))
    assert baselines.ridge(data, baselines.statistics).predicted.tolist() == expected.tolist()


def test_of_fewer_windows_than_features_it_is_that_too(monkeypatch):
    monkeypatch.setattr(baselines, "STRENGTHS", (1.0,))
    data = noise(2, each=10, informative=12, channels=4)
    features = baselines.samples(data.train_windows.counts)
    assert features.shape == (150, 400)
    theirs = make_pipeline(StandardScaler(), RidgeClassifier()).fit(features, data.train_windows.wanted)
    tested = baselines.samples(data.test_windows.counts)
    wanted, found = theirs.decision_function(tested), baselines.linear(data, features).scores(tested)
    assert np.allclose(found, wanted, rtol=0, atol=1e-9)  # rounding of sums


def test_two_classes_are_told_apart_too():
    data = noise(1, classes=2, informative=100)
    assert pipeline.measures(data, baselines.ridge(data, baselines.statistics).predicted)["accuracy"] > 0.9


def test_the_strength_leaves_the_default_only_where_the_training_groups_surely_say_so(watch):
    assert baselines.ridge(watch, baselines.statistics_and_bands).strength == 1
    # 400 samples that tell little one by one: without a strong ridge 300 windows of them are learnt by heart.
    noisy = noise(2, people=11, each=10, informative=12, channels=4)
    assert baselines.ridge(noisy, baselines.samples).strength > 1


def test_changed_windows_are_trained_on_but_not_asked(watch):
    found = baselines.statistics(watch.train_windows.counts)
    alone, train = baselines.linear(watch, found), watch.train_windows
    # The same windows again change nothing, as all weigh as much as those without them.
    again = baselines.linear(watch, found, more=(found, train))
    assert np.allclose(again.w, alone.w, rtol=0, atol=1e-9) and again.score == alone.score
    # Wrong ones ruin the model, and were they asked too, being wrong alike, half would be right.
    wrong = replace(train, wanted=(train.wanted + 1) % 7)
    assert baselines.linear(watch, found, more=(found, wrong)).score < 0.75
    rows, windows = baselines.changed(watch, baselines.statistics, 2)
    assert len(rows) == len(windows) == 2 * len(train) and set(windows.groups.tolist()) == set(range(1, 8))
    assert not np.isin(windows.groups, watch.test.groups).any()
    again = baselines.changed(watch, baselines.statistics, 2)[0]
    assert (rows == again).all()


def test_lagged_products_are_seen_only_where_the_training_groups_gain(watch):
    easy = noise(1, informative=400, channels=2)
    model, lags = baselines.richer(easy, baselines.statistics_and_bands)
    assert model.score == 1 and not lags, "there is nothing to gain"
    assert len(model.w) == baselines.statistics_and_bands(easy.test_windows.counts).shape[1] - 4
    assert baselines.richer(watch, baselines.statistics_and_bands)[1]


def test_one_group_alone_gets_no_changed_windows():
    alone = noise(3)
    alone = Split(alone.train.of_groups([0]), alone.test, alone.task, alone.cut)
    assert baselines.changed(alone, baselines.statistics, 3) is None


@pytest.mark.parametrize("steps", [32, 100, 128])
def test_band_powers_rise_with_the_frequency_of_a_tone_and_ignore_its_mean(steps):
    t = np.arange(steps) / steps
    tones = [np.round(1000 * np.sin(2 * np.pi * f * t) + 300) for f in range(1, steps // 2)]
    powers = baselines.band_powers(np.stack(tones)[:, :, None].astype(np.int16))
    assert powers.shape == (len(tones), baselines.BANDS)
    loudest = powers.argmax(1)
    assert (np.diff(loudest) >= 0).all() and set(loudest) == set(range(baselines.BANDS))
    still = baselines.band_powers(np.full((1, steps, 2), 300, np.int16))
    assert still.tolist() == [[0.0] * 2 * baselines.BANDS]


def test_a_short_window_has_no_band_powers():
    short = replace(CONFIG, data=replace(CONFIG.data, window=1.2, hop=1.2))
    data = split(short, spar.load().of_groups([1, 2, 3]), (3,))
    assert list(baselines.simple(data)) == ["ridge on statistics"]


def test_folds_keep_a_person_together_and_deal_out_trials_of_one_group(watch):
    fold = baselines._folds(watch, watch.train_windows)
    people = watch.train_windows.groups
    assert all(len(set(fold[people == p].tolist())) == 1 for p in set(people.tolist()))
    alone = noise(3)
    alone = Split(alone.train.of_groups([0]), alone.test, alone.task, alone.cut)
    assert baselines._folds(alone, alone.train_windows).tolist() == [k % 10 for k in range(12)]
