"""The libraries of lnp generate --as for Arduino, PlatformIO and CMSIS-Pack, compiled as their users compile them."""

import json
import re
import textwrap
import zipfile
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from conftest import need
from exported import CUT, FOREIGN, decided, made_up, model, rows, run

from lnp_edge.firmware_gen import library

# ---- Arduino and PlatformIO

ARDUINO_H = """
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#ifdef __cplusplus
extern "C" {
#endif
enum { INPUT, OUTPUT };
enum { LOW, HIGH };
static const uint8_t A0 = 14, LED_BUILTIN = 13;
int analogRead(uint8_t pin);
void digitalWrite(uint8_t pin, uint8_t value);
void pinMode(uint8_t pin, uint8_t mode);
unsigned long micros(void), millis(void);
#ifdef __cplusplus
}
#endif
void setup(), loop();
"""
CORE = """
#include <Arduino.h>
#include <stdlib.h>
static unsigned long now;
unsigned long micros() { return now += 1000; }
int analogRead(uint8_t pin)
{
    int value;
    if (scanf(pin == A0 ? "%d" : ",%d", &value) != 1) exit(0);
    return value;
}
void pinMode(uint8_t pin, uint8_t mode) { if (pin != LED_BUILTIN || mode != OUTPUT) exit(1); }
void digitalWrite(uint8_t, uint8_t value) { puts(value == HIGH ? "on" : "off"); }
int main() { setup(); while (true) loop(); }
"""


def sketch(folder, tmp_path, of):
    """Compile a sketch as Arduino does: it becomes C++ behind Arduino.h, and the library its C files, with `of`."""
    (tmp_path / "blink.cpp").write_text("#include <Arduino.h>\n" + (folder / "examples/blink/blink.ino").read_text())
    objects = []
    for source in (*sorted((folder / "src").glob("*.c")), tmp_path / "blink.cpp"):
        kind = ("g++", "-std=gnu++11", "-fpermissive") if source.suffix == ".cpp" else ("gcc", "-std=gnu11")
        objects.append(tmp_path / f"{source.stem}.o")
        compiler = of[0] + kind[0]
        run(compiler, *of[1:], "-Wall", "-Wextra", "-Werror", *kind[1:], f"-I{folder / 'src'}", "-c", source,
            "-o", objects[-1])  # fmt: skip
    return objects


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["arduino", "platformio"])
def test_the_sketch_lights_the_led_when_the_reference_decides(made, tmp_path, kind):
    need("gcc", "g++")
    (tmp_path / "Arduino.h").write_text(ARDUINO_H)
    (tmp_path / "core.cpp").write_text(CORE)
    objects = sketch(made(kind), tmp_path, ("", "-O1", "-fshort-enums", "-funsigned-char", f"-I{tmp_path}"))
    run("g++", f"-I{tmp_path}", "-o", tmp_path / "x", tmp_path / "core.cpp", *objects)
    assert [line == "on" for line in run(tmp_path / "x", input=rows()).splitlines()] == decided()


AVR_CORE = Path("/usr/share/arduino/hardware/arduino/avr")  # of Debian's arduino-core-avr


@pytest.mark.slow
def test_the_arduino_library_compiles_with_the_core_of_avr(made, tmp_path):
    """An int of 16 bits, and a compiler of 2015."""
    need("avr-gcc", str(AVR_CORE))
    core = (f"-I{AVR_CORE / 'cores/arduino'}", f"-I{AVR_CORE / 'variants/mega'}")
    of = (
        "avr-",
        "-mmcu=atmega2560",
        "-DF_CPU=16000000L",
        "-DARDUINO=10819",
        "-Os",
        "-flto",
        "-ffunction-sections",
        *core,
    )
    objects = sketch(made("arduino"), tmp_path, of)
    assert len(objects) == 4
    program = tmp_path / "program.c"
    program.write_text("""
        #include <lnp_net.h>
        static lnp_net_stream_t stream;
        int main(void)
        {
            int16_t sample[LNP_NET_CHANNELS] = {1};
            lnp_decision_t decision;
            lnp_net_stream_init(&stream);
            while (!lnp_net_push(&stream, sample, &decision)) {
            }
        }
        """)
    source = (f"-I{made('arduino') / 'src'}", program, *(one for one in objects if one.stem != "blink"))
    run("avr-gcc", *of[1:], "-std=gnu11", *source, "-o", tmp_path / "x.elf")
    tables = re.findall(r"^([0-9a-f]+) \w lnp_net_tables$", run("avr-nm", tmp_path / "x.elf"), re.M)
    assert [int(at, 16) < 0x80_0000 for at in tables] == [True], "data begins there, flash is below"


def properties(text):
    return dict(line.split("=", 1) for line in text.splitlines())


