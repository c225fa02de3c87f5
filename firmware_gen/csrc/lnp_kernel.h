// The parts of a step that all networks share. Each lnp_<name>.c includes this file and has one
// function per projection and per population.
#ifndef LNP_KERNEL_H
#define LNP_KERNEL_H

#include <stdint.h>

// Keeps each projection and population a separate function. gcc would merge them and then lack
// registers for their loops: a third more instructions on a Cortex-M4.
#if defined(__GNUC__) && !defined(__clang__)
#define LNP_PHASE __attribute__((noinline)) static
#else
#define LNP_PHASE static
#endif

// Index of the lowest set bit of word, which is not 0.
static inline uint32_t lowest_bit(uint32_t word)
{
#if defined(__GNUC__) && !defined(__ARM_ARCH_6M__)
    return (uint32_t)__builtin_ctz(word);
#else
    // De Bruijn: the top five bits differ for each shift of this constant. Leiserson, Prokop &
    // Randall 1998.
    static const uint8_t index[32] = {
        0,  1,  28, 2,  29, 14, 24, 3, 30, 22, 20, 15, 25, 17, 4,  8,
        31, 27, 13, 23, 21, 19, 16, 7, 26, 12, 18, 6,  11, 5,  10, 9,
    };
    return index[((word & (~word + 1u)) * 0x077CB531u) >> 27];
#endif
}

// Loops over the spikes in the `words` words of z; j is the index of the neuron that fired.
#define LNP_EACH_SPIKE(j, z, words)                                                               \
    for (uint32_t word = 0; word < (words); word++)                                               \
        for (uint32_t left = (z)[word], j; left != 0 && ((j) = 32u * word + lowest_bit(left), 1); \
             left &= left - 1u)

// Adds the row of one presynaptic unit, times scale, to the sums of its targets. One function per
// width of index and weight. Every partial sum stays within the A_i of SEMANTICS.md section 6.
#define LNP_ADD_ROW(name, target_t, weight_t)                                                          \
    static inline void name(int32_t *drive, const target_t *target, const weight_t *w, uint32_t count, \
                            int32_t scale)                                                             \
    {                                                                                                  \
        while (count-- != 0) {                                                                         \
            drive[*target++] += *w++ * scale;                                                          \
        }                                                                                              \
    }

LNP_ADD_ROW(add_row_u8_i8, uint8_t, int8_t)
LNP_ADD_ROW(add_row_u8_i16, uint8_t, int16_t)
LNP_ADD_ROW(add_row_u16_i8, uint16_t, int8_t)
LNP_ADD_ROW(add_row_u16_i16, uint16_t, int16_t)

// Adds all inputs, times scale, to the sums of their targets, four of them at a time: w has for each four the
// weights of each input.
#define LNP_ADD_DENSE(name, weight_t)                                                               \
    static inline void name(int32_t *drive, const weight_t *w, const int8_t *input, uint32_t fours, \
                            uint32_t inputs, int32_t scale)                                         \
    {                                                                                               \
        for (; fours-- != 0; drive += 4) {                                                          \
            int32_t a = 0, b = 0, c = 0, d = 0;                                                     \
            for (uint32_t k = 0; k < inputs; k++) {                                                 \
                const int32_t x = input[k];                                                         \
                a += *w++ * x;                                                                      \
                b += *w++ * x;                                                                      \
                c += *w++ * x;                                                                      \
                d += *w++ * x;                                                                      \
            }                                                                                       \
            drive[0] += a * scale;                                                                  \
            drive[1] += b * scale;                                                                  \
            drive[2] += c * scale;                                                                  \
            drive[3] += d * scale;                                                                  \
        }                                                                                           \
    }

LNP_ADD_DENSE(add_dense_i8, int8_t)
LNP_ADD_DENSE(add_dense_i16, int16_t)

#endif
