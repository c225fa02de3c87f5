"""A device in Python behind a port in memory, in virtual time: no test waits, and a busy machine is not late."""

import zlib

import numpy as np

from lnp_edge.runtime.link import BAUD
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
        self.sid, self.run, self.last, self.requests = 0, 0, (None, b""), []
        self.boot, self.cause = 1, "power"
        self.own_baud, self.strange = BAUD, 0  # of its line, and bytes since the last sound frame
        self.can = lambda baud: baud  # the rate that it has next to one, 0 if none is near
        self._in, self._out = bytearray(), bytearray()
        self.timeout, self.now = None, 0.0
        self.restarts_before = self.restarts_after = frozenset()  # numbers of requests at which it restarts

    def clock(self):
        return self.now

    def restart(self):
        """What was sent and what was to be answered are gone, and the state is."""
        self.net.reset()
        self.sid, self.run, self.last, self.boot = 0, 0, (None, b""), self.boot + 1
        self.own_baud, self.strange = BAUD, 0
        self._in.clear()
        self._out += b"boot\r\n" + protocol.encode(Frame(REPLIES["hello"].type, 0, 0, self.hello(b"")))

    @property
    def in_waiting(self):
        return len(self._out)

    def write(self, data):
        self.now += 1e-5 * len(data)
        self._in += data
        self.strange += len(data)
        if self.strange > protocol.LOST_BYTES + self.max_payload + 16:
            self.own_baud = BAUD
        *bodies, self._in = self._in.split(b"\0")
        for body in filter(None, bodies):
            try:
                frame = protocol.decode(bytes(body))
            except FrameError:
                self._out += self.nak(Frame(0, self.sid, 0, b""), "damaged")
                continue
            self.strange = 0
            self._out += self.answer(frame)

    def read(self, size=1):
        self.now += 1e-4 if self._out else self.timeout
        found = bytes(self._out[:size])
        del self._out[:size]
        return found

    def close(self):
        self._out.clear()

    def answer(self, frame):
        name = NAMES[frame.type]
        number = len(self.requests)
        if number in self.restarts_before:
            self.restarts_before -= {number}
            self.restart()
            return b""
        if name == "hello":
            if frame.sid != self.sid:
                self.sid, self.last = frame.sid, (None, b"")
            self.requests.append(name)
            return protocol.encode(Frame(frame.type | REPLY, frame.sid, frame.seq, self.tamper(name, self.hello(b""))))
        if frame.sid != self.sid:
            return self.nak(frame, "session")
        if self.last[0] == frame:
            return self.last[1]
        self.requests.append(name)
        payload = self.tamper(name, getattr(self, name)(frame.payload))
        if number in self.restarts_after:
            self.restart()
            return b""
        if isinstance(payload, str):
            return self.nak(frame, payload)
        self.last = frame, protocol.encode(Frame(frame.type | REPLY, frame.sid, frame.seq, payload))
        return self.last[1]

    def nak(self, frame, why):
        payload = REPLIES["nak"].struct.pack(NAK[why], self.run, self.net.t)
        return protocol.encode(Frame(REPLIES["nak"].type, frame.sid, frame.seq, payload))

    def hello(self, _):
        m = self.model
        facts = {
            "wire_crc": protocol.wire_crc(),
            "fingerprint": m.fingerprint,
            "boot": self.boot,
            "run": self.run,
            "t": self.net.t,
            "state_words": m.state_words,
            "clock_hz": 1,
            "n": m.n,
            "n_in": m.n_in,
            "n_out": m.n_out,
            "n_tables": len(tables(m)),
            "max_payload": self.max_payload,
            "cause": protocol.CAUSES[self.cause],
            "build": 7,
            "board": b"fake",
        }
        return REPLIES["hello"].struct.pack(*(facts | self.greeting).values())

    def reset(self, payload):
        after, run = REQUESTS["reset"].struct.unpack(payload)
        if after != self.run:
            return "run"
        self.net.reset()
        self.run = run
        return REPLIES["reset"].struct.pack(run, 0, 0)

    def steps(self, payload):
        head = REQUESTS["steps"].struct
        run, t, told = head.unpack_from(payload)
        if run != self.run:
            return "run"
        if t != self.net.t:
            return "step"
        data = payload[head.size :]
        found = self.net.steps(np.frombuffer(data, "<i2").reshape(-1, self.model.n_in))
        answer = REPLIES["steps"].struct.pack(run, self.net.t, 0, zlib.crc32(data))
        return answer + found.y.astype("<i4").tobytes() + found.digests[-told:].astype("<u4").tobytes()

    def rate(self, payload):
        """The line tells by own_baud that what is answered is still at the rate before."""
        baud = int.from_bytes(payload[:4], "little")
        found = baud if baud == BAUD else self.can(baud) if BAUD < baud <= protocol.MOST_RATES * BAUD else 0
        self.own_baud = baud if found else self.own_baud
        return found.to_bytes(4, "little") + payload[4:]

    def state(self, payload):
        run, t, word, count = REQUESTS["state"].struct.unpack(payload)
        if run != self.run:
            return "run"
        if t != self.net.t:
            return "step"
        return REPLIES["state"].struct.pack(run, t, word) + self.net.state()[word : word + count].tobytes()

    def tables(self, _):
        return b"".join(zlib.crc32(a.tobytes()).to_bytes(4, "little") for a in tables(self.model).values())

    def read_table(self, payload):
        table, offset, count = REQUESTS["read"].struct.unpack(payload)
        data = list(tables(self.model).values())[table].tobytes()
        return REPLIES["read"].struct.pack(table, offset) + data[offset : offset + count]


# `read` is the port's; the request of that name is answered by read_table.
NAMES[REQUESTS["read"].type] = "read_table"


class Babbler:
    """Never listens; sends what `source(size)` gives, for ever."""

    in_waiting = 64
    timeout = None

    def __init__(self, source):
        self.source, self.now = source, 0.0

    def clock(self):
        return self.now

    def write(self, data):
        return len(data)

    def read(self, size=1):
        self.now += 0.0005
        return self.source(size)

    def close(self):
        pass
