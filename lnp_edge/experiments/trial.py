"""A trial: draw, prune, train, quantise and test one configuration.

The same arguments give the same result.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lnp_edge.base.progress import EpochProgress, Progress
from lnp_edge.config import Config, PruneSettings, QuantizeSettings
from lnp_edge.experiments import predict
from lnp_edge.network import Network
from lnp_edge.network import file as network_file
from lnp_edge.spec.model import QuantizedModel
from lnp_edge.stages import decide, pipeline
from lnp_edge.task.split import load_data, split

NETWORK, RESULT = "network.safetensors", "result.json"  # of a finished trial, in its folder


@dataclass(frozen=True)
class Trial:
    name: str
    config: Config
    held_out: tuple[int, ...] | None = None  # groups; None: those of the data set

    @property
    def key(self) -> str:
        """A name for all that the result depends on."""
        text = self.config.to_json() + str(self.held_out)
        return f"{self.config.data.name}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"

    def valid(self, found: dict) -> bool:
        return "failed" in found or {"measures", "history"} <= set(found)

    @property
    def before(self) -> Trial | None:
        """The trial whose trained network this one starts from, if any.

        It is the same trial without [quantize], or without pruning.
        """
        if self.config.quantize != QuantizeSettings():
            return replace(self, config=replace(self.config, quantize=QuantizeSettings()))
        return replace(self, config=dense(self.config)) if pipeline.after_training(self.config) else None


@dataclass(frozen=True)
class Outcome:
    start_synapses: int
    network: Network
    model: QuantizedModel
    history: list[dict[str, float]]
    float_predictions: NDArray  # of each held-out window, see predict.py
    predictions: NDArray  # of the quantised model
    float_measures: dict[str, float]  # see metrics.of
    measures: dict[str, float]
    seconds: float  # processor time, from data to measures
    sample: NDArray[np.int16]  # see pipeline.sample
    rule_warning: str = ""  # see decide.warning


def dense(config: Config) -> Config:
    """The configuration without pruning."""
    return replace(config, prune=PruneSettings(keep=1.0))


def run_trial(trial: Trial, progress: Progress | None = None, folder: Path | None = None) -> Outcome:
    """Run a trial.

    folder : keeps the checkpoints of a stopped trial; the caller discards it

    The network of `before` is read from its own folder, beside this one, if it is finished there.
    """
    begin = time.process_time()
    config = trial.config
    data = split(config, load_data(config), trial.held_out)
    if config.quantize.decide:
        decide.parts(data.train)  # refuses before the training what it would refuse after it
    start = pipeline.new_network(config, data)

    def shown(name: str) -> EpochProgress:
        def show(done: int, total: int, now: dict[str, float]) -> None:
            if progress:
                progress(done / total, f"{name}epoch {done}/{total}, loss {now['loss']:.3f}")

        return show

    def resume(name: str) -> Path | None:
        return folder / f"{name}.checkpoint" if folder else None

    def train(config: Config, network: Network, name: str) -> tuple[Network, list]:
        return pipeline.train(config, data, network, shown(name), resume(f"{name}training"))

    def trained(trial: Trial, name: str) -> tuple[Network, list]:
        """The float network of a trial and its learning curve."""
        if folder and trial.key != folder.name:
            stored = folder.parent / trial.key
            if (stored / RESULT).exists() and (stored / NETWORK).exists():  # finished, not failed
                file = network_file.load(stored / NETWORK)
                return file.network, file.history["train"]
        network = start
        if trial.before:
            network, history = trained(trial.before, f"{name}before ")
            if trial.config.quantize != QuantizeSettings():
                return network, history
        pruned = pipeline.prune(trial.config, data, network, None, resume(f"{name}pruning"))
        return train(trial.config, pruned, name)

    network, history = trained(trial, "")
    model, _ = pipeline.quantize(config, data, network, shown("integers "), resume("integers"))
    changes = 0.0
    if config.quantize.decide:

        def fold(number: int) -> EpochProgress:
            return shown(f"fold {number + 1} ")

        fitted = decide.rule(config, data, network, model, fold, resume)
        model, changes = replace(model, decision=fitted.rule).check(), fitted.changes
    floats, integers = predict.of_network(config, data, network), predict.of_model(data, model)
    return Outcome(
        start.w_rec.nnz, network, model, history, floats, integers,
        pipeline.measures(data, floats), pipeline.measures(data, integers), time.process_time() - begin,
        pipeline.sample(data), decide.warning(changes, config.stream),
    )  # fmt: skip
