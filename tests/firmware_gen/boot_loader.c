// An Arduino as its USB port shows it: simavr runs the boot loader of a .hex file, and what it writes.
// Whoever opens the port finds the chip just reset, as DTR does it on these boards.
//
// boot_loader MCU HEX DUMP: prints the port's name; SIGTERM ends it, with the flash written to DUMP.
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <simavr/avr_uart.h>
#include <simavr/sim_avr.h>
#include <simavr/sim_hex.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

enum {
    CLOCK = 16000000,  // Hz
    BYTE = CLOCK / 115200 * 11,
    MS = CLOCK / 1000,
    STATUS = 0xC0,    // UCSR0A
    RECEIVED = 0x80,  // its bit RXC0
    READY = 10,       // ms after which a boot loader listens
    BUSY = 20,        // ms after a byte in which the chip runs as fast as it can
    SLOWER = 3,       // than a chip it then runs: a boot loader must not give up a host that is slow
};

static avr_t *avr;
static avr_irq_t *input;
static int line, closings;
static uint64_t last_byte, next_byte, until;  // cycles
static volatile sig_atomic_t ended;

static void end(int number)
{
    (void)number;
    ended = 1;
}

static void silent(avr_t *core, const int level, const char *format, va_list values)
{
    (void)core, (void)level, (void)format, (void)values;
}

static void no_nap(avr_t *core, avr_cycle_count_t cycles)
{
    (void)core, (void)cycles;
}

static void nap(long ms)
{
    nanosleep(&(struct timespec){0, ms * 1000000}, NULL);
}

static void send(avr_irq_t *irq, uint32_t value, void *unused)
{
    (void)irq, (void)unused;
    const uint8_t byte = (uint8_t)value;
    last_byte = avr->cycle;
    if (write(line, &byte, 1) != 1) {
        return;  // nobody reads
    }
}

static void start_chip(const char *name, const char *hex)
{
    ihex_chunk_p boot = NULL;
    const int chunks = read_ihex_chunks(hex, &boot);
    avr = avr_make_mcu_by_name(name);
    if (avr == NULL || chunks <= 0) {
        exit(2);
    }
    avr_init(avr);
    avr->frequency = CLOCK;
    avr->sleep = no_nap;
    avr->codeend = avr->flashend;
    avr->reset_pc = boot[0].baseaddr;  // the fuse BOOTRST
    for (int k = 0; k < chunks; k++) {
        avr_loadcode(avr, boot[k].data, boot[k].size, boot[k].baseaddr);
    }
    uint32_t flags = 0;
    avr_ioctl(avr, AVR_IOCTL_UART_SET_FLAGS('0'), &flags);
    input = avr_io_getirq(avr, AVR_IOCTL_UART_GETIRQ('0'), UART_IRQ_INPUT);
    avr_irq_register_notify(avr_io_getirq(avr, AVR_IOCTL_UART_GETIRQ('0'), UART_IRQ_OUTPUT), send, NULL);
}

static void open_line(void)
{
    line = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK);
    grantpt(line);
    unlockpt(line);
    const int other = open(ptsname(line), O_RDWR | O_NOCTTY);
    struct termios raw;
    tcgetattr(other, &raw);
    cfmakeraw(&raw);
    tcsetattr(other, TCSANOW, &raw);
    close(other);
    closings = inotify_init1(IN_NONBLOCK);
    inotify_add_watch(closings, ptsname(line), IN_CLOSE);
    puts(ptsname(line));
    fflush(stdout);
}

static void take(void)
{
    uint8_t byte;
    next_byte = avr->cycle + BYTE;
    if ((avr->data[STATUS] & RECEIVED) == 0 && read(line, &byte, 1) == 1) {
        last_byte = avr->cycle;
        avr_raise_irq(input, byte);
    }
}

static void run(uint64_t ms)
{
    for (until += ms * MS; avr->cycle < until;) {
        if (avr->cycle >= next_byte) {
            take();
        }
        const int state = avr_run(avr);
        if (state != cpu_Running && state != cpu_Sleeping) {
            fprintf(stderr, "simavr's state is %d at %#x\n", state, avr->pc);
            exit(1);
        }
    }
}

static void reset(void)
{
    avr_reset(avr);
    avr_regbit_set(avr, avr->reset_flags.extrf);
    run(READY);
}

static bool was_closed(void)
{
    char events[1024];
    return read(closings, events, sizeof events) > 0;
}

int main(int count, char **words)
{
    if (count != 4) {
        return 2;
    }
    signal(SIGTERM, end);
    avr_global_logger_set(silent);
    start_chip(words[1], words[2]);
    open_line();
    reset();
    while (!ended) {
        struct pollfd port = {.fd = line, .events = POLLIN};
        poll(&port, 1, 0);
        if (was_closed()) {
            reset();
        } else if ((port.revents & POLLHUP) != 0) {
            nap(1);  // the chip waits for whoever opens the port next
        } else {
            if (avr->cycle - last_byte > BUSY * MS) {
                nap(SLOWER);
            }
            run(1);
        }
    }
    FILE *dump = fopen(words[3], "wb");
    const size_t size = avr->flashend + 1;
    return dump == NULL || fwrite(avr->flash, 1, size, dump) != size || fclose(dump) != 0;
}
