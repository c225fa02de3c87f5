"""What tests of commands share: a folder to work in, and what a command said."""

import json

from tiny import tiny_counts, tiny_model

from lnp_edge.cli import main
from lnp_edge.interchange import onnx_file

MODEL = tiny_model()


def folder(tmp_path, monkeypatch):
    """An own current folder with a model, a recording and a configuration."""
    monkeypatch.chdir(tmp_path)
    onnx_file.save(MODEL, tmp_path / "m.onnx")
    counts = tiny_counts(MODEL, 55).tolist()
    (tmp_path / "a.csv").write_text("c0,c1,c2\n" + "".join(",".join(map(str, row)) + "\n" for row in counts))
    (tmp_path / "good.toml").write_text("[network]\nneurons = 8\n[train]\nepochs = 0\n")
    return tmp_path


def refused(capsys, at, *words, code=2):
    """Run a command that must fail with two lines and write nothing; returns them."""
    before = {p: p.read_bytes() for p in at.rglob("*") if p.is_file()}
    assert main(list(map(str, words))) == code
    captured = capsys.readouterr()
    lines = captured.err.splitlines()
    assert len(lines) == 2, captured.err
    assert lines[0] and lines[1].startswith("  ") and lines[1].strip()
    assert captured.out == ""
    assert all(line.isprintable() for line in lines)
    assert {p: p.read_bytes() for p in at.rglob("*") if p.is_file()} == before
    return lines


def json_lines(capsys):
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]
