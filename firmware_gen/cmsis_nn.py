"""The C of CMSIS-NN 4.0.0. It comes with the wheel of bakenn, which is not imported: its files are read.

Its headers are changed in one way: the lines that include math.h and float.h, which a build without a C library
lacks and nothing here needs, are left out. Its memcpy and memset are the compiler's, or those of our start-up code.
"""

from __future__ import annotations

from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from lnp_edge.base.errors import LnpError
from lnp_edge.base.install import INSTALL, READ, require

PACKAGE = "bakenn"
RELEASE = READ[PACKAGE]
PLACE = Path("backend", "cmsis_nn", "vendor")
SOURCES = (
    "ConvolutionFunctions/arm_convolve_wrapper_s8.c", "ConvolutionFunctions/arm_convolve_1_x_n_s8.c",
    "ConvolutionFunctions/arm_convolve_1x1_s8.c", "ConvolutionFunctions/arm_convolve_1x1_s8_fast.c",
    "ConvolutionFunctions/arm_convolve_s8.c", "ConvolutionFunctions/arm_nn_mat_mult_kernel_s8_s16.c",
    "ConvolutionFunctions/arm_nn_mat_mult_s8.c", "ConvolutionFunctions/arm_depthwise_conv_wrapper_s8.c",
    "ConvolutionFunctions/arm_depthwise_conv_3x3_s8.c", "ConvolutionFunctions/arm_depthwise_conv_s8.c",
    "ConvolutionFunctions/arm_depthwise_conv_s8_opt.c", "FullyConnectedFunctions/arm_fully_connected_s8.c",
    "NNSupportFunctions/arm_nn_depthwise_conv_nt_t_padded_s8.c",
    "NNSupportFunctions/arm_nn_depthwise_conv_nt_t_s8.c", "NNSupportFunctions/arm_nn_mat_mul_core_1x_s8.c",
    "NNSupportFunctions/arm_nn_mat_mul_core_4x_s8.c", "NNSupportFunctions/arm_nn_mat_mult_nt_t_s8.c",
    "NNSupportFunctions/arm_nn_vec_mat_mult_t_s8.c", "NNSupportFunctions/arm_q7_to_q15_with_offset.c",
    "PoolingFunctions/arm_avgpool_s8.c",
)  # fmt: skip


def files() -> dict[str, str]:
    """The C of CMSIS-NN, by name. Raises LnpError without the wheel, or with another one."""
    require(PACKAGE)
    if (found := version(PACKAGE)) != RELEASE:
        raise LnpError(f"{PACKAGE} {found} is installed, CMSIS-NN is taken from {RELEASE}", INSTALL[PACKAGE])
    spec = find_spec(PACKAGE)
    assert spec and spec.submodule_search_locations
    root = Path(next(iter(spec.submodule_search_locations))) / PLACE
    return {path.name: path.read_text("utf-8") for path in sorted(root.glob("*/Include/*.h"))} | {
        Path(name).name: (root / "cmsis_nn" / "Source" / name).read_text("utf-8") for name in SOURCES
    }


def quiet(found: dict[str, str]) -> dict[str, str]:
    """The same as system headers, whose warnings are not shown: each source is included by a file of one line."""
    head = """#pragma GCC system_header
#define BAKENN_CMSIS_NN_BUILTIN_MEMORY
#if !defined(__arm__)
#define __GNUC_PYTHON__  // no assembly of Arm's
#define __RESTRICT __restrict
#endif
"""
    made = {}
    for name, text in found.items():
        for hosted in ("#include <math.h>", "#include <float.h>"):
            text = text.replace(hosted, "")
        if name.endswith(".c"):
            made[name] = f'#include "{name[:-2]}_c.h"\n'
            name = f"{name[:-2]}_c.h"
        made[name] = head + text
    return made
