"""Layouts of synapses in flash, each found by its presence: every entry has its place, and the smallest is taken."""

from dataclasses import replace

import numpy as np
import pytest
from tiny import random_model, tiny_blocks, tiny_model

from lnp_edge.encoders import clamped
from lnp_edge.spec import layout, plugins
from lnp_edge.spec.frontend import FrontEnd
from lnp_edge.spec.model import CSR, INPUT, Projection

KINDS = plugins.names(layout.PACKAGE)


def projections(seeds):
    return [(model, p) for model in map(random_model, seeds) for p in model.projections]


@pytest.mark.parametrize("kind", KINDS)
def test_every_synapse_has_one_place_and_its_weight_stands_there(kind):
    one, served = plugins.get(layout.PACKAGE, kind), 0
    for model, p in projections(range(8)):
        if not one.serves(model, p):
            continue
        served += 1
        rebuilt, seen = np.zeros(p.w.shape, np.int64), set()
        for part, array in one.tables(model, p).items():
            for k, value in enumerate(array.tolist()):
                for pre, post, weight in one.synapses(p, part, k, value):
                    if post is None:
                        continue
                    assert (pre, post, part) not in seen
                    seen.add((pre, post, part))
                    if weight is not None:
                        rebuilt[pre, post] = weight
        assert (rebuilt == p.w.dense()).all()
        assert len({place[:2] for place in seen}) >= p.w.nnz
    assert served


def test_csr_serves_every_projection():
    assert all(plugins.get(layout.PACKAGE, "csr").serves(model, p) for model, p in projections(range(8)))


def kind_of(model, w, bits=8, source=INPUT):
    p = Projection("in", source, "hidden", CSR.from_dense(np.asarray(w, np.int32)), 0, bits)
    return layout.of(model, p).__name__.removeprefix("lnp_edge.layouts.")


def reaching(synapses, inputs=3, neurons=40):
    """Weights of inputs that reach the first so many neurons."""
    return np.full((inputs, neurons), 5) * (np.arange(neurons) < synapses)


@pytest.mark.parametrize(("synapses", "kind"), [(40, "dense"), (13, "dense"), (12, "csr"), (0, "csr")])
def test_inputs_that_reach_a_third_of_the_neurons_are_dense(synapses, kind):
    """3 inputs, stored as 4, and 40 neurons: 160 bytes, or 2 for each synapse and 8 for the ends of rows."""
    assert kind_of(tiny_model(), reaching(synapses)) == kind


def test_a_tie_is_csr():
    """4 inputs and 30 neurons, stored as 32: 128 bytes, or 2 for each synapse and 10."""
    w = np.full((4, 30), 5) * (np.arange(30) < 6)
    w[:3, 6] = 5
    assert kind_of(tiny_model(n_in=4), w) == "csr"
    w[3, 6] = 5
    assert kind_of(tiny_model(n_in=4), w) == "dense"


def test_a_weight_in_a_halfword_is_found_whatever_its_neighbours_are():
    one, model = plugins.get(layout.PACKAGE, "dense"), tiny_model(n_in=2)
    for a, b in ((127, -127), (-127, 127), (-1, -127), (0, 5), (-128, 127)):
        w = np.array([[a, b], [7, 7]], np.int32)
        p = Projection("in", INPUT, "hidden", CSR.from_dense(w), 0, 8)
        entry = one.tables(model, p)["pairs"][0]
        assert entry == 256 * b + a
        assert one.synapses(p, "pairs", 0, int(entry)) == [(0, 0, a), (0, 1, b)]


@pytest.mark.parametrize(("inputs", "part"), [(518, "pairs"), (519, "rows")])
def test_halfwords_hold_two_weights_while_their_sums_fit(inputs, part):
    """257 * 127 * 127 for each input."""
    model = tiny_model(n_in=inputs)
    p = Projection("in", INPUT, "hidden", CSR.from_dense(reaching(40, inputs)), 0, 8)
    assert list(plugins.get(layout.PACKAGE, "dense").tables(model, p)) == [part]


@pytest.mark.parametrize(("targets", "kind"), [(1, "dense"), (32, "dense"), (33, "blocks")])
def test_spikes_to_few_targets_are_dense(targets, kind):
    """Of one target 160 B, or 2 for each of 40 synapses and 82."""
    assert kind_of(tiny_model(), np.full((40, targets), 5), source="hidden") == kind


def test_spikes_to_few_of_few_targets_are_not_dense():
    """40 neurons and 8 targets: 320 bytes, or 2 for each synapse and 82."""
    w = np.full((40, 8), 5) * (np.arange(8) < 1)
    w[0, 0] = 0
    assert kind_of(tiny_model(), w, source="hidden") == "csr"
    w[0, 0] = 5
    assert kind_of(tiny_model(), w, source="hidden") == "dense"


