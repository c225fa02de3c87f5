"""What flash tools say, in their own words: which chip is there, whether they failed, and whether they had written."""

import os
import re
import shlex

import pytest

from lnp_edge import boards
from lnp_edge.base.errors import BoardError
from lnp_edge.firmware_gen.flash import flash, prepare

CHIPS = {  # what the tools print, and the number in it
    "st-flash": ("Found 1 stlink programmers\n  chipid:     0x0433\n  dev-type:   STM32F401xD_xE\n", 0x433),
    "stm32flash": ("Version      : 0x31\nDevice ID    : 0x0433 (STM32F401xD/E)\n- RAM        : Up to 96KiB\n", 0x433),
    "openocd": ("Info : starting gdb server for stm32f4x.cpu on 3333\n0xe0042000: 10016433 \n\n", 0x10016433),
    "pyocd": ("e0042000:  10016433    |..d3|\n", 0x10016433),
}


@pytest.mark.parametrize("name", CHIPS)
def test_the_chip_is_read_from_what_a_tool_prints(name):
    said, number = CHIPS[name]
    assert boards.flasher(name).chip(said, {"register": "e0042000"}) == number
    assert boards.flasher(name).chip("nothing", {"register": "e0042000"}) is None
    assert boards.flasher(name).identify


OF_AVR = "avrdude: device signature = 0x1e950f (probably m328p)\navrdude: writing 16494 bytes flash ...\n"
OF_ESP = "Connected to ESP32-C3 on /dev/x:\nWriting at 0x00000000 [                    ]   0.0% 0/9000 bytes...\n"
FATAL = "ERROR: A fatal error occurred:"
TO_GDB = "Loading section .text, size 0x283c lma 0x8000000\n"
MATCHED = "Section .text, range 0x8000000 -- 0x800283c: matched.\n"
OTHER = "Section .data, range 0x800283c -- 0x8002840: MIS-MATCHED!"
# Without a server GDB compares the image with itself, and variables with their initial values.
ALONE = f"\nYou can't do that when your target is `exec'\n{MATCHED}{OTHER}\nThe program is not being run.\n"
NO_INIT = "\n** OpenOCD init failed **\nshutdown command invoked\n"

