// Frames on a byte stream: 00 | COBS(frame) | 00.
// Cheshire & Baker, IEEE/ACM Trans. Networking 7:159, 1999.
#ifndef LNP_COBS_H
#define LNP_COBS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Decodes a stream byte by byte. Whatever arrives, it never writes outside `frame`, and it is back
// in step at the next zero.
typedef struct {
    uint8_t *frame;
    uint32_t most;    // capacity of `frame` in bytes
    uint32_t length;  // bytes decoded so far
    uint32_t left;    // bytes until the next code byte
    bool zero;        // a zero follows the current block if another block does
    bool bad;         // too long: skip to the next zero
} lnp_cobs_t;

void lnp_cobs_start(lnp_cobs_t *d, uint8_t *frame, uint32_t most);

// A frame that ended early, or was longer than `most`.
#define LNP_COBS_DAMAGED UINT32_MAX

// Takes one byte. Returns the length of the frame that it completes or LNP_COBS_DAMAGED, otherwise
// 0. The frame is valid until the next byte.
uint32_t lnp_cobs_receive(lnp_cobs_t *d, uint8_t byte);

// Sends one frame, delimiters included, through `write`.
void lnp_cobs_send(const uint8_t *frame, uint32_t length, void (*write)(const uint8_t *bytes, size_t count));

#endif
