"""lnp new finds out what a folder holds and lnp data reports on it; both survive names and files that are hostile."""

import json
import re
import shlex
import tomllib

import numpy as np
import pytest
from conftest import need

from lnp_edge import config
from lnp_edge.cli import main
from lnp_edge.recordings import names
from lnp_edge.recordings.look import triples
from lnp_edge.task.fit import configuration
from lnp_edge.task.split import load_data, split

need("pandas")
RNG = np.random.default_rng(5)


def rows(count, step=0.02, label=None, width=3):
    x = np.round(RNG.normal(0, 1, (count, width)), 3)
    return "".join(
        f"{k * step:.4g}," + ",".join(map(str, row)) + (f",{label}" if label else "") + "\n" for k, row in enumerate(x)
    )


def folder(tmp_path, files):
    for place, text in files.items():
        path = tmp_path / "rec" / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "rec"


def new(tmp_path, files, *more):
    """The data section that lnp new writes, and the data set that it describes."""
    code = main(["new", str(tmp_path / "my.toml"), "--data", str(folder(tmp_path, files)), *more])
    assert code == 0
    found = configuration(str(tmp_path / "my.toml"))
    return found.data, load_data(found)


HEAD = "time [s],acc x (g),acc y (g),acc z (g)"


def test_folders_of_people_with_the_class_in_the_name(tmp_path, capsys):
    files = {f"{who}/{what}_{n}.csv": f"{HEAD}\n{rows(150)}"
             for who in ("anna", "bert", "carla") for what in ("run", "walk") for n in (1, 2)}  # fmt: skip
    data, found = new(tmp_path, files | {"notes.md": "x", "anna/readme.txt": "hello\n"})
    assert (data.path, data.label, data.group) == ("{person}/{label}_{n}.csv", "label", "person")
    assert data.vectors == (("acc x", "acc y", "acc z"),) and found.dt == 0.02
    assert [q.unit for q in found.quantities] == ["g"] * 3
    said = capsys.readouterr()
    assert "run" in said.out and "carla" in said.out and "next: lnp train" in said.err and "check" not in said.err


def test_what_loggers_write_for_no_value_is_found(tmp_path, capsys):
    """Else one -999 sets the scale of the channel, and its signal fits into a few counts."""
    clean, _ = new(tmp_path / "a", {f"{what}.csv": f"{HEAD}\n{rows(300)}" for what in ("run", "walk")})
    assert clean.missing == () and "missing" not in (tmp_path / "a/my.toml").read_text()
    lines = rows(300).splitlines()
    for k in (7, 90, 200):
        lines[k] = lines[k].rpartition(",")[0] + ",-999.9"
    lines[50] = lines[50].rpartition(",")[0] + ",500"  # a wild value, but no sign
    lines[60] = lines[60].rpartition(",")[0] + ",500"
    files = {f"{what}.csv": HEAD + "\n" + "\n".join(lines) + "\n" for what in ("run", "walk")}
    data, found = new(tmp_path / "b", files)
    assert data.missing == found.missing == (-999.9,)
    text = (tmp_path / "b/my.toml").read_text()
    said = capsys.readouterr()
    assert "missing = [-999.9]  # CHECK: 6 values" in text and "acc z is 500 in 4 rows" in said.out
    assert "check [data] missing = [-999.9]: 6 values" in said.err


def test_numbered_people_and_no_header(tmp_path, capsys):
    files = {f"{what}-U{u:02d}-{n}.txt": rows(120).replace(",", " ").replace("\n", " 7\n")
             for what in ("tap", "swipe") for u in (1, 2, 3) for n in (1, 2)}  # fmt: skip
    data, found = new(tmp_path, files)
    assert data.path == "{label}-{person}-{n}.txt" and data.columns[0] == "c1" and data.time == ("c1",)
    assert found.channels == ("c2", "c3", "c4") and "c5: is always 7" in (tmp_path / "my.toml").read_text()


def test_labels_in_a_column_and_a_clock_in_milliseconds(tmp_path, capsys):
    text = "millis,ax,ay,az,activity\n" + "".join(rows(200, 20, what) for what in ("sit", "walk", "sit", "walk"))
    data, found = new(tmp_path, {"a.csv": text, "b.csv": text, "c.csv": text})
    assert (data.label, data.group, data.time_unit, found.dt) == ("activity", "file", "ms", 0.02)
    assert found.classes == ("sit", "walk") and "check [data] group" in capsys.readouterr().err


