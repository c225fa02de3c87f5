// Windowed watchdog of the LPC55S6x, without its window, and what started the chip. Addresses and bits are
// those of NXP's LPC55S69_cm33_core0.svd 1.0: SYSCON, PMC and WWDT. UM11126, the user manual, was not at
// hand: sections are as Marlin's HAL of the LPC5528 quotes them, 4.5 and 13.4.13 as Oxide's Hubris does.
#include "lnp_board.h"
#include "lnp_config.h"

#define REGISTER(address) (*(volatile uint32_t *)(address))
#define AHBCLKCTRLSET0 REGISTER(0x40000220u)
#define WDTCLKDIV REGISTER(0x4000038Cu)
#define CLOCK_CTRL REGISTER(0x40000A18u)
#define MOD REGISTER(0x4000C000u)
#define TC REGISTER(0x4000C004u)
#define FEED REGISTER(0x4000C008u)
#define AOREG1 REGISTER(0x40020084u)

enum {
    WWDT_CLOCK = 1 << 22,  // of AHBCLKCTRL0, 4.5
    FRO_1_MHZ = 1 << 6,    // CLOCK_CTRL
    ENABLE_AND_RESET = 3,  // MOD
    // AOREG1, 13.4.6; 13.4.13 in rev 2.4
    POWER = 1 << 4,
    PIN = 1 << 5,
    BROWN_OUT = 1 << 6,
    BY_THE_CORE = 1 << 7,
    WATCHDOG = 1 << 8,
    BY_SOFTWARE = 1 << 9,
};
#define CHANGING (1u << 31)  // WDTCLKDIV, 4.5.53

// 30.2, 30.5: it counts every fourth cycle of 1 MHz.
#define COUNTS (LNP_WATCHDOG_MS * 250u)
_Static_assert(COUNTS <= 0xFFFFFFu, "board.toml: watchdog.ms is beyond the 24 bits of the counter");

void lnp_board_watch(void)
{
    AHBCLKCTRLSET0 = WWDT_CLOCK;
    CLOCK_CTRL |= FRO_1_MHZ;
    WDTCLKDIV = 0;  // by 1, and no longer halted
    while ((WDTCLKDIV & CHANGING) != 0) {
    }
    TC = COUNTS;
    MOD = ENABLE_AND_RESET;
    lnp_board_kick();
}

void lnp_board_kick(void)
{
    FEED = 0xAA;
    FEED = 0x55;
}

uint16_t lnp_board_cause(void)
{
    const uint32_t flags = AOREG1;
    if ((flags & WATCHDOG) != 0) {
        return LNP_CAUSE_WATCHDOG;
    }
    if ((flags & (BY_THE_CORE | BY_SOFTWARE)) != 0) {
        return LNP_CAUSE_SOFTWARE;
    }
    if ((flags & POWER) != 0) {
        return LNP_CAUSE_POWER;
    }
    if ((flags & BROWN_OUT) != 0) {
        return LNP_CAUSE_BROWN_OUT;
    }
    return (flags & PIN) != 0 ? LNP_CAUSE_PIN : LNP_CAUSE_UNKNOWN;
}
