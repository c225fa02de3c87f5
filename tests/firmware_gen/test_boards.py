"""Real boards, which nothing here runs: their firmware links and fits. What boot ROMs read: the code of the RP2040's
boot block runs, the RP2350's block is read by the rules of its data sheet."""

import re
import struct

import pytest
from conftest import need, need_for, of_boards
from driver_core import Core, driver_of
from elftools.elf.elffile import ELFFile
from tiny import tiny_model, tiny_stack

from lnp_edge import boards
from lnp_edge.cli import main
from lnp_edge.firmware_gen import commands, elf
from lnp_edge.firmware_gen.build import build
from lnp_edge.firmware_gen.flash import flash as write_to
from lnp_edge.firmware_gen.flash import prepare
from lnp_edge.firmware_gen.generate import generate, write
from lnp_edge.interchange import onnx_file
from lnp_edge.spec.board import RISCV

REAL = [
    (name, toolchain)
    for name in boards.names()
    if boards.get(name).start == "serial"
    for toolchain in commands.names(boards.get(name))
]


def image_for(model, board, folder, toolchain=""):
    write(generate(model, board), folder)
    return build(folder, toolchain, "-O1").image


def whole(image):
    """The symbols, and where each segment is loaded from and to: (flash, bytes, memory, bytes there)."""
    with image.open("rb") as file:
        found = ELFFile(file)
        symbols = {s.name: s["st_value"] for s in found.get_section_by_name(".symtab").iter_symbols()}
        keys = ("p_paddr", "p_filesz", "p_vaddr", "p_memsz")
        return symbols, [tuple(s[key] for key in keys) for s in found.iter_segments("PT_LOAD") if s["p_memsz"]]


def entry(image):
    with image.open("rb") as file:
        return ELFFile(file)["e_entry"]


@pytest.mark.parametrize(("name", "toolchain"), of_boards(REAL))
def test_firmware_of_a_real_board_links_and_fits(tmp_path, name, toolchain):
    """It lies within the memory of the board, and the core finds its stack and its first instruction."""
    need_for(name, toolchain)
    board = boards.get(name)
    image = image_for(tiny_stack(), board, tmp_path, toolchain)
    symbols, segments = whole(image)
    for loaded, size, at, memory in segments:
        assert any(r.origin <= at and at + memory <= r.end for r in (board.flash, board.tables, board.ram))
        assert not size or (board.flash.origin <= loaded and loaded + size <= board.flash.end)
    if board.family == RISCV:  # which begins behind what its boot ROM reads
        assert entry(image) == symbols["Reset_Handler"] == board.flash.origin + 8 * ("lnp_boot" in symbols)
        return
    vectors = symbols["lnp_vectors"] - board.flash.origin
    assert vectors == (256 if "lnp_boot" in symbols else 0)
    begin = struct.unpack_from("<II", elf.flash_bytes(image, board.flash.origin), vectors)
    assert begin == (symbols["lnp_stack_top"], symbols["Reset_Handler"] | 1)


def crc_of_boot(block):
    """RP2040 data sheet 2.8.1.3.1: polynomial 0x04C11DB7, from all ones, upper bits first."""
    crc = 0xFFFFFFFF
    for byte in block:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1 ^ (0x04C11DB7 if crc >> 31 else 0)) & 0xFFFFFFFF
    return crc


