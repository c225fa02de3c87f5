"""The serial link: frames and messages, defined once for host and device.

On the wire a frame is `00 | COBS(body | crc32) | 00`, all numbers little-endian:

    body = version u8 | type u8 | sid u16 | seq u16 | len u16 | payload[len]

A reply has type | 0x80, a refusal 0x7F; both repeat sid and seq. One request is open at a time. A
device that receives the same request again resends its stored reply and does nothing else, so the
host may repeat a request until a deadline. What changes or reads the state names its run and step: a
run is what follows a reset, and its number is drawn by the host, so that a late request of another
run, or from before a restart, is refused. The checksum is CRC-32 (zlib) with an explicit length: a
CRC-16 missed up to 1.6e-4 of the frames with a doubled byte. docs/link.md has all of this byte by byte.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

VERSION = 1
HEADER = struct.Struct("<BBHHH")
CRC_BYTES = 4
REPLY = 0x80
MOST_RATES = 8  # times its first rate that a line may have: CALL is then still heard as one byte each
LOST_BYTES = 8192  # and the longest frame: after as many without a sound frame a device is at its first rate again
CALL = b"\xff"  # one low bit, then high: a byte to a receiver of every rate from the sender's to MOST_RATES times that
MIN_PAYLOAD = 128  # bytes a device always accepts and may send
PAYLOAD = 512  # and those that it does unless its RAM is scarce, or one message needs more
NAME_BYTES = 24

FORMATS = {"u8": "B", "u16": "H", "u32": "I", "i16": "h", "i32": "i", "name": f"{NAME_BYTES}s"}


@dataclass(frozen=True)
class Message:
    """A request or reply: fixed fields (name, type), then an array in the rest of the payload."""

    type: int
    fields: tuple[tuple[str, str], ...] = ()
    rest: str = ""

    @property
    def struct(self) -> struct.Struct:
        return struct.Struct("<" + "".join(FORMATS[kind] for _, kind in self.fields))

    def offsets(self) -> dict[str, int]:
        """Byte offset of each field in the payload, and of the array as "rest"."""
        found, at = {}, 0
        for name, kind in self.fields:
            found[name] = at
            at += struct.calcsize("<" + FORMATS[kind])
        return found | {"rest": at}


REQUESTS = {
    # Opens the session of its sid. Changes nothing else, and may be asked at any time.
    "hello": Message(0x01),
    # Ends the run `after` and begins `run`; refused unless `after` is the device's run.
    "reset": Message(0x02, (("after", "u32"), ("run", "u32"))),
    # Steps t .. t+k-1 with k * n_in sensor counts; refused unless t is the device's next step.
    # The reply has the digests after the last `digests` of them: each digest covers those before it.
    "steps": Message(0x03, (("run", "u32"), ("t", "u32"), ("digests", "u16")), "i16"),
    "state": Message(0x04, (("run", "u32"), ("t", "u32"), ("word", "u32"), ("count", "u16"))),
    "tables": Message(0x05),
    "read": Message(0x06, (("table", "u16"), ("offset", "u32"), ("count", "u16"))),
    # The self-test of lnp verify. A device without room for it refuses these (type).
    # Saves the state as `size` bytes; the reply has `count` of them from `offset`, and the class of the state.
    "save": Message(0x07, (("run", "u32"), ("t", "u32"), ("size", "u32"), ("offset", "u32"), ("count", "u16"))),
    # Bytes of a saved state, which is then loaded.
    "fill": Message(0x08, (("run", "u32"), ("offset", "u32")), "u8"),
    # Ends the run `after` and begins `run` with what was filled in, given as `size` bytes. crc is that of the last four
    # bytes followed by all others: of a sound state in its own order it would be the same whatever the state.
    "load": Message(0x09, (("after", "u32"), ("run", "u32"), ("size", "u32"), ("crc", "u32"))),
    # More samples of a stream, of which `from` have come; 0 begins anew. If like is 1, its networks are first made
    # copies of the one that steps run on.
    "push": Message(0x0A, (("run", "u32"), ("from", "u32"), ("like", "u16")), "i16"),
    # Changes the rate of the line after the reply; `rest` is sent back, to try the line.
    "rate": Message(0x0B, (("baud", "u32"),), "u8"),
}
REPLIES = {
    # Also sent unasked at boot, with sid and seq 0.
    "hello": Message(
        REPLY | 0x01,
        (
            ("wire_crc", "u32"),
            ("fingerprint", "u32"),
            ("boot", "u32"),  # another one after each start, as far as a board can
            ("run", "u32"),  # 0 after a start
            ("t", "u32"),
            ("state_words", "u32"),
            ("clock_hz", "u32"),
            ("n", "u16"),
            ("n_in", "u16"),
            ("n_out", "u16"),
            ("n_tables", "u16"),
            ("max_payload", "u16"),
            ("cause", "u16"),  # of the start, one of CAUSES
            ("build", "u32"),  # CRC-32 of the sources
            ("board", "name"),
        ),
    ),
    "reset": Message(REPLY | 0x02, (("run", "u32"), ("t", "u32"), ("digest", "u32"))),
    # After the last step: t is its number, cycles the CPU cycles of all steps (0: no counter), crc the CRC-32 of the
    # counts that the network was given. `rest` is the read-out y[n_out], then the digests.
    "steps": Message(REPLY | 0x03, (("run", "u32"), ("t", "u32"), ("cycles", "u32"), ("crc", "u32")), "u32"),
    "state": Message(REPLY | 0x04, (("run", "u32"), ("t", "u32"), ("word", "u32")), "u32"),
    # CRC-32 of each table's bytes in flash, in the order of layout.tables.
    "tables": Message(REPLY | 0x05, (), "u32"),
    "read": Message(REPLY | 0x06, (("table", "u16"), ("offset", "u32")), "u8"),
    "save": Message(REPLY | 0x07, (("run", "u32"), ("t", "u32"), ("label", "u16"), ("saved", "u16")), "u8"),
    "fill": Message(REPLY | 0x08, (("run", "u32"), ("offset", "u32"))),
    # loaded: 0 refused, 1 accepted, 2 not tried, for the bytes are others than crc says.
    "load": Message(REPLY | 0x09, (("run", "u32"), ("t", "u32"), ("digest", "u32"), ("loaded", "u16"))),
    # crc is that of all decisions of these samples: u32 label, margin, percent + 256 unknown, and the read-outs. The
    # last of them is told; `rest` is its read-outs.
    "push": Message(
        REPLY | 0x0A,
        (
            ("run", "u32"),
            ("samples", "u32"),
            ("decisions", "u32"),
            ("crc", "u32"),
            ("label", "u32"),
            ("margin", "u32"),
            ("percent", "u16"),
            ("unknown", "u16"),
        ),
        "u32",
    ),
    # baud: the rate that the device will have, within 2 %; 0: it has none so near, or none at all, and stays as it is.
    "rate": Message(REPLY | 0x0B, (("baud", "u32"),), "u8"),
    "nak": Message(0x7F, (("code", "u16"), ("run", "u32"), ("t", "u32"))),
}
# Reasons for a refusal: another session, unknown type, wrong length, step number, range or run. "damaged" answers a
# frame that cannot be read, with seq 0: at most one for each delimiter.
NAK = {"session": 1, "type": 2, "length": 3, "step": 4, "range": 5, "run": 6, "damaged": 7}
# What a device was started by, as far as its board says.
CAUSES = {"unknown": 0, "power": 1, "brown-out": 2, "pin": 3, "software": 4, "watchdog": 5}


def wire_crc() -> int:
    """CRC-32 of the tables above. It reveals a device with another version of the messages."""
    tables = (REQUESTS, REPLIES, NAK, CAUSES)
    text = repr((VERSION, HEADER.format, *(sorted(table.items()) for table in tables)))
    return zlib.crc32(text.encode())


class FrameError(Exception):
    """A frame that must be dropped: damaged, of another protocol, or of the wrong length."""


def cobs_encode(data: bytes) -> bytes:
    """Encode so that no byte is zero: consistent overhead byte stuffing, Cheshire & Baker 1999."""
    out = bytearray()
    for block in data.split(b"\0"):
        while len(block) >= 254:
            out += b"\xff" + block[:254]
            block = block[254:]
        out += bytes([len(block) + 1]) + block
    return bytes(out)


def cobs_decode(data: bytes) -> bytes:
    """The inverse of cobs_encode. Raises FrameError on a zero byte or a code beyond the end."""
    out = bytearray()
    at = 0
    while at < len(data):
        code = data[at]
        block = data[at + 1 : at + code]
        if code == 0 or len(block) != code - 1 or 0 in block:
            raise FrameError("COBS code beyond the end of the frame")
        out += block
        at += code
        if code < 255 and at < len(data):
            out.append(0)
    return bytes(out)


@dataclass(frozen=True)
class Frame:
    type: int
    sid: int
    seq: int
    payload: bytes


def encode(frame: Frame) -> bytes:
    """The bytes on the wire, delimiters included."""
    body = HEADER.pack(VERSION, frame.type, frame.sid, frame.seq, len(frame.payload)) + frame.payload
    return b"\0" + cobs_encode(body + zlib.crc32(body).to_bytes(CRC_BYTES, "little")) + b"\0"


def decode(stuffed: bytes) -> Frame:
    """The frame between two delimiters. Raises FrameError on any damage."""
    raw = cobs_decode(stuffed)
    if len(raw) < HEADER.size + CRC_BYTES:
        raise FrameError(f"{len(raw)} bytes are too few for a frame")
    body, crc = raw[:-CRC_BYTES], raw[-CRC_BYTES:]
    if zlib.crc32(body).to_bytes(CRC_BYTES, "little") != crc:
        raise FrameError("CRC differs")
    version, kind, sid, seq, length = HEADER.unpack_from(body)
    if length != len(body) - HEADER.size:
        raise FrameError(f"expected a payload of length {length}, got {len(body) - HEADER.size}")
    if version != VERSION:
        raise FrameError(f"protocol version {version}, this is {VERSION}")
    return Frame(kind, sid, seq, body[HEADER.size :])
