"""What networks and ridge regressions are worth on streams of held-out groups, each result kept on disk.

A method is one of

    windows   : a network trained on windows, that starts from a reset before each decision
    stream    : a network trained on streams that is never reset, with and without its rule of decisions
    ridge     : a ridge regression on statistics and bands of the window, and of half of it
    leaky     : a ridge regression on statistics that leak, as a stream has them
    stranger k: a stream without class k in training, then shown class k

Leads of ridge regressions are fitted as those of networks are: decide.fit_lead.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from lnp_edge import boards
from lnp_edge.base.files import discard, make_folder
from lnp_edge.base.progress import EpochProgress, Progress
from lnp_edge.config import Config, StreamSettings
from lnp_edge.experiments.trial import NETWORK, Trial
from lnp_edge.interchange import onnx_file
from lnp_edge.network import file as network_file
from lnp_edge.spec.decision import MOST, Decision
from lnp_edge.spec.model import QuantizedModel
from lnp_edge.stages import decide, pipeline, rival
from lnp_edge.stages.decide import Said, Unseen
from lnp_edge.task import baselines, streams
from lnp_edge.task.dataset import Dataset, Stream, Windows
from lnp_edge.task.split import Split, load_data, split
from lnp_edge.task.streams import Judge

ORDERS = 4  # in which the recordings of a held-out group are joined
RIDGES = "ridge_bands", "ridge_statistics"  # the first that suits
TAUS = 0.125, 0.5  # of leaky statistics, windows
COUNTED = 8  # windows whose instructions are counted
AT_ONCE = 1024  # windows
MEASURES = tuple(Judge(1.0, 1, 1).measures())
FINITE = "changes", "hours"  # the measures that are numbers in every row; of others there may be none
Signals = Callable[[Sequence[Stream]], list[NDArray]]  # the scores [D, K] at each decision on each stream


def of_windows(config: Config) -> Config:
    """The same network, trained on windows."""
    return replace(config, stream=StreamSettings(), quantize=replace(config.quantize, decide=False))


def of_stream(config: Config) -> Config:
    return replace(config, quantize=replace(config.quantize, decide=True))


@dataclass(frozen=True)
class Method:
    """A method on the streams of a configuration. folder : of the trials"""

    what: str
    config: Config  # of a stream
    folder: Path

    @property
    def name(self) -> str:
        return f"{self.config.data.name} {self.what}"

    @property
    def key(self) -> str:
        text = hashlib.sha256(of_stream(self.config).to_json().encode()).hexdigest()[:12]
        return f"{self.config.data.name}-{text}-{self.what.replace(' ', '-')}"

    def valid(self, found: dict) -> bool:
        rows, strange, levels = found.get("rows"), found.get("strangers", {}), found.get("levels", [])
        if not (isinstance(rows, list) and isinstance(strange, dict) and isinstance(levels, list)):
            return False
        if self.what in ("windows", "stream") and not (rows and ("levels" in found or self.what == "windows")):
            return False
        triples = all(isinstance(one, list) and len(one) == 3 for one in levels)
        shares = [*strange.values(), *(right for _, right, _ in levels)] if triples else []
        return (
            all(map(_is_row, rows)) and triples
            and all(share is None or _is_number(share) for share in shares)
            and all(_is_number(percent) and _is_number(count) for percent, _, count in levels)
        )  # fmt: skip

    def trial(self) -> Trial:
        config = of_windows(self.config) if self.what == "windows" else of_stream(self.config)
        return Trial(f"{self.config.data.name} {self.what}", config)

    def model_file(self) -> Path:
        return self.folder / self.trial().key / "model.onnx"


def work(method: Method, progress: Progress) -> dict[str, Any]:
    """{"rows": the measures of each row, "strangers": share unknown of each kind of strange input}

    None stands for what is not finite, such as a delay that takes for ever: JSON has no infinity.
    """
    return _finite(_work(method, progress))


def _is_row(found: object) -> bool:
    """Whether it is a row as _row makes it, without what is not finite."""
    if not (isinstance(found, dict) and isinstance(found.get("name"), str) and found["name"]):
        return False
    numbers = found.keys() - {"name", "rule_warning", "units"}
    return (
        set(MEASURES) <= numbers
        and all(_is_number(found[name]) or (found[name] is None and name not in FINITE) for name in numbers)
        and all(isinstance(found.get(name, ""), str) for name in ("rule_warning", "units"))
    )


def _is_number(found: object) -> bool:
    return isinstance(found, int | float) and not isinstance(found, bool) and bool(np.isfinite(found))


def _finite(found: Any) -> Any:
    if isinstance(found, dict):
        return {key: _finite(value) for key, value in found.items()}
    if isinstance(found, list):
        return [_finite(value) for value in found]
    return None if isinstance(found, float) and not np.isfinite(found) else found


def _work(method: Method, progress: Progress) -> dict[str, Any]:
    data = split(method.config, load_data(method.config))
    some = streams.of(data.test, ORDERS)
    if method.what == "windows":
        said = decide.said(onnx_file.load(method.model_file()), some)
        return {"rows": [_row("windows from reset", _judged(data, some, [s.y.argmax(1) for s in said]))]}
    if method.what == "stream":
        return _stream(onnx_file.load(method.model_file()), data, some)
    if method.what == "ridge":
        return {"rows": [row for share in (1, 2) for row in _ridge(method.config, data, some, share)]}
    if method.what == "leaky":
        return {"rows": list(_pair("ridge, leaky", method.config, data, some, _leaky))}
    return _left_out(method, data, some, int(method.what.split()[1]), progress)


def _row(name: str, judge: Judge, **more: float | str) -> dict[str, Any]:
    interval = dict(zip(("low", "high", "units"), judge.interval() or (), strict=False))
    return {"name": name} | judge.measures() | interval | more


def _judged(
    data: Split, some: Sequence[Stream], labels: Sequence[NDArray], unknown: Sequence[NDArray] | None = None
) -> Judge:
    judge = Judge(data.train.dt, data.task.window, data.task.hop)
    for k, stream in enumerate(some):
        judge.add(stream, labels[k], None if unknown is None else unknown[k])
    return judge


def _stream(model: QuantizedModel, data: Split, some: Sequence[Stream]) -> dict[str, Any]:
    said = decide.said(model, some)
    decided = _judged(data, some, [s.label for s in said], [s.unknown for s in said])
    rows = [
        _row("stream", _judged(data, some, [s.y.argmax(1) for s in said])),
        _row("  with its rule", decided, lead=float(model.decision.lead)),
    ]
    strange = {name: _unknown(decide.said(model, odd)) for name, odd in strangers(data, some).items()}
    return {"rows": rows, "strangers": strange, "levels": _levels(model.decision, data, some, said)}


def _levels(rule: Decision, data: Split, some: Sequence[Stream], said: Sequence[Said]) -> list[list[float]]:
    """For each level: what it promises, the share that was right, and the number of decisions, in percent."""
    wanted = np.concatenate([streams.labelled(s, data.task.window, data.task.hop) for s in some])
    label, margin = (np.concatenate([getattr(s, name) for s in said]) for name in ("label", "margin"))
    level = np.searchsorted([m for m, _ in rule.levels], margin, side="right") - 1
    found = []
    for k, (_, percent) in enumerate(rule.levels):
        which = (level == k) & (wanted != streams.UNLABELLED)
        found.append([percent, float(100 * (label == wanted)[which].mean()) if which.any() else np.nan, which.sum()])
    return [[float(x) for x in row] for row in found]


def _unknown(said: Sequence[Said]) -> float:
    return float(np.concatenate([s.unknown for s in said]).mean())


def strangers(data: Split, some: Sequence[Stream]) -> dict[str, list[Stream]]:
    """Streams that no sensor in order gives, as long as the test streams."""
    rng = np.random.default_rng(1)
    mean, deviation = (f(data.train.samples(), axis=0, dtype=np.float64) for f in (np.mean, np.std))

    def like(make: Callable[[NDArray[np.int16]], NDArray]) -> list[Stream]:
        made = (np.clip(np.rint(make(s.signal)), -32768, 32767).astype(np.int16) for s in some)
        return [replace(s, signal=a) for s, a in zip(some, made, strict=True)]

    return {
        "zeros": like(np.zeros_like),
        "noise": like(lambda a: mean + deviation * rng.standard_normal(a.shape)),
        "stuck": like(lambda a: np.repeat(a[rng.integers(0, len(a), 1)], len(a), axis=0)),
        "four times the scale": like(lambda a: 4.0 * a),
    }


def _pair(name: str, config: Config, data: Split, some: Sequence[Stream], fit: Callable[[Split], Signals],
          **more: float) -> Iterator[dict[str, Any]]:  # fmt: skip
    """The rows of a method without a lead, and with one fitted on training groups."""
    scores = fit(data)(some)
    yield _row(name, _judged(data, some, [y.argmax(1) for y in scores]), **more)
    seen = []
    for part in decide.parts(data.train):
        inner = split(config, data.train, part)
        own = inner.test_streams
        for stream, y in zip(own, fit(inner)(own), strict=True):
            wanted = streams.labelled(stream, data.task.window, data.task.hop)
            seen.append(Unseen(stream, y.astype(np.float64), wanted, np.zeros(len(y), np.int64)))
    lead, changes = decide.fit_lead(seen, data, config.stream.false_changes)
    yield _row(
        "  with a lead", _judged(data, some, [decide.follow(y, lead) for y in scores]), lead=lead,
        rule_warning=decide.warning(changes, config.stream), **more,
    )  # fmt: skip


def _ridge(config: Config, data: Split, some: Sequence[Stream], share: int) -> Iterator[dict[str, Any]]:
    window = data.task.window // share
    shorter = replace(config, data=replace(config.data, window=window * data.train.dt))
    raw = rival.data_of(replace(shorter, data=replace(shorter.data, hop=min(config.data.hop, shorter.data.window))))
    kind = next((name for name in RIDGES if name in rival.suiting(raw)), None)
    if kind is None:
        return

    def fit(part: Split) -> Signals:
        found = rival.trained(kind, replace(raw, train=part.train, test=part.test), config.seed)
        return lambda some: [_on_windows(found.scores, s, window, part.task.window, part.task.hop) for s in some]

    more = dict[str, float]()
    if rival.available():
        counts = raw.test_windows.counts
        with rival.on_board(rival.trained(kind, raw, config.seed), rival.shape_of(raw), boards.get(rival.BOARD)) as on:
            calls = on.instructions(counts[:: max(1, len(counts) // COUNTED)][:COUNTED])
            more |= {"flash": on.sizes.flash, "ram": on.sizes.ram}
        more["per_second"] = float(np.mean(calls)) / (data.task.hop * data.train.dt)
    yield from _pair(f"ridge, {window * data.train.dt:g} s windows", config, data, some, fit, **more)


def _on_windows(
    scores: Callable[[NDArray[np.int16]], NDArray], stream: Stream, window: int, first: int, hop: int
) -> NDArray:
    """The scores at each decision, the first after `first` samples, from the last `window` samples before it."""
    at = streams.ends(len(stream.labels), first, hop) - window
    views = sliding_window_view(stream.signal, window, axis=0)[at].transpose(0, 2, 1)
    parts = [scores(np.ascontiguousarray(views[k : k + AT_ONCE])) for k in range(0, len(at), AT_ONCE)]
    return np.concatenate(parts)


def _leaky(part: Split) -> Signals:
    """A ridge regression on leaky statistics."""
    cut = part.task.window, part.task.hop
    taus = [share * part.task.window for share in TAUS]
    own = [s for s in streams.parts(part.train) if len(s.labels) >= cut[0]]
    wanted = np.concatenate([streams.labelled(s, *cut) for s in own])
    groups = np.concatenate([np.full(len(streams.ends(len(s.labels), *cut)), s.group) for s in own])
    has = wanted != streams.UNLABELLED
    found = np.concatenate([leaky_statistics(s, *cut, taus) for s in own])
    windows = Windows(np.zeros((int(has.sum()), 0, 0), np.int16), wanted[has], groups[has])
    model = baselines.linear(part, found[has], windows=windows)
    return lambda some: [model.scores(leaky_statistics(s, *cut, taus)) for s in some]


def leaky_statistics(stream: Stream, window: int, hop: int, taus: Sequence[float]) -> NDArray[np.float64]:
    """At each decision [D, F], for each time constant in samples: mean, deviation and mean |step| of each channel, the
    logarithms of the last two, and the mean product of each pair. All means forget exponentially."""
    from scipy.signal import lfilter  # a second, which no other table has to wait

    x = stream.signal.astype(np.float64)
    i, j = np.triu_indices(x.shape[1], 1)
    end = streams.ends(len(x), window, hop) - 1
    raw = np.concatenate([x, x * x, np.abs(np.diff(x, axis=0, prepend=x[:1])), x[:, i] * x[:, j]], axis=1)
    found = []
    for tau in taus:
        keep = np.exp(-1 / tau)
        mean = lfilter([1 - keep], [1, -keep], raw, axis=0)[end]
        c = x.shape[1]
        deviation = np.sqrt(np.maximum(0, mean[:, c : 2 * c] - mean[:, :c] ** 2))
        found += [mean[:, :c], deviation, mean[:, 2 * c :], np.log1p(deviation), np.log1p(mean[:, 2 * c : 3 * c])]
    return np.concatenate(found, axis=1)


def without(dataset: Dataset, label: int) -> Dataset:
    """The data set without a class, whose stretches of streams are cut out."""
    keep = dataset.labels != label
    cut = []
    for stream in dataset.streams:
        edges = np.flatnonzero(np.diff(stream.labels == label)) + 1
        pieces = zip(np.split(stream.signal, edges), np.split(stream.labels, edges), strict=True)
        cut += [Stream(a, b - (b > label), stream.group) for a, b in pieces if len(b) and b[0] != label]
    return replace(
        dataset,
        classes=tuple(name for k, name in enumerate(dataset.classes) if k != label),
        recordings=tuple(a for a, kept in zip(dataset.recordings, keep, strict=True) if kept),
        labels=dataset.labels[keep] - (dataset.labels[keep] > label),
        groups=dataset.groups[keep],
        streams=tuple(cut),
    )


def _left_out(method: Method, data: Split, some: Sequence[Stream], label: int, progress: Progress) -> dict[str, Any]:
    """A network that never saw a class, with the rule of the one that did, in units of its own read-outs."""
    config, folder = method.config, method.folder / method.key
    make_folder(folder)

    def show(done: int, total: int, now: dict[str, float]) -> None:
        progress(done / total, f"epoch {done}/{total}, loss {now['loss']:.3f}")

    model, network = _trained(config, split(config, without(load_data(config), label)), folder, show)
    full = onnx_file.load(method.model_file())
    before = network_file.load(method.folder / method.trial().key / NETWORK).network
    partial = split(config, without(load_data(config), label))
    factor = decide.ratio(partial, network, model) / decide.ratio(data, before, full)

    def scaled(value: int) -> int:
        return min(MOST, round(value * factor))

    rule = full.decision
    rule = replace(rule, lead=scaled(rule.lead), least=scaled(rule.least), levels=())
    said = decide.said(replace(model, decision=rule), some)
    settled = [_settled(s, label, data) for s in some]
    strange = np.concatenate([s.unknown[which] for s, which in zip(said, settled, strict=True)])
    discard(folder)
    name = f"the class {data.train.classes[label]}, left out"
    return {"rows": [], "strangers": {name: float(strange.mean()) if len(strange) else np.nan}}


def _trained(config: Config, data: Split, folder: Path, show: EpochProgress) -> tuple[QuantizedModel, Any]:
    start = pipeline.new_network(config, data)
    pruned = pipeline.prune(config, data, start, None, folder / "pruning.checkpoint")
    network, _ = pipeline.train(config, data, pruned, show, folder / "training.checkpoint")
    return pipeline.quantize(config, data, network, None, folder / "integers.checkpoint")[0], network


def _settled(stream: Stream, label: int, data: Split) -> NDArray[np.bool_]:
    """The decisions at which the class has been there for streams.SETTLED s."""
    end = streams.ends(len(stream.labels), data.task.window, data.task.hop)
    since = np.cumsum(stream.labels != label)
    past = np.maximum(end - 1 - round(streams.SETTLED / data.train.dt), 0)
    return (stream.labels[end - 1] == label) & (since[end - 1] == since[past])
