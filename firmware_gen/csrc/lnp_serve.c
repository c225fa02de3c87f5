// Runs each request of the link; lnp_edge/spec/protocol.py has the table of messages. Every handler
// checks before it writes, so that a refusal does not overwrite the reply kept for a repeated
// request.
#include "lnp_board.h"
#include "lnp_crc32.h"
#include "lnp_link.h"

void lnp_serve_hello(const lnp_link_t *link, uint8_t *reply)
{
    static const char board[LNP_WIRE_NAME_BYTES] = LNP_BOARD_NAME;
    lnp_put_hello_wire_crc(reply, LNP_WIRE_CRC);
    lnp_put_hello_fingerprint(reply, LNP_FINGERPRINT);
    lnp_put_hello_boot(reply, link->boot);
    lnp_put_hello_cause(reply, link->cause);
    lnp_put_hello_build(reply, LNP_BUILD);
    lnp_put_hello_run(reply, link->run);
    lnp_put_hello_t(reply, link->net.t);
    lnp_put_hello_state_words(reply, LNP_STATE_WORDS);
    lnp_put_hello_clock_hz(reply, LNP_CLOCK_HZ);
    lnp_put_hello_n(reply, LNP_N);
    lnp_put_hello_n_in(reply, LNP_N_IN);
    lnp_put_hello_n_out(reply, LNP_N_OUT);
    lnp_put_hello_n_tables(reply, LNP_TABLES);
    lnp_put_hello_max_payload(reply, LNP_MAX_PAYLOAD);
    lnp_put_hello_board(reply, board);
}

// A late request to begin a run that has already begun does nothing: it names the run before.
static uint16_t serve_reset(lnp_link_t *link, uint8_t *reply, uint32_t *reply_length, const uint8_t *payload,
                            uint32_t length)
{
    if (length != LNP_REQUEST_RESET_REST) {
        return LNP_NAK_LENGTH;
    }
    if (lnp_get_reset_after(payload) != link->run) {
        return LNP_NAK_RUN;
    }
    LNP_MODEL(reset)(&link->net);
    link->run = lnp_get_reset_run(payload);
    lnp_put_reset_run(reply, link->run);
    lnp_put_reset_t(reply, link->net.t);
    lnp_put_reset_digest(reply, link->net.digest);
    *reply_length = LNP_REPLY_RESET_REST;
    return 0;
}

// Runs one step on the counts at `from`; returns the cycles it took.
static uint32_t run_step(lnp_link_t *link, const uint8_t *from)
{
    for (uint32_t k = 0; k < LNP_N_IN; k++) {
        const int32_t u = lnp_get_u16(from + 2u * k);
        link->counts[k] = (int16_t)(u > INT16_MAX ? u - 65536 : u);
    }
    const uint32_t start = lnp_board_cycles();
    LNP_MODEL(step)(&link->net, link->counts);
    const uint32_t cycles = lnp_board_cycles() - start;
    LNP_STEP_DONE();
    return cycles;
}

// The CRC of the counts of one step, little-endian, after that of those before.
static uint32_t crc_of_counts(const lnp_link_t *link, uint32_t crc)
{
    for (uint32_t k = 0; k < LNP_N_IN; k++) {
        uint8_t bytes[2];
        lnp_put_u16(bytes, (uint16_t)link->counts[k]);
        crc = lnp_crc32(crc, bytes, sizeof bytes);
    }
    return crc;
}

// Returns the number of steps whose counts take exactly `bytes`; 0 if there is none. Searches
// instead of dividing: a Cortex-M0 cannot divide.
static uint32_t steps_in(uint32_t bytes)
{
    for (uint32_t steps = 1; steps <= LNP_MAX_STEPS; steps++) {
        if (bytes == 2u * LNP_N_IN * steps) {
            return steps;
        }
    }
    return 0;
}

static uint16_t serve_steps(lnp_link_t *link, uint8_t *reply, uint32_t *reply_length, const uint8_t *payload,
                            uint32_t length)
{
    const uint32_t steps = length < LNP_REQUEST_STEPS_REST ? 0 : steps_in(length - LNP_REQUEST_STEPS_REST);
    if (steps == 0) {
        return LNP_NAK_LENGTH;
    }
    if (lnp_get_steps_run(payload) != link->run) {
        return LNP_NAK_RUN;
    }
    if (lnp_get_steps_t(payload) != link->net.t) {
        return LNP_NAK_STEP;
    }
    const uint32_t told = lnp_get_steps_digests(payload);  // digests in the reply
    if (told > steps || told > LNP_MAX_DIGESTS) {
        return LNP_NAK_RANGE;
    }
    uint8_t *const y = reply + LNP_REPLY_STEPS_REST;
    uint8_t *digest = y + 4u * LNP_N_OUT;
    uint32_t cycles = 0;
    uint32_t crc = 0;
    for (uint32_t k = 0; k < steps; k++) {
        cycles += run_step(link, payload + LNP_REQUEST_STEPS_REST + 2u * LNP_N_IN * k);
        crc = crc_of_counts(link, crc);
        const uint32_t h = LNP_MODEL(digest)(&link->net);
        if (k >= steps - told) {
            lnp_put_u32(digest, h);
            digest += 4;
        }
    }
    for (uint32_t o = 0; o < LNP_N_OUT; o++) {
        lnp_put_u32(y + 4u * o, (uint32_t)link->net.LNP_READOUT[o]);
    }
    lnp_put_steps_run(reply, link->run);
    lnp_put_steps_t(reply, link->net.t);
    lnp_put_steps_cycles(reply, cycles);
    lnp_put_steps_crc(reply, crc);
    *reply_length = LNP_REPLY_STEPS_REST + 4u * (LNP_N_OUT + told);
    return 0;
}

