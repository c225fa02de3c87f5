"""Between samples and requests the processor sleeps: its wake-ups are counted on emulated boards."""

import subprocess
from contextlib import closing

import numpy as np
import pytest
from conftest import need_for, of_boards
from tiny import tiny_counts, tiny_model

from lnp_edge import boards
from lnp_edge.firmware_gen.build import build
from lnp_edge.firmware_gen.generate import generate
from lnp_edge.runtime.host import infer
from lnp_edge.runtime.ports import open_board
from lnp_edge.runtime.reference import Reference

MODEL = tiny_model()
SAMPLES = tiny_counts(MODEL, 60)
INTERRUPTED = [name for name in boards.names() if "irq" in boards.get(name).registers]
QEMU = [name for name in INTERRUPTED if boards.get(name).start == "qemu"]


def counting(board, **changes):
    """An app whose decisions end in the number of times that the processor went to sleep."""
    files = generate(MODEL, boards.get(board), app=True)
    start, put = files["cortex_m.c"], "put_number(decision->unknown, ' ');"
    assert start.count("wfi\\n") == 1 and files["main.c"].count(put) == 1
    at = start.rindex("__asm__", 0, start.index("wfi\\n"))
    files["cortex_m.c"] = f"extern uint32_t sleeps;\nuint32_t sleeps;\n{start[:at]}sleeps++;\n{start[at:]}".replace(
        "extern", "#include <stdint.h>\nextern", 1
    )
    files["main.c"] = "#include <stdint.h>\nextern uint32_t sleeps;\n" + files["main.c"].replace(
        put, "put_number(sleeps, ' ');"
    )
    return files


def image_of(files, folder):
    for path, text in files.items():
        (folder / path).write_text(text)
    return build(folder).image


def lines_of(port, count):
    """The next `count` lines that a program writes."""
    found = b""
    for _ in range(400):  # of 0.05 s
        found += port.read(4096)
        if found.count(b"\n") >= count:
            break
    return found.decode().splitlines()


def test_boards_whose_uart_interrupts_are_emulated():
    assert {"mps2-an386", "netduinoplus2"} <= set(QEMU)


@pytest.mark.parametrize("board", of_boards(QEMU))
def test_a_program_sleeps_between_samples(tmp_path, board):
    """Each wake-up is a byte's. A processor that waits by asking would ask millions of times."""
    need_for(board)
    expected, sent, seen = [p.label for p in infer(Reference(MODEL), MODEL, SAMPLES)], 0, []
    with closing(open_board(boards.get(board), image_of(counting(board), tmp_path))) as port:
        lines_of(port, 1)
        for k, row in enumerate(SAMPLES.tolist(), 1):
            text = ",".join(map(str, row)).encode() + b"\n"
            port.write(text)
            sent += len(text)
            if k >= MODEL.window and (k - MODEL.window) % MODEL.hop == 0:
                (line,) = lines_of(port, 1)
                seen.append((*map(int, line.split()[:5]), sent))
    assert [row[1] for row in seen] == expected
    sleeps = [row[4] for row in seen]
    assert len(sleeps) == 5 and sorted(set(sleeps)) == sleeps
    assert all(row[4] <= row[5] for row in seen)


TABLE = """
static const int16_t table[][LNP_NET_CHANNELS] = {%s};
static volatile uint32_t ticks;
static uint32_t taken;

void SysTick_Handler(void);
void SysTick_Handler(void)
{
    ticks = ticks + 1u;
}

static bool sample_is_due(void)
{
    return ticks != taken;
}

static bool next_sample(int16_t sample[LNP_NET_CHANNELS])
{
    lnp_board_wait(sample_is_due);
    taken++;
    for (uint32_t c = 0; c < LNP_NET_CHANNELS; c++) {
        sample[c] = table[(taken - 1u) %% (sizeof table / sizeof table[0])][c];
    }
    return true;
}
"""
TIMER = """
    *(volatile uint32_t *)0xE000E014u = LNP_CLOCK_HZ / 1000u;  // DDI 0403 B3.3: a tick every millisecond
    *(volatile uint32_t *)0xE000E010u = 7u;
"""


def test_a_program_of_ones_own_sleeps_until_its_timer(tmp_path):
    """Samples from a table, one a tick: the decisions are those of the host, and each sample costs one sleep."""
    need_for("mps2-an386")
    files = counting("mps2-an386")
    main = files["main.c"]
    rows = ", ".join("{" + ", ".join(map(str, row)) + "}" for row in SAMPLES.tolist())
    first = main.index("// Tells of rows that are no samples")
    last = main.index("static void started(void)\n{")
    main = main[:first] + TABLE % rows + main[last:]
    files["main.c"] = main.replace("    started();\n", "    started();\n" + TIMER).replace(
        '#include "lnp_board.h"', '#include "lnp_board.h"\n#include "lnp_config.h"'
    )
    with closing(open_board(boards.get("mps2-an386"), image_of(files, tmp_path))) as port:
        said = [list(map(int, line.split())) for line in lines_of(port, 6)[1:6]]
    expected = list(infer(Reference(MODEL), MODEL, SAMPLES))
    assert [row[:2] for row in said] == [[20 + 10 * k, p.label] for k, p in enumerate(expected)]
    assert np.array(said)[:, 5:].tolist() == [list(p.y) for p in expected]
    assert all(0 < row[4] <= row[0] for row in said), "at most one sleep a sample: a slow host may miss some"


HOST = """
#include <stdio.h>
#include <sys/time.h>
#include <signal.h>
#include <time.h>
#include "lnp_board.h"

static volatile sig_atomic_t came;
static long asked;

static void signalled(int number)
{
    (void)number;
    came = 1;
}

// Its first answer is no, and starts the timer: a busy machine cannot let it go off before.
static bool is_due(void)
{
    const struct itimerval once = {.it_value = {.tv_usec = 40000}};
    asked++;
    return asked == 1 ? setitimer(ITIMER_REAL, &once, NULL) != 0 : came != 0;
}

int main(void)
{
    struct timespec a, b;
    (void)signal(SIGALRM, signalled);
    (void)clock_gettime(CLOCK_MONOTONIC, &a);
    lnp_board_wait(is_due);
    (void)clock_gettime(CLOCK_MONOTONIC, &b);
    printf("%ld %ld\\n", asked, 1000 * (b.tv_sec - a.tv_sec) + (b.tv_nsec - a.tv_nsec) / 1000000);
}
"""


def test_on_the_host_it_asks_at_most_once_a_millisecond(tmp_path):
    need_for("host")
    files = generate(MODEL, boards.get("host"), app=True)
    for path in ("posix.c", "lnp_board.h", "lnp_config.h"):
        (tmp_path / path).write_text(files[path])
    (tmp_path / "wait.c").write_text(HOST)
    flags = ["-std=c11", "-D_XOPEN_SOURCE=700", "-Wall", "-Wextra", "-Werror"]
    subprocess.run(["cc", *flags, "-o", "wait", "wait.c", "posix.c"], cwd=tmp_path, check=True)
    asked, took = map(int, subprocess.run([tmp_path / "wait"], capture_output=True, check=True).stdout.split())
    assert 2 <= asked <= took + 3, "the first time, after each sleep, and once more if the signal ended one"
