"""The bytes of an image as the files that flash tools take."""

from __future__ import annotations

import struct

ROW = 16  # bytes of a row of Intel HEX
BLOCK, PAYLOAD = 512, 256  # bytes of a block of UF2, and of flash in it
START0, START1, END, FAMILY_PRESENT = 0x0A324655, 0x9E5D5157, 0x0AB16F30, 0x2000  # github.com/microsoft/uf2, README.md


def as_hex(data: bytes, origin: int) -> bytes:
    """Intel HEX, of 8 January 1988: rows of data, below the upper half of their address."""
    rows, upper, at, end = [], -1, origin, origin + len(data)
    while at < end:
        if at >> 16 != upper:
            upper = at >> 16
            rows.append(_row(0, 4, upper.to_bytes(2, "big")))
        stop = min(at + ROW, end, (upper + 1) << 16)
        rows.append(_row(at & 0xFFFF, 0, data[at - origin : stop - origin]))
        at = stop
    return ("\n".join([*rows, _row(0, 1, b"")]) + "\n").encode()


def _row(address: int, kind: int, data: bytes) -> str:
    row = bytes([len(data)]) + address.to_bytes(2, "big") + bytes([kind]) + data
    return ":" + (row + bytes([-sum(row) & 0xFF])).hex().upper()


def as_uf2(data: bytes, origin: int, family: int) -> bytes:
    """UF2: each block says where its bytes go, and for which family of chips they are."""
    count = -(-len(data) // PAYLOAD)
    blocks = []
    for k in range(count):
        part = data[k * PAYLOAD : (k + 1) * PAYLOAD].ljust(PAYLOAD, b"\xff")
        head = (START0, START1, FAMILY_PRESENT, origin + k * PAYLOAD, PAYLOAD, k, count, family)
        blocks.append((struct.pack("<8I", *head) + part).ljust(BLOCK - 4, b"\0") + struct.pack("<I", END))
    return b"".join(blocks)
