"""CONTRIBUTING's recipes: their files, as printed there, in a copy of the house in which nothing else changes."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import need

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "CONTRIBUTING.md").read_text()
FILES = dict(re.findall(r"^`([\w/.-]+)`\n\n```\w+\n(.*?)^```$", TEXT, re.M | re.S))
CONFIGURATION = """
[data]
name = "vibration"
window = 0.5
hop = 0.5
front = "loudness"
frame = 5
[network]
neuron = "alif"
neurons = 16
rise = 0.1
[prune]
method = "fan_in"
keep = 0.5
[train]
epochs = 1
"""


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    """A folder to put first on the path: lnp_edge as it is installed, and the recipes' files in their places.

    With the kernels that are compiled already: Numba knows them by the times of their files, which are copied.
    """
    folder = tmp_path_factory.mktemp("house")
    shutil.copytree(ROOT / "lnp_edge", folder / "lnp_edge")
    for inside in ("firmware_gen", "runtime", "boards"):
        shutil.copytree(ROOT / inside, folder / "lnp_edge" / inside)
    for place, text in FILES.items():
        path = folder / (place if place.startswith("lnp_edge/") else f"lnp_edge/{place}")
        assert not path.exists(), f"{place} is no recipe: it is there already"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def python(house, code):
    """What a new process with the house first on its path prints."""
    code = f"import sys\nsys.path.insert(0, {str(house)!r})\n{code}"
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, cwd=house)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_six_recipes_are_there():
    kinds = (
        "boards/",
        "lnp_edge/neurons/",
        "lnp_edge/datasets/",
        "lnp_edge/pruning/",
        "lnp_edge/frontends/",
        "lnp_edge/readers/",
    )
    assert all(any(place.startswith(kind) for place in FILES) for kind in kinds)


def test_the_recipes_work_together_without_another_line(house):
    """The neuron, behind the front end, is drawn, pruned, trained, quantised, and verified on the board."""
    need("torch", "arm-none-eabi-gcc", "qemu-system-arm")
    (house / "c.toml").write_text(CONFIGURATION)
    out = python(house, """
import lnp_edge, lnp_edge.boards
assert lnp_edge.__file__.startswith(sys.path[0]) and lnp_edge.boards.__file__.startswith(sys.path[0])
from lnp_edge.cli import main
for line in ("prune c.toml -o pruned.safetensors", "train pruned.safetensors -o trained.safetensors",
             "quantize trained.safetensors -o model.onnx", "verify model.onnx --board lm3s6965evb --steps 1000"):
    assert main(line.split()) == 0, line
""")  # fmt: skip
    assert "verified: 1000 steps" in out and ", 0 differences" in out


def test_the_file_format_is_read_like_any_other(house):
    need("pandas")
    (house / "jsonl").mkdir()
    for name in ("walk", "run"):
        rows = "".join(f'{{"t": {k / 50}, "ax": {k % 9}, "who": "p{k // 200}"}}\n' for k in range(600))
        (house / f"jsonl/{name}.jsonl").write_text(f"boot\n{rows}{'[' * 9999}\n")
    out = python(
        house,
        """
from lnp_edge.cli import main
assert main("new j.toml --data jsonl --label file --group who".split()) == 0
""",
    )
    assert "1 channel every 0.02 s" in out and "lines that are no rows: 4" in out


def test_the_contract_tests_find_what_was_added_and_hold(house):
    """Those that CONTRIBUTING names, and those of boards: some of each name, and all pass."""
    need("torch")
    names = ("alif", "fan_in", "lm3s6965evb", "loudness")
    chosen = [ROOT / "tests" / place for place in ("spec", "pruning/test_pruning.py", "training/test_train_layer.py")]
    command = [sys.executable, "-P", "-m", "pytest", "-v", "-p", "no:cacheprovider", "-k", " or ".join(names), *chosen]
    environment = os.environ | {"PYTHONPATH": str(house)}
    done = subprocess.run(command, capture_output=True, text=True, cwd=house, env=environment)
    assert done.returncode == 0, done.stdout[-3000:]
    passed = [line for line in done.stdout.splitlines() if " PASSED" in line]
    assert all(any(name in line for line in passed) for name in names), done.stdout[-3000:]
