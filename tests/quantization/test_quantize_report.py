"""The report on a quantisation: what it measures, what it must catch, and the command that prints it."""

import json
from dataclasses import replace

import numpy as np
import pytest
from nets import STRUCTURES, float_run, task, tiny_network
from quantized import changed, integer_run, of_population, with_tables

from lnp_edge.cli import main
from lnp_edge.config import Config, NetworkSettings, named
from lnp_edge.network import file as network_file
from lnp_edge.network.draw import random_network
from lnp_edge.network.file import NetworkFile
from lnp_edge.quantization import report
from lnp_edge.quantization.quantize import quantize
from lnp_edge.spec.model import Forecast
from lnp_edge.stages import pipeline
from lnp_edge.task.split import load_data, split

NET = tiny_network()
COUNTS = np.random.default_rng(2).integers(-127, 128, (6, 100, 3)).astype(np.int16)


def with_params(model, **params):
    """The model of one layer with other tables of its neurons."""
    return with_tables(model, "hidden", **params)


def found_of(network, model, counts=COUNTS, bits=8):
    return report.compare(network, model, task(), bits, counts)


# ---- what it measures


@pytest.mark.parametrize("name", STRUCTURES)
def test_both_sides_are_the_networks_themselves(name):
    net = STRUCTURES[name]()
    model = quantize(net, task())
    floats, integers = report.in_floats(net, model, COUNTS), report.in_integers(model, COUNTS)
    for w in (0, 5):
        (y, z), (yq, zq) = float_run(net, COUNTS[w].astype(float)), integer_run(model, COUNTS[w])
        assert (floats.z[:, w] == z).all() and (integers.z[:, w] == zq).all()
        np.testing.assert_allclose(floats.y[w], y[-1], rtol=1e-9)
        assert (integers.y[w] == yq[-1]).all()
    assert floats.z.sum() > 500


def share(a, b):
    apart, own = report.distance(a, b, np.exp(-1 / report.TAU))
    return apart.sum() / own.sum()


def test_the_distance_of_spike_trains():
    rng = np.random.default_rng(0)
    a, b = rng.random((2, 60, 5, 7)) < 0.1
    assert share(a, a) == 0
    assert share(a, np.zeros_like(a)) == pytest.approx(1)
    assert 0.5 < share(a, b) < 1
    one = np.zeros((60, 1, 1), bool)
    one[10] = True
    assert share(one, np.roll(one, 1, 0)) == pytest.approx(0.39, abs=0.01)
    assert share(one, np.roll(one, 20, 0)) == pytest.approx(1, abs=0.01)
    # By the definition: the integral of the squared difference of exponentials.
    decay = np.exp(-1 / report.TAU)
    f, g = (np.array([sum(decay ** (t - s) * z[s] for s in range(t + 1)) for t in range(60)]) for z in (a, b))
    apart, own = report.distance(a, b, decay)
    np.testing.assert_allclose(apart, np.square(f - g).sum((0, 1)), rtol=1e-4)
    np.testing.assert_allclose(own, (f * f + g * g).sum((0, 1)), rtol=1e-4)


def test_windows_are_taken_evenly_and_not_too_many():
    counts = np.arange(1000, dtype=np.int16)[:, None, None] * np.ones((1, 100, 2), np.int16)
    some = report.some(counts, 256)
    assert len(some) == 200 and some[0, 0, 0] == 0 and some[-1, 0, 0] == 999
    assert len(report.some(counts, 15_000)) == 178  # cells limit a large network
    assert len(report.some(counts[:3], 256)) == 3


def test_a_good_model_needs_nothing():
    found = found_of(NET, quantize(NET, task()))
    assert found["neurons"]["distance"] < 0.1 and found["neurons"]["equal_spikes"] > 0.9
    assert found["neurons"]["spikes_a_step"][0] > 0.02
    assert report.silenced(found) == []
    rounded = found["recurrent"]["rounded_to_0"]
    assert 0 < rounded == NET.w_rec.nnz - quantize(NET, task()).projection("rec").w.nnz
    assert report.proposals(found | {"recurrent": found["recurrent"] | {"rounded_to_0": 0}}, 8, 0, True) == [
        "Nothing to improve."
    ]


