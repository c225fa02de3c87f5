"""lnp run: predictions, gaps, logs and closed loops, from files, a port and a device."""

import io
import json
import os
import re
import sys
import threading
import time
import tty
from dataclasses import replace

import pytest
from at_work import MODEL, folder, json_lines, refused
from conftest import need
from tiny import tiny_counts, tiny_front, tiny_loop

from lnp_edge.cli import main
from lnp_edge.interchange import onnx_file
from lnp_edge.runtime import feeds
from lnp_edge.spec.quantity import Quantity


@pytest.fixture
def at(tmp_path, monkeypatch):
    return folder(tmp_path, monkeypatch)


def test_an_end_for_an_empty_cell_comes_after_the_windows_before_it(capsys, at):
    with open(at / "a.csv", "a") as file:
        file.write("1,,2\n")
    assert main(["run", "m.onnx", "--source", "a.csv", "--missing", "stop"]) == 2
    captured = capsys.readouterr()
    assert len(captured.out.splitlines()) == 4
    assert captured.err.splitlines()[0] == "a.csv line 57: c1 is empty"


def test_run_predicts_the_same_from_file_standard_input_and_device(capsys, at, monkeypatch):
    need("cc")
    runs = []
    for words in (["a.csv"], ["-"], ["a.csv", "--board", "host"]):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO((at / "a.csv").read_bytes())))
        assert main(["run", "m.onnx", "--json", "--source", *words]) == 0
        runs.append([{k: v for k, v in p.items() if k != "latency_us"} for p in json_lines(capsys)])
    assert len(runs[0]) == 4
    assert runs[0] == runs[1] == runs[2]


def test_a_gap_begins_a_window_anew_and_what_was_passed_over_is_told(capsys, at):
    rows = (at / "a.csv").read_text().splitlines()
    (at / "b.csv").write_text("\n".join([*rows[:26], "hello", "1,2", *rows[26:]]))
    assert main(["run", "m.onnx", "--json", "--source", "b.csv", "--hop", "5"]) == 0
    captured = capsys.readouterr()
    found = [json.loads(line) for line in captured.out.splitlines()]
    assert [p["window"] for p in found] == list(range(5))
    assert [p["end"] for p in found] == [0.2, 0.25, 0.46, 0.51, 0.56]  # of 25 rows, one that was lost, and 30
    assert "time" not in found[0]
    assert captured.err.splitlines() == [
        "gap: a row was lost: half a row, '1,2'; the stream begins anew",
        "passed over: 2 lines that are no rows",
    ]
    assert main(["run", "m.onnx", "--json", "--source", "a.csv", "--hop", "5"]) == 0
    whole = [p["y"] for p in json_lines(capsys)]
    assert len(whole) == 8 and [p["y"] for p in found] == whole[:2] + whole[5:]


def test_many_gaps_of_a_recording_are_counted(capsys, at):
    (at / "b.csv").write_text("1,2,3\n1,2\n" * 40)
    assert main(["run", "m.onnx", "--source", "b.csv"]) == 0
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 13
    assert said[10] == "gaps: 39, of which 10 were reported"
    assert said[11] == "no window: the stream has no 20 rows (0.2 s) without a gap"


def test_a_log_replayed_gives_the_same_decisions(capsys, at):
    rows = (at / "a.csv").read_text().splitlines()
    (at / "b.csv").write_text("\n".join([*rows[:26], "1,2", *rows[26:]]))
    words = ["run", "m.onnx", "--json", "--hop", "3", "--source"]

    def decided():
        return [{k: v for k, v in p.items() if k != "latency_us"} for p in json_lines(capsys)]

    assert main([*words, "b.csv", "--log", "l.jsonl"]) == 0
    first = decided()
    assert len(first) == 6
    assert main([*words, "l.jsonl"]) == 0
    assert decided() == first
    lines = [json.loads(line) for line in (at / "l.jsonl").read_text().splitlines()]
    assert lines[0]["fingerprint"] == f"{MODEL.fingerprint:08x}" and lines[0]["version"]
    assert [sum(key in line for line in lines) for key in ("x", "gap", "prediction")] == [55, 1, 6]


