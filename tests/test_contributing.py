"""CONTRIBUTING's recipes: their files, as printed there, in a copy of the house in which nothing else changes."""

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
PLACES = {place if place.startswith("lnp_edge/") else f"lnp_edge/{place}": text for place, text in FILES.items()}
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
def house(request, tmp_path_factory):
    """A folder to put first on the path: lnp_edge as it is installed, and the recipes' files in their places.

    With the kernels that are compiled already: Numba knows them by the times of their files, which are copied. The
    folder stays in pytest's cache, and with it the kernels of the recipes.
    """
    kept = getattr(request.config, "cache", None)
    folder = Path(kept.mkdir("house")) if kept else tmp_path_factory.mktemp("house")
    for path in folder.rglob("*"):
        if path.is_file() and path.parent.name != "__pycache__" and str(path.relative_to(folder)) not in PLACES:
            path.unlink()
    shutil.copytree(ROOT / "lnp_edge", folder / "lnp_edge", dirs_exist_ok=True)
    for inside in ("firmware_gen", "runtime", "boards"):
        shutil.copytree(ROOT / inside, folder / "lnp_edge" / inside, dirs_exist_ok=True)
    for place, text in PLACES.items():
        path = folder / place
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
    return folder


def test_a_tool_that_is_missing_is_a_failure_where_ci_is_set(monkeypatch):
    monkeypatch.setenv("CI", "true")
    for what in ("no-such-tool", "/no/such/header.h"):
        with pytest.raises(pytest.fail.Exception, match=what):
            need("pytest", __file__, what)
    monkeypatch.delenv("CI")
    with pytest.raises(pytest.skip.Exception):
        need("no-such-tool")


def test_the_tools_that_no_system_must_have_are_those_of_the_page(monkeypatch):
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.skip.Exception, match="no-such-tool"):
        need("no-such-tool", everywhere=False)
    told = re.search(r"where `CI` is set, it fails, but for(.*?):", TEXT, re.S)[1]
    skips = r"need\(.*everywhere=False\)|skip\(.*not installed"
    files = [path for path in ROOT.glob("tests/**/test_*.py") if path.name != Path(__file__).name]
    assert {path.name for path in files if re.search(skips, path.read_text())} == set(re.findall(r"test_\w+\.py", told))


def test_the_six_recipes_are_there_and_change_no_file():
    packages = ("neurons", "datasets", "pruning", "frontends", "readers")
    kinds = ("boards/", *(f"lnp_edge/{package}/" for package in packages))
    assert all(any(place.startswith(kind) for place in FILES) for kind in kinds)
    assert not [place for place in FILES if (ROOT / place).exists()]


LOAD = """
from lnp_edge.task.fit import configuration
from lnp_edge.task.split import load_data, split
for name in {!r}:
    settings = configuration(name)
    print(name, split(settings, load_data(settings)).task.window)
"""
HELP = """
from lnp_edge.cli import main
main(["train", "--help"])
"""


def said_in(house, code):
    """What Python prints with the house first on the path."""
    first = f"import sys\nsys.path.insert(0, {str(house)!r})\n"
    done = subprocess.run([sys.executable, "-P", "-c", first + code], capture_output=True, text=True, cwd=house)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_printed_configuration_is_accepted_and_suits_its_data(house):
    names = [Path(place).stem for place in FILES if place.startswith("lnp_edge/configs/")]
    said = said_in(house, LOAD.format(names))
    assert [line.split()[0] for line in said.splitlines()] == names and "vibration" in names


def test_the_help_of_lnp_train_names_what_was_added(house):
    said = said_in(house, HELP)
    for key, name in (("front", "loudness"), ("neuron", "alif")):
        assert name in re.search(rf"^  {key} = .*# or (.*)", said, re.M)[1].replace(":", ",").split(", ")


RUN = """
import sys
sys.path.insert(0, {house!r})
import lnp_edge, lnp_edge.boards
assert lnp_edge.__file__.startswith(sys.path[0]) and lnp_edge.boards.__file__.startswith(sys.path[0])
from lnp_edge.cli import main
for line in ("prune c.toml -o pruned.safetensors", "train pruned.safetensors -o trained.safetensors",
             "quantize trained.safetensors -o model.onnx", "verify model.onnx --board lm3s6965evb --steps 1000",
             "new j.toml --data jsonl --label file --group who --overwrite"):
    assert main(line.split()) == 0, line
import pytest
sys.exit(max(pytest.main(["-v", "-p", "no:cacheprovider", *words]) for words in {tests!r}))
"""


@pytest.mark.slow
def test_the_recipes_work_together_without_another_line_and_the_contract_tests_find_them(house):
    """The neuron, behind the front end, is drawn, pruned, trained, quantised, and verified on the board. The file
    format is read like any other. Then the tests that CONTRIBUTING names and those of boards run for what was added:
    some of each name, and all pass.

    In one process, as every new one would compile and load again what the neuron needs. Of the kernels for training,
    that of sparse layers, which the commands have compiled: test_derive has one of dense layers.
    """
    need("torch", "arm-none-eabi-gcc", "ziglang", "clang", "ld.lld", "qemu-system-arm", "pandas")
    (house / "c.toml").write_text(CONFIGURATION)
    (house / "jsonl").mkdir(exist_ok=True)
    for name in ("walk", "run"):
        rows = "".join(f'{{"t": {k / 50}, "ax": {k % 9}, "who": "p{k // 200}"}}\n' for k in range(600))
        (house / f"jsonl/{name}.jsonl").write_text(f"boot\n{rows}{'[' * 9999}\n")
    names = ("alif", "fan_in", "lm3s6965evb", "loudness")
    chosen = [f"{ROOT}/tests/{place}" for place in ("spec", "pruning/test_pruning.py", "training/test_train_layer.py")]
    every = f"{ROOT}/tests/firmware_gen/test_build.py"  # builds and runs it with each compiler
    code = RUN.format(
        house=str(house),
        tests=[["-k", f"({' or '.join(names)}) and not dense-", *chosen], ["-m", "slow", "-k", "lm3s6965evb", every]],
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, cwd=house)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    assert "verified: 1000 steps" in done.stdout and ", 0 differences" in done.stdout
    assert "1 channel every 0.02 s" in done.stdout and "lines that are no rows: 4" in done.stdout
    passed = [line for line in done.stdout.splitlines() if " PASSED" in line]
    assert all(any(name in line for line in passed) for name in names), done.stdout[-3000:]
    assert all(any(f"[lm3s6965evb-{chain}]" in line for line in passed) for chain in ("gcc", "zig", "clang"))
