"""Files of your own become recordings; what is changed or left out is counted."""

import re
from collections import Counter
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import pytest
from conftest import need
from tiny import tiny_model

from lnp_edge import config
from lnp_edge.base.errors import ConfigError, DataError, LnpError
from lnp_edge.readers import Column
from lnp_edge.recordings import counts, cut, still
from lnp_edge.recordings.cut import Rows
from lnp_edge.recordings.find import natural, template_of
from lnp_edge.recordings.load import load
from lnp_edge.recordings.report import ChannelReport
from lnp_edge.recordings.times import Clock
from lnp_edge.runtime.log import Gap
from lnp_edge.runtime.source import Source

need("pandas")


def loaded(tmp_path, files, settings):
    """The data set and the report of files {place: text} in a folder with a TOML file."""
    for place, text in files.items():
        path = tmp_path / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "my.toml").write_text(f"[data]\n{settings}\n")
    return load(config.load(tmp_path / "my.toml").data)


def lines(header, rows):
    return header + "\n" + "".join(",".join(map(str, row)) + "\n" for row in rows)


def two_people(rows=40):
    return {f"{who}/{what}_1.csv": lines("t,a", [(0.1 * k, k % 7) for k in range(rows)])
            for who in ("anna", "bert", "carla") for what in ("run", "walk")}  # fmt: skip


PATH = 'path = "{person}/{what}_{n}.csv"\ntime = "t"\nlabel = "what"\ngroup = "person"'


def test_labels_and_groups_from_the_path(tmp_path):
    found, report = loaded(tmp_path, two_people() | {"notes.csv": "x"}, PATH)
    assert found.classes == ("run", "walk") and found.group_titles == ("anna", "bert", "carla")
    assert found.dt == 0.1 and found.channels == ("a",) and found.name == "my"
    assert found.held_out == (2,) and found.group_name == "persons" and report.files == 6
    assert [len(a) for a in found.recordings] == [40] * 6 and report.remarks() == []


def test_held_out_groups_as_told(tmp_path):
    assert loaded(tmp_path, two_people(), PATH + '\nheld_out = "anna"')[0].held_out == (0,)
    with pytest.raises(ConfigError, match="'dora', which is no group"):
        loaded(tmp_path, {}, PATH + '\nheld_out = ["dora"]')
    with pytest.raises(ConfigError, match="names all 3 groups"):
        loaded(tmp_path, {}, PATH + '\nheld_out = ["anna", "bert", "carla"]')


def test_files_that_the_path_does_not_fit_are_told(tmp_path):
    _, report = loaded(tmp_path, two_people() | {"anna/notes.csv": "x"}, PATH + '\nfiles = "*/*.csv"')
    assert any("anna/notes.csv" in remark for remark in report.remarks())


