"""What a model costs on a board: counts by an oracle, and what is said where nothing counts."""

import argparse
import json
import re
import shlex
from contextlib import closing
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import need, need_for
from fakes import FakePort
from tiny import tiny_counts, tiny_model

from lnp_edge import boards
from lnp_edge.base.console import bars
from lnp_edge.base.errors import BoardError
from lnp_edge.cli import main
from lnp_edge.commands import _cost_report, _measure, demo
from lnp_edge.firmware_gen.build import build
from lnp_edge.firmware_gen.generate import generate, write
from lnp_edge.firmware_gen.startup import STACK_BYTES
from lnp_edge.interchange import onnx_file, windows_file
from lnp_edge.runtime import decisions, selftest
from lnp_edge.runtime.device import Device
from lnp_edge.runtime.emulator import Emulator
from lnp_edge.runtime.verify import stimulus
from lnp_edge.spec import layout
from lnp_edge.spec.decision import Decision
from lnp_edge.spec.protocol import REPLIES
from lnp_edge.stages import devices
from lnp_edge.stages.cost import BoardCost

NUCLEO, M4 = boards.get("nucleo-f401re"), boards.get("cortex-m4")
MODEL = replace(tiny_model(), dt=0.04, window=100, hop=50).check()
STREAM = replace(MODEL, decision=Decision(stream=True)).check()


@pytest.fixture(autouse=True, scope="module")
def few_steps():
    """Counted of the synthetic data: as many as of the real data."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_measure, "COST_STEPS", 300)
        yield


# ---- counts


REAL = tiny_counts(MODEL, 300).reshape(3, 100, 3)


@pytest.fixture(scope="module")
def real():
    need_for("cortex-m4")
    return _cost_report.of(MODEL, M4, REAL)


def test_counts_repeat_exactly_and_real_data_come_first(real):
    assert real == _cost_report.of(MODEL, M4, REAL)
    assert [(one.data, one.steps) for one in real.counted] == [("training data", 300), ("synthetic", 300)]
    assert all(0 < one.mean < one.largest for one in real.counted)
    assert (real.counted_on, real.missing) == ("cortex-m4", "")
    alone = _cost_report.of(MODEL, M4, None)
    assert alone.counted == real.counted[1:]


class OneByOne:
    """Every instruction in turn: those within a function, and how deep the stack pointer went."""

    def __init__(self, emulator, function):
        self.begin = emulator._symbols[function] & ~emulator._family.state
        self.main, self.started = emulator._symbols["main"] & ~emulator._family.state, False
        self.calls, self.back, self.lowest = [], 0, 2**32
        self.read = lambda: (emulator._register("sp"), emulator._register("link") & ~emulator._family.state)
        emulator._uc.hook_add(emulator._unicorn.UC_HOOK_CODE, self.step)

    def step(self, uc, address, size, data):
        sp, link = self.read()
        self.started |= address == self.main  # a RISC-V core begins without a stack
        self.lowest = min(self.lowest, sp) if self.started else self.lowest
        if self.back == 0 and address == self.begin:
            self.back = link
            self.calls.append(0)
        if address == self.back:
            self.back = 0
        self.calls[-1:] = [self.calls[-1] + 1] if self.back else self.calls[-1:]


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    need_for("cortex-m4")
    folder = tmp_path_factory.mktemp("server")
    write(generate(MODEL, M4), folder)
    return build(folder).image


@pytest.mark.parametrize("function", ["lnp_net_digest", "lnp_net_step"])
def test_the_count_is_that_of_the_instructions_one_by_one(image, function):
    skipped = compare_counts(M4, image, function)
    # unicorn leaves out a conditional instruction that is skipped, such as the reset of a neuron that is
    # silent. A core spends its cycle on it, so the count has it. The digest has no such instruction, or, by
    # zig 0.14, one in each of its four calls: the return where there is nothing to mix.
    neurons = sum(p.n for p in MODEL.populations)
    if function == "lnp_net_digest":
        assert set(skipped) in ({0}, {4})
    else:
        assert 0 < skipped.min() <= skipped.max() <= 2 * neurons


@pytest.mark.slow
@pytest.mark.parametrize("toolchain", ["gcc", "zig"])
def test_the_count_of_a_risc_v_core_is_exact(tmp_path, toolchain):
    board = boards.get("rv32imac")
    need_for(board.name, toolchain)
    write(generate(MODEL, board), tmp_path)
    assert not compare_counts(board, build(tmp_path, toolchain).image, "lnp_net_step").any()


def compare_counts(board, image, function):
    """How many more instructions each call has by the count of blocks than one by one; and whether the stack agrees."""
    rows = REAL[0][:20]
    with closing(Emulator(board, image)) as emulator:
        every = OneByOne(emulator, function)
        Device(emulator, MODEL).steps(rows)
        bottom, size = emulator._stack
        used, deepest = emulator.stack_used, bottom + size - every.lowest
    with closing(Emulator(board, image)) as emulator:
        device = Device(emulator, MODEL)
        with emulator.count(function) as counted:
            device.steps(rows)
    assert len(counted.calls) == len(every.calls) == 20
    # A frame may have room at its end that nothing has written to: 32 B at most here.
    assert deepest - 32 <= used <= deepest < size == STACK_BYTES
    return np.subtract(counted.calls, every.calls)


def test_stack_is_what_was_written_below_its_top(image, real):
    assert 0 < real.stack < STACK_BYTES
    with closing(Emulator(M4, image)) as emulator:
        assert emulator.stack_used == 0
        bottom, size = emulator._stack
        emulator._uc.mem_write(bottom + size - 100, b"x")
        assert emulator.stack_used == 100


def test_an_image_whose_stack_is_elsewhere_is_refused(image, tmp_path):
    data = image.read_bytes()
    vectors = Emulator(M4, image)._uc.mem_read(M4.flash.origin, 16)
    assert data.count(bytes(vectors)) == 1
    (tmp_path / "a.elf").write_bytes(data.replace(bytes(vectors), b"\0\0\0\x30" + bytes(vectors[4:])))
    with pytest.raises(BoardError, match="stack at 0x30000000"):
        Emulator(M4, tmp_path / "a.elf")


def test_a_program_pays_for_a_sample_what_the_steps_of_its_open_windows_cost(tmp_path, real):
    """The cost of lnp_net_push, which takes samples in a user's program, is not printed: it is that of the steps."""
    samples = REAL.reshape(-1, 3)
    write(generate(MODEL, M4, app=True), tmp_path)
    with closing(Emulator(M4, build(tmp_path).image)) as port, port.count("lnp_net_push") as counted:
        assert decisions.compare(MODEL, port, samples).ok
    both = counted.calls[MODEL.hop :]  # from here on two windows are open
    most = real.model.open_windows * real.counted[0].largest
    assert real.model.open_windows == 2
    # Beside its two steps a push takes some 200 instructions: for the sample, and to decide.
    assert 0 < np.mean(both) - 2 * real.counted[0].mean < 300
    assert max(both) < most + 300


