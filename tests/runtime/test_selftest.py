"""The self-test passes on sound firmware, and each of its checks fails on firmware that is wrong in what it checks."""

from contextlib import closing
from dataclasses import replace

import pytest
from conftest import need, need_for
from tiny import ALL, tiny_model

from lnp_edge import boards
from lnp_edge.commands._mutation import Socket
from lnp_edge.firmware_gen import link
from lnp_edge.firmware_gen.build import build
from lnp_edge.firmware_gen.generate import generate, stack_bytes, write
from lnp_edge.runtime import selftest
from lnp_edge.runtime.device import Device
from lnp_edge.runtime.faults import FaultyPort
from lnp_edge.runtime.ports import open_board
from lnp_edge.spec import layout
from lnp_edge.spec.board import Region
from lnp_edge.spec.decision import Decision

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


def image(path, model, change):
    need("cc")
    write(generate(model, boards.get("host")), path)
    file, old, new = change
    source = (path / file).read_text()
    assert source.count(old) == 1
    (path / file).write_text(source.replace(old, new))
    return build(path).image


@pytest.mark.parametrize("kind", [*ALL, "decided", "stream", "wide"])
def test_sound_firmware_passes_every_check(tmp_path, kind):
    need("cc")
    model = KINDS[kind]()
    write(generate(model, boards.get("host")), tmp_path)
    with closing(Socket(build(tmp_path).image)) as port:
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


@pytest.mark.parametrize("seed", [1, 2])
def test_a_line_that_damages_changes_nothing(tmp_path, seed):
    need("cc")
    model = tiny_model()
    write(generate(model, boards.get("host")), tmp_path)
    with closing(Socket(build(tmp_path).image)) as port:
        device = Device(FaultyPort(port, 1e-3, seed), model)
        found = selftest.run(model, device, seed=1)
    assert found.ok and device.traffic.sent_again > 10


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
    with closing(Socket(image(tmp_path, model, (file, old, new)))) as port:
        found = selftest.run(model, Device(port, model, deadline=2.0), seed=1)
    wrong = [c.name for c in found.checks if c.wrong]
    assert check in wrong, [(c.name, c.wrong) for c in found.checks if c.wrong]
    assert not found.ok and found.lines()[-1].startswith("NOT verified: ")
