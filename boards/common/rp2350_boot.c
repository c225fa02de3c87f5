// What the boot ROM of the RP2350 looks for in the first 4 KiB of flash: a block that says what the image is.
// It has made the flash memory readable by then. RP2350 data sheet: 5.9.1 (blocks), 5.9.3.1 and
// 5.9.3.3 (items), 5.9.5.1.
#include <stdint.h>

// As long as a multiple of 256 bytes, which the vectors behind it are aligned to.
__attribute__((section(".boot"), used)) const uint32_t lnp_boot[64] = {
    0xFFFFDED3u,  // a block begins
    0x10210142u,  // IMAGE_DEF, one word: for an RP2350, its Arm cores, secure, executable
    0x00000203u,  // VECTOR_TABLE, two words
    0x10000100u,
    0x000003FFu,  // LAST: three words of items
    0u,           // the next block is this one
    0xAB123579u,  // it ends
};
