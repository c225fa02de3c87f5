"""Finished trials on disk, in one folder each, named by a hash of what the result depends on.

<task>-<hash>/  result.json         configuration, measures, learning curve, date, versions, seconds
                network.safetensors, model.onnx, predictions.npz, costs.json
                curve.png, confusion.png or forecast.png
                *.checkpoint        of a stopped trial, which continues from it
For lnp compare, a network that failed has only result.json, with {"failed": why}.
"""

from __future__ import annotations

import io
import json
import struct
import time
import zlib
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from lnp_edge.base.errors import ConfigError, NetworkError
from lnp_edge.base.files import discard, make_folder, write_whole
from lnp_edge.base.progress import Progress
from lnp_edge.experiments import store
from lnp_edge.experiments.executors import Executor, processes
from lnp_edge.experiments.store import Result, Store, machine
from lnp_edge.experiments.trial import NETWORK, RESULT, Outcome, Trial, run_trial
from lnp_edge.interchange import windows_file
from lnp_edge.network import file as network_file
from lnp_edge.network.file import NetworkFile
from lnp_edge.stages import pipeline
from lnp_edge.task.dataset import Dataset, Windows

# What numpy raises for an archive that is damaged.
DAMAGED = (OSError, ValueError, LookupError, EOFError, BadZipFile, zlib.error, RuntimeError, struct.error, MemoryError)


class Runs(Store):
    """The store of trials.

    failures : a network that cannot be pruned, trained or quantised has the result {"failed": why}
        and is not tried again; otherwise its error is raised
    """

    def __init__(self, folder: Path, failures: bool = False):
        super().__init__(folder)
        self.failures = failures

    def path(self, trial: Trial) -> Path:
        return self.folder / trial.key / RESULT

    def load(self, trial: Trial) -> Result | None:
        found = super().load(trial)
        return None if found and "failed" in found and not self.failures else found

    def all(self, trials: list[Trial], executor: Executor = processes) -> list[Result]:
        """The result of each trial; see store.run."""
        # Trials that start from the network of another come last, so that it is not trained twice.
        ordered = sorted(trials, key=lambda t: t.before is not None)
        store.run(ordered, self.work, self, executor, "trainings")
        return [found for trial in trials if (found := self.load(trial))]

    def work(self, trial: Trial, progress: Progress) -> Outcome | str:
        """The outcome of run_trial, or why it failed."""
        folder = self.path(trial).parent
        make_folder(folder)
        try:
            return run_trial(trial, progress, folder)
        except NetworkError as e:
            if self.failures:
                return e.what
            raise

    def save(self, trial: Trial, found: Outcome | str) -> None:
        folder, asked = self.path(trial).parent, json.loads(trial.config.to_json())
        if isinstance(found, str):
            result = {"name": trial.name, "failed": found, "config": asked}
        else:
            result = {
                "name": trial.name,
                "float_measures": found.float_measures,
                "measures": found.measures,
                "neurons": found.network.n,
                "synapses": found.network.w_rec.nnz,
                "start_synapses": found.start_synapses,
                "seconds": round(found.seconds, 1),
                "held_out": trial.held_out,
                "date": time.strftime("%Y-%m-%d"),
                "machine": machine(),
                "config": asked,
                "history": found.history,
                "warning": pipeline.warning(trial.config, found.history),
                "rule_warning": found.rule_warning,
            }
            history = {"train": found.history, "float_measures": found.float_measures}
            network_file.save(NetworkFile(found.network, trial.config, history), folder / NETWORK)
            windows_file.save_both(found.model, found.sample, folder / "model.onnx")
            arrays = io.BytesIO()
            np.savez_compressed(arrays, floats=found.float_predictions, integers=found.predictions)
            write_whole(folder / "predictions.npz", arrays.getvalue())
            from lnp_edge.experiments import figures  # loads matplotlib

            figures.learning_curves({trial.name: found.history}, folder / "curve.png")
        super().save(trial, result)  # last: a folder with a result is finished
        discard(folder)

    def predictions(self, trial: Trial) -> NDArray:
        """Of a finished trial, in integers; see predict.py."""
        folder = self.path(trial).parent
        path = folder / "predictions.npz"
        try:
            with np.load(path, allow_pickle=False) as f:
                return f["integers"]
        except DAMAGED as e:
            raise ConfigError(f"cannot read {path}: {e}", f"delete {folder} to run it again") from None

    def picture(self, trial: Trial, dataset: Dataset, windows: Windows) -> None:
        """Draw the integer predictions of a finished trial, beside its result."""
        from lnp_edge.experiments import figures

        folder, said = self.path(trial).parent, self.predictions(trial)
        if dataset.series:
            figures.forecast(dataset, windows, said, folder / "forecast.png")
        else:
            figures.confusion(dataset.classes, windows.wanted, said, folder / "confusion.png")
