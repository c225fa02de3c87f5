"""A device on a serial port: the host's side of the link of spec/protocol.py."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lnp_edge.base.errors import LinkError
from lnp_edge.runtime.runner import Steps, checked
from lnp_edge.spec import protocol
from lnp_edge.spec.layout import tables
from lnp_edge.spec.model import QuantizedModel
from lnp_edge.spec.protocol import NAK, REPLIES, REPLY, REQUESTS, Frame, FrameError

DEADLINE = 5.0  # s until a request without a valid reply fails
FIRST_TRY = 0.3  # s, plus the time of both frames, until it is sent again; grows by half each time
AFTER_DAMAGE = 0.02  # s after a damaged reply until the request is sent again
NOISE_LIMIT = 65536  # bytes; as many without a delimiter are dropped
READ_LIMIT = 4096  # bytes per read, so that a flood of delimiters cannot outlast the deadline


class Port(Protocol):
    """The part of pyserial's Serial that is used here; in-process emulators implement it too."""

    timeout: float | None

    @property
    def in_waiting(self) -> int: ...
    def read(self, size: int = 1) -> bytes: ...
    def write(self, data: bytes) -> int | None: ...
    def close(self) -> None: ...


@dataclass(frozen=True)
class Greeting:
    """A device's description of itself."""

    wire_crc: int
    fingerprint: int
    t: int
    state_words: int
    clock_hz: int
    n: int
    n_in: int
    n_out: int
    n_tables: int
    max_payload: int
    board: str


class Device:
    """One model on one device. Opens the session, and refuses a device that runs another model.

    `deadline` is in seconds; by default the port's own, if it has one, or DEADLINE.
    Raises LinkError if the line is silent or noisy, or the device has another model or protocol.
    """

    def __init__(self, port: Port, model: QuantizedModel, name: str = "the port", deadline: float | None = None):
        self.model, self.name = model, name
        self._link = Link(port, name, getattr(port, "deadline", DEADLINE) if deadline is None else deadline)
        self.greeting = self._greet()
        self.t = self.greeting.t

    def _greet(self) -> Greeting:
        fields = REPLIES["hello"]
        raw = self._link.ask("hello")
        if len(raw) >= 4 and int.from_bytes(raw[:4], "little") != protocol.wire_crc():
            raise LinkError(
                f"the firmware on {self.name} uses another version of the link",
                "generate, build and flash it again with this lnp-edge",
            )
        values: dict[str, Any] = dict(zip(fields.offsets(), fields.struct.unpack(raw), strict=False))
        values["board"] = values["board"].rstrip(b"\0").decode("ascii", "replace")
        greeting = Greeting(**values)
        m = self.model
        if greeting.fingerprint != m.fingerprint:
            raise LinkError(
                f"{self.name} runs model {greeting.fingerprint:08x}, not {m.fingerprint:08x}",
                "flash the firmware generated from this model: lnp flash DIR",
            )
        sizes = (greeting.n, greeting.n_in, greeting.n_out, greeting.state_words, greeting.n_tables)
        ours = (m.n, m.n_in, m.n_out, m.state_words, len(tables(m)))
        if sizes != ours or greeting.max_payload < protocol.MIN_PAYLOAD:
            raise LinkError(
                f"{self.name} reports sizes {sizes} and frames of {greeting.max_payload} bytes, the model has {ours}",
                "generate, build and flash it again with this lnp-edge",
            )
        if not greeting.clock_hz:
            raise LinkError(
                f"{self.name} reports a clock of 0 Hz", "generate, build and flash it again with this lnp-edge"
            )
        return greeting

    def reset(self) -> None:
        self._link.ask("reset")
        self.t = 0

    def steps(self, counts: NDArray[np.int16]) -> Steps:
        """Run the next len(counts) steps, several per frame. counts : int16 [T, n_in].

        Raises DataError like the reference, before anything is sent.
        """
        counts = checked(counts, self.model.n_in).astype("<i2", copy=False)
        digests, cycles = [np.zeros(0, np.uint32)], 0
        if not len(counts):
            return Steps(self.model.y_of(self.state()), digests[0], cycles)
        at, most = 0, self.steps_per_frame()
        while at < len(counts):
            chunk = counts[at : at + most]
            head = REQUESTS["steps"].struct.pack(self.t)
            raw = self._link.ask("steps", head + chunk.tobytes(), 4 * (self.model.n_out + len(chunk)))
            reply = REPLIES["steps"].struct
            t, more = reply.unpack_from(raw)
            self.t += len(chunk)
            if t != self.t:
                raise LinkError(
                    f"{self.name} is at step {t}, not {self.t}",
                    "generate, build and flash the firmware again with this lnp-edge",
                )
            words = np.frombuffer(raw, "<u4", offset=reply.size).astype(np.uint32)
            y = words[: self.model.n_out].view(np.int32)
            digests.append(words[self.model.n_out :])
            cycles += more
            at += len(chunk)
        return Steps(y, np.concatenate(digests), cycles)

    def steps_per_frame(self) -> int:
        """The number of steps that fit in a request and its reply."""
        room = self.greeting.max_payload
        request = (room - REQUESTS["steps"].struct.size) // (2 * self.model.n_in)
        reply = (room - REPLIES["steps"].struct.size) // 4 - self.model.n_out
        return max(1, min(request, reply))

    def state(self) -> NDArray[np.uint32]:
        words, most = [], (self.greeting.max_payload - REPLIES["state"].struct.size) // 4
        for at in range(0, self.model.state_words, most):
            count = min(most, self.model.state_words - at)
            raw = self._link.ask("state", REQUESTS["state"].struct.pack(at, count), 4 * count)
            words.append(np.frombuffer(raw, "<u4", offset=REPLIES["state"].struct.size))
        return np.concatenate(words).astype(np.uint32)

    def table_crcs(self) -> list[int]:
        """The CRC-32 of each table in flash, in the order of layout.tables."""
        return np.frombuffer(self._link.ask("tables", rest=4 * self.greeting.n_tables), "<u4").tolist()

    def read_table(self, table: int, size: int) -> bytes:
        """The first `size` bytes of a table in flash."""
        found, head = b"", REPLIES["read"].struct.size
        most = self.greeting.max_payload - head
        while len(found) < size:
            count = min(most, size - len(found))
            request = REQUESTS["read"].struct.pack(table, len(found), count)
            found += self._link.ask("read", request, count)[head:]
        return found

    def close(self) -> None:
        self._link.port.close()


