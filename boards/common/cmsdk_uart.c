// Arm CMSDK APB UART; polled unless board.toml has [uart] irq, of receiving or combined. DDI 0479 (Cortex-M
// System Design Kit) 4.3.1.
#include "lnp_board.h"
#include "lnp_config.h"

#define DATA (*(volatile uint32_t *)(LNP_UART_BASE + 0x00u))
#define STATE (*(volatile uint32_t *)(LNP_UART_BASE + 0x04u))
#define CTRL (*(volatile uint32_t *)(LNP_UART_BASE + 0x08u))
#define INTCLEAR (*(volatile uint32_t *)(LNP_UART_BASE + 0x0Cu))
#define BAUDDIV (*(volatile uint32_t *)(LNP_UART_BASE + 0x10u))

#ifdef LNP_UART_IRQ
enum { RX_INTERRUPT = 8, RX_CAME = 2 };
#else
enum { RX_INTERRUPT = 0 };
#endif

enum {
    TX_FULL = 1,
    RX_FULL = 2,
    TX_ENABLE = 1,
    RX_ENABLE = 2,
    LEAST_BAUDDIV = 16,
};

_Static_assert(LNP_CLOCK_HZ / LNP_BAUD >= LEAST_BAUDDIV, "board.toml: baud is out of the range of BAUDDIV");

void lnp_board_init(void)
{
    BAUDDIV = (LNP_CLOCK_HZ + LNP_BAUD / 2u) / LNP_BAUD;
    CTRL = TX_ENABLE | RX_ENABLE | RX_INTERRUPT;
    if ((STATE & RX_FULL) == 0) {
        (void)DATA;  // QEMU looks for input that came before RX_ENABLE only after a read of DATA
    }
}

// No flag tells when a byte has left. Once the second zero has been taken, all before them has.
uint32_t lnp_board_baud(uint32_t baud, bool change)
{
    static const uint8_t zeros[2];
    const uint32_t divider = lnp_divide(LNP_CLOCK_HZ, baud);
    if (change) {
        lnp_board_write(zeros, sizeof zeros);
        while ((STATE & TX_FULL) != 0) {
        }
        BAUDDIV = divider > LEAST_BAUDDIV ? divider : LEAST_BAUDDIV;
    }
    return divider < LEAST_BAUDDIV ? 0 : lnp_rate(LNP_CLOCK_HZ, divider, baud);
}

#ifdef LNP_UART_IRQ
bool lnp_uart_take(uint8_t *byte)
{
    INTCLEAR = RX_CAME;  // before the next byte can come
    if ((STATE & RX_FULL) == 0) {
        return false;
    }
    *byte = (uint8_t)DATA;
    return true;
}
#else
size_t lnp_board_read(uint8_t *bytes, size_t most)
{
    size_t count = 0;
    while (count == 0 || (count < most && (STATE & RX_FULL) != 0)) {
        while ((STATE & RX_FULL) == 0) {
        }
        bytes[count] = (uint8_t)DATA;
        count++;
    }
    return count;
}
#endif

void lnp_board_write(const uint8_t *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        while ((STATE & TX_FULL) != 0) {
        }
        DATA = bytes[i];
    }
}