def test_the_boot_block_of_the_pico_sets_up_its_flash_and_begins_our_program(tmp_path):
    """The boot ROM checks its CRC and runs it from the end of RAM: data sheet 2.8.1.3."""
    need_for("rpi-pico")
    need("unicorn")
    import unicorn
    from unicorn import arm_const

    board = boards.get("rpi-pico")
    image = driver_of(board, tmp_path)
    flash, (symbols, _) = elf.flash_bytes(image, board.flash.origin), whole(image)
    block = flash[:256]
    assert struct.unpack("<I", block[252:]) == (crc_of_boot(block[:252]),)
    uc = unicorn.Uc(unicorn.UC_ARCH_ARM, unicorn.UC_MODE_THUMB | unicorn.UC_MODE_MCLASS)
    uc.ctl_set_cpu_model(arm_const.UC_CPU_ARM_CORTEX_M0)
    uc.mem_map(board.flash.origin, board.flash.size)
    uc.mem_write(board.flash.origin, flash)
    uc.mem_map(board.ram.origin, 0x42000)
    uc.mem_write(0x20041F00, block[:252])
    uc.mem_map(0xE0000000, 0x100000)
    written = []
    uc.mmio_map(0x18000000, 0x1000, None, None, lambda uc, at, size, value, _: written.append((at, value)), None)
    reached = symbols["Reset_Handler"] | 1
    uc.emu_start(0x20041F01, reached & ~1, count=100)
    assert uc.reg_read(arm_const.UC_ARM_REG_PC) == reached & ~1
    assert uc.reg_read(arm_const.UC_ARM_REG_SP) == symbols["lnp_stack_top"]
    assert bytes(uc.mem_read(0xE000ED08, 4)) == struct.pack("<I", symbols["lnp_vectors"])
    # 4.10.13: off; clock / 4; 32 bits after instruction and address; command 03, 8 bits, 24 of address; one word; on.
    expected = [(0x08, 0), (0x14, 4), (0x00, 31 << 16 | 3 << 8), (0xF4, 0x03000218), (0x04, 0), (0x08, 1)]
    assert written == expected


def test_the_cycle_counter_of_a_cortex_m7_is_unlocked_before_it_is_started(tmp_path):
    """After a reset without a debugger it ignores all writes until LAR has the key."""
    board = boards.get("nucleo-h743zi")
    need_for(board.name)
    need("unicorn")
    core = Core(board, driver_of(board, tmp_path))
    counter = {0xE000_1000: 0, 0xE000_1004: 1, 0xE000_1FB0: 0}  # CTRL, CYCCNT, LAR

    def written(uc, access, at, size, value, data):
        if at == 0xE000_1FB0 or counter[0xE000_1FB0] == 0xC5AC_CE55:
            counter[at] = value

    core.uc.hook_add(core.unicorn.UC_HOOK_MEM_WRITE, written, begin=0xE000_1000, end=0xE000_1FFF)
    core.uc.reg_write(core.named(core.family.sp), core.stack)
    core.uc.emu_start(core.symbols["Reset_Handler"] | 1, core.symbols["main"] & ~1, count=100_000)
    assert counter == {0xE000_1000: 1, 0xE000_1004: 0, 0xE000_1FB0: 0xC5AC_CE55}


@pytest.mark.parametrize(("name", "locked"), [("nucleo-h743zi", True), ("nucleo-f401re", False)])
def test_what_unlocks_the_cycle_counter_takes_flash_of_a_cortex_m7_alone(tmp_path, name, locked):
    need_for(name, start=False)
    board = boards.get(name)
    data = elf.flash_bytes(driver_of(board, tmp_path), board.flash.origin)
    assert (struct.pack("<I", 0xC5AC_CE55) in data) == locked


@pytest.mark.parametrize("ring", ["running", "off"])
def test_the_core_of_a_hifive1_never_runs_from_an_oscillator_that_is_off(tmp_path, ring):
    """Whoever ran before, as this program does, may have left it on the PLL with its ring oscillator off."""
    board = boards.get("hifive1")
    need_for(board.name)
    need("unicorn")
    core = Core(board, driver_of(board, tmp_path))
    prci, on, by_pll, crystal, bypass = board.registers["prci"], 1 << 30, 1 << 16, 1 << 17, 1 << 18
    left = [0xC010_0004, on, 0x0001_1DF1, 0] if ring == "running" else [0x0010_0004, on, 0x0007_0000, 0]
    values, seen = {prci + 4 * k: value for k, value in enumerate(left)}, []

    def read(uc, offset, size, data):
        at = 0x1000_0000 + offset
        value = values.get(at, 0)
        if at in (prci, prci + 4):
            value |= (value & on) << 1  # it is ready
        return value if at != board.registers["base"] else 0  # the FIFO has room

    def write(uc, offset, size, value, data):
        before = values[prci + 8]
        values[0x1000_0000 + offset] = value
        pll = values[prci + 8]
        seen.append(values[prci + 4 if pll & by_pll and pll & crystal else prci] & on != 0)
        if (pll ^ before) & crystal:
            seen.append((pll | before) & by_pll == 0 and pll & before & bypass != 0)

    core.uc.mmio_map(0x1000_0000, 0x2_0000, read, None, write, None)
    core.call("lnp_board_init")
    assert all(seen) and len(seen) >= 6, seen
    assert [values[prci + 4 * k] & on for k in (0, 1)] == [0, on]
    assert values[prci + 8] == 0x0007_0000  # the crystal, past the PLL, is the core's clock: 6.5
    assert values[prci + 12] == 1 << 8  # divided by 1: 6.6


