"""Values that stand for no sample, such as -999: from the files to the model, lnp run, Python and C."""

import io
import json
import re
import subprocess
import warnings
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
from conftest import need
from tiny import tiny_counts, tiny_model

import lnp_edge
from lnp_edge import api, boards
from lnp_edge.base.errors import ConfigError, DataError, ModelError
from lnp_edge.config import DataSettings, load
from lnp_edge.firmware_gen.build import build
from lnp_edge.firmware_gen.generate import generate, write
from lnp_edge.interchange import onnx_file
from lnp_edge.runtime import decisions
from lnp_edge.runtime.feeds import FileFeed
from lnp_edge.runtime.host import Stream
from lnp_edge.runtime.log import Gap
from lnp_edge.runtime.ports import open_board
from lnp_edge.runtime.reference import Reference
from lnp_edge.runtime.source import Source
from lnp_edge.spec.model import QuantizedModel
from lnp_edge.spec.quantity import Quantity, is_missing

PLAIN = tiny_model()
MODEL = replace(PLAIN, missing=(-999.0, 0.5)).check()
IN_G = replace(MODEL, missing=(-999.9,), quantities=(Quantity("g", 0.0, 0.05, False),) * 3).check()


def test_a_value_is_missing_if_it_is_none_or_equal_in_single_precision():
    values = np.array([np.nan, np.inf, -999.9, np.float32(-999.9), -999.8999, -999, 16777216.0, 1e300])
    assert is_missing(values, (-999.9,)).tolist() == [True, True, True, True, False, False, False, True]
    assert is_missing(values, ()).tolist() == [True, True] + 5 * [False] + [True]  # a reader has no 1e300 either
    assert is_missing(np.array([-999, 7], np.int16), (-999.0,)).tolist() == [True, False]


# ---- the model file


def test_the_model_keeps_what_stands_for_none_and_older_files_load(tmp_path):
    for model in (PLAIN, MODEL, IN_G):
        onnx_file.save(model, tmp_path / "m.onnx")
        assert onnx_file.load(tmp_path / "m.onnx").missing == model.missing
        info = json.loads(onnx_file.to_proto(model).metadata_props[0].value)
        assert ("missing" in info) == bool(model.missing), "files without such values are those of before"
    assert MODEL.fingerprint == PLAIN.fingerprint, "no state word depends on them"


@pytest.mark.parametrize(
    "found", ["[]", "[-999]", "-999.0", "[NaN]", "[1e31]", '["-999"]', "[true]", "null", str([1.5] * 17)]
)
def test_a_damaged_list_is_refused(tmp_path, found):
    proto = onnx_file.to_proto(MODEL)
    text = proto.metadata_props[0].value
    assert text.count("[-999.0, 0.5]") == 1
    proto.metadata_props[0].value = text.replace("[-999.0, 0.5]", found)
    (tmp_path / "m.onnx").write_bytes(proto.SerializeToString())
    with pytest.raises(ModelError):
        onnx_file.load(tmp_path / "m.onnx")


@pytest.mark.parametrize("missing", [(-999,), (True,), ("-999",)])
def test_a_list_with_its_checksum_is_refused_unless_all_are_numbers_with_a_fraction(tmp_path, missing):
    (tmp_path / "m.onnx").write_bytes(onnx_file.to_proto(replace(MODEL, missing=missing)).SerializeToString())
    with pytest.raises(ModelError):
        onnx_file.load(tmp_path / "m.onnx")


@pytest.mark.parametrize("missing", [(float("nan"),), (2e30,), (1.0,) * 17])
def test_what_is_beyond_the_bounds_is_refused_where_it_enters(tmp_path, missing):
    with pytest.raises(ModelError, match="stand for none"):
        replace(PLAIN, missing=missing).check()
    text = "[data]\nmissing = " + json.dumps(list(missing)).replace("NaN", "nan")
    (tmp_path / "my.toml").write_text(text)
    with pytest.raises(ConfigError, match=r"data\.missing"):
        load(tmp_path / "my.toml")


# ---- streams

ROWS = tiny_counts(PLAIN, 120)


