"""The host's side of the link of spec/protocol.py: requests, and their replies over a line that may damage both."""

from __future__ import annotations

import queue
import secrets
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import serial

from lnp_edge.base import system
from lnp_edge.base.errors import LinkError
from lnp_edge.spec import protocol
from lnp_edge.spec.protocol import NAK, REPLIES, REPLY, REQUESTS, Frame, FrameError

DEADLINE = 5.0  # s without a sign of life, plus ten times the time of both frames, until a request fails
PATIENCE = 4  # deadlines until a request fails whatever signs of life there are
MOST_TRIES = 5000  # of a request on a line that damages, however long the deadline of an emulator is
FIRST_TRY = 0.3  # s, plus twice the time of both frames, until the first request is sent again
SLACK = 0.03  # s more than a reply usually takes, until a later request is sent again: a busy machine is slow
USUAL = 4  # times a reply may take as long as four of five replies took
LONGEST_TRY = 0.5  # s, plus twice the time of both frames: a try takes no longer, though each lasts half as long again
OVERHEAD = 200  # bytes that take as long as what a request takes beside its bytes
AFTER_DAMAGE = 0.02  # s between two tries on a line that damages, while no round trip was measured
POLL = 0.01  # s that a read waits at most
NOISE_LIMIT = 65536  # bytes; as many without a delimiter are dropped
READ_LIMIT = 4096  # bytes per read, so that a flood of delimiters cannot outlast the deadline
REBUILD = "generate, build and flash the firmware again with this lnp-edge"
RESTARTED = "restarted"
BAUD = 115_200  # of a port that has no rate
QUIET = 5  # times that it is heard nothing at a rate that was agreed on, in a deadline, until it is given up
ASKED = 3  # times that a device is greeted before it is called
CALLS = 2  # that it may need: one is lost on a board that is busy with steps, or short of the frames of another model
GREETINGS = 64  # that tell whether a line is sound: where the longest requests never pass, a quarter of these does not
CHUNK = 1024  # bytes of a call that are written at once: a port gives up a write after 5 s, 2,400 Bd takes 4.3
REASONS = {number: name for name, number in NAK.items()}


class Port(Protocol):
    """The part of pyserial's Serial that is used here; in-process emulators implement it too.

    A port may have a clock (s, rising) of its own: one in memory needs no time to pass.
    """

    timeout: float | None

    @property
    def in_waiting(self) -> int: ...
    def read(self, size: int = 1) -> bytes: ...
    def write(self, data: bytes) -> int | None: ...
    def close(self) -> None: ...


@dataclass
class Traffic:
    """What has passed on a link."""

    requests: int = 0
    sent_again: int = 0
    damaged_here: int = 0  # frames that arrived damaged at the host
    damaged_there: int = 0  # at the device, as far as its refusals arrived
    late: int = 0  # replies to what was answered before
    rates_lost: int = 0  # times that a line had to go back to its first rate
    recovered: int = 0  # times that a device which had lost the session or its state was brought back to it
    replayed: int = 0  # steps for that
    resumed: int = 0  # times that a host which was killed has gone on
    restarted: Counter[str] = field(default_factory=Counter)  # by what caused it, as far as the device knows

    @property
    def disturbed(self) -> bool:
        """Whether the line has damaged, delayed or doubled anything."""
        return self.damaged_here + self.damaged_there + self.late > 0

    def as_dict(self) -> dict[str, int]:
        """By name, in words: "sent again"."""
        counts = {name.replace("_", " "): n for name, n in vars(self).items() if name != "restarted"}
        return counts | {RESTARTED: self.restarted.total()} | {
            f"{RESTARTED} by {cause}": n for cause, n in sorted(self.restarted.items())
        }  # fmt: skip

    def goes_on(self, before: dict[str, int]) -> None:
        """After what had passed before the host was killed."""
        self.resumed += 1
        for name in self.as_dict():
            if not name.startswith(RESTARTED):
                own = name.replace(" ", "_")
                setattr(self, own, getattr(self, own) + before.get(name, 0))
        for cause in protocol.CAUSES:
            self.restarted[cause] += before.get(f"{RESTARTED} by {cause}", 0)
        self.restarted = +self.restarted

    def __str__(self) -> str:
        return ", ".join(f"{value} {name}" for name, value in self.as_dict().items())


