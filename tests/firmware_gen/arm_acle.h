// What lnp_ops.h and lnp_kernel.h use of ACLE (ARM IHI 0053, 9.4), in C, so that a sanitizer can watch those
// paths on the host. The instructions themselves run in the emulator.
#ifndef ARM_ACLE_H
#define ARM_ACLE_H

#include <stdint.h>

static inline int32_t __smlawb(int32_t a, int32_t b, int32_t c)
{
    return (int32_t)(((int64_t)a * (int16_t)b) >> 16) + c;
}

static inline int32_t __sxtb16(int32_t a)
{
    return (int32_t)(((uint32_t)(int8_t)a & 0xFFFFu) | (uint32_t)(int8_t)(a >> 16) << 16);
}

static inline int32_t __sxtab16(int32_t a, int32_t b)
{
    const uint32_t low = (uint32_t)(a + (int8_t)b) & 0xFFFFu;
    return (int32_t)(low | (uint32_t)((a >> 16) + (int8_t)(b >> 16)) << 16);
}

static inline int32_t __smlabb(int32_t a, int32_t b, int32_t c)
{
    return (int16_t)a * (int16_t)b + c;
}

static inline int32_t __smlatb(int32_t a, int32_t b, int32_t c)
{
    return (a >> 16) * (int16_t)b + c;
}

static inline int32_t __smlad(int32_t a, int32_t b, int32_t c)
{
    return (int16_t)a * (int16_t)b + (a >> 16) * (b >> 16) + c;
}

#endif
