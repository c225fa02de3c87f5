"""Decisions on whole streams are those of infer, and their rule is fitted to what was not seen in training."""

from dataclasses import replace

import numpy as np
import pytest
from conftest import need
from tiny import tiny_counts, tiny_front

from lnp_edge.base.errors import ConfigError
from lnp_edge.config import Config, DataSettings, NetworkSettings, PruneSettings, StreamSettings, named
from lnp_edge.runtime.host import infer
from lnp_edge.runtime.reference import Reference
from lnp_edge.spec.decision import Decision
from lnp_edge.stages import decide, pipeline
from lnp_edge.task.dataset import Dataset, Stream
from lnp_edge.task.split import Split, load_data, split
from lnp_edge.task.task import Task

MODEL = replace(tiny_front("stack", 4), window=20, hop=8)
RULE = Decision(lead=20_000, least=30_000, low=(-900,) * 3, high=(900,) * 3, outside=3, levels=((0, 10), (50_000, 80)))


@pytest.mark.parametrize("stream", [False, True])
def test_decisions_on_a_stream_are_those_of_infer(stream):
    model = replace(MODEL, decision=replace(RULE, stream=stream, outside=3 if stream else 9)).check()
    counts = tiny_counts(replace(model, channels=("a", "b", "c")), 100).reshape(-1, 3)[:397]
    (found,) = decide.said(model, [Stream(counts, np.zeros(len(counts), np.int64), 1)])
    wanted = list(infer(Reference(model), model, counts))
    assert found.y.tolist() == [list(p.y) for p in wanted]
    facts = [(p.label, p.margin, p.unknown) for p in wanted]
    assert list(zip(found.label.tolist(), found.margin.tolist(), found.unknown.tolist(), strict=True)) == facts
    assert len({p.label for p in wanted}) > 1 and len({p.unknown for p in wanted}) == 2
    assert found.label.tolist() == decide.follow(found.y, RULE.lead).tolist() != found.y.argmax(1).tolist()
    assert found.margin.tolist() == decide.margins(found.y.astype(float), found.label).tolist()


def test_levels_rise_and_pool_what_does_not():
    right = np.array([0, 1, 1, 1, 0, 1, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1], bool)  # in pairs: 1/2, 1, 1/2, 1/2, 1, 1, 1, 1
    found = decide.levels(np.arange(16), right)
    assert found == [(0, 50), (2, 66), (8, 100)]


def test_equal_margins_are_in_one_level_whatever_their_order():
    half = np.repeat([False, True], 8)
    assert decide.levels(np.zeros(16, np.int64), half) == [(0, 50)]
    assert decide.levels(np.repeat([0, 7], [11, 5]), half) == [(0, 27), (7, 100)]  # 3 of 11; parts begin at 10 and 12
    assert decide.levels(np.zeros(0, np.int64), half[:0]) == []


def unseen(y, wanted, outside=None, group=1):
    """A stream of as many samples as decisions."""
    signal, wanted = np.zeros((len(y), 1), np.int16), np.array(wanted, np.int64)
    none = np.zeros(len(y), np.int64) if outside is None else np.array(outside, np.int64)
    return decide.Unseen(Stream(signal, wanted, group), np.array(y, float), wanted, none)


def test_margins_that_round_to_the_same_integer_are_one_level():
    """Margins 0.1 to 0.4, of which half are wrong, and 3: in units of 1, two levels."""
    margin = np.array([0.1, 0.2, 0.3, 0.4, 3.0, 3.0, 3.0, 3.0])
    seen = [unseen(np.stack([margin, 0 * margin], axis=1), [1, 1, 0, 0, 0, 0, 0, 0])]
    assert decide.fit_margins(seen, 0.0, 1.0) == (0, [(0, 50), (3, 100)])
    assert decide.fit_margins(seen, 0.0, 1000.0) == (325, [(100, 0), (300, 100)])  # 5 % of six: 0.25 from 0.3 to 0.4
    assert decide.fit_margins([unseen([[1, 2]], [0])], 0.0, 10.0) == (0, [(10, 0)])  # nothing is right


def test_the_lead_is_the_least_that_keeps_to_the_rate_of_false_changes():
    y = np.tile([10.0, 2.0], (100, 1))  # a typical margin of 8: leads are tried in steps of half a unit
    y[5::20, 1] = 11.2  # five times in an hour
    train = Dataset("x", 36.0, ("one",), ("a", "b"), (), np.zeros(0, int), np.zeros(0, int), ())
    task = Task("affine", {}, 1, 1, ("one",), ("a", "b"))
    data = Split(train, train, task, (36.0, 36.0))
    zeros = np.zeros(100, np.int64)
    seen = [decide.Unseen(Stream(np.zeros((100, 1), np.int16), zeros, 1), y, zeros, zeros)]
    found = [decide.fit_lead(seen, data, rate) for rate in (np.inf, 5.0, 4.9, 0.0)]
    assert found == [(0.0, 5.0), (0.0, 5.0), (1.5, 0.0), (1.5, 0.0)]
    # Where the lead holds a class back, the margin is 0: of five in a hundred.
    least, levels = decide.fit_margins(seen, 1.5, 100.0)
    assert (least, levels) == (760, [(0, 100)])  # between the fifth, 0, and the sixth, 8
    seen[0].y[5::20, 1] = seen[0].y[6::20, 0] = 99.0  # beyond every lead, and back
    lead, changes = decide.fit_lead(seen, data, 4.9)
    assert (lead, changes) == (16.0, 5.0)
    streaming = StreamSettings(batches=20, false_changes=4.9)
    assert "no lead keeps to 4.9 false changes an hour" in decide.warning(changes, streaming)
    assert decide.warning(4.9, streaming) == decide.warning(changes, StreamSettings(false_changes=4.9)) == ""


