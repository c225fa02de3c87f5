"""A model that knows the range of its training says when its input leaves it, and predicts as before."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
from tiny import tiny_counts, tiny_loop, tiny_model

from lnp_edge import api, boards
from lnp_edge.base.errors import ModelError
from lnp_edge.cli import main
from lnp_edge.firmware_gen.generate import generate
from lnp_edge.interchange import onnx_file
from lnp_edge.runtime.host import Stream, infer
from lnp_edge.runtime.reference import Reference
from lnp_edge.spec.decision import PLAIN, Decision
from lnp_edge.spec.quantity import Quantity

PLAIN_MODEL = tiny_model()  # 3 channels, a window of 20, a hop of 10
RANGE = Decision(low=(-9, -20, -9), high=(9, 40, 9), outside=20)
MODEL = replace(PLAIN_MODEL, decision=RANGE).check()
INSIDE = np.zeros((60, 3), np.int16)
FIFTH = INSIDE.copy()
FIFTH[40:44, 1] = 41  # a fifth of a window
MORE = FIFTH.copy()
MORE[50, 1] = -21
HOLD = ", which hold 99.8 % of the training samples"
SAID = f"input beyond training: 25 % of 20 samples of channel c1 are outside -20 to 40 counts{HOLD}"


def told(model, samples):
    said = []
    return [(p.label, p.forecast, p.y, p.unknown) for p in infer(Reference(model), model, samples, said.append)], said


def test_more_than_a_fifth_of_a_window_is_told_once_and_changes_no_prediction():
    assert told(MODEL, INSIDE)[1] == told(MODEL, FIFTH)[1] == told(PLAIN_MODEL, MORE)[1] == []
    assert told(MODEL, np.concatenate([MORE, MORE]))[1] == [SAID]
    wild = tiny_counts(MODEL, 95)
    assert told(MODEL, wild)[0] == told(PLAIN_MODEL, wild)[0] and len(told(MODEL, wild)[1]) == 1
    assert told(replace(MODEL, decision=replace(RANGE, outside=4)), MORE)[1] == [SAID]  # of a fitted rule too


@pytest.mark.parametrize("stream", [False, True])
def test_the_windows_are_those_of_the_predictions(stream):
    """Blocks of 20 samples have three such samples each, the second prediction's window has six."""
    over = INSIDE.copy()
    over[17:23, 2] = 10
    model = replace(MODEL, decision=replace(RANGE, stream=stream)).check()
    assert told(model, over)[1] == [SAID.replace("25 %", "30 %").replace("c1", "c2").replace("-20 to 40", "-9 to 9")]
    assert told(model, over[:29])[1] == []  # no prediction is due


def test_a_window_ends_at_a_gap():
    said = []
    stream = Stream(Reference(MODEL), MODEL, said.append)
    for row in MORE[25:44]:  # ends with a fifth
        stream.push(row)
    stream.gap()
    for row in np.concatenate([MORE[50:], INSIDE]):  # begins with a sample beyond
        stream.push(row)
    assert said == []


@pytest.mark.parametrize("stream", [False, True])
def test_whoever_raises_when_it_is_told_loses_one_prediction_and_no_step(stream):
    model = replace(MODEL, decision=replace(RANGE, stream=stream)).check()
    wild = tiny_counts(model, 95)

    def found(tell):
        running, seen = Stream(Reference(model), model, tell), {}
        for k, row in enumerate(wild):
            try:
                if predicted := running.push(row):
                    seen[k] = (predicted.y, predicted.label, predicted.start)
            except RuntimeError:
                continue
        return seen

    def refuse(said):
        raise RuntimeError(said)

    quiet, loud = found(None), found(refuse)
    assert len(quiet) == len(loud) + 1 and loud.items() <= quiet.items()


def test_the_range_is_told_in_the_unit_of_the_files():
    quantity = Quantity("g", 10.0, 0.5, False)
    assert told(replace(MODEL, quantities=(quantity,) * 3), MORE)[1][0].endswith(f"c1 are outside -15 to 15 g{HOLD}")


def test_run_tells_it_and_the_share_of_the_whole_stream_at_the_end(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    onnx_file.save(MODEL, tmp_path / "m.onnx")
    for name, rows in (("in.csv", INSIDE), ("out.csv", MORE)):
        np.savetxt(name, rows, "%d", ",", header="c0,c1,c2", comments="")
    assert main(["run", "m.onnx", "--source", "in.csv"]) == 0
    assert capsys.readouterr().err.startswith("predictions: 5, in ")
    assert main(["run", "m.onnx", "--source", "out.csv"]) == 0
    whole = SAID.replace("25 % of 20", "8 % of 60")
    said = capsys.readouterr().err.splitlines()
    assert [line for line in said if not line.startswith("predictions: ")] == [SAID, whole]


def test_python_warns_of_it_once():
    model = api.Model(MODEL)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.predict(FIFTH)
    for call in (lambda: model.predict(MORE), lambda: model.predict(MORE.reshape(3, 20, 3)[[2, 2]])):
        with pytest.warns(UserWarning, match="25 % of 20 samples of channel c1") as seen:
            call()
        assert len(seen) == 1
    with pytest.warns(UserWarning, match="25 % of 20 samples"):
        list(model.stream().extend(MORE))


def test_a_range_that_makes_nothing_unknown_costs_nothing_on_a_device_and_is_kept(tmp_path):
    onnx_file.save(MODEL, tmp_path / "m.onnx")
    assert onnx_file.load(tmp_path / "m.onnx").decision == RANGE and MODEL.fingerprint == PLAIN_MODEL.fingerprint
    assert generate(MODEL, boards.get("host")) == generate(PLAIN_MODEL, boards.get("host"))
    ranged = replace(MODEL, decision=replace(RANGE, outside=19))
    assert "decision_low" in generate(ranged, boards.get("host"))["lnp_net.c"]


def test_a_forecast_has_a_range_and_nothing_else_of_a_decision(tmp_path):
    loop = tiny_loop()
    c = len(loop.channels)
    rule = Decision(low=(0,) * c, high=(0,) * c, outside=loop.window)
    model = replace(loop, decision=rule).check()
    onnx_file.save(model, tmp_path / "m.onnx")
    assert onnx_file.load(tmp_path / "m.onnx").decision == rule
    samples = tiny_counts(model, 3 * model.window)
    assert told(model, samples)[0] == told(loop, samples)[0] and len(told(model, samples)[1]) == 1
    assert generate(model, boards.get("host")) == generate(replace(model, decision=PLAIN), boards.get("host"))
    for other in (replace(rule, outside=0), replace(rule, lead=1), replace(rule, stream=True)):
        with pytest.raises(ModelError, match="a rule for the decision of classes"):
            replace(loop, decision=other).check()
