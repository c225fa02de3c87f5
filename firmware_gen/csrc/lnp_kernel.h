// One step of a network, and what goes with it. Included once by each lnp_<name>.c, after the tables and
// after LNP_MODEL(x), which is lnp_<name>_x, LNP_N and its like: all sizes are known when this is compiled.
#ifndef LNP_KERNEL_H
#define LNP_KERNEL_H

#include "lnp_crc32.h"

#define TABLES LNP_MODEL(tables)

// Each phase of a step is a function of its own. gcc would merge them and then lack registers for their
// loops: a third more instructions on a Cortex-M4.
#if defined(__GNUC__) && !defined(__clang__)
#define LNP_PHASE __attribute__((noinline)) static
#else
#define LNP_PHASE static
#endif

enum { SAVE_HEAD = 12, SAVE_CRC = 4 };  // fingerprint, t, digest; then the state words, then a CRC-32

// Index of the lowest set bit of word, which is not 0.
static inline uint32_t lowest_bit(uint32_t word)
{
#if defined(__GNUC__) && !defined(__ARM_ARCH_6M__)
    return (uint32_t)__builtin_ctz(word);
#else
    // De Bruijn: each shift of this constant has other five top bits. Leiserson, Prokop & Randall 1998.
    static const uint8_t index[32] = {
        0,  1,  28, 2,  29, 14, 24, 3, 30, 22, 20, 15, 25, 17, 4,  8,
        31, 27, 13, 23, 21, 19, 16, 7, 26, 12, 18, 6,  11, 5,  10, 9,
    };
    return index[((word & (~word + 1u)) * 0x077CB531u) >> 27];
#endif
}

// What one presynaptic unit sends: its row of weights, times scale, into the targets' sums.
// Every partial sum stays within the A_i of SEMANTICS.md section 6.
static inline void add_row(int32_t *drive, const LNP_MODEL(target_t) * target, const int8_t *w,
                           uint32_t count, int32_t scale)
{
    for (uint32_t k = 0; k < count; k++) {
        drive[target[k]] += w[k] * scale;
    }
}

LNP_PHASE void drive_from_input(int32_t *drive, const int16_t *counts)
{
    for (uint32_t k = 0; k < LNP_N_IN; k++) {
        const int32_t x = encode_channel(k, counts[k]);
        if (x == 0) {
            continue;
        }
        const uint32_t first = TABLES.w_in_indptr[k];
        add_row(drive, TABLES.w_in_indices + first, TABLES.w_in_data + first,
                TABLES.w_in_indptr[k + 1] - first, x * (1 << LNP_SHIFT_IN));
    }
}

LNP_PHASE void drive_from_spikes(int32_t *drive, const uint32_t *z)
{
    for (uint32_t word = 0; word < LNP_Z_WORDS; word++) {
        for (uint32_t left = z[word]; left != 0; left &= left - 1u) {
            const uint32_t j = 32u * word + lowest_bit(left);
            const uint32_t first = TABLES.w_rec_indptr[j];
            add_row(drive, TABLES.w_rec_indices + first, TABLES.w_rec_data + first,
                    TABLES.w_rec_indptr[j + 1] - first, 1 << LNP_SHIFT_REC);
        }
    }
}

// Takes each neuron's drive, leaves 0 for the next step, and packs the spikes 32 to a word.
LNP_PHASE void update_neurons(LNP_MODEL(t) * s)
{
    for (uint32_t word = 0; word < LNP_Z_WORDS; word++) {
        const uint32_t first = 32u * word;
        const uint32_t end = LNP_N - first < 32u ? LNP_N : first + 32u;
        uint32_t z = 0;
        uint32_t bit = 1;
        for (uint32_t i = first; i < end; i++) {
            const int32_t drive = s->drive[i];
            s->drive[i] = 0;
            z |= update_neuron(s, i, drive) != 0 ? bit : 0;
            bit <<= 1;
        }
        s->z[word] = z;
    }
}

LNP_PHASE void read_out(int32_t *y, const uint32_t *z)
{
    for (uint32_t o = 0; o < LNP_N_OUT; o++) {
        y[o] = lnp_leak(y[o], TABLES.c_out[o]) + TABLES.bias_out[o];
    }
    for (uint32_t word = 0; word < LNP_Z_WORDS; word++) {
        for (uint32_t left = z[word]; left != 0; left &= left - 1u) {
            const uint32_t j = 32u * word + lowest_bit(left);
            for (uint32_t k = TABLES.w_out_indptr[j]; k < TABLES.w_out_indptr[j + 1]; k++) {
                y[TABLES.w_out_indices[k]] += TABLES.w_out_data[k] * (1 << LNP_SHIFT_OUT);
            }
        }
    }
}

