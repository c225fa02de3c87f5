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

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from lnp_edge.base.errors import LinkError
from lnp_edge.runtime import selftest_link, selftest_stream
from lnp_edge.runtime.bench import ACCEPTED, AGAIN, CASES, INT32, REFUSED, Bench, Unsure, Wrong, hold, some_of
from lnp_edge.runtime.device import Device
from lnp_edge.runtime.link import DEADLINE, Link, Lost, Port, Refused
from lnp_edge.runtime.verify import compare
from lnp_edge.spec import layout, ops, plugins, protocol, saved
from lnp_edge.spec.model import INPUT, QuantizedModel
from lnp_edge.spec.protocol import REPLIES, REQUESTS

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


def run(
    model: QuantizedModel, device: Device, seed: int, progress: Callable[[int], None] = lambda n: None,
    every: bool = False,
) -> SelfTest:  # fmt: skip
    """All checks, in an order in which the first that fails is nearest to the cause.

    progress : is called with the number of cases that are done
    every : load is asked for the limits that each pair of state variables has together, not of some alone
    """
    bench, found = Bench(model, device, seed, every), list[Check]()
    for name, check in CHECKS.items():
        found.append(_checked(name, check, bench))
        progress(found[-1].cases)
    device.reset()
    return SelfTest(tuple(found))


def _checked(name: str, check: Callable[[Bench], Iterator[None]], bench: Bench) -> Check:
    """One check, begun anew when what the device held was lost on the way."""
    for last in range(AGAIN, -1, -1):
        cases = 0
        try:
            bench.begin()
            for _ in check(bench):
                cases += 1
            return Check(name, cases)
        except Wrong as e:
            # What no CRC covers the line may have changed, and only this check sends it. Else one fault is enough.
            if last and check is selftest_link.requests and bench.device.traffic.disturbed:
                continue
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
            if isinstance(e, Unsure) or not bench.device.sound():
                raise
            return Check(name, cases, f"{e.what}; greetings it answers")
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


def _reset(bench: Bench) -> Iterator[None]:
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


def _extremes(bench: Bench) -> Iterator[None]:
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


def _save(bench: Bench) -> Iterator[None]:
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


def _load(bench: Bench) -> Iterator[None]:
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


def _limits(bench: Bench) -> Iterator[None]:
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
    for (x, y), of in some_of(list(bench.pairs.items()), len(bench.pairs) if bench.every else 4, bench.rng):
        for v, w in _edges(of):
            tried((x, y), (v, w), saved.within(of, v, w))
            yield


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


def _argmax(bench: Bench) -> Iterator[None]:
    model = bench.model
    n, y0 = model.n_out, model.state_words - model.readout.state_words
    most = int(bench.limits[y0 : y0 + n].min())
    cases = [np.zeros(n, np.int64), np.full(n, -most), np.full(n, most)]
    for o in range(n):
        cases += [np.where(np.arange(n) == o, most, -most), np.where(np.arange(n) >= o, -3, -4)]
        cases += [np.where(np.isin(np.arange(n), [o, n - 1]), 2, 1), np.where(np.arange(n) == o, -1, 0)]
    for y in some_of(cases, max(CASES, 6), bench.rng):
        words = np.zeros(model.state_words, np.int64)
        words[y0 : y0 + n] = y
        bench.loaded(words.astype(np.uint32), 1, 1, f"read-outs {y.tolist()}")
        label = bench.save()[1] if n < 2 else _label(bench)
        hold(label == int(np.argmax(y)), f"argmax of {y.tolist()} is {label}, not {int(np.argmax(y))}")
        yield


def _label(bench: Bench) -> int:
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


def _encoder(bench: Bench) -> Iterator[None]:
    rows = counts_at_edges(bench.model)
    found = compare(bench.device, bench.reference, rows)
    hold(found.same, str(found.difference or "a digest differed once but not when repeated"))
    for _ in range(len(rows)):
        yield


def _read(bench: Bench) -> Iterator[None]:
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


# What the device tests, by name.
CHECKS: dict[str, Callable[[Bench], Iterator[None]]] = {
    "tables": _read,
    "encoder": _encoder,
    "reset": _reset,
    "save": _save,
    "load": _load,
    "extremes": _extremes,
    "argmax": _argmax,
    "stream": selftest_stream.stream,
    "link": selftest_link.requests,
}
