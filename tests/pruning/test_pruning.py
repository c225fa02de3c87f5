"""What every pruning method must hold, of every neuron and of layers, and what makes Lyapunov noise pruning what it
is."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import NETWORKS, tiny_layers
from scipy import sparse

from lnp_edge import pruning
from lnp_edge.base.errors import ConfigError, NetworkError
from lnp_edge.config import NoiseSettings
from lnp_edge.dynamics import covariance, rate_model
from lnp_edge.network import Network
from lnp_edge.network.draw import random_network
from lnp_edge.pruning import activity, lnp
from lnp_edge.pruning.steps import edges as _edges
from lnp_edge.pruning.steps.delocalise import candidates
from lnp_edge.pruning.steps.nodes import reach
from lnp_edge.spec.plugins import get, names

METHODS = names("lnp_edge.pruning")
SCORES = st.lists(st.floats(1e-3, 1e3), min_size=2, max_size=200)


def network(n=60, seed=3, strength=1.0):
    return pruning.scaled(random_network(n, 3, 2, 0.04, 0.3, np.random.default_rng(seed), "cuba_lif"), strength)


def prune(method, start, keep, seed=0):
    return get("lnp_edge.pruning", method).prune(start, keep, seed)


@cache
def start_of(kind):
    return NETWORKS[kind]()


@cache
def pruned(method, kind, keep=0.3, seed=0):
    return prune(method, start_of(kind), keep, seed)


def column_ids(start, after):
    """Index in start of each neuron of after, known by its first time constant, a draw of its own."""
    places = []
    for (p, at), (q, _) in zip(start.parts(), after.parts(), strict=True):
        first = next(iter(p.params))
        places += [at.start + int(np.flatnonzero(p.params[first] == tau)[0]) for tau in q.params[first]]
    return np.array(places)


def graph(w, w_in=None, w_out=None) -> Network:
    """A network with these recurrent weights; every neuron hears the input and feeds the read-out."""
    n = len(w)
    base = random_network(n, 1, 1, 0.04, 0.0, np.random.default_rng(0), "cuba_lif")
    return replace(
        base,
        w_rec=sparse.csr_array(np.asarray(w, float)),
        w_in=np.ones((1, n)) if w_in is None else w_in,
        w_out=np.ones((n, 1)) if w_out is None else w_out,
    )


# Every method


def test_the_method_and_its_controls_are_there():
    assert {"lnp", "magnitude", "random"} <= set(METHODS)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize("keep", [1.0, 0.3, 0.05])
def test_exactly_the_asked_number_of_synapses_remains(method, kind, keep):
    assert pruned(method, kind, keep).w_rec.nnz == round(keep * start_of(kind).w_rec.nnz)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", NETWORKS)
def test_no_synapse_is_new_none_is_zero_and_none_changes_its_sign(method, kind):
    start, after = start_of(kind), pruned(method, kind)
    index = column_ids(start, after)
    old = start.w_rec.toarray()[np.ix_(index, index)]
    pre, post = after.w_rec.nonzero()
    assert len(pre) == after.w_rec.nnz
    assert (np.sign(after.w_rec.toarray()[pre, post]) == np.sign(old[pre, post])).all()
    assert (np.sign(after.w_rec.toarray()[pre, post]) == after.sign[pre]).all()


def assert_same_but_for_synapses(found, expected):
    for p, q in zip(found.populations, expected.populations, strict=True):
        assert (p.name, p.neuron, p.hears, p.feeds) == (q.name, q.neuron, q.hears, q.feeds)
        for name in q.params:
            np.testing.assert_array_equal(p.params[name], q.params[name], err_msg=name)
    for name in ("dt", "sign", "w_in", "w_out", "tau_out", "bias_out", "w_skip"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), err_msg=name)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", NETWORKS)
def test_all_arrays_shrink_together_and_are_else_untouched(method, kind):
    start, after = start_of(kind), pruned(method, kind)
    index = column_ids(start, after)
    assert (np.diff(index) > 0).all()
    assert_same_but_for_synapses(after, start.keep_neurons(index))
    assert after.w_rec.shape == (len(index), len(index))
    assert after.w_rec.has_sorted_indices
    assert len(index) == (start.n - int(0.05 * start.n) if method == "lnp" else start.n)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", NETWORKS)
def test_the_same_seed_gives_the_same_network(method, kind):
    a, b = (prune(method, start_of(kind), 0.3, seed=5).w_rec.toarray() for _ in range(2))
    np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("method", ["lnp", "random"])
def test_another_seed_gives_another_network(method):
    a, b = (prune(method, network(), 0.3, seed).w_rec for seed in (5, 6))
    assert a.shape != b.shape or (a != b).nnz > 0


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", NETWORKS)
def test_keeping_all_changes_nothing_but_what_the_guard_lowers(method, kind):
    start = start_of(kind)
    ratio = pruned(method, kind, 1.0).w_rec.data / start.w_rec.data
    limit = pruning.abscissa_limit(start, rate_model.network_abscissa(start))
    assert (ratio == 1).all() == (rate_model.network_abscissa(start) <= limit)


# lnp, uniform and weight are guarded
@pytest.mark.parametrize("method", ["lnp", "uniform", "weight"])
@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize("strength", [1.0, 6.0])
def test_the_guard_holds_for_every_neuron_and_for_layers(method, kind, strength):
    start = pruning.scaled(start_of(kind), strength)
    assert pruning.describe(start, prune(method, start, 0.2)).held


@pytest.mark.parametrize("score", ["l", "wl"])
@pytest.mark.parametrize("kind", NETWORKS)
def test_lyapunov_scores_and_every_step_serve_every_neuron_and_layers(score, kind):
    start = start_of(kind)
    options = NoiseSettings(score=score, added=0.1, rule="targeted", rounds=2)
    after = lnp.prune(start, 0.3, 0, None, options)
    count = round(0.3 * start.w_rec.nnz)
    assert count - round(0.1 * count) <= after.w_rec.nnz <= count
    assert (np.sign(after.w_rec.data) == after.sign[pruning.endpoints(after)[0]]).all()
    assert pruning.describe(start, after).held


def test_what_is_pruned_depends_on_the_neuron():
    """The same weights, thresholds and time constants in another neuron: another operating point, other synapses."""
    one = network()
    (p,), q = one.populations, network_of("adlif").populations[0]
    other = replace(one, populations=(replace(q, params=q.params | {"tau_mem": p.params["tau_mem"]}),))
    score, others = scores_of(one), scores_of(other)
    assert np.corrcoef(score, others)[0, 1] < 0.999
    here, there = (_edges.keep_probabilities(s, len(s) // 3) for s in (score, others))
    assert np.abs(here - there).max() > 0.05


def network_of(neuron):
    return random_network(60, 3, 2, 0.04, 0.3, np.random.default_rng(3), neuron)


# Layers


def test_every_layer_keeps_neurons_and_the_input_its_ways_to_the_read_out():
    start = tiny_layers(sizes=(24, 20, 4), first_recurrent=False)
    after = lnp.prune(start, 0.3, 0, None, NoiseSettings(nodes=0.9))
    assert [p.name for p in after.populations] == ["layer1", "layer2", "layer3"] and after.n < start.n
    np.testing.assert_array_equal(reach(after), reach(start))
    assert reach(start).all() and (after.w_skip == start.w_skip).all()


def test_layers_lose_neurons_alike():
    start = tiny_layers(sizes=(40, 40), first_recurrent=False)
    after = lnp.prune(start, 0.5, 0, None, NoiseSettings(nodes=0.2))
    assert [p.n for p in after.populations] == [32, 32]


def test_the_factor_of_the_recurrence_leaves_what_a_layer_gets_from_the_one_before():
    start = tiny_layers(sizes=(20, 16, 12))
    loud = pruning.scaled(start, 3.0)
    w, scaled = start.w_rec.toarray(), loud.w_rec.toarray()
    for a, at in enumerate(p[1] for p in start.parts()):
        for b, to in enumerate(p[1] for p in start.parts()):
            np.testing.assert_array_equal(scaled[at, to], w[at, to] * (3.0 if a == b else 1.0))
    back = start.w_rec.toarray()
    back[47, 0] = start.sign[47] * 0.1  # from the last layer to the first: now all is one loop
    looped = replace(start, w_rec=sparse.csr_array(back))
    np.testing.assert_array_equal(pruning.scaled(looped, 3.0).w_rec.data, 3.0 * looped.w_rec.data)


def test_delocalisation_joins_no_layers_that_were_not_joined():
    start = tiny_layers(sizes=(12, 10, 8), first_recurrent=False)
    free = sum(a * b for a, b in ((12, 10), (10, 8))) + 10 * 9 + 8 * 7 - start.w_rec.nnz
    for rule in ("hub", "random"):
        pre, post = candidates(start, free, rule, np.random.default_rng(0))
        full = start.w_rec.toarray() != 0
        assert not full[pre, post].any()
        full[pre, post] = True
        assert not full[:12, :12].any() and not full[12:, :12].any() and not full[:12, 22:].any()
        with pytest.raises(NetworkError, match=f"{free} pairs are free"):
            candidates(start, free + 1, rule, np.random.default_rng(0))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("keep", [0.0, -0.1, 1.001, float("nan"), float("inf"), 1e-9, "half", None])
def test_a_senseless_share_is_refused_in_two_lines(method, keep):
    with pytest.raises(ConfigError if keep != 1e-9 else NetworkError) as refusal:
        prune(method, network(), keep)
    what, hint = str(refusal.value).splitlines()
    assert repr(keep) in what and hint.startswith("  ")


@pytest.mark.parametrize("method", METHODS)
def test_a_network_without_recurrence_is_refused(method):
    with pytest.raises(NetworkError, match="leaves none") as e:
        prune(method, graph(np.zeros((3, 3))), 0.5)
    assert "keep = 1" in e.value.try_next


EVERY_OPTION = st.builds(
    NoiseSettings,
    score=st.sampled_from(["w", "l", "wl"]),
    alpha=st.sampled_from([0.0, 0.5, 2.0]),
    cap=st.sampled_from([0.0, 3.0]),
    loop=st.sampled_from([0.0, 0.99]),
    diagonal=st.sampled_from(["keep", "match"]),
    rounds=st.sampled_from([1, 4]),
    nodes=st.sampled_from([0.0, 0.9]),
    added=st.sampled_from([0.0, 0.2]),
    rule=st.sampled_from(["hub", "random", "targeted"]),
)


@settings(max_examples=15)
@given(EVERY_OPTION, st.sampled_from(["lnp", "random", "uniform", "weight"]), st.sampled_from([4, 12]),
       st.sampled_from([1, 100]), st.sampled_from([-9.0, 0.5, 9.0]))  # fmt: skip
def test_the_budget_the_signs_and_the_seed_hold_for_every_option(options, method, n, clusters, bias):
    """Also of networks that are silent, or always fire."""
    start = random_network(n, 1, 2, 0.04, 0.6, np.random.default_rng(n), "cuba_lif", clusters=clusters)
    start = start.with_params(bias=bias * start.params["bias"])
    try:
        first, again = (get("lnp_edge.pruning", method).prune(start, 0.4, 1, None, options) for _ in range(2))
    except NetworkError as e:  # hardly a neuron is left, and all are joined
        assert "pairs are free" in e.what and options.added and options.nodes
        return
    count = round(0.4 * start.w_rec.nnz)
    new = round(options.added * count) if method == "lnp" else 0
    assert count - new <= first.w_rec.nnz <= count  # the guard may refuse what delocalisation adds
    assert first.w_rec.nnz == count or new
    assert np.isfinite(first.params["tau_mem"]).all() and (first.params["tau_mem"] > 0).all()
    assert (np.sign(first.w_rec.data) == first.sign[pruning.endpoints(first)[0]]).all()
    np.testing.assert_array_equal(first.w_rec.toarray(), again.w_rec.toarray())


# Controls


def test_magnitude_keeps_the_largest_weights_as_they_are():
    start = network()
    kept = np.abs(prune("magnitude", start, 0.25).w_rec.data)
    largest = np.sort(np.abs(start.w_rec.data))[-len(kept) :]
    np.testing.assert_array_equal(np.sort(kept), largest)


def test_magnitude_breaks_ties_by_seed_and_not_by_place():
    equal = graph(0.01 * (1 - np.eye(20)))
    first, second = (prune("magnitude", equal, 0.5, seed).w_rec for seed in (0, 1))
    assert np.diff(first.indptr).max() < 19
    assert (first != second).nnz > 0


def test_random_keeps_each_synapse_equally_often(monkeypatch):
    monkeypatch.setattr(get("lnp_edge.pruning", "random"), "with_loop_gain", lambda net, *rest, **more: net)
    monkeypatch.setattr(get("lnp_edge.pruning", "random"), "loop_gain", lambda net: 0.5)
    start = graph(0.01 * (1 - np.eye(12)))
    often = sum((prune("random", start, 0.25, seed).w_rec != 0).toarray() for seed in range(200))
    off = often[~np.eye(12, dtype=bool)]
    # 132 counts of 200 draws at 1/4: mean 50 exactly, standard deviation 6.1.
    assert off.mean() == 50 and off.min() > 25 and off.max() < 75 and 5 < off.std() < 7.5


def test_random_gets_the_start_networks_abscissa_back():
    start = network(128)
    report = pruning.describe(start, prune("random", start, 0.3))
    loop = [1 + 4.0 * m.abscissa for m in (report.before, report.after)]
    assert loop[1] == pytest.approx(loop[0], rel=0.02)


# Keep probabilities


@given(SCORES, st.floats(0, 1))
def test_probabilities_sum_to_the_budget_and_follow_the_scores(values, share):
    score = np.array(values)
    count = max(1, round(share * len(score)))
    p = _edges.keep_probabilities(score, count)
    assert p.sum() == pytest.approx(count, abs=1e-9)
    assert p.min() > 0 and p.max() <= 1
    free = p < 1 - 1e-12
    ratio = p[free] / np.maximum(score, 1e-6 * score.mean())[free]
    assert len(ratio) == 0 or np.ptp(ratio) < 1e-9 * ratio.max()
    assert free.all() or not free.any() or score[~free].min() >= score[free].max() * (1 - 1e-9)


@given(SCORES, st.floats(1e-6, 1e6))
def test_probabilities_do_not_depend_on_the_scores_unit_or_order(values, unit):
    score = np.array(values)
    count, order = (len(score) + 1) // 2, np.random.default_rng(0).permutation(len(score))
    p = _edges.keep_probabilities(score, count)
    np.testing.assert_allclose(_edges.keep_probabilities(unit * score, count), p, rtol=1e-12)
    np.testing.assert_allclose(_edges.keep_probabilities(score[order], count), p[order], rtol=1e-12)


def test_scores_of_zero_still_leave_the_exact_budget():
    p = _edges.keep_probabilities(np.array([0.0, 0.0, 5.0, 0.0]), 2)
    np.testing.assert_allclose(p, [1 / 3, 1 / 3, 1, 1 / 3], rtol=1e-12)
    np.testing.assert_allclose(_edges.keep_probabilities(np.zeros(4), 1), 0.25)


@settings(max_examples=50)
@given(SCORES, st.integers(0, 2**32 - 1))
def test_a_sample_has_exactly_the_expected_size(values, seed):
    count = (len(values) + 2) // 3
    p = _edges.keep_probabilities(np.array(values), count)
    mask = _edges.sample(p, np.random.default_rng(seed))
    assert mask.sum() == count
    assert mask[p == 1].all()


def test_a_sample_includes_each_with_its_own_probability():
    p = _edges.keep_probabilities(np.random.default_rng(0).lognormal(size=50), 20)
    rng = np.random.default_rng(1)
    often = sum(_edges.sample(p, rng).astype(int) for _ in range(4000))
    free = p < 1
    z = (often - 4000 * p)[free] / np.sqrt(4000 * p * (1 - p))[free]
    assert np.abs(z).max() < 4 and 0.7 < z.std() < 1.3


@pytest.mark.parametrize("exact_to", [10, 1500])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_the_noise_of_a_synapse_is_the_variance_of_the_difference_of_ends_it_excites_and_of_the_sum_if_it_inhibits(
    monkeypatch, sign, exact_to
):
    """Two neurons that share their noise, two that do not: rates x, x, y and z of variance 1/2, by A = -I."""
    n = 12
    monkeypatch.setattr(_edges, "EXACT_TO", exact_to)
    w = np.zeros((n, n))
    w[0, 1] = w[2, 3] = sign
    shared = np.zeros((n, 2))
    shared[:2, 0] = 1.0
    shared[2], shared[3] = [0.8, 0.6], [0.8, -0.6]  # C_23 = (0.64 - 0.36) / 2
    model = rate_model.RateModel(sparse.csr_array((n, n)), 1.0, np.zeros(n), shared)
    net = graph(w)
    probed = [_edges.noise(net, model, np.random.default_rng(seed)) for seed in range(30)]
    # C_ii + C_jj - 2 sgn(w) C_ij. A probe of 2 signs is exact for 0 and 1, and 4 * 0.6**2 / 2 is so too.
    expected = [0.0, 0.72] if sign > 0 else [2.0, 1.28]
    np.testing.assert_allclose(np.mean(probed, 0), expected, atol=1e-3)


def test_noise_takes_the_sign_of_each_weight():
    net = network()
    model, (pre, post) = rate_model.rate_model(net), pruning.endpoints(net)
    c = covariance.stationary_covariance(model.a(), model.q())
    expected = c[pre, pre] + c[post, post] - 2 * np.where(net.w_rec.data > 0, 1, -1) * c[pre, post]
    np.testing.assert_allclose(_edges.noise(net, model, np.random.default_rng(0)), expected, rtol=1e-9)
    flipped = c[pre, pre] + c[post, post] + 2 * np.where(net.w_rec.data > 0, 1, -1) * c[pre, post]
    assert np.abs(flipped / expected - 1).max() > 0.1


def scores_of(net):
    return _edges.synapse_scores(net, rate_model.rate_model(net), np.random.default_rng(0))


def test_scores_follow_the_neurons_when_they_change_places():
    start, order = network(), np.random.default_rng(1).permutation(60)
    here = sparse.csr_array((scores_of(start), start.w_rec.nonzero())).toarray()
    moved = start.keep_neurons(order)
    there = sparse.csr_array((scores_of(moved), moved.w_rec.nonzero())).toarray()
    np.testing.assert_allclose(there, here[np.ix_(order, order)], rtol=1e-9)


def test_scores_are_positive_and_the_same_for_a_faster_read_out_but_for_a_factor():
    start = network()
    score, fast = scores_of(start), scores_of(replace(start, tau_out=start.tau_out / 8))
    assert score.min() > 0
    np.testing.assert_allclose(fast / fast.mean(), score / score.mean(), rtol=1e-9)


# Rescaling


def z_scores(alpha, draws=400):
    """How far the mean of the pruned weights lies from the start weights, in standard errors, per synapse."""
    start, rng = network(24), np.random.default_rng(0)
    score, count = scores_of(start), round(0.4 * start.w_rec.nnz)
    p = _edges.keep_probabilities(score, count)
    options = NoiseSettings(alpha=alpha, cap=0.0)
    total = sum(_edges.prune_edges(start, score, count, rng, options).network.w_rec for _ in range(draws))
    mean = total.toarray()[start.w_rec.nonzero()] / draws
    z = (mean - start.w_rec.data)[p < 1] / (np.abs(start.w_rec.data) * np.sqrt((1 - p) / p / draws))[p < 1]
    return z[p[p < 1] > 0.05]  # rarer ones are too skewed for a normal z of 400 draws


def test_dividing_by_p_keeps_the_expected_weights():
    z = z_scores(alpha=1.0)
    assert len(z) > 80
    assert abs(z.mean()) < 0.3 and 0.85 < z.std() < 1.15


def test_dividing_by_its_square_root_does_not():
    z = z_scores(alpha=0.5)
    assert np.abs(z).mean() > 5


def test_rescaling_leaves_certain_synapses_and_is_capped():
    assert _edges.rescaling(np.array([1.0, 0.25, 0.01]), 0.5, 3.0).tolist() == [1, 2, 3]


# Stability


def test_the_guard_lowers_the_gain_to_the_limit_and_no_further():
    start = network(100, strength=3.0)
    limit = rate_model.network_abscissa(network(100))
    assert rate_model.network_abscissa(start) > limit
    held, factor = pruning.hold_abscissa(start, limit)
    assert rate_model.network_abscissa(held) <= limit
    assert 1 + 4.0 * rate_model.network_abscissa(held) > 0.85 * (1 + 4.0 * limit)
    np.testing.assert_allclose(held.w_rec.toarray(), factor * start.w_rec.toarray())


def test_the_guard_leaves_a_stable_network_alone():
    start = network()
    held, factor = pruning.hold_abscissa(start, rate_model.network_abscissa(start))
    assert held is start and factor == 1


def test_a_graph_without_loops_is_not_scaled_away():
    chain = graph(np.triu(0.01 * np.ones((8, 8)), 1))
    limit = pruning.abscissa_limit(chain, rate_model.network_abscissa(chain))
    assert pruning.hold_abscissa(chain, limit)[1] == 1


def test_unguarded_division_by_p_exceeds_the_start_abscissa_and_the_guard_catches_it(monkeypatch):
    start = network(100)
    limit = pruning.abscissa_limit(start, rate_model.network_abscissa(start))
    options, said = NoiseSettings(alpha=1.0, cap=0.0), []
    guarded = lnp.prune(start, 0.1, 0, lambda done, what: said.append(what), options)
    assert rate_model.network_abscissa(guarded) <= limit and "guard" in said[-1]
    monkeypatch.setattr(lnp, "hold_abscissa", lambda net, limit: (net, 1.0))
    assert rate_model.network_abscissa(lnp.prune(start, 0.1, 0, None, options)) > limit


def test_progress_rises_and_the_spectrum_is_a_part_of_it():
    told = []
    lnp.prune(network(40), 0.3, 0, lambda done, what: told.append((done, what)), NoiseSettings(score="l"))
    shares = [done for done, _ in told]
    assert shares == sorted(shares) and shares[0] == 0 and shares[-1] == 1
    assert sum(what == "Lyapunov spectrum" for _, what in told) > 10


def test_an_unstable_start_does_not_excuse_an_unstable_result():
    start = network(60, strength=4.0)
    assert rate_model.network_abscissa(start) > 0
    assert rate_model.network_abscissa(lnp.prune(start, 1.0, 0)) < 0


@pytest.mark.parametrize("strength", [0.5, 2.0, 4.0])
def test_noise_pruning_never_raises_the_abscissa(strength):
    start = network(100, strength=strength)
    for seed in range(3):
        assert pruning.describe(start, lnp.prune(start, 0.2, seed)).held


def test_an_unstable_model_is_given_leak_for_the_scores_and_a_stable_one_none():
    m = sparse.csr_array(np.array([[1.5, 2.0], [0.0, 0.0]]))
    model = rate_model.RateModel(m, 2.0, np.ones(2), np.zeros((2, 1)))
    assert model.abscissa() == pytest.approx(0.25)
    assert model.stabilised(-0.1).abscissa() == pytest.approx(-0.1)
    assert np.linalg.eigvals(model.stabilised(-0.1).a()).real.max() == pytest.approx(-0.1)
    assert model.stabilised(0.3).leak == model.leak


@pytest.mark.parametrize("method", ["lnp", "random"])
def test_a_loop_gain_that_is_asked_for_is_reached(method):
    pruned = get("lnp_edge.pruning", method).prune(network(100), 0.2, 0, None, NoiseSettings(loop=0.7))
    assert pruning.loop_gain(pruned) == pytest.approx(0.7, rel=0.05)


def test_a_start_that_damps_itself_is_no_loop_gain_to_restore():
    start = graph(0.002 * np.ones((20, 20)) - 0.052 * np.eye(20))
    assert pruning.loop_gain(start) < 0
    for seed in range(3):
        pruned = get("lnp_edge.pruning", "random").prune(start, 0.3, seed)
        assert set(pruned.w_rec.data) <= {0.002, 0.002 - 0.052}


def test_weights_do_not_grow_without_end_where_hardly_a_loop_is_left():
    start = network(100)
    pruned = get("lnp_edge.pruning", "random").prune(start, 0.02, 0, None, NoiseSettings(loop=0.75))
    assert abs(pruned.w_rec).max() <= 1000 * abs(start.w_rec).max()


# Report


def test_describe_measures_both_networks():
    start = network()
    after = lnp.prune(start, 0.3, 0)
    report = pruning.describe(start, after)
    assert (report.before.synapses, report.before.neurons) == (1062, 60)
    assert (report.after.synapses, report.after.neurons) == (319, 57)
    assert report.after.abscissa == pytest.approx(rate_model.network_abscissa(after))
    a = rate_model.rate_model(after).a()
    assert report.after.radius == pytest.approx(np.abs(np.linalg.eigvals(4.0 * a + np.eye(57))).max())
    louder = pruning.describe(start, pruning.scaled(start, 4.0))
    assert louder.after.rate > louder.before.rate and not louder.held


# Activity pruning


def test_activity_pruning_keeps_what_spikes_carry_on_the_data_it_is_shown():
    """Neurons that hear nothing in x are silent there, and lose every outgoing synapse before any other does."""
    start = network(n=40)
    deaf = np.arange(40) < 20
    start = replace(start.with_params(bias=np.where(deaf, -9.0, 0.1)), w_in=np.where(deaf, 0, np.abs(start.w_in)))
    x = np.full((4, 50, 3), 1.5, np.float32)
    after = activity.prune(start, 0.3, 0, x=x)
    senders = np.flatnonzero(np.diff(after.w_rec.indptr))
    assert after.w_rec.nnz == round(0.3 * start.w_rec.nnz) and not deaf[senders].any()
    rate = rate_model.operating_point(start, x=x).rate
    pre, _ = pruning.endpoints(start)
    least_kept = np.sort(np.abs(start.w_rec.data) * rate[pre])[-after.w_rec.nnz]
    pre, _ = pruning.endpoints(after)
    assert (np.abs(after.w_rec.data) * rate[pre] >= least_kept).all()