def test_one_group_is_split_in_time_and_no_window_reaches_over_the_cut(tmp_path):
    rows = [(k / 10, k, "ab"[k // 100 % 2]) for k in range(1000)]
    found, report = loaded(tmp_path, {"a.csv": lines("t,x,y", rows)}, 'files = "*.csv"\ntime = "t"\nlabel = "y"')
    test = np.isin(found.groups, found.held_out)
    for label in (0, 1):
        early = np.concatenate(
            [a for a, t, k in zip(found.recordings, test, found.labels, strict=True) if not t and k == label]
        )
        late = np.concatenate(
            [a for a, t, k in zip(found.recordings, test, found.labels, strict=True) if t and k == label]
        )
        assert early.max() < late.min() and 0.2 <= len(late) / 500 <= 0.4
    assert "there is one group" in report.splits


def test_one_long_recording_of_a_class_is_cut(tmp_path):
    files = {f"{what}.csv": lines("x", [(k,) for k in range(1000)]) for what in "ab"}
    found, _ = loaded(tmp_path, files, 'files = "*.csv"\nlabel = "file"\nrate = 10.0')
    assert sorted(len(a) for a in found.recordings) == [300, 300, 700, 700]
    assert all(a[0, 0] == 700 for a, g in zip(found.recordings, found.groups, strict=True) if g in found.held_out)


def test_whole_groups_leave_every_class_in_both_parts(tmp_path):
    files = {f"{who}/{what}.csv": lines("x", [(k,) for k in range(50)])
             for who, whats in {"p1": "ab", "p2": "ab", "p3": "a"}.items() for what in whats}  # fmt: skip
    found, _ = loaded(tmp_path, files, 'files = "*/*.csv"\nlabel = "file"\ngroup = "folder"\nrate = 10.0')
    assert found.group_titles[found.held_out[0]] == "p2", "p3 alone has no b"


def test_a_recording_ends_where_the_label_changes_and_rows_without_one_are_left_out(tmp_path):
    rows = [(k, "aaaabb  bbbaaaa"[k].strip()) for k in range(15)] * 2
    found, report = loaded(tmp_path, {"a.csv": lines("x,y", rows)}, 'files = "*.csv"\nlabel = "y"\nrate = 1.0')
    assert [a[:, 0].tolist() for a in found.recordings][1:3] == [[4, 5], [8, 9, 10]]
    assert report.events["rows without a label"].total() == 4


def test_where_keeps_rows_and_their_neighbours_apart(tmp_path):
    rows = [(k, "ab"[k % 20 // 10], k % 10 // 5) for k in range(80)]
    found, _ = loaded(
        tmp_path, {"a.csv": lines("x,y,ok", rows)}, 'files = "*.csv"\nlabel = "y"\nrate = 1.0\nwhere = {ok = 1}'
    )
    assert {len(a) for a in found.recordings} == {5} and found.channels == ("x",)


def test_groups_in_interleaved_rows(tmp_path):
    rows = [(k // 2, "mn"[k % 2], k) for k in range(200)]
    found, _ = loaded(
        tmp_path, {"a.csv": lines("t,machine,x", rows)},
        'files = "*.csv"\ntime = "t"\ngroup = "machine"\ntarget = "x"\nahead = 2.0',
    )  # fmt: skip
    assert found.dt == 1.0 and found.series.horizon == 2 and found.metric == "rmse_ratio"
    assert all((np.diff(a[:, 0]) == 2).all() for a in found.recordings)
    assert found.group_titles == ("m (earlier)", "m (later)", "n (earlier)", "n (later)") and found.held_out == (1, 3)


def test_files_that_continue_each_other_become_one_recording(tmp_path):
    files = {f"day{d}.csv": lines("time,x", [(f"2026-11-0{d}T{h:02d}:00:00", 24 * d + h) for h in range(24)])
             for d in (1, 2, 4)}  # fmt: skip
    found, _ = loaded(tmp_path, files, 'files = "*.csv"\ntime = "time"\ntarget = "x"\nahead = 3600.0')
    assert sum(map(len, found.recordings)) == 72 and found.dt == 3600.0
    assert sorted(map(len, found.recordings)) == [24, 48]


def test_both_or_neither_of_label_and_target_are_refused(tmp_path):
    for settings in ('files = "*.csv"', 'files = "*.csv"\nlabel = "a"\ntarget = "b"'):
        with pytest.raises(ConfigError, match="label"):
            loaded(tmp_path, {"a.csv": "a,b\n1,2\n"}, settings)


@pytest.mark.parametrize(("settings", "what"), [
    ('label = "nosuch"\nrate = 1.0', "no column 'nosuch'"),
    ('label = "y"', "says no rate"),
    ('label = "y"\nrate = 1.0\nchannels = ["z"]', "no column 'z'"),
    ('label = "y"\ntime = "y"', "no time that lnp knows"),
    ('label = "y"\nrate = 1e-6', "data.rate is 1e-06 Hz"),
    ('label = "x"\nrate = 1.0', "more than 256 different values"),
    ('target = "x"\nahead = 0.1\nrate = 1.0', "less than a step"),
    ('target = "nosuch"\nahead = 1.0\nrate = 1.0', "'nosuch', which is no channel"),
    ('label = "y"\nrate = 1.0\nvectors = [["x", "z", "y"]]', "which is no channel"),
    ('label = "y"\nrate = 1.0\nwhere = {y = "nosuch"}', "no rows are left"),
    ('label = "file"\nrate = 1.0', "is a everywhere"),
    ('label = "{y}"\nrate = 1.0', "no column"),
])  # fmt: skip
def test_what_does_not_fit_the_files_is_refused(tmp_path, settings, what):
    text = lines("x,y,w", [(k, "ab"[k % 2], 1) for k in range(400)])
    with pytest.raises(LnpError, match=what):
        loaded(tmp_path, {"a.csv": text}, f'files = "*.csv"\n{settings}')


def test_no_file_a_bad_pattern_and_a_bad_path_are_refused(tmp_path):
    for settings in ('files = "*.nosuch"', 'files = "/etc/*"', 'path = "{a}{a}.csv"', 'path = "{}.csv"'):
        with pytest.raises(LnpError):
            loaded(tmp_path, {"a.csv": "x\n1\n"}, settings + '\nlabel = "file"\nrate = 1.0')


def test_a_loop_of_links_ends(tmp_path):
    (tmp_path / "loop").symlink_to(tmp_path)
    _, report = loaded(tmp_path, two_people(), PATH.replace("path", 'files = "**/*.csv"\npath', 1))
    assert report.files == 6


def test_templates_and_natural_order():
    assert template_of("{p}/{a}_{n}.csv").fullmatch("anna/run_fast_2.csv").groupdict() == {
        "p": "anna",
        "a": "run",
        "n": "fast_2",
    }
    assert template_of("*/{a}.csv").fullmatch("x/y.csv")["a"] == "y" and not template_of("{a}.csv").fullmatch("x/y.csv")
    assert sorted(["s10", "s9", "s1"], key=natural) == ["s1", "s9", "s10"]


# --- clocks


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


# --- counts


@pytest.mark.parametrize(("size", "wanted"), [(0.0013, 0.002), (0.001, 0.001), (2.1, 5), (7, 10), (1e-9, 1e-9)])
def test_scales_are_plain_numbers(size, wanted):
    assert counts.plain(size) == wanted


def quantity(x, whole, vector=False, **given):
    return counts.quantity(np.asarray(x, float), whole, config.ChannelSettings(**given), Column("a", "g"), vector)


def test_whole_numbers_stay_and_unsigned_vectors_rest_in_the_middle():
    x = np.arange(1000)
    assert quantity(x, True).counts(x).tolist() == x.tolist()
    assert (quantity(x, True, True).zero, quantity(x % 64, True, True).zero, quantity(x - 500, True, True).zero) == (
        512,
        32,
        0,
    )
    assert quantity(x, True, True, zero=100.0).zero == 100


def test_others_get_a_scale_about_zero_or_about_their_level():
    x = np.random.default_rng(1).normal(0, 1, 10_000)
    g = quantity(x, False)
    assert (g.zero, g.scale, g.unit) == (0, 0.0005, "g") and np.abs(g.counts(x)).max() < 16384
    pressure = quantity(101_325 + x, False)
    exact = np.rint(pressure.counts(101_325 + x))
    assert np.abs(exact).max() < 20_000
    np.testing.assert_allclose((exact - pressure.zero) * pressure.scale, 101_325 + x, atol=pressure.scale)


@pytest.mark.parametrize("x", [1e20 + np.arange(50) * 1e4, np.arange(50) * 1e-29, np.full(9, 0.5), np.arange(9) * 1e28])
def test_every_scale_is_one_that_a_model_may_have(x):
    quantity(x, False, unit="m" * 99).check("a")
    assert np.abs(quantity(x, False).counts(x)).max() <= 32767


def test_unsigned_counts_of_16_bits_are_moved():
    x = np.array([0, 1, 40_000, 65_535])
    assert quantity(x, False).counts(x).tolist() == [-32768, -32767, 7232, 32767]


def test_a_wild_value_does_not_set_the_scale_and_is_clipped():
    x = np.append(np.random.default_rng(1).normal(0, 1, 10_000), 1e9)
    found, clipped = counts.converted(x[:, None], np.zeros(1), [quantity(x, False)])
    assert clipped.tolist() == [1] and found.max() == 32767 and quantity(x, False).scale <= 0.001


def test_the_scale_comes_from_the_training_part_alone(tmp_path):
    files = two_people()
    quiet = loaded(tmp_path, {k: v.replace(",3\n", ",3.5\n") for k, v in files.items()}, PATH)[0].quantities
    loud = {k: v.replace(",3\n", ",3.5\n").replace(",6\n", ",600\n") for k, v in files.items() if "carla" in k}
    found, report = loaded(tmp_path, loud, PATH)
    assert [q.scale for q in found.quantities] == [q.scale for q in quiet]
    assert any("clipped" in remark for remark in report.remarks())


def test_settings_of_a_channel_hold(tmp_path):
    found, _ = loaded(tmp_path, two_people(), PATH + '\n[data.scale.a]\nunit = "g"\nzero = 512\nscale = 0.004')
    assert [(q.unit, q.zero, q.scale) for q in found.quantities] == [("g", 512, 0.004)]


@pytest.mark.parametrize("values", [(3, 7), (0.25, 0.5)])
def test_files_in_two_units_are_refused(tmp_path, values):
    """They were mixed: a file in mg was taken as one in g. A file that names no unit is taken as the others."""
    rows = [(k, values[k % 2]) for k in range(100)]
    settings = 'files = "*.csv"\nrate = 10.0\ntarget = "a"\nahead = 1.0'
    units = {"1": "a", "2": "a [g]", "3": "a"}
    found, report = loaded(tmp_path, {f"{name}.csv": lines(f"t,{a}", rows) for name, a in units.items()}, settings)
    assert found.quantities[1].unit == report.channels[1].unit == "g" and sum(map(len, found.recordings)) == 300
    with pytest.raises(DataError, match=r"4.csv has a in mg, files before it in g"):
        loaded(tmp_path, {"4.csv": lines("t,a [mg]", rows)}, settings)


def test_odd_channels_are_told_with_the_remedy(tmp_path):
    rng = np.random.default_rng(1)
    rows = [(k / 10, round(v, 3), 5, -999 if k % 40 == 7 else round(v, 3), round(v, 3) if k < 300 else 0.5, min(v, 1))
            for k, v in enumerate(rng.normal(0, 1, 500))]  # fmt: skip
    files = {f"{what}.csv": lines("t,good,same,none,dead,cut", rows) for what in "ab"}
    said = "\n".join(loaded(tmp_path, files, 'files = "*.csv"\ntime = "t"\nlabel = "file"')[1].remarks())
    assert "same is always 5" in said and "missing = [-999]" in said and "cut is at a limit, 1," in said
    assert "dead stands still at 0.5 for 200 rows" in said and "leave the channel out" in said and "good" not in said
    clean = loaded(tmp_path, {}, 'files = "*.csv"\ntime = "t"\nlabel = "file"\nmissing = [-999]')
    assert "far from all others" not in "\n".join(clean[1].remarks())


def log_of_machines(count=4000):
    """Lines of three machines in turn, and which rows of each are stuck."""
    rng = np.random.default_rng(4)
    t, rows = np.arange(count), []
    stuck = {"B": (1000, 2201, 2.41), "C": (3500, 3700, 0.0)}
    for m in "ABC":
        vib = (2 + np.abs(rng.normal(0, 1, count))).round(2)
        if m in stuck:
            begin, end, value = stuck[m]
            vib[begin:end] = value
        hum = np.clip(95 + 20 * np.sin(t / 300) + rng.normal(0, 2, count), 0, 100).round()
        rain = np.maximum(np.sin(t / 500) + rng.normal(0, 0.1, count) - 0.9, 0).round(2)
        room = (20 + np.cumsum(rng.normal(0, 0.02, count))).round(1)
        rows.append([(600 * k, m, vib[k], hum[k], rain[k], k // 6 % 24, k // 144 % 7, room[k]) for k in t])
    return lines("t,machine,vib,hum,rain,hour,day,room", [row for three in zip(*rows, strict=True) for row in three])


def test_a_stuck_sensor_is_told_and_a_slow_or_a_limited_one_is_not(tmp_path):
    """Humidity at 100 %, no rain for days, the hour and a quiet room hold their values for long too."""
    settings = 'files = "*.csv"\ntime = "t"\ngroup = "machine"\ntarget = "vib"\nahead = 600'
    _, report = loaded(tmp_path, {"log.csv": log_of_machines()}, settings)
    assert [c.name for c in report.channels if c.still] == ["vib"]
    told = [(s.value, s.rows, s.file, s.group, s.begin, s.part) for s in report.channels[0].still]
    assert told == [
        (pytest.approx(2.41), 1201, "log.csv", "B", 600_000, "training"),
        (0.0, 200, "log.csv", "C", 2_100_000, "test"),
    ]
    said = next(remark for remark in report.remarks() if "stands still" in remark)
    assert "vib stands still at 2.41 for 1201 rows of log.csv, B, from 600000 s, in training; at 0 for 200" in said
    assert "it is what is forecast" in said and "limit" not in said


def test_runs_of_equal_values_are_found_across_blocks(monkeypatch):
    monkeypatch.setattr(still, "PART", 7)
    x = np.repeat(np.arange(40, dtype=np.float32), np.random.default_rng(2).integers(1, 20, 40))
    at, rows = (np.concatenate(a) for a in zip(*still._runs(x), strict=True))
    assert np.array_equal(np.repeat(x[at], rows), x) and len(rows) == 40


def test_a_slow_a_held_and_a_coarse_signal_do_not_clip(tmp_path):
    sine = np.sin(np.arange(2000) / 50)
    held, battery = sine[np.arange(2000) // 100 * 100].round(3), 3.7 - np.arange(2000) // 40 * 0.002
    rows = list(
        zip(np.arange(2000) / 10, battery.round(3), (20 + sine).round(1), held, sine.clip(max=0.9), strict=True)
    )
    files = {f"{what}.csv": lines("t,battery,coarse,held,cut", rows) for what in "ab"}
    said = "\n".join(loaded(tmp_path, files, 'files = "*.csv"\ntime = "t"\nlabel = "file"')[1].remarks())
    assert re.findall(r"(\w+) is at a limit", said) == ["cut"]


def test_rows_that_one_channel_alone_loses_are_told_with_the_remedy(tmp_path):
    rows = [(k / 10, k % 7, -999 if k >= 70 else k % 5, -999 if 10 <= k < 21 or k == 80 else k % 3) for k in range(100)]
    settings = 'files = "a.csv"\ntime = "t"\ntarget = "load"\nahead = 0.1\nmissing = [-999]'
    said = loaded(tmp_path, {"a.csv": lines("t,load,vib,amp", rows)}, settings)[1].remarks()
    assert "vib has no value in 30 rows, 30.0%: leaving it out of [data] channels would bring back 30 rows" in said
    assert "amp has no value in 12 rows, 12.0%: leaving it out of [data] channels would bring back 11 rows" in said


def test_extremes_are_those_of_all_files():
    report = ChannelReport("a")
    for values in ([1, 2, 2, 9, 8], [0.5, 0.5, 2, 9, 9], [3, 4, 4], [0.5, 1]):
        report.look(np.array(values, np.float32), 10.0)
    assert report.ends == {-1: {10.5: 3, 11.0: 2}, 1: {19.0: 3, 18.0: 1}}
    assert (report.low, report.high) == (10.5, 19.0)


def test_small_blocks_give_the_same_recordings(tmp_path, monkeypatch):
    rows = [(k / 10, k % 9, f"label {k // 100 % 3}", f"p{k // 300}") for k in range(1200)]
    text = lines("t,x,y,who", rows) + "half a line\n"
    settings = 'files = "*.csv"\ntime = "t"\nlabel = "y"\ngroup = "who"'
    whole, _ = loaded(tmp_path, {"a.csv": text}, settings)
    monkeypatch.setattr("lnp_edge.readers.csv_text.CHUNK", 64)
    parts, report = loaded(tmp_path, {"a.csv": text + "\n"}, settings)
    assert report.rows == 1200 and whole.classes == parts.classes and whole.group_titles == parts.group_titles
    assert all(np.array_equal(a, b) for a, b in zip(whole.recordings, parts.recordings, strict=True))


@pytest.mark.parametrize("setting", ["gap = 1e8", "gap = 1e8\nrate = 2e3"])
def test_samples_between_rows_are_bounded_too(tmp_path, setting):
    """A clock that jumps by a year under a large gap asked for 11 GB, and failed with a traceback."""
    rows = [(k / 50 + 3e7 * (k > 30), k % 7) for k in range(60)]
    files = {f"{what}.csv": lines("t,a", rows) for what in "uv"}
    with pytest.raises(DataError, match=r"^a recording would have \d+ samples\n") as e:
        loaded(tmp_path, files, f'files = "*.csv"\ntime = "t"\nlabel = "file"\ngroup = "file"\n{setting}')
    assert e.value.try_next == "check [data] time, and lower gap or rate"


def test_the_recordings_of_all_files_are_bounded_together(tmp_path, monkeypatch):
    monkeypatch.setattr("lnp_edge.recordings.load.MAX_VALUES", 100)
    files = {f"{what}.csv": lines("t,a", [(k, k) for k in range(0, 60, 2)]) for what in "uv"}
    with pytest.raises(DataError, match=r"^the recordings up to v.csv have more than 100 values"):
        loaded(tmp_path, files, 'files = "*.csv"\ntime = "t"\nlabel = "file"\ngroup = "file"\nrate = 1.0')


@pytest.mark.filterwarnings("error")
def test_an_empty_clock_is_told_without_a_warning(tmp_path):
    files = {f"{what}.csv": lines("t,a", [("", k) for k in range(40)]) for what in "uv"}
    with pytest.raises(DataError, match=r"^u.csv: t is empty\n"):
        loaded(tmp_path, files, 'files = "*.csv"\ntime = "t"\nlabel = "file"')


def test_too_many_values_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("lnp_edge.recordings.load.MAX_VALUES", 100)
    with pytest.raises(DataError, match="more than 100 values"):
        loaded(tmp_path, two_people(), PATH)


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


def test_a_recording_whose_label_changes_is_a_stream_whose_parts_are_the_recordings(tmp_path):
    labels = ["a"] * 20 + [""] * 3 + ["b"] * 30 + ["a"] * 10
    text = lines("t,x,kind", [*((k, k, what) for k, what in enumerate(labels)), *((k, k, "b") for k in range(80, 90))])
    settings = 'time = "t"\nchannels = ["x"]\nlabel = "kind"\ngroup = "file"'
    found, _ = loaded(tmp_path, {f"p{k}.csv": text for k in range(3)}, 'files = "*.csv"\n' + settings)
    assert [(len(s.labels), s.group) for s in found.streams] == [(63, 0), (10, 0), (63, 1), (10, 1), (63, 2), (10, 2)]
    first = found.streams[0]
    assert first.labels.tolist() == [0] * 20 + [-1] * 3 + [1] * 30 + [0] * 10
    assert first.signal[:, 0].tolist() == list(range(63))
    parts = [[*range(20)], [*range(23, 53)], [*range(53, 63)], [*range(80, 90)]]
    assert [a[:, 0].tolist() for a in found.recordings[:4]] == parts
    assert all(np.shares_memory(a, first.signal) for a in found.recordings[:3])


def test_streams_end_where_the_test_part_begins_and_where_rows_are_left_out(tmp_path):
    rows = [(k, k, "ab"[k // 50 % 2], "no" if 260 <= k < 270 else "yes") for k in range(400)]
    settings = 'files = "a.csv"\ntime = "t"\nchannels = ["x"]\nlabel = "kind"\nwhere = {worn = "yes"}'
    found, _ = loaded(tmp_path, {"a.csv": lines("t,x,kind,worn", rows)}, settings)
    assert {s.group for s in found.streams} == {0, 1} and sum(len(s.labels) for s in found.streams) == 390
    for stream in found.streams:
        x = stream.signal[:, 0].astype(int)
        assert (np.diff(x) == 1).all() and stream.labels.tolist() == (x // 50 % 2).tolist()
        assert all((k >= 300) == (stream.group == 1) for k in x.tolist() if k not in range(260, 300))


def test_files_of_one_class_each_are_no_streams(tmp_path):
    assert loaded(tmp_path, two_people(), PATH)[0].streams == ()


@pytest.mark.parametrize(
    ("second", "pause", "step", "lengths"),
    [
        ("u" * 8 + "v" * 9 + "u" * 7, 0, 3600, (88,)),  # the last recording of the first file goes on
        ("v" * 9 + "u" * 15, 0, 3600, (88,)),  # the label changes between the files
        ("u" * 8 + "v" * 9 + "u" * 7, 0, 3660, (88,)),  # a clock that is slow by less than its rate tells
        ("u" * 8 + "v" * 9 + "u" * 7, 2, 3600, (64, 24)),
        ("v" * 9 + "u" * 15, 2, 3600, (64, 24)),
    ],
)
def test_a_stream_goes_on_in_the_next_file_if_that_follows_at_once(tmp_path, second, pause, step, lengths):
    def rows(first, labels):
        times = (datetime(2026, 11, 1) + timedelta(seconds=step * (first + k)) for k in range(len(labels)))
        stamped = zip(times, range(first, first + len(labels)), labels, strict=True)
        return lines("time,x,kind", [(t.isoformat(), x, what) for t, x, what in stamped])

    files = {f"{who}_{n}.csv": rows(first, labels) for who in "abc"
             for n, first, labels in ((1, 0, "v" * 14 + "u" * 50), (2, 64 + pause, second))}  # fmt: skip
    settings = 'path = "{who}_{n}.csv"\ntime = "time"\nchannels = ["x"]\nlabel = "kind"\ngroup = "who"'
    found, _ = loaded(tmp_path, files, settings + "\nrate = 0.0002777777777777778")
    assert [(len(s.labels), s.group) for s in found.streams] == [(n, k) for k in range(3) for n in lengths]
    for stream in found.streams:
        assert (np.diff(stream.signal[:, 0].astype(int)) == 1).all()
    one = np.concatenate([s.labels for s in found.streams if s.group == 0])
    assert one.tolist() == ["uv".index(what) for what in "v" * 14 + "u" * 50 + second]
    whole = {s.group: s.signal for s in found.streams[:: len(lengths)]}
    assert all(np.shares_memory(a, whole[k]) for k, a in zip(found.groups[:1], found.recordings[:1], strict=True))
