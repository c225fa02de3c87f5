"""Every dialect gives the same columns; whatever else is in a file is passed over, or refused in two lines."""

import io
import os
import zipfile

import numpy as np
import pytest
from conftest import need
from scipy.io import wavfile

from lnp_edge import readers
from lnp_edge.base.errors import DataError
from lnp_edge.readers import NUMBER, Empty, csv_text, named_columns, open_table
from lnp_edge.spec import plugins
from lnp_edge.spec.quantity import is_missing

need("pandas")


def table(tmp_path, content, name="a.csv"):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return open_table(path)


def read(found):
    """All rows of all columns: numbers as lists, others as lists of texts."""
    numbers = [c.name for c in found.columns if c.kind == NUMBER]
    others = [c.name for c in found.columns if c.kind != NUMBER]
    blocks = list(found.blocks(numbers, others))
    return {name: [v for b in blocks for v in b[name].tolist()] for name in found.names}


@pytest.mark.parametrize("content", [
    "a,b\n1.5,2\n-3,4e1\n",
    "a;b\n1,5;2\n-3;4e1\n",
    "a;b\n1.5;2\n-3;4e1\n",
    "a\tb\n1.5\t2\n-3\t4e1\n",
    "a|b\n1,5|2\n-3|4e1\n",
    "a b\n1.5 2\n  -3   4e1",
    "a, b\n1.5, 2\n-3, 4e1\n",
    '"a","b"\n"1.5","2"\n"-3","4e1"\n',
    '"a";"b"\n"1,5";"2"\n"-3";"4e1"\n',
    "a,b\r\n1.5,2\r\n-3,4e1\r\n",
    "a,b\r1.5,2\r-3,4e1\r",
    "\ufeffa,b\n1.5,2\n-3,4e1\n",
    "a,b\n1.5,2\n-3,4e1\n".encode("utf-16"),
    "a;b\n1,5;2\n-3;4e1\n".encode("utf-16-be"),
    "# made by a logger\n# a,b\n1.5,2\n-3,4e1\n",
    "a,b,\n1.5,2,\n-3,4e1,\n",
    "a,b\n1.5,2,\n-3,4e1,\n",
    "\n\na,b\n\n1.5,2\n\n-3,4e1\n\n",
])  # fmt: skip
def test_every_dialect_gives_the_same_columns(tmp_path, content):
    found = table(tmp_path, content)
    assert read(found) == {"a": [1.5, -3.0], "b": [2.0, 40.0]}
    assert found.named and found.rows == 2 and not found.passed_over


def test_units_come_from_brackets_or_a_second_line(tmp_path):
    found = table(tmp_path, "t,acc x (m/s^2),ay [g],ay [g]\n1,2,3,4\n")
    assert [(c.name, c.unit) for c in found.columns] == [("t", ""), ("acc x", "m/s^2"), ("ay", "g"), ("ay.2", "g")]
    assert [c.unit for c in table(tmp_path, "t;a\ns;g\n1;2\n3;4\n").columns] == ["s", "g"]
    assert table(tmp_path, "Temp \xb0C;b\n1;2\n".encode("cp1252")).names == ["Temp °C", "b"]


def test_a_banner_that_is_filled_up_with_delimiters_gives_no_names(tmp_path):
    """As spreadsheets write a title above a table: the names below it were taken for units."""
    rows = "\n1;2;3\n4;5;6\n"
    found = table(tmp_path, f"Logger XL;SN 7;\nt [s];ax [g];note{rows}")
    assert [(c.name, c.unit) for c in found.columns] == [("t", "s"), ("ax", "g"), ("note", "")]
    read(found)
    assert found.passed_over["no row"] == 1
    assert [c.unit for c in table(tmp_path, f"t;ax;note\ns;g;{rows}").columns] == ["s", "g", ""]


def test_without_a_header_columns_are_numbered(tmp_path):
    found = table(tmp_path, " 1 2\n 3 4\n", "a.txt")
    assert not found.named and read(found) == {"1": [1, 3], "2": [2, 4]}
    assert read(table(tmp_path, "v\n1,5\n2,5\n")) == {"v": [1.5, 2.5]}  # one column with decimal commas
    assert read(table(tmp_path, "12,34\n13,40\n")) == {"1": [12, 13], "2": [34, 40]}


def test_text_and_times_stay_as_they_are(tmp_path):
    found = table(tmp_path, "time,a,what\n2026-11-03 14:05:00,1,walk\n2026-11-03 14:05:01,2,NA\n")
    assert [c.kind for c in found.columns] == ["time", "number", "text"]
    assert read(found)["what"] == ["walk", "NA"] and read(found)["time"][1] == "2026-11-03 14:05:01"


