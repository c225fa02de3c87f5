// The parts of a step that all networks share. Each lnp_<name>.c includes this file and has one
// function per projection and per population.
#ifndef LNP_KERNEL_H
#define LNP_KERNEL_H

#include <stdbool.h>

#include "lnp_ops.h"
#include "lnp_types.h"

// Loops by hand, where a core has them: LNP_ASSEMBLY is 1.
#if defined(LNP_C_LOOPS)
#define LNP_ASSEMBLY 0
#elif defined(LNP_DSP) && defined(__thumb2__) && defined(__ARM_FEATURE_UNALIGNED)
#define LNP_ASSEMBLY 1
#elif defined(__GNUC__) && defined(__riscv_mul) && __riscv_xlen == 32 && !defined(__riscv_32e) && \
    __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define LNP_ASSEMBLY 1
#else
#define LNP_ASSEMBLY 0
#endif

// Keeps each projection and population a separate function. Compilers would merge them and then lack
// registers for their loops: a third more instructions on a Cortex-M4. Where a phase has a loop by hand,
// little is left to merge, and it may be; LNP_APART has none.
#if defined(__GNUC__)
#define LNP_APART __attribute__((noinline)) static
#else
#define LNP_APART static
#endif
#if LNP_ASSEMBLY
#define LNP_PHASE static
#else
#define LNP_PHASE LNP_APART
#endif

// Hides from the compiler where a pointer points: clang would take the address of each table from that of the
// whole struct, by two instructions instead of an offset. LNP_IN_ORDER has `a` computed before what needs b
// or c. Most instructions of Armv6-M reach only the eight registers "l".
#if defined(__arm__) && defined(__thumb__) && !defined(__thumb2__)
#define LNP_OPAQUE(value) __asm__("" : "+l"(value))
#define LNP_IN_ORDER(a, b, c) __asm__("" : "+l"(a), "+l"(b), "+l"(c))
#elif defined(__GNUC__)
#define LNP_OPAQUE(value) __asm__("" : "+r"(value))
#define LNP_IN_ORDER(a, b, c) __asm__("" : "+r"(a), "+r"(b), "+r"(c))
#else
#define LNP_OPAQUE(value) ((void)0)
#define LNP_IN_ORDER(a, b, c) ((void)0)
#endif

// A condition that seldom holds: not worth a conditional instruction each time.
#if defined(__GNUC__)
#define LNP_RARELY(condition) __builtin_expect((condition), 0)
#else
#define LNP_RARELY(condition) (condition)
#endif

// Before a loop that is as long as it should be: clang's further copies cost flash and save little.
#if defined(__clang__)
#define LNP_NO_UNROLLING _Pragma("clang loop unroll(disable)")
#elif defined(__GNUC__) && __GNUC__ >= 8  // the first that has it; for AVR Debian has gcc 5
#define LNP_NO_UNROLLING _Pragma("GCC unroll 1")
#else
#define LNP_NO_UNROLLING
#endif

// Which bit of a word is alone 1: the index of the top five bits of its product with 0x077CB531. They differ
// for each: De Bruijn; Leiserson, Prokop & Randall 1998.
static inline const uint8_t *lnp_bit_index(void)
{
    static const uint8_t index[32] = {
        0,  1,  28, 2,  29, 14, 24, 3, 30, 22, 20, 15, 25, 17, 4,  8,
        31, 27, 13, 23, 21, 19, 16, 7, 26, 12, 18, 6,  11, 5,  10, 9,
    };
    return index;
}

// Index of the lowest set bit of word, which is not 0.
static inline uint32_t lowest_bit(uint32_t word)
{
#if defined(__GNUC__) && !defined(__ARM_ARCH_6M__) && (!defined(__riscv) || defined(__riscv_zbb))
    return (uint32_t)__builtin_ctzl(word);
#else
    return lnp_bit_index()[((word & (~word + 1u)) * 0x077CB531u) >> 27];
#endif
}

// Loops over the spikes in the `words` words of z; j is the index of the neuron that fired.
#define LNP_EACH_SPIKE(j, z, words)                                                               \
    LNP_NO_UNROLLING                                                                              \
    for (uint32_t word = 0; word < (words); word++)                                               \
        for (uint32_t left = (z)[word], j; left != 0 && ((j) = 32u * word + lowest_bit(left), 1); \
             left &= left - 1u)

