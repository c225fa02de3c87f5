"""Values become counts of 16 bits, and the report says what is odd about a channel."""

import re

import numpy as np
import pytest
from conftest import need
from own_files import PATH, lines, loaded, two_people

from lnp_edge import config
from lnp_edge.base.errors import DataError
from lnp_edge.readers import Column
from lnp_edge.recordings import counts, still
from lnp_edge.recordings.report import ChannelReport

need("pandas")


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
