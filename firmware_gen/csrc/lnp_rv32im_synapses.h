// Loops over synapses, of dense inputs, and of rows and blocks of spikes: lnp_rv32im.h includes this file.
#ifndef LNP_RV32IM_SYNAPSES_H
#define LNP_RV32IM_SYNAPSES_H

// clang-format off
// --- add_pairs: the products of dense inputs

// Of input number .Li, in x, and the weights of four targets, 256 b + a and 256 d + c: t0 sums all of ab, t1 its lower
// byte, t2 and t3 those of cd. a1 has the weights: of each two inputs ab of both, then cd of both.
#define LNP_OF_TWO(x, sum, low, at)                                                             \
    "    lh t4, (4 * (.Li & ~1) + 2 * (.Li & 1) + " #at ")(a1)\n"                               \
    "    lb t5, (4 * (.Li & ~1) + 2 * (.Li & 1) + " #at ")(a1)\n"                               \
    "    .if .Li == 0\n"                                                                        \
    "    mul " #sum ", t4, " x "\n"                                                             \
    "    mul " #low ", t5, " x "\n"                                                             \
    "    .else\n"                                                                               \
    "    mul t4, t4, " x "\n"                                                                   \
    "    mul t5, t5, " x "\n"                                                                   \
    "    add " #sum ", " #sum ", t4\n"                                                          \
    "    add " #low ", " #low ", t5\n"                                                          \
    "    .endif\n"
#define LNP_OF_INPUT(x) LNP_OF_TWO(x, t0, t1, 0) LNP_OF_TWO(x, t2, t3, 4)

// `text` for each of the first 16 of so many pairs of inputs, whose registers it calls \x.
#define LNP_EACH_REGISTER(twos, text)                                                           \
    "    .set .Li, 0\n"                                                                         \
    "    .irp x, s0, s1, s2, s3, s4, s5, s6, s7, s8, s9, s10, s11, a4, a5, a6, a7\n"            \
    "    .if .Li < 2 * " #twos "\n"                                                             \
    text                                                                                        \
    "    .endif\n"                                                                              \
    "    .set .Li, .Li + 1\n"                                                                   \
    "    .endr\n"

// Of the sums of 256 b x + a x and of a x, to the sums of two targets: those of a x and b x times 2^shift.
#define LNP_ADD_TWO(sum, low, shift, at)                                                        \
    "    lw t4, " #at "(a0)\n"                                                                  \
    "    lw t5, (" #at " + 4)(a0)\n"                                                            \
    "    sub " #sum ", " #sum ", " #low "\n"                                                    \
    "    slli " #low ", " #low ", " #shift "\n"                                                 \
    "    .if " #shift " < 8\n"                                                                  \
    "    srai " #sum ", " #sum ", 8 - " #shift "\n"                                             \
    "    .else\n"                                                                               \
    "    slli " #sum ", " #sum ", " #shift " - 8\n"                                             \
    "    .endif\n"                                                                              \
    "    add t4, t4, " #low "\n"                                                                \
    "    add t5, t5, " #sum "\n"                                                                \
    "    sw t4, " #at "(a0)\n"                                                                  \
    "    sw t5, (" #at " + 4)(a0)\n"