// Adds the row of one presynaptic unit, times scale, to the sums of its targets. One function per
// width of index and weight. Every partial sum stays within the A_i of SEMANTICS.md section 6.
#define LNP_ADD_ROW(name, target_t, weight_t)                                                             \
    static inline void name(int32_t *sums, const LNP_FLASH target_t *target, const LNP_FLASH weight_t *w, \
                            uint32_t count, int32_t scale)                                                \
    {                                                                                                     \
        if ((count & 1u) != 0) {                                                                          \
            sums[*target++] += *w++ * scale;                                                              \
        }                                                                                                 \
        if ((count & 2u) != 0) {                                                                          \
            sums[*target++] += *w++ * scale;                                                              \
            sums[*target++] += *w++ * scale;                                                              \
        }                                                                                                 \
        LNP_NO_UNROLLING                                                                                  \
        for (uint32_t four = count / 4u; four != 0; four--) {                                             \
            sums[*target++] += *w++ * scale;                                                              \
            sums[*target++] += *w++ * scale;                                                              \
            sums[*target++] += *w++ * scale;                                                              \
            sums[*target++] += *w++ * scale;                                                              \
        }                                                                                                 \
    }

LNP_ADD_ROW(add_row_u8_i8, uint8_t, int8_t)
LNP_ADD_ROW(add_row_u8_i16, uint8_t, int16_t)
LNP_ADD_ROW(add_row_u16_i8, uint16_t, int8_t)
LNP_ADD_ROW(add_row_u16_i16, uint16_t, int16_t)

#if defined(LNP_DSP)
// The second and the fourth byte of a word, each with its sign; and the same, added to the halfwords of `to`.
// gcc would rotate the word first.
#if defined(__thumb2__)
static inline int32_t odd_bytes(int32_t x)
{
    int32_t found;
    __asm__("sxtb16 %0, %1, ror #8" : "=r"(found) : "r"(x));
    return found;
}

static inline int32_t add_odd_bytes(int32_t to, int32_t x)
{
    int32_t found;
    __asm__("sxtab16 %0, %1, %2, ror #8" : "=r"(found) : "r"(to), "r"(x));
    return found;
}
#else
static inline int32_t rotated(int32_t x)
{
    return (int32_t)((uint32_t)x >> 8 | (uint32_t)x << 24);
}

static inline int32_t odd_bytes(int32_t x)
{
    return __sxtb16(rotated(x));
}

static inline int32_t add_odd_bytes(int32_t to, int32_t x)
{
    return __sxtab16(to, rotated(x));
}
#endif
#endif

// The same for a scale of at most 2^14. Where a core has products of halfwords, four weights are loaded at
// once.
#if defined(LNP_DSP) && defined(__ARM_FEATURE_UNALIGNED)
typedef struct __attribute__((may_alias, packed)) {
    int32_t word;
} lnp_anywhere_t;

#define LNP_ADD_EVENT(add, k) sums[target[k]] = add(weights, scale, sums[target[k]]);
#define LNP_ADD_FOUR_EVENTS(k)                                                        \
    {                                                                                 \
        const int32_t four = ((const lnp_anywhere_t *)(const void *)(w + (k)))->word; \
        int32_t weights = __sxtb16(four);                                             \
        LNP_ADD_EVENT(__smlabb, k)                                                    \
        LNP_ADD_EVENT(__smlatb, (k) + 2)                                              \
        weights = odd_bytes(four);                                                    \
        LNP_ADD_EVENT(__smlabb, (k) + 1)                                              \
        LNP_ADD_EVENT(__smlatb, (k) + 3)                                              \
    }
