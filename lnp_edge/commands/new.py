"""Write a commented configuration for recordings of your own.

Looks at the files in FOLDER and writes what it finds: the columns of time, label
and group, or the pattern of the file names; the channels, their units and the
rate. What it had to guess is marked CHECK. Then prints the report of lnp data.
--example writes a folder of plain CSV files to try it with: exercises with a
smart watch, from the package."""

import argparse
import json
import os
import shlex
from collections import Counter
from pathlib import Path

from lnp_edge import config
from lnp_edge.base.console import ascii_only, note
from lnp_edge.base.errors import ConfigError
from lnp_edge.base.files import refuse_unwritable, write_whole
from lnp_edge.commands import _given
from lnp_edge.commands import data as report
from lnp_edge.recordings import example
from lnp_edge.recordings.load import load, step
from lnp_edge.recordings.look import Guess, look
from lnp_edge.recordings.report import Report, counted
from lnp_edge.spec.model import MAX_IN
from lnp_edge.spec.quantity import MOST_MISSING
from lnp_edge.task import fit
from lnp_edge.task.dataset import Dataset

HELP = "write a configuration for a folder of your recordings"
EXAMPLE = """  lnp new --example recordings
  lnp new my.toml --data recordings
  lnp new my.toml --data recordings --label activity --rate 50"""

ELSEWHERE = "make room, or choose another name"
AHEAD = 6  # steps, if nobody says how far to forecast
FRAME, SLOW = 4, 0.1  # samples a step of the network, unless they are further apart than SLOW s
FAST, FAST_FRAME, FAST_WINDOW = 1000, 64, 0.5  # Hz, from which it is vibration or audio; samples; s

