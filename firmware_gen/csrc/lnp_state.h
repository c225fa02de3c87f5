// The functions of a network other than its step: init, reset, argmax, digest, save and load. Each
// lnp_<name>.c includes this file last. It must define
//   LNP_MODEL(x)                lnp_<name>_x
//   LNP_FIELDS(WORDS, SPIKES)   all fields in the order of the state words, SEMANTICS.md section 5:
//                               WORDS(field, words, most) holds int32_t; load accepts element i
//                               within -most..most;
//                               SPIKES(field, words, neurons) holds one bit per neuron
//   LNP_READOUT                 the field that argmax compares
// and it may define
//   LNP_PAIRS(PAIR)             PAIR(first, n, reach): of n neurons whose two state variables start at
//                               state word `first`; uint32_t reach[n][5] says what load accepts
// C11 6.5p7 allows an int32_t to be read or written through a pointer to uint32_t.
#ifndef LNP_STATE_H
#define LNP_STATE_H

#include "lnp_crc32.h"

enum { SAVE_HEAD = 12, SAVE_CRC = 4 };  // fingerprint, t, digest; state words; CRC-32

// One copy for all fields: inlining it everywhere, or cloning it per size, would fill the flash.
#if defined(__clang__)
#define LNP_ONCE __attribute__((noinline)) static
#elif defined(__GNUC__)
#define LNP_ONCE __attribute__((noinline, noclone)) static
#else
#define LNP_ONCE static
#endif

LNP_ONCE void clear_words(uint32_t *words, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        words[i] = 0;
    }
}

// Does not assign a zero struct: without optimisation that would put a whole state on the stack.
void LNP_MODEL(init)(LNP_MODEL(t) * s)
{
#define CLEAR(field, words, limit) clear_words((uint32_t *)s->field, words);
    LNP_FIELDS(CLEAR, CLEAR)
#undef CLEAR
    s->t = 0;
    s->digest = 0;
}

void LNP_MODEL(reset)(LNP_MODEL(t) * s)
{
    LNP_MODEL(init)(s);
}

uint32_t LNP_MODEL(argmax)(const LNP_MODEL(t) * s)
{
    uint32_t best = 0;
    for (uint32_t o = 1; o < LNP_N_OUT; o++) {
        best = s->LNP_READOUT[o] > s->LNP_READOUT[best] ? o : best;
    }
    return best;
}

static inline uint32_t rotate_left(uint32_t x, uint32_t by)
{
    return (x << by) | (x >> (32u - by));
}

// SEMANTICS.md section 5.
LNP_ONCE uint32_t mix_words(uint32_t h, const uint32_t *words, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        h ^= rotate_left(words[i] * 0xCC9E2D51u, 15) * 0x1B873593u;
        h = rotate_left(h, 13) * 5u + 0xE6546B64u;
    }
    return h;
}

uint32_t LNP_MODEL(digest)(LNP_MODEL(t) * s)
{
    uint32_t h = s->digest;
#define MIX(field, words, limit) h = mix_words(h, (const uint32_t *)s->field, words);
    LNP_FIELDS(MIX, MIX)
#undef MIX
    s->digest = h;
    return h;
}

uint32_t LNP_MODEL(state_word)(const LNP_MODEL(t) * s, uint32_t index)
{
#define FIND(field, words, limit)                   \
    if (index < (words)) {                          \
        return ((const uint32_t *)s->field)[index]; \
    }                                               \
    index -= (words);
    LNP_FIELDS(FIND, FIND)
#undef FIND
    return 0;
}

LNP_ONCE uint8_t *put_words(uint8_t *to, const uint32_t *words, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        lnp_put_u32(to + 4u * i, words[i]);
    }
    return to + 4u * count;
}

LNP_ONCE const uint8_t *get_words(uint32_t *words, uint32_t count, const uint8_t *from)
{
    for (uint32_t i = 0; i < count; i++) {
        words[i] = lnp_get_u32(from + 4u * i);
    }
    return from + 4u * count;
}

