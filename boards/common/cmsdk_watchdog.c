// Arm CMSDK APB watchdog, on the clock of the core. DDI 0479 (Cortex-M System Design Kit) 4.5, tables 4-17
// (registers) and 4-18 (CONTROL). Its first time-out is an NMI, its second a reset.
#include "lnp_board.h"
#include "lnp_config.h"

#define REGISTER(offset) (*(volatile uint32_t *)(LNP_WATCHDOG_BASE + (offset)))

#define LOAD REGISTER(0x00u)
#define CONTROL REGISTER(0x08u)
#define INTCLR REGISTER(0x0Cu)
#define LOCK REGISTER(0xC00u)

enum { INTERRUPT = 1, RESET = 2 };

#define UNLOCK 0x1ACCE551u
#define BARKED 0x6B726162u

_Static_assert((uint64_t)LNP_CLOCK_HZ *LNP_WATCHDOG_MS / 2000u <= UINT32_MAX,
               "board.toml: watchdog.ms is beyond the counter");

static uint32_t barked __attribute__((section(".noinit")));  // kept over the reset that follows

void NMI_Handler(void);

void lnp_board_watch(void)
{
    LOCK = UNLOCK;
    LOAD = (uint32_t)((uint64_t)LNP_CLOCK_HZ * LNP_WATCHDOG_MS / 2000u);
    CONTROL = INTERRUPT | RESET;
    LOCK = 0;
}

void lnp_board_kick(void)
{
    LOCK = UNLOCK;
    INTCLR = 1;  // any value: it counts from LOAD again
    LOCK = 0;
}

void NMI_Handler(void)
{
    barked = BARKED;
    for (;;) {
    }
}

uint16_t lnp_board_cause(void)
{
    const uint16_t cause = barked == BARKED ? LNP_CAUSE_WATCHDOG : LNP_CAUSE_UNKNOWN;
    barked = 0;
    return cause;
}
