"""Pruning in blocks of four neighbouring targets: every method and neuron, layers, sizes that are no multiple."""

import json
from dataclasses import replace
from functools import cache, partial
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import NETWORKS, stacked, task, tiny_network
from stops import Stopped, stopping_at

from lnp_edge import config, pruning
from lnp_edge.base.errors import ConfigError, ModelError, NetworkError
from lnp_edge.config import Config, NoiseSettings, PruneSettings
from lnp_edge.network.draw import random_network
from lnp_edge.pruning import lnp
from lnp_edge.pruning.steps import blocks as _blocks
from lnp_edge.pruning.steps import edges as _edges
from lnp_edge.quantization.quantize import quantize
from lnp_edge.spec import layout
from lnp_edge.spec.plugins import get, names

METHODS = [name for name in names("lnp_edge.pruning") if pruning.serves_blocks(name)]
# Of each neuron and of layers, as other methods are tested; dense ones, of which one is no multiple of 4.
STARTS = NETWORKS | {
    "dense": partial(tiny_network, density=1.0),
    "dense, 30 neurons": partial(tiny_network, n=30, density=1.0, neuron="adlif"),
    "dense layers": lambda: stacked({"neurons": 18, "density": 1.0}, {"neurons": 13, "density": 1.0}),
}


@cache
def start_of(kind):
    return STARTS[kind]()


@cache
def pruned(method, kind, keep=0.3, seed=0):
    return pruning.pruned(PruneSettings(method, keep, block=4), start_of(kind), seed)


def places(start, after):
    """Index in start of each neuron of after, known by its first time constant, a draw of its own."""
    found = []
    for (p, at), (q, _) in zip(start.parts(), after.parts(), strict=True):
        first = next(iter(p.params))
        found += [at.start + int(np.flatnonzero(p.params[first] == tau)[0]) for tau in q.params[first]]
    return np.array(found)


def groups(network):
    """By hand: lists of four neighbours of a population, the last perhaps shorter."""
    found, first = [], 0
    for p in network.populations:
        found += [list(range(first + k, first + min(k + 4, p.n))) for k in range(0, p.n, 4)]
        first += p.n
    return found


def in_part(start, after):
    """How many blocks of after lack synapses that start has at their places."""
    index, now = places(start, after), after.w_rec.toarray() != 0
    was = start.w_rec.toarray()[np.ix_(index, index)] != 0
    counts = [(now[pre, g].sum(), was[pre, g].sum()) for pre in range(after.n) for g in groups(after)]
    return sum(0 < kept < whole for kept, whole in counts)


