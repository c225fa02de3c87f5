// A computer as a board: the link uses standard input and output, a terminal or a pipe.
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "lnp_board.h"
#include "lnp_config.h"

static uint8_t waiting[4096];  // bytes to send: a frame goes out in one write
static size_t waiting_count;

static void set_raw(int terminal)
{
    struct termios settings;
    if (tcgetattr(terminal, &settings) != 0) {
        return;  // a pipe
    }
    settings.c_iflag &=
        (tcflag_t) ~(tcflag_t)(IGNBRK | BRKINT | PARMRK | ISTRIP | INLCR | IGNCR | ICRNL | IXON);
    settings.c_oflag &= (tcflag_t) ~(tcflag_t)OPOST;
    settings.c_lflag &= (tcflag_t) ~(tcflag_t)(ECHO | ECHONL | ICANON | ISIG | IEXTEN);
    settings.c_cflag = (settings.c_cflag & (tcflag_t) ~(tcflag_t)(CSIZE | PARENB)) | CS8;
    (void)tcsetattr(terminal, TCSANOW, &settings);
}

static void flush(void)
{
    size_t sent = 0;
    while (sent < waiting_count) {
        const ssize_t n = write(STDOUT_FILENO, waiting + sent, waiting_count - sent);
        if (n < 0 && errno != EINTR) {
            exit(0);  // the reader is gone
        }
        sent += n > 0 ? (size_t)n : 0;
    }
    waiting_count = 0;
}

void lnp_board_init(void)
{
    set_raw(STDIN_FILENO);
    set_raw(STDOUT_FILENO);
}

size_t lnp_board_read(uint8_t *bytes, size_t most)
{
    flush();
    for (;;) {
        const ssize_t n = read(STDIN_FILENO, bytes, most);
        if (n > 0) {
            return (size_t)n;
        }
        if (n == 0 || errno != EINTR) {
            exit(0);  // the line is closed
        }
    }
}

void lnp_board_write(const uint8_t *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (waiting_count == sizeof waiting) {
            flush();
        }
        waiting[waiting_count] = bytes[i];
        waiting_count++;
    }
}

// A pty and a pipe have none: all are the same.
uint32_t lnp_board_baud(uint32_t baud, bool change)
{
    (void)change;
    return baud;
}

void lnp_board_wait(bool (*ready)(void))
{
    flush();
    while (!ready()) {
        (void)poll(NULL, 0, 1);  // a millisecond; a signal ends it
    }
}

uint32_t lnp_board_boot(void)
{
    struct timespec now = {0};
    (void)clock_gettime(CLOCK_REALTIME, &now);
    return (uint32_t)now.tv_sec * 1000000000u + (uint32_t)now.tv_nsec + (uint32_t)getpid();
}

uint16_t lnp_board_cause(void)
{
    return LNP_CAUSE_UNKNOWN;
}

uint32_t lnp_board_cycles(void)
{
    return 0;
}