class Lost(Exception):
    """The device is not where the host left it, or the port is gone.

    why   : "port", "rate", "session", "run" or "step"; "reply" if steps were run and their reply does not come
    error : for the user, if there is no way back
    """

    def __init__(self, why: str, error: LinkError):
        super().__init__(why)
        self.why, self.error = why, error


class Refused(LinkError):
    """The device refuses a request. why : one of protocol.NAK"""

    why = ""


class Other(LinkError):
    """The device answers with what is no reply to the request."""


@dataclass
class Asked:
    """A request that awaits its reply."""

    name: str
    frame: bytes
    seq: int
    want: int  # bytes of the reply's payload
    on_wire: float  # s that both frames take on a serial line
    tries: int = 0
    seconds: float = 0.0  # from the last try to the reply


class Link:
    """Stop-and-wait: sends one request at a time, again and again until its reply or the deadline.

    A device answers a repeated request from memory, so resending is always safe.
    """

    def __init__(self, port: Port, name: str, deadline: float):
        self.port, self.name, self.deadline = port, name, deadline
        self.clock: Callable[[], float] = getattr(port, "clock", time.monotonic)
        self.base = self.baud = getattr(port, "baudrate", None) or BAUD  # of the line, as far as it has a rate
        self.agreed = False  # on another rate than the first
        self.sid = secrets.randbelow(0xFFFF) + 1
        self.seq = 0
        self.traffic = Traffic()
        self.late: set[int] = set()  # numbers of the requests that replies came to later
        self.raw: set[bytes] = set()  # what was sent between zeros and is no request: a line that echoes brings it back
        self.refused_at = 0, 0  # run and t of the last refusal
        self._buffer = bytearray()
        self._pace = self._fastest = 0.0  # s a byte that exchanges take, usually and at best; 0: not known
        self._forget()
        self._last_error = ""
        port.timeout = POLL

    def _forget(self) -> None:
        """What has arrived since a request was asked."""
        self._bytes = self._others = self._echoes = self._bad = self._refused_there = 0
        self._alive = self.clock()

    def ask(self, request: str, payload: bytes = b"", rest: int = 0) -> bytes:
        """The payload of the reply: its fields, then `rest` bytes. Raises LinkError or Lost."""
        found = self.answer(self.request(request, payload, rest))
        assert found is not None  # without a limit of tries
        return found

    def greet(self, most: int = protocol.PAYLOAD, tries: int = ASKED) -> bytes:
        """The payload of a greeting of a device that may be at another rate: it is then called back to the first.

        most : bytes of the longest payload that it may know: a call must be longer than its longest frame
        tries : times that it is greeted before each call
        """
        for _ in range(0 if getattr(self.port, "emulated", False) else CALLS):
            found = self.answer(self.request("hello"), tries)
            if found is not None:
                return found
            self.call(most)
        return self.ask("hello")

    def call(self, most: int) -> None:
        """Bring a device that hears no frame to the first rate, whichever of its rates it is at."""
        left = 2 * most + protocol.LOST_BYTES
        while left > 0:
            self.write(protocol.CALL * min(left, CHUNK))
            left -= CHUNK

    def set_baud(self, baud: int) -> None:
        """Of this side. Raises ValueError, or OSError with EINVAL, if the port cannot have it; OSError if it fails."""
        if hasattr(self.port, "baudrate"):
            with system.terminal():
                self.port.baudrate = baud
        self.baud, self._pace, self._fastest = baud, 0.0, 0.0
        self._buffer.clear()

    def sound(self) -> bool:
        """Whether seven of eight greetings and their replies pass as they are: a busy computer may send some again."""
        disturbed = 0
        for _ in range(GREETINGS):
            asked = self.request("hello")
            try:
                self.answer(asked)
            except (LinkError, Lost):
                return False
            disturbed += asked.tries > 1 or self._others + self._bad + self._refused_there > 0
            if disturbed > GREETINGS // 8:  # each of the others might take a deadline
                return False
        return True

    def request(self, name: str, payload: bytes = b"", rest: int = 0) -> Asked:
        """A new request. It is not sent yet."""
        self.seq = self.seq % 0xFFFF + 1
        self.traffic.requests += 1
        frame = protocol.encode(Frame(REQUESTS[name].type, self.sid, self.seq, payload))
        want = REPLIES[name].struct.size + rest
        baud = getattr(self.port, "baudrate", None)
        on_wire = 10 * (len(frame) + want + 20) / baud if baud else 0.0
        return Asked(name, frame, self.seq, want, on_wire)

    def refusal(self, kind: int, payload: bytes, sid: int | None = None) -> str:
        """Why the device refuses a request of any type, of this session or another; "" if it answers."""
        asked = self.request("hello")
        asked.frame = protocol.encode(Frame(kind, self.sid if sid is None else sid, self.seq, payload))
        own = self.sid
        self.sid = own if sid is None else sid
        try:
            self.answer(asked)
        except Lost as e:
            if e.why == "port":
                raise
            return e.why
        except Refused as e:
            return e.why
        except Other:
            return ""
        finally:
            self.sid = own
        return ""

    def answer(self, asked: Asked, tries: int | None = None) -> bytes | None:
        """The payload of the reply; None if so many tries have none. Raises LinkError or Lost.

        The deadline begins anew with each sound frame of the device: a line on which some pass is slow, not dead.
        """
        self._forget()
        begin, patience = self.clock(), self._patience(asked)
        most = max(LONGEST_TRY + 2 * asked.on_wire, patience)
        last = asked.tries + tries if tries else None
        while asked.tries != last:
            self._send(asked)
            sent = self.clock()
            damage = self._bad + self._refused_there
            reply = self._await(asked, sent, sent + patience)
            now = self.clock()
            if reply is not None:
                asked.seconds = now - sent
                self._learn(asked)
                return self._checked(asked, reply)
            if damage == self._bad + self._refused_there:  # the device may be slow, not the line noisy
                patience = min(1.5 * patience, most)
            if self.agreed and now - self._alive >= self.deadline / QUIET + asked.on_wire:
                raise Lost("rate", self._silence())
            allowed = self.deadline + 10 * asked.on_wire
            long = now - begin >= PATIENCE * allowed or (asked.tries >= MOST_TRIES and damage)
            if long or now - self._alive >= allowed:
                raise self._silence()
        return None

    def _patience(self, asked: Asked) -> float:
        """s until a request is sent again."""
        if not self._pace:
            return FIRST_TRY + 2 * asked.on_wire
        return SLACK + USUAL * self._pace * (len(asked.frame) + asked.want + OVERHEAD)

    def _learn(self, asked: Asked) -> None:
        """Only from a request that was sent once: of two it is not known which one was answered."""
        if asked.tries > 1:
            return
        pace = asked.seconds / (len(asked.frame) + asked.want + OVERHEAD)
        known = self._pace or pace
        self._pace = min(pace, 1.25 * known) if pace > known else max(pace, 0.95 * known)
        self._fastest = min(pace, self._fastest or pace)

    def _send(self, asked: Asked) -> None:
        asked.tries += 1
        self.traffic.sent_again += asked.tries > 1
        self.write(asked.frame)

    def write(self, data: bytes) -> None:
        """Send bytes as they are."""
        try:
            self.port.write(data)
        except (serial.SerialTimeoutException, queue.Full):  # the second: of pyserial's loop://
            raise LinkError(
                f"{self.name} takes no bytes for {getattr(self.port, 'write_timeout', self.deadline):g} s",
                "reset or power the board, and check that no other program and no flow control holds the line",
            ) from None
        except OSError as e:  # pyserial's SerialException is one
            raise Lost("port", self.gone("cannot write to", e)) from None

    def gone(self, what: str, e: OSError) -> LinkError:
        """The error for a port that fails; an emulator, which has no cable, has ended."""
        if getattr(self.port, "emulated", False):
            hint = "its program has ended: run the command again; if it is your own board, check machine in board.toml"
            return LinkError(f"{what} {self.name}: {e}", hint)
        return LinkError(f"{what} {self.name}: {e}", "check the cable and run the command again")

    def _await(self, asked: Asked, sent: float, until: float) -> Frame | None:
        """The next valid reply to the request; None if it is late or damaged."""
        while True:
            head, found, tail = self._buffer.partition(b"\0")
            if found:
                self._buffer = bytearray(tail)
                if not head:
                    continue
                if bytes(head) in self.raw:
                    self._echoes += 1
                    continue
                try:
                    frame = protocol.decode(bytes(head))
                except FrameError as e:
                    self._bad += 1
                    self.traffic.damaged_here += 1
                    self._last_error = str(e)
                    until = min(until, self._again_at(asked, sent))
                    continue
                if self._is_damage_there(frame):
                    until = min(until, self._again_at(asked, sent))
                elif self._answers(frame, asked):
                    return frame
                continue
            if len(self._buffer) > NOISE_LIMIT:
                self._buffer.clear()
            if self.clock() >= until:
                return None
            try:
                data = self.port.read(min(max(1, self.port.in_waiting), READ_LIMIT))
            except OSError as e:
                raise Lost("port", self.gone("lost", e)) from None
            self._bytes += len(data)
            self._buffer += data

    def _again_at(self, asked: Asked, sent: float) -> float:
        """When a request that was damaged is sent again: at once, yet at most once a round trip."""
        trip = self._fastest * (len(asked.frame) + asked.want + OVERHEAD) if self._fastest else AFTER_DAMAGE
        return sent + trip

    def _is_damage_there(self, frame: Frame) -> bool:
        nak = REPLIES["nak"]
        if frame.type != nak.type or frame.seq or len(frame.payload) != nak.struct.size:
            return False
        if nak.struct.unpack(frame.payload)[0] != NAK["damaged"]:
            return False
        self._refused_there += 1
        self.traffic.damaged_there += 1
        self._alive = self.clock()
        return True

    def _answers(self, frame: Frame, asked: Asked) -> bool:
        """Whether a sound frame is the reply to the request; counts what else it is."""
        if frame.type < REPLY and frame.type != REPLIES["nak"].type:
            self._echoes += 1
        elif (frame.sid, frame.seq) == (self.sid, asked.seq):
            return True
        elif frame.sid == self.sid:
            self.late.add(frame.seq)
            self.traffic.late += 1
            self._others += 1
            self._alive = self.clock()
        else:
            self._others += 1  # the boot greeting, or a reply to another program
        return False

    def _checked(self, asked: Asked, reply: Frame) -> bytes:
        nak = REPLIES["nak"]
        if reply.type == nak.type and len(reply.payload) == nak.struct.size:
            raise self._refused(asked.name, reply)
        if reply.type == REQUESTS[asked.name].type | REPLY and len(reply.payload) == asked.want:
            return reply.payload
        raise Other(
            f"{self.name} answered {asked.name} with type {reply.type:#x} and {len(reply.payload)} bytes",
            REBUILD,
        )

    def _refused(self, request: str, reply: Frame) -> Exception:
        code, run, t = REPLIES["nak"].struct.unpack(reply.payload)
        self.refused_at = run, t
        why = REASONS.get(code, str(code))
        if why == "session":
            return Lost(why, self.session_lost())
        error = Refused(f"{self.name} refuses {request} ({why}) at step {t}", REBUILD)
        error.why = why
        return Lost(why, error) if why in ("run", "step") else error

    def session_lost(self) -> LinkError:
        return LinkError(
            f"{self.name} has lost the session: it restarted, or another program opened it",
            "close other programs on this port, check the power, and run the command again",
        )

    def _silence(self) -> LinkError:
        if not self._bytes and getattr(self.port, "emulated", False):
            return LinkError(
                f"the program of {self.name} says nothing in {self.deadline:g} s",
                "try again, or another --board; if it is your own, check cpu, clock, memory and driver in board.toml",
            )
        if not self._bytes:
            return LinkError(
                f"no bytes from {self.name} in {self.deadline:g} s",
                "check power, cable, RX/TX and baud rate, and that the board runs lnp-edge firmware",
            )
        if self._echoes:
            return LinkError(f"{self.name} echoes what it receives", "RX and TX are connected: check the wiring")
        if self._refused_there:
            return LinkError(
                f"{self.name} says that {self._refused_there} requests arrived damaged, and answered none",
                "check the baud rate, ground and cable length",
            )
        if self._others and not self._bad:
            return LinkError(
                f"{self._others} frames from {self.name}, none for this request",
                "the device is slower than the deadline: close other programs on this port, or raise the baud rate",
            )
        if not self._bad:
            return LinkError(
                f"{self._bytes} bytes from {self.name} in {self.deadline:g} s, and no frame among them",
                "check the baud rate, and that the board runs lnp-edge firmware",
            )
        return LinkError(
            f"{self._bad} damaged frames from {self.name} in {self.deadline:g} s, none valid; "
            f"the last: {self._last_error}",
            "check the baud rate, ground and cable length",
        )