def test_the_ratio_is_that_of_the_read_outs(monkeypatch):
    """By least squares: (1 * 10 + 2 * 30) / (1 + 4)."""
    monkeypatch.setattr(decide, "in_floats", lambda network, data, some: [np.array([[1.0, 2.0]])] * len(some))
    monkeypatch.setattr(decide, "_integers", lambda *rest: np.array([[10, 30]]))
    assert decide.ratio(replace(SPAR, streaming=True), None, MODEL) == 14.0


def test_the_training_range_leaves_out_single_wild_samples():
    """Of 0 to 1000 in steps of 1, the quantiles are 1 and 999; of -2000 to 2000 in steps of 4, -1996 and 1996."""
    count = np.arange(1001)
    signal = np.stack([count, 4 * count - 2000], axis=1).astype(np.int16)
    wild = np.full((1, 2), 32767, np.int16)
    dataset = Dataset("x", 1.0, ("a", "b"), ("u",), (signal[::-1],), np.zeros(1, int), np.zeros(1, int), ())
    assert pipeline.training_range(dataset) == ((1, -1996), (999, 1996))
    none = np.full(1001, -1, np.int64)
    other = replace(dataset, recordings=(np.concatenate([wild] * 9),), streams=(Stream(signal, none, 1),))
    assert pipeline.training_range(other) == ((1, -1996), (999, 1996))


CONFIG = Config(
    data=DataSettings(window=2.0, hop=1.0, frame=5, limit=1), network=NetworkSettings(neurons=6, tau_out=1.0),
    prune=PruneSettings(keep=1.0), stream=StreamSettings(batches=20, false_changes=0.0),
)  # fmt: skip
SPAR = split(CONFIG, load_data(CONFIG))


@pytest.mark.parametrize("batches", [0, 20])
def test_the_rule_is_fitted_on_groups_that_no_training_saw(monkeypatch, batches):
    """Each fold: what trains is its other groups, and what is unseen are its own; test groups are in neither."""
    need("torch")
    config = replace(CONFIG, stream=StreamSettings(batches=batches))
    data = split(config, load_data(config))
    trained, heard, honest = [], [], decide.unseen

    def without_training(config, data, network, *rest):
        trained.append(set(data.train.groups.tolist()))
        return network, []

    def watched(inner, network):
        found = honest(inner, network)
        heard.append({s.stream.group for s in found})
        signals = {a.tobytes() for a in data.train.recordings}
        low, high = pipeline.training_range(inner.train)
        for s in found:
            edges = np.flatnonzero(np.diff(s.stream.labels)) + 1
            assert {a.tobytes() for a in np.split(s.stream.signal, edges)} <= signals
            assert len(s.y) == len(s.wanted) == len(s.outside) > 0
            first = s.stream.signal[: data.task.window]
            leaves = ((first < low) | (first > high)).any(1)
            assert s.outside[0] == leaves.sum()
        return found

    monkeypatch.setattr(pipeline, "train", without_training)
    monkeypatch.setattr(decide, "unseen", watched)
    network = pipeline.new_network(config, data)
    model, _ = pipeline.quantize(config, data, network)
    rule = decide.rule(config, data, network, model).rule
    assert heard == [{1, 2, 3}, {4, 5}, {6, 7}] and trained == [set(range(1, 8)) - fold for fold in heard]
    assert rule.stream == bool(batches) and (rule.low, rule.high) == pipeline.training_range(data.train)


def test_the_rule_is_in_integers_of_the_model(monkeypatch):
    """As in the test of the lead, with one ratio; of 300 decisions, one in a hundred has 2 samples outside or more."""
    y, none = np.tile([10.0, 2.0], (100, 1)), np.zeros(100, np.int64)
    y[5::20, 1] = 11.2
    outside = none.copy()
    outside[:2] = 3, 2
    monkeypatch.setattr(pipeline, "train", lambda config, data, network, *rest: (network, []))
    monkeypatch.setattr(decide, "unseen", lambda inner, network: [unseen(y, none, outside)])
    monkeypatch.setattr(decide, "ratio", lambda *rest: 1000.0)
    model = replace(MODEL, decision=Decision(stream=True))
    one = replace(SPAR, task=replace(SPAR.task, window=1, hop=1))
    found = decide.rule(CONFIG, one, None, model)
    assert (found.rule.lead, found.rule.least, found.rule.levels) == (1500, 7600, ((0, 100),))
    assert (found.rule.outside, found.changes, found.rule.stream) == (3, 0.0, True)
    assert decide.rule(replace(CONFIG, stream=StreamSettings()), one, None, model).rule.lead == 0  # windows


def test_what_has_no_rule_is_refused_before_any_training(monkeypatch):
    wind = named("wind")
    with pytest.raises(ConfigError, match="wind is a series: forecasts are no decisions") as e:
        split(replace(wind, quantize=replace(wind.quantize, decide=True)), load_data(wind))
    assert "--decide" in e.value.try_next
    assert len(decide.parts(SPAR.train.of_groups([1, 2]))) == 2
    with pytest.raises(ConfigError, match="one of people"):
        decide.parts(SPAR.train.of_groups([1]))