def test_the_metadata_of_arduino_is_valid(made):
    """arduino.github.io/arduino-cli/latest/library-specification"""
    folder = made("arduino")
    found = properties((folder / "library.properties").read_text())
    assert found.keys() >= {"name", "version", "author", "maintainer", "sentence", "paragraph", "category", "url"}
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9 _.-]*", found["name"]) and not found["name"].startswith("Arduino")
    assert re.fullmatch(r"\d+\.\d+\.\d+", found["version"]) and found["url"].startswith("https://")
    assert found["category"] in {
        "Display", "Communication", "Signal Input/Output", "Sensors", "Device Control", "Timing", "Data Storage",
        "Data Processing", "Other",
    }  # fmt: skip
    assert (folder / "src" / found["includes"]).is_file() and found["architectures"] == "*"
    words = dict(line.split("\t") for line in (folder / "keywords.txt").read_text().splitlines())
    assert words["lnp_net_push"] == "KEYWORD2" and words["lnp_net_stream_t"] == "KEYWORD1"
    assert words["LNP_NET_CHANNELS"] == "LITERAL1" and set(words.values()) == {"KEYWORD1", "KEYWORD2", "LITERAL1"}
    assert all(p.stem == p.parent.name for p in folder.rglob("*.ino"))


def test_the_metadata_of_platformio_is_valid(made):
    """docs.platformio.org/en/latest/manifests/library-json"""
    folder = made("platformio")
    found = json.loads((folder / "library.json").read_text())
    assert re.fullmatch(r"[A-Za-z0-9_. -]{1,100}", found["name"]) and 1 <= len(found["description"]) <= 1000
    assert re.fullmatch(r"\d+\.\d+\.\d+", found["version"]) and all(a["name"] for a in found["authors"])
    assert found["license"] == "Apache-2.0" and found["frameworks"] == found["platforms"] == "*"
    assert (folder / "src" / found["headers"]).is_file()
    for one in found["examples"]:
        assert all((folder / one["base"] / file).is_file() for file in one["files"])
    assert found["build"] == {"flags": ["-fno-delete-null-pointer-checks"]}


@pytest.mark.parametrize("dt, clock, counts", [(999.0, "micros", 999e6), (86_400.0, "millis", 86_400e3)])
def test_a_sketch_waits_for_a_sample_of_a_day(dt, clock, counts):
    """A difference of 2**31 counts is taken for one of less than nothing."""
    text = library.generate(replace(model(), dt=dt).check(), "arduino")["examples/blink/blink.ino"]
    assert f"{clock}() - next" in text and counts < 2**31
    assert f"SAMPLE_SECONDS * {counts / dt:.0e})".replace("e+0", "e") in text


# ---- CMSIS-Pack

PACK = "lnp-edge.lnp_net"
RTE = {
    "RTE_Components.h": '#define CMSIS_device_header "device.h"\n',
    "device.h": """
        #pragma once
        #include <stdint.h>
        #define __WEAK __attribute__((weak))
        void SystemCoreClockUpdate(void);
        uint32_t SysTick_Config(uint32_t ticks);
        void __WFI(void);
        extern uint32_t SystemCoreClock;
        """,
    "device.c": """
        #include <stdbool.h>
        #include <stdio.h>
        #include <stdlib.h>
        #include "device.h"
        void SysTick_Handler(void);
        void light(bool on) { puts(on ? "on" : "off"); }
        uint32_t SystemCoreClock;
        void SystemCoreClockUpdate(void) { SystemCoreClock = 48000; }
        uint32_t SysTick_Config(uint32_t ticks) { if (ticks != 48) exit(1); return 0; }
        void __WFI(void)
        {
            static int milliseconds;
            if (++milliseconds == 10 * CUT) exit(0);
            SysTick_Handler();
        }
        """,
}


@pytest.mark.parametrize(("dt", "ticks", "rate"), [
    (0.01, 10, 1000), (1 / 360, 3, 1080), (0.0005, 1, 2000), (600.0, 600_000, 1000), (0.0333, 34, 1021),
])  # fmt: skip
def test_the_example_of_a_pack_takes_samples_at_the_rate_of_the_model(dt, ticks, rate):
    """Of ticks of a millisecond, 360 samples a second would be 500, and 2,000 as many as it can."""
    text = library.generate(replace(model(), dt=dt).check(), "cmsis-pack")["examples/blink/main.c"]
    assert int(re.search(r"SystemCoreClock / (\d+)u", text)[1]) == rate
    assert set(re.findall(r"last (?:\+=|<) (\d+)u", text)) == {str(ticks)}
    assert abs(ticks / rate / dt - 1) <= 0.5 / rate  # a rate is a whole number


