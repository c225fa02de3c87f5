"""The advice after a training says who is better, why, and what to try."""

import shlex
from dataclasses import replace

import numpy as np
import pytest

from lnp_edge.commands import _after
from lnp_edge.config import Augmentation, Config, DataSettings
from lnp_edge.spec.frontend import FrontEnd
from lnp_edge.task.advice import Scores, advice
from lnp_edge.task.dataset import Dataset, Series
from lnp_edge.task.split import split


def data(groups=3, series=False, group_name="people"):
    count = 2 * (groups + 2)
    x = tuple(np.arange(60, dtype=np.int16)[:, None] * (k + 1) for k in range(count))
    found = Dataset(
        "x", 0.1, ("a",), () if series else ("u", "v"), x, np.zeros(count, int) if series else np.arange(count) % 2,
        np.arange(count) // 2, tuple(range(groups)), series=Series((0,), 1, 1.0, "m") if series else None,
        group_name=group_name,
    )  # fmt: skip
    return split(Config(data=DataSettings(window=1.0, hop=1.0)), found)


AR = "linear autoregression"
PLAIN, BANDS = "ridge on statistics", "ridge on statistics and bands"
RIVALS = {PLAIN: ("ridge_statistics", ""), BANDS: ("ridge_bands", "")}


@pytest.mark.parametrize(("scores", "wanted"), [
    (Scores(0.9, 0.92, {PLAIN: 0.8}), "better than ridge on statistics: 0.900 and 0.800."),
    (Scores(0.9, 0.92, {PLAIN: 0.8, BANDS: 0.7}), f"0.800. Tried: {PLAIN}, {BANDS}."),
    (Scores(0.9, 0.92, {PLAIN: 0.91}), "level: 0.900 and 0.910"),
    (Scores(0.9, 0.92, {PLAIN: 0.91}), "often far cheaper: lnp baseline my.toml --rivals ridge_statistics counts"),
    (Scores(0.9, 0.92, {PLAIN: 0.85}, (0.84, 0.95)), "level"),
    (Scores(0.7, 0.92, {PLAIN: 0.8}), "ridge on statistics is better than the network: 0.800 and 0.700"),
    (Scores(0.7, 0.95, {PLAIN: 0.6}), "by heart"),
    (Scores(0.7, 0.7, {PLAIN: 0.6, BANDS: 0.9}), "Frequencies tell the classes apart"),
    (Scores(0.7, 0.7, {PLAIN: 0.9}), "does not fit its own training part"),
    (Scores(0.7, 0.7, {PLAIN: 0.9}), "lnp baseline my.toml --rivals ridge_statistics writes its C"),
    (Scores(0.7, 0.7, {PLAIN: 0.7}), "lnp reproduce my.toml --rows lnp --folds 5"),
])  # fmt: skip
def test_advice_for_classes(scores, wanted):
    assert wanted in " ".join(advice(data(), scores, "my.toml", RIVALS))


def test_the_commands_that_are_advised_take_any_name_of_a_file():
    task, said = "it's my.toml", []
    for scores in (Scores(0.9, 0.92, {PLAIN: 0.91}), Scores(0.7, 0.7, {PLAIN: 0.9})):
        said += [
            shlex.split(line[line.index("lnp ") :])[:3]
            for line in advice(data(), scores, task, RIVALS)
            if "lnp " in line
        ]
    assert said == [["lnp", name, task] for name in ("baseline", "reproduce") * 2]


@pytest.mark.parametrize(("baselines", "wanted"), [
    ({PLAIN: 0.8, BANDS: 0.9}, "Or take ridge on statistics, which"),
    ({PLAIN: 0.6, BANDS: 0.9}, ""),
])  # fmt: skip
def test_no_baseline_is_advised_that_cannot_be_built(baselines, wanted):
    rivals = RIVALS | {BANDS: ("ridge_bands", "its windows have 4096 steps")}
    said = " ".join(advice(data(), Scores(0.7, 0.7, baselines), "my.toml", rivals))
    assert "lnp baseline cannot build ridge on statistics and bands: its windows have 4096 steps." in said
    assert "--rivals ridge_bands" not in said and (wanted in said if wanted else "Or take" not in said)
    level = " ".join(advice(data(), Scores(0.9, 0.9, {BANDS: 0.9}), "my.toml", rivals))
    assert "level" in level and "lnp baseline" not in level


