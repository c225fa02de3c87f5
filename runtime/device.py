"""A device on a serial port: runs steps, and brings a device that has restarted back to where it was."""

from __future__ import annotations

import math
import secrets
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from lnp_edge.base.errors import LinkError
from lnp_edge.runtime.link import DEADLINE, OVERHEAD, REBUILD, Asked, Link, Lost, Port, Traffic
from lnp_edge.runtime.rate import Rate
from lnp_edge.runtime.runner import Steps, checked
from lnp_edge.spec import protocol
from lnp_edge.spec.layout import tables
from lnp_edge.spec.model import QuantizedModel
from lnp_edge.spec.protocol import PAYLOAD, REPLIES, REQUESTS

FIRST_FRAME = 8  # steps
MEMORY = 0.97  # weight of what was known of the line, at each try
UNTIL_FAULT = 0.42  # share of a frame until its first fault, if there is one fault a frame
NO_FAULT, MANY = 1e-3, 2**16  # of one fault, forgotten; more than any frame holds
SLOW = 0.5  # s; frames that take as long do not grow
TRIES = 8  # of a frame of steps, until the device is asked where it is
MORE_TRIES = 20  # of the reply to one that was run, until it is run again in smaller frames
PATIENT = 200  # the same of a reply that has one digest: smaller frames would not make it shorter
ROUNDS = 100  # of TRIES, until a line is too bad
REFUSALS = 3  # one after the other, until they are told
RESTARTS = 100  # without a new step, until they are told
UNASKED = 0xFFFE  # number of a request that must not be answered
JOURNAL = 2**28  # bytes of inputs; a run that is longer cannot be replayed

CAUSES = {number: name for name, number in protocol.CAUSES.items()}

T = TypeVar("T")


@dataclass(frozen=True)
class Greeting:
    """A device's description of itself."""

    wire_crc: int
    fingerprint: int
    boot: int
    run: int
    t: int
    state_words: int
    clock_hz: int
    n: int
    n_in: int
    n_out: int
    n_tables: int
    max_payload: int
    cause: str  # of its start, one of protocol.CAUSES
    build: int
    board: str  # ASCII, anything else escaped


@dataclass
class Taken:
    """The inputs since the last reset, and the digest that they gave: it covers every step."""

    counts: bytearray
    digest: int = 0


class FrameSize:
    """How many steps to send at once: as many as pass in the shortest time, by the damage of late.

    most : steps that a frame can hold
    head, step : bytes of request and reply together, without steps and of each step

    With p faults a byte, k steps pass with probability exp(-p (head + k step)) and take OVERHEAD + head + k step. The
    best k solves a quadratic equation. p is estimated from all tries, of which older ones count less. A frame at most
    doubles, so that a line of which nothing is known begins with small ones.
    """

    def __init__(self, most: int, head: int, step: int):
        self.most, self._head, self._step = most, head, step
        self.steps = min(FIRST_FRAME, most)
        self._faults = self._bytes = 0.0

    def tried(self, steps: int, tries: int, passed: bool, slow: bool = False) -> None:
        """A frame was sent so often; the last time it passed, or it has not passed yet."""
        for number in range(tries):
            whole = passed and number == tries - 1
            self._faults = MEMORY * self._faults + (not whole)
            self._bytes = MEMORY * self._bytes + (self._head + steps * self._step) * (1 if whole else UNTIL_FAULT)
        grown = steps if slow or not passed else max(2 * steps, self.steps)
        self.steps = max(1, min(self._best(self._head, self._step), grown, self.most))

    def items(self, most: int, size: int) -> int:
        """How many items of so many bytes to ask for at once, of at most so many."""
        return max(1, min(most, self._best(self._head, size)))

    def _best(self, head: int, item: int) -> int:
        if self._faults < NO_FAULT:
            return MANY
        p, rest = self._faults / self._bytes, head + OVERHEAD
        return int(rest / (2 * item) * (math.sqrt(1 + 4 / (p * rest)) - 1))