def best(network, score, count):
    """By hand: what as many blocks hold as `count` synapses fill, of a score per synapse."""
    w = network.w_rec.copy()
    w.data = score
    w = w.toarray()
    sums = sorted((w[pre, g].sum() for pre in range(network.n) for g in groups(network)), reverse=True)
    return sum(sums[: -(-count // 4)])


# Every method


def test_every_method_that_comes_with_lnp_edge_serves_blocks():
    assert {"lnp", "random", "uniform", "weight", "magnitude", "snip", "activity"} <= set(METHODS)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", STARTS)
@pytest.mark.parametrize("keep", [0.3, 0.05])
def test_exactly_the_budget_stays_in_whole_blocks_but_one(method, kind, keep):
    start, after = start_of(kind), pruned(method, kind, keep)
    assert after.w_rec.nnz == round(keep * start.w_rec.nnz)
    assert in_part(start, after) <= 1


@pytest.mark.parametrize("method", METHODS)
def test_single_synapses_do_not_fall_into_blocks_by_themselves(method):
    start = start_of("dense")
    assert in_part(start, get("lnp_edge.pruning", method).prune(start, 0.3, 0)) > 100


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", STARTS)
def test_the_rest_is_the_same_network_in_another_order(method, kind):
    start, after = start_of(kind), pruned(method, kind)
    index = places(start, after)
    assert len(set(index)) == len(index) == (start.n - int(0.05 * start.n) if method == "lnp" else start.n)
    moved = start.keep_neurons(index)
    for p, q in zip(after.populations, moved.populations, strict=True):
        assert (p.name, p.neuron, p.hears, p.feeds) == (q.name, q.neuron, q.hears, q.feeds)
        for name in q.params:
            np.testing.assert_array_equal(p.params[name], q.params[name], err_msg=name)
    for name in ("dt", "sign", "w_in", "w_out", "tau_out", "bias_out", "w_skip"):
        np.testing.assert_array_equal(getattr(after, name), getattr(moved, name), err_msg=name)
    pre, post = after.w_rec.nonzero()
    assert len(pre) == after.w_rec.nnz and after.w_rec.has_sorted_indices
    signs = np.sign(after.w_rec.toarray()[pre, post])
    assert (signs == np.sign(moved.w_rec.toarray()[pre, post])).all() and (signs == after.sign[pre]).all()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", ["layers", "dense"])
def test_the_same_seed_gives_the_same_blocks(method, kind):
    one = PruneSettings(method, 0.3, block=4)
    assert pruning.pruned(one, start_of(kind), 0).identity() == pruned(method, kind).identity()
    other = pruning.pruned(one, start_of(kind), 1)
    assert method in ("magnitude", "snip", "activity") or other.identity() != pruned(method, kind).identity()


@pytest.mark.parametrize("method", METHODS)
def test_a_block_of_one_is_what_was_there_before(method):
    start = start_of("layers")
    prune = get("lnp_edge.pruning", method).prune
    assert prune(start, 0.3, 5, block=1).identity() == prune(start, 0.3, 5).identity()


@pytest.mark.parametrize("method", ["lnp", "uniform", "weight"])
@pytest.mark.parametrize("kind", ["dense", "layers"])
@pytest.mark.parametrize("strength", [1.0, 6.0])
def test_the_guard_holds(method, kind, strength):
    start = pruning.scaled(start_of(kind), strength)
    assert pruning.describe(start, pruning.pruned(PruneSettings(method, 0.2, block=4), start, 0)).held


def test_random_gets_the_start_networks_abscissa_back():
    start = tiny_network(n=128, density=1.0)
    report = pruning.describe(start, pruning.pruned(PruneSettings("random", 0.3, block=4), start, 0))
    loop = [1 + float(start.tau_out.mean()) * m.abscissa for m in (report.before, report.after)]
    assert loop[1] == pytest.approx(loop[0], rel=0.02)


OPTIONS = st.builds(
    NoiseSettings,
    score=st.sampled_from(["w", "l", "wl"]),
    alpha=st.sampled_from([0.0, 0.5, 2.0]),
    cap=st.sampled_from([0.0, 3.0]),
    loop=st.sampled_from([0.0, 0.99]),
    diagonal=st.sampled_from(["keep", "match"]),
    rounds=st.sampled_from([1, 4]),
    nodes=st.sampled_from([0.0, 0.3, 0.9]),
)


@settings(max_examples=10)
@given(OPTIONS, st.sampled_from(["lnp", "random", "uniform", "weight"]), st.sampled_from([4, 13, 24]),
       st.sampled_from([0.6, 1.0]), st.sampled_from([-9.0, 0.5, 9.0]))  # fmt: skip
def test_the_budget_the_blocks_the_signs_and_the_seed_hold_for_every_option(options, method, n, density, bias):
    """Also of networks that are silent, or always fire, and of those that lose most of their neurons."""
    start = random_network(n, 1, 2, 0.04, density, np.random.default_rng(n), "cuba_lif")
    start = start.with_params(bias=bias * start.params["bias"])
    prune = partial(pruning.pruned, PruneSettings(method, 0.4, noise=options, block=4), start, 1)
    first = prune()
    assert first.w_rec.nnz == round(0.4 * start.w_rec.nnz)
    order = [int(np.flatnonzero(start.w_in[0] == w)[0]) for w in first.w_in[0]]
    now, was = first.w_rec.toarray() != 0, start.w_rec.toarray()[np.ix_(order, order)] != 0
    part = sum(0 < now[pre, g].sum() < was[pre, g].sum() for pre in range(first.n) for g in groups(first))
    assert part <= (options.rounds if method == "lnp" else 1)
    assert (np.sign(first.w_rec.data) == first.sign[pruning.endpoints(first)[0]]).all()
    assert prune().identity() == first.identity()


# Probabilities and samples

SIZED = st.lists(st.tuples(st.floats(1e-3, 1e3), st.integers(1, 4)), min_size=2, max_size=200)


@given(SIZED, st.floats(0, 1))
def test_probabilities_of_blocks_fill_the_budget_and_follow_the_scores(blocks, share):
    score, size = (np.array(column) for column in zip(*blocks, strict=True))
    count = max(1, round(share * size.sum()))
    p = _edges.keep_probabilities(score, count, size)
    assert p @ size == pytest.approx(count, abs=1e-8)
    assert p.min() > 0 and p.max() <= 1
    free = p < 1 - 1e-12
    ratio = p[free] / np.maximum(score, 1e-6 * score.mean())[free]
    assert len(ratio) == 0 or np.ptp(ratio) < 1e-9 * ratio.max()
    assert free.all() or not free.any() or score[~free].min() >= score[free].max() * (1 - 1e-9)


def blocks_with(size):
    return _blocks.Blocks(np.repeat(np.arange(len(size)), size), np.array(size))


@settings(max_examples=50)
@given(SIZED, st.floats(0, 1), st.integers(0, 2**32 - 1))
def test_a_sample_of_blocks_has_exactly_the_budget_and_cuts_one_at_most(given_blocks, share, seed):
    score, size = (np.array(column) for column in zip(*given_blocks, strict=True))
    count = max(1, round(share * size.sum()))
    blocks = blocks_with(size)
    p = _edges.keep_probabilities(score, count, size)
    kept = blocks.sample(p, np.random.default_rng(seed))
    each = np.bincount(blocks.of, kept)
    assert kept.sum() == count and ((each > 0) & (each < size)).sum() <= 1
    assert (each == size)[p == 1].all()


def test_a_sample_of_blocks_includes_each_synapse_with_its_own_probability():
    rng = np.random.default_rng(0)
    size = rng.integers(1, 5, 40)
    blocks, p = blocks_with(size), _edges.keep_probabilities(rng.lognormal(size=40), 41, size)
    often = sum(blocks.sample(p, rng).astype(int) for _ in range(4000))
    of_each, free = p[blocks.of], p[blocks.of] < 1
    z = (often - 4000 * of_each)[free] / np.sqrt(4000 * of_each * (1 - of_each))[free]
    assert np.abs(z).max() < 4 and 0.7 < z.std() < 1.3


def z_scores(alpha, draws=400):
    """How far the mean of the pruned weights lies from the start weights, in standard errors, one per block."""
    start, rng = tiny_network(n=22, density=1.0), np.random.default_rng(0)
    score, count = np.abs(start.w_rec.data), round(0.4 * start.w_rec.nnz)
    blocks = _blocks.blocks_of(start, 4)
    p = _edges.keep_probabilities(blocks.sums(score), count, blocks.size)[blocks.of]
    total = sum(_edges.prune_edges(start, score, count, rng, NoiseSettings(alpha=alpha), 4).network.w_rec
                for _ in range(draws))  # fmt: skip
    mean = total.toarray()[start.w_rec.nonzero()] / draws
    free = (p < 1) & (p > 0.05)  # rarer ones are too skewed for a normal z of 400 draws
    z = (mean - start.w_rec.data)[free] / (np.abs(start.w_rec.data) * np.sqrt((1 - p) / p / draws))[free]
    z *= np.sign(start.w_rec.data)[free]
    return z[np.unique(blocks.of[free], return_index=True)[1]]


def test_dividing_by_p_keeps_the_expected_weights():
    z = z_scores(alpha=1.0)
    assert len(z) > 80
    assert abs(z.mean()) < 0.3 and 0.85 < z.std() < 1.15


def test_dividing_by_its_square_root_does_not():
    assert np.abs(z_scores(alpha=0.5)).mean() > 5


def test_the_score_of_a_block_is_the_sum_over_its_synapses():
    start = start_of("dense layers")
    score = np.random.default_rng(0).random(start.w_rec.nnz)
    blocks = _blocks.blocks_of(start, 4)
    w = start.w_rec.copy()
    w.data = score
    w = w.toarray()
    there = [w[pre, g] for pre in range(start.n) for g in groups(start) if w[pre, g].any()]
    np.testing.assert_allclose(blocks.sums(score), [one.sum() for one in there], rtol=1e-12)
    assert blocks.size.tolist() == [np.count_nonzero(one) for one in there]


def test_magnitude_keeps_the_best_blocks_as_they_are():
    start, after = start_of("dense"), pruned("magnitude", "dense")
    index = places(start, after)
    was, now = np.abs(start.w_rec.toarray()[np.ix_(index, index)]), np.abs(after.w_rec.toarray())
    sums = [(was[pre, g].sum(), now[pre, g].sum()) for pre in range(after.n) for g in groups(after)]
    whole = [a for a, b in sums if a == b]
    assert min(whole) >= max(a for a, b in sums if b == 0) and len(whole) > 50


# Neurons that change places


@settings(max_examples=20)
@given(st.sampled_from(sorted(STARTS)), st.floats(0.02, 0.9), st.integers(0, 2**32 - 1))
def test_the_best_blocks_never_hold_less(kind, share, seed):
    start, rng = start_of(kind), np.random.default_rng(seed)
    score, count = rng.lognormal(size=start.w_rec.nnz), max(1, int(share * start.w_rec.nnz))
    after, moved = _blocks.arranged(start, score, count, 4, rng)
    assert best(after, moved, count) >= best(start, score, count) * (1 - 1e-12)
    index = places(start, after)
    assert sorted(index) == list(range(start.n))
    assert [p.n for p in after.populations] == [p.n for p in start.populations]
    w, there = start.w_rec.copy(), after.w_rec.copy()
    w.data, there.data = score, moved  # each score goes with its synapse
    np.testing.assert_array_equal(there.toarray(), w.toarray()[np.ix_(index, index)])
    np.testing.assert_array_equal(after.w_rec.toarray(), start.w_rec.toarray()[np.ix_(index, index)])


def test_the_best_blocks_hold_more_of_a_dense_network():
    """Of |w| and 10 % of the synapses: 0.74 to 0.85 of what as many single synapses hold."""
    start = tiny_network(n=100, density=1.0)
    score, count = np.abs(start.w_rec.data), 990
    after, moved = _blocks.arranged(start, score, count, 4, np.random.default_rng(0))
    most = np.sort(score)[-count:].sum()
    assert best(start, score, count) < 0.77 * most and best(after, moved, count) > 0.83 * most


def test_neurons_stay_where_nothing_is_to_be_gained(monkeypatch):
    start, rng = start_of("dense"), np.random.default_rng(0)
    count, ones = start.w_rec.nnz // 3, np.ones(start.w_rec.nnz)
    assert _blocks.arranged(start, ones, count, 4, rng)[0].identity() == start.identity()
    score = rng.random(len(ones))
    assert _blocks.arranged(start, score, count, 1, rng) == (start, score)
    assert _blocks.arranged(start, score, count, 4, rng)[0].identity() != start.identity()
    monkeypatch.setattr(_blocks, "ARRANGED_TO", start.n - 1)
    assert _blocks.arranged(start, score, count, 4, rng) == (start, score)


@pytest.mark.parametrize("method", METHODS)
def test_neurons_change_places_where_a_method_has_scores(method):
    index = places(start_of("dense"), pruned(method, "dense"))
    assert (np.diff(index) > 0).all() == (method in ("random", "uniform"))


# lnp


def test_blocks_are_aligned_where_the_neurons_stand_at_last():
    start = tiny_network(n=60, density=1.0)
    for rounds in (1, 3):
        after = lnp.prune(start, 0.2, 0, None, NoiseSettings(nodes=0.35, rounds=rounds), block=4)
        assert after.n < 50 and after.w_rec.nnz == round(0.2 * start.w_rec.nnz)
        assert in_part(start, after) <= rounds


def test_with_blocks_all_neurons_go_in_the_first_round(monkeypatch):
    start, found, one_round = tiny_network(n=40, density=1.0), [], lnp.prune_round

    def watched(network, *rest, **more):
        found.append((network.n, rest[-1]))
        return one_round(network, *rest, **more)

    monkeypatch.setattr(lnp, "prune_round", watched)
    left = lnp.prune(start, 0.2, 0, None, NoiseSettings(nodes=0.25, rounds=3), block=4).n
    assert found == [(40, True), (left, False), (left, False)] and left < 33


def test_delocalisation_adds_single_synapses_and_is_refused():
    with pytest.raises(ConfigError) as refusal:
        lnp.prune(start_of("dense"), 0.3, 0, None, NoiseSettings(added=0.05), block=4)
    what, hint = str(refusal.value).splitlines()
    assert "added = 0.05" in what and "block is 4" in what and "added = 0, or block = 1" in hint


def test_a_stopped_pruning_goes_on_and_knows_its_blocks(tmp_path):
    start, path, options = tiny_network(n=24, density=1.0), tmp_path / "x.pruning", NoiseSettings(rounds=4, nodes=0.2)
    with pytest.raises(Stopped):
        lnp.prune(start, 0.2, 1, stopping_at(0.6), options, path, block=4)
    with pytest.raises(ModelError, match="another pruning"):
        lnp.prune(start, 0.2, 1, None, options, path)
    again = lnp.prune(start, 0.2, 1, None, options, path, block=4)
    assert again.identity() == lnp.prune(start, 0.2, 1, None, options, block=4).identity()


# Integers


@pytest.mark.parametrize("bits", [8, 4, 2])
@pytest.mark.parametrize("kind", ["dense, 30 neurons", "dense layers"])
def test_integers_lie_in_the_blocks_that_were_kept(kind, bits):
    """Weights that round to 0 are left out within a block; nothing is stored outside."""
    after = pruned("lnp", kind)
    model = quantize(after, task(), bits=bits)
    spans = dict(zip([p.name for p in after.populations], [at for _, at in after.parts()], strict=True))
    stored = np.zeros((after.n, after.n), bool)
    for p in model.projections:
        if p.source in spans and p.target in spans:
            stored[spans[p.source], spans[p.target]] = p.w.dense() != 0
    kept = after.w_rec.toarray() != 0
    assert not (stored & ~kept).any() and stored.any()
    blocks = [(stored[pre, g].any(), kept[pre, g].any()) for pre in range(after.n) for g in groups(after)]
    assert sum(a for a, _ in blocks) <= sum(b for _, b in blocks)
    assert bits == 8 or (stored != kept).any()


def test_the_firmware_stores_them_as_blocks():
    free = get("lnp_edge.pruning", "lnp").prune(start_of("dense"), 0.3, 0)
    said = [
        layout.chosen(model, model.projection("rec"))
        for model in (quantize(one, task()) for one in (pruned("lnp", "dense"), free))
    ]
    assert said[0].startswith("w_rec lies as blocks") and said[1].startswith("w_rec lies as csr")


# Settings


@pytest.mark.parametrize("value", ["2", "0", "8", "-4", "4.0", '"4"', "true", "[4]"])
def test_another_size_is_refused_in_two_lines(tmp_path, value):
    path = tmp_path / "c.toml"
    path.write_text(f"[prune]\nblock = {value}\n")
    with pytest.raises(ConfigError) as refusal:
        config.load(path)
    what, hint = str(refusal.value).splitlines()
    assert "prune.block is" in what and "write 1 for single synapses, or 4" in hint


def test_the_default_leaves_no_trace_in_what_is_stored(tmp_path):
    path = tmp_path / "c.toml"
    path.write_text("[prune]\nblock = 4\n")
    blocks = config.load(path)
    assert blocks.prune.block == 4 and Config.from_json(blocks.to_json()) == blocks
    assert json.loads(blocks.to_json())["prune"]["block"] == 4
    one = replace(blocks, prune=replace(blocks.prune, block=1))
    assert "block" not in json.loads(one.to_json())["prune"] and Config.from_json(one.to_json()) == one


def test_a_method_of_single_synapses_is_refused_in_two_lines(monkeypatch):
    def prune(network, keep, seed, progress=None, options=None):
        return network

    known = pruning.plugins.get
    alone = SimpleNamespace(prune=prune)
    monkeypatch.setattr(pruning.plugins, "names", lambda package: ["alone", "lnp"])
    monkeypatch.setattr(pruning.plugins, "get", lambda p, name: alone if name == "alone" else known(p, name))
    assert pruning.pruned(PruneSettings("alone", 0.5), start_of("dense"), 0) is start_of("dense")
    with pytest.raises(ConfigError) as refusal:
        pruning.pruned(PruneSettings("alone", 0.5, block=4), start_of("dense"), 0)
    what, hint = str(refusal.value).splitlines()
    assert "block is 4" in what and "alone prunes single synapses" in what and hint.endswith("serves blocks: lnp")


@pytest.mark.parametrize("method", METHODS)
def test_a_network_without_recurrence_is_refused(method):
    with pytest.raises(NetworkError, match="leaves none"):
        pruning.pruned(PruneSettings(method, 0.5, block=4), tiny_network(n=8, density=0.0), 0)
