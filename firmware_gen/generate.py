"""Firmware from a quantised model and a board: a folder of C that `make` builds without Python."""

from __future__ import annotations

from pathlib import Path
from string import Template

from lnp_edge import boards
from lnp_edge.base.errors import BoardError, ConfigError, DoesNotFit
from lnp_edge.firmware_gen import commands, folder, neuron, tables, wire
from lnp_edge.firmware_gen.folder import write
from lnp_edge.spec import layout, protocol
from lnp_edge.spec.board import Board
from lnp_edge.spec.model import QuantizedModel

CSRC = Path(__file__).parent / "csrc"
COMMON = boards.FOLDER / "common"
STACK_BYTES = 2048  # all functions of a build together take about 600; tests/test_build.py measures it
NOT_DRIVERS = ("cortex_m", "memory")

__all__ = ["generate", "write"]


def generate(model: QuantizedModel, board: Board, name: str = "net") -> dict[str, str]:
    """Every file of the firmware by its path. Pure: the same model and board give the same bytes.

    Raises DoesNotFit when the tables or the state alone exceed the board's memory; what the code adds shows
    when it is linked.
    """
    if not folder.NAME.fullmatch(name) or name in neuron.KEYWORDS | _our_names():
        raise ConfigError(f"{name[:40]!r} cannot name a model in C", "a-z first, then a-z, 0-9 and _, at most 24")
    _check_fits(model, board)
    files = {
        f"lnp_{name}.h": _header(model, name),
        f"lnp_{name}.c": _source(model, name),
        f"lnp_{name}_tables.h": _tables_header(model, name),
        f"lnp_{name}_tables.c": _tables_source(model, name),
        "lnp_wire.h": wire.header(),
        "lnp_config.h": _config(model, board, name),
    }
    files |= {p.name: p.read_text("utf-8") for p in sorted(CSRC.iterdir()) if p.suffix in (".c", ".h")}
    files |= _board_part(board)
    sources = sorted(path for path in files if path.endswith(".c"))
    headers = sorted(path for path in files if path.endswith(".h"))
    files["Makefile"] = commands.makefile(board, name, sources, headers)
    files["README.md"] = _readme(model, board, name)
    files[folder.MANIFEST] = folder.manifest(name, board, files)
    return files


def _our_names() -> set[str]:
    """Names whose files or types would meet those of the runtime."""
    return {path.stem.removeprefix("lnp_") for path in CSRC.iterdir()} | {"config", "table", "wire"}


def _check_fits(model: QuantizedModel, board: Board) -> None:
    try_next = "prune more, train fewer neurons, or choose another --board: lnp boards lists them"
    flash = layout.table_bytes(model)
    if flash > board.flash.size:
        raise DoesNotFit(f"needs {flash} B flash for its tables, {board.name} has {board.flash.size}", try_next)
    ram = layout.state_bytes(model) + tables.link_bytes(model) + STACK_BYTES
    if ram > board.ram.size:
        raise DoesNotFit(f"needs {ram} B RAM for state, link and stack, {board.name} has {board.ram.size}", try_next)


def _board_part(board: Board) -> dict[str, str]:
    drivers = sorted(p.stem for p in COMMON.glob("*.c") if p.stem not in NOT_DRIVERS)
    if board.uart not in drivers:
        raise BoardError(
            f"{board.name}: no UART driver is called {board.uart!r}",
            f"there is: {', '.join(drivers)} (a new one goes into boards/common/)",
        )
    files = {f"{board.uart}.c": (COMMON / f"{board.uart}.c").read_text("utf-8")}
    if board.cpu == "host":
        return files
    files |= {f"{stem}.c": (COMMON / f"{stem}.c").read_text("utf-8") for stem in NOT_DRIVERS}
    files["lnp.ld"] = Template((COMMON / "cortex_m.ld").read_text("utf-8")).safe_substitute(
        flash_origin=f"0x{board.flash.origin:08X}",
        flash_size=board.flash.size,
        ram_origin=f"0x{board.ram.origin:08X}",
        ram_size=board.ram.size,
        stack_bytes=STACK_BYTES,
    )
    return files


def _top(model: QuantizedModel) -> str:
    return (
        f"// Generated: {model.neuron}, {model.n} neurons, {model.n_in} channels, {model.n_out} read-outs,"
        f" fingerprint {model.fingerprint:08x}.\n// Regenerate rather than edit.\n"
    )


def _header(model: QuantizedModel, name: str) -> str:
    up = name.upper()
    sizes = "\n".join(f"#define LNP_{up}_{key} {value}u" for key, value in tables.sizes(model).items())
    state = "\n".join(f"    int32_t {field}[LNP_{up}_N];" for field in model.state_fields)
    text = Template((CSRC / "lnp_model.h.in").read_text("utf-8"))
    return text.substitute(
        top=_top(model),
        NAME=up,
        name=name,
        fingerprint=f"0x{model.fingerprint:08X}u",
        sizes=sizes,
        state=state,
    )


def _tables_header(model: QuantizedModel, name: str) -> str:
    up = name.upper()
    body = tables.header(model, name)
    return (
        f"{_top(model)}#ifndef LNP_{up}_TABLES_H\n#define LNP_{up}_TABLES_H\n\n"
        f'#include "lnp_{name}.h"\n\n{body}\n#endif\n'
    )


