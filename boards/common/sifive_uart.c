// UART0 of a SiFive FE310, polled, and the core at the 16 MHz of the board's crystal. Its FIFO keeps 8 bytes,
// and [uart] pins is a mask. FE310-G000 manual: 17 (GPIO) of v3p1, 19 (UART) of v2p3. Sections beside the
// registers are those of the FE310-G002's manual v1p0, which has the same, as SweetAda quotes it.
#include "lnp_board.h"
#include "lnp_config.h"

#define REGISTER(address) (*(volatile uint32_t *)(address))
#define TX_DATA REGISTER(LNP_UART_BASE + 0x00u)          // 18.4
#define RX_DATA REGISTER(LNP_UART_BASE + 0x04u)          // 18.5
#define TX_CONTROL REGISTER(LNP_UART_BASE + 0x08u)       // 18.6
#define RX_CONTROL REGISTER(LNP_UART_BASE + 0x0Cu)       // 18.7
#define DIVIDER REGISTER(LNP_UART_BASE + 0x18u)          // 18.9
#define PIN_HARDWARE REGISTER(LNP_UART_GPIO + 0x38u)     // 17: iof_en, a pin belongs to hardware
#define PIN_SECOND REGISTER(LNP_UART_GPIO + 0x3Cu)       // 17: iof_sel, to which of two
#define RING_OSCILLATOR REGISTER(LNP_UART_PRCI + 0x00u)  // 6.3
#define CRYSTAL REGISTER(LNP_UART_PRCI + 0x04u)          // 6.4
#define PLL REGISTER(LNP_UART_PRCI + 0x08u)              // 6.5
#define PLL_OUT REGISTER(LNP_UART_PRCI + 0x0Cu)          // 6.6

#define CRYSTAL_HZ 16000000u
_Static_assert(LNP_CLOCK_HZ == CRYSTAL_HZ, "board.toml: this driver needs a clock_hz of 16 MHz");
_Static_assert(CRYSTAL_HZ / LNP_BAUD >= 16u, "board.toml: baud is out of the range of DIVIDER");

#define FULL_OR_EMPTY (1u << 31)  // of TX_DATA and of RX_DATA
#define ENABLE (1u << 30)
#define READY (1u << 31)
#define PLL_SELECT (1u << 16)  // the core runs from the PLL
#define PLL_CRYSTAL (1u << 17)
#define PLL_BYPASS (1u << 18)
#define PLL_BY_ONE (1u << 8)

enum { PATIENCE = 100000 };  // polls before giving up on an oscillator

// The core runs from the ring oscillator while the PLL is set. Whoever ran before may have left it off, as
// this program does: SiFive's own examples turn it on first, too. The PLL's source may change only while it
// is bypassed and the core does without it, or the chip may hang: forums.sifive.com, topic 5827.
static void start_clock(void)
{
    RING_OSCILLATOR |= ENABLE;
    for (uint32_t poll = 0; poll < PATIENCE && (RING_OSCILLATOR & READY) == 0; poll++) {
    }
    CRYSTAL = ENABLE;
    for (uint32_t poll = 0; poll < PATIENCE && (CRYSTAL & READY) == 0; poll++) {
    }
    PLL &= ~PLL_SELECT;
    PLL |= PLL_BYPASS;
    PLL = PLL_CRYSTAL | PLL_BYPASS;
    PLL_OUT = PLL_BY_ONE;
    PLL = PLL_CRYSTAL | PLL_BYPASS | PLL_SELECT;
    RING_OSCILLATOR &= ~ENABLE;
}

// A byte that was received, or a number below 0. Reading takes it out of the FIFO.
static int32_t received(void)
{
    return (int32_t)RX_DATA;
}

void lnp_board_init(void)
{
    start_clock();
    DIVIDER = (LNP_CLOCK_HZ + LNP_BAUD / 2u) / LNP_BAUD - 1u;
    PIN_SECOND &= ~LNP_UART_PINS;
    PIN_HARDWARE |= LNP_UART_PINS;
    TX_CONTROL = 1;
    RX_CONTROL = 1;
}

// No flag tells when a byte has left. Once the FIFO of 8 has taken nine zeros, all before them has.
uint32_t lnp_board_baud(uint32_t baud, bool change)
{
    static const uint8_t zeros[9];
    const uint32_t divider = lnp_divide(LNP_CLOCK_HZ, baud);
    if (change) {
        lnp_board_write(zeros, sizeof zeros);
        DIVIDER = divider - 1u;
    }
    return divider < 16u ? 0 : lnp_rate(LNP_CLOCK_HZ, divider, baud);
}

size_t lnp_board_read(uint8_t *bytes, size_t most)
{
    size_t count = 0;
    while (count < most) {
        const int32_t byte = received();
        if (byte >= 0) {
            bytes[count] = (uint8_t)byte;
            count++;
        } else if (count > 0) {
            break;
        }
    }
    return count;
}

void lnp_board_write(const uint8_t *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        while ((TX_DATA & FULL_OR_EMPTY) != 0) {
        }
        TX_DATA = bytes[i];
    }
}
