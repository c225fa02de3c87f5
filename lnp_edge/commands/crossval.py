"""Train and test in folds by person, pruned and dense, beside ridge regression on the same windows.

A finished fold is kept in DIR and not run again, so a stopped run goes on where it was."""

import argparse
import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from lnp_edge import config, pipeline
from lnp_edge.console import bars, note, out, table
from lnp_edge.errors import ConfigError
from lnp_edge.files import write_whole
from lnp_edge.trial import Outcome, Trial, dense, run_all

HELP = "train and test in folds by person"
EXAMPLE = "  lnp crossval demo.toml --folds 5 --seeds 3 -o runs"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", type=Path, nargs="?", default=config.SPAR, help="TOML file (default: the demo's)")
    parser.add_argument("--folds", type=int, default=5, help="0: the data set's own held-out people only")
    parser.add_argument("--seeds", type=int, default=1, help="of network and training, from the file's seed on")
    parser.add_argument("-o", "--output", type=Path, default=Path("runs"), metavar="DIR")
    parser.add_argument("--json", action="store_true")


def run(args: argparse.Namespace) -> int:
    if not 1 <= args.seeds <= 1000:
        raise ConfigError(f"--seeds is {args.seeds}", "from 1 to 1000")
    pipeline.require_torch()
    settings = config.load(args.config)
    dataset = pipeline.load_data(settings)
    parts = pipeline.folds(dataset, args.folds) if args.folds else [dataset.held_out]
    trials = [
        Trial(f"{name} {','.join(map(str, part))} seed {seed}", replace(c, seed=seed), part)
        for seed in range(settings.seed, settings.seed + args.seeds)
        for part in parts
        for name, c in (("dense", dense(settings)), ("pruned", settings))
    ]
    results = _run(trials, args.output)
    found = [_summary("ridge regression", [_ridge(settings, dataset, part) for part in parts], [])]
    for name in ("dense", "pruned"):
        mine = [results[_key(t)] for t in trials if t.name.startswith(name)]
        found.append(_summary(f"{name}, float", [r["float_accuracy"] for r in mine], mine))
        found.append(_summary(f"{name}, quantised", [r["accuracy"] for r in mine], mine))
    if args.json:
        print(json.dumps(found))
        return 0
    title = f"{settings.data.name}: {len(parts)} folds by person, {args.seeds} seeds; sd over folds and seeds"
    columns = ["", "accuracy", "sd", "worst", "best", "synapses"]
    cells = []
    for r in found:
        synapses = "" if r["synapses"] is None else f"{r['synapses']:.0f}"
        cells.append([r["name"], *(f"{r[k]:.3f}" for k in ("accuracy", "sd", "worst", "best")), synapses])
    out.print(table(title, columns, cells))
    return 0


def _run(trials: list[Trial], folder: Path) -> dict[str, dict]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise ConfigError(f"cannot make {folder}: {e.strerror}", "choose another place with -o") from None
    done = {key: r for t in trials if (r := _stored(folder / f"{(key := _key(t))}.json"))}
    todo = list({_key(t): t for t in trials if _key(t) not in done}.values())
    if done:
        note(f"{len(done)} of {len(trials)} trainings are already in {folder}")
    with bars() as progress:
        total = progress.add_task("trainings", total=len(done) + len(todo), completed=len(done), info="")
        tasks = {t.name: progress.add_task(t.name, total=t.config.train.epochs, info="", visible=False) for t in todo}

        def report(name: str, epoch: int, epochs: int, info: str) -> None:
            progress.update(tasks[name], completed=epoch, info=info, visible=epoch < epochs)

        def finished(o: Outcome) -> None:
            result = {
                "float_accuracy": o.float_accuracy,
                "accuracy": o.accuracy,
                "synapses": o.network.w_rec.nnz,
                "start_synapses": o.start_synapses,
                "held_out": o.trial.held_out,
                "config": json.loads(o.trial.config.to_json()),
                "history": o.history,
            }
            write_whole(folder / f"{_key(o.trial)}.json", json.dumps(result).encode())
            done[_key(o.trial)] = result
            progress.update(total, advance=1)

        if todo:
            run_all(todo, report, finished)
    return done


def _key(trial: Trial) -> str:
    text = trial.config.to_json() + str(trial.held_out)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _stored(path: Path) -> dict | None:
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as e:
        raise ConfigError(f"cannot read {path}: {e}", "delete it, or choose another place with -o") from None


def _ridge(settings: config.Config, dataset, part: tuple[int, ...]) -> float:
    from lnp_edge.baselines import ridge_baseline

    data = pipeline.split(settings, dataset, part)
    return ridge_baseline(data.train_windows[:2], data.test_windows[:2])


def _summary(name: str, accuracies: list[float], results: list[dict]) -> dict:
    return {
        "name": name,
        "accuracy": float(np.mean(accuracies)),
        "sd": float(np.std(accuracies)),
        "worst": min(accuracies),
        "best": max(accuracies),
        "synapses": float(np.mean([r["synapses"] for r in results])) if results else None,
    }
