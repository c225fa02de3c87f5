"""The learning rate over the epochs, a training that its loss ends, and what is said of one that has not converged."""

import json
import math

import numpy as np
import pytest
from nets import tiny_layers
from stops import Stopped, stopping_at

from lnp_edge.cli import main
from lnp_edge.config import Config, TrainSettings
from lnp_edge.training import schedule
from lnp_edge.training.loop import train

FALLS = [1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.5, 0.5, 0.5, 0.5]


def losses(values):
    return [{"loss": float(value)} for value in values]


def accuracies(values):
    return [{"loss": 1.0, "accuracy": float(value)} for value in values]


def test_without_patience_the_rate_is_the_half_cosine_over_all_epochs():
    settings = TrainSettings(epochs=40)
    assert [schedule.length(losses(FALLS[:k]), settings) for k in (0, 5, 10)] == [40] * 3
    for done in np.arange(0, 40.5, 0.5).tolist():
        share = done / 40
        assert schedule.rate(done, 40, settings) == min(1, share / 0.05) * 0.5 * (1 + math.cos(math.pi * share))


def test_with_patience_the_rate_falls_once_the_loss_does_not():
    """The means of the last two pairs of epochs: 0.5 and 0.55 after eight, equal after nine."""
    settings = TrainSettings(epochs=100, patience=2)
    ends = [schedule.plateau(losses(FALLS[:k]), settings) for k in range(11)]
    assert ends == [None] * 9 + [9, 9]
    assert schedule.plateau(losses([1, 1, 1, 1]), settings) == 4
    assert schedule.length(losses(FALLS[:8]), settings) == 100 and schedule.length(losses(FALLS[:9]), settings) == 11
    rates = [schedule.rate(done, 11, settings) for done in (0, 0.25, 0.5, 8.9, 10, 11)]
    assert rates == pytest.approx([0, 0.5, 1, 1, 0.5, 0], abs=1e-12)


def test_the_rate_falls_in_time_for_the_last_epoch():
    settings = TrainSettings(epochs=20, patience=8)
    falling = losses(0.9 ** np.arange(20))
    assert schedule.plateau(falling, settings) is None and schedule.length(falling, settings) == 20
    assert [schedule.rate(done, 20, settings) for done in (11.9, 12, 20)] == [1, 1, 0]
    assert schedule.rate(3, 3, TrainSettings(epochs=3, patience=8)) == 0


class Noise:
    """Batches that nothing can be learned from: the loss soon stops falling."""

    batches, steps, longest, identity = 2, 30, 300.0, "noise"

    def epoch(self, rng):
        for _ in range(self.batches):
            yield rng.normal(0, 1, (4, 30, 3)).astype(np.float32), rng.integers(0, 2, 4)


def stopped_by_its_loss(progress=None, resume=None):
    settings = TrainSettings(epochs=500, patience=4, batch=4, lr=0.01)
    return train(tiny_layers(sizes=(5, 4)), Noise(), settings, 1, progress, resume)


def test_a_training_that_its_loss_ends_resumes_to_the_same_bits(tmp_path, monkeypatch):
    monkeypatch.setattr("lnp_edge.training.loop.SAVE_EVERY", 1)
    seen = []
    whole, history = stopped_by_its_loss(lambda *progress: seen.append(progress[:2]))
    length = len(history)
    assert 12 <= length < 500 and seen[-1] == (length, length) and seen[-6] == (length - 5, 500)
    for point in (length - 6, length - 2, length):  # before the rate falls, while it falls, at the end
        with pytest.raises(Stopped):
            stopped_by_its_loss(stopping_at(point), tmp_path / "c")
    monkeypatch.setattr("lnp_edge.training.loop.SAVE_EVERY", 1000)
    stopped_by_its_loss(None, tmp_path / "at the end")
    seen.clear()
    stopped_by_its_loss(lambda *progress: seen.append(progress[:2]), tmp_path / "at the end")
    assert seen == [(length, length)]
    again, resumed = stopped_by_its_loss(None, tmp_path / "c")
    assert resumed == history and (again.w_in == whole.w_in).all() and (again.w_rec.data == whole.w_rec.data).all()


def test_a_rise_at_the_end_is_said_if_it_is_large_and_more_than_noise():
    settings, rng = TrainSettings(epochs=40), np.random.default_rng(1)
    noise = rng.normal(0, 1, 40)
    said = schedule.warning(accuracies(np.linspace(0.5, 0.8, 40) + 0.002 * noise), settings)
    assert "accuracy rose from 0.711 to 0.773" in said and "raise [train] epochs, now 40" in said
    assert schedule.warning(accuracies(np.linspace(0.5, 0.8, 40) + 0.3 * noise), settings) == ""  # noise hides it
    assert schedule.warning(accuracies(np.linspace(0.80, 0.83, 40)), settings) == ""  # by 0.006 alone
    assert schedule.warning(accuracies(np.linspace(0.8, 0.5, 40)), settings) == ""
    assert "loss fell from" in schedule.warning(losses(0.98 ** np.arange(40)), settings)
    assert schedule.warning(losses(0.9985 ** np.arange(40)), settings) == ""  # by 1.2 %


def test_too_few_epochs_tell_nothing():
    assert schedule.warning([], TrainSettings(epochs=0)) == ""
    assert "2 epochs are too few" in schedule.warning(accuracies([0.5, 0.5]), TrainSettings(epochs=2))


def test_with_patience_the_loss_says_whether_it_had_stopped_falling():
    settings = TrainSettings(epochs=20, patience=4)
    assert "still falling" in schedule.warning(losses(0.9 ** np.arange(20)), settings)
    assert schedule.warning(losses(FALLS + [0.5] * 10), settings) == ""


def test_a_key_of_stored_results_lacks_the_patience_that_older_ones_lacked():
    assert "patience" not in Config().to_json()
    patient = Config(train=TrainSettings(patience=5))
    assert Config.from_json(patient.to_json()) == patient


def test_lnp_train_says_what_has_not_converged(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "c.toml").write_text("[network]\nneurons = 8\n[data]\nlimit = 2\n[train]\nepochs = 2")
    assert main(["train", "c.toml"]) == 0
    said = "not converged: 2 epochs are too few to converge, or to tell: raise [train] epochs, now 2\n"
    assert said in capsys.readouterr().out
    assert main(["train", "c.toml", "--json"]) == 0
    assert "2 epochs are too few" in json.loads(capsys.readouterr().out)["warning"]


def test_what_lnp_train_advises_of_a_network_file_names_its_data_set(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "c.toml").write_text("[network]\nneurons = 8\n[data]\nlimit = 2\n[train]\nepochs = 1")
    assert main(["prune", "c.toml", "-o", "p.safetensors"]) == 0
    capsys.readouterr()
    assert main(["train", "p.safetensors", "--json"]) == 0
    commands = [said for said in json.loads(capsys.readouterr().out)["advice"] if "lnp baseline " in said]
    assert commands and all("lnp baseline spar " in said for said in commands)