def test_a_front_end_that_measures_frequencies_is_not_advised_where_it_is_set():
    scores, front = Scores(0.7, 0.7, {PLAIN: 0.6, BANDS: 0.9}), FrontEnd("bands", 4)
    spectral = data()
    spectral = replace(spectral, task=replace(spectral.task, front=front))
    said = " ".join(advice(spectral, scores, "my.toml", RIVALS))
    assert "front =" not in said and "does not fit its own training part" in said


def test_slopes_are_not_advised_where_they_are():
    scores, sloped = Scores(0.9, 0.9, {"persistence": 1.0, AR: 0.8}, lower=True), data(series=True)
    sloped = replace(sloped, task=replace(sloped.task, front=FrontEnd("slope")))
    said = " ".join(advice(sloped, scores, "my.toml", RIVALS))
    assert "longer [data] window" in said and "front =" not in said


def test_a_network_that_fits_its_training_part_is_not_told_to_train_more():
    said = " ".join(advice(data(), Scores(0.95, 0.977, {PLAIN: 1.0}), "my.toml", RIVALS))
    assert f"{PLAIN} is better" in said and "does not fit" not in said and "writes its C" in said


@pytest.mark.parametrize(("changed", "told"), [((1.0, 0.798), True), ((0.9, 0.85), False), (None, False)])
def test_an_augmentation_that_harms_is_told(changed, told):
    said = " ".join(advice(data(), Scores(0.88, 0.8, {PLAIN: 0.6}, changed=changed), "my.toml", RIVALS))
    assert ("1.000, on the same recordings unchanged it is 0.798" in said) == told == ("[augment] speed = 0" in said)


def test_a_training_on_streams_is_longer_by_its_batches():
    streaming = replace(data(), streaming=True)
    assert "try more [stream] batches" in " ".join(advice(streaming, Scores(0.7, 0.7, {PLAIN: 0.9}), "my.toml", RIVALS))


@pytest.mark.parametrize(("scores", "wanted"), [
    (Scores(0.9, 0.9, {"persistence": 1.0, AR: 0.95}, lower=True), f"better than {AR}: 0.900 and 0.950. Tried: p"),
    (Scores(1.1, 1.1, {"persistence": 1.0}, lower=True), "try another [data] ahead"),
    (Scores(0.9, 0.9, {"persistence": 1.0, AR: 0.8}, lower=True), "linear autoregression is better"),
    (Scores(0.9, 0.9, {"persistence": 1.0, AR: 0.8}, lower=True), '[network] skip = true and [data] front = "slope"'),
    (Scores(0.9, 0.5, {"persistence": 1.0}, lower=True), "by heart"),
])  # fmt: skip
def test_advice_for_a_series(scores, wanted):
    assert wanted in " ".join(advice(data(series=True), scores, "my.toml", RIVALS))


def test_no_advice_where_nothing_is_wrong():
    many = data(groups=8)
    assert advice(many, Scores(0.9, 0.91, {PLAIN: 0.7}), "x", RIVALS) == [
        "The network is better than ridge on statistics: 0.900 and 0.700."
    ]
    assert "by heart" not in " ".join(advice(many, Scores(0.8, 0.95, {PLAIN: 0.7}, (0.6, 0.96)), "x", RIVALS))
    parts = data(group_name="part")
    assert "folds" not in " ".join(advice(parts, replace(Scores(0.9, 0.9, {PLAIN: 0.9})), "x", RIVALS))


def test_changes_of_speed_are_blamed_only_where_there_are_some_and_the_training_was_long_enough_to_tell():
    curve = 10 * [{"loss": 0.1, "accuracy": 0.99}]
    assert _after.changed(Config(), curve, 0.5) == (0.99, 0.5)
    assert _after.changed(Config(), curve[1:], 0.5) is None
    assert _after.changed(Config(augment=Augmentation(speed=0.0)), curve, 0.5) is None