def blocks_of(flash):
    """The items of each block of the loop that begins in the first 4 KiB: RP2350 data sheet 5.9.1 and 5.2.7."""
    words = struct.unpack(f"<{len(flash) // 4}I", flash[: len(flash) & ~3])
    first = at = words.index(0xFFFFDED3, 0, 1024)
    while True:
        assert words[at] == 0xFFFFDED3
        items, k = [], at + 1
        while words[k] & 0xFF != 0xFF:  # LAST
            size = words[k] >> 8 & (0xFFFF if words[k] & 0x80 else 0xFF)
            items.append(words[k : k + size])
            k += size
        assert words[k] >> 8 & 0xFFFF == k - at - 1, "LAST has the words of all items"
        assert words[k + 2] == 0xAB123579 and 4 * (k + 3 - at) <= 384
        yield items
        at += words[k + 1] // 4
        if at == first:
            return


def test_the_boot_rom_of_the_pico_2_knows_our_image_and_its_vectors(tmp_path):
    need_for("rpi-pico2")
    board = boards.get("rpi-pico2")
    image = driver_of(board, tmp_path)
    flash, (symbols, _) = elf.flash_bytes(image, board.flash.origin), whole(image)
    ((image_def, vector_table),) = blocks_of(flash)
    # 5.9.3.1: EXE (1), secure (2 << 4), Arm (0 << 8), RP2350 (1 << 12), not to be tried before it is bought (0 << 15).
    assert image_def == (0x42 | 1 << 8 | (1 | 2 << 4 | 1 << 12) << 16,)
    assert vector_table == (0x03 | 2 << 8, symbols["lnp_vectors"])  # 5.9.3.3
    assert symbols["lnp_vectors"] % 256 == 0, "the table of 16 + 34 vectors is aligned to the next power of two"
    at = symbols["lnp_vectors"] - board.flash.origin
    assert struct.unpack_from("<II", flash, at) == (symbols["lnp_stack_top"], symbols["Reset_Handler"] | 1)


def test_the_image_type_of_an_lpc55_is_a_plain_image(tmp_path):
    """UM11126, table 177: the word at 0x24 of an image, which is a reserved vector."""
    need_for("lpc55s69-evk")
    flash = elf.flash_bytes(driver_of(boards.get("lpc55s69-evk"), tmp_path), 0)
    vectors = struct.unpack("<16I", flash[:64])
    assert [k for k, vector in enumerate(vectors) if not vector] == [8, 9, 10, 13]  # DDI 0403 B1.5.2


@pytest.mark.slow
def test_the_pico_2_gets_uf2_for_its_family_at_256_byte_steps(tmp_path):
    """RP2350 data sheet 5.5.2 and 5.5.3."""
    need_for("rpi-pico2")
    board = boards.get("rpi-pico2")
    write(generate(tiny_model(), board), tmp_path / "fw")
    image = build(tmp_path / "fw").image
    drive = tmp_path / "drive"
    drive.mkdir()
    write_to(prepare(tmp_path / "fw", drive=str(drive)))
    (path,) = drive.iterdir()
    blocks = list(struct.iter_unpack("<8I476s1I", path.read_bytes()))
    assert {block[7] for block in blocks} == {0xE48BFF59} and {block[2] for block in blocks} == {0x2000}
    assert [block[3] for block in blocks] == [0x1000_0000 + 256 * k for k in range(len(blocks))]
    data = elf.flash_bytes(image, board.flash.origin)
    assert b"".join(block[8][:256] for block in blocks).rstrip(b"\xff") == data.rstrip(b"\xff")


@pytest.mark.slow
def test_the_pico_passes_the_self_test_too(tmp_path, capsys):
    """Whose floods fill the ring and the FIFO while the core goes to sleep: a wake-up that is lost hangs it."""
    need_for("rpi-pico")
    onnx_file.save(tiny_model(), tmp_path / "m.onnx")
    assert main(["verify", str(tmp_path / "m.onnx"), "--board", "rpi-pico", "--steps", "20"]) == 0
    assert re.search(r"self-test: \d+ cases, 0 differences", capsys.readouterr().out)