#define LNP_ADD_EVENTS(name, target_t)                                                        \
    static inline void name(int32_t *sums, const LNP_FLASH target_t *target, const int8_t *w, \
                            uint32_t count, int32_t scale)                                    \
    {                                                                                         \
        LNP_NO_UNROLLING                                                                      \
        for (uint32_t eight = count / 8u; eight != 0; eight--, target += 8, w += 8) {         \
            LNP_ADD_FOUR_EVENTS(0)                                                            \
            LNP_ADD_FOUR_EVENTS(4)                                                            \
        }                                                                                     \
        if ((count & 4u) != 0) {                                                              \
            LNP_ADD_FOUR_EVENTS(0)                                                            \
            target += 4;                                                                      \
            w += 4;                                                                           \
        }                                                                                     \
        if ((count & 2u) != 0) {                                                              \
            sums[*target++] += *w++ * scale;                                                  \
            sums[*target++] += *w++ * scale;                                                  \
        }                                                                                     \
        if ((count & 1u) != 0) {                                                              \
            sums[*target] += *w * scale;                                                      \
        }                                                                                     \
    }

LNP_ADD_EVENTS(add_events_u8_i8, uint8_t)
LNP_ADD_EVENTS(add_events_u16_i8, uint16_t)
#else
#define add_events_u8_i8 add_row_u8_i8
#define add_events_u16_i8 add_row_u16_i8
#endif

// Four weights of 4 bits: that of target k begins at bit 4 k.
typedef uint16_t lnp_nibbles_t;
static inline int32_t nibble_at(const LNP_FLASH lnp_nibbles_t *w, uint32_t k)
{
    return (int32_t)((uint32_t)*w << (28u - 4u * k)) >> 28;
}
#define LNP_BYTE_AT(w, k) (w)[k]

// Adds the blocks of a row, times scale: block b has the weights of the targets 4 b to 4 b + 3, or of those
// of them that there are. One function per width of index and weight. `of` weights are a block's, `at` gives
// that of target k.
#define LNP_ADD_BLOCKS(name, block_t, weight_t, of, at)                                                 \
    static inline void name(int32_t *sums, const LNP_FLASH block_t *block, const LNP_FLASH weight_t *w, \
                            uint32_t count, uint32_t targets, int32_t scale)                            \
    {                                                                                                   \
        LNP_NO_UNROLLING                                                                                \
        for (; count != 0; count--, w += of) {                                                          \
            const uint32_t i = 4u * *block++;                                                           \
            int32_t *const sum = sums + i;                                                              \
            sum[0] += at(w, 0u) * scale;                                                                \
            if (targets % 4u == 0 || targets - i >= 4u) {                                               \
                sum[1] += at(w, 1u) * scale;                                                            \
                sum[2] += at(w, 2u) * scale;                                                            \
                sum[3] += at(w, 3u) * scale;                                                            \
                continue;                                                                               \
            }                                                                                           \
            for (uint32_t k = 1; k < targets % 4u; k++) {                                               \
                sum[k] += at(w, k) * scale;                                                             \
            }                                                                                           \
        }                                                                                               \
    }

LNP_ADD_BLOCKS(add_blocks_u8_i8, uint8_t, int8_t, 4, LNP_BYTE_AT)
LNP_ADD_BLOCKS(add_blocks_u8_i16, uint8_t, int16_t, 4, LNP_BYTE_AT)
LNP_ADD_BLOCKS(add_blocks_u16_i8, uint16_t, int8_t, 4, LNP_BYTE_AT)
LNP_ADD_BLOCKS(add_blocks_u16_i16, uint16_t, int16_t, 4, LNP_BYTE_AT)
LNP_ADD_BLOCKS(add_nibbles_u8, uint8_t, lnp_nibbles_t, 1, nibble_at)
LNP_ADD_BLOCKS(add_nibbles_u16, uint16_t, lnp_nibbles_t, 1, nibble_at)

// Adds a row of weights of 4 bits: an entry is 16 times the weight and how far its target is from the last.
typedef int8_t lnp_gaps_t;
static inline void add_gaps(int32_t *sum, const LNP_FLASH lnp_gaps_t *entry, uint32_t count, int32_t scale)
{
    LNP_NO_UNROLLING
    for (; count != 0; count--) {
        const int32_t both = *entry++;
        sum += both & 15;
        *sum += (both >> 4) * scale;
    }
}

// A loop by hand is its assembly alone: no compiler adds anything, at any level of optimisation, and none may
// look inside.
#if defined(__clang__)
#define LNP_BY_HAND __attribute__((naked, noinline)) static
#else
#define LNP_BY_HAND __attribute__((naked, noinline, noclone, noipa)) static
#endif
#define LNP_USES __attribute__((unused))  // by the assembly alone

