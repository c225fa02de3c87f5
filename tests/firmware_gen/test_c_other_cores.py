"""The generated C on cores that nobody here has: an int of 16 bits (AVR), the other order of bytes, and an Arm core
in Arm state, which has the products of a Cortex-M4 but not all forms of its loads.

Network and tables only: the program around them prints the digest of each step, and in between it saves
the state and loads it again. What each needs is one package or two: apt install gcc-avr avr-libc
simavr, or gcc-powerpc-linux-gnu qemu-user.

avr-gcc keeps constants in RAM: tables, state and stack must fit there. An ATmega1284P has 16 kB, twice
as much as an ATmega2560.
"""

import re
import subprocess
from dataclasses import replace

import pytest
from conftest import need
from tiny import ALL, tiny_counts, tiny_model

from lnp_edge import boards
from lnp_edge.firmware_gen.commands import WARNINGS
from lnp_edge.firmware_gen.generate import generate
from lnp_edge.runtime.reference import Reference

pytestmark = pytest.mark.slow

STEPS, FLAGS = 16, ("-std=c11", *WARNINGS)
CORES = {
    "avr": (
        ("avr-gcc", "-mmcu=atmega1284p"),
        ("simavr", "-m", "atmega1284p", "-f", "16000000"),
    ),
    "powerpc": (("powerpc-linux-gnu-gcc", "-static"), ("qemu-ppc",)),
    "arm": (
        ("arm-none-eabi-gcc", "-mcpu=arm1176jzf-s", "-marm", "-mfloat-abi=soft", "-nostdlib",
         "-fno-builtin", "-fno-tree-loop-distribute-patterns"),
        ("qemu-arm", "-cpu", "arm1176"),
    ),
}  # fmt: skip
MAIN = """
#include "lnp_net.h"
#ifdef __AVR__
#include <avr/interrupt.h>
#include <avr/io.h>
#include <avr/pgmspace.h>
#include <avr/sleep.h>
static void put(char c)
{
    while ((UCSR0A & (1 << UDRE0)) == 0) {
    }
    UDR0 = (uint8_t)c;
}
static void start(void)
{
    UCSR0B = 1 << TXEN0;
}
static void stop(void)  // simavr ends where nothing can wake the core
{
    cli();
    sleep_enable();
    sleep_cpu();
}
#elif defined(__arm__)
#define PROGMEM
#define memcpy_P __builtin_memcpy
static void call(int32_t number, int32_t a, int32_t b, int32_t c)  // of Linux
{
    register int32_t r7 __asm__("r7") = number;
    register int32_t r0 __asm__("r0") = a;
    register int32_t r1 __asm__("r1") = b;
    register int32_t r2 __asm__("r2") = c;
    __asm__ volatile("svc 0" : "+r"(r0) : "r"(r7), "r"(r1), "r"(r2) : "memory");
}
static void put(char c)
{
    call(4, 1, (int32_t)&c, 1);
}
static void start(void)
{
}
static void stop(void)
{
    call(1, 0, 0, 0);
}
int main(void);
void _start(void);
void _start(void)
{
    main();
}
#else
#include <stdio.h>
#include <string.h>
#define PROGMEM
#define memcpy_P memcpy
static void put(char c)
{
    putchar(c);
}
static void start(void)
{
}
static void stop(void)
{
}
#endif

static const int16_t rows[STEPS][LNP_NET_N_IN] PROGMEM = ROWS;
static int16_t counts[LNP_NET_N_IN];
static uint8_t saved[LNP_NET_SAVE_BYTES];
static lnp_net_t net;

static void print(uint32_t x)
{
    for (uint32_t k = 8; k-- != 0;) {
        put("0123456789abcdef"[(x >> (4u * k)) & 15u]);
    }
    put('\\n');
}

int main(void)
{
    start();
    lnp_net_init(&net);
    for (uint16_t t = 0; t < STEPS; t++) {
        memcpy_P(counts, rows[t], sizeof counts);
        lnp_net_step(&net, counts);
        print(lnp_net_digest(&net));
        if (t == STEPS / 2) {
            bool good = lnp_net_save(&net, saved, sizeof saved);
            lnp_net_reset(&net);
            good = lnp_net_load(&net, saved, sizeof saved) && good;
            saved[20] ^= 1;
            if (!good || lnp_net_load(&net, saved, sizeof saved)) {
                print(0);
            }
        }
    }
    stop();
    return 0;
}
"""


def largest_shift(seed):
    """Weights of the read-out count 2**15: more than an int of 16 bits holds."""
    model = tiny_model(seed)
    shifted = (replace(p, shift=15) if p.name == "out" else p for p in model.projections)
    return replace(model, projections=tuple(shifted)).check()


MODELS = ALL | {"shift 15": largest_shift}


@pytest.mark.parametrize("optimize", ["-Os", "-O2"])
@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("core", CORES)
def test_the_network_gives_the_references_digests(core, kind, optimize, tmp_path):
    compiler, runner = CORES[core]
    need(compiler[0], runner[0], everywhere=False)
    model = MODELS[kind](1)
    for name, text in generate(model, boards.get("cortex-m0"), app=True).items():
        own = ("lnp_net.c", "lnp_net_tables.c", "lnp_crc32.c", *(["memory.c"] if core == "arm" else []))
        if name.endswith(".h") or name in own:
            (tmp_path / name).write_text(text)
    counts = tiny_counts(model, STEPS)
    rows = ", ".join("{" + ", ".join(map(str, row)) + "}" for row in counts.tolist())
    (tmp_path / "main.c").write_text(f"#define STEPS {STEPS}\n#define ROWS {{{rows}}}\n{MAIN}")
    sources = sorted(path.name for path in tmp_path.glob("*.c"))
    subprocess.run([*compiler, *FLAGS, optimize, "-o", "net.elf", *sources], cwd=tmp_path, check=True)
    done = subprocess.run([*runner, "net.elf"], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    digests = Reference(model).steps(counts).digests
    # simavr colours the lines of the UART, and ends each with a full stop.
    plain = re.sub(r"\x1b\[\d+m", "", done.stdout + done.stderr)
    assert re.findall(r"^([0-9a-f]{8})\.?$", plain, re.M) == [f"{digest:08x}" for digest in digests]


@pytest.mark.parametrize("optimize", ["-Os", "-O2"])
@pytest.mark.parametrize("state", ["-marm", "-mthumb"])
def test_both_instruction_sets_of_a_larger_arm_assemble(state, optimize, tmp_path):
    """A Cortex-A has the products in pairs of a Cortex-M4, but in the ARM state other forms of instructions."""
    need("arm-none-eabi-gcc")
    for name, text in generate(MODELS["layer"](1), boards.get("cortex-m4"), app=True).items():
        (tmp_path / name).write_text(text)
    command = ["arm-none-eabi-gcc", "-mcpu=cortex-a7", state, optimize, *FLAGS, "-c", "lnp_net.c"]
    subprocess.run(command, cwd=tmp_path, check=True)
    assert "smlad" in disassembled(tmp_path / "lnp_net.o"), "the model has no products in pairs"


def disassembled(path):
    return subprocess.run(["arm-none-eabi-objdump", "-d", path], capture_output=True, text=True, check=True).stdout