def test_a_series_without_labels(tmp_path, capsys):
    lines = [
        f"2026-11-{d:02d} {h:02d}:00:00;{20 + d + h:.1f};5".replace(".", ",") for d in range(1, 12) for h in range(24)
    ]
    data, found = new(tmp_path, {"a.csv": "Zeit;T [°C];same\n" + "\n".join(lines)})
    assert (data.target, data.ahead, data.frame, found.dt) == (("T",), 6 * 3600, 1, 3600)
    assert "forecast" in capsys.readouterr().err


def test_what_the_user_says_counts(tmp_path, capsys):
    text = "ax,ay,az,kind,mood\n" + "".join(rows(100, 1, f"{w},{w}2") for w in ("u", "v", "u", "v")).replace("\n", "\n")
    text = "n," + text
    data, found = new(tmp_path, {"a.csv": text, "b.csv": text}, "--label", "mood", "--rate", "25")
    assert data.label == "mood" and found.dt == 0.04 and found.classes == ("u2", "v2") and "n" not in found.channels


def test_a_series_of_machines_as_its_header_calls_them(tmp_path, capsys):
    lines = [f"{600 * k};{m};{v + k % 7:.1f};{v}" for k, v in enumerate(RNG.normal(5, 1, 400).round(1)) for m in "ab"]
    files = {"log.csv": "t [s];machine;vib_rms [mm/s];T;same\n" + "\n".join(f"{line};5" for line in lines)}
    data, found = new(tmp_path, files, "--target", "Vib_RMS [mm/s]")
    assert data.target == ("vib_rms",) and found.group_titles == (
        "a (earlier)",
        "a (later)",
        "b (earlier)",
        "b (later)",
    )
    (group,) = re.findall("group = .*", (tmp_path / "my.toml").read_text())
    assert "whole groups" not in group and group.endswith("held out for the test: the last 30% of each group's time")
    said = capsys.readouterr().err
    assert "no channel: same: is always 5" in said
    with pytest.raises(SystemExit):
        main(["new", str(tmp_path / "b.toml"), "--data", str(tmp_path), "--ahead", "1h"])
    assert "'1h' is no number of seconds: an hour is 3600" in capsys.readouterr().err


def test_nothing_is_replaced_unless_told(tmp_path, capsys):
    files = {f"{w}.csv": HEAD + "\n" + rows(200) for w in ("u", "v")}
    (tmp_path / "my.toml").write_text("mine")
    words = ["new", str(tmp_path / "my.toml"), "--data", str(folder(tmp_path, files)), "--label", "file"]
    assert main(words) == 2 and (tmp_path / "my.toml").read_text() == "mine"
    assert "my.toml exists" in capsys.readouterr().err
    assert main([*words, "--overwrite"]) == 0 and (tmp_path / "my.toml").read_text() != "mine"