def test_of_a_series_it_tells_the_error_in_counts():
    forecasting = replace(task(), forecast=Forecast((0, 1, 2, 0), 1, (3.0, 1.0, 2.0, 5.0)))
    model = quantize(NET, forecasting)
    found = report.compare(NET, model, forecasting, 8, COUNTS)
    a = report.in_floats(NET, model, COUNTS).y * [3.0, 1.0, 2.0, 5.0]
    b = report.in_integers(model, COUNTS).y * model.forecast.unit
    assert found["read-out"]["error"] == pytest.approx(np.linalg.norm(a - b) / np.linalg.norm(a))
    assert 0 < found["read-out"]["error"] < 0.1
    assert report.rows(found)[-1][1] == "error, relative to y"


# ---- what it must catch


def test_a_network_that_went_silent():
    model = quantize(NET, task())
    found = found_of(NET, with_params(model, v_th=np.full(NET.n, 2**30)))
    assert report.silenced(found) == ["hidden"]
    assert found["neurons"]["distance"] == pytest.approx(1)
    assert found["neurons"]["silent"][1] == NET.n and found["neurons"]["cannot_reach_v_th"] > 0
    assert "fires in floats but is silent in integers" in report.proposals(found, 4, 0, True)[0]
    assert "--epochs 20 or --bits 6" in report.proposals(found, 4, 0, True)[0]


def test_a_network_silenced_by_one_useless_large_weight():
    """Eight bits of a weight that never sees an input leave nothing for the others."""
    w_in, counts = NET.w_in.copy(), COUNTS.copy()
    w_in[2], counts[..., 2] = 1e4, 0
    net = replace(NET, w_in=w_in, w_rec=0 * NET.w_rec)
    found = found_of(net, quantize(net, task()), counts)
    assert found["neurons"]["spikes_a_step"][0] > 0.01 and report.silenced(found) == ["hidden"]


def test_a_network_that_never_fired_did_not_go_silent():
    net = NET.with_params(v_th=1e6 * NET.params["v_th"])
    found = found_of(net, quantize(net, task()))
    assert report.silenced(found) == []
    assert "does not fire in floats either" in report.proposals(found, 8, 0, True)[0]


def test_single_neurons_that_went_silent_or_fire_always():
    model = quantize(NET, task())
    active = np.flatnonzero(report.in_floats(NET, model, COUNTS).z.any((0, 1)))[:3]
    v_th, bias = model.populations[0].params["v_th"].copy(), model.populations[0].params["bias"].copy()
    v_th[active] = 2**30
    found = found_of(NET, with_params(model, v_th=v_th))
    assert found["neurons"]["went_silent"] >= 3
    assert (
        f"{found['neurons']['went_silent']} neurons fire in floats but never" in report.proposals(found, 8, 0, True)[0]
    )
    v_th = model.populations[0].params["v_th"].copy()
    v_th[active[0]], bias[active[0]] = 1000, 10**7
    found = found_of(NET, with_params(model, v_th=v_th, bias=bias))
    assert found["neurons"]["always"][1] == found["neurons"]["always"][0] + 1 and found["neurons"]["went_always"] == 1
    assert any("fire at every step in integers" in line for line in report.proposals(found, 8, 0, True))


def test_inputs_that_are_clamped_by_channel():
    narrow = task()
    narrow.encoder_params["gain"][1] *= 4
    found = report.compare(NET, quantize(NET, narrow), narrow, 8, COUNTS)
    assert found["input"]["worst_channel"] == "c1" and 0.7 < found["input"]["worst_channel_at_127"] < 0.8
    (said,) = [line for line in report.proposals(found, 8, 0, True) if line.startswith("c1 is clamped in")]
    assert "another [data] encoder" in said  # no key widens the range of an encoder


