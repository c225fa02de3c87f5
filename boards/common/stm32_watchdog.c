// Independent watchdog (IWDG) of the STM32F4. RM0368 (F401) and RM0090 (F405) agree on every register used
// here.
#include "lnp_board.h"
#include "lnp_config.h"

#define REGISTER(address) (*(volatile uint32_t *)(address))

// RM0368 15.4 (IWDG), 23.16 (DBGMCU). RM0090 21.4, 38.16.4.
#define KR REGISTER(0x40003000u)
#define PR REGISTER(0x40003004u)
#define RLR REGISTER(0x40003008u)
#define SR REGISTER(0x4000300Cu)
#define DBGMCU_APB1_FZ REGISTER(0xE0042008u)

enum {
    KICK = 0xAAAA,
    UNLOCK = 0x5555,
    START = 0xCCCC,
    BY_64 = 4,
    LSI_HZ = 32000,  // DS8626 table 35, and the F401's: 17 to 47 kHz; the period is 0.7 to 1.9 times as long
    PATIENCE = 100000,
};

#define TICKS (LNP_WATCHDOG_MS * (LSI_HZ / 64u) / 1000u)
_Static_assert(TICKS >= 1u && TICKS <= 4096u, "board.toml: watchdog.ms is beyond the 12 bits of the counter");

void lnp_board_watch(void)
{
    DBGMCU_APB1_FZ |= 1u << 12;  // it stands still while a debugger has halted the core, to flash it
    KR = START;
    KR = UNLOCK;
    PR = BY_64;
    RLR = TICKS - 1u;
    for (uint32_t poll = 0; poll < PATIENCE && SR != 0; poll++) {
    }
    KR = KICK;
}

void lnp_board_kick(void)
{
    KR = KICK;
}