def holes(samples, value, places=((3, 0), (33, 1), (34, 1), (80, 2))):
    """Samples as floats, with a value in place of some."""
    found = samples.astype(float)
    for at in places:
        found[at] = value
    return found


def as_run(model: QuantizedModel, values, missing):
    """What lnp run predicts from a file of these values."""
    text = "\n".join([",".join(model.channels), *(",".join(map(repr, row)) for row in values.tolist())])
    feed = FileFeed(io.BufferedReader(io.BytesIO(text.encode())))
    stream = Stream(Reference(model), model)
    source, found = Source("it", model, missing=missing, feed=feed), []
    for event in source:
        found.append(stream.gap() if isinstance(event, Gap) else stream.push(event.counts, event.t))
    return facts(found), source


def facts(found):
    return [(p.window, p.start, p.end, p.label, p.margin, p.y) for p in found if p]


@pytest.mark.parametrize("missing", ["hold", "skip"])
@pytest.mark.parametrize("gone", [-999.0, 0.5, np.nan])
def test_a_stream_and_lnp_run_treat_it_as_nan(missing, gone):
    expected, _ = as_run(PLAIN, holes(ROWS, np.nan), missing)
    found, source = as_run(MODEL, holes(ROWS, gone), missing)
    stream = api.Model(MODEL).stream(missing)
    assert found == expected == facts(map(stream.push, holes(ROWS, gone)))
    assert found == facts(api.Model(MODEL).stream(missing).extend(holes(ROWS, gone)))
    assert len(expected) == (11 if missing == "hold" else 6)
    assert source.summary() == (
        ["held: 4 missing values"] if missing == "hold" else ["passed over: 4 rows without a value of each channel"]
    )
    assert as_run(PLAIN, ROWS.astype(float), "hold")[0] != expected


def test_a_physical_value_is_compared_before_it_is_a_count():
    """-999.9 g would be clipped, and be the largest of all counts: a decision from a dead sensor."""
    rows = [[0.1, 0.2, 0.3], [0.1, -999.9, 0.3], [0.4, 0.4, 0.4]]
    with closing(Source("it", IN_G, missing="skip", feed=feed_of(rows))._feed):
        events = list(Source("it", IN_G, missing="skip", feed=feed_of(rows)))
    assert [type(e).__name__ for e in events] == ["Sample", "Gap", "Sample"]
    assert events[1].why == "a row was lost: c1 is -999.9, which stands for no value"
    model = api.Model(IN_G)
    assert model.counts(np.array(rows[::2], np.float32)).tolist() == [[2, 4, 6], [8, 8, 8]]
    for wrong in (rows, np.array(rows, np.float32)):
        with pytest.raises(DataError, match=r"c1 of sample 1 is -999.9\S*, which stands for no value"):
            model.counts(wrong)
    counts = replace(IN_G, missing=(-999.0,)).check()  # an integer is a count, not -999 g
    assert api.Model(counts).counts([[-999, 1, 2]], given="counts").tolist() == [[-999, 1, 2]]
    with pytest.raises(DataError, match="c0 of sample 0 is -999, which stands for no value"):
        api.Model(counts).counts([[-999, 1, 2]], given="values")


def feed_of(rows):
    text = "\n".join(",".join(map(str, row)) for row in rows)
    return FileFeed(io.BufferedReader(io.BytesIO(text.encode())))


def test_integers_that_recordings_hold_are_compared_and_a_masked_sample_is_held():
    model = api.Model(MODEL)
    with pytest.raises(DataError, match="c0 of sample 50 is -999, which stands for no value"):
        model.predict(np.where(np.arange(120)[:, None] == 50, -999, ROWS))
    held = ROWS.copy()
    held[50] = held[49]
    masked = np.ma.masked_array(ROWS, mask=np.repeat(np.arange(120)[:, None] == 50, 3, axis=1))
    with pytest.raises(DataError, match="c0 of sample 50 is missing"):
        model.counts(masked)
    assert facts(model.stream("hold").extend(masked)) == facts(model.predict(held))
    assert facts(model.predict(masked, missing="hold")) == facts(model.predict(held))
    with pytest.raises(ConfigError, match="missing is 'keep'"):
        model.stream("keep")


