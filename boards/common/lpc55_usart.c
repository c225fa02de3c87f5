// USART of a Flexcomm of the LPC55S6x at the oscillator of 12 MHz, which needs no wait states to be set.
// Offsets and bits are those of NXP's LPC55S69_cm33_core0.svd 1.0: SYSCON, IOCON, FLEXCOMM0 and USART0.
// UM11126, the user manual, was not at hand: 4.5 (SYSCON) is as Oxide's Hubris quotes it, 15.5.1 (IOCON) as
// Arm's DAPLink does, 34.6.1 (USART, CFG) as Embassy does.
#include "lnp_board.h"
#include "lnp_config.h"

#define REGISTER(address) (*(volatile uint32_t *)(address))
#define PRESETCTRL1 REGISTER(0x40000104u)
#define PRESETCTRLSET1 REGISTER(0x40000124u)
#define PRESETCTRLCLR1 REGISTER(0x40000144u)
#define AHBCLKCTRLSET0 REGISTER(0x40000220u)
#define AHBCLKCTRLSET1 REGISTER(0x40000224u)
#define MAINCLKSELA REGISTER(0x40000280u)
#define MAINCLKSELB REGISTER(0x40000284u)
#define FCCLKSEL REGISTER(0x400002B0u + 4u * LNP_UART_FLEXCOMM)
#define AHBCLKDIV REGISTER(0x40000380u)
#define PIO(pin) REGISTER(0x40001000u + 4u * (pin))  // those of port 1 are 32 and more
#define CFG REGISTER(LNP_UART_BASE + 0x000u)
#define STAT REGISTER(LNP_UART_BASE + 0x008u)
#define BRG REGISTER(LNP_UART_BASE + 0x020u)
#define OSR REGISTER(LNP_UART_BASE + 0x028u)
#define FIFOCFG REGISTER(LNP_UART_BASE + 0xE00u)
#define FIFOSTAT REGISTER(LNP_UART_BASE + 0xE04u)
#define FIFOTRIG REGISTER(LNP_UART_BASE + 0xE08u)
#define FIFOINTENSET REGISTER(LNP_UART_BASE + 0xE10u)
#define FIFOWR REGISTER(LNP_UART_BASE + 0xE20u)
#define FIFORD REGISTER(LNP_UART_BASE + 0xE30u)
#define PSELID REGISTER(LNP_UART_BASE + 0xFF8u)

// DDI 0553 D1.2.181: makes an interrupt pending.
#define NVIC_ISPR REGISTER(0xE000E200u + 4u * (LNP_UART_IRQ / 32u))

#define FRO_HZ 12000000u
_Static_assert(LNP_CLOCK_HZ == FRO_HZ, "board.toml: this driver needs a clock_hz of 12 MHz");

enum {
    IOCON_CLOCK = 1 << 13,                         // of AHBCLKCTRL0, 4.5
    FLEXCOMM_BIT = 1 << (11 + LNP_UART_FLEXCOMM),  // of AHBCLKCTRL1 and PRESETCTRL1, 4.5
    FRO_12_MHZ = 0,                                // MAINCLKSELA, 4.5.34
    FLEXCOMM_FRO_12_MHZ = 2,                       // FCCLKSEL0.SEL
    USART = 1,                                     // PSELID.PERSEL
    PULL_UP = 2 << 4,                              // PIO, 15.5.1
    DIGITAL = 1 << 8,
    EIGHT_BITS_ON = 1 << 2 | 1,  // CFG, 34.6.1
    ALL_LEFT = 1 << 3,           // STAT
    FIFOS_ON_AND_EMPTY = 3 | 3 << 16,
    TX_EMPTY = 1 << 4,  // FIFOSTAT
    TX_NOT_FULL = 1 << 5,
    RX_NOT_EMPTY = 1 << 6,
    RX_LEVEL = 1 << 1,      // FIFOTRIG: a level of one byte
    RX_INTERRUPT = 1 << 3,  // FIFOINTENSET
    SAMPLES = 13,           // of a bit, 5 to 16: 12 MHz / 13 is 0.2 % from eight times 115,200 Bd
    LEAST_DIVIDER = 2,      // BRG; by 1 a byte takes 130 cycles, fewer than its interrupt may
};

_Static_assert(FRO_HZ / LNP_BAUD >= SAMPLES * LEAST_DIVIDER, "board.toml: baud is out of the range of BRG");

// Clocks per bit: BRG counts to one less than it divides by, and OSR to one less than it samples.
static uint32_t divider_of(uint32_t baud)
{
    return lnp_divide(FRO_HZ, SAMPLES * baud);
}

void lnp_board_init(void)
{
    MAINCLKSELA = FRO_12_MHZ;
    MAINCLKSELB = 0;
    AHBCLKDIV = 0;
    AHBCLKCTRLSET0 = IOCON_CLOCK;
    AHBCLKCTRLSET1 = FLEXCOMM_BIT;
    PRESETCTRLSET1 = FLEXCOMM_BIT;
    PRESETCTRLCLR1 = FLEXCOMM_BIT;
    while ((PRESETCTRL1 & FLEXCOMM_BIT) != 0) {
    }
    FCCLKSEL = FLEXCOMM_FRO_12_MHZ;
    PIO(LNP_UART_TX_PIN) = LNP_UART_AF | DIGITAL;
    PIO(LNP_UART_RX_PIN) = LNP_UART_AF | DIGITAL | PULL_UP;
    PSELID = USART;
    OSR = SAMPLES - 1;
    BRG = divider_of(LNP_BAUD) - 1u;
    FIFOCFG = FIFOS_ON_AND_EMPTY;
    FIFOTRIG = RX_LEVEL;
    FIFOINTENSET = RX_INTERRUPT;
    CFG = EIGHT_BITS_ON;
}

uint32_t lnp_board_baud(uint32_t baud, bool change)
{
    const uint32_t divider = divider_of(baud);
    if (change) {
        while ((FIFOSTAT & TX_EMPTY) == 0 || (STAT & ALL_LEFT) == 0) {
        }
        CFG = 0;
        BRG = divider - 1u;
        CFG = EIGHT_BITS_ON;
    }
    return divider < LEAST_DIVIDER ? 0 : lnp_rate(FRO_HZ, SAMPLES * divider, baud);
}

// FIFOTRIG is compared when a byte comes: what is left in the FIFO asks again by itself.
bool lnp_uart_take(uint8_t *byte)
{
    if ((FIFOSTAT & RX_NOT_EMPTY) == 0) {
        return false;
    }
    *byte = (uint8_t)FIFORD;
    if ((FIFOSTAT & RX_NOT_EMPTY) != 0) {
        NVIC_ISPR = 1u << (LNP_UART_IRQ % 32u);
    }
    return true;
}

void lnp_board_write(const uint8_t *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        while ((FIFOSTAT & TX_NOT_FULL) == 0) {
        }
        FIFOWR = bytes[i];
    }
}