def listed(folder, category, template=False):
    """The files of the component."""
    files = ElementTree.parse(folder / f"{PACK}.pdsc").iterfind("components/component/files/file")
    return [
        file.get("name")
        for file in files
        if file.get("category") == category and (file.get("attr") == "template") == template
    ]


@pytest.mark.slow
def test_the_component_of_a_pack_builds_and_decides(made, tmp_path):
    """As CMSIS-Toolbox builds it: the files that the pack lists, and nothing else of it."""
    need("gcc", "arm-none-eabi-gcc")
    folder, device = made("cmsis-pack"), tmp_path / "de vice"
    run("python3", "-m", "zipfile", "-c", tmp_path / f"{PACK}.pack", *sorted(folder.iterdir()))
    with zipfile.ZipFile(tmp_path / f"{PACK}.pack") as pack:
        pack.extractall(installed := tmp_path / "installed")
    device.mkdir()
    for name, text in RTE.items():
        (device / name).write_text(textwrap.dedent(text).replace("CUT", str(CUT)))
    places = [f"-I{installed / name}" for name in listed(installed, "include")]
    (main_c,) = listed(installed, "sourceC", template=True)
    sources = [installed / name for name in (*listed(installed, "sourceC"), main_c)]
    flags = ("-std=gnu11", *FOREIGN, "-Wall", "-Wextra", "-Werror", *places, f"-I{device}")
    run("gcc", *flags, "-o", tmp_path / "x", *sources, device / "device.c")
    assert [line == "on" for line in run(tmp_path / "x").splitlines()] == decided(counts=made_up(model(), CUT - 1))
    for source in sources:
        run(
            "arm-none-eabi-gcc",
            "-mcpu=cortex-m4",
            "-mthumb",
            *flags,
            "-ffreestanding",
            "-c",
            source,
            "-o",
            tmp_path / "x.o",
        )


def test_the_longest_name_of_a_model_fits_into_the_description_of_a_pack(made):
    folder = made("cmsis-pack", "n" * 24)
    component = ElementTree.parse(folder / f"lnp-edge.lnp_{'n' * 24}.pdsc").getroot().find("components/component")
    assert len(component.get("Csub")) <= 32  # CsubType in PACK.xsd 1.7


def test_the_description_of_a_pack_is_valid(made):
    """By PACK.xsd 1.7: which elements there are, what they must have, and how they are spelt."""
    yaml = pytest.importorskip("yaml")
    folder = made("cmsis-pack")
    package = ElementTree.parse(folder / f"{PACK}.pdsc").getroot()
    assert package.tag == "package" and re.fullmatch(r"\d+\.\d+\.\d+", package.get("schemaVersion"))
    assert [one.tag for one in package] == [
        "vendor", "name", "description", "url", "license", "releases", "requirements", "keywords", "components"
    ]  # fmt: skip
    vendor, name = package.findtext("vendor"), package.findtext("name")
    assert re.fullmatch(r"[-_A-Za-z0-9]+\.[-_A-Za-z0-9]+", f"{vendor}.{name}") and f"{vendor}.{name}" == PACK
    assert len(package.findtext("description")) <= 256 and (folder / package.findtext("license")).is_file()
    (release,), (component,) = package.find("releases"), package.find("components")
    assert re.fullmatch(r"\d+\.\d+\.\d+", release.get("version")) and component.get("Cversion") == release.get(
        "version"
    )
    assert component.attrib.keys() == {"Cclass", "Cgroup", "Csub", "Cversion"}
    assert all(2 <= len(component.get(key)) <= 32 for key in ("Cclass", "Cgroup", "Csub"))
    assert [one.tag for one in component] == ["description", "files"]
    for file in component.find("files"):
        assert file.get("category") in {"doc", "header", "include", "sourceC"} and (folder / file.get("name")).exists()
        assert file.get("name").endswith("/") == (file.get("category") == "include")
        assert file.attrib.keys() <= {"category", "name", "attr", "select"}
    sources = {p.relative_to(folder).as_posix() for p in (folder / "src").glob("*.c")}
    assert set(listed(folder, "sourceC")) == sources
    solution, project = (
        yaml.safe_load((folder / f"examples/blink/blink.{kind}.yml").read_text()) for kind in ("csolution", "cproject")
    )
    where = [one["path"] for one in solution["solution"]["packs"] if one["pack"] == f"{vendor}::{name}"]
    assert [(folder / "examples/blink" / path).resolve() for path in where] == [folder.resolve()]
    whole = f"{vendor}::{component.get('Cclass')}:{component.get('Cgroup')}:{component.get('Csub')}"
    assert {"component": whole} in project["project"]["components"]
    assert project["project"]["groups"][0]["files"] == [{"file": "main.c"}]
