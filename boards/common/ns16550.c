// UART 16550 with registers of one byte, polled. Its FIFO keeps 16 bytes. TL16C550C data sheet, SLLS177I:
// tables 7-1 and 7-3 (registers), 7.7.2 (FIFO), 7.7.7 and 7.7.8 (LINE and STATE), 7.7.11 (divider).
#include "lnp_board.h"
#include "lnp_config.h"

#define REGISTER(at) (*(volatile uint8_t *)(LNP_UART_BASE + (at)))
#define DATA REGISTER(0u)
#define FIFO REGISTER(2u)
#define LINE REGISTER(3u)
#define STATE REGISTER(5u)
#define DIVIDER_LOW REGISTER(0u)  // while LINE has DIVIDER
#define DIVIDER_HIGH REGISTER(1u)

enum {
    FIFO_ON = 1 | 2 | 4,
    EIGHT_BITS = 3,
    DIVIDER = 0x80,
    RX_READY = 1,
    TX_EMPTY = 0x20,
    ALL_LEFT = 0x40,
};

_Static_assert(LNP_UART_CLOCK / LNP_BAUD >= 16u && LNP_UART_CLOCK / LNP_BAUD / 16u < 0xFFFFu,
               "board.toml: baud is out of the range of the divider");

static void set_divider(uint32_t divider)
{
    LINE = DIVIDER | EIGHT_BITS;
    DIVIDER_LOW = (uint8_t)divider;
    DIVIDER_HIGH = (uint8_t)(divider >> 8);
    LINE = EIGHT_BITS;
}

void lnp_board_init(void)
{
    set_divider((LNP_UART_CLOCK + 8u * LNP_BAUD) / (16u * LNP_BAUD));
    FIFO = FIFO_ON;
}

uint32_t lnp_board_baud(uint32_t baud, bool change)
{
    const uint32_t divider = lnp_divide(LNP_UART_CLOCK / 16u, baud);
    if (change) {
        while ((STATE & ALL_LEFT) == 0) {
        }
        set_divider(divider);
    }
    return lnp_rate(LNP_UART_CLOCK / 16u, divider, baud);
}

size_t lnp_board_read(uint8_t *bytes, size_t most)
{
    size_t count = 0;
    while (count == 0 || (count < most && (STATE & RX_READY) != 0)) {
        while ((STATE & RX_READY) == 0) {
        }
        bytes[count] = DATA;
        count++;
    }
    return count;
}

void lnp_board_write(const uint8_t *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        while ((STATE & TX_EMPTY) == 0) {
        }
        DATA = bytes[i];
    }
}
