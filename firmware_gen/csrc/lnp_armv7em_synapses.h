// Loops over synapses, of dense inputs, and of rows and blocks of spikes: lnp_armv7em.h includes this file.
#ifndef LNP_ARMV7EM_SYNAPSES_H
#define LNP_ARMV7EM_SYNAPSES_H

// clang-format off
// --- add_pairs: the products of dense inputs

// Of two inputs, in x, and the weights of four targets: 256 b + a in `ab` and 256 d + c in `cd`. r4 sums all of ab, r5
// its lower byte, r12 and lr those of cd. `how`: PLUS, or FIRST for the first products.
#define LNP_FIRST(sum, w, x) "    smuad " #sum ", " #w ", " #x "\n"
#define LNP_PLUS(sum, w, x) "    smlad " #sum ", " #w ", " #x ", " #sum "\n"
#define LNP_OF_TWO(how, ab, cd, x)       \
    LNP_##how(r4, ab, x)                 \
    "    sxtb16 " #ab ", " #ab "\n"      \
    LNP_##how(r5, ab, x)                 \
    LNP_##how(r12, cd, x)                \
    "    sxtb16 " #cd ", " #cd "\n"      \
    LNP_##how(lr, cd, x)
#define LNP_OF_FOUR(how, next)                \
    "    ldrd r10, r11, [r2]" next "\n"       \
    "    ldmia r1!, {r6-r9}\n"                \
    LNP_OF_TWO(how, r6, r7, r10)              \
    LNP_OF_TWO(PLUS, r8, r9, r11)

#define LNP_BACK_0(turn)
#define LNP_BACK_1(turn)                               \
    "    mov r10, #0x80000000\n"                       \
    "    eor r6, r10, r6, ror #(32 - " #turn ")\n"     \
    "    eor r7, r10, r7, ror #(32 - " #turn ")\n"     \
    "    eor r8, r10, r8, ror #(32 - " #turn ")\n"     \
    "    eor r9, r10, r9, ror #(32 - " #turn ")\n"

