// Loops of a step in assembly, for RISC-V cores of 32 bits with the instructions of M. Those of neurons are
// here, those of synapses in lnp_rv32im_synapses.h. lnp_kernel.h includes this file for such cores;
// -DLNP_C_LOOPS leaves it out. They do what the loops of lnp_armv7em.h do, and are called alike; the encoder
// is C, as by hand it would take as much. Without an instruction that rotates a word nothing is gained by
// turned sums: none are.
#ifndef LNP_RV32IM_H
#define LNP_RV32IM_H

// Arguments come as the calling convention has them, in a0 to a7.
// clang-format off
// --- x = lnp_leak(x, left) + added, also where lnp_leak_half would do: the upper word of x, with its sign, times
// left * 2^16, without one, is floor(left * x / 2^16)

// The products of x and y with two halfwords, the lower one first. t6 has the upper halfword. y's is left in `two`.
#define LNP_LEAVES(how, x, y, two, low)            \
    "    slli " #low ", " #two ", 16\n"            \
    "    and " #two ", " #two ", t6\n"             \
    "    " #how " " #low ", " #x ", " #low "\n"    \
    "    " #how " " #two ", " #y ", " #two "\n"
#define LNP_LEAK_TWO(x, y, two, low)               \
    LNP_LEAVES(mulhsu, x, y, two, low)             \
    "    srli " #x ", " #x ", 31\n"                \
    "    srli " #y ", " #y ", 31\n"                \
    "    add " #x ", " #x ", " #low "\n"           \
    "    add " #y ", " #y ", " #two "\n"

#define LNP_LEAK_AND_ADD_TWO(k)                    \
    "    lw t0, (4 * " #k ")(a0)\n"                \
    "    lw t1, (4 * " #k " + 4)(a0)\n"            \
    "    lw t2, (2 * " #k ")(a1)\n"                \
    "    lw t4, (4 * " #k ")(a2)\n"                \
    "    lw t5, (4 * " #k " + 4)(a2)\n"            \
    LNP_LEAK_TWO(t0, t1, t2, t3)                   \
    "    add t0, t0, t4\n"                         \
    "    add t1, t1, t5\n"                         \
    "    sw t0, (4 * " #k ")(a0)\n"                \
    "    sw t1, (4 * " #k " + 4)(a0)\n"

LNP_BY_HAND void leak_and_add_asm(LNP_USES int32_t *x, LNP_USES const uint16_t *left, LNP_USES const int32_t *added,
                                  LNP_USES const int32_t *end)
{
    __asm__(
        "    lui t6, 0xFFFF0\n"
        "1:\n"
        LNP_LEAK_AND_ADD_TWO(0)
        LNP_LEAK_AND_ADD_TWO(2)
        LNP_LEAK_AND_ADD_TWO(4)
        LNP_LEAK_AND_ADD_TWO(6)
        "    addi a0, a0, 32\n"
        "    addi a1, a1, 16\n"
        "    addi a2, a2, 32\n"
        "    bne a0, a3, 1b\n"
        "    ret\n");
}

static inline uint32_t leak_and_add(int32_t *x, const uint16_t *left, const int32_t *added, uint32_t count)
{
    const uint32_t done = count & ~7u;
    if (done != 0) {
        leak_and_add_asm(x, left, added, x + done);
    }
    return done;
}

#define leak_and_add_any leak_and_add
#define LNP_LEAK_LOOP(name, leak, turned, turn)                                                            \
    static inline uint32_t name(int32_t *x, const uint16_t *left, const int32_t *added, uint32_t count)    \
    {                                                                                                      \
        return leak_and_add(x, left, added, count);                                                        \
    }

// --- the rest of a step of neurons that spike, eight at a time

// The number of neurons in eights, after a last word that they do not fill was set to 0.
static inline uint32_t clear_last(uint32_t *z, uint32_t count)
{
    const uint32_t done = count & ~7u;
    if (done % 32u != 0) {
        z[done / 32u] = 0;
    }
    return done;
}

