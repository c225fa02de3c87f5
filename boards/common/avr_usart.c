// USART0 of the ATmega640 to 2561 (data sheet DS40002211, 22.10) and 48 to 328P (DS40002061, 20.11). avr-libc
// 2.0.0 has the registers and bits.
#include <avr/io.h>

#include "lnp_board.h"
#include "lnp_config.h"

// DS40002061 20.3.1, DS40002211 table 22-1: at double speed the rate is clock / (8 (UBRR0 + 1)).
#define DIVIDER ((LNP_CLOCK_HZ / 4u / LNP_BAUD + 1u) / 2u)
#define ACTUAL (LNP_CLOCK_HZ / 8u / DIVIDER)
_Static_assert(DIVIDER >= 1u && DIVIDER <= 4096u, "board.toml: baud is out of the range of UBRR0");
_Static_assert(ACTUAL - LNP_BAUD / 40u * 39u <= LNP_BAUD / 20u,
               "board.toml: no divider is within 2.5 % of baud");

void lnp_board_init(void)
{
    UCSR0A = 1 << U2X0;  // first: simavr asks for it when UBRR0 is written
    UBRR0 = (uint16_t)(DIVIDER - 1u);
    UCSR0C = 1 << UCSZ01 | 1 << UCSZ00;  // 8 bits, no parity, one stop bit
    UCSR0B = 1 << RXCIE0 | 1 << RXEN0 | 1 << TXEN0;
}

bool lnp_uart_take(uint8_t *byte)
{
    if ((UCSR0A & 1 << RXC0) == 0) {
        return false;
    }
    *byte = UDR0;
    return true;
}

void lnp_board_write(const uint8_t *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        while ((UCSR0A & 1 << UDRE0) == 0) {
        }
        UDR0 = bytes[i];
    }
}
