// What every AVR has beside avr-libc, which starts it: cycle counter, sleep, the cause of a reset, and a ring
// for what its UART receives. Data sheets DS40002211 (ATmega640 to 2561) and DS40002061 (ATmega48 to 328P).
#include <avr/interrupt.h>
#include <avr/io.h>
#include <avr/wdt.h>
#include <stddef.h>
#include <stdint.h>

#include "lnp_board.h"
#include "lnp_config.h"

// Kept over a reset; after a power cut it begins with whatever the RAM holds.
static uint32_t starts __attribute__((section(".noinit")));
static uint8_t cause __attribute__((section(".noinit")));

// DS40002061 11.9, DS40002211 12.4 and 12.5.2: after its reset a watchdog runs on, at its shortest period,
// until WDRF is cleared. Boot loaders reset the chip by it. Runs before main, and before
// variables are set.
__attribute__((naked, used, section(".init3"))) static void stop_watchdog(void)
{
    cause = MCUSR;
    MCUSR = 0;
    wdt_disable();
}

uint32_t lnp_board_boot(void)
{
    starts++;
    return starts;
}

uint16_t lnp_board_cause(void)
{
    if ((cause & 1 << WDRF) != 0) {
        return LNP_CAUSE_WATCHDOG;
    }
    if ((cause & 1 << BORF) != 0) {
        return LNP_CAUSE_BROWN_OUT;
    }
    if ((cause & 1 << EXTRF) != 0) {
        return LNP_CAUSE_PIN;
    }
    return (cause & 1 << PORF) != 0 ? LNP_CAUSE_POWER
                                    : LNP_CAUSE_UNKNOWN;  // a boot loader may have cleared it
}

// Timer 1 counts cycles; an interrupt counts how often it passes 65,536. DS40002061 16.11, DS40002211 17.11.
static volatile uint16_t passed;

ISR(TIMER1_OVF_vect)
{
    passed = passed + 1u;
}

// Runs before main.
__attribute__((naked, used, section(".init8"))) static void start_cycle_counter(void)
{
    TCCR1A = 0;  // a boot loader may have used it
    TCCR1B = 1 << CS10;
    TIMSK1 = 1 << TOIE1;
    sei();
}

uint32_t lnp_board_cycles(void)
{
    const uint8_t before = SREG;
    cli();
    const uint16_t low = TCNT1;
    uint16_t high = passed;
    if ((TIFR1 & 1 << TOV1) != 0 && low < 0x8000u) {  // it passed, and the interrupt has yet to come
        high++;
    }
    SREG = before;
    return (uint32_t)high << 16 | low;
}

// DS40002061 10.11.1, DS40002211 11.2: in idle mode timers and USART run on. The instruction after SEI comes
// before any interrupt, so none is lost between the answer and the sleep.
void lnp_board_wait(bool (*ready)(void))
{
    cli();
    SMCR = 1 << SE;
    while (!ready()) {
        // simavr serves a pending interrupt one instruction later than the chip: without NOP it never does.
        __asm__ volatile("sei\n\tsleep\n\tnop\n\tcli" ::: "memory");
    }
    SMCR = 0;
    sei();
}

#ifdef LNP_UART_IRQ
// The ring is a power of two. With the link it is longer than the longest frame with its stuffing
// (lnp_cobs.h): a request that arrives while a step runs is not lost.
#ifdef LNP_MAX_PAYLOAD
enum {
    FRAME = LNP_WIRE_HEADER_BYTES + LNP_MAX_PAYLOAD + LNP_WIRE_CRC_BYTES,
    STUFFED = FRAME + FRAME / 254 + 3,
    RING = STUFFED < 256 ? 256 : (STUFFED < 1024 ? 1024 : 4096),
};
_Static_assert(STUFFED < RING, "the longest frame does not fit into the ring");
#else
enum { RING = 256 };
#endif

static volatile uint8_t ring[RING];
static volatile uint16_t ring_head;  // written by the interrupt
static volatile uint16_t ring_tail;  // written by the reader

#ifndef USART0_RX_vect
#define USART0_RX_vect USART_RX_vect  // the name where there is but one USART
#define USART0_RX_vect_num USART_RX_vect_num
#endif
_Static_assert(LNP_UART_IRQ == USART0_RX_vect_num,
               "board.toml: irq is not that of USART0, which has another number");

// While the ring is full, the next byte stays in the USART: a line that can wait, as simavr's does, then
// loses none.
ISR(USART0_RX_vect)
{
    uint8_t byte;
    if (ring_head - ring_tail == RING) {
        UCSR0B &= (uint8_t)~(1u << RXCIE0);
    } else if (lnp_uart_take(&byte)) {
        ring[ring_head % RING] = byte;
        ring_head = ring_head + 1u;
    }
}

static bool received(void)
{
    return ring_head != ring_tail;
}

size_t lnp_board_read(uint8_t *bytes, size_t most)
{
    lnp_board_wait(received);
    size_t count = 0;
    cli();  // 16 bits are two reads
    while (count < most && received()) {
        bytes[count] = ring[ring_tail % RING];
        ring_tail = ring_tail + 1u;
        count++;
    }
    UCSR0B |= 1 << RXCIE0;  // there is room now
    sei();
    return count;
}
#endif