// Defines name(sums, pairs, input, targets) for so many pairs of inputs, 1..32, and a scale of 2^shift, up to 16.
// The last load of inputs goes back to the first. Sums that are `turned` by `turn` bits are turned back, and eight
// targets are done at a time, not four.
#define LNP_PAIRS_LOOP(name, twos, shift, turned, turn)                                                           \
    LNP_BY_HAND void name##_asm(LNP_USES int32_t *sums, LNP_USES const int16_t *pairs,                     \
                                LNP_USES const int16_t *input, LNP_USES uint32_t times)                    \
    {                                                                                                      \
        __asm__(                                                                                           \
            LNP_ENTER                                                                                      \
            "1:\n"                                                                                         \
            "    .rept 1 + " #turned "\n"                                                                  \
            "    .if " #twos " == 1\n"                                                                     \
            "    ldr r10, [r2]\n"                                                                          \
            "    .elseif " #twos " & 1\n"                                                                  \
            "    ldr r10, [r2], #4\n"                                                                      \
            "    .endif\n"                                                                                 \
            "    .if " #twos " & 1\n"                                                                      \
            "    ldrd r6, r7, [r1], #8\n"                                                                  \
            LNP_OF_TWO(FIRST, r6, r7, r10)                                                                 \
            "    .elseif " #twos " == 2\n"                                                                 \
            LNP_OF_FOUR(FIRST, "")                                                                         \
            "    .else\n"                                                                                  \
            LNP_OF_FOUR(FIRST, ", #8")                                                                     \
            "    .endif\n"                                                                                 \
            "    .if " #twos " > 4\n"                                                                      \
            "    .rept (" #twos " - 1) / 2 - 1\n"                                                          \
            LNP_OF_FOUR(PLUS, ", #8")                                                                      \
            "    .endr\n"                                                                                  \
            "    .endif\n"                                                                                 \
            "    .if " #twos " > 2\n"                                                                      \
            LNP_OF_FOUR(PLUS, ", #-(4 * (" #twos " - 2))")                                                 \
            "    .endif\n"                                                                                 \
            "    ldmia r0, {r6-r9}\n"                                                                      \
            LNP_BACK_##turned(turn)                                                                        \
            "    add r6, r6, r5, lsl #" #shift "\n"                                                        \
            "    sub r4, r4, r5\n"                                                                         \
            "    add r8, r8, lr, lsl #" #shift "\n"                                                        \
            "    sub r12, r12, lr\n"                                                                       \
            "    .if " #shift " < 8\n"                                                                     \
            "    add r7, r7, r4, asr #(8 - " #shift ")\n"                                                  \
            "    add r9, r9, r12, asr #(8 - " #shift ")\n"                                                 \
            "    .else\n"                                                                                  \
            "    add r7, r7, r4, lsl #(" #shift " - 8)\n"                                                  \
            "    add r9, r9, r12, lsl #(" #shift " - 8)\n"                                                 \
            "    .endif\n"                                                                                 \
            "    stmia r0!, {r6-r9}\n"                                                                     \
            "    .endr\n"                                                                                  \
            "    subs r3, #1\n"                                                                            \
            "    bne 1b\n"                                                                                 \
            LNP_LEAVE);                                                                                    \
    }                                                                                                      \
    static inline uint32_t name(int32_t *sums, const int16_t *pairs, const int16_t *input,                 \
                                uint32_t targets)                                                          \
    {                                                                                                      \
        const uint32_t together = 4u + 4u * turned;                                                        \
        if (targets >= together) {                                                                         \
            name##_asm(sums, pairs, input, targets / together);                                            \
        }                                                                                                  \
        return targets - targets % together;                                                                       \
    }

// --- add_row_u8_i8 and add_row_u16_i8 of all that fired

// r0 sums, r6 where the next index is, r7 the next weight. An index goes through lr, a sum through r5.
#define LNP_EVENT(target_t, add)        \
    LNP_INDEX_##target_t                \
    "    ldr r5, [r0, lr, lsl #2]\n"    \
    "    " add "\n"                     \
    "    str r5, [r0, lr, lsl #2]\n"
#define LNP_INDEX_uint8_t "    ldrb lr, [r6], #1\n"
#define LNP_INDEX_uint16_t "    ldrh lr, [r6], #2\n"

// Sums as they are: r10 scale.
#define LNP_ONE_EVENT_0(target_t)       \
    "    ldrsb r11, [r7], #1\n"         \
    LNP_EVENT(target_t, "mla r5, r11, r10, r5")
#define LNP_FOUR_EVENTS_0(target_t)                 \
    "    ldr r11, [r7], #4\n"                       \
    "    sxtb16 r12, r11, ror #8\n"                 \
    "    sxtb16 r11, r11\n"                         \
    LNP_EVENT(target_t, "smlabb r5, r11, r10, r5")  \
    LNP_EVENT(target_t, "smlabb r5, r12, r10, r5")  \
    LNP_EVENT(target_t, "smlatb r5, r11, r10, r5")  \
    LNP_EVENT(target_t, "smlatb r5, r12, r10, r5")
#define LNP_SCALE_0(shift) "    mov r10, #(1 << " #shift ")\n"
#define LNP_WORD_0                  \
    "    ldrd r5, r12, [sp, #36]\n" \
    "    cmp r5, r12\n"             \
    "    beq 12f\n"                 \
    "    ldr r9, [r5], #4\n"        \
    "    str r5, [sp, #36]\n"

// Turned sums: r10 where the next word of z is, r11 where z ends.
#define LNP_ONE_EVENT_1(target_t)       \
    "    ldrsb r12, [r7], #1\n"         \
    LNP_EVENT(target_t, "add r5, r5, r12")
#define LNP_FOUR_EVENTS_1(target_t)                   \
    "    ldr r12, [r7], #4\n"                         \
    LNP_EVENT(target_t, "sxtab r5, r5, r12")          \
    LNP_EVENT(target_t, "sxtab r5, r5, r12, ror #8")  \
    LNP_EVENT(target_t, "sxtab r5, r5, r12, ror #16") \
    LNP_EVENT(target_t, "sxtab r5, r5, r12, ror #24")
#define LNP_SCALE_1(shift) "    ldrd r10, r11, [sp, #36]\n"
#define LNP_ONE_uint8_t(turned) LNP_ONE_EVENT_##turned(uint8_t)
#define LNP_ONE_uint16_t(turned) LNP_ONE_EVENT_##turned(uint16_t)
#define LNP_FOUR_uint8_t(turned) LNP_FOUR_EVENTS_##turned(uint8_t)
#define LNP_FOUR_uint16_t(turned) LNP_FOUR_EVENTS_##turned(uint16_t)

// Entries of add_gaps: r6 where the next is, r7 the target. Distances go through lr, 16 times the weights through r12.
#define LNP_TO_GAP(lr, add)             \
    "    uxtab r7, r7, " lr "\n"        \
    "    ldr r5, [r0, r7, lsl #2]\n"   \
    "    " add "\n"                    \
    "    str r5, [r0, r7, lsl #2]\n"
#define LNP_ONE_lnp_gaps_t(turned)      \
    "    ldrsb r12, [r6], #1\n"        \
    "    and lr, r12, #15\n"           \
    "    sub r12, r12, lr\n"           \
    LNP_TO_GAP("lr", LNP_ONE_GAP_##turned)
#define LNP_ONE_GAP_0 "mla r5, r12, r10, r5"
#define LNP_ONE_GAP_1 "add r5, r5, r12"
#define LNP_FOUR_lnp_gaps_t(turned)     \
    "    ldr r12, [r6], #4\n"          \
    "    and lr, r12, #0x0F0F0F0F\n"   \
    "    eor r12, r12, lr\n"           \
    LNP_FOUR_GAPS_##turned
#define LNP_FOUR_GAPS_0                                      \
    "    sxtb16 r11, r12, ror #8\n"                         \
    "    sxtb16 r12, r12\n"                                 \
    LNP_TO_GAP("lr", "smlabb r5, r12, r10, r5")              \
    LNP_TO_GAP("lr, ror #8", "smlabb r5, r11, r10, r5")      \
    LNP_TO_GAP("lr, ror #16", "smlatb r5, r12, r10, r5")     \
    LNP_TO_GAP("lr, ror #24", "smlatb r5, r11, r10, r5")
#define LNP_FOUR_GAPS_1                                      \
    LNP_TO_GAP("lr", "sxtab r5, r5, r12")                    \
    LNP_TO_GAP("lr, ror #8", "sxtab r5, r5, r12, ror #8")    \
    LNP_TO_GAP("lr, ror #16", "sxtab r5, r5, r12, ror #16")  \
    LNP_TO_GAP("lr, ror #24", "sxtab r5, r5, r12, ror #24")

#define LNP_WORD_1            \
    "    cmp r10, r11\n"      \
    "    beq 12f\n"           \
    "    ldr r9, [r10], #4\n"

// The row of spike r5 of a word: r6 its indices, r7 its weights, r8 its length in the upper half. r1 has the ends of
// the word's rows, r2 and r3 where all indices and weights begin. Two ends of 16 bits are one word, aligned or not.
#define LNP_ROW_uint16_t(target_t)               \
    "    ldr r8, [r1, r5, lsl #1]\n"             \
    "    uxtah r6, r2, r8\n"                     \
    LNP_TWICE_##target_t("    uxtah r6, r6, r8\n") \
    LNP_WEIGHTS_##target_t("uxtah r7, r3, r8")   \
    "    sub r8, r8, r8, lsl #16\n"
#define LNP_ROW_uint32_t(target_t)               \
    "    add r8, r1, r5, lsl #2\n"               \
    "    ldrd r12, r8, [r8]\n"                   \
    "    add r6, r2, r12\n"                      \
    LNP_TWICE_##target_t("    add r6, r6, r12\n") \
    LNP_WEIGHTS_##target_t("add r7, r3, r12")     \
    "    sub r8, r8, r12\n"                      \
    "    lsl r8, r8, #16\n"
#define LNP_TWICE_uint8_t(text)
#define LNP_TWICE_uint16_t(text) text
#define LNP_TWICE_lnp_gaps_t(text)
#define LNP_WEIGHTS_uint8_t(text) "    " text "\n"
#define LNP_WEIGHTS_uint16_t(text) "    " text "\n"
#define LNP_WEIGHTS_lnp_gaps_t(text) "    mov r7, #0\n"
#define LNP_ROWS_uint16_t "    add r1, #64\n"  // to those of the next word
#define LNP_ROWS_uint32_t "    add r1, #128\n"

// Defines name(sums, indptr, indices, data, z, words) for indptr and indices of these types, int8 data and a scale of
// 2^shift, up to 14. A word of z is read with its bits reversed: the first 1 is the first neuron. The two lowest bits
// of a row's length say where to enter three single synapses, the next two where to enter the loop over 16.
#define LNP_ROWS_LOOP(name, indptr_t, target_t, shift, turned)                                              \
    LNP_BY_HAND void name##_asm(LNP_USES int32_t *sums, LNP_USES const indptr_t *indptr,                    \
                                LNP_USES const target_t *indices, LNP_USES const int8_t *data,              \
                                LNP_USES const uint32_t *z, LNP_USES const uint32_t *end)                   \
    {                                                                                                       \
        __asm__(                                                                                            \
            LNP_ENTER                                                                                       \
            "    mov r4, #0x80000000\n"                                                                     \
            LNP_SCALE_##turned(shift)                                                                       \
            "    b 2f\n"                                                                                    \
            "1:  clz r5, r9\n"                                                                              \
            "    lsr r12, r4, r5\n"                                                                         \
            "    bic r9, r9, r12\n"                                                                         \
            LNP_ROW_##indptr_t(target_t)                                                                    \
            "    ubfx r5, r8, #16, #2\n"                                                                    \
            "    tbb [pc, r5]\n"                                                                            \
            "13: .byte (5f - 13b) / 2, (4f - 13b) / 2, (14f - 13b) / 2, (15f - 13b) / 2\n"                  \
            "15:\n"                                                                                         \
            LNP_ONE_##target_t(turned)                                                                \
            "14:\n"                                                                                         \
            LNP_ONE_##target_t(turned)                                                                \
            "4:\n"                                                                                          \
            LNP_ONE_##target_t(turned)                                                                \
            "5:  ubfx r5, r8, #18, #2\n"                                                                    \
            "    lsr r8, r8, #20\n"                                                                         \
            "    tbb [pc, r5]\n"                                                                            \
            "6:  .byte (9f - 6b) / 2, (8f - 6b) / 2, (7f - 6b) / 2, (11f - 6b) / 2\n"                       \
            "10:\n"                                                                                         \
            LNP_FOUR_##target_t(turned)                                                              \
            "11:\n"                                                                                         \
            LNP_FOUR_##target_t(turned)                                                              \
            "7:\n"                                                                                          \
            LNP_FOUR_##target_t(turned)                                                              \
            "8:\n"                                                                                          \
            LNP_FOUR_##target_t(turned)                                                              \
            "9:  subs r8, #1\n"                                                                             \
            "    bge 10b\n"                                                                                 \
            "3:  cmp r9, #0\n"                                                                              \
            "    bne 1b\n"                                                                                  \
            LNP_ROWS_##indptr_t                                                                             \
            "2:\n"                                                                                          \
            LNP_WORD_##turned                                                                               \
            "    rbit r9, r9\n"                                                                             \
            "    cmp r9, #0\n"                                                                              \
            "    bne 1b\n"                                                                                  \
            LNP_ROWS_##indptr_t                                                                             \
            "    b 2b\n"                                                                                    \
            "12:\n"                                                                                         \
            LNP_LEAVE);                                                                                     \
    }                                                                                                       \
    static inline bool name(int32_t *sums, const indptr_t *indptr, const target_t *indices,                 \
                            const int8_t *data, const uint32_t *z, uint32_t words)                          \
    {                                                                                                       \
        name##_asm(sums, indptr, indices, data, z, z + words);                                              \
        return true;                                                                                        \
    }

// --- LNP_ADD_BLOCKS of all that fired, with weights of 8 or 4 bits

// A block: r0 sums, r7 where the next index is, r2 where its four sums are.
#define LNP_BLOCK_uint8_t "    ldrb r2, [r7], #1\n"
#define LNP_BLOCK_uint16_t "    ldrh r2, [r7], #2\n"
#define LNP_FOUR_SUMS                              \
    "    add r2, r0, r2, lsl #4\n"                 \
    "    ldmia r2, {r3-r6}\n"

// Of 8 bits; `w` has its weights. Sums as they are: r10 scale.
#define LNP_BLOCK_0(block_t, w)                    \
    LNP_BLOCK_##block_t                            \
    "    sxtb16 lr, " #w ", ror #8\n"              \
    "    sxtb16 " #w ", " #w "\n"                  \
    LNP_FOUR_SUMS                                  \
    "    smlabb r3, " #w ", r10, r3\n"             \
    "    smlabb r4, lr, r10, r4\n"                 \
    "    smlatb r5, " #w ", r10, r5\n"             \
    "    smlatb r6, lr, r10, r6\n"                 \
    "    stmia r2!, {r3-r6}\n"
#define LNP_BLOCK_1(block_t, w)                    \
    LNP_BLOCK_##block_t                            \
    LNP_FOUR_SUMS                                  \
    "    sxtab r3, r3, " #w "\n"                   \
    "    sxtab r4, r4, " #w ", ror #8\n"           \
    "    sxtab r5, r5, " #w ", ror #16\n"          \
    "    sxtab r6, r6, " #w ", ror #24\n"          \
    "    stmia r2!, {r3-r6}\n"

// Of 4 bits, in the half of a word that begins at bit `at`: r11 has the word.
#define LNP_NIBBLE(sum, at, k, shift)                    \
    "    sbfx lr, r11, #(" at " + 4 * " #k "), #4\n"     \
    "    add " #sum ", " #sum ", lr, lsl #" #shift "\n"
#define LNP_NIBBLES_0(block_t, at, shift)          \
    LNP_BLOCK_##block_t                            \
    LNP_FOUR_SUMS                                  \
    LNP_NIBBLE(r3, at, 0, shift)                   \
    LNP_NIBBLE(r4, at, 1, shift)                   \
    LNP_NIBBLE(r5, at, 2, shift)                   \
    LNP_NIBBLE(r6, at, 3, shift)                   \
    "    stmia r2!, {r3-r6}\n"
// Turned: r11 has 16 times the first and third weight of each half, r12 the others.
#define LNP_NIBBLES_1(block_t, at, shift)                  \
    LNP_BLOCK_##block_t                                    \
    LNP_FOUR_SUMS                                          \
    "    sxtab r3, r3, r11, ror #" at "\n"                 \
    "    sxtab r4, r4, r12, ror #" at "\n"                 \
    "    sxtab r5, r5, r11, ror #(" at " + 8)\n"           \
    "    sxtab r6, r6, r12, ror #(" at " + 8)\n"           \
    "    stmia r2!, {r3-r6}\n"
#define LNP_SPLIT_0
#define LNP_SPLIT_1                                \
    "    and r12, r11, #0xF0F0F0F0\n"              \
    "    and r11, lr, r11, lsl #4\n"

// Eight blocks, at r8 their weights: those of two are loaded at a time, or of four where weights of 8 bits need no
// scale. A row begins at 4k with the last k of them, or at 3k if the weights of some that it lacks would be loaded.
#define LNP_TWO_int8_t_0(block_t, k, l, shift)  \
    "4" #k ": ldrd r11, r12, [r8], #8\n"        \
    LNP_BLOCK_0(block_t, r11)                   \
    "4" #l ":\n"                                \
    LNP_BLOCK_0(block_t, r12)
#define LNP_TWO_NIBBLES(turned, block_t, k, l, shift)   \
    "4" #k ": ldr r11, [r8], #4\n"                      \
    LNP_SPLIT_##turned                                  \
    LNP_NIBBLES_##turned(block_t, "0", shift)           \
    "4" #l ":\n"                                        \
    LNP_NIBBLES_##turned(block_t, "16", shift)
#define LNP_TWO_lnp_nibbles_t_0(block_t, k, l, shift) LNP_TWO_NIBBLES(0, block_t, k, l, shift)
#define LNP_TWO_lnp_nibbles_t_1(block_t, k, l, shift) LNP_TWO_NIBBLES(1, block_t, k, l, shift)
#define LNP_BY_TWO(two, block_t, shift)                                                          \
    two(block_t, 8, 7, shift) two(block_t, 6, 5, shift) two(block_t, 4, 3, shift) two(block_t, 2, 1, shift)
#define LNP_FOUR_BLOCKS(block_t, k, l, m, n)        \
    "4" #k ": ldmia r8!, {r10, r11, r12, lr}\n"     \
    LNP_BLOCK_1(block_t, r10)                       \
    "4" #l ":\n"                                    \
    LNP_BLOCK_1(block_t, r11)                       \
    "4" #m ":\n"                                    \
    LNP_BLOCK_1(block_t, r12)                       \
    "4" #n ":\n"                                    \
    LNP_BLOCK_1(block_t, lr)
#define LNP_SOME_BLOCKS(k, load)          \
    "3" #k ": " load "\n"                 \
    "    b 4" #k "f\n"
#define LNP_ENTER_BY_TWO(load)                                                                       \
    "    tbb [pc, r5]\n"                                                                             \
    "5:  .byte (40f - 5b) / 2, (31f - 5b) / 2, (42f - 5b) / 2, (33f - 5b) / 2\n"                     \
    "    .byte (44f - 5b) / 2, (35f - 5b) / 2, (46f - 5b) / 2, (37f - 5b) / 2\n"                     \
    LNP_SOME_BLOCKS(7, load) LNP_SOME_BLOCKS(5, load) LNP_SOME_BLOCKS(3, load) LNP_SOME_BLOCKS(1, load)
#define LNP_SOME_OF_FOUR(l, m, n)                           \
    LNP_SOME_BLOCKS(l, "ldmia r8!, {r11, r12, lr}")         \
    LNP_SOME_BLOCKS(m, "ldmia r8!, {r12, lr}")              \
    LNP_SOME_BLOCKS(n, "ldr lr, [r8], #4")
#define LNP_ENTER_BY_FOUR                                                                            \
    "    tbb [pc, r5]\n"                                                                             \
    "5:  .byte (40f - 5b) / 2, (31f - 5b) / 2, (32f - 5b) / 2, (33f - 5b) / 2\n"                     \
    "    .byte (44f - 5b) / 2, (35f - 5b) / 2, (36f - 5b) / 2, (37f - 5b) / 2\n"                     \
    LNP_SOME_OF_FOUR(7, 6, 5) LNP_SOME_OF_FOUR(3, 2, 1)
#define LNP_EIGHT_int8_t_0(block_t, shift)          \
    LNP_ENTER_BY_TWO("ldr r12, [r8], #4")           \
    LNP_BY_TWO(LNP_TWO_int8_t_0, block_t, shift)
#define LNP_EIGHT_int8_t_1(block_t, shift)          \
    LNP_ENTER_BY_FOUR                               \
    LNP_FOUR_BLOCKS(block_t, 8, 7, 6, 5) LNP_FOUR_BLOCKS(block_t, 4, 3, 2, 1)
#define LNP_ONE_NIBBLES "ldrh r11, [r8], #2\n    lsl r11, r11, #16\n"
#define LNP_EIGHT_lnp_nibbles_t_0(block_t, shift)   \
    LNP_ENTER_BY_TWO(LNP_ONE_NIBBLES LNP_SPLIT_0)   \
    LNP_BY_TWO(LNP_TWO_lnp_nibbles_t_0, block_t, shift)
#define LNP_EIGHT_lnp_nibbles_t_1(block_t, shift)   \
    LNP_ENTER_BY_TWO(LNP_ONE_NIBBLES LNP_SPLIT_1)   \
    LNP_BY_TWO(LNP_TWO_lnp_nibbles_t_1, block_t, shift)

// What is kept in a register: the scale of weights of 8 bits, or the mask of 4 bits.
#define LNP_KEEP_int8_t_0(shift) "    mov r10, #(1 << " #shift ")\n"
#define LNP_KEEP_int8_t_1(shift)
#define LNP_KEEP_lnp_nibbles_t_0(shift)
#define LNP_KEEP_lnp_nibbles_t_1(shift) "    mov lr, #0xF0F0F0F0\n"
#define LNP_OF_BLOCK_int8_t "2"  // binary logarithm of the bytes of its weights
#define LNP_OF_BLOCK_lnp_nibbles_t "1"

// The row of spike r6 of a word: r7 its indices, r8 its weights, r5 its blocks modulo 8, r1 how many times 8 follow.
// r2 has the starts of the word's rows, r3 where their indices begin, r4 where weights would if their first had the
// index 0. Two starts are loaded at once, aligned or not.
#define LNP_BLOCK_ROW_uint8_t(block_t, weight_t)       \
    "    ldrh r1, [r2, r6]\n"                          \
    LNP_BLOCK_PLACE_##block_t(uxtab, weight_t)         \
    "    rsb r1, r1, r1, lsr #8\n"                     \
    "    and r5, r1, #7\n"                             \
    "    ubfx r1, r1, #3, #5\n"
#define LNP_BLOCK_ROW_uint16_t(block_t, weight_t)      \
    "    ldr r1, [r2, r6, lsl #1]\n"                   \
    LNP_BLOCK_PLACE_##block_t(uxtah, weight_t)         \
    "    sub r1, r1, r1, lsl #16\n"                    \
    "    ubfx r5, r1, #16, #3\n"                       \
    "    lsr r1, r1, #19\n"
#define LNP_BLOCK_PLACE_uint8_t(add_low, weight_t)     \
    "    " #add_low " r7, r3, r1\n"                    \
    "    add r8, r4, r7, lsl #" LNP_OF_BLOCK_##weight_t "\n"
#define LNP_BLOCK_PLACE_uint16_t(add_low, weight_t)    \
    "    " #add_low " r7, r3, r1\n"                    \
    "    " #add_low " r7, r7, r1\n"                    \
    "    add r8, r4, r7, lsl #(" LNP_OF_BLOCK_##weight_t " - 1)\n"
#define LNP_LAST_START_uint8_t               \
    "    ldrb r7, [r2, #32]\n"               \
    "    adds r2, #33\n"
#define LNP_LAST_START_uint16_t              \
    "    ldrh r7, [r2, #64]\n"               \
    "    adds r2, #66\n"
#define LNP_LAST_PLACE_uint8_t "    adds r3, r3, r7\n"
#define LNP_LAST_PLACE_uint16_t "    add r3, r3, r7, lsl #1\n"
#define LNP_BLOCK_SHIFT_uint8_t "0"
#define LNP_BLOCK_SHIFT_uint16_t "1"

// Defines name(sums, starts, blocks, weights, z, words) for starts and blocks of these types, weights of int8_t and a
// scale of 2^shift, up to 14, or of lnp_nibbles_t. A word of z is read with its bits reversed. No block sets a flag:
// those of `bics` say whether a word has another spike. The stack has what r1 to r6 begin a row or a word with.
#define LNP_BLOCKS_LOOP(name, start_t, block_t, weight_t, shift, turned)                                     \
    LNP_BY_HAND void name##_asm(LNP_USES int32_t *sums, LNP_USES const uint32_t *z,                          \
                                LNP_USES const start_t *starts, LNP_USES const block_t *blocks,              \
                                LNP_USES const weight_t *weights, LNP_USES const uint32_t *end)              \
    {                                                                                                        \
        __asm__(                                                                                             \
            LNP_ENTER                                                                                        \
            "    ldrd r4, r6, [sp, #36]\n"                                                                   \
            "    sub r4, r4, r3, lsl #(" LNP_OF_BLOCK_##weight_t " - " LNP_BLOCK_SHIFT_##block_t ")\n"       \
            "    mov r5, #0x80000000\n"                                                                      \
            "    push {r1-r6}\n"                                                                             \
            LNP_KEEP_##weight_t##_##turned(shift)                                                            \
            "    b 2f\n"                                                                                     \
            "1:  ldmia sp, {r1-r5}\n"                                                                        \
            "    clz r6, r9\n"                                                                               \
            "    lsrs r5, r5, r6\n"                                                                          \
            "    bics r9, r9, r5\n"                                                                          \
            LNP_BLOCK_ROW_##start_t(block_t, weight_t)                                                       \
            LNP_EIGHT_##weight_t##_##turned(block_t, shift)                                                  \
            "40: cbz r1, 6f\n"                                                                               \
            "    sub r1, r1, #1\n"                                                                           \
            "    b 48b\n"                                                                                    \
            "6:  bne 1b\n"                                                                                   \
            "3:  ldmia sp, {r1-r6}\n"                                                                        \
            LNP_LAST_START_##start_t                                                                         \
            LNP_LAST_PLACE_##block_t                                                                         \
            "2:  cmp r1, r6\n"                                                                               \
            "    beq 4f\n"                                                                                   \
            "    ldmia r1!, {r7}\n"                                                                          \
            "    stmia sp, {r1-r3}\n"                                                                        \
            "    rbit r9, r7\n"                                                                              \
            "    cmp r7, #0\n"                                                                               \
            "    bne 1b\n"                                                                                   \
            "    b 3b\n"                                                                                     \
            "4:  add sp, #24\n"                                                                              \
            LNP_LEAVE);                                                                                      \
    }                                                                                                        \
    static inline bool name(int32_t *sums, const start_t *starts, const block_t *blocks,                     \
                            const weight_t *weights, const uint32_t *z, uint32_t words)                      \
    {                                                                                                        \
        name##_asm(sums, z, starts, blocks, weights, z + words);                                             \
        return true;                                                                                         \
    }

