"""lnp reproduce, on little data: that it runs, stores, goes on and says what it did."""

import json
import math
import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from stops import Stopped, killed, stopping_at

from lnp_edge import config
from lnp_edge.base.errors import LnpError, ModelError, NetworkError
from lnp_edge.cli import main
from lnp_edge.commands.reproduce import QUICK, ROWS, changed, row
from lnp_edge.config import Config, DataSettings, LayerSettings, NetworkSettings, PruneSettings, TrainSettings
from lnp_edge.experiments.executors import in_process, processes
from lnp_edge.experiments.rows import Row
from lnp_edge.experiments.runs import Runs
from lnp_edge.experiments.trial import Trial, run_trial
from lnp_edge.interchange import onnx_file, windows_file
from lnp_edge.network.draw import drawn
from lnp_edge.network.file import load as load_network
from lnp_edge.stages import pipeline, rival
from lnp_edge.task.split import load_data, split

PNG = b"\x89PNG\r\n\x1a\n"
SMALL = Config(
    data=DataSettings(limit=1), network=NetworkSettings(neurons=24), train=TrainSettings(epochs=2, batch=256)
)


@pytest.fixture(autouse=True)
def less_than_quick(monkeypatch):
    """One recording of each class and person is enough for what is asked here."""
    less = {"data": {"limit": 1}, "train": {"epochs": 2}, "network": {"neurons": 24}}
    assert {section: set(values) for section, values in less.items()} == {k: set(v) for k, v in QUICK.items()}
    monkeypatch.setattr("lnp_edge.commands.reproduce.QUICK", less)


@pytest.fixture
def no_costs(monkeypatch):
    """Nothing is compiled: the cells of costs stay empty."""
    monkeypatch.setattr(rival, "available", lambda: False)


@pytest.mark.slow
def test_quick_prints_every_row_and_keeps_what_it_ran(few_pictures, tmp_path, capsys, request):
    rows = "dense,activity,lnp 4 bits,no recurrence"
    words = ["reproduce", "spar", "--quick", "--rows", rows, "--jobs", "1", "-o", str(tmp_path / "r")]
    assert main([*words, "--rivals", "majority", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert {*list(rows)[:2]} == {"ridge on statistics", "ridge on statistics and bands"}
    assert list(rows)[2:] == ["dense", "activity", "lnp 4 bits", "no recurrence", "most frequent class"]
    assert rows["most frequent class"]["measured"][0]["differ"] == 0
    synapses = {name: row["trials"][0]["synapses"] for name, row in rows.items() if row["trials"]}
    assert synapses["lnp 4 bits"] == synapses["activity"] == round(config.named("spar").prune.keep * synapses["dense"])
    assert synapses["no recurrence"] == 0
    assert all(0 <= row["trials"][0]["measures"]["accuracy"] <= 1 for row in rows.values() if row["trials"])
    table = (tmp_path / "r" / "spar.md").read_text()
    assert (
        "lnp reproduce spar --rows 'dense,activity,lnp 4 bits,no recurrence' --seeds 1 --rivals majority --quick"
        in table
    )
    assert "* dense: 1 of 1 trainings not converged; 2 epochs are too few" in table
    assert "* Recommended: " in table and "corrected for 4 comparisons" in table
    assert [bool(row["warnings"]) for row in rows.values()] == [bool(row["trials"]) for row in rows.values()]
    costs = [line.split(" | ")[-3:] for line in table.splitlines() if line.startswith(("| lnp", "| dense", "| most"))]
    assert len(costs) == 3 and all(cell.strip(" |") for cells in costs for cell in cells)
    pictures = sorted((tmp_path / "r").rglob("*.png"))
    assert len(pictures) == 3 + 4 * 2 and all(p.read_bytes().startswith(PNG) for p in pictures)
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "r").rglob("result.json")}
    request.getfixturevalue("plain_pictures")
    request.getfixturevalue("no_costs")
    assert main(words) == 0
    seen = capsys.readouterr()
    assert "4 of 4 trainings are already in" in seen.err and "no recurrence" in seen.out
    assert main([*words, "--against", "activity"]) == 0
    assert before == {p: p.stat().st_mtime_ns for p in (tmp_path / "r").rglob("result.json")}
    table = (tmp_path / "r" / "spar.md").read_text()
    head, cells = ([cell.strip() for cell in line.split("|")] for line in table.splitlines()
                   if line.startswith(("|  | accuracy", "| dense")))  # fmt: skip
    told = dict(zip(head, cells, strict=True))
    apart = [rows[name]["trials"][0]["measures"]["accuracy"] for name in ("dense", "activity")]
    assert told["- activity"] == f"{apart[0] - apart[1]:+.3f}" and "--against activity" in table
    capsys.readouterr()
    assert main([*words, "--against", "magnitude"]) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert first == "--against is 'magnitude'" and "choose one of the rows: dense, activity" in second


