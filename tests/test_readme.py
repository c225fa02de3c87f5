"""The README's own words, run: the chain of commands, the configuration and the links."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from conftest import need

from lnp_edge import config
from lnp_edge.cli import main
from lnp_edge.datasets import spar

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def block(first_word: str) -> str:
    return next(b for b in re.findall(r"```\w*\n(.*?)```", README, re.S) if b.startswith(first_word))


@pytest.mark.slow
def test_the_chain_of_commands_runs_as_written(tmp_path, monkeypatch, capsys):
    need("torch", "arm-none-eabi-gcc", "ziglang", "unicorn", "elftools")
    (tmp_path / "demo.toml").write_text("[network]\nneurons = 24\n[train]\nepochs = 1\n[data]\nlimit = 2\n")
    recording = spar.load().recordings[0]
    np.savetxt(tmp_path / "recording.csv", recording, fmt="%d", delimiter=",")
    lines = [shlex.split(line, comments=True) for line in block("lnp prune").splitlines()]
    assert [words[1] for words in lines] == [
        "prune", "train", "quantize", "generate", "build", "flash", "verify", "run",
    ]  # fmt: skip
    monkeypatch.chdir(tmp_path)
    printed = {}
    for words in lines:
        code, said = main(words[1:]), capsys.readouterr()
        assert code == 0, (words, said.err)
        printed[words[1]] = said.out
    assert "2000 steps" in printed["verify"] and ", 0 differences" in printed["verify"]
    assert len(printed["run"].splitlines()) == (len(recording) - 100) // 50 + 1
    assert "st-flash" in printed["flash"]


def test_the_configuration_is_valid(tmp_path):
    (tmp_path / "c.toml").write_text(block("seed = 1"))
    assert config.load(tmp_path / "c.toml").network.neurons == 128


def test_every_link_leads_to_a_file():
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)]+)\)", README) if "://" not in link]
    assert links and [link for link in links if not (ROOT / link).exists()] == []
