"""[prune] inputs: the synapses from the input, with every method and every neuron."""

import json
from dataclasses import replace

import numpy as np
import pytest
from conftest import need
from hypothesis import given
from hypothesis import strategies as st
from nets import NETWORKS, tiny_network
from scipy import linalg

from lnp_edge import pruning
from lnp_edge.base.errors import ConfigError, NetworkError
from lnp_edge.cli import main
from lnp_edge.config import Config, NoiseSettings, PruneSettings
from lnp_edge.dynamics.rate_model import X_STD, rate_model
from lnp_edge.experiments.trial import Trial
from lnp_edge.interchange import onnx_file
from lnp_edge.network import file as network_file
from lnp_edge.pruning import activity, lnp, prune_inputs, snip
from lnp_edge.pruning.steps import edges
from lnp_edge.runtime.reference import Reference
from lnp_edge.spec.plugins import get, names
from lnp_edge.stages import pipeline
from lnp_edge.task.split import data_for, load_data, split

METHODS = names("lnp_edge.pruning")
SMALL = Config.from_json('{"network": {"neurons": 24}, "data": {"limit": 2}, "train": {"batch": 64}}')


@pytest.fixture(scope="module")
def data():
    return split(SMALL, load_data(SMALL))


def settings(method="magnitude", keep=0.5, inputs=0.4, **changes):
    return replace(SMALL, prune=PruneSettings(method, keep, inputs, **changes))


def score_of(method, network, seed=0):
    """The score of a method that needs no more than the network; None: random."""
    by = getattr(get("lnp_edge.pruning", method), "input_score", None)
    return by and by(network, np.random.default_rng(seed), NoiseSettings())


def hearing(network, inputs):
    """The network with some of its synapses from the input: neuron k has those of inputs[k]."""
    return replace(network, w_in=network.w_in * (np.arange(len(network.w_in))[:, None] < np.asarray(inputs)))


# Every method


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize("share", [1.0, 0.97, 0.5, 0.34, 0.01])
def test_exactly_the_asked_number_remains_none_is_new_and_none_changes_its_sign(method, kind, share):
    start = NETWORKS[kind]()
    after = prune_inputs(start, share, 0, score_of(method, start))
    kept = after.w_in != 0
    assert kept.sum() == round(share * np.count_nonzero(start.w_in))
    assert (np.sign(after.w_in)[kept] == np.sign(start.w_in)[kept]).all()
    assert replace(after, w_in=start.w_in).identity() == start.identity()


@pytest.mark.parametrize("method", METHODS)
def test_with_all_nothing_changes(method):
    start = tiny_network()
    np.testing.assert_array_equal(prune_inputs(start, 1, 0, score_of(method, start)).w_in, start.w_in)


@pytest.mark.parametrize("method", METHODS)
def test_the_seed_decides_what_is_random(method, data):
    need("torch")
    config = settings(method)
    start = pipeline.new_network(config, data)
    one, same = (pipeline.prune_inputs(config, data, start).w_in for _ in range(2))
    np.testing.assert_array_equal(one, same)
    other = pipeline.prune_inputs(replace(config, seed=2), data, start).w_in
    # A score of a method may be random, or not: of these it is not.
    if not hasattr(get("lnp_edge.pruning", method), "input_score") or method in ("activity", "magnitude"):
        assert (other != one).any() == (method not in ("activity", "magnitude"))
    elif method in ("lnp", "weight", "snip"):  # snip: other batches
        assert (other != one).any()


@given(
    st.lists(st.integers(0, 8), min_size=10, max_size=10).filter(any), st.floats(1e-3, 1), st.integers(0, 99),
    st.sampled_from([None, "alike", "magnitude"]),
)  # fmt: skip
def test_neurons_keep_alike_and_each_its_best(inputs, share, seed, by):
    start = hearing(tiny_network(seed, n=10, c=8), inputs)
    score = {None: None, "alike": np.ones((8, 10)), "magnitude": np.abs(start.w_in)}[by]
    count = round(share * sum(inputs))
    if not count:
        with pytest.raises(NetworkError, match=f"of {sum(inputs)} synapses from the input leaves none"):
            prune_inputs(start, share, seed, score)
        return
    after = prune_inputs(start, share, seed, score)
    had, has = ((w != 0).sum(0) for w in (start.w_in, after.w_in))
    assert has.sum() == count
    most = has.max()
    assert (has >= np.minimum(had, most - 1)).all()  # so all keep one if there are enough
    before, left = (np.square(w).sum(0) for w in (start.w_in, after.w_in))
    np.testing.assert_allclose(left[has > 0], before[has > 0], rtol=1e-12)  # of sums in another order
    if by == "magnitude":
        for k in range(10):
            sizes = np.abs(start.w_in[:, k])
            kept = after.w_in[:, k] != 0
            assert sizes[kept].min(initial=np.inf) >= sizes[~kept].max(initial=0)