def test_the_ram_of_an_app_is_told_beside_that_of_one_window(at, capsys):
    """Fifty open windows, each with a network: what lnp verify asks has one of them."""
    need_for("cortex-m4", start=False)
    onnx_file.save(replace(MODEL, hop=2).check(), at / "m.onnx")
    said = []
    for folder, more in (("one", []), ("app", ["--app"])):
        assert main(["generate", "m.onnx", "--board", "cortex-m4", "-o", folder, *more]) == 0
        assert main(["build", folder, "--model", "m.onnx", "--json"]) == 0
        said.append(json.loads(capsys.readouterr().out))
        assert main(["build", folder, "--model", "m.onnx"]) == 0
        assert ("has no link, but 50 networks, one for each window" in " ".join(capsys.readouterr().out.split())) == (
            folder == "one"
        )
    one, app = said
    assert one["cost"]["ram_of_app"] == app["cost"]["ram_of_app"] == app["ram"] > 50 * layout.state_bytes(MODEL)


# ---- boards


def test_a_board_of_the_same_core_is_counted_on_the_emulated_one_with_its_own_compiler(real):
    need_for("mps2-an386", start=False)
    gcc = _cost_report.of(MODEL, boards.get("mps2-an386"), REAL)
    assert gcc.counted_on == "cortex-m4" and gcc.flash > 0
    assert [one.data for one in gcc.counted] == [one.data for one in real.counted]
    assert gcc.counted[0].mean != real.counted[0].mean, "another compiler"
    nucleo = _cost_report.of(MODEL, NUCLEO, REAL)
    assert nucleo.counted == gcc.counted and nucleo.largest_ms[0] < gcc.largest_ms[0]


