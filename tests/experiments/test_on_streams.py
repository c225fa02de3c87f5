"""What lnp stream compares: leaky statistics, a class left out; and its table."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import need

from lnp_edge.base.errors import ConfigError
from lnp_edge.base.files import read_result, write_result
from lnp_edge.cli import main
from lnp_edge.commands import _after
from lnp_edge.config import Config
from lnp_edge.datasets import spar
from lnp_edge.experiments import on_streams, store
from lnp_edge.network import file as network_file
from lnp_edge.spec.decision import Decision
from lnp_edge.stages import decide, rival
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
KNOWN = "changes", "hours"  # always finite


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


def test_lnp_train_shows_the_results_on_streams_of_few_groups_and_keeps_the_network_first(
    tmp_path, capsys, monkeypatch
):
    need("torch")
    monkeypatch.chdir(tmp_path)
    Path("tiny.toml").write_text(TINY)
    assert main(["train", "tiny.toml"]) == 0
    told = capsys.readouterr().out
    assert "raise [stream] batches, now 20" in told
    assert "decisions on streams of people 8, 9, 10" in told
    fitted = decide.Fitted(Decision(stream=True, lead=9), 99.0)
    monkeypatch.setattr(decide, "rule", lambda *rest: fitted)
    assert main(["quantize", "trained.safetensors", "--decide"]) == 0
    told = capsys.readouterr().out
    assert "The rule of decisions: no lead keeps to 60 false changes an hour on training groups" in told
    assert "the largest leaves 99; raise [stream] false_changes" in told
    Path("trained.safetensors").unlink()

    def broken(*rest):
        raise RuntimeError("after the training")

    monkeypatch.setattr(_after, "results", broken)
    assert main(["train", "tiny.toml"]) == 70
    assert "accuracy" in network_file.load(Path("trained.safetensors")).history["float_measures"]


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
    assert "95 %: bootstrap over 12 streams." in lines
    _, more = (line for line in lines if line.startswith(" stream "))
    assert more.split() == ["stream", "{low:.2f}–{high:.2f}".format(**report["rows"][1])]
    assert "The streams are joined from pieces" in " ".join(lines) and report["orders"] == 4
    assert max(map(len, lines)) <= 80 and lines[0].startswith("spar: people 8, 9, 10, held out; seed 1")
    # What is not finite is stored as none, and shown as a dash.
    (result,) = (tmp_path / "runs" / path for path in (tmp_path / "runs").glob("*/result.json")
                 if json.loads(path.read_text())["config"]["quantize"].get("decide"))  # fmt: skip
    write_result(result, read_result(result, bool) | {"rule_warning": "no lead keeps"})
    for path in (tmp_path / "runs").glob("*.json"):
        found = read_result(path, bool)
        for row in found["rows"]:
            row |= {key: None for key, value in row.items() if isinstance(value, float) and key not in KNOWN}
            row |= {"rule_warning": "nor does this"} if row["name"] == "  with a lead" else {}
        found["levels"] = [[percent, None, 0.0] for percent, *_ in found.get("levels", [])]
        write_result(path, found | {"strangers": dict.fromkeys(found.get("strangers", {}))})
    assert main(command) == 0
    told = capsys.readouterr().out
    assert "stream, with its rule: no lead keeps." in told and "ridge, leaky, with a lead: nor does this." in told
    for wanted in ("–/–/–", "  – of zeros", "The rule calls – of all", "– of the known", ", – (0)"):
        assert wanted in told


ROW = {"name": "stream"} | dict.fromkeys(on_streams.MEASURES, 0.5)
WHOLE = {"rows": [ROW], "strangers": {"zeros": None}, "levels": [[60.0, None, 3.0]]}


@pytest.mark.parametrize("damage", [
    {"rows": []}, {"rows": None}, {"rows": [1]}, {"rows": [{"name": "stream"}]}, {"rows": [ROW | {"name": 3}]},
    {"rows": [ROW | {"name": ""}]}, {"rows": [ROW | {"accuracy": "0.5"}]}, {"rows": [ROW | {"hours": None}]},
    {"rows": [ROW | {"per_second": "many"}]}, {"rows": [ROW | {"low": "0"}]}, {"rows": [ROW | {"units": 9}]},
    {"rows": [ROW | {"rule_warning": 1}]}, {"strangers": []},
    {"strangers": {"zeros": "all"}}, {"levels": [[60.0, None]]}, {"levels": [[None, None, 3.0]]}, {"levels": 3},
    {"levels": [3]},
])  # fmt: skip
def test_a_damaged_result_is_refused_in_two_lines(tmp_path, damage):
    """Each ended in a traceback of the table."""
    method, kept = on_streams.Method("stream", Config(), tmp_path), store.Store(tmp_path)
    kept.save(method, WHOLE)
    assert kept.load(method) == WHOLE
    kept.save(method, WHOLE | damage)
    with pytest.raises(ConfigError, match=r"not a result of lnp-edge\n  delete it"):
        kept.load(method)


def test_a_result_without_levels_is_no_streams():
    assert on_streams.Method("windows", Config(), Path()).valid({"rows": [ROW]})
    assert not on_streams.Method("stream", Config(), Path()).valid({"rows": [ROW]})
    assert on_streams.Method("stranger 0", Config(), Path()).valid({"rows": [], "strangers": {"a": 0.1}})


def test_settings_left_to_the_data_are_fitted_as_lnp_train_fits_them(tmp_path, capsys):
    need("torch", "pandas")
    rows = "".join(f"{k},{name}\n" for name, count in (("long", 400), ("short", 60)) for k in range(count))
    for who in "abc":
        (tmp_path / f"{who}.csv").write_text("x,what\n" + rows)
    own = 'path = "{who}.csv"\nlabel = "what"\ngroup = "who"\nrate = 50.0\nwindow = 2.0\nhop = 1.0'
    (tmp_path / "own.toml").write_text(f"[data]\n{own}\n[stream]\nbatches = 20\n")
    assert main(["stream", str(tmp_path / "own.toml"), "-o", str(tmp_path / "runs")]) == 2
    assert "no recording of short is as long as a window of 2 s" in capsys.readouterr().err