def test_empty_and_foreign_cells_are_not_a_number(tmp_path):
    found = read(table(tmp_path, "a,b\n1,2\n,4\nNaN,5\nERR,6\ninf,7\n1e308,8\n9,9\n"))
    assert np.isnan(found["a"]).tolist() == [False, True, True, True, True, True, False]
    assert found["b"] == [2, 4, 5, 6, 7, 8, 9]


def test_a_reader_and_a_stream_agree_on_the_largest_value(tmp_path):
    values = read(table(tmp_path, "a,b\n1e30,1\n-1e30,2\n1.1e30,3\n1e308,4\n"))["a"]
    assert [v != v for v in values] == is_missing(np.array([1e30, -1e30, 1.1e30, 1e308]), ()).tolist()


@pytest.mark.parametrize("cell", ["#N/A", "#DIV/0!", "#num!", "+Inf", "NoData", "1e400"])
def test_a_row_without_any_value_is_a_row(tmp_path, cell):
    """It vanished, as a comment or as a line of words, and the row after it seemed to follow on the one before it."""
    found = table(tmp_path, f"x,y\n{cell},{cell}\n1,2\n{cell},{cell}\n3,+Inf\n{cell},4\nfault,fault\n")
    assert found.names == ["x", "y"] and len(read(found)["x"]) == 5
    assert found.passed_over == {"no row": 1}


def test_banners_half_lines_and_second_headers_are_passed_over_and_counted(tmp_path):
    rows = "".join(f"{k},{k}\n" for k in range(20))
    lines = f"boot v2\nlogger, serial, 7\na,b\n{rows}5\n3,4,5\nboot v2\na,b\n\0\0,\0\n{rows}1,"
    found = table(tmp_path, lines)
    assert read(found)["a"] == [*range(20), *range(20), 1.0]
    assert found.passed_over["no row"] == 7
    assert read(found)["a"][:3] == [0, 1, 2] and found.passed_over["no row"] == 7, "a second reading counts afresh"


def test_a_quote_that_is_never_closed_costs_one_line(tmp_path):
    found = table(tmp_path, 'a,b\n1,2\n"3,4\n5,6\n7,8\n')
    assert read(found)["a"] == [1, 5, 7] and found.passed_over["no row"] == 1


def test_a_line_without_an_end_is_passed_over(tmp_path, monkeypatch):
    found = table(tmp_path, b"a,b\n1,2\n" + b"9" * 3_000_000 + b"\n3,4\n5,6\n")
    assert read(found) == {"a": [1, 3, 5], "b": [2, 4, 6]} and found.passed_over.total() == 1


def test_blocks_are_bounded_and_cut_nowhere(tmp_path, monkeypatch):
    monkeypatch.setattr(csv_text, "CHUNK", 50)
    found = table(tmp_path, "a,b\n" + "".join(f"{k},{-k}\n" for k in range(100)))
    sizes = [len(block["a"]) for block in found.blocks(["a"], [])]
    assert sum(sizes) == 100 and max(sizes) < 20
    assert read(found)["b"] == [-k for k in range(100)]


@pytest.mark.parametrize(("content", "what"), [
    (np.random.default_rng(1).bytes(50_000), "no rows of numbers"),
    ("hello world\nthis is text\nand more of it\n", "no rows of numbers"),
    (",".join(map(str, range(100_000))) + "\n", "columns"),
    ("1,2\n" * 17_000 + "junk\n" * 18_000, "18000 of 35000 lines are not rows of 2 columns"),
    ('a,b\n"1,2\n"3,4\n', "no rows"),
])  # fmt: skip
def test_what_is_no_table_is_refused(tmp_path, content, what):
    with pytest.raises(DataError, match=what):
        read(table(tmp_path, content))


@pytest.mark.parametrize("content", ["", "\n\n", "a,b\n", "# a,b\n"])
def test_a_file_without_rows_is_empty(tmp_path, content):
    with pytest.raises(Empty):
        table(tmp_path, content)


def test_names_are_printable_and_short(tmp_path):
    names = table(tmp_path, "a\x1b[31m,[red]b[/red]," + "c" * 500 + "\n1,2,3\n").names
    assert all(name.isprintable() and len(name) <= 60 for name in names)


def test_a_pipe_a_folder_and_an_unknown_ending_are_refused(tmp_path):
    os.mkfifo(tmp_path / "p.csv")
    (tmp_path / "d.csv").mkdir()
    (tmp_path / "a.xyz").write_text("1")
    for name, what in (("p.csv", "not a regular file"), ("d.csv", "Is a directory"), ("a.xyz", "no reader")):
        with pytest.raises(DataError, match=what):
            open_table(tmp_path / name)


