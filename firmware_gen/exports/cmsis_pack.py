"""CMSIS-Pack: a component that uVision, CMSIS-Toolbox and others install. open-cmsis-pack.github.io, PDSC Format."""

import math

from lnp_edge.base.version import VERSION
from lnp_edge.firmware_gen.exports._sketch import SYNTHETIC
from lnp_edge.firmware_gen.library import Library
from lnp_edge.spec.model import QuantizedModel

TITLE = "CMSIS-Pack"
VENDOR = "lnp-edge"
SCHEMA = "1.7.7"
PDSC = """<?xml version="1.0" encoding="UTF-8"?>
<package schemaVersion="${schema}" xmlns:xs="http://www.w3.org/2001/XMLSchema-instance"
    xs:noNamespaceSchemaLocation="https://raw.githubusercontent.com/Open-CMSIS-Pack/Open-CMSIS-Pack-Spec/v${schema}/schema/PACK.xsd">
  <vendor>${vendor}</vendor>
  <name>${package}</name>
  <description>${about}</description>
  <url></url>
  <license>LICENSE</license>
  <releases>
    <release version="${version}">Written by lnp-edge ${version}.</release>
  </releases>
  <requirements>
    <languages>
      <language name="C" version="11"/>
    </languages>
  </requirements>
  <keywords>
    <keyword>spiking network</keyword>
  </keywords>
  <components>
    <component Cclass="Machine Learning" Cgroup="Spiking Network" Csub="${package}" Cversion="${version}">
      <description>${about}</description>
      <files>
        <file category="doc" name="README.md"/>
        <file category="include" name="include/"/>
${files}
        <file category="sourceC" attr="template" name="examples/blink/main.c" select="samples in, ${what}s out"/>
      </files>
    </component>
  </components>
</package>
"""
SOLUTION = """solution:
  created-for: CMSIS-Toolbox@2.0.0
  packs:
    - pack: ARM::CMSIS
    - pack: ARM::Cortex_DFP
    - pack: ${vendor}::${package}
      path: ../..
  target-types:
    - type: any
      device: ARMCM4
  build-types:
    - type: Release
      compiler: GCC
      optimize: speed
  projects:
    - project: blink.cproject.yml
"""
PROJECT = """project:
  groups:
    - group: Yours
      files:
        - file: main.c
  components:
    - component: ARM::CMSIS:CORE
    - component: ARM::Device:Startup&C Startup
    - component: ${vendor}::Machine Learning:Spiking Network:${package}
"""
MAIN = (
    """// Samples in, ${what}s out: lights the LED while
// ${first}.
// Begin your own with a copy of it.
#include <stdbool.h>
#include <stdint.h>

#include "RTE_Components.h"
#include CMSIS_device_header

#include "lnp_${name}.h"

static lnp_${name}_stream_t stream;
static volatile uint32_t ticks;  // ${rate} a second, so that ${period} are a sample

void SysTick_Handler(void)
{
    ticks++;
}

// Your part: the LED of your board.
__WEAK void light(bool on)
{
    (void)on;
}

"""
    + SYNTHETIC
    + """
int main(void)
{
    int16_t sample[LNP_${NAME}_CHANNELS];
    lnp_decision_t decision;
    SystemCoreClockUpdate();
    SysTick_Config(SystemCoreClock / ${rate}u);
    lnp_${name}_stream_init(&stream);
    for (uint32_t last = ticks;; last += ${period}u) {
        while (ticks - last < ${period}u) {  // your part too: wait for the sensor instead
            __WFI();
        }
        read_sample(sample);
        if (lnp_${name}_push(&stream, sample, &decision)) {
            light(${test});
        }
    }
}
"""
)


def files(library: Library) -> dict[str, str]:
    listed = [f'        <file category="sourceC" name="src/{path}"/>' for path in sorted(library.sources)]
    listed += [f'        <file category="header" name="include/{path}"/>' for path in sorted(library.headers)]
    texts = {
        f"{VENDOR}.{library.package}.pdsc": PDSC,
        "examples/blink/blink.csolution.yml": SOLUTION,
        "examples/blink/blink.cproject.yml": PROJECT,
        "examples/blink/main.c": MAIN,
    }
    period, rate = ticks(library.model)
    words = {"vendor": VENDOR, "schema": SCHEMA, "files": "\n".join(listed), "period": f"{period}", "rate": f"{rate}"}
    filled = {path: library.fill(text, **words) for path, text in texts.items()}
    return library.placed("src", "include") | filled


def ticks(model: QuantizedModel) -> tuple[int, int]:
    """Ticks of a sample, as few as are a millisecond or less, and of a second."""
    period = max(1, math.ceil(round(1e3 * model.sample_dt, 6)))
    return period, round(period / model.sample_dt)


def use(library: Library) -> str:
    pack = f"{VENDOR}.{library.package}.{VERSION}.pack"
    return f"""Make the pack, and install it; CMSIS-Toolbox also takes this folder as it is, by its `.pdsc`:

```
python3 -m zipfile -c ../{pack} ./*
cpackget add ../{pack}
```

Then select *Machine Learning, Spiking Network, {library.package}*, or name it in a `cproject.yml`:

```yaml
  components:
    - component: {VENDOR}::Machine Learning:Spiking Network:{library.package}
```

The example is a solution, and a template of *User Code*:
`cbuild examples/blink/blink.csolution.yml --packs`."""