# Of a tool its exit code, what it says, the line of that which is told, and whether it may have written.
WORDS = {
    "avrdude": [  # 6.3 and 7.1
        (1, OF_AVR + "avrdude: verification error, first mismatch at byte 0x0000\n", "mismatch at byte", True),
        (
            1,
            OF_AVR + "avrdude: stk500_recv(): programmer is not responding\navrdude done.  Thank you.\n",
            "is not responding",
            True,
        ),
        (
            1,
            "avrdude OS error: cannot open port X: No\navrdude error: unable to open programmer on X\n",
            "port X",
            False,
        ),
        (1, "avrdude error: connected part m168 differs in signature from -p m328p\n", "m168 differs", False),
        (1, "stk500_getsync() attempt 10 of 10: not in sync: resp=0x00\n", "not in sync", False),
        (1, 'avrdude: ser_open(): can\'t open device "X": No such file or directory\n', "ser_open()", False),
        (1, "avrdude OS error: cannot set attributes for port X: Input/output error\n", "attributes", False),
        (1, "avrdude error: expected signature for ATmega328P is 1E 95 0F\n", "1E 95 0F", False),
        (1, "avrdude error: Yikes!  Invalid device signature.\n", "Yikes!", False),
        (0, OF_AVR, "it did not say 'bytes of flash verified'", True),
    ],
    "dfu-util": [  # 0.11
        (74, "dfu-util: No DFU capable USB device available\n", "No DFU capable", False),
        (74, "dfu-util: More than one DFU capable USB device found! Try `--list'\n", "More than one", False),
        (74, "dfu-util: Cannot open device: LIBUSB_ERROR_ACCESS\n", "LIBUSB_ERROR_ACCESS", False),
        (74, "dfu-util: Cannot claim interface - LIBUSB_ERROR_BUSY\n", "LIBUSB_ERROR_BUSY", False),
        (
            74,
            "dfu-util: Cannot open DFU device 0483:df11 found on devnum 9 (LIBUSB_ERROR_ACCESS)\n"
            "Opening DFU capable USB device...\ndfu-util: Error during download\n",
            "Error during download",
            True,
        ),
    ],
    "esptool": [  # 4.9, but for its quotes, and 5.6
        (2, "esptool: error: argument operation: invalid choice: write-flash (choose\n", "invalid choice", False),
        (2, f"{FATAL} Could not open /dev/x, the port is busy or doesn't exist.\n", "Could not open /dev/x", False),
        (2, f"{FATAL} Failed to connect to ESP32-C3: No serial data received.\n", "No serial data received", False),
        (2, f"{FATAL} This chip is ESP32, not ESP32-C3. Wrong chip argument?\n", "This chip is ESP32", False),
        (2, f"{OF_ESP}{FATAL} Packet content transfer stopped\n", "Packet content transfer stopped", True),
        (0, OF_ESP, "it did not say 'Hash of data verified'", True),
    ],
    "gdb": [  # 13.1, and newer ones by their source
        (1, f"localhost:1: Connection refused.{ALONE}", "localhost:1: Connection refused.", False),
        (1, f"localhost:1: Connection timed out.{ALONE}", "localhost:1: Connection timed out.", False),
        (1, f"could not connect: No route to host.{ALONE}", "could not connect: No route to host.", False),
        (1, f"x:1: cannot resolve name: Name or service not known{ALONE}", "x:1: cannot resolve name", False),
        (0, f"{TO_GDB}Load failed\n{MATCHED}", "Load failed", True),
        (0, f"{TO_GDB}Remote connection closed\n{MATCHED}", "Remote connection closed", True),
        (0, f"{TO_GDB}{MATCHED}{OTHER}\n", OTHER, True),
        (0, TO_GDB, "it did not say 'matched.'", True),
    ],
    "openocd": [  # 0.12
        (1, "embedded:startup.tcl:28: Error: Can't find interface/x.cfg\n", "Can't find interface/x.cfg", False),
        (1, f"Error: unable to find a matching CMSIS-DAP device{NO_INIT}", "matching CMSIS-DAP device", False),
        (1, "** Programming Started **\nError: error writing to flash at address 0x08000000\n", "error writing", True),
        (0, "** Programming Finished **\n", "it did not say 'Verified OK'", True),
    ],
    "probe-rs": [  # by its source, not run
        (1, "Error: No connected probes were found.\n", "No connected probes were found.", False),
        (1, "Error: The requested chip 'w' was not found in the list of known targets.\n", "chip 'w'", False),
        (1, "Error: Failed to erase flash sector at address 0x08000000.\n", "Failed to erase", True),
    ],
    "pyocd": [  # 0.46
        (
            1,
            "No connected debug probes\n0000717 E No target device available [load_cmd]\n",
            "No connected debug",
            False,
        ),
        (1, "0000311 C Target type w not recognized. Use 'pyocd list --targets' to see\n", "Target type w", False),
        (1, "0000102 W Board ID 9999 is not recognized [mbed_board]\n0000900 C lost [__main__]\n", "C lost", True),
    ],
    "st-flash": [  # 1.7, some as others quote them
        (1, "WARN usb.c: Couldn't find any ST-Link devices\n", "Couldn't find any", False),
        (0, "WARN usb.c: Couldn't find any ST-Link devices\n", "it did not say 'Flash written and verified'", False),
        (1, "ERROR common.c: Can not connect to target.\nFailed to connect to target\n", "Can not connect", False),
        (1, "ERROR common.c: unknown chip id! 0xe0042000\n", "unknown chip id!", False),
        (1, "INFO common.c: Attempting to write 9 bytes\nERROR common.c: write error\n", "write error", True),
    ],
}
VALUES = {"word": "w", "path": "x.cfg", "address": "localhost:1", "number": 7}  # of a parameter, by its kind


def stand_in(folder, monkeypatch, program, script):
    """A program that is found before any other of its name."""
    (folder / program).write_text(f"#!/bin/sh\n{script}\n")
    (folder / program).chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)


@pytest.mark.parametrize(("name", "code", "said", "told", "wrote"), [(n, *row) for n in WORDS for row in WORDS[n]])
def test_what_a_tool_says_tells_why_it_failed_and_whether_it_has_written(
    flashed_as, tmp_path, monkeypatch, name, code, said, told, wrote
):
    tool = boards.flasher(name)
    values = {key: VALUES[p.kind] for key, p in tool.parameters.items() if p.default is None}
    job = prepare(flashed_as("nucleo-f401re", {name: values}, identity=None), port="/dev/x")
    stand_in(tmp_path, monkeypatch, tool.write[0][0], f"printf %s {shlex.quote(said)}\nexit {code}")
    with pytest.raises(BoardError) as e:
        flash(job)
    assert e.value.what.startswith(f"{name} failed with code {code}: ") and told in e.value.what
    assert e.value.try_next.startswith("the board may hold the old program" if wrote else "nothing was written")


