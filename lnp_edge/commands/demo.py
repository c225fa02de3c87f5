"""Run the whole chain on the SPAR smart-watch data: prune, train, quantise,
generate, build, verify and classify.

Trains a dense and a pruned network, then runs the pruned one in integers on a
device, on every held-out window. To continue a stopped training, run the same
command again."""

import argparse
import json
import shutil
import time
from contextlib import closing
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from lnp_edge import boards, config
from lnp_edge.base.console import bars, note, out, table
from lnp_edge.base.errors import BoardError
from lnp_edge.base.files import discard, write_whole
from lnp_edge.base.install import MCU
from lnp_edge.experiments import store
from lnp_edge.experiments.runs import Runs
from lnp_edge.experiments.store import Store
from lnp_edge.experiments.trial import Outcome, Trial, dense
from lnp_edge.firmware_gen.build import Sizes, build, compiler
from lnp_edge.firmware_gen.generate import generate, write
from lnp_edge.interchange import onnx_file
from lnp_edge.network import file as network_file
from lnp_edge.runtime.device import Device
from lnp_edge.runtime.emulator import Emulator
from lnp_edge.runtime.ports import open_board
from lnp_edge.runtime.verify import Verdict, stimulus, verify
from lnp_edge.spec.board import Board
from lnp_edge.spec.model import QuantizedModel
from lnp_edge.stages import pipeline, rival
from lnp_edge.task.split import Split, load_data, split

RIVAL_WINDOWS = 100  # whose scores on the emulated board are compared with the reference
HELP = "run the whole chain on smart-watch data, up to a verified device"
EXAMPLE = "  lnp demo --quick"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--quick", action="store_true", help="a smaller network and fewer epochs: under a minute")
    parser.add_argument(
        "--board", help="name of a board (default: the first of cortex-m4, mps2-an386 and host that can run here)"
    )
    parser.add_argument("--port", help="serial port of a board that was flashed with this demo's firmware")
    parser.add_argument("-o", "--output", type=Path, default=Path("lnp-demo"), metavar="DIR", help="default: lnp-demo")


def run(args: argparse.Namespace) -> int:
    begin = time.monotonic()
    pipeline.require_torch()
    board = boards.get(args.board or best_board())
    settings = config.load(config.SPAR_QUICK if args.quick else config.SPAR)
    if board.start == "serial" and args.port is None:
        raise BoardError(f"{board.name} is a real board", "name its port: --port /dev/ttyACM0, or choose another board")
    compiler(board.toolchain)
    data = split(settings, load_data(settings))
    outcomes: dict[str, Outcome] = {}
    proof: list[Proof] = []
    trials = [Trial("pruned", settings), Trial("dense", dense(settings))]
    with bars() as progress:

        class Chain(Store):
            def load(self, trial: Trial) -> None:
                """Returns nothing: every demo trains again."""

            def save(self, trial: Trial, outcome: Outcome) -> None:
                """Verifies the device while the larger, dense network is still training."""
                outcomes[trial.name] = outcome
                file = network_file.NetworkFile(outcome.network, trial.config, {"train": outcome.history})
                network_file.save(file, args.output / f"{trial.name}.safetensors")
                if trial.name == "pruned":
                    onnx_file.save(outcome.model, args.output / "model.onnx")
                    proof.append(_on_device(args, board, outcome.model, data.test_windows.counts, progress))

        store.run(trials, Runs(args.output).work, Chain(args.output), title="trainings", shown=progress)
    found = _results(board.name, data, outcomes, proof[0]) | {"seconds": round(time.monotonic() - begin, 1)}
    write_whole(args.output / "report.json", json.dumps(found, indent=1).encode())
    discard(*(args.output / trial.key for trial in trials))
    _show(found)
    out.print("\n".join(proof[0].report.lines()), soft_wrap=True)
    note(f"{found['seconds']} s; networks, model.onnx, firmware and report.json are in {args.output}")
    equal = found["predictions_equal"] == found["windows"] and not (found["ridge"] or {}).get("differ")
    return 0 if proof[0].report.ok and equal else 1


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
    sizes: Sizes
    report: Verdict
    cost: str  # of a step, with its unit; empty if the device has no counter