// --- the loop over spikes of add_spikes_to_i8: four words of halfwords. `second` is how far the rows of the second
// four targets are from those of the first.

LNP_BY_HAND void sum_spikes(LNP_USES int32_t *sum, LNP_USES const int8_t *rows, LNP_USES const uint32_t *z,
                            LNP_USES uint32_t words, LNP_USES uint32_t second)
{
    __asm__(
        LNP_ENTER
        "    ldr r12, [sp, #36]\n"
        "    add r12, r12, r1\n"
        "    movs r5, #0\n"
        "    movs r6, #0\n"
        "    movs r7, #0\n"
        "    mov r9, #0\n"
        "    mov r8, #0x80000000\n"
        "1:  ldr r4, [r2], #4\n"
        "    rbit r4, r4\n"
        "    cbz r4, 3f\n"
        "2:  clz r10, r4\n"
        "    lsr r11, r8, r10\n"
        "    bics r4, r4, r11\n"
        "    ldr r11, [r1, r10, lsl #2]\n"
        "    ldr lr, [r12, r10, lsl #2]\n"
        "    sxtab16 r5, r5, r11\n"
        "    sxtab16 r6, r6, r11, ror #8\n"
        "    sxtab16 r7, r7, lr\n"
        "    sxtab16 r9, r9, lr, ror #8\n"
        "    bne 2b\n"
        "3:  adds r1, #128\n"
        "    add r12, r12, #128\n"
        "    subs r3, #1\n"
        "    bne 1b\n"
        "    stmia r0!, {r5, r6, r7, r9}\n"
        LNP_LEAVE);
}
// clang-format on

#endif
