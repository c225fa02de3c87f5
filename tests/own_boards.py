"""A folder of boards of a user's own, with one chip and one board."""

from lnp_edge import boards

CHIP = """
cpu = "cortex-m4"
clock_hz = 25_000_000
flash = {origin = 0, size = 0x8_0000}
ram = {origin = 0x2000_0000, size = 0x2_0000}
[uart]
driver = "cmsdk_uart"
baud = 115_200
[uarts.first]
base = 0x4000_4000
[uarts.second]
base = 0x4000_5000
"""
BOARD = """
description = "mine"
chip = "mine"
toolchain = "zig"
start = "unicorn"
[uart]
unit = "first"
"""


def written_in(folder):
    """write(path, text) -> the folder, which has that file too."""

    def write(path, text):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
        return folder

    write("chips/mine.toml", CHIP)
    write("my-board/board.toml", BOARD)
    return write


def get(own, name="my-board"):
    """A board as --boards finds it. own : the fixture"""
    with boards.beside(own("chips/mine.toml.txt", "")):
        return boards.get(name)