// Defines name(sums, pairs, input, targets) for so many pairs of inputs, 1..32, and a scale of 2^shift, up to 16. The
// first 16 inputs stay in registers, those behind are loaded for each four targets.
#define LNP_PAIRS_LOOP(name, twos, shift, turned, turn)                                                    \
    LNP_BY_HAND void name##_asm(LNP_USES int32_t *sums, LNP_USES const int16_t *pairs,                     \
                                LNP_USES const int16_t *input, LNP_USES const int32_t *end)                \
    {                                                                                                      \
        __asm__(                                                                                           \
            "    addi sp, sp, -48\n"                                                                       \
            "    .set .Li, 0\n"                                                                            \
            "    .irp x, s0, s1, s2, s3, s4, s5, s6, s7, s8, s9, s10, s11\n"                               \
            "    sw \\x, (4 * .Li)(sp)\n"                                                                  \
            "    .set .Li, .Li + 1\n"                                                                      \
            "    .endr\n"                                                                                  \
            LNP_EACH_REGISTER(twos, "    lh \\x, (2 * .Li)(a2)\n")                                         \
            "1:\n"                                                                                         \
            LNP_EACH_REGISTER(twos, LNP_OF_INPUT("\\x"))                                                   \
            "    .if " #twos " > 8\n"                                                                      \
            "    .rept 2 * " #twos " - 16\n"                                                               \
            "    lh t6, (2 * .Li)(a2)\n"                                                                   \
            LNP_OF_INPUT("t6")                                                                             \
            "    .set .Li, .Li + 1\n"                                                                      \
            "    .endr\n"                                                                                  \
            "    .endif\n"                                                                                 \
            LNP_ADD_TWO(t0, t1, shift, 0)                                                                  \
            LNP_ADD_TWO(t2, t3, shift, 8)                                                                  \
            "    addi a0, a0, 16\n"                                                                        \
            "    addi a1, a1, 8 * " #twos "\n"                                                             \
            "    bne a0, a3, 1b\n"                                                                         \
            "    .set .Li, 0\n"                                                                            \
            "    .irp x, s0, s1, s2, s3, s4, s5, s6, s7, s8, s9, s10, s11\n"                               \
            "    lw \\x, (4 * .Li)(sp)\n"                                                                  \
            "    .set .Li, .Li + 1\n"                                                                      \
            "    .endr\n"                                                                                  \
            "    addi sp, sp, 48\n"                                                                        \
            "    ret\n");                                                                                  \
    }                                                                                                      \
    static inline uint32_t name(int32_t *sums, const int16_t *pairs, const int16_t *input,                 \
                                uint32_t targets)                                                          \
    {                                                                                                      \
        const uint32_t done = targets & ~3u;                                                               \
        if (done != 0) {                                                                                   \
            name##_asm(sums, pairs, input, sums + done);                                                   \
        }                                                                                                  \
        return done;                                                                                       \
    }

// --- add_row_u8_i8, add_row_u16_i8 and add_gaps of all that fired

// a7 has the spikes of a word that are left: t1 is the lowest, which leaves a7. a6 has the table of lnp_bit_index,
// and t6 its constant.
#define LNP_NEXT_SPIKE               \
    "    neg t1, a7\n"               \
    "    and t1, t1, a7\n"           \
    "    xor a7, a7, t1\n"           \
    "    mul t1, t1, t6\n"           \
    "    srli t1, t1, 27\n"          \
    "    add t1, t1, a6\n"           \
    "    lbu t1, 0(t1)\n"

// The last 16 entries of a row are those before t4, where the next index is, and before t5, where the next weight is.
// Each takes as many bytes of code as LNP_SKIP says: a row begins with what is left of it modulo 16.
#define LNP_ENTRY(load_index, bytes, shift)                \
    "    " #load_index " t1, (" #bytes " * .Li)(t4)\n"     \
    "    lb t2, .Li(t5)\n"                                 \
    "    slli t1, t1, 2\n"                                 \
    "    add t1, t1, a0\n"                                 \
    "    lw t3, 0(t1)\n"                                   \
    "    slli t2, t2, " #shift "\n"                        \
    "    add t3, t3, t2\n"                                 \
    "    sw t3, 0(t1)\n"
#define LNP_ENTRY_uint8_t(shift) LNP_ENTRY(lbu, 1, shift)
#define LNP_ENTRY_uint16_t(shift) LNP_ENTRY(lhu, 2, shift)
#define LNP_ENTRY_lnp_gaps_t(shift)  /* t5 has where the last sum is */ \
    "    lb t2, .Li(t4)\n"           \
    "    andi t1, t2, 15\n"          \
    "    sub t2, t2, t1\n"           \
    "    slli t1, t1, 2\n"           \
    "    add t5, t5, t1\n"           \
    "    lw t3, 0(t5)\n"             \
    "    slli t2, t2, " #shift "\n"  \
    "    add t3, t3, t2\n"           \
    "    sw t3, 0(t5)\n"

// The ends of row t1: t4 and s1.
#define LNP_ENDS_uint16_t            \
    "    slli t1, t1, 1\n"           \
    "    add t1, t1, a1\n"           \
    "    lhu t4, 0(t1)\n"            \
    "    lhu s1, 2(t1)\n"
