// Watchdog of the RP2350, and what started the chip. RP2350 data sheet: 6.4 (POWMAN), 7.4.4 (PSM), 8.5.2
// (ticks), 12.9.7.
#include "lnp_board.h"
#include "lnp_config.h"

#define REGISTER(address) (*(volatile uint32_t *)(address))
#define CTRL REGISTER(0x400D8000u)
#define LOAD REGISTER(0x400D8004u)
#define REASON REGISTER(0x400D8008u)
#define SCRATCH REGISTER(0x400D800Cu)
#define TICK_CTRL REGISTER(0x40108030u)
#define TICK_CYCLES REGISTER(0x40108034u)
#define PSM_WDSEL REGISTER(0x40018008u)
#define CHIP_RESET REGISTER(0x4010002Cu)

enum {
    TICK_MHZ = 12,                                // the crystal, of which CLK_REF is made
    ALL_BUT_OSCILLATORS = 0x1FFFFFF & ~(3 << 2),  // 7.4.4
    ENABLE = 1 << 30,
    PAUSE = 7 << 24,  // while a debugger has halted a core, to flash the chip
    TIMED_OUT = 1,
    POWER = 1 << 16,  // 6.4, CHIP_RESET
    BROWN_OUT = 1 << 17,
    RUN_PIN = 1 << 18,
};
#define WATCHED 0x6B726162u  // kept over the reset; the boot ROM uses the same watchdog to start a program

#define MICROSECONDS (LNP_WATCHDOG_MS * 1000u)
_Static_assert(MICROSECONDS <= 0xFFFFFFu, "board.toml: watchdog.ms is beyond the 24 bits of the counter");

void lnp_board_watch(void)
{
    TICK_CYCLES = TICK_MHZ;
    TICK_CTRL = 1;
    PSM_WDSEL = ALL_BUT_OSCILLATORS;
    SCRATCH = WATCHED;
    LOAD = MICROSECONDS;
    CTRL = ENABLE | PAUSE;
}

void lnp_board_kick(void)
{
    LOAD = MICROSECONDS;
}

// 12.9.7: REASON is 0 after a reset of the whole chip, whose cause is in CHIP_RESET.
uint16_t lnp_board_cause(void)
{
    const uint32_t reason = REASON;
    const uint32_t flags = CHIP_RESET;
    const bool watched = SCRATCH == WATCHED;
    SCRATCH = 0;
    if (reason != 0) {
        return reason == TIMED_OUT && watched ? LNP_CAUSE_WATCHDOG : LNP_CAUSE_SOFTWARE;
    }
    if ((flags & POWER) != 0) {
        return LNP_CAUSE_POWER;
    }
    if ((flags & BROWN_OUT) != 0) {
        return LNP_CAUSE_BROWN_OUT;
    }
    return (flags & RUN_PIN) != 0 ? LNP_CAUSE_PIN : LNP_CAUSE_UNKNOWN;
}