def test_a_model_without_a_reset_takes_a_hop_of_whole_steps_and_begins_anew_after_a_gap(capsys, at):
    framed = tiny_front("stack", 4)
    stream = replace(framed, hop=8, decision=replace(framed.decision, stream=True)).check()
    onnx_file.save(stream, at / "s.onnx")
    assert main(["run", "s.onnx", "--source", "a.csv", "--hop", "6"]) == 2
    assert "a multiple of 4" in capsys.readouterr().err
    counts = tiny_counts(stream, 64).reshape(-1, 3)[:200].tolist()
    rows = [",".join(map(str, row)) for row in counts]
    (at / "b.csv").write_text("\n".join([*rows[:102], "1,2", *rows[:102]]))
    assert main(["run", "s.onnx", "--json", "--source", "b.csv", "--hop", "4"]) == 0
    found = [p["y"] for p in json_lines(capsys)]
    assert len(found) == 12 and found[:6] == found[6:]


def test_a_live_source_is_heard_and_its_predictions_have_the_time_of_the_clock(capsys, at, monkeypatch):
    """On a port that sends rows for 1.2 s, until Ctrl-C."""
    onnx_file.save(replace(MODEL, dt=0.02, window=50, hop=50), at / "slow.onnx")
    master, slave = os.openpty()
    tty.setraw(slave)
    real = feeds.open_serial
    sent = threading.Event()

    def send():
        begin = time.monotonic()
        for k in range(61):
            os.write(master, b"%d,2,3\n" % k)
            time.sleep(max(0.0, begin + 0.02 * k - time.monotonic()))
        sent.set()

    def opened(*words):
        port = real(*words)
        threading.Thread(target=send, daemon=True).start()
        return port

    class Stopped(feeds.PortFeed):
        def read(self):
            if sent.is_set():
                raise KeyboardInterrupt
            return super().read()

    monkeypatch.setattr(feeds, "open_serial", opened)
    monkeypatch.setattr(feeds, "PortFeed", Stopped)
    try:
        assert main(["run", "slow.onnx", "--source", os.ttyname(slave), "--log", "l.jsonl"]) == 130
    finally:
        os.close(master)
        os.close(slave)
    captured = capsys.readouterr()
    (line,) = captured.out.splitlines()
    assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d +1\.00 s   class \d", line) and len(line) < 80
    told = captured.err.splitlines()
    assert re.fullmatch(r"listening: \d\d\.\d rows a second", told[0])
    assert re.fullmatch(r"predictions: 1, in [\d.]+ [um]s each, [\d.]+ [um]s at most; one is due every 1 s", told[1])
    assert told[2] == "passed over: 1 first line of a port, which may be cut" and told[-1] == "stopped"
    assert re.search(r"class \d +  margin [\d.]+k?$", line)
    assert main(["run", "slow.onnx", "--json", "--source", "l.jsonl"]) == 0
    (again,) = json_lines(capsys)
    assert again["name"] in line and "time" not in again


def test_a_closed_loop_is_the_same_here_and_on_a_device_and_says_that_it_was_verified(capsys, at):
    need("cc")
    onnx_file.save(tiny_loop(), at / "l.onnx")
    words = ["run", "l.onnx", "--source", "a.csv", "--free-run", "25"]
    assert main(words) == 0
    here = capsys.readouterr().out
    assert here.startswith("c0,c1,c2\n") and here.count("\n") == 26
    assert main([*words, "--board", "host"]) == 0
    there = capsys.readouterr()
    assert there.out == here
    assert there.err == f"verified: 44 steps, {44 * tiny_loop().state_words} state words, 0 differences\n"
    assert main([*words, "--json"]) == 0
    steps = json_lines(capsys)
    assert [",".join(map(str, s["counts"])) for s in steps] == here.splitlines()[1:]
    assert [s["step"] for s in steps] == list(range(1, 26))


@pytest.mark.parametrize("name", ["x.edf", "x.WAV", "x.npy"])
def test_a_recording_that_is_no_text_is_said_to_be_none(capsys, at, name):
    (at / name).write_bytes((at / "a.csv").read_bytes())
    what, try_next = refused(capsys, at, "run", "m.onnx", "--source", name)
    assert what == f"lnp run reads text, {name} is {name[2:].upper()}" and "CSV" in try_next


def test_a_forecast_is_printed_with_its_name(capsys, at):
    onnx_file.save(tiny_loop(), at / "l.onnx")
    assert main(["run", "l.onnx", "--source", "a.csv"]) == 0
    text = capsys.readouterr().out
    assert main(["run", "l.onnx", "--source", "a.csv", "--json"]) == 0
    for line, said in zip(text.splitlines(), json_lines(capsys), strict=True):
        for name, value in said["forecast"].items():
            assert f"{name}: {value:.0f}" in line


