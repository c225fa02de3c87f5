"""lnp bench --peers: each peer runs the network that it is said to run, and the table says what was measured."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import need, need_for

from lnp_edge.base import install
from lnp_edge.base.errors import LnpError
from lnp_edge.cli import main
from lnp_edge.commands import _kernels, _peers
from lnp_edge.rivals import _cmsis

STEPS = 60


def spikes_of(title, model, rows):
    """The oracle: the spikes of each step [T, n], in the numbers that the library stores."""
    w, _, hidden = _peers._weights(model)
    n, spikes = w.shape[1], []
    if title == "emlearn":
        left = {name: (1 - hidden[name] / 65536).astype(np.float32) for name in ("c_syn", "c_mem")}
        v_th, bias = ((hidden[name] / 16).astype(np.float32) for name in ("v_th", "bias"))
        kind = np.float32
    else:
        kind = np.int64
    i, v, z = (np.zeros(n, kind) for _ in range(3))
    for row in rows:
        x = np.concatenate([row, 16 * z]).astype(kind)
        if title == "emlearn":
            drive = np.zeros(n, np.float32)
            for one, of in zip(x, w.astype(np.float32), strict=True):
                drive = drive + of * one
            i = left["c_syn"] * i + drive + bias
            v = left["c_mem"] * v + i
            z = (v > v_th).astype(kind)
            v = v - z * v_th
        elif title == "CMSIS-NN":
            fixed, shift = _cmsis.multiplier(np.array([2.0**-_peers.DOWN]))
            drive = np.clip(_cmsis.requantised(x @ w, fixed, shift), -128, 127)
            i = i + drive * 2**13 + hidden["bias"] - (i * hidden["c_syn"] >> 16)
            v = v + i - (v * hidden["c_mem"] >> 16)
            z = (v > hidden["v_th"]).astype(kind)
            v = v - z * hidden["v_th"]
        else:
            fine, most = (0, 127) if title.endswith(" 8 bits") else (4, 32767)
            drive = np.clip(x @ w >> (9 - fine), -most - 1, most)
            v = v - (v * 2**fine >> 2 + fine) + drive
            z = (v >= _peers.THRESHOLD << fine).astype(kind)
            v = np.clip(v - z * (_peers.THRESHOLD << fine), -most - 1, most)
        spikes.append(z)
    return np.array(spikes)


@pytest.mark.slow
@pytest.mark.parametrize("make", _peers.KINDS, ids=lambda make: make.__name__)
def test_a_peer_runs_the_network_with_these_spikes(make, monkeypatch):
    need("jinja2", *install.READ)
    need_for("cortex-m4")
    model = _kernels.workload("cuba_lif", 40)
    peer, said = make(model), []
    monkeypatch.setattr(_kernels, "SETTLE", 0)
    monkeypatch.setattr(_kernels, "STEPS", STEPS)
    scores = _peers.Device.scores
    monkeypatch.setattr(_peers.Device, "scores", lambda *given: said.append(scores(*given)) or said[-1])
    row = _peers.count(peer, model, "zig")
    wanted = spikes_of(peer.title, model, _kernels.counts(STEPS).astype(np.int64))
    assert (said[-1][:, :40] == wanted).all() and wanted.sum() > STEPS
    assert row.spikes == float(wanted.sum()) / STEPS and row.synapses == 40 * (16 + 40 + 5) and row.step > 40 * 56


def test_without_the_peers_two_lines_say_which_to_install(monkeypatch, capsys):
    pytest.importorskip("jinja2")
    monkeypatch.setattr(_peers, "READ", {"lnp_no_such_peer": "1.0"})
    assert main(["bench", "--peers"]) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2 and "lnp_no_such_peer 1.0" in said[0] and "pip install --no-deps" in said[1]


def test_every_release_stands_in_one_place():
    """Documents and the set-up ask the command; docs/performance.md says with which its figures were measured."""
    root = Path(__file__).parents[2]
    files = [*root.glob("*.md"), *root.glob("docs/*.md"), root / "run", *root.glob("[a-z]*/**/*.py")]
    for package, release in install.READ.items():
        said = re.compile(rf"{package.replace('_', '[-_]')}\W+{re.escape(release)}")
        places = {str(path.relative_to(root)) for path in files if said.search(path.read_text("utf-8"))}
        assert places <= {"lnp_edge/base/install.py", "docs/performance.md"}
    assert install.PEERS.count("==") == len(install.READ)


def test_another_version_is_refused(monkeypatch):
    pytest.importorskip("jinja2")
    monkeypatch.setattr(_peers, "READ", {"numpy": "0.1"})
    with pytest.raises(LnpError, match=r"numpy [0-9.]+ is installed, what is known are the files of 0\.1"):
        _peers.check()


def test_the_smaller_dense_network_stores_just_as_many_synapses():
    model = _kernels.workload("cuba_lif", 40)
    n, total = _peers.smaller(model), sum(p.w.nnz for p in model.projections)

    def dense(n):
        return n * (16 + n + 5)

    assert n % 4 == 0 and dense(n) >= total > dense(n - 4)


def test_all_synapses_are_those_between_different_neurons():
    model = _kernels.workload("cuba_lif", 40, _kernels.DENSE)
    assert ((model.projection("rec").w.dense() != 0) == ~np.eye(40, dtype=bool)).all()


def test_an_aim_is_compared_for_each_compiler_at_our_size():
    row = _peers.Row("ours", 256, 11774, "gcc", "12", "-O3", 25.5, 10_000.0, 24_000)
    rows = [row, replace(row, compiler="zig", step=20_000.0)]
    for chain in ("gcc", "zig"):
        rows += [replace(row, title="CMSIS-NN", compiler=chain, step=130_000.0)]
        rows += [replace(row, title="CMSIS-NN", compiler=chain, neurons=100, step=100.0)]
    assert ["CMSIS-NN", "256", "11,774", "gcc", "25.5", "130,000", "13.0", "24,000"] in _peers.table(rows)[1]
    said = _peers.notes(rows)
    assert any(line.endswith("of our sparse network: 13.0 with gcc, met; 6.5 with zig, missed") for line in said)
