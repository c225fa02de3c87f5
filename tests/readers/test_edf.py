"""EDF and BDF: counts as they were recorded, with unit, zero and scale; hostile files cost two lines."""

import base64
import random
import zlib

import numpy as np
import pytest
from conftest import need

from lnp_edge.base.errors import DataError
from lnp_edge.config import DataSettings
from lnp_edge.readers import NUMBER, TEXT, Column, Empty, open_table, plugins
from lnp_edge.recordings.load import load

edf = plugins.get("lnp_edge.readers", "edf")

# Written by edfio 0.4.18: 2 s of EEG at 4 Hz in -192..192 uV, of Temp at 2 Hz in 40..34 degC, digital -2048..2047, and
# annotations W from 0.5 s for 0.75 s, N1 from 1 s for 9 s, and blink without a duration at 1.5 s.
OF_EDFIO = zlib.decompress(base64.b85decode(
    "c-rMsJr9B~5IuEJ_p)~<G*>8sqfvBo(Wom%VvLGL>%t;G+YO7<1f3j+3$K^E-n)+`FGX5lrB79u$?zgKp^PfpjGQU+T}1XWj<(48U^F&|"
    "Kkl$~<T^U}d@!Nob7BpXf}2Ojb9qMXr-L{?$x!Z2@s-vMw?z>*(e^`Ti}zo03e>q{dp%!iThP=IT4P0frMhLK@Jso-u4u2^UpI*FKkEGFT}"
    "ZQgmI1V(111up9CHn1o=cVl-e^D*S^#Mm;9>H-iyM71<@trVWPRAhdjd~PQlHr"
))  # fmt: skip
# Likewise a BDF: a second at 5 Hz in -262144..262143 uV.
BDF_OF_EDFIO = zlib.decompress(base64.b85decode(
    "c-s5#<mn&m>gySy0D;s3!6k`BB`Jv|sS4CF*}zZ_h%8JE4D`Ur)X<1zGYqlNj)n>}1*KsSTGz<T$k4<@0ZbVK`4+|&7G?$(5XzkD_L>r@j)"
    "9@!|Nr{`|Nk>EFcb(f0sy5oQA7"
))  # fmt: skip