# As lnp_edge/configs/spar.toml and wind.toml: of about the same cost.
OF_CLASSES, OF_SERIES = {"neurons": 244, "keep": 0.1}, {"neurons": 128, "keep": 0.3}
NETWORK = """
[network]
neuron = "adlif"
neurons = {neurons}

[prune]
method = "lnp"
keep = {keep}                # of the synapses between neurons

[train]
lr = 0.03
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", type=_given.path, nargs="?", metavar="FILE.toml", help="the configuration to write")
    parser.add_argument("--data", type=_given.path, metavar="FOLDER", help="the folder of the recordings")
    parser.add_argument("--label", help="the column that says the class")
    parser.add_argument("--group", help="the column that says the person or machine")
    parser.add_argument(
        "--path", metavar="PATTERN", help='what the names of folders and files say: "{label}/{person}_{n}.csv"'
    )
    parser.add_argument("--target", help="forecast this channel instead")
    parser.add_argument("--ahead", type=_seconds, metavar="S", help="how far ahead, in s")
    parser.add_argument("--rate", type=float, metavar="HZ", help="rows a second, where the files do not say it")
    parser.add_argument("--overwrite", action="store_true", help="replace FILE.toml if it exists")
    parser.add_argument("--example", type=_given.path, metavar="FOLDER", help="write a folder of example recordings")


def _seconds(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is no number of seconds: an hour is 3600") from None


def run(args: argparse.Namespace) -> int:
    if args.example:
        count = example.write(args.example)
        following = f"lnp new my.toml --data {shlex.quote(str(args.example))}"
        note(f"written: {count} files in {args.example}    next: {following}")
        return 0
    if not (args.config and args.data):
        raise ConfigError("lnp new needs a file to write and --data", "lnp new my.toml --data FOLDER")
    if args.config.suffix != ".toml":
        raise ConfigError(f"{args.config} does not end in .toml", "lnp new my.toml --data FOLDER")
    for name in ("rate", "ahead"):
        if (value := getattr(args, name)) is not None and not 1e-9 <= value <= 1e9:  # NaN too
            raise ConfigError(f"--{name} is {value:g}", "choose a number from 1e-9 to 1e9")
    refuse_unwritable(args.config, ELSEWHERE)
    if args.config.exists() and not args.overwrite:
        raise ConfigError(f"{args.config} exists", "choose another name, or --overwrite")
    given = {key: getattr(args, key) for key in ("label", "group", "path", "target", "ahead", "rate")}
    found = look(args.data, given)
    if found.keys.get("target") and not given["ahead"]:
        found.say("ahead", 1e9)
        found.say("ahead", AHEAD * step(_parsed(found, args.config, args.data).data), "CHECK: how far ahead, in s")
    settings = _parsed(found, args.config, args.data)
    dataset, seen = load(settings.data)
    if none := _signs_for_none(seen):
        rows = counted(sum(none.values()), "value")
        found.say("missing", list(none), f"CHECK: {rows}, far from all others: a sign for none?")
        settings = _parsed(found, args.config, args.data)
        dataset, seen = load(settings.data)
    fitted = fit.fitted(settings, dataset)
    if "group" in found.keys:
        found.why["group"] += f"; held out for the test: {seen.splits}"
    text = _text(found, args.config, args.data, dataset) + _open_keys(fitted, dataset)
    text += NETWORK.format(**(OF_SERIES if dataset.series else OF_CLASSES))
    text += f"# epochs = {fitted.train.epochs:<16} # about {fit.STEPS} steps of the optimiser\n"
    write_whole(args.config, text.encode(), ELSEWHERE)
    note(f"written: {args.config}")
    report.show(str(args.config), None)
    for key, why in found.why.items():
        if key in found.keys and why.startswith("CHECK: "):
            note(f"check [data] {key} = {_toml(found.keys[key])}: {why.removeprefix('CHECK: ')}")
    for reason in found.left_out:
        note(f"no channel: {reason}")
    if 1 / dataset.dt >= FAST and dataset.classes and len(dataset.channels) * FAST_FRAME <= MAX_IN:
        note(f"check [data] window = {fitted.data.window:g}: at {1 / dataset.dt:g} Hz {_of_fast(dataset)}")
    note(f"next: lnp train {shlex.quote(str(args.config))} -o trained.safetensors")
    return 0


def _signs_for_none(seen: Report) -> dict[float, int]:
    """Values that are far from all others of a channel and are written as no sensor measures: -999, 9999.9, -32768."""
    found = Counter[float]()
    for channel in seen.channels:
        for value, rows in channel.far.items():
            value = float(f"{value:.7g}")  # as it was read: in single precision
            digits = f"{abs(value):.7g}".replace(".", "")
            if (len(digits) > 1 and set(digits) == {"9"}) or value == -32768:
                found[value] += rows
    return dict(found.most_common(MOST_MISSING))


def _of_fast(dataset: Dataset) -> str:
    """What to try for vibration and audio."""
    shortest = min(map(len, dataset.recordings))
    steps = max(1, round(min(shortest, FAST_WINDOW / dataset.dt)) // FAST_FRAME)
    window = f"window = {steps * FAST_FRAME * dataset.dt:g}"
    return f'most signals want longer ones and features, such as front = "bands", frame = {FAST_FRAME}, {window}'


def _toml(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.9g}" if "." in f"{value:.9g}" or "e" in f"{value:.9g}" else f"{value:.9g}.0"
    # json leaves controls beyond ASCII as they are, TOML forbids DEL.
    return "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in json.dumps(value, ensure_ascii=False))


def _text(found: Guess, path: Path, folder: Path, dataset: Dataset | None = None) -> str:
    """The section [data], with what was found out as comments."""
    root = os.path.relpath(folder, path.parent)
    lines = ["# Written by lnp new; docs/own_data.md explains every key.", "seed = 1", "", "[data]"]
    lines += [f"root = {_toml(root)}"] if root != "." else []
    order = ["path", "files", "columns", "channels", "time", "time_unit", "rate", "label", "group", "target", "ahead"]
    for key in [*order, *(key for key in found.keys if key not in order)]:
        if key in found.keys:
            why = found.why.get(key, "")
            lines.append(f"{key} = {_toml(found.keys[key])}" + (f"  # {ascii_only(why)}" if why else ""))
    if dataset:
        lines.append(f"# One sample is {dataset.dt:g} s, {1 / dataset.dt:.6g} Hz.")
    lines += [f"# No channel: {ascii_only(reason)}" for reason in found.left_out]
    return "\n".join(lines) + "\n"


def _parsed(found: Guess, path: Path, folder: Path) -> config.Config:
    text = _text(found, path, folder)
    return config.parse((text + _frame(found, path, folder, text)).encode(), path)


def _frame(found: Guess, path: Path, folder: Path, text: str) -> str:
    """Several samples a step where they come fast: cheaper, and at least as accurate on all our tasks of that kind."""
    fast = found.keys.get("ahead") != 1e9 and step(config.parse(text.encode(), path).data) <= SLOW
    return f"frame = {FRAME}                 # samples that one step of the network takes\n" if fast else ""


def _open_keys(fitted: config.Config, dataset: Dataset) -> str:
    """What the data decide unless it is written, as comments."""
    data = fitted.data
    lines = (
        []
        if data.frame == 1
        else [f"frame = {data.frame}                 # samples that one step of the network takes"]
    )
    lines += [
        "# What follows is taken from the data; remove a # to decide it yourself.",
        f"# window = {data.window:<16g} # s of input per decision",
        f"# hop = {data.hop:<19g} # s from one decision to the next",
        f"# held_out = {_toml(_held_out(dataset))}" if not any("(" in t for t in dataset.group_titles) else "",
    ]
    for name, quantity in zip(dataset.channels, dataset.quantities, strict=True):
        said = f"zero = {quantity.zero:.12g}, scale = {quantity.scale:.12g}, unit = {_toml(quantity.unit)}"
        lines.append(f"# scale.{_toml(name)} = {{{said}}}  # physical = (count - zero) * scale")
    return "\n".join(line for line in lines if line) + "\n"


def _held_out(dataset: Dataset) -> list[str]:
    return [dataset.group_titles[group] for group in dataset.held_out]