class Link:
    """Stop-and-wait: sends one request at a time, again and again until its reply or the deadline.

    A device answers a repeated request from memory, so resending is always safe.
    """

    def __init__(self, port: Port, name: str, deadline: float):
        self.port, self.name, self.deadline = port, name, deadline
        self.sid = secrets.randbelow(0xFFFF) + 1
        self.seq = 0
        self._buffer = bytearray()
        self.bad_frames = self._bytes = self._others = self._echoes = 0
        self._last_error = ""
        port.timeout = 0.05

    def ask(self, request: str, payload: bytes = b"", rest: int = 0) -> bytes:
        """The payload of the reply: its fields, then `rest` bytes. Raises LinkError."""
        self.seq = self.seq % 0xFFFF + 1
        kind, want = REQUESTS[request].type | REPLY, REPLIES[request].struct.size + rest
        frame = protocol.encode(Frame(REQUESTS[request].type, self.sid, self.seq, payload))
        baud = getattr(self.port, "baudrate", None)
        on_wire = 10 * (len(frame) + want + 20) / baud if baud else 0.0  # s, there and back
        self._bytes = self._others = self._echoes = 0
        bad_before, patience = self.bad_frames, FIRST_TRY + 2 * on_wire
        give_up = time.monotonic() + self.deadline + 10 * on_wire
        while time.monotonic() < give_up:
            self._write(frame)
            damaged = self.bad_frames
            reply = self._await(min(time.monotonic() + patience, give_up))
            if reply is None:
                if damaged == self.bad_frames:  # the device may be slow, not the line noisy
                    patience *= 1.5
                continue
            if reply.type == REPLIES["nak"].type and len(reply.payload) == REPLIES["nak"].struct.size:
                self._refused(request, reply)
            if reply.type == kind and len(reply.payload) == want:
                return reply.payload
            raise LinkError(
                f"{self.name} answered {request} with type {reply.type:#x} and {len(reply.payload)} bytes",
                "generate, build and flash the firmware again with this lnp-edge",
            )
        raise self._silence(self.bad_frames - bad_before)

    def _write(self, frame: bytes) -> None:
        try:
            self.port.write(frame)
        except OSError as e:  # pyserial's SerialException is one
            raise LinkError(f"cannot write to {self.name}: {e}", "check the cable and run the command again") from None

    def _await(self, until: float) -> Frame | None:
        """The next valid reply of this session and request; None if it is late or damaged."""
        while True:
            head, found, tail = self._buffer.partition(b"\0")
            if found:
                self._buffer = bytearray(tail)
                if not head:
                    continue
                try:
                    frame = protocol.decode(bytes(head))
                except FrameError as e:
                    self.bad_frames += 1
                    self._last_error = str(e)
                    until = min(until, time.monotonic() + AFTER_DAMAGE)
                    continue
                if (frame.sid, frame.seq) != (self.sid, self.seq):
                    self._others += 1  # the boot greeting, or a late reply to an earlier request
                elif frame.type < REPLY and frame.type != REPLIES["nak"].type:
                    self._echoes += 1
                else:
                    return frame
                continue
            if len(self._buffer) > NOISE_LIMIT:
                self._buffer.clear()
            if time.monotonic() >= until:
                return None
            try:
                data = self.port.read(min(max(1, self.port.in_waiting), READ_LIMIT))
            except OSError as e:
                raise LinkError(f"lost {self.name}: {e}", "check the cable and run the command again") from None
            self._bytes += len(data)
            self._buffer += data

    def _refused(self, request: str, reply: Frame) -> None:
        code, t = REPLIES["nak"].struct.unpack(reply.payload)
        why = {number: name for name, number in NAK.items()}.get(code, str(code))
        if why == "session":
            raise LinkError(
                f"{self.name} has lost the session: it restarted, or another program opened it",
                "close other programs on this port, check the power, and run the command again",
            )
        raise LinkError(
            f"{self.name} refuses {request} ({why}) at step {t}",
            "generate, build and flash the firmware again with this lnp-edge",
        )

    def _silence(self, bad: int) -> LinkError:
        if not self._bytes:
            return LinkError(
                f"no bytes from {self.name} in {self.deadline:g} s",
                "check power, cable, RX/TX and baud rate, and that the board runs lnp-edge firmware",
            )
        if self._echoes:
            return LinkError(f"{self.name} echoes what it receives", "RX and TX are connected: check the wiring")
        if self._others and not bad:
            return LinkError(
                f"{self._others} frames from {self.name}, none for this request",
                "the device is slower than the deadline: close other programs on this port, or raise the baud rate",
            )
        if not bad:
            return LinkError(
                f"{self._bytes} bytes from {self.name} in {self.deadline:g} s, and no frame among them",
                "check the baud rate, and that the board runs lnp-edge firmware",
            )
        return LinkError(
            f"{bad} damaged frames from {self.name} in {self.deadline:g} s, none valid; the last: {self._last_error}",
            "check the baud rate, ground and cable length",
        )