static uint16_t serve_state(lnp_link_t *link, uint8_t *reply, uint32_t *reply_length, const uint8_t *payload,
                            uint32_t length)
{
    if (length != LNP_REQUEST_STATE_REST) {
        return LNP_NAK_LENGTH;
    }
    if (lnp_get_state_run(payload) != link->run) {
        return LNP_NAK_RUN;
    }
    if (lnp_get_state_t(payload) != link->net.t) {
        return LNP_NAK_STEP;
    }
    const uint32_t word = lnp_get_state_word(payload);
    const uint32_t count = lnp_get_state_count(payload);
    if (count > (LNP_MAX_PAYLOAD - LNP_REPLY_STATE_REST) / 4u || word > LNP_STATE_WORDS ||
        count > LNP_STATE_WORDS - word) {
        return LNP_NAK_RANGE;
    }
    lnp_put_state_run(reply, link->run);
    lnp_put_state_t(reply, link->net.t);
    lnp_put_state_word(reply, word);
    for (uint32_t k = 0; k < count; k++) {
        lnp_put_u32(reply + LNP_REPLY_STATE_REST + 4u * k, LNP_MODEL(state_word)(&link->net, word + k));
    }
    *reply_length = LNP_REPLY_STATE_REST + 4u * count;
    return 0;
}

// Byte by byte: the checksum reads memory, and a table need not lie there.
static uint32_t crc_of_table(const lnp_table_t *table)
{
    const LNP_FLASH uint8_t *bytes = (const LNP_FLASH uint8_t *)table->data;
    uint32_t crc = 0;
    for (uint32_t k = 0; k < table->bytes; k++) {
        const uint8_t byte = bytes[k];
        crc = lnp_crc32(crc, &byte, 1);
    }
    return crc;
}

static uint16_t serve_tables(uint8_t *reply, uint32_t *reply_length, uint32_t length)
{
    if (length != 0) {
        return LNP_NAK_LENGTH;
    }
    for (uint32_t k = 0; k < LNP_TABLES; k++) {
        lnp_put_u32(reply + 4u * k, crc_of_table(&LNP_MODEL(directory)[k]));
    }
    *reply_length = 4u * LNP_TABLES;
    return 0;
}

static uint16_t serve_read(uint8_t *reply, uint32_t *reply_length, const uint8_t *payload, uint32_t length)
{
    if (length != LNP_REQUEST_READ_REST) {
        return LNP_NAK_LENGTH;
    }
    const uint16_t index = lnp_get_read_table(payload);
    const uint32_t offset = lnp_get_read_offset(payload);
    const uint32_t count = lnp_get_read_count(payload);
    if (index >= LNP_TABLES || count > LNP_MAX_PAYLOAD - LNP_REPLY_READ_REST) {
        return LNP_NAK_RANGE;
    }
    const lnp_table_t *table = &LNP_MODEL(directory)[index];
    if (offset > table->bytes || count > table->bytes - offset) {
        return LNP_NAK_RANGE;
    }
    lnp_put_read_table(reply, index);
    lnp_put_read_offset(reply, offset);
    const LNP_FLASH uint8_t *bytes = (const LNP_FLASH uint8_t *)table->data + offset;
    for (uint32_t k = 0; k < count; k++) {
        reply[LNP_REPLY_READ_REST + k] = bytes[k];
    }
    *reply_length = LNP_REPLY_READ_REST + count;
    return 0;
}

// It changes after the reply, see lnp_link.c. Back to the first one is always possible.
static uint16_t serve_rate(lnp_link_t *link, uint8_t *reply, uint32_t *reply_length, const uint8_t *payload,
                           uint32_t length)
{
    if (length < LNP_REQUEST_RATE_REST) {
        return LNP_NAK_LENGTH;
    }
    const uint32_t baud = lnp_get_rate_baud(payload);
    uint32_t rate = baud;
    if (baud != LNP_BAUD) {
        const bool heard = baud > LNP_BAUD && baud <= LNP_WIRE_MOST_RATES * LNP_BAUD;
        rate = heard ? lnp_board_baud(baud, false) : 0;
    }
    link->next_baud = rate != 0 ? baud : link->baud;
    lnp_put_rate_baud(reply, rate);
    for (uint32_t k = LNP_REQUEST_RATE_REST; k < length; k++) {
        reply[LNP_REPLY_RATE_REST - LNP_REQUEST_RATE_REST + k] = payload[k];
    }
    *reply_length = LNP_REPLY_RATE_REST - LNP_REQUEST_RATE_REST + length;
    return 0;
}

uint16_t lnp_serve(lnp_link_t *link, uint8_t *reply, uint32_t *reply_length, uint8_t type,
                   const uint8_t *payload, uint32_t length)
{
    switch (type) {
    case LNP_REQUEST_HELLO:
        return LNP_NAK_LENGTH;  // one without a payload is answered in lnp_link.c
    case LNP_REQUEST_RESET:
        return serve_reset(link, reply, reply_length, payload, length);
    case LNP_REQUEST_STEPS:
        return serve_steps(link, reply, reply_length, payload, length);
    case LNP_REQUEST_STATE:
        return serve_state(link, reply, reply_length, payload, length);
    case LNP_REQUEST_TABLES:
        return serve_tables(reply, reply_length, length);
    case LNP_REQUEST_READ:
        return serve_read(reply, reply_length, payload, length);
    case LNP_REQUEST_RATE:
        return serve_rate(link, reply, reply_length, payload, length);
    default:
#if LNP_TESTS_STATE
        return lnp_selftest(link, reply, reply_length, type, payload, length);
#else
        return LNP_NAK_TYPE;
#endif
    }
}
