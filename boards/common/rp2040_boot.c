// What the boot ROM of the RP2040 reads: code that makes the flash memory readable. RP2040 data sheet: 2.8
// (boot ROM), 4.10 (SSI).
#include <stdint.h>

// 2.8.1.3.1: the boot ROM copies the first 256 bytes of flash to RAM, checks the CRC-32 in the last four, and
// runs the rest. It makes the SSI turn every access into a serial read with command 03, which every flash
// memory has. Then it begins as the vectors behind it say.
__attribute__((section(".boot"), used)) const uint32_t lnp_boot[64] = {
    0x2407A304u,
    0x6001CB03u,
    0xD1FB3C01u,  // adr r3, writes; movs r4, #7; 1: ldm r3!, {r0, r1}; str r1, [r0];
    0xF380C905u,
    0x47108808u,  // subs r4, #1; bne 1b; ldm r1!, {r0, r2}; msr msp, r0; bx r2
    0x18000008u,
    0u,  // writes: SSIENR, off
    0x18000014u,
    4u,  // BAUDR: the core's clock / 4
    0x18000000u,
    31u << 16 | 3u << 8,  // CTRLR0: 32 bits, of which an instruction and an address are sent first
    0x180000F4u,
    3u << 24 | 2u << 8 | 6u << 2,  // SPI_CTRLR0: command 03, of 8 bits, and an address of 24
    0x18000004u,
    0u,  // CTRLR1: one word at a time
    0x18000008u,
    1u,  // SSIENR, on
    0xE000ED08u,
    0x10000100u,  // VTOR; r1 is left at our vectors
    [63] = 0xDFB03034u,
};