// Where there are no loops by hand they do nothing, and C does it all.
#if LNP_ASSEMBLY && defined(__riscv)
#include "lnp_rv32im.h"
#elif LNP_ASSEMBLY
#include "lnp_armv7em.h"
#if defined(LNP_HELIUM)
#include "lnp_helium.h"
#endif
#else
#define LNP_PAIRS_LOOP(name, twos, shift, turned, turn)                                              \
    static inline uint32_t name(int32_t *sums, const LNP_FLASH int16_t *pairs, const int16_t *input, \
                                uint32_t targets)                                                    \
    {                                                                                                \
        (void)sums;                                                                                  \
        (void)pairs;                                                                                 \
        (void)input;                                                                                 \
        (void)targets;                                                                               \
        return 0;                                                                                    \
    }
#define LNP_ROWS_LOOP(name, indptr_t, target_t, shift, turned)                               \
    static inline bool name(int32_t *sums, const LNP_FLASH indptr_t *indptr,                 \
                            const LNP_FLASH target_t *indices, const LNP_FLASH int8_t *data, \
                            const uint32_t *z, uint32_t words)                               \
    {                                                                                        \
        (void)sums;                                                                          \
        (void)indptr;                                                                        \
        (void)indices;                                                                       \
        (void)data;                                                                          \
        (void)z;                                                                             \
        (void)words;                                                                         \
        return false;                                                                        \
    }
#define LNP_BLOCKS_LOOP(name, start_t, block_t, weight_t, shift, turned)                                     \
    static inline bool name(int32_t *sums, const LNP_FLASH start_t *starts, const LNP_FLASH block_t *blocks, \
                            const LNP_FLASH weight_t *weights, const uint32_t *z, uint32_t words)            \
    {                                                                                                        \
        (void)sums;                                                                                          \
        (void)starts;                                                                                        \
        (void)blocks;                                                                                        \
        (void)weights;                                                                                       \
        (void)z;                                                                                             \
        (void)words;                                                                                         \
        return false;                                                                                        \
    }

#define LNP_LEAK_LOOP(name, leak, turned, turn)                                                   \
    static inline uint32_t name(int32_t *x, const LNP_FLASH uint16_t *left, const int32_t *added, \
                                uint32_t count)                                                   \
    {                                                                                             \
        (void)x;                                                                                  \
        (void)left;                                                                               \
        (void)added;                                                                              \
        (void)count;                                                                              \
        return 0;                                                                                 \
    }

// Called for what a loop by hand would do: it has done none.
#define leak_and_add(x, left, added, count) 0u
#define leak_and_add_any leak_and_add
#define encode_affine(input, counts, offset, gain, shift, count) 0u
#define fire_lif(v, i, left, v_th, z, count) 0u
#define fire_lif_any fire_lif
#define fire_adlif(v, w, left, pull, v_th, jump, z, count) 0u
#define fire_adlif_any fire_adlif
#endif

// Rows that are short enough for Helium, and the same rows on any other core.
#if !defined(LNP_HELIUM) || !LNP_ASSEMBLY
#define LNP_WIDE_ROWS(name, targets, shift, turned) LNP_ROWS_LOOP(name, uint16_t, uint8_t, shift, turned)
#endif

// The lower byte of a halfword, with its sign.
_Static_assert((int8_t)0x1FF == -1, "this compiler's int8_t does not keep the lower byte");

#if defined(__GNUC__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
// Two halfwords of a table or an input, which begin at a multiple of 4 bytes.
typedef int32_t __attribute__((may_alias)) lnp_halfwords_t;
#endif

static inline int32_t two_halfwords(const int16_t *at)
{
#if defined(__GNUC__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    return *(const lnp_halfwords_t *)(const void *)at;
#else
    return at[1] * 65536 + (uint16_t)at[0];
#endif
}

// The lower byte with its sign, loaded as such. clang would load the halfword and shift it twice.
static inline int32_t lower_byte(const LNP_FLASH int16_t *at)
{
#if !defined(__GNUC__) || __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
    return (int8_t)*at;
#elif defined(__clang__)
    return *(const volatile int8_t *)at;
#else
    return *(const LNP_FLASH int8_t *)at;
#endif
}

