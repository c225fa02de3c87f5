"""Layouts of synapses in flash, each found by its presence: every entry has its place, and the smallest is taken."""

from dataclasses import replace

import numpy as np
import pytest
from tiny import random_model, tiny_model

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
                pre, post = one.place(p, part, k)
                if post is None:
                    continue
                assert (pre, post, part) not in seen
                seen.add((pre, post, part))
                if array.dtype.kind == "i":  # a weight: indices and offsets are unsigned
                    rebuilt[pre, post] = value
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


@pytest.mark.parametrize(("synapses", "kind"), [(40, "dense"), (19, "dense"), (18, "csr"), (0, "csr")])
def test_inputs_that_reach_half_of_the_neurons_are_dense(synapses, kind):
    """3 inputs and 40 neurons: 120 bytes, or 2 for each synapse and 8 for the ends of rows."""
    assert kind_of(tiny_model(), reaching(synapses)) == kind


def test_a_tie_of_bytes_is_csr():
    w = reaching(40)
    w[:, 18:] = 0
    w[0, 18:20] = 5  # 56 synapses: 112 B and 8 B
    assert kind_of(tiny_model(), w) == "csr"
    w[1, 18] = 5
    assert kind_of(tiny_model(), w) == "dense"


def test_spikes_are_never_dense():
    assert kind_of(tiny_model(), reaching(40, 40), source="hidden") == "csr"


@pytest.mark.parametrize("neurons", [40, 300])
@pytest.mark.parametrize("bits", [8, 16])
def test_fewer_synapses_never_need_more_flash(neurons, bits):
    rng, last = np.random.default_rng(1), 0
    model, w = tiny_model(n=neurons), np.zeros(3 * neurons, np.int32)
    kinds = set()
    for place in rng.permutation(len(w)):
        w[place] = 5
        p = Projection("in", INPUT, "hidden", CSR.from_dense(w.reshape(3, neurons)), 0, bits)
        one = layout.of(model, p)
        size = sum(table.nbytes for table in one.tables(model, p).values())
        assert size >= last
        last = size
        kinds.add(one.__name__)
    assert len(kinds) == 2


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