def test_decays_that_round_to_nothing():
    model = quantize(NET, task())
    assert found_of(NET, model)["neurons"]["leak_lost"] == 0
    v_th, c_mem = model.populations[0].params["v_th"].copy(), model.populations[0].params["c_mem"].copy()
    v_th[5], c_mem[5] = 600, 1000  # 65.5 steps, of which each costs 1: over a tenth of 600
    v_th[6], c_mem[6] = 700, 1000
    assert found_of(NET, with_params(model, v_th=v_th, c_mem=c_mem))["neurons"]["leak_lost"] == 1
    tau = NET.params["tau_mem"].copy()
    tau[3], tau[4] = 60_000 * NET.dt, 30 * NET.dt  # c = 1.09, rounded to 1; and 2185
    slow = NET.with_params(tau_mem=tau)
    found = found_of(slow, quantize(slow, task()))
    assert found["neurons"]["coarse_leaks"] == 1
    assert any("may be off by over" in line for line in report.proposals(found, 8, 0, True))


# ---- networks of several layers, and other neurons


STACK = STRUCTURES["mixed"]()


def test_each_population_has_rows_of_its_own():
    found = found_of(STACK, quantize(STACK, task()))
    of_all, each = found["neurons"], found["neurons"]["populations"]
    assert list(each) == ["layer1", "layer2", "layer3"] and [p["neurons"] for p in each.values()] == [24, 30, 20]
    for name in ("silent", "went_silent", "always", "leak_lost", "coarse_leaks", "cannot_reach_v_th"):
        assert np.sum([p[name] for p in each.values()], 0).tolist() == of_all[name]
    rates = np.array([p["spikes_a_step"] for p in each.values()])
    np.testing.assert_allclose(np.array([24, 30, 20]) @ rates / 74, of_all["spikes_a_step"])
    model = quantize(STACK, task())
    a, b = report.in_floats(STACK, model, COUNTS).z, report.in_integers(model, COUNTS).z
    for (part, at), p in zip(STACK.parts(), each.values(), strict=True):
        assert p["distance"] == pytest.approx(share(a[..., at], b[..., at]), rel=1e-6)
        assert p["equal_spikes"] == (a & b)[..., at].sum() / (a | b)[..., at].sum() > 0, part.name
    layers = [row[0] for row in report.rows(found)]
    assert list(dict.fromkeys(layers)) == ["input", "between neurons", "layer1", "layer2", "layer3", "read-out"]
    assert len(report.rows(found)) - len(report.rows(found_of(NET, quantize(NET, task())))) == 2 * 5
    assert all(len(row) == 4 and all(isinstance(cell, str) for cell in row) for row in report.rows(found))


def test_the_report_counts_the_weights_of_all_projections():
    model = quantize(STACK, task())
    found = found_of(STACK, model)
    inner = [p for p in model.projections if p.source != "input" and p.target != "out"]
    assert found["input"]["weights"] == 3 * 24
    assert found["recurrent"]["weights"] == STACK.w_rec.nnz
    assert found["recurrent"]["weights"] - found["recurrent"]["rounded_to_0"] == sum(p.w.nnz for p in inner)
    assert found["read-out"]["weights"] == 20 * 4 + 3 * 4  # and the skip


def test_one_layer_of_several_that_went_silent_is_named():
    model = quantize(STACK, task())
    found = found_of(STACK, with_tables(model, "layer2", v_th=np.full(30, 2**30)))
    assert "layer2" in report.silenced(found) and "layer1" not in report.silenced(found)
    first = report.proposals(found, 4, 0, False)[0]
    assert first.startswith("layer2 fires in floats but is silent in integers; 30 of 30 can never reach")
    assert "--bits 6" in first and "--epochs" not in first  # training in integers needs one layer of cuba_lif


def test_the_advice_is_what_can_be_done():
    model = quantize(NET, task())
    silent = with_params(model, v_th=np.full(NET.n, 2**30))
    assert "--epochs 20 or --bits 16" in report.proposals(found_of(NET, silent), 8, 0, True)[0]
    assert "--epochs 60 or --bits 16" in report.proposals(found_of(NET, silent), 8, 30, True)[0]
    only = report.proposals(found_of(NET, silent, bits=16), 16, 0, False)[0]
    assert "--epochs" not in only and "--bits" not in only and "weight_decay" in only


def test_a_neuron_that_cannot_reach_its_threshold_is_found_whatever_its_kind():
    """Its bound without a reset: that of adlif grows with v_th by more than v_th."""
    net = STRUCTURES["adlif"]()
    model = quantize(net, task())
    assert found_of(net, model)["neurons"]["cannot_reach_v_th"] == 0
    hidden = model.populations[0]
    reach = replace(hidden, params=hidden.params | {"v_th": np.zeros(net.n, np.int32)})
    most = np.array(model.bounds(reach))
    for beyond in (0, 1):
        at = changed(hidden.params["v_th"], 7, most[7] + beyond)
        assert found_of(net, with_params(model, v_th=at))["neurons"]["cannot_reach_v_th"] == beyond


