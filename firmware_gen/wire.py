"""lnp_wire.h: the messages of lnp_edge/spec/protocol.py as C constants and accessors."""

from __future__ import annotations

import struct

from lnp_edge.spec import protocol
from lnp_edge.spec.protocol import NAK, REPLIES, REQUESTS, Message

HEADER_FIELDS = ("VERSION", "TYPE", "SID", "SEQ", "LEN")  # of protocol.HEADER
UNSIGNED = {"u8": "uint8_t", "u16": "uint16_t", "u32": "uint32_t"}


def header() -> str:
    """The whole file, which is the same for every model."""
    parts = [
        "// Generated from lnp_edge/spec/protocol.py. Regenerate rather than edit.",
        "#ifndef LNP_WIRE_H",
        "#define LNP_WIRE_H",
        "",
        '#include "lnp_types.h"',
        "",
        _define("WIRE_VERSION", protocol.VERSION),
        f"#define LNP_WIRE_CRC 0x{protocol.wire_crc():08X}u",
        _define("WIRE_HEADER_BYTES", protocol.HEADER.size),
        _define("WIRE_CRC_BYTES", protocol.CRC_BYTES),
        _define("WIRE_NAME_BYTES", protocol.NAME_BYTES),
        _define("WIRE_MOST_RATES", protocol.MOST_RATES),
        _define("WIRE_LOST_BYTES", protocol.LOST_BYTES),
        f"#define LNP_WIRE_REPLY 0x{protocol.REPLY:02X}u",
        *(_define(f"WIRE_{name}_AT", at) for name, at in zip(HEADER_FIELDS, _header_offsets(), strict=True)),
        "",
        *(_define(f"NAK_{name.upper()}", code) for name, code in NAK.items()),
        "",
        "// Message types, and the offset in the payload of the array after the fixed fields.",
        *(line for name, message in REQUESTS.items() for line in _message("REQUEST", name, message)),
        *(line for name, message in REPLIES.items() for line in _message("REPLY", name, message)),
        "",
        *(_getter(name, field, kind, message) for name, message in REQUESTS.items() for field, kind in message.fields),
        *(_putter(name, field, kind, message) for name, message in REPLIES.items() for field, kind in message.fields),
        "#endif",
        "",
    ]
    return "\n".join(parts)


def _define(name: str, value: int) -> str:
    return f"#define LNP_{name} {value}u"


def _header_offsets() -> list[int]:
    codes = protocol.HEADER.format.removeprefix("<")
    return [struct.calcsize("<" + codes[:k]) for k in range(len(codes))]


def _message(direction: str, name: str, message: Message) -> list[str]:
    full = f"{direction}_{name.upper()}"
    return [f"#define LNP_{full} 0x{message.type:02X}u", _define(f"{full}_REST", message.offsets()["rest"])]


def _getter(name: str, field: str, kind: str, message: Message) -> str:
    c_type, at = UNSIGNED[kind], message.offsets()[field]
    return (
        f"static inline {c_type} lnp_get_{name}_{field}(const uint8_t *payload)\n"
        f"{{\n    return lnp_get_{kind}(payload + {at});\n}}\n"
    )


def _putter(name: str, field: str, kind: str, message: Message) -> str:
    at = message.offsets()[field]
    if kind == "name":
        return (
            f"static inline void lnp_put_{name}_{field}(uint8_t *payload, "
            f"const char text[LNP_WIRE_NAME_BYTES])\n"
            f"{{\n    for (uint32_t i = 0; i < LNP_WIRE_NAME_BYTES; i++) {{\n"
            f"        payload[{at} + i] = (uint8_t)text[i];\n    }}\n}}\n"
        )
    return (
        f"static inline void lnp_put_{name}_{field}(uint8_t *payload, {UNSIGNED[kind]} value)\n"
        f"{{\n    lnp_put_{kind}(payload + {at}, value);\n}}\n"
    )
