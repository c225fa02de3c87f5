"""Finished trials on disk, one folder each, named by what the result depends on: nothing is run twice.

<task>-<hash>/  result.json         configuration, measures, learning curve, date, versions, processor seconds
                network.safetensors, model.onnx
                curve.png, confusion.png or forecast.png
                *.checkpoint        of one that was stopped; it goes on from there
Of a network that failed there is but {"failed": why} in result.json, where that is a result: lnp compare.
"""

from __future__ import annotations

import json
import platform
import time
from pathlib import Path

import numpy as np

from lnp_edge.base.console import bars, note
from lnp_edge.base.errors import ConfigError, NetworkError
from lnp_edge.base.files import discard, make_folder, read_result, write_whole
from lnp_edge.experiments import figures
from lnp_edge.experiments.trial import NETWORK, RESULT, Outcome, Trial, run_all
from lnp_edge.interchange import onnx_file
from lnp_edge.network import file as network_file
from lnp_edge.network.file import NetworkFile
from lnp_edge.task.dataset import Dataset, Windows

Result = dict


class Runs:
    def __init__(self, folder: Path):
        self.folder = folder
        make_folder(folder)

    def place(self, trial: Trial) -> Path:
        return self.folder / trial.key

    def stored(self, trial: Trial) -> Result | None:
        """The result of a trial that was finished before."""
        path = self.place(trial) / RESULT
        return read_result(path, lambda found: "failed" in found or {"measures", "history"} <= set(found))

    def all(self, trials: list[Trial], failures: bool = False) -> list[Result]:
        """The result of each trial; those not stored are run, in as many processes as there are cores.

        failures : a network that cannot be pruned, trained or quantised is a result too, {"failed": why}, and not
            tried again; else its error is raised
        """
        unique = list({self.place(t): t for t in trials}.values())
        # Those that start from another's network come last: by then it is there, and need not be trained twice.
        todo = sorted((t for t in unique if not self._done(t, failures)), key=lambda t: t.before is not None)
        if len(todo) < len(unique):
            note(f"{len(unique) - len(todo)} of {len(unique)} trainings are already in {self.folder}")
        for trial in todo:
            make_folder(self.place(trial))
        with bars() as progress:
            total = progress.add_task("trainings", total=len(unique), completed=len(unique) - len(todo), info="")
            names = {
                t.name: progress.add_task(t.name, total=t.config.train.epochs, visible=False, info="") for t in todo
            }

            def report(name: str, epoch: int, epochs: int, info: str) -> None:
                progress.update(names[name], completed=epoch, total=epochs, info=info, visible=epoch < epochs)

            def finished(outcome: Outcome) -> None:
                self._store(outcome)
                progress.update(total, advance=1)

            def failed(trial: Trial, error: NetworkError) -> None:
                result = {"name": trial.name, "failed": error.what, "config": json.loads(trial.config.to_json())}
                self._write(trial, result)
                progress.update(total, advance=1)

            if todo:
                run_all(todo, report, finished, self.place, failed if failures else None)
        return [r for t in trials if (r := self.stored(t))]

    def _done(self, trial: Trial, failures: bool) -> bool:
        found = self.stored(trial)
        return found is not None and (failures or "failed" not in found)

    def _write(self, trial: Trial, result: Result) -> None:
        """Last of all: a folder with a result is finished."""
        folder = self.place(trial)
        write_whole(folder / RESULT, json.dumps(result, indent=1).encode())
        discard(folder)

    def _store(self, o: Outcome) -> None:
        folder = self.place(o.trial)
        result = {
            "name": o.trial.name,
            "float_measures": o.float_measures,
            "measures": o.measures,
            "neurons": o.network.n,
            "synapses": o.network.w_rec.nnz,
            "start_synapses": o.start_synapses,
            "seconds": round(o.seconds, 1),
            "held_out": o.trial.held_out,
            "date": time.strftime("%Y-%m-%d"),
            "machine": machine(),
            "config": json.loads(o.trial.config.to_json()),
            "history": o.history,
        }
        history = {"train": o.history, "float_measures": o.float_measures}
        network_file.save(NetworkFile(o.network, o.trial.config, history), folder / NETWORK)
        onnx_file.save(o.model, folder / "model.onnx")
        np.savez_compressed(folder / "predictions.npz", floats=o.float_predictions, integers=o.predictions)
        figures.learning_curves({o.trial.name: o.history}, folder / "curve.png")
        self._write(o.trial, result)

    def picture(self, trial: Trial, dataset: Dataset, windows: Windows) -> None:
        """What the integers of a finished trial said of the windows, as a picture beside its result."""
        folder = self.place(trial)
        path = folder / "predictions.npz"
        try:
            with np.load(path, allow_pickle=False) as f:
                said = f["integers"]
        except (OSError, ValueError, KeyError) as e:
            raise ConfigError(f"cannot read {path}: {e}", f"delete {folder}, and it is run again") from None
        if dataset.series:
            figures.forecast(dataset, windows, said, folder / "forecast.png")
        else:
            figures.confusion(dataset.classes, windows.wanted, said, folder / "confusion.png")


def machine() -> str:
    return f"{platform.machine()}, Python {platform.python_version()}, numpy {np.__version__}"