def _on_device(args: argparse.Namespace, board: Board, model: QuantizedModel, windows: np.ndarray, progress) -> Proof:
    """Build the firmware, then compare it with the reference on every window and the stimulus."""
    task = progress.add_task(f"build for {board.name}", total=1, info="")
    folder = args.output / "firmware"
    write(generate(model, board), folder)
    sizes = build(folder)
    progress.update(task, completed=1, info=f"{sizes.flash} B flash")
    runs = [*windows, *stimulus(model, 1000, seed=1)]
    task = progress.add_task("run and verify", total=sum(map(len, runs)), info="steps")
    with closing(open_board(board, sizes.image, args.port)) as port:
        device = Device(port, model, args.port or board.name)
        report = verify(model, device, runs, lambda steps: progress.update(task, advance=steps))
        if not isinstance(port, Emulator):
            cycles = report.cycles_per_step
            return Proof(sizes, report, f"{cycles:.0f} cycles" if cycles else "")
        device.reset()
        with port.count("lnp_net_step") as counted:
            device.steps(windows[0])
        return Proof(sizes, report, f"{np.mean(counted.calls):.0f} instr.")


def _results(board: str, data: Split, outcomes: dict[str, Outcome], proof: Proof) -> dict:
    from lnp_edge.task.baselines import simple

    pruned, windows = outcomes["pruned"], len(data.test_windows)
    row, predicted = next(iter(simple(data).items()))  # the first baseline, ridge regression
    ridge = rival.of_row(row, data, most=RIVAL_WINDOWS)
    classes = np.full(windows, -1)  # of the device; -1 after a difference, which ends the run
    classes[: len(proof.report.classes)] = proof.report.classes[:windows]
    return {
        "board": board,
        "held_out": data.held_out_text,
        "windows": windows,
        "accuracy": {
            "ridge": ridge.value if ridge else pipeline.measures(data, predicted)["accuracy"],
            "dense": outcomes["dense"].float_measures["accuracy"],
            "pruned": pruned.float_measures["accuracy"],
            "quantised": pruned.measures["accuracy"],
            "device": pipeline.measures(data, classes)["accuracy"],
        },
        "recurrent_synapses": {
            "dense": outcomes["dense"].network.w_rec.nnz,
            "pruned": pruned.network.w_rec.nnz,
            "quantised": pruned.model.projection("rec").w.nnz,
        },
        "flash": proof.sizes.flash,
        "ram": proof.sizes.ram,
        "cost_per_step": proof.cost,
        "ridge": ridge.as_dict() | {"per_step": ridge.instructions / data.task.window} if ridge else None,
        "float_and_integers_agree": int((pruned.float_predictions == pruned.predictions).sum()),
        "predictions_equal": int((classes == pruned.predictions).sum()),
        "verify": {k: v for k, v in proof.report.as_dict().items() if k != "classes"},
    }


def _show(found: dict) -> None:
    synapses = found["recurrent_synapses"]
    kept = f"{synapses['pruned']} ({synapses['pruned'] / synapses['dense']:.0%})"
    cost = [f"{found['flash']}", f"{found['ram']}", found["cost_per_step"] or "not counted"]
    ridge = found["ridge"]
    of_ridge = ["", "", ""]
    if ridge:
        of_ridge = [f"{ridge['flash']}", f"{ridge['ram']}", f"{ridge['per_step']:.0f} instr."]
    rows = [
        ("ridge, no network", "ridge", "", of_ridge),
        ("dense, float", "dense", f"{synapses['dense']}", ["", "", ""]),
        ("pruned, float", "pruned", kept, ["", "", ""]),
        ("pruned, integers", "quantised", f"{synapses['quantised']}", ["", "", ""]),
        (f"on {found['board']}", "device", f"{synapses['quantised']}", cost),
    ]
    cells = [[title, f"{found['accuracy'][key]:.3f}", count, *rest] for title, key, count, rest in rows]
    title = f"SPAR smart watch: {found['held_out']}, held out"
    out.print(table(title, ["", "accuracy", "synapses", "flash B", "RAM B", "a step"], cells))
    if ridge:
        same = ridge["compared"] - ridge["differ"]
        out.print(
            f"ridge, as C on {ridge['board']}: scores of {same} of {ridge['compared']} windows are the reference's"
        )
    out.print(
        f"predictions that agree: floats and integers {found['float_and_integers_agree']}, "
        f"integers and device {found['predictions_equal']} of {found['windows']}"
    )
