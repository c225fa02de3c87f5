// UART0 of the RP2040, its clocks, and the boot block that makes its flash memory readable. RP2040 data
// sheet: 2.8 (boot ROM), 2.14 (resets), 2.15 (clocks), 2.16 (crystal), 2.18 (PLL), 2.19 (GPIO), 4.2
// (UART), 4.10 (SSI).
#include "lnp_board.h"
#include "lnp_config.h"

#if !defined(LNP_UART_BASE) || !defined(LNP_UART_IRQ)
#error "board.toml: [uart] base, irq: those of UART0"
#endif

#define REGISTER(address) (*(volatile uint32_t *)(address))
#define DATA REGISTER(LNP_UART_BASE + 0x00u)
#define STATE REGISTER(LNP_UART_BASE + 0x18u)
#define BAUD_WHOLE REGISTER(LNP_UART_BASE + 0x24u)
#define BAUD_PART REGISTER(LNP_UART_BASE + 0x28u)
#define LINE REGISTER(LNP_UART_BASE + 0x2Cu)
#define CONTROL REGISTER(LNP_UART_BASE + 0x30u)
#define LEVELS REGISTER(LNP_UART_BASE + 0x34u)
#define INTERRUPTS REGISTER(LNP_UART_BASE + 0x38u)
#define RESET REGISTER(0x4000C000u)
#define RESET_DONE REGISTER(0x4000C008u)
#define CLK_REF_CTRL REGISTER(0x40008030u)
#define CLK_REF_SELECTED REGISTER(0x40008038u)
#define CLK_SYS_CTRL REGISTER(0x4000803Cu)
#define CLK_SYS_SELECTED REGISTER(0x40008044u)
#define CLK_PERI_CTRL REGISTER(0x40008048u)
#define XOSC_CTRL REGISTER(0x40024000u)
#define XOSC_STATUS REGISTER(0x40024004u)
#define XOSC_STARTUP REGISTER(0x4002400Cu)
#define PLL_CS REGISTER(0x40028000u)
#define PLL_PWR REGISTER(0x40028004u)
#define PLL_FBDIV REGISTER(0x40028008u)
#define PLL_PRIM REGISTER(0x4002800Cu)
#define GPIO_CTRL(pin) REGISTER(0x40014004u + 8u * (pin))

// 2.18.2: 12 MHz * 125 = 1500 MHz, / 6 / 2.
_Static_assert(LNP_CLOCK_HZ == 125000000u, "board.toml: this driver needs a clock_hz of 125 MHz");

enum {
    NEEDED = 1 << 5 | 1 << 8 | 1 << 12 | 1 << 22,  // 2.14.3: GPIO, pads, PLL, UART0
    XOSC_ON = 0xFAB << 12 | 0xAA0,                 // 2.16.7: enabled, 1 to 15 MHz
    XOSC_DELAY = 47,                               // 2.16.3: 1 ms of 12 MHz, in units of 256
    PLL_ON = 1 << 3,                               // 2.18.4, PWR: only the post divider is still off
    PLL_ALL_ON = 0,
    FROM_XOSC = 2,          // 2.15.7, CLK_REF_CTRL
    FROM_AUX = 1,           // CLK_SYS_CTRL, whose AUX is the PLL
    PERI_ENABLE = 1 << 11,  // of CLK_SYS
    UART_FUNCTION = 2,      // 2.19.2
    TX_PIN = 0,
    RX_PIN = 1,
};
#define READY (1u << 31)  // of the crystal and of the PLL

// 4.2.8.
enum {
    BUSY = 1 << 3,
    RX_EMPTY = 1 << 4,
    TX_FULL = 1 << 5,
    EIGHT_BITS = 3 << 5,
    FIFO = 1 << 4,
    ENABLE = 1 | 1 << 8 | 1 << 9
};
enum { FOUR_RECEIVED = 1 << 4, SOME_RECEIVED_LONG_AGO = 1 << 6 };

