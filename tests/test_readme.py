"""The README's own words, run: the chain of commands, the configuration and the links."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
from conftest import need

from lnp_edge import config
from lnp_edge.datasets import spar

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def block(first_word: str) -> str:
    return next(b for b in re.findall(r"```\w*\n(.*?)```", README, re.S) if b.startswith(first_word))


def test_the_chain_of_commands_runs_as_written(tmp_path):
    need("torch", "arm-none-eabi-gcc", "ziglang", "unicorn", "elftools")
    (tmp_path / "demo.toml").write_text("[network]\nneurons = 24\n[train]\nepochs = 1\n")
    recording = spar.load().recordings[0]
    np.savetxt(tmp_path / "recording.csv", recording, fmt="%d", delimiter=",")
    lines = [shlex.split(line, comments=True) for line in block("lnp prune").splitlines()]
    assert [words[1] for words in lines] == [
        "prune", "train", "quantize", "generate", "build", "flash", "verify", "run",
    ]  # fmt: skip
    printed = {}
    for words in lines:
        command = [sys.executable, "-m", "lnp_edge.cli", *words[1:]]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, (words, done.stderr)
        printed[words[1]] = done.stdout
    assert "2000 steps" in printed["verify"] and ", 0 differences" in printed["verify"]
    assert len(printed["run"].splitlines()) == (len(recording) - 100) // 50 + 1
    assert "st-flash" in printed["flash"]


def test_the_configuration_is_valid(tmp_path):
    (tmp_path / "c.toml").write_text(block("seed = 1"))
    assert config.load(tmp_path / "c.toml").network.neurons == 128


def test_every_link_leads_to_a_file():
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README) if "://" not in link]
    assert links and [link for link in links if not (ROOT / link).exists()] == []
