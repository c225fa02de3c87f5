"""Run the whole chain on the SPAR smart-watch data: prune, train, quantise,
generate, build, verify and classify.

Trains a pruned network and runs it in integers on a device, on every held-out
window. Beside it, what needs no spiking network is trained, built and counted
on the same windows. To continue a stopped training, run the same command
again."""

import argparse
import json
import shlex
import shutil
import time
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from lnp_edge import boards, config
from lnp_edge.base.console import bars, command_line, counted, note, out, print_table, say
from lnp_edge.base.errors import BoardError
from lnp_edge.base.files import discard, write_whole
from lnp_edge.base.install import MCU, command
from lnp_edge.base.progress import Progress
from lnp_edge.commands import _cost_report, _device, _given, _own_boards
from lnp_edge.experiments import rivals, store
from lnp_edge.experiments.rivals import RivalTrial
from lnp_edge.experiments.runs import Runs
from lnp_edge.experiments.store import Store
from lnp_edge.experiments.trial import Outcome, Trial
from lnp_edge.firmware_gen.build import build, compiler
from lnp_edge.firmware_gen.generate import generate, write
from lnp_edge.interchange import windows_file
from lnp_edge.network import file as network_file
from lnp_edge.runtime.device import Device
from lnp_edge.runtime.ports import open_board
from lnp_edge.runtime.verify import Verdict, stimulus, verify
from lnp_edge.spec.board import Board
from lnp_edge.spec.model import QuantizedModel
from lnp_edge.stages import pipeline, rival
from lnp_edge.stages.cost import BoardCost
from lnp_edge.stages.rival import Measured
from lnp_edge.task import metrics
from lnp_edge.task.split import Split, load_data, split

RIVALS, QUICK_RIVALS = ("ridge_bands", "cnn_3k"), ("ridge_bands",)  # a rival of each kind
RIVAL_WINDOWS = 100  # whose scores on the emulated board are compared with the reference
COUNTED = 8  # windows whose instructions are counted
HELP = "run the whole chain on smart-watch data, up to a verified device"
EXAMPLE = "  lnp demo --quick"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--quick", action="store_true", help="a smaller network and fewer epochs: about a minute")
    parser.add_argument(
        "--board",
        type=_device.board,
        help="name of a board (default: the first of cortex-m4, mps2-an386 and host that can run here)",
    )
    _own_boards.argument(parser)
    parser.add_argument(
        "--port", type=_device.port, help="serial port of a board that was flashed with this demo's firmware"
    )
    parser.add_argument(
        "-o", "--output", type=_given.path, default=Path("lnp-demo"), metavar="DIR", help="default: lnp-demo"
    )


def run(args: argparse.Namespace) -> int:
    begin = time.monotonic()
    pipeline.require_torch()
    board = boards.get(args.board or best_board())
    settings = config.load(config.SPAR_QUICK if args.quick else config.SPAR)
    if board.start == "serial" and args.port is None:
        raise BoardError(f"{board.name} is a real board", "name its port: --port /dev/ttyACM0, or choose another board")
    compiler(board.toolchain, board.family)
    data = split(settings, load_data(settings))
    trial, names = Trial("lnp-edge", settings), QUICK_RIVALS if args.quick else RIVALS
    others = [RivalTrial(name, settings, settings.seed, compared=RIVAL_WINDOWS) for name in names]
    outcomes: list[Outcome] = []
    measured: list[Measured] = []
    proof: list[Proof] = []
    with bars() as progress:

        class Chain(Store):
            def load(self, item: Any) -> None:
                """Returns nothing: every demo trains again."""

            def save(self, item: Any, found: Any) -> None:
                """Verifies the device while rivals are still training."""
                if item is not trial:
                    measured.append(found)
                    return
                outcomes.append(found)
                file = network_file.NetworkFile(found.network, trial.config, {"train": found.history})
                network_file.save(file, args.output / "network.safetensors")
                windows_file.save_both(found.model, found.sample, args.output / "model.onnx")
                proof.append(_on_device(args, board, found.model, data.test_windows.counts, progress))

        work = partial(_work, Runs(args.output))
        store.run(
            [trial, *(others if rival.available() else ())], work, Chain(args.output), title="trainings", shown=progress
        )
    found = _results(board.name, data, outcomes[0], proof[0], measured)
    found["warning"] = pipeline.warning(settings, outcomes[0].history)
    found["seconds"] = round(time.monotonic() - begin, 1)
    write_whole(args.output / "report.json", json.dumps(found, indent=1).encode())
    discard(args.output / trial.key)
    _show(found)
    say("\n".join(proof[0].report.lines()))
    _cost_report.show(proof[0].cost)
    write_whole(args.output / "recording.csv", _csv(data))
    kept = "the network, model.onnx and its .windows, firmware and report.json"
    note(f"{found['seconds']} s; {kept} are in {args.output}")
    out.print("Next:", style="bold")
    lnp = command()
    run = shlex.join(["run", f"{args.output}/model.onnx", "--source", f"{args.output}/recording.csv"])
    command_line(f"  {lnp} {run}")
    command_line(f"  {lnp} new my.toml --data FOLDER      with recordings of your own")
    equal = found["predictions_equal"] == found["windows"] and not any(row.differ for row in measured)
    return 0 if proof[0].report.ok and equal else 1


