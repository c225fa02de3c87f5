// Arm CMSDK APB UART, polled. DDI 0479 (Cortex-M System Design Kit) 4.3.
#include "lnp_board.h"
#include "lnp_config.h"

#ifndef LNP_UART_BASE
#error "board.toml: [uart] base, the address of the CMSDK UART"
#endif

#define DATA (*(volatile uint32_t *)(LNP_UART_BASE + 0x00u))
#define STATE (*(volatile uint32_t *)(LNP_UART_BASE + 0x04u))
#define CTRL (*(volatile uint32_t *)(LNP_UART_BASE + 0x08u))
#define BAUDDIV (*(volatile uint32_t *)(LNP_UART_BASE + 0x10u))

// Table 4-8.
enum { TX_FULL = 1, RX_FULL = 2, TX_ENABLE = 1, RX_ENABLE = 2, LEAST_BAUDDIV = 16 };

void lnp_board_init(void)
{
    const uint32_t divider = (LNP_CLOCK_HZ + LNP_BAUD / 2u) / LNP_BAUD;
    BAUDDIV = divider > LEAST_BAUDDIV ? divider : LEAST_BAUDDIV;
    CTRL = TX_ENABLE | RX_ENABLE;
    if ((STATE & RX_FULL) == 0) {
        (void)DATA;  // QEMU looks for input that came before RX_ENABLE only after a read of DATA
    }
}

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

void lnp_board_write(const uint8_t *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        while ((STATE & TX_FULL) != 0) {
        }
        DATA = bytes[i];
    }
}
