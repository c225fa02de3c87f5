"""A pruning that was stopped goes on to the same bits, and knows whose checkpoint it reads."""

import json
from dataclasses import replace

import numpy as np
import pytest
from conftest import need
from nets import tiny_network
from stops import Stopped, stopping_at

from lnp_edge import config
from lnp_edge.base.errors import ModelError
from lnp_edge.cli import main
from lnp_edge.config import NoiseSettings
from lnp_edge.experiments.trial import Trial, run_trial
from lnp_edge.network import file as network_file
from lnp_edge.network.draw import random_network
from lnp_edge.pruning import lnp
from lnp_edge.pruning.steps import checkpoint as _checkpoint
from lnp_edge.pruning.steps import timescales as _timescales
from lnp_edge.stages import pipeline
from lnp_edge.task import baselines

MANY = NoiseSettings(rounds=6)
LYAPUNOV = NoiseSettings(rounds=4, score="wl", nodes=0.3)
TUNED = NoiseSettings(rounds=2, timescales=13)
FEW_TRIALS = NoiseSettings(rounds=2, timescales=11)  # the last of which is not random


def same(a, b):
    assert a.identity() == b.identity()


@pytest.mark.parametrize(
    ("options", "shares"),
    [(MANY, (0.1, 0.4, 0.95)), (LYAPUNOV, (0.3, 0.6)), (FEW_TRIALS, (0.2, 0.55, 0.99))],
    ids=["rounds", "Lyapunov matrix", "time constants"],
)
def test_a_stopped_pruning_goes_on_to_the_same_network(tmp_path, options, shares):
    start, path = random_network(14, 14, 7, 1.0, 0.3, np.random.default_rng(4), "cuba_lif"), tmp_path / "x.pruning"
    whole = lnp.prune(start, 0.2, 1, None, options, tmp_path / "whole.pruning")
    for share in shares:
        with pytest.raises(Stopped):
            lnp.prune(start, 0.2, 1, stopping_at(share), options, path)
    same(lnp.prune(start, 0.2, 1, None, options, path), whole)
    done, at_once = (network_file.load(p).history for p in (path, tmp_path / "whole.pruning"))
    assert done == at_once, "each trial was the same, not only the best of them"
    same(lnp.prune(start, 0.2, 1, None, options, path), whole)  # all of it was done


def test_what_was_done_is_not_done_again(tmp_path, monkeypatch):
    start, path = tiny_network(n=30), tmp_path / "x.pruning"
    with pytest.raises(Stopped):
        lnp.prune(start, 0.2, 1, stopping_at(0.8), TUNED, path)
    seen, spectra, find = [], [], _timescales.lyapunov.of_network
    monkeypatch.setattr(_timescales.lyapunov, "of_network", lambda *a, **k: spectra.append(0) or find(*a, **k))
    lnp.prune(start, 0.2, 1, lambda done, what: seen.append(done), TUNED, path)
    assert min(seen) >= 0.5 and len(spectra) == 1 + 5  # what is wanted, and 14 costs less the 9 that were known
    monkeypatch.setattr(lnp, "version", lambda package: "0.0")
    with pytest.raises(ModelError, match="another pruning"):
        lnp.prune(start, 0.2, 1, None, TUNED, path)


def stop(tmp_path):
    path = tmp_path / "x.pruning"
    with pytest.raises(Stopped):
        lnp.prune(tiny_network(n=30), 0.2, 1, stopping_at(0.4), MANY, path)
    return path


@pytest.mark.parametrize(
    ("keep", "seed", "options"), [(0.3, 1, MANY), (0.2, 2, MANY), (0.2, 1, NoiseSettings(rounds=7))]
)
def test_the_checkpoint_of_another_pruning_is_refused(tmp_path, keep, seed, options):
    path = stop(tmp_path)
    with pytest.raises(ModelError, match="another pruning\n  delete it"):
        lnp.prune(tiny_network(n=30), keep, seed, None, options, path)
    with pytest.raises(ModelError, match="another pruning"):
        lnp.prune(tiny_network(n=31), 0.2, 1, None, MANY, path)


@pytest.mark.parametrize(
    "change",
    [
        {"rounds": -1}, {"rounds": "x"}, {"rounds": 1e400}, {"costs": 3}, {"costs": ["x"]}, {"rng": {}}, {"rng": 5},
        {"rng": {"bit_generator": "PCG64", "state": {"state": -1, "inc": 1}, "has_uint32": 0, "uinteger": 0}},
    ],
    ids=str,
)  # fmt: skip
def test_a_forged_checkpoint_is_refused(tmp_path, change):
    path = stop(tmp_path)
    file = network_file.load(path)
    network_file.save(replace(file, history={"pruning": file.history["pruning"] | change}), path)
    with pytest.raises(ModelError, match=r"no checkpoint.*\n  delete it"):
        lnp.prune(tiny_network(n=30), 0.2, 1, None, MANY, path)


