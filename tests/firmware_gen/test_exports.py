"""The libraries of lnp generate --as, built as their users build them, decide what the reference decides."""

import json
import os
import re
import shutil
import subprocess
import textwrap
import zipfile
from dataclasses import replace
from functools import cache
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from conftest import need
from test_build import with_loop_by_index
from test_example import RULE
from tiny import tiny_counts, tiny_front, tiny_loop, tiny_model, tiny_stack

from lnp_edge.base.errors import ConfigError
from lnp_edge.cli import main
from lnp_edge.firmware_gen import commands, library
from lnp_edge.firmware_gen.folder import MANIFEST, read_manifest, write
from lnp_edge.interchange import onnx_file
from lnp_edge.runtime.host import infer
from lnp_edge.runtime.reference import Reference
from lnp_edge.spec.quantity import Quantity

WARNINGS = ("-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror")
# What build systems of others set: none of it may change a bit. The example is not ours to warn of there.
FOREIGN = ("-fshort-enums", "-funsigned-char", "-flto", "-O2")
KINDS = library.kinds()
CUT = 120  # samples


@cache
def model():
    return replace(tiny_model(5), hop=5, classes=('le "ft', "rïght??/", "%d", "${x}")).check()


@cache
def samples():
    return tiny_counts(model(), CUT)


def decided(of=None, counts=None):
    """Whether the LED is on after each decision."""
    of, counts = of or model(), samples() if counts is None else counts
    return [p.label == 0 for p in infer(Reference(of), of, counts)]


def rows():
    return "".join(",".join(map(str, row)) + "\n" for row in samples())


@pytest.fixture
def made(tmp_path):
    """made(kind, name="net", of=model()) -> the folder of a library, below one that a shell would split."""

    def of(kind, name="net", of=None):
        folder = tmp_path / f"my prójects (ü)/lnp_{name}"
        write(library.generate(of or model(), kind, name), folder)
        return folder

    return of


def there(*programs):
    """Skip without one of these programs: not every machine has CMake and a C++ compiler."""
    missing = [program for program in programs if not shutil.which(program)]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")


def run(*command, **more):
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, **more)
    assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}{done.stderr[-4000:]}"
    return done.stdout


def test_the_kinds_are_found_and_on_their_page():
    page = (Path(__file__).parents[2] / "docs/libraries.md").read_text()
    assert {"arduino", "cmake", "platformio"} <= set(KINDS) <= set(re.findall(r"^\| `([\w-]+)` \|", page, re.M))


@pytest.mark.parametrize("kind", KINDS)
def test_a_library_has_no_main_a_licence_and_a_page(made, kind):
    folder = made(kind)
    assert "SPDX-License-Identifier: Apache-2.0" in (folder / "LICENSE").read_text()
    page = (folder / "README.md").read_text()
    assert "## Use it in a project" in page and "$" not in re.sub(r"\$\{?[A-Z_]{2,}\}?|\$<", "", page)
    code = [p for p in folder.rglob("*.c") if not {"example", "examples", "samples"} & set(p.relative_to(folder).parts)]
    assert code and not any(re.search(r"\bmain\(", p.read_text()) for p in code)
    assert all(p.name != "Makefile" for p in folder.rglob("*"))


@pytest.mark.parametrize("kind", KINDS)
def test_the_example_is_c_whatever_the_classes_are_called(made, kind):
    for path in made(kind).rglob("*"):
        if path.suffix in (".c", ".ino", ".cpp"):
            text = path.read_text()
            assert "??" not in text and "$" not in text
            assert text.isascii() or path.name.startswith("lnp_")


def test_all_that_a_linker_sees_has_the_name_of_the_network(made, tmp_path):
    need("gcc")
    folder = made("cmake", "gait")
    for source in sorted((folder / "src").glob("*.c")):
        out = tmp_path / f"{source.stem}.o"
        run("gcc", "-std=c11", *WARNINGS, "-I", folder / "include", "-c", source, "-o", out)
    names = run("nm", "--defined-only", "--extern-only", *sorted(tmp_path.glob("*.o")))
    found = re.findall(r"^[0-9a-f]+ [A-Z] (\w+)$", names, re.M)
    assert "lnp_gait_push" in found and "lnp_gait_crc32" in found
    assert all(name.startswith("lnp_gait_") for name in found)


