"""import lnp_edge: a model from Python, its examples, and whatever a user may hand it."""

import doctest
import json
import subprocess
import sys
import warnings
from dataclasses import replace

import numpy as np
import pytest
from conftest import need
from tiny import tiny_counts, tiny_loop, tiny_model

import lnp_edge
from lnp_edge import api, boards
from lnp_edge.base.errors import DataError, LnpError
from lnp_edge.cli import main
from lnp_edge.firmware_gen.generate import generate
from lnp_edge.interchange import onnx_file, windows_file
from lnp_edge.runtime import selftest
from lnp_edge.runtime.host import infer
from lnp_edge.runtime.reference import Reference
from lnp_edge.spec.quantity import Quantity

MODEL = tiny_model()
SAMPLES = tiny_counts(MODEL, 95)
UNITS = (Quantity("g", 10.0, 0.001, False), Quantity("g", 0.0, 0.001, False), Quantity("rad/s", -5.0, 0.5, False))


def facts(predictions):
    return [(p.window, p.start, p.end, p.label, p.name, p.margin, p.y) for p in predictions]


@pytest.fixture
def model(tmp_path):
    onnx_file.save(MODEL, tmp_path / "model.onnx")
    return lnp_edge.load(tmp_path / "model.onnx")


def test_the_examples_of_the_docstring(tmp_path, monkeypatch):
    two = replace(tiny_model(n_in=2, n_out=2), channels=("ax", "ay"), classes=("rest", "walk"), dt=0.04).check()
    recordings = (tiny_counts(two, 40, seed=seed) for seed in range(100))
    wanted = ["rest", "walk", "walk"]
    recording = next(r for r in recordings if [p.name for p in infer(Reference(two), two, r)] == wanted)
    onnx_file.save(two, tmp_path / "model.onnx")
    monkeypatch.chdir(tmp_path)
    found = doctest.testmod(api, globs={"recording": recording}, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert found.failed == 0 and found.attempted >= 7


def test_predictions_are_those_of_the_reference_however_the_samples_arrive(model):
    pandas = pytest.importorskip("pandas")
    expected = facts(infer(Reference(MODEL), MODEL, SAMPLES))
    assert facts(model.predict(SAMPLES)) == facts(model.predict(SAMPLES.tolist())) == expected
    assert facts(model.predict(SAMPLES.astype(float))) == expected
    columns = {"t": np.arange(95), **{name: SAMPLES[:, k] for k, name in reversed(list(enumerate(MODEL.channels)))}}
    assert facts(model.predict(pandas.DataFrame(columns))) == expected
    stream = model.stream()
    assert facts(p for row in SAMPLES if (p := stream.push(row))) == expected
    stream.begin()
    assert facts(stream.extend(SAMPLES[:50])) == expected[:4]
    windows = np.stack([SAMPLES[k : k + 20] for k in (0, 10, 20)])
    assert [p.y for p in model.predict(windows)] == [y for *_, y in expected[:3]]


def test_the_model_says_what_it_is(model):
    assert (model.window, model.hop, model.rate) == (20, 10, 100.0)
    assert model.channels == MODEL.channels and model.classes == MODEL.classes
    assert repr(model) == f"<lnp_edge.Model {MODEL.fingerprint:08x}: 3 channels, 100 Hz, 4 classes>"
    assert "forecasts c0 in 0.01 s" in repr(api.Model(tiny_loop()))


def test_physical_values_become_counts_by_the_models_own_scale():
    with_units = api.Model(replace(MODEL, quantities=UNITS).check())
    physical = (SAMPLES - [10.0, 0.0, -5.0]) * [0.001, 0.001, 0.5]
    assert (with_units.counts(physical) == SAMPLES).all()
    assert facts(with_units.predict(physical)) == facts(infer(Reference(MODEL), MODEL, SAMPLES))
    assert with_units.counts(np.array([[1e9, -1e9, 0.2]])).tolist() == [[32767, -32768, -5]]
    assert (with_units.counts(SAMPLES) == SAMPLES).all()  # of int16, which counts() gives


def test_integers_that_may_be_values_are_asked_about():
    """A temperature of 21 in a list was taken for a count: 0.02 degrees."""
    pandas = pytest.importorskip("pandas")
    with_units = api.Model(replace(MODEL, quantities=UNITS).check())
    whole = [[1, -2, 3], [20, 0, -5]]
    for given in (whole, np.array(whole, np.int32), pandas.DataFrame(whole, columns=MODEL.channels)):
        with pytest.raises(DataError, match=r"int\d\d: counts, or values that happen to be whole \(g, rad/s\)") as e:
            with_units.predict(given)
        assert 'given="counts"' in e.value.try_next and 'given="values"' in e.value.try_next
        assert with_units.counts(given, given="counts").tolist() == whole
        assert with_units.counts(given, "values").tolist() == with_units.counts(np.array(whole, float)).tolist()
    with pytest.raises(DataError, match="int64"):
        with_units.stream().push([1, 2, None])
    assert facts(with_units.predict(SAMPLES.tolist(), given="counts")) == facts(with_units.predict(SAMPLES))
    assert facts(with_units.stream(given="counts").extend(SAMPLES.astype(float))) == facts(with_units.predict(SAMPLES))
    with pytest.raises(DataError, match=r"c1 of sample 0 is 0.25, not a whole number") as e:
        with_units.counts([[1.0, 0.25, 3.0]], given="counts")
    assert e.value.try_next == 'counts are whole; given="values" takes values in g'
    with pytest.raises(LnpError, match="given is 'units'"):
        with_units.predict(whole, given="units")
    assert api.Model(MODEL).counts(whole).tolist() == whole, "of a model of counts an integer is one"


def test_whole_numbers_of_pandas_stay_what_they_are_where_one_is_missing():
    """Int16 with one missing became floats: counts of 500 were taken for 500 g."""
    pandas = pytest.importorskip("pandas")
    with_units = api.Model(replace(MODEL, quantities=UNITS).check())
    for kind in ("Int16", "Int64"):
        given = pandas.DataFrame(SAMPLES, columns=MODEL.channels).astype(kind)
        given.loc[30, "c1"] = pandas.NA
        held = SAMPLES.copy()
        held[30, 1] = held[29, 1]
        expected = facts(with_units.predict(held))
        assert facts(with_units.predict(given, "hold", given="counts")) == expected
        if kind == "Int16":
            assert facts(with_units.predict(given, "hold")) == expected
        else:
            with pytest.raises(DataError, match="int64: counts, or values"):
                with_units.predict(given, "hold")
        with pytest.raises(DataError, match=r"^c1 of sample 30 is missing"):
            with_units.predict(given, given="counts")


def test_what_a_data_frame_holds_is_taken_as_in_a_list_and_what_is_no_number_is_named(model):
    pandas = pytest.importorskip("pandas")
    good = pandas.DataFrame(SAMPLES, columns=MODEL.channels)
    assert (model.counts(good.astype(object)) == SAMPLES).all()
    with_none = good.astype(object)
    with_none.loc[3, "c2"] = None
    with pytest.raises(DataError, match=r"^c2 of sample 3 is missing"):
        model.counts(with_none)
    for column in (["a"] * len(good), [True] * len(good), pandas.Categorical(["a"] * len(good))):
        with pytest.raises(DataError, match=r"^(column 'c1' is \w+|samples are object), not numbers"):
            model.counts(good.astype(float).assign(c1=column))
    with pytest.raises(DataError, match=r"^column 'c1' is bool"):
        model.counts(good.astype(float).assign(c1=True))


def test_a_mask_is_not_written_to():
    x = np.ma.masked_array(SAMPLES.astype(object), mask=np.zeros(SAMPLES.shape, bool))
    x.data[5, 0] = None
    api.Model(MODEL).predict(x, "skip")
    assert not x.mask.any()


def test_int16_in_another_order_of_bytes_are_counts_and_integers_beyond_all_floats_an_error():
    with_units = api.Model(replace(MODEL, quantities=UNITS).check())
    assert (with_units.counts(SAMPLES.astype(">i2")) == SAMPLES).all()
    with pytest.raises(DataError, match=r"^c1 of sample 0 is "):
        with_units.counts([[1.5, -(10**400), 2.5]])


def test_an_error_names_channel_and_sample_and_a_warning_the_users_line(model):
    pandas = pytest.importorskip("pandas")
    for rows, place in (([[1, 2, 3], [1, 2, 40_000]], "c2 of sample 1"), ([1, 2, 40_000], "c2")):
        with pytest.raises(DataError, match=f"^{place} is 40000, outside -32768..32767"):
            model.counts(rows)
    ranged = replace(MODEL.decision, low=(0, 0, 0), high=(9, 9, 9), outside=20)
    for warns in (
        lambda: api.Model(replace(MODEL, decision=ranged).check()).predict(SAMPLES),
        lambda: list(api.Model(replace(MODEL, decision=ranged).check()).stream().extend(SAMPLES)),
        lambda: api.Model(replace(MODEL, quantities=UNITS).check()).predict(
            pandas.DataFrame(SAMPLES, columns=["c0 [mg]", "c1", "c2"])),
    ):  # fmt: skip
        with pytest.warns(UserWarning) as told:
            warns()
        assert [one.filename for one in told] == [__file__]


def test_units_come_back_from_the_file(tmp_path):
    onnx_file.save(replace(MODEL, quantities=UNITS), tmp_path / "model.onnx")
    found = lnp_edge.load(tmp_path / "model.onnx")
    assert found.quantities == UNITS and found.fingerprint == MODEL.fingerprint


BAD = {
    "another number of channels": np.zeros((5, 4), int),
    "a number": 3,
    "a text": "abc",
    "texts": [["a", "b", "c"]],
    "rows of several lengths": [[1, 2, 3], [1, 2]],
    "NaN": [[1.0, np.nan, 3.0]],
    "infinity": [[1.0, np.inf, 3.0]],
    "half a count": [[1.0, 2.5, 3.0]],
    "a count beyond int16": [[1, 2, 32768]],
    "a float beyond int16": [[1.0, 2.0, 1e300]],
    "unsigned 64 bits": np.full((1, 3), 2**64 - 1, np.uint64),
    "complex": np.zeros((5, 3), complex),
    "times": np.zeros((5, 3), "M8[s]"),
    "nothing": None,
    "windows of another length": np.zeros((2, 19, 3), int),
    "four axes": np.zeros((2, 2, 20, 3), int),
}


@pytest.mark.parametrize("what", BAD)
def test_anything_else_is_refused_in_words(model, what):
    with pytest.raises(DataError) as e:
        model.predict(BAD[what])
    assert e.value.what and e.value.try_next


def test_a_missing_column_is_named(model):
    pandas = pytest.importorskip("pandas")
    with pytest.raises(DataError, match="no column"):
        model.predict(pandas.DataFrame({MODEL.channels[0]: [1]}))
    with pytest.raises(DataError, match="a sample has shape"):
        model.stream().push(SAMPLES[:2])


def test_verify_also_runs_the_real_windows_beside_the_file(tmp_path):
    need("gcc")
    real = SAMPLES[:80].reshape(4, 20, 3)
    windows_file.save_both(MODEL, real, tmp_path / "model.onnx")
    both = lnp_edge.load(tmp_path / "model.onnx").verify("host", steps=50)
    assert both.ok and (both.verdict.steps, both.windows.steps) == (50, 4 * 20)
    assert both.verdict.cycles_per_step is None, "it has no counter; 0.0 was said"
    assert list(both.windows.classes) == [p.label for p in lnp_edge.Model(MODEL).predict(real)]
    assert lnp_edge.Model(MODEL).verify("host", steps=50).windows is None
    windows_file.path_of(tmp_path / "model.onnx").write_bytes(b"damaged")
    model = lnp_edge.load(tmp_path / "model.onnx")
    assert model.predict(real)
    with pytest.raises(LnpError, match=r"model.onnx.windows"):
        model.verify("host")


@pytest.mark.slow
def test_verify_runs_the_self_test_and_the_app_as_the_command_does(model, tmp_path, monkeypatch, capsys):
    need("gcc")
    onnx_file.save(MODEL, tmp_path / "model.onnx")
    whole = model.verify("host", steps=50)
    assert main(["verify", str(tmp_path / "model.onnx"), "--board", "host", "--steps", "50", "--json"]) == 0
    of_command = json.loads(capsys.readouterr().out)
    of_python = json.loads(json.dumps(whole.as_dict()))
    assert of_python.keys() == of_command.keys() - {"cost"}
    assert {name for name in of_python if of_python[name] != of_command[name]} <= {"link"}  # which depends on time
    assert whole.ok and whole.selftest.ok and whole.decisions.compared and whole.coverage.neurons
    assert whole.lines()[0].startswith("verified: 50 steps")
    wrong = selftest.Check("save", 1, "it loses t")
    monkeypatch.setattr(selftest, "run", lambda *_, **__: selftest.SelfTest((wrong,)))
    assert not model.verify("host", steps=50).ok


def test_a_bad_file_or_board_is_one_kind_of_error(tmp_path, model):
    (tmp_path / "bad.onnx").write_bytes(b"nothing")
    for wrong in (lambda: lnp_edge.load(tmp_path / "bad.onnx"), lambda: model.verify("no-board")):
        with pytest.raises(LnpError):
            wrong()


def test_importing_the_package_is_cheap_and_a_file_called_runtime_beside_it_does_not_matter(tmp_path):
    for name in ("runtime", "boards", "firmware_gen"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('the wrong one')\n")
    onnx_file.save(MODEL, tmp_path / "model.onnx")
    program = (
        "import sys, lnp_edge; assert 'numpy' not in sys.modules and 'load' in dir(lnp_edge);"
        "print(lnp_edge.load('model.onnx').window); assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout == "20\n", done.stderr


def test_c_makes_the_same_counts_of_physical_values(tmp_path):
    need("gcc")
    units = (Quantity("g", 12.0, 0.002, False), Quantity("g", -0.5, 1.0, False), Quantity("", 0.0, 1.0, True))
    model = api.Model(replace(MODEL, quantities=units).check())
    halves = np.arange(-9, 10) / 2 * 0.002
    values = np.concatenate([halves, np.random.default_rng(1).normal(0, 30, 200), [1e9, -1e9, 65.51, -65.57, 32767.4]])
    for path, text in generate(model.quantized, boards.get("host")).items():
        (tmp_path / path).write_text(text)
    main = """#include <stdio.h>
#include "lnp_net.h"
int main(void)
{
    double value;
    while (fread(&value, sizeof value, 1, stdin) == 1) {
        const int16_t found[2] = {LNP_NET_COUNT_0(value), LNP_NET_COUNT_1(value)};
        fwrite(found, sizeof found, 1, stdout);
    }
}
"""
    (tmp_path / "count.c").write_text(main)
    subprocess.run(["gcc", "-Wall", "-Wextra", "-Werror", "-o", "count", "count.c"], cwd=tmp_path, check=True)
    done = subprocess.run([tmp_path / "count"], input=values.tobytes(), capture_output=True, check=True)
    found = np.frombuffer(done.stdout, "<i2").reshape(-1, 2)
    expected = model.counts(np.stack([values, values, 0 * values], axis=1))[:, :2]
    assert (found == expected).all() and len(set(expected[:19, 0].tolist())) > 5


def test_floats_of_a_model_of_counts_are_counts():
    model = api.Model(replace(MODEL, quantities=(Quantity("", 512.0, 1.0, True),) * 3).check())
    assert (model.counts(SAMPLES.astype(float)) == SAMPLES).all()
    with pytest.raises(DataError, match="not a whole number"):
        model.counts([[1.0, 0.5, 3.0]])


def test_pandas_samples_are_taken_by_name_and_its_own_numbers_are_numbers(model):
    pandas = pytest.importorskip("pandas")
    first, second, third = MODEL.channels
    assert model.counts(pandas.Series({third: 3, second: 2, first: 1})).tolist() == [1, 2, 3]
    frame = pandas.DataFrame({third: [3], first: [1], second: [2]})
    header = {f"{third} [g]": [3], first.upper(): [1], f"{first}1 [g]": [9], f"{second} (m/s^2)": [2]}  # as in a CSV
    assert model.counts(pandas.DataFrame(header)).tolist() == [[1, 2, 3]]
    with pytest.raises(DataError, match=f"column '{second}' occurs twice"):
        model.counts(pandas.DataFrame({first: [1], f"{second} [g]": [2], f"{second} [V]": [2], third: [3]}))
    for kind in ("Int64", "Float64", "int16"):
        assert model.counts(frame.astype(kind)).tolist() == [[1, 2, 3]]
    stream = model.stream()
    for _, row in pandas.DataFrame(SAMPLES[:20, ::-1], columns=list(MODEL.channels)[::-1]).iterrows():
        found = stream.push(row)
    assert found.y == model.predict(SAMPLES[:20])[0].y
    twice = pandas.DataFrame([[1, 2, 3, 4]], columns=[first, second, third, third])
    for wrong in (frame.astype("Int64").replace(1, pandas.NA), twice, frame.astype(str)):
        with pytest.raises(DataError):
            model.counts(wrong)


def test_pandas_samples_in_another_unit_are_told():
    pandas = pytest.importorskip("pandas")
    model = api.Model(replace(MODEL, quantities=UNITS).check())
    c0, c1, c2 = MODEL.channels
    with pytest.warns(UserWarning) as told:
        found = model.counts(pandas.DataFrame({f"{c0} [mg]": [1000.0], f"{c1} [g]": [1.0], f"{c2} [deg/s]": [0.0]}))
    assert found.tolist() == [[32767, 1000, -5]]
    assert [str(w.message) for w in told] == ["c0 is in mg, the model was trained on g"]
    with pytest.warns(UserWarning, match="c2 is in deg/s, the model was trained on rad/s"):
        model.stream().push(pandas.Series({c0: 1.0, c1: 1.0, f"{c2} [deg/s]": 1.0}))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.counts(pandas.DataFrame({f"{c0} [G]": [1.0], c1: [1.0], f"{c2} (rad/s)": [0.0]}))


def test_masked_samples_and_impossible_arguments_are_refused(model):
    assert model.counts(np.ma.masked_array(SAMPLES[:2])).tolist() == SAMPLES[:2].tolist()
    for wrong in (
        lambda: model.counts(np.ma.masked_array(SAMPLES, mask=True)),
        lambda: list(model.stream().extend(np.zeros((3, 20, 3), int))),
        lambda: model.verify("host", steps=0),
        lambda: model.verify("host", steps=1.5),
        lambda: model.verify("host", seed=-1),
    ):
        with pytest.raises(lnp_edge.LnpError):
            wrong()
