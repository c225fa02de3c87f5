// Declares what a board must provide. The UART driver in boards/common implements it, except on a Cortex-M
// lnp_board_cycles and lnp_board_wait, which are in cortex_m.c, and, if board.toml has [uart] irq,
// lnp_board_read.
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

// Returns a counter of CPU cycles, which may wrap around; always 0 on a board without one.
uint32_t lnp_board_cycles(void);

// Sleeps until an interrupt has made ready() true. A Cortex-M sleeps in WFI; ready() runs with interrupts
// held off, so that none is lost between the answer and the sleep.
void lnp_board_wait(bool (*ready)(void));

// Only with [uart] irq, called by its interrupt: returns whether a byte came, stores it, and makes the UART
// ready for the next.
bool lnp_uart_take(uint8_t *byte);

#endif
