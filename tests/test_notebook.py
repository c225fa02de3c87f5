"""docs/own_data.ipynb: its cells run in order as they are stored, with a smaller network and a short training."""

import json
import re
import subprocess
import sys
import types
from itertools import pairwise
from pathlib import Path

import pytest
from conftest import need, need_for

from lnp_edge.cli import main

PATH = Path(__file__).parents[1] / "docs/own_data.ipynb"
BOOK = json.loads(PATH.read_text())
CODE = [cell for cell in BOOK["cells"] if cell["cell_type"] == "code"]


def printed(cell):
    text = "".join(text for output in cell["outputs"] for text in output.get("text", []))
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def headers(text):
    """The words above the line that parts the head of each table from its rows."""
    lines = [line.strip() for line in text.splitlines()]
    return [head.split() for head, under in pairwise(lines) if under and set(under) == {"─"}]


@pytest.mark.slow
def test_the_cells_run_in_order(tmp_path, monkeypatch, capsys):
    need("torch", "pandas", "matplotlib")
    need_for("cortex-m4")
    import matplotlib

    matplotlib.use("agg")
    monkeypatch.chdir(tmp_path)
    run = subprocess.run

    def in_process(words, **more):
        """A command of lnp in this process, which has imported what it needs; others as they are."""
        if words[:3] != [sys.executable, "-m", "lnp_edge.cli"]:
            return run(words, **more)
        if words[3] == "prune":
            text = Path("my.toml").read_text()
            text = re.sub("# epochs.*", "epochs = 1", text).replace("= 244", "= 16")
            Path("my.toml").write_text(text.replace("[data]\n", "[data]\nlimit = 1\n"))
        code = main(words[3:])
        said = capsys.readouterr()
        assert code == 0, said.err
        return types.SimpleNamespace(stdout=said.out, stderr=said.err, returncode=code)

    monkeypatch.setattr(subprocess, "run", in_process)
    names, said = {}, []
    for cell in CODE:
        exec("".join(cell["source"]), names)
        said.append(capsys.readouterr().out)
    assert said[-1].startswith("verified: 500 steps") and "\nverified: 1600 steps" in said[-1]
    assert {"recordings", "my.toml", "model.onnx"} <= {path.name for path in tmp_path.iterdir()}
    # What does not depend on the training is printed as it is stored.
    told = [k for k, cell in enumerate(CODE) if 'lnp("new ' in "".join(cell["source"])]
    assert len(told) == 2
    assert [said[k].split() for k in told] == [printed(CODE[k]).split() for k in told]
    stored = [headers(printed(cell)) for cell in CODE]
    assert [headers(text) for text in said] == stored and sum(map(len, stored)) == 7


def test_it_is_stored_as_it_ran_whole_and_once():
    assert [cell["execution_count"] for cell in CODE] == list(range(1, len(CODE) + 1))
    assert all(output["output_type"] != "error" for cell in CODE for output in cell["outputs"])
    assert printed(CODE[-1]).count(", 0 differences") == 4
    pictures = [output for cell in CODE for output in cell["outputs"] if "image/png" in output.get("data", {})]
    assert len(pictures) == 3 and PATH.stat().st_size < 600_000


@pytest.mark.parametrize("foreign", ["/home", "/root", "/tmp", "/usr", "/opt", "site-packages", "C:\\\\", "Traceback"])
def test_no_output_names_the_machine_that_ran_it(foreign):
    said = json.dumps([[{**o, "data": {k: v for k, v in o.get("data", {}).items() if k != "image/png"}}
                        for o in cell["outputs"]] for cell in CODE])  # fmt: skip
    assert foreign not in said


def test_every_link_leads_to_a_file():
    text = "".join("".join(cell["source"]) for cell in BOOK["cells"] if cell["cell_type"] == "markdown")
    links = re.findall(r"\]\(([^)#]+)", text)
    assert links and all((PATH.parent / link).exists() for link in links)