bool LNP_MODEL(save)(const LNP_MODEL(t) * s, uint8_t *to, size_t size)
{
    if (size != LNP_SAVE_BYTES) {
        return false;
    }
    lnp_put_u32(to, LNP_FINGERPRINT);
    lnp_put_u32(to + 4, s->t);
    lnp_put_u32(to + 8, s->digest);
    uint8_t *at = to + SAVE_HEAD;
#define PUT(field, words, limit) at = put_words(at, (const uint32_t *)s->field, words);
    LNP_FIELDS(PUT, PUT)
#undef PUT
    lnp_put_u32(at, lnp_crc32(0, to, LNP_SAVE_BYTES - SAVE_CRC));
    return true;
}

LNP_ONCE bool word_is_within(const uint8_t *from, uint32_t most)
{
    const uint32_t word = lnp_get_u32(from);
    return (word > INT32_MAX ? 0u - word : word) <= most;
}

// A spike of a neuron that does not exist would cause a read beyond the tables.
static bool unused_bits_are_zero(const uint8_t *from, uint32_t words, uint32_t neurons)
{
    const uint32_t used = neurons % 32u;
    return used == 0 || lnp_get_u32(from + 4u * (words - 1u)) >> used == 0;
}

#ifdef LNP_PAIRS
// Whether |x / 4 + 2^k y / 4| and |x / 4 - 2^k y / 4| are within reach[3] and reach[4]; k is reach[2]. The
// quotients are rounded down. |x| <= reach[0] < 2^31, |y| <= reach[1] and 2^k |y| <= 2^31 * 3 / 2 if k > 0:
// no sum overflows.
LNP_ONCE bool pair_is_within(const uint8_t *from_x, const uint8_t *from_y, const LNP_FLASH uint32_t *reach)
{
    const int32_t x = (int32_t)lnp_get_u32(from_x) >> 2;
    const int32_t y = (int32_t)lnp_get_u32(from_y);
    const uint32_t k = reach[2];
    const int32_t scaled = k < 2u ? y >> (2u - k) : y * ((int32_t)1 << (k - 2u));
    const int32_t total = x + scaled;
    const int32_t apart = x - scaled;
    return (uint32_t)(total < 0 ? -total : total) <= reach[3] &&
           (uint32_t)(apart < 0 ? -apart : apart) <= reach[4];
}
#endif

// The limits of SEMANTICS.md section 10.
static bool is_safe(const uint8_t *from)
{
#define CHECK_WORDS(field, words, most)      \
    for (uint32_t i = 0; i < (words); i++) { \
        if (!word_is_within(from, most)) {   \
            return false;                    \
        }                                    \
        from += 4;                           \
    }
#define CHECK_SPIKES(field, words, neurons)            \
    if (!unused_bits_are_zero(from, words, neurons)) { \
        return false;                                  \
    }                                                  \
    from += 4u * (words);
#ifdef LNP_PAIRS
    const uint8_t *const start = from;
#endif
    LNP_FIELDS(CHECK_WORDS, CHECK_SPIKES)
#undef CHECK_WORDS
#undef CHECK_SPIKES
#ifdef LNP_PAIRS
#define CHECK_PAIRS(first, n, reach)                                                                   \
    for (uint32_t i = 0; i < (n); i++) {                                                               \
        if (!pair_is_within(start + 4u * ((first) + i), start + 4u * ((first) + (n) + i), reach[i])) { \
            return false;                                                                              \
        }                                                                                              \
    }
    LNP_PAIRS(CHECK_PAIRS)
#undef CHECK_PAIRS
#endif
    (void)from;
    return true;
}

bool LNP_MODEL(load)(LNP_MODEL(t) * s, const uint8_t *from, size_t size)
{
    if (size != LNP_SAVE_BYTES || lnp_get_u32(from) != LNP_FINGERPRINT) {
        return false;
    }
    const uint8_t *crc = from + LNP_SAVE_BYTES - SAVE_CRC;
    if (lnp_get_u32(crc) != lnp_crc32(0, from, LNP_SAVE_BYTES - SAVE_CRC) || !is_safe(from + SAVE_HEAD)) {
        return false;
    }
    s->t = lnp_get_u32(from + 4);
    s->digest = lnp_get_u32(from + 8);
    const uint8_t *at = from + SAVE_HEAD;
#define GET(field, words, limit) at = get_words((uint32_t *)s->field, words, at);
    LNP_FIELDS(GET, GET)
#undef GET
    (void)at;
    return true;
}

#endif