def test_wav_has_its_rate(tmp_path):
    x = np.array([[1, -2], [3, -4], [5, -6]], np.int16)
    wavfile.write(tmp_path / "a.wav", 8000, x)
    found = open_table(tmp_path / "a.wav")
    assert found.rate == 8000 and read(found) == {"1": [1, 3, 5], "2": [-2, -4, -6]}
    wavfile.write(tmp_path / "b.wav", 100, np.array([128, 130], np.uint8))
    assert read(open_table(tmp_path / "b.wav")) == {"1": [0, 2]}


def test_numpy_files(tmp_path):
    x = np.arange(6.0).reshape(3, 2)
    np.save(tmp_path / "a.npy", x)
    assert read(open_table(tmp_path / "a.npy")) == {"1": [0, 2, 4], "2": [1, 3, 5]}
    np.savez(tmp_path / "a.npz", signal=x, label=np.array(["u", "v", "w"]), rate_hz=50, other=np.arange(2))
    found = open_table(tmp_path / "a.npz")
    assert found.rate == 50
    assert read(found) == {"signal_1": [0, 2, 4], "signal_2": [1, 3, 5], "label": ["u", "v", "w"]}


def bomb(declared=None):
    """An archive of zeros that inflates to more than is allowed, or whose array claims to be larger than it is."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("x.npy", "w", force_zip64=True) as f:
        head = io.BytesIO()
        shape = (declared or 2**28,)
        np.lib.format.write_array_header_1_0(head, {"descr": "<f8", "fortran_order": False, "shape": shape})
        f.write(head.getvalue() + bytes(64))
        for _ in range(0 if declared else 2**10 + 1):
            f.write(bytes(2**20))
    return out.getvalue()


def pickled(kind):
    out = io.BytesIO()
    (np.save if kind == "npy" else np.savez)(out, np.array([{"a": 1}], object), allow_pickle=True)
    return out.getvalue()


@pytest.mark.parametrize("name", ["npy", "npz", "wav", "parquet"])
@pytest.mark.parametrize(
    "content", [b"junk", b"PK\x03\x04junk", b"\x93NUMPY\x01\x00", b"RIFF\0\0\0\0WAVEfmt ", b"PAR1PAR1"]
)
def test_a_damaged_binary_file_is_refused(tmp_path, name, content):
    with pytest.raises(DataError):
        table(tmp_path, content, f"a.{name}")


@pytest.mark.parametrize(("name", "content"), [
    ("a.npy", pickled("npy")), ("a.npz", pickled("npz")), ("b.npz", bomb(2**40)),
])  # fmt: skip
def test_nothing_is_unpickled_and_no_size_is_believed(tmp_path, name, content):
    with pytest.raises(DataError, match="cannot be read"):
        table(tmp_path, content, name)


def test_an_archive_that_inflates_to_gigabytes_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(plugins.get("lnp_edge.readers", "numpy_file"), "MAX_BYTES", 1000)
    np.savez_compressed(tmp_path / "a.npz", x=np.zeros(1000))
    with pytest.raises(DataError, match="bytes"):
        open_table(tmp_path / "a.npz")


def test_parquet_with_an_index_of_times(tmp_path):
    need("pyarrow")
    import pandas

    times = pandas.date_range("2026-11-03", periods=3, freq="20ms", name="time")
    frame = pandas.DataFrame({"x [g]": [1.0, np.nan, 3.0], "on": [True, False, True], "what": ["a", None, "b"]}, times)
    frame["what"] = frame["what"].astype("category")
    frame.to_parquet(tmp_path / "a.parquet")
    found = open_table(tmp_path / "a.parquet")
    assert {c.name: (c.unit, c.kind) for c in found.columns} == {
        "x": ("g", "number"), "on": ("", "text"), "what": ("", "text"), "time": ("", "time"),
    }  # fmt: skip
    (block,) = found.blocks(["x"], ["time", "on", "what"])
    assert block["x"][2] == 3 and np.isnan(block["x"][1]) and block["on"].tolist() == [True, False, True]
    assert np.diff(block["time"]).astype("timedelta64[ms]").astype(int).tolist() == [20, 20]


def test_no_two_readers_claim_an_ending():
    claimed = [e for name in plugins.names("lnp_edge.readers") for e in plugins.get("lnp_edge.readers", name).ENDINGS]
    assert len(claimed) == len(set(claimed)) == len(readers.endings())


def test_the_time_to_tell_a_number_grows_with_its_length_only():
    """Operations, not seconds: a pattern that tries every way to divide digits would need hours for this one."""
    digits = "9" * 2**18
    for decimal in ".,":
        assert csv_text._is_number(digits, decimal) and not csv_text._is_number(digits + "x", decimal)


def test_a_column_that_occurs_again_takes_no_name_of_the_file():
    names = [column.name for column in named_columns(["x", "x.2", "x", "x", "x.2"], ["number"] * 5)]
    assert names == ["x", "x.2", "x.3", "x.4", "x.2.2"]
