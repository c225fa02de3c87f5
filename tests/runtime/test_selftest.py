"""The self-test passes on sound firmware, and each of its checks fails on firmware that is wrong in what it checks."""

import random
from contextlib import closing
from dataclasses import replace

import pytest
from conftest import need, need_for
from fakes import FakePort
from tiny import ALL, tiny_model

from lnp_edge import boards
from lnp_edge.base.errors import LinkError
from lnp_edge.commands._mutation import Socket
from lnp_edge.firmware_gen import link
from lnp_edge.firmware_gen.build import build
from lnp_edge.firmware_gen.generate import generate, stack_bytes, write
from lnp_edge.runtime import ports, selftest
from lnp_edge.runtime.device import Device
from lnp_edge.runtime.faults import FaultyPort
from lnp_edge.runtime.ports import open_board
from lnp_edge.spec import layout, protocol
from lnp_edge.spec.board import Region
from lnp_edge.spec.decision import Decision
from lnp_edge.spec.protocol import REQUESTS

RULE = Decision(
    lead=40, least=900, low=(-900,) * 3, high=(800, 800, 900), outside=3, levels=((100, 40), (2000, 70), (9000, 90))
)


def decided(seed=1):
    """A layer whose decisions have every part of the rule, and whose sums leave int16."""
    model = tiny_model(seed, n=70)
    wide = tuple(replace(p, shift=p.shift + 2) for p in model.projections)
    return replace(model, decision=RULE, projections=wide).check()


KINDS = ALL | {
    "decided": decided,
    "stream": lambda: replace(ALL["stack"](), decision=Decision(stream=True, lead=40)),
    "wide": lambda: tiny_model(1, n=8, n_in=260),  # a request holds one step and no byte more
}


def image(path, model, *change):
    """change : a file, what stands there and what is put there instead; none: sound firmware"""
    need("cc")
    write(generate(model, boards.get("host")), path)
    if change:
        file, old, new = change
        source = (path / file).read_text()
        assert source.count(old) == 1
        (path / file).write_text(source.replace(old, new))
    return build(path).image


@pytest.mark.parametrize("kind", [*ALL, "decided", "stream", "wide"])
def test_sound_firmware_passes_every_check(tmp_path, kind):
    model = KINDS[kind]()
    with closing(Socket(image(tmp_path, model))) as port:
        found = selftest.run(model, Device(port, model), seed=1)
    assert [c.name for c in found.checks] == list(selftest.CHECKS)
    assert [(c.wrong, c.left_out) for c in found.checks] == [("", "")] * len(found.checks)
    assert min(c.cases for c in found.checks) >= 4


@pytest.mark.parametrize("board", ["cortex-m4", "mps2-an386"])
def test_it_runs_on_emulated_boards(firmware, board):
    need_for(board)
    model = ALL["layer"]()
    with closing(open_board(boards.get(board), firmware(board))) as port:
        found = selftest.run(model, Device(port, model), seed=1)
    assert found.ok and not any(c.left_out for c in found.checks)
    assert found.lines()[-1].startswith(f"self-test: {sum(c.cases for c in found.checks)} cases, 0 differences")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mps2-an386", "microbit", "riscv-virt"])
def test_firmware_that_is_optimised_as_it_is_linked_passes(tmp_path, name):
    """make OPTIMIZE="-O3 -flto": gcc dropped memcpy before it called it."""
    need_for(name, "gcc")
    model, board = ALL["layer"](), boards.get(name)
    write(generate(model, board), tmp_path)
    with closing(open_board(board, build(tmp_path, "gcc", more=("-flto",)).image)) as port:
        assert selftest.run(model, Device(port, model), seed=1).ok


@pytest.mark.slow
def test_one_core_of_several_runs_the_program(firmware, monkeypatch):
    need_for("riscv-virt")
    one = ports.qemu_command
    monkeypatch.setattr(ports, "qemu_command", lambda *board: [*one(*board), "-smp", "4"])
    model = ALL["layer"]()
    with closing(open_board(boards.get("riscv-virt"), firmware("riscv-virt"))) as port:
        assert selftest.run(model, Device(port, model), seed=1).ok


