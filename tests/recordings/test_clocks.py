"""Times of rows become recordings: clocks, gaps, missing values, jitter and other rates."""

import re
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from conftest import need
from own_files import lines, loaded
from tiny import tiny_model

from lnp_edge.base.errors import ConfigError, DataError
from lnp_edge.recordings import cut
from lnp_edge.recordings.cut import Rows
from lnp_edge.recordings.times import Clock
from lnp_edge.runtime.log import Gap
from lnp_edge.runtime.source import Source

need("pandas")


@pytest.mark.parametrize(("cells", "wanted"), [
    (["0.0", "0.5"], [0, 0.5]),
    (["0,0", "0,5"], [0, 0.5]),
    (["1764166800000", "1764166800040"], [0, 0.04]),
    (["1764166800000000", "1764166800040000"], [0, 0.04]),
    (["2026-11-03T14:05:00Z", "2026-11-03T15:05:00.5+01:00"], [0, 0.5]),
    (["2026-11-03 14:05:00,250", "2026-11-03 14:05:00,500"], [0.25, 0.5]),
    (["03.11.2026 14:05:00,250", "03.11.2026 14:05:01"], [0.25, 1]),
    (["31/10/2026 23:59", "01/11/2026 00:00"], [0, 60]),
    (["10/31/2026 11:59 PM", "11/01/2026 12:00 AM"], [0, 60]),
    (["3.11.26 1:05", "3.11.26 1:15"], [0, 600]),
    (["14:05:00", "14:05:01"], [0, 1]),
    (["2026-11-03T14:05:00", "99999-01-01T00:00:00", "junk", "2026-11-03T14:05:02"], [0, None, None, 2]),
])  # fmt: skip
def test_clocks_of_loggers(cells, wanted):
    found = Clock("a.csv", "t", "", "").seconds(np.array(cells, object))
    assert [None if np.isnan(v) else round(v, 9) for v in found.tolist()] == wanted


def test_a_unit_in_the_header_or_the_name(tmp_path):
    ms = np.array([0, 40])
    assert (
        Clock("f", "t", "", "ms").seconds(ms).tolist() == Clock("f", "t_ms", "", "").seconds(ms).tolist() == [0, 0.04]
    )
    assert Clock("f", "t", "us", "").seconds(ms)[1] == pytest.approx(4e-5)


def pieces(t, x=None, label=None, group=None):
    size = len(t)
    seen = Counter()
    x = np.arange(size)[:, None] if x is None else np.asarray(x)[:, None]
    rows = Rows(np.asarray(t, float), x.astype(np.float32), np.zeros(size, np.int32) if label is None else label,
                np.zeros(size, np.int32) if group is None else group)  # fmt: skip
    return list(cut.ordered(rows, seen)), seen


def recordings(t, dt, x=None, gap=0.0, missing=None):
    found, seen = pieces(t, x)
    missing = missing or cut.Missing([cut.HELD])
    return [a[:, 0].tolist() for one in found for _, _, _, a, _ in cut.recordings(one, dt, gap, seen, missing)], seen


def test_rows_out_of_order_are_sorted_and_duplicates_dropped():
    found, seen = recordings([0, 1, 3, 2, 3, 4, 5], 1.0)
    assert found == [[0, 1, 3, 2, 5, 6]]
    assert seen == {"rows out of order": 1, "rows with a time that occurs twice": 1}


def test_a_gap_ends_a_recording_and_one_missing_row_is_filled():
    missing = cut.Missing([cut.HELD])
    t = [0, 1, 3, 4, 5, 6, 7, 8, 20, 21, 22]
    found, seen = recordings(t, 1.0, [0, 1, 3, 4, 5, 6, 7, 8, 9, 9, 9], missing=missing)
    assert found == [[0, 1, 2, 3, 4, 5, 6, 7, 8], [9, 9, 9]] and missing.gaps == [11.0]
    assert seen == {"rows filled by a straight line": 1}
    assert len(recordings([0, 1, 3, 4, 5, 6, 7, 8, 20, 21, 22], 1.0, gap=13.0)[0]) == 1


def holes(*gone, size=40):
    return [np.nan if k in gone else k for k in range(size)]


def test_a_missing_value_is_held_as_lnp_run_does():
    missing = cut.Missing([cut.HELD])
    (found,), seen = recordings(range(40), 1.0, holes(1, *range(4, 14), 39), missing=missing)
    assert found == [0, 0, 2, *[3] * 11, *range(14, 39), 38]
    assert missing.held == {0: 12} and not missing.gaps and not seen


