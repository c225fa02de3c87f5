"""Windows that slide over a stream give the same predictions wherever they are computed."""

from contextlib import closing

import numpy as np
import pytest
from fakes import FakePort
from naive import Naive
from tiny import tiny_counts, tiny_model

import boards
from runtime.device import Device
from runtime.host import classify, infer, predict
from runtime.ports import open_board
from runtime.reference import Reference

MODEL = tiny_model()  # window 20, hop 10, dt 0.01 s
STREAM = tiny_counts(MODEL, 95)


def oracle(counts):
    """Read-out after a window, from reset."""
    naive = Naive(MODEL)
    for row in counts:
        naive.step(row)
    return tuple(naive.y)


def facts(predictions):
    return [(p.window, p.start, p.end, p.label, p.name, p.y) for p in predictions]


EXPECTED = []
for start in range(0, 76, 10):
    y = oracle(STREAM[start : start + 20])
    label = y.index(max(y))
    EXPECTED.append((start // 10, start / 100, (start + 20) / 100, label, f"class {label}", y))


def test_every_window_is_classified_from_its_own_rows_as_it_completes():
    assert facts(infer(Reference(MODEL), MODEL, STREAM)) == EXPECTED
    assert len({label for _, _, _, label, _, _ in EXPECTED}) > 1


def test_a_device_predicts_what_the_reference_predicts():
    assert facts(infer(Device(FakePort(MODEL), MODEL), MODEL, STREAM)) == EXPECTED


@pytest.mark.parametrize("board", ["host", "cortex-m4"])
def test_real_firmware_predicts_what_the_reference_predicts(firmware, board):
    with closing(open_board(boards.get(board), firmware(board))) as port:
        assert facts(infer(Device(port, MODEL), MODEL, STREAM)) == EXPECTED


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
    ticks = []
    found = predict(Reference(MODEL), windows, lambda: ticks.append(1))
    assert found.tolist() == [label for _, _, _, label, _, _ in EXPECTED]
    assert len(ticks) == 8
    assert tuple(classify(Reference(MODEL), windows[3]).tolist()) == EXPECTED[3][5]
