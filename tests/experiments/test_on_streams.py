"""What lnp stream compares: leaky statistics, a class left out; and its table."""

import json
from dataclasses import replace

import numpy as np
import pytest
from conftest import need

from lnp_edge.cli import main
from lnp_edge.datasets import spar
from lnp_edge.experiments import on_streams
from lnp_edge.stages import rival
from lnp_edge.task.dataset import Stream, check

TINY = """
[data]
name = "spar"
window = 2.0
hop = 1.0
frame = 5
limit = 1
[network]
neurons = 12
tau_out = 1.0
[prune]
keep = 0.5
method = "magnitude"
[train]
epochs = 1
batch = 8
[stream]
batches = 20
"""


def test_leaky_statistics_are_those_of_a_slow_sum():
    rng = np.random.default_rng(1)
    signal, tau = rng.integers(-99, 99, (30, 2)).astype(np.int16), 7.0
    (at,) = on_streams.leaky_statistics(Stream(signal, np.zeros(30, int), 1), 29, 5, [tau])
    x, weight = signal[:29].astype(float), (1 - np.exp(-1 / tau)) * np.exp(-np.arange(28, -1, -1) / tau)
    steps = np.abs(np.diff(x, axis=0, prepend=x[:1]))
    mean, square = weight @ x, weight @ (x * x)
    deviation, step = np.sqrt(square - mean**2), weight @ steps
    slow = [*mean, *deviation, *step, weight @ (x[:, 0] * x[:, 1]), *np.log1p(deviation), *np.log1p(step)]
    assert at == pytest.approx(slow, rel=1e-9)  # sums in another order


def test_a_class_that_is_left_out_is_in_no_recording_and_no_stream():
    data = spar.load().of_groups([1])
    label = np.array([0, 0, 3, 3, 2, 5, 3], np.int64)
    data = replace(data, streams=(Stream(np.arange(42).reshape(7, 6).astype(np.int16), label, 1),))
    found = check(on_streams.without(data, 3))
    assert found.classes == data.classes[:3] + data.classes[4:]
    assert [s.labels.tolist() for s in found.streams] == [[0, 0], [2, 4]]
    assert [s.signal[0, 0] for s in found.streams] == [0, 24]
    kept = [(a.tobytes(), data.classes[k]) for a, k in zip(data.recordings, data.labels, strict=True) if k != 3]
    assert [(a.tobytes(), found.classes[k]) for a, k in zip(found.recordings, found.labels, strict=True)] == kept


def test_the_table_has_every_method_and_is_kept(tmp_path, capsys, monkeypatch):
    need("torch")
    monkeypatch.setattr(rival, "available", lambda: False)  # nothing is built
    (tmp_path / "tiny.toml").write_text(TINY)
    command = ["stream", str(tmp_path / "tiny.toml"), "-o", str(tmp_path / "runs"), "--jobs", "1"]
    assert main([*command, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in report["rows"]] == [
        "windows from reset", "stream", "  with its rule", "ridge, 2 s windows", "  with a lead",
        "ridge, 1 s windows", "  with a lead", "ridge, leaky", "  with a lead",
    ]  # fmt: skip
    assert list(report["strangers"])[-1] == f"the class {spar.load().classes[0]}, left out"
    monkeypatch.setattr(on_streams, "work", None)
    assert main(command) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80 and lines[0].startswith("spar: people 8, 9, 10, held out; seed 1")
