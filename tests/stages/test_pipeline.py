"""From a configuration to model.onnx by the commands, for every kind of network that one can be written for."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import need
from nets import SPIKING, tiny_network

from lnp_edge import config as configurations
from lnp_edge.base.errors import ConfigError
from lnp_edge.cli import main
from lnp_edge.commands import _another
from lnp_edge.config import Config
from lnp_edge.interchange import onnx_file
from lnp_edge.network import file as network_file
from lnp_edge.network.file import NetworkFile
from lnp_edge.quantization import report
from lnp_edge.runtime.reference import Reference
from lnp_edge.stages import pipeline
from lnp_edge.task.split import data_for, load_data, split

OTHERS = [name for name in SPIKING if name != "cuba_lif"]
REST = """
[data]
limit = 1
window = 1.0
hop = 1.0
[prune]
method = "magnitude"
keep = 0.5
[train]
epochs = 1
batch = 256
"""
NETWORKS = {
    **{name: f'[network]\nneurons = 30\nneuron = "{name}"' for name in SPIKING},
    "two recurrent": "[[network.layer]]\nneurons = 30\n[[network.layer]]\nneurons = 20",
    "feed-forward first": "[[network.layer]]\nneurons = 30\nrecurrent = false\n[[network.layer]]\nneurons = 20",
    "skip": "[network]\nneurons = 30\nskip = true",
    "mixed": "[network]\nskip = true\n"
    + "\n".join(f'[[network.layer]]\nneurons = 20\nneuron = "{name}"' for name in ("cuba_lif", *OTHERS)),
}


@pytest.fixture
def at(tmp_path, monkeypatch):
    need("torch")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(report, "STEPS", 1000)
    return tmp_path


def run(capsys, line):
    """The JSON that a command prints."""
    assert main([*line.split(), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("kind", NETWORKS)
def test_a_configuration_is_pruned_trained_and_quantised(at, capsys, kind):
    (at / "c.toml").write_text(NETWORKS[kind] + REST)
    said = run(capsys, "prune c.toml -o pruned.safetensors")
    pruned = network_file.load(at / "pruned.safetensors").network
    assert said["before"]["synapses"] > said["after"]["synapses"] == pruned.w_rec.nnz > 0
    run(capsys, "train pruned.safetensors -o trained.safetensors")
    file = network_file.load(at / "trained.safetensors")
    assert file.network.w_rec.nnz == pruned.w_rec.nnz and (file.network.w_rec.data != pruned.w_rec.data).all()
    assert [(p.name, p.neuron, p.n) for p in file.network.populations] == [
        (p.name, p.neuron, p.n) for p in pruned.populations
    ]
    for bits in (4, 8, 16):
        said = run(capsys, f"quantize trained.safetensors --bits {bits} -o model.onnx")
        model = onnx_file.load(at / "model.onnx")
        assert said["fingerprint"] == f"{model.fingerprint:08x}"
        assert list(said["layers"]["neurons"]["populations"]) == [p.name for p in file.network.populations]
        assert said["synapses"] == {p.name: p.w.nnz for p in model.projections}
        assert {p.bits for p in model.projections} == {bits}
        assert [(p.neuron, p.n) for p in model.populations[:-1]] == [(p.neuron, p.n) for p in file.network.populations]
        assert Config.from_json(json.dumps(model.provenance["config"])).network == file.config.network
    windows = data_for(file.config, file.network).test_windows
    runner, right = Reference(model), 0
    for counts, wanted in zip(windows.counts, windows.wanted, strict=True):
        runner.reset()
        right += int(np.argmax(runner.steps(counts).y)) == wanted
    assert said["measures"]["accuracy"] == right / len(windows)


@pytest.mark.parametrize("kind", ["two recurrent", "mixed"])
def test_a_configuration_of_layers_trains_without_a_step_between(at, capsys, kind):
    (at / "c.toml").write_text(NETWORKS[kind] + REST)
    said = run(capsys, "train c.toml -o trained.safetensors")
    assert np.isfinite([epoch["loss"] for epoch in said["train"]]).all()
    assert main(["quantize", "trained.safetensors", "-o", "model.onnx"]) == 0
    captured = capsys.readouterr()
    assert "written: model.onnx and model.onnx.windows  " in captured.err
    lines = captured.out.splitlines()
    for name in ("input", "between neurons", "layer1", "layer2", "read-out"):
        assert any(name in line for line in lines)


def test_pruning_in_blocks_says_how_full_they_are(at, capsys):
    rest = REST.replace("keep = 0.5", "keep = 0.2\nblock = 4")
    (at / "c.toml").write_text("[network]\nneurons = 32\ndensity = 1.0" + rest)
    assert run(capsys, "prune c.toml -o pruned.safetensors")["blocks"] == {"size": 4, "count": 51, "filled": 198 / 204}
    pruned = network_file.load(at / "pruned.safetensors")
    assert pruned.config.prune.block == 4 and pruned.network.w_rec.nnz == 198
    assert main(["prune", "c.toml"]) == 0
    said = capsys.readouterr().out
    assert "The synapses lie in 51 blocks of 4 neighbouring targets, and fill 97.1% of them.\n" in said
    (at / "c.toml").write_text("[network]\nneurons = 32\ndensity = 0.2" + rest)
    assert main(["prune", "c.toml"]) == 0
    assert "Blocks fill when the start is dense: set [network] density = 1" in capsys.readouterr().out
    assert "blocks" not in run(capsys, "prune symbol_recall")


@pytest.mark.parametrize("kind", ["two recurrent", "skip"])
def test_training_in_integers_is_refused_where_it_does_not_serve(at, capsys, kind):
    (at / "c.toml").write_text(NETWORKS[kind] + REST)
    assert main(["prune", "c.toml", "-o", "pruned.safetensors"]) == 0
    capsys.readouterr()
    assert main(["quantize", "pruned.safetensors", "--epochs", "1", "-o", "model.onnx"]) == 2
    captured = capsys.readouterr()
    first, second = captured.err.splitlines()
    assert "training in integers needs one layer" in first and "epochs = 0" in second
    assert captured.out == "" and not (at / "model.onnx").exists()


def test_the_encoder_of_the_configuration_reaches_the_model(at, capsys):
    (at / "c.toml").write_text(NETWORKS["cuba_lif"] + REST.replace("[data]", '[data]\nencoder = "clamped"'))
    assert main(["prune", "c.toml", "-o", "pruned.safetensors"]) == 0
    assert main(["quantize", "pruned.safetensors", "-o", "model.onnx"]) == 0
    assert onnx_file.load(at / "model.onnx").encoder == "clamped"


def test_windows_with_gaps_are_refused_before_the_work(tmp_path, capsys):
    path = tmp_path / "c.toml"
    path.write_text("[data]\nwindow = 2.0\nhop = 4.0\nlimit = 1\n[network]\nneurons = 8\n[prune]\nmethod = 'random'\n")
    assert main(["prune", str(path), "-o", str(tmp_path / "p.safetensors")]) == 2


def test_a_network_of_another_data_set_is_not_replaced(at, capsys):
    """A second configuration with the same -o cost the first its network, without a word."""
    (at / "c.toml").write_text("[network]\nneurons = 30" + REST)
    run(capsys, "train c.toml")
    before = (at / "trained.safetensors").read_bytes()
    assert main(["train", "wind"]) == 2 and (at / "trained.safetensors").read_bytes() == before
    what, remedy = capsys.readouterr().err.splitlines()
    assert "trained.safetensors holds a network of spar, this one is of wind" in what
    assert "-o wind.safetensors, or remove trained.safetensors" in remedy
    shutil.copy(at / "trained.safetensors", at / "network")  # a network, whatever it is called
    assert main(["quantize", "network", "-o", "model.onnx"]) == 0
    assert (
        main(["train", "network", "-o", "again"]) == 0 and network_file.load(at / "again").config.network.neurons == 30
    )
    capsys.readouterr()
    other = network_file.load(at / "network")
    other = replace(other, config=replace(other.config, data=replace(other.config.data, name="hapt")))
    network_file.save(other, at / "other.safetensors")
    before = (at / "model.onnx").read_bytes()
    assert main(["quantize", "other.safetensors", "-o", "model.onnx"]) == 2
    assert "model.onnx holds a network of spar, this one is of hapt" in capsys.readouterr().err
    assert (at / "model.onnx").read_bytes() == before
    (at / "c.toml").write_text("[network]\nneurons = 20" + REST)
    assert main(["train", "c.toml"]) == 0 and (at / "trained.safetensors").read_bytes() != before, "tried again"
    assert "next: lnp quantize trained.safetensors -o model.onnx" in capsys.readouterr().err
    assert main(["train", "c.toml", "-o", "mine.safetensors"]) == 0
    assert "next: lnp quantize mine.safetensors -o mine.onnx" in capsys.readouterr().err


def test_a_task_does_not_replace_the_network_of_another_with_the_same_data(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    settings = configurations.named("spar")
    network_file.save(NetworkFile(tiny_network(), settings, {}), tmp_path / "trained.safetensors")
    _another.refuse(Path("trained.safetensors"), json.loads(settings.to_json()), settings)
    for foreign in ({}, {"data": "spar"}, {"data": {"name": ["spar"]}}, {"data": None, "network": 7}):
        with pytest.raises(ConfigError, match=r"holds a network of something else, this one is of spar\n"):
            _another.refuse(Path("trained.safetensors"), foreign, settings)
    bits = replace(settings, quantize=replace(settings.quantize, bits=4))  # of lnp quantize --bits
    _another.refuse(Path("trained.safetensors"), json.loads(bits.to_json()), settings)
    assert main(["train", "spar-quick"]) == 2
    what, remedy = capsys.readouterr().err.splitlines()
    assert what == "trained.safetensors holds a network of spar, this one is of spar-quick"
    assert "-o spar-quick.safetensors" in remedy


@pytest.mark.parametrize("name", ["spar", "spar-stream"])
def test_the_sample_is_of_training_groups_alone(name):
    settings = configurations.load(configurations.FOLDER / f"{name}.toml")
    data = split(settings, load_data(settings))
    found = pipeline.sample(data)
    window, channels = data.task.window, len(data.task.channels)
    shape = (1, 64 * window, channels) if data.streaming else (64, window, channels)
    assert found.dtype == np.int16 and found.shape == shape and data.streaming == (name == "spar-stream")

    def places(part):
        return {row.tobytes() for recording in part.recordings for row in sliding(recording)}

    def sliding(recording):
        return np.lib.stride_tricks.sliding_window_view(recording, (50, channels))[:, 0]

    theirs = {found[k, at : at + 50].tobytes() for k in range(len(found)) for at in (0, window - 50)}
    assert theirs <= places(data.train) and not theirs & places(data.test)
