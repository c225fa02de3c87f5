"""What the checks of the self-test share: the device and the reference side by side, and states that are loaded."""

from __future__ import annotations

import zlib

import numpy as np
from numpy.typing import NDArray

from lnp_edge.base.errors import LinkError
from lnp_edge.runtime.device import Device
from lnp_edge.runtime.reference import Reference
from lnp_edge.runtime.verify import stimulus
from lnp_edge.spec import saved
from lnp_edge.spec.model import QuantizedModel
from lnp_edge.spec.protocol import REPLIES, REQUESTS

DIRTY, MORE = 96, 40  # steps before a state is saved, and after it is loaded
AGAIN = 5  # times that a check is begun anew after the device or the line lost its state
CASES = 48  # of load at a field's limits, of argmax and of decisions at an edge, at most
ACCEPTED, REFUSED, OTHER_BYTES = 1, 0, 2
INT32 = 2**31 - 1


class Wrong(Exception):
    """What a case gave."""


class Unsure(LinkError):
    """What a case gave may come from the line."""


def hold(condition: bool, what: str) -> None:
    if not condition:
        raise Wrong(what)


class Bench:
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
            count = min(device.pieces(most), whole - len(found)) if asked == whole else 0
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
            room = device.pieces(most)
            # One request for what lies together, or nearly.
            some = np.flatnonzero(differs[at : at + min(room, 32 if len(left) < 64 else room)])
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


def some_of(items: list, most: int, rng: np.random.Generator) -> list:
    """The first, the last and others at random, in their order."""
    if len(items) <= most:
        return items
    rest = 1 + rng.choice(len(items) - 2, most - 2, replace=False)
    return [items[k] for k in sorted({0, len(items) - 1, *rest.tolist()})]
