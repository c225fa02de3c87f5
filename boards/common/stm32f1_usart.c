// USART of the STM32F1 at the clock that the chip has after reset. RM0041 (F100) and RM0008 (F101 to F107)
// agree on every register used here.
#include "lnp_board.h"
#include "lnp_config.h"

#if !defined(LNP_UART_BASE) || !defined(LNP_UART_IRQ) || !defined(LNP_UART_ENABLE) ||          \
    !defined(LNP_UART_ENABLE_BIT) || !defined(LNP_UART_GPIO) || !defined(LNP_UART_GPIO_BIT) || \
    !defined(LNP_UART_TX_PIN) || !defined(LNP_UART_RX_PIN)
#error "board.toml: [uart] base, irq, enable, enable_bit, gpio, gpio_bit, tx_pin, rx_pin"
#endif

#define REGISTER(address) (*(volatile uint32_t *)(address))

// RM0041 6.3 (RCC), 7.2 (GPIO), 23.6 (USART).
#define RCC_APB2ENR REGISTER(0x40021018u)
#define GPIO_CR(pin) REGISTER(LNP_UART_GPIO + 4u * ((pin) / 8u))
#define USART_SR REGISTER(LNP_UART_BASE + 0x00u)
#define USART_DR REGISTER(LNP_UART_BASE + 0x04u)
#define USART_BRR REGISTER(LNP_UART_BASE + 0x08u)
#define USART_CR1 REGISTER(LNP_UART_BASE + 0x0Cu)

#define HSI_HZ 8000000u  // RM0041 6.2.2: the internal oscillator, which runs all buses after reset
_Static_assert(LNP_CLOCK_HZ == HSI_HZ, "board.toml: this driver needs a clock_hz of 8 MHz");

enum { FUNCTION_10_MHZ = 9, FLOATING = 4 };  // of a pin: push and pull by the USART, and an input

static void set_pin(uint32_t pin, uint32_t mode)
{
    GPIO_CR(pin) = (GPIO_CR(pin) & ~(15u << (4u * (pin % 8u)))) | mode << (4u * (pin % 8u));
}

void lnp_board_init(void)
{
    RCC_APB2ENR |= 1u << LNP_UART_GPIO_BIT;
    REGISTER(LNP_UART_ENABLE) |= 1u << LNP_UART_ENABLE_BIT;
    USART_BRR = (HSI_HZ + LNP_BAUD / 2u) / LNP_BAUD;
    USART_CR1 = 1u << 13 | 1u << 5 | 1u << 3 | 1u << 2;  // UE, RXNEIE, TE, RE
    set_pin(LNP_UART_TX_PIN, FUNCTION_10_MHZ);
    set_pin(LNP_UART_RX_PIN, FLOATING);
}

// RM0041 23.6.1: TC, all has left.
uint32_t lnp_board_baud(uint32_t baud, bool change)
{
    const uint32_t divider = lnp_divide(HSI_HZ, baud);
    if (change) {
        while ((USART_SR & 1u << 6) == 0) {
        }
        USART_BRR = divider;
    }
    return divider < 16u ? 0 : lnp_rate(HSI_HZ, divider, baud);
}

// Reading SR and then DR also clears an overrun; the CRC of the frame reveals lost bytes.
bool lnp_uart_take(uint8_t *byte)
{
    if ((USART_SR & (1u << 5 | 1u << 3)) == 0) {
        return false;
    }
    *byte = (uint8_t)USART_DR;
    return true;
}

void lnp_board_write(const uint8_t *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        while ((USART_SR & 1u << 7) == 0) {
        }
        USART_DR = bytes[i];
    }
}
