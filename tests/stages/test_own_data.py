"""From files to a network, its baselines and its mistakes, with the commands."""

import json
import re

import numpy as np
import pytest
from conftest import need

from lnp_edge.cli import main
from lnp_edge.interchange import onnx_file

need("pandas", "torch")
NETWORK = "[network]\nneurons = 8\n[train]\nepochs = 2\n"


@pytest.fixture
def at(tmp_path, monkeypatch):
    """A folder with recordings of three people who do two things, one of them faster."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(1)
    for who in "abc":
        for what, rate in (("slow", 1.0), ("fast [b]", 4.0)):
            t = np.arange(400) / 50
            x = 100 * np.sin(2 * np.pi * rate * t + rng.uniform(0, 6))[:, None] + rng.normal(0, 10, (400, 3))
            np.savetxt(tmp_path / f"{who}_{what}.csv", np.rint(x), "%d", ",", header="ax,ay,az", comments="")
    return tmp_path


def test_classes_from_files_to_a_model(at, capsys):
    text = '[data]\npath = "{who}_{what}.csv"\nlabel = "what"\ngroup = "who"\nrate = 50.0\n'
    (at / "my.toml").write_text(text + 'vectors = [["ax", "ay", "az"]]\nmissing = [-999]\n' + NETWORK)
    assert main(["train", "my.toml", "-o", "t.safetensors"]) == 0
    said = capsys.readouterr().out
    wanted = ("ridge on statistics and bands", "the network, on training", "The test has 1 of 3 whos")
    assert [part for part in wanted if part not in said] == []
    matrix = [line.split()[-2:] for line in said.splitlines() if line.startswith((" fast [b]", " slow"))]
    assert np.array(matrix, int).sum(1).tolist() == [7, 7]
    assert main(["quantize", "t.safetensors", "-o", "m.onnx"]) == 0
    said = capsys.readouterr()
    first, second, third, *_ = said.out.splitlines()
    assert "on held-out data: " in first and second.startswith("Model ") and "of tables in flash" in third
    assert "Decisions:" not in said.out, "no range that decides, no levels"
    assert not re.search("shift|v th|leak", said.out) and "next: lnp verify" in said.err
    model = onnx_file.load(at / "m.onnx")
    assert model.classes == ("fast [b]", "slow") and len(model.quantities) == 3
    assert model.missing == (-999.0,)
    assert model.provenance["config"]["data"]["path"] == "{who}_{what}.csv"
    assert 100 < min(model.decision.high) <= max(model.decision.high) < 140, "a sine of 100 counts and noise of 10"
    np.savetxt(at / "louder.csv", np.full((200, 3), 150), "%d", ",", header="ax,ay,az", comments="")
    assert main(["run", "m.onnx", "--source", "louder.csv"]) == 0
    assert "input beyond training: 100 % of" in capsys.readouterr().err


def test_a_series_of_ten_minute_values(at, capsys):
    hours = np.arange(1000) / 6
    level = 20 + 5 * np.sin(hours / 24 * 2 * np.pi) + np.random.default_rng(2).normal(0, 0.3, 1000)
    rows = [f"2026-11-{1 + k // 144:02d} {k // 6 % 24:02d}:{k % 6}0,{v:.2f}" for k, v in enumerate(level)]
    (at / "t.csv").write_text("time,T [K]\n" + "\n".join(rows))
    (at / "my.toml").write_text('[data]\nfiles = "t.csv"\ntime = "time"\ntarget = "T"\nahead = 3600.0\n' + NETWORK)
    assert main(["train", "my.toml", "-o", "t.safetensors", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["baselines"]["persistence"]["rmse_ratio"] == 1.0 and len(found["train"]) == 2
    assert found["training"]["rmse"] > 0 and found["advice"] and "confusion" not in found
    assert found["baselines"]["linear autoregression"]["rmse_ratio"] < 1
    assert found["baselines"]["persistence"]["rmse"] == pytest.approx(1.0, abs=0.4), "in degrees"
    assert main(["train", "my.toml", "-o", "t.safetensors"]) == 0
    assert "RMSE [K]" in capsys.readouterr().out
