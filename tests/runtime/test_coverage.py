"""Coverage counts what the oracle counts, and the search reaches what can be reached."""

from dataclasses import replace

import numpy as np
import pytest
from naive import ENCODERS, Naive
from tiny import ALL, tiny_counts, tiny_model

from lnp_edge.runtime import coverage
from lnp_edge.runtime.coverage import Counter, cannot, search
from lnp_edge.runtime.verify import stimulus
from lnp_edge.spec.model import INPUT, Population


@pytest.mark.parametrize("kind", ALL)
def test_it_counts_what_the_oracle_counts(kind):
    model, runs = ALL[kind](), [tiny_counts(ALL[kind](), 40, seed) for seed in (1, 2)]
    fired = {p.name: set() for p in model.populations if p.spikes}
    sent, carried, most, values = set(), {p.name: set() for p in model.projections}, {}, set()  # carried: senders
    for rows in runs:
        naive, readers = Naive(model), Naive(model).front
        for row in rows:
            for p in model.projections:
                if model.delayed(p):
                    carried[p.name] |= {i for i, z in enumerate(naive.z[p.source]) if z}
            naive.step(row)
            for p in model.projections:
                if p.source != INPUT and not model.delayed(p):
                    carried[p.name] |= {i for i, z in enumerate(naive.z[p.source]) if z}
            features = [reader.features([int(a) for a in row[c :: len(readers)]]) for c, reader in enumerate(readers)]
            flat = [features[c][f] for f in range(len(features[0])) for c in range(len(features))]
            for k, x in enumerate(ENCODERS[model.encoder](a, naive.e, k) for k, a in enumerate(flat)):
                values.add((k, x))
                if x:
                    sent.add(k)
            for at, p in enumerate(model.populations):
                if p.spikes:
                    fired[p.name] |= {i for i, z in enumerate(naive.z[p.name]) if z}
                for name in p.module.STATE:
                    for i, value in enumerate(naive.s[at][name]):
                        most[p.name, name, i] = max(most.get((p.name, name, i), 0), abs(value))
    for p in model.projections:
        active = sent if p.source == INPUT else carried[p.name]
        dense = p.w.dense()
        carried[p.name] = int(sum(np.count_nonzero(dense[j]) for j in active))
    counter = Counter(model)
    for rows in runs:
        counter.take(rows)
    found = counter.coverage()
    assert found.steps == 80
    assert {p.name: p.used for p in found.neurons} == {name: len(some) for name, some in fired.items()}
    assert {p.name: (p.used, p.all) for p in found.synapses} == {
        p.name: (carried[p.name], p.w.nnz) for p in model.projections
    }
    assert found.values.used == len(values) <= found.values.all
    bounds = {p.name: model.bounds(p) for p in model.populations}
    shares = {f"{p}_{name}[{i}]": value / bounds[p][i] for (p, name, i), value in most.items()}
    assert found.largest == max(shares.values()) and shares[found.where] == found.largest


def quiet(v_th):
    """A layer of which neuron 3 has another threshold."""
    model = tiny_model()
    hidden = model.populations[0]
    high = hidden.params["v_th"].copy()
    high[3] = v_th
    hidden = Population("hidden", "cuba_lif", hidden.n, hidden.params | {"v_th": high})
    return replace(model, populations=(hidden, model.populations[1]))


def counted(model):
    counter = Counter(model)
    for counts in stimulus(model, 2000, seed=1):
        counter.take(counts)
    return counter


def test_what_is_silent_is_named_and_what_can_be_reached_is_reached():
    model = tiny_model()
    most = Counter(model)
    for _ in search(most, 60, 200, seed=1):
        pass
    reached = max(abs(int(most._most[40 + 3])), 1)  # of v of neuron 3, by inputs that were made to reach others
    high = quiet(reached + 400)
    counter = counted(high)
    assert ("hidden", 3) in counter.silent()
    told = counter.coverage()
    assert not told.whole and any("neuron 3" in line for line in told.missing())
    runs = list(search(counter, 400, 200, seed=1))
    again = counted(high)
    assert runs and sum(again.take(counts) > 0 for counts in runs) == len(runs)
    assert len(again.silent()) < len(told.neurons[0].missing) + 1


def test_a_neuron_that_no_drive_makes_fire_is_said_to_be_one():
    model = quiet(2**31 - 1)
    counter = counted(model)
    list(search(counter, 5, 100, seed=1))
    assert cannot(model, [("hidden", 3)]) == ["neuron 3 of hidden"]
    assert cannot(tiny_model(), [("hidden", 3)]) == []


def test_the_search_is_seeded_and_ends():
    model = quiet(2**31 - 1)
    one, again = (list(search(counted(model), 20, 100, seed)) for seed in (1, 1))
    assert [a.tolist() for a in one] == [b.tolist() for b in again] and len(one) <= 20


def test_long_runs_are_looked_at_no_further_than_is_said(monkeypatch):
    monkeypatch.setattr(coverage, "MOST_STEPS", 30)
    counter = Counter(tiny_model())
    counter.take(tiny_counts(tiny_model(), 20))
    counter.take(tiny_counts(tiny_model(), 20))
    assert counter.coverage().steps == 30