def test_what_cannot_be_measured_is_said(monkeypatch, capsys):
    need_for("cortex-m4", start=False)
    host = _cost_report.of(MODEL, boards.get("host"), REAL)
    assert (host.flash, host.counted, host.stack) == (0, (), 0) and "counts no instructions" in host.missing

    def none(board):
        raise BoardError(f"nothing counts for {board.name}", "hint")

    monkeypatch.setattr(_measure, "counting_board", none)
    found = _cost_report.of(MODEL, M4, REAL)
    assert (found.counted, found.missing) == ((), "nothing counts for cortex-m4") and found.flash > 0
    _cost_report.show(found)
    said = capsys.readouterr().out
    assert (
        "Flash" in said
        and "nothing counts for cortex-m4." in said
        and "steps were counted" not in said
        and "ms" not in said
    )
    assert f"Stack: at most {found.deepest.deepest:,} of 2,048 B, by the calls in the program." in said


def test_the_stack_is_the_most_that_any_of_the_data_took(monkeypatch):
    need_for("cortex-m4", start=False)
    used = iter([300, 200])
    counted = SimpleNamespace(calls=[5, 7], total={}, cycles=lambda blocks: (0, 0))
    monkeypatch.setattr(_measure, "_counted", lambda *_: (counted, next(used)))
    assert _cost_report.of(MODEL, M4, REAL).stack == 300


# ---- commands


@pytest.fixture
def at(tmp_path, monkeypatch):
    """An own current folder with a model and its windows, one of which has a count that no stimulus has."""
    monkeypatch.chdir(tmp_path)
    onnx_file.save(MODEL, tmp_path / "m.onnx")
    counts = REAL.copy()
    counts[2, 40, 0] = 12345
    windows_file.save(MODEL, counts, tmp_path / "m.onnx")
    assert not any((rows[:, 0] == 12345).any() for rows in stimulus(MODEL, 2000, 1))
    return tmp_path


