"""Windows that slide over a stream give the same predictions wherever they are computed."""

import json
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
from conftest import need_for
from fakes import FakePort
from naive import Naive
from tiny import MODELS, tiny_counts, tiny_loop, tiny_model, with_entry

from lnp_edge import boards
from lnp_edge.base.errors import DataError, ModelError
from lnp_edge.firmware_gen.build import build
from lnp_edge.firmware_gen.generate import generate, write
from lnp_edge.runtime.device import Device
from lnp_edge.runtime.host import classify, feed_back, free_run, infer
from lnp_edge.runtime.ports import open_board
from lnp_edge.runtime.reference import Reference
from lnp_edge.runtime.verify import Lockstep
from lnp_edge.spec.model import Forecast
from lnp_edge.spec.quantity import Quantity

MODEL = tiny_model()  # window 20, hop 10, dt 0.01 s
STREAM = tiny_counts(MODEL, 95)


def oracle(counts, model=MODEL):
    """Read-out after a window, from reset."""
    naive = Naive(model)
    for row in counts:
        naive.step(row)
    return tuple(naive.y)


def facts(predictions):
    return [(p.window, p.start, p.end, p.label, p.name, p.y) for p in predictions]


def expected(model):
    found = []
    for start in range(0, 76, 10):
        y = oracle(STREAM[start : start + 20], model)
        label = y.index(max(y))
        found.append((start // 10, start / 100, (start + 20) / 100, label, f"class {label}", y))
    return found


EXPECTED = expected(MODEL)
EXPECTED_OF = {"layer": EXPECTED, "stack": expected(MODELS["stack"]())}


@pytest.mark.parametrize("kind", MODELS)
def test_every_window_is_classified_from_its_own_rows_as_it_completes(kind):
    model = MODELS[kind]()
    assert facts(infer(Reference(model), model, STREAM)) == EXPECTED_OF[kind]
    assert len({label for _, _, _, label, _, _ in EXPECTED_OF[kind]}) > 1


@pytest.mark.parametrize("kind", MODELS)
def test_a_device_predicts_what_the_reference_predicts(kind):
    model = MODELS[kind]()
    assert facts(infer(Device(FakePort(model), model), model, STREAM)) == EXPECTED_OF[kind]


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("board", ["host", "cortex-m4"])
def test_real_firmware_predicts_what_the_reference_predicts(firmware, board, kind):
    model = MODELS[kind]()
    with closing(open_board(boards.get(board), firmware(board, kind=kind))) as port:
        assert facts(infer(Device(port, model), model, STREAM)) == EXPECTED_OF[kind]


def test_two_predictions_that_say_the_same_are_equal_whenever_they_came():
    found = list(infer(Reference(MODEL), MODEL, STREAM))
    assert [replace(p, latency_us=p.latency_us + 1) for p in found] == found
    assert replace(found[0], margin=found[0].margin + 1) != found[0]


def test_a_prediction_comes_before_the_next_row_is_read():
    read = []

    def rows():
        for row in STREAM:
            read.append(row)
            yield row

    stream = infer(Reference(MODEL), MODEL, rows())
    seen = [len(read) for _ in stream]
    assert seen == [20, 30, 40, 50, 60, 70, 80, 90]


@pytest.mark.parametrize(("rows", "windows"), [(0, 0), (19, 0), (20, 1), (29, 1), (30, 2)])
def test_a_window_needs_all_its_rows(rows, windows):
    assert len(list(infer(Reference(MODEL), MODEL, STREAM[:rows]))) == windows


def test_classes_of_whole_windows_are_the_streams():
    windows = np.stack([STREAM[k : k + 20] for k in range(0, 76, 10)])
    found = [tuple(classify(Reference(MODEL), window).tolist()) for window in windows]
    assert found == [y for *_, y in EXPECTED] and len(found) == 8


# ---- forecasts

LOOP = tiny_loop()
WARM_UP = tiny_counts(LOOP, 20, seed=5)


def test_a_forecast_is_given_in_counts_by_name():
    y = oracle(STREAM[10:30])
    far = replace(MODEL, forecast=Forecast((2, 0, 1, 2), 6, (0.5, 0.25, 1.0, 2.0))).check()
    found = list(infer(Reference(far), far, STREAM))[1]
    now = STREAM[29].tolist()
    expected = [now[2] + 0.5 * y[0], now[0] + 0.25 * y[1], now[1] + y[2], now[2] + 2 * y[3]]
    said = found.as_dict()
    assert said["forecast"] == said["forecast_counts"] == dict(zip(MODEL.classes, expected, strict=True))
    assert not {"label", "name"} & said.keys()
    assert not {"forecast", "forecast_counts"} & next(infer(Reference(MODEL), MODEL, STREAM)).as_dict().keys()
    assert json.loads(json.dumps(found.as_dict()))["y"] == list(y)


def test_a_forecast_is_given_in_the_unit_of_its_channel():
    """A model that was given degrees answered with counts, and nothing made degrees of them."""
    quantities = (Quantity("degC", -1000.0, 0.005, False), Quantity("", 5.0, 0.5, False), Quantity("V", 512.0, 0.01))
    known = replace(LOOP, quantities=quantities).check()
    (plain, *_), (found, *_) = (infer(Reference(one), one, STREAM) for one in (LOOP, known))
    a, b, c = plain.forecast.values()
    assert found.forecast_counts == plain.forecast_counts == plain.forecast
    assert list(found.forecast.values()) == [(a + 1000.0) * 0.005, (b - 5.0) * 0.5, (c - 512.0) * 0.01]
    far = replace(known, forecast=replace(LOOP.forecast, target=(2, 0, 0))).check()
    (found, *_) = infer(Reference(far), far, STREAM)
    a, b, c = found.forecast_counts.values()
    assert list(found.forecast.values()) == [(a - 512.0) * 0.01, (b + 1000.0) * 0.005, (c + 1000.0) * 0.005]


def naive_loop(model, warm_up, steps):
    """The closed loop in Python's own numbers, whose round() also takes ties to even."""
    naive = Naive(model)
    for row in warm_up:
        naive.step(row)
    now, found = [int(c) for c in warm_up[-1]], []
    for _ in range(steps):
        now = [
            min(max(round(c + u * y), -32768), 32767) for c, u, y in zip(now, model.forecast.unit, naive.y, strict=True)
        ]
        found.append(now)
        naive.step(now)
    return found


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_closed_loop_feeds_back_what_the_oracle_feeds_back(seed):
    model = tiny_loop(seed)
    found = free_run(Reference(model), model, WARM_UP, 60)
    assert found.dtype == np.int16 and found.tolist() == naive_loop(model, WARM_UP, 60)
    assert len({tuple(row) for row in found.tolist()}) > 30


def test_a_loop_that_runs_away_is_clipped():
    model = replace(LOOP, forecast=replace(LOOP.forecast, unit=(1e9, 0.1, 1e9)))
    found = free_run(Reference(model), model, WARM_UP, 5)
    assert found.tolist() == naive_loop(model, WARM_UP, 5)
    assert {found.min(), found.max()} & {-32768, 32767}


def test_only_a_forecast_of_every_channel_one_step_ahead_can_be_fed_back():
    for forecast in (None, replace(LOOP.forecast, horizon=2), replace(LOOP.forecast, target=(0, 1, 1))):
        model = replace(LOOP, forecast=forecast)
        with pytest.raises(ModelError, match="cannot be fed back"):
            next(feed_back(Reference(model), model, WARM_UP, 5))


@pytest.mark.parametrize("board", ["host", "cortex-m4"])
def test_the_closed_loop_on_a_device_is_the_references_in_every_state_word(tmp_path, board):
    need_for(board)
    write(generate(LOOP, boards.get(board)), tmp_path)
    with closing(open_board(boards.get(board), build(tmp_path).image)) as port:
        both = Lockstep(Device(port, LOOP), Reference(LOOP))
        found = free_run(both, LOOP, WARM_UP, 50)
        report = both.report()
    assert found.tolist() == naive_loop(LOOP, WARM_UP, 50)
    assert report.ok and report.steps == 69  # the last forecast is not an input any more
    assert report.lines() == [f"verified: 69 steps, {69 * LOOP.state_words} state words, 0 differences"]


def test_a_loop_that_differs_is_located():
    """A device with one other recurrent weight."""
    w_rec = LOOP.projection("rec").w
    other = with_entry(LOOP, "w_rec_data", 7, w_rec.data[7] + (1 if w_rec.data[7] < 127 else -1))
    port = FakePort(other, greeting={"fingerprint": LOOP.fingerprint})
    both = Lockstep(Device(port, LOOP), Reference(LOOP))
    free_run(both, LOOP, WARM_UP, 50)
    report = both.report()
    assert not report.ok and report.table_differences
    place = report.state_difference
    assert (place.population, place.field, place.neuron) == ("hidden", "i_syn", w_rec.indices[7])
    assert report.steps == place.step + 1


def test_digests_that_differ_once_and_not_again_are_transient():
    replies = []

    def tamper(name, payload):
        replies.append(name)
        return payload[:-1] + bytes([payload[-1] ^ 1]) if name == "steps" and replies.count(name) == 9 else payload

    both = Lockstep(Device(FakePort(LOOP, tamper), LOOP), Reference(LOOP))
    free_run(both, LOOP, WARM_UP, 50)
    report = both.report()
    assert report.transient and not report.ok and report.state_difference is None


def test_a_forecast_without_warm_up_is_refused():
    model = tiny_loop()
    with pytest.raises(DataError):
        free_run(Reference(model), model, np.zeros((0, model.n_in), np.int16), 3)
