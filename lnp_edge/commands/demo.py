"""The whole chain on the SPAR smart-watch data: prune, train, quantise, generate, build, verify, classify.

Trains a dense and a pruned network, then runs the pruned one in integers on a device, on every held-out window."""

import argparse
import json
import shutil
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from lnp_edge import config, network_file, onnx_file, pipeline
from lnp_edge.console import bars, note, out, table
from lnp_edge.errors import BoardError, ConfigError
from lnp_edge.files import write_whole
from lnp_edge.trial import Outcome, Trial, dense, run_all

HELP = "the whole chain on smart-watch data, ends with a verified device"
EXAMPLE = "  lnp demo --quick"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--quick", action="store_true", help="a smaller network and fewer epochs, within a minute")
    parser.add_argument("--board", help="lnp boards lists them (default: the first of these that can run here)")
    parser.add_argument("--port", help="of a board that was flashed with this demo's firmware")
    parser.add_argument("-o", "--output", type=Path, default=Path("lnp-demo"), metavar="DIR", help="default: lnp-demo")


def run(args: argparse.Namespace) -> int:
    import boards

    begin = time.monotonic()
    pipeline.require_torch()
    board = boards.get(args.board or best_board())
    settings = config.load(config.SPAR_QUICK if args.quick else config.SPAR)
    try:
        args.output.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise ConfigError(f"cannot make {args.output}: {e.strerror}", "choose another place with -o") from None
    data = pipeline.split(settings, pipeline.load_data(settings))
    with bars() as progress:
        unpruned, pruned = _train(settings, progress)
        network_file.save(network_file.NetworkFile(unpruned.network, dense(settings), {}), args.output / "dense.safetensors")
        network_file.save(network_file.NetworkFile(pruned.network, settings, {}), args.output / "trained.safetensors")
        onnx_file.save(pruned.model, args.output / "model.onnx")
        sizes, report, instructions = _on_device(args, board, pruned, data.test_windows[0], progress)
    found = {
        "board": board.name,
        "people_held_out": data.held_out_text,
        "windows": len(data.test_windows[1]),
        "accuracy": {
            "ridge regression": _ridge(data),
            "dense": unpruned.float_accuracy,
            "pruned": pruned.float_accuracy,
            "quantised": pruned.accuracy,
            "device": pipeline.accuracy(data, np.array(report.classes[: len(data.test_windows[1])])),
        },
        "recurrent_synapses": {"dense": unpruned.network.w_rec.nnz, "pruned": pruned.network.w_rec.nnz},
        "flash": sizes.flash,
        "ram": sizes.ram,
        "instructions_per_step": instructions,
        "predictions_equal": int((np.array(report.classes[: len(pruned.classes)]) == pruned.classes).sum()),
        "verify": {k: v for k, v in report.as_dict().items() if k != "classes"},
        "seconds": round(time.monotonic() - begin, 1),
    }
    write_whole(args.output / "report.json", json.dumps(found, indent=1).encode())
    _show(found, unpruned, pruned)
    out.print("\n".join(report.lines()), soft_wrap=True)
    note(f"{found['seconds']} s; networks, model.onnx, firmware and report.json are in {args.output}")
    return 0 if report.ok and found["predictions_equal"] == len(pruned.classes) else 1


def best_board() -> str:
    """The emulated Cortex-M4 that needs pip alone; else qemu's; else this computer."""
    if all(map(find_spec, ("ziglang", "unicorn", "elftools"))):
        return "cortex-m4"
    if all(map(shutil.which, ("arm-none-eabi-gcc", "qemu-system-arm"))):
        return "mps2-an386"
    if shutil.which("cc") or find_spec("ziglang"):
        return "host"
    raise BoardError("no compiler is installed", 'pip install "lnp-edge[mcu]" (lnp doctor says more)')


def _train(settings: config.Config, progress) -> list[Outcome]:
    trials = [Trial("train dense", dense(settings)), Trial("train pruned", settings)]
    tasks = {t.name: progress.add_task(t.name, total=settings.train.epochs, info="starting") for t in trials}
    outcomes: dict[str, Outcome] = {}

    def report(name: str, epoch: int, epochs: int, info: str) -> None:
        progress.update(tasks[name], completed=epoch, info=info)

    def finished(outcome: Outcome) -> None:
        outcomes[outcome.trial.name] = outcome
        progress.update(tasks[outcome.trial.name], info=f"accuracy {outcome.float_accuracy:.3f}")

    run_all(trials, report, finished)
    return [outcomes[t.name] for t in trials]


def _on_device(args: argparse.Namespace, board, pruned: Outcome, windows: np.ndarray, progress):
    """Build sizes, the report over every window and the stimulus, and instructions a step (None: not counted)."""
    from contextlib import closing

    from firmware_gen.build import build
    from firmware_gen.generate import generate, write
    from runtime.device import Device
    from runtime.emulator import Emulator
    from runtime.ports import open_board
    from runtime.verify import stimulus, verify

    task = progress.add_task(f"build for {board.name}", total=1, info="")
    folder = args.output / "firmware"
    write(generate(pruned.model, board), folder)
    sizes = build(folder)
    progress.update(task, completed=1, info=f"{sizes.flash} B flash")
    runs = [*windows, *stimulus(pruned.model, 1000, seed=1)]
    task = progress.add_task("run and verify", total=sum(map(len, runs)), info="steps")
    with closing(open_board(board, sizes.image, args.port)) as port:
        device = Device(port, pruned.model, args.port or board.name)
        report = verify(pruned.model, device, runs, lambda steps: progress.update(task, advance=steps))
        if not isinstance(port, Emulator):
            return sizes, report, report.cycles_per_step or None
        device.reset()
        with port.count("lnp_net_step") as counted:
            device.steps(windows[0])
        return sizes, report, round(float(np.mean(counted.calls)))


def _ridge(data: pipeline.Split) -> float:
    from lnp_edge.baselines import ridge_baseline

    return ridge_baseline(data.train_windows[:2], data.test_windows[:2])


def _show(found: dict, unpruned: Outcome, pruned: Outcome) -> None:
    kept = f"{pruned.network.w_rec.nnz / unpruned.network.w_rec.nnz:.0%} = {pruned.network.w_rec.nnz}"
    extra = {
        "dense": [f"100% = {unpruned.network.w_rec.nnz}", "", "", ""],
        "pruned": [kept, "", "", ""],
        "quantised": [f"{pruned.model.w_rec.nnz}", "", "", ""],
        "device": [
            f"{pruned.model.w_rec.nnz}",
            f"{found['flash']}",
            f"{found['ram']}",
            f"{found['instructions_per_step'] or 'not counted'}",
        ],
    }
    names = {"device": f"on {found['board']}", "ridge regression": "ridge regression (no network)"}
    rows = [
        [names.get(name, name), f"{value:.3f}", *extra.get(name, [""] * 4)] for name, value in found["accuracy"].items()
    ]
    title = f"SPAR smart watch: {found['windows']} windows of people {found['people_held_out']}, never trained on"
    out.print(table(title, ["", "accuracy", "recurrent synapses", "flash B", "RAM B", "instructions/step"], rows))
    same = found["predictions_equal"]
    out.print(f"device and quantised model agree in {same} of {found['windows']} predictions")