def test_a_forecast_has_its_unit_and_the_date_of_its_window(capsys, at):
    quantities = tuple(Quantity("degC", -1000.0, 0.005, False) for _ in range(3))
    onnx_file.save(replace(tiny_loop(), quantities=quantities).check(), at / "l.onnx")
    rows = [f"2026-10-{1 + k // 24:02d} {k % 24:02d}:00:00,{k % 7},2,3" for k in range(30)]
    (at / "d.csv").write_text("\n".join(["time,c0,c1,c2", *rows]))
    slow = replace(onnx_file.load(at / "l.onnx"), dt=3600.0).check()
    onnx_file.save(slow, at / "l.onnx")
    assert main(["run", "l.onnx", "--source", "d.csv"]) == 0
    text = capsys.readouterr().out
    assert main(["run", "l.onnx", "--source", "d.csv", "--json"]) == 0
    said = json_lines(capsys)
    for k, (line, one) in enumerate(zip(text.splitlines(), said, strict=True)):
        assert list(one["forecast"]) == list(one["forecast_counts"]) == list(slow.classes)
        for name, count in one["forecast_counts"].items():
            assert one["forecast"][name] == (count + 1000) * 0.005, "JSON had counts, the text degrees"
            assert f"{name}: {one['forecast'][name]:.3f} degC" in line
        assert k or line.startswith("2026-10-01 00:00:00 to 2026-10-01 20:00:00   ")
        assert line.endswith(" degC") and "margin" not in line
    zoned = [row.replace(":00,", ":00+05:30,", 1) for row in rows]
    (at / "d.csv").write_text("\n".join(["time,c0,c1,c2", *zoned]))
    assert main(["run", "l.onnx", "--source", "d.csv"]) == 0
    dates = [line[:42] for line in capsys.readouterr().out.splitlines()]
    assert dates == [line[:42] for line in text.splitlines()], "in the zone of the stamps"
    (at / "d.csv").write_text("\n".join(["time,c0,c1,c2", *rows[10:30], *rows[:30]]))
    assert main(["run", "l.onnx", "--source", "d.csv"]) == 0
    assert "2026" not in capsys.readouterr().out.splitlines()[-1], "the clock went back: seconds, not dates"


def test_a_closed_loop_prints_rows_that_a_source_can_have(capsys, at):
    """It was given degrees and printed counts under the same names."""
    quantities = (Quantity("degC", -1000.0, 0.005, False), Quantity("V", 0.0, 0.01), Quantity("", 0.0, 0.3, False))
    onnx_file.save(replace(tiny_loop(), quantities=quantities).check(), at / "l.onnx")
    words = ["run", "l.onnx", "--source", "a.csv", "--free-run", "25"]
    assert main(words) == 0
    text = capsys.readouterr().out
    assert main([*words, "--json"]) == 0
    said = json_lines(capsys)
    assert text.splitlines()[0] == "c0,c1,c2"
    for line, one in zip(text.splitlines()[1:], said, strict=True):
        a, b, c = one["counts"]
        assert line == f"{(a + 1000) * 0.005:.3f},{b},{c * 0.3:.1f}"
        assert one["values"] == [(a + 1000.0) * 0.005, b, c * 0.3]
    (at / "again.csv").write_text(text)
    assert main(["run", "l.onnx", "--source", "again.csv", "--log", "log.jsonl"]) == 0
    rows = [json.loads(line).get("x") for line in (at / "log.jsonl").read_text().splitlines()]
    assert [row for row in rows if row] == [one["counts"] for one in said]


def test_a_loop_needs_a_whole_window_and_a_model_that_forecasts(capsys, at):
    (at / "short.csv").write_text("1,2,3\n" * 19)
    onnx_file.save(tiny_loop(), at / "l.onnx")
    for words, what in (
        (["l.onnx", "--source", "short.csv", "--free-run", "5"], "ended before 20 rows"),
        (["m.onnx", "--source", "a.csv", "--free-run", "5"], "cannot be fed back"),
        (["l.onnx", "--source", "a.csv", "--free-run", "0"], "--free-run is 0"),
    ):
        assert main(["run", *words]) == 2
        assert what in capsys.readouterr().err


def test_a_stream_shorter_than_a_window_is_said(capsys, at):
    (at / "a.csv").write_text("1,2,3\n" * 19)
    assert main(["run", "m.onnx", "--source", "a.csv"]) == 0
    captured = capsys.readouterr()
    assert captured.out == "" and "the stream ended before 20 rows (0.2 s)" in captured.err
