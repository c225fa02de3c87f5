// USART of STM32 families whose USART has SR and DR. STM32F4 at the clock of board.toml: RM0368 (F401) and
// RM0090 (F405) agree on every register used here. STM32F1, whose pins have no [uart] af, at the clock that
// it has after reset: RM0041 (F100) and RM0008 (F101 to F107).
#include "lnp_board.h"
#include "lnp_config.h"

#define REGISTER(address) (*(volatile uint32_t *)(address))

// RM0368 19.6.1 to 19.6.4, RM0041 23.6.1 to 23.6.4.
#define USART_SR REGISTER(LNP_UART_BASE + 0x00u)
#define USART_DR REGISTER(LNP_UART_BASE + 0x04u)
#define USART_BRR REGISTER(LNP_UART_BASE + 0x08u)
#define USART_CR1 REGISTER(LNP_UART_BASE + 0x0Cu)

_Static_assert(LNP_UART_TX_PIN < 16 && LNP_UART_RX_PIN < 16,
               "board.toml: tx_pin and rx_pin are of a port of 16 pins");

#ifdef LNP_UART_AF
// RM0368 2.3 (memory map), 6.3 (RCC), 3.8 (FLASH). RM0090 7.3.1 to 7.3.3, 7.3.10, 7.3.21, 3.5.1.
#define RCC_CR REGISTER(0x40023800u)
#define RCC_PLLCFGR REGISTER(0x40023804u)
#define RCC_CFGR REGISTER(0x40023808u)
#define RCC_AHB1ENR REGISTER(0x40023830u)
#define RCC_CSR REGISTER(0x40023874u)
#define FLASH_ACR REGISTER(0x40023C00u)

// RM0368 8.4 (GPIO).
#define GPIO_MODER REGISTER(LNP_UART_GPIO + 0x00u)
#define GPIO_AFR(pin) REGISTER(LNP_UART_GPIO + 0x20u + 4u * ((pin) / 8u))

#define HSI_HZ 16000000u   // RM0368 6.2.2: the internal oscillator
#define VCO_HZ 336000000u  // RM0368 6.3.2: within 192 to 432 MHz; HSI / 16 * 336

// RM0368 6.3.2: the PLL divides by 2, 4, 6 or 8. board.toml must respect the chip's own limit.
#define PLL_DIVIDER (VCO_HZ / LNP_CLOCK_HZ)
_Static_assert(VCO_HZ % LNP_CLOCK_HZ == 0 && PLL_DIVIDER % 2 == 0 && PLL_DIVIDER <= 8,
               "board.toml: this driver needs a clock_hz of 168, 84, 56 or 42 MHz");

// RM0368 2.3: APB1 lies below 0x40010000, APB2 above. RM0090 7.2: their limits are 42 and 84 MHz, a
// quarter and a half of 168 MHz.
#define APB_DIVIDER (LNP_UART_BASE < 0x40010000u ? 4u : 2u)
#define BUS_HZ (LNP_CLOCK_HZ / APB_DIVIDER)
_Static_assert(BUS_HZ / LNP_BAUD >= 16u && BUS_HZ / LNP_BAUD < 0xFFFFu,
               "board.toml: baud is out of the range of USART_BRR, RM0368 19.3.4");

enum { PATIENCE = 100000 };  // polls before giving up on a clock; DS8626 table 36: 0.3 ms

static int wait_for(volatile uint32_t *address, uint32_t mask, uint32_t wanted)
{
    for (uint32_t poll = 0; poll < PATIENCE; poll++) {
        if ((*address & mask) == wanted) {
            return 1;
        }
    }
    return 0;
}

// Runs the core from the PLL, fed by HSI. Returns the clock of the core: HSI if the PLL does not
// start.
static uint32_t start_clock(void)
{
    // RM0368 table 6, RM0090 table 11 (2.7 to 3.6 V): one wait state per 30 MHz; caches and prefetch on.
    FLASH_ACR = ((LNP_CLOCK_HZ - 1u) / 30000000u) | 1u << 8 | 1u << 9 | 1u << 10;
    RCC_PLLCFGR = 16u | 336u << 6 | (PLL_DIVIDER / 2u - 1u) << 16 | 7u << 24;
    RCC_CR |= 1u << 24;
    if (!wait_for(&RCC_CR, 1u << 25, 1u << 25)) {
        return HSI_HZ;
    }
    RCC_CFGR = 5u << 10 | 4u << 13 | 2u;  // APB1 / 4, APB2 / 2, PLL
    if (wait_for(&RCC_CFGR, 3u << 2, 2u << 2)) {
        return LNP_CLOCK_HZ;
    }
    RCC_CFGR = 0;
    return HSI_HZ;
}