class Device:
    """One model on one device. Opens the session, and refuses a device that runs another model.

    `deadline` is in seconds; by default the port's own, if it has one, or DEADLINE.  rates : of the line to try, in
    Bd, the best first; without any it stays as it is.
    Raises LinkError if the line is silent or noisy, or the device has another model or protocol.
    """

    def __init__(
        self,
        port: Port,
        model: QuantizedModel,
        name: str = "the port",
        deadline: float | None = None,
        reopen: Callable[[], None] | None = None,
        rates: Sequence[int] = (),
    ):
        self.model, self.name, self._reopen = model, name, reopen
        # Most emulators' counter of cycles counts those of this computer, if any.
        self._timed = getattr(port, "counts", not getattr(port, "emulated", False))
        self._link = Link(port, name, getattr(port, "deadline", DEADLINE) if deadline is None else deadline)
        self.greeting = self._first_greeting()
        request, reply = REQUESTS["steps"].struct.size, REPLIES["steps"].struct.size + 4 * (model.n_out + 1)
        head = request + reply + 2 * (protocol.HEADER.size + protocol.CRC_BYTES + 3)
        self._size = FrameSize(self.steps_per_frame(digests=False), head, 2 * model.n_in)
        self.run, self.t, self._boot = self.greeting.run, self.greeting.t, self.greeting.boot
        self._runs = {0, self.run}  # that this program may have begun
        self._journal = None if self.t else Taken(bytearray())
        self.lost = False  # what the device held, when it could not be replayed
        self._lost = self._refused = 0  # times since the last new step, and of these the last in a row
        self.rate = Rate(self._link, rates, self.greeting.max_payload)
        self._sure(self.rate.up)

    @property
    def port(self) -> Port:
        return self._link.port

    @property
    def sid(self) -> int:
        return self._link.sid

    @property
    def traffic(self) -> Traffic:
        return self._link.traffic

    def _first_greeting(self) -> Greeting:
        """The line may be cut just then."""
        for _ in range(RESTARTS):
            try:
                return self._checked(self._link.greet(2 * self.model.n_in + 4 * self.model.n_out + PAYLOAD))
            except Lost as e:
                lost = e
            if lost.why != "port" or not self._reopen:
                break
            self._reopen()
        raise lost.error

    def _greet(self) -> Greeting:
        return self._checked(self._link.ask("hello"))

    def _checked(self, raw: bytes) -> Greeting:
        fields = REPLIES["hello"]
        if len(raw) >= 4 and int.from_bytes(raw[:4], "little") != protocol.wire_crc():
            raise LinkError(
                f"the firmware on {self.name} uses another version of the link",
                REBUILD,
            )
        values: dict[str, Any] = dict(zip(fields.offsets(), fields.struct.unpack(raw), strict=False))
        values["cause"] = CAUSES.get(values["cause"], f"cause {values['cause']}")
        values["board"] = printable(values["board"].rstrip(b"\0"))
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
                REBUILD,
            )
        if not greeting.clock_hz:
            raise LinkError(f"{self.name} reports a clock of 0 Hz", REBUILD)
        return greeting

    def reset(self) -> None:
        self._journal, self.t, self._lost, self._refused = Taken(bytearray()), 0, 0, 0
        before = self.run
        try:
            self._begin(before)
        except Lost as e:
            self._recover(e, before)

    def take_up(self, run: int, counts: NDArray[np.int16], digest: int) -> None:
        """Go on in a run after these steps, which gave this digest: as it is if the device is there, else by replay.

        Raises LinkError if the digest is another one then.
        """
        journal = Taken(bytearray(counts.astype("<i2", copy=False).tobytes()), digest)
        self._journal, self._lost, self._refused = journal, 0, 0
        if (self.run, self.t) == (run, len(counts)):
            return
        before = self.run
        try:
            self._replay(before, journal)
        except Lost as e:
            self._recover(e, before)

    def _begin(self, after: int) -> None:
        """Begin a run of a new number, after the run that the device is in."""
        run = 1 + secrets.randbelow(2**32 - 1)
        self._runs.add(run)
        raw = self._link.ask("reset", REQUESTS["reset"].struct.pack(after, run))
        found, t, digest = REPLIES["reset"].struct.unpack(raw)
        self._expect("run", found, run)
        self._expect("step", t, 0)
        self._expect("digest", digest, 0)
        self.run, self._runs = run, {0, after, run}

    def _expect(self, what: str, found: int, wanted: int) -> None:
        if found != wanted:
            raise LinkError(
                f"{self.name} answers for {what} {found}, not {wanted}",
                REBUILD,
            )

    def steps(self, counts: NDArray[np.int16], digests: bool = True) -> Steps:
        """Run the next len(counts) steps, several per frame. counts : int16 [T, n_in].

        Without digests, only the last one is given, which covers those before: a frame then carries more steps a
        second. Raises DataError like the reference, before anything is sent.
        """
        counts = checked(counts, self.model.n_in).astype("<i2", copy=False)
        given, cycles = [np.zeros(0, np.uint32)], 0
        if not len(counts):
            return Steps(self.model.y_of(self.state()), given[0], cycles)
        at = 0
        while at < len(counts):
            more, found = self._sure(lambda: self._some_steps(counts[at:], digests))  # noqa: B023
            if self._journal:
                self._journal.counts += counts[at : at + more].tobytes()
                self._journal.digest = int(found.digests[-1])
                if len(self._journal.counts) > JOURNAL:
                    self._journal = None
            self._lost = self._refused = 0
            at += more
            given.append(found.digests)
            cycles += found.cycles
        return Steps(found.y, np.concatenate(given) if digests else given[-1], cycles)

    def _some_steps(self, counts: NDArray[np.int16], digests: bool) -> tuple[int, Steps]:
        """The first of these steps, as many as pass at once, and their number."""
        n_out = self.model.n_out
        sent: dict[int, Asked] = {}  # by its steps; each may have been run, or may arrive late and be run then
        for _ in range(ROUNDS):
            steps = min(len(counts), self._size.steps, self.steps_per_frame(digests))
            if steps not in sent:
                sent[steps] = self._request_steps(counts[:steps], digests)
            asked = sent[steps]
            try:
                raw = self._link.answer(asked, TRIES)
            except Lost as e:
                if e.why != "step":
                    raise
                raw = None
            if raw is None and (ran := self._ran(sent)):
                asked, steps = sent[ran], ran
                raw = self._link.answer(asked, MORE_TRIES if digests else PATIENT)
                if raw is None:  # the line has become bad: run it again in smaller frames
                    self._size.tried(steps, asked.tries, False)
                    raise Lost("reply", self._too_bad())
            self._size.tried(steps, asked.tries, raw is not None, asked.seconds > SLOW)
            if raw is None:
                continue
            reply = REPLIES["steps"].struct
            run, t, cycles, crc = reply.unpack_from(raw)
            self._expect("run", run, self.run)
            self._expect("step", t, (self.t + steps) % 2**32)
            self._expect("input", crc, zlib.crc32(counts[:steps].tobytes()))
            self.t = t
            words = np.frombuffer(raw, "<u4", offset=reply.size).astype(np.uint32)
            return steps, Steps(words[:n_out].view(np.int32), words[n_out:], cycles if self._timed else 0)
        raise self._too_bad()

    def _too_bad(self) -> LinkError:
        return LinkError(
            f"the line to {self.name} is too bad for {self._size.steps} steps at once: {self.traffic}",
            "check the baud rate, ground and cable length",
        )

    def _request_steps(self, chunk: NDArray[np.int16], digests: bool) -> Asked:
        told = len(chunk) if digests else 1
        head = REQUESTS["steps"].struct.pack(self.run, self.t, told)
        return self._link.request("steps", head + chunk.tobytes(), 4 * (self.model.n_out + told))

    def _ran(self, sent: Iterable[int]) -> int:
        """How many steps more the device has run than it has answered for: 0, or those of a request that was sent."""
        told = self._greet()
        if told.run != self.run:
            raise Lost("session", self._link.session_lost())
        more = (told.t - self.t) % 2**32
        if more not in (0, *sent):
            raise Lost("step", LinkError(f"{self.name} is at step {told.t}, not {self.t}", REBUILD))
        return more

    def _sure(self, do: Callable[[], T]) -> T:
        """What `do` gives, though the device may have to be brought back to its state before."""
        while True:
            try:
                return do()
            except Lost as e:
                self._recover(e)

    def _recover(self, lost: Lost, stale: int | None = None) -> None:
        """Bring the device to the last step that is known: by replay from the last reset, unless it is there.

        stale : a run that is not to be gone on with, though the device may be in it

        Raises the error of what was lost if there is no journal, or if it is lost again and again.
        """
        while True:
            self._lost += 1
            self._refused = self._refused + 1 if lost.why in ("run", "step") else 0
            if self._journal is None or self._lost > RESTARTS or self._refused > REFUSALS:
                self.lost = True
                raise lost.error
            try:
                if lost.why == "port":
                    if not self._reopen:
                        raise lost.error
                    self._reopen()
                slowed = lost.why in ("port", "rate") and self.rate.find()
                told = self._greet()
                restarted = told.boot != self._boot or bool(self.run and not told.run)
                if restarted:
                    self._boot = told.boot
                    self.traffic.restarted[told.cause] += 1
                if slowed:
                    self.rate.lost(restarted)
                if self._foreign(told):
                    raise LinkError(
                        f"another program has taken over {self.name}",
                        "close other programs on this port, and run the command again",
                    )
                self.traffic.recovered += 1
                self.rate.up()
                # Not self.t, which is less while a replay that was lost had come only so far.
                last = len(self._journal.counts) // (2 * self.model.n_in) % 2**32
                there = told.run != stale and (told.run, told.t) == (self.run, last)
                if lost.why in ("port", "rate", "session") and there:
                    self.t = last
                    return
                self._replay(told.run, self._journal)
                return
            except Lost as e:
                lost = e

    def _foreign(self, told: Greeting) -> bool:
        return told.run not in self._runs

    def _replay(self, after: int, journal: Taken) -> None:
        """Raises LinkError if the digest of all steps is not what it was."""
        counts = np.frombuffer(bytes(journal.counts), "<i2").reshape(-1, self.model.n_in)
        self._begin(after)
        self.t = at = digest = 0
        while at < len(counts):
            more, found = self._some_steps(counts[at:], digests=False)
            at, digest = at + more, int(found.digests[-1])
            self.traffic.replayed += more
        if digest != journal.digest:
            raise LinkError(
                f"{self.name} has restarted, and the same {at} steps gave digest {digest:08x}, "
                f"not {journal.digest:08x} as before",
                "check its supply and memory: one of the two is wrong",
            )

    def steps_per_frame(self, digests: bool = True) -> int:
        """The number of steps that fit in a request, and their digests in its reply."""
        room = self.greeting.max_payload
        request = (room - REQUESTS["steps"].struct.size) // (2 * self.model.n_in)
        reply = (room - REPLIES["steps"].struct.size) // 4 - self.model.n_out
        return max(1, min(request, reply) if digests else request)

    def state(self) -> NDArray[np.uint32]:
        return self._sure(self._state)

    def _state(self) -> NDArray[np.uint32]:
        words, at, reply = list[NDArray[np.uint32]](), 0, REPLIES["state"].struct
        most = (self.greeting.max_payload - reply.size) // 4
        while at < self.model.state_words:
            count = min(self._size.items(most, 4), self.model.state_words - at)
            raw = self._link.ask("state", REQUESTS["state"].struct.pack(self.run, self.t, at, count), 4 * count)
            for what, found, wanted in zip(
                ("run", "step", "word"), reply.unpack_from(raw), (self.run, self.t, at), strict=True
            ):
                self._expect(what, found, wanted)
            words.append(np.frombuffer(raw, "<u4", offset=reply.size))
            at += count
        return np.concatenate(words).astype(np.uint32)

    def table_crcs(self) -> list[int]:
        """The CRC-32 of each table in flash, in the order of layout.tables."""
        raw = self._sure(lambda: self._link.ask("tables", rest=4 * self.greeting.n_tables))
        return np.frombuffer(raw, "<u4").tolist()

    def read_table(self, table: int, size: int) -> bytes:
        """The first `size` bytes of a table in flash."""
        found, reply = b"", REPLIES["read"].struct
        most = self.greeting.max_payload - reply.size
        while len(found) < size:
            count = min(self.pieces(most), size - len(found))
            request = REQUESTS["read"].struct.pack(table, len(found), count)
            raw = self._sure(lambda: self._link.ask("read", request, count))  # noqa: B023
            number, offset = reply.unpack_from(raw)
            self._expect("table", number, table)
            self._expect("offset", offset, len(found))
            found += raw[reply.size :]
        return found

    def pieces(self, most: int) -> int:
        """The bytes of a longer message that pass best in one frame on this line."""
        return self._size.items(most, 1)

    def ask(self, name: str, payload: bytes, rest: int = 0) -> bytes:
        """The payload of the reply to a request of the self-test. Raises Lost, and brings nothing back."""
        return self._link.ask(name, payload, rest)

    def load(self, size: int, crc: int) -> tuple[int, int]:
        """Load what was filled in, and begin a run that cannot be replayed: what is told of it, and the digest."""
        self._journal, after, run = None, self.run, 1 + secrets.randbelow(2**32 - 1)
        self._runs.add(run)
        found, self.t, digest, loaded = REPLIES["load"].struct.unpack(
            self._link.ask("load", REQUESTS["load"].struct.pack(after, run, size, crc))
        )
        self._expect("run", found, run)
        self.run = run
        return loaded, digest

    def refusal(self, kind: int, payload: bytes, sid: int | None = None) -> str:
        """Why the device refuses a request of this type; "" if it answers."""
        self._link.refused_at = self.run, self.t
        why = self._link.refusal(kind, payload, sid)
        told = self._link.refused_at
        return why if told == (self.run, self.t) else f"{why}, as of run {told[0]} and step {told[1]}"

    def damage_told(self, data: bytes) -> int:
        """Send these bytes: how often the device says that something arrived damaged, until it answers a greeting.

        -1 if it answers them, which have the number UNASKED.
        """
        before, late = self.traffic.damaged_there, self.traffic.late
        self._link.late.clear()
        self._link.raw = set(data.split(b"\0"))
        self._link.write(data)
        told = self._greet()
        self._expect("run", told.run, self.run)
        self._expect("step", told.t, self.t)
        count = self.traffic.damaged_there - before
        self.traffic.damaged_there, self.traffic.late = before, late  # no doing of the line
        return -1 if UNASKED in self._link.late else count

    def sound(self) -> bool:
        """Whether the line is: then it is not what is wrong."""
        return self._link.sound()

    def again(self, counts: NDArray[np.int16]) -> str:
        """Run steps by a request that is sent again, after other things and from another session: what is wrong."""
        asked = self._request_steps(counts, False)
        first = self._link.answer(asked)
        self._journal, self.t = None, self._greet().t
        self._link.refusal(REQUESTS["tables"].type, b"\0")
        assert first is not None
        if REPLIES["steps"].struct.unpack_from(first)[1] != self.t:
            return "its reply tells another step than the greeting"
        if self._link.answer(asked) != first:
            return "it is answered otherwise"
        if self._greet().t != self.t:
            return "it is run twice"
        self._link.refusal(REQUESTS["hello"].type, b"", self.sid % 0xFFFF + 1)
        self._greet()
        try:
            self._link.answer(asked)
        except Lost as e:
            return "" if e.why == "step" else f"a new session refuses it ({e.why})"
        return "a new session answers it"

    def delimited(self) -> bool:
        """Whether a frame of the device begins and ends with a zero."""
        self._greet()  # what is left of an earlier frame is no part of this one
        own = self._link.request("hello").frame
        self._link.write(own)
        found, still = b"", 0  # still: reads in a row that gave nothing
        for _ in range(300):
            more = self.port.read(4096)
            still = 0 if more else still + 1
            found = (found + more).removeprefix(own)  # of a line that echoes
            if found.strip(b"\0") and (found.endswith(b"\0") or still > 50):
                break
        return found[:1] == b"\0" == found[-1:] and b"\0" not in found.strip(b"\0")

    def close(self) -> None:
        self._link.port.close()


def printable(text: bytes) -> str:
    """As ASCII, with what a terminal would act on escaped."""
    return "".join(chr(b) if 32 <= b < 127 else f"\\x{b:02x}" for b in text)