@pytest.mark.filterwarnings("ignore:c1 ")
@pytest.mark.parametrize("none", [None, np.nan, np.inf, -np.inf, 1e300])
def test_none_and_infinity_are_missing_values_and_infinity_is_told(none):
    """None was refused as an object; infinity was held without a word."""
    rows = ROWS.tolist()
    rows[50][1] = none
    held = ROWS.copy()
    held[50, 1] = held[49, 1]
    model = api.Model(PLAIN)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        assert facts(model.predict(rows, missing="hold")) == facts(model.predict(held))
        stream = model.stream("hold")
        assert facts(map(stream.push, rows)) == facts(model.predict(held)) and stream.held == 1
    told = [str(one.message) for one in told if "training" not in str(one.message)]
    infinite = none is not None and np.isinf(none)
    where = ["c1 of sample 50", "c1"] if infinite else []
    assert told == [f"{at} is {none}, which is taken for a missing value" for at in where]
    with pytest.raises(DataError, match=r"c1 of sample 50 is (missing|-?inf|1e\+300)") as e:
        model.predict(rows)
    assert 'missing="hold"' in e.value.try_next
    expected = model.stream("skip")
    assert facts(model.predict(rows, missing="skip")) == facts(expected.extend(rows)) != facts(model.predict(held))


def test_windows_are_filled_each_for_itself():
    windows = np.stack([ROWS[:20], ROWS[20:40]]).astype(float)
    windows[0, 7, 1] = windows[1, 0, 2] = np.nan  # the second has no value before
    assert len(api.Model(PLAIN).predict(windows, missing="hold")) == 1
    with pytest.raises(DataError, match="c1 of window 0, sample 7 is missing"):
        api.Model(PLAIN).predict(windows)


@pytest.mark.parametrize("cell", ["inf", "-Infinity", "+INF", "1e400"])
def test_lnp_run_says_that_a_value_is_infinite(cell):
    rows, told = [[k, k, k] for k in range(30)], []
    rows[9][1] = cell
    source = Source("it", PLAIN, feed=feed_of(rows), tell=told.append)
    counts = [event.counts.tolist() for event in source]
    assert counts[9] == [9, 8, 9] and source.summary() == ["held: 1 missing value"]
    assert told == [f"c1 is {'-' * cell.startswith('-')}inf, which stands for no value: its last value is held"]


def test_no_value_is_held_over_a_gap():
    """As in training: what a sensor said before a pause of a minute is no value of now."""
    lines = ["t,c0,c1,c2", *(f"{k / 100},{k},{k},{k}" for k in range(30))]
    lines += [f"{60 + k / 100},{k},{'' if k in (0, 1, 5) else k},{k}" for k in range(30)]
    source = Source("it", PLAIN, feed=FileFeed(io.BufferedReader(io.BytesIO("\n".join(lines).encode()))))
    events = list(source)
    assert [k for k, e in enumerate(events) if isinstance(e, Gap)] == [30]
    assert events[30] == (59.72, "59.7 s without a row") and source.summary() == [
        "passed over: 2 rows without a value of each channel", "held: 1 missing value"]  # fmt: skip
    assert [(e.t, e.counts.tolist()) for e in events[31:36]] == [
        (60 + k / 100, [k, 4 if k == 5 else k, k]) for k in range(2, 7)
    ]


def test_a_row_that_is_lost_after_a_gap_takes_its_own_time_alone():
    """It was counted twice: what followed came a sample too late."""
    lines = ["c0,c1,c2", "1,1,1", "2,2,99999", "3,,3", "4,4,4", "5,,5"]
    source = Source("it", PLAIN, feed=FileFeed(io.BufferedReader(io.BytesIO("\n".join(lines).encode()))))
    first, gap, *last = source
    assert gap == (0.02, "a row was lost: 99999 is outside -32768..32767") and first.t == 0.0
    assert [(e.t, e.counts.tolist()) for e in last] == [(0.03, [4, 4, 4]), (0.04, [5, 4, 5])]


