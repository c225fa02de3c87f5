"""Classify or forecast a sensor stream, window by window, on the reference or
on a device.

With --free-run, a forecasting model receives one window and then only its own
forecasts; prints a row of counts per step. On a device, every state word of
every step is compared with the reference."""

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from itertools import islice
from pathlib import Path

import numpy as np

from lnp_edge.base.console import note
from lnp_edge.base.errors import ConfigError, DataError
from lnp_edge.commands import _device
from lnp_edge.interchange import onnx_file
from lnp_edge.spec.model import QuantizedModel

HELP = "classify or forecast a sensor stream, here or on a device"
EXAMPLE = """  lnp run model.onnx --source recording.csv
  sensor | lnp run model.onnx --source - --board cortex-m4
  lnp run model.onnx --source /dev/ttyUSB0 --port /dev/ttyACM0
  lnp run lorenz.onnx --source recording.csv --free-run 500 --board cortex-m4"""
MAX_STEPS = 100_000_000


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=Path, help="a model.onnx written by lnp quantize")
    parser.add_argument(
        "--source",
        required=True,
        metavar="FILE|-|PORT",
        help="CSV of sensor counts, one row per sample: a file, standard input or a serial port",
    )
    parser.add_argument("--baud", type=int, default=115200, help="baud rate of a serial source (default: 115200)")
    parser.add_argument(
        "--free-run", type=int, metavar="STEPS", help="feed the forecasts back for so many steps after the first window"
    )
    _device.arguments(parser)
    parser.add_argument(
        "--json", action="store_true", help="print one JSON object per window, or per step of --free-run"
    )


def run(args: argparse.Namespace) -> int:
    from lnp_edge.runtime.reference import Reference
    from lnp_edge.runtime.source import rows

    if args.free_run is not None and not 1 <= args.free_run <= MAX_STEPS:
        raise ConfigError(f"--free-run is {args.free_run}", f"choose a number from 1 to {MAX_STEPS}")
    model = onnx_file.load(args.model)
    on_device = args.board or args.port
    opened = _device.device(model, args.board or "cortex-m4", args.port) if on_device else nullcontext(Reference(model))
    with opened as runner:
        stream = rows(args.source, model.channels, args.baud)
        if args.free_run:
            return _free_run(args, model, runner, stream)
        return _windows(args, model, runner, stream)


def _windows(args: argparse.Namespace, model: QuantizedModel, runner, stream: Iterator) -> int:
    from lnp_edge.runtime.host import infer

    count = 0
    for p in infer(runner, model, stream):
        count += 1
        if args.json:
            print(json.dumps(p.as_dict()), flush=True)
        else:
            forecast = (p.forecast or {}).items()
            said = ", ".join(f"{name}: {value:.0f}" for name, value in forecast) or _decided(p)
            print(f"{p.start:9.2f} to {p.end:9.2f} s   {said} {p.latency_us:9.0f} us", flush=True)
    if count == 0:
        note(f"no window: {_too_short(model)}")
    return 0


def _decided(p) -> str:
    return f"{'unknown' if p.unknown else p.name:<16}" + f" {p.percent:3d} %" * (p.percent > 0)


def _free_run(args: argparse.Namespace, model: QuantizedModel, runner, stream: Iterator) -> int:
    """Returns 1 if the state of a device differs from that of the reference in any step."""
    from lnp_edge.runtime.device import Device
    from lnp_edge.runtime.host import feed_back
    from lnp_edge.runtime.reference import Reference
    from lnp_edge.runtime.verify import Lockstep

    lockstep = Lockstep(runner, Reference(model)) if isinstance(runner, Device) else None
    warm_up = list(islice(stream, model.window))
    if len(warm_up) < model.window:
        raise DataError(_too_short(model), "give a longer stream")
    for step, row in enumerate(feed_back(lockstep or runner, model, np.stack(warm_up), args.free_run)):
        if step == 0 and not args.json:
            print(",".join(model.channels))
        said = {"step": step + 1, "counts": row.tolist()}
        print(json.dumps(said) if args.json else ",".join(map(str, row.tolist())))
    sys.stdout.flush()
    if lockstep is None:
        return 0
    report = lockstep.report()
    note("\n".join(report.lines()))
    return 0 if report.ok else 1


def _too_short(model: QuantizedModel) -> str:
    return f"the stream ended before {model.window} rows ({model.window * model.sample_dt:g} s)"
