"""docs/own_data.md, run: its commands on its example, which is SPAR; its settings; its links; hostile files."""

import os
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from conftest import need

from lnp_edge import config
from lnp_edge.cli import main
from lnp_edge.config import NO_FIELD, DataSettings
from lnp_edge.interchange import onnx_file
from lnp_edge.task.fit import configuration
from lnp_edge.task.split import load_data

need("pandas")
TEXT = (Path(__file__).parents[1] / "docs/own_data.md").read_text()


@pytest.mark.slow
def test_the_tutorial_runs_as_written(tmp_path, monkeypatch, capsys):
    """Its example has SPAR's windows, test people and values."""
    need("torch", "matplotlib")
    monkeypatch.chdir(tmp_path)
    lines = next(b for b in re.findall(r"```\n(.*?)```", TEXT, re.S) if b.startswith("lnp new")).splitlines()
    assert [line.split()[1] for line in lines] == ["new", "new", "data", "train", "quantize"]
    for line in lines:
        if "train" in line:  # a short one
            written = Path("my.toml").read_text()
            assert "CHECK" not in written
            Path("my.toml").write_text(re.sub("# epochs.*", "epochs = 1", written).replace("= 244", "= 8"))
        assert main(shlex.split(line)[1:]) == 0, (line, capsys.readouterr().err)
    settings = configuration("my.toml")
    found, spar = load_data(settings), load_data(config.named("spar"))
    assert (settings.data.window, settings.data.hop, settings.data.frame, found.dt) == (4.0, 2.0, 4, spar.dt)
    assert [found.group_titles[g] for g in found.held_out] == [f"p{g:02d}" for g in spar.held_out]
    assert set(found.classes) == set(spar.classes) and "Burns" in Path("recordings/LICENSE").read_text()
    r = int(np.flatnonzero((found.groups == 0) & (found.labels == 0))[0])
    first = int(np.flatnonzero((spar.groups == 1) & (spar.labels == spar.classes.index(found.classes[0])))[0])
    physical = found.recordings[r] * np.array([q.scale for q in found.quantities])
    np.testing.assert_allclose(physical, spar.recordings[first] / np.repeat([16, 8], 3), atol=0.001)  # half a count
    assert onnx_file.load(Path("model.onnx")).window == 100
    assert main(["new", "--example", "recordings"]) == 2, "nothing is written over"


def test_every_key_is_explained():
    """Those of own data, in its tables or its example."""
    explained = set(re.findall(r"`(?:\[data\] )?([a-z_]+)(?:\.ax)?`", TEXT)) | set(
        re.findall(r"^([a-z_]+) =", TEXT, re.M)
    )
    of_all = {"name", "limit", "encoder", "front", "frame", *NO_FIELD}
    assert set(DataSettings.__dataclass_fields__) - explained - of_all == {"module"}
    assert 'module = "./mine.py"' in TEXT


def test_the_example_of_settings_is_valid(tmp_path):
    block = next(b for b in re.findall(r"```toml\n(.*?)```", TEXT, re.S) if b.startswith("[data]"))
    (tmp_path / "c.toml").write_text(block)
    assert config.load(tmp_path / "c.toml").data.own


def test_every_link_leads_to_a_file():
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)]+)\)", TEXT)]
    assert links and all((Path(__file__).parents[1] / "docs" / link).exists() for link in links)


HOSTILE = {
    "random bytes": np.random.default_rng(1).bytes(100_000),
    "one long line": b"9" * 3_000_000,
    "many columns": b",".join(b"%d" % k for k in range(100_000)) + b"\n",
    "zeros": bytes(100_000),
    "text": b"hello\nworld\nthis is no table\n",
    "quotes": b'a,b\n"1,2\n' * 1000,
    "infinite": b"t,a,b\n" + b"".join(b"%d,1e308,-1e308\n" % k for k in range(300)),
    "far years": b"time,a\n" + b"".join(b"99999-01-%02d,%d\n" % (k % 28 + 1, k) for k in range(300)),
    "one time": b"time,a\n" + b"".join(b"5,%d\n" % k for k in range(300)),
    "empty": b"",
    "header": b"time,a\n",
    "one row": b"time,a\n1,2\n",
}


TABLES = ("far years", "one time")  # whose clock is none, which is told


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused_in_two_lines(tmp_path, capsys, name):
    (tmp_path / "r").mkdir()
    for k in (1, 2):
        (tmp_path / f"r/{k}.csv").write_bytes(HOSTILE[name])
    code = main(["new", str(tmp_path / "my.toml"), "--data", str(tmp_path / "r"), "--label", "file"])
    said = capsys.readouterr().err
    if name in TABLES:
        assert code == 0 and "check [data] rate" in said
    else:
        assert code == 2 and len(said.splitlines()) == 2 and not (tmp_path / "my.toml").exists()
    (tmp_path / "b.toml").write_text(
        '[data]\nroot = "r"\nfiles = "*.csv"\nlabel = "file"\nrate = 50.0\nchannels = ["a"]'
    )
    assert main(["data", str(tmp_path / "b.toml")]) == (0 if name in TABLES else 2)
    assert len(capsys.readouterr().err.splitlines()) == (0 if name in TABLES else 2)


def test_a_pipe_among_the_files_is_refused(tmp_path, capsys):
    os.mkfifo(tmp_path / "p.csv")
    (tmp_path / "my.toml").write_text('[data]\nfiles = "*.csv"\nlabel = "file"\nrate = 50.0')
    assert main(["data", str(tmp_path / "my.toml")]) == 2
    assert "not a regular file" in capsys.readouterr().err
