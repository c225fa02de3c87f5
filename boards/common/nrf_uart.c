// UART0 of Nordic's nRF51 and nRF52, without DMA, and the crystal that its baud rate needs. nRF51 reference
// manual v3.0, 13 (CLOCK), 14.2 (GPIO), 29.10 (UART); nRF52840 product specification v1.1, 5.4 (CLOCK), 6.9
// (GPIO), 6.33 (UART).
#include "lnp_board.h"
#include "lnp_config.h"

#define REGISTER(address) (*(volatile uint32_t *)(address))
#define START_RX REGISTER(LNP_UART_BASE + 0x000u)
#define START_TX REGISTER(LNP_UART_BASE + 0x008u)
#define RX_READY REGISTER(LNP_UART_BASE + 0x108u)
#define TX_READY REGISTER(LNP_UART_BASE + 0x11Cu)
#define INTERRUPT REGISTER(LNP_UART_BASE + 0x304u)
#define ENABLE REGISTER(LNP_UART_BASE + 0x500u)
#define TX_PIN REGISTER(LNP_UART_BASE + 0x50Cu)
#define RX_PIN REGISTER(LNP_UART_BASE + 0x514u)
#define RX_BYTE REGISTER(LNP_UART_BASE + 0x518u)
#define TX_BYTE REGISTER(LNP_UART_BASE + 0x51Cu)
#define BAUD_RATE REGISTER(LNP_UART_BASE + 0x524u)
#define START_CRYSTAL REGISTER(LNP_UART_CLOCK + 0x000u)
#define CRYSTAL_RUNS REGISTER(LNP_UART_CLOCK + 0x100u)

// A pin of the second port, 32 to 63, has its registers 0x300 behind those of the first.
#define PORT(pin) (LNP_UART_GPIO + 0x300u * ((pin) / 32u))
#define GPIO_SET(pin) REGISTER(PORT(pin) + 0x508u)
#define GPIO_CONFIG(pin) REGISTER(PORT(pin) + 0x700u + 4u * ((pin) % 32u))

// The UART counts 16 MHz in steps of 2^-20, which BAUD_RATE has in its upper 20 bits.
#define BASE_HZ 16000000u
#define BAUD_STEPS ((uint32_t)(((uint64_t)LNP_BAUD * (1u << 20) + BASE_HZ / 2u) / BASE_HZ))
#define LEAST_DIVIDER 16u  // 29.10, 6.33.10: 1200 Bd to 1 MBd
_Static_assert(LNP_BAUD >= 1200u && LNP_BAUD <= BASE_HZ / LEAST_DIVIDER,
               "board.toml: baud is out of the range of BAUD_RATE");
_Static_assert(LNP_UART_TX_PIN < 64u && LNP_UART_RX_PIN < 64u,
               "board.toml: tx_pin and rx_pin are of two ports of 32 pins");

enum { OUTPUT = 1, INPUT = 0, UART = 4, RX_INTERRUPT = 4, PATIENCE = 100000 };

void lnp_board_init(void)
{
    CRYSTAL_RUNS = 0;
    START_CRYSTAL = 1;
    for (uint32_t poll = 0; poll < PATIENCE && CRYSTAL_RUNS == 0; poll++) {
    }
    GPIO_SET(LNP_UART_TX_PIN) = 1u << (LNP_UART_TX_PIN % 32u);  // the line rests high
    GPIO_CONFIG(LNP_UART_TX_PIN) = OUTPUT;
    GPIO_CONFIG(LNP_UART_RX_PIN) = INPUT;
    TX_PIN = LNP_UART_TX_PIN;
    RX_PIN = LNP_UART_RX_PIN;
    BAUD_RATE = BAUD_STEPS << 12;
    ENABLE = UART;
    INTERRUPT = RX_INTERRUPT;
    START_RX = 1;
    START_TX = 1;
}

// What the product specification calls the actual rates, 6.33.10, are 16 MHz divided by whole numbers.
uint32_t lnp_board_baud(uint32_t baud, bool change)
{
    const uint32_t divider = lnp_divide(BASE_HZ, baud);
    if (change) {  // a byte has left when lnp_board_write returns
        ENABLE = 0;
        BAUD_RATE = lnp_divide((1u << 20) - divider / 2u, divider) << 12;  // not above 2^20 / divider
        ENABLE = UART;
        START_RX = 1;
        START_TX = 1;
    }
    return divider < LEAST_DIVIDER ? 0 : lnp_rate(BASE_HZ, divider, baud);
}

// After RX_BYTE is read, RX_READY comes again if the FIFO has another.
bool lnp_uart_take(uint8_t *byte)
{
    if (RX_READY == 0) {
        return false;
    }
    RX_READY = 0;
    *byte = (uint8_t)RX_BYTE;
    return true;
}

void lnp_board_write(const uint8_t *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        TX_READY = 0;
        TX_BYTE = bytes[i];
        while (TX_READY == 0) {
        }
    }
}
