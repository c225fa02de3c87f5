"""The evidence about pruning: that its measures measure, its statistics count, and its report says what was found."""

import argparse
import csv
import importlib
import json
import sys
from dataclasses import asdict, replace

import numpy as np
import pytest
from scipy import sparse

from lnp_edge import config, pruning
from lnp_edge.base.errors import ConfigError
from lnp_edge.cli import main
from lnp_edge.commands import compare
from lnp_edge.config import Config, PruneSettings
from lnp_edge.experiments.evidence import methods, reservoir, scale, trials
from lnp_edge.experiments.evidence.report import by_kept, comparison
from lnp_edge.experiments.evidence.statistics import Estimate, paired, values
from lnp_edge.experiments.evidence.trials import Cell
from lnp_edge.experiments.executors import in_process
from lnp_edge.experiments.rows import COSTS
from lnp_edge.experiments.runs import Runs
from lnp_edge.experiments.store import Store, run
from lnp_edge.experiments.trial import Trial
from lnp_edge.network.draw import random_network
from lnp_edge.spec.plugins import names


@pytest.fixture(autouse=True)
def short_runs(monkeypatch):
    """Of the run that shows whether a rate drifts."""
    monkeypatch.setattr(trials, "LONG", 400)


def cell(**changes):
    return replace(Cell("lnp", PruneSettings(keep=0.3), "heterogeneous", 1, ("recall",), 40), **changes)


# Statistics


def test_an_interval_is_students():
    e = Estimate.of([1.0, 2.0, 3.0, 4.0])
    assert e.mean == 2.5 and e.half == pytest.approx(3.182446 * 1.290994 / 2, rel=1e-5)
    assert Estimate.of([2.0]).mean == 2 and np.isnan(Estimate.of([2.0]).half) and str(Estimate.of([])) == ""
    assert Estimate(1.0, 0.5).above_zero and not Estimate(1.0, 1.5).above_zero and Estimate(-1.0, 0.5).below_zero


def test_differences_are_paired_by_seed_and_failures_left_out():
    rows = [
        {"method": m, "seed": s, "x": v} for m, s, v in (("a", 1, 1.0), ("a", 2, 5.0), ("b", 1, 3.0), ("b", 2, 8.0))
    ]
    rows += [{"method": "b", "seed": 3, "failed": "no"}, {"method": "a", "seed": 3, "x": 9.0}]
    difference = paired(values(rows, "x", method="b"), values(rows, "x", method="a"))
    assert difference.mean == 2.5 and values(rows, "x", method="b") == {1: 3.0, 2: 8.0}


def test_a_table_marks_what_differs_and_counts_failures():
    rows = [{"method": "a", "keep": 0.1, "seed": s, "x": 1.0 + 0.01 * s, "neurons": 9} for s in range(5)]
    rows += [{"method": "b", "keep": 0.1, "seed": s, "x": 2.0 + 0.02 * s, "neurons": 9} for s in range(5)]
    rows += [{"method": "b", "keep": 0.1, "seed": 9, "failed": "unstable"}]
    table = comparison(rows, "t", ["x"], "a", keep=0.1)
    assert table.marks == {(1, 2): "better"} and table.rows[1][-1] == "1"
    assert comparison(rows, "t", ["x"], "a", True, keep=0.1).marks == {(1, 2): "worse"}
    assert "| |l| |" not in (bars := replace(table, rows=[["|l|", "1"]]).markdown()) and r"| \|l\| | 1 |" in bars
    assert 'class="better"' in table.html() and "<script" not in replace(table, title="<script>").html()


def test_a_table_says_where_neurons_without_recurrence_are_as_good():
    rows = [{"method": "a", "keep": 0.1, "seed": s, "x": 1.0 + 0.1 * s} for s in range(5)]
    alone = {"method": "no recurrence", "keep": 1.0}
    for shift, name in ((0.0, "no recurrence (as good)"), (-0.5, "no recurrence")):
        others = [alone | {"seed": s, "x": 1.0 + 0.1 * s + shift + 0.01 * (-1) ** s} for s in range(5)]
        table = comparison(rows + others, "t", ["x"], "a", keep=0.1)
        assert table.rows[1][0] == name and '<tr class="control"><td>no rec' in table.html()


