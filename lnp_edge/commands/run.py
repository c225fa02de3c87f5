"""Classify a sensor stream, window by window as they complete, on the reference or on a device."""

import argparse
import json
from contextlib import nullcontext
from pathlib import Path

from lnp_edge import onnx_file
from lnp_edge.commands import _device
from lnp_edge.console import note

HELP = "classify a sensor stream on this computer or on a device"
EXAMPLE = """  lnp run model.onnx --source recording.csv
  sensor | lnp run model.onnx --source - --board cortex-m4
  lnp run model.onnx --source /dev/ttyUSB0 --board nucleo-f401re --port /dev/ttyACM0"""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=Path)
    parser.add_argument("--source", required=True, metavar="FILE|-|PORT", help="CSV of sensor counts, a row a step")
    parser.add_argument("--baud", type=int, default=115200, help="of a serial source (default: 115200)")
    _device.arguments(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object a window")


def run(args: argparse.Namespace) -> int:
    from runtime.host import infer
    from runtime.reference import Reference
    from runtime.source import rows

    model = onnx_file.load(args.model)
    on_device = args.board or args.port
    opened = _device.device(model, args.board or "cortex-m4", args.port) if on_device else nullcontext(Reference(model))
    count = 0
    with opened as runner:
        for p in infer(runner, model, rows(args.source, model.channels, args.baud)):
            count += 1
            if args.json:
                print(json.dumps(p.as_dict()), flush=True)
            else:
                print(f"{p.start:9.2f} to {p.end:9.2f} s   {p.name:<16} {p.latency_us:9.0f} us", flush=True)
    if count == 0:
        note(f"no window: the stream ended before {model.window} rows ({model.window * model.dt:g} s)")
    return 0