static void clear_words(uint32_t *words, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        words[i] = 0;
    }
}

// Not by assigning a zero struct: without optimisation that passes a whole state over the stack.
// LNP_FIELDS(F) is F(field, words) for every field in the order of the state words. Reading or writing an
// int32_t through a pointer to uint32_t is defined: C11 6.5p7.
void LNP_MODEL(init)(LNP_MODEL(t) * s)
{
#define CLEAR(field, words) clear_words((uint32_t *)s->field, words);
    LNP_FIELDS(CLEAR)
    CLEAR(drive, LNP_N)
#undef CLEAR
    s->t = 0;
    s->digest = 0;
}

void LNP_MODEL(reset)(LNP_MODEL(t) * s)
{
    LNP_MODEL(init)(s);
}

void LNP_MODEL(step)(LNP_MODEL(t) * s, const int16_t counts[LNP_N_IN])
{
    drive_from_input(s->drive, counts);
    drive_from_spikes(s->drive, s->z);
    update_neurons(s);
    read_out(s->y, s->z);
    s->t++;
}

uint32_t LNP_MODEL(argmax)(const LNP_MODEL(t) * s)
{
    uint32_t best = 0;
    for (uint32_t o = 1; o < LNP_N_OUT; o++) {
        best = s->y[o] > s->y[best] ? o : best;
    }
    return best;
}

static inline uint32_t rotate_left(uint32_t x, uint32_t by)
{
    return (x << by) | (x >> (32u - by));
}

// SEMANTICS.md section 5.
static uint32_t mix_words(uint32_t h, const uint32_t *words, uint32_t count)
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
#define MIX(field, words) h = mix_words(h, (const uint32_t *)s->field, words);
    LNP_FIELDS(MIX)
#undef MIX
    s->digest = h;
    return h;
}

uint32_t LNP_MODEL(state_word)(const LNP_MODEL(t) * s, uint32_t index)
{
#define FIND(field, words)                          \
    if (index < (words)) {                          \
        return ((const uint32_t *)s->field)[index]; \
    }                                               \
    index -= (words);
    LNP_FIELDS(FIND)
#undef FIND
    return 0;
}

static uint8_t *put_words(uint8_t *to, const uint32_t *words, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        lnp_put_u32(to + 4u * i, words[i]);
    }
    return to + 4u * count;
}

static const uint8_t *get_words(uint32_t *words, uint32_t count, const uint8_t *from)
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
#define PUT(field, words) at = put_words(at, (const uint32_t *)s->field, words);
    LNP_FIELDS(PUT)
#undef PUT
    lnp_put_u32(at, lnp_crc32(0, to, LNP_SAVE_BYTES - SAVE_CRC));
    return true;
}

// No network reaches a state beyond the bounds of SEMANTICS.md section 6.
static bool words_are_within(const uint8_t *from, uint32_t count, uint32_t most)
{
    for (uint32_t i = 0; i < count; i++) {
        const uint32_t word = lnp_get_u32(from + 4u * i);
        if ((word > INT32_MAX ? 0u - word : word) > most) {
            return false;
        }
    }
    return true;
}

// A spike of a neuron that does not exist would read beyond the tables.
static bool unused_bits_are_zero(const uint8_t *last_word_of_z)
{
    const uint32_t used = LNP_N % 32u;
    return used == 0 || lnp_get_u32(last_word_of_z) >> used == 0;
}

bool LNP_MODEL(load)(LNP_MODEL(t) * s, const uint8_t *from, size_t size)
{
    if (size != LNP_SAVE_BYTES || lnp_get_u32(from) != LNP_FINGERPRINT) {
        return false;
    }
    const uint8_t *crc = from + LNP_SAVE_BYTES - SAVE_CRC;
    if (lnp_get_u32(crc) != lnp_crc32(0, from, LNP_SAVE_BYTES - SAVE_CRC)) {
        return false;
    }
    const uint8_t *y = crc - 4u * LNP_N_OUT;
    const uint32_t neuron_words = LNP_STATE_WORDS - LNP_Z_WORDS - LNP_N_OUT;
    if (!unused_bits_are_zero(y - 4) || !words_are_within(y, LNP_N_OUT, LNP_MOST_Y) ||
        !words_are_within(from + SAVE_HEAD, neuron_words, LNP_MOST_NEURON)) {
        return false;
    }
    LNP_MODEL(init)(s);
    s->t = lnp_get_u32(from + 4);
    s->digest = lnp_get_u32(from + 8);
    const uint8_t *at = from + SAVE_HEAD;
#define GET(field, words) at = get_words((uint32_t *)s->field, words, at);
    LNP_FIELDS(GET)
#undef GET
    (void)at;
    return true;
}

#endif
