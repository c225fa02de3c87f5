"""Layouts of synapses in flash, each found by its presence: every entry has its place, and the fastest is taken."""

from dataclasses import replace

import numpy as np
import pytest
from tiny import random_model, tiny_model

from lnp_edge.encoders import clamped
from lnp_edge.spec import layout, plugins
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


def test_whatever_has_no_other_layout_is_stored_as_rows_of_synapses():
    for model, p in projections(range(8)):
        serving = [kind for kind in KINDS if plugins.get(layout.PACKAGE, kind).serves(model, p)]
        assert "csr" in serving
        chosen = layout.of(model, p)
        costs = {kind: plugins.get(layout.PACKAGE, kind).instructions(model, p) for kind in serving}
        assert costs[chosen.__name__.rpartition(".")[2]] == min(costs.values())


@pytest.mark.parametrize(("synapses", "kind"), [(40, "dense"), (30, "dense"), (10, "csr"), (0, "csr")])
def test_inputs_that_reach_most_neurons_are_dense(synapses, kind):
    """synapses : of each of 3 inputs, to 40 neurons"""
    model = tiny_model()
    w = np.zeros((3, 40), np.int32)
    w[:, :synapses] = 5
    p = Projection("in", INPUT, "hidden", CSR.from_dense(w), 0)
    assert layout.of(model, p).__name__ == f"lnp_edge.layouts.{kind}"


def test_inputs_that_are_events_are_not_dense():
    model = tiny_model()
    model = replace(model, encoder="clamped", encoder_params=clamped.fit(np.array([[0, 1, 1], [1, 0, 1]], np.int16)))
    p = Projection("in", INPUT, "hidden", CSR.from_dense(np.full((3, 40), 5)), 0)
    assert layout.of(model, p).__name__ == "lnp_edge.layouts.csr"
