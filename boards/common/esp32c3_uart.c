// UART0 of the ESP32-C3 at GPIO21 and GPIO20, where the boot ROM has it too, polled, the clock, the
// watchdogs and the cycle counter. ESP32-C3 Technical Reference Manual v1.3: 1.4 (CSRs), 3.3.5.1 (addresses),
// 6.2.4.1 (clock), 9.7 (low-power management), 11.4 (main watchdog), 12 (watchdogs), 16.4 (system), 26.6
// (UART). Section 9.7, and bits that the manual has in pictures, are from its source,
// github.com/espressif/esp-technical-reference-manual-latex: 12-TIMG, 18-SYSREG and 22-LOWPOWM.
#include "lnp_board.h"
#include "lnp_config.h"

#define REGISTER(address) (*(volatile uint32_t *)(address))
#define DATA REGISTER(LNP_UART_BASE + 0x00u)
#define DIVIDER REGISTER(LNP_UART_BASE + 0x14u)
#define STATE REGISTER(LNP_UART_BASE + 0x1Cu)
#define PHASE REGISTER(LNP_UART_BASE + 0x6Cu)
#define UART_CLOCK REGISTER(LNP_UART_BASE + 0x78u)
#define RTC_WATCHDOG REGISTER(0x60008090u)
#define RTC_WATCHDOG_KEY REGISTER(0x600080A8u)
#define SUPER_WATCHDOG REGISTER(0x600080ACu)
#define SUPER_WATCHDOG_KEY REGISTER(0x600080B0u)
#define MAIN_WATCHDOG REGISTER(0x6001F048u)
#define MAIN_WATCHDOG_KEY REGISTER(0x6001F064u)
#define RESETS REGISTER(0x600C0018u)
#define CORE_CLOCK REGISTER(0x600C0058u)

#define CRYSTAL_HZ 40000000u
_Static_assert(LNP_CLOCK_HZ == CRYSTAL_HZ, "board.toml: this driver needs a clock_hz of 40 MHz");

#define FASTEST 5000000u  // ESP-IDF, soc_caps.h of the esp32c3: SOC_UART_BITRATE_MAX
_Static_assert(LNP_BAUD <= FASTEST && CRYSTAL_HZ / LNP_BAUD < 0xFFFu,
               "board.toml: baud is out of the range of DIVIDER");

#define KEY 0x50D83AA1u        // 12.2.2.3: unlocks a watchdog
#define SUPER_KEY 0x8F1D312Au  // 12.3.2.2
#define FEEDS_ITSELF (1u << 31)
#define UPDATE (1u << 22)                   // the configuration is taken over: all off
#define SOURCE_AND_DIVIDER 0xFFFu           // of CORE_CLOCK; 0: the crystal, by 1
#define UART_RESET (1u << 2)                // of RESETS
#define UART_CORE_RESET (1u << 23)          // of UART_CLOCK, register 26.18
#define FROM_CRYSTAL (3u << 24 | 7u << 20)  // to receiver and sender, on, crystal, by 1

// Of STATE, register 26.19; 26.4.2: the FIFO; of PHASE.
enum { COUNT = 0x3FF, SENT_FROM = 16, FIFO = 128, SENDING = 0xF0 };

// 12.1, 12.2.2.4, 12.3: the boot ROM leaves two of them running, and the third always runs.
static void stop_watchdogs(void)
{
    RTC_WATCHDOG_KEY = KEY;
    RTC_WATCHDOG = 0;
    RTC_WATCHDOG_KEY = 0;
    MAIN_WATCHDOG_KEY = KEY;
    MAIN_WATCHDOG = UPDATE;
    MAIN_WATCHDOG_KEY = 0;
    SUPER_WATCHDOG_KEY = SUPER_KEY;
    SUPER_WATCHDOG |= FEEDS_ITSELF;
    SUPER_WATCHDOG_KEY = 0;
}

// 26.4.3.1: crystal / baud in 16ths, whose whole part has 12 bits.
static void set_divider(uint32_t in_16ths)
{
    DIVIDER = in_16ths >> 4 | (in_16ths & 15u) << 20;
}

// 1.4.2: of mtvec this core has the upper 24 bits; a debugger finds traps here.
__attribute__((aligned(256))) static void stop(void)
{
    for (;;) {
    }
}

void lnp_board_init(void)
{
    stop_watchdogs();
    __asm__ volatile("csrw mtvec, %0" ::"r"(stop));
    __asm__ volatile("csrw 0x7E0, %0\n\tcsrw 0x7E1, %0" ::"r"(1));  // mpcer, mpcmr: cycles are counted
    CORE_CLOCK &= ~SOURCE_AND_DIVIDER;
    // 26.4.1. Afterwards it has 8 bits without parity, and takes registers over by itself (ESP-IDF,
    // uart_ll.h).
    RESETS &= ~UART_RESET;
    UART_CLOCK |= UART_CORE_RESET;
    RESETS |= UART_RESET;
    RESETS &= ~UART_RESET;
    UART_CLOCK &= ~UART_CORE_RESET;
    UART_CLOCK = FROM_CRYSTAL;
    set_divider(lnp_divide(CRYSTAL_HZ * 16u, LNP_BAUD));
}

uint32_t lnp_board_baud(uint32_t baud, bool change)
{
    const uint32_t in_16ths = lnp_divide(CRYSTAL_HZ * 16u, baud);
    if (change) {
        while ((STATE >> SENT_FROM & COUNT) != 0 || (PHASE & SENDING) != 0) {
        }
        set_divider(in_16ths);
    }
    return in_16ths >> 16 != 0 ? 0 : lnp_rate(CRYSTAL_HZ * 16u, in_16ths, baud);
}

// 1.4.1: mpccr. This core has no mcycle.
uint32_t lnp_board_cycles(void)
{
    uint32_t cycles;
    __asm__ volatile("csrr %0, 0x7E2" : "=r"(cycles));
    return cycles;
}

size_t lnp_board_read(uint8_t *bytes, size_t most)
{
    size_t count = 0;
    while (count == 0 || (count < most && (STATE & COUNT) != 0)) {
        while ((STATE & COUNT) == 0) {
        }
        bytes[count] = (uint8_t)DATA;
        count++;
    }
    return count;
}

void lnp_board_write(const uint8_t *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        while ((STATE >> SENT_FROM & COUNT) >= FIFO) {
        }
        DATA = bytes[i];
    }
}