def test_a_table_by_share_marks_what_differs():
    shares = ((0.1, 1.0), (0.02, 2.0))
    rows = [{"method": "a", "keep": k, "seed": s, "x": x + s} for k, x in shares for s in range(3)]
    rows += [{"method": "b", "keep": 0.1, "seed": s, "x": 2.0 + 1.01 * s} for s in range(3)]
    rows += [{"method": "dense", "keep": 1.0, "seed": s, "x": 1.5 + 1.01 * s} for s in range(3)]
    table = by_kept(rows, "t", "x", "a", [0.1, 0.02])
    assert table.columns == ["x", "10%", "2%"]
    assert table.rows == [
        ["a", "2.000 ± 2.484", "3.000 ± 2.484"],
        ["b", "3.010 ± 2.509 +", ""],
        ["dense", "2.510 ± 2.509 +", "2.510 ± 2.509 −"],
    ]
    assert table.marks == {(1, 1): "better", (2, 1): "better", (2, 2): "worse"}
    assert by_kept(rows, "t", "x", "a", [0.1], True).marks == {(1, 1): "worse", (2, 1): "worse"}


def test_a_table_is_empty_where_nothing_was_measured():
    rows = [{"method": "lnp", "keep": 0.1, "seed": 1, "failed": "no"}]
    rows += [{"method": "no recurrence", "keep": 1.0, "seed": 1, "x": 1.0, "neurons": 9, "rate": 0.1}]
    table = comparison(rows, "t", ["x"], "lnp", keep=0.1)
    assert table.rows == [["lnp", "", "", "", "", "1"], ["no recurrence", "1.000", "", "9", "0.100", ""]]


def test_a_rival_is_a_row_at_every_share_with_its_costs():
    rows = [
        {"method": "a", "keep": k, "seed": s, "x": 1.0 + s, "x, integers": 1.0 + s} for k in (0.1, 0.5) for s in (1, 2)
    ]
    rows[0] |= dict(zip(COSTS, (123456.0, 4321, 1234), strict=True))  # of the first seed, at 10 %
    rival = {"method": "ridge"} | dict(zip(COSTS, (912.4, 700, 99), strict=True))
    rows += [rival | {"seed": s, "x, integers": 2.5 + 1.1 * s} for s in (1, 2)]
    for keep, costs in ((0.1, ["123 k", "4321", "1234"]), (0.5, ["", "", ""])):
        table = comparison(rows, "t", ["x", "x, integers"], "a", keep=keep)
        assert table.columns[-4:] == [*COSTS, "failed"]
        assert table.rows[0][-4:] == [*costs, ""]
        assert table.rows[1] == ["ridge", "", "", "4.150 ± 6.988", "+1.650 ± 0.635", "912", "700", "99", ""]
    assert by_kept(rows, "t", "x, integers", "a", [0.1, 0.5]).rows[1] == ["ridge", *["4.150 ± 6.988 +"] * 2]


# The frozen regime


def test_a_regression_finds_what_is_linear_and_keeps_from_what_is_noise():
    rng = np.random.default_rng(0)
    f = rng.normal(size=(2, 200, 5))
    true = np.concatenate([rng.normal(size=(5, 2)), [[0.3, -0.2]]])
    wanted = f @ true[:-1] + true[-1]
    w, explained = reservoir.regression(f[:1], wanted[:1], f[1:], wanted[1:])
    np.testing.assert_allclose(w, true, atol=1e-4)
    assert explained > 0.999
    _, nothing = reservoir.regression(f[:1], rng.normal(size=(1, 200, 2)), f[1:], rng.normal(size=(1, 200, 2)))
    assert nothing < 0.05


def test_a_delay_line_remembers_what_neurons_alone_do_not():
    """A chain of neurons that each fire one symbol after the one before: recurrence that carries the task."""
    n = 100
    alone = random_network(
        n, 8, 8, 1.0, 0.0, np.random.default_rng(1), "cuba_lif", tau_mem=2.0, tau_syn=2.0, tau_out=5.0
    )
    chain = sparse.csr_array(np.diag(np.full(n - 1, 3.0), 1) * alone.drive_for()[1])
    found = [reservoir.recall(net, np.random.default_rng(2)) for net in (
        with_port(alone), with_port(replace(alone, w_rec=chain)))]  # fmt: skip
    assert found[1]["recall"] > found[0]["recall"] + 0.5
    assert all(0 < found[1][name] < found[1]["recall"] for name in ("recall, more noise", "recall, lost samples"))


