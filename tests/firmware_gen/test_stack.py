"""How deep a stack can be, by the calls in an image: exact where it is known, never below what a program takes."""

import subprocess
from contextlib import closing

import pytest
from conftest import need, need_for
from tiny import ALL, tiny_counts

from lnp_edge import boards
from lnp_edge.firmware_gen import stack
from lnp_edge.runtime import selftest
from lnp_edge.runtime.device import Device
from lnp_edge.runtime.emulator import Emulator

M4 = boards.get("cortex-m4")
HEAD = """
    .syntax unified
    .text
    .global Reset_Handler
    .equ lnp_stack_top, 0x20000800
    .global lnp_stack_top
    .macro function name
    .type \\name, %function
    .thumb_func
\\name:
    .endm
    .macro ends name
    .size \\name, . - \\name
    .endm
"""


def of(text, tmp_path, **functions):
    """The stack of a program in assembly, whose functions begin with their names and end before the next."""
    need("arm-none-eabi-gcc")
    body = text + "".join(f"function {name}\n{code}\nends {name}\n" for name, code in functions.items())
    (tmp_path / "a.s").write_text(HEAD.replace("\\\\", "\\") + body)
    flags = ["-mcpu=cortex-m4", "-mthumb", "-nostdlib", "-Wl,-Ttext=0,-e,Reset_Handler"]
    subprocess.run(["arm-none-eabi-gcc", *flags, "-o", "a.elf", "a.s"], cwd=tmp_path, check=True)
    return stack.of(tmp_path / "a.elf", M4)


LEAVES = {"small": "push {r4}\npop {r4}\nbx lr", "large": "sub sp, #64\npush.w {r4-r11}\nb ."}


@pytest.mark.parametrize(
    ("main", "deepest", "path"),
    [
        ("push {r4, lr}\nbl small\npop {r4, pc}", 12, ("main", "small")),
        ("push {r4, lr}\nbl small\nbl large\npop {r4, pc}", 104, ("main", "large")),
        ("b.w large", 96, ("main", "large")),  # it goes on there
        (".fpu fpv4-sp-d16\nvpush {d8-d10}\nb.w large", 120, ("main", "large")),
        ("sub sp, #512\nb.w large", 608, ("main", "large")),
        ("subw sp, sp, #1028\nsub.w sp, sp, #1024\nsub.w sp, sp, #4", 2056, ("main",)),
        ("cmp r0, #0\nbeq.w large\nbx lr", 96, ("main", "large")),
        ("ldr r3, =large\nblx r3\n.pool", 96, ("main", "large")),
        ("movw r3, #:lower16:large\nmovt r3, #:upper16:large\nbx r3", 96, ("main", "large")),
        ("push {lr}\n1: cbz r0, 1f\nb 1b\n1: pop {pc}", 4, ("main",)),
    ],
)
def test_frames_add_up_over_calls(tmp_path, main, deepest, path):
    found = of("", tmp_path, **LEAVES, main=main, Reset_Handler="bl main\nb .")
    assert (found.deepest, found.size, found.path) == (deepest, 0x800, ("Reset_Handler", *path))


def test_an_interrupt_comes_on_top_but_for_a_loop_that_stops(tmp_path):
    vectors = (
        ".type lnp_vectors, %object\nlnp_vectors: .word lnp_stack_top, Reset_Handler, stop, irq\nends lnp_vectors\n"
    )
    parts = {"stop": "b .", "irq": "push {r4, lr}\npop {r4, pc}", "Reset_Handler": "push {r0-r3}\nb ."}
    assert of(vectors, tmp_path, **parts).deepest == 16 + 36 + 8
    assert of(vectors.replace(", irq", ""), tmp_path, **parts).deepest == 16


def test_what_calls_itself_has_no_bound(tmp_path):
    around = {"a": "push {lr}\nbl b\npop {pc}", "b": "b.w a"}
    found = of("", tmp_path, **around, Reset_Handler="bl a\nb .")
    assert found.deepest is None and found.why == "a calls itself"
    found = of("", tmp_path, a="push {lr}\nbl a\npop {pc}", Reset_Handler="bl a\nb .")
    assert found.deepest is None and found.why == "a calls itself"


@pytest.mark.parametrize("toolchain", ["gcc", "zig"])
@pytest.mark.parametrize("name", ["cortex-m4", "cortex-m0", "rv32imac"])
def test_no_program_takes_more_than_its_bound_and_the_self_test_more_than_half(firmware, name, toolchain):
    board, model = boards.get(name), ALL["layer"]()
    need_for(name, toolchain)
    image = firmware(name, toolchain=toolchain)
    found = stack.of(image, board)
    with closing(Emulator(board, image)) as emulator:
        device = Device(emulator, model)
        device.reset()
        device.steps(tiny_counts(model, 20))
        after_steps = emulator.stack_used
        selftest.run(model, device, seed=1)
        assert found.deepest / 2 < emulator.stack_used <= found.deepest <= found.size == 2048
        assert 0 < after_steps < emulator.stack_used
