// The serial link: takes bytes, runs requests, sends replies through lnp_board_write.
#ifndef LNP_LINK_H
#define LNP_LINK_H

#include <stdbool.h>
#include <stdint.h>

#include "lnp_cobs.h"
#include "lnp_config.h"
#include "lnp_wire.h"

enum { LNP_FRAME_BYTES = LNP_WIRE_HEADER_BYTES + LNP_MAX_PAYLOAD + LNP_WIRE_CRC_BYTES };

// After as many bytes without a sound frame, the line has its first rate again: no frame is longer, and
// whoever has lost the rate can call so.
enum { LNP_STRANGE_BYTES = LNP_FRAME_BYTES + LNP_FRAME_BYTES / 254 + LNP_WIRE_LOST_BYTES };

// After each step: a program that hangs in one is reset.
#ifdef LNP_WATCHDOG_MS
#define LNP_STEP_DONE() lnp_board_kick()
#else
#define LNP_STEP_DONE() ((void)0)
#endif

typedef struct {
    LNP_MODEL(t) net;
    int16_t counts[LNP_N_IN];  // of the current step
    lnp_cobs_t in;
    uint32_t boot;           // the number of this start
    uint16_t cause;          // what it came from, an LNP_CAUSE_
    uint32_t run;            // the host's number of the run since the last reset; 0 after a start
    bool open;               // a host has opened a session
    uint16_t sid;            // the id of that session
    uint32_t baud;           // the rate of the line
    uint32_t next_baud;      // what it will be after the reply
    uint32_t strange;        // bytes since the last sound frame
    uint16_t seq;            // of the request that `reply` answers
    uint32_t request_crc;    // of that request
    uint32_t reply_payload;  // bytes of the reply kept for a repeated request
    uint8_t reply[LNP_FRAME_BYTES];
    uint8_t request[LNP_FRAME_BYTES];  // last: a sanitizer sees what is written beyond it
} lnp_link_t;

// Sets all state to 0 and sends the greeting.
void lnp_link_start(lnp_link_t *link);

// Takes one byte from the line; any byte is safe.
void lnp_link_receive(lnp_link_t *link, uint8_t byte);

// In lnp_serve.c. Runs a request and writes the payload of the reply and its length. Returns 0 or a
// LNP_NAK_ code.
uint16_t lnp_serve(lnp_link_t *link, uint8_t *reply, uint32_t *reply_length, uint8_t type,
                   const uint8_t *payload, uint32_t length);
void lnp_serve_hello(const lnp_link_t *link, uint8_t *reply);

// In lnp_selftest.c, the same for the requests of the self-test.
uint16_t lnp_selftest(lnp_link_t *link, uint8_t *reply, uint32_t *reply_length, uint8_t type,
                      const uint8_t *payload, uint32_t length);

#endif
