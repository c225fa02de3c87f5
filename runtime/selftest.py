"""The self-test of a device: what no run of steps executes. Every check compares with the reference, over the link.

reset   of a state in which every word, t and the digest are set
save    gives the bytes of SEMANTICS.md section 10, and refuses other sizes
load    takes them, goes on from there as the reference does, also where t begins anew; takes what is at each limit
        and refuses what is beyond, spikes of no neuron, other models, sizes and damaged bytes, and changes nothing then
extremes  steps from spikes that add most to a neuron of each population, with inputs that do so too
argmax  with one largest read-out, and with equal ones
encoder with the counts on both sides of each step of each input's encoding: so each value that it can give, twice
stream  decisions of lnp_<name>_push from single samples, and with read-outs that lie at the edges of the rule
tables  read in pieces of any length
link    requests that must be refused, are, and change nothing
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from lnp_edge.base.errors import LinkError
from lnp_edge.runtime import decisions
from lnp_edge.runtime.device import UNASKED, Device
from lnp_edge.runtime.host import Prediction, Stream
from lnp_edge.runtime.link import DEADLINE, Link, Lost, Port, Refused
from lnp_edge.runtime.reference import Reference
from lnp_edge.runtime.verify import compare, stimulus
from lnp_edge.spec import layout, ops, plugins, protocol, saved
from lnp_edge.spec.model import INPUT, QuantizedModel
from lnp_edge.spec.protocol import REPLIES, REQUESTS, Frame

DIRTY, MORE = 96, 40  # steps before a state is saved, and after it is loaded
AGAIN = 5  # times that a check is begun anew after the device or the line lost its state
SAMPLES, CRAFTED = 6000, 24_000  # of a stream, at most: of the stimulus, and in all cases that are made
CASES = 48  # of load at a field's limits, of argmax and of decisions at an edge, at most
ACCEPTED, REFUSED, OTHER_BYTES = 1, 0, 2
INT32 = 2**31 - 1
FIRST_T = 2**32 - 3  # of a state from which t begins anew within MORE steps


@dataclass(frozen=True)
class Check:
    """One check. cases : how many; wrong : the first that is, or ""; left_out : why it did not run, or "" """

    name: str
    cases: int
    wrong: str = ""
    left_out: str = ""


@dataclass(frozen=True)
class SelfTest:
    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        return not any(c.wrong for c in self.checks)

    def as_dict(self) -> dict:
        return {"ok": self.ok} | asdict(self)

    def lines(self) -> list[str]:
        ran = [f"{c.name} {c.cases}" for c in self.checks if not (c.wrong or c.left_out)]
        found = [f"self-test, {c.name}: {c.wrong}" for c in self.checks if c.wrong]
        found += [f"self-test, {c.name}: left out, {c.left_out}" for c in self.checks if c.left_out]
        wrong = sum(bool(c.wrong) for c in self.checks)
        if wrong:
            return [*found, f"NOT verified: {wrong} of {len(self.checks)} checks of the self-test fail"]
        return [*found, f"self-test: {sum(c.cases for c in self.checks)} cases, 0 differences ({', '.join(ran)})"]


class Wrong(Exception):
    """What a case gave."""


def run(
    model: QuantizedModel, device: Device, seed: int, progress: Callable[[int], None] = lambda n: None,
    every: bool = False,
) -> SelfTest:  # fmt: skip
    """All checks, in an order in which the first that fails is nearest to the cause.

    progress : is called with the number of cases that are done
    every : load is asked for the limits that each pair of state variables has together, not of some alone
    """
    bench, found = _Bench(model, device, seed, every), list[Check]()
    for name, check in CHECKS.items():
        found.append(_checked(name, check, bench))
        progress(found[-1].cases)
    device.reset()
    return SelfTest(tuple(found))


def _checked(name: str, check: Callable[[_Bench], Iterator[None]], bench: _Bench) -> Check:
    """One check, begun anew when what the device held was lost on the way."""
    for last in range(AGAIN, -1, -1):
        cases = 0
        try:
            bench.begin()
            for _ in check(bench):
                cases += 1
            return Check(name, cases)
        except Wrong as e:
            return Check(name, cases, str(e))
        except Refused as e:
            if e.why == "type" and cases == 0:
                return Check(name, 0, "", "the device has no room for it")
            return Check(name, cases, e.what)
        except Lost as e:
            if not last and e.why in ("run", "step"):
                return Check(name, cases, e.error.what)
            if not last:
                raise e.error from None
        except LinkError as e:
            if bench.device.lost and last:
                continue
            if not bench.device.answers():
                raise
            return Check(name, cases, f"{e.what}; a greeting it answers")
    raise AssertionError


def unopened(port: Port) -> str:
    """What is wrong with a program that has just started, before a session: its greeting, and that it does nothing."""
    port.timeout, found = 0.1, bytearray()
    for _ in range(100):
        found += port.read(4096)
        if found.strip(b"\0") and found.endswith(b"\0"):
            break
    try:
        greeting = protocol.decode(bytes(found).strip(b"\0"))
    except protocol.FrameError as e:
        return f"its greeting is damaged: {e}"
    if (greeting.type, greeting.sid, greeting.seq) != (REPLIES["hello"].type, 0, 0):
        return f"it greets with type {greeting.type:02x}, session {greeting.sid} and number {greeting.seq}"
    link = Link(port, "the program", DEADLINE)
    why = link.refusal(REQUESTS["tables"].type, b"", 0)
    return "" if (why, link.refused_at) == ("session", (0, 0)) else f"without a session it answers ({why})"


def hold(condition: bool, what: str) -> None:
    if not condition:
        raise Wrong(what)


class _Bench:
    """The device and the reference, what is filled into the device, and what both were given."""

    def __init__(self, model: QuantizedModel, device: Device, seed: int, every: bool):
        self.model, self.device, self.reference, self.every = model, device, Reference(model), every
        runs = list(stimulus(model, 2 * max(DIRTY, MORE), seed))
        self.dirty, self.more = runs[0][:DIRTY], runs[1][:MORE]
        self.limits, self.pairs, self.bits = saved.limits(model), saved.pairs(model), saved.used_bits(model)
        self.seed = seed
        self._filled: bytes | None = None

    def begin(self) -> None:
        self.rng = np.random.default_rng([self.seed, 5])
        self._filled = None
        self.device.lost = False
        self.device.reset()
        self.reference.reset()

    def steps(self, counts: NDArray[np.int16], after: str) -> None:
        """Run steps on both, compare the last digest and the read-outs."""
        theirs, ours = self.device.steps(counts, digests=False), self.reference.steps(counts)
        told = f"after {len(counts)} steps {after}"
        hold(theirs.digests[-1] == ours.digests[-1], f"{told} the digest is {_hex(theirs)}, not {_hex(ours)}")
        hold((theirs.y == ours.y).all(), f"{told} the read-outs are {theirs.y.tolist()}, not {ours.y.tolist()}")

    def state(self, wanted: NDArray, when: str) -> None:
        found = self.device.state()
        differs = np.flatnonzero(found != wanted.view(np.uint32))
        if len(differs):
            word = int(differs[0])
            field, index = self.model.locate(word)
            a, b = (int(x[word : word + 1].view(np.int32)[0]) for x in (found, wanted))
            raise Wrong(f"{when} {field.full_name}[{index}] is {a}, not {b} ({len(differs)} words differ)")

    def save(self, size: int | None = None) -> tuple[bytes, int, bool]:
        """The bytes that save gives, the class of the state, and whether save took this size."""
        whole, found = saved.size(self.model), b""
        device, head = self.device, REPLIES["save"].struct
        most = device.greeting.max_payload - head.size
        asked = whole if size is None else size
        self._filled = None
        while True:
            count = min(most, whole - len(found)) if asked == whole else 0
            request = REQUESTS["save"].struct.pack(device.run, device.t, asked, len(found), count)
            raw = device.ask("save", request, count)
            run, t, label, took = head.unpack_from(raw)
            hold((run, t) == (device.run, device.t), f"save answers for run {run}, step {t}")
            found += raw[head.size :]
            if not took or len(found) == whole or asked != whole:
                return found, label, bool(took)

    def load(self, data: bytes, size: int | None = None) -> int:
        """What load says of these bytes, of the size of a saved state, which may be told to be of another."""
        for _ in range(AGAIN):
            self.fill(data)
            crc = zlib.crc32(data[:-4], zlib.crc32(data[-4:]))
            before = self.device.t
            loaded, self.digest = self.device.load(len(data) if size is None else size, crc)
            if loaded != OTHER_BYTES:
                if loaded != ACCEPTED:
                    hold(self.device.t == before, f"load refuses a state and sets t to {self.device.t}")
                return loaded
            self._filled = None
        raise Wrong("load says that other bytes were filled in")

    def forget(self) -> None:
        """Fill in all bytes the next time, also those that are there already."""
        self._filled = None

    def fill(self, data: bytes) -> None:
        """Fill in what is other than what is there."""
        device, head = self.device, REQUESTS["fill"].struct
        most = device.greeting.max_payload - head.size
        old = np.frombuffer(self._filled or bytes(len(data)), np.uint8)
        differs = np.frombuffer(data, np.uint8) != old if self._filled else np.ones(len(data), bool)
        self._filled = None
        at = 0
        while len(left := np.flatnonzero(differs[at:])):
            at += int(left[0])
            # One request for what lies together, or nearly.
            some = np.flatnonzero(differs[at : at + min(most, 32 if len(left) < 64 else most)])
            end = at + int(some[-1]) + 1
            raw = device.ask("fill", head.pack(device.run, at) + data[at:end])
            run, offset = REPLIES["fill"].struct.unpack(raw)
            hold((run, offset) == (device.run, at), f"fill answers for run {run}, offset {offset}")
            at = end
        self._filled = data

    def loaded(self, words: NDArray, t: int, digest: int, what: str) -> None:
        """Load a state that must be accepted, on both."""
        hold(self.load(saved.pack(self.model, t, digest, words)) == ACCEPTED, f"load refuses {what}")
        told = f"after load of {what}"
        hold(self.device.t == t, f"{told} t is {self.device.t}, not {t}")
        hold(self.digest == digest, f"{told} the digest is {self.digest:08x}, not {digest:08x}")
        self.reference.load(words, t)
        self.reference.digest = digest

    def full(self) -> NDArray[np.int32]:
        """A state in which no word is 0, int32 [state_words]."""
        words = np.maximum(1, self.limits // 9) * self.rng.choice([-1, 1], len(self.limits))
        for word, bits in self.bits.items():
            words[word] = bits
        for (x, y), of in self.pairs.items():
            while not saved.within(of, *words[[x, y]].tolist()):
                words[[x, y]] = np.sign(words[[x, y]]) * np.maximum(1, np.abs(words[[x, y]]) // 2)
        return words.astype(np.uint32).view(np.int32)


def _hex(steps) -> str:
    return f"{int(steps.digests[-1]):08x}"


def _reset(bench: _Bench) -> Iterator[None]:
    model, device = bench.model, bench.device
    words = bench.full()
    bench.loaded(words, 7, 0xDEADBEEF, "a state without a 0")
    bench.state(words, "after load")
    yield
    device.reset()
    bench.reference.reset()
    bench.state(np.zeros(model.state_words, np.uint32), "after reset")
    yield
    bench.steps(bench.dirty, "from reset")
    bench.state(bench.reference.state(), "after steps")
    yield
    device.reset()
    bench.reference.reset()
    bench.steps(bench.more, "from reset")
    theirs, ours = device.steps(bench.dirty).digests, bench.reference.steps(bench.dirty).digests
    hold((theirs == ours).all(), f"of {len(ours)} digests of single steps {(theirs != ours).sum()} are others")
    yield


def _extremes(bench: _Bench) -> Iterator[None]:
    """Steps from spikes that add most to a neuron, or take most from it, while its inputs do so too."""
    model = bench.model
    first = dict(
        zip((f.full_name for f in model.fields), np.cumsum([0, *(f.words for f in model.fields)]), strict=False)
    )
    encoder = plugins.get("lnp_edge.encoders", model.encoder)
    for p in model.populations:
        into = model.into(p)
        if not any(q.w.nnz for q in into):
            continue
        dense = [q.w.dense().astype(np.int64) << q.shift for q in into]
        for side in (1, -1):
            most = sum(np.maximum(side * w, 0).sum(0) for w in dense)
            target = int(np.argmax(most))
            words, counts = np.zeros(model.state_words, np.int64), np.zeros((3, len(model.inputs)))
            for q, w in zip(into, dense, strict=True):
                if q.source == INPUT:
                    counts = np.tile(400.0 * side * np.sign(w[:, target]), (3, 1))
                    continue
                for j in np.flatnonzero(side * w[:, target] > 0).tolist():
                    words[first[f"{q.source}_z"] + j // 32] |= 1 << j % 32
            bench.loaded(words.astype(np.uint32), 1, 1, f"spikes that drive {p.name}[{target}]")
            rows = encoder.decode(counts, **model.encoder_params) if model.front.stacks else bench.dirty[:3]
            bench.steps(rows, f"from spikes that drive {p.name}[{target}] most")
            bench.state(bench.reference.state(), f"after spikes that drive {p.name}[{target}] most")
            yield


def _save(bench: _Bench) -> Iterator[None]:
    model = bench.model
    bench.steps(bench.dirty, "from reset")
    wanted = saved.pack(model, bench.reference.t, int(bench.reference.digest), bench.reference.state())
    bench.fill(b"\xa5" * len(wanted))
    found, _, took = bench.save()
    hold(took, f"save refuses {len(wanted)} bytes")
    for part, first, last in (("fingerprint", 0, 4), ("t", 4, 8), ("digest", 8, 12), ("CRC", -4, len(wanted))):
        a, b = found[first:last].hex(), wanted[first:last].hex()
        hold(part == "CRC" or a == b, f"save writes {part} {a}, not {b}")
    hold(found[12:-4] == wanted[12:-4], "save writes other state words than the state has")
    hold(found == wanted, f"save writes CRC {found[-4:].hex()}, not {wanted[-4:].hex()}")
    yield
    for size in (0, len(wanted) - 1, len(wanted) + 1, 2**32 - 1):
        hold(not bench.save(size)[2], f"save takes a size of {size} for {len(wanted)}")
        yield


def _load(bench: _Bench) -> Iterator[None]:
    model, reference = bench.model, bench.reference
    bench.steps(bench.dirty, "from reset")
    t, digest, words = reference.t, int(reference.digest), reference.state()
    data = saved.pack(model, t, digest, words)
    bench.device.reset()
    bench.loaded(words, t, digest, "what was saved")
    hold(bench.save()[0] == data, "save after load gives other bytes than were loaded")
    yield
    bench.steps(bench.more, "from load")
    yield
    bench.loaded(words, FIRST_T, digest, f"a state of step {FIRST_T}")
    bench.state(words, f"after load at step {FIRST_T}")
    hold(bench.save()[0] == saved.pack(model, FIRST_T, digest, words), f"save at step {FIRST_T} gives other bytes")
    bench.device.damage_told(b"")  # its greeting tells run and t
    bench.steps(bench.more, f"from load at step {FIRST_T}")
    yield
    bench.loaded(words, t, digest, "what was saved")
    for what, wrong in _damaged(model, data, bench.rng):
        hold(bench.load(wrong) == REFUSED, f"load accepts {what}")
        yield
    for size in (0, len(data) - 4, len(data) - 1, len(data) + 1, 2**32 - 1):
        hold(bench.load(data, size) == REFUSED, f"load accepts a size of {size} for {len(data)}")
        yield
    bench.state(words, "after states that load refused")
    bench.steps(bench.more, "after states that load refused")
    yield
    yield from _limits(bench)
    # COBS has other codes from 254 bytes on; load says if other bytes arrive than were sent.
    runs = b"".join(b"\xb7" * n + b"\0" for n in (251, 252, 253, 254, 255, 256)) * (1 + len(data) // 1500)
    for at in range(0, 1500, 250):
        wrong = (runs[at:] + runs)[: len(data)]
        bench.forget()
        hold(bench.load(wrong) == REFUSED, "load accepts bytes of another model")
        yield


def _damaged(model: QuantizedModel, data: bytes, rng: np.random.Generator) -> Iterator[tuple[str, bytes]]:
    bits = [5, 37, 70, 8 * len(data) - 30, *rng.integers(8 * len(data), size=12).tolist()]
    for bit in bits:
        wrong = bytearray(data)
        wrong[bit // 8] ^= 1 << bit % 8
        yield f"a state with bit {bit} flipped", bytes(wrong)
    for flip in (1, 1 << 31):
        other = (model.fingerprint ^ flip).to_bytes(4, "little")
        yield "a state of another model", saved.sealed(other + data[4:-4])


def _limits(bench: _Bench) -> Iterator[None]:
    """A state of zeros but for one value, or one pair of values, at its limit or beyond."""
    model, words = bench.model, np.zeros(bench.model.state_words, np.int64)

    def tried(places: tuple[int, ...], values: tuple[int, ...], accepted: bool) -> None:
        words[list(places)] = values
        data = saved.pack(model, 3, 9, words.astype(np.int64).astype(np.uint32))
        words[list(places)] = 0
        if bench.load(data) != (ACCEPTED if accepted else REFUSED):
            field, index = model.locate(places[0])
            what = f"{field.full_name}[{index}] {', '.join(map(str, values))}"
            raise Wrong(f"load {'refuses' if accepted else 'accepts'} {what}")

    together = {word for pair in bench.pairs for word in pair}
    first = 0
    for field in model.fields:
        of = range(first, first + field.words)
        first += field.words
        for word in sorted({of[0], of[-1], int(bench.rng.choice(of))}):
            if word in bench.bits:
                used = bench.bits[word]
                tried((word,), (used,), True)
                for bit in range(32):
                    if not used >> bit & 1:
                        tried((word,), (1 << bit,), False)
                yield
                continue
            most = int(bench.limits[word])
            for value in (most + 1, -most - 1, -(2**31), *([] if word in together else [most, -most])):
                tried((word,), (value,), abs(value) <= most)
                yield
    for (x, y), of in _some(list(bench.pairs.items()), len(bench.pairs) if bench.every else 4, bench.rng):
        for v, w in _edges(of):
            tried((x, y), (v, w), saved.within(of, v, w))
            yield


def _some(items: list, most: int, rng: np.random.Generator) -> list:
    """The first, the last and others at random, in their order."""
    if len(items) <= most:
        return items
    rest = 1 + rng.choice(len(items) - 2, most - 2, replace=False)
    return [items[k] for k in sorted({0, len(items) - 1, *rest.tolist()})]


def _edges(of: tuple[int, int, int, int, int]) -> Iterator[tuple[int, int]]:
    """Pairs at the two limits that both values have together, and one beyond."""
    _, most_y, k, total, apart = of
    for sign in (-1, 1):
        for limit, along in ((total, 1), (apart, -1)):
            for y in (0, most_y // 2, -most_y // 2):
                for beyond in (0, 1):
                    x = 4 * (sign * (limit + beyond) - along * (2**k * y // 4))
                    if abs(x) <= INT32:
                        yield x, y


def _argmax(bench: _Bench) -> Iterator[None]:
    model = bench.model
    n, y0 = model.n_out, model.state_words - model.readout.state_words
    most = int(bench.limits[y0 : y0 + n].min())
    cases = [np.zeros(n, np.int64), np.full(n, -most), np.full(n, most)]
    for o in range(n):
        cases += [np.where(np.arange(n) == o, most, -most), np.where(np.arange(n) >= o, -3, -4)]
        cases += [np.where(np.isin(np.arange(n), [o, n - 1]), 2, 1), np.where(np.arange(n) == o, -1, 0)]
    for y in _some(cases, max(CASES, 6), bench.rng):
        words = np.zeros(model.state_words, np.int64)
        words[y0 : y0 + n] = y
        bench.loaded(words.astype(np.uint32), 1, 1, f"read-outs {y.tolist()}")
        label = bench.save()[1] if n < 2 else _label(bench)
        hold(label == int(np.argmax(y)), f"argmax of {y.tolist()} is {label}, not {int(np.argmax(y))}")
        yield


def _label(bench: _Bench) -> int:
    """The class of the state, without its bytes."""
    device = bench.device
    request = REQUESTS["save"].struct.pack(device.run, device.t, 0, 0, 0)
    filled, bench._filled = bench._filled, None
    label = REPLIES["save"].struct.unpack(device.ask("save", request))[2]
    bench._filled = filled  # a size of 0 writes nothing; if it does, the next load says that other bytes are there
    return label


def counts_at_edges(model: QuantizedModel, every: bool = False) -> NDArray[np.int16]:
    """Rows in which each input gets the counts on both sides of each step of its encoding, int16 [T, n_in].

    Of a front end's inputs they are those of constant frames. every : all counts there are
    """
    encoder = plugins.get("lnp_edge.encoders", model.encoder)
    counts, columns = np.arange(-32768, 32768), list[NDArray]()
    for k in range(len(model.inputs)):
        params = {name: int(values[k]) for name, values in model.encoder_params.items()}
        x = _encoded(encoder.encode, counts, params)
        at = np.flatnonzero(np.diff(x))
        columns.append(counts if every else np.unique(np.concatenate([counts[at], counts[at + 1], [-32768, 32767, 0]])))
    longest = max(map(len, columns))
    rows = np.stack([np.resize(np.roll(column, 7 * k), longest) for k, column in enumerate(columns)], axis=1)
    if not model.front.stacks:
        rows = np.tile(rows[:, : len(model.channels)], model.front.frame)
    return rows.astype(np.int16)


def _encoded(encode: Callable, counts: NDArray, params: dict[str, int]) -> NDArray[np.int64]:
    plain = saved.PLAIN | {"clamp": np.clip}
    return ops.bind(encode, plain)(counts.astype(np.int64), **params)


def _encoder(bench: _Bench) -> Iterator[None]:
    rows = counts_at_edges(bench.model)
    found = compare(bench.device, bench.reference, rows)
    hold(found.same, str(found.difference or "a digest differed once but not when repeated"))
    for _ in range(len(rows)):
        yield


def _read(bench: _Bench) -> Iterator[None]:
    """Each table whole, in pieces of many lengths; COBS has other codes from 254 bytes on."""
    device, head = bench.device, REPLIES["read"].struct
    most = device.greeting.max_payload - head.size
    tables = list(layout.tables(bench.model).values())
    largest = max(range(len(tables)), key=lambda k: tables[k].nbytes)
    lengths = dict.fromkeys(range(len(tables)), most) | {largest: 0}
    for number, table in enumerate(tables):
        whole, at, piece = table.tobytes(), 0, 0
        while at < len(whole):
            count = min(lengths[number] or (1, 253, 254, 255, most, 7)[piece % 6], most, len(whole) - at)
            raw = device.ask("read", REQUESTS["read"].struct.pack(number, at, count), count)
            hold(head.unpack_from(raw) == (number, at), f"table {number} is read from another place")
            hold(raw[head.size :] == whole[at : at + count], f"table {number} is read wrong at byte {at}")
            at, piece = at + count, piece + 1
            yield


def _link(bench: _Bench) -> Iterator[None]:
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
        told = [device.damage_told(data) for _ in range(3 if device.traffic.damaged_here else 1)]  # a line may damage
        hold(damaged in told, f"bytes {data.hex()[:60]} are told as damaged {told[0]} times, not {damaged}")
        yield
    bench.state(before, "after refusals")
    yield from _each_after_another(bench)
    hold(any(device.delimited() for _ in range(3)), "a frame of the device does not begin and end with a zero")
    yield
    wrong = device.again(bench.more[:1])
    hold(not wrong, f"a request of steps that is sent again: {wrong}")
    bench.reference.steps(bench.more[:1])
    bench.state(bench.reference.state(), "after a request that was sent twice")
    yield


def _each_after_another(bench: _Bench) -> Iterator[None]:
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
        _Push(bench).compared(np.zeros((0, len(bench.model.channels)), np.int16), 0, [])
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
    for kind in (0, 0x0B, 0x7E):
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
    if 2 * (2 * model.n_in) + len(pack["steps"](run, t, 0)) <= most:
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


Told = tuple[int, ...]  # label, margin, percent, unknown, read-outs


class _Push:
    """A stream on the device and on the reference."""

    def __init__(self, bench: _Bench):
        self.bench, self.model = bench, bench.model
        self.most = (bench.device.greeting.max_payload - REQUESTS["push"].struct.size) // (2 * len(self.model.channels))

    def ask(self, samples: NDArray[np.int16], start: int, like: bool = False) -> tuple[int, int, Told]:
        """Push samples, of which `start` came before: the decisions' number and CRC, and the last."""
        device, head = self.bench.device, REPLIES["push"].struct
        payload = REQUESTS["push"].struct.pack(device.run, start, like) + samples.astype("<i2").tobytes()
        raw = device.ask("push", payload, 4 * self.model.n_out)
        run, total, count, crc, label, margin, percent, unknown = head.unpack_from(raw)
        hold(run == device.run, f"push answers for run {run}")
        hold(total == start + len(samples), f"push counts {total} samples, not {start + len(samples)}")
        y = np.frombuffer(raw, "<i4", offset=head.size).tolist()
        return count, crc, (label, margin, percent, unknown, *y)

    def compared(self, samples: NDArray[np.int16], start: int, expected: list[Told], like: bool = False) -> None:
        """Push samples that give these decisions."""
        done = 0
        count, crc, last = self.ask(samples, start, like)
        for told in expected:
            label, margin, percent, unknown, *y = told
            done = zlib.crc32(struct.pack(f"<III{len(y)}i", label, margin, percent + 256 * unknown, *y), done)
        hold(count == len(expected), f"{count} decisions on {len(samples)} samples, not {len(expected)}")
        if expected:
            what = "label, margin, percent, unknown, read-outs"
            hold(last == expected[-1], f"a decision is {last}, not {expected[-1]} ({what})")
        hold(crc == done, f"a decision before {last} differs")


