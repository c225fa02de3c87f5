"""The commands that compile firmware: build.py runs them, and the Makefile contains them."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from lnp_edge.base.errors import BoardError
from lnp_edge.firmware_gen import built_of
from lnp_edge.spec.board import ARM, ARMV6M, AVR, RISCV, Board

WARNINGS = ("-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror")
SANITIZE = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g")
# gcc 12.2 may split the address of a neuron's sum into base 0 and an index, and then take it for
# NULL. With more than 256 neurons it therefore considers the sums of input and recurrence pure and
# drops both, silently: on the host and on a Cortex-M4 at -Os, on a Cortex-M0 from -O1 on. Every
# compiler gets the flag that prevents this, zig's clang too: it costs nothing there, the Makefile
# lets a user choose CC, and with flash at address 0 the flag is right anyway.
KEEP_NULL = "-fno-delete-null-pointer-checks"
BARE = ("-g", "-ffreestanding", "-ffunction-sections", "-fdata-sections")
# Debug information names the folder "." instead of its path, so that the same source gives the same ELF file
# everywhere. gcc has to be told the path: $PWD, which a shell fills in, and so does build.py. clang and zig do not.
HERE = "$PWD"
GCC_HERE = f"-fdebug-prefix-map={HERE}=."
CLANG_HERE = "-fdebug-compilation-dir=."
HELIUM = ("-DLNP_HELIUM",)  # csrc/lnp_helium.h; boards/common/cortex_m.c enables it
COMPILERS = {ARM: "arm-none-eabi-gcc", RISCV: "riscv64-unknown-elf-gcc", AVR: "avr-gcc", "": "cc"}
TARGETS = {  # of LLVM's own clang
    ARM: ("--target=thumb-none-eabi", "-mfloat-abi=soft"),
    RISCV: ("--target=riscv32-unknown-elf", "-mabi=ilp32"),
}
ZIG_TARGETS = {
    ARM: ("-target", "thumb-freestanding-eabi"),
    RISCV: ("-target", "riscv32-freestanding-none", "-mabi=ilp32"),
}
LLVM = ("clang", "ld.lld")  # two packages of Debian
ZIG_CPUS = {
    # The firmware has no floats: without an FPU there are no FPU registers to save or to enable.
    "cortex-m4": "cortex_m4-vfp4d16sp",
    "cortex-m7": "cortex_m7-fp_armv8d16",
    "cortex-m33": "cortex_m33+dsp-fp_armv8d16sp",  # with DSP, which gcc takes for granted
    # Helium is used by loops by hand alone: before a compiler may, the core has to enable it.
    "cortex-m55": "cortex_m55-fp_armv8d16-mve-mve_fp-fullfp16",
    "rv32imac": "generic_rv32+m+a+c",
    "rv32imc": "generic_rv32+m+c",
}
LINK_BARE = ("-nostdlib", "-T", "lnp.ld", "-Wl,--gc-sections", "-Wl,-e,Reset_Handler")


@dataclass(frozen=True)
class Toolchain:
    """cc is the default compiler command. flags precede the sources, libs follow them."""

    cc: tuple[str, ...]
    optimize: str
    flags: tuple[str, ...]
    libs: tuple[str, ...]


def names(board: Board, floats: bool = False) -> tuple[str, ...]:
    """The toolchains that can build for a board, its default first. floats : see toolchain()"""
    if board.cpu == "host":
        return ("host",)
    if board.family == AVR:
        return ("gcc",)  # zig has no headers and no start-up for it
    known = dict.fromkeys((board.toolchain, "gcc", "zig", "clang"))
    return tuple(name for name in known if name != "clang" or not floats)  # no library of floats comes with it


def toolchain(board: Board, name: str = "", floats: bool = False) -> Toolchain:
    """The toolchain of that name for the board; its default if name is empty.

    floats : link what a core without floating point computes it with
    """
    name = name or board.toolchain
    known = names(board, floats)
    if name not in known:
        raise BoardError(f"{board.name} is not built with {name[:20]!r}", f"available: {', '.join(known)}")
    cc = COMPILERS[board.family]
    if name == "host":
        return Toolchain((cc,), "-O3", ("-D_POSIX_C_SOURCE=200809L",), ())
    if board.family == AVR:
        # gnu11, of which the last -std counts: only there has gcc a name for flash. Of a network of 128 neurons -O3 is
        # 3 % faster and 10 % larger, -Os 20 % slower and 5 % smaller.
        avr = (f"-mmcu={board.cpu}", "-std=gnu11", *BARE, GCC_HERE)
        return Toolchain((cc,), "-O2", avr, ("-T", "lnp.ld", "-Wl,--gc-sections"))
    helium = HELIUM if board.cpu == "cortex-m55" else ()
    if name == "gcc":
        # Until 2019 the instructions that read counters belonged to I: Debian has no library for rv32imac_zicsr.
        riscv = (f"-march={board.cpu}", "-misa-spec=2.2", "-mabi=ilp32")
        cpu = (f"-mcpu={board.cpu}", "-mthumb", "-mfloat-abi=soft") if board.family == ARM else riscv
        # Without this flag gcc turns the loop inside memset into a call to memset.
        libc = "-fno-tree-loop-distribute-patterns"
        return Toolchain((cc,), "-O3", (*cpu, libc, *helium, *BARE, GCC_HERE), (*LINK_BARE, "-lgcc"))
    # -fno-builtin keeps memset from calling itself.
    if name == "clang":
        core = f"-mcpu={board.cpu}" if board.family == ARM else f"-march={board.cpu}"
        # What gcc takes for granted, and loops in assembly need.
        unaligned = ("-munaligned-access",) if board.family == ARM and board.cpu not in ARMV6M else ()
        flags = (*TARGETS[board.family], core, *unaligned, "-fno-builtin", "-fomit-frame-pointer", *helium)
        linker = f"-fuse-ld={LLVM[1].removeprefix('ld.')}"
        return Toolchain(LLVM[:1], "-O2", (*flags, *BARE, CLANG_HERE), (linker, *LINK_BARE))
    # zig's cc enables UBSan by default.
    core = f"-mcpu={ZIG_CPUS.get(board.cpu, board.cpu.replace('-', '_'))}"
    flags = (*ZIG_TARGETS[board.family], core, "-fno-builtin", "-fno-sanitize=all", "-fomit-frame-pointer", *helium)
    # Zig builds that library at its first use, in some seconds.
    libs = (*LINK_BARE, "-lgcc") if floats else LINK_BARE
    return Toolchain(("python3", "-m", "ziglang", "cc"), "-O2", (*flags, *BARE, CLANG_HERE), libs)


def compile_command(tools: Toolchain, sources: list[str], output: str, extra: tuple[str, ...] = ()) -> list[str]:
    """Compile and link everything in one call, run in the output folder."""
    flags = ["-std=c11", tools.optimize, KEEP_NULL, *WARNINGS, *tools.flags, *extra]
    return [*tools.cc, *flags, "-o", output, *sources, *tools.libs]


def output(name: str, toolchain_name: str) -> str:
    return f"build/{toolchain_name}/lnp_{name}.elf"


def running(board: Board, name: str, folder: str, own: Sequence[str] = ()) -> tuple[str, str]:
    """How the program of lnp generate --app is run: a command, and what is to be said of it; one of them may be "".

    own : the option of lnp flash that names the folder of a user's own board
    """
    elf = shlex.quote(f"{folder}/{output(name, board.toolchain)}")
    if board.cpu == "host":
        return f"{elf} < counts.csv", ""
    if board.start == "qemu":
        options = "-display none -monitor none -serial stdio"
        emulator = f"{' '.join(board.qemu)} {options} -kernel {elf}"
        return f"(sleep 1; cat counts.csv; sleep 9) | timeout 10 {emulator}", ""
    if board.start == "unicorn":
        return "", "no command does on this emulated core; generate it with --board host to run it on this computer"
    return shlex.join(["lnp", "flash", folder, *own]), f"then send rows of counts to its UART at {board.baud} baud"


def _for_make(flag: str) -> str:
    """A flag as a Makefile has it: the shell fills in the folder, whatever characters are in its path."""
    return flag if HERE not in flag else f'"{flag.replace("$", "$$")}"'


def is_there(board: Board, name: str) -> str:
    """A command of the shell that says nothing, and succeeds where a toolchain is installed."""
    if name == "zig":
        return "python3 -c 'import ziglang' 2> /dev/null"
    programs = LLVM if name == "clang" else (COMPILERS[board.family],)
    return " && ".join(f"command -v {program} > /dev/null" for program in programs)


def makefile(board: Board, name: str, sources: list[str], headers: list[str], floats: bool = False) -> str:
    """The Makefile: the same commands for `make`, which needs no Python. floats : see toolchain()"""
    own, *others = known = names(board, floats)
    elf = output(name, "$(TOOLCHAIN)")
    first = [f"TOOLCHAIN = {own}"]
    if others:  # where make is called, the default may be missing, as zig is outside of a virtual environment
        tests = "; ".join(f"{is_there(board, each)} && echo {each}" for each in known)
        tests += "; true"  # make ignores what a shell said that ends in 127, as dash does where no program is found
        first = ["# The first that is installed.", f"TOOLCHAIN := $(firstword $(shell {tests}) {own})"]
    lines = [
        f"# Generated for {board.name}. `make` builds {elf}; any variable can be set:",
        *(f"#     make TOOLCHAIN={other}" for other in others),
        "#     make -B CC=another-compiler OPTIMIZE=-Os      (-B: rebuild everything)",
        "",
        *first,
        f"SOURCES = {' '.join(sources)}",
        f"HEADERS = {' '.join(headers)}",
        "",
    ]
    for each in known:
        tools = toolchain(board, each, floats)
        lines += [
            f"{'' if each == own else 'else '}ifeq ($(TOOLCHAIN),{each})",
            f"CC = {' '.join(tools.cc)}",
            f"OPTIMIZE = {tools.optimize}",
            f"FLAGS = {' '.join(_for_make(flag) for flag in tools.flags)}",
            f"LIBS = {' '.join(tools.libs)}".rstrip(),
        ]
    lines += ["else", f"$(error TOOLCHAIN is '$(TOOLCHAIN)': choose {' or '.join(known)})", "endif", ""]
    variables = Toolchain(("$(CC)",), "$(OPTIMIZE)", ("$(FLAGS)",), ("$(LIBS)",))
    command = " ".join(compile_command(variables, ["$(SOURCES)"], "$@"))
    script = [] if board.cpu == "host" else ["lnp.ld"]
    lines += [
        f"ELF = {elf}",
        "",
        "all: $(ELF)",
        "",
        f"$(ELF): {' '.join(['$(SOURCES)', '$(HEADERS)', *script, 'Makefile'])}",
        "\tmkdir -p $(@D)",
        "\trm -f $@",
        f"\tcksum $^ > $(@:.elf={built_of.ENDING})",
        f"\t{command}",
        "",
        "clean:",
        "\trm -rf build",
        "",
        ".PHONY: all clean",
        "",
    ]
    return "\n".join(lines)
