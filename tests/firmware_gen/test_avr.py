"""Arduino Mega and Uno in simavr: tables stay in flash, the driver keeps up with the line, too little RAM is told."""

import re
import subprocess
from contextlib import closing
from dataclasses import replace

import pytest
from conftest import need, need_for
from elftools.elf.constants import SH_FLAGS
from elftools.elf.elffile import ELFFile
from test_build import assert_runs_like_the_oracle
from tiny import ALL, tiny_model, tiny_stack

from lnp_edge import boards
from lnp_edge.base.errors import BoardError, DoesNotFit
from lnp_edge.cli import main
from lnp_edge.commands import _measure
from lnp_edge.firmware_gen import elf, link
from lnp_edge.firmware_gen.build import build
from lnp_edge.firmware_gen.generate import generate, stack_bytes, write
from lnp_edge.interchange import onnx_file
from lnp_edge.runtime import selftest
from lnp_edge.runtime.device import Device
from lnp_edge.runtime.ports import open_board
from lnp_edge.spec import layout
from lnp_edge.spec.board import AVR_ENDS

MEGA, UNO = boards.get("arduino-mega"), boards.get("arduino-uno")
RAM = 0x80_0000  # where compilers count data from


def symbols(image):
    with image.open("rb") as file:
        return {s.name: s["st_value"] for s in ELFFile(file).get_section_by_name(".symtab").iter_symbols()}


@pytest.mark.parametrize("board", [MEGA, UNO], ids=lambda board: board.name)
def test_memory_and_interrupt_are_those_of_avr_libc(board):
    """Whose authors read the data sheet, too."""
    need("avr-gcc")
    command = ["avr-gcc", f"-mmcu={board.cpu}", "-E", "-P", "-x", "c", "-"]
    vector = "USART0_RX_vect_num" if board is MEGA else "USART_RX_vect_num"
    asked = f"#include <avr/io.h>\nRAMSTART, RAMEND, FLASHEND, {vector}\n"
    said = subprocess.run(command, input=asked, capture_output=True, text=True, check=True).stdout
    first, last, flash, irq = (int(word.strip("() "), 0) for word in said.splitlines()[-1].split(","))
    assert (board.ram.origin, board.ram.end, board.registers["irq"]) == (RAM + first, RAM + last + 1, irq)
    assert AVR_ENDS[board.cpu] == (flash + 1, board.ram.end) and board.flash.end < flash


def test_a_mega_reads_its_tables_in_flash_and_each_byte_in_time(firmware):
    image = firmware("arduino-mega")
    assert symbols(image)["lnp_net_tables"] < RAM < symbols(image)["ring"]
    port = open_board(MEGA, image)
    assert_runs_like_the_oracle(port)
    assert port.late == 0


def test_constants_that_are_copied_to_ram_are_counted_there(firmware, tmp_path):
    """avr-gcc 14 marks such a section as read-only, if no variable is in it."""
    image = firmware("arduino-mega")
    data = bytearray(image.read_bytes())
    with image.open("rb") as file:
        elf_file = ELFFile(file)
        section, header = elf_file.get_section_by_name(".data"), elf_file.header
        flags = header["e_shoff"] + elf_file.get_section_index(".data") * header["e_shentsize"] + 8  # System V ABI, 4
        assert section["sh_size"] > 0 and data[flags : flags + 4] == section["sh_flags"].to_bytes(4, "little")
        ram = sum(s["sh_size"] for s in elf_file.iter_sections() if s["sh_addr"] >= RAM and s["sh_flags"])
    data[flags] &= ~SH_FLAGS.SHF_WRITE
    (tmp_path / "readonly.elf").write_bytes(data)
    assert elf.usage(tmp_path / "readonly.elf") == elf.usage(image) and elf.usage(image).ram == ram


def test_the_first_message_waits_until_the_program_listens(firmware):
    """lnp verify called the line of every Uno damaged: half of the first message came before its receiver was on."""
    with closing(open_board(MEGA, firmware("arduino-mega"))) as port:
        assert Device(port, tiny_model()).traffic.as_dict()["sent again"] == 0


def test_a_network_that_is_too_large_for_an_uno_is_refused_with_its_bytes():
    with pytest.raises(
        DoesNotFit, match=r"needs 2054 B RAM or more for state, link and stack, arduino-uno has 2048"
    ) as e:
        generate(tiny_stack(), UNO)
    assert "choose another --board" in e.value.try_next
    generate(tiny_model(), UNO)


