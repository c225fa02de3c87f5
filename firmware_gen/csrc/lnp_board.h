// Declares what a board must provide: four functions, and a fifth if the UART uses an interrupt.
// The UART driver in boards/common implements them, except lnp_board_cycles on a Cortex-M, which is
// in cortex_m.c.
#ifndef LNP_BOARD_H
#define LNP_BOARD_H

#include <stddef.h>
#include <stdint.h>

// Sets up the clocks and the serial line.
void lnp_board_init(void);

// Waits for at least one byte; returns how many of at most `most` it stored.
size_t lnp_board_read(uint8_t *bytes, size_t most);

// Sends all `count` bytes.
void lnp_board_write(const uint8_t *bytes, size_t count);

// Returns a counter of CPU cycles, which may wrap around; always 0 on a board without one.
uint32_t lnp_board_cycles(void);

// Handles the UART's interrupt. cortex_m.c puts it in the vector table if board.toml has [uart]
// irq.
void lnp_uart_interrupt(void);

#endif