#define LNP_ENDS_uint32_t            \
    "    slli t1, t1, 2\n"           \
    "    add t1, t1, a1\n"           \
    "    lw t4, 0(t1)\n"             \
    "    lw s1, 4(t1)\n"
#define LNP_ROWS_uint16_t "    addi a1, a1, 64\n"  // to those of the next word
#define LNP_ROWS_uint32_t "    addi a1, a1, 128\n"

// Behind the entries of a row modulo 16: t4 and t5 where its index and weight are, s1 its end, and t1 the bytes of code
// that these entries take.
#define LNP_SKIP_uint8_t             \
    "    sub t1, s1, t4\n"           \
    "    andi t1, t1, 15\n"          \
    "    add t4, t4, t1\n"           \
    "    add t5, a3, t4\n"           \
    "    add t4, t4, a2\n"           \
    "    add s1, s1, a2\n"           \
    "    slli t1, t1, 5\n"
#define LNP_SKIP_uint16_t            \
    "    sub t1, s1, t4\n"           \
    "    andi t1, t1, 15\n"          \
    "    add t4, t4, t1\n"           \
    "    add t5, a3, t4\n"           \
    "    slli t4, t4, 1\n"           \
    "    slli s1, s1, 1\n"           \
    "    add t4, t4, a2\n"           \
    "    add s1, s1, a2\n"           \
    "    slli t1, t1, 5\n"
#define LNP_SKIP_lnp_gaps_t          \
    "    sub t1, s1, t4\n"           \
    "    andi t1, t1, 15\n"          \
    "    add t4, t4, t1\n"           \
    "    mv t5, a0\n"                \
    "    add t4, t4, a2\n"           \
    "    add s1, s1, a2\n"           \
    "    slli t2, t1, 2\n"           \
    "    slli t1, t1, 5\n"           \
    "    add t1, t1, t2\n"
#define LNP_ON_uint8_t               \
    "    addi t4, t4, 16\n"          \
    "    addi t5, t5, 16\n"
#define LNP_ON_uint16_t              \
    "    addi t4, t4, 32\n"          \
    "    addi t5, t5, 16\n"
#define LNP_ON_lnp_gaps_t            \
    "    addi t4, t4, 16\n"

// Defines name(sums, indptr, indices, data, z, words) for indptr and indices of these types, and int8 data. No
// instruction between 8 and 9 is compressed. t0 alone is jumped to as a return would be: firmware_gen/stack.py takes
// any other register for a call.
#define LNP_ROWS_LOOP(name, indptr_t, target_t, shift, turned)                                              \
    LNP_BY_HAND void name##_asm(LNP_USES int32_t *sums, LNP_USES const indptr_t *indptr,                    \
                                LNP_USES const target_t *indices, LNP_USES const int8_t *data,              \
                                LNP_USES const uint32_t *z, LNP_USES const uint32_t *end,                   \
                                LNP_USES const uint8_t *bits)                                               \
    {                                                                                                       \
        __asm__(                                                                                            \
            "    addi sp, sp, -16\n"                                                                        \
            "    sw s0, 0(sp)\n"                                                                            \
            "    sw s1, 4(sp)\n"                                                                            \
            "    li t6, 0x077CB531\n"                                                                       \
            "    lla s0, 9f\n"                                                                              \
            "    j 2f\n"                                                                                    \
            "1:\n"                                                                                          \
            LNP_NEXT_SPIKE                                                                                  \
            LNP_ENDS_##indptr_t                                                                             \
            LNP_SKIP_##target_t                                                                             \
            "    sub t0, s0, t1\n"                                                                          \
            "    jr t0\n"                                                                                   \
            "8:\n"                                                                                          \
            LNP_ON_##target_t                                                                               \
            "    .option push\n"                                                                            \
            "    .option norvc\n"                                                                           \
            "    .set .Li, -16\n"                                                                           \
            "    .rept 16\n"                                                                                \
            LNP_ENTRY_##target_t(shift)                                                                     \
            "    .set .Li, .Li + 1\n"                                                                       \
            "    .endr\n"                                                                                   \
            "9:\n"                                                                                          \
            "    .option pop\n"                                                                             \
            "    bne t4, s1, 8b\n"                                                                          \
            "    bnez a7, 1b\n"                                                                             \
            "4:\n"                                                                                          \
            LNP_ROWS_##indptr_t                                                                             \
            "2:  beq a4, a5, 3f\n"                                                                          \
            "    lw a7, 0(a4)\n"                                                                            \
            "    addi a4, a4, 4\n"                                                                          \
            "    bnez a7, 1b\n"                                                                             \
            "    j 4b\n"                                                                                    \
            "3:  lw s0, 0(sp)\n"                                                                            \
            "    lw s1, 4(sp)\n"                                                                            \
            "    addi sp, sp, 16\n"                                                                         \
            "    ret\n");                                                                                   \
    }                                                                                                       \
    static inline bool name(int32_t *sums, const indptr_t *indptr, const target_t *indices,                 \
                            const int8_t *data, const uint32_t *z, uint32_t words)                          \
    {                                                                                                       \
        name##_asm(sums, indptr, indices, data, z, z + words, lnp_bit_index());                             \
        return true;                                                                                        \
    }

