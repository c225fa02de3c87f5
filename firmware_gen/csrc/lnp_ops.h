// The integer operations of SEMANTICS.md, each equal to its namesake in lnp_edge/spec/ops.py. They
// use plain + - * on int32_t: the check of the model proves that these cannot overflow, UBSan tests
// the proof.
#ifndef LNP_OPS_H
#define LNP_OPS_H

#include <stdint.h>

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

// x + floor(-c * x / 2^16) + [x < 0], for any x and c in 1..32768.
// With x = 2^16 * high + low, the integer -c * high moves out of the floor, and
// 0 <= c * low + 65535 < 2^32: no product needs 64 bits. For x >= 0 the sums stay within 0..x. For
// x < 0 they stay within x..32767: -c * high is at most |x| / 2 + 32768, and the remaining terms
// lead to a value between x and 0.
static inline int32_t lnp_leak(int32_t x, int32_t c)
{
    const uint32_t low = (uint32_t)x & 0xFFFFu;
    const uint32_t part = ((uint32_t)c * low + 0xFFFFu) >> 16;
    return x - c * (x >> 16) - (int32_t)part + (x < 0);
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
    return (x + (1 << (k - 1))) >> k;
}

static inline int32_t lnp_clamp(int32_t x, int32_t low, int32_t high)
{
    return x < low ? low : (x > high ? high : x);
}

#endif
