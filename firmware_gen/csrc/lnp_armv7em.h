// Loops of a step in assembly, for cores with the DSP instructions of Armv7E-M in Thumb state: Cortex-M4, M7,
// M33. Those of neurons and encoders are here, those of synapses in lnp_armv7em_synapses.h. lnp_kernel.h
// includes this file for such cores; -DLNP_C_LOOPS leaves it out. What a loop does is defined in C, in
// lnp_kernel.h or printed from a neuron or an encoder, and it gives the same bits: sums are exact modulo
// 2^32, and their order is free. A loop does as many elements as it can and says how many: C does the rest.
#ifndef LNP_ARMV7EM_H
#define LNP_ARMV7EM_H

// Arguments come as AAPCS has them, in r0 to r3 and then on the stack. All 14 registers are the loop's.
// clang-format off
#define LNP_ENTER "    push {r4-r11, lr}\n"  // the fifth argument is then at [sp, #36]
#define LNP_LEAVE "    pop {r4-r11, pc}\n"

// x = lnp_leak_half(x, d) + more, with d in the half b or t of `left`; `more` is lost.
#define LNP_LEAK_half(x, left, half, more, spare)        \
    "    add " #more ", " #more ", " #x ", lsr #31\n"    \
    "    add " #more ", " #more ", " #x "\n"             \
    "    smlaw" #half " " #x ", " #x ", " #left ", " #more "\n"

// x = lnp_leak(x, d) + more: x counts where d is negative as a halfword. `spare` is lost too.
#define LNP_LEAK_any(x, left, half, more, spare)               \
    "    add " #more ", " #more ", " #x ", lsr #31\n"          \
    LNP_SIGN_##half(x, left, spare)                            \
    "    add " #more ", " #more ", " #spare "\n"               \
    "    smlaw" #half " " #x ", " #x ", " #left ", " #more "\n"
#define LNP_SIGN_b(x, left, spare)                  \
    "    lsl " #spare ", " #left ", #16\n"          \
    "    and " #spare ", " #x ", " #spare ", asr #31\n"
#define LNP_SIGN_t(x, left, spare) "    and " #spare ", " #x ", " #left ", asr #31\n"

// --- x = lnp_leak_half(x, left) + added, or lnp_leak

// Turned, x is kept as (x + 2^31) rotated right by `turn` bits, the shift of weights that are added next: to add
// 2^turn * w to x is then to add w. The upper bits cannot be reached from below: x + 2^31 stays within 0..2^32 - 1.
#define LNP_TURN_0(turn)
#define LNP_TURN_1(turn)                          \
    "    mov r8, #(1 << (31 - " #turn "))\n"      \
    "    eor r4, r8, r4, ror #" #turn "\n"        \
    "    eor r5, r8, r5, ror #" #turn "\n"        \
    "    eor r6, r8, r6, ror #" #turn "\n"        \
    "    eor r7, r8, r7, ror #" #turn "\n"
#define LNP_LEAK_FOUR_half(turned, turn)        \
    "    ldmia r0, {r4-r7}\n"                   \
    "    ldmia r1!, {r8, r9}\n"                 \
    "    ldmia r2!, {r10, r11, r12, lr}\n"      \
    LNP_LEAK_half(r4, r8, b, r10, none)         \
    LNP_LEAK_half(r5, r8, t, r11, none)         \
    LNP_LEAK_half(r6, r9, b, r12, none)         \
    LNP_LEAK_half(r7, r9, t, lr, none)          \
    LNP_TURN_##turned(turn)                     \
    "    stmia r0!, {r4-r7}\n"
#define LNP_LEAK_FOUR_any(turned, turn)         \
    "    ldmia r0, {r4-r7}\n"                   \
    "    ldmia r1!, {r8, r9}\n"                 \
    "    ldmia r2!, {r10, r11, r12}\n"          \
    LNP_LEAK_any(r4, r8, b, r10, lr)            \
    LNP_LEAK_any(r5, r8, t, r11, lr)            \
    "    ldr r10, [r2], #4\n"                   \
    LNP_LEAK_any(r6, r9, b, r12, lr)            \
    LNP_LEAK_any(r7, r9, t, r10, lr)            \
    LNP_TURN_##turned(turn)                     \
    "    stmia r0!, {r4-r7}\n"