// --- LNP_ADD_BLOCKS of all that fired, with weights of 8 or 4 bits

// The last four blocks of a row are those before t4, where the next index is, and before t5, where the next weights
// are. t1 is where the sums of a block are, s2 has its weights of 4 bits.
#define LNP_TO_SUM(k, shift)               \
    "    slli t2, t2, " #shift "\n"        \
    "    lw t3, (4 * " #k ")(t1)\n"        \
    "    add t3, t3, t2\n"                 \
    "    sw t3, (4 * " #k ")(t1)\n"
#define LNP_WEIGHT(k, shift)               \
    "    lb t2, (4 * .Li + " #k ")(t5)\n"  \
    LNP_TO_SUM(k, shift)
#define LNP_NIBBLE(k, shift)               \
    "    slli t2, s2, 28 - 4 * " #k "\n"   \
    "    srai t2, t2, 28\n"                \
    LNP_TO_SUM(k, shift)
#define LNP_BLOCK_int8_t(shift)            \
    LNP_WEIGHT(0, shift) LNP_WEIGHT(1, shift) LNP_WEIGHT(2, shift) LNP_WEIGHT(3, shift)
#define LNP_BLOCK_lnp_nibbles_t(shift)     \
    "    lhu s2, (2 * .Li)(t5)\n"          \
    LNP_NIBBLE(0, shift) LNP_NIBBLE(1, shift) LNP_NIBBLE(2, shift) LNP_NIBBLE(3, shift)

// Bytes of the code of a block, of which no instruction is compressed, and of its weights and index, with their binary
// logarithms.
#define LNP_CODE_int8_t "92"
#define LNP_CODE_lnp_nibbles_t "112"
#define LNP_WEIGHTS_int8_t "4"
#define LNP_WEIGHTS_lnp_nibbles_t "2"
#define LNP_LOG_WEIGHTS_int8_t "2"
#define LNP_LOG_WEIGHTS_lnp_nibbles_t "1"
#define LNP_LOAD_uint8_t "    lbu "
#define LNP_LOAD_uint16_t "    lhu "
#define LNP_BYTES_uint8_t "1"
#define LNP_BYTES_uint16_t "2"
#define LNP_LOG_BYTES_uint8_t "0"
#define LNP_LOG_BYTES_uint16_t "1"