def test_verify_runs_the_windows_and_prints_the_cost(at, capsys):
    need_for("cortex-m4")
    assert main(["verify", "m.onnx", "--steps", "200"]) == 0
    said = capsys.readouterr().out
    lines = said.splitlines()
    words = MODEL.state_words
    assert lines[0] == f"verified: 200 steps, {200 * words} state words, 0 differences"
    assert lines[1] == f"verified: 300 steps, {300 * words} state words, 0 differences, on 3 real windows"
    assert [line for line in (" training data     300 ", " synthetic         300 ") if line not in said] == []
    assert (
        "25 Hz leaves 40 ms. A step takes at most " in said
        and "\n bound " in said
        and "no real data" not in said.lower()
    )
    assert main(["verify", "m.onnx", "--steps", "200", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["ok"], found["steps"], found["windows"]["steps"]) == (True, 200, 300)
    assert [one["data"] for one in found["cost"]["counted"]] == ["training data", "synthetic"]


@pytest.mark.parametrize("board", ["host", "cortex-m4"])
def test_firmware_that_is_wrong_on_real_windows_alone_is_caught(at, monkeypatch, capsys, board):
    need_for(board)

    def broken(*args, **more):
        files, step = generate(*args, **more), "    s->t++;\n"
        assert files["lnp_net.c"].count(step) == 1
        wrong = f"    s->hidden_v[3] += counts[0] == 12345;\n{step}"
        return files | {"lnp_net.c": files["lnp_net.c"].replace(step, wrong)}

    monkeypatch.setattr("lnp_edge.firmware_gen.generate.generate", broken)
    words = ["verify", "m.onnx", "--board", board, "--steps", "300"]
    assert main(words) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith(" 0 differences")
    assert lines[1].startswith("first difference at step 40, neuron 3 of hidden, v: device ")
    assert lines[2].endswith("the state differs within 241 steps, on counts[2] of m.onnx.windows")
    assert not any("A sample comes" in line for line in lines), "a cost of what is wrong"
    windows_file.path_of(at / "m.onnx").unlink()
    assert main(words) == 0, "the stimulus alone does not find it"


@pytest.mark.parametrize(
    ("load", "said"), [(0.5, "50 % of the processor: in time, if"), (1.5, "150 % of the processor: too slow.")]
)
def test_a_board_whose_counter_alone_is_known_is_told_whether_it_keeps_up(load, said):
    """Nothing counts the instructions of an AVR."""
    model, board = tiny_model(), boards.get("arduino-mega")
    sentences = list(
        _cost_report._sentences(BoardCost(model, board, cycles=load * board.clock_hz / model.steps_a_second))
    )
    assert any(said in one for one in sentences)


def counting_port(name, clock_hz):
    """A board that tells its name and clock, and with each answer the cycles: 63,000 a step on windows, more before."""
    head, answered, at = REPLIES["steps"].struct, [], {}  # at: the last step of each run

    def tamper(request, payload):
        if request != "steps":
            return payload
        run, t, _, crc = head.unpack_from(payload)
        steps, at[run] = t - at.get(run, 0), t
        answered.append(steps)
        each = 63_000 if sum(answered) > 500 else 90_000
        return head.pack(run, t, each * steps, crc) + payload[head.size :]

    return FakePort(MODEL, tamper, greeting={"board": name.encode(), "clock_hz": clock_hz})


def verified_at_port(monkeypatch, capsys, name, clock_hz, *words):
    need_for("nucleo-f401re", start=False)
    need("unicorn", "elftools")
    port = counting_port(name, clock_hz)
    monkeypatch.setattr(devices, "device", lambda *_: closing(Device(port, MODEL)))
    monkeypatch.setattr(selftest, "run", lambda *_, **__: selftest.SelfTest(()))  # the port knows none of its messages
    assert main(["verify", "m.onnx", "--steps", "500", "--port", "/dev/ttyACM0", *words]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("words", [(), ("--board", "netduinoplus2")])
def test_a_real_boards_counter_gives_its_time_and_its_name_is_what_it_tells(at, monkeypatch, capsys, words):
    said = verified_at_port(monkeypatch, capsys, "nucleo-f401re", 84_000_000, *words)
    assert "its time on nucleo-f401re at 84 MHz" in said and "decisions" not in said
    assert "The board's own counter: 63,000 cycles a step on average, 0.75 ms." in said
    assert "in time, 3.8 % of the processor." in said


def test_cycles_are_divided_by_the_clock_that_the_firmware_tells(at, monkeypatch, capsys):
    said = verified_at_port(monkeypatch, capsys, "nucleo-f401re", 42_000_000)
    assert "its time on nucleo-f401re at 42 MHz" in said and "on average, 1.5 ms." in said


def test_of_a_board_that_is_not_installed_only_its_counter_is_known(at, monkeypatch, capsys):
    said = verified_at_port(monkeypatch, capsys, "my-board-216mhz", 216_000_000).splitlines()
    assert said[-2:] == [
        "The board's own counter: 63,000 cycles a step on average, 0.29 ms.",
        "Cost: this installation does not know the board my-board-216mhz.",
    ]
    said = verified_at_port(monkeypatch, capsys, "my-board-216mhz", 216_000_000, "--json")
    assert json.loads(said)["cost"] is None and json.loads(said)["cycles_per_step"] == 63_000 + 27_000


def test_a_demo_refuses_a_device_of_another_name_and_takes_its_clock(tmp_path, monkeypatch):
    need_for("cortex-m4")
    args = argparse.Namespace(output=tmp_path, port="PORT")

    def proof(name):
        monkeypatch.setattr(demo, "open_board", lambda *_: counting_port(name, 50_000_000))
        with bars() as progress:
            return demo._on_device(args, M4, MODEL, REAL, progress)

    assert proof("cortex-m4").cost.board == replace(M4, clock_hz=50_000_000)
    with pytest.raises(BoardError, match="the device is nucleo-f401re, not cortex-m4") as e:
        proof("nucleo-f401re")
    assert e.value.try_next == "add --board nucleo-f401re"


def test_verify_says_where_real_data_would_come_from_and_what_a_board_does_not_count(at, capsys):
    need_for("host")
    windows_file.path_of(at / "m.onnx").unlink()
    assert main(["verify", "m.onnx", "--board", "host", "--steps", "50"]) == 0
    assert capsys.readouterr().out.splitlines()[-2:] == [
        "Cost: this computer counts no instructions, --board cortex-m4 does.",
        "No real data: lnp quantize writes some beside the model, as m.onnx.windows.",
    ]


@pytest.mark.parametrize("words", [("verify", "m.onnx", "--board", "host"), ("build", "fw", "--model", "m.onnx")])
def test_damaged_windows_are_an_error_of_two_lines(at, capsys, words):
    assert main(["generate", "m.onnx", "--board", "host", "-o", "fw"]) == 0
    capsys.readouterr()
    file = windows_file.path_of(at / "m.onnx")
    data = file.read_bytes()
    file.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert main(list(words)) == 2
    captured = capsys.readouterr()
    what, try_next = captured.err.splitlines()
    assert captured.out == "" and what == "m.onnx.windows is damaged: its CRC-32 differs" and "delete" in try_next


def test_build_with_the_model_prints_its_cost_and_without_it_says_how(at, capsys):
    need_for("cortex-m4")
    assert main(["generate", "m.onnx", "--board", "cortex-m4", "-o", "fw"]) == 0
    assert main(["build", "fw"]) == 0
    captured = capsys.readouterr()
    assert "lnp build fw --model m.onnx" in captured.err and len(captured.out.splitlines()) == 4
    without = "That is without the self-test of lnp verify: lnp build prints the bytes with it."
    assert main(["build", "fw", "--model", "m.onnx"]) == 0
    said = capsys.readouterr().out
    assert " training data     300 " in said and without not in said
    assert main(["build", "fw", "--model", "m.onnx", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert main(["verify", "m.onnx", "--steps", "100", "--json"]) == 0
    assert found["flash"] == found["cost"]["flash"]
    told = json.loads(capsys.readouterr().out)["cost"]
    assert main(["verify", "m.onnx"]) == 0
    of_verify = " ".join(capsys.readouterr().out.split())
    assert without in of_verify.partition("An app")[0], "of the server, not of the app"
    # What is built answers lnp verify, with its self-test; what lnp verify tells of memory is without.
    assert found["flash"] > told["flash"] and found["cost"]["ram"] > told["ram"]
    memory = {"flash", "ram", "ram_of_app", "stack_at_most"}
    assert {k: v for k, v in found["cost"].items() if k not in memory} == {
        k: v for k, v in told.items() if k not in memory
    }


@pytest.mark.parametrize("more", ["", " --app"])
def test_build_with_another_model_says_how_to_generate_what_the_folder_is(at, capsys, more):
    onnx_file.save(tiny_model(seed=2), at / "other.onnx")
    command = "lnp generate other.onnx --board cortex-m4 --name gait" + more + " -o 'my fw'"
    assert main(shlex.split(command.replace("other", "m"))[1:]) == 0
    capsys.readouterr()
    assert main(["build", "my fw", "--model", "other.onnx"]) == 2
    said = f"my fw holds another model than other.onnx\n  generate it again: {command}\n"
    assert capsys.readouterr().err == said and main(shlex.split(command)[1:]) == 0


def test_build_of_an_app_prints_its_own_stack_and_not_what_the_server_took(at, capsys):
    need_for("cortex-m4")
    for words, counted in (([], True), (["--app"], False)):
        assert main(["generate", "m.onnx", "--board", "cortex-m4", "-o", f"fw{len(words)}", *words]) == 0
        capsys.readouterr()
        assert main(["build", f"fw{len(words)}", "--model", "m.onnx"]) == 0
        said = capsys.readouterr().out
        assert "Flash " in said and ("while steps were counted" in said) == counted
        most = re.search("Stack: at most ([0-9,]+) of 2,048 B", " ".join(said.split()))[1]
        assert main(["build", f"fw{len(words)}"]) == 0
        assert f"stack  at most {most} of 2,048 B" in capsys.readouterr().out


def test_build_for_this_computer_prints_its_bytes_with_the_model_too(at, capsys):
    need_for("host")
    assert main(["generate", "m.onnx", "--board", "host", "-o", "fw"]) == 0
    assert main(["build", "fw", "--json"]) == 0
    sizes = json.loads(capsys.readouterr().out)
    assert main(["build", "fw", "--model", "m.onnx"]) == 0
    said = capsys.readouterr().out
    assert f"Flash {sizes['flash']:,} B, RAM {sizes['ram']:,} B: it answers lnp verify" in said and "268," not in said
    assert sizes["flash_size"] is sizes["ram_size"] is None, "it has no limit that a share could be of"
    assert main(["build", "fw"]) == 0
    assert f"flash  {sizes['flash']:,} B\nram    {sizes['ram']:,} B\n" in capsys.readouterr().out