#define LNP_LEAK_LOOP(name, leak, turned, turn)                                                            \
    LNP_BY_HAND void name##_asm(LNP_USES int32_t *x, LNP_USES const uint16_t *left,                        \
                                LNP_USES const int32_t *added, LNP_USES uint32_t eights)                   \
    {                                                                                                      \
        __asm__(                                                                                           \
            LNP_ENTER                                                                                      \
            "1:\n"                                                                                         \
            LNP_LEAK_FOUR_##leak(turned, turn)                                                               \
            LNP_LEAK_FOUR_##leak(turned, turn)                                                               \
            "    subs r3, #1\n"                                                                            \
            "    bne 1b\n"                                                                                 \
            LNP_LEAVE);                                                                                    \
    }                                                                                                      \
    static inline uint32_t name(int32_t *x, const uint16_t *left, const int32_t *added, uint32_t count)    \
    {                                                                                                      \
        if (count >= 8u) {                                                                                 \
            name##_asm(x, left, added, count / 8u);                                                        \
        }                                                                                                  \
        return count & ~7u;                                                                                \
    }

LNP_LEAK_LOOP(leak_and_add, half, 0, 0)
LNP_LEAK_LOOP(leak_and_add_any, any, 0, 0)

// --- encode_channel of the encoder affine, of counts without a front end

// (count - offset) * gain, rounded: the shift leaves in carry what rounding adds. r6 has -127 twice, which limits two
// at once from below.
LNP_BY_HAND void encode_affine_asm(LNP_USES int16_t *input, LNP_USES const int16_t *counts,
                                   LNP_USES const int16_t *offset, LNP_USES const int16_t *gain,
                                   LNP_USES const int16_t *shift, LNP_USES uint32_t twos)
{
    __asm__(
        LNP_ENTER
        "    ldrd r4, r5, [sp, #36]\n"
        "    mvn r6, #126\n"
        "    pkhbt r6, r6, r6, lsl #16\n"
        "1:  ldr r7, [r1], #4\n"
        "    ldr r8, [r2], #4\n"
        "    ldr r9, [r3], #4\n"
        "    ldr r10, [r4], #4\n"
        "    smulbb r11, r7, r9\n"
        "    smulbb r12, r8, r9\n"
        "    smultt r7, r7, r9\n"
        "    smultt r8, r8, r9\n"
        "    sub r11, r11, r12\n"
        "    sub r7, r7, r8\n"
        "    asrs r11, r11, r10\n"
        "    adc r11, r11, #0\n"
        "    lsr r10, r10, #16\n"
        "    asrs r7, r7, r10\n"
        "    adc r7, r7, #0\n"
        "    ssat r11, #8, r11\n"
        "    ssat r7, #8, r7\n"
        "    pkhbt r7, r11, r7, lsl #16\n"
        "    ssub16 r11, r7, r6\n"
        "    sel r7, r7, r6\n"
        "    str r7, [r0], #4\n"
        "    subs r5, #1\n"
        "    bne 1b\n"
        LNP_LEAVE);
}

static inline uint32_t encode_affine(int16_t *input, const int16_t *counts, const int16_t *offset,
                                     const int16_t *gain, const int16_t *shift, uint32_t count)
{
    if (count >= 2u) {
        encode_affine_asm(input, counts, offset, gain, shift, count / 2u);
    }
    return count & ~1u;
}

// --- the rest of a step of neurons that spike, eight at a time: the low byte of r12 is their byte of z, and above it is
// how many eights are left

// The number of eights, after a last word that they do not fill was set to 0.
static inline uint32_t clear_last(uint32_t *z, uint32_t count)
{
    const uint32_t eights = count / 8u;
    if (eights % 4u != 0) {
        z[eights / 4u] = 0;
    }
    return eights;
}

// A spike is rare: it is handled elsewhere, at 3k, and comes back.
#define LNP_COMPARE(v, v_th, k)      \
    "    cmp " #v ", " #v_th "\n"    \
    "    bgt 3" #k "f\n"             \
    "4" #k ":\n"
#define LNP_SPIKE(v, v_th, k)                     \
    "3" #k ": sub " #v ", " #v ", " #v_th "\n"    \
    "    orr r12, r12, #(1 << " #k ")\n"
#define LNP_BACK(k) "    b 4" #k "b\n"
#define LNP_NEXT_EIGHT                \
    "    strb r12, [lr], #1\n"        \
    "    bic r12, r12, #255\n"        \
    "    subs r12, r12, #256\n"       \
    "    bne 1b\n"