@pytest.mark.parametrize("data", [b"", b"{}", b"\0" * 100])
def test_a_damaged_checkpoint_is_refused(tmp_path, data):
    path = tmp_path / "x.pruning"
    path.write_bytes(data)
    with pytest.raises(ModelError, match="delete it to start anew"):
        lnp.prune(tiny_network(n=30), 0.2, 1, None, MANY, path)


def test_a_network_is_no_checkpoint(tmp_path):
    path = tmp_path / "x.pruning"
    network_file.save(network_file.NetworkFile(tiny_network(n=30), config.Config(), {}), path)
    with pytest.raises(ModelError, match="no checkpoint"):
        lnp.prune(tiny_network(n=30), 0.2, 1, None, MANY, path)


def test_the_command_keeps_it_beside_its_output(tmp_path, monkeypatch, capsys):
    settings = tmp_path / "x.toml"
    settings.write_text("[network]\nneurons = 24\n[prune]\nkeep = 0.2\nnoise = {rounds = 4}\n")
    words = ["prune", str(settings), "--json", "-o"]
    assert main([*words, str(tmp_path / "whole.safetensors")]) == 0
    rounds, saved = [], _checkpoint.State.save

    def save(self, path, key):
        saved(self, path, key)
        rounds.append(self.rounds)
        if len(rounds) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(_checkpoint.State, "save", save)
    try:
        code = main([*words, str(tmp_path / "out.safetensors")])
    except KeyboardInterrupt:
        code = 130
    assert (
        code == 130 and (tmp_path / "out.safetensors.pruning").exists() and not (tmp_path / "out.safetensors").exists()
    )
    assert main([*words, str(tmp_path / "out.safetensors")]) == 0
    assert rounds == [1, 2, 3, 4] and not (tmp_path / "out.safetensors.pruning").exists()
    whole, gone_on = (network_file.load(tmp_path / f"{name}.safetensors").network for name in ("whole", "out"))
    same(whole, gone_on)
    reports = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert reports[0] == reports[1] and np.isfinite(reports[0]["after"]["abscissa"])


def test_a_stopped_training_does_not_lose_its_pruning(tmp_path, monkeypatch):
    need("torch")
    monkeypatch.setattr(baselines, "COPIES", 0)
    settings = tmp_path / "x.toml"
    settings.write_text(
        "[network]\nneurons = 24\n[data]\nlimit = 2\n[train]\nepochs = 1\nbatch = 256\n[prune]\nnoise = {rounds = 3}\n"
    )
    words = ["train", str(settings), "-o", str(tmp_path / "out.safetensors")]

    def stopped(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as m:
        m.setattr(pipeline, "train", stopped)
        assert main(words) == 130
    assert (tmp_path / "out.safetensors.pruning").exists()
    monkeypatch.setattr(lnp, "prune_round", stopped)  # none is left
    assert main(words) == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.safetensors", "x.toml"]


def test_pruning_after_training_trains_first_stops_and_goes_on(tmp_path, monkeypatch, capsys):
    """As a trial does, which lnp reproduce and lnp compare run; lnp prune has nothing trained to prune."""
    need("torch")
    monkeypatch.setattr(baselines, "COPIES", 0)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.toml").write_text(
        '[network]\nneurons = 12\n[data]\nlimit = 2\n[prune]\nmethod = "activity"\n[train]\nepochs = 2\nbatch = 256\n'
    )
    assert main(["prune", "a.toml"]) == 2
    assert "lnp train a.toml trains, prunes and trains again" in capsys.readouterr().err
    train, seen = pipeline.train, []

    def stopping(settings, data, network, progress, checkpoint):
        seen.append(checkpoint.exists())
        if len(seen) == 2:
            raise Stopped
        return train(settings, data, network, progress, checkpoint)

    with monkeypatch.context() as m:
        m.setattr(pipeline, "train", stopping)
        assert main(["train", "a.toml", "-o", "t.safetensors"]) == 70  # a crash
        assert main(["train", "a.toml", "-o", "t.safetensors"]) == 0
    assert seen == [False, False, True, False]  # the training before the pruning was kept
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.toml", "t.safetensors"]
    trained = network_file.load(tmp_path / "t.safetensors").network
    same(trained, run_trial(Trial("activity", config.load(tmp_path / "a.toml"))).network)