def test_rows_are_left_out_where_a_value_is_missing_for_longer_or_from_the_beginning():
    missing = cut.Missing([cut.HELD])
    found, seen = recordings(range(40), 1.0, holes(0, 1, 2, *range(10, 21)), missing=missing)
    assert found == [[*range(3, 10)], [*range(21, 40)]] and not missing.gaps and missing.alone == {0: 14}
    assert seen == {cut.LOST: 14, cut.ENDS: 1}
    assert recordings(range(40), 1.0, holes(*range(10, 21)), gap=12.0)[0] == [[*range(10), *[9] * 11, *range(21, 40)]]
    assert len(recordings(range(40), 1.0, holes(10), gap=0.5)[0]) == 2


def test_no_value_is_held_over_a_gap_in_the_rows():
    missing = cut.Missing([cut.HELD])
    t = [*range(10), *range(15, 25)]
    found, seen = recordings(t, 1.0, holes(10, 11, 15, size=20), missing=missing)
    assert found == [[*range(10)], [12, 13, 14, 14, *range(16, 20)]] and missing.gaps == [5.0]
    assert seen == {cut.LOST: 2} and missing.held == {0: 1}, "the end of a recording at a gap is told once"
    assert recordings(t, 1.0, holes(9, 10, size=20))[0] == [[*range(9), 8], [*range(11, 20)]]


@pytest.mark.parametrize("begin", ["", "0,9,9,9\n"])
def test_nothing_is_held_before_a_row_that_has_all_values_as_in_lnp_run(tmp_path, begin):
    """Training held a channel from a row that was itself left out, lnp run did not: two samples more after a gap."""
    rows = [
        (8, "", 2, 3),
        (9, 4, "", 6),
        (10, 7, 8, ""),
        (11, 1, 2, 3),
        (12, "", 5, 6),
        *((k,) * 4 for k in range(13, 60)),
    ]
    text = begin + "".join(f"{t / 100},{a},{b},{c}\n" for t, a, b, c in rows)
    settings = 'files = "*.csv"\ntime = "t"\nlabel = "file"\ngroup = "file"\nheld_out = ["v"]'
    found, _ = loaded(tmp_path, {f"{what}.csv": "t,c0,c1,c2\n" + text for what in "uv"}, settings)
    trained = [a.tolist() for a, group in zip(found.recordings, found.groups, strict=True) if not group]
    model = replace(tiny_model(), quantities=found.quantities).check()
    events = [e for e in Source(str(tmp_path / "u.csv"), model) if not isinstance(e, Gap)]
    assert trained[-1][:3] == [[1, 2, 3], [1, 5, 6], [13, 13, 13]] and len(trained) == 1 + bool(begin)
    assert [row for one in trained for row in one] == [e.counts.tolist() for e in events]


def test_what_is_forecast_is_held_for_one_sample_alone(tmp_path):
    """A target that was never measured would be forecast for nothing by persistence."""
    rows = [(k, "" if k in (10, 20, 21) else k % 7, "" if 30 <= k < 40 else k % 5) for k in range(60)]
    settings = 'files = "*.csv"\ntime = "t"\ntarget = "a"\nahead = 1.0'
    found, _ = loaded(tmp_path, {"a.csv": lines("t,a,b", rows)}, settings)
    assert sum(map(len, found.recordings)) == 58 and len(found.recordings) == 3, "two pieces, one cut for the test"


def test_gaps_stand_before_missing_values_and_each_thing_is_told_once(tmp_path):
    rows = [(k, -999 if k % 9 == 3 else k % 7, "inf" if k in (50, 51) else k % 5) for k in range(200)
            if not 90 <= k < 110 and k != 150]  # fmt: skip
    files = {f"{what}.csv": lines("t,a,b", rows) for what in "uv"}
    settings = 'files = "*.csv"\ntime = "t"\nlabel = "file"\nmissing = [-999]'
    _, report = loaded(tmp_path, files, settings)
    first, second, *rest = report.remarks()
    assert first == (
        "2 gaps of more than one missing row: 40 s in all, the longest 20 s in v.csv; each ends a recording. "
        "[data] gap = S bridges up to S s"
    )
    assert second == (
        "no value (empty, no number, infinite, -999): a 40 (11.2%), b 4 (1.1%); 44 held at the channel's last one, as "
        "lnp run does"
    )
    assert rest == ["rows filled by a straight line: 2, 1 of them in u.csv"]
    remarks = loaded(tmp_path, {}, settings + "\ngap = 1.5")[1].remarks()
    assert remarks[0].startswith("4 gaps of more than 1.5 s: 42 s in all")
    assert "rows left out, where none came for longer, which ends" in remarks[1] and "[data] gap = S" in remarks[1]


