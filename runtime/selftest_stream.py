"""The part of the self-test about lnp_<name>_push: decisions from single samples, and at the edges of the rule."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from lnp_edge.runtime import decisions
from lnp_edge.runtime.bench import CASES, INT32, Bench, hold, some_of
from lnp_edge.runtime.host import Prediction, Stream
from lnp_edge.runtime.reference import Reference
from lnp_edge.spec.model import QuantizedModel
from lnp_edge.spec.protocol import REPLIES, REQUESTS

SAMPLES, CRAFTED = 6000, 24_000  # of a stream, at most: of the stimulus, and in all cases that are made
Told = tuple[int, ...]  # label, margin, percent, unknown, read-outs


class Push:
    """A stream on the device and on the reference."""

    def __init__(self, bench: Bench):
        self.bench, self.model = bench, bench.model
        self.most = (bench.device.greeting.max_payload - REQUESTS["push"].struct.size) // (2 * len(self.model.channels))

    def ask(self, samples: NDArray[np.int16], start: int, like: bool = False) -> tuple[int, int, Told]:
        """Push samples, of which `start` came before: the decisions' number and CRC, and the last."""
        device, head = self.bench.device, REPLIES["push"].struct
        payload = REQUESTS["push"].struct.pack(device.run, start, like) + samples.astype("<i2").tobytes()
        raw = device.ask("push", payload, 4 * self.model.n_out)
        run, total, count, crc, label, margin, percent, unknown = head.unpack_from(raw)
        hold(run == device.run, f"push answers for run {run}")
        hold(total == start + len(samples), f"push counts {total} samples, not {start + len(samples)}")
        y = np.frombuffer(raw, "<i4", offset=head.size).tolist()
        return count, crc, (label, margin, percent, unknown, *y)

    def compared(self, samples: NDArray[np.int16], start: int, expected: list[Told], like: bool = False) -> None:
        """Push samples that give these decisions."""
        done = 0
        count, crc, last = self.ask(samples, start, like)
        for told in expected:
            label, margin, percent, unknown, *y = told
            done = zlib.crc32(struct.pack(f"<III{len(y)}i", label, margin, percent + 256 * unknown, *y), done)
        hold(count == len(expected), f"{count} decisions on {len(samples)} samples, not {len(expected)}")
        if expected:
            what = "label, margin, percent, unknown, read-outs"
            hold(last == expected[-1], f"a decision is {last}, not {expected[-1]} ({what})")
        hold(crc == done, f"a decision before {last} differs")


def _told(p: Prediction) -> Told:
    return (p.label or 0, p.margin, p.percent, int(p.unknown), *p.y)


def stream(bench: Bench) -> Iterator[None]:
    """Decisions on the stimulus of lnp verify, then on crafted ones."""
    model, push = bench.model, Push(bench)
    samples = decisions.samples_for(model, bench.seed)
    samples = samples[: max(model.window + 2 * model.hop, SAMPLES)]
    of_host, start, at = Stream(Reference(model), model), 0, 0
    expected = list[Told]()
    part = 0
    sizes = (1, push.most, 2, push.most)
    while at < len(samples):
        size = min(sizes[part % 4], push.most)
        some = samples[at : at + size]
        gone = np.flatnonzero(np.isin(some, model.missing_counts).any(1))
        some = some[: int(gone[0])] if len(gone) else some
        found = [of_host.push(row) for row in some]
        expected = [_told(p) for p in found if p]
        if len(some):
            push.compared(some, start, expected)
        start, at, part = start + len(some), at + len(some), part + 1
        if len(gone):
            of_host.gap()
            start, at = 0, at + 1
        for _ in expected:
            yield
    if model.forecast is None:
        yield from _edges_of_decisions(bench, push, samples)


