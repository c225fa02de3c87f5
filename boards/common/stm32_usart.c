// USART of the STM32F4 at the clock of board.toml. An interrupt puts received bytes into a ring
// buffer, so that none is lost during a step. RM0368 (F401) and RM0090 (F405) agree on every
// register used here.
#include "lnp_board.h"
#include "lnp_config.h"

#if !defined(LNP_UART_BASE) || !defined(LNP_UART_IRQ) || !defined(LNP_UART_ENABLE) ||          \
    !defined(LNP_UART_ENABLE_BIT) || !defined(LNP_UART_GPIO) || !defined(LNP_UART_GPIO_BIT) || \
    !defined(LNP_UART_TX_PIN) || !defined(LNP_UART_RX_PIN) || !defined(LNP_UART_AF)
#error "board.toml: [uart] base, irq, enable, enable_bit, gpio, gpio_bit, tx_pin, rx_pin, af"
#endif

#define REGISTER(address) (*(volatile uint32_t *)(address))

// RM0368 2.3 (memory map), 6.3 (RCC), 3.8 (FLASH).
#define RCC_CR REGISTER(0x40023800u)
#define RCC_PLLCFGR REGISTER(0x40023804u)
#define RCC_CFGR REGISTER(0x40023808u)
#define RCC_AHB1ENR REGISTER(0x40023830u)
#define FLASH_ACR REGISTER(0x40023C00u)

// RM0368 8.4 (GPIO), 19.6 (USART).
#define GPIO_MODER REGISTER(LNP_UART_GPIO + 0x00u)
#define GPIO_AFR(pin) REGISTER(LNP_UART_GPIO + 0x20u + 4u * ((pin) / 8u))
#define USART_SR REGISTER(LNP_UART_BASE + 0x00u)
#define USART_DR REGISTER(LNP_UART_BASE + 0x04u)
#define USART_BRR REGISTER(LNP_UART_BASE + 0x08u)
#define USART_CR1 REGISTER(LNP_UART_BASE + 0x0Cu)

// DDI 0403 B3.4.
#define NVIC_ISER(irq) REGISTER(0xE000E100u + 4u * ((irq) / 32u))
#define NVIC_ICER(irq) REGISTER(0xE000E180u + 4u * ((irq) / 32u))

#define HSI_HZ 16000000u   // RM0368 6.2.2: the internal oscillator
#define VCO_HZ 336000000u  // RM0368 6.3.2: within 192 to 432 MHz; HSI / 16 * 336

// RM0368 6.3.2: the PLL divides by 2, 4, 6 or 8. board.toml must respect the chip's own limit.
#define PLL_DIVIDER (VCO_HZ / LNP_CLOCK_HZ)
_Static_assert(VCO_HZ % LNP_CLOCK_HZ == 0 && PLL_DIVIDER % 2 == 0 && PLL_DIVIDER <= 8,
               "board.toml: this driver needs a clock_hz of 168, 84, 56 or 42 MHz");

// RM0368 2.3: APB1 lies below 0x40010000, APB2 above. Their limits are 42 and 84 MHz: a quarter and
// a half of 168 MHz.
#define APB_DIVIDER (LNP_UART_BASE < 0x40010000u ? 4u : 2u)
#define BUS_HZ (LNP_CLOCK_HZ / APB_DIVIDER)
_Static_assert(BUS_HZ / LNP_BAUD >= 16u && BUS_HZ / LNP_BAUD < 0xFFFFu,
               "board.toml: baud is out of the range of USART_BRR, RM0368 19.3.4");

enum { PATIENCE = 100000 };  // polls before giving up on a clock; RM0368: it locks within 0.2 ms

// The ring is a power of two. With the link it is longer than the longest frame with its stuffing
// (lnp_cobs.h): a request that arrives while a step runs is not lost.
#ifdef LNP_MAX_PAYLOAD
enum {
    FRAME = LNP_WIRE_HEADER_BYTES + LNP_MAX_PAYLOAD + LNP_WIRE_CRC_BYTES,
    STUFFED = FRAME + FRAME / 254 + 3,
    RING = STUFFED < 1024 ? 1024 : 4096,
};
_Static_assert(STUFFED < RING, "the longest frame does not fit into the ring");
#else
enum { RING = 1024 };
#endif

static volatile uint8_t ring[RING];
static volatile uint32_t ring_head;  // written by the interrupt
static volatile uint32_t ring_tail;  // written by the reader

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
    // RM0368 table 6 (2.7 to 3.6 V): one wait state per 30 MHz; caches and prefetch on.
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

void lnp_board_init(void)
{
    const uint32_t clock = start_clock();
    const uint32_t bus = clock == HSI_HZ ? HSI_HZ : BUS_HZ;
    RCC_AHB1ENR |= 1u << LNP_UART_GPIO_BIT;
    REGISTER(LNP_UART_ENABLE) |= 1u << LNP_UART_ENABLE_BIT;
    set_alternate(LNP_UART_TX_PIN);
    set_alternate(LNP_UART_RX_PIN);
    USART_BRR = (bus + LNP_BAUD / 2u) / LNP_BAUD;        // RM0368 19.3.4, oversampling by 16
    USART_CR1 = 1u << 13 | 1u << 5 | 1u << 3 | 1u << 2;  // UE, RXNEIE, TE, RE
    NVIC_ISER(LNP_UART_IRQ) = 1u << (LNP_UART_IRQ % 32u);
}

// Reading SR and then DR also clears an overrun; the CRC of the frame reveals lost bytes. While the
// ring is full, the next byte stays in DR: a line that can wait, as QEMU's does, then loses none.
void lnp_uart_interrupt(void)
{
    if (ring_head - ring_tail == RING) {
        NVIC_ICER(LNP_UART_IRQ) = 1u << (LNP_UART_IRQ % 32u);
        return;
    }
    if ((USART_SR & (1u << 5 | 1u << 3)) == 0) {
        return;
    }
    ring[ring_head % RING] = (uint8_t)USART_DR;
    ring_head = ring_head + 1u;
}

size_t lnp_board_read(uint8_t *bytes, size_t most)
{
    while (ring_head == ring_tail) {
    }
    size_t count = 0;
    while (count < most && ring_head != ring_tail) {
        bytes[count] = ring[ring_tail % RING];
        ring_tail = ring_tail + 1u;
        count++;
    }
    NVIC_ISER(LNP_UART_IRQ) = 1u << (LNP_UART_IRQ % 32u);
    return count;
}

void lnp_board_write(const uint8_t *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        while ((USART_SR & 1u << 7) == 0) {
        }
        USART_DR = bytes[i];
    }
}
