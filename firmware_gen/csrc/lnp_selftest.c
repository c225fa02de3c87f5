// The requests by which lnp verify runs what steps do not: save, load, argmax and push. The memory for it
// holds a saved state or a stream; a board without room for one leaves it out, see lnp_config.h.
#include "lnp_board.h"
#include "lnp_link.h"

#if LNP_TESTS_STATE
#include "lnp_crc32.h"

enum { SAVE_CRC = 4 };

static union {
    uint8_t saved[LNP_SAVE_BYTES];
#if LNP_TESTS_STREAM
    LNP_MODEL(stream_t) stream;
#endif
} scratch;

#if LNP_TESTS_STREAM
static int16_t sample[LNP_CHANNELS];
#endif

// Samples of the stream so far; none, if there is something else in its memory.
static uint32_t pushed = UINT32_MAX;

// What a size of the request is here; 0, which no state has, where a size_t has too few bits for it.
static size_t whole_size(uint32_t size)
{
    const size_t same = (size_t)size;
    return same == size ? same : 0;
}

static uint16_t serve_save(const lnp_link_t *link, uint8_t *reply, uint32_t *reply_length,
                           const uint8_t *payload, uint32_t length)
{
    if (length != LNP_REQUEST_SAVE_REST) {
        return LNP_NAK_LENGTH;
    }
    if (lnp_get_save_run(payload) != link->run) {
        return LNP_NAK_RUN;
    }
    if (lnp_get_save_t(payload) != link->net.t) {
        return LNP_NAK_STEP;
    }
    const uint32_t offset = lnp_get_save_offset(payload);
    const uint32_t count = lnp_get_save_count(payload);
    if (count > LNP_MAX_PAYLOAD - LNP_REPLY_SAVE_REST || offset > LNP_SAVE_BYTES ||
        count > LNP_SAVE_BYTES - offset) {
        return LNP_NAK_RANGE;
    }
    pushed = UINT32_MAX;
    const bool saved = LNP_MODEL(save)(&link->net, scratch.saved, whole_size(lnp_get_save_size(payload)));
    lnp_put_save_run(reply, link->run);
    lnp_put_save_t(reply, link->net.t);
    lnp_put_save_label(reply, (uint16_t)LNP_MODEL(argmax)(&link->net));
    lnp_put_save_saved(reply, saved ? 1u : 0);
    for (uint32_t k = 0; k < count; k++) {
        reply[LNP_REPLY_SAVE_REST + k] = scratch.saved[offset + k];
    }
    *reply_length = LNP_REPLY_SAVE_REST + count;
    return 0;
}

static uint16_t serve_fill(const lnp_link_t *link, uint8_t *reply, uint32_t *reply_length,
                           const uint8_t *payload, uint32_t length)
{
    if (length < LNP_REQUEST_FILL_REST) {
        return LNP_NAK_LENGTH;
    }
    if (lnp_get_fill_run(payload) != link->run) {
        return LNP_NAK_RUN;
    }
    const uint32_t offset = lnp_get_fill_offset(payload);
    const uint32_t count = length - LNP_REQUEST_FILL_REST;
    if (offset > LNP_SAVE_BYTES || count > LNP_SAVE_BYTES - offset) {
        return LNP_NAK_RANGE;
    }
    pushed = UINT32_MAX;
    for (uint32_t k = 0; k < count; k++) {
        scratch.saved[offset + k] = payload[LNP_REQUEST_FILL_REST + k];
    }
    lnp_put_fill_run(reply, link->run);
    lnp_put_fill_offset(reply, offset);
    *reply_length = LNP_REPLY_FILL_REST;
    return 0;
}

// It begins a run as a reset does, whether the state is accepted or not.
static uint16_t serve_load(lnp_link_t *link, uint8_t *reply, uint32_t *reply_length, const uint8_t *payload,
                           uint32_t length)
{
    if (length != LNP_REQUEST_LOAD_REST) {
        return LNP_NAK_LENGTH;
    }
    if (lnp_get_load_after(payload) != link->run) {
        return LNP_NAK_RUN;
    }
    const uint32_t body = LNP_SAVE_BYTES - SAVE_CRC;
    const uint32_t crc = lnp_crc32(lnp_crc32(0, scratch.saved + body, SAVE_CRC), scratch.saved, (size_t)body);
    uint16_t loaded = 2;
    if (crc == lnp_get_load_crc(payload)) {
        loaded = LNP_MODEL(load)(&link->net, scratch.saved, whole_size(lnp_get_load_size(payload))) ? 1 : 0;
    }
    link->run = lnp_get_load_run(payload);
    lnp_put_load_run(reply, link->run);
    lnp_put_load_t(reply, link->net.t);
    lnp_put_load_digest(reply, link->net.digest);
    lnp_put_load_loaded(reply, loaded);
    *reply_length = LNP_REPLY_LOAD_REST;
    return 0;
}

