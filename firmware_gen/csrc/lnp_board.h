// Declares what a board must provide. The UART driver in boards/common implements it, but for what every core
// of a family has: lnp_board_cycles, lnp_board_boot and lnp_board_wait, which are in cortex_m.c and riscv.c,
// and, if board.toml has [uart] irq, lnp_board_read.
#ifndef LNP_BOARD_H
#define LNP_BOARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Sets up the clocks and the serial line.
void lnp_board_init(void);

// Waits for at least one byte; returns how many of at most `most` it stored. With [uart] irq the processor
// sleeps until then, and a byte that comes meanwhile is kept.
size_t lnp_board_read(uint8_t *bytes, size_t most);

// Sends all `count` bytes.
void lnp_board_write(const uint8_t *bytes, size_t count);

// Returns the rate that is nearest to `baud` of those that the line can have, 0 if none is within 2 %. With
// `change` it then has it, once all that was written has left. A board whose driver lacks this cannot change.
uint32_t lnp_board_baud(uint32_t baud, bool change);

// For drivers. a / b, rounded, without a division: a Cortex-M0 has none.
static inline uint32_t lnp_divide(uint32_t a, uint32_t b)
{
    uint32_t whole = 0;
    uint32_t rest = 0;
#if defined(__clang__)
#pragma clang loop unroll(disable)  // it is not worth 32 times the code
#endif
    for (uint32_t bit = UINT32_C(1) << 31; bit != 0; bit >>= 1) {
        rest = rest << 1 | ((a & bit) != 0);
        if (rest >= b) {
            rest -= b;
            whole |= bit;
        }
    }
    return rest >= b - rest ? whole + 1u : whole;
}

// The rate of a UART that divides `clock` by a whole number, if it is within 2 % of `baud`; else 0.
static inline uint32_t lnp_rate(uint32_t clock, uint32_t divider, uint32_t baud)
{
    const uint32_t rate = divider == 0 ? 0 : lnp_divide(clock, divider);
    const uint32_t off = rate > baud ? rate - baud : baud - rate;
    return off <= lnp_divide(baud, 50) ? rate : 0;
}

// Returns another number after each start, as far as a board can: called once.
uint32_t lnp_board_boot(void);

// What started the program; lnp_edge/spec/protocol.py has the same numbers.
enum {
    LNP_CAUSE_UNKNOWN = 0,
    LNP_CAUSE_POWER = 1,
    LNP_CAUSE_BROWN_OUT = 2,
    LNP_CAUSE_PIN = 3,
    LNP_CAUSE_SOFTWARE = 4,
    LNP_CAUSE_WATCHDOG = 5,
};

// Returns one of these: called once. A Cortex-M whose drivers do not say has "unknown".
uint16_t lnp_board_cause(void);

// Only with [watchdog], in its driver: starts it, and says that the program is well. It resets the board if
// that is not said for LNP_WATCHDOG_MS.
void lnp_board_watch(void);
void lnp_board_kick(void);

// Returns a counter of CPU cycles, which may wrap around; always 0 on a board without one.
uint32_t lnp_board_cycles(void);

// Sleeps until an interrupt has made ready() true. A Cortex-M sleeps in WFI; ready() runs with interrupts
// held off, so that none is lost between the answer and the sleep.
void lnp_board_wait(bool (*ready)(void));

// Only with [uart] irq, called by its interrupt: returns whether a byte came, stores it, and makes the UART
// ready for the next.
bool lnp_uart_take(uint8_t *byte);

#endif