@pytest.mark.parametrize("words", [[], ["my.toml"], ["my.toml", "--data", "nosuch"], ["my.txt", "--data", "."]])
def test_what_is_missing_is_told_in_two_lines(tmp_path, monkeypatch, capsys, words):
    monkeypatch.chdir(tmp_path)
    assert main(["new", *words]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 2 and not list(tmp_path.iterdir())


def test_the_report_as_text_json_and_page(tmp_path, capsys):
    files = {f"{who}/{what}.csv": f"{HEAD}\n{rows(n)}{'junk'}\n{rows(0)}" for who in ("p1", "p2", "p3")
             for what, n in (("a", 400), ("b", 150))}  # fmt: skip
    new(tmp_path, files)
    capsys.readouterr()
    page = tmp_path / "r.html"
    assert main(["data", str(tmp_path / "my.toml"), "--json", "--html", str(page)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["minutes"] == pytest.approx(np.tile([400 * 0.02 / 60, 150 * 0.02 / 60], (3, 1)))
    assert found["events"] == {"lines that are no rows": 6} and found["metric"] == "macro_f1"
    assert any("a has 2.67 times the time of b" in remark for remark in found["remarks"])
    text = page.read_text()
    assert main(["data", str(tmp_path / "my.toml")]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert [line for line in printed if line != line.rstrip()] == [], "no blanks at the ends of lines"
    assert {mark for line in printed for mark in line if "\u2500" <= mark <= "\u257f"} == {"─"}, "one style of tables"
    assert text.count("data:image/png;base64,") == 3 and "lines that are no rows: 6" in text
    assert all(source.startswith("'data:") for source in re.findall(r"(?:src|href)=(.{6})", text)), "it loads nothing"


def test_a_stuck_channel_is_in_each_form_of_the_report(tmp_path, capsys):
    text = rows(400).splitlines()
    text[150:300] = [line.rpartition(",")[0] + ",0.125" for line in text[150:300]]
    files = {f"p{k}/{what}.csv": f"{HEAD}\n{rows(400)}" for k in (1, 2, 3) for what in ("run", "walk")}
    new(tmp_path, files | {"p2/walk.csv": f"{HEAD}\n" + "\n".join(text) + "\n"})
    assert "acc z stands still at 0.125 for 150 rows of p2/walk.csv" in " ".join(capsys.readouterr().out.split())
    assert main(["data", str(tmp_path / "my.toml"), "--json", "--html", str(tmp_path / "r.html")]) == 0
    (found,) = json.loads(capsys.readouterr().out)["still"]["acc z"]
    assert found == {
        "value": 0.125, "rows": 150, "file": "p2/walk.csv", "group": "p2", "begin": 3.0, "absolute": False,
        "part": "training",
    }  # fmt: skip
    assert "acc z stands still at 0.125 for 150 rows of p2/walk.csv" in (tmp_path / "r.html").read_text()


def test_names_from_files_neither_mark_up_nor_escape(tmp_path, capsys):
    files = {f"p{k}/[red]x[_red]<b>$a_{w}.csv": f"[bold]t[_bold],<script>,$x^$\n{rows(150, width=2)}"
             for k in (1, 2, 3) for w in "uv"}  # fmt: skip
    new(tmp_path, files)
    assert main(["data", str(tmp_path / "my.toml"), "--html", str(tmp_path / "r.html")]) == 0
    said = capsys.readouterr().out
    assert "<script>" in said and "\x1b" not in said
    assert "<script>" not in (tmp_path / "r.html").read_text() and "&lt;script&gt;" in (tmp_path / "r.html").read_text()


def test_a_report_on_a_built_in_task_is_refused(capsys):
    assert main(["data", str(config.SPAR)]) == 2
    assert "no files of your own" in capsys.readouterr().err


def test_vectors_are_named_alike():
    assert triples(["ax", "ay", "az", "gx", "gy", "w"]) == [["ax", "ay", "az"]]
    assert triples(["x_acc", "y_acc", "z_acc", "Gyro Z", "Gyro X", "Gyro Y"]) == [
        ["x_acc", "y_acc", "z_acc"], ["Gyro X", "Gyro Y", "Gyro Z"],
    ]  # fmt: skip
    assert triples(["flux", "fluy", "extra"]) == triples([]) == []


def test_a_path_is_guessed_only_if_all_names_are_made_alike():
    some = [f"{who}/{what}_1.csv" for who in ("anna", "bert") for what in ("run", "walk")]
    assert names.parts(some).template == "{person}/{label}_1.csv"
    assert names.parts(["run.csv", "walk_1.csv"]) is None and names.parts(["a.csv"]) is None


@pytest.mark.parametrize("words", [("--rate", "nan"), ("--rate", "0"), ("--rate", "1e-320"), ("--ahead", "inf")])
def test_numbers_that_are_none_are_refused_by_name(tmp_path, capsys, words):
    place = folder(tmp_path, {"a.csv": f"{HEAD}\n{rows(150)}"})
    assert main(["new", str(tmp_path / "my.toml"), "--data", str(place), *words]) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert words[0] in first and second and not (tmp_path / "my.toml").exists()


def test_texts_of_the_data_never_become_settings(tmp_path, capsys):
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    evil = ("walk\ngap = 9.0\nrate = 7.0 #", "run\x1b[2J\x7f\x85")
    folder(tmp_path, {})
    for k in range(4):
        x = np.random.default_rng(k).integers(-99, 99, (300, 2))
        frame = pandas.DataFrame({"t": np.arange(300) * 0.02, "a": x[:, 0], "b": x[:, 1], "what": evil[k % 2]})
        frame.assign(note=evil[0]).to_parquet(tmp_path / f"{k}.parquet")
    assert main(["new", str(tmp_path / "my.toml"), "--data", str(tmp_path), "--label", "what"]) == 0
    found = tomllib.loads((tmp_path / "my.toml").read_text())["data"]
    assert "gap" not in found and found.get("rate", 50.0) == 50.0


def test_the_names_of_files_with_a_column_of_labels_say_the_person(tmp_path, capsys):
    text = "t,ax,ay,az,act\n" + "".join(rows(200, 0.02, what) for what in ("sit", "walk"))
    files = {f"{who}_Sitzung{n}.csv": text for who in ("Anna", "Chris", "Doro") for n in (1, 2)}
    data, found = new(tmp_path, files)
    assert (data.path, data.label, data.group) == ("{person}_{n}.csv", "act", "person")
    assert found.group_titles == ("Anna", "Chris", "Doro")
    assert 'check [data] group = "person"' in capsys.readouterr().err
    data, _ = new(tmp_path, files, "--group", "person", "--overwrite")
    assert data.path == "{person}_{n}.csv"
    assert main(["new", str(tmp_path / "b.toml"), "--data", str(tmp_path / "rec"), "--group", "wearer"]) == 2
    told = capsys.readouterr().err
    assert "no column 'wearer'" in told and "--path '{wearer}_{n}.csv'" in told and "nor" not in told
    data, _ = new(tmp_path, files, "--path", "{wearer}_{n}.csv", "--group", "wearer", "--overwrite")
    assert (data.path, data.group, data.label) == ("{wearer}_{n}.csv", "wearer", "act")


def test_numbered_folders_with_the_class_in_the_name_are_machines_to_check(tmp_path, capsys):
    files = {f"pump{m}/{what}_{n:02d}.csv": f"{HEAD}\n{rows(150)}"
             for m in (1, 2, 3) for what in ("ok", "worn") for n in (1, 2)}  # fmt: skip
    data, found = new(tmp_path, files)
    assert (data.path, data.group) == ("{person}/{label}_{n}.csv", "person")
    assert found.group_titles == ("pump1", "pump2", "pump3")
    assert 'check [data] group = "person"' in capsys.readouterr().err


ANNA = ("anna", "bert", "carla")


def named(form, what, who=ANNA):
    """Recordings with the class and the person in the names."""
    return {form.format(what=w, who=p, n=f"{n:02d}"): f"{HEAD}\n{rows(150)}" for w in what for p in who for n in (1, 2)}


def path_of(told):
    """What a shell takes for the --path of a line."""
    return shlex.split(told[told.index("--path") :])[1]


@pytest.mark.parametrize(("form", "path"), [
    ("{what}/{who}_{n}.csv", "{label}/{person}_{n}.csv"),
    ("{what}/{who}/{n}.csv", "{label}/{person}/{n}.csv"),
    ("{who}/{what}/{n}.csv", "{person}/{label}/{n}.csv"),
    ("{who}_{what}_{n}.csv", "{person}_{label}_{n}.csv"),
    ("{what}_{who}_{n}.csv", "{label}_{person}_{n}.csv"),
])  # fmt: skip
def test_words_for_classes_tell_the_label_from_the_person_wherever_they_stand(tmp_path, capsys, form, path):
    data, found = new(tmp_path, named(form, ("walk", "sit", "jump")))
    assert (data.path, data.label, data.group) == (path, "label", "person")
    assert found.classes == ("jump", "sit", "walk") and found.group_titles == ANNA
    assert "check" not in capsys.readouterr().err


def test_parts_that_nothing_tells_apart_are_to_check_with_the_way_to_swap_them(tmp_path, capsys):
    files = named("Übung $1/{what}/{who}_{n}.csv", ("zig", "zag"))
    data, found = new(tmp_path, files)
    said = capsys.readouterr().err
    assert data.path == "Übung $1/{label}/{person}_{n}.csv" and found.group_titles == ANNA, (
        "folders are classes more often"
    )
    assert 'check [data] label = "label": a guess' in said and 'check [data] group = "person": a guess' in said
    swap = path_of(re.search(r"add --overwrite (--path .*)", said)[1])
    _, found = new(tmp_path, files, "--path", swap, "--overwrite")
    assert found.classes == ANNA and found.group_titles == ("zag", "zig")
    assert "check" not in capsys.readouterr().err, "it is as told"


@pytest.mark.parametrize(("classes", "who"), [(("zig", "zag"), ("Mia", "Tom", "Ben")), (("zag", "zog"), None)])
def test_names_of_people_are_capitalised_and_a_machine_has_one_state(tmp_path, classes, who, capsys):
    """Names alone, and machines of which each has one state: the state is what the machine decides."""
    files = named("{what}_{who}_{n}.csv", classes, who) if who else {
        f"{what}_{m}_{n}.csv": f"{HEAD}\n{rows(150)}"
        for m, what in zip("uvwxyz", classes * 3, strict=True) for n in (1, 2)
    }  # fmt: skip
    _, found = new(tmp_path, files)
    assert found.classes == tuple(sorted(classes)) and set(found.group_titles) == set(who or "uvwxyz")


@pytest.mark.parametrize("more", [(), ("--group", "person")])
def test_the_folder_as_the_label_leaves_the_other_part_to_the_person(tmp_path, capsys, more):
    data, found = new(tmp_path, named("{what}/{who}_{n}.csv", ("zig", "zag")), "--label", "folder", *more)
    assert (data.label, data.group, data.path) == ("folder", "person", "{n}/{person}_{n2}.csv")
    assert found.classes == ("zag", "zig") and found.group_titles == ANNA
    data, found = new(tmp_path / "2", named("{who}/{what}_{n}.csv", ("zig", "zag")), "--group", "folder")
    assert (data.label, data.group) == ("label", "folder")
    assert found.classes == ("zag", "zig") and found.group_titles == ANNA


def test_what_the_names_do_not_say_is_refused_with_a_path_that_fits(tmp_path, capsys):
    files = named("Übung $1/{what}/{who}_{n}.csv", ("walk", "sit"))
    words = ["new", str(tmp_path / "my.toml"), "--data", str(folder(tmp_path, files))]
    assert main([*words, "--label", "activity"]) == 2
    what, remedy = capsys.readouterr().err.splitlines()
    assert "no column 'activity'" in what and "acc x" in what
    path = path_of(remedy)
    assert path == "Übung $1/{activity}/{person}_{n}.csv"
    assert main([*words, "--label", "activity", "--path", path]) == 0
    found = configuration(str(tmp_path / "my.toml"))
    assert (found.data.label, found.data.group) == ("activity", "person")
    (tmp_path / "my.toml").write_text(
        (tmp_path / "my.toml").read_text().replace('group = "person"', 'group = "folder"')
    )
    assert main(["data", str(tmp_path / "my.toml")]) == 0
    assert "each activity is one folder and each folder one activity" in capsys.readouterr().out
    for both in ("folder", "person"):
        assert main([*words, "--label", both, "--group", both, "--overwrite"]) == 2
        assert "are both" in capsys.readouterr().err


def test_a_folder_is_no_configuration(tmp_path, capsys):
    assert main(["data", str(tmp_path)]) == 2
    assert f"lnp new my.toml --data {tmp_path}" in capsys.readouterr().err


def test_long_times_are_told_in_days_and_what_no_group_lacks_has_no_column(tmp_path, capsys):
    text = "time,T\n" + "".join(
        f"2026-{m:02d}-{d:02d},{(7 * m + d) % 11}\n" for m in range(1, 13) for d in range(1, 28)
    )
    new(tmp_path, {"a.csv": text}, "--target", "T", "--ahead", "86400")
    told = capsys.readouterr().out
    assert main(["data", str(tmp_path / "my.toml"), "--html", str(tmp_path / "r.html")]) == 0
    assert "<h2>Days</h2>" in (tmp_path / "r.html").read_text()
    assert "days of each part" in told and "earlier" in told and "minutes" not in told and "lacks" not in told


def test_fast_signals_are_told_what_they_want(tmp_path, capsys):
    files = {f"p{m}/{what}_{n}.csv": f"{HEAD}\n{rows(900, 0.001)}"
             for m in (1, 2, 3) for what in ("ok", "worn") for n in (1, 2)}  # fmt: skip
    new(tmp_path, files)
    told = capsys.readouterr().err
    assert "check [data] window = 0.1: at 1000 Hz" in told and 'front = "bands", frame = 64, window = 0.448' in told
    text = (tmp_path / "my.toml").read_text().replace("frame = 4 ", 'front = "bands"\nwindow = 0.448\nframe = 64 ')
    (tmp_path / "my.toml").write_text(text)
    found = configuration(str(tmp_path / "my.toml"))
    assert split(found, load_data(found)).task.window == 448


def test_labels_of_any_length_leave_a_configuration_that_can_be_read(tmp_path, capsys):
    """The comment named six of them whole: lnp refused the 30 kB that it had written."""
    long = {name: name * 10_000 for name in "uv"}
    text = "t,a,activity\n" + "".join(f"{k * 0.04:.4g},{k % 9},{long['uv'[k // 200 % 2]]}\n" for k in range(800))
    data, found = new(tmp_path, {"a.csv": text, "b.csv": text})
    assert data.label == "activity" and len(found.classes) == 2