// Defines name(sums, starts, blocks, weights, z, words) for starts and blocks of these types, weights of int8_t or of
// lnp_nibbles_t. a1 has the starts of a word's rows, a2 and a3 where their indices and weights begin.
#define LNP_BLOCKS_LOOP(name, start_t, block_t, weight_t, shift, turned)                                     \
    LNP_BY_HAND void name##_asm(LNP_USES int32_t *sums, LNP_USES const start_t *starts,                      \
                                LNP_USES const block_t *blocks, LNP_USES const weight_t *weights,            \
                                LNP_USES const uint32_t *z, LNP_USES const uint32_t *end,                    \
                                LNP_USES const uint8_t *bits)                                                \
    {                                                                                                        \
        __asm__(                                                                                             \
            "    addi sp, sp, -16\n"                                                                         \
            "    sw s0, 0(sp)\n"                                                                             \
            "    sw s1, 4(sp)\n"                                                                             \
            "    sw s2, 8(sp)\n"                                                                             \
            "    li t6, 0x077CB531\n"                                                                        \
            "    lla s0, 9f\n"                                                                               \
            "    j 2f\n"                                                                                     \
            "1:\n"                                                                                           \
            LNP_NEXT_SPIKE                                                                                   \
            "    slli t1, t1, " LNP_LOG_BYTES_##start_t "\n"                                                 \
            "    add t1, t1, a1\n"                                                                           \
            LNP_LOAD_##start_t "t4, 0(t1)\n"                                                                \
            LNP_LOAD_##start_t "s1, " LNP_BYTES_##start_t "(t1)\n"                                          \
            "    sub t1, s1, t4\n"                                                                           \
            "    andi t1, t1, 3\n"                                                                           \
            "    add t4, t4, t1\n"                                                                           \
            "    slli t5, t4, " LNP_LOG_WEIGHTS_##weight_t "\n"                                              \
            "    add t5, t5, a3\n"                                                                           \
            "    slli t4, t4, " LNP_LOG_BYTES_##block_t "\n"                                                 \
            "    slli s1, s1, " LNP_LOG_BYTES_##block_t "\n"                                                 \
            "    add t4, t4, a2\n"                                                                           \
            "    add s1, s1, a2\n"                                                                           \
            "    li t2, " LNP_CODE_##weight_t "\n"                                                           \
            "    mul t1, t1, t2\n"                                                                           \
            "    sub t0, s0, t1\n"                                                                           \
            "    jr t0\n"                                                                                    \
            "8:  addi t4, t4, 4 * " LNP_BYTES_##block_t "\n"                                                 \
            "    addi t5, t5, 4 * " LNP_WEIGHTS_##weight_t "\n"                                              \
            "    .option push\n"                                                                             \
            "    .option norvc\n"                                                                            \
            "    .set .Li, -4\n"                                                                             \
            "    .rept 4\n"                                                                                  \
            LNP_LOAD_##block_t "t1, (" LNP_BYTES_##block_t " * .Li)(t4)\n"                                  \
            "    slli t1, t1, 4\n"                                                                           \
            "    add t1, t1, a0\n"                                                                           \
            LNP_BLOCK_##weight_t(shift)                                                                      \
            "    .set .Li, .Li + 1\n"                                                                        \
            "    .endr\n"                                                                                    \
            "9:\n"                                                                                           \
            "    .option pop\n"                                                                              \
            "    bne t4, s1, 8b\n"                                                                           \
            "    bnez a7, 1b\n"                                                                              \
            "4:  addi a1, a1, 32 * " LNP_BYTES_##start_t "\n"                                                \
            LNP_LOAD_##start_t "t1, 0(a1)\n"                                                                \
            "    addi a1, a1, " LNP_BYTES_##start_t "\n"                                                     \
            "    slli t2, t1, " LNP_LOG_WEIGHTS_##weight_t "\n"                                              \
            "    add a3, a3, t2\n"                                                                           \
            "    slli t1, t1, " LNP_LOG_BYTES_##block_t "\n"                                                 \
            "    add a2, a2, t1\n"                                                                           \
            "2:  beq a4, a5, 3f\n"                                                                           \
            "    lw a7, 0(a4)\n"                                                                             \
            "    addi a4, a4, 4\n"                                                                           \
            "    bnez a7, 1b\n"                                                                              \
            "    j 4b\n"                                                                                     \
            "3:  lw s0, 0(sp)\n"                                                                             \
            "    lw s1, 4(sp)\n"                                                                             \
            "    lw s2, 8(sp)\n"                                                                             \
            "    addi sp, sp, 16\n"                                                                          \
            "    ret\n");                                                                                    \
    }                                                                                                        \
    static inline bool name(int32_t *sums, const start_t *starts, const block_t *blocks,                     \
                            const weight_t *weights, const uint32_t *z, uint32_t words)                      \
    {                                                                                                        \
        name##_asm(sums, starts, blocks, weights, z, z + words, lnp_bit_index());                            \
        return true;                                                                                         \
    }
// clang-format on

#endif