#if defined(LNP_DSP)
typedef struct __attribute__((may_alias)) {
    int32_t word[2];
} lnp_words_t;

// Loads two words and returns where the next are. Compilers often load one after the other. In the ARM state
// LDRD takes only an even register and the next: there a compiler chooses.
static inline const lnp_halfwords_t *lnp_load_two(const lnp_halfwords_t *from, int32_t *first,
                                                  int32_t *second)
{
#if defined(__thumb2__)
    __asm__("ldrd %0, %1, [%2], #8"
            : "=&r"(*first), "=&r"(*second), "+r"(from)
            : "m"(*(const lnp_words_t *)from));
    return from;
#else
    *first = from[0];
    *second = from[1];
    return from + 2;
#endif
}

// The products of the two inputs in x, and of four inputs.
#define LNP_ADD_FOUR(x)                 \
    ab = __smlad(of_ab, x, ab);         \
    a = __smlad(__sxtb16(of_ab), x, a); \
    cd = __smlad(of_cd, x, cd);         \
    c = __smlad(__sxtb16(of_cd), x, c);
#define LNP_ADD_PAIRS                            \
    {                                            \
        int32_t x_of_two, next_x, of_ab, of_cd;  \
        x = lnp_load_two(x, &x_of_two, &next_x); \
        w = lnp_load_two(w, &of_ab, &of_cd);     \
        LNP_ADD_FOUR(x_of_two)                   \
        w = lnp_load_two(w, &of_ab, &of_cd);     \
        LNP_ADD_FOUR(next_x)                     \
    }
#endif

// Adds to the sums of four targets, the first of them i, or of those of them that there are.
static inline void add_four(int32_t *sums, uint32_t i, uint32_t targets, const int32_t *added, int32_t scale)
{
    if (targets - i >= 4u) {
        sums[i] += added[0] * scale;
        sums[i + 1u] += added[1] * scale;
        sums[i + 2u] += added[2] * scale;
        sums[i + 3u] += added[3] * scale;
        return;
    }
    LNP_NO_UNROLLING
    for (uint32_t k = i; k < targets; k++) {
        sums[k] += added[k - i] * scale;
    }
}

// Of the sums of 256 b x + a x and of a x, that of b x times 2^shift: their difference is 256 times that of b
// x.
static inline int32_t upper(int32_t ab, int32_t a, uint32_t shift)
{
    return shift < 8u ? (ab - a) >> (8u - shift) : (ab - a) * ((int32_t)1 << (shift - 8u));
}

// The sums of all inputs, times 2^shift, of the targets a and b, or of a, b, c and d, at a time. w has for
// each four targets and each two inputs k the halfwords 256 b + a of k and of k + 1, then 256 d + c of both.
// dense.py makes sure that no sum leaves int32.
#if defined(LNP_DSP)
static inline void add_pairs(int32_t *sums, const LNP_FLASH int16_t *pairs, const int16_t *input,
                             uint32_t first, uint32_t targets, uint32_t twos, uint32_t shift)
{
    const lnp_halfwords_t *w = (const lnp_halfwords_t *)(const void *)(pairs + first * twos);
    sums += first;
    for (uint32_t left = targets - first; left != 0;) {
        int32_t ab = 0, a = 0, cd = 0, c = 0;
        const lnp_halfwords_t *x = (const lnp_halfwords_t *)(const void *)input;
        LNP_NO_UNROLLING
        for (uint32_t k = twos / 8u; k != 0; k--) {
            LNP_ADD_PAIRS
            LNP_ADD_PAIRS
            LNP_ADD_PAIRS
            LNP_ADD_PAIRS
        }
        if ((twos & 4u) != 0) {
            LNP_ADD_PAIRS
            LNP_ADD_PAIRS
        }
        if ((twos & 2u) != 0) {
            LNP_ADD_PAIRS
        }
        if ((twos & 1u) != 0) {
            int32_t of_ab, of_cd;
            w = lnp_load_two(w, &of_ab, &of_cd);
            LNP_ADD_FOUR(*x)
        }
        sums[0] += a * ((int32_t)1 << shift);
        if (left >= 4u) {
            sums[1] += upper(ab, a, shift);
            sums[2] += c * ((int32_t)1 << shift);
            sums[3] += upper(cd, c, shift);
            sums += 4;
            LNP_OPAQUE(sums);
            left -= 4u;
            continue;
        }
        if (left >= 2u) {
            sums[1] += upper(ab, a, shift);
        }
        if (left == 3u) {
            sums[2] += c * ((int32_t)1 << shift);
        }
        break;
    }
}
#elif defined(__thumb__) && !defined(__thumb2__)
// Of the inputs x and the weights w of a and b: the sum of 256 b x + a x, and below it that of a x. A
// function apart, as a Cortex-M0 has eight registers for its loop, which uses each value as soon as it can.
LNP_APART int64_t sum_pairs(const int16_t *w, const int16_t *x, uint32_t twos)
{
    int32_t ab = 0, a = 0;
    LNP_NO_UNROLLING
    for (const int16_t *const end = x + 2u * twos; x != end;) {
        int32_t two = two_halfwords(w), some = two_halfwords(x), one = (int16_t)some;
        w += 4;
        x += 2;
        LNP_OPAQUE(x);
        a += (int8_t)two * one;
        LNP_IN_ORDER(a, two, one);
        ab += (int16_t)two * one;
        LNP_IN_ORDER(ab, two, some);
        two >>= 16;
        some >>= 16;
        a += (int8_t)two * some;
        LNP_IN_ORDER(a, two, some);
        ab += two * some;
    }
    return (int64_t)((uint64_t)(uint32_t)ab << 32 | (uint32_t)a);
}