@pytest.mark.parametrize("seed", [1, 2])
def test_a_line_that_damages_changes_nothing(tmp_path, seed):
    model = tiny_model()
    with closing(Socket(image(tmp_path, model))) as port:
        device = Device(FaultyPort(port, 1e-3, seed), model)
        found = selftest.run(model, device, seed=1)
    assert found.ok and device.traffic.sent_again > 10


class Line:
    """Carries chunks as `there` and `here` change them."""

    def __init__(self, port, there=lambda data: data, here=lambda data: data):
        self.port, self.there, self.here, self.out = port, there, here, bytearray()

    def __getattr__(self, name):
        return getattr(self.port, name)

    @property
    def timeout(self):
        return self.port.timeout

    @timeout.setter
    def timeout(self, seconds):
        self.port.timeout = seconds

    @property
    def in_waiting(self):
        return len(self.out) + self.port.in_waiting

    def write(self, data):
        self.port.write(self.there(data))

    def read(self, size=1):
        if not self.out or self.port.in_waiting:
            self.out += self.here(self.port.read(size))
        found = bytes(self.out[:size])
        del self.out[:size]
        return found


def straight(port, _):
    return port


def repeating(port, rng):
    def twice(data):
        return data * (1 + (rng.random() < 0.3))

    return Line(port, twice, twice)


def echoing(port, _):
    line = Line(port)

    def there(data):
        line.out += data
        return data

    line.there = there
    return line


def recalling(port, _):
    """Doubles the first frame, and carries a greeting of another session again, once, before the steps that follow."""
    greetings = []

    def there(data):
        try:
            frame = protocol.decode(data.strip(b"\0"))
        except protocol.FrameError:
            return data
        if not greetings:
            greetings.append((frame.sid, data))
            return data * 2
        if frame.type == REQUESTS["hello"].type and frame.sid != greetings[0][0]:
            greetings.append((frame.sid, data))
        if frame.type == REQUESTS["steps"].type and len(greetings) == 2:
            greetings.append((0, b""))
            return greetings[1][1] + data
        return data

    return Line(port, there)


def dropping(port, rng):
    return Line(port, lambda data: bytes(b for b in data if rng.random() > 0.02))


def noisy(port, _):
    return Line(port, here=lambda data: data and b"~" + data + b"~")


def damaging(port, _):
    return FaultyPort(port, 3e-4, 1)


def over_a_line(path, line, *change):
    """The self-test of a program over a line. change : see image()"""
    model = tiny_model()
    with closing(Socket(image(path, model, *change))) as port:
        return selftest.run(model, Device(line(port, random.Random(1)), model, "PORT", deadline=2.0), seed=1)


@pytest.mark.parametrize("line", [repeating, echoing, recalling])
def test_a_line_that_repeats_or_echoes_changes_nothing(tmp_path, line):
    assert over_a_line(tmp_path, line).ok


@pytest.mark.slow
@pytest.mark.parametrize(("line", "said"), [(dropping, "requests arrived damaged"), (noisy, "repeats or adds bytes")])
def test_a_line_too_bad_for_the_self_test_is_no_fault_of_the_device(tmp_path, line, said):
    with pytest.raises(LinkError, match=said):
        over_a_line(tmp_path, line)


@pytest.mark.parametrize("line", [echoing, damaging])
def test_a_fault_of_the_device_is_found_over_a_line_that_has_its_own(tmp_path, line):
    found = over_a_line(tmp_path, line, *WRONG["a damaged request is taken"][:3])
    assert "link" in [c.name for c in found.checks if c.wrong]


