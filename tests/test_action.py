"""action.yml: its scripts run as a workflow runs them, and take no input for a part of the script."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tiny import tiny_model

from lnp_edge.interchange import onnx_file

yaml = pytest.importorskip("yaml")
ACTION = yaml.safe_load((Path(__file__).parents[1] / "action.yml").read_text())
STEPS = ACTION["runs"]["steps"]


def test_every_input_is_a_variable_of_the_environment_and_never_a_part_of_a_script():
    assert all("${{" not in step["run"] for step in STEPS)
    assert sorted(STEPS[-1]["env"].values()) == sorted(f"${{{{ inputs.{name} }}}}" for name in ACTION["inputs"])


def verify(tmp_path, **given):
    """Runs the last step, as bash does for a workflow. given : inputs other than those by default"""
    (tmp_path / "lnp/bin").mkdir(parents=True)
    lnp = tmp_path / "lnp/bin/lnp"
    lnp.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m lnp_edge "$@"\n')
    lnp.chmod(0o755)
    onnx_file.save(tiny_model(), tmp_path / "model.onnx")
    values = {name: one.get("default", "") for name, one in ACTION["inputs"].items()} | given
    env = os.environ | {"RUNNER_TEMP": str(tmp_path)} | {name.upper(): value for name, value in values.items()}
    words = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", STEPS[-1]["run"]]
    return subprocess.run(words, cwd=tmp_path, env=env, capture_output=True, text=True)


@pytest.mark.slow
def test_a_committed_model_is_verified_and_the_report_written(tmp_path):
    done = verify(tmp_path, model="model.onnx", board="host", steps="200", report="proof.html")
    assert done.returncode == 0, done.stderr
    assert "0 differences" in done.stdout and (tmp_path / "proof.html").is_file()


@pytest.mark.slow
@pytest.mark.parametrize(
    "given",
    [{"model": "-rf"}, {"model": "model.onnx; touch bad"}, {"board": "$(touch bad)"}, {"steps": "1 --board=host"}],
    ids=lambda given: next(iter(given)),
)
def test_a_wrong_input_is_an_error_of_two_lines(tmp_path, given):
    done = verify(tmp_path, **{"model": "model.onnx"} | given)
    assert done.returncode == 2 and len(done.stderr.strip().splitlines()) == 2, done.stderr
    assert not (tmp_path / "bad").exists()
