// Start-up code of every Cortex-M: vector table, memory, cycle counter.
// ARM DDI 0403 (ARMv7-M), DDI 0419 (ARMv6-M).
#include <stddef.h>
#include <stdint.h>

#include "lnp_board.h"
#include "lnp_config.h"

// Defined by the linker script; only their addresses have a meaning.
extern uint32_t lnp_stack_top[], lnp_data_load[], lnp_data_start[], lnp_data_end[], lnp_bss_start[],
    lnp_bss_end[];

// DDI 0403 B1.5.2: exceptions 1 to 15, then the chip's interrupts up to that of the UART.
typedef union {
    const void *stack;
    void (*handler)(void);
} vector_t;

extern const vector_t lnp_vectors[];

int main(void);
void Reset_Handler(void);

// After a bootloader, the core still uses the bootloader's vector table.
static void use_our_vectors(void)
{
#if !defined(__ARM_ARCH_6M__)
    *(volatile uint32_t *)0xE000ED08u = (uint32_t)lnp_vectors;  // DDI 0403 B3.2.5: VTOR
#endif
}

static void start_cycle_counter(void)
{
#if !defined(__ARM_ARCH_6M__)
    // DDI 0403 C1.6.5, C1.8.7: enable trace, count from 0. A missing counter reads as 0.
    *(volatile uint32_t *)0xE000EDFCu |= 1u << 24;
    *(volatile uint32_t *)0xE0001004u = 0;
    *(volatile uint32_t *)0xE0001000u |= 1u;
#endif
}

uint32_t lnp_board_cycles(void)
{
#if !defined(__ARM_ARCH_6M__)
    return *(volatile uint32_t *)0xE0001004u;
#else
    return 0;  // ARMv6-M has no cycle counter
#endif
}

void Reset_Handler(void)
{
    const uint32_t *from = lnp_data_load;
    for (uint32_t *to = lnp_data_start; to != lnp_data_end; to++) {
        *to = *from++;
    }
    for (uint32_t *to = lnp_bss_start; to != lnp_bss_end; to++) {
        *to = 0;
    }
    use_our_vectors();
    start_cycle_counter();
    (void)main();
    for (;;) {
    }
}

// Faults and unexpected interrupts stop here, where a debugger finds them.
static void stop(void)
{
    for (;;) {
    }
}

#define LNP_STOP {.handler = stop}
__attribute__((section(".vectors"), used)) const vector_t lnp_vectors[] = {
    {.stack = lnp_stack_top},
    {.handler = Reset_Handler},
    LNP_STOP,
    LNP_STOP,
    LNP_STOP,
    LNP_STOP,
    LNP_STOP,
    LNP_STOP,
    LNP_STOP,
    LNP_STOP,
    LNP_STOP,
    LNP_STOP,
    LNP_STOP,
    LNP_STOP,
    LNP_STOP,
    LNP_STOP,
#ifdef LNP_UART_IRQ
    [16 ... 15 + LNP_UART_IRQ] = LNP_STOP,
    [16 + LNP_UART_IRQ] = {.handler = lnp_uart_interrupt},
#endif
};
