#include "lnp_cobs.h"

enum { LONGEST_RUN = 254 };  // non-zero bytes that one code byte can announce

void lnp_cobs_start(lnp_cobs_t *d, uint8_t *frame, uint32_t most)
{
    *d = (lnp_cobs_t){.frame = frame, .most = most};
}

static void append(lnp_cobs_t *d, uint8_t byte)
{
    if (d->length >= d->most) {
        d->bad = true;
        return;
    }
    d->frame[d->length] = byte;
    d->length++;
}

static void begin_block(lnp_cobs_t *d, uint8_t code)
{
    if (d->zero) {
        append(d, 0);
    }
    d->left = code - 1u;
    d->zero = code <= LONGEST_RUN;
}

static uint32_t end_frame(lnp_cobs_t *d)
{
    const uint32_t length = d->bad || d->left != 0 ? LNP_COBS_DAMAGED : d->length;
    lnp_cobs_start(d, d->frame, d->most);
    return length;
}

uint32_t lnp_cobs_receive(lnp_cobs_t *d, uint8_t byte)
{
    if (byte == 0) {
        return end_frame(d);
    }
    if (d->bad) {
        return 0;
    }
    if (d->left == 0) {
        begin_block(d, byte);
        return 0;
    }
    append(d, byte);
    d->left--;
    return 0;
}

static uint32_t run_length(const uint8_t *bytes, uint32_t count)
{
    uint32_t run = 0;
    while (run < count && run < LONGEST_RUN && bytes[run] != 0) {
        run++;
    }
    return run;
}

void lnp_cobs_send(const uint8_t *frame, uint32_t length, void (*write)(const uint8_t *bytes, size_t count))
{
    const uint8_t delimiter = 0;
    write(&delimiter, 1);
    for (uint32_t at = 0;;) {
        const uint32_t run = run_length(frame + at, length - at);
        const uint8_t code = (uint8_t)(run + 1u);
        write(&code, 1);
        write(frame + at, (size_t)run);
        at += run;
        if (run == LONGEST_RUN) {
            continue;
        }
        if (at == length) {
            break;
        }
        at++;  // the zero that the code byte stands for
    }
    write(&delimiter, 1);
}