def with_port(net):
    """One input, of the first tenth alone."""
    w_in = np.zeros((1, net.n))
    w_in[0, : net.n // 10] = 3 * net.params["bias"][: net.n // 10]
    return replace(net, w_in=w_in)


def test_the_measures_of_a_cell_repeat_and_name_its_size():
    a, b = trials.measure(cell()), trials.measure(cell())
    assert a == b and "failed" not in a
    assert a["synapses"] == round(0.3 * trials.core(cell()).w_rec.nnz) and a["neurons"] == 38
    assert a["synapses_with_ports"] == a["synapses"] + 2 * 38
    assert {"recall", "xor", "recall as pruned", "abscissa", "largest_exponent", "ipr", "drift"} <= set(a)
    assert cell().key == cell(method="another name").key != cell(seed=2).key


def test_the_gain_of_the_best_validation_is_taken_and_gain_1_kept_too():
    core = random_network(12, 1, 1, 1.0, 0.5, np.random.default_rng(1), "cuba_lif")
    size = np.abs(core.w_rec.data).mean()

    def evaluate(network, rng):
        found = np.abs(network.w_rec.data).mean()
        return {"validation": -abs(found - 2 * size), "size": found, "ports": network.w_in.sum(), "task": rng.random()}

    one, other, doubled = (
        reservoir.measures(core, reservoir.Evaluation(1, evaluate, axes=np.array([[axis]])), seed)
        for axis, seed in ((1.0, 1), (1.0, 2), (2.0, 1))
    )
    assert (one["size"], one["size as pruned"]) == (2 * size, size) and "validation" not in " ".join(one)
    for name in ("ports", "task"):
        assert one[name] == one[f"{name} as pruned"] != other[name], "each gain has the same, another seed another"
    assert doubled["ports"] == 2 * one["ports"]


def test_memory_is_judged_on_what_the_regression_did_not_see(monkeypatch):
    """Features of noise explain what they were fitted to: 200 of them a fifth of each of 15 delays."""

    def noise(network, x):
        steps = x.shape[1] // reservoir.SYMBOL - reservoir.WASHOUT
        return np.random.default_rng(len(x)).normal(size=(len(x), steps, 200))

    monkeypatch.setattr(reservoir, "_at_symbols", noise)
    found = reservoir.recall(
        random_network(2, 1, 1, 1.0, 1.0, np.random.default_rng(1), "cuba_lif"), np.random.default_rng(2)
    )
    assert all(value < 0.5 for value in found.values())


def test_the_tasks_of_the_default_are_measured_whatever_their_front_end(monkeypatch):
    monkeypatch.setattr(reservoir, "LIMIT", 40)
    monkeypatch.setattr(reservoir, "GAINS", (1.0,))
    tasks = tuple(name for name in compare.FULL["tasks"].split(",") if name not in reservoir.MEMORY)
    assert any(config.named(name).data.frame > 1 for name in tasks)
    found = trials.measure(cell(tasks=tasks, neurons=30))
    assert all(found[name] > 0 for name in tasks)


def test_a_result_that_was_stored_before_there_were_blocks_is_found():
    assert cell().key == "e3a05ea4c68da742"
    assert cell(prune=PruneSettings(keep=0.3, block=4)).key != cell().key


def test_a_network_that_cannot_be_pruned_is_a_result():
    found = trials.measure(cell(prune=PruneSettings(keep=1e-6)))
    assert "leaves none" in found["failed"]


NEW = """
from lnp_edge.pruning import magnitude
prune = magnitude.prune
"""


@pytest.fixture
def new_methods(tmp_path, monkeypatch):
    """Two pruning methods as a stranger adds them, a file each."""
    (tmp_path / "stranger.py").write_text(NEW)
    (tmp_path / "needy.py").write_text(f'{NEW}NEEDS = "gradient"\n')
    monkeypatch.setattr(pruning, "__path__", [*pruning.__path__, str(tmp_path)])
    yield importlib.reload(methods)
    monkeypatch.undo()
    importlib.reload(methods)
    for name in ("stranger", "needy"):
        del sys.modules[f"lnp_edge.pruning.{name}"]


def test_a_new_method_is_a_row_by_its_file_alone(plain_pictures, new_methods, tmp_path, capsys, monkeypatch):
    assert new_methods.TRAINED["needy"] == PruneSettings("needy") and "needy" not in new_methods.METHODS
    few = {name: new_methods.METHODS[name] for name in ("lnp", "magnitude", "stranger")}
    monkeypatch.setattr(methods, "METHODS", few)
    words = ["--parts", "frozen", *SMALL, "--seeds", "1", "--neurons", "12", "-o", str(tmp_path / "c"), "--json"]
    assert main(["compare", *words]) == 0
    rows = {row["method"]: row for row in json.loads(capsys.readouterr().out)["frozen"]}
    assert rows["stranger"]["recall"] == rows["magnitude"]["recall"]


def test_the_help_says_the_defaults_that_are_used(monkeypatch):
    full = {"seeds": 71, "trained_seeds": 72, "neurons": 73}
    monkeypatch.setattr(compare, "FULL", compare.FULL | full)
    parser = argparse.ArgumentParser()
    compare.arguments(parser)
    told = {action.dest: action.help for action in parser._actions}
    assert all(f"(default: {value})" in told[name] for name, value in full.items())


def test_every_rival_the_method_is_compared_with_exists():
    for settings in (methods.METHODS | methods.ABLATION | methods.TRAINED).values():
        assert settings.method in names("lnp_edge.pruning")


# Time and memory


def test_a_large_network_is_a_small_world_too(monkeypatch):
    monkeypatch.setattr("lnp_edge.network.draw.LARGE", 50)
    net = random_network(300, 2, 2, 1.0, 0.1, np.random.default_rng(1), "cuba_lif")
    w = net.w_rec.tocoo()
    assert net.w_rec.nnz == round(0.1 * 300 * 299) and (w.row != w.col).all()
    apart = np.abs(w.row - w.col)
    near = np.minimum(apart, 300 - apart) <= 15
    assert near.mean() == pytest.approx(0.9 + 0.1 * 0.1, abs=0.02)


def test_growth_is_the_slope_in_logarithms():
    rows = [scale.Measured("edge step", n, 50 * n, 1e-9 * n**1.5, 1.0) for n in scale.GROWTH]
    assert scale.growth(rows) == pytest.approx(1.5)
    assert scale.Measured("x", 1, 1, 2.0, 1.0, aim=3.0).met and not scale.Measured("x", 1, 1, 4.0, 1.0, aim=3.0).met
    assert not scale.Measured("x", 1, 1, 1.0, 9.0, aim=3.0, aim_megabytes=5.0).met


# The commands

FEW = {name: methods.METHODS[name] for name in ("lnp", "random, same abscissa")}
LITTLE = ["--keep", "0.3", "--kinds", "heterogeneous", "--tasks", "recall", "--jobs", "1"]
SMALL = [*LITTLE, "--seeds", "2", "--neurons", "30"]


def test_a_comparison_is_kept_and_goes_on(few_pictures, tmp_path, capsys, monkeypatch, request):
    monkeypatch.setattr(methods, "METHODS", FEW)
    monkeypatch.setattr(compare, "QUICK", compare.QUICK | {"keep": "0.3", "neurons": 30})
    monkeypatch.setattr(reservoir, "GAINS", (0.5, 1.0))
    words = ["compare", "--parts", "frozen,matrices", "--quick", "--jobs", "1", "-o", str(tmp_path / "c")]
    assert main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert len(found["frozen"]) == 2 * (2 + 2) and {r["method"] for r in found["frozen"]} >= {"dense", "lnp"}
    page = (tmp_path / "c" / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 2 and "http" not in page and "no recurrence" in page
    for part, measure in (("frozen", "recall"), ("matrices", "spectral_error")):
        with (tmp_path / "c" / f"{part}.csv").open() as file:
            rows = list(csv.DictReader(file))
        assert [float(r[measure]) for r in rows] == [r[measure] for r in found[part]]
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "c" / "networks").iterdir()}
    request.getfixturevalue("plain_pictures")
    assert len(before) == 8 + 2 and main(words) == 0  # networks, matrices
    assert before == {p: p.stat().st_mtime_ns for p in (tmp_path / "c" / "networks").iterdir()}
    assert "| lnp |" in capsys.readouterr().out


