"""A trial: draw, prune, train, quantise and test one configuration. Pure: same arguments, same result."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from threading import Thread
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lnp_edge import pipeline
from lnp_edge.config import Config, PruneSettings
from lnp_edge.network import Network
from lnp_edge.quantize import quantize
from lnp_edge.spec.model import QuantizedModel
from runtime.host import predict
from runtime.reference import Reference

Report = Callable[[str, int, int, str], None]  # name, epochs done, epochs, what to show


@dataclass(frozen=True)
class Trial:
    name: str
    config: Config
    held_out: tuple[int, ...] | None = None  # people; None: the data set's own


@dataclass(frozen=True)
class Outcome:
    trial: Trial
    start_synapses: int
    network: Network
    model: QuantizedModel
    history: list[dict[str, float]]
    float_classes: NDArray[np.intp]
    classes: NDArray[np.intp]  # of the quantised model
    float_accuracy: float
    accuracy: float


def dense(config: Config) -> Config:
    """The same without pruning."""
    return replace(config, prune=PruneSettings(keep=1.0))


def run_trial(trial: Trial, report: Report | None = None) -> Outcome:
    config = trial.config
    data = pipeline.split(config, pipeline.load_data(config), trial.held_out)
    start = pipeline.new_network(config, data)

    def show(done: int, total: int, now: dict[str, float]) -> None:
        if report:
            report(trial.name, done, total, f"loss {now['loss']:.3f}")

    network, history = pipeline.train(config, data, pipeline.prune(config, start), show)
    model = quantize(network, data.task, config.network.neuron)
    float_classes = pipeline.float_classes(config, data, network)
    classes = predict(Reference(model), data.test_windows[0])
    return Outcome(
        trial, start.w_rec.nnz, network, model, history, float_classes, classes,
        pipeline.accuracy(data, float_classes), pipeline.accuracy(data, classes),
    )  # fmt: skip


def run_all(trials: list[Trial], report: Report, finished: Callable[[Outcome], None]) -> None:
    """Every trial, in as many processes as there are cores; `finished` as each ends, in any order.

    `report` is called from a thread of its own, so that bars move while `finished` is at work.
    """
    workers = min(len(trials), os.cpu_count() or 1)
    context = multiprocessing.get_context("spawn")
    queue = context.SimpleQueue()

    def listen() -> None:
        for args in iter(queue.get, None):
            report(*args)

    listener = Thread(target=listen, daemon=True)
    listener.start()
    # Ctrl-C reaches every process of a terminal: the workers, which inherit this, leave it to their parent.
    asked = signal.signal(signal.SIGINT, signal.SIG_IGN)
    pool = ProcessPoolExecutor(workers, context, initializer=_set_queue, initargs=(queue,))
    try:
        futures = [pool.submit(_run_reporting, trial) for trial in trials]
        signal.signal(signal.SIGINT, asked)
        for future in as_completed(futures):
            finished(future.result())
    except BaseException:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        for process in list((pool._processes or {}).values()):
            process.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)
        queue.put(None)
        listener.join()
        signal.signal(signal.SIGINT, asked)


_queue: Any = None  # of a worker process


def _set_queue(queue: Any) -> None:
    global _queue
    _queue = queue


def _run_reporting(trial: Trial) -> Outcome:
    return run_trial(trial, lambda *args: _queue.put(args))
