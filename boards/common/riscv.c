// What every RISC-V core has: start-up, memory, cycle counter, sleep. The RISC-V Instruction Set Manual,
// volume I (unprivileged) and II (privileged).
#include <stddef.h>
#include <stdint.h>

#include "lnp_board.h"
#include "lnp_config.h"

// Defined by the linker script; only their addresses have a meaning.
extern uint32_t lnp_data_load[], lnp_data_start[], lnp_data_end[], lnp_bss_start[], lnp_bss_end[];

int main(void);
void Reset_Handler(void);

// A chip whose counter is another has its own.
__attribute__((weak)) uint32_t lnp_board_cycles(void)
{
    uint32_t cycles;
    __asm__ volatile("csrr %0, mcycle" : "=r"(cycles));  // volume II, 3.1.10
    return cycles;
}

// Kept over a reset; after a power cut it begins with whatever the RAM holds.
static uint32_t starts __attribute__((section(".noinit")));

uint32_t lnp_board_boot(void)
{
    starts++;
    return starts;
}

__attribute__((weak)) uint16_t lnp_board_cause(void)
{
    return LNP_CAUSE_UNKNOWN;
}

// Volume II, 3.3.3: WFI returns once an interrupt that mie allows is pending, though mstatus holds it off.
void lnp_board_wait(bool (*ready)(void))
{
    __asm__ volatile("csrci mstatus, 8" ::: "memory");
    while (!ready()) {
        __asm__ volatile("wfi\n\tcsrsi mstatus, 8\n\tcsrci mstatus, 8" ::: "memory");
    }
    __asm__ volatile("csrsi mstatus, 8" ::: "memory");
}

// Traps stop here, where a debugger finds them. Volume II, 3.1.7: the address is a multiple of 4.
__attribute__((aligned(4))) static void stop(void)
{
    for (;;) {
    }
}

__attribute__((used)) static void start(void)
{
    __asm__ volatile("csrw mtvec, %0" ::"r"(stop));
    const uint32_t *from = lnp_data_load;
    for (uint32_t *to = lnp_data_start; to != lnp_data_end; to++) {
        *to = *from++;
    }
    for (uint32_t *to = lnp_bss_start; to != lnp_bss_end; to++) {
        *to = 0;
    }
    (void)main();
    stop();
}

// The core begins at the first address of flash, without a stack. Of several the one with number 0 runs the
// program, which every chip has (volume II, 3.1.5); the others rest, for there is one stack.
__attribute__((naked, used, section(".vectors"))) void Reset_Handler(void)
{
    __asm__(
        "csrr a0, mhartid\n\t"
        "beqz a0, 2f\n"
        "1:\n\t"
        "wfi\n\t"
        "j 1b\n"
        "2:\n\t"
        ".option push\n\t"
        ".option norelax\n\t"
        "la gp, __global_pointer$\n\t"
        "la sp, lnp_stack_top\n\t"
        ".option pop\n\t"
        "j %0" ::"i"(start));
}