def test_rows_without_pruning_are_the_same_with_and_without_blocks():
    one, four = (replace(SMALL, prune=PruneSettings(block=block)) for block in (1, 4))
    for name in ("dense", "no recurrence"):
        assert row(one, ROWS[name]) == row(four, ROWS[name])
    assert row(one, ROWS["lnp blocks"]) == row(four, ROWS["lnp"]) != row(one, ROWS["lnp"])
    assert row(one, ROWS["random blocks"]).prune == PruneSettings("random", block=4)


def test_two_files_of_one_data_set_have_a_table_each(plain_pictures, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("it's short", "long"):
        Path(f"{name}.toml").write_text('[data]\nname = "spar"\n')
    words = ["--quick", "--rows", "none", "-o", "r"]
    assert main(["reproduce", "it's short.toml", "long.toml", *words]) == 0
    assert sorted(p.name for p in Path("r").iterdir()) == ["it's short.md", "long.md"]
    _, command, _ = Path("r/long.md").read_text().split("`", 2)
    again = ["lnp", "reproduce", "it's short.toml", "long.toml", "--rows", "none", "--seeds", "1", "--quick"]
    assert shlex.split(command) == again
    Path("a").mkdir()
    Path("it's short.toml").rename("a/long.toml")
    capsys.readouterr()
    assert main(["reproduce", "long.toml", "a/long.toml", *words]) == 2
    assert capsys.readouterr().err.splitlines()[0] == "two tasks would write r/long.md"


def test_baselines_need_no_training(tmp_path, capsys):
    assert main(["reproduce", "spar", "--quick", "--rows", "none", "-o", str(tmp_path), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert len(rows) == 2 and all(row["simple"] and not row["trials"] for row in rows)
    assert [p.name for p in tmp_path.iterdir()] == ["spar.md"]
    assert "ridge on statistics and bands" in (tmp_path / "spar.md").read_text()


def test_unequal_classes_have_a_table_of_their_own(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("lnp_edge.commands.reproduce.load_data", lambda c: replace(load_data(c), metric="macro_f1"))
    assert main(["reproduce", "spar", "--quick", "--rows", "none", "-o", str(tmp_path)]) == 0
    table = (tmp_path / "spar.md").read_text()
    names = load_data(config.named("spar")).classes
    head = " | ".join(["", *(f"recall {name}" for name in names), *(f"+P {name}" for name in names)])
    assert f"| {head} |" in table and table.count("| ridge on statistics |") == 2 and "j-kappa" in table
    said = capsys.readouterr().out
    assert "by class" in said and "; --quick: not comparable" in said and "; --quick: not comparable." in table


def test_a_result_of_an_earlier_version_leaves_a_new_measure_empty():
    trial = {"float_measures": {"accuracy": 0.5}, "measures": {"accuracy": 0.5}, "neurons": 3, "synapses": 4}
    assert Row("lnp", trials=[trial]).cells("accuracy", ["accuracy", "j_kappa"])[4:6] == ["0.500", ""]


def test_one_pruned_network_serves_two_tasks(plain_pictures, no_costs, tmp_path, capsys):
    words = ["reproduce", "spar", "spar", "--shared", "--quick", "--jobs", "1", "-o", str(tmp_path), "--json"]
    assert main(words) == 0
    first = json.loads(capsys.readouterr().out.splitlines()[0])
    assert [row["name"] for row in first][2:] == ["dense", "lnp, for this task", "lnp, one for all", "no recurrence"]


def test_a_network_pruned_before_its_task_is_the_same_for_every_task():
    shared = replace(SMALL, prune=PruneSettings(shared=True))
    data = split(shared, load_data(shared))
    a = pipeline.prune(shared, data, pipeline.new_network(shared, data))
    other = replace(pipeline.new_network(shared, data), dt=0.5, w_in=np.zeros((3, 24)), tau_out=np.ones(2))
    slower = shared.network.in_steps(data.dt / 0.5)
    b = pipeline.prune(replace(shared, network=slower), data, other)
    assert (a.w_rec.data == b.w_rec.data).all() and (a.w_rec.indices == b.w_rec.indices).all()
    assert np.allclose(a.params["tau_mem"] / a.dt, b.params["tau_mem"] / b.dt, rtol=1e-12)  # the same in steps
    assert b.w_in.shape == (3, a.n) and b.w_out.shape == (a.n, 2)


def test_homogeneous_neurons_stay_alike():
    alike = changed(SMALL, ROWS["homogeneous"])
    outcome = run_trial(Trial("x", alike))
    for name in ("tau_mem", "tau_ad"):
        taus = outcome.network.params[name]
        assert np.allclose(taus, alike.network.params[name], rtol=1e-6)  # float32 logarithm and back


def test_a_stopped_trial_goes_on_to_the_same_result(tmp_path, monkeypatch):
    monkeypatch.setattr("lnp_edge.training.loop.SAVE_EVERY", 1)
    trial = Trial("x", SMALL)
    whole = run_trial(trial)

    with pytest.raises(Stopped):
        run_trial(trial, stopping_at(1), tmp_path)
    assert list(tmp_path.iterdir())
    seen = []
    resumed = run_trial(trial, lambda share, what: seen.append(share), tmp_path)
    again = run_trial(trial, lambda share, what: seen.append(share), tmp_path)
    assert seen == [0.5, 1, 1]  # what is trained is not trained again, until its result is safe
    for found in (resumed, again):
        assert found.model.fingerprint == whole.model.fingerprint and found.measures == whole.measures


def test_what_starts_from_a_network_that_starts_from_another_goes_on_too(tmp_path):
    settings = changed(SMALL, {"prune": {"method": "activity"}, "quantize": {"epochs": 1}})
    trial = Trial("activity, then integers", settings)
    whole = run_trial(trial)
    for _ in range(2):
        assert run_trial(trial, None, tmp_path).model.fingerprint == whole.model.fingerprint


def test_a_finished_run_leaves_nothing_to_go_on_from(plain_pictures, tmp_path):
    runs, trial = Runs(tmp_path), Trial("x", SMALL)
    runs.all([trial], in_process)
    assert not list((tmp_path / trial.key).glob("*.checkpoint"))


def test_a_stored_network_is_the_trained_one(plain_pictures, tmp_path):
    runs, trial = Runs(tmp_path), Trial("x", SMALL)
    (result,) = runs.all([trial], in_process)
    stored = load_network((tmp_path / trial.key) / "network.safetensors")
    model = tmp_path / trial.key / "model.onnx"
    assert len(windows_file.load(onnx_file.load(model), model)) > 0
    assert stored.config == SMALL and stored.network.w_rec.nnz == result["synapses"]
    assert all(math.isfinite(epoch["loss"]) for epoch in result["history"]) and len(result["history"]) == 2
    for text in ("{", "[]", '{"measures": {}}'):
        ((tmp_path / trial.key) / "result.json").write_text(text)
        with pytest.raises(config.ConfigError, match="cannot read"):
            runs.all([trial], in_process)


def test_what_starts_from_a_failure_trains_for_itself(plain_pictures, tmp_path):
    runs, after = Runs(tmp_path), Trial("activity", changed(SMALL, ROWS["activity"]))
    (alone,) = Runs(tmp_path / "alone").all([after], in_process)
    (tmp_path / after.before.key).mkdir()
    ((tmp_path / after.before.key) / "result.json").write_text('{"failed": "the trajectory diverged"}')
    (found,) = runs.all([after], in_process)
    assert found["measures"] == alone["measures"] and found["history"] == alone["history"]


def test_a_damaged_checkpoint_is_no_failure_of_a_network(tmp_path):
    runs, trial = Runs(tmp_path), Trial("x", SMALL)
    (tmp_path / trial.key).mkdir()
    ((tmp_path / trial.key) / "training.checkpoint").write_bytes(b"x")
    with pytest.raises(ModelError, match="no checkpoint"):
        Runs(tmp_path, failures=True).all([trial], in_process)
    assert runs.load(trial) is None


def test_a_failure_is_raised_or_a_result(plain_pictures, tmp_path):
    runs, good = Runs(tmp_path), Trial("good", SMALL)
    bad = Trial("bad", replace(SMALL, prune=PruneSettings(keep=1e-6)))
    results = Runs(tmp_path, failures=True).all([bad, good], in_process)
    assert "leaves none" in results[0]["failed"] and results[1]["measures"]
    with pytest.raises(NetworkError, match="leaves none"):
        runs.all([bad, good], in_process)


@pytest.mark.parametrize(
    ("words", "what", "hint"),
    [
        (["nosuch"], "no task 'nosuch'", "spar"),
        (["spar", "--rows", "dense,wrong"], "unknown row 'wrong'", "homogeneous"),
        (["spar", "--seeds", "0"], "--seeds is 0", "1 to 1000"),
        (["nosuch.toml"], "cannot read nosuch.toml", ""),
        (["spar", "--folds", "99"], "99 folds of 10 people", "2 to 10"),
    ],
)
def test_what_cannot_be_reproduced_is_said(capsys, tmp_path, words, what, hint):
    assert main(["reproduce", *words, "-o", str(tmp_path / "new")]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2 and what in lines[0] and hint in lines[1]
    assert not (tmp_path / "new").exists()


LAYERS = Config(network=NetworkSettings(layer=(LayerSettings(60), LayerSettings(60, "adlif"))))


def test_the_row_without_recurrence_has_none_in_layers():
    network = drawn(row(LAYERS, ROWS["no recurrence"]).network, 3, 4, 0.04, np.random.default_rng(1))
    inside = [network.w_rec[at, at].nnz for _, at in network.parts()]
    assert inside == [0, 0]


def test_quick_shrinks_layers_too():
    assert changed(LAYERS, QUICK).network.total < LAYERS.network.total


def test_a_row_that_cannot_be_run_is_refused_before_others_are_trained(plain_pictures, no_costs, tmp_path):
    path = tmp_path / "c.toml"
    sections = ("[data]", "window = 1.0", "hop = 1.0", "limit = 1", "[network]", "neurons = 6", 'neuron = "adlif"')
    path.write_text("\n".join((*sections, "[train]", "epochs = 1", "batch = 256")))
    words = ["reproduce", str(path), "--rows", "dense,lnp 4 bits", "--jobs", "1", "-o", str(tmp_path / "r")]
    assert main(words) == 0 or not list(tmp_path.rglob("result.json"))


def test_a_worker_that_was_killed_is_an_error_in_two_lines():
    with pytest.raises(LnpError):
        list(processes(killed, [1], lambda *a: None))


def test_a_damaged_picture_of_predictions_is_an_error_in_two_lines(tmp_path):
    class One:
        key = "x"

    (tmp_path / "x").mkdir()
    (tmp_path / "x/predictions.npz").write_bytes(b"PK\3\4" + bytes(20))
    with pytest.raises(LnpError):
        Runs(tmp_path).picture(One(), None, None)