def _edges_of_decisions(bench: Bench, push: Push, samples: NDArray[np.int16]) -> Iterator[None]:
    """The second decision of a stream, of read-outs that are chosen and of samples at the range of training."""
    model, rule = bench.model, bench.model.decision
    n = model.window + model.hop
    if len(samples) < n or np.isin(samples[:n], model.missing_counts).any():
        return
    samples = samples[:n]
    if rule.ranged(model.window):  # none of them is unknown for its samples
        samples = np.clip(samples, rule.low, rule.high).astype(np.int16)
        if np.isin(samples, model.missing_counts).any():
            return
    of_host = Stream(Reference(model), model)
    natural = [of_host.push(row) for row in samples]
    first = next(p for p in natural if p)
    present = first.label
    assert present is not None
    most_cases = max(4, min(CASES, CRAFTED // n))
    second = [(present, y, n) for y in _targets(model, present)]
    # A first decision has none before it: the largest read-out decides, however small its lead.
    alone = [(None, np.eye(model.n_out, dtype=np.int64)[o], model.window) for o in range(model.n_out)]
    for before, y, end in [*second[:most_cases], *some_of(alone, 4, bench.rng)]:
        words = _giving(bench, samples[end - model.front.frame : end], y)
        if words is None:
            continue
        bench.loaded(words, 5, 5, "a state with chosen read-outs")
        decided = model.decision.next(before, y.tolist(), 0)
        told = (decided.label, decided.margin, decided.percent, int(decided.unknown), *y.tolist())
        _until(push, samples[: end - 1], natural)
        push.compared(samples[end - 1 : end], end - 1, [told], like=True)
        yield
    for crafted in some_of(list(_at_range(model, samples)), most_cases, bench.rng):
        of_host = Stream(Reference(model), model)
        found = [of_host.push(row) for row in crafted]
        _until(push, crafted[: n - 1], found)
        push.compared(crafted[n - 1 :], n - 1, [_told(p) for p in found[n - 1 :] if p])
        yield


def _until(push: Push, samples: NDArray[np.int16], found: list[Prediction | None]) -> None:
    """Begin a stream. found : the prediction that is due with each sample"""
    for at in range(0, len(samples), push.most):
        some = samples[at : at + push.most]
        push.compared(some, at, [_told(p) for p in found[at : at + len(some)] if p])


def _targets(model: QuantizedModel, present: int) -> Iterator[NDArray[np.int64]]:
    """Read-outs at the edges of the rule, about 0, int64 [n_out]."""
    n, rule = model.n_out, model.decision
    leads = {0, 1, rule.lead - 1, rule.lead, rule.lead + 1}
    margins = {rule.least - 1, rule.least, 1} | {m + k for m, _ in rule.levels for k in (-1, 0)}
    others = [o for o in range(n) if o != present]
    for other in (others[:1] + others[-1:]) if others else []:
        for lead in sorted(x for x in leads if 0 <= x <= INT32):
            y = np.full(n, -3 - lead, np.int64)
            y[present], y[other] = -(lead // 2), lead - lead // 2
            yield y
        for margin in sorted(x for x in margins if 0 <= x <= INT32):
            y = np.full(n, -margin - 5, np.int64)
            y[present], y[other] = margin - margin // 2, -(margin // 2)
            yield y
    yield np.zeros(n, np.int64)
    if len(others) > 1:  # two that are equal replace the present one: the first of them does
        y = np.full(n, -5, np.int64)
        y[[others[0], others[-1]]] = min(max(1, rule.lead), INT32)
        y[present] = 0
        yield y
    for other in others:
        y = np.full(n, -7, np.int64)
        y[[other, present]] = 0
        yield y
        y = y.copy()
        y[other] = 1
        y[others[-1]] = max(1, y[others[-1]])
        yield y


def _giving(bench: Bench, frame: NDArray[np.int16], y: NDArray[np.int64]) -> NDArray[np.uint32] | None:
    """A state, of zeros but for its read-outs, whose step on these samples gives read-outs y; None if none does."""
    model, reference = bench.model, bench.reference
    n, y0 = model.n_out, model.state_words - model.readout.state_words
    most = bench.limits[y0 : y0 + n]
    low, high = -most, most.copy()
    words, counts = np.zeros(model.state_words, np.int64), model.rows(frame)
    for _ in range(34):  # a step does not change the order of two values of a read-out
        middle = (low + high) >> 1
        words[y0 : y0 + n] = middle
        reference.load(words.astype(np.uint32), 5)
        found = reference.steps(counts).y.astype(np.int64)
        low, high = np.where(found < y, middle + 1, low), np.where(found < y, high, middle)
    words[y0 : y0 + n] = high
    reference.load(words.astype(np.uint32), 5)
    return words.astype(np.uint32) if (reference.steps(counts).y == y).all() else None


def _at_range(model: QuantizedModel, samples: NDArray[np.int16]) -> Iterator[NDArray[np.int16]]:
    """Samples of which so many leave the range that one more makes a decision unknown, and one at a limit."""
    rule = model.decision
    if not rule.ranged(model.window):
        return
    c, last = len(model.channels), samples[-model.window :] if not rule.stream else samples[-model.hop :]
    if rule.outside >= len(last):
        return
    for channel in range(c):
        for limit, by in ((rule.low[channel], -1), (rule.high[channel], 1)):
            for value in (limit, limit + by):
                if not -32768 <= value <= 32767 or value in model.missing_counts:
                    continue
                crafted = samples.copy()
                far = [
                    v for v in (-32768, 32767) if not rule.low[0] <= v <= rule.high[0] and v not in model.missing_counts
                ]
                if rule.outside and not far:
                    continue
                first = len(samples) - len(last)
                crafted[first : first + rule.outside, 0] = far[0] if far else 0
                crafted[first + rule.outside, channel] = value
                yield crafted
