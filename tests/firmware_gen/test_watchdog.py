"""A program that hangs is reset by its board's watchdog, and the link brings it back; one that waits is not reset."""

import re
import time
from contextlib import closing
from dataclasses import replace

import pytest
from conftest import need, need_for
from tiny import tiny_model

from lnp_edge import boards
from lnp_edge.base.errors import BoardError, LinkError
from lnp_edge.firmware_gen.build import build
from lnp_edge.firmware_gen.generate import generate, write
from lnp_edge.firmware_gen.network import CSRC
from lnp_edge.runtime.device import Device
from lnp_edge.runtime.ports import PtyProcess, qemu_command
from lnp_edge.runtime.verify import stimulus, verify
from lnp_edge.spec import protocol

MODEL = tiny_model()
DOG = replace(boards.get("mps2-an386"), watchdog_ms=1000)
STEP = "    LNP_MODEL(step)(&link->net, link->counts);\n"
HANGS = f"""    if (link->counts[0] == 32767 && link->cause != LNP_CAUSE_WATCHDOG) {{
        for (;;) {{
        }}
    }}
{STEP}"""
KICK = "    lnp_board_kick();\n    return received();"
WATCHED = [name for name in boards.names() if boards.get(name).watchdog]


def running(board, folder, name, before, after):
    """A board in QEMU whose time is that of its instructions, so that a busy machine is not late; it does not wait."""
    files = generate(MODEL, board)
    assert files[name].count(before) == 1
    write(files | {name: files[name].replace(before, after)}, folder)
    return PtyProcess([*qemu_command(board, build(folder, optimize="-O1").image), "-icount", "shift=6,sleep=off"])


@pytest.mark.slow
def test_a_step_that_hangs_ends_in_a_reset_and_the_run_goes_on(tmp_path):
    need_for("mps2-an386")
    with closing(running(DOG, tmp_path, "lnp_serve.c", STEP, HANGS)) as port:
        device = Device(port, MODEL)
        assert device.greeting.cause == "unknown"
        assert verify(MODEL, device, stimulus(MODEL, 600, seed=1)).ok
        assert device.traffic.restarted == {"watchdog": 1}
        assert device.traffic.as_dict()["restarted by watchdog"] == 1


@pytest.mark.slow
def test_without_the_watchdog_a_step_that_hangs_is_silence(tmp_path):
    need_for("mps2-an386")
    without = replace(DOG, watchdog="")
    with closing(running(without, tmp_path, "lnp_serve.c", STEP, HANGS)) as port:
        device = Device(port, MODEL, deadline=2.0)
        with pytest.raises(LinkError, match="says nothing in 2 s"):
            verify(MODEL, device, stimulus(MODEL, 600, seed=1))


@pytest.mark.slow
def test_a_program_that_waits_for_a_byte_is_not_reset(tmp_path):
    need_for("mps2-an386")
    with closing(running(DOG, tmp_path, "cortex_m.c", KICK, KICK)) as port:
        device = Device(port, MODEL)
        time.sleep(0.5)  # in which many of its seconds pass
        device.reset()
        assert not device.traffic.restarted


@pytest.mark.slow
def test_without_that_kick_it_is_reset_and_greets_again(tmp_path):
    """The control: nothing is asked, so what counts is that it starts again, not how often."""
    need_for("mps2-an386")
    with closing(running(DOG, tmp_path, "cortex_m.c", KICK, "    return received();")) as port:
        port.timeout, heard = 60, b""
        while heard.count(b"mps2-an386") < 2:
            more = port.read(1)
            assert more, "no second greeting within 60 s of silence"
            heard += more


def test_boards_with_a_watchdog():
    assert {"mps2-an386", "netduinoplus2", "nucleo-f401re"} <= set(WATCHED)


@pytest.mark.parametrize("board", WATCHED)
def test_the_period_of_a_board_is_above_any_step_that_fits_it(board):
    """Were all its flash synapses of two bits that carry a spike each, at 20 cycles."""
    found = boards.get(board)
    assert 4 * found.flash.size * 20 / found.clock_hz < 0.7 * found.watchdog_ms / 1000


@pytest.mark.parametrize("board", WATCHED)
def test_an_app_has_no_watchdog_and_the_server_has_its_driver(board):
    found = boards.get(board)
    server, app = generate(MODEL, found), generate(MODEL, found, app=True)
    assert f"{found.watchdog}.c" in server and f"{found.watchdog}.c" not in app
    assert "LNP_WATCHDOG_MS" in server["lnp_config.h"] and "LNP_WATCHDOG_MS" not in app["lnp_config.h"]


def test_a_driver_that_is_none_is_named_with_those_there_are():
    said = "no watchdog driver is called 'posix'\n  available: cmsdk_watchdog, .*stm32_watchdog \\("
    with pytest.raises(BoardError, match=said):
        generate(MODEL, replace(DOG, watchdog="posix"))
    with pytest.raises(BoardError, match="no UART driver is called 'cmsdk_watchdog'"):
        generate(MODEL, replace(DOG, uart="cmsdk_watchdog"))


def test_causes_have_the_same_numbers_in_c():
    found = re.findall(r"LNP_CAUSE_(\w+) = (\d+)", (CSRC / "lnp_board.h").read_text())
    assert {name.lower().replace("_", "-"): int(n) for name, n in found} == protocol.CAUSES


@pytest.mark.slow
@pytest.mark.parametrize("board", [name for name in WATCHED if boards.get(name).toolchain == "gcc"])
def test_zig_builds_it_too_and_what_is_kept_is_not_loaded(tmp_path, board):
    need("ziglang", "elftools")
    from elftools.elf.elffile import ELFFile

    write(generate(MODEL, boards.get(board)), tmp_path)
    with build(tmp_path, "zig").image.open("rb") as file:
        elf = ELFFile(file)
        kept = elf.get_section_by_name(".noinit")
        loaded = [(s["p_vaddr"], s["p_vaddr"] + s["p_memsz"]) for s in elf.iter_segments("PT_LOAD")]
        assert kept["sh_size"] >= 4
        assert [span for span in loaded if span[0] <= kept["sh_addr"] < span[1]] == []