def test_training_and_lnp_run_make_the_same_samples_of_the_same_file(tmp_path):
    """Training cut where lnp run held: the network had never seen what the device gave it."""
    x = np.random.default_rng(1).integers(-99, 99, (200, 3)).astype(object)
    x[[20, 21, 22, 60], [0, 1, 1, 2]] = "", -999, "inf", "nan"
    x[22, 0] = "None"
    text = lines("t,c0,c1,c2", [(k / 100 + (2 if k >= 120 else 0), *row) for k, row in enumerate(x.tolist())])
    found, _ = loaded(
        tmp_path, {f"{what}.csv": text for what in "uv"},
        'files = "*.csv"\ntime = "t"\nlabel = "file"\ngroup = "file"\nheld_out = ["v"]\nmissing = [-999]',
    )  # fmt: skip
    model = replace(tiny_model(), missing=(-999.0,), quantities=found.quantities).check()
    runs = [[]]
    for event in Source(str(tmp_path / "u.csv"), model):
        runs.append([]) if isinstance(event, Gap) else runs[-1].append(event.counts)
    assert [len(run) for run in runs] == [120, 80]
    assert all(np.array_equal(a, b) for a, b in zip(found.recordings[:2], map(np.stack, runs), strict=True))


def test_a_clock_that_starts_again_begins_a_recording():
    t = [*range(300), *range(300)]
    found, seen = recordings(t, 1.0)
    assert [len(a) for a in found] == [300, 300] and seen["restarts of the clock"] == 1


def test_jitter_leaves_samples_as_they_are():
    rng = np.random.default_rng(1)
    t = np.arange(500) * 0.04 + rng.uniform(-0.008, 0.008, 500)
    assert recordings(t, 0.04)[0] == [[float(k) for k in range(500)]]


def test_whole_seconds_at_25_hz_and_bursts_of_a_radio_are_spread():
    (piece,), seen = pieces(np.arange(7, 257) // 25)
    np.testing.assert_allclose(np.diff(piece.t), 0.04, atol=1e-9)
    assert seen["rows with a coarse time"] > 200
    (piece,), _ = pieces(np.arange(250) // 5 * 0.2 + np.arange(250) % 5 * 0.001)
    np.testing.assert_allclose(np.diff(piece.t), 0.04, atol=1e-9)


def test_another_rate_is_resampled_and_fast_vibrations_vanish():
    t = np.arange(0, 10, 0.01)
    slow, fast = np.sin(2 * np.pi * 0.5 * t), np.sin(2 * np.pi * 20 * t)  # sampled at 25 Hz, 20 Hz would look like 5
    (found,), seen = recordings(t, 0.04, slow + fast)
    grid = np.arange(len(found)) * 0.04
    assert np.abs(np.array(found) - np.sin(2 * np.pi * 0.5 * grid))[5:-5].max() < 0.3 and seen["rows resampled"] == 1000
    (finer,), _ = recordings(t[::10], 0.05, slow[::10])
    assert np.abs(np.array(finer) - np.sin(np.pi * 0.05 * np.arange(len(finer)))).max() < 0.02


def test_irregular_times_are_used_themselves():
    t = np.cumsum(np.random.default_rng(2).uniform(0.2, 3, 400))
    (found,), seen = recordings(t, 1.0, 2 * t, gap=10.0)
    np.testing.assert_allclose(np.diff(found), 2.0, atol=1e-3)
    assert seen["files with irregular times"] == 1


@pytest.mark.filterwarnings("error")
def test_an_empty_clock_is_told_without_a_warning(tmp_path):
    files = {f"{what}.csv": lines("t,a", [("", k) for k in range(40)]) for what in "uv"}
    with pytest.raises(DataError, match=r"^u.csv: t is empty\n"):
        loaded(tmp_path, files, 'files = "*.csv"\ntime = "t"\nlabel = "file"')


@pytest.mark.parametrize(("stamp", "apart"), [("e-300", "1e-300"), ("e-10", "1e-10"), ("e6", "1e+06"), ("e9", "1e+09")])
def test_times_that_no_sensor_has_are_refused(tmp_path, stamp, apart):
    """They were taken as real: a window of 4e-299 s, or an OverflowError."""
    text = lines("t,a", [(f"{k}{stamp}", k % 7) for k in range(100)])
    with pytest.raises(DataError, match=rf"the times are {re.escape(apart)} s apart"):
        loaded(tmp_path, {"a.csv": text}, 'files = "a.csv"\ntime = "t"\ntarget = "a"\nahead = 1.0')


@pytest.mark.parametrize(("rate", "ahead"), [(1e-6, 1e6), (1e-9, 1e9)])
def test_a_rate_whose_step_no_model_has_is_refused_before_the_training(tmp_path, rate, ahead):
    text = lines("a", [(k % 7,) for k in range(100)])
    with pytest.raises(ConfigError, match=f"data.rate is {rate:g} Hz"):
        loaded(tmp_path, {"a.csv": text}, f'files = "a.csv"\nrate = {rate}\ntarget = "a"\nahead = {ahead}')
