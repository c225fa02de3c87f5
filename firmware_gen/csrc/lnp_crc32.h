#ifndef LNP_CRC32_H
#define LNP_CRC32_H

#include <stddef.h>
#include <stdint.h>

// The CRC-32 of zlib, PNG and Ethernet. Start with crc = 0; pass the result to continue.
uint32_t lnp_crc32(uint32_t crc, const uint8_t *bytes, size_t count);

#endif
