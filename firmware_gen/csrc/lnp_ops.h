// The integer operations of SEMANTICS.md, each equal to its namesake in lnp_edge/spec/ops.py. They
// use plain + - * on int32_t: the check of the model proves that these cannot overflow, UBSan tests
// the proof.
#ifndef LNP_OPS_H
#define LNP_OPS_H

#include <stdint.h>

// Cores that have products of halfwords. lnp_kernel.h uses them too, on bytes and halfwords of words.
#if defined(__ARM_FEATURE_DSP) && defined(__ARM_FEATURE_SIMD32) && !defined(__ARM_BIG_ENDIAN)
#include <arm_acle.h>
#define LNP_DSP
#endif

// Cores that give the upper word of a product of two words in one instruction.
#if (defined(__ARM_ARCH) && __ARM_ARCH >= 7) || defined(__x86_64__) || defined(__aarch64__)
#if !defined(__ARM_ARCH_6M__) && !defined(__ARM_ARCH_8M_BASE__)
#define LNP_HIGH_PRODUCT
#endif
#endif

static inline int32_t lnp_add(int32_t a, int32_t b)
{
    return a + b;
}

static inline int32_t lnp_sub(int32_t a, int32_t b)
{
    return a - b;
}

static inline int32_t lnp_mul(int32_t a, int32_t b)
{
    return a * b;
}

// In C, >> of a negative number is implementation-defined. Here it must round down, as in Python.
_Static_assert(-3 >> 1 == -2, "this compiler's >> does not round down");

// x + floor(-c * x / 2^16) + [x < 0], which is floor(d * x / 2^16) + [x < 0] with d = 2^16 - c, for any x but
// -2^31 and d in 1..65535; lnp_leak_half for d from 32768.
#if defined(LNP_DSP)
// __smlawb(x, d, y) is y + floor(d * x / 2^16), where d is the lower halfword with its sign: of d above 32767
// it is d - 2^16, which leaves out x. Loaded with its sign, d serves both.
static inline int32_t lnp_leak(int32_t x, int32_t d)
{
    const int32_t leaves = (int16_t)d;
#if defined(__thumb2__)
    int32_t left_out;  // in one instruction, where clang would take three
    __asm__("and %0, %1, %2, asr #31" : "=r"(left_out) : "r"(x), "r"(leaves));
#else
    const int32_t left_out = x & (leaves >> 31);
#endif
    return __smlawb(x, leaves, left_out + (x < 0));
}

static inline int32_t lnp_leak_half(int32_t x, int32_t d)
{
    return __smlawb(x, d, x + (x < 0));
}
#elif defined(__riscv_mul)
// One instruction gives the upper word of a product of which one factor has a sign and the other has none.
static inline int32_t lnp_leak(int32_t x, int32_t d)
{
    return (int32_t)(((int64_t)x * (int64_t)((uint32_t)d << 16)) >> 32) + (x < 0);
}

static inline int32_t lnp_leak_half(int32_t x, int32_t d)
{
    return lnp_leak(x, d);
}
#elif defined(LNP_HIGH_PRODUCT)
// d * 2^16 modulo 2^32 is an int32; of d above 32767 it is 2^32 too small, which leaves out x.
static inline int32_t lnp_leak(int32_t x, int32_t d)
{
    const int32_t leaves = (int32_t)((uint32_t)d << 16);
    return (int32_t)(((int64_t)x * leaves) >> 32) + (x & (leaves >> 31)) + (x < 0);
}

static inline int32_t lnp_leak_half(int32_t x, int32_t d)
{
    const int32_t leaves = (int32_t)((uint32_t)d << 16);
    return (int32_t)(((int64_t)x * leaves) >> 32) + x + (x < 0);
}
#else
// With x = 2^16 * high + low, the integer d * high moves out of the floor. |d * high| < 2^31 and
// 0 <= d * low < 2^32: no product needs 64 bits. For x < 0 d * high is above -2^31 and below 0, and the sums
// move from there towards 0.
static inline int32_t lnp_leak(int32_t x, int32_t d)
{
    const uint32_t low = (uint32_t)x & 0xFFFFu;
    const int32_t of_high = d * (x >> 16);
    return of_high + (int32_t)(((uint32_t)d * low) >> 16) + (of_high < 0);
}

static inline int32_t lnp_leak_half(int32_t x, int32_t d)
{
    return lnp_leak(x, d);
}
#endif

static inline int32_t lnp_absolute(int32_t x)
{
    return x < 0 ? -x : x;
}

static inline int32_t lnp_choose(int32_t z, int32_t a, int32_t b)
{
    return z != 0 ? a : b;
}

// The number of zeros above the highest 1 of x, which is not 0.
static inline uint32_t lnp_leading_zeros(uint32_t x)
{
#if defined(__GNUC__) && !defined(__ARM_ARCH_6M__)
    return (uint32_t)__builtin_clzl(x) - 8u * (uint32_t)(sizeof(long) - sizeof(uint32_t));
#else
    uint32_t zeros = 0;
    for (uint32_t half = 16; half != 0; half >>= 1) {
        if (x >> (32u - half) == 0) {
            zeros += half;
            x <<= half;
        }
    }
    return zeros;
#endif
}

// The binary logarithm in units of 1/64, by straight lines between powers of 2; 0 if x < 1.
static inline int32_t lnp_log2(int32_t x)
{
    if (x < 1) {
        return 0;
    }
    const uint32_t zeros = lnp_leading_zeros((uint32_t)x);
    const uint32_t part = (((uint32_t)x << zeros) >> 25) & 63u;  // the six bits below the highest 1
    return (int32_t)(64u * (31u - zeros) + part);
}

static inline int32_t lnp_greater(int32_t a, int32_t b)
{
    return a > b ? 1 : 0;
}

static inline int32_t lnp_gate(int32_t z, int32_t x)
{
    return z != 0 ? x : 0;
}

// floor((x + 2^(k-1)) / 2^k) for |x| <= 2^30 and k in 1..15.
static inline int32_t lnp_shift_round(int32_t x, int32_t k)
{
    return (x + ((int32_t)1 << (k - 1))) >> k;
}

static inline int32_t lnp_clamp(int32_t x, int32_t low, int32_t high)
{
    return x < low ? low : (x > high ? high : x);
}

#endif