@pytest.mark.parametrize("word", ["err", "?", "Fault", "#DIV/0!", "NoData", "+Inf"])
def test_a_word_in_a_cell_is_a_missing_value(word):
    """A file of training holds over it; lnp run began the stream anew."""
    lines = ["t,c0,c1,c2", "0.00,1,2,3", f"0.01,4,{word},6", f"0.02,{word},{word},{word}", "0.03,7,8,9", "0.04,7,8x,9"]
    source = Source("it", PLAIN, feed=FileFeed(io.BufferedReader(io.BytesIO("\n".join(lines).encode()))))
    counts = [event.counts.tolist() for event in source]
    assert counts == [[1, 2, 3], [4, 2, 6], [4, 2, 6], [7, 8, 9]], "8x was a number, and is damaged"
    assert source.summary() == ["passed over: 1 line that is no row", "held: 4 missing values"]


def test_a_new_stream_holds_nothing_of_the_one_before():
    stream = api.Model(MODEL).stream("hold")
    list(stream.extend(ROWS))
    stream.begin()
    assert stream.push([-999, 1, 2]) is None and facts(stream.extend(ROWS)) == facts(api.Model(MODEL).predict(ROWS))


def test_lnp_run_stops_at_it_and_tells_of_a_channel_that_is_held_for_a_window():
    with pytest.raises(DataError, match="it line 5: c0 is -999, which stands for no value"):
        as_run(MODEL, holes(ROWS, -999.0), "stop")
    told = []
    dead = [[k, k, -999 if k > 30 else k] for k in range(51)]
    list(Source("it", MODEL, feed=feed_of(dead), tell=told.append))
    assert told == [
        "c2 is -999, which stands for no value: its last value is held",
        "c2 has had no value for 20 rows, a window: predictions rest on its last one; --missing skip makes none then",
    ]


def test_counts_hold_what_predict_holds():
    """counts() failed at the first -999 with the advice to call something else."""
    model = api.Model(MODEL)
    recording = tiny_counts(MODEL, 95).astype(float)
    for at, none in ((3, -999.0), (4, np.nan), (40, 0.5), (41, np.inf), (94, 1e31)):
        recording[at, at % 3] = none
    with pytest.warns(UserWarning, match=r"c2 of sample 41 is inf, which is taken for a missing value"):
        counts = model.counts(recording, missing="hold")
        expected = model.predict(recording, missing="hold")
    assert counts.dtype == np.int16 and [p.y for p in model.predict(counts)] == [p.y for p in expected]
    assert counts[4].tolist() == [*recording[4, :1].tolist(), recording[3, 1], recording[4, 2]]
    windows = np.stack([recording[1:21], recording[35:55]])
    with pytest.warns(UserWarning):
        assert (model.counts(windows, missing="hold") == [counts[1:21], counts[35:55]]).all()
    with pytest.raises(DataError, match=r"^c2 of sample 0 is missing, and no value precedes it") as e:
        model.counts([[1, 2, -999.0], [3, -999.0, -999.0], [4, 5, 6]], missing="hold")
    assert e.value.try_next == "begin at sample 2, from which each channel has one"
    with pytest.raises(DataError, match=r"^c1 is missing, and no value precedes it"):
        model.counts([1, None, 3], missing="hold")
    with pytest.raises(ConfigError, match="missing is 'skip'"):
        model.counts(recording, missing="skip")
    assert model.counts(recording[:3], missing="hold").tolist() == recording[:3].tolist()


