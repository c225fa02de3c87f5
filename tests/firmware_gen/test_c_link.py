"""The link in C: what the host firmware answers on two pipes, frame by frame."""

import queue
import random
import re
import struct
import subprocess
import threading
import zlib
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from conftest import need
from naive import Naive
from tiny import oracle, tiny_counts, tiny_model

from lnp_edge import boards
from lnp_edge.firmware_gen import link
from lnp_edge.firmware_gen.build import build
from lnp_edge.firmware_gen.generate import generate, write
from lnp_edge.spec import layout, protocol
from lnp_edge.spec.protocol import NAK, REPLIES, REPLY, REQUESTS, Frame


class Line:
    """The host firmware on two pipes, frame by frame. A thread reads: neither side waits for the other."""

    patience = 120.0  # s

    def __init__(self, image):
        pipe = subprocess.PIPE
        self.process = subprocess.Popen([image], stdin=pipe, stdout=pipe, stderr=pipe)
        self.frames = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()
        self.greeting = self.read()

    def _listen(self):
        buffer = b""
        while more := self.process.stdout.read1(4096):
            *whole, buffer = (buffer + more).split(b"\0")
            for stuffed in filter(None, whole):
                self.frames.put(protocol.decode(stuffed))
        self.frames.put(None)

    def read(self):
        frame = self.frames.get(timeout=self.patience)
        assert frame is not None, self.process.stderr.read().decode()
        return frame

    def send(self, name, payload=b"", sid=7, seq=1, kind=None):
        self.raw(protocol.encode(Frame(REQUESTS[name].type if kind is None else kind, sid, seq, payload)))

    def raw(self, data):
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def ask(self, *args, **kwargs):
        self.send(*args, **kwargs)
        return self.read()

    def refusal(self, *args, **kwargs):
        frame = self.ask(*args, **kwargs)
        assert frame.type == REPLIES["nak"].type
        code, _, _ = REPLIES["nak"].struct.unpack(frame.payload)
        return next(name for name, value in NAK.items() if value == code)

    def close(self):
        self.process.stdin.close()
        assert self.process.wait(10) == 0, self.process.stderr.read().decode()
        assert self.process.stderr.read() == b""


@pytest.fixture(scope="module")
def sanitized(tmp_path_factory):
    need("gcc")
    path = tmp_path_factory.mktemp("sanitized")
    write(generate(tiny_model(), boards.get("host"), "net"), path)
    return build(path, sanitize=True).image


@pytest.fixture
def line(sanitized):
    with closing(Line(sanitized)) as found:
        yield found


def reset_payload(after, run):
    return struct.pack("<II", after, run)


def large_model():
    """One whose state and largest table are longer than a reply."""
    return tiny_model(n=140)


@pytest.fixture
def large(tmp_path):
    need("gcc")
    write(generate(large_model(), boards.get("host"), "net"), tmp_path)
    with closing(Line(build(tmp_path, sanitize=True).image)) as found:
        yield found


def steps_payload(t, count, seed=2, run=0, digests=None):
    head = struct.pack("<IIH", run, t, count if digests is None else digests)
    return head + tiny_counts(tiny_model(), 150, seed)[t : t + count].tobytes()


def own_build():
    """Of all that was generated, but for the number itself."""
    text = generate(tiny_model(), boards.get("host"), "net")["lnp_config.h"]
    return int(re.search(r"#define LNP_BUILD (0x[0-9A-F]{8})u", text).group(1), 16)


def test_a_device_greets_at_boot_and_at_hello(line):
    assert (line.greeting.sid, line.greeting.seq) == (0, 0)
    frame = line.ask("hello", sid=9, seq=3)
    assert (frame.type, frame.sid, frame.seq) == (REPLY | 1, 9, 3)
    assert frame.payload == line.greeting.payload
    *numbers, name = REPLIES["hello"].struct.unpack(frame.payload)
    m, boot = tiny_model(), numbers[2]
    assert numbers == [
        protocol.wire_crc(), m.fingerprint, boot, 0, 0, m.state_words, 1_000_000_000, m.n, m.n_in, m.n_out, 14, 512, 0,
        own_build(),
    ]  # fmt: skip
    assert name == b"host".ljust(24, b"\0")


def test_without_hello_and_from_another_session_nothing_is_done(line):
    assert line.refusal("reset", reset_payload(0, 1), sid=0) == "session"
    line.ask("hello", sid=7)
    line.ask("steps", steps_payload(0, 5), seq=2)
    assert line.refusal("reset", reset_payload(0, 1), sid=8) == "session"
    line.ask("hello", sid=8)
    assert line.refusal("steps", steps_payload(5, 1), sid=7) == "session"
    assert place(line, sid=8) == (0, 5)


