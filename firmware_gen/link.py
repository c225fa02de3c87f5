"""The serial link of one model on one board: lnp_config.h, lnp_wire.h, and the size of a frame."""

from __future__ import annotations

from lnp_edge.firmware_gen import network, startup, wire
from lnp_edge.spec import layout, protocol
from lnp_edge.spec.board import AVR, AVR_ENDS, Board
from lnp_edge.spec.model import QuantizedModel

FILES = ("lnp_link", "lnp_serve", "lnp_selftest", "lnp_cobs")  # stems in csrc
REQUEST_HEAD = protocol.REQUESTS["steps"].struct.size
REPLY_HEAD = protocol.REPLIES["steps"].struct.size
PUSH_HEAD = protocol.REPLIES["push"].struct.size
BUILD = "#define LNP_BUILD 0u  // CRC-32 of the files"
SCARCE = 2048  # bytes of RAM, which leave no room for the usual payload
VARIABLES = 128  # bytes of RAM, which single variables take at most
CODE_BYTES = 16_384  # of flash beyond the tables, which a program with the self-test may take


def files(model: QuantizedModel, board: Board, name: str, tested: bool = True) -> dict[str, str]:
    """tested : whether there is the self-test, if there is room for it"""
    drivers, _ = startup.watchdog(board)
    return {"lnp_wire.h": wire.header(), "lnp_config.h": _config(model, board, name, tested)} | drivers


def scarce(board: Board) -> bool:
    """Whether RAM is so scarce that the link takes the smallest payload. An AVR's is, too, where a model is measured
    on a board that is given more than its chip has."""
    of_chip = AVR_ENDS[board.cpu][1] - board.ram.origin if board.family == AVR else board.ram.size
    return min(of_chip, board.ram.size) <= SCARCE


def max_payload(model: QuantizedModel, board: Board) -> int:
    """Bytes of the largest payload: 512, or 128 where RAM is scarce, or more if a message needs it."""
    usual = protocol.MIN_PAYLOAD if scarce(board) else protocol.PAYLOAD
    steps = max(REQUEST_HEAD + 2 * model.n_in, REPLY_HEAD + 4 * (model.n_out + 1))
    return max(usual, steps, PUSH_HEAD + 4 * model.n_out, 4 * len(layout.tables(model)))


def max_steps(model: QuantizedModel, board: Board) -> int:
    """The number of steps that fit in one request."""
    return (max_payload(model, board) - REQUEST_HEAD) // (2 * model.n_in)


def max_digests(model: QuantizedModel, board: Board) -> int:
    """The number of digests that fit in one reply."""
    return (max_payload(model, board) - REPLY_HEAD) // 4 - model.n_out


def ram_bytes(model: QuantizedModel, board: Board) -> int:
    """RAM of the link at least, without the state: two frames and the counts of one step. On AVR, where each byte
    counts, also the ring for what is received, and the directory of tables, which is no table."""
    frame = protocol.HEADER.size + max_payload(model, board) + protocol.CRC_BYTES
    rest = 0
    if board.family == AVR:
        ring = next(size for size in (256, 1024, 4096) if size > frame + frame // 254 + 3)  # as in boards/common/avr.c
        rest = ring + 6 * len(layout.tables(model))
    return 2 * frame + 2 * model.n_in + rest


def selftest(model: QuantizedModel, board: Board) -> tuple[int, ...]:
    """What the self-test of lnp verify has room for, bytes of RAM: (), (a saved state,) or (that, and a stream too)."""
    state, needs = layout.state_bytes(model), ram_bytes(model, board) + startup.stack_bytes(model, board)
    needs += VARIABLES if board.family == AVR else 0
    saved = 4 * (model.state_words + 4)
    stream = model.open_windows * (state + 16) + 4 * model.n_in + 2 * len(model.channels) + 64
    room = board.ram.size - state - needs - saved if board.flash.size - layout.table_bytes(model) >= CODE_BYTES else -1
    return () if room < 0 else (saved,) if room + saved < max(saved, stream) else (saved, max(saved, stream))


def _config(model: QuantizedModel, board: Board, name: str, tested: bool) -> str:
    up = name.upper()
    tests = len(selftest(model, board)) if tested else 0
    keys = ("N_IN", "N", "N_OUT", "STATE_WORDS", "TABLES", "FINGERPRINT", "SAVE_BYTES", "CHANNELS", "WINDOWS")
    return "\n".join(
        [
            f"// Generated: the constants of the link, and those of boards/{board.name}/board.toml.",
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
            f"#define LNP_READOUT {network.readout(model)}",
            f"#define LNP_MAX_PAYLOAD {max_payload(model, board)}u",
            f"#define LNP_MAX_STEPS {max_steps(model, board)}u  // in one request",
            f"#define LNP_MAX_DIGESTS {max_digests(model, board)}u  // in one reply",
            f"#define LNP_TESTS_STATE {tests > 0:d}  // whether there is room for the self-test of save and load",
            f"#define LNP_TESTS_STREAM {tests > 1:d}  // and of a stream",
            "",
            BUILD,
            f'#define LNP_BOARD_NAME "{board.name}"',
            *startup.constants(board),
            *startup.watchdog(board)[1],
            "",
            "#endif",
            "",
        ]
    )
