"""The libraries of lnp generate --as for CMake, Zephyr and ESP-IDF, of which stand-ins define what they use."""

import os
import re
import shutil
import textwrap
from dataclasses import replace
from functools import cache

import pytest
from conftest import need
from exported import CUT, FOREIGN, WARNINGS, decided, made_up, model, rows, run
from tiny import tiny_stack

from lnp_edge.firmware_gen import library
from lnp_edge.firmware_gen.folder import write

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
    need("cmake", "gcc", "g++")
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


@pytest.mark.slow
def test_the_line_of_the_readme_installs_a_fresh_folder(made, tmp_path):
    need("cmake", "gcc")
    folder = made("cmake")
    line = re.search(r"`(cmake -B build .*) --prefix PREFIX`", (folder / "README.md").read_text())[1]
    run("sh", "-ec", f"{line} --prefix '{tmp_path / 'pre fix'}'", cwd=folder)
    assert (tmp_path / "pre fix/include/lnp_net/lnp_net.h").is_file()


@pytest.mark.slow
def test_on_an_avr_the_tables_are_in_flash(made, tmp_path):
    need("cmake", "avr-gcc")
    cross = ("-DCMAKE_SYSTEM_NAME=Generic", "-DCMAKE_C_COMPILER=avr-gcc", "-DCMAKE_C_FLAGS=-mmcu=atmega2560")
    run("cmake", "-S", made("cmake"), "-B", tmp_path, *cross, "-DCMAKE_TRY_COMPILE_TARGET_TYPE=STATIC_LIBRARY")
    run("cmake", "--build", tmp_path, "--target", "lnp_net")
    sections = re.findall(r"(\S+)\t\S+ lnp_net_tables$", run("avr-objdump", "-t", tmp_path / "liblnp_net.a"), re.M)
    assert sorted(sections) == ["*UND*", ".progmem.data"], "used in one file, and in flash in the other"


# ---- Zephyr and ESP-IDF: stand-ins for what their CMake packages define.


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
    need("cmake", "gcc", "g++")
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


TICKING = """
#include <stdio.h>
#include <stdlib.h>
#include "driver/gpio.h"
#include "freertos/FreeRTOS.h"
#include "freertos/task.h"
#include "lnp_net.h"
static TickType_t now = 5;
static int samples;
void app_main(void);
TickType_t xTaskGetTickCount(void) { return now; }
void vTaskDelayUntil(TickType_t *last, TickType_t ticks) { *last += ticks; now = ticks ? *last : 0; }
int gpio_reset_pin(int pin) { return pin; }
int gpio_set_direction(int pin, int mode) { return pin - mode; }
int gpio_set_level(int pin, unsigned level) { return pin - (int)level; }
void lnp_net_stream_init(lnp_net_stream_t *s) { (void)s; }
bool lnp_net_push(lnp_net_stream_t *s, const int16_t sample[3], lnp_decision_t *d)
{
    (void)s, (void)sample, (void)d;
    if (samples++ == 1000) {
        printf("%u", now - 5);
        exit(0);
    }
    return false;
}
int main(void) { app_main(); }
"""


@pytest.mark.parametrize(
    ("dt", "ticks"), [(0.01, 1000), (1 / 360, 278), (0.0333, 3330), (0.29, 29_000), (60.0, 6_000_000)]
)
def test_the_example_of_esp_idf_takes_samples_at_the_rate_of_the_model_whatever_a_tick_is(tmp_path, dt, ticks):
    """Of ticks of 10 ms: a sample that takes part of one is neither rounded away nor a whole one."""
    need("gcc")
    write(library.generate(replace(model(), dt=dt).check(), "esp-idf"), tmp_path / "lib")
    for path, text in FRAMEWORKS["esp-idf"].items():
        if path.endswith(".h"):
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_text(textwrap.dedent(text))
    (tmp_path / "ticking.c").write_text(TICKING)
    places = ("-I", tmp_path / "include", "-I", tmp_path / "lib/include")
    run("gcc", "-std=gnu11", *WARNINGS, *places, "-o", tmp_path / "x",
        tmp_path / "lib/examples/blink/main/main.c", tmp_path / "ticking.c")  # fmt: skip
    assert abs(int(run(tmp_path / "x")) - ticks) <= 1


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