def test_a_program_takes_the_counts_that_its_readme_writes(tmp_path, monkeypatch):
    need("gcc")
    write(generate(MODEL, boards.get("host"), app=True), tmp_path)
    recording = decisions.samples_for(PLAIN, 1)[:75].astype(float)
    recording[[20, 33], [0, 2]] = -999.0, np.nan
    monkeypatch.chdir(tmp_path)
    onnx_file.save(MODEL, tmp_path / "model.onnx")
    said = " ".join((tmp_path / "README.md").read_text().split())
    write_rows, load_model = re.findall(r"`(numpy\.savetxt\([^`]+|model = [^`]+)`", said)
    names = {"numpy": np, "lnp_edge": lnp_edge, "recording": recording}
    exec(f"{load_model}\n{write_rows}", names)
    text = (tmp_path / "counts.csv").read_bytes()
    rows = subprocess.run([build(tmp_path).image], input=text, capture_output=True, check=True).stdout.decode()
    expected = [p.y for p in names["model"].predict(recording, missing="hold")]
    assert [tuple(map(int, row.split()[5:])) for row in rows.splitlines()[1:]] == expected and len(expected) == 6


# ---- from files


def test_files_of_single_precision_have_it_too(tmp_path):
    need("pandas")
    from lnp_edge.recordings import load as files

    x = np.sin(np.arange(200) / 3).astype(np.float32)
    x[[20, 90]] = -999.9
    for name in ("a", "b"):
        np.savez(tmp_path / f"{name}.npz", x=x, rate=50.0)
    settings = {"root": str(tmp_path), "files": "*.npz", "label": "file", "group": "file"}
    found, report = files.load(DataSettings(**settings, channels=("x",), missing=(-999.9,), held_out=("b",)))
    assert found.missing == (-999.9,) and report.channels[0].missing == 4
    assert max(np.abs(a).max() for a in found.recordings) < 20_000, "-999.9 set no scale"


# ---- C


@pytest.mark.parametrize("none", [(), (-999.9, -1.0, 1e30, 16777217.0)])
def test_c_finds_the_same_values(tmp_path, none):
    """NaN and infinity, of a model of any data: LNP_NET_COUNT made -32768 and 32767 of them."""
    need("gcc")
    model = replace(MODEL, missing=none).check()
    near = np.nextafter(np.float32(-999.9), np.float32([0, -1e9]))
    values = [-999.9, -999.90001, *near, float(np.float32(-999.9)), -1.0, -1.0000001, 1.0, 1e30, 16777216.0, np.nan]
    values += [np.inf, -np.inf, 1.0000000000000002e30, -1.1e30, 1e300, -1e30, 5e-324]
    for path, text in generate(model, boards.get("host")).items():
        (tmp_path / path).write_text(text)
    main = """#include <stdio.h>
#include "lnp_net.h"
int main(void)
{
    double value;
    while (fread(&value, sizeof value, 1, stdin) == 1) {
        putchar(LNP_NET_IS_MISSING(value) ? '1' : '0');
    }
    const int16_t count = -1;
    putchar(LNP_NET_IS_MISSING(count) ? '1' : '0');
}
"""
    (tmp_path / "none.c").write_text(main)
    subprocess.run(
        ["gcc", "-Wall", "-Wextra", "-Wconversion", "-Werror", "-o", "none", "none.c"], cwd=tmp_path, check=True
    )
    done = subprocess.run([tmp_path / "none"], input=np.array(values).tobytes(), capture_output=True, check=True)
    expected = is_missing(np.array(values), model.missing).tolist()
    assert done.stdout.decode() == "".join(str(int(m)) for m in [*expected, bool(none)])
    assert expected[:2] == [bool(none)] * 2 and not any(expected[2:4])
    assert expected[10:16] == [True] * 6 and not expected[-1]
    said = "infinite, beyond 1e30, -999.9, -1, 1e+30 or 16777217:" if none else "NaN, infinite or beyond 1e30:"
    readme = " ".join(generate(model, boards.get("host"))["README.md"].split())
    assert f"{said} `LNP_NET_IS_MISSING(value)`" in readme


def test_a_program_begins_anew_after_it(tmp_path):
    need("gcc")
    model = replace(MODEL, missing=(0.0, 0.5, -999.0)).check()
    write(generate(model, boards.get("host"), app=True), tmp_path)
    image = build(tmp_path).image
    samples = decisions.samples_for(model, 1)
    with closing(open_board(boards.get("host"), image)) as port:
        found = decisions.compare(model, port, samples)
    assert found.ok and 30 < found.compared < decisions.DECISIONS, "the gap costs a window"
