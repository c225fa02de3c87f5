// USART of STM32 families whose USART has ISR, RDR and TDR, at the clock that the chip has after reset: no
// PLL and no wait states to set (RM0351 3.3.3, RM0444 3.3.4). RM0351 (L4), RM0444 (G0) and RM0433 (H7) agree
// on every register used here.
#include "lnp_board.h"
#include "lnp_config.h"

#define REGISTER(address) (*(volatile uint32_t *)(address))

// RM0351 8.4 (GPIO), 40.8 (USART).
#define GPIO_MODER REGISTER(LNP_UART_GPIO + 0x00u)
#define GPIO_AFR(pin) REGISTER(LNP_UART_GPIO + 0x20u + 4u * ((pin) / 8u))
#define USART_CR1 REGISTER(LNP_UART_BASE + 0x00u)
#define USART_BRR REGISTER(LNP_UART_BASE + 0x0Cu)
#define USART_ISR REGISTER(LNP_UART_BASE + 0x1Cu)
#define USART_ICR REGISTER(LNP_UART_BASE + 0x20u)
#define USART_RDR REGISTER(LNP_UART_BASE + 0x24u)
#define USART_TDR REGISTER(LNP_UART_BASE + 0x28u)

_Static_assert(LNP_UART_TX_PIN < 16 && LNP_UART_RX_PIN < 16,
               "board.toml: tx_pin and rx_pin are of a port of 16 pins");

#define DIVIDER ((LNP_CLOCK_HZ + LNP_BAUD / 2u) / LNP_BAUD)
_Static_assert(DIVIDER >= 16u && DIVIDER <= 0xFFFFu, "board.toml: baud is out of the range of USART_BRR");

enum { ENABLE = 1 << 0, RECEIVE = 1 << 2, SEND = 1 << 3, RX_INTERRUPT = 1 << 5 };    // of CR1
enum { OVERRUN = 1 << 3, RX_READY = 1 << 5, ALL_LEFT = 1 << 6, TX_EMPTY = 1 << 7 };  // of ISR, and of ICR

// Sets the function before the mode: the other order connects the pin to function 0 for a moment.
static void set_alternate(uint32_t pin)
{
    GPIO_AFR(pin) = (GPIO_AFR(pin) & ~(15u << (4u * (pin % 8u)))) | LNP_UART_AF << (4u * (pin % 8u));
    GPIO_MODER = (GPIO_MODER & ~(3u << (2u * pin))) | 2u << (2u * pin);
}

void lnp_board_init(void)
{
    REGISTER(LNP_UART_GPIO_ENABLE) |= 1u << LNP_UART_GPIO_BIT;
    REGISTER(LNP_UART_ENABLE) |= 1u << LNP_UART_ENABLE_BIT;
    (void)REGISTER(LNP_UART_ENABLE);  // the clocks run two cycles later
    set_alternate(LNP_UART_TX_PIN);
    set_alternate(LNP_UART_RX_PIN);
    USART_BRR = DIVIDER;
    USART_CR1 = ENABLE | RECEIVE | SEND | RX_INTERRUPT;
}

// RM0351 40.8.4: BRR can be written only while the USART is off.
uint32_t lnp_board_baud(uint32_t baud, bool change)
{
    const uint32_t divider = lnp_divide(LNP_CLOCK_HZ, baud);
    if (change) {
        while ((USART_ISR & ALL_LEFT) == 0) {
        }
        USART_CR1 = 0;
        USART_BRR = divider;
        USART_CR1 = ENABLE | RECEIVE | SEND | RX_INTERRUPT;
    }
    return divider < 16u ? 0 : lnp_rate(LNP_CLOCK_HZ, divider, baud);
}

// An overrun interrupts too, until it is cleared; the CRC of the frame reveals lost bytes.
bool lnp_uart_take(uint8_t *byte)
{
    const uint32_t state = USART_ISR;
    USART_ICR = state & OVERRUN;
    if ((state & RX_READY) == 0) {
        return false;
    }
    *byte = (uint8_t)USART_RDR;
    return true;
}

void lnp_board_write(const uint8_t *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        while ((USART_ISR & TX_EMPTY) == 0) {
        }
        USART_TDR = bytes[i];
    }
}