def place(line, sid=7):
    """run and t, as the greeting says."""
    return struct.unpack_from("<II", line.ask("hello", sid=sid, seq=9).payload, REPLIES["hello"].offsets()["run"])


def test_a_late_reset_or_step_of_another_run_does_nothing(line):
    line.ask("hello")
    line.ask("reset", reset_payload(0, 11), seq=2)
    line.ask("steps", steps_payload(0, 5, run=11), seq=3)
    assert line.refusal("reset", reset_payload(0, 11), seq=2) == "run"
    line.ask("reset", reset_payload(11, 12), seq=4)
    assert line.refusal("steps", steps_payload(0, 5, run=11), seq=3) == "run"  # t is right
    for after in (0, 11, 13):
        assert line.refusal("reset", reset_payload(after, 14), seq=5) == "run"
    assert line.refusal("state", struct.pack("<IIIH", 11, 0, 0, 1), seq=6) == "run"
    assert line.refusal("state", struct.pack("<IIIH", 12, 5, 0, 1), seq=6) == "step"
    assert place(line) == (12, 0)
    assert line.ask("steps", steps_payload(0, 5, run=12), seq=7).payload[:8] == struct.pack("<II", 12, 5)
    assert place(line) == (12, 5)


def test_a_repeated_request_is_answered_from_memory(line):
    line.ask("hello")
    first = line.ask("steps", steps_payload(0, 5), seq=2)
    assert line.ask("steps", steps_payload(0, 5), seq=2) == first
    # Neither a refusal between, nor a greeting, nor damage disturbs it.
    assert line.refusal("reset", reset_payload(0, 1), sid=8, seq=2) == "session"
    assert place(line) == (0, 5)
    line.raw(b"\x09\x09\0")
    assert line.read().type == REPLIES["nak"].type
    assert line.refusal("steps", steps_payload(9, 5), seq=3) == "step"
    assert line.ask("steps", steps_payload(0, 5), seq=2) == first
    assert line.ask("steps", steps_payload(5, 5), seq=3).payload[4:8] == struct.pack("<I", 10)
    # The same number with another body is another request, and a new session has no memory.
    assert line.refusal("steps", steps_payload(0, 5), seq=3) == "step"
    line.ask("hello", sid=8, seq=3)
    line.ask("hello", sid=7, seq=3)
    assert line.refusal("steps", steps_payload(5, 5), seq=3) == "step"


def test_steps_come_back_with_number_readout_and_digests(line):
    line.ask("hello")
    digests, _, _ = oracle(150)
    most = link.max_steps(tiny_model(), boards.get("host"))
    frame = line.ask("steps", steps_payload(0, most), seq=2)
    run, t, cycles, crc, *words = struct.unpack(f"<IIII{4 + most}I", frame.payload)
    assert (run, t, cycles, crc) == (0, most, 0, zlib.crc32(steps_payload(0, most)[10:]))
    assert words[4:] == digests[:most]
    assert line.ask("reset", reset_payload(0, 1), seq=3).payload == struct.pack("<III", 1, 0, 0)
    frame = line.ask("steps", steps_payload(0, 1, run=1), seq=4)
    assert frame.payload[-4:] == struct.pack("<I", digests[0])


def test_a_reply_has_as_many_digests_as_are_asked_for(line):
    line.ask("hello")
    digests, _, _ = oracle(150)
    assert line.refusal("steps", steps_payload(0, 5, digests=6), seq=1) == "range"
    for number, asked in enumerate((0, 1, 3, 5)):
        reply = line.ask("steps", steps_payload(5 * number, 5, digests=asked), seq=2 + number)
        words = struct.unpack(f"<{4 + asked}I", reply.payload[16:])
        assert list(words[4:]) == digests[5 * number + 5 - asked : 5 * number + 5]


