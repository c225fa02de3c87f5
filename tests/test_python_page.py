"""docs/python.md, run: its blocks in order, on a model of counts and on one of physical values."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import need
from tiny import tiny_counts, tiny_loop, tiny_model

import lnp_edge
from lnp_edge.interchange import onnx_file
from lnp_edge.spec.quantity import Quantity

PAGE = Path(__file__).parents[1] / "docs/python.md"
TEXT = PAGE.read_text()


@pytest.mark.parametrize("physical", [False, True])
def test_the_page_runs_as_written(tmp_path, monkeypatch, capsys, physical):
    need("onnxruntime")
    model = tiny_model()
    if physical:
        model = replace(model, quantities=(Quantity("g", 5.0, 0.001, False),) * 3).check()
    onnx_file.save(model, tmp_path / "model.onnx")
    monkeypatch.chdir(tmp_path)
    counts = tiny_counts(model, 95)
    recording = (counts - 5.0) * 0.001 if physical else counts.astype(float)
    names = {"given": recording}
    for block in re.findall(r"```python\n(.*?)```", TEXT, re.S):
        exec(re.sub("= np.zeros.*", "= given", block), names)
    assert len(names["predictions"]) == 8 and names["stream"].held == 0
    first = lnp_edge.load("model.onnx").predict(recording)[0]
    assert names["read_outs"][-1].tolist() == list(first.y)
    assert str(first.margin) in capsys.readouterr().out


def test_its_example_of_a_forecast_prints_values_in_the_unit_of_the_channel(capsys):
    model = replace(tiny_loop(), quantities=(Quantity("g", 5.0, 0.001, False),) * 3).check()
    (block,) = re.findall(r"```python\n([^`]*p\.forecast.*?)```", TEXT, re.S)
    recording = (tiny_counts(model, 30) - 5.0) * 0.001
    exec(block, {"model": lnp_edge.Model(model), "recording": recording})
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 2 * 3
    counts = lnp_edge.Model(tiny_loop()).predict(tiny_counts(model, 30))[0].forecast
    expected = [f"0.20 s, {name}: {(count - 5.0) * 0.001:.6g}" for name, count in counts.items()]
    assert said[:3] == expected


def test_the_page_names_what_there_is():
    model = lnp_edge.Model(tiny_model())
    stream = model.stream()
    assert all(hasattr(stream, name) for name in re.findall(r"stream\.(\w+)", TEXT))
    assert all(hasattr(model, name) for name in re.findall(r"model\.([a-z]+)\b(?!\.?onnx)", TEXT) if name != "onnx")
    assert {"push", "extend", "begin", "held"} <= set(re.findall(r"stream\.(\w+)", TEXT))
    links = re.findall(r"\]\(([^)#]+)", TEXT)
    assert links and all((PAGE.parent / link).exists() for link in links)
