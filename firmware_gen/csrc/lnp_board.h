// What a board must offer: four functions, and a fifth where the UART has an interrupt. The UART's driver in
// boards/common gives them, but for lnp_board_cycles on a Cortex-M: that is in cortex_m.c.
#ifndef LNP_BOARD_H
#define LNP_BOARD_H

#include <stddef.h>
#include <stdint.h>

// Clocks and the serial line.
void lnp_board_init(void);

// Waits for at least one byte; returns how many of at most `most` it stored.
size_t lnp_board_read(uint8_t *bytes, size_t most);

// Sends them all.
void lnp_board_write(const uint8_t *bytes, size_t count);

// A counter of CPU cycles that may wrap around; 0 always where there is none.
uint32_t lnp_board_cycles(void);

// The UART's interrupt: cortex_m.c puts it in the vector table where board.toml has [uart] irq.
void lnp_uart_interrupt(void);

#endif