def written(signals, records=1, seconds="1", plus="", width=2, said=None):
    """A file of signals (label, unit, physical range, digital range, data [records, samples] or bytes of a record)."""
    count = len(signals)
    rows = [(label, "", unit, *physical, *digital, "", len(data[0]) // (width if isinstance(data[0], bytes) else 1))
            for label, unit, physical, digital, data in signals]  # fmt: skip
    sizes = (16, 80, 8, 8, 8, 8, 8, 80, 8)
    fixed = (("0", 8), ("", 80), ("", 80), ("01.01.26", 8), ("00.00.00", 8), (256 * (count + 1), 8), (plus, 44),
             (records if said is None else said, 8), (seconds, 8), (count, 4))  # fmt: skip
    head = "".join(str(value).ljust(size)[:size] for value, size in fixed)
    head += "".join(str(row[k]).ljust(size)[:size] for k, size in enumerate(sizes) for row in rows) + " " * 32 * count
    begin = head.encode("latin-1")
    if width == 3:
        begin = b"\xffBIOSEMI" + begin[8:]
    body = b""
    for r in range(records):
        for *_, data in signals:
            one = data[r]
            body += (
                one if isinstance(one, bytes) else b"".join(int(v).to_bytes(width, "little", signed=True) for v in one)
            )
    return begin + body


def table(tmp_path, content, name="a.edf"):
    (tmp_path / name).write_bytes(content)
    return open_table(tmp_path / name)


def read(found):
    numbers = [c.name for c in found.columns if c.kind == NUMBER]
    blocks = list(found.blocks(numbers, [c.name for c in found.columns if c.kind == TEXT]))
    return {name: [v for b in blocks for v in b[name].tolist()] for name in found.names}


def test_a_file_of_edfio_has_its_counts_units_and_annotations(tmp_path):
    """The slower signal holds its value; as it falls with the count, it is turned: ~7 is -8."""
    found = table(tmp_path, OF_EDFIO)
    rows = read(found)
    assert rows == {
        "EEG Fpz-Cz": [-32768, 32767, -1, 0, 1, 2, 3, -32768],
        "Temp": [-8, -8, -9, -9, -10, -10, 2047, 2047],
        "annotation": ["", "", "W", "W", "N1", "N1", "N1", "N1"],
    }
    assert found.rate == 4 and [c.unit for c in found.columns] == ["uV", "degC", ""]
    eeg, temp, _ = found.columns
    physical = (np.array(rows["EEG Fpz-Cz"]) - eeg.zero) * eeg.scale
    np.testing.assert_allclose(physical[[0, 1, 3]], [-192, 192, 0.0029297], atol=1e-6)  # as edfio reads it
    physical = (np.array(rows["Temp"]) - temp.zero) * temp.scale
    np.testing.assert_allclose(physical[[0, 7]], [36.989011, 40], atol=1e-6)


def test_a_bdf_of_edfio_has_physical_values_since_24_bits_are_no_counts(tmp_path):
    found = table(tmp_path, BDF_OF_EDFIO, "a.bdf")
    expected = [-262144.0, 262143.0, -0.5156249711272363, -0.4843750288692394, 2187.011583030916]  # as edfio reads it
    np.testing.assert_allclose(read(found)["A1"], expected, rtol=0, atol=1e-9)
    assert found.columns == (Column("A1", "uV"),) and found.rate == 5


def test_a_bdf_of_16_bits_has_counts_and_clips_what_is_beyond_them(tmp_path):
    signal = ("x", "mV", (-1, 1), (-2048, 2047), [[-2048, 2047, 40_000, -(2**23)]])
    found = table(tmp_path, written([signal], width=3), "a.bdf")
    assert read(found) == {"x": [-2048, 2047, 32767, -32768]} and found.columns[0].scale == 2 / 4095


def test_blocks_end_anywhere_in_a_record(tmp_path, monkeypatch):
    data = np.arange(-1500, 1500).reshape(3, 1000)
    slow = data[:, ::100]
    signals = [("x", "", (-9, 9), (-9, 9), data), ("y", "", (-9, 9), (-9, 9), slow)]
    monkeypatch.setattr(edf, "BLOCK_ROWS", 1)
    found = table(tmp_path, written(signals, 3, "10"))
    rows = read(found)
    assert rows["x"] == data.ravel().tolist() and rows["y"] == np.repeat(slow.ravel(), 100).tolist()
    assert found.rate == 100 and found.rows == 3000


def tal(onset, *texts):
    return (f"+{onset}\x14\x14\0" + "".join(f"+{a}\x15{b}\x14{t}\x14\0" for a, b, t in texts)).encode().ljust(60, b"\0")


def test_a_recording_with_breaks_says_when_its_records_begin(tmp_path):
    notes = [tal(0, (0, 99, "sit")), tal(1), tal(50.5, (51, 1, "run"))]
    signals = [("x", "g", (-9, 9), (-9, 9), [[1, 2], [3, 4], [5, 6]]), ("EDF Annotations", "", (-1, 1), (-9, 9), notes)]
    found = table(tmp_path, written(signals, 3, plus="EDF+D"))
    rows = read(found)
    assert rows["time"] == [0, 0.5, 1, 1.5, 50.5, 51] and found.rate == 0
    assert rows["annotation"] == ["sit"] * 5 + ["run"]
    with pytest.raises(DataError, match="not each says when it begins"):
        table(tmp_path, written([signals[0], (*signals[1][:4], [notes[0], bytes(60), notes[2]])], 3, plus="EDF+D"))


def noted(tmp_path, *notes):
    """The annotation of each of ten seconds."""
    first = "".join(f"+{begin}\x15{length}\x14{text}\x14\0" for begin, length, text in notes).encode()
    content = written([("x", "", (-9, 9), (-9, 9), [range(10)]),
                       ("EDF Annotations", "", (-1, 1), (-9, 9), [b"+0\x14\x14\0" + first.ljust(200, b"\0")])],
                      seconds="10", plus="EDF+C")  # fmt: skip
    return read(table(tmp_path, content))["annotation"]


def test_an_annotation_goes_on_behind_one_that_lies_on_it(tmp_path):
    sleep, cough, turn = (0, 10, "sleep"), (2, 2, "cough"), (3, 2, "turn")
    whole = ["sleep", "sleep", "cough", "cough", *["sleep"] * 6]
    assert noted(tmp_path, sleep, cough) == noted(tmp_path, cough, sleep) == whole
    assert noted(tmp_path, turn, sleep, cough) == ["sleep", "sleep", "cough", "turn", "turn", *["sleep"] * 5]
    both = ["", "", "cough", "cough", *["N1"] * 6]  # of one onset the shortest, as the other goes on behind it
    assert noted(tmp_path, (2, 8, "N1"), cough) == noted(tmp_path, cough, (2, 8, "N1")) == both
    assert noted(tmp_path, (1, 1, "a"), (5, 0, "b"), (20, 1, "c")) == ["", "a", *[""] * 8]


def test_annotations_are_those_of_every_second_painted_in_order(tmp_path):
    rng = random.Random(5)
    for _ in range(20):
        notes = [(rng.randrange(10), rng.randint(1, 6), f"n{k}") for k in range(8)]
        expected = [""] * 10
        for begin, length, text in sorted(notes, key=lambda n: (n[0], -n[1], n[2])):
            expected[begin : begin + length] = [text] * min(length, 10 - begin)
        assert noted(tmp_path, *notes) == expected, notes


def test_a_file_that_was_cut_off_gives_what_is_there_and_says_so(tmp_path):
    content = written([("x", "", (-9, 9), (-9, 9), [[1, 2], [3, 4], [5, 6]])], 3)
    found = table(tmp_path, content[:-1])
    assert read(found) == {"x": [1, 2, 3, 4]} and found.passed_over == {"missing at the end": 2}
    unstopped = table(tmp_path, content[:236] + b"-1      " + content[244:])
    assert read(unstopped)["x"] == [1, 2, 3, 4, 5, 6] and not unstopped.passed_over


def test_recordings_keep_counts_units_and_scale_even_where_the_gain_of_a_file_differs(tmp_path):
    """b.edf has twice the gain: its counts are halved to those of a.edf."""
    need("pandas")
    rng = np.random.default_rng(1)
    wave = rng.integers(-300, 300, (20, 50))
    wave[0, 0] = -32768  # the least count is a count too
    for name, top in (("a", 100.0), ("b", 200.0)):
        notes = [tal(r, (r, 1, ("rest", "walk")[r % 2])) for r in range(20)]
        signals = [("ax", "g", (-top, top), (-1000, 1000), wave), ("EDF Annotations", "", (-1, 1), (-9, 9), notes)]
        (tmp_path / f"{name}.edf").write_bytes(written(signals, 20, plus="EDF+C"))
    dataset, report = load(DataSettings(root=str(tmp_path), files="*.edf", label="annotation", group="file"))
    (channel,) = report.channels
    assert (channel.low, channel.high) == (-32768, 2 * wave.max())
    assert channel.extremes == pytest.approx((-3276.8, 0.2 * wave.max()), rel=1e-12) and channel.unit == "g"  # floats
    assert dataset.classes == ("rest", "walk") and dataset.dt == 0.02 and len(dataset.recordings) == 40
    (quantity,) = dataset.quantities
    assert (quantity.unit, quantity.zero, quantity.scale, quantity.in_file) == ("g", 0.0, 0.1, True)
    assert dataset.recordings[0].tolist() == wave[0][:, None].tolist()
    double = [r for r, group in zip(dataset.recordings, dataset.groups, strict=True) if group == 1][1]
    assert double.tolist() == (2 * wave[1])[:, None].tolist()
    settings = DataSettings(root=str(tmp_path), files="*.edf", target=("ax",), ahead=0.02)
    for other in ((-1, 1), (-9, 9)), ((-100.0, 100.0), (-1000, 1000)):  # the latter are those of a.edf
        (tmp_path / "b.edf").write_bytes(written([("ax", "mV", *other, wave)], 20))
        with pytest.raises(DataError, match=r"b.edf has ax in mV, files before it in g"):
            load(settings)


def test_files_of_24_bits_in_two_units_are_refused(tmp_path):
    need("pandas")
    wave = np.arange(1000).reshape(20, 50)
    for name, unit in (("a", "uV"), ("b", "mV")):
        content = written([("ax", unit, (-9, 9), (-(2**23), 2**23 - 1), wave)], 20, width=3)
        (tmp_path / f"{name}.bdf").write_bytes(content)
    with pytest.raises(DataError, match=r"b.bdf has ax in mV, files before it in uV"):
        load(DataSettings(root=str(tmp_path), files="*.bdf", target=("ax",), ahead=0.02))


PLAIN = ("x", "", (-9, 9), (-9, 9), [[1, 2]])


@pytest.mark.parametrize(("content", "what"), [
    (b"junk" * 100, "does not begin"),
    (written([PLAIN])[:300], "cut off"),
    (written([PLAIN], seconds="0"), "lasts 0 s"),
    (written([PLAIN], seconds="nan"), "lasts nan s"),
    (written([PLAIN], seconds="1e-300"), "lasts"),
    (written([("x", "", (-9, "inf"), (-9, 9), [[1]])]), "to inf"),
    (written([("x", "", (-9, 9), ("a", 9), [[1]])]), "invalid literal"),
    (written([PLAIN]).replace(b"1   x", b"-1  x"), "-1 signals"),
    (written([PLAIN]).replace(b"1   x", b"9999x"), "it has 9999 signals"),
    (written([PLAIN, ("EDF Annotations", "", (-1, 1), (-9, 9), [bytes(2)])], plus="EDF+D"), "not each says"),
    (written([("time", "", (-9, 9), (-9, 9), [[1]]), ("EDF Annotations", "", (-1, 1), (-9, 9), [tal(0)])],
             plus="EDF+D"), "called time"),
])  # fmt: skip
def test_what_is_no_edf_is_refused(tmp_path, content, what):
    with pytest.raises(DataError, match=what):
        table(tmp_path, content)


def test_a_file_without_samples_is_empty(tmp_path):
    for content in (written([PLAIN], 0), written([("EDF Annotations", "", (-1, 1), (-9, 9), [tal(0)])])):
        with pytest.raises(Empty):
            table(tmp_path, content)


def mutant(content, rng):
    """Some bytes changed, of the header mostly digits; or a part cut out or doubled."""
    found = bytearray(content)
    for _ in range(rng.randint(1, 6)):
        at = rng.randrange(len(found))
        kind = rng.random()
        if kind < 0.5:
            found[at] = rng.choice(b"0123456789-+. eE\0\x14\x15xX") if rng.random() < 0.7 else rng.randrange(256)
        elif kind < 0.75:
            del found[at : at + rng.randint(1, 300)]
        else:
            found[at:at] = found[at : at + rng.randint(1, 300)]
        if not found:
            break
    return bytes(found)


@pytest.mark.parametrize("seed", range(40))
def test_damaged_files_are_read_or_refused(tmp_path, seed):
    rng = random.Random(seed)
    broken = written([PLAIN, ("EDF Annotations", "", (-1, 1), (-9, 9), [tal(0, (0, 1, "a"))])], plus="EDF+D")
    content = mutant(rng.choice([OF_EDFIO, BDF_OF_EDFIO, broken]), rng)
    try:
        rows = read(table(tmp_path, content))
    except DataError:
        return
    assert len({len(column) for column in rows.values()}) == 1


def test_annotations_are_bounded(tmp_path, monkeypatch):
    """Operations, not seconds: a pattern that looks for an end from every start would take hours for this one."""
    content = written([PLAIN, ("EDF Annotations", "", (-1, 1), (-9, 9), [b"+1\x15" * 2**20])], plus="EDF+C")
    assert read(table(tmp_path, content)) == {"x": [1, 2]}
    monkeypatch.setattr(edf, "MAX_NOTE_BYTES", 2**20)
    with pytest.raises(DataError, match="more than 1048576 bytes of annotations"):
        table(tmp_path, content)


@pytest.mark.parametrize("one", [b"+1\x151\x14a\x14\0", b"a\0", b"a\x14"])
def test_annotations_are_counted(tmp_path, monkeypatch, one):
    monkeypatch.setattr(edf, "MAX_NOTES", 8)
    for count, refused in ((8, False), (100, True)):
        note = ("EDF Annotations", "", (-1, 1), (-9, 9), [(b"+0\x14\x14\0" + one * count).ljust(2000, b"\0")])
        content = written([PLAIN, note], plus="EDF+C")
        if not refused:
            assert read(table(tmp_path, content))["x"] == [1, 2]
            continue
        with pytest.raises(DataError, match="more than 8 annotations"):
            table(tmp_path, content)