static inline void add_pairs(int32_t *sums, const LNP_FLASH int16_t *pairs, const int16_t *input,
                             uint32_t first, uint32_t targets, uint32_t twos, uint32_t shift)
{
    for (uint32_t half = first; half < first + 4u; half += 2u) {
        const int16_t *w = pairs + first * twos + (half - first);
        for (uint32_t i = half; i < targets; i += 4u) {
            const int64_t both = sum_pairs(w, input, twos);
            const int32_t a = (int32_t)both;
            sums[i] += a * ((int32_t)1 << shift);
            if (targets - i >= 2u) {
                sums[i + 1u] += upper((int32_t)(both >> 32), a, shift);
            }
            w += 4u * twos;
        }
    }
}
#else
// A product at a time: of two, gcc multiplies one and adds their sum. Two sums before the other two: clang
// would load all eight weights first, and lack registers.
static inline void add_pairs(int32_t *sums, const LNP_FLASH int16_t *pairs, const int16_t *input,
                             uint32_t first, uint32_t targets, uint32_t twos, uint32_t shift)
{
    const LNP_FLASH int16_t *w = pairs + first * twos;
    for (uint32_t i = first; i < targets; i += 4u) {
        int32_t ab = 0, a = 0, cd = 0, c = 0;
        LNP_NO_UNROLLING
        for (const int16_t *x = input, *const end = input + 2u * twos; x != end; x += 2, w += 4) {
            const int32_t one = x[0], two = x[1];
            ab += w[0] * one;
            ab += w[1] * two;
            a += lower_byte(w) * one;
            a += lower_byte(w + 1) * two;
            LNP_IN_ORDER(ab, a, w);
            cd += w[2] * one;
            cd += w[3] * two;
            c += lower_byte(w + 2) * one;
            c += lower_byte(w + 3) * two;
        }
        const int32_t added[4] = {a * ((int32_t)1 << shift), upper(ab, a, shift), c * ((int32_t)1 << shift),
                                  upper(cd, c, shift)};
        add_four(sums, i, targets, added, 1);
    }
}
#endif

// The same with a weight an entry: w has for each four targets the weights of each input.
#define LNP_ADD_DENSE(name, weight_t)                                                         \
    static inline void name(int32_t *sums, const LNP_FLASH weight_t *w, const int16_t *input, \
                            uint32_t targets, uint32_t inputs, int32_t scale)                 \
    {                                                                                         \
        for (uint32_t i = 0; i < targets; i += 4u) {                                          \
            int32_t added[4] = {0};                                                           \
            for (uint32_t k = 0; k < inputs; k++) {                                           \
                const int32_t x = input[k];                                                   \
                added[0] += *w++ * x;                                                         \
                added[1] += *w++ * x;                                                         \
                added[2] += *w++ * x;                                                         \
                added[3] += *w++ * x;                                                         \
            }                                                                                 \
            add_four(sums, i, targets, added, scale);                                         \
        }                                                                                     \
    }

