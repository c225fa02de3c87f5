"""Zephyr: a module, docs.zephyrproject.org, Modules (External projects)."""

from lnp_edge.firmware_gen.exports._sketch import SYNTHETIC
from lnp_edge.firmware_gen.library import Library

TITLE = "Zephyr"
MODULE = """name: ${package}
build:
  cmake: zephyr
  kconfig: zephyr/Kconfig
samples:
  - samples
"""
KCONFIG = """config ${PACKAGE}
\tbool "${about}"
\thelp
\t  Takes samples by lnp_${name}_push and says when there is a ${what}.
"""
LISTS = """# ${about}
if(CONFIG_${PACKAGE})
  zephyr_library_named(${package})
  zephyr_library_sources(
${sources})
  zephyr_library_include_directories(../src)
  # Without it gcc 12.2 may drop the sums of more than 256 neurons.
  zephyr_library_compile_options(${option})
  zephyr_include_directories(../include)
endif()
"""
SAMPLE_LISTS = """cmake_minimum_required(VERSION 3.20.0)
list(APPEND ZEPHYR_EXTRA_MODULES "$${CMAKE_CURRENT_SOURCE_DIR}/../..")
find_package(Zephyr REQUIRED HINTS $$ENV{ZEPHYR_BASE})
project(${package}_blink)
target_sources(app PRIVATE src/main.c)
"""
CONFIG = "CONFIG_GPIO=y\nCONFIG_${PACKAGE}=y\n"
SAMPLE = """sample:
  name: ${package} blink
  description: "${about}"
tests:
  sample.${package}.blink:
    build_only: true
    filter: dt_alias_exists("led0")
    depends_on: gpio
    tags: ${package}
"""
MAIN = (
    """// Samples in, ${what}s out: lights the LED while
// ${first}.
// Begin your own with a copy of it.
#include <zephyr/drivers/gpio.h>
#include <zephyr/kernel.h>

#include "lnp_${name}.h"

static const struct gpio_dt_spec led = GPIO_DT_SPEC_GET(DT_ALIAS(led0), gpios);
static lnp_${name}_stream_t stream;

"""
    + SYNTHETIC
    + """
int main(void)
{
    int16_t sample[LNP_${NAME}_CHANNELS];
    lnp_decision_t decision;
    if (!gpio_is_ready_dt(&led) || gpio_pin_configure_dt(&led, GPIO_OUTPUT_INACTIVE) != 0) {
        return 1;
    }
    lnp_${name}_stream_init(&stream);
    for (;;) {
        read_sample(sample);
        if (lnp_${name}_push(&stream, sample, &decision)) {
            gpio_pin_set_dt(&led, (${test}) ? 1 : 0);
        }
        k_sleep(K_USEC((int64_t)(LNP_${NAME}_SAMPLE_SECONDS * 1e6)));  // your part too: wait for the sensor instead
    }
}
"""
)


def files(library: Library) -> dict[str, str]:
    texts = {
        "zephyr/module.yml": MODULE,
        "zephyr/Kconfig": KCONFIG,
        "zephyr/CMakeLists.txt": LISTS,
        "samples/blink/CMakeLists.txt": SAMPLE_LISTS,
        "samples/blink/prj.conf": CONFIG,
        "samples/blink/sample.yaml": SAMPLE,
        "samples/blink/src/main.c": MAIN,
    }
    filled = {path: library.fill(text).replace("@/", "../src/") for path, text in texts.items()}
    return library.placed("src", "include") | filled


def use(library: Library) -> str:
    return f"""Write `CONFIG_{library.package.upper()}=y` into `prj.conf`, and name this folder as a module:

```
west build -b nrf52840dk/nrf52840 my_app -- -DZEPHYR_EXTRA_MODULES=/path/to/{library.package}
```

In a workspace, a project of `west.yml` whose folder it is does the same. The sample builds as it stands:
`west build -b nrf52840dk/nrf52840 samples/blink`."""
