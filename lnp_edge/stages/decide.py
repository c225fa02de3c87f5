"""Decisions on streams, and the fit of their rule (spec/decision.py) on training groups alone.

The training groups are divided into FOLDS folds. For each, a network is trained on the other groups; its
read-outs on the fold are what a device gives on people it has not seen. From all of them come

    lead     : the least for which decisions change to a wrong class at most [stream] false_changes times an
               hour; 0 for windows, whose decisions stay those of the largest read-out
    least    : so that REJECTED of the right decisions have a smaller margin, and are unknown
    outside  : so that OUTSIDE of the decisions have more samples beyond the range
    levels   : the share of right decisions among those of similar margin, made monotone by pooling
               adjacent violators (Ayer et al. 1955, Ann. Math. Stat. 26:641)

They are found in units of the float read-out and turned into integers by the model's own ratio of integer to
float read-outs. The range of each channel is the model's own, see pipeline.training_range.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lnp_edge.base.errors import ConfigError
from lnp_edge.base.progress import EpochProgress
from lnp_edge.config import Config, StreamSettings
from lnp_edge.network import Network
from lnp_edge.runtime.host import classify
from lnp_edge.runtime.reference import Reference
from lnp_edge.spec.decision import MOST, Decision
from lnp_edge.spec.model import QuantizedModel
from lnp_edge.stages import pipeline
from lnp_edge.task import streams
from lnp_edge.task.dataset import Dataset, Stream
from lnp_edge.task.split import Split, folds, split
from lnp_edge.task.streams import UNLABELLED, Judge
from lnp_edge.task.task import encoded

FOLDS = 3
REJECTED, OUTSIDE = 0.05, 0.01
LEVELS = 8
LEADS = np.arange(0, 33) / 16  # of the typical margin of a right decision


@dataclass(frozen=True)
class Said:
    """The decisions on a stream."""

    y: NDArray  # [D, K], the read-outs
    label: NDArray[np.int64]  # [D]
    margin: NDArray[np.int64]  # [D]
    unknown: NDArray[np.bool_]  # [D]


def said(model: QuantizedModel, some: Sequence[Stream], progress: Callable[[], None] = lambda: None) -> list[Said]:
    """The decisions of a model on streams, as runtime.host.infer makes them. progress is called for each stream."""
    runner, found = Reference(model), []
    for stream in some:
        present, decided = None, []
        y = _integers(runner, model, stream.signal)
        for row, outside in zip(y, _outside(model.decision, stream.signal, model.window, model.hop), strict=True):
            decided.append(model.decision.next(present, row.tolist(), int(outside)))
            present = decided[-1].label
        columns = (np.array([getattr(d, name) for d in decided]) for name in ("label", "margin", "unknown"))
        found.append(Said(y, *columns))
        progress()
    return found


def _integers(runner: Reference, model: QuantizedModel, signal: NDArray[np.int16]) -> NDArray[np.int32]:
    """The read-outs at every decision, [D, K]."""
    found, last = [np.zeros((0, model.n_out), np.int32)], 0
    runner.reset()
    for end in streams.ends(len(signal), model.window, model.hop).tolist():
        if model.decision.stream:
            y, last = runner.steps(model.rows(signal[last:end]), digests=False).y, end
        else:
            y = classify(runner, model.rows(signal[end - model.window : end]))
        found.append(y[None])
    return np.concatenate(found)


def _outside(rule: Decision, signal: NDArray[np.int16], window: int, hop: int) -> NDArray[np.int64]:
    """The samples of each decision that leave the training range, [D]."""
    end = streams.ends(len(signal), window, hop)
    if not rule.low:
        return np.zeros(len(end), np.int64)
    leaves = ((signal < np.array(rule.low)) | (signal > np.array(rule.high))).any(1)
    total = np.concatenate([[0], np.cumsum(leaves)])
    first = np.maximum(end - window, 0)
    if rule.stream:
        first[1:] = end[:-1]
    return total[end] - total[first]


def in_floats(network: Network, data: Split, some: Sequence[Stream]) -> list[NDArray[np.float64]]:
    """The read-outs of a float network at every decision on streams that are never reset, [D, K] each. Needs torch."""
    pipeline.require_torch()
    from lnp_edge.training.loop import read_outs

    frame = data.task.front.frame
    order, found = sorted(range(len(some)), key=lambda k: len(some[k].labels)), [np.zeros(0)] * len(some)
    for at in range(0, len(order), 8):  # of similar lengths
        part = [some[k] for k in order[at : at + 8]]
        counts = np.zeros((len(part), -(-max(len(s.labels) for s in part) // frame) * frame, part[0].signal.shape[1]))
        for row, stream in zip(counts, part, strict=True):
            row[: len(stream.signal)] = stream.signal
        y = read_outs(network, encoded(data.task, counts.astype(np.int16)))
        for k, row in zip(order[at : at + 8], y, strict=True):
            end = streams.ends(len(some[k].labels), data.task.window, data.task.hop)
            found[k] = row[end // frame - 1].astype(np.float64)
    return found


@dataclass(frozen=True)
class Fitted:
    """A fitted rule, and the false changes an hour that it left on training groups."""

    rule: Decision
    changes: float


def warning(changes: float, settings: StreamSettings) -> str:
    """That no lead kept to the rate of false changes, in words; "" if one did, and for windows."""
    if not settings.batches or not changes > settings.false_changes:
        return ""
    return (
        f"no lead keeps to {settings.false_changes:g} false changes an hour on training groups: the largest leaves "
        f"{changes:.0f}; raise [stream] false_changes, or train longer"
    )


def parts(dataset: Dataset) -> list[tuple[int, ...]]:
    """The training groups in FOLDS folds, or as many as there are groups.

    Raises ConfigError if there is one group: no rule can be fitted.
    """
    count = len(set(dataset.groups.tolist()))
    if count < 2:
        what = f"the training part has one of {dataset.group_name}: no decision rule can be tried on another"
        raise ConfigError(what, "set [quantize] decide = false, or give each recording a group")
    return folds(dataset, min(FOLDS, count))


def rule(
    config: Config, data: Split, network: Network, model: QuantizedModel,
    progress: Callable[[int], EpochProgress] | None = None, resume: Callable[[str], Path | None] = lambda name: None,
) -> Fitted:  # fmt: skip
    """The rule of decisions for a model of this network, as the module says. Trains a network for each of parts().

    progress : of the training of each fold, by its number
    resume   : the checkpoint of each, by its name
    """
    seen = []
    for k, part in enumerate(parts(data.train)):
        inner = split(config, data.train, part)
        start = pipeline.new_network(config, inner)
        pruned = pipeline.prune(config, inner, start, None, resume(f"pruning{k}"))
        trained, _ = pipeline.train(config, inner, pruned, progress and progress(k), resume(f"fold{k}"))
        seen += unseen(inner, trained)
    lead, changes = fit_lead(seen, data, config.stream.false_changes if config.stream.batches else np.inf)
    unit = ratio(data, network, model)
    least, steps = fit_margins(seen, lead, unit)
    found = replace(
        model.decision,
        lead=int(_integer(lead, unit)),
        least=least,
        outside=min(model.window, int(np.ceil(np.quantile(np.concatenate([s.outside for s in seen]), 1 - OUTSIDE)))),
        levels=tuple(steps),
    )
    return Fitted(found, changes)


def _integer(value: NDArray | float, unit: float) -> NDArray[np.int64]:
    return np.clip(np.rint(np.asarray(value) * unit), 0, MOST).astype(np.int64)


@dataclass(frozen=True)
class Unseen:
    """Read-outs y [D, K] on a stream that the training did not see. wanted [D] : labels, -1 without one"""

    stream: Stream
    y: NDArray[np.float64]
    wanted: NDArray[np.int64]
    outside: NDArray[np.int64]


def unseen(inner: Split, network: Network) -> list[Unseen]:
    """The read-outs on the test part, of its streams, or of the windows of its recordings."""
    low, high = pipeline.training_range(inner.train)
    limits = Decision(stream=inner.streaming, low=low, high=high)
    if inner.streaming:
        some: Sequence[Stream] = inner.test_streams
        y = in_floats(network, inner, some)
    else:
        from lnp_edge.training.loop import read_out

        some = [s for s in streams.parts(replace(inner.test, streams=())) if len(s.labels) >= inner.task.window]
        whole = read_out(network, encoded(inner.task, inner.test_windows.counts)).astype(np.float64)
        counts = [len(streams.ends(len(s.labels), inner.task.window, inner.task.hop)) for s in some]
        y = np.split(whole, np.cumsum(counts)[:-1])
    cut = inner.task.window, inner.task.hop
    return [
        Unseen(s, of, streams.labelled(s, *cut), _outside(limits, s.signal, *cut))
        for s, of in zip(some, y, strict=True)
    ]


def follow(y: NDArray, lead: float) -> NDArray[np.int64]:
    """The classes decided from read-outs y [D, K], as spec.decision does."""
    best, found = y.argmax(1).tolist(), []
    present, rows = -1, y.tolist()
    for label, row in zip(best, rows, strict=True):
        if present < 0 or row[label] - row[present] >= lead:
            present = label
        found.append(present)
    return np.array(found, np.int64)


def margins(y: NDArray, label: NDArray[np.int64]) -> NDArray:
    """The read-out of each decision less the largest of the others, or 0."""
    own = np.take_along_axis(y, label[:, None], 1)[:, 0]
    others = y.copy()
    np.put_along_axis(others, label[:, None], -np.inf, 1)
    return np.maximum(0, own - others.max(1))


def fit_lead(seen: Sequence[Unseen], data: Split, rate: float) -> tuple[float, float]:
    """The least lead for which false changes are at most `rate` an hour, and their number then.

    The largest of LEADS if none keeps to the rate, see warning(); 0 if that is infinite.
    """
    cut = data.task.window, data.task.hop
    plain = [s.y.argmax(1) for s in seen]
    right = [margins(s.y, p)[p == s.wanted] for s, p in zip(seen, plain, strict=True)]
    typical = float(np.median(np.concatenate(right))) if sum(map(len, right)) else 0.0
    for share in LEADS:
        judge = Judge(data.train.dt, *cut)
        for s in seen:
            judge.add(s.stream, follow(s.y, share * typical))
        changes = judge.measures()["false_changes"]
        if changes <= rate:
            break
    return float(share * typical), changes


def fit_margins(seen: Sequence[Unseen], lead: float, unit: float) -> tuple[int, list[tuple[int, int]]]:
    """The least margin of a decision that is not unknown, and the levels: pairs of margin and percent.

    unit : of the integers found, for each of the read-outs
    """
    found, good = [], []
    for s in seen:
        label, has = follow(s.y, lead), s.wanted != UNLABELLED
        found.append(margins(s.y, label)[has])
        good.append((label == s.wanted)[has])
    margin, right = np.concatenate(found), np.concatenate(good)
    least = float(np.quantile(margin[right], REJECTED)) if right.any() else 0.0
    return int(_integer(least, unit)), levels(_integer(margin, unit), right)


def levels(margin: NDArray[np.int64], right: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Pairs of least margin and percent right, both ascending, of at most LEVELS parts.

    The parts are of equal size, but that equal margins are in the same part.
    """
    order = np.argsort(margin, kind="stable")
    equal = np.cumsum([0, *map(len, np.array_split(order, LEVELS))])[:-1]  # where parts of equal size begin
    ascending = margin[order]
    begin = np.unique(np.searchsorted(ascending, ascending[equal[equal < len(order)]]))
    pooled: list[list[int]] = []  # of each part: least margin, right, all
    for part in np.split(order, begin[1:]):
        if not len(part):
            continue
        pooled.append([int(margin[part[0]]), int(right[part].sum()), len(part)])
        while len(pooled) > 1 and _percent(pooled[-1]) <= _percent(pooled[-2]):
            _, good, count = pooled.pop()
            pooled[-1][1] += good
            pooled[-1][2] += count
    return [(part[0], _percent(part)) for part in pooled]


def _percent(part: Sequence[int]) -> int:
    return 100 * part[1] // part[2]


def ratio(data: Split, network: Network, model: QuantizedModel) -> float:
    """Units of the integer read-out for each of the float read-out, by least squares on some training data."""
    if data.streaming:
        some = streams.of(data.train)[:4]
        floats = np.concatenate(in_floats(network, data, some))
        runner = Reference(model)
        integers = np.concatenate([_integers(runner, model, s.signal) for s in some])
    else:
        from lnp_edge.training.loop import read_out

        windows = data.train_windows.counts[:: max(1, len(data.train_windows) // 200)]
        floats, runner = read_out(network, encoded(data.task, windows)).astype(np.float64), Reference(model)
        integers = np.stack([classify(runner, rows) for rows in model.rows(windows)])
    return float((integers * floats).sum() / np.square(floats).sum())