// v = lnp_leak_half(v, left) + i, or lnp_leak. r0 v, r1 i, r2 left, r3 v_th.
#define LNP_LIF_LEAK_half                  \
    "    ldrd r10, r11, [r2], #8\n"        \
    "    ldrd r8, r9, [r1], #8\n"          \
    LNP_LEAK_half(r4, r10, b, r8, none)    \
    LNP_LEAK_half(r5, r10, t, r9, none)    \
    "    ldrd r8, r9, [r1], #8\n"          \
    LNP_LEAK_half(r6, r11, b, r8, none)    \
    LNP_LEAK_half(r7, r11, t, r9, none)
#define LNP_LIF_LEAK_any                   \
    "    ldr r10, [r2], #4\n"              \
    "    ldrd r8, r9, [r1], #8\n"          \
    LNP_LEAK_any(r4, r10, b, r8, r11)      \
    LNP_LEAK_any(r5, r10, t, r9, r11)      \
    "    ldr r10, [r2], #4\n"              \
    "    ldrd r8, r9, [r1], #8\n"          \
    LNP_LEAK_any(r6, r10, b, r8, r11)      \
    LNP_LEAK_any(r7, r10, t, r9, r11)
#define LNP_LIF_FOUR(leak, k, l, m, n) \
    "    ldmia r0, {r4-r7}\n"          \
    leak                               \
    "    ldmia r3!, {r8-r11}\n"        \
    LNP_COMPARE(r4, r8, k)             \
    LNP_COMPARE(r5, r9, l)             \
    LNP_COMPARE(r6, r10, m)            \
    LNP_COMPARE(r7, r11, n)            \
    "    stmia r0!, {r4-r7}\n"
#define LNP_LIF_SPIKE(v, v_th, k) LNP_SPIKE(v, v_th, k) LNP_BACK(k)