def test_leaks_of_the_adaptation_count_too():
    net = STRUCTURES["adlif"]()
    slow = of_population(net, 0, "tau_ad", 4, 60_000 * net.dt)
    assert found_of(net, quantize(net, task()))["neurons"]["coarse_leaks"] == 0
    assert found_of(slow, quantize(slow, task()))["neurons"]["coarse_leaks"] == 1


# ---- the command


@pytest.fixture
def network(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "STEPS", 1000)
    settings = Config()
    data = split(settings, load_data(settings))
    shape = len(data.task.channels), len(data.task.classes)
    net = random_network(24, *shape, data.dt, 0.3, np.random.default_rng(1), "cuba_lif")
    network_file.save(NetworkFile(net, settings, {}), tmp_path / "n.safetensors")
    return tmp_path / "n.safetensors"


def test_bits_and_epochs_reach_the_model_and_the_report(network, capsys):
    out = network.with_name("m.onnx")
    assert main(["quantize", str(network), "--bits", "4", "--epochs", "1", "-o", str(out), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert (printed["bits"], printed["epochs"], printed["layers"]["recurrent"]["limit"]) == (4, 1, 7)
    assert out.exists() and printed["proposals"]
    assert main(["quantize", str(network), "-o", str(out)]) == 0
    lines = capsys.readouterr().out.splitlines()
    for layer in ("input", "recurrent", "neurons", "read-out"):
        assert any(layer in line for line in lines)


@pytest.mark.parametrize("words", [("--bits", 1), ("--bits", 9), ("--epochs", -1), ("--bits", "x"), ("--epochs", 1e3)])
def test_what_is_out_of_range_is_refused_in_two_lines(network, capsys, words):
    try:
        code = main(["quantize", str(network), "-o", str(network.with_name("m.onnx")), *map(str, words)])
    except SystemExit as e:  # argparse: no whole number
        code = e.code
    captured = capsys.readouterr()
    assert code == 2 and captured.out == "" and len(captured.err.splitlines()) == 2
    assert not network.with_name("m.onnx").exists()


def test_where_the_windows_cannot_be_written_nothing_is_trained_and_no_model_written(network, capsys, monkeypatch):
    monkeypatch.setattr(pipeline, "quantize", None)
    out = network.with_name("m.onnx")
    out.with_name("m.onnx.windows").mkdir()
    assert main(["quantize", str(network), "-o", str(out)]) == 2
    assert "m.onnx.windows: not a regular file" in capsys.readouterr().err and not out.exists()
    assert main(["quantize", str(network), "-o", str(network.with_name("n" * 240))]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 2 and not network.with_name("n" * 240).exists()


def test_a_silent_model_is_a_no_and_not_written(network, capsys, monkeypatch):
    real = pipeline.quantize

    def silenced(*args):
        model, history = real(*args)
        return with_params(model, v_th=np.full(model.n, 2**30)), history

    monkeypatch.setattr(pipeline, "quantize", silenced)
    out = network.with_name("m.onnx")
    assert main(["quantize", str(network), "-o", str(out), "--json"]) == 1
    captured = capsys.readouterr()
    assert "the network went silent" in captured.err and len(captured.err.splitlines()) == 2
    assert "silent in integers" in json.loads(captured.out)["proposals"][0]
    assert not out.exists()


def test_a_series_has_no_rule_of_decisions_and_nothing_is_trained_for_one(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(pipeline, "quantize", None)
    config = replace(named("wind"), network=NetworkSettings(neurons=6))
    network = pipeline.new_network(config, split(config, load_data(config)))
    network_file.save(NetworkFile(network, config, {}), tmp_path / "n.safetensors")
    assert main(["quantize", str(tmp_path / "n.safetensors"), "--decide", "-o", str(tmp_path / "m.onnx")]) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 2 and "wind is a series" in said[0] and "leave out --decide" in said[1]
