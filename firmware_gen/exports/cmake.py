"""CMake: a subproject, or a package that find_package finds."""

from lnp_edge.base.version import VERSION
from lnp_edge.firmware_gen.library import Library

TITLE = "CMake"
LISTS = """# ${about}
cmake_minimum_required(VERSION 3.16)
project(${package} VERSION ${version} LANGUAGES C)

include(CMakePackageConfigHelpers)
include(GNUInstallDirs)

add_library(${package} STATIC
${sources})
add_library(${package}::${package} ALIAS ${package})
target_include_directories(${package}
    PUBLIC
        "$$<BUILD_INTERFACE:$${CMAKE_CURRENT_SOURCE_DIR}/include>"
        "$$<INSTALL_INTERFACE:$${CMAKE_INSTALL_INCLUDEDIR}/${package}>"
    PRIVATE src)
set_target_properties(${package} PROPERTIES
    C_STANDARD 11
    C_STANDARD_REQUIRED ON
    C_EXTENSIONS ON  # AVR's gcc has __flash in them: else its tables are in RAM
    POSITION_INDEPENDENT_CODE ON)
# Without it gcc 12.2 may drop the sums of more than 256 neurons.
target_compile_options(${package} PRIVATE "$$<$$<C_COMPILER_ID:GNU,Clang,AppleClang>:${option}>")

install(TARGETS ${package} EXPORT ${package}-targets ARCHIVE DESTINATION "$${CMAKE_INSTALL_LIBDIR}")
install(DIRECTORY include/ DESTINATION "$${CMAKE_INSTALL_INCLUDEDIR}/${package}")
set(config "$${CMAKE_INSTALL_LIBDIR}/cmake/${package}")
install(EXPORT ${package}-targets NAMESPACE ${package}:: DESTINATION "$${config}" FILE ${package}-config.cmake)
write_basic_package_version_file("$${CMAKE_CURRENT_BINARY_DIR}/${package}-config-version.cmake"
    COMPATIBILITY ExactVersion)
install(FILES "$${CMAKE_CURRENT_BINARY_DIR}/${package}-config-version.cmake" DESTINATION "$${config}")

if(CMAKE_SOURCE_DIR STREQUAL CMAKE_CURRENT_SOURCE_DIR)
    add_executable(${package}-example example/main.c)
    target_link_libraries(${package}-example PRIVATE ${package}::${package})
endif()
"""
EXAMPLE = """// Samples in, ${what}s out: reads rows of text with one integer for each channel, such as 12,-7,1003,
// and writes a line for every ${what}. Begin your own with a copy of it.
#include <stdio.h>

#include "lnp_${name}.h"

static lnp_${name}_stream_t stream;

// Your part: where a sample comes from. Returns false if there is none any more.
static bool next_sample(int16_t sample[LNP_${NAME}_CHANNELS])
{
    for (uint32_t k = 0; k < LNP_${NAME}_CHANNELS; k++) {
        int value = 0;
        if (scanf(k == 0 ? "%d" : " ,%d", &value) != 1 || value < INT16_MIN || value > INT16_MAX) {
            return false;
        }
        sample[k] = (int16_t)value;
    }
    return true;
}

int main(void)
{
    int16_t sample[LNP_${NAME}_CHANNELS];
    lnp_decision_t decision;
    lnp_${name}_stream_init(&stream);
    while (next_sample(sample)) {
        if (lnp_${name}_push(&stream, sample, &decision)) {
            const bool lit = ${test};  // ${first}
            printf("%s", lit ? "on" : "off");
            for (uint32_t o = 0; o < LNP_${NAME}_N_OUT; o++) {
                printf(" %ld", (long)decision.y[o]);
            }
            printf("\\n");
        }
    }
    return 0;
}
"""


def files(library: Library) -> dict[str, str]:
    lists = library.fill(LISTS).replace("@/", "src/")
    return library.placed("src", "include") | {"CMakeLists.txt": lists, "example/main.c": library.fill(EXAMPLE)}


def use(library: Library) -> str:
    package = library.package
    return f"""As a subproject, with this folder in `{package}`:

```cmake
add_subdirectory({package})
target_link_libraries(my_program PRIVATE {package}::{package})
```

Or installed, with `cmake -B build && cmake --build build && cmake --install build --prefix PREFIX` in this folder:

```cmake
find_package({package} {VERSION} REQUIRED)
target_link_libraries(my_program PRIVATE {package}::{package})
```

`cmake -B build && cmake --build build` in this folder alone also builds `example/main.c`.

On AVR tables are in flash in gcc's own dialect of C alone, `-std=gnu11`, which `CMakeLists.txt` asks for; with
`-std=c11` they are in RAM."""