def _told(p: Prediction) -> Told:
    return (p.label or 0, p.margin, p.percent, int(p.unknown), *p.y)


def _stream(bench: _Bench) -> Iterator[None]:
    """Decisions on the stimulus of lnp verify, then on crafted ones."""
    model, push = bench.model, _Push(bench)
    samples = decisions.samples_for(model, bench.seed)
    samples = samples[: max(model.window + 2 * model.hop, SAMPLES)]
    stream, start, at = Stream(Reference(model), model), 0, 0
    expected = list[Told]()
    part = 0
    sizes = (1, push.most, 2, push.most)
    while at < len(samples):
        size = min(sizes[part % 4], push.most)
        some = samples[at : at + size]
        gone = np.flatnonzero(np.isin(some, model.missing_counts).any(1))
        some = some[: int(gone[0])] if len(gone) else some
        found = [stream.push(row) for row in some]
        expected = [_told(p) for p in found if p]
        if len(some):
            push.compared(some, start, expected)
        start, at, part = start + len(some), at + len(some), part + 1
        if len(gone):
            stream.gap()
            start, at = 0, at + 1
        for _ in expected:
            yield
    if model.forecast is None:
        yield from _edges_of_decisions(bench, push, samples)


def _edges_of_decisions(bench: _Bench, push: _Push, samples: NDArray[np.int16]) -> Iterator[None]:
    """The second decision of a stream, of read-outs that are chosen and of samples at the range of training."""
    model, rule = bench.model, bench.model.decision
    n = model.window + model.hop
    if len(samples) < n or np.isin(samples[:n], model.missing_counts).any():
        return
    samples = samples[:n]
    if rule.ranged(model.window):  # none of them is unknown for its samples
        samples = np.clip(samples, rule.low, rule.high).astype(np.int16)
        if np.isin(samples, model.missing_counts).any():
            return
    stream = Stream(Reference(model), model)
    natural = [stream.push(row) for row in samples]
    first = next(p for p in natural if p)
    present = first.label
    assert present is not None
    most_cases = max(4, min(CASES, CRAFTED // n))
    second = [(present, y, n) for y in _targets(model, present)]
    # A first decision has none before it: the largest read-out decides, however small its lead.
    alone = [(None, np.eye(model.n_out, dtype=np.int64)[o], model.window) for o in range(model.n_out)]
    for before, y, end in [*second[:most_cases], *_some(alone, 4, bench.rng)]:
        words = _giving(bench, samples[end - model.front.frame : end], y)
        if words is None:
            continue
        bench.loaded(words, 5, 5, "a state with chosen read-outs")
        decided = model.decision.next(before, y.tolist(), 0)
        told = (decided.label, decided.margin, decided.percent, int(decided.unknown), *y.tolist())
        _until(push, samples[: end - 1], natural)
        push.compared(samples[end - 1 : end], end - 1, [told], like=True)
        yield
    for crafted in _some(list(_at_range(model, samples)), most_cases, bench.rng):
        stream = Stream(Reference(model), model)
        found = [stream.push(row) for row in crafted]
        _until(push, crafted[: n - 1], found)
        push.compared(crafted[n - 1 :], n - 1, [_told(p) for p in found[n - 1 :] if p])
        yield


def _until(push: _Push, samples: NDArray[np.int16], found: list[Prediction | None]) -> None:
    """Begin a stream. found : the prediction that is due with each sample"""
    for at in range(0, len(samples), push.most):
        some = samples[at : at + push.most]
        push.compared(some, at, [_told(p) for p in found[at : at + len(some)] if p])


def _targets(model: QuantizedModel, present: int) -> Iterator[NDArray[np.int64]]:
    """Read-outs at the edges of the rule, about 0, int64 [n_out]."""
    n, rule = model.n_out, model.decision
    leads = {0, 1, rule.lead - 1, rule.lead, rule.lead + 1}
    margins = {rule.least - 1, rule.least, 1} | {m + k for m, _ in rule.levels for k in (-1, 0)}
    others = [o for o in range(n) if o != present]
    for other in (others[:1] + others[-1:]) if others else []:
        for lead in sorted(x for x in leads if 0 <= x <= INT32):
            y = np.full(n, -3 - lead, np.int64)
            y[present], y[other] = -(lead // 2), lead - lead // 2
            yield y
        for margin in sorted(x for x in margins if 0 <= x <= INT32):
            y = np.full(n, -margin - 5, np.int64)
            y[present], y[other] = margin - margin // 2, -(margin // 2)
            yield y
    yield np.zeros(n, np.int64)
    if len(others) > 1:  # two that are equal replace the present one: the first of them does
        y = np.full(n, -5, np.int64)
        y[[others[0], others[-1]]] = min(max(1, rule.lead), INT32)
        y[present] = 0
        yield y
    for other in others:
        y = np.full(n, -7, np.int64)
        y[[other, present]] = 0
        yield y
        y = y.copy()
        y[other] = 1
        y[others[-1]] = max(1, y[others[-1]])
        yield y


def _giving(bench: _Bench, frame: NDArray[np.int16], y: NDArray[np.int64]) -> NDArray[np.uint32] | None:
    """A state, of zeros but for its read-outs, whose step on these samples gives read-outs y; None if none does."""
    model, reference = bench.model, bench.reference
    n, y0 = model.n_out, model.state_words - model.readout.state_words
    most = bench.limits[y0 : y0 + n]
    low, high = -most, most.copy()
    words, counts = np.zeros(model.state_words, np.int64), model.rows(frame)
    for _ in range(34):  # a step does not change the order of two values of a read-out
        middle = (low + high) >> 1
        words[y0 : y0 + n] = middle
        reference.load(words.astype(np.uint32), 5)
        found = reference.steps(counts).y.astype(np.int64)
        low, high = np.where(found < y, middle + 1, low), np.where(found < y, high, middle)
    words[y0 : y0 + n] = high
    reference.load(words.astype(np.uint32), 5)
    return words.astype(np.uint32) if (reference.steps(counts).y == y).all() else None


def _at_range(model: QuantizedModel, samples: NDArray[np.int16]) -> Iterator[NDArray[np.int16]]:
    """Samples of which so many leave the range that one more makes a decision unknown, and one at a limit."""
    rule = model.decision
    if not rule.ranged(model.window):
        return
    c, last = len(model.channels), samples[-model.window :] if not rule.stream else samples[-model.hop :]
    if rule.outside >= len(last):
        return
    for channel in range(c):
        for limit, by in ((rule.low[channel], -1), (rule.high[channel], 1)):
            for value in (limit, limit + by):
                if not -32768 <= value <= 32767 or value in model.missing_counts:
                    continue
                crafted = samples.copy()
                far = [
                    v for v in (-32768, 32767) if not rule.low[0] <= v <= rule.high[0] and v not in model.missing_counts
                ]
                if rule.outside and not far:
                    continue
                first = len(samples) - len(last)
                crafted[first : first + rule.outside, 0] = far[0] if far else 0
                crafted[first + rule.outside, channel] = value
                yield crafted


# What the device tests, by name.
CHECKS: dict[str, Callable[[_Bench], Iterator[None]]] = {
    "tables": _read,
    "encoder": _encoder,
    "reset": _reset,
    "save": _save,
    "load": _load,
    "extremes": _extremes,
    "argmax": _argmax,
    "stream": _stream,
    "link": _link,
}