#if LNP_TESTS_STREAM
// A decision: what is told of the last one, and the CRC of all of it after that of those before.
static uint32_t tell(uint8_t *reply, const lnp_decision_t *decision, uint32_t crc)
{
    uint8_t head[12];
    lnp_put_u32(head, decision->label);
    lnp_put_u32(head + 4, decision->margin);
    lnp_put_u32(head + 8, decision->percent + (decision->unknown ? 256u : 0));
    uint8_t *const y = reply + LNP_REPLY_PUSH_REST;
    for (uint32_t o = 0; o < LNP_N_OUT; o++) {
        lnp_put_u32(y + 4u * o, (uint32_t)decision->y[o]);
    }
    lnp_put_push_label(reply, decision->label);
    lnp_put_push_margin(reply, decision->margin);
    lnp_put_push_percent(reply, decision->percent);
    lnp_put_push_unknown(reply, decision->unknown ? 1u : 0);
    return lnp_crc32(lnp_crc32(crc, head, sizeof head), y, 4u * LNP_N_OUT);
}

static uint16_t serve_push(lnp_link_t *link, uint8_t *reply, uint32_t *reply_length, const uint8_t *payload,
                           uint32_t length)
{
    if (length < LNP_REQUEST_PUSH_REST) {
        return LNP_NAK_LENGTH;
    }
    if (lnp_get_push_run(payload) != link->run) {
        return LNP_NAK_RUN;
    }
    const uint32_t from = lnp_get_push_from(payload);
    if (from != 0 && from != pushed) {
        return LNP_NAK_STEP;
    }
    uint32_t left = length - LNP_REQUEST_PUSH_REST;  // bytes
    const uint8_t *at = payload + LNP_REQUEST_PUSH_REST;
    if (from == 0) {
        LNP_MODEL(stream_init)(&scratch.stream);
        pushed = 0;
    }
    if (lnp_get_push_like(payload) == 1u) {
        for (uint32_t w = 0; w < LNP_WINDOWS; w++) {
            scratch.stream.net[w] = link->net;
        }
    }
    for (uint32_t k = 0; k < LNP_REPLY_PUSH_REST + 4u * LNP_N_OUT; k++) {
        reply[k] = 0;
    }
    uint32_t decisions = 0;
    uint32_t crc = 0;
    for (; left >= 2u * LNP_CHANNELS; left -= 2u * LNP_CHANNELS) {
        for (uint32_t c = 0; c < LNP_CHANNELS; c++) {
            const int32_t u = lnp_get_u16(at);
            sample[c] = (int16_t)(u > INT16_MAX ? u - 65536 : u);
            at += 2;
        }
        lnp_decision_t decision;
        if (LNP_MODEL(push)(&scratch.stream, sample, &decision)) {
            crc = tell(reply, &decision, crc);
            decisions++;
        }
        pushed++;
        LNP_STEP_DONE();
    }
    lnp_put_push_run(reply, link->run);
    lnp_put_push_samples(reply, pushed);
    lnp_put_push_decisions(reply, decisions);
    lnp_put_push_crc(reply, crc);
    *reply_length = LNP_REPLY_PUSH_REST + 4u * LNP_N_OUT;
    return 0;
}
#endif

uint16_t lnp_selftest(lnp_link_t *link, uint8_t *reply, uint32_t *reply_length, uint8_t type,
                      const uint8_t *payload, uint32_t length)
{
    switch (type) {
    case LNP_REQUEST_SAVE:
        return serve_save(link, reply, reply_length, payload, length);
    case LNP_REQUEST_FILL:
        return serve_fill(link, reply, reply_length, payload, length);
    case LNP_REQUEST_LOAD:
        return serve_load(link, reply, reply_length, payload, length);
#if LNP_TESTS_STREAM
    case LNP_REQUEST_PUSH:
        return serve_push(link, reply, reply_length, payload, length);
#endif
    default:
        return LNP_NAK_TYPE;
    }
}
#endif
