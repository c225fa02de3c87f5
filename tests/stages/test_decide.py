"""Decisions on whole streams are those of infer, and their rule is fitted to what was not seen in training."""

from dataclasses import replace

import numpy as np
import pytest
from tiny import tiny_counts, tiny_front

from lnp_edge.runtime.host import infer
from lnp_edge.runtime.reference import Reference
from lnp_edge.spec.decision import Decision
from lnp_edge.stages import decide
from lnp_edge.task.dataset import Dataset, Stream
from lnp_edge.task.split import Split
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
    found = decide.levels(np.arange(16.0), right)
    assert found == [(0.0, 50), (2.0, 66), (8.0, 100)]


def test_the_lead_is_the_least_that_keeps_to_the_rate_of_false_changes():
    y = np.tile([10.0, 2.0], (100, 1))  # a typical margin of 8: leads are tried in steps of half a unit
    y[5::20, 1] = 11.2  # five times in an hour
    train = Dataset("x", 36.0, ("one",), ("a", "b"), (), np.zeros(0, int), np.zeros(0, int), ())
    task = Task("affine", {}, 1, 1, ("one",), ("a", "b"))
    data = Split(train, train, task, (36.0, 36.0))
    zeros = np.zeros(100, np.int64)
    seen = [decide.Unseen(Stream(np.zeros((100, 1), np.int16), zeros, 1), y, zeros, zeros)]
    assert [decide.fit_lead(seen, data, rate) for rate in (np.inf, 5.0, 4.9, 0.0)] == [0.0, 0.0, 1.5, 1.5]
    least, levels = decide.fit_margins(
        seen, 1.5
    )  # where the lead holds a class back, the margin is 0: of five in a hundred
    assert (least, levels) == (pytest.approx(7.6), [(0.0, 100)])  # between the fifth, 0, and the sixth, 8
