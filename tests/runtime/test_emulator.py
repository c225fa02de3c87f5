"""The emulator of a Cortex-M: the memory that it takes, and what is known of the instructions that ran."""

import errno
import os
import re
import subprocess
import sys
from collections import Counter
from contextlib import closing

import pytest
from tiny import tiny_counts, tiny_model

from lnp_edge import boards
from lnp_edge.runtime.code import Functions, cycles
from lnp_edge.runtime.device import Device
from lnp_edge.runtime.emulator import Emulator

M4, MODEL = boards.get("cortex-m4"), tiny_model()
STEP = "lnp_net_step"

# The room is on top of what the process has by then: unicorn by itself reserves 1 GiB.
LITTLE_MEMORY = """
import resource, sys
from dataclasses import replace
from pathlib import Path
import elftools.elf.elffile, unicorn
from lnp_edge import boards
from lnp_edge.base.errors import BoardError
from lnp_edge.runtime.emulator import Emulator

small = boards.get("cortex-m4")
large = replace(small, **{key: replace(getattr(small, key), size=2**27) for key in ("flash", "ram")})
has = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
for room, board in ((16, small), (256, large), (256, small)):
    resource.setrlimit(resource.RLIMIT_AS, (has + room * 2**20, resource.RLIM_INFINITY))
    try:
        Emulator(board, Path(sys.argv[1])).read(1)
        print("ran")
    except BoardError as e:
        print(e)
"""


def counted(image, runs, function=STEP):
    with closing(Emulator(M4, image)) as emulator:
        device, count = Device(emulator, MODEL), emulator.count(function)
        for rows in runs:
            device.reset()
            with count:
                device.steps(rows)
        blocks = {b: emulator.instructions(b) for b in count.total}
        return count, blocks


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc and RLIMIT_AS")
def test_it_runs_where_a_process_may_take_256_mib_more_and_says_what_it_needs_where_that_is_not_there(firmware):
    image = firmware("cortex-m4")
    done = subprocess.run([sys.executable, "-c", LITTLE_MEMORY, image], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    what, hint, of_large, _, *rest = done.stdout.splitlines()
    needs = [f"the emulator of cortex-m4 needs {mib} MiB of memory: {os.strerror(errno.ENOMEM)}" for mib in (49, 305)]
    assert [what, of_large] == needs and "ulimit -v" in hint and rest == ["ran"]


@pytest.mark.usual_level  # below it, what others have within them are functions of their own
@pytest.mark.parametrize("toolchain", ["zig", "gcc"])
def test_every_instruction_of_a_step_belongs_to_a_part_that_the_source_names(firmware, toolchain):
    image = firmware("cortex-m4", toolchain=toolchain)
    count, blocks = counted(image, [tiny_counts(MODEL, 30)])
    functions, parts = Functions(image, STEP), Counter()
    for block, times in count.total.items():
        for address, _ in blocks[block]:
            parts[functions.name(address)] += times
    source = "".join(path.read_text() for path in image.parents[2].glob("lnp_[na]*.[ch]"))
    assert len(parts) > 4 and all(re.search(rf"\b{part.removesuffix('_asm')}[(,]", source) for part in parts)
    assert parts.total() == sum(count.calls) and parts[STEP] < max(parts.values())


def test_blocks_add_up_to_calls_and_most_is_that_of_the_call_with_most(firmware):
    image, runs = firmware("cortex-m4"), [tiny_counts(MODEL, 1, seed=seed) for seed in range(3)]
    whole, blocks = counted(image, runs)
    each = [counted(image, [rows])[0] for rows in runs]
    assert whole.calls == [call for one in each for call in one.calls]
    assert whole.total == sum((one.total for one in each), Counter())
    assert whole.most == {b: max(one.total[b] for one in each) for b in whole.total}
    assert max(whole.calls) <= sum(len(blocks[b]) * times for b, times in whole.most.items())


@pytest.mark.parametrize(
    ("assembly", "fewest", "most"),
    [
        ("4408", 1, 1), ("fb00 f001", 1, 1), ("fb00 1002", 1, 1), ("fb81 2003", 1, 1),  # add, mul, mla, smull
        ("6808", 1, 2), ("f811 0b01", 1, 2), ("4801", 1, 2), ("9001", 1, 2),  # ldr, ldrb post-indexed, literal, str
        ("d1fe", 1, 4), ("b100", 1, 4), ("f040 8001", 1, 4),  # bne, cbz, bne.w
        ("e7fe", 2, 4), ("4770", 2, 4), ("f000 f800", 2, 4), ("f000 b800", 2, 4), ("4687", 2, 4),  # b, bx, bl, b.w, mov
        ("b5f0", 6, 6), ("bdf0", 7, 9), ("bcf0", 5, 5),  # push {r4-r7, lr}, pop {r4-r7, pc}, pop {r4-r7}
        ("c80f", 5, 5), ("e8b0 0f00", 5, 5), ("e8bd 8ff0", 11, 13),  # ldm r0!, {r0-r3}; 4 of r8-r11; 9 with pc
        ("e9d0 1200", 3, 3), ("e8df f000", 3, 5), ("fbb0 f1f2", 2, 12), ("f8df f004", 3, 5),  # ldrd, tbb, udiv, ldr pc
        ("bf08 6808 6808", 2, 5), ("bf04 6808 4770 4770", 4, 11),  # it eq: one ldr; itt eq: ldr, bx; then bx
    ],
)  # fmt: skip
def test_cycles_are_those_of_the_manual(assembly, fewest, most):
    halves = [bytes.fromhex(half)[::-1] for half in assembly.split()]
    codes, wide = [], b""
    for half in halves:
        if wide or half[1] >> 3 not in (0b11101, 0b11110, 0b11111):
            codes.append(wide + half)
            wide = b""
        else:
            wide = half
    assert cycles(codes) == (fewest, most)