def blocks_with(synapses, targets=40, blocks=40):
    """Weights of 40 neurons in so many blocks, which have so many synapses together."""
    of_block = np.full(blocks, synapses // blocks) + (np.arange(blocks) < synapses % blocks)
    w = np.zeros((40, targets // 4, 4), np.int64)
    w.reshape(-1, 4)[np.arange(blocks) * (w.size // 4 // blocks)] = 5 * (np.arange(4) < of_block[:, None])
    return w.reshape(40, targets)


@pytest.mark.parametrize(
    ("targets", "synapses", "kind"), [(40, 92, "blocks"), (40, 91, "csr"), (300, 62, "blocks"), (300, 61, "csr")]
)
def test_blocks_that_are_full_enough_lie_in_blocks(targets, synapses, kind):
    """40 blocks of 5 B and 66, or 2 for each synapse and 82; 3 of more than 256 targets. A tie is blocks."""
    assert kind_of(tiny_model(), blocks_with(synapses, targets), source="hidden") == kind


def test_synapses_of_inputs_never_lie_in_blocks():
    assert kind_of(tiny_model(n_in=40), blocks_with(160)) == "csr"


def test_blocks_are_what_they_are_said_to_be():
    """As SEMANTICS.md section 9 has them, for any structure."""
    one, rng = plugins.get(layout.PACKAGE, "blocks"), np.random.default_rng(5)
    for seed in range(40):
        n_pre, n_post = rng.integers(1, 70, 2)
        holes, share = rng.random(2)
        w = np.repeat(rng.random((n_pre, -(-n_post // 4))) < share, 4, 1)[:, :n_post] * rng.integers(
            1, 99, (n_pre, n_post)
        )
        w *= rng.random(w.shape) >= holes
        p = Projection("rec", "hidden", "hidden", CSR.from_dense(w), 0, 8)
        starts, blocks, weights = one.tables(tiny_model(), p).values()
        rebuilt, first = np.zeros((n_pre, 4 * -(-n_post // 4)), np.int64), 0
        for j in range(n_pre):
            begin, end = starts[33 * (j // 32) + j % 32 :][:2].astype(int)
            for k in range(first + begin, first + end):
                assert not rebuilt[j, 4 * blocks[k] : 4 * blocks[k] + 4].any()
                rebuilt[j, 4 * blocks[k] : 4 * blocks[k] + 4] = weights[4 * k : 4 * k + 4]
            first += int(starts[33 * (j // 32) + 32]) * (j % 32 == 31)
        assert (rebuilt[:, :n_post] == w).all() and not rebuilt[:, n_post:].any(), seed
        assert len(starts) == 33 * -(-n_pre // 32) and len(weights) == 4 * len(blocks)


def test_nibbles_are_what_they_are_said_to_be():
    """As SEMANTICS.md section 9 has them: the weights of blocks, in two's complement, the first in the lowest bits."""
    rng = np.random.default_rng(6)
    for seed in range(40):
        w = rng.integers(-8, 8, rng.integers(1, 70, 2)) * (rng.random() < rng.random())
        p = Projection("rec", "hidden", "hidden", CSR.from_dense(w.astype(np.int32)), 0, 4)
        in_bytes, found = (plugins.get(layout.PACKAGE, kind).tables(tiny_model(), p) for kind in ("blocks", "nibbles"))
        weights, nibbles = in_bytes.pop("weights"), found.pop("nibbles")
        assert nibbles.dtype == np.uint16 and len(weights) == 4 * len(nibbles), seed
        assert {name: part.tolist() for name, part in found.items()} == {
            n: part.tolist() for n, part in in_bytes.items()
        }
        for k, four in enumerate(nibbles.tolist()):
            digits = [four // 16**i % 16 for i in range(4)]
            assert [d - 16 * (d > 7) for d in digits] == weights[4 * k : 4 * k + 4].tolist(), (seed, k)


def test_the_layout_is_said_with_why_and_what_others_take():
    said = [layout.chosen(tiny_blocks(), p) for p in tiny_blocks().projections]
    assert said == [
        "w_in lies as dense, 160 B: faster, and below 2 times the fewest (csr 132 B)",
        "w_rec lies as blocks, 651 B: the fewest (csr 782 B)",
        "w_out lies as dense, 152 B: the fewest (blocks 256 B, csr 354 B)",
    ]
    p = Projection("in", INPUT, "hidden", CSR.from_dense(reaching(40)), 0)
    of_events = replace(tiny_model(), front=FrontEnd("delta", 1, ((5, 5, 5),)))
    assert layout.chosen(of_events, p) == "w_in lies as csr, 248 B: no other serves it"


@pytest.mark.parametrize(("share", "starts"), [(0.5, np.uint8), (0.9, np.uint16)])
def test_a_word_of_neurons_with_few_blocks_has_starts_of_a_byte(share, starts):
    """32 rows of 10 blocks have 160 or 288."""
    model = tiny_blocks(n=40, share=share)
    assert layout.tables(model)["w_rec_starts"].dtype == starts


@pytest.mark.parametrize("neurons", [40, 300])
@pytest.mark.parametrize("bits", [4, 8, 16])
@pytest.mark.parametrize("source", [INPUT, "hidden"])
@pytest.mark.parametrize("together", [1, 4])
def test_fewer_synapses_never_need_more_flash(neurons, bits, source, together):
    """The synapses are added in any order, alone or by fours that are neighbours."""
    rng, last = np.random.default_rng(1), 0
    model, w = tiny_model(n=neurons), np.zeros(3 * neurons, np.int32)
    kinds = set()
    for place in rng.permutation(len(w) // together):
        for k in range(together):
            w[together * place + k] = 5
            p = Projection("in", source, "hidden", CSR.from_dense(w.reshape(3, neurons)), 0, bits)
            one = layout.of(model, p)
            size = sum(table.nbytes for table in one.tables(model, p).values())
            assert size >= last
            last = size
            kinds.add(one.__name__)
    assert len(kinds) == 2 or (bits == 4 and len(kinds) == 3)


@pytest.mark.parametrize(("events", "kind"), [(1, "dense"), (2, "csr"), (3, "csr")])
def test_inputs_that_are_mostly_events_are_not_dense(events, kind):
    counts = np.array([[0, 0, 0], [1, 1, 1], [0, 1, 0]], np.int16) * np.where(np.arange(3) < events, 1, 900)
    model = replace(tiny_model(), encoder="clamped", encoder_params=clamped.fit(counts.astype(np.int16)))
    assert kind_of(model, reaching(40)) == kind


def test_half_of_the_inputs_may_be_events():
    counts = np.array([[0, 0, 0, 0], [1, 1, 900, 900], [0, 1, 0, 900]], np.int16)
    model = replace(tiny_model(n_in=4), encoder="clamped", encoder_params=clamped.fit(counts))
    assert kind_of(model, reaching(40, 4)) == "dense"


def test_the_events_of_a_front_end_are_not_dense():
    for kind, dense in (("delta", "csr"), ("stack", "dense")):
        front = FrontEnd(kind, 1, ((5, 5, 5),) if kind == "delta" else ())
        assert kind_of(replace(tiny_model(), front=front), reaching(40)) == dense


def gap_bytes(*targets, bits=4):
    """The bytes of one row with these targets, all of weight -3."""
    w = np.zeros((1, 64), np.int32)
    w[0, list(targets)] = -3
    p = Projection("rec", "hidden", "hidden", CSR.from_dense(w), 0, bits)
    return p, plugins.get(layout.PACKAGE, "gaps").tables(tiny_model(), p)["entries"].tolist()


@pytest.mark.parametrize(
    ("targets", "distances"),
    [((0, 15), [0, 15]), ((16,), [15, 1]), ((0, 30, 61), [0, 15, 15, 15, 15, 1]), ((1, 2), [1, 1]), ((), [])],
)
def test_a_target_that_is_far_away_takes_more_bytes(targets, distances):
    p, entries = gap_bytes(*targets)
    assert [entry % 16 for entry in entries] == distances
    one, at, reached = plugins.get(layout.PACKAGE, "gaps"), 0, []
    for k, entry in enumerate(entries):
        at += distances[k]
        assert entry // 16 in (0, -3)
        assert one.synapses(p, "entries", k, entry) == [(0, at, entry // 16)]
        assert one.synapses(p, "entries", k, entry + 16) == [(0, at, entry // 16 + 1)]
        if entry // 16:
            reached.append(at)
        assert one.synapses(p, "entries", k, entry ^ 1) == [(0, None, None)]  # moves all that follow
    assert reached == list(targets)


@pytest.mark.parametrize(
    ("density", "together", "kind"), [(0.03, 1, "csr"), (0.1, 1, "gaps"), (0.1, 4, "nibbles"), (1.0, 1, "nibbles")]
)
def test_weights_of_4_bits_are_with_distances_or_in_full_blocks_where_that_is_smaller(density, together, kind):
    there = np.random.default_rng(1).random((200, 200 // together)) < density
    w = np.repeat(there, together, 1) * np.int32(5)
    assert kind_of(tiny_model(), w, 4, "hidden") == kind
    assert kind_of(tiny_model(), w, 8, "hidden") not in ("gaps", "nibbles")
