// What every Cortex-M has: vector table, memory, cycle counter, sleep, and a ring for what its UART receives.
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

// The loops by hand of lnp_helium.h need coprocessors 10 and 11. DDI 0553 D1.2.14: CPACR.
static void enable_helium(void)
{
#if defined(LNP_HELIUM)
    *(volatile uint32_t *)0xE000ED88u |= 0xFu << 20;
    __asm__ volatile("dsb\n    isb" ::: "memory");
#endif
}

static void start_cycle_counter(void)
{
#if !defined(__ARM_ARCH_6M__)
    // DDI 0403 C1.6.5, C1.8.7: enable trace, count from 0. A missing counter reads as 0. A Cortex-M7's is
    // locked until LAR (Arm's core_cm7.h) has the key (Zephyr's timing.c).
    *(volatile uint32_t *)0xE000EDFCu |= 1u << 24;
#if defined(LNP_CPU_CORTEX_M7)
    *(volatile uint32_t *)0xE0001FB0u = 0xC5ACCE55u;
#endif
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

void lnp_board_wait(bool (*ready)(void))
{
    __asm__ volatile("cpsid i" ::: "memory");
    while (!ready()) {
        // DDI 0403 B1.5.19: WFI returns once an interrupt is pending, though it is held off.
        __asm__ volatile("dsb\n\twfi\n\tcpsie i\n\tisb\n\tcpsid i" ::: "memory");
    }
    __asm__ volatile("cpsie i" ::: "memory");
}

#ifdef LNP_UART_IRQ
// The ring is a power of two. With the link it is longer than the longest frame with its stuffing
// (lnp_cobs.h): a request that arrives while a step runs is not lost.
#ifdef LNP_MAX_PAYLOAD
enum {
    FRAME = LNP_WIRE_HEADER_BYTES + LNP_MAX_PAYLOAD + LNP_WIRE_CRC_BYTES,
    STUFFED = FRAME + FRAME / 254 + 3,
    RING = STUFFED < 1024 ? 1024 : 4096,
};
_Static_assert(STUFFED < RING, "the longest frame does not fit into the ring");
#else
enum { RING = 1024 };
#endif

static volatile uint8_t ring[RING];
static volatile uint32_t ring_head;  // written by the interrupt
static volatile uint32_t ring_tail;  // written by the reader

// DDI 0403 B3.4.
#define NVIC_ISER (*(volatile uint32_t *)(0xE000E100u + 4u * (LNP_UART_IRQ / 32u)))
#define NVIC_ICER (*(volatile uint32_t *)(0xE000E180u + 4u * (LNP_UART_IRQ / 32u)))
#define UART_BIT (1u << (LNP_UART_IRQ % 32u))

// While the ring is full, the next byte stays in the UART: a line that can wait, as QEMU's does, then loses
// none.
static void uart_interrupt(void)
{
    uint8_t byte;
    if (ring_head - ring_tail == RING) {
        NVIC_ICER = UART_BIT;
    } else if (lnp_uart_take(&byte)) {
        ring[ring_head % RING] = byte;
        ring_head = ring_head + 1u;
    }
}

static bool received(void)
{
    return ring_head != ring_tail;
}

#ifdef LNP_WATCHDOG_MS
// DDI 0403 B3.3: the core's own timer wakes it, while it waits for a byte, to kick the watchdog.
#define SYST_CSR (*(volatile uint32_t *)0xE000E010u)
#define SYST_RVR (*(volatile uint32_t *)0xE000E014u)
enum { TICK_MS = 50, LONGEST_TICK = 0xFFFFFF };

static void start_ticks(void)
{
    const uint32_t cycles = LNP_CLOCK_HZ / 1000u * TICK_MS;
    SYST_RVR = cycles < LONGEST_TICK ? cycles : LONGEST_TICK;
    SYST_CSR = 7;  // from the core's clock, with an interrupt
}

void SysTick_Handler(void);
void SysTick_Handler(void)
{
}

// Not in an interrupt: a program that hangs would be called well by it.
static bool received_or_well(void)
{
    lnp_board_kick();
    return received();
}
#else
#define received_or_well received
#endif

size_t lnp_board_read(uint8_t *bytes, size_t most)
{
    size_t count = 0;
    for (;;) {
        while (count < most && received()) {
            bytes[count] = ring[ring_tail % RING];
            ring_tail = ring_tail + 1u;
            count++;
        }
        NVIC_ISER = UART_BIT;  // at the first call, and once a full ring has room
        if (count > 0) {
            return count;
        }
        lnp_board_wait(received_or_well);
    }
}
#endif

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
    enable_helium();
    start_cycle_counter();
#ifdef LNP_WATCHDOG_MS
    start_ticks();
#endif
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

// DDI 0403 B3.3: the core's own timer. A program that starts it defines its own.
#ifndef LNP_WATCHDOG_MS
__attribute__((weak, alias("stop"))) void SysTick_Handler(void);
#endif

// Some watchdogs bark before they bite; their drivers define their own.
__attribute__((weak, alias("stop"))) void NMI_Handler(void);

#define LNP_STOP {.handler = stop}
// UM11126, table 177: the boot ROM of the LPC55S6x starts an image with 0 in place 9.
#define LNP_RESERVED {.stack = NULL}
__attribute__((section(".vectors"), used)) const vector_t lnp_vectors[] = {
    {.stack = lnp_stack_top},
    {.handler = Reset_Handler},
    {.handler = NMI_Handler},
    LNP_STOP,
    LNP_STOP,
    LNP_STOP,
    LNP_STOP,
    LNP_STOP,
    LNP_RESERVED,
    LNP_RESERVED,
    LNP_RESERVED,
    LNP_STOP,
    LNP_STOP,
    LNP_RESERVED,
    LNP_STOP,
    {.handler = SysTick_Handler},
#ifdef LNP_UART_IRQ
#if LNP_UART_IRQ > 0
    [16 ... 15 + LNP_UART_IRQ] = LNP_STOP,
#endif
    [16 + LNP_UART_IRQ] = {.handler = uart_interrupt},
#endif
};