@pytest.mark.slow
def test_what_lnp_prune_finds_to_fit_an_uno_is_generated_and_built_for_it(tmp_path):
    """generate refuses nothing that fits: single variables were taken for 128 B, and what is left here is less."""
    need("avr-gcc")
    of_40 = tiny_model(n=40)
    ram = _measure.built(of_40, UNO, "gcc", tmp_path / "40").ram
    each = (layout.state_bytes(tiny_model(n=80)) - layout.state_bytes(of_40)) // 40
    fits = tiny_model(n=39 + (UNO.ram.size - ram) // each)
    write(generate(fits, UNO), tmp_path / "uno")
    assert build(tmp_path / "uno").ram == _measure.built(fits, UNO, "gcc", tmp_path / "fits").ram > UNO.ram.size - 20


def test_the_readme_says_which_dialect_of_c_keeps_tables_in_flash():
    of_uno, of_mega, of_m4 = (" ".join(generate(tiny_model(), board)["README.md"].split())
                              for board in (UNO, MEGA, boards.get("cortex-m4")))  # fmt: skip
    assert "-std=gnu11: with -std=c11 the tables are in RAM." in of_uno and "-std=gnu11" in of_mega
    assert "-std=" not in of_m4


def test_an_uno_that_is_given_more_ram_to_be_measured_has_the_link_of_an_uno():
    for board in (UNO, MEGA):
        assert link.max_payload(tiny_model(), _measure.roomy(board)) == link.max_payload(tiny_model(), board)
    assert link.max_payload(tiny_model(), UNO) < link.max_payload(tiny_model(), MEGA)


def test_the_self_test_of_an_avr_takes_no_ram_that_single_variables_need():
    model = tiny_model()
    state, saved = layout.state_bytes(model), 4 * (model.state_words + 4)
    least = state + saved + link.ram_bytes(model, UNO) + stack_bytes(model, UNO) + 128
    for size, room in ((least, (saved,)), (least - 1, ())):
        assert link.selftest(model, replace(UNO, ram=replace(UNO.ram, size=size))) == room


def test_tables_that_no_pointer_of_16_bits_reaches_are_refused():
    large = tiny_model(n=200, density=0.4)
    size = layout.struct_bytes(large)
    assert size > 32_767
    with pytest.raises(DoesNotFit, match=f"needs {size} B for its tables, avr-gcc has no more than 32767 for all"):
        generate(large, MEGA)


@pytest.mark.slow
def test_memory_that_only_the_linker_knows_is_refused_with_its_bytes(tmp_path, monkeypatch):
    need_for("arduino-uno")
    small = replace(UNO, ram=replace(UNO.ram, size=1800))
    monkeypatch.setattr(boards, "get", lambda name: small)
    write(generate(tiny_model(), UNO, selftest=True), tmp_path)
    script = tmp_path / "lnp.ld"
    script.write_text(script.read_text().replace("LENGTH = 2048", "LENGTH = 1800"))
    with pytest.raises(DoesNotFit, match=r"needs \d+ B RAM, arduino-uno has 1800"):
        build(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("board", ["arduino-mega", "arduino-uno"])
def test_an_avr_is_verified_whole(tmp_path, capsys, board):
    need_for(board)
    onnx_file.save(tiny_model(3), tmp_path / "m.onnx")
    assert main(["verify", str(tmp_path / "m.onnx"), "--board", board, "--steps", "20"]) == 0
    said = capsys.readouterr().out
    assert "0 differences" in said and "decisions: 40 from single samples, 0 differences" in said
    assert ("self-test, stream: left out" in said) == (board == "arduino-uno")
    assert "The board's own counter:" in said


@pytest.mark.slow
def test_an_app_that_does_not_fit_is_told_with_its_bytes_and_left_out_by_verify(tmp_path, capsys, monkeypatch):
    need_for("arduino-uno")
    monkeypatch.chdir(tmp_path)
    onnx_file.save(replace(tiny_model(3), hop=2, window=8).check(), tmp_path / "m.onnx")
    write(generate(onnx_file.load(tmp_path / "m.onnx"), UNO, app=True), tmp_path / "app")
    with pytest.raises(DoesNotFit) as e:
        build(tmp_path / "app")
    needs = int(re.fullmatch(r"needs (\d+) B RAM, arduino-uno has 2048", e.value.what)[1])
    write(generate(onnx_file.load(tmp_path / "m.onnx"), UNO, selftest=False), tmp_path / "fw")
    assert main(["build", "fw", "--model", "m.onnx"]) == 0
    of_build = " ".join(capsys.readouterr().out.split())
    assert f"4 networks, one for each window that is open: RAM {needs:,} of 2,048 B" in of_build
    assert main(["verify", "m.onnx", "--board", "arduino-uno", "--steps", "20"]) == 0
    of_verify = " ".join(capsys.readouterr().out.split())
    why = f"left out, the program of lnp generate --app needs {needs} B RAM, arduino-uno has 2048"
    assert f"decisions from single samples: {why}" in of_verify and "verified: 20 steps" in of_verify
    ram = re.compile(r"(RAM .* B \(.*\)), with the stack: it answers lnp verify")
    assert ram.search(of_build)[1] == ram.search(of_verify)[1], "the server that is measured has the link of the board"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["stack"])
def test_the_stack_reserve_covers_the_self_test(firmware, kind):
    """simavr begins with a RAM of zeros."""
    model, image = ALL[kind](1), firmware("arduino-mega", kind=kind)
    with closing(open_board(MEGA, image)) as port:
        assert selftest.run(model, Device(port, model), seed=1).ok
        with image.open("rb") as file:
            section = ELFFile(file).get_section_by_name(".stack")
            free, reserve = section["sh_addr"] - RAM, section["sh_size"]
        end = MEGA.ram.end - RAM
        used = end - next(at for at in range(free, end) if port.memory(at))
    assert 200 < used < reserve == stack_bytes(model, MEGA)


def test_the_missing_emulator_is_said_with_the_command_that_installs_it(monkeypatch, tmp_path):
    from lnp_edge.runtime import simavr

    monkeypatch.setattr(simavr, "find_library", lambda name: None)
    simavr.library.cache_clear()
    with pytest.raises(BoardError, match="needs simavr") as e:
        simavr.library()
    assert e.value.try_next == "sudo apt-get install simavr"
    simavr.library.cache_clear()


def test_a_chip_that_simavr_does_not_know_is_refused(firmware):
    image = firmware("arduino-uno")
    with pytest.raises(BoardError, match="this simavr has no atmega1"):
        open_board(replace(UNO, cpu="atmega1"), image)
