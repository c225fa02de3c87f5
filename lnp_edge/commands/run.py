"""Classify or forecast a sensor stream, window by window, on the reference or
on a device.

A row has a number for each channel of the model: columns are found by the names
in a first line, or by their number. Lines that are no rows are passed over and
counted. After a gap the stream begins anew; a serial port that goes away is
opened again. Models that know the units of their channels take physical values,
and forecast them; --json has their counts too.

With --free-run, a forecasting model receives one window and then only its own
forecasts; lnp prints a row per step, in the form that --source reads. On a
device, every state word of every step is compared with the reference."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import closing, nullcontext
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

from lnp_edge.base.console import counted, note, shown
from lnp_edge.base.errors import ConfigError, DataError
from lnp_edge.commands import _device, _given
from lnp_edge.interchange import onnx_file
from lnp_edge.spec.model import QuantizedModel
from lnp_edge.spec.quantity import Quantity

HELP = "classify or forecast a sensor stream, here or on a device"
EXAMPLE = """  lnp run model.onnx --source recording.csv
  sensor | lnp run model.onnx --source - --board cortex-m4
  lnp run model.onnx --source /dev/ttyUSB0 --log today.jsonl
  lnp run model.onnx --source today.jsonl --port /dev/ttyACM0
  lnp run lorenz.onnx --source recording.csv --free-run 500 --board cortex-m4"""
MAX_STEPS = 100_000_000
GAPS = 10  # that are told one by one; of a live source all are


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=_given.path, help="a model.onnx written by lnp quantize")
    parser.add_argument(
        "--source",
        required=True,
        metavar="FILE|-|PORT",
        help="rows of sensor values: a CSV file, a log, standard input or a serial port",
    )
    parser.add_argument("--baud", type=int, default=115200, help="baud rate of a serial source (default: 115200)")
    parser.add_argument(
        "--missing",
        choices=("hold", "skip", "stop"),
        default="hold",
        help="an empty cell, or a value of [data] missing: hold the last value (default), skip the row, which is "
        "a gap, or stop",
    )
    parser.add_argument(
        "--where", type=_where, metavar="COLUMN=VALUE", help="take only these rows, such as those of one machine"
    )
    parser.add_argument("--hop", type=int, metavar="SAMPLES", help="samples between predictions (default: the model's)")
    parser.add_argument(
        "--log",
        type=_given.path,
        metavar="FILE",
        help="append samples, gaps and predictions; --source FILE replays them",
    )
    parser.add_argument(
        "--free-run", type=int, metavar="STEPS", help="feed the forecasts back for so many steps after the first window"
    )
    _device.arguments(parser, "--port-baud")
    parser.add_argument(
        "--json", action="store_true", help="print one JSON object per window, or per step of --free-run"
    )


def _where(text: str) -> tuple[str, str]:
    column, _, value = text.partition("=")
    if not (column and value):
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is no COLUMN=VALUE, such as machine=M1")
    return column.strip(), value.strip()


def run(args: argparse.Namespace) -> int:
    from lnp_edge.runtime.host import classify
    from lnp_edge.runtime.reference import Reference
    from lnp_edge.runtime.source import Source

    if args.free_run is not None and not 1 <= args.free_run <= MAX_STEPS:
        raise ConfigError(f"--free-run is {args.free_run}", f"choose a number from 1 to {MAX_STEPS}")
    model = _with_hop(onnx_file.load(args.model), args.hop)
    source = Source(args.source, model, missing=args.missing, baud=args.baud, where=args.where, tell=note)
    args.port = _device.at_port(args)
    on_device = args.board or args.port
    rates = _device.rates(args, "--port-baud")
    if rates and not on_device:
        raise ConfigError("--port-baud is the rate of a board's line", "name the board: --board, or its --port")
    board = args.board or "cortex-m4"
    if on_device:
        from lnp_edge.stages import devices  # with all that compiles firmware
    opened = devices.device(model, board, args.port, rates=rates) if on_device else nullcontext(Reference(model))
    with opened as runner, _log(args, model) as log:
        if not on_device:
            classify(runner, np.zeros((1, model.n_in), np.int16))  # compiles before the first sample comes
        try:
            code = (_free_run if args.free_run else _windows)(args, model, runner, source, log)
        except KeyboardInterrupt:
            _sum_up(source)
            raise
        _sum_up(source)
        return code


def _with_hop(model: QuantizedModel, hop: int | None) -> QuantizedModel:
    if hop is None:
        return model
    frame = model.front.frame if model.decision.stream else 1
    if not 1 <= hop <= model.window or hop % frame:
        multiple = f", a multiple of {frame}" if frame > 1 else ""
        raise ConfigError(f"--hop is {hop} samples", f"choose from 1 to {model.window}, the window{multiple}")
    return replace(model, hop=hop)


def _log(args: argparse.Namespace, model: QuantizedModel):
    from lnp_edge.runtime.log import Log

    if args.log is None:
        return nullcontext()
    if args.log.exists() and Path(args.source).exists() and args.log.samefile(args.source):
        raise ConfigError(f"--log {args.log} is the source", "choose another --log")
    return closing(Log(args.log, model, args.source))


def _sum_up(source) -> None:
    for line in source.summary():
        note(line)


def _windows(args: argparse.Namespace, model: QuantizedModel, runner, source, log) -> int:
    from lnp_edge.runtime.host import Stream

    gaps, took = 0, _Took()
    stream = Stream(runner, model, note)
    try:
        gaps = _decide(args, model, stream, source, log, took)
    finally:
        if not args.json and isinstance(sys.exc_info()[1], KeyboardInterrupt | None):
            took.tell(model)
    if gaps > GAPS and not source.live:
        note(f"gaps: {gaps}, of which {GAPS} were reported")
    if not took.count:
        note(f"no window: {_too_short(model, gaps)}")
    for line in stream.outside.summary():
        note(line)
    return 0


def _decide(args: argparse.Namespace, model: QuantizedModel, stream, source, log, took: _Took) -> int:
    """Print the predictions of a source; returns its gaps."""
    from lnp_edge.runtime.log import Gap, now

    gaps = 0
    for event in source:
        if log:
            log.event(event)
        if isinstance(event, Gap):
            gaps += 1
            stream.gap()
            if source.live or gaps <= GAPS:
                note(f"gap: {event.why}; the stream begins anew")
            continue
        p = stream.push(event.counts, event.t)
        if p is None:
            continue
        took.add(p.latency_us)
        said = p.as_dict() | ({"time": now()} if source.live else {})
        if log:
            log.write({"prediction": said})
        print(json.dumps(said) if args.json else _line(model, p, said.get("time"), source.began), flush=True)
    return gaps


@dataclass
class _Took:
    """How long the predictions took, us, here or on the device."""

    count: int = 0
    total: float = 0.0
    most: float = 0.0

    def add(self, us: float) -> None:
        self.count, self.total, self.most = self.count + 1, self.total + us, max(self.most, us)

    def tell(self, model: QuantizedModel) -> None:
        if self.count:
            mean, hop = self.total / self.count, 1e6 * model.hop * model.sample_dt
            each = f"{_time(mean)} each, {_time(self.most)} at most"
            note(f"predictions: {self.count}, in {each}; one is due every {_time(hop)}")


def _line(model: QuantizedModel, p, time: str | None, began: datetime | None) -> str:
    """A prediction in words. time : of the clock on the wall; began : the date of the first row, if there is one"""
    if time:
        when = f"{time}{p.end:10.2f} s"
    elif began:
        dates = [(began + timedelta(seconds=s)).replace(tzinfo=None) for s in (p.start, p.end)]
        when = " to ".join(date.isoformat(" ", "seconds" if model.sample_dt >= 1 else "milliseconds") for date in dates)
    else:
        when = f"{p.start:9.2f} to {p.end:9.2f} s"
    forecast = ", ".join(f"{name}: {value}" for name, value in _forecast(model, p))
    name = f"{'unknown' if p.unknown else p.name:<12}" + f" {p.percent:3d} %" * (p.percent > 0)
    return f"{when}   {forecast or f'{name}  margin {_short(p.margin)}'}"


def _short(margin: int) -> str:
    """A margin of read-outs with three digits: what counts is how it compares with others."""
    return counted(margin).replace(" ", "")


def _time(us: float) -> str:
    size, unit = next(((s, u) for s, u in ((1e6, "s"), (1e3, "ms")) if us >= s), (1.0, "us"))
    return f"{shown(us / size)} {unit}"


def _forecast(model: QuantizedModel, p) -> Iterator[tuple[str, str]]:
    """The name and the value of each channel that is forecast: physical, with its unit, if the model knows these."""
    for name, count in (p.forecast_counts or {}).items():
        yield name, model.forecast_quantities[model.classes.index(name)].told(count)


def _free_run(args: argparse.Namespace, model: QuantizedModel, runner, source, log) -> int:
    """Returns 1 if the state of a device differs from that of the reference in any step."""
    from lnp_edge.runtime.device import Device
    from lnp_edge.runtime.host import feed_back
    from lnp_edge.runtime.reference import Reference
    from lnp_edge.runtime.verify import Lockstep

    lockstep = Lockstep(runner, Reference(model)) if isinstance(runner, Device) else None
    warm_up = _first_window(model, source, log)
    for step, row in enumerate(feed_back(lockstep or runner, model, warm_up, args.free_run)):
        if step == 0 and not args.json:
            print(",".join(model.channels))
        said = {"step": step + 1, "counts": row.tolist()}
        if args.json and model.quantities:
            said["values"] = [float(q.values(c)) for q, c in zip(model.quantities, row, strict=True)]
        print(json.dumps(said) if args.json else ",".join(_as_in_source(model, row)))
    sys.stdout.flush()
    if lockstep is None:
        return 0
    report = lockstep.report()
    note("\n".join(report.lines()))
    return 0 if report.ok else 1


def _as_in_source(model: QuantizedModel, row: np.ndarray) -> Iterator[str]:
    """Counts as a source holds them: counts, or values with the digits that tell their counts apart."""
    for quantity, count in zip(model.quantities or (Quantity(),) * len(row), row.tolist(), strict=True):
        yield str(count) if quantity.in_file else f"{quantity.value(count):.{quantity.decimals}f}"


def _first_window(model: QuantizedModel, source, log) -> np.ndarray:
    """The first samples without a gap, int16 [window, channels]."""
    from lnp_edge.runtime.log import Gap

    rows, gaps = list[np.ndarray](), 0
    with closing(iter(source)) as events:
        for event in events:
            if log:
                log.event(event)
            if isinstance(event, Gap):
                rows, gaps = [], gaps + 1
                continue
            rows.append(event.counts)
            if len(rows) == model.window:
                return np.stack(rows)
    raise DataError(_too_short(model, gaps), "give a longer stream")


def _too_short(model: QuantizedModel, gaps: int) -> str:
    rows = f"{model.window} rows ({model.window * model.sample_dt:g} s)"
    return f"the stream has no {rows} without a gap" if gaps else f"the stream ended before {rows}"
