// Types and functions that all models of a program share.
#ifndef LNP_TYPES_H
#define LNP_TYPES_H

#include <stdbool.h>
#include <stdint.h>

// What tables are, which are read where they lie: constants in flash. AVR reads its flash by instructions of
// its own, for which gcc has a name in its own dialect of C, -std=gnu11. Without it, and in C++, constants
// are in RAM.
#if defined(__FLASH) && !defined(__STRICT_ANSI__) && !defined(__cplusplus)
#define LNP_FLASH __flash
#else
#define LNP_FLASH
#endif

// One table in flash.
typedef struct {
    const LNP_FLASH void *data;
    uint32_t bytes;
} lnp_table_t;

// A decision, SEMANTICS.md section 7. Of a forecast only y has a meaning.
typedef struct {
    uint32_t label;    // the class
    uint32_t margin;   // of its read-out over all others; 0 if another is larger
    uint8_t percent;   // of decisions with this margin that were right on data kept back; 0: not known
    bool unknown;      // the margin is too small, or the samples are not like those of the training
    const int32_t *y;  // the read-outs; valid until the next sample
} lnp_decision_t;

typedef struct {
    uint32_t margin;
    uint8_t percent;
} lnp_level_t;

// Whether a value, before it is a count, is none: NaN, infinite, or beyond 1e30.
static inline bool lnp_no_value(double value)
{
    return !(value >= -1e30 && value <= 1e30);
}

// The nearest count, halves to even, within int16. NaN has none: ask LNP_<NAME>_IS_MISSING first.
static inline int16_t lnp_count(double value)
{
    if (!(value > -32768.0)) {  // NaN too
        return INT16_MIN;
    }
    if (value >= 32767.0) {
        return INT16_MAX;
    }
    const int32_t whole = (int32_t)value;       // towards 0
    const double rest = value - (double)whole;  // exact
    const bool odd = (whole & 1) != 0;
    if (rest > 0.5 || (rest == 0.5 && odd)) {
        return (int16_t)(whole + 1);
    }
    return (int16_t)(rest < -0.5 || (rest == -0.5 && odd) ? whole - 1 : whole);
}

// Numbers outside the processor are little-endian.

static inline void lnp_put_u16(uint8_t *to, uint16_t value)
{
    to[0] = (uint8_t)(value & 0xFFu);
    to[1] = (uint8_t)(value >> 8);
}

static inline void lnp_put_u32(uint8_t *to, uint32_t value)
{
    lnp_put_u16(to, (uint16_t)(value & 0xFFFFu));
    lnp_put_u16(to + 2, (uint16_t)(value >> 16));
}

static inline uint16_t lnp_get_u16(const uint8_t *from)
{
    return (uint16_t)(from[0] | ((uint32_t)from[1] << 8));
}

static inline uint32_t lnp_get_u32(const uint8_t *from)
{
    return lnp_get_u16(from) | ((uint32_t)lnp_get_u16(from + 2) << 16);
}

#endif