// A spike is rare: it is handled elsewhere, at 3k, and comes back. t5 has the byte of z.
#define LNP_COMPARE(v, v_th, k)                    \
    "    blt " #v_th ", " #v ", 3" #k "f\n"        \
    "4" #k ":\n"
#define LNP_SPIKE(v, v_th, k)                      \
    "3" #k ": sub " #v ", " #v ", " #v_th "\n"     \
    "    ori t5, t5, 1 << " #k "\n"
#define LNP_BACK(k) "    j 4" #k "b\n"

// v = lnp_leak(v, left) + i. a0 v, a1 i, a2 left, a3 v_th, a4 where z is, a5 where v ends.
#define LNP_LIF_TWO(k, l)                          \
    "    lw t0, (4 * " #k ")(a0)\n"                \
    "    lw t1, (4 * " #k " + 4)(a0)\n"            \
    "    lw t2, (2 * " #k ")(a2)\n"                \
    LNP_LEAK_TWO(t0, t1, t2, t3)                   \
    "    lw t2, (4 * " #k ")(a1)\n"                \
    "    lw t3, (4 * " #k " + 4)(a1)\n"            \
    "    add t0, t0, t2\n"                         \
    "    add t1, t1, t3\n"                         \
    "    lw t2, (4 * " #k ")(a3)\n"                \
    "    lw t3, (4 * " #k " + 4)(a3)\n"            \
    LNP_COMPARE(t0, t2, k)                         \
    LNP_COMPARE(t1, t3, l)                         \
    "    sw t0, (4 * " #k ")(a0)\n"                \
    "    sw t1, (4 * " #k " + 4)(a0)\n"
#define LNP_LIF_SPIKES(k, l)                       \
    LNP_SPIKE(t0, t2, k) LNP_BACK(k)               \
    LNP_SPIKE(t1, t3, l) LNP_BACK(l)

LNP_BY_HAND void fire_lif_asm(LNP_USES int32_t *v, LNP_USES const int32_t *i, LNP_USES const uint16_t *left,
                              LNP_USES const int32_t *v_th, LNP_USES uint8_t *z, LNP_USES const int32_t *end)
{
    __asm__(
        "    lui t6, 0xFFFF0\n"
        "1:  li t5, 0\n"
        LNP_LIF_TWO(0, 1)
        LNP_LIF_TWO(2, 3)
        LNP_LIF_TWO(4, 5)
        LNP_LIF_TWO(6, 7)
        "    sb t5, 0(a4)\n"
        "    addi a0, a0, 32\n"
        "    addi a1, a1, 32\n"
        "    addi a2, a2, 16\n"
        "    addi a3, a3, 32\n"
        "    addi a4, a4, 1\n"
        "    bne a0, a5, 1b\n"
        "    ret\n"
        LNP_LIF_SPIKES(0, 1)
        LNP_LIF_SPIKES(2, 3)
        LNP_LIF_SPIKES(4, 5)
        LNP_LIF_SPIKES(6, 7));
}

static inline uint32_t fire_lif(int32_t *v, const int32_t *i, const uint16_t *left, const int32_t *v_th, uint32_t *z,
                                uint32_t count)
{
    const uint32_t done = clear_last(z, count);
    if (done != 0) {
        fire_lif_asm(v, i, left, v_th, (uint8_t *)z, v + done);
    }
    return done;
}

#define fire_lif_any fire_lif

