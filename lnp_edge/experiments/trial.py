"""A trial: draw, prune, train, quantise and test one configuration. Pure: same arguments, same result."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from numpy.typing import NDArray

from lnp_edge.base.errors import NetworkError
from lnp_edge.config import Config, PruneSettings, QuantizeSettings
from lnp_edge.experiments import pool, predict
from lnp_edge.network import Network
from lnp_edge.network import file as network_file
from lnp_edge.spec.model import QuantizedModel
from lnp_edge.stages import pipeline
from lnp_edge.task.split import load_data, split

NETWORK, RESULT = "network.safetensors", "result.json"  # of a finished trial, in its folder
Report = Callable[[str, int, int, str], None]  # name, epochs done, epochs, what to show


@dataclass(frozen=True)
class Trial:
    name: str
    config: Config
    held_out: tuple[int, ...] | None = None  # groups; None: the data set's own

    @property
    def key(self) -> str:
        """Names what the result depends on."""
        text = self.config.to_json() + str(self.held_out)
        return f"{self.config.data.name}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"

    @property
    def before(self) -> Trial | None:
        """The trial whose trained network this one starts from: the unpruned one, or the same before [quantize]."""
        if self.config.quantize != QuantizeSettings():
            return replace(self, config=replace(self.config, quantize=QuantizeSettings()))
        return replace(self, config=dense(self.config)) if pipeline.after_training(self.config) else None


@dataclass(frozen=True)
class Outcome:
    trial: Trial
    start_synapses: int
    network: Network
    model: QuantizedModel
    history: list[dict[str, float]]
    float_predictions: NDArray  # of each held-out window, see predict.py
    predictions: NDArray  # of the quantised model
    float_measures: dict[str, float]  # see metrics.of
    measures: dict[str, float]
    seconds: float  # of the processor, from data to measures


def dense(config: Config) -> Config:
    """The same without pruning."""
    return replace(config, prune=PruneSettings(keep=1.0))


def run_trial(trial: Trial, report: Report | None = None, folder: Path | None = None) -> Outcome:
    """folder : where a stopped trial leaves what it needs to go on: the caller's to discard.

    The network of `before` is taken from its own folder beside this one, if it is finished there.
    """
    begin = time.process_time()
    config = trial.config
    data = split(config, load_data(config), trial.held_out)
    start = pipeline.new_network(config, data)

    def shown(name: str) -> pipeline.Progress:
        def show(done: int, total: int, now: dict[str, float]) -> None:
            if report:
                report(trial.name, done, total, f"{name}loss {now['loss']:.3f}")

        return show

    def resume(name: str) -> Path | None:
        return folder / f"{name}.checkpoint" if folder else None

    def train(config: Config, network: Network, name: str) -> tuple[Network, list]:
        return pipeline.train(config, data, network, shown(name), resume(f"{name}training"))

    def trained(trial: Trial, name: str) -> tuple[Network, list]:
        """The float network of a trial and its learning curve."""
        if folder and trial.key != folder.name:
            stored = folder.parent / trial.key
            if (stored / RESULT).exists() and (stored / NETWORK).exists():  # finished, and not a failure
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
    floats, integers = predict.of_network(config, data, network), predict.of_model(data, model)
    return Outcome(
        trial, start.w_rec.nnz, network, model, history, floats, integers,
        pipeline.measures(data, floats), pipeline.measures(data, integers), time.process_time() - begin,
    )  # fmt: skip


def run_all(
    trials: list[Trial],
    report: Report,
    finished: Callable[[Outcome], None],
    folder_of: Callable[[Trial], Path | None] = lambda trial: None,
    failed: Callable[[Trial, NetworkError], None] | None = None,
) -> None:
    """Every trial by pool.run_all; folder_of gives each the folder that run_trial asks for.

    failed : gets a trial whose network cannot be pruned, trained or quantised, and why; None: that ends them all
    """

    def ended(found: Outcome | tuple[Trial, NetworkError]) -> None:
        if isinstance(found, Outcome):
            finished(found)
        elif failed:
            failed(*found)
        else:
            raise found[1]

    pool.run_all(_run, [(trial, folder_of(trial)) for trial in trials], report, ended)


def _run(item: tuple[Trial, Path | None], report: Report) -> Outcome | tuple[Trial, NetworkError]:
    try:
        return run_trial(item[0], report, item[1])
    except NetworkError as e:
        return item[0], e