def test_the_code_is_the_same_whether_or_not_a_build_knows_the_flag(tmp_path):
    """Without commands.KEEP_NULL gcc 12.2 drops sums of more than 256 neurons: see test_build.py, where the loop is
    from. Arduino lets no library set a flag."""
    need("arm-none-eabi-gcc")
    write(library.generate(tiny_model(n=300, density=0.05), "arduino"), tmp_path)
    with_loop_by_index(tmp_path / "src")
    compiler = ("arm-none-eabi-gcc", "-mcpu=cortex-m0", "-mthumb", "-ffreestanding", "-std=gnu11", "-Os")
    code = []
    for flag in ([], [commands.KEEP_NULL]):
        run(*compiler, *flag, "-c", tmp_path / "src/lnp_net.c", "-o", tmp_path / "x.o")
        run("arm-none-eabi-objcopy", "-O", "binary", "-j", ".text", tmp_path / "x.o", tmp_path / "x.bin")
        code.append((tmp_path / "x.bin").read_bytes())
    assert code[0] == code[1]


@pytest.mark.parametrize("kind", KINDS)
def test_generating_again_replaces_what_lnp_wrote_and_nothing_else(made, kind):
    folder = made(kind)
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    assert made(kind) == folder and before == {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    other = next(k for k in KINDS if k != kind)
    made(other)
    assert {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()} == set(
        library.generate(model(), other)
    )
    assert all(any(p.iterdir()) for p in folder.rglob("*") if p.is_dir())
    made(kind)
    deep = next(p for p in sorted(folder.rglob("*.[ch]")))
    deep.write_text("// mine\n")
    with pytest.raises(ConfigError, match="was edited"):
        made(kind)
    deep.unlink()
    (deep.parent / "mine.c").write_text("// mine\n")
    with pytest.raises(ConfigError, match=r"mine\.c', which lnp did not write"):
        made(kind)


def test_a_library_is_no_program(made, capsys):
    folder = made("cmake")
    for command in (["build", folder], ["flash", folder, "--dry-run"]):
        assert main(list(map(str, command))) == 2
        assert "is a library for cmake, not a program\n  its README.md" in capsys.readouterr().err
    with pytest.raises(ConfigError):
        read_manifest(folder)
    assert json.loads((folder / MANIFEST).read_text())["library"] == "cmake"


def test_the_command_writes_a_library_and_says_what_it_cannot(tmp_path, capsys):
    onnx_file.save(model(), tmp_path / "m.onnx")
    at = ["generate", str(tmp_path / "m.onnx"), "-o", str(tmp_path / "lib")]
    assert main([*at, "--as", "cmake", "--name", "gait"]) == 0
    told = capsys.readouterr().err
    assert (tmp_path / "lib/include/lnp_gait.h").is_file() and "README.md says how" in told
    assert "w_rec lies as " in told and "loops in assembly: " in told
    for words, said in (
        (["--as", "cmak"], "did you mean 'cmake'? available: "),
        (["--as", "cmake", "--app"], "leave one of them out"),
        (["--as", "cmake", "--name", "decision"], "choose another --name"),
        (["--as", "cmake", "--name", "A b"], "a-z first"),
        (["--as", "cmake", "--board", "host"], "not allowed with"),
        ([], "required"),
    ):
        try:
            code = main([*at, *words])
        except SystemExit as e:  # of argparse
            code = e.code
        assert code == 2 and said in capsys.readouterr().err


# ---- CMake


TWO = """
cmake_minimum_required(VERSION 3.16)
project(two LANGUAGES C CXX)
if(FIND)
    find_package(lnp_net REQUIRED)
    find_package(lnp_gait REQUIRED)
else()
    add_subdirectory(lnp_net)
    add_subdirectory(lnp_gait)
endif()
add_executable(two main.cpp)
target_link_libraries(two PRIVATE lnp_net::lnp_net lnp_gait::lnp_gait)
"""
TWO_MAIN = """
#include <cstdio>
#include <lnp_net.h>
#include <lnp_gait.h>

static lnp_net_stream_t net;
static lnp_gait_stream_t gait;

int main()
{
    int a, b, c;
    lnp_net_stream_init(&net);
    lnp_gait_stream_init(&gait);
    while (std::scanf("%d,%d,%d", &a, &b, &c) == 3) {
        const int16_t sample[] = {static_cast<int16_t>(a), static_cast<int16_t>(b), static_cast<int16_t>(c)};
        lnp_decision_t decision;
        if (lnp_net_push(&net, sample, &decision)) {
            std::printf("net %d\\n", decision.label == 0);
        }
        if (lnp_gait_push(&gait, sample, &decision)) {
            std::printf("gait %d\\n", decision.label == 0);
        }
    }
}
"""


@cache
def other_model():
    return replace(tiny_stack(6), hop=5).check()


@pytest.mark.slow
@pytest.mark.parametrize("find", [False, True], ids=["subproject", "find_package"])
def test_two_libraries_in_a_cmake_program_in_cpp(made, tmp_path, find):
    there("cmake", "gcc", "g++")
    folder = made("cmake").parent
    made("cmake", "gait", other_model())
    flags = " ".join((*WARNINGS, *FOREIGN))
    flags = (f"-DCMAKE_C_FLAGS={flags}", f"-DCMAKE_CXX_FLAGS={flags}", "-DCMAKE_BUILD_TYPE=None")
    (folder / "CMakeLists.txt").write_text(TWO)
    (folder / "main.cpp").write_text(TWO_MAIN)
    given = []
    if find:
        prefix = tmp_path / "pre fix"
        for name in ("net", "gait"):
            run("cmake", "-S", folder / f"lnp_{name}", "-B", tmp_path / name, *flags)
            run("cmake", "--build", tmp_path / name)
            run("cmake", "--install", tmp_path / name, "--prefix", prefix)
        said = run(tmp_path / "net/lnp_net-example", input=rows())  # the example too
        assert [line.split()[0] == "on" for line in said.splitlines()] == decided()
        given = ["-DFIND=ON", f"-DCMAKE_PREFIX_PATH={prefix}"]
        for name in ("net", "gait"):
            shutil.rmtree(folder / f"lnp_{name}")
    run("cmake", "-S", folder, "-B", tmp_path / "b", *flags, *given)
    run("cmake", "--build", tmp_path / "b")
    said = run(tmp_path / "b/two", input=rows()).splitlines()
    assert [line == "net 1" for line in said if line.startswith("net")] == decided()
    assert [line == "gait 1" for line in said if line.startswith("gait")] == decided(other_model())
    assert len(set(decided())) == len(set(decided(other_model()))) == 2


QUANTITIES = (Quantity("degC", -1000.0, 0.005, False), Quantity("", 5.0, 0.5, False), Quantity("", 512.0, 0.01))
OTHERS = {
    "a forecast": lambda: tiny_loop(),
    "a forecast in units": lambda: replace(tiny_loop(), quantities=QUANTITIES).check(),
    "a stream with a rule": lambda: replace(tiny_model(5), hop=5, decision=RULE).check(),
    "frames": lambda: tiny_front("logdiff", 4),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_the_example_of_any_model_says_what_the_reference_says(tmp_path, kind):
    need("gcc")
    of, folder = OTHERS[kind](), tmp_path / "lib"
    write(library.generate(of, "cmake"), folder)
    counts = tiny_counts(of, 200).reshape(-1, len(of.channels))[:200]
    sources = ("example/main.c", *sorted((folder / "src").glob("*.c")))
    run("gcc", "-std=c11", *WARNINGS, "-O1", "-fsanitize=undefined,address", "-I", "include", "-o", "x", *sources,
        cwd=folder)  # fmt: skip
    said = run(folder / "x", input="".join(",".join(map(str, row)) + "\n" for row in counts)).splitlines()
    expected = list(infer(Reference(of), of, counts))
    lit = [p.y[0] > 0 if of.forecast else p.label == 0 and not p.unknown for p in expected]
    assert [(line.split()[0] == "on", *map(int, line.split()[1:])) for line in said] == [
        (on, *p.y) for on, p in zip(lit, expected, strict=True)
    ]
    if shutil.which("g++"):
        run("g++", "-std=c++11", *WARNINGS, "-fsyntax-only", "-x", "c++", "-I", folder / "include", "-",
            input='#include "lnp_net.h"\n#include "lnp_net.h"\n')  # fmt: skip


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
    there("gcc", "g++")
    (tmp_path / "Arduino.h").write_text(ARDUINO_H)
    (tmp_path / "core.cpp").write_text(CORE)
    objects = sketch(made(kind), tmp_path, ("", "-O1", "-fshort-enums", "-funsigned-char", f"-I{tmp_path}"))
    run("g++", f"-I{tmp_path}", "-o", tmp_path / "x", tmp_path / "core.cpp", *objects)
    assert [line == "on" for line in run(tmp_path / "x", input=rows()).splitlines()] == decided()


AVR_CORE = Path("/usr/share/arduino/hardware/arduino/avr")  # of Debian's arduino-core-avr


@pytest.mark.slow
def test_the_arduino_library_compiles_with_the_core_of_avr(made, tmp_path):
    """An int of 16 bits, and a compiler of 2015."""
    there("avr-gcc")
    if not AVR_CORE.is_dir():
        pytest.skip("not installed: arduino-core-avr")
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
    there("gcc", "arm-none-eabi-gcc")
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


# ---- Zephyr and ESP-IDF: stand-ins for what their CMake packages define.


def made_up(of, count):
    """The samples that an example makes up."""
    t = np.arange(count)[:, None]
    return (t * (37 + 11 * np.arange(len(of.channels))) % 2000 - 1000).astype(np.int16)


FRAMEWORKS = {
    "zephyr": {
        "ZephyrConfig.cmake": """
            project(Zephyr-Kernel LANGUAGES C)
            file(STRINGS "${CMAKE_CURRENT_SOURCE_DIR}/prj.conf" lines)
            foreach(line ${lines})
                string(REGEX MATCH "^(CONFIG_[A-Z0-9_]+)=y$" _ "${line}")
                set(${CMAKE_MATCH_1} y)
            endforeach()
            add_executable(app "${CMAKE_CURRENT_LIST_DIR}/stand_in.c")
            target_include_directories(app PRIVATE "${CMAKE_CURRENT_LIST_DIR}/include")
            add_library(zephyr_interface INTERFACE)
            target_link_libraries(app PRIVATE zephyr_interface)
            function(zephyr_library_named name)
                add_library(${name} STATIC)
                set(ZEPHYR_CURRENT_LIBRARY ${name} PARENT_SCOPE)
                target_link_libraries(${name} PRIVATE zephyr_interface)
                target_link_libraries(app PRIVATE -Wl,--whole-archive ${name} -Wl,--no-whole-archive)
            endfunction()
            macro(zephyr_library_sources)
                target_sources(${ZEPHYR_CURRENT_LIBRARY} PRIVATE ${ARGN})
            endmacro()
            macro(zephyr_library_include_directories)
                target_include_directories(${ZEPHYR_CURRENT_LIBRARY} PRIVATE ${ARGN})
            endmacro()
            macro(zephyr_library_compile_options)
                target_compile_options(${ZEPHYR_CURRENT_LIBRARY} PRIVATE ${ARGN})
            endmacro()
            function(zephyr_include_directories)
                foreach(each ${ARGN})
                    get_filename_component(whole "${each}" ABSOLUTE)
                    target_include_directories(zephyr_interface INTERFACE "${whole}")
                endforeach()
            endfunction()
            foreach(module ${ZEPHYR_EXTRA_MODULES})
                file(STRINGS "${module}/zephyr/module.yml" lines)
                foreach(line ${lines})
                    if(line MATCHES "^name: (.*)$")
                        set(name ${CMAKE_MATCH_1})
                    elseif(line MATCHES "^  cmake: (.*)$")
                        add_subdirectory("${module}/${CMAKE_MATCH_1}" "${CMAKE_BINARY_DIR}/modules/${name}")
                    endif()
                endforeach()
            endforeach()
            """,
        "include/zephyr/kernel.h": """
            #pragma once
            #include <stdint.h>
            typedef struct { int64_t us; } k_timeout_t;
            #define K_USEC(us) ((k_timeout_t){us})
            int32_t k_sleep(k_timeout_t timeout);
            """,
        "include/zephyr/drivers/gpio.h": """
            #pragma once
            #include <stdbool.h>
            struct gpio_dt_spec { int pin; };
            enum { GPIO_OUTPUT_INACTIVE = 3 };
            #define DT_ALIAS(name) LED_##name
            #define GPIO_DT_SPEC_GET(node, property) {node}
            enum { LED_led0 = 7 };
            bool gpio_is_ready_dt(const struct gpio_dt_spec *spec);
            int gpio_pin_configure_dt(const struct gpio_dt_spec *spec, int flags);
            int gpio_pin_set_dt(const struct gpio_dt_spec *spec, int value);
            """,
        "stand_in.c": """
            #include <stdio.h>
            #include <stdlib.h>
            #include <zephyr/drivers/gpio.h>
            #include <zephyr/kernel.h>
            int32_t k_sleep(k_timeout_t timeout)
            {
                static int count;
                if (++count == CUT || timeout.us != 10000) exit(0);
                return 0;
            }
            bool gpio_is_ready_dt(const struct gpio_dt_spec *s) { return s->pin == 7; }
            int gpio_pin_configure_dt(const struct gpio_dt_spec *s, int flags) { return s->pin != 7 || flags != 3; }
            int gpio_pin_set_dt(const struct gpio_dt_spec *s, int value) { return s->pin + puts(value ? "on" : "off"); }
            """,
    },
    "esp-idf": {
        "tools/cmake/project.cmake": """
            macro(project name)
                _project(${name} LANGUAGES C)
                add_executable(app "$ENV{IDF_PATH}/stand_in.c")
                target_include_directories(app PRIVATE "$ENV{IDF_PATH}/include")
                add_library(idf_headers INTERFACE)
                target_include_directories(idf_headers INTERFACE "$ENV{IDF_PATH}/include")
                foreach(part ${EXTRA_COMPONENT_DIRS} main)
                    get_filename_component(whole "${part}" ABSOLUTE)
                    get_filename_component(COMPONENT_NAME "${whole}" NAME)
                    add_subdirectory("${whole}" "${CMAKE_BINARY_DIR}/esp-idf/${COMPONENT_NAME}")
                endforeach()
            endmacro()
            macro(idf_component_register)
                cmake_parse_arguments(_ "" "" "SRCS;INCLUDE_DIRS;PRIV_INCLUDE_DIRS;REQUIRES" ${ARGN})
                set(COMPONENT_LIB __idf_${COMPONENT_NAME})
                add_library(${COMPONENT_LIB} STATIC ${__SRCS})
                target_include_directories(${COMPONENT_LIB} PUBLIC ${__INCLUDE_DIRS} PRIVATE ${__PRIV_INCLUDE_DIRS})
                target_link_libraries(${COMPONENT_LIB} PUBLIC idf_headers)
                if(COMPONENT_NAME STREQUAL "main")  # requires all others
                    target_link_libraries(${COMPONENT_LIB} PUBLIC __idf_lnp_net)
                    target_link_libraries(app PRIVATE ${COMPONENT_LIB})
                endif()
            endmacro()
            """,
        "include/driver/gpio.h": """
            #pragma once
            enum { GPIO_NUM_2 = 2, GPIO_MODE_OUTPUT = 2 };
            int gpio_reset_pin(int pin);
            int gpio_set_direction(int pin, int mode);
            int gpio_set_level(int pin, unsigned level);
            """,
        "include/freertos/FreeRTOS.h": """
            #pragma once
            #include <stdint.h>
            typedef uint32_t TickType_t;
            #define configTICK_RATE_HZ 100
            """,
        "include/freertos/task.h": """
            #pragma once
            TickType_t xTaskGetTickCount(void);
            void vTaskDelayUntil(TickType_t *last, TickType_t ticks);
            """,
        "stand_in.c": """
            #include <stdio.h>
            #include <stdlib.h>
            #include "driver/gpio.h"
            #include "freertos/FreeRTOS.h"
            #include "freertos/task.h"
            void app_main(void);
            TickType_t xTaskGetTickCount(void) { return 0; }
            void vTaskDelayUntil(TickType_t *last, TickType_t ticks)
            {
                *last += ticks;
                if (*last == CUT || ticks != 1) exit(0);
            }
            int gpio_reset_pin(int pin) { return pin; }
            int gpio_set_direction(int pin, int mode) { return pin - mode; }
            int gpio_set_level(int pin, unsigned level) { return pin + puts(level ? "on" : "off"); }
            int main(void) { app_main(); }
            """,
    },
}
EXAMPLES = {"zephyr": "samples/blink", "esp-idf": "examples/blink"}


@pytest.mark.slow
@pytest.mark.parametrize("kind", FRAMEWORKS)
def test_the_example_of_a_framework_builds_as_it_stands_and_decides(made, tmp_path, kind):
    there("cmake", "gcc", "g++")
    for path, text in FRAMEWORKS[kind].items():
        (tmp_path / "frame work" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "frame work" / path).write_text(textwrap.dedent(text).lstrip().replace("CUT", str(CUT)))
    folder, at = made(kind), str(tmp_path / "frame work")
    variables = {"IDF_PATH": at, "ZEPHYR_BASE": at, "Zephyr_DIR": at}
    flags = f"-DCMAKE_C_FLAGS=-std=gnu11 {' '.join(FOREIGN)} -Wall -Wextra -Werror"
    env = os.environ | variables
    run("cmake", "-S", folder / EXAMPLES[kind], "-B", tmp_path / "b", flags, f"-DZephyr_DIR={at}", env=env)
    run("cmake", "--build", tmp_path / "b", env=env)
    said = run(tmp_path / "b/app").splitlines()
    assert [line == "on" for line in said] == decided(counts=made_up(model(), CUT))


def test_the_metadata_of_zephyr_is_valid(made):
    """The schema of scripts/zephyr_module.py, and of twister's sample.yaml."""
    yaml = pytest.importorskip("yaml")
    folder = made("zephyr")
    module = yaml.safe_load((folder / "zephyr/module.yml").read_text())
    assert module == {
        "name": "lnp_net", "build": {"cmake": "zephyr", "kconfig": "zephyr/Kconfig"}, "samples": ["samples"],
    }  # fmt: skip
    for path in (module["build"]["kconfig"], "zephyr/CMakeLists.txt", *module["samples"]):
        assert (folder / path).exists()
    kconfig = (folder / "zephyr/Kconfig").read_text().splitlines()
    assert kconfig[0] == "config LNP_NET" and re.fullmatch(r'\tbool "[^"]+"', kconfig[1])
    assert "CONFIG_LNP_NET=y" in (folder / "samples/blink/prj.conf").read_text().splitlines()
    sample = yaml.safe_load((folder / "samples/blink/sample.yaml").read_text())
    assert sample["sample"]["name"] and list(sample["tests"]) == ["sample.lnp_net.blink"]


def test_the_metadata_of_esp_idf_is_valid(made):
    """docs.espressif.com, IDF Component Manager, idf_component.yml"""
    yaml = pytest.importorskip("yaml")
    folder = made("esp-idf")
    found = yaml.safe_load((folder / "idf_component.yml").read_text())
    assert found.keys() == {"version", "description", "url", "license", "dependencies", "examples"}
    assert re.fullmatch(r"\d+\.\d+\.\d+", found["version"]) and found["dependencies"] == {"idf": ">=5.0"}
    assert all((folder / one["path"] / "main/CMakeLists.txt").is_file() for one in found["examples"])
