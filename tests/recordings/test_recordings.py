"""Files of your own become recordings and streams: labels, groups, parts, and limits of all together."""

from datetime import datetime, timedelta

import numpy as np
import pytest
from conftest import need
from own_files import PATH, lines, loaded, two_people

from lnp_edge.base.errors import ConfigError, DataError, LnpError
from lnp_edge.recordings.find import natural, template_of

need("pandas")


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


def test_too_many_values_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("lnp_edge.recordings.load.MAX_VALUES", 100)
    with pytest.raises(DataError, match="more than 100 values"):
        loaded(tmp_path, two_people(), PATH)


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