// Sets the function before the mode: the other order connects the pin to function 0 for a moment.
static void set_alternate(uint32_t pin)
{
    GPIO_AFR(pin) = (GPIO_AFR(pin) & ~(15u << (4u * (pin % 8u)))) | LNP_UART_AF << (4u * (pin % 8u));
    GPIO_MODER = (GPIO_MODER & ~(3u << (2u * pin))) | 2u << (2u * pin);
}

// Starts the clocks of the core, of the buses and of the pins. Returns that of the USART's bus.
static uint32_t start_bus(void)
{
    const uint32_t core = start_clock();
    RCC_AHB1ENR |= 1u << LNP_UART_GPIO_BIT;
    return core == HSI_HZ ? HSI_HZ : BUS_HZ;
}

static void set_pins(void)
{
    set_alternate(LNP_UART_TX_PIN);
    set_alternate(LNP_UART_RX_PIN);
}

// RM0368 6.3, RM0090 7.3.21, RCC_CSR: several flags may be set, for a reset also pulls the pin, and a
// power-on is a brown-out too.
uint16_t lnp_board_cause(void)
{
    const uint32_t flags = RCC_CSR;
    RCC_CSR |= 1u << 24;  // RMVF: the next start sees its own
    if ((flags & (1u << 30 | 1u << 29)) != 0) {
        return LNP_CAUSE_WATCHDOG;
    }
    if ((flags & 1u << 28) != 0) {
        return LNP_CAUSE_SOFTWARE;
    }
    if ((flags & 1u << 27) != 0) {
        return LNP_CAUSE_POWER;
    }
    if ((flags & 1u << 25) != 0) {
        return LNP_CAUSE_BROWN_OUT;
    }
    return (flags & 1u << 26) != 0 ? LNP_CAUSE_PIN : LNP_CAUSE_UNKNOWN;
}

#else
// RM0041 6.3.7 (RCC), 7.2.1, 7.2.2 (GPIO).
#define RCC_APB2ENR REGISTER(0x40021018u)
#define GPIO_CR(pin) REGISTER(LNP_UART_GPIO + 4u * ((pin) / 8u))

#define HSI_HZ 8000000u  // RM0041 6.2.2: the internal oscillator, which runs all buses after reset
_Static_assert(LNP_CLOCK_HZ == HSI_HZ,
               "board.toml: clock_hz is 8 MHz on an STM32F1; an STM32F4 has [uart] af");
_Static_assert(HSI_HZ / LNP_BAUD >= 16u, "board.toml: baud is out of the range of USART_BRR");

enum { FUNCTION_10_MHZ = 9, FLOATING = 4 };  // of a pin: push and pull by the USART, and an input

static void set_pin(uint32_t pin, uint32_t mode)
{
    GPIO_CR(pin) = (GPIO_CR(pin) & ~(15u << (4u * (pin % 8u)))) | mode << (4u * (pin % 8u));
}

static uint32_t start_bus(void)
{
    RCC_APB2ENR |= 1u << LNP_UART_GPIO_BIT;
    return HSI_HZ;
}

static void set_pins(void)
{
    set_pin(LNP_UART_TX_PIN, FUNCTION_10_MHZ);
    set_pin(LNP_UART_RX_PIN, FLOATING);
}
#endif

static uint32_t bus;  // Hz

void lnp_board_init(void)
{
    bus = start_bus();
    REGISTER(LNP_UART_ENABLE) |= 1u << LNP_UART_ENABLE_BIT;
    set_pins();
    USART_BRR = (bus + LNP_BAUD / 2u) / LNP_BAUD;        // RM0368 19.3.4, oversampling by 16
    USART_CR1 = 1u << 13 | 1u << 5 | 1u << 3 | 1u << 2;  // UE, RXNEIE, TE, RE
}

// RM0368 19.6.1: TC, all has left.
uint32_t lnp_board_baud(uint32_t baud, bool change)
{
    const uint32_t divider = lnp_divide(bus, baud);
    if (change) {
        while ((USART_SR & 1u << 6) == 0) {
        }
        USART_BRR = divider;
    }
    return divider < 16u ? 0 : lnp_rate(bus, divider, baud);
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