def test_wrong_types_lengths_and_ranges_are_refused(line):
    line.ask("hello")
    words, last = tiny_model().state_words, len(layout.tables(tiny_model())) - 1
    size_of_last = list(layout.tables(tiny_model()).values())[-1].nbytes
    assert line.refusal("", kind=0) == "type"
    assert line.refusal("", kind=0x0C) == "type"
    assert line.refusal("", kind=0x7E) == "type"
    for name in ("hello", "tables"):
        assert line.refusal(name, b"\0") == "length"
    for size in (0, 7, 9):
        assert line.refusal("reset", bytes(size)) == "length"
    for size in (0, 3, 9, 10, 11, 15, 17, 511, 512):
        payload = bytes(size)
        assert line.refusal("steps", payload) == "length", size
    assert line.refusal("steps", steps_payload(1, 1)) == "step"
    for payload in (b"", b"\0" * 13, b"\0" * 15):
        assert line.refusal("state", payload) == "length"
    for word, count in ((words, 1), (words + 1, 0), (words - 1, 2), (2**32 - 1, 2), (0, 65535)):
        assert line.refusal("state", struct.pack("<IIIH", 0, 0, word, count)) == "range", (word, count)
    assert len(line.ask("state", struct.pack("<IIIH", 0, 0, words - 1, 1)).payload) == 16
    for payload in (b"", b"\0" * 7, b"\0" * 9):
        assert line.refusal("read", payload) == "length"
    for table, offset, count in (
        (last + 1, 0, 1), (65535, 0, 0), (last, size_of_last, 1), (last, size_of_last + 1, 0), (last, 2**32 - 1, 2),
        (last, 1, size_of_last), (0, 0, 65535),
    ):  # fmt: skip
        assert line.refusal("read", struct.pack("<HIH", table, offset, count)) == "range", (
            table,
            offset,
            count,
        )
    assert len(line.ask("read", struct.pack("<HIH", last, size_of_last - 1, 1)).payload) == 7
    assert place(line) == (0, 0)


def test_what_does_not_fit_a_reply_is_refused(large):
    large.ask("hello")
    sizes = [table.nbytes for table in layout.tables(large_model()).values()]
    table = sizes.index(max(sizes))
    assert (large_model().state_words, max(sizes)) > (125, 507)
    assert len(large.ask("state", struct.pack("<IIIH", 0, 0, 0, 125)).payload) == 512
    assert large.refusal("state", struct.pack("<IIIH", 0, 0, 0, 126)) == "range"
    assert len(large.ask("read", struct.pack("<HIH", table, 0, 506)).payload) == 512
    assert large.refusal("read", struct.pack("<HIH", table, 0, 507)) == "range"


