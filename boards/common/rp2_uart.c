// UART0 of the RP2040 and of the RP2350, and their clocks: the same registers, bits of RESET excepted, at the
// places that boards/chips has. RP2040 data sheet: 2.14 (resets), 2.15 (clocks), 2.16 (crystal), 2.18 (PLL),
// 2.19 (GPIO), 4.2 (UART). RP2350 data sheet: 7.5.3, 8.1.7, 8.2.8, 8.6.5, 9.11, 12.1.8.
#include "lnp_board.h"
#include "lnp_config.h"

#define REGISTER(address) (*(volatile uint32_t *)(address))
#define DATA REGISTER(LNP_UART_BASE + 0x00u)
#define STATE REGISTER(LNP_UART_BASE + 0x18u)
#define BAUD_WHOLE REGISTER(LNP_UART_BASE + 0x24u)
#define BAUD_PART REGISTER(LNP_UART_BASE + 0x28u)
#define LINE REGISTER(LNP_UART_BASE + 0x2Cu)
#define CONTROL REGISTER(LNP_UART_BASE + 0x30u)
#define LEVELS REGISTER(LNP_UART_BASE + 0x34u)
#define INTERRUPTS REGISTER(LNP_UART_BASE + 0x38u)
#define RESET REGISTER(LNP_UART_RESETS + 0x00u)
#define RESET_DONE REGISTER(LNP_UART_RESETS + 0x08u)
#define CLK_REF_CTRL REGISTER(LNP_UART_CLOCKS + 0x30u)
#define CLK_REF_SELECTED REGISTER(LNP_UART_CLOCKS + 0x38u)
#define CLK_SYS_CTRL REGISTER(LNP_UART_CLOCKS + 0x3Cu)
#define CLK_SYS_SELECTED REGISTER(LNP_UART_CLOCKS + 0x44u)
#define CLK_PERI_CTRL REGISTER(LNP_UART_CLOCKS + 0x48u)
#define XOSC_CTRL REGISTER(LNP_UART_XOSC + 0x00u)
#define XOSC_STATUS REGISTER(LNP_UART_XOSC + 0x04u)
#define XOSC_STARTUP REGISTER(LNP_UART_XOSC + 0x0Cu)
#define PLL_CS REGISTER(LNP_UART_PLL + 0x00u)
#define PLL_PWR REGISTER(LNP_UART_PLL + 0x04u)
#define PLL_FBDIV REGISTER(LNP_UART_PLL + 0x08u)
#define PLL_PRIM REGISTER(LNP_UART_PLL + 0x0Cu)
#define GPIO_CTRL(pin) REGISTER(LNP_UART_GPIO + 0x04u + 8u * (pin))
#define PAD(pin) REGISTER(LNP_UART_PADS + 0x04u + 4u * (pin))

// RP2040 2.18.2, RP2350 8.6.3: 12 MHz * 125, then / 6 / 2 or / 5 / 2.
#define VCO_HZ 1500000000u
#define POST_DIVIDER (VCO_HZ / 2u / LNP_CLOCK_HZ)
_Static_assert(POST_DIVIDER * 2u * LNP_CLOCK_HZ == VCO_HZ && POST_DIVIDER >= 5u && POST_DIVIDER <= 6u,
               "board.toml: this driver needs a clock_hz of 125 or 150 MHz");
_Static_assert(LNP_CLOCK_HZ / LNP_BAUD >= 16u, "board.toml: baud is out of the range of BAUD_WHOLE");

enum {
    XOSC_ON = 0xFAB << 12 | 0xAA0,  // 2.16.7: enabled, 1 to 15 MHz
    XOSC_DELAY = 47,                // 2.16.3: 1 ms of 12 MHz, in units of 256
    PLL_ON = 1 << 3,                // 2.18.4, PWR: only the post divider is still off
    PLL_ALL_ON = 0,
    FROM_XOSC = 2,          // 2.15.7, CLK_REF_CTRL
    FROM_AUX = 1,           // CLK_SYS_CTRL, whose AUX is the PLL
    PERI_ENABLE = 1 << 11,  // of CLK_SYS
    UART_FUNCTION = 2,      // 2.19.2
    // 2.19.6.3, and RP2350 9.11.3, where it also ends the isolation of the pad: input, 4 mA, pulled up,
    // Schmitt.
    UART_PAD = 1 << 6 | 1 << 4 | 1 << 3 | 1 << 1,
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
    RESET |= LNP_UART_RESET_BITS;
    RESET &= ~LNP_UART_RESET_BITS;
    while ((RESET_DONE & LNP_UART_RESET_BITS) != LNP_UART_RESET_BITS) {
    }
    PLL_CS = 1;
    PLL_FBDIV = 125;
    PLL_PWR = PLL_ON;
    while ((PLL_CS & READY) == 0) {
    }
    PLL_PRIM = POST_DIVIDER << 16 | 2u << 12;
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

// The function first: the pad would else carry what was there before.
static void use_pin(uint32_t pin)
{
    GPIO_CTRL(pin) = UART_FUNCTION;
    PAD(pin) = UART_PAD;
}

void lnp_board_init(void)
{
    start_clocks();
    set_divider((LNP_CLOCK_HZ * 4u + LNP_BAUD / 2u) / LNP_BAUD);
    LEVELS = 0;  // the interrupt of receiving comes with 4 bytes
    INTERRUPTS = FOUR_RECEIVED | SOME_RECEIVED_LONG_AGO;
    CONTROL = ENABLE;
    use_pin(LNP_UART_TX_PIN);
    use_pin(LNP_UART_RX_PIN);
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