def test_where_there_is_not_one_for_each_neuron_the_largest_scores_stay():
    start = tiny_network(n=10, c=8)
    sizes = np.abs(start.w_in)
    kept = prune_inputs(start, 4 / 80, 0, sizes).w_in != 0
    assert sorted(sizes[kept]) == sorted(sizes.max(0))[-4:]


def test_ties_are_broken_by_the_seed_and_not_by_place():
    start = tiny_network(n=200, c=8)
    a, b = (prune_inputs(start, 0.25, seed, np.ones((8, 200))).w_in != 0 for seed in (1, 2))
    assert (a != b).any()
    # 400 of 1600 draws; a channel's number is within 4 standard deviations of 50, less than a binomial's 6.1
    assert np.abs(a.sum(1) - 50).max() < 25


@pytest.mark.parametrize("share", [0.0, -0.1, 1.001, float("nan"), float("inf"), "half", None])
def test_a_senseless_share_is_refused_in_two_lines(share):
    with pytest.raises(ConfigError) as refusal:
        prune_inputs(tiny_network(), share, 0)
    what, hint = str(refusal.value).splitlines()
    assert f"inputs = {share!r}" in what and hint.startswith("  ")


@pytest.mark.parametrize("share", ["0", "0.0", "-1", "2", "nan", "inf", '"x"', "true", "[0.5]"])
def test_a_file_with_a_senseless_share_is_refused_in_two_lines(tmp_path, capsys, share):
    (tmp_path / "c.toml").write_text(f"[prune]\ninputs = {share}\n")
    assert main(["prune", str(tmp_path / "c.toml"), "-o", str(tmp_path / "p.safetensors")]) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert "prune.inputs is" in first and "a number from 1e-06 to 1" in second


def test_whitened_pixels_are_not_pruned_one_by_one(data):
    class Pixels:
        task, axes, dt = data.task, np.eye(len(data.task.inputs)), data.dt

    with pytest.raises(ConfigError, match=r"prune\.inputs is 0\.4, but pixels are whitened") as refusal:
        pipeline.new_network(settings(), Pixels)
    assert refusal.value.try_next == "set it to 1"


# Scores


def test_random_draws_proportional_to_the_scores():
    """The first of a sample is each with its share: 20,000 draws of probability .7 scatter by .0032."""
    score = np.broadcast_to(np.array([[1.0], [2.0], [7.0]]), (3, 20_000))
    first = edges.in_random_order(score, np.random.default_rng(0)).argmax(0)
    np.testing.assert_allclose(np.bincount(first) / 20_000, [0.1, 0.2, 0.7], atol=0.015)


@pytest.mark.parametrize("kind", NETWORKS)
def test_the_score_of_lnp_is_that_of_a_model_in_which_inputs_are_nodes(kind):
    """Inputs behind the filter of the read-out, joined to the rate model, and Bartels and Stewart for all."""
    network = NETWORKS[kind]()
    model = rate_model(network)
    c = len(network.w_in)
    a = linalg.block_diag(-np.eye(c) / model.tau, model.a())
    shared = np.concatenate([X_STD * np.eye(c), model.shared])
    q = (shared @ shared.T + np.diag([*np.zeros(c), *model.private])) / model.tau
    whole = linalg.solve_continuous_lyapunov(a, -q)
    sd = np.sqrt(np.maximum(np.diag(whole), 1e-300))
    correlation = (whole / np.outer(sd, sd))[:c, c:]
    wanted = np.abs(network.w_in) * (1 - np.sign(network.w_in) * correlation)
    found = edges.input_scores(network, model, np.random.default_rng(0))
    np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-12)  # two solvers of the same equation
    assert np.ptp(correlation) > 0.1


def test_lnp_scores_inputs_of_large_networks_by_probes(monkeypatch):
    network = tiny_network(n=60)
    exact, probed = [], []
    for seed in range(2):
        exact.append(edges.input_scores(network, rate_model(network), np.random.default_rng(seed)))
    monkeypatch.setattr(edges, "EXACT_TO", 10)
    for seed in range(2):
        probed.append(edges.input_scores(network, rate_model(network), np.random.default_rng(seed)))
    assert (exact[0] == exact[1]).all() and (probed[0] != probed[1]).any()
    assert np.corrcoef(probed[0].ravel(), exact[0].ravel())[0, 1] > 0.99


def test_activity_keeps_the_channels_that_carry_something():
    start, rng = tiny_network(c=4), np.random.default_rng(0)
    x = np.zeros((2, 30, 4), np.float32)
    x[..., 1:3] = 1
    kept = prune_inputs(start, 0.5, 0, activity.input_score(start, rng, NoiseSettings(), x)).w_in != 0
    assert kept[1:3].all() and not kept[0].any() and not kept[3].any()


def test_snip_keeps_what_the_loss_depends_on(data):
    need("torch")
    config = settings("snip")
    start = hearing(pipeline.new_network(config, data), [3] * 24)
    deaf = replace(start, w_out=np.zeros_like(start.w_out))
    deaf.w_out[3] = start.w_out[3]
    deaf = replace(deaf, w_rec=0 * deaf.w_rec)
    score = snip.input_score(
        deaf, np.random.default_rng(0), NoiseSettings(), pipeline._gradient(config, data, deaf, "w_in")
    )
    assert (score[:3, 3] > 0).all() and not np.delete(score, 3, 1).any() and not score[3:].any()