def test_quick_keeps_what_was_asked_for(tmp_path, capsys, monkeypatch):
    asked = []
    monkeypatch.setattr(
        compare, "_frozen", lambda args, keeps, kinds: (asked.append((args, keeps, kinds)), ([], []))[1]
    )
    for words in ([], ["--tasks", "adding,lorenz", "--seeds", "3", "--keep", "0.5"]):
        assert main(["compare", "--quick", "--parts", "frozen", *words, "-o", str(tmp_path)]) == 0
    (plain, keeps, kinds), (args, own, _) = asked
    assert (plain.tasks, plain.seeds, plain.neurons, keeps, kinds) == ("recall", 2, 60, [0.3, 0.1], ["heterogeneous"])
    assert (args.tasks, args.seeds, args.neurons, own) == ("adding,lorenz", 3, 60, [0.5])


def test_networks_too_small_to_prune_are_rows_and_the_report_is_written(plain_pictures, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(methods, "METHODS", FEW)
    words = [*SMALL, "--neurons", "3", "--seeds", "1", "--keep", "0.001"]
    assert main(["compare", "--parts", "frozen", *words, "-o", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "0.1% kept" in said and "| lnp |  |" in said and "nan" not in said
    assert "<h3>heterogeneous, 0.1% kept" in (tmp_path / "report.html").read_text()


def damaged(path):
    path.write_text("{")


def foreign(path):
    path.write_text('{"seed": 1}')


def a_folder(path):
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("damage", [damaged, foreign, a_folder])
def test_a_damaged_result_is_named_before_anything_is_run(tmp_path, damage):
    cells = [cell(seed=seed, tasks=(), neurons=4) for seed in (1, 2)]
    run(cells, trials.measure, Store(tmp_path), in_process)
    first, second = (tmp_path / f"{c.key}.json" for c in cells)
    damage(first)
    second.unlink()
    with pytest.raises(ConfigError, match=f"cannot read {first}: .*\n  delete it"):
        run(cells, trials.measure, Store(tmp_path), in_process)
    assert not second.exists()


@pytest.mark.slow
def test_a_network_that_cannot_be_trained_is_a_row_and_not_tried_again(plain_pictures, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(methods, "METHODS", FEW)
    monkeypatch.setattr(methods, "TRAINED", {})
    monkeypatch.setattr(compare, "QUICK", compare.QUICK | {"keep": "0.3,0.000001"})
    less = {"data": {"limit": 1}, "train": {"epochs": 1}, "network": {"neurons": 24}}
    assert less.keys() == compare.QUICK_TRAINING.keys()
    monkeypatch.setattr(compare, "QUICK_TRAINING", less)
    words = ["compare", "--parts", "trained", "--quick", "--jobs", "1", "-o", str(tmp_path)]
    assert main([*words, "--rivals", "majority", "--json"]) == 0
    *rows, rival = json.loads(capsys.readouterr().out)["trained"]
    assert (rival["method"], rival["seed"], "keep" in rival) == ("most frequent class", 1, False)
    assert 0 < rival["accuracy, integers"] < 1 and set(COSTS) <= set(rival)
    failed = {(r["method"], r["keep"]): r.get("failed", "") for r in rows}
    assert len(failed) == 2 + 2 * 2 and {k for k, why in failed.items() if why} == {(m, 1e-6) for m in FEW}
    assert "leaves none" in failed["lnp", 1e-6] and all("failed" in r or 0 <= r["accuracy"] <= 1 for r in rows)
    assert main(words) == 0
    seen = capsys.readouterr()
    assert "6 of 6 trainings are already in" in seen.err and (tmp_path / "trained-spar-heterogeneous.png").exists()
    assert [line.split("|")[-2].strip() for line in seen.out.splitlines() if line.startswith("| lnp")][2:] == ["", "1"]
    assert not any(cost in seen.out for cost in COSTS)  # --quick counts no network
    _one_network_of_a_row_is_counted(tmp_path / "trained")


def _one_network_of_a_row_is_counted(folder):
    found = next(r for p in sorted(folder.glob("*/result.json")) if "measures" in (r := json.loads(p.read_text())))
    trial = Trial("one", Config.from_json(json.dumps(found["config"])))
    known = [("lnp", 0.3, "unstable"), ("lnp", 0.3, ""), ("lnp", 0.3, ""), ("lnp", 0.1, "")]
    rows = [{"method": method, "keep": keep} | ({"failed": why} if why else {}) for method, keep, why in known]
    compare._count(rows, [trial] * 4, Runs(folder))
    assert [set(COSTS) <= set(row) for row in rows] == [False, True, False, True]
    assert rows[1][COSTS[0]] > 10000 and rows[1][COSTS[1]] > 2000 and rows[1] == rows[3] | {"keep": 0.3}


def test_a_file_that_is_absent_is_no_networks_failure(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("LNP_DATA", str(tmp_path))
    output = tmp_path / "new"
    assert main(["compare", "--parts", "frozen", *SMALL, "--tasks", "hapt", "-o", str(output)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2 and "hapt" in lines[0] and not output.exists()
    assert main(["compare", "--parts", "frozen,trained", *SMALL, "--trained-tasks", "hapt", "-o", str(output)]) == 2
    assert "hapt" in capsys.readouterr().err and not output.exists()


@pytest.mark.parametrize("name", ["report.html", "networks.png", "frozen-heterogeneous.png", "networks"])
def test_a_place_that_is_taken_is_refused_in_two_lines(plain_pictures, tmp_path, capsys, monkeypatch, name):
    monkeypatch.setattr(methods, "METHODS", FEW)
    unmeasured = {"keep": 0.3, "failed": "not measured"}
    monkeypatch.setattr(trials, "measure", lambda cell, progress: asdict(cell) | unmeasured)
    (tmp_path / name).mkdir() if "." in name else (tmp_path / name).touch()
    words = [*SMALL, "--neurons", "3", "--seeds", "1"]
    assert main(["compare", "--parts", "frozen", *words, "-o", str(tmp_path)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2 and f"{tmp_path / name}: " in lines[0] and lines[1].endswith("-o")


def test_a_trained_network_has_another_pruning_of_its_task():
    found = trials.trained_config("hapt", "homogeneous", 3, PruneSettings("snip", 0.1), [{"train": {"epochs": 2}}])
    base = config.named("hapt")
    assert (found.seed, found.prune, found.train.epochs) == (3, PruneSettings("snip", 0.1), 2)
    assert found.data == base.data and found.network == replace(base.network, heterogeneous=False)


@pytest.mark.parametrize(
    ("words", "what", "hint"),
    [
        (["--parts", "frozen,all"], "--parts has 'all'", "ablation"),
        (["--keep", "0.3,no"], "--keep is '0.3,no'", "0.3,0.1"),
        (["--keep", "1.5"], "--keep is '1.5'", "0.3,0.1"),
        (["--kinds", "odd"], "--kinds has 'odd'", "clustered"),
        (["--seeds", "0"], "--seeds is 0", "1 to 1000"),
        (["--against", "lnp, odd"], "--against has 'lnp, odd'", "loop gain"),
        (["--tasks", "nosuch"], "no task 'nosuch'", "recall"),
        (["--neurons", "1"], "--neurons is 1", "from 2"),
        (["--quick", "--trained-seeds", "-7"], "--trained-seeds is -7", "from 1"),
        (["--parts", "trained", "--kinds", "clustered"], "clustered networks are not trained", "--kinds"),
        (["--parts", "trained", "--trained-tasks", "x"], "--trained-tasks has 'x'", "spar"),
        (["--parts", "frozen,matrices", "--rivals"], "--rivals is 'all', but rivals stand", "add trained to --parts"),
        (["--parts", "trained", "--rivals", "cnn_4k", "--trained-tasks", "spar"], "cnn_4k", "cnn_3k"),
        (["-o", "/dev/null/x"], "cannot create /dev/null/x", "-o"),
    ],
)
def test_what_cannot_be_compared_is_said(capsys, tmp_path, words, what, hint):
    output = [] if "-o" in words else ["-o", str(tmp_path / "new")]
    assert main(["compare", *words, *output]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2 and what in lines[0] and hint in lines[1]
    assert not (tmp_path / "new").exists()
