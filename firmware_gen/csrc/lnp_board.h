// What a board must offer. Four functions; boards/common has them for the UARTs that exist.
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

#endif