def test_what_is_damaged_is_refused_once_for_each_delimiter_and_what_is_foreign_gets_no_answer(line):
    line.ask("hello", sid=7)
    good = protocol.encode(Frame(REQUESTS["tables"].type, 7, 1, b""))
    body = protocol.HEADER.pack(1, 5, 7, 1, 0)

    def framed(body):
        return b"\0" + protocol.cobs_encode(body + zlib.crc32(body).to_bytes(4, "little")) + b"\0"

    assert framed(body) == good
    wrong = [
        protocol.encode(Frame(1, 7, 1, bytes(513))),  # longer than any frame may be
        protocol.encode(Frame(1, 7, 1, bytes(60000))),
        framed(protocol.HEADER.pack(1, 5, 7, 1, 1)),  # a length that is not true
        framed(protocol.HEADER.pack(1, 5, 7, 1, 65535)),
        framed(body[:-1]),
        b"\0\x09\0\0\0",
    ]
    for bit in range(8, 8 * (len(good) - 1)):
        flipped = bytearray(good)
        flipped[bit // 8] ^= 1 << bit % 8
        wrong.append(bytes(flipped))
    for data in wrong:
        line.raw(data)
        for _ in filter(None, data.split(b"\0")):
            told = line.read()
            assert (told.type, told.sid, told.seq) == (REPLIES["nak"].type, 7, 0)
            assert REPLIES["nak"].struct.unpack(told.payload) == (NAK["damaged"], 0, 0)
    line.raw(framed(protocol.HEADER.pack(2, 5, 7, 1, 0)))  # another version
    for kind in (REPLIES["nak"].type, *(m.type for m in REPLIES.values())):  # an echo, or another device
        line.raw(protocol.encode(Frame(kind, 7, 1, b"")))
    assert line.ask("hello", seq=42).seq == 42


def test_any_garbage_is_survived(line):
    rng = random.Random(3)
    valid = [protocol.encode(Frame(k, 7, 1, rng.randbytes(n))) for k in range(8) for n in (0, 4, 6, 8, 10, 100)]
    for _ in range(3000):
        kind = rng.randrange(4)
        data = rng.randbytes(rng.randrange(1, 40)) if kind == 0 else bytearray(rng.choice(valid))
        if kind == 1:
            data[rng.randrange(len(data))] = rng.randrange(256)
        if kind == 2:
            del data[rng.randrange(len(data)) :]
        if kind == 3:
            data = bytes([rng.choice((1, 2, 254, 255))]) * rng.randrange(2000)
        line.raw(bytes(data))
    line.raw(b"\0")
    line.send("hello", sid=12345, seq=54321)
    while (frame := line.read()).sid != 12345:
        pass
    assert frame.seq == 54321
    run, _ = place(line, sid=12345)
    assert line.ask("reset", reset_payload(run, 5), sid=12345, seq=54322).payload == struct.pack("<III", 5, 0, 0)


def test_requests_with_long_runs_without_a_zero_arrive_whole(line):
    """A COBS block of 254 bytes is not followed by a zero: counts without a zero byte make such blocks."""
    naive, digests = Naive(tiny_model()), []
    rows = np.random.default_rng(1).integers(1, 128, (83, 3), np.int16) * 257
    for row in rows:
        naive.step(row)
        digests.append(naive.h)
    line.ask("hello", seq=0)
    for count in range(38, 84):
        line.ask("reset", reset_payload(0 if count == 38 else count - 1, count), seq=2 * count)
        payload = struct.pack("<IIH", count, 0, 1) + rows[:count].astype("<i2").tobytes()
        reply = line.ask("steps", payload, seq=2 * count + 1)
        assert reply.payload[-4:] == struct.pack("<I", digests[count - 1]), count


def test_payloads_of_all_lengths_pass_the_framing(line):
    """COBS on both sides, with runs of 253 to 255 bytes without a zero: read them out of the tables."""
    line.ask("hello")
    arrays = list(layout.tables(tiny_model()).values())
    wide = max(range(len(arrays)), key=lambda k: arrays[k].nbytes)
    raw = arrays[wide].tobytes()
    for seq, count in enumerate((0, 1, *range(236, 262), 500, 506), start=10):
        count = min(count, len(raw))
        frame = line.ask("read", struct.pack("<HIH", wide, 0, count), seq=seq)
        assert frame.payload[6:] == raw[:count]


PAGE = (Path(__file__).parents[2] / "docs/link.md").read_text()


def test_the_firmware_answers_as_docs_link_md_says(line):
    said = re.findall(r"^(host|device) +([0-9a-f ]+)$", PAGE, re.MULTILINE)
    assert [who for who, _ in said] == ["host", *6 * ("host", "device")]
    for who, text in said:
        if who == "host":
            line.raw(bytes.fromhex(text))
        else:
            assert protocol.encode(line.read()).hex(" ") == text
        if text == said[0][1]:
            assert line.read().type == REPLIES["hello"].type


def test_docs_link_md_unstuffs_its_frames_right():
    """The reset of its conversation, byte by byte, and the numbers that its text tells of the steps."""
    frames = [bytes.fromhex(text) for text in re.findall(r"^(?:host|device) +([0-9a-f ]+)$", PAGE, re.MULTILINE)]
    table = re.findall(r"^\| `([0-9a-f ]+)` \|", PAGE, re.MULTILINE)
    assert protocol.cobs_decode(frames[1][1:-1]) == bytes.fromhex("".join(table))
    reset, steps, reply, late = (protocol.decode(frames[k][1:-1]) for k in (1, 5, 6, 7))
    assert (reset.sid, reset.seq) == (0x1234, 2) and late == reset
    assert REQUESTS["reset"].struct.unpack(reset.payload) == (0, 0x11223344)
    counts = (0, -1, 300, 258, 0, -32768)
    assert struct.unpack("<IIH6h", steps.payload) == (0x11223344, 0, 2, *counts)
    assert REPLIES["steps"].struct.unpack_from(reply.payload) == (
        0x11223344, 2, 0, zlib.crc32(struct.pack("<6h", *counts)),
    )  # fmt: skip
    assert len(reply.payload) == REPLIES["steps"].struct.size + 4 * (4 + 2)
    changed = [(a, b) for a, b in zip(frames[3], frames[5], strict=True) if a != b]
    assert changed == [(4, 5)]
    asked, told, tried, back = (protocol.decode(frame[1:-1]) for frame in frames[9:])
    baud = struct.pack("<I", 921_600)
    assert asked.payload == told.payload == baud and baud.hex(" ") == "00 10 0e 00"
    assert tried.payload == back.payload == baud + bytes([0, 0x55, 0xAA, 0xFF])
    assert [REPLIES["nak"].struct.unpack(protocol.decode(frames[k][1:-1]).payload) for k in (4, 8)] == [
        (NAK["damaged"], 0x11223344, 0),
        (NAK["run"], 0x11223344, 2),
    ]


def test_docs_link_md_names_every_message_and_refusal():
    rows = [[cell.strip() for cell in row.split("|")[1:-1]] for row in PAGE.splitlines() if row.startswith("|")]
    rows = [row for row in rows if row[0] in REQUESTS]
    assert [row[0] for row in rows] == list(REQUESTS)
    for name, *cells in rows:
        for message, told in ((REQUESTS[name], cells[:3]), (REPLIES[name], cells[3:])):
            named = ", ".join(" ".join(field) for field in message.fields)
            assert told == [f"{message.type:02X}", named, message.rest], name
    assert f"code u16, run u32, t u32. The codes:\n{', '.join(f'{code} {name}' for name, code in NAK.items())}." in PAGE