ONCE = {
    "a state is read wrong": (
        "lnp_serve.c",
        "LNP_MODEL(state_word)(&link->net, word + k));",
        "LNP_MODEL(state_word)(&link->net, word + k));\n"
        "        static int reads;\n"
        "        reply[LNP_REPLY_STATE_REST] ^= reads++ == 0;",
    ),
    "a damaged request is taken": (
        "lnp_link.c",
        "return lnp_get_u32(frame + length - CRC) == lnp_crc32(0, frame, (size_t)(length - CRC));",
        "static int taken;\n"
        "    return lnp_get_u32(frame + length - CRC) == lnp_crc32(0, frame, (size_t)(length - CRC)) || taken++ == 0;",
    ),
    "a reply is answered": (
        "lnp_link.c",
        "return frame[LNP_WIRE_VERSION_AT] == LNP_WIRE_VERSION && frame[LNP_WIRE_TYPE_AT] < LNP_REPLY_NAK;",
        "static int answered;\n"
        "    return frame[LNP_WIRE_TYPE_AT] < LNP_REPLY_NAK ? frame[LNP_WIRE_VERSION_AT] == LNP_WIRE_VERSION\n"
        "                                                   : answered++ == 0;",
    ),
}


def test_a_fault_that_comes_once_is_found_in_what_a_crc_covers(tmp_path):
    found = over_a_line(tmp_path, repeating, *ONCE["a state is read wrong"])
    assert [c.name for c in found.checks if c.wrong] == ["reset"]


@pytest.mark.parametrize("name", ["a damaged request is taken", "a reply is answered"])
def test_a_fault_that_comes_once_in_what_no_crc_covers_is_no_verdict(tmp_path, name):
    """It may be the first of the line."""
    with pytest.raises(LinkError, match="cannot tell which"):
        over_a_line(tmp_path, straight, *ONCE[name])


def test_what_is_left_of_an_earlier_frame_is_no_part_of_the_next():
    model = tiny_model()
    port = FakePort(model)
    device = Device(port, model)
    port._out += b"rest\0"
    assert device.delimited()


@pytest.mark.parametrize(("doubled", "sound"), [(8, True), (9, False), (64, False)])
def test_a_line_that_doubles_more_than_an_eighth_of_the_greetings_is_not_sound(doubled, sound):
    """It is told at once: where most are lost, each of the others might take a deadline."""

    class Doubling(FakePort):
        left = 0

        def answer(self, frame):
            self.left -= 1
            return super().answer(frame) * (1 + (self.left >= 0))

    model = tiny_model()
    port = Doubling(model)
    device = Device(port, model)
    port.left, before = doubled, device.traffic.requests
    assert device.sound() == sound
    assert device.traffic.requests - before == (64 if sound else 10)


@pytest.mark.parametrize(("more", "left_out"), [
    (0, ["reset", "save", "load", "extremes", "argmax", "stream"]),  # bytes of RAM beyond the server's own
    (500, ["stream"]),
])  # fmt: skip
def test_a_board_without_room_leaves_checks_out_and_says_so(tmp_path, more, left_out):
    need("cc")
    model = tiny_model()
    host = boards.get("host")
    size = layout.state_bytes(model) + link.ram_bytes(model, host) + stack_bytes(model, host) + more
    write(generate(model, replace(host, ram=Region(0, size))), tmp_path)
    with closing(Socket(build(tmp_path).image)) as port:
        found = selftest.run(model, Device(port, model), seed=1)
    assert found.ok and [c.name for c in found.checks if c.left_out] == left_out
    assert found.lines()[0] == f"self-test, {left_out[0]}: left out, the device has no room for it"