def _tables_source(model: QuantizedModel, name: str) -> str:
    include = f'#include "lnp_{name}_tables.h"'
    return "\n".join([_top(model) + include, "", tables.definition(model, name), tables.directory(model, name)])


def _source(model: QuantizedModel, name: str) -> str:
    up = name.upper()
    fields = " ".join(f"F({field}, LNP_N)" for field in model.state_fields)
    used = ("N_IN", "N", "N_OUT", "Z_WORDS", "STATE_WORDS", "SAVE_BYTES", "FINGERPRINT")
    return "\n".join(
        [
            _top(model) + f'#include "lnp_{name}.h"',
            '#include "lnp_ops.h"',
            f'#include "lnp_{name}_tables.h"',
            "",
            f"#define LNP_MODEL(x) lnp_{name}_##x",
            *(f"#define LNP_{key} LNP_{up}_{key}" for key in used),
            f"#define LNP_SHIFT_IN {model.shift_in}",
            f"#define LNP_SHIFT_REC {model.shift_rec}",
            f"#define LNP_SHIFT_OUT {model.shift_out}",
            f"#define LNP_MOST_NEURON {max(model.neuron_bounds())}u  // no state variable exceeds it",
            f"#define LNP_MOST_Y {max(model.readout_bounds())}u",
            f"#define LNP_FIELDS(F) {fields} F(z, LNP_Z_WORDS) F(y, LNP_N_OUT)",
            "",
            neuron.encoder(model),
            neuron.neuron(model),
            '#include "lnp_kernel.h"',
            "",
        ]
    )


def _config(model: QuantizedModel, board: Board, name: str) -> str:
    up = name.upper()
    keys = ("N_IN", "N", "N_OUT", "STATE_WORDS", "TABLES", "FINGERPRINT")
    registers = [f"#define LNP_UART_{k.upper()} 0x{v:X}u" for k, v in sorted(board.registers.items())]
    return "\n".join(
        [
            f"// Generated: what the link serves, and the facts of boards/{board.name}/board.toml.",
            "#ifndef LNP_CONFIG_H",
            "#define LNP_CONFIG_H",
            "",
            f'#include "lnp_{name}.h"',
            '#include "lnp_wire.h"',
            "",
            f"#if LNP_{up}_FINGERPRINT != 0x{model.fingerprint:08X}u \\",
            f"    || LNP_WIRE_CRC != 0x{protocol.wire_crc():08X}u",
            '#error "files of different models or versions are mixed: run lnp generate again"',
            "#endif",
            "",
            f"#define LNP_MODEL(x) lnp_{name}_##x",
            *(f"#define LNP_{key} LNP_{up}_{key}" for key in keys),
            f"#define LNP_MAX_PAYLOAD {tables.max_payload(model)}u",
            f"#define LNP_MAX_STEPS {tables.max_steps(model)}u  // in one request",
            "",
            f'#define LNP_BOARD_NAME "{board.name}"',
            f"#define LNP_CLOCK_HZ {board.clock_hz}u",
            f"#define LNP_BAUD {board.baud}u",
            *registers,
            "",
            "#endif",
            "",
        ]
    )


def _readme(model: QuantizedModel, board: Board, name: str) -> str:
    own, *others = commands.names(board)
    return Template((CSRC / "README.md.in").read_text("utf-8")).substitute(
        name=name,
        NAME=name.upper(),
        board=board.name,
        fingerprint=f"{model.fingerprint:08x}",
        neuron=model.neuron,
        n=model.n,
        n_in=model.n_in,
        n_out=model.n_out,
        synapses=model.w_in.nnz + model.w_rec.nnz + model.w_out.nnz,
        table_bytes=layout.table_bytes(model),
        state_bytes=layout.state_bytes(model),
        link_bytes=tables.link_bytes(model),
        elf=commands.output(name, own),
        driver=board.uart,
        others="".join(f"make TOOLCHAIN={other}\n" for other in others),
        **_example(model, name),
    )


def _example(model: QuantizedModel, name: str) -> dict[str, str]:
    """What the README's example says of a window: its class, or what is foretold when it ends."""
    up = name.upper()
    row = f"const int16_t counts[LNP_{up}_N_IN]"
    if model.forecast is None:
        return {
            "takes": (
                "// Takes the next row. Returns the class of the window that ends with it, or -1 if none does.\n"
                f"int32_t classify({row})\n{{"
            ),
            "none": "-1",
            "answer": f"    return (int32_t)lnp_{name}_argmax(&net);",
        }
    later = f"{model.forecast.horizon} step{'s' * (model.forecast.horizon > 1)} later"
    channels = ", ".join(map(str, model.forecast.target))
    units = ", ".join(f"{unit:.9e}f" for unit in model.forecast.unit)
    return {
        "takes": (
            "// Takes the next row. If it ends a window, returns true and what is foretold: for each read-out the\n"
            f"// counts of its channel, {later}.\n"
            f"bool foretell({row}, float forecast[LNP_{up}_N_OUT])\n{{\n"
            f"    static const uint16_t channel[LNP_{up}_N_OUT] = {{{channels}}};\n"
            f"    static const float unit[LNP_{up}_N_OUT] = {{{units}}};"
        ),
        "none": "false",
        "answer": (
            f"    for (uint32_t o = 0; o < LNP_{up}_N_OUT; o++) {{\n"
            "        forecast[o] = (float)counts[channel[o]] + unit[o] * (float)net.y[o];\n    }\n    return true;"
        ),
    }