#define LNP_LIF_LOOP(name, leak)                                                                           \
    LNP_BY_HAND void name##_asm(LNP_USES int32_t *v, LNP_USES const int32_t *i,                            \
                                LNP_USES const uint16_t *left, LNP_USES const int32_t *v_th,               \
                                LNP_USES uint8_t *z, LNP_USES uint32_t eights)                             \
    {                                                                                                      \
        __asm__(                                                                                           \
            LNP_ENTER                                                                                      \
            "    ldrd lr, r12, [sp, #36]\n"                                                                \
            "    lsl r12, r12, #8\n"                                                                       \
            "1:\n"                                                                                         \
            LNP_LIF_FOUR(LNP_LIF_LEAK_##leak, 0, 1, 2, 3)                                                  \
            LNP_LIF_FOUR(LNP_LIF_LEAK_##leak, 4, 5, 6, 7)                                                  \
            LNP_NEXT_EIGHT                                                                                 \
            LNP_LEAVE                                                                                      \
            LNP_LIF_SPIKE(r4, r8, 0)                                                                       \
            LNP_LIF_SPIKE(r5, r9, 1)                                                                       \
            LNP_LIF_SPIKE(r6, r10, 2)                                                                      \
            LNP_LIF_SPIKE(r7, r11, 3)                                                                      \
            LNP_LIF_SPIKE(r4, r8, 4)                                                                       \
            LNP_LIF_SPIKE(r5, r9, 5)                                                                       \
            LNP_LIF_SPIKE(r6, r10, 6)                                                                      \
            LNP_LIF_SPIKE(r7, r11, 7));                                                                    \
    }                                                                                                      \
    static inline uint32_t name(int32_t *v, const int32_t *i, const uint16_t *left, const int32_t *v_th,   \
                                uint32_t *z, uint32_t count)                                               \
    {                                                                                                      \
        const uint32_t eights = clear_last(z, count);                                                      \
        if (eights != 0) {                                                                                 \
            name##_asm(v, i, left, v_th, (uint8_t *)z, eights);                                            \
        }                                                                                                  \
        return 8u * eights;                                                                                \
    }

LNP_LIF_LOOP(fire_lif, half)
LNP_LIF_LOOP(fire_lif_any, any)

// v -= w, w = lnp_leak_half(w, left) or lnp_leak, a spike, which adds jump to w, and w += v - lnp_leak_half(v, pull).
// r0 v, r1 w, r2 left, r3 pull, r4 v_th, lr where z is. At [sp, #40] is how far from r4 the jump of the first of two
// neurons is.
#define LNP_ADLIF_LEAK_half(w, half)           \
    "    add r9, " #w ", " #w ", lsr #31\n"    \
    "    smlaw" #half " " #w ", " #w ", r11, r9\n"
#define LNP_ADLIF_LEAK_any(w, half)            \
    LNP_SIGN_##half(w, r11, r9)                \
    "    add r9, r9, " #w ", lsr #31\n"        \
    "    smlaw" #half " " #w ", " #w ", r11, r9\n"
#define LNP_ADLIF_TWO(leak, k, l)      \
    "    ldrd r5, r6, [r0]\n"       \
    "    ldrd r7, r8, [r1]\n"       \
    "    sub r5, r5, r7\n"          \
    "    sub r6, r6, r8\n"          \
    "    ldr r11, [r2], #4\n"       \
    LNP_ADLIF_LEAK_##leak(r7, b)    \
    LNP_ADLIF_LEAK_##leak(r8, t)    \
    "    ldrd r9, r10, [r4], #8\n"  \
    LNP_COMPARE(r5, r9, k)          \
    LNP_COMPARE(r6, r10, l)         \
    "    ldr r11, [r3], #4\n"       \
    "    smulwb r9, r5, r11\n"      \
    "    sub r7, r7, r9\n"          \
    "    sub r7, r7, r5, lsr #31\n" \
    "    smulwt r10, r6, r11\n"     \
    "    sub r8, r8, r10\n"         \
    "    sub r8, r8, r6, lsr #31\n" \
    "    strd r5, r6, [r0], #8\n"   \
    "    strd r7, r8, [r1], #8\n"
#define LNP_ADLIF_SPIKE(v, w, v_th, at, k)            \
    LNP_SPIKE(v, v_th, k)                             \
    "    ldr " #v_th ", [sp, #40]\n"                  \
    "    add " #v_th ", " #v_th ", r4\n"              \
    "    ldr " #v_th ", [" #v_th ", #" #at "]\n"      \
    "    add " #w ", " #w ", " #v_th "\n"             \
    LNP_BACK(k)

#define LNP_ADLIF_LOOP(name, leak)                                                                         \
    LNP_BY_HAND void name##_asm(LNP_USES int32_t *v, LNP_USES int32_t *w, LNP_USES const uint16_t *left,   \
                                LNP_USES const uint16_t *pull, LNP_USES const int32_t *v_th,               \
                                LNP_USES const int32_t *jump, LNP_USES uint8_t *z,                         \
                                LNP_USES uint32_t eights)                                                  \
    {                                                                                                      \
        __asm__(                                                                                           \
            LNP_ENTER                                                                                      \
            "    ldrd r4, r5, [sp, #36]\n"                                                                 \
            "    sub r5, r5, r4\n"                                                                         \
            "    sub r5, #8\n"                                                                             \
            "    str r5, [sp, #40]\n"                                                                      \
            "    ldrd lr, r12, [sp, #44]\n"                                                                \
            "    lsl r12, r12, #8\n"                                                                       \
            "1:\n"                                                                                         \
            LNP_ADLIF_TWO(leak, 0, 1)                                                                      \
            LNP_ADLIF_TWO(leak, 2, 3)                                                                      \
            LNP_ADLIF_TWO(leak, 4, 5)                                                                      \
            LNP_ADLIF_TWO(leak, 6, 7)                                                                      \
            LNP_NEXT_EIGHT                                                                                 \
            LNP_LEAVE                                                                                      \
            LNP_ADLIF_SPIKE(r5, r7, r9, 0, 0)                                                              \
            LNP_ADLIF_SPIKE(r6, r8, r10, 4, 1)                                                             \
            LNP_ADLIF_SPIKE(r5, r7, r9, 0, 2)                                                              \
            LNP_ADLIF_SPIKE(r6, r8, r10, 4, 3)                                                             \
            LNP_ADLIF_SPIKE(r5, r7, r9, 0, 4)                                                              \
            LNP_ADLIF_SPIKE(r6, r8, r10, 4, 5)                                                             \
            LNP_ADLIF_SPIKE(r5, r7, r9, 0, 6)                                                              \
            LNP_ADLIF_SPIKE(r6, r8, r10, 4, 7));                                                           \
    }                                                                                                      \
    static inline uint32_t name(int32_t *v, int32_t *w, const uint16_t *left, const uint16_t *pull,        \
                                const int32_t *v_th, const int32_t *jump, uint32_t *z, uint32_t count)     \
    {                                                                                                      \
        const uint32_t eights = clear_last(z, count);                                                      \
        if (eights != 0) {                                                                                 \
            name##_asm(v, w, left, pull, v_th, jump, (uint8_t *)z, eights);                                \
        }                                                                                                  \
        return 8u * eights;                                                                                \
    }

LNP_ADLIF_LOOP(fire_adlif, half)
LNP_ADLIF_LOOP(fire_adlif_any, any)
// clang-format on

#include "lnp_armv7em_synapses.h"

#endif