def _csv(data: Split) -> bytes:
    """The first held-out recording of each class of the first person, one after the other."""
    test = data.test
    own = np.flatnonzero(test.groups == test.groups[0])
    first = [own[test.labels[own] == label][0] for label in np.unique(test.labels[own])]
    rows = np.concatenate([test.recordings[r] for r in first])
    lines = [",".join(test.channels), *(",".join(map(str, row)) for row in rows.tolist())]
    return ("\n".join(lines) + "\n").encode()


def _work(runs: Runs, item: Trial | RivalTrial, progress: Progress) -> Any:
    return runs.work(item, progress) if isinstance(item, Trial) else rivals.work(item, progress)


def best_board() -> str:
    """The emulated Cortex-M4 that needs only pip; else qemu's; else this computer."""
    if all(map(find_spec, ("ziglang", "unicorn", "elftools"))):
        return "cortex-m4"
    if all(map(shutil.which, ("arm-none-eabi-gcc", "qemu-system-arm"))):
        return "mps2-an386"
    if shutil.which("cc") or find_spec("ziglang"):
        return "host"
    raise BoardError("no compiler is installed", MCU)


@dataclass(frozen=True)
class Proof:
    report: Verdict
    cost: BoardCost


def _on_device(args: argparse.Namespace, board: Board, model: QuantizedModel, windows: np.ndarray, progress) -> Proof:
    """Build the firmware, then compare it with the reference on every window and the stimulus."""
    task = progress.add_task(f"build for {board.name}", total=1, info="")
    folder = args.output / "firmware"
    write(generate(model, board), folder)
    sizes = build(folder)
    progress.update(task, completed=1, info=f"{sizes.flash} B flash")
    rows = model.rows(windows)
    runs = [*rows, *stimulus(model, 1000, seed=1)]
    task = progress.add_task("run and verify", total=sum(map(len, runs)), info="steps")
    with closing(open_board(board, sizes.image, args.port)) as port:
        device = Device(port, model, args.port or board.name)
        told = device.greeting
        if told.board != board.name:
            raise BoardError(f"the device is {told.board}, not {board.name}", f"add --board {told.board}")
        report = verify(model, device, runs, lambda steps: progress.update(task, advance=steps))
    task = progress.add_task("count instructions", total=1, info="")
    some = windows[:: max(1, len(windows) // COUNTED)]
    what = f"{len(some)} held-out windows"
    own = replace(board, clock_hz=told.clock_hz)
    of_server = sizes if board.cpu == "host" else None  # elsewhere the program without the self-test is measured
    cost = _cost_report.of(model, own, some, of_server, report.cycles_per_step or 0.0, what)
    progress.update(task, completed=1)
    return Proof(report, cost)


def _results(board: str, data: Split, outcome: Outcome, proof: Proof, rivals: list[Measured]) -> dict:
    windows = len(data.test_windows)
    classes = np.full(windows, -1)  # of the device; -1 after a difference, which ends the run
    classes[: len(proof.report.classes)] = proof.report.classes[:windows]
    low, high, units = metrics.interval(data.test, data.test_windows, classes, data.cut)
    row = {
        "name": f"lnp-edge, {outcome.model.n} neurons",
        "value": pipeline.measures(data, classes)["accuracy"],
        "low": low,
        "high": high,
        "per_second": proof.cost.a_second if proof.cost.counted else 0.0,
        "flash": proof.cost.flash,
        "ram": proof.cost.ram,
    }
    return {
        "board": board,
        "held_out": data.held_out_text,
        "windows": windows,
        "rows": sorted([row, *(one.as_dict() for one in rivals)], key=lambda row: -row["value"]),
        "interval_over": units,
        "float_accuracy": outcome.float_measures["accuracy"],
        "recurrent_synapses": [outcome.start_synapses, outcome.network.w_rec.nnz],
        "float_and_integers_agree": int((outcome.float_predictions == outcome.predictions).sum()),
        "predictions_equal": int((classes == outcome.predictions).sum()),
        "cost": proof.cost.as_dict(),
        "verify": {k: v for k, v in proof.report.as_dict().items() if k != "classes"},
    }


def _show(found: dict) -> None:
    rows = found["rows"]
    cells = [
        [
            row["name"], f"{row['value']:.3f}", f"{row['low']:.2f}–{row['high']:.2f}",
            counted(row["per_second"]) if row["per_second"] else "not counted", f"{row['flash']}", f"{row['ram']}",
        ]
        for row in rows
    ]  # fmt: skip
    title = f"SPAR smart watch: {found['held_out']}, held out"
    print_table(title, ["", "accuracy", "95 %", "instr. a s", "flash B", "RAM B"], cells)
    best = rows[0]
    cheap = min((row for row in rows if row["value"] >= best["low"]), key=lambda row: row["per_second"])
    said = f"Most accurate: {best['name']}."
    if len(rows) > 1 and cheap is not best and cheap["per_second"]:
        said += f" Cheapest within its interval: {cheap['name']}."
    start, kept = found["recurrent_synapses"]
    out.print(said)
    if found["warning"]:
        say(f"The network has not converged: {found['warning']}")
    out.print(f"Of the network, {kept} of {start} recurrent synapses were kept, before training.")
    out.print(
        f"Predictions that agree: floats and integers {found['float_and_integers_agree']}, "
        f"integers and device {found['predictions_equal']} of {found['windows']}."
    )
    for row in rows:
        if "differ" in row:
            same = row["compared"] - row["differ"]
            out.print(f"{row['name']}: as C, scores of {same} of {row['compared']} windows are the reference's.")