# What is wrong: the file, what stands there, what is put there instead, and the check that must fail.
WRONG = {
    "save loses t": ("lnp_state.h", "lnp_put_u32(to + 4, s->t);", "lnp_put_u32(to + 4, 0);", "save"),
    "save loses the digest": ("lnp_state.h", "lnp_put_u32(to + 8, s->digest);", "", "save"),
    "save loses the fingerprint": ("lnp_state.h", "lnp_put_u32(to, LNP_FINGERPRINT);", "", "save"),
    "save takes any size": ("lnp_state.h", "if (size != LNP_SAVE_BYTES) {", "if (size == 0) {", "save"),
    "load loses t": ("lnp_state.h", "s->t = lnp_get_u32(from + 4);", "", "reset"),
    "load forgets the CRC": (
        "lnp_state.h",
        "lnp_get_u32(crc) != lnp_crc32(0, from, LNP_SAVE_BYTES - SAVE_CRC)",
        "crc == 0",
        "load",
    ),
    "load takes any model": ("lnp_state.h", "|| lnp_get_u32(from) != LNP_FINGERPRINT", "", "load"),
    "load takes any value": (
        "lnp_state.h",
        "!is_safe(from + SAVE_HEAD)",
        "(!is_safe(from + SAVE_HEAD) && size == 0)",
        "load",
    ),
    "load takes one beyond a limit": ("lnp_state.h", ": word) <= most;", ": word) <= most + 1u;", "load"),
    "load refuses what is at a limit": ("lnp_state.h", ": word) <= most;", ": word) < most;", "load"),
    "load takes spikes of no neuron": ("lnp_state.h", "return used == 0 || ", "return true || ", "load"),
    "argmax takes the last of equals": (
        "lnp_state.h",
        "s->LNP_READOUT[o] > s->LNP_READOUT[best]",
        "s->LNP_READOUT[o] >= s->LNP_READOUT[best]",
        "argmax",
    ),
    "state_word is the next": ("lnp_state.h", "[index]; \\", "[index ^ 1u]; \\", "reset"),
    "a sum is of 16 bits": (
        "lnp_net.c",
        "int32_t i_syn_ = i_syn_at[i];\n    int32_t v_",
        "int32_t i_syn_ = (int16_t)i_syn_at[i];\n    int32_t v_",
        "extremes",
    ),
    "an input saturates late": ("lnp_net.c", ", -127, 127)", ", -128, 127)", "encoder"),
    "a decision takes the last of equals": ("lnp_push.h", "y[o] > y[best]", "y[o] >= y[best]", "stream"),
    "a lead is too small": (
        "lnp_push.h",
        "(uint32_t)y[s->label] >= decision_lead",
        "(uint32_t)y[s->label] > decision_lead",
        "stream",
    ),
    "a margin is too small": ("lnp_push.h", "margin < decision_least", "margin <= decision_least", "stream"),
    "a level begins late": ("lnp_push.h", "margin >= decision_level[k]", "margin > decision_level[k]", "stream"),
    "a limit of the range is outside": (
        "lnp_push.h",
        "sample[c] < decision_low[c]",
        "sample[c] <= decision_low[c]",
        "stream",
    ),
    "one more sample outside": (
        "lnp_push.h",
        "outside > decision_outside",
        "outside > decision_outside + 1u",
        "stream",
    ),
    "a window begins late": ("lnp_push.h", "s->until_next = LNP_HOP;", "s->until_next = LNP_HOP + 1u;", "stream"),
    "a read is of the next byte": (
        "lnp_serve.c",
        "reply[LNP_REPLY_READ_REST + k] = bytes[k];",
        "reply[LNP_REPLY_READ_REST + k] = bytes[k ^ 1u];",
        "tables",
    ),
    "a damaged request is taken": (
        "lnp_link.c",
        "return lnp_get_u32(frame + length - CRC) == lnp_crc32(0, frame, (size_t)(length - CRC));",
        "return true;",
        "link",
    ),
    "a late step is taken": ("lnp_serve.c", "lnp_get_steps_t(payload) != link->net.t", "false", "link"),
    "a block of 253 bytes loses its zero": ("lnp_cobs.c", "code <= LONGEST_RUN;", "code < LONGEST_RUN;", "load"),
    "a repeated step is run": ("lnp_link.c", "link->seq == seq &&", "link->seq != seq &&", "link"),
    "a frame has no first zero": (
        "lnp_cobs.c",
        "const uint8_t delimiter = 0;\n    write(&delimiter, 1);",
        "const uint8_t delimiter = 0;",
        "link",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", WRONG)
def test_firmware_that_is_wrong_fails_the_check_of_what_is_wrong(tmp_path, name):
    file, old, new, check = WRONG[name]
    model = decided()
    with closing(Socket(image(tmp_path, model, file, old, new))) as port:
        found = selftest.run(model, Device(port, model, deadline=2.0), seed=1)
    wrong = [c.name for c in found.checks if c.wrong]
    assert check in wrong, [(c.name, c.wrong) for c in found.checks if c.wrong]
    assert not found.ok and found.lines()[-1].startswith("NOT verified: ")
