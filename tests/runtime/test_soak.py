"""A soak in small: nothing is wrong, lost or doubled; and what is wrong, lost or doubled is counted."""

import json
from functools import partial

import pytest
from conftest import need_for
from tiny import tiny_model

from lnp_edge import boards
from lnp_edge.base.errors import LinkError
from lnp_edge.cli import main
from lnp_edge.firmware_gen.build import build
from lnp_edge.firmware_gen.generate import generate, write
from lnp_edge.interchange import onnx_file
from lnp_edge.runtime import soak as soak_module
from lnp_edge.runtime.device import Device
from lnp_edge.runtime.journal import Part
from lnp_edge.runtime.ports import open_board
from lnp_edge.runtime.soak import Outcome, soak

MODEL = tiny_model()
HOST = boards.get("host")


@pytest.fixture
def often(monkeypatch):
    """As many events in some thousand steps as else in a hundred thousand."""
    monkeypatch.setattr(soak_module, "EVERY", {"restart": 300, "cut": 1000, "kill": 600})
    monkeypatch.setattr("lnp_edge.runtime.journal.EVERY", 0.05)


@pytest.mark.slow
@pytest.mark.parametrize(("rate", "seed"), [(1e-3, 1), (3e-3, 2)])
def test_damage_restarts_cuts_and_kills_change_nothing(firmware, tmp_path, often, rate, seed):
    found = soak(MODEL, partial(open_board, HOST, firmware("host")), tmp_path, 6000, seed, rate)
    assert (found.wrong, found.lost, found.doubled, found.ok) == (0, 0, 0, True)
    assert (
        found.events.keys() == {"restart", "cut", "kill"} and found.events.total() >= 28
    )  # of 36; the last may be late
    assert (found.steps, found.runs) == (6000, 12)
    assert found.link["resumed"] >= 5 and found.faults.total() > 50


@pytest.mark.slow
def test_without_replay_it_is_seen_to_be_wrong(firmware, tmp_path, often, monkeypatch):
    """The control: a protection is taken away, and the soak must fail, or the host give up."""
    monkeypatch.setattr(Device, "_replay", lambda self, after, journal: self._begin(after))
    try:
        found = soak(MODEL, partial(open_board, HOST, firmware("host")), tmp_path, 6000, 1, 1e-3)
    except LinkError:
        return
    assert not found.ok and found.wrong >= 1


@pytest.mark.slow
def test_a_device_that_is_wrong_is_seen_by_the_command(tmp_path, monkeypatch, capsys):
    need_for("host")
    onnx_file.save(MODEL, tmp_path / "m.onnx")
    words = ["soak", str(tmp_path / "m.onnx"), "--steps", "1000", "--seed", "4"]
    assert main([*words, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["ok"], told["wrong"], told["lost"], told["doubled"], told["rounds"]) == (True, 0, 0, 0, 1)
    assert told["below"] == 3 / 1000
    files = generate(MODEL, HOST)
    step = "    LNP_MODEL(step)(&link->net, link->counts);\n"
    twice = files["lnp_serve.c"].replace(
        step, f"{step}    if (link->net.t == 300u) {{\n    {step}        link->net.t = 300u;\n    }}\n"
    )
    write(files | {"lnp_serve.c": twice}, tmp_path / "fw")
    image = build(tmp_path / "fw").image
    monkeypatch.setattr("lnp_edge.stages.devices.built", lambda *_: image)
    assert main(words) == 1
    assert capsys.readouterr().out.splitlines()[-1].startswith("FAILED: ")


def outcome(part, code=0):
    found = Outcome()
    soak_module._judge(found, MODEL, 1000, 1, part, code)
    return found.wrong, found.lost, found.doubled


def test_what_the_host_found_is_compared_with_the_reference_run_by_run():
    ours = list(soak_module._expected(MODEL, 1000, 1))
    digests, classes = (list(one) for one in zip(*ours, strict=True))
    assert len(ours) == 2
    assert outcome(Part(1000, 500, classes=classes, digests=digests)) == (0, 0, 0)
    assert outcome(Part(1000, 500, classes=classes, digests=[digests[0], 1])) == (1, 0, 0)
    assert outcome(Part(1000, 500, classes=[9, classes[1]], digests=digests)) == (1, 0, 0)
    assert outcome(Part(1000, 500, classes=classes, digests=digests), 1) == (1, 0, 0)
    assert outcome(Part(999, 500, classes=classes, digests=digests)) == (0, 1, 0)
    assert outcome(Part(1500, 500, classes=[*classes, 0], digests=[*digests, 0])) == (0, 0, 500)
    assert outcome(Part(500, 500, classes=classes[:1], digests=digests[:1])) == (0, 500, 0)


def test_a_host_that_gives_up_again_and_again_is_told(tmp_path, monkeypatch):
    class Silent:
        timeout, in_waiting = 0.0, 0

        def write(self, data):
            return len(data)

        def read(self, size=1):
            return b""

        def close(self):
            pass

    monkeypatch.setattr(soak_module, "DEADLINE", 0.05)
    with pytest.raises(LinkError, match="no bytes from the line"):
        soak(MODEL, Silent, tmp_path, 1000, 1, 0.0)


@pytest.mark.parametrize(("words", "said"), [
    (["--steps", "999"], "--steps is 999"),
    (["--hours", "-1"], "--hours is -1"),
    (["--hours", "nan"], "--hours is nan"),
    (["--faults", "0.03"], "--faults is 0.03"),
    (["--seed", "-1"], "--seed is -1"),
    (["--board", "nucleo-f401re"], "nucleo-f401re is a real board"),
])  # fmt: skip
def test_values_that_cannot_be_are_refused(tmp_path, capsys, words, said):
    onnx_file.save(MODEL, tmp_path / "m.onnx")
    assert main(["soak", str(tmp_path / "m.onnx"), *words]) == 2
    assert capsys.readouterr().err.startswith(said)


def test_rounds_are_added_up():
    first, second = Outcome(10, 2, 1, error="a", seconds=1.0), Outcome(5, 1, lost=2, error="b", seconds=0.5)
    first.events["cut"], second.events["cut"] = 2, 3
    first.add(second)
    assert (first.steps, first.runs, first.wrong, first.lost, first.error) == (15, 3, 1, 2, "a")
    assert (first.events["cut"], first.seconds, first.ok) == (5, 1.5, False)
