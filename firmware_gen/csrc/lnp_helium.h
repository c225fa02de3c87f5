// Loops of a step with vectors of 128 bits, for cores with Helium (M-profile vector extension, MVE):
// Cortex-M55. -DLNP_HELIUM asks lnp_kernel.h for this file; the program enables coprocessors 10 and 11 first,
// as for an FPU. Other loops stay those of lnp_armv7em.h.
#ifndef LNP_HELIUM_H
#define LNP_HELIUM_H

// clang's assembler takes these instructions only if its code generator may use them too, everywhere: it gets
// them as numbers, which a test compares with what gcc's assembler makes of their names.
#if defined(__clang__)
#define LNP_MVE(code, text) "    .inst.w " #code "\n"
#define LNP_MVE_ON
#else
#define LNP_MVE(code, text) "    " text "\n"
#define LNP_MVE_ON "    .arch_extension mve\n"
#endif

// clang-format off
#define LNP_WIDE_SHIFT_0(shift) LNP_MVE((0xefa00550 + (shift << 16)), "vshl.i32 q0, q0, #" #shift)
#define LNP_WIDE_SHIFT_1(shift)
#define LNP_WIDE_BACK_0 LNP_MVE(0xf01fc00d, "letp lr, 6b")
#define LNP_WIDE_BACK_1 LNP_MVE(0xf01fc00b, "letp lr, 6b")

// Defines name(sums, indptr, indices, data, z, words) as LNP_ROWS_LOOP does, for up to 256 sources and 256 targets,
// indptr of uint16_t and indices of uint8_t. Weights are added up in halfwords on the stack, eight events at a time,
// then the halfwords to the sums. 256 weights of at most 127 do not leave a halfword, and the targets of a row differ.
// r0 the halfwords, r1 the ends of a word's rows, r2 all indices, r3 all weights, r4 the highest bit, r5 where the next
// word of z is, r6 the next index, r7 the next weight, r10 where z ends.
#define LNP_WIDE_ROWS(name, targets, shift, turned)                                                       \
    LNP_BY_HAND void name##_asm(LNP_USES int32_t *sums, LNP_USES const uint16_t *indptr,                  \
                                LNP_USES const uint8_t *indices, LNP_USES const int8_t *data,             \
                                LNP_USES const uint32_t *z, LNP_USES const uint32_t *end)                 \
    {                                                                                                     \
        __asm__(                                                                                          \
            LNP_MVE_ON                                                                                    \
            LNP_ENTER                                                                                     \
            "    ldr r5, [sp, #36]\n"                                                                     \
            "    ldr r10, [sp, #40]\n"                                                                    \
            "    mov r11, r0\n"                                                                           \
            "    sub sp, #(2 * ((" #targets " + 7) & ~7))\n"                                              \
            "    mov r0, sp\n"                                                                            \
            "    mov r6, sp\n"                                                                            \
            "    mov r4, #(" #targets ")\n"                                                               \
            LNP_MVE(0xef806050, "vmov.i32 q3, #0")                                                        \
            LNP_MVE(0xf014e001, "dlstp.16 lr, r4")                                                        \
            "5:\n"                                                                                        \
            LNP_MVE(0xeca67e88, "vstrh.16 q3, [r6], #16")                                                 \
            LNP_MVE(0xf01fc005, "letp lr, 5b")                                                            \
            "    mov r4, #0x80000000\n"                                                                   \
            "    b 2f\n"                                                                                  \
            "1:  clz r6, r9\n"                                                                            \
            "    lsr r12, r4, r6\n"                                                                       \
            "    bic r9, r9, r12\n"                                                                       \
            "    ldr r8, [r1, r6, lsl #1]\n"                                                              \
            "    uxtah r6, r2, r8\n"                                                                      \
            "    uxtah r7, r3, r8\n"                                                                      \
            "    sub r8, r8, r8, lsl #16\n"                                                               \
            "    lsr r8, r8, #16\n"                                                                       \
            LNP_MVE(0xf018c00d, "wlstp.16 lr, r8, 3f")                                                    \
            "4:\n"                                                                                        \
            LNP_MVE(0xfcb60e88, "vldrb.u16 q0, [r6], #8")                                                 \
            LNP_MVE(0xecb72e88, "vldrb.s16 q1, [r7], #8")                                                 \
            LNP_MVE(0xfc904e91, "vldrh.u16 q2, [r0, q0, uxtw #1]")                                        \
            LNP_MVE(0xef144842, "vadd.i16 q2, q2, q1")                                                    \
            LNP_MVE(0xec804e91, "vstrh.16 q2, [r0, q0, uxtw #1]")                                         \
            LNP_MVE(0xf01fc00d, "letp lr, 4b")                                                            \
            "3:  cmp r9, #0\n"                                                                            \
            "    bne 1b\n"                                                                                \
            "    add r1, #64\n"                                                                           \
            "2:  cmp r5, r10\n"                                                                           \
            "    beq 7f\n"                                                                                \
            "    ldr r9, [r5], #4\n"                                                                      \
            "    rbit r9, r9\n"                                                                           \
            "    b 3b\n"                                                                                  \
            "7:  mov r6, r11\n"                                                                           \
            "    mov r5, #(" #targets ")\n"                                                               \
            LNP_MVE(0xf025e001, "dlstp.32 lr, r5")                                                        \
            "6:\n"                                                                                        \
            LNP_MVE(0xecb80f04, "vldrh.s32 q0, [r0], #8")                                                 \
            LNP_MVE(0xed963f00, "vldrw.u32 q1, [r6]")                                                     \
            LNP_WIDE_SHIFT_##turned(shift)                                                                \
            LNP_MVE(0xef222840, "vadd.i32 q1, q1, q0")                                                    \
            LNP_MVE(0xeca63f04, "vstrw.32 q1, [r6], #16")                                                 \
            LNP_WIDE_BACK_##turned                                                                        \
            "    add sp, #(2 * ((" #targets " + 7) & ~7))\n"                                              \
            LNP_LEAVE);                                                                                   \
    }                                                                                                     \
    static inline bool name(int32_t *sums, const uint16_t *indptr, const uint8_t *indices,                \
                            const int8_t *data, const uint32_t *z, uint32_t words)                        \
    {                                                                                                     \
        name##_asm(sums, indptr, indices, data, z, z + words);                                            \
        return true;                                                                                      \
    }
// clang-format on

#endif
