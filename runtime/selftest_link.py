"""The part of the self-test about the link: requests that must be refused, are, and change nothing."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator

import numpy as np

from lnp_edge.runtime.bench import Bench, Unsure, Wrong, hold
from lnp_edge.runtime.device import UNASKED, Device
from lnp_edge.runtime.selftest_stream import Push
from lnp_edge.spec import layout, protocol, saved
from lnp_edge.spec.model import QuantizedModel
from lnp_edge.spec.protocol import REPLIES, REQUESTS, Frame

TRIES = 12  # of what no CRC covers: a line may damage or double it, and a fault of the device comes back


def requests(bench: Bench) -> Iterator[None]:
    model, device = bench.model, bench.device
    bench.steps(bench.dirty[:5], "from reset")
    before = bench.reference.state()
    for kind, payload, wanted in _refused(model, device):
        found = device.refusal(kind, payload)
        hold(
            found == wanted, f"request {kind:02x} {payload.hex()[:60]} is {found or 'answered'}, not refused ({wanted})"
        )
        yield
    for kind, payload in _at_the_edge(model, device):
        found = device.refusal(kind, payload)
        hold(not found, f"request {kind:02x} {payload.hex()[:60]} is refused ({found})")
        yield
    sid = device.sid % 0xFFFF + 1
    found = device.refusal(REQUESTS["tables"].type, b"", sid)
    hold(found == "session", f"a request of another session is {found or 'answered'}")
    yield
    for data, damaged in _damage(device):
        _tried(device, lambda: _told(device, data, damaged))  # noqa: B023
        yield
    bench.state(before, "after refusals")
    yield from _rates(device)
    yield from _each_after_another(bench)
    _tried(device, lambda: "" if device.delimited() else "a frame of the device does not begin and end with a zero")
    yield
    wrong = device.again(bench.more[:1])
    hold(not wrong, f"a request of steps that is sent again: {wrong}")
    bench.reference.steps(bench.more[:1])
    bench.state(bench.reference.state(), "after a request that was sent twice")
    yield


def _tried(device: Device, once: Callable[[], str]) -> None:
    """Of what no CRC covers. once : what is wrong, or ""

    Raises Unsure if the line may be what is wrong: it is not sound, or it had done nothing before, and this came once.
    """
    disturbed = device.traffic.disturbed
    found = [once()]
    while found[-1] and len(found) < TRIES:
        found.append(once())
    if not found[-1] and (disturbed or not found[0]):
        return
    if not found[-1] or not device.sound():
        raise Unsure(
            f"{device.name} or the line to it damages, repeats or adds bytes, and the self-test cannot tell which: "
            f"{found[0]}",
            "check the baud rate, ground and cable length, that nothing else sends on this line, and try again",
        )
    raise Wrong(found[0])


def _told(device: Device, data: bytes, damaged: int) -> str:
    told = device.damage_told(data)
    return "" if told == damaged else f"bytes {data.hex()[:60]} are told as damaged {told} times, not {damaged}"


def _rates(device: Device) -> Iterator[None]:
    """Rates that no board has are refused, and what tries the line comes back, of all lengths of a frame: request and
    reply are both as long, so that on a line that damages the longest would not pass."""
    for baud, length in ((1, 0), (2**32 - 1, 1), (2**31, 64), (0, device.pieces(device.greeting.max_payload - 4))):
        sent = bytes((k * 85 + length) % 256 for k in range(length))
        head = REQUESTS["rate"].struct.pack(baud)
        found = device.ask("rate", head + sent, length)
        hold(found == bytes(4) + sent, f"a request for {baud} Bd is answered {found.hex()[:60]}")
        yield


def _each_after_another(bench: Bench) -> Iterator[None]:
    """Requests of all types, each after one whose reply has other bytes in the place of its fields."""
    device, crcs = bench.device, [zlib.crc32(a.tobytes()) for a in layout.tables(bench.model).values()]
    has = device.refusal(REQUESTS["save"].type, b"") == "length"

    def others() -> None:
        hold(device.table_crcs() == crcs, "the CRCs of tables are others when they are asked for again")

    others()
    bench.state(bench.reference.state(), "after tables")
    others()
    bench.steps(bench.more[1:3], "after tables")
    yield
    if has:
        others()
        bench.save()
        others()
        state = bench.reference.state()
        bench.loaded(state, bench.reference.t, int(bench.reference.digest), "what was saved")
        bench.state(state, "after tables and load")
        yield
    if device.refusal(REQUESTS["push"].type, b"") == "length":
        others()
        Push(bench).compared(np.zeros((0, len(bench.model.channels)), np.int16), 0, [])
        yield
    others()
    device.reset()
    bench.reference.reset()
    bench.steps(bench.dirty[:5], "after tables and reset")
    yield


def _refused(model: QuantizedModel, device: Device) -> Iterator[tuple[int, bytes, str]]:
    """Requests that must be refused: type, payload and reason."""
    run, t, words, most = device.run, device.t, model.state_words, device.greeting.max_payload
    other, size = run ^ 1, saved.size(model)
    pack = {name: message.struct.pack for name, message in REQUESTS.items()}
    row = bytes(2 * model.n_in)
    for kind in (0, 0x0C, 0x7E):
        yield kind, b"", "type"
    requests: list[tuple[str, bytes, str]] = [(name, b"\0", "length") for name in ("hello", "tables")]
    whole = {
        "reset": pack["reset"](run, 1),
        "state": pack["state"](run, t, 0, 1),
        "read": pack["read"](0, 0, 1),
        "save": pack["save"](run, t, size, 0, 1),
        "load": pack["load"](run, 1, size, 0),
    }
    for name, payload in whole.items():
        requests += [(name, payload[:-1], "length"), (name, payload + b"\0", "length"), (name, b"", "length")]
        requests.append((name, payload + bytes(256), "length"))
    requests += [
        (name, (pack[name](*fields) + more)[:cut], "length")
        for name, fields, more, cut in (
            ("steps", (run, t, 0), b"", None), ("steps", (run, t, 0), b"", -1), ("steps", (run, t, 0), row, -1),
            ("steps", (run, t, 0), row + b"\0", None), ("fill", (run, 0), b"", -1), ("push", (run, 0, 0), b"", -1),
            ("rate", (0,), b"", -1),
        )
    ]  # fmt: skip
    requests += [
        ("reset", pack["reset"](other, 1), "run"),
        ("steps", pack["steps"](other, t, 0) + row, "run"),
        ("state", pack["state"](other, t, 0, 1), "run"),
        ("save", pack["save"](other, t, size, 0, 1), "run"),
        ("fill", pack["fill"](other, 0) + b"\0", "run"),
        ("load", pack["load"](other, 1, size, 0), "run"),
        ("push", pack["push"](other, 0, 0), "run"),
        ("push", pack["push"](run, 2**32 - 2, 0), "step"),
    ]
    for step in (t - 1, t + 1):
        requests += [
            ("steps", pack["steps"](run, step, 0) + row, "step"),
            ("state", pack["state"](run, step, 0, 1), "step"),
            ("save", pack["save"](run, step, size, 0, 1), "step"),
        ]
    requests.append(("steps", pack["steps"](run, t, 3) + 2 * row, "range"))
    for told in (256, 65535):
        requests.append(("steps", pack["steps"](run, t, told) + row, "range"))
    fits = (most - REPLIES["state"].struct.size) // 4
    for word, count in (
        (words, 1),
        (words + 1, 0),
        (words - 1, 2),
        (2**32 - 1, 2),
        (0, 65535),
        (words, 256),
        (0, fits + 1),
    ):
        requests.append(("state", pack["state"](run, t, word, count), "range"))
    tables = list(layout.tables(model).values())
    last, ends = len(tables) - 1, [table.nbytes for table in tables]
    fits = most - REPLIES["read"].struct.size
    at = [(last + 1, 0, 1), (65535, 0, 0), (last, ends[-1], 1), (last, ends[-1] + 1, 0), (last, 2**32 - 1, 2)]
    for table, offset, count in (
        *at,
        (0, 0, 65535),
        (last, ends[-1], 256),
        (256, 0, 0),
        (ends.index(max(ends)), 0, fits + 1),
    ):
        requests.append(("read", pack["read"](table, offset, count), "range"))
    fits = most - REPLIES["save"].struct.size
    for offset, count in (
        (size, 1),
        (size + 1, 0),
        (size - 1, 2),
        (2**32 - 1, 2),
        (0, 65535),
        (size, 256),
        (0, fits + 1),
    ):
        requests.append(("save", pack["save"](run, t, size, offset, count), "range"))
    for offset, more in ((size, b"\0"), (size + 1, b""), (size - 1, b"\0\0"), (2**32 - 1, b"\0\0")):
        requests.append(("fill", pack["fill"](run, offset) + more, "range"))
    for name, payload, why in requests:
        if len(payload) > most:  # the frame is not read to its end, and told as damaged
            continue
        # A device that has no room for a test refuses its type.
        if name not in ("save", "fill", "load", "push") or device.refusal(REQUESTS[name].type, b"") == "length":
            yield REQUESTS[name].type, payload, why


def _at_the_edge(model: QuantizedModel, device: Device) -> Iterator[tuple[int, bytes]]:
    """Requests that are just within what must be answered, and change nothing."""
    run, t, most = device.run, device.t, device.greeting.max_payload
    tables = list(layout.tables(model).values())
    longest = max(range(len(tables)), key=lambda k: tables[k].nbytes)
    end, words, size = tables[longest].nbytes, model.state_words, saved.size(model)
    requests: list[tuple[str, tuple[int, ...]]] = [("read", (longest, end, 0)), ("state", (run, t, words, 0))]
    requests.append(("read", (longest, 0, min(end, most - REPLIES["read"].struct.size))))
    requests.append(("state", (run, t, 0, min(words, (most - REPLIES["state"].struct.size) // 4))))
    if device.refusal(REQUESTS["save"].type, b"") == "length":
        fits = min(size, most - REPLIES["save"].struct.size)
        requests += [("save", (run, t, size, size, 0)), ("save", (run, t, size, 0, fits)), ("fill", (run, size))]
    for name, fields in requests:
        yield REQUESTS[name].type, REQUESTS[name].struct.pack(*fields)


def _damage(device: Device) -> Iterator[tuple[bytes, int]]:
    """Bytes on the line, and how often the device must say that something arrived damaged."""
    good = protocol.encode(Frame(REQUESTS["tables"].type, device.sid, UNASKED, b""))
    head = protocol.HEADER

    def framed(body: bytes) -> bytes:
        return b"\0" + protocol.cobs_encode(body + zlib.crc32(body).to_bytes(4, "little")) + b"\0"

    body = head.pack(protocol.VERSION, REQUESTS["tables"].type, device.sid, UNASKED, 0)
    for bit in (8 + 3, 16 + 5, 24 + 1, 8 * len(good) - 13):
        flipped = bytearray(good)
        flipped[bit // 8] ^= 1 << bit % 8
        yield bytes(flipped), sum(map(bool, bytes(flipped).split(b"\0")))
    yield framed(head.pack(protocol.VERSION, 5, device.sid, UNASKED, 1)), 1  # a length that is not true
    yield framed(head.pack(protocol.VERSION, 5, device.sid, UNASKED, 65535)), 1
    yield framed(body[:-1]), 1
    yield b"\0\x09\0", 1
    yield b"\0\x01\0", 0  # of no byte
    yield b"\0\0\0", 0
    room = device.greeting.max_payload
    for length in (room + 1, room + 2, room + 300):
        yield protocol.encode(Frame(REQUESTS["tables"].type, device.sid, UNASKED, bytes(length))), 1
    yield framed(head.pack(protocol.VERSION + 1, 5, device.sid, UNASKED, 0)), 0  # another version
    for kind in (REPLIES["nak"].type, REPLIES["tables"].type, 0xFF):  # an echo, or another device
        yield protocol.encode(Frame(kind, device.sid, UNASKED, b"")), 0