// v -= w, w = lnp_leak(w, left), a spike, which adds jump to w, and w += v - lnp_leak_half(v, pull). a0 v, a1 w,
// a2 left, a3 pull, a4 v_th, a5 how far from it jump is, a6 where z is, a7 where v ends. The upper word of v times
// pull * 2^16, both with their signs, leaves out v.
#define LNP_ADLIF_TWO(k, l)                        \
    "    lw t0, (4 * " #k ")(a0)\n"                \
    "    lw t1, (4 * " #k " + 4)(a0)\n"            \
    "    lw t2, (4 * " #k ")(a1)\n"                \
    "    lw t3, (4 * " #k " + 4)(a1)\n"            \
    "    lw s1, (2 * " #k ")(a2)\n"                \
    "    sub t0, t0, t2\n"                         \
    "    sub t1, t1, t3\n"                         \
    LNP_LEAK_TWO(t2, t3, s1, s0)                   \
    "    lw s0, (4 * " #k ")(a4)\n"                \
    "    lw s1, (4 * " #k " + 4)(a4)\n"            \
    LNP_COMPARE(t0, s0, k)                         \
    LNP_COMPARE(t1, s1, l)                         \
    "    lw s1, (2 * " #k ")(a3)\n"                \
    LNP_LEAVES(mulh, t0, t1, s1, s0)               \
    "    sub t2, t2, s0\n"                         \
    "    sub t3, t3, s1\n"                         \
    "    srli s0, t0, 31\n"                        \
    "    srli s1, t1, 31\n"                        \
    "    sub t2, t2, s0\n"                         \
    "    sub t3, t3, s1\n"                         \
    "    sw t0, (4 * " #k ")(a0)\n"                \
    "    sw t1, (4 * " #k " + 4)(a0)\n"            \
    "    sw t2, (4 * " #k ")(a1)\n"                \
    "    sw t3, (4 * " #k " + 4)(a1)\n"
#define LNP_ADLIF_SPIKE(v, w, v_th, k)             \
    LNP_SPIKE(v, v_th, k)                          \
    "    add t4, a4, a5\n"                         \
    "    lw t4, (4 * " #k ")(t4)\n"                \
    "    add " #w ", " #w ", t4\n"                 \
    LNP_BACK(k)
#define LNP_ADLIF_SPIKES(k, l)                     \
    LNP_ADLIF_SPIKE(t0, t2, s0, k)                 \
    LNP_ADLIF_SPIKE(t1, t3, s1, l)

LNP_BY_HAND void fire_adlif_asm(LNP_USES int32_t *v, LNP_USES int32_t *w, LNP_USES const uint16_t *left,
                                LNP_USES const uint16_t *pull, LNP_USES const int32_t *v_th,
                                LNP_USES const int32_t *jump, LNP_USES uint8_t *z, LNP_USES const int32_t *end)
{
    __asm__(
        "    addi sp, sp, -16\n"
        "    sw s0, 0(sp)\n"
        "    sw s1, 4(sp)\n"
        "    sub a5, a5, a4\n"
        "    lui t6, 0xFFFF0\n"
        "1:  li t5, 0\n"
        LNP_ADLIF_TWO(0, 1)
        LNP_ADLIF_TWO(2, 3)
        LNP_ADLIF_TWO(4, 5)
        LNP_ADLIF_TWO(6, 7)
        "    sb t5, 0(a6)\n"
        "    addi a0, a0, 32\n"
        "    addi a1, a1, 32\n"
        "    addi a2, a2, 16\n"
        "    addi a3, a3, 16\n"
        "    addi a4, a4, 32\n"
        "    addi a6, a6, 1\n"
        "    bne a0, a7, 1b\n"
        "    lw s0, 0(sp)\n"
        "    lw s1, 4(sp)\n"
        "    addi sp, sp, 16\n"
        "    ret\n"
        LNP_ADLIF_SPIKES(0, 1)
        LNP_ADLIF_SPIKES(2, 3)
        LNP_ADLIF_SPIKES(4, 5)
        LNP_ADLIF_SPIKES(6, 7));
}

static inline uint32_t fire_adlif(int32_t *v, int32_t *w, const uint16_t *left, const uint16_t *pull,
                                  const int32_t *v_th, const int32_t *jump, uint32_t *z, uint32_t count)
{
    const uint32_t done = clear_last(z, count);
    if (done != 0) {
        fire_adlif_asm(v, w, left, pull, v_th, jump, (uint8_t *)z, v + done);
    }
    return done;
}

#define fire_adlif_any fire_adlif
#define encode_affine(input, counts, offset, gain, shift, count) 0u
// clang-format on

#include "lnp_rv32im_synapses.h"

#endif
