"""A device in Python behind a port in memory, and lines that damage what passes."""

import random
import time
import zlib

import numpy as np

from lnp_edge.runtime.reference import Reference
from lnp_edge.spec import protocol
from lnp_edge.spec.layout import tables
from lnp_edge.spec.protocol import NAK, REPLIES, REPLY, REQUESTS, Frame, FrameError

NAMES = {m.type: name for name, m in REQUESTS.items()}


class FakePort:
    """Answers like the firmware, from the reference. `tamper(name, payload)` may change a reply's payload."""

    def __init__(self, model, tamper=lambda name, payload: payload, max_payload=512, greeting=None):
        self.model, self.tamper, self.max_payload = model, tamper, max_payload
        self.greeting = greeting or {}
        self.net = Reference(model)
        self.net.steps(np.frombuffer(b"", "<i2").reshape(0, model.n_in))  # compiles outside of any deadline
        self.sid, self.last, self.requests = None, (None, b""), []
        self._in, self._out = bytearray(), bytearray()
        self.timeout = None

    @property
    def in_waiting(self):
        return len(self._out)

    def write(self, data):
        self._in += data
        *bodies, self._in = self._in.split(b"\0")
        for body in bodies:
            try:
                frame = protocol.decode(bytes(body))
            except FrameError:
                continue
            self._out += self.answer(frame)

    def read(self, size=1):
        if not self._out:
            time.sleep(0.001)  # a real port waits too
        found = bytes(self._out[:size])
        del self._out[:size]
        return found

    def close(self):
        self._out.clear()

    def answer(self, frame):
        name = NAMES[frame.type]
        if name == "hello":
            self.sid, self.last = frame.sid, (None, b"")
        if frame.sid != self.sid:
            return self.nak(frame, "session")
        if self.last[0] == frame:
            return self.last[1]
        self.requests.append(name)
        payload = self.tamper(name, getattr(self, name)(frame.payload))
        if isinstance(payload, str):
            return self.nak(frame, payload)
        self.last = frame, protocol.encode(Frame(frame.type | REPLY, frame.sid, frame.seq, payload))
        return self.last[1]

    def nak(self, frame, why):
        payload = REPLIES["nak"].struct.pack(NAK[why], self.net.t)
        return protocol.encode(Frame(REPLIES["nak"].type, frame.sid, frame.seq, payload))

    def hello(self, _):
        m = self.model
        facts = {
            "wire_crc": protocol.wire_crc(),
            "fingerprint": m.fingerprint,
            "t": self.net.t,
            "state_words": m.state_words,
            "clock_hz": 1,
            "n": m.n,
            "n_in": m.n_in,
            "n_out": m.n_out,
            "n_tables": len(tables(m)),
            "max_payload": self.max_payload,
            "board": b"fake",
        }
        return REPLIES["hello"].struct.pack(*(facts | self.greeting).values())

    def reset(self, _):
        self.net.reset()
        return REPLIES["reset"].struct.pack(0, 0)

    def steps(self, payload):
        (t,) = REQUESTS["steps"].struct.unpack_from(payload)
        if t != self.net.t:
            return "step"
        found = self.net.steps(np.frombuffer(payload[4:], "<i2").reshape(-1, self.model.n_in))
        head = REPLIES["steps"].struct.pack(self.net.t, 0)
        return head + found.y.astype("<i4").tobytes() + found.digests.astype("<u4").tobytes()

    def state(self, payload):
        word, count = REQUESTS["state"].struct.unpack(payload)
        return REPLIES["state"].struct.pack(self.net.t, word) + self.net.state()[word : word + count].tobytes()

    def tables(self, _):
        return b"".join(zlib.crc32(a.tobytes()).to_bytes(4, "little") for a in tables(self.model).values())

    def read_table(self, payload):
        table, offset, count = REQUESTS["read"].struct.unpack(payload)
        data = list(tables(self.model).values())[table].tobytes()
        return REPLIES["read"].struct.pack(table, offset) + data[offset : offset + count]


# `read` is the port's; the request of that name is answered by read_table.
NAMES[REQUESTS["read"].type] = "read_table"


class FaultyLine:
    """Drops, doubles, flips and inserts bytes in both directions, a share of all, by a seed."""

    def __init__(self, port, seed, share):
        self.port, self.rng, self.share = port, random.Random(seed), share
        self.faults = 0
        self._held = bytearray()

    def damage(self, data):
        found = bytearray()
        for byte in data:
            kind = self.rng.choice(["drop", "double", "flip", "insert"]) if self.rng.random() < self.share else ""
            self.faults += bool(kind)
            if kind == "insert":
                found.append(self.rng.randrange(256))
            if kind != "drop":
                found.append(byte ^ (1 << self.rng.randrange(8)) if kind == "flip" else byte)
            if kind == "double":
                found.append(byte)
        return bytes(found)

    @property
    def timeout(self):
        return self.port.timeout

    @timeout.setter
    def timeout(self, value):
        self.port.timeout = value

    @property
    def in_waiting(self):
        return self.port.in_waiting

    def write(self, data):
        return self.port.write(self.damage(data))

    def read(self, size=1):
        return self.damage(self.port.read(size))

    def close(self):
        self.port.close()


class Babbler:
    """Never listens; sends what `source(size)` gives, for ever."""

    in_waiting = 64
    timeout = None

    def __init__(self, source):
        self.source = source

    def write(self, data):
        return len(data)

    def read(self, size=1):
        time.sleep(0.0005)
        return self.source(size)

    def close(self):
        pass
