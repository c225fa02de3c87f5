"""ESP-IDF: a component, docs.espressif.com, Build System; its manifest: Component Manager, idf_component.yml."""

from lnp_edge.firmware_gen.exports._sketch import SYNTHETIC
from lnp_edge.firmware_gen.library import Library

TITLE = "ESP-IDF"
LISTS = """# ${about}
idf_component_register(
    SRCS
${sources}
    INCLUDE_DIRS "include"
    PRIV_INCLUDE_DIRS "src")
# Without it gcc 12.2 may drop the sums of more than 256 neurons.
target_compile_options($${COMPONENT_LIB} PRIVATE ${option})
"""
MANIFEST = """version: "${version}"
description: "${about}"
url: "${url}"
license: "${license}"
dependencies:
  idf: ">=5.0"
examples:
  - path: ./examples/blink
"""
EXAMPLE_LISTS = """cmake_minimum_required(VERSION 3.16)
set(EXTRA_COMPONENT_DIRS "../..")
include($$ENV{IDF_PATH}/tools/cmake/project.cmake)
project(${package}_blink)
"""
MAIN_LISTS = """idf_component_register(SRCS "main.c")
"""
MAIN = (
    """// Samples in, ${what}s out: lights the LED while
// ${first}.
// Begin your own with a copy of it.
#include "driver/gpio.h"
#include "freertos/FreeRTOS.h"
#include "freertos/task.h"
#include "lnp_${name}.h"

#define LED GPIO_NUM_2  // of your board

static lnp_${name}_stream_t stream;

"""
    + SYNTHETIC
    + """
void app_main(void)
{
    int16_t sample[LNP_${NAME}_CHANNELS];
    lnp_decision_t decision;
    gpio_reset_pin(LED);
    gpio_set_direction(LED, GPIO_MODE_OUTPUT);
    lnp_${name}_stream_init(&stream);
    double due = 0.0;  // ticks until the next sample: part of one is left for the sample after it
    TickType_t last = xTaskGetTickCount();
    for (;;) {
        read_sample(sample);
        if (lnp_${name}_push(&stream, sample, &decision)) {
            gpio_set_level(LED, (${test}) ? 1 : 0);
        }
        // Your part too: wait for the sensor instead. Of samples faster than CONFIG_FREERTOS_HZ some come at once.
        due += LNP_${NAME}_SAMPLE_SECONDS * configTICK_RATE_HZ;
        const TickType_t ticks = (TickType_t)due;
        if (ticks > 0) {
            vTaskDelayUntil(&last, ticks);
        }
        due -= ticks;
    }
}
"""
)


def files(library: Library) -> dict[str, str]:
    texts = {
        "CMakeLists.txt": LISTS,
        "idf_component.yml": MANIFEST,
        "examples/blink/CMakeLists.txt": EXAMPLE_LISTS,
        "examples/blink/main/CMakeLists.txt": MAIN_LISTS,
        "examples/blink/main/main.c": MAIN,
    }
    filled = {path: library.fill(text).replace("    @/", "        src/") for path, text in texts.items()}
    return library.placed("src", "include") | filled


def use(library: Library) -> str:
    return f"""Copy this folder to `components/{library.package}` of your project; its name there is the component's.
A component that is not `main` asks for it:

```cmake
idf_component_register(SRCS "mine.c" REQUIRES {library.package})
```

The example builds as it stands: `cd examples/blink && idf.py set-target esp32c3 build`."""