static void start_clocks(void)
{
    XOSC_STARTUP = XOSC_DELAY;
    XOSC_CTRL = XOSC_ON;
    while ((XOSC_STATUS & READY) == 0) {
    }
    CLK_REF_CTRL = FROM_XOSC;
    while ((CLK_REF_SELECTED & 1u << FROM_XOSC) == 0) {
    }
    CLK_SYS_CTRL = 0;  // CLK_REF, while the PLL starts
    while ((CLK_SYS_SELECTED & 1u) == 0) {
    }
    RESET |= NEEDED;
    RESET &= ~(uint32_t)NEEDED;
    while ((RESET_DONE & NEEDED) != NEEDED) {
    }
    PLL_CS = 1;
    PLL_FBDIV = 125;
    PLL_PWR = PLL_ON;
    while ((PLL_CS & READY) == 0) {
    }
    PLL_PRIM = 6u << 16 | 2u << 12;
    PLL_PWR = PLL_ALL_ON;
    CLK_SYS_CTRL = FROM_AUX;
    while ((CLK_SYS_SELECTED & 1u << FROM_AUX) == 0) {
    }
    CLK_PERI_CTRL = PERI_ENABLE;
}

// clock / (16 baud) in 64ths. 4.2.7.1: it counts from the next write to LINE.
static void set_divider(uint32_t in_64ths)
{
    BAUD_WHOLE = in_64ths >> 6;
    BAUD_PART = in_64ths & 63u;
    LINE = EIGHT_BITS | FIFO;
}

void lnp_board_init(void)
{
    start_clocks();
    set_divider((LNP_CLOCK_HZ * 4u + LNP_BAUD / 2u) / LNP_BAUD);
    LEVELS = 0;  // the interrupt of receiving comes with 4 bytes
    INTERRUPTS = FOUR_RECEIVED | SOME_RECEIVED_LONG_AGO;
    CONTROL = ENABLE;
    GPIO_CTRL(TX_PIN) = UART_FUNCTION;
    GPIO_CTRL(RX_PIN) = UART_FUNCTION;
}

uint32_t lnp_board_baud(uint32_t baud, bool change)
{
    const uint32_t in_64ths = lnp_divide(LNP_CLOCK_HZ * 4u, baud);
    if (change) {
        while ((STATE & BUSY) != 0) {
        }
        CONTROL = 0;
        set_divider(in_64ths);
        CONTROL = ENABLE;
    }
    return in_64ths < 64u ? 0 : lnp_rate(LNP_CLOCK_HZ * 4u, in_64ths, baud);
}

// Both interrupts last until the FIFO is read so far.
bool lnp_uart_take(uint8_t *byte)
{
    if ((STATE & RX_EMPTY) != 0) {
        return false;
    }
    *byte = (uint8_t)DATA;
    return true;
}

void lnp_board_write(const uint8_t *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        while ((STATE & TX_FULL) != 0) {
        }
        DATA = bytes[i];
    }
}

// 2.8.1.3.1: the boot ROM copies the first 256 bytes of flash to RAM, checks the CRC-32 in the last four, and
// runs the rest. It makes the SSI turn every access into a serial read with command 03, which every flash
// memory has. Then it begins as the vectors behind it say.
__attribute__((section(".boot"), used)) const uint32_t lnp_boot[64] = {
    0x2407A304u,
    0x6001CB03u,
    0xD1FB3C01u,  // adr r3, writes; movs r4, #7; 1: ldm r3!, {r0, r1}; str r1, [r0];
    0xF380C905u,
    0x47108808u,  // subs r4, #1; bne 1b; ldm r1!, {r0, r2}; msr msp, r0; bx r2
    0x18000008u,
    0u,  // writes: SSIENR, off
    0x18000014u,
    4u,  // BAUDR: the core's clock / 4
    0x18000000u,
    31u << 16 | 3u << 8,  // CTRLR0: 32 bits, of which an instruction and an address are sent first
    0x180000F4u,
    3u << 24 | 2u << 8 | 6u << 2,  // SPI_CTRLR0: command 03, of 8 bits, and an address of 24
    0x18000004u,
    0u,  // CTRLR1: one word at a time
    0x18000008u,
    1u,  // SSIENR, on
    0xE000ED08u,
    0x10000100u,  // VTOR; r1 is left at our vectors
    [63] = 0xDFB03034u,
};
