// What the boot ROM of the ESP32-C3 reads: with these words at the begin of flash (ESP32-C3 Technical
// Reference Manual v1.3, 7.2) it maps the first 4 MiB of it to both buses, and jumps behind them
// (github.com/espressif/esp32c3-direct-boot-example, README.md).
#include <stdint.h>

__attribute__((section(".boot"), used)) const uint32_t lnp_boot[2] = {0xAEDB041Du, 0xAEDB041Du};
