"""Every configuration in lnp_edge/configs, for a few steps: synthetic files where the data do not ship."""

import numpy as np
import pytest
from raw_data import beats, colours, write_binary, write_idx

from lnp_edge import config
from lnp_edge.base.errors import DataError
from lnp_edge.commands.reproduce import changed, quick
from lnp_edge.datasets import _chaos, cifar10, fashion_mnist, hapt, mitbih
from lnp_edge.datasets import _files as files
from lnp_edge.experiments import trial
from lnp_edge.experiments.trial import Trial, run_trial
from lnp_edge.spec.plugins import names
from lnp_edge.task import metrics
from lnp_edge.task.split import load_data

TASKS = sorted(path.stem for path in config.FOLDER.glob("*.toml"))
WRITTEN = ("cifar10", "fashion_mnist", "hapt", "mitbih")  # by `data`


@pytest.fixture
def data(tmp_path, monkeypatch, request):
    """WRITTEN, each with a few recordings for training and for the test; short closed loops.

    A test of another data set whose files are not found in the user's folder is skipped.
    """
    monkeypatch.setattr(_chaos, "LYAPUNOV_TIMES", 1)
    rng = np.random.default_rng(1)
    for module in (cifar10, fashion_mnist):
        first, second = module.PARTS
        monkeypatch.setattr(module, "PARTS", {first: 50, second: 10})
    signal = rng.integers(-9000, 9000, (3600, 6)).astype(np.int16)
    activity = {"label": np.tile(np.repeat(np.arange(1, 7, dtype=np.int8), 300), 2), "user": np.int8([1, 2])}
    np.savez(tmp_path / hapt.FILE, signal=signal, length=np.int32([1800, 1800]), **activity)
    np.savez(tmp_path / mitbih.FILE, **beats(rng))
    write_binary(tmp_path, *colours(rng))
    monkeypatch.setattr(fashion_mnist, "DEBIAN", tmp_path)
    write_idx(tmp_path, rng.integers(0, 256, (60, 28, 28)), rng.integers(0, 10, 60))
    monkeypatch.setenv(files.ROOT_VARIABLE, str(tmp_path))
    find, task = files.find, request.node.callspec.params["task"]

    def or_skip(root, name, where_from):
        try:
            return find(root, name, where_from)
        except DataError as e:
            if root is None and config.named(task).data.name not in WRITTEN:
                pytest.skip(f"{e.what}: this test writes no such file")
            raise

    monkeypatch.setattr(files, "find", or_skip)


def test_every_data_set_has_a_configuration():
    assert set(names("lnp_edge.datasets")) <= {config.named(task).data.name for task in TASKS}


@pytest.mark.parametrize("task", TASKS)
def test_every_task_trains_and_predicts_in_floats_and_integers(data, task, monkeypatch):
    base = changed(quick(config.named(task)), {"data": {"limit": 2}, "train": {"epochs": 1}})
    dataset = load_data(base)
    monkeypatch.setattr(trial, "load_data", lambda config: dataset)  # once: the chaotic ones are integrated
    outcome = run_trial(Trial(task, base))
    for found in (outcome.float_measures, outcome.measures):
        assert {dataset.metric, *metrics.shown(dataset)} <= set(found)
        assert all(np.isfinite(value) for value in found.values())
    assert np.isfinite([epoch["loss"] for epoch in outcome.history]).all()
    assert (outcome.model.forecast is None) == (dataset.series is None)
