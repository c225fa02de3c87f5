"""The link's bytes: framing gives back what went in, and every damage is refused."""

import struct
import zlib

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lnp_edge.spec import protocol
from lnp_edge.spec.protocol import Frame, FrameError, cobs_decode, cobs_encode, decode, encode

ANY = settings(max_examples=300)


@ANY
@given(st.binary(max_size=600))
@example(b"")
@example(b"\0" * 600)
@example(b"\1" * 253)
@example(b"\1" * 254)
@example(b"\1" * 255)
@example(b"\1" * 256)
@example(b"\1" * 254 + b"\0")
@example(b"\1" * 508)
@example(b"\0" + b"\1" * 254 + b"\0" + b"\1" * 254)
def test_cobs_gives_back_what_went_in_without_zeros_on_the_way(data):
    stuffed = cobs_encode(data)
    assert 0 not in stuffed
    assert cobs_decode(stuffed) == data
    assert len(stuffed) <= len(data) + 1 + len(data) // 254


@pytest.mark.parametrize(
    ("data", "stuffed"),
    [
        (b"", b"\x01"),
        (b"\0", b"\x01\x01"),
        (b"\0\0", b"\x01\x01\x01"),
        (b"\x11\x22\0\x33", b"\x03\x11\x22\x02\x33"),
        (b"\x11\0\0\0", b"\x02\x11\x01\x01\x01"),
        (bytes(range(1, 254)), b"\xfe" + bytes(range(1, 254))),
        (bytes(range(1, 255)), b"\xff" + bytes(range(1, 255)) + b"\x01"),
        (bytes(range(1, 256)), b"\xff" + bytes(range(1, 255)) + b"\x02\xff"),
        (bytes(range(256)), b"\x01\xff" + bytes(range(1, 255)) + b"\x02\xff"),
    ],
)
def test_cobs_of_known_blocks(data, stuffed):
    assert cobs_encode(data) == stuffed
    assert cobs_decode(stuffed) == data


@ANY
@given(st.binary(max_size=300))
def test_any_bytes_decode_or_are_refused(data):
    for function in (cobs_decode, decode):
        try:
            function(data)
        except FrameError:
            continue


FRAMES = st.builds(Frame, st.integers(0, 255), st.integers(0, 65535), st.integers(0, 65535), st.binary(max_size=600))


@ANY
@given(FRAMES)
@example(Frame(3, 1, 1, b"\0" * 512))
@example(Frame(3, 1, 1, bytes(65535)))
def test_a_frame_gives_back_what_went_in(frame):
    wire = encode(frame)
    assert wire[:1] == wire[-1:] == b"\0"
    assert decode(wire[1:-1]) == frame


def test_golden_vectors():
    assert encode(Frame(0x01, 0x1234, 0x0001, b"")).hex() == "000601013412010101057f32883200"
    assert (
        encode(Frame(0x03, 0xBEEF, 0x0102, struct.pack("<Ihh", 200, -1, 5))).hex()  # of the link, whatever it means
        == "00080103efbe02010802c8010104ffff0505783baadd00"
    )
    assert f"{protocol.wire_crc():08x}" == "9324b23e"


BODY = encode(Frame(0x83, 0xBEEF, 0x0102, bytes(range(40)) + bytes(10) + b"\xff" * 10))[1:-1]


def test_every_flipped_bit_is_refused():
    for at in range(len(BODY)):
        for bit in range(8):
            damaged = bytearray(BODY)
            damaged[at] ^= 1 << bit
            with pytest.raises(FrameError):
                decode(bytes(damaged))


def test_every_dropped_doubled_swapped_or_inserted_byte_is_refused():
    for at in range(len(BODY)):
        head, byte, tail = BODY[:at], BODY[at : at + 1], BODY[at + 1 :]
        for damaged in (
            head + tail,
            head + byte * 2 + tail,
            *(head + bytes([b]) + byte + tail for b in (0, 1, 0x55, 255)),
        ):
            with pytest.raises(FrameError):
                decode(damaged)
        if tail and tail[:1] != byte:
            with pytest.raises(FrameError):
                decode(head + tail[:1] + byte + tail[1:])


def test_every_truncation_is_refused():
    for at in range(len(BODY)):
        for part in (BODY[:at], BODY[at + 1 :]):
            with pytest.raises(FrameError):
                decode(part)


def crafted(version=1, length=2, payload=b"ab"):
    body = protocol.HEADER.pack(version, 1, 2, 3, length) + payload
    return cobs_encode(body + zlib.crc32(body).to_bytes(4, "little"))


def test_a_right_crc_does_not_save_a_wrong_length_or_version():
    assert decode(crafted()).payload == b"ab"
    for wrong in ({"length": 0}, {"length": 1}, {"length": 3}, {"length": 65535}):
        with pytest.raises(FrameError, match="length"):
            decode(crafted(**wrong))
    with pytest.raises(FrameError, match="protocol version 2, this is 1"):
        decode(crafted(version=2))


def test_message_types_are_distinct_and_replies_answer_requests():
    requests = {name: m.type for name, m in protocol.REQUESTS.items()}
    replies = {name: m.type for name, m in protocol.REPLIES.items() if name != "nak"}
    assert len({*requests.values(), *replies.values(), 0x7F}) == 23
    assert {name: t | 0x80 for name, t in requests.items()} == replies


def test_a_reply_of_any_message_fits_the_smallest_payload():
    assert max(m.struct.size for m in protocol.REPLIES.values()) <= protocol.MIN_PAYLOAD
    assert protocol.REPLIES["hello"].struct.size == 68
    assert protocol.REPLIES["hello"].offsets()["board"] == 44