@pytest.mark.parametrize("name", WORDS)
def test_each_text_that_tells_that_nothing_was_written_is_among_the_words_of_its_tool(name):
    before = [said for _, said, _, wrote in WORDS[name] if not wrote]
    assert [text for text in boards.flasher(name).untouched if not any(text in said for said in before)] == []


def test_a_tool_that_has_written_and_then_finds_no_board_may_have_written(flashed_as, tmp_path, monkeypatch):
    job = prepare(flashed_as("nucleo-f401re", {"probe-rs": {"chip": "w"}}))
    stand_in(tmp_path, monkeypatch, "probe-rs", "[ $1 = download ] || { echo No connected probes were found; exit 1; }")
    with pytest.raises(BoardError, match="No connected probes were found\n  the board may hold the old program"):
        flash(job)


def test_a_tool_that_does_not_run_wrote_nothing(flashed_as, tmp_path, monkeypatch):
    job = prepare(flashed_as("nucleo-f401re", {"dfu-util": {}}))
    stand_in(tmp_path, monkeypatch, "dfu-util", "")
    (tmp_path / "dfu-util").write_text("#!/no/such/interpreter\n")
    with pytest.raises(BoardError, match=r"cannot run .*dfu-util: No such file or directory\n  nothing was written"):
        flash(job)


OF_DFU = """# What dfu-util 0.11 prints, and the file that it writes.
echo "DFU state(2) = dfuIDLE, status(0) = No error condition is present"
case "$*" in
*-D*) printf 'Download done.\nFile downloaded successfully\n' ;;
*-U*) cp build/gcc/lnp_net.bin build/gcc/lnp_net.read && echo 'Upload done.' ;;
esac
"""


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (OF_DFU, ""),
        (OF_DFU.replace("File downloaded successfully", ""), "it did not say 'File downloaded successfully'"),
        (OF_DFU.replace("Upload done.", "Error during upload (PIPE)"), "Error during upload"),
        (OF_DFU.replace("cp build/gcc/lnp_net.bin", "echo of another >"), "the flash differs from the image"),
        (
            OF_DFU + "echo 'Last page is not writeable'; exit 74",
            "dfu-util failed with code 74: Last page is not writeable",
        ),
        (
            OF_DFU.replace("cp build", "echo 'dfu-util: No DFU capable USB device available'; exit 74; cp build"),
            "No DFU capable USB device available\n  the board may hold the old program",
        ),
        (OF_DFU + 'rm "$0"', "No such file or directory\n  the board may hold the old program"),
    ],
)
def test_what_dfu_util_says_decides_whether_a_board_is_flashed(flashed_as, tmp_path, monkeypatch, script, said):
    job = prepare(flashed_as("nucleo-f401re", {"dfu-util": {}}))
    stand_in(tmp_path, monkeypatch, "dfu-util", script)
    if not said:
        assert flash(job)["verified"] == "read back"
        return
    with pytest.raises(BoardError, match=re.escape(said)):
        flash(job)


READS = """case "$*" in
--version) echo 0.46.0;;
*read32*) echo 'e0042000:  10016433    |..d3|';;
load*) ;;
*) cp build/gcc/lnp_net.bin build/gcc/lnp_net.read; DAMAGE;;
esac
"""


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (":", ""),
        (
            "printf x | dd of=build/gcc/lnp_net.read bs=1 seek=64 conv=notrunc 2>/dev/null",
            "differs from the image at 0x80",
        ),
        ("truncate -s 100 build/gcc/lnp_net.read", "at 0x8000064: wrote 0x"),
        ("rm build/gcc/lnp_net.read", "it read nothing back"),
    ],
)
def test_what_is_read_back_is_compared_byte_for_byte(flashed_as, tmp_path, monkeypatch, damage, said):
    folder = flashed_as("nucleo-f401re", {"st-flash": {}, "pyocd": {"target": "stm32f401xe"}})
    prepare(folder)  # writes the .bin
    stand_in(tmp_path, monkeypatch, "pyocd", READS.replace("DAMAGE", damage))
    job = prepare(folder, "pyocd")
    if not said:
        assert flash(job)["verified"] == "read back"
        return
    with pytest.raises(BoardError, match=said) as e:
        flash(job)
    assert "the board may hold" in e.value.try_next