LNP_ADD_DENSE(add_dense_i8, int8_t)
LNP_ADD_DENSE(add_dense_i16, int16_t)

// Adds the rows of all that fired, times scale, to the sums of four targets, or of eight: w has for each four
// targets the weights of each of the n_pre units. One function per width of weight.
#define LNP_ADD_SPIKES_TO(name, weight_t)                                                                  \
    static inline void name(int32_t *sums, const LNP_FLASH weight_t *w, const uint32_t *z, uint32_t n_pre, \
                            uint32_t words, int32_t scale, uint32_t targets)                               \
    {                                                                                                      \
        const uint32_t eight = targets > 4u;                                                               \
        int32_t sum[8] = {0};                                                                              \
        LNP_EACH_SPIKE(j, z, words)                                                                        \
        {                                                                                                  \
            const LNP_FLASH weight_t *const first = w + 4u * j;                                            \
            const LNP_FLASH weight_t *const second = first + 4u * eight * n_pre;                           \
            for (uint32_t i = 0; i < 4u; i++) {                                                            \
                sum[i] += first[i];                                                                        \
                sum[4u + i] += eight != 0 ? second[i] : 0;                                                 \
            }                                                                                              \
        }                                                                                                  \
        for (uint32_t i = 0; i < targets; i++) {                                                           \
            sums[i] += sum[i] * scale;                                                                     \
        }                                                                                                  \
    }

#if defined(LNP_DSP)
// Four bytes are added to four halfwords at a time, which 256 spikes with weights of at most 127 do not
// leave.
static inline void add_spikes_to_i8(int32_t *sums, const int8_t *w, const uint32_t *z, uint32_t n_pre,
                                    uint32_t words, int32_t scale, uint32_t targets)
{
    for (uint32_t first = 0; first < words; first += 8u) {
        const uint32_t some = words - first < 8u ? words - first : 8u;
        int32_t sum[4] = {0};
#if LNP_ASSEMBLY
        sum_spikes(sum, w + 128u * first, z + first, some, targets > 4u ? 4u * n_pre : 0u);
#else
        const lnp_halfwords_t *const rows = (const lnp_halfwords_t *)(const void *)w;
        LNP_EACH_SPIKE(j, z + first, some)
        {
            const lnp_halfwords_t *const row = rows + 32u * first + j;
            sum[0] = __sxtab16(sum[0], row[0]);
            sum[1] = add_odd_bytes(sum[1], row[0]);
            if (targets > 4u) {
                sum[2] = __sxtab16(sum[2], row[n_pre]);
                sum[3] = add_odd_bytes(sum[3], row[n_pre]);
            }
        }
#endif
        for (uint32_t i = 0; i < targets; i++) {
            const int32_t two = sum[i / 4u * 2u + i % 2u];
            sums[i] += ((i & 2u) != 0 ? two >> 16 : (int16_t)two) * scale;
        }
    }
}
#else
LNP_ADD_SPIKES_TO(add_spikes_to_i8, int8_t)
#endif
LNP_ADD_SPIKES_TO(add_spikes_to_i16, int16_t)

#define LNP_ADD_SPIKES(name, add, weight_t)                                                                  \
    static inline void name(int32_t *sums, const LNP_FLASH weight_t *w, const uint32_t *z, uint32_t targets, \
                            uint32_t n_pre, uint32_t words, int32_t scale)                                   \
    {                                                                                                        \
        for (; targets >= 8u; targets -= 8u, sums += 8, w += 8u * n_pre) {                                   \
            add(sums, w, z, n_pre, words, scale, 8u);                                                        \
        }                                                                                                    \
        if (targets != 0) {                                                                                  \
            add(sums, w, z, n_pre, words, scale, targets);                                                   \
        }                                                                                                    \
    }

LNP_ADD_SPIKES(add_spikes_i8, add_spikes_to_i8, int8_t)
LNP_ADD_SPIKES(add_spikes_i16, add_spikes_to_i16, int16_t)

#endif
