"""How much memory a protobuf message takes when it is parsed, from its wire format: before it is parsed.

A message of two bytes, such as an empty node, takes 200 in memory: 16 MB of them were 1.5 GB.
"""

from __future__ import annotations

from typing import Any

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5  # wire types; groups are of another age, and refused
MESSAGE, TEXT, NUMBER = 256, 32, 8  # bytes that one takes at most, beside its content
MOST_FIELDS = 2**20  # our largest graph has 10,000; counting as many takes a second
PACKED = 8  # bytes that a byte of packed numbers takes at most
PLAIN = (9, 12)  # FieldDescriptor.TYPE_STRING, TYPE_BYTES
NESTED = 11  # TYPE_MESSAGE


def refuse_large(data: bytes, kind: Any, most: int) -> None:
    """Raise ValueError if the message takes more than `most` bytes, or is none. kind : its descriptor"""
    open_messages, at, used, fields = [(len(data), kind)], 0, MESSAGE, 0
    while open_messages:
        end, kind = open_messages[-1]
        if at == end:
            open_messages.pop()
            continue
        tag, at = _varint(data, at, end)
        field, wire = kind.fields_by_number.get(tag >> 3), tag & 7
        used, fields = used + NUMBER, fields + 1
        if wire == VARINT:
            _, at = _varint(data, at, end)
        elif wire in (FIXED64, FIXED32):
            at += 8 if wire == FIXED64 else 4
        elif wire == LENGTH:
            size, at = _varint(data, at, end)
            if at + size > end:
                raise ValueError("a field beyond the end of its message")
            if field is not None and field.type == NESTED:
                used += MESSAGE
                open_messages.append((at + size, field.message_type))
            else:
                used += TEXT + (size if field is None or field.type in PLAIN else PACKED * size)
                at += size
        else:
            raise ValueError(f"wire type {wire}")
        if at > end:
            raise ValueError("a field beyond the end of its message")
        if used > most or fields > MOST_FIELDS:
            raise ValueError(f"its {len(data)} bytes in {fields} fields or more would take more than {most} in memory")


def _varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    """The number at a place, and the place after it."""
    found = shift = 0
    while at < end and shift < 70:
        byte = data[at]
        found |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return found, at
        shift += 7
    raise ValueError("a number without an end")
