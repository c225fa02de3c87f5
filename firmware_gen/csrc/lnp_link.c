// Handles frames, sessions and repeated requests. lnp_serve.c runs the requests.
#include "lnp_link.h"

#include "lnp_board.h"
#include "lnp_crc32.h"

enum { HEADER = LNP_WIRE_HEADER_BYTES, CRC = LNP_WIRE_CRC_BYTES };

// Fills in header and CRC around the payload and sends it. `frame` has room for all three.
static void send_frame(uint8_t *frame, uint8_t type, uint16_t sid, uint16_t seq, uint32_t payload)
{
    frame[LNP_WIRE_VERSION_AT] = LNP_WIRE_VERSION;
    frame[LNP_WIRE_TYPE_AT] = type;
    lnp_put_u16(frame + LNP_WIRE_SID_AT, sid);
    lnp_put_u16(frame + LNP_WIRE_SEQ_AT, seq);
    lnp_put_u16(frame + LNP_WIRE_LEN_AT, (uint16_t)payload);
    lnp_put_u32(frame + HEADER + payload, lnp_crc32(0, frame, (size_t)(HEADER + payload)));
    lnp_cobs_send(frame, HEADER + payload + CRC, lnp_board_write);
}

// A refusal has its own buffer: the reply kept for a repeated request must not be overwritten.
static void send_nak(const lnp_link_t *link, uint16_t sid, uint16_t seq, uint16_t code)
{
    uint8_t frame[HEADER + LNP_REPLY_NAK_REST + CRC];
    lnp_put_nak_code(frame + HEADER, code);
    lnp_put_nak_run(frame + HEADER, link->run);
    lnp_put_nak_t(frame + HEADER, link->net.t);
    send_frame(frame, LNP_REPLY_NAK, sid, seq, LNP_REPLY_NAK_REST);
}

// The greeting too: it may be asked for between a request and its repetition.
static void send_hello(const lnp_link_t *link, uint16_t sid, uint16_t seq)
{
    uint8_t frame[HEADER + LNP_REPLY_HELLO_REST + CRC];
    lnp_serve_hello(link, frame + HEADER);
    send_frame(frame, LNP_REPLY_HELLO, sid, seq, LNP_REPLY_HELLO_REST);
}

// Is the frame complete and undamaged?
static bool frame_is_sound(const uint8_t *frame, uint32_t length)
{
    if (length == LNP_COBS_DAMAGED || length < HEADER + CRC ||
        lnp_get_u16(frame + LNP_WIRE_LEN_AT) != length - HEADER - CRC) {
        return false;
    }
    return lnp_get_u32(frame + length - CRC) == lnp_crc32(0, frame, (size_t)(length - CRC));
}

// Another version has other rules, and a reply is not for us: two devices on one line, or one that
// hears itself, would answer each other for ever.
static bool is_request(const uint8_t *frame)
{
    return frame[LNP_WIRE_VERSION_AT] == LNP_WIRE_VERSION && frame[LNP_WIRE_TYPE_AT] < LNP_REPLY_NAK;
}

static bool is_repeated(const lnp_link_t *link, uint16_t seq, uint32_t crc)
{
    return link->reply_payload <= LNP_MAX_PAYLOAD && link->seq == seq && link->request_crc == crc;
}

// For a board whose driver cannot change it.
__attribute__((weak)) uint32_t lnp_board_baud(uint32_t baud, bool change)
{
    (void)baud;
    (void)change;
    return 0;
}

static void set_rate(lnp_link_t *link, uint32_t baud)
{
    link->next_baud = baud;
    if (baud != link->baud) {
        link->baud = baud;
        (void)lnp_board_baud(baud, true);
    }
}

static void run_request(lnp_link_t *link, uint8_t type, uint16_t seq, uint32_t crc, uint32_t length)
{
    uint32_t reply_length = 0;
    const uint16_t nak =
        lnp_serve(link, link->reply + HEADER, &reply_length, type, link->request + HEADER, length);
    if (nak != 0) {
        send_nak(link, link->sid, seq, nak);
        return;
    }
    link->seq = seq;
    link->request_crc = crc;
    link->reply_payload = reply_length;
    send_frame(link->reply, (uint8_t)(type | LNP_WIRE_REPLY), link->sid, seq, reply_length);
    set_rate(link, link->next_baud);
}

static void open_session(lnp_link_t *link, uint16_t sid)
{
    if (!link->open || sid != link->sid) {
        link->reply_payload = UINT32_MAX;
    }
    link->open = true;
    link->sid = sid;
}

static void receive_frame(lnp_link_t *link, uint32_t length)
{
    const uint8_t *frame = link->request;
    if (!frame_is_sound(frame, length)) {
        send_nak(link, link->sid, 0, LNP_NAK_DAMAGED);
        return;
    }
    link->strange = 0;
    if (!is_request(frame)) {
        return;
    }
    const uint8_t type = frame[LNP_WIRE_TYPE_AT];
    const uint16_t sid = lnp_get_u16(frame + LNP_WIRE_SID_AT);
    const uint16_t seq = lnp_get_u16(frame + LNP_WIRE_SEQ_AT);
    const uint32_t crc = lnp_get_u32(frame + length - CRC);
    if (type == LNP_REQUEST_HELLO && length == HEADER + CRC) {
        open_session(link, sid);
        send_hello(link, sid, seq);
        return;
    }
    if (!link->open || sid != link->sid) {
        send_nak(link, sid, seq, LNP_NAK_SESSION);
        return;
    }
    if (is_repeated(link, seq, crc)) {
        send_frame(link->reply, (uint8_t)(type | LNP_WIRE_REPLY), sid, seq, link->reply_payload);
        return;
    }
    run_request(link, type, seq, crc, length - HEADER - CRC);
}

void lnp_link_start(lnp_link_t *link)
{
    link->open = false;
    link->sid = 0;
    link->boot = lnp_board_boot();
    link->cause = lnp_board_cause();
    link->run = 0;
    link->baud = link->next_baud = LNP_BAUD;
    link->strange = 0;
    link->reply_payload = UINT32_MAX;
    LNP_MODEL(init)(&link->net);
    lnp_cobs_start(&link->in, link->request, sizeof link->request);
    send_hello(link, 0, 0);
}

void lnp_link_receive(lnp_link_t *link, uint8_t byte)
{
    const uint32_t length = lnp_cobs_receive(&link->in, byte);
    link->strange++;
    if (length != 0) {
        receive_frame(link, length);
    }
    if (link->strange > LNP_STRANGE_BYTES) {
        link->strange = 0;
        set_rate(link, LNP_BAUD);
    }
}