# The stages


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("keep", [1.0, 0.5])
@pytest.mark.parametrize("shared", [False, True])
def test_a_configuration_prunes_inputs_with_every_method(method, keep, shared, data):
    need("torch")
    config = settings(method, keep, shared=shared)
    start = pipeline.new_network(config, data)
    after = pipeline.prune(config, data, start)
    channels, n = after.w_in.shape
    assert after.w_rec.nnz == round(keep * start.w_rec.nnz)
    left = (after.w_in != 0).sum(0)
    assert set(left) <= {int(0.4 * channels), int(0.4 * channels) + 1}
    if n == start.n:
        assert left.sum() == round(0.4 * channels * n)


def test_the_guard_of_lnp_holds_with_fewer_inputs(data):
    config = settings("lnp", 0.2, 0.2)
    start = pipeline.prune_inputs(config, data, pipeline.new_network(config, data))
    assert pruning.describe(start, pipeline.prune(config, data, pipeline.new_network(config, data))).held


def test_a_trained_network_is_needed_for_its_inputs_too():
    assert pipeline.after_training(settings("activity", 1.0)) and not pipeline.after_training(settings("lnp", 1.0))
    assert not pipeline.after_training(settings("activity", 1.0, 1.0))
    assert Trial("", settings("activity", 1.0)).before.config.prune == PruneSettings(keep=1.0)


def test_results_are_of_their_inputs_and_older_ones_of_all():
    keys = {Trial("", settings(inputs=share)).key for share in (1.0, 0.5, 0.25)}
    assert len(keys) == 3
    assert "inputs" not in json.loads(settings(inputs=1.0).to_json())["prune"]
    found = settings(inputs=0.25)
    assert Config.from_json(found.to_json()) == found


def test_a_pruning_that_was_stopped_knows_its_inputs(data, tmp_path, monkeypatch):
    """It goes on to the same bits, and refuses to go on with other inputs."""
    config = settings("lnp", noise=NoiseSettings(rounds=3))
    start = pipeline.new_network(config, data)
    whole, rounds, prune_round = pipeline.prune(config, data, start), [], lnp.prune_round

    def stopping(*args):
        rounds.append(args)
        if len(rounds) == 2:
            raise KeyboardInterrupt
        return prune_round(*args)

    monkeypatch.setattr(lnp, "prune_round", stopping)
    with pytest.raises(KeyboardInterrupt):
        pipeline.prune(config, data, start, None, tmp_path / "checkpoint")
    other = replace(config, prune=replace(config.prune, inputs=0.5))
    with pytest.raises(Exception, match="belongs to another pruning"):
        pipeline.prune(other, data, start, None, tmp_path / "checkpoint")
    assert pipeline.prune(config, data, start, None, tmp_path / "checkpoint").identity() == whole.identity()
    assert len(rounds) == 4


def test_inputs_that_were_removed_are_in_no_file_and_no_training_brings_them_back(tmp_path, capsys, monkeypatch):
    need("torch")
    monkeypatch.chdir(tmp_path)
    text = "[data]\nlimit = 1\nwindow = 1.0\nhop = 1.0\n[network]\nneurons = 24\n[prune]\nkeep = 0.5\ninputs = 0.5\n"
    (tmp_path / "c.toml").write_text(text + "[train]\nepochs = 1\nbatch = 256\n")
    assert main(["prune", "c.toml", "-o", "p.safetensors"]) == 0
    assert "from the input" in capsys.readouterr().out
    assert main(["prune", "c.toml", "-o", "p.safetensors", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    pruned = network_file.load(tmp_path / "p.safetensors").network
    assert said["before"]["inputs"] == 6 * 24 and said["after"]["inputs"] == np.count_nonzero(pruned.w_in)
    assert main(["train", "p.safetensors", "-o", "t.safetensors"]) == 0
    file = network_file.load(tmp_path / "t.safetensors")
    np.testing.assert_array_equal(file.network.w_in != 0, pruned.w_in != 0)
    capsys.readouterr()
    assert main(["quantize", "t.safetensors", "-o", "m.onnx", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    model = onnx_file.load(tmp_path / "m.onnx")
    w = model.projection("in").w
    assert said["synapses"]["in"] == w.nnz == np.count_nonzero(w.dense()) <= np.count_nonzero(pruned.w_in)
    assert said["layers"]["input"]["weights"] == np.count_nonzero(pruned.w_in)
    assert not w.dense()[pruned.w_in == 0].any()
    counts = data_for(file.config, file.network).test_windows.counts[0]
    again = pipeline.quantize(file.config, data_for(file.config, file.network), file.network)[0]
    assert again.fingerprint == model.fingerprint
    assert (Reference(again).steps(counts).y == Reference(model).steps(counts).y).all()
